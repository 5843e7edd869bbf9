//! All children: which are wanted, which are ready, and which syncer makes room for another.

use std::collections::BTreeMap;
use std::time::Duration;

use super::restart::{Ask, ChildMachine, Event, Next, State};
use super::{Action, Pace, Role, earliest};

/// The children.
#[derive(Debug)]
pub struct Pool {
    machines: BTreeMap<Role, ChildMachine>,
    max_syncers: usize,
}

impl Pool {
    /// No child yet; at most `max_syncers` syncers at a time, since each needs a uid of its own.
    pub fn new(max_syncers: usize) -> Pool {
        Pool { machines: BTreeMap::new(), max_syncers: max_syncers.max(1) }
    }

    /// Most syncers at a time.
    pub fn max_syncers(&self) -> usize {
        self.max_syncers
    }

    /// Feeds an event to a child's machine.
    pub fn on(&mut self, now: Duration, role: Role, event: Event, out: &mut Vec<Action>) {
        match self.machines.entry(role).or_default().on(now, event) {
            Some(Ask::Spawn) => out.push(Action::Spawn(role)),
            Some(Ask::Kill) => out.push(Action::Kill(role)),
            None => {}
        }
    }

    /// True when the child takes work.
    pub fn is_ready(&self, role: Role) -> bool {
        self.machines.get(&role).is_some_and(ChildMachine::is_ready)
    }

    /// Since when the child takes work; `None` while it does not.
    pub fn ready_since(&self, role: Role) -> Option<Duration> {
        match self.machines.get(&role).map(ChildMachine::state) {
            Some(State::Ready { since, .. }) => Some(since),
            Some(State::Off | State::Starting { .. } | State::Stopping { .. } | State::Backoff { .. })
            | None => None,
        }
    }

    /// True while the child's process exists.
    pub fn is_alive(&self, role: Role) -> bool {
        self.machines.get(&role).is_some_and(ChildMachine::is_alive)
    }

    /// True while the child is killed because the config has changed.
    pub fn is_replacing(&self, role: Role) -> bool {
        let state = self.machines.get(&role).map(ChildMachine::state);
        matches!(state, Some(State::Stopping { next: Next::Anew, .. }))
    }

    /// True when the child is neither alive nor about to be started again.
    pub fn is_off(&self, role: Role) -> bool {
        self.machines.get(&role).is_none_or(|machine| machine.state() == State::Off)
    }

    /// Starts a syncer that has work, as soon as there is room for it. `spare` ranks the
    /// syncers that may make room, the least first; `None` for one that may not.
    pub fn want_syncer<R: Ord>(
        &mut self,
        now: Duration,
        role: Role,
        spare: impl Fn(Role) -> Option<R>,
        out: &mut Vec<Action>,
    ) {
        if !self.is_off(role) || self.syncers().count() < self.max_syncers {
            self.on(now, role, Event::Wanted, out);
            return;
        }
        // One at a time: a place that is being made is not asked for twice.
        if self.syncers().any(|other| self.is_stopping(other)) {
            return;
        }
        let settled = self.syncers().filter(|&other| self.may_retire(other));
        let least = settled.filter_map(|other| Some((spare(other)?, other))).min();
        if let Some((_, other)) = least {
            self.on(now, other, Event::Unwanted, out);
            if self.is_off(other) {
                // It had no process: the place is free at once, and belongs to who asked for it.
                self.on(now, role, Event::Wanted, out);
            }
        }
    }

    /// Lets time pass for all children.
    pub fn tick(&mut self, now: Duration, out: &mut Vec<Action>) {
        let roles: Vec<Role> = self.machines.keys().copied().collect();
        for role in roles {
            self.on(now, role, Event::Tick, out);
        }
    }

    /// A child works, or waits again.
    pub fn pace(&mut self, now: Duration, role: Role, pace: Pace, out: &mut Vec<Action>) {
        self.on(now, role, Event::Alive(pace), out);
    }

    /// When time alone changes something.
    pub fn deadline(&self) -> Option<Duration> {
        self.machines.values().map(ChildMachine::deadline).fold(None, earliest)
    }

    /// All children that are wanted, where they stand, and how often they were started again.
    pub fn all(&self) -> impl Iterator<Item = (Role, State, u64)> {
        let on = self.machines.iter().filter(|(_, machine)| machine.state() != State::Off);
        on.map(|(&role, machine)| (role, machine.state(), machine.restarts()))
    }

    /// The syncers that take up a place: all that are not off, also while they wait for their
    /// next start.
    pub fn syncers(&self) -> impl Iterator<Item = Role> {
        let on = |machine: &ChildMachine| machine.state() != State::Off;
        self.machines
            .iter()
            .filter(move |(role, machine)| matches!(role, Role::Syncer(..)) && on(machine))
            .map(|(&role, _)| role)
    }

    fn is_stopping(&self, role: Role) -> bool {
        matches!(self.machines.get(&role).map(ChildMachine::state), Some(State::Stopping { .. }))
    }

    fn may_retire(&self, role: Role) -> bool {
        match self.machines.get(&role).map(ChildMachine::state) {
            Some(State::Ready { .. } | State::Backoff { .. }) => true,
            Some(State::Off | State::Starting { .. } | State::Stopping { .. }) | None => false,
        }
    }
}
