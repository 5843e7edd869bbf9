use common::event::{Change, Dirt, RootId};
use common::keep::HeldDelete;
use common::message::{Job, LossCause, Outcome, Work};
use common::path::RelPath;

use super::*;
use crate::core::backlog::Traffic;
use crate::core::dispatch::Setup;
use crate::core::{Ask, ClientId, DeletesWhat, Input, JobEnd, Lane, Pace, Role};

const TREE: TreeId = TreeId(0);
const ROOT: RootId = RootId { device: 1, inode: 1, born: 0 };
const BATCH: Role = Role::Syncer(RemoteId(0), Lane::Batch);

struct Fixture {
    core: Dispatcher,
    out: Vec<Action>,
}

impl Fixture {
    fn new() -> Fixture {
        let setup = Setup {
            trees: vec![("/t".to_owned(), vec![("r".to_owned(), Traffic::OneWay)])],
            sweep: Duration::from_secs(3600),
            workers: 4,
            max_syncers: 4,
            keep: true,
            ..Setup::default()
        };
        let mut it = Fixture { core: Dispatcher::new(setup), out: Vec::new() };
        it.core.start(Duration::ZERO, &mut it.out);
        it.on(1, Input::Ready(BATCH));
        it.on(1, Input::Ready(Role::Watcher));
        // The names are all known, as after an earlier run.
        it.on(2, Input::Watching(TREE, ROOT, 1));
        it.on(30_000, Input::Tick);
        it.compared(30_001);
        it.out.clear();
        it
    }

    fn on(&mut self, millis: u64, input: Input) {
        self.core.on(Duration::from_millis(millis), input, &mut self.out);
    }

    fn remove(&mut self, millis: u64, path: &str) {
        let path = RelPath::new(path).unwrap();
        self.on(millis, Input::Changes(TREE, vec![Change { path, dirt: Dirt::RemovedDir, mask: 8 }]));
        self.on(millis + 6000, Input::Tick);
    }

    /// All names were compared.
    fn compared(&mut self, millis: u64) {
        let memory = &mut self.core.trees[0].memory;
        (memory.knowledge, memory.catching_up) = (Some(Knowledge::Whole), None);
        self.on(millis, Input::Tick);
    }

    /// Another watcher watches, and what it lists is yet to be compared.
    fn watched_again(&mut self, millis: u64) {
        self.on(millis, Input::Ready(Role::Watcher));
        self.on(millis, Input::Alive(Role::Watcher, Pace::Busy));
        self.on(millis + 100, Input::Watching(TREE, ROOT, 1));
        self.on(millis + 7000, Input::Tick);
    }

    fn done(&mut self, millis: u64) {
        let end =
            JobEnd { outcome: Outcome::Done, status: 0, tail: String::new(), failed: None, left: vec![] };
        self.on(millis, Input::Done(BATCH, end));
    }

    /// What batches were to carry since this was last asked.
    fn sent(&mut self) -> Vec<String> {
        let mut sent = Vec::new();
        for action in std::mem::take(&mut self.out) {
            if let Action::Send(BATCH, Job { work: Work::Batch(paths), .. }) = action {
                sent.extend(paths.into_iter().map(|(path, _)| path.to_string().replace('"', "")));
            }
        }
        sent
    }
}

#[test]
fn what_a_late_job_read_while_nobody_watched_goes_again_when_the_tree_was_compared() {
    let mut it = Fixture::new();
    it.remove(40_000, "d");
    assert_eq!(it.sent(), ["d"]);
    it.on(47_000, Input::Exited(Role::Watcher, "killed".to_owned()));
    it.done(47_100);
    it.on(47_200, Input::Tick);
    it.watched_again(49_000);
    assert!(it.sent().is_empty(), "not before it was compared");
    it.compared(60_000);
    it.on(67_000, Input::Tick);
    assert_eq!(it.sent(), ["d"]);
    it.done(67_100);
    it.on(80_000, Input::Tick);
    assert!(it.sent().is_empty(), "and then no more");
}

#[test]
fn a_job_that_began_while_nobody_watched_goes_again() {
    let mut it = Fixture::new();
    it.on(40_000, Input::Exited(Role::Watcher, "killed".to_owned()));
    it.remove(40_010, "d");
    assert_eq!(it.sent(), ["d"]);
    it.on(46_100, Input::Alive(BATCH, Pace::Busy));
    it.on(47_000, Input::Ready(Role::Watcher));
    it.on(47_100, Input::Watching(TREE, ROOT, 1));
    it.compared(48_000);
    it.done(48_100);
    it.on(55_000, Input::Tick);
    assert_eq!(it.sent(), ["d"]);
}

#[test]
fn what_was_read_before_events_were_lost_goes_again() {
    let mut it = Fixture::new();
    it.remove(40_000, "d");
    it.done(46_100);
    it.sent();
    it.on(46_200, Input::Rescan(TREE, RelPath::root(), LossCause::Overflow));
    it.on(53_000, Input::Tick);
    assert!(it.sent().is_empty());
    it.compared(53_100);
    it.on(60_000, Input::Tick);
    assert_eq!(it.sent(), ["d"]);
}

#[test]
fn what_the_watcher_was_heard_after_twice_does_not() {
    let mut it = Fixture::new();
    it.remove(40_000, "d");
    it.done(46_100);
    it.sent();
    it.on(46_200, Input::Alive(Role::Watcher, Pace::Idle));
    it.on(47_300, Input::Alive(Role::Watcher, Pace::Idle));
    it.on(47_400, Input::Exited(Role::Watcher, "killed".to_owned()));
    it.watched_again(49_000);
    it.compared(60_000);
    it.on(67_000, Input::Tick);
    assert!(it.sent().is_empty());
}

/// What the operator wants to keep there stays: it may be among that.
#[test]
fn nothing_goes_again_while_deletions_are_held_nor_after_they_were_dropped() {
    let mut it = Fixture::new();
    it.remove(40_000, "d");
    it.on(47_000, Input::Exited(Role::Watcher, "killed".to_owned()));
    it.done(47_100);
    it.sent();
    let gone = HeldDelete { directory: true, names: 5, since: 1 };
    it.core.trees[0].brake.hold(RelPath::new("e").unwrap(), gone);
    it.watched_again(49_000);
    it.compared(60_000);
    it.on(67_000, Input::Tick);
    assert!(it.sent().is_empty());
    it.on(67_100, Input::Asked(ClientId(1), Ask::Deletes { tree: None, what: DeletesWhat::Drop }));
    it.on(75_000, Input::Tick);
    let told = |it: &Action| matches!(it, Action::Log(_, text) if text.starts_with("sent unseen"));
    assert!(it.out.iter().any(told));
    assert!(it.sent().is_empty());
}
