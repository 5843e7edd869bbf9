//! The dispatcher: takes what happened, decides what to do. Everything that crosses from one
//! tree, remote or child to another is decided here and nowhere else.

use std::time::Duration;

use common::event::{Change, Dirt, RootId, TreeId};
use common::message::{Deletions, LossCause, RootLoss};
use common::path::RelPath;
use log::Level;

use super::guard::{Guard, Seen};
use super::pool::Pool;
use super::remote::Remote;
use super::restart::Event;
use super::retry::Jitter;
use super::{Action, Input, JobEnd, Lane, Pace, RemoteId, Role, earliest, notice};

/// How long the workers' bound holds while nothing finishes: one stuck transfer must not keep
/// other remotes waiting.
const STUCK: Duration = Duration::from_millis(500);
/// A syncer that had nothing to do for this long is retired.
const RETIRE: Duration = Duration::from_secs(600);
/// Rescans of a tree are spoken of at most this often.
const RESCAN_PAUSE: Duration = Duration::from_secs(10);
/// How long a stop waits for changes made just before it.
const DRAIN_LEAST: Duration = Duration::from_millis(150);
/// How long a stop waits for transfers.
const DRAIN_MOST: Duration = Duration::from_secs(20);

/// What the dispatcher is told at start.
#[derive(Debug, Clone)]
pub struct Setup {
    /// Each tree: how to name it, and its remotes.
    pub trees: Vec<(String, Vec<String>)>,
    /// Sync everything once each tree is watched (`-r`).
    pub full_sync: bool,
    /// The operator asked for mirror semantics: a rescan may delete.
    pub mirror: bool,
    /// Most transfers at work at once (`-n`).
    pub workers: usize,
    /// Most syncers alive at once.
    pub max_syncers: usize,
    /// Chance.
    pub seed: u64,
}

/// The core.
#[derive(Debug)]
pub struct Dispatcher {
    trees: Vec<Tree>,
    remotes: Vec<Remote>,
    pool: Pool,
    full_sync: bool,
    mirror: bool,
    workers: usize,
    jitter: Jitter,
    last_finish: Duration,
    draining: Option<Duration>,
}

#[derive(Debug)]
struct Tree {
    label: String,
    remotes: Vec<RemoteId>,
    guard: Guard,
    /// Nobody watches: what happens now is found by a rescan.
    blind: bool,
    /// When a rescan was last spoken of, and how many were not since.
    rescans: (Option<Duration>, u64),
}

impl Dispatcher {
    /// Ready for its first input.
    pub fn new(setup: Setup) -> Dispatcher {
        let mut remotes = Vec::new();
        let mut trees = Vec::new();
        for (id, (label, labels)) in (0_u16..).zip(setup.trees) {
            let first = remotes.len();
            remotes.extend(labels.into_iter().map(|label| Remote::new(TreeId(id), label)));
            let ids = (first..remotes.len()).filter_map(|n| u16::try_from(n).ok()).map(RemoteId).collect();
            trees.push(Tree {
                label,
                remotes: ids,
                guard: Guard::default(),
                blind: false,
                rescans: (None, 0),
            });
        }
        Dispatcher {
            trees,
            remotes,
            pool: Pool::new(setup.max_syncers),
            full_sync: setup.full_sync,
            mirror: setup.mirror,
            workers: setup.workers.max(1),
            jitter: Jitter::new(setup.seed),
            last_finish: Duration::ZERO,
            draining: None,
        }
    }

    /// Starts the watcher, and a syncer for each remote so that the first change finds one.
    pub fn start(&mut self, now: Duration, out: &mut Vec<Action>) {
        self.pool.on(now, Role::Watcher, Event::Wanted, out);
        for id in self.remote_ids() {
            if let Some(remote) = self.remotes.get_mut(usize::from(id.0)) {
                remote.last_work = [now; 2];
            }
            self.pool.want_syncer(now, Role::Syncer(id, Lane::Batch), |_| None::<()>, out);
        }
    }

    /// Takes what happened and appends what to do.
    pub fn on(&mut self, now: Duration, input: Input, out: &mut Vec<Action>) {
        match input {
            Input::Tick => self.tick(now, out),
            Input::Changes(tree, changes) => {
                self.pool.pace(now, Role::Watcher, Pace::Idle, out);
                self.insert(now, tree, &changes, out);
            }
            Input::Rescan(tree, path, cause) => self.rescan(now, tree, path, cause, out),
            Input::Watching(tree, root, directories) => self.watching(now, tree, root, directories, out),
            Input::RootLost(tree, cause) => self.root_lost(now, tree, cause, out),
            Input::Ready(role) => self.pool.on(now, role, Event::Ready, out),
            Input::Alive(role, pace) => self.pool.pace(now, role, pace, out),
            Input::Exited(role, how) => self.exited(now, role, &how, out),
            Input::Done(role, end) => self.done(now, role, &end, out),
            Input::Drain => self.drain(now, out),
        }
        self.pump(now, out);
        self.check_drained(now, out);
    }

    /// When time alone changes something. Work that is due but waits for a child or a worker
    /// is not in it: the child's report will come.
    pub fn deadline(&self, now: Duration) -> Option<Duration> {
        let remotes =
            self.remotes.iter().filter(|remote| self.permits(remote.tree).is_some()).map(Remote::deadline);
        let crowded = self.working() >= self.workers;
        let stuck = self.lanes().filter(|_| crowded).map(|role| {
            self.waiting_since(now, role).map(|since| since.max(self.last_finish).saturating_add(STUCK))
        });
        let retire = self.pool.syncers().map(|role| Some(self.idle_since(role)?.saturating_add(RETIRE)));
        let drain = [DRAIN_LEAST, DRAIN_MOST].map(|pause| Some(self.draining?.saturating_add(pause)));
        let future = remotes.chain(stuck).chain(retire).chain(drain).map(|at| at.filter(|&at| at > now));
        future.fold(self.pool.deadline(), earliest)
    }

    /// The remotes, in the order of their ids.
    pub fn remotes(&self) -> &[Remote] {
        &self.remotes
    }

    fn remote_ids(&self) -> impl Iterator<Item = RemoteId> + use<> {
        (0_u16..).take(self.remotes.len()).map(RemoteId)
    }

    fn lanes(&self) -> impl Iterator<Item = Role> + use<> {
        self.remote_ids().flat_map(|id| [Role::Syncer(id, Lane::Batch), Role::Syncer(id, Lane::Full)])
    }

    fn permits(&self, tree: TreeId) -> Option<(RootId, Deletions)> {
        self.trees.get(usize::from(tree.0))?.guard.permits()
    }

    fn working(&self) -> usize {
        let lanes = |remote: &Remote| {
            usize::from(remote.is_working(Lane::Batch))
                .saturating_add(usize::from(remote.is_working(Lane::Full)))
        };
        self.remotes.iter().map(lanes).sum()
    }

    /// Since when a syncer has nothing to do; `None` while it works.
    fn idle_since(&self, role: Role) -> Option<Duration> {
        let Role::Syncer(id, lane) = role else { return None };
        let remote = self.remotes.get(usize::from(id.0))?;
        if remote.is_working(lane) {
            return None;
        }
        let [batch, full] = remote.last_work;
        Some(match lane {
            Lane::Batch => batch,
            Lane::Full => full,
        })
    }

    /// How readily a syncer makes room for one that was last at work at `claim`: first those
    /// without work, then those that were at work since. Never the other way round, or two
    /// would turn each other out for ever.
    fn spare(&self, now: Duration, role: Role, claim: Duration) -> Option<(bool, Duration)> {
        let idle = self.idle_since(role)?;
        let waits = self.waiting_since(now, role).is_some();
        (!waits || idle > claim).then_some((waits, idle))
    }

    /// Since when a syncer has work that could go.
    fn waiting_since(&self, now: Duration, role: Role) -> Option<Duration> {
        let Role::Syncer(id, lane) = role else { return None };
        let remote = self.remotes.get(usize::from(id.0))?;
        self.permits(remote.tree)?;
        remote.waiting_since(now, lane).filter(|_| lane == Lane::Batch || self.draining.is_none())
    }

    fn insert(&mut self, now: Duration, tree: TreeId, changes: &[Change], out: &mut Vec<Action>) {
        let Some(tree) = self.trees.get(usize::from(tree.0)) else { return };
        for id in &tree.remotes {
            let Some(remote) = self.remotes.get_mut(usize::from(id.0)) else { continue };
            match remote.insert(now, changes) {
                None => {}
                Some(collapsed) => out.push(notice::collapsed(&remote.label, &collapsed)),
            }
        }
    }

    fn rescan(&mut self, now: Duration, id: TreeId, path: RelPath, cause: LossCause, out: &mut Vec<Action>) {
        let Some(tree) = self.trees.get_mut(usize::from(id.0)) else { return };
        let (said, unsaid) = &mut tree.rescans;
        if said.is_none_or(|said| now.saturating_sub(said) >= RESCAN_PAUSE) {
            out.push(notice::rescan(&tree.label, &path, cause, self.mirror, *unsaid));
            tree.rescans = (Some(now), 0);
        } else {
            *unsaid = unsaid.saturating_add(1);
        }
        if path.is_root() {
            self.resync(now, id);
        } else {
            let dirt = if self.mirror { Dirt::Deep } else { Dirt::Sweep };
            self.insert(now, id, &[Change { path, dirt, mask: 0 }], out);
        }
    }

    /// Asks for a full sync of every remote of a tree, with deletions where the operator asked
    /// for mirror semantics.
    fn resync(&mut self, now: Duration, tree: TreeId) {
        let deletions = if self.mirror { Deletions::Travel } else { Deletions::Held };
        self.each_remote(tree, |remote| remote.want_full(now, deletions));
    }

    fn each_remote(&mut self, tree: TreeId, mut act: impl FnMut(&mut Remote)) {
        self.remotes.iter_mut().filter(|remote| remote.tree == tree).for_each(&mut act);
    }

    fn watching(&mut self, now: Duration, id: TreeId, root: RootId, directories: u64, out: &mut Vec<Action>) {
        let Some(tree) = self.trees.get_mut(usize::from(id.0)) else { return };
        let seen = tree.guard.seen(root);
        let blind = std::mem::take(&mut tree.blind);
        let label = tree.label.clone();
        out.push(notice::watching(&label, directories));
        match seen {
            Seen::First if self.full_sync => {
                self.each_remote(id, |remote| remote.want_full(now, Deletions::Travel));
            }
            Seen::First => {}
            Seen::Same => {
                self.each_remote(id, |remote| remote.release_deletions(now));
                if blind {
                    out.push(notice::blind(&label, self.mirror));
                    self.resync(now, id);
                }
            }
            Seen::Other => {
                out.push(notice::root_replaced(&label));
                self.each_remote(id, |remote| {
                    remote.hold_deletions(now);
                    remote.want_full(now, Deletions::Held);
                });
            }
        }
    }

    fn root_lost(&mut self, now: Duration, id: TreeId, cause: RootLoss, out: &mut Vec<Action>) {
        let Some(tree) = self.trees.get_mut(usize::from(id.0)) else { return };
        tree.guard.lost();
        tree.blind = true;
        out.push(notice::root_lost(&tree.label, cause));
        self.each_remote(id, |remote| remote.hold_deletions(now));
    }

    fn exited(&mut self, now: Duration, role: Role, how: &str, out: &mut Vec<Action>) {
        let wanted = self.pool.is_alive(role);
        self.pool.on(now, role, Event::Exited, out);
        match role {
            Role::Watcher => {
                for tree in &mut self.trees {
                    tree.blind = true;
                }
            }
            Role::Syncer(id, lane) => {
                if let Some(remote) = self.remotes.get_mut(usize::from(id.0)) {
                    remote.abandon(now, lane);
                }
            }
        }
        if wanted && self.draining.is_none() && !self.pool.is_off(role) {
            out.push(notice::child_died(&self.describe(role), how));
        }
    }

    fn done(&mut self, now: Duration, role: Role, end: &JobEnd, out: &mut Vec<Action>) {
        self.pool.pace(now, role, Pace::Idle, out);
        let Role::Syncer(id, lane) = role else { return };
        self.last_finish = now;
        let Some(remote) = self.remotes.get_mut(usize::from(id.0)) else { return };
        let was_in_trouble = remote.is_in_trouble();
        let turn = remote.finish(now, lane, end, &mut self.jitter);
        if was_in_trouble && !remote.is_in_trouble() {
            out.push(notice::remote_up(remote));
        }
        out.extend(notice::turn(remote, turn, end));
    }

    fn drain(&mut self, now: Duration, out: &mut Vec<Action>) {
        if self.draining.is_none() {
            self.draining = Some(now);
            out.push(Action::Log(Level::Info, "stopping: sending what is pending".to_owned()));
            self.remotes.iter_mut().for_each(|remote| remote.hurry(now));
        }
    }

    fn check_drained(&mut self, now: Duration, out: &mut Vec<Action>) {
        let Some(since) = self.draining else { return };
        let waited = now.saturating_sub(since);
        let idle = |remote: &Remote| {
            remote.pending() == 0 || remote.is_in_trouble() || self.permits(remote.tree).is_none()
        };
        if waited < DRAIN_LEAST || (waited < DRAIN_MOST && !self.remotes.iter().all(idle)) {
            return;
        }
        for remote in self.remotes.iter().filter(|remote| !remote.is_done() || remote.parked() > 0) {
            out.push(notice::not_sent(remote));
        }
        out.push(Action::Drained);
    }

    fn tick(&mut self, now: Duration, out: &mut Vec<Action>) {
        self.pool.tick(now, out);
        let idle: Vec<Role> = self
            .pool
            .syncers()
            .filter(|&role| self.idle_since(role).is_some_and(|since| now.saturating_sub(since) >= RETIRE))
            .collect();
        for role in idle {
            self.pool.on(now, role, Event::Unwanted, out);
        }
    }

    /// Gives every syncer that waits, and whose remote has work, a job; where workers or places
    /// are scarce, those first that were at work longest ago.
    fn pump(&mut self, now: Duration, out: &mut Vec<Action>) {
        let mut claims: Vec<(Duration, Role, Duration)> = self
            .lanes()
            .filter_map(|role| Some((self.idle_since(role)?, role, self.waiting_since(now, role)?)))
            .collect();
        claims.sort_unstable();
        for (claim, role, since) in claims {
            if self.pool.is_ready(role) {
                self.start_job(now, role, since, out);
            } else {
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

    fn start_job(&mut self, now: Duration, role: Role, since: Duration, out: &mut Vec<Action>) {
        let Role::Syncer(id, lane) = role else { return };
        let stuck = now.saturating_sub(since.max(self.last_finish)) >= STUCK;
        if self.working() >= self.workers && !stuck {
            return;
        }
        let Some(remote) = self.remotes.get_mut(usize::from(id.0)) else { return };
        let Some((root, deletions)) =
            self.trees.get(usize::from(remote.tree.0)).and_then(|tree| tree.guard.permits())
        else {
            return;
        };
        if let Some(job) = remote.start(now, lane, root, deletions) {
            self.pool.pace(now, role, Pace::Busy, out);
            out.push(Action::Send(role, job));
        }
    }

    fn describe(&self, role: Role) -> String {
        match role {
            Role::Watcher => "role=watcher".to_owned(),
            Role::Syncer(id, _) => {
                let label = self.remotes.get(usize::from(id.0)).map_or("?", |remote| &remote.label);
                format!("role=syncer remote={label}")
            }
        }
    }
}
