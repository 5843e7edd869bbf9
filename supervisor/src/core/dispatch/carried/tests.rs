use common::event::{Change, Dirt, RootId};
use common::message::{Job, LossCause, Outcome, Work};
use common::path::RelPath;

use super::*;
use crate::core::backlog::Traffic;
use crate::core::dispatch::Setup;
use crate::core::{Input, JobEnd, Lane, Pace, Role};

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
            ..Setup::default()
        };
        let mut it = Fixture { core: Dispatcher::new(setup), out: Vec::new() };
        it.core.start(Duration::ZERO, &mut it.out);
        it.on(1, Input::Ready(BATCH));
        it.on(1, Input::Ready(Role::Watcher));
        it.on(2, Input::Watching(TREE, ROOT, 1));
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
fn what_a_late_job_read_while_nobody_watched_goes_again() {
    let mut it = Fixture::new();
    it.remove(10, "d");
    assert_eq!(it.sent(), ["d"]);
    it.on(7000, Input::Exited(Role::Watcher, "killed".to_owned()));
    it.done(7100);
    it.on(7200, Input::Tick);
    assert!(it.sent().is_empty(), "not before somebody watches again");
    it.on(9000, Input::Ready(Role::Watcher));
    it.on(9000, Input::Alive(Role::Watcher, Pace::Busy));
    it.on(9100, Input::Watching(TREE, ROOT, 1));
    it.on(16_000, Input::Tick);
    assert_eq!(it.sent(), ["d"]);
    it.done(16_100);
    it.on(30_000, Input::Tick);
    assert!(it.sent().is_empty(), "and then no more");
}

#[test]
fn a_job_that_began_while_nobody_watched_goes_again() {
    let mut it = Fixture::new();
    it.on(20, Input::Exited(Role::Watcher, "killed".to_owned()));
    it.remove(30, "d");
    assert_eq!(it.sent(), ["d"]);
    it.on(7000, Input::Ready(Role::Watcher));
    it.on(7100, Input::Watching(TREE, ROOT, 1));
    it.done(7200);
    it.on(14_000, Input::Tick);
    assert_eq!(it.sent(), ["d"]);
}

#[test]
fn what_was_read_before_events_were_lost_goes_again() {
    let mut it = Fixture::new();
    it.remove(10, "d");
    it.done(6100);
    it.sent();
    it.on(6200, Input::Rescan(TREE, RelPath::root(), LossCause::Overflow));
    it.on(13_000, Input::Tick);
    assert_eq!(it.sent(), ["d"]);
}

#[test]
fn what_the_watcher_was_heard_after_twice_does_not() {
    let mut it = Fixture::new();
    it.remove(10, "d");
    it.done(6100);
    it.sent();
    it.on(6200, Input::Alive(Role::Watcher, Pace::Idle));
    it.on(7300, Input::Alive(Role::Watcher, Pace::Idle));
    it.on(7400, Input::Exited(Role::Watcher, "killed".to_owned()));
    it.on(9000, Input::Ready(Role::Watcher));
    it.on(9100, Input::Watching(TREE, ROOT, 1));
    it.on(16_000, Input::Tick);
    assert!(it.sent().is_empty());
}
