//! The dispatcher: takes what happened, decides what to do. Everything that crosses from one
//! tree, remote or child to another is decided here and nowhere else.

mod audit;
mod beside;
mod carried;
mod changes;
mod children;
mod explain;
mod jobs;
mod memory;
mod recovery;
mod reload;
mod requests;
mod saving;
mod setup;
mod shared;
mod sight;
mod tree;
mod view;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use common::config::MAX_CONNECTIONS;
use common::event::{Change, RootId, TreeId};
use common::filter::Filter;
use common::message::{Deletions, Outcome};

use super::bandwidth::Shares;
use super::hosts::Hosts;
use super::keeping::Keeping;
use super::pool::Pool;
use super::remote::Remote;
use super::restart::Event;
use super::retry::Jitter;
use super::schedule::Schedule;
use super::slots::Slots;
use super::telling::Telling;
use super::{Action, Blame, ClientId, Input, JobEnd, Lane, Pace, RemoteId, Role, earliest, notice};

use audit::Audits;
use memory::Past;
use requests::Waiting;
use tree::Tree;

pub use audit::AuditPlan;
pub use memory::Left;
pub use reload::{Added, Described, Fate, Reload, Rules};
pub use setup::Setup;
pub use sight::{Repair, Sight};

/// What an rsync daemon says that has no connection left.
const NO_CONNECTION: &str = "max connections";
/// A syncer that had nothing to do for this long is retired.
const RETIRE: Duration = Duration::from_secs(600);
/// How long a stop waits for changes made just before it.
const DRAIN_LEAST: Duration = Duration::from_millis(150);
/// How long a stop waits for transfers.
const DRAIN_MOST: Duration = Duration::from_secs(20);

/// The core.
#[derive(Debug)]
#[allow(clippy::struct_excessive_bools, reason = "these are the operator's own switches")]
pub struct Dispatcher {
    trees: Vec<Tree>,
    remotes: Vec<Remote>,
    pool: Pool,
    telling: Telling,
    crontab: Option<Schedule>,
    sweep: Schedule,
    failures: u64,
    full_sync: bool,
    mirror: bool,
    slots: Slots,
    hosts: Hosts,
    shares: Shares,
    jitter: Jitter,
    /// Chance for remotes that are new.
    seed: u64,
    draining: Option<Duration>,
    /// All is done that could be before a stop.
    drained: bool,
    /// Since when a stop waits for the disk.
    saving: Option<Duration>,
    /// What is kept on disk; `None` where nothing is.
    keeping: Option<Keeping>,
    past: Past,
    /// The supervisor's start, in milliseconds since 1970.
    epoch: u64,
    filter: Filter,
    delete: bool,
    /// Each path that has arrived is spoken of.
    files: bool,
    waiting: Vec<Waiting>,
    /// The watcher reported changes, and has yet to tell their names: that is what it says next.
    unnamed: bool,
    /// Names may have been lost with a watcher: once all are known again, what was reported since the
    /// last commit happened again. What of it is gone by then nobody else would miss.
    recall: bool,
    flushes: u64,
    /// Children at work by a config that counts no more: replaced when they are done.
    stale: BTreeSet<Role>,
    /// Whether a page is served.
    page: bool,
    audits: Audits,
    /// The worst of what a client's comparisons have come to so far.
    audit_exits: BTreeMap<ClientId, u8>,
}

impl Dispatcher {
    /// Ready for its first input.
    pub fn new(setup: Setup) -> Dispatcher {
        let (mut remotes, mut trees) = (Vec::new(), Vec::new());
        for (id, (label, labels)) in (0_u16..).zip(setup.trees) {
            let (first, siblings) = (remotes.len(), labels.len());
            for (label, traffic) in labels {
                let seed = setup.seed.wrapping_add(u64::try_from(remotes.len()).unwrap_or(0));
                let mut remote = Remote::new(TreeId(id), label, traffic, seed);
                remote.share_among(siblings);
                if setup.keep {
                    remote.keep(setup.epoch);
                }
                let id = RemoteId(u16::try_from(remotes.len()).unwrap_or(u16::MAX));
                remote.connections = setup.connections.get(&id).copied().unwrap_or(MAX_CONNECTIONS);
                remotes.push(remote);
            }
            let ids = (first..remotes.len()).filter_map(|n| u16::try_from(n).ok()).map(RemoteId).collect();
            trees.push(Tree::new(label, ids, setup.brake));
        }
        remotes.iter_mut().filter(|_| setup.files).for_each(Remote::tell_arrivals);
        let mut hosts = Hosts::new(setup.workers.max(1), setup.hosts);
        hosts.set(setup.sharing.per_host.map(usize::from), setup.warm);
        Dispatcher {
            hosts,
            shares: Shares::new(setup.sharing.bandwidth),
            telling: Telling::new(trees.len(), setup.plugins),
            crontab: setup.crontab.map(|every| Schedule::new(Duration::ZERO, every)),
            sweep: Schedule::new(Duration::ZERO, setup.sweep),
            failures: 0,
            trees,
            remotes,
            pool: Pool::new(setup.max_syncers),
            full_sync: setup.full_sync,
            mirror: setup.mirror,
            slots: Slots::new(setup.workers),
            jitter: Jitter::new(setup.seed),
            seed: setup.seed,
            draining: None,
            drained: false,
            saving: None,
            keeping: setup.keep.then(Keeping::default),
            past: Past::default(),
            epoch: setup.epoch,
            filter: setup.filter,
            delete: setup.delete,
            files: setup.files,
            waiting: Vec::new(),
            unnamed: false,
            recall: false,
            flushes: 0,
            stale: BTreeSet::new(),
            page: setup.page,
            audits: Audits::new(setup.audit),
            audit_exits: BTreeMap::new(),
        }
    }

    /// Starts the watcher, the plugins, and a syncer for each remote so that the first change
    /// finds one.
    pub fn start(&mut self, now: Duration, out: &mut Vec<Action>) {
        self.pool.on(now, Role::Watcher, Event::Wanted, out);
        if self.keeping.is_some() {
            self.pool.on(now, Role::Keeper, Event::Wanted, out);
            self.past.wait_until(now);
        }
        for role in self.telling.roles() {
            self.pool.on(now, role, Event::Wanted, out);
        }
        if self.page {
            self.pool.on(now, Role::Page, Event::Wanted, out);
        }
        for id in self.remote_ids() {
            if let Some(remote) = self.remotes.get_mut(usize::from(id.0)) {
                remote.last_work = [now; 3];
            }
            self.pool.want_syncer(now, Role::Syncer(id, Lane::Batch), |_| None::<()>, out);
        }
    }

    /// Takes what happened and appends what to do.
    pub fn on(&mut self, now: Duration, input: Input, out: &mut Vec<Action>) {
        self.unnamed = self.is_unnamed_after(&input);
        match input {
            Input::Tick => self.tick(now, out),
            Input::Changes(tree, mut changes) => {
                self.pool.pace(now, Role::Watcher, Pace::Idle, out);
                self.watcher_speaks(now);
                self.leave_out_excluded(&mut changes);
                self.insert(now, tree, &changes, out);
            }
            Input::Moved(tree, kind, from, to) => self.moved(now, tree, kind, &from, &to),
            Input::Rescan(tree, path, cause) => self.rescan(now, tree, path, cause, out),
            Input::Watching(tree, root, directories) => self.watching(now, tree, root, directories, out),
            Input::RootLost(tree, cause) => self.root_lost(now, tree, cause, out),
            Input::Ready(role) => {
                self.pool.on(now, role, Event::Ready, out);
                if let (Role::Watcher, Some(keeping)) = (role, &mut self.keeping) {
                    keeping.watcher_started(out);
                }
                if role == Role::Watcher {
                    self.flush_again(out);
                }
            }
            Input::Names(tree, ops) => self.names(now, tree, ops),
            Input::NamesLost => {
                self.keeping.iter_mut().for_each(|keeping| keeping.lost(now));
                self.names_lost();
            }
            Input::Listed(tree, path, pass) => self.listed(tree, path, pass),
            Input::Keeper(report) => self.keeper_says(now, report, out),
            Input::Flushed(number) => self.flushed(now, number),
            Input::Asked(client, ask) => self.asked(now, client, ask, out),
            Input::AskerGone(client) => self.asker_gone(client),
            Input::Differs(role, found) => {
                if let Role::Syncer(id, Lane::Full) = role {
                    self.differs(id, found, out);
                }
            }
            Input::Alive(role, pace) => self.alive(now, role, pace, out),
            Input::Stalled(role) => self.stalled(now, role, out),
            Input::Exited(role, how) => self.exited(now, role, (Event::Exited, &how), out),
            Input::Outdated(role) => self.exited(now, role, (Event::Outdated, ""), out),
            Input::Done(role, end) => self.done(now, role, &end, out),
            Input::Told(id, verdicts, note) => {
                self.pool.pace(now, Role::Plugin(id), Pace::Idle, out);
                out.extend(self.telling.done(now, id, (&verdicts, &note), &mut self.jitter));
                self.replace_stale(now, Role::Plugin(id), out);
            }
            Input::Reload(reload) => self.reload(now, *reload, out),
            Input::Drain => self.drain(now, out),
        }
        self.carry_again(now, out);
        self.pump(now, out);
        self.keep(now, out);
        self.answer(now, out);
        self.telling.pump(now, &mut self.pool, out);
        self.check_drained(now, out);
    }

    /// What remotes lack is held as where there are many.
    #[cfg(test)]
    pub(super) fn share_all(&mut self) {
        self.remotes.iter_mut().for_each(|remote| remote.share_among(usize::MAX));
    }

    /// When time alone changes something. Work that is due but waits for a child or a worker
    /// is not in it: the child's report will come.
    pub fn deadline(&self, now: Duration) -> Option<Duration> {
        let remotes = self
            .remotes
            .iter()
            .filter(|remote| self.permits(remote.tree).is_some())
            .map(|remote| remote.deadline(now));
        let crowded = self.working() >= self.slots.most();
        let waiting = self.lanes().filter(|_| crowded);
        let stuck = waiting.map(|role| Some(self.slots.due(self.waiting_since(now, role)?)));
        let retire = self.pool.syncers().map(|role| self.retires_at(role));
        let drain = [DRAIN_LEAST, DRAIN_MOST].map(|pause| Some(self.draining?.saturating_add(pause)));
        let unsent = self.remotes.iter().any(|remote| !remote.is_done());
        let sweep = unsent.then(|| self.sweep.deadline());
        let kept = self.keeping.as_ref().and_then(|keeping| keeping.deadline(self.has_edits()));
        let clock = [
            kept,
            self.comparing_until(),
            self.past.until(),
            self.answer_until(),
            self.saving_until(),
            self.audits.deadline(),
            self.crontab.map(|crontab| crontab.deadline()),
            sweep,
            self.telling.deadline(&self.pool),
            self.room_at(now),
        ];
        let beside = self.remote_ids().map(|id| self.ready_beside_at(id));
        let all = remotes.chain(stuck).chain(retire).chain(drain).chain(clock).chain(beside);
        all.map(|at| at.filter(|&at| at > now)).fold(self.pool.deadline(), earliest)
    }

    /// The remotes, in the order of their ids.
    pub fn remotes(&self) -> &[Remote] {
        &self.remotes
    }

    /// True when plugins know all there is to know.
    #[cfg(test)]
    pub(super) fn all_told(&self) -> bool {
        self.telling.is_done()
    }

    /// Which pass of listing counts.
    #[cfg(test)]
    pub(super) fn pass(&self) -> Option<u32> {
        self.keeping.as_ref().map(Keeping::pass)
    }

    /// Grows whenever what [`Remote::failed`] tells may have changed.
    pub fn failures(&self) -> u64 {
        self.failures
    }

    fn remote_ids(&self) -> impl Iterator<Item = RemoteId> + use<> {
        let ids = (0_u16..).map(RemoteId).zip(&self.remotes).filter(|(_, remote)| !remote.is_gone());
        ids.map(|(id, _)| id).collect::<Vec<_>>().into_iter()
    }

    fn lanes(&self) -> impl Iterator<Item = Role> + use<> {
        self.remote_ids().flat_map(|id| Lane::ALL.map(|lane| Role::Syncer(id, lane)))
    }

    fn permits(&self, tree: TreeId) -> Option<(RootId, Deletions)> {
        if self.awaits_past() {
            return None;
        }
        self.trees.get(usize::from(tree.0))?.guard.permits()
    }

    fn insert(&mut self, now: Duration, tree: TreeId, changes: &[Change], out: &mut Vec<Action>) {
        if self.brakes(tree) {
            let passed = self.brake(now, tree, changes, out);
            self.insert_judged(now, tree, &passed, out);
        } else {
            self.insert_judged(now, tree, changes, out);
        }
    }

    fn exited(&mut self, now: Duration, role: Role, (event, how): (Event, &str), out: &mut Vec<Action>) {
        let (wanted, was_ready) = (self.pool.is_alive(role), self.pool.is_ready(role));
        let ordered = self.pool.is_replacing(role);
        self.pool.on(now, role, event, out);
        self.stale.remove(&role);
        self.take_back(now, role, None);
        let blame = if ordered || event == Event::Outdated { Blame::Nobody } else { Blame::Work };
        match role {
            Role::Watcher => {
                self.keeping.iter_mut().for_each(Keeping::watcher_ended);
                self.names_lost();
                let sight = if ordered { Sight::Replaced } else { Sight::Lost };
                self.trees.iter_mut().for_each(|tree| tree.sight = tree.sight.then(sight));
                self.trees.iter_mut().for_each(|tree| tree.unwatched(now, None));
                self.recall = true;
            }
            Role::Syncer(id, lane) => {
                if let Some(remote) = self.remotes.get_mut(usize::from(id.0)) {
                    remote.abandon(now, lane, blame);
                    self.telling.end(role, id, remote, None);
                    if !was_ready && !ordered {
                        // It does not even start: plugins do not wait for it.
                        self.telling.give_up_on(remote.tree, id);
                    }
                }
            }
            Role::Plugin(id) => self.telling.abandon(now, id, blame),
            Role::Keeper => self.keeper_died(was_ready, out),
            Role::Page => {}
        }
        let at_fault = event == Event::Exited && !ordered;
        if at_fault && wanted && self.draining.is_none() && !self.pool.is_off(role) {
            out.push(notice::child_died(&self.describe(role), how));
        }
    }

    fn done(&mut self, now: Duration, role: Role, end: &JobEnd, out: &mut Vec<Action>) {
        self.pool.pace(now, role, Pace::Idle, out);
        let Role::Syncer(id, lane) = role else { return };
        if end.tail.contains(NO_CONNECTION) {
            self.hosts.scarce(now, id);
        }
        self.take_back(now, role, Some(end.outcome));
        let Some(remote) = self.remotes.get_mut(usize::from(id.0)).filter(|it| !it.is_gone()) else { return };
        let audited = remote.is_auditing(lane);
        let carried = remote.carried(lane, end.outcome);
        let was_in_trouble = remote.is_in_trouble();
        let turn = remote.finish(now, lane, end, &mut self.jitter);
        if was_in_trouble && !remote.is_in_trouble() {
            out.push(notice::remote_up(remote));
        }
        out.extend(notice::turn(remote, turn, end));
        out.extend(remote.arrivals());
        self.note_carried(now, id, carried);
        self.replace_stale(now, role, out);
        let Some(remote) = self.remotes.get_mut(usize::from(id.0)) else { return };
        if audited {
            self.audited(now, id, end, out);
            return;
        }
        self.telling.end(role, id, remote, Some((end.outcome, &end.left)));
        if remote.is_known_down() && end.outcome != Outcome::RootGone {
            self.telling.give_up_on(remote.tree, id);
        }
        if remote.touched_record(end.outcome) {
            self.failures = self.failures.saturating_add(1);
        }
    }
}
