//! Where one path is on its way to a remote, for whoever asks.

use std::time::Duration;

use common::message::Deletions;
use common::path::RelPath;

use super::Remote;
use crate::core::backlog::QUARANTINE;

/// What a remote has to do with a path. Several may be so at once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Whereabouts {
    /// A job carries it, or a directory above it.
    pub in_flight: bool,
    /// It waits by itself.
    pub waits: Option<Waits>,
    /// A directory above it waits, and covers it.
    pub covered: bool,
    /// Its removal waits for the root to come back.
    pub parked: bool,
    /// A full sync is wanted, or under way, which covers all.
    pub full: Option<Deletions>,
}

/// How a path waits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Waits {
    /// Since when the remote lacks it, as moments go here.
    pub since: Duration,
    /// When it may go.
    pub ready: Duration,
    /// How often it failed.
    pub attempts: u32,
    /// It failed so often that it is tried by a clock of its own.
    pub in_quarantine: bool,
    /// Why it failed, escaped; empty where that is not known, or it did not.
    pub reason: String,
}

impl Remote {
    /// Where `path` is.
    pub fn whereabouts(&self, path: &RelPath) -> Whereabouts {
        let own = self.backlog.iter().find(|(waiting, _)| *waiting == path);
        let waits = own.map(|(_, entry)| Waits {
            since: self.backlog.since(entry.at),
            ready: entry.ready.max(self.not_before),
            attempts: entry.attempts,
            in_quarantine: entry.attempts >= QUARANTINE,
            reason: self.reasons.get(path).cloned().unwrap_or_default(),
        });
        Whereabouts {
            in_flight: self.in_flight().any(|flying| flying == path || path.is_below(flying)),
            covered: waits.is_none() && self.backlog.holds(path),
            waits,
            parked: self.parked.holds(path),
            full: self.full.running.or(self.full.wanted),
        }
    }
}
