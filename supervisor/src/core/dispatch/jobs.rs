//! Who works next: which syncer gets a job, which makes room, and when all is done that can be
//! done before a stop.

use std::time::Duration;

use common::message::{Deletions, Work};
use log::Level;

use super::super::restart::Event;
use super::{DRAIN_LEAST, DRAIN_MOST, Dispatcher, RETIRE, STUCK};
use crate::core::remote::{Remote, lane_index};
use crate::core::{Action, Lane, Pace, Role, notice};

/// Whose turn it is: new remotes come last, and then whoever was at work last.
type Claim = (bool, Duration);

impl Dispatcher {
    pub(super) fn working(&self) -> usize {
        self.remotes.iter().map(Self::at_work).sum()
    }

    /// How many transfers one remote has.
    pub(super) fn at_work(remote: &Remote) -> usize {
        Lane::ALL.iter().filter(|&&lane| remote.is_working(lane)).count()
    }

    /// How many of those bring the whole tree to a new remote.
    fn seeding(&self) -> usize {
        let seeds = |remote: &&Remote| remote.is_working(Lane::Full) && remote.is_seeding(Lane::Full);
        self.remotes.iter().filter(seeds).count()
    }

    /// Whether a syncer's next job, or the one under way, is of that kind.
    fn is_seeding(&self, role: Role) -> bool {
        let Role::Syncer(id, lane) = role else { return false };
        self.remotes.get(usize::from(id.0)).is_some_and(|remote| remote.is_seeding(lane))
    }

    /// Since when a syncer has nothing to do; `None` while it works.
    pub(super) fn idle_since(&self, role: Role) -> Option<Duration> {
        let Role::Syncer(id, lane) = role else { return None };
        let remote = self.remotes.get(usize::from(id.0))?;
        if remote.is_working(lane) {
            return None;
        }
        remote.last_work.get(lane_index(lane)).copied()
    }

    /// How readily a syncer makes room for one that was last at work at `claim`: first those
    /// without work, then those that were at work since. Never the other way round, or two
    /// would turn each other out for ever.
    pub(super) fn spare(&self, now: Duration, role: Role, claim: Claim) -> Option<(bool, Claim)> {
        let idle = (self.is_seeding(role), self.idle_since(role)?);
        let waits = self.waiting_since(now, role).is_some();
        (!waits || idle > claim).then_some((waits, idle))
    }

    /// Since when a syncer has work that could go.
    pub(super) fn waiting_since(&self, now: Duration, role: Role) -> Option<Duration> {
        let Role::Syncer(id, lane) = role else { return None };
        let remote = self.remotes.get(usize::from(id.0))?;
        self.permits(remote.tree)?;
        remote.waiting_since(now, lane).filter(|_| lane != Lane::Full || self.draining.is_none())
    }

    pub(super) fn drain(&mut self, now: Duration, out: &mut Vec<Action>) {
        if self.draining.is_none() {
            self.draining = Some(now);
            out.push(Action::Log(Level::Info, "stopping: sending what is pending".to_owned()));
            self.remotes.iter_mut().for_each(|remote| remote.hurry(now));
            self.telling.hurry(now);
        }
    }

    pub(super) fn check_drained(&mut self, now: Duration, out: &mut Vec<Action>) {
        let Some(since) = self.draining.filter(|_| !self.drained) else { return };
        let waited = now.saturating_sub(since);
        let idle = |remote: &Remote| {
            remote.pending() == 0 || remote.is_in_trouble() || self.permits(remote.tree).is_none()
        };
        let quiet = self.remotes.iter().all(idle) && self.telling.is_quiet(&self.pool, waited);
        if waited < DRAIN_LEAST || (waited < DRAIN_MOST && !quiet) {
            return;
        }
        if !self.is_saved(now, out) {
            return;
        }
        for remote in self.remotes.iter().filter(|remote| !remote.is_done() || remote.parked() > 0) {
            out.push(notice::not_sent(remote));
        }
        self.telling.say_untold(out);
        self.drained = true;
        out.push(Action::Drained);
    }

    pub(super) fn tick(&mut self, now: Duration, out: &mut Vec<Action>) {
        self.pool.tick(now, out);
        let idle: Vec<Role> = self
            .pool
            .syncers()
            .filter(|&role| self.idle_since(role).is_some_and(|since| now.saturating_sub(since) >= RETIRE))
            .collect();
        for role in idle {
            self.pool.on(now, role, Event::Unwanted, out);
        }
        if self.crontab.as_mut().is_some_and(|crontab| crontab.is_due(now)) {
            let rested = |remote: &&mut Remote| !remote.is_working(Lane::Full) && !remote.is_gone();
            self.remotes
                .iter_mut()
                .filter(rested)
                .for_each(|remote| remote.want_full(now, Deletions::Travel));
        }
        self.tick_audits(now, out);
        if self.sweep.is_due(now) {
            self.remotes.iter_mut().for_each(|remote| remote.sweep(now));
        }
    }

    /// Gives every syncer that waits, and whose remote has work, a job; where workers or places
    /// are scarce, those first that were at work longest ago, and new remotes last.
    pub(super) fn pump(&mut self, now: Duration, out: &mut Vec<Action>) {
        let claim = |role| {
            let idle = (self.is_seeding(role), self.idle_since(role)?);
            Some((idle, role, self.waiting_since(now, role)?))
        };
        let mut claims: Vec<(Claim, Role, Duration)> = self.lanes().filter_map(claim).collect();
        claims.sort_unstable();
        for (claim, role, since) in claims {
            if self.pool.is_ready(role) {
                self.start_job(now, role, since, out);
            } else if self.has_room(now, role) {
                let spare: Vec<_> = self
                    .pool
                    .syncers()
                    .filter_map(|other| Some((other, self.spare(now, other, claim)?)))
                    .collect();
                let rank = |other| spare.iter().find(|(role, _)| *role == other).map(|&(_, rank)| rank);
                self.pool.want_syncer(now, role, rank, out);
            }
        }
    }

    pub(super) fn start_job(&mut self, now: Duration, role: Role, since: Duration, out: &mut Vec<Action>) {
        let Role::Syncer(id, lane) = role else { return };
        let stuck = now.saturating_sub(since.max(self.last_finish)) >= STUCK;
        // New remotes take no worker away from the others.
        let others = if self.is_seeding(role) { 0 } else { self.seeding() };
        if self.working().saturating_sub(others) >= self.workers && !stuck {
            return;
        }
        let tree = self.tree_of(role).and_then(|tree| self.trees.get(usize::from(tree.0)));
        let most = tree.and_then(|tree| tree.brake.max_delete());
        let Some((root, deletions)) = tree.and_then(|tree| tree.guard.permits()) else { return };
        let Some(terms) = self.terms(now, role) else { return };
        let Some(remote) = self.remotes.get_mut(usize::from(id.0)) else { return };
        if let Some(mut job) = remote.start(now, lane, root, deletions) {
            job.terms = terms;
            if matches!(job.work, Work::Full) && !remote.is_approved() {
                job.max_delete = most;
            }
            self.pool.pace(now, role, Pace::Busy, out);
            self.telling.begin(remote.tree, role, &job.work);
            out.push(Action::Send(role, job));
        } else {
            self.take_back(now, role, None);
        }
    }
}
