//! The dispatcher against a naive world: random changes, deaths, outcomes and losses, and a
//! model that only remembers what has been promised.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use common::config::Sharing;
use common::event::{Change, Dirt, RootId, TreeId};
use common::message::{Deletions, Job, Load, Outcome, RootLoss, Verdict, Work};
use common::path::RelPath;
use proptest::prelude::*;

use super::backlog::Traffic;
use super::dispatch::{Added, Described, Dispatcher, Fate, Reload, Rules, Setup};
use super::{Action, Input, JobEnd, Lane, PluginId, RemoteId, Role};

const REMOTES: u16 = 3;
const WORKERS: usize = 2;
const ROOT: RootId = RootId { device: 1, inode: 1, born: 0 };
const OTHER: RootId = RootId { device: 1, inode: 2, born: 0 };

#[derive(Debug, Clone)]
enum Step {
    Change(String, Dirt),
    /// The n-th running job ends like this.
    End(usize, Outcome),
    /// The n-th child dies.
    Die(usize),
    /// The plugin's delivery ends like this.
    Plugin(Verdict),
    Lose,
    Find(RootId),
    Pass(u64),
    /// The config changes: what becomes of each remote, and whether one is new.
    Reload(Vec<u8>, bool),
}

fn step() -> impl Strategy<Value = Step> {
    let dirt =
        prop_oneof![Just(Dirt::Touched), Just(Dirt::Removed), Just(Dirt::RemovedDir), Just(Dirt::Deep)];
    let outcome = prop_oneof![
        4 => Just(Outcome::Done),
        1 => Just(Outcome::Partial),
        1 => Just(Outcome::Unreachable),
        1 => Just(Outcome::Limit),
        1 => Just(Outcome::Broken)
    ];
    prop_oneof![
        6 => ("[abc](/[abc]){0,2}", dirt).prop_map(|(path, dirt)| Step::Change(path, dirt)),
        6 => (0_usize..8, outcome).prop_map(|(n, outcome)| Step::End(n, outcome)),
        1 => (0_usize..8).prop_map(Step::Die),
        2 => prop_oneof![Just(Verdict::Delivered), Just(Verdict::Refused), Just(Verdict::Unreachable)]
            .prop_map(Step::Plugin),
        1 => Just(Step::Lose),
        1 => prop_oneof![Just(ROOT), Just(OTHER)].prop_map(Step::Find),
        6 => (0_u64..2000).prop_map(Step::Pass),
        1 => (proptest::collection::vec(0_u8..6, 6), any::<bool>()).prop_map(|(fates, new)| Step::Reload(fates, new)),
    ]
}

/// What the processes would be, and what has been promised to each remote.
struct World {
    core: Dispatcher,
    now: Duration,
    jobs: BTreeMap<Role, Job>,
    alive: BTreeSet<Role>,
    /// Per remote: paths that changed and were not yet confirmed after the change.
    owed: Vec<BTreeSet<RelPath>>,
    /// Paths that changed while their job was in flight.
    late: Vec<BTreeSet<RelPath>>,
    /// Paths that changed and that the plugin was not told of since.
    untold: BTreeSet<RelPath>,
    delivery: Option<usize>,
    drained: bool,
    /// Remotes that are configured no more, and those that have yet to get the whole tree.
    gone: BTreeSet<usize>,
    unseeded: BTreeSet<usize>,
}

impl World {
    fn new() -> World {
        let labels = (0..REMOTES).map(|n| (n.to_string(), Traffic::OneWay)).collect();
        let core = Dispatcher::new(Setup {
            trees: vec![("/t".to_owned(), labels)],
            full_sync: false,
            mirror: true,
            plugins: vec![("plugin".to_owned(), Duration::from_secs(1))],
            crontab: None,
            sweep: Duration::from_secs(60),
            workers: WORKERS,
            max_syncers: 4,
            seed: 7,
            ..Setup::default()
        });
        let empty = || vec![BTreeSet::new(); usize::from(REMOTES)];
        let mut world = World {
            core,
            now: Duration::from_secs(1),
            jobs: BTreeMap::new(),
            alive: BTreeSet::new(),
            owed: empty(),
            late: empty(),
            untold: BTreeSet::new(),
            delivery: None,
            drained: false,
            gone: BTreeSet::new(),
            unseeded: BTreeSet::new(),
        };
        let mut out = vec![];
        world.core.start(world.now, &mut out);
        world.perform(out).into_iter().for_each(|input| world.tell(input));
        world.tell(Input::Watching(TreeId(0), ROOT, 1));
        world
    }

    /// Children start and die at once; that must come to rest.
    fn tell(&mut self, input: Input) {
        let mut inputs = VecDeque::from([input]);
        let mut rounds = 0;
        while let Some(input) = inputs.pop_front() {
            rounds += 1;
            assert!(rounds < 200, "without end: {input:?}");
            let mut out = vec![];
            self.core.on(self.now, input, &mut out);
            inputs.extend(self.perform(out));
        }
    }

    fn perform(&mut self, actions: Vec<Action>) -> Vec<Input> {
        let mut inputs = vec![];
        for action in actions {
            match action {
                Action::Spawn(role) => {
                    assert!(self.alive.insert(role), "{role:?} started twice");
                    let syncers = self.alive.iter().filter(|role| matches!(role, Role::Syncer(..))).count();
                    assert!(syncers <= 4, "more syncers than uids");
                    inputs.push(Input::Ready(role));
                }
                Action::Kill(role) => inputs.extend(self.dies(role)),
                Action::Send(role, job) => self.begin(role, job),
                Action::Deliver(_, events) => {
                    assert!(self.alive.contains(&Role::Plugin(PluginId(0))), "a delivery to a dead plugin");
                    assert!(self.delivery.replace(events.len()).is_none(), "two deliveries at once");
                    for (_, settled) in events {
                        self.untold.remove(&settled.path);
                    }
                }
                Action::Log(..) => {}
                Action::Drained => self.drained = true,
                Action::Keep(_)
                | Action::Watch(_)
                | Action::Rotate
                | Action::Settle
                | Action::Recall
                | Action::EraseKept
                | Action::Say(..)
                | Action::End(..) => {}
            }
        }
        inputs
    }

    fn begin(&mut self, role: Role, job: Job) {
        assert!(self.alive.contains(&role), "a job for a dead child");
        assert!(!self.drained, "a job after the end");
        assert!(job.root == ROOT || job.deletions == Deletions::Held, "a foreign root may not delete");
        let Role::Syncer(id, lane) = role else { panic!("a job for {role:?}") };
        assert!(!self.gone.contains(&usize::from(id.0)), "a job for a remote that is gone");
        if let Work::Batch(paths) = &job.work {
            let other = if lane == Lane::Batch { Lane::Express } else { Lane::Batch };
            if let Some(Work::Batch(beside)) = self.jobs.get(&Role::Syncer(id, other)).map(|job| &job.work) {
                let meets = |path: &RelPath| beside.iter().any(|(it, _)| it.overlaps(path));
                assert!(!paths.iter().any(|(path, _)| meets(path)), "two jobs with one path");
            }
            assert!(job.root == OTHER || job.deletions == Deletions::Travel, "deletions are lost");
            for (path, dirt) in paths {
                let removal = matches!(dirt, Dirt::Removed | Dirt::RemovedDir);
                assert!(!removal || job.deletions == Deletions::Travel, "a held removal was sent");
                self.late[usize::from(id.0)].retain(|late| !covers(path, *dirt, late));
            }
        }
        assert!(self.jobs.insert(role, job).is_none(), "two jobs at once");
    }

    fn dies(&mut self, role: Role) -> Option<Input> {
        if matches!(role, Role::Plugin(_)) {
            self.delivery = None;
        }
        self.jobs.remove(&role);
        self.alive.remove(&role).then(|| Input::Exited(role, "test".to_owned()))
    }

    fn end(&mut self, role: Role, outcome: Outcome) {
        let Some(job) = self.jobs.remove(&role) else { return };
        let Role::Syncer(id, _) = role else { return };
        let n = usize::from(id.0);
        let mut left = vec![];
        if outcome == Outcome::Done {
            match job.work {
                Work::Full => drop(self.unseeded.remove(&n)),
                Work::Verify { .. } => {}
                Work::Batch(paths) => {
                    for (path, dirt) in paths {
                        if job.load == Load::Light && dirt == Dirt::Touched && is_large(&path) {
                            left.push(path);
                            continue;
                        }
                        let covers =
                            |owed: &RelPath| *owed == path || (dirt != Dirt::Touched && owed.is_below(&path));
                        let late = &self.late[n];
                        self.owed[n].retain(|owed| !covers(owed) || late.contains(owed));
                    }
                }
            }
        }
        self.tell(Input::Done(role, JobEnd { outcome, status: 0, tail: String::new(), failed: None, left }));
    }

    fn tell_plugin(&mut self, verdict: Verdict) {
        if let Some(events) = self.delivery.take() {
            self.tell(Input::Told(PluginId(0), vec![verdict; events], String::new()));
        }
    }

    fn take(&mut self, step: Step) {
        self.now += Duration::from_millis(1);
        match step {
            Step::Change(path, dirt) => {
                let path = RelPath::new(path).unwrap();
                for n in (0..self.owed.len()).filter(|n| !self.gone.contains(n)) {
                    self.owed[n].insert(path.clone());
                    self.late[n].insert(path.clone());
                }
                self.untold.insert(path.clone());
                self.tell(Input::Changes(TreeId(0), vec![Change { path, dirt, mask: 0 }]));
            }
            Step::End(n, outcome) => {
                if let Some(&role) = self.jobs.keys().nth(n) {
                    self.end(role, outcome);
                }
            }
            Step::Die(n) => {
                if let Some(&role) = self.alive.iter().nth(n) {
                    let exited = self.dies(role).unwrap();
                    self.tell(exited);
                }
            }
            Step::Plugin(verdict) => self.tell_plugin(verdict),
            Step::Lose => self.tell(Input::RootLost(TreeId(0), RootLoss::Missing)),
            Step::Find(root) => self.tell(Input::Watching(TreeId(0), root, 1)),
            Step::Pass(millis) => {
                self.now += Duration::from_millis(millis);
                self.tell(Input::Tick);
            }
            Step::Reload(fates, new) => self.reload(&fates, new),
        }
    }

    fn reload(&mut self, fates: &[u8], new: bool) {
        let described = |label: &str| Described {
            label: label.to_owned(),
            traffic: Traffic::OneWay,
            connections: if new { 1 } else { 3 },
        };
        let fates: Vec<Fate> = (0..self.owed.len())
            .map(|n| match fates.get(n) {
                Some(0) if n > 0 => Fate::Removed,
                Some(1 | 2) if !self.gone.contains(&n) => Fate::Changed(described("changed")),
                _ if self.gone.contains(&n) => Fate::Removed,
                _ => Fate::Kept,
            })
            .collect();
        for (n, _) in fates.iter().enumerate().filter(|(_, fate)| **fate == Fate::Removed) {
            self.gone.insert(n);
            self.unseeded.remove(&n);
            (self.owed[n], self.late[n]) = (BTreeSet::new(), BTreeSet::new());
        }
        let added = new.then(|| Added { tree: TreeId(0), host: "new".to_owned(), remote: described("new") });
        if new {
            self.unseeded.insert(self.owed.len());
            self.owed.push(BTreeSet::new());
            self.late.push(BTreeSet::new());
        }
        let rules = Rules {
            filter: None,
            delete: true,
            mirror: true,
            crontab: None,
            sweep: Duration::from_secs(60),
            brake: Setup::default().brake,
            audit: None,
            sharing: Sharing::default(),
            warm: Some(Duration::from_secs(10)),
        };
        let reload = Reload {
            rules,
            remotes: fates,
            added: added.into_iter().collect(),
            timeouts: Vec::new(),
            replaced: vec![Role::Plugin(PluginId(0))],
        };
        self.tell(Input::Reload(Box::new(reload)));
    }

    /// Everything works from now on: what is owed has to be paid, following only the core's
    /// own deadlines.
    fn settle(&mut self) {
        self.tell(Input::Watching(TreeId(0), ROOT, 1));
        for _ in 0..2000 {
            if let Some(role) = self.jobs.keys().next().copied() {
                self.now += Duration::from_millis(5);
                self.end(role, Outcome::Done);
            } else if self.delivery.is_some() {
                self.now += Duration::from_millis(5);
                self.tell_plugin(Verdict::Delivered);
            } else if self.core.remotes().iter().all(super::remote::Remote::is_done) && self.core.all_told() {
                return;
            } else {
                let deadline = self.core.deadline(self.now).expect("work is left and nothing will happen");
                self.now = deadline.max(self.now + Duration::from_micros(1));
                self.tell(Input::Tick);
            }
        }
        panic!("it does not come to rest: {:?}", self.core);
    }
}

/// Some files are.
fn is_large(path: &RelPath) -> bool {
    path.as_bytes().last().is_some_and(|last| last % 4 == 0)
}

/// Whether a job that lists `path` deals with `other` too.
fn covers(path: &RelPath, dirt: Dirt, other: &RelPath) -> bool {
    other == path || (dirt != Dirt::Touched && other.is_below(path))
}

proptest! {
    /// Never two jobs in one lane, never more syncers than uids, no removal while the root is
    /// in doubt; and in the end every change was confirmed after it happened.
    #[test]
    fn every_change_is_paid_for(steps in proptest::collection::vec(step(), 0..120)) {
        let mut world = World::new();
        for step in steps {
            world.take(step);
        }
        world.settle();
        prop_assert!(world.unseeded.is_empty(), "not seeded: {:?}", world.unseeded);
        for n in 0..world.owed.len() {
            prop_assert!(world.owed[n].is_empty(), "remote {n} is owed {:?}", world.owed[n]);
        }
        prop_assert!(world.untold.is_empty(), "the plugin was not told {:?}", world.untold);
        world.tell(Input::Drain);
        world.now += Duration::from_secs(1);
        world.tell(Input::Tick);
        prop_assert!(world.drained);
    }
}

/// One stuck transfer does not keep the others waiting, even with a single worker.
#[test]
fn a_stuck_remote_delays_nobody_for_long() {
    let labels = vec![("bad".to_owned(), Traffic::OneWay), ("good".to_owned(), Traffic::OneWay)];
    let mut core = Dispatcher::new(Setup {
        trees: vec![("/t".to_owned(), labels)],
        full_sync: false,
        mirror: false,
        plugins: vec![],
        crontab: None,
        sweep: Duration::from_secs(60),
        workers: 1,
        max_syncers: 4,
        seed: 1,
        ..Setup::default()
    });
    let mut out = vec![];
    let at = Duration::from_millis;
    core.start(at(0), &mut out);
    for n in 0..2 {
        core.on(at(1), Input::Ready(Role::Syncer(RemoteId(n), Lane::Batch)), &mut out);
    }
    core.on(at(2), Input::Watching(TreeId(0), ROOT, 1), &mut out);
    let change = Change { path: RelPath::new("a").unwrap(), dirt: Dirt::Touched, mask: 0 };
    core.on(at(3), Input::Changes(TreeId(0), vec![change]), &mut out);
    let sends = |out: &[Action]| out.iter().filter(|action| matches!(action, Action::Send(..))).count();
    assert_eq!(sends(&out), 1);
    let deadline = core.deadline(at(3)).unwrap();
    assert!(deadline <= at(1003), "{deadline:?}");
    core.on(at(1003), Input::Tick, &mut out);
    assert_eq!(sends(&out), 2);
}
