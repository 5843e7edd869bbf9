//! Who works next: which syncer gets a job, which makes room, and when all is done that can be
//! done before a stop.

use std::time::Duration;

use common::message::Work;
use log::Level;

use super::super::restart::Event;
use super::{DRAIN_LEAST, DRAIN_MOST, Dispatcher, RETIRE};
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

    /// How many hold a place that this one could have. New remotes, which get the whole tree, take none
    /// away from the others.
    fn held(&self, role: Role) -> usize {
        let seeds = self.is_seeding(role);
        self.slots.held(|other| seeds || !self.is_seeding(other))
    }

    /// Whether one that waits since then may begin.
    fn has_place(&self, now: Duration, role: Role, since: Duration) -> bool {
        self.slots.has_room(now, self.held(role), since)
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

    /// When a syncer without work is retired. One that was just started for a remote that had been quiet for
    /// long has not been idle for that long itself.
    pub(super) fn retires_at(&self, role: Role) -> Option<Duration> {
        let since = self.idle_since(role)?.max(self.pool.ready_since(role)?);
        Some(since.saturating_add(RETIRE))
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
        self.say_unproven(out);
        for remote in self.remotes.iter().filter(|remote| !remote.is_done() || remote.parked() > 0) {
            out.push(notice::not_sent(remote));
        }
        self.telling.say_untold(out);
        self.drained = true;
        out.push(Action::Drained);
    }

    pub(super) fn tick(&mut self, now: Duration, out: &mut Vec<Action>) {
        self.pool.tick(now, out);
        let idle = |role: &Role| self.retires_at(*role).is_some_and(|at| now >= at);
        let idle: Vec<Role> = self.pool.syncers().filter(idle).collect();
        for role in idle {
            self.pool.on(now, role, Event::Unwanted, out);
        }
        if self.crontab.as_mut().is_some_and(|crontab| crontab.is_due(now)) {
            let rested = |remote: &&mut Remote| !remote.is_working(Lane::Full) && !remote.is_gone();
            self.remotes.iter_mut().filter(rested).for_each(|remote| remote.want_routine(now));
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
            } else if self.has_room(now, role) && self.is_worth_starting(now, role, since) {
                let spare: Vec<_> = self
                    .pool
                    .syncers()
                    .filter_map(|other| Some((other, self.spare(now, other, claim)?)))
                    .collect();
                let rank = |other| spare.iter().find(|(role, _)| *role == other).map(|&(_, rank)| rank);
                self.pool.want_syncer(now, role, rank, out);
            }
        }
        self.get_ready(now, out);
    }

    /// A syncer for what goes beside others is not started ahead: with many remotes there would be one for
    /// each of them, and by the time that it gets its turn nothing is left to do.
    fn is_worth_starting(&self, now: Duration, role: Role, since: Duration) -> bool {
        match role {
            Role::Syncer(_, Lane::Express | Lane::Full) => self.has_place(now, role, since),
            Role::Syncer(_, Lane::Batch) | Role::Watcher | Role::Keeper | Role::Plugin(_) | Role::Page => {
                true
            }
        }
    }

    pub(super) fn start_job(&mut self, now: Duration, role: Role, since: Duration, out: &mut Vec<Action>) {
        let Role::Syncer(id, lane) = role else { return };
        if !self.has_place(now, role, since) {
            return;
        }
        let held = self.held(role);
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
            self.slots.begin(now, role, held);
            self.telling.begin(remote.tree, role, &job.work);
            out.push(Action::Send(role, job));
        } else {
            self.take_back(now, role, None);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::backlog::Traffic;
    use crate::core::dispatch::Setup;
    use crate::core::{Input, RemoteId};
    use common::event::{Change, Dirt, RootId, TreeId};
    use common::path::RelPath;

    /// The first change after ten minutes of rest was never sent: its syncer was killed as idle before it was
    /// ready, and so was each that was started in its place.
    #[test]
    fn a_syncer_started_after_a_long_rest_is_not_retired_at_once() {
        const BATCH: Role = Role::Syncer(RemoteId(0), Lane::Batch);
        let trees = vec![("/t".to_owned(), vec![("r".to_owned(), Traffic::OneWay)])];
        let mut core = Dispatcher::new(Setup { trees, ..Setup::default() });
        let mut on = |secs: u64, input: Input| {
            let mut out = Vec::new();
            core.on(Duration::from_secs(secs), input, &mut out);
            out
        };
        let root = RootId { device: 1, inode: 1, born: 0 };
        on(0, Input::Watching(TreeId(0), root, 1));
        let path = || RelPath::new("a").unwrap();
        let change = || Change { path: path(), dirt: Dirt::Touched, mask: 8 };
        let spawned = on(700, Input::Changes(TreeId(0), vec![change()]));
        assert!(spawned.contains(&Action::Spawn(BATCH)), "{spawned:?}");
        let out = on(701, Input::Tick);
        assert!(!out.contains(&Action::Kill(BATCH)), "{out:?}");
        let out = on(702, Input::Ready(BATCH));
        assert!(out.iter().any(|it| matches!(it, Action::Send(BATCH, _))), "{out:?}");
        // Without work it goes ten minutes after its last job.
        let end = crate::core::JobEnd {
            outcome: common::message::Outcome::Done,
            status: 0,
            tail: String::new(),
            failed: None,
            left: vec![],
        };
        on(703, Input::Done(BATCH, end));
        for secs in [750, 800, 900, 1000, 1100, 1200, 1300] {
            on(secs, Input::Alive(BATCH, Pace::Idle));
        }
        assert!(!on(1302, Input::Tick).contains(&Action::Kill(BATCH)));
        assert!(on(1304, Input::Tick).contains(&Action::Kill(BATCH)));
    }
}
