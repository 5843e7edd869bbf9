//! What of a remote is kept on disk: the paths that it lacks, removals that wait for the root, and
//! the full sync that it is to get.

use std::time::Duration;

use common::event::Dirt;
use common::keep::{Edit, MAX_REASON, Pending};
use common::message::Deletions;
use common::path::RelPath;

use super::Remote;
use super::finish::MAX_REASONS;
use crate::core::backlog::{Collapsed, Entry, MAX_PATHS};

impl Remote {
    /// What it lacks is kept from now on. `epoch` is the supervisor's start, in milliseconds since
    /// 1970.
    pub fn keep(&mut self, epoch: u64) {
        self.backlog.keep(epoch);
        self.parked.keep(epoch);
    }

    /// A path that it lacked when the last run ended; without `pending` only that the disk holds it.
    pub fn restore(&mut self, now: Duration, path: RelPath, pending: Option<&Pending>) {
        match pending {
            Some(pending) => {
                if !pending.reason.is_empty() && self.reasons.len() < MAX_REASONS {
                    self.reasons.insert(path.clone(), pending.reason.clone());
                }
                self.backlog.restore(now, &path, pending);
            }
            None => self.backlog.is_saved_at(path),
        }
    }

    /// The same, for a removal that waited for the root.
    pub fn restore_parked(&mut self, now: Duration, path: RelPath, pending: Option<&Pending>) {
        match pending {
            // The root is looked at anew; until it is there no job runs at all.
            Some(pending) if !self.held => {
                self.parked.is_saved_at(path.clone());
                self.parked.touch(&path);
                self.backlog.restore(now, &path, pending);
            }
            Some(pending) => self.parked.restore(now, &path, pending),
            None => self.parked.is_saved_at(path),
        }
    }

    /// The same, for a full sync.
    pub fn restore_full(&mut self, now: Duration, deletions: Deletions, first: bool) {
        self.saved_full = Some(deletions);
        if first {
            self.want_full(now, deletions);
        }
    }

    /// Keeps the bounds when what was kept was taken in: whoever told it may have made it up.
    pub fn bound_restored(&mut self, now: Duration) -> Option<Collapsed> {
        self.bound_parked(now, MAX_PATHS);
        self.collapse(now, MAX_PATHS)
    }

    /// Forgets what it lacked before this run, which began at `epoch`.
    pub fn forget_before(&mut self, epoch: u64) {
        for backlog in [&mut self.backlog, &mut self.parked] {
            backlog.drain_if(|entry| entry.at < epoch);
        }
    }

    /// True when the disk knows all.
    pub fn is_told(&self) -> bool {
        self.backlog.is_told() && self.parked.is_told() && self.full_owed() == self.saved_full
    }

    /// Nothing is known of what the disk holds.
    pub fn forget_saved(&mut self) {
        self.backlog.forget_saved();
        self.parked.forget_saved();
        self.saved_full = None;
    }

    /// The disk is to be told all again.
    pub fn tell_again(&mut self) {
        self.backlog.tell_again();
        self.parked.tell_again();
        for (path, _) in self.flights.iter() {
            self.backlog.touch(path);
        }
    }

    /// What has changed since the disk was last told, `most` paths of it at most; how many were
    /// looked at.
    pub fn tell(&mut self, id: u16, most: usize, tell: &mut dyn FnMut(Edit)) -> usize {
        let (flights, reasons) = (&self.flights, &self.reasons);
        let pending = |path: &RelPath, waiting: Option<&Entry>, flying: Option<&Entry>| {
            let (dirt, entry) = match (flying, waiting) {
                (Some(flying), Some(waiting)) => (flying.dirt.then(waiting.dirt), flying),
                (Some(entry), None) | (None, Some(entry)) => (entry.dirt, entry),
                (None, None) => return None,
            };
            let mut reason = reasons.get(path).cloned().unwrap_or_default();
            reason.truncate(reason.floor_char_boundary(MAX_REASON));
            Some(Pending { dirt, since: entry.at, attempts: entry.attempts, reason })
        };
        let waiting = self.backlog.tell(
            most,
            |path, waiting| pending(path, waiting, flights.get(path)),
            |path, now| tell(Edit::Pending(id, path, now)),
        );
        let parked = self.parked.tell(
            most.saturating_sub(waiting),
            |path, waiting| pending(path, waiting, None),
            |path, now| tell(Edit::Parked(id, path, now)),
        );
        let owed = self.full_owed();
        if owed != self.saved_full {
            self.saved_full = owed;
            tell(Edit::Full(id, owed));
        }
        waiting.saturating_add(parked)
    }

    /// Takes out the removals that wait.
    pub fn take_removals(&mut self) -> Vec<(RelPath, Dirt)> {
        let removals = self.backlog.drain_if(|entry| super::only_deletes(entry.dirt));
        removals.into_iter().map(|(path, entry)| (path, entry.dirt)).collect()
    }

    /// The full sync that it has to get, or is getting.
    fn full_owed(&self) -> Option<Deletions> {
        match (self.full.wanted, self.full.running) {
            (Some(Deletions::Travel), _) | (_, Some(Deletions::Travel)) => Some(Deletions::Travel),
            (Some(Deletions::Held), _) | (_, Some(Deletions::Held)) => Some(Deletions::Held),
            (None, None) => None,
        }
    }
}
