//! What all remotes share: connections to one host, and bandwidth. What a job may take of both is
//! decided as it begins.

use std::time::Duration;

use common::config::Sharing;
use common::message::{Ahead, Outcome, Terms};

use super::Dispatcher;
use crate::core::bandwidth::{Crowd, Share, Urgency};
use crate::core::hosts::Takes;
use crate::core::{Lane, RemoteId, Role};

impl Dispatcher {
    /// So late is it on the local clock: 0 to 23. Transfers that begin from now on get their share of
    /// what counts in that hour.
    pub fn set_hour(&mut self, hour: u8) {
        self.shares.set_hour(hour);
    }

    /// Other limits count, for what begins from now on.
    pub(super) fn share_by(&mut self, sharing: Sharing, warm: Option<Duration>) {
        let Sharing { per_host, bandwidth } = sharing;
        self.hosts.set(per_host.map(usize::from), warm);
        self.shares.set(bandwidth);
    }

    /// Whether the host of a syncer's remote has room for its next job.
    pub(super) fn has_room(&self, now: Duration, role: Role) -> bool {
        let Role::Syncer(id, lane) = role else { return true };
        let takes = match lane {
            Lane::Batch => Takes::Waiting,
            Lane::Express | Lane::Full => Takes::Another,
        };
        self.hosts.has_room(now, id, takes, |id| self.remotes.get(usize::from(id.0)).map_or(0, Self::at_work))
    }

    /// What a syncer's next job may take; `None` while there is nothing for it.
    pub(super) fn terms(&mut self, now: Duration, role: Role) -> Option<Terms> {
        let Role::Syncer(id, lane) = role else { return None };
        if !self.has_room(now, role) {
            return None;
        }
        let urgency = match lane {
            Lane::Batch | Lane::Express => Urgency::Live,
            Lane::Full => Urgency::Bulk,
        };
        // To count them takes a look at all.
        let crowd = if self.shares.total().is_some() { self.crowd(now) } else { Crowd::default() };
        let rate = match self.shares.take(role, crowd, urgency) {
            Share::All => None,
            Share::Rate(rate) => Some(rate),
            Share::Later => return None,
        };
        let connections = self.remotes.get(usize::from(id.0)).map_or(0, |remote| remote.connections);
        let ahead = match lane {
            Lane::Batch => self.hosts.ahead(now, id),
            Lane::Express => self.hosts.ahead_beside(now, id),
            Lane::Full => Ahead::Ends,
        };
        let ahead = match connections {
            0 | 1 => Ahead::Ends,
            2 if ahead == Ahead::TwoWait => Ahead::Waits,
            _ => ahead,
        };
        if lane == Lane::Batch {
            self.hosts.begin(id, ahead);
        }
        Some(Terms { rate, ahead })
    }

    /// A job is over, or was none.
    pub(super) fn take_back(&mut self, now: Duration, role: Role, outcome: Option<Outcome>) {
        self.shares.give_back(role);
        self.slots.end(now, role);
        if let Role::Syncer(id, Lane::Batch) = role {
            self.hosts.end(now, id, outcome);
        }
    }

    /// A job moves nothing: what it could send others may.
    pub(super) fn lend(&mut self, role: Role) {
        self.shares.give_back(role);
    }

    /// When time alone makes room for somebody who waits.
    pub(super) fn room_at(&self, now: Duration) -> Option<Duration> {
        let at = self.hosts.deadline(now)?;
        self.lanes().any(|role| self.waiting_since(now, role).is_some()).then_some(at)
    }

    fn crowd(&self, now: Duration) -> Crowd {
        let mut crowd = Crowd { slots: self.slots.most(), working: self.working(), ..Crowd::default() };
        for role in self.lanes() {
            if self.waiting_since(now, role).is_some() {
                crowd.waiting = crowd.waiting.saturating_add(1);
            } else if let Role::Syncer(id, Lane::Batch) = role
                && !self.is_at_work(id, Lane::Batch)
            {
                crowd.idle = crowd.idle.saturating_add(1);
            }
        }
        crowd
    }

    fn is_at_work(&self, id: RemoteId, lane: Lane) -> bool {
        self.remotes.get(usize::from(id.0)).is_some_and(|remote| remote.is_working(lane))
    }
}

#[cfg(test)]
mod tests;
