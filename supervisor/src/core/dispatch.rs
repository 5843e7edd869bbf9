//! The dispatcher: takes what happened, decides what to do. Everything that crosses from one
//! tree, remote or child to another is decided here and nowhere else.

mod jobs;

use std::time::Duration;

use common::event::{Change, Dirt, RootId, TreeId};
use common::message::{Deletions, LossCause, Outcome, RemoteOutcome, RootLoss};
use common::path::RelPath;

use super::backlog::Traffic;
use super::guard::{Guard, Seen};
use super::ledger::Standing;
use super::pool::Pool;
use super::remote::{Progress, Remote};
use super::restart::Event;
use super::retry::Jitter;
use super::schedule::Schedule;
use super::telling::Telling;
use super::{Action, Blame, Input, JobEnd, Lane, Pace, RemoteId, Role, earliest, notice};

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
    /// Each tree: how to name it, and its remotes with their names.
    pub trees: Vec<(String, Vec<(String, Traffic)>)>,
    /// Sync everything once each tree is watched (`-r`).
    pub full_sync: bool,
    /// The operator asked for mirror semantics: a rescan may delete.
    pub mirror: bool,
    /// The plugins that are on: how to name each, and how long one call may take.
    pub plugins: Vec<(String, Duration)>,
    /// Pause between two full syncs (`<crontab>`).
    pub crontab: Option<Duration>,
    /// Pause between two sweeps that try everything again that failed (`<failLog>`).
    pub sweep: Duration,
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
    telling: Telling,
    crontab: Option<Schedule>,
    sweep: Schedule,
    failures: u64,
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
            for (label, traffic) in labels {
                let seed = setup.seed.wrapping_add(u64::try_from(remotes.len()).unwrap_or(0));
                remotes.push(Remote::new(TreeId(id), label, traffic, seed));
            }
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
            telling: Telling::new(trees.len(), setup.plugins),
            crontab: setup.crontab.map(|every| Schedule::new(Duration::ZERO, every)),
            sweep: Schedule::new(Duration::ZERO, setup.sweep),
            failures: 0,
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

    /// Starts the watcher, the plugins, and a syncer for each remote so that the first change
    /// finds one.
    pub fn start(&mut self, now: Duration, out: &mut Vec<Action>) {
        self.pool.on(now, Role::Watcher, Event::Wanted, out);
        for role in self.telling.roles() {
            self.pool.on(now, role, Event::Wanted, out);
        }
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
            Input::Alive(role, pace) => self.alive(now, role, pace, out),
            Input::Stalled(role) => self.stalled(now, role, out),
            Input::Exited(role, how) => self.exited(now, role, (Event::Exited, &how), out),
            Input::Outdated(role) => self.exited(now, role, (Event::Outdated, ""), out),
            Input::Done(role, end) => self.done(now, role, &end, out),
            Input::Told(id, verdicts, note) => {
                self.pool.pace(now, Role::Plugin(id), Pace::Idle, out);
                out.extend(self.telling.done(now, id, (&verdicts, &note), &mut self.jitter));
            }
            Input::Drain => self.drain(now, out),
        }
        self.pump(now, out);
        self.telling.pump(now, &mut self.pool, out);
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
        let unsent = self.remotes.iter().any(|remote| !remote.is_done());
        let sweep = unsent.then(|| self.sweep.deadline());
        let clock =
            [self.crontab.map(|crontab| crontab.deadline()), sweep, self.telling.deadline(&self.pool)];
        let all = remotes.chain(stuck).chain(retire).chain(drain).chain(clock);
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

    /// Grows whenever what [`Remote::failed`] tells may have changed.
    pub fn failures(&self) -> u64 {
        self.failures
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

    fn insert(&mut self, now: Duration, tree: TreeId, changes: &[Change], out: &mut Vec<Action>) {
        for remote in self.remotes.iter_mut().filter(|remote| remote.tree == tree) {
            if let Some(collapsed) = remote.insert(now, changes) {
                out.push(notice::collapsed(&remote.label, &collapsed));
            }
            self.failures = self.failures.saturating_add(u64::from(remote.is_in_trouble()));
        }
        self.tell_plugins(now, tree, changes);
    }

    /// Plugins hear of it when the remotes of the tree have dealt with it.
    fn tell_plugins(&mut self, now: Duration, tree: TreeId, changes: &[Change]) {
        let Some(remotes) = self.trees.get(usize::from(tree.0)).map(|tree| &tree.remotes) else { return };
        let standing = |id: &RemoteId| {
            let remote = self.remotes.get(usize::from(id.0))?;
            Some((*id, remote.is_known_down().then_some(RemoteOutcome::Down)))
        };
        let standings: Vec<Standing> = remotes.iter().filter_map(standing).collect();
        self.telling.note(now, tree, changes, &standings);
    }

    fn alive(&mut self, now: Duration, role: Role, pace: Pace, out: &mut Vec<Action>) {
        self.pool.pace(now, role, pace, out);
        if let Some(remote) = self.batch_of(role) {
            remote.note_progress(Progress::Moving);
        }
    }

    /// A job without progress still lives; but nobody waits for its remote any more.
    fn stalled(&mut self, now: Duration, role: Role, out: &mut Vec<Action>) {
        self.pool.pace(now, role, Pace::Busy, out);
        let Some(remote) = self.batch_of(role) else { return };
        remote.note_progress(Progress::Stalled);
        if let (true, tree, Role::Syncer(id, _)) = (remote.is_known_down(), remote.tree, role) {
            self.telling.give_up_on(tree, id);
        }
    }

    /// The remote whose batches this syncer sends.
    fn batch_of(&mut self, role: Role) -> Option<&mut Remote> {
        match role {
            Role::Syncer(id, Lane::Batch) => self.remotes.get_mut(usize::from(id.0)),
            Role::Syncer(_, Lane::Full) | Role::Watcher | Role::Plugin(_) => None,
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

    /// Sight of a whole tree was lost: asks for a full sync of every remote, with deletions where
    /// the operator asked for mirror semantics.
    fn resync(&mut self, now: Duration, tree: TreeId) {
        let deletions = if self.mirror { Deletions::Travel } else { Deletions::Held };
        self.resync_with(now, tree, deletions);
    }

    fn resync_with(&mut self, now: Duration, tree: TreeId, deletions: Deletions) {
        self.each_remote(tree, |remote| remote.want_full(now, deletions));
        let all = Change { path: RelPath::root(), dirt: Dirt::Sweep, mask: 0 };
        self.tell_plugins(now, tree, &[all]);
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
                self.each_remote(id, |remote| remote.hold_deletions(now));
                self.resync_with(now, id, Deletions::Held);
            }
        }
    }

    fn root_lost(&mut self, now: Duration, id: TreeId, cause: RootLoss, out: &mut Vec<Action>) {
        let Some(tree) = self.trees.get_mut(usize::from(id.0)) else { return };
        tree.guard.lost();
        tree.blind = true;
        out.push(notice::root_lost(&tree.label, cause));
        self.each_remote(id, |remote| remote.hold_deletions(now));
        // One that runs ssh has a copy of the host's mounts from its start. The next one sees
        // what is mounted then.
        let lanes: Vec<Role> = self.lanes().filter(|&role| self.tree_of(role) == Some(id)).collect();
        for role in lanes {
            self.pool.on(now, role, Event::Unwanted, out);
        }
    }

    fn tree_of(&self, role: Role) -> Option<TreeId> {
        let Role::Syncer(id, _) = role else { return None };
        self.remotes.get(usize::from(id.0)).map(|remote| remote.tree)
    }

    fn exited(&mut self, now: Duration, role: Role, (event, how): (Event, &str), out: &mut Vec<Action>) {
        let (wanted, was_ready) = (self.pool.is_alive(role), self.pool.is_ready(role));
        self.pool.on(now, role, event, out);
        let blame = if event == Event::Outdated { Blame::Nobody } else { Blame::Work };
        match role {
            Role::Watcher => {
                for tree in &mut self.trees {
                    tree.blind = true;
                }
            }
            Role::Syncer(id, lane) => {
                if let Some(remote) = self.remotes.get_mut(usize::from(id.0)) {
                    remote.abandon(now, lane, blame);
                    self.telling.end(role, id, remote, None);
                    if !was_ready {
                        // It does not even start: plugins do not wait for it.
                        self.telling.give_up_on(remote.tree, id);
                    }
                }
            }
            Role::Plugin(id) => self.telling.abandon(now, id, blame),
        }
        let at_fault = event == Event::Exited;
        if at_fault && wanted && self.draining.is_none() && !self.pool.is_off(role) {
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
        self.telling.end(role, id, remote, Some(end.outcome));
        if remote.is_known_down() && end.outcome != Outcome::RootGone {
            self.telling.give_up_on(remote.tree, id);
        }
        if remote.touched_record(end.outcome) {
            self.failures = self.failures.saturating_add(1);
        }
    }

    fn describe(&self, role: Role) -> String {
        match role {
            Role::Watcher => "role=watcher".to_owned(),
            Role::Syncer(id, _) => {
                let label = self.remotes.get(usize::from(id.0)).map_or("?", |remote| &remote.label);
                format!("role=syncer remote={label}")
            }
            Role::Plugin(id) => format!("role=plugin plugin={}", self.telling.label(id)),
        }
    }
}
