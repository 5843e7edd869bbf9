//! What a remote's full lane does beside full syncs, comparing; and what of a remote is certain.

use std::time::Duration;

use common::event::RootId;
use common::message::{Comparison, Deletions, Job, Load, Outcome, Terms, Work};
use common::path::RelPath;

use super::Remote;
use crate::core::Lane;

/// What is compared at once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Slice {
    /// A name with all below it.
    Below(RelPath),
    /// The remote's root: what it has beside the names in ours.
    Root,
}

/// A comparison that has not begun.
#[derive(Debug, Clone)]
pub(super) struct Audit {
    slice: Slice,
    by: Comparison,
    pub(super) since: Duration,
}

/// How a remote stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// It takes what it gets.
    Up,
    /// It is there and cannot take it: no space, a filesystem that cannot be written.
    Degraded,
    /// It does not answer, or breaks off.
    Unreachable,
    /// It refuses, or does not understand: somebody has to change something.
    Misconfigured,
    /// What it says breaks rsync's protocol: it is no rsync, or means harm.
    Hostile,
    /// The root that it mirrors is not there: nothing is sent.
    Waiting,
}

impl Standing {
    /// For people.
    pub fn as_str(self) -> &'static str {
        match self {
            Standing::Up => "up",
            Standing::Degraded => "degraded",
            Standing::Unreachable => "unreachable",
            Standing::Misconfigured => "misconfigured",
            Standing::Hostile => "hostile",
            Standing::Waiting => "waiting",
        }
    }
}

impl Remote {
    /// How it stands.
    pub fn standing(&self) -> Standing {
        self.trouble.map_or(Standing::Up, standing)
    }

    /// Asks for a comparison of a slice.
    pub fn want_audit(&mut self, now: Duration, slice: Slice, by: Comparison) {
        self.audit.0 = Some(Audit { slice, by, since: now });
    }

    /// True while the lane compares.
    pub fn is_auditing(&self, lane: Lane) -> bool {
        lane == Lane::Full && self.audit.1
    }

    /// True when a difference there is no news: it waits, is under way, or happened since.
    pub fn explains(&self, path: &RelPath, _since: Duration) -> bool {
        self.carries(path) || self.in_flight().any(|flying| flying == path || path.is_below(flying))
    }

    /// True when all that was seen until `since` has arrived.
    pub fn is_confirmed(&self, since: Duration) -> bool {
        let is_old = |at: Duration| at <= since;
        let flying = self.flights.iter().any(|(_, entry)| is_old(self.backlog.since(entry.at)));
        let waiting = self.backlog.iter().any(|(_, entry)| is_old(self.backlog.since(entry.at)));
        let full = !self.full_is_idle() && is_old(self.full.asked);
        !flying && !waiting && !full && self.parked.is_empty()
    }

    /// True while rsync's own brake holds deletions of full syncs.
    pub fn holds_full(&self) -> bool {
        self.full.held
    }

    /// The next full sync may delete whatever it finds.
    pub fn approve_full(&mut self, now: Duration, deletions: Deletions) {
        (self.full.held, self.full.approved) = (false, true);
        self.want_full(now, deletions);
    }

    /// The operator started it for the first time: a full sync makes the remote equal, whatever it has.
    pub fn approve_first(&mut self) {
        self.full.approved = true;
    }

    /// What a full sync found to delete stays, also where it was to go.
    pub fn forget_held_full(&mut self) {
        self.full.held = false;
        if std::mem::take(&mut self.full.approved) && self.full.wanted.is_some() {
            self.full.wanted = Some(Deletions::Held);
        }
    }

    /// Whether the next full sync was approved, until one that deletes is over.
    pub fn is_approved(&self) -> bool {
        self.full.approved
    }

    pub(super) fn full_is_idle(&self) -> bool {
        self.full.wanted.is_none() && self.full.running.is_none()
    }

    pub(super) fn begin_audit(&mut self, root: RootId) -> Option<Job> {
        let Audit { slice, by, .. } = self.audit.0.clone()?;
        self.audit.1 = true;
        let tops = match slice {
            Slice::Below(top) => vec![top],
            Slice::Root => Vec::new(),
        };
        let work = Work::Verify { tops, by };
        let (terms, by, load) = (Terms::default(), Comparison::Times, Load::Any);
        let (deletions, moves) = (Deletions::Travel, Vec::new());
        Some(Job { root, deletions, max_delete: None, terms, by, load, work, moves })
    }

    pub(super) fn end_audit(&mut self) {
        self.audit = (None, false);
    }

    /// Its syncer died: it begins anew.
    pub(super) fn audit_again(&mut self, now: Duration) {
        self.audit.1 = false;
        if let Some(audit) = &mut self.audit.0 {
            audit.since = now;
        }
    }
}

fn standing(trouble: Outcome) -> Standing {
    match trouble {
        Outcome::Done | Outcome::Partial | Outcome::RootEmpty => Standing::Up,
        Outcome::NoSpace | Outcome::ReadOnly | Outcome::Limit | Outcome::Broken => Standing::Degraded,
        Outcome::Unreachable | Outcome::TimedOut => Standing::Unreachable,
        Outcome::Refused | Outcome::UnknownHost | Outcome::Misconfigured => Standing::Misconfigured,
        Outcome::Hostile => Standing::Hostile,
        Outcome::RootGone => Standing::Waiting,
    }
}
