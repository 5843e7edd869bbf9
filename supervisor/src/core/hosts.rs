//! How many connections each host has: transfers at work, and rsyncs that wait there for the next batch.
//!
//! One that waits is a convenience and a transfer is not. So those that wait never take more than half of
//! what a host may have, and all together no more than there are workers.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use common::message::{Ahead, Outcome};

use super::{RemoteId, earliest};

/// For how long none waits after a remote had no connection left.
const SCARCE: Duration = Duration::from_mins(10);
/// How much longer a waiting rsync counts than it may wait.
const MOMENT: Duration = Duration::from_secs(1);

/// The connections.
#[derive(Debug, Default)]
pub struct Hosts {
    /// Most to one host; `None` for no limit.
    most: Option<usize>,
    /// Most rsyncs that wait, of all remotes together, where the config lets any.
    most_waiting: usize,
    /// How long one may wait; `None` where the config lets none.
    warm: Option<Duration>,
    /// The host of each remote, by its id.
    names: Vec<String>,
    /// Until when an rsync may wait for a remote's next batch.
    leases: BTreeMap<RemoteId, Duration>,
    /// Until when a remote has no connection to spare.
    scarce: BTreeMap<RemoteId, Duration>,
    /// Batches under way after which one may.
    promised: BTreeSet<RemoteId>,
}

impl Hosts {
    /// Those of the remotes, in the order of their ids, without a limit; at most as many rsyncs wait as
    /// there are `workers`.
    pub fn new(workers: usize, names: impl IntoIterator<Item = String>) -> Hosts {
        let names = names.into_iter().map(|name| name.to_lowercase()).collect();
        Hosts { most_waiting: workers, names, ..Hosts::default() }
    }

    /// Another limit counts, for those that begin from now on; and how long the config lets rsyncs wait.
    pub fn set(&mut self, most: Option<usize>, warm: Option<Duration>) {
        (self.most, self.warm) = (most.map(|most| most.max(1)), warm);
    }

    /// A remote that is new has the next id.
    pub fn push(&mut self, name: &str) {
        self.names.push(name.to_lowercase());
    }

    /// Whether a remote may have one more connection. `at_work` tells how many transfers each remote has.
    pub fn has_room(
        &self,
        now: Duration,
        id: RemoteId,
        takes: Takes,
        at_work: impl Fn(RemoteId) -> usize,
    ) -> bool {
        let Some(most) = self.most else { return true };
        let here = self.neighbours(id).map(|other| {
            let own = other == id && takes == Takes::Waiting;
            at_work(other).saturating_add(usize::from(!own && self.waits(now, other)))
        });
        here.fold(0, usize::saturating_add) < most
    }

    /// Whether an rsync may wait when the remote's next batch is over.
    pub fn ahead(&self, now: Duration, id: RemoteId) -> Ahead {
        let others =
            |other: &RemoteId| *other != id && (self.waits(now, *other) || self.promised.contains(other));
        let all = self.leases.keys().filter(|other| !self.promised.contains(other));
        let all = all.chain(&self.promised).filter(|other| others(other)).count();
        let here = self.neighbours(id).filter(others).count();
        let fits = self.most.is_none_or(|most| here < most / 2);
        if fits && all < self.most_waiting && !self.is_scarce(now, id) { self.usual() } else { Ahead::Ends }
    }

    /// The same for what goes beside a long batch: where nobody counts connections.
    pub fn ahead_beside(&self, now: Duration, id: RemoteId) -> Ahead {
        let counted = self.most.is_some() || self.warm.is_none() || self.is_scarce(now, id);
        if counted { Ahead::Ends } else { Ahead::TwoWait }
    }

    /// The remote has no connection left: none waits there for a while.
    pub fn scarce(&mut self, now: Duration, id: RemoteId) {
        self.scarce.insert(id, now.saturating_add(SCARCE));
    }

    fn is_scarce(&self, now: Duration, id: RemoteId) -> bool {
        self.scarce.get(&id).is_some_and(|until| *until > now)
    }

    fn usual(&self) -> Ahead {
        match (self.warm, self.most) {
            (None, _) => Ahead::Ends,
            (Some(_), Some(_)) => Ahead::Waits,
            (Some(_), None) => Ahead::TwoWait,
        }
    }

    /// A batch begins, after which one may wait, or may not. It uses up the one that waits.
    pub fn begin(&mut self, id: RemoteId, ahead: Ahead) {
        self.leases.remove(&id);
        match ahead {
            Ahead::Waits | Ahead::TwoWait => self.promised.insert(id),
            Ahead::Ends => self.promised.remove(&id),
        };
    }

    /// A batch is over; without an outcome its syncer is gone, or it was none.
    pub fn end(&mut self, now: Duration, id: RemoteId, outcome: Option<Outcome>) {
        self.leases.retain(|other, until| *until > now && *other != id);
        if let (true, Some(Outcome::Done), Some(warm)) = (self.promised.remove(&id), outcome, self.warm) {
            self.leases.insert(id, now.saturating_add(warm).saturating_add(MOMENT));
        }
    }

    /// When time alone makes room at a host.
    pub fn deadline(&self, now: Duration) -> Option<Duration> {
        self.most?;
        self.leases.values().filter(|until| **until > now).fold(None, |at, until| earliest(at, Some(*until)))
    }

    fn waits(&self, now: Duration, id: RemoteId) -> bool {
        self.leases.get(&id).is_some_and(|until| *until > now)
    }

    /// All remotes of the same host, with this one.
    fn neighbours(&self, id: RemoteId) -> impl Iterator<Item = RemoteId> {
        let name = self.names.get(usize::from(id.0));
        let all = (0_u16..).map(RemoteId).zip(&self.names);
        all.filter(move |(other, host)| *other == id || Some(*host) == name).map(|(other, _)| other)
    }
}

/// What a job does with the rsync that waits for its remote.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Takes {
    /// It uses it up: a batch.
    Waiting,
    /// It leaves it alone, and needs a connection beside it.
    Another,
}

#[cfg(test)]
mod tests;
