//! An rsync that was started ahead: used once, worth nothing when it is dead or wrong.

use std::fs;
use std::time::{Duration, Instant};

use common::confine::Confined;
use common::event::{Dirt, RootId};
use common::message::{Comparison, Deletions, Job, Load, Outcome, SyncSlice, Terms};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use syncer::Worker;

use crate::mirror::{Mirror, batch};

struct Warmed {
    mirror: Mirror,
    worker: Worker,
}

impl Warmed {
    /// A worker whose last job left an rsync waiting.
    fn new() -> Warmed {
        let mirror = Mirror::start();
        let slice = SyncSlice { warm: Some(60), ..mirror.slice.clone() };
        let mut warmed = Warmed { worker: Worker::new(slice, Confined::not()).unwrap(), mirror };
        warmed.mirror.write("first");
        assert_eq!(warmed.run("first", Deletions::Travel), Outcome::Done);
        assert!(warmed.worker.cools_at().is_some(), "none was started");
        warmed
    }

    fn run(&mut self, path: &str, deletions: Deletions) -> Outcome {
        let meta = fs::metadata(&self.mirror.source).unwrap();
        let root = RootId::from(&meta);
        let job = Job {
            root,
            deletions,
            max_delete: None,
            terms: Terms::default(),
            by: Comparison::Times,
            load: Load::Light,
            work: batch(&[(path, Dirt::Touched)]),
            moves: Vec::new(),
        };
        let end = self.worker.run(&job, &mut |_| {}, &mut |_| {});
        self.worker.warm_up(&job, &end);
        end.outcome
    }

    /// The rsyncs that mirror this source, found by their directory.
    fn waiting(&self) -> Vec<Pid> {
        let source = fs::canonicalize(&self.mirror.source).unwrap();
        let pids = fs::read_dir("/proc")
            .unwrap()
            .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<i32>().ok());
        let stands_there =
            |pid: &i32| fs::read_link(format!("/proc/{pid}/cwd")).is_ok_and(|cwd| cwd == source);
        pids.filter(stands_there).map(Pid::from_raw).collect()
    }
}

#[test]
fn each_batch_finds_one() {
    let mut warmed = Warmed::new();
    for name in ["second", "third"] {
        warmed.mirror.write(name);
        assert_eq!(warmed.run(name, Deletions::Travel), Outcome::Done);
        assert!(warmed.mirror.replica.join(name).exists());
    }
    warmed.worker.cool_down(Instant::now() + Duration::from_secs(60));
    assert!(warmed.worker.cools_at().is_none());
    assert!(warmed.waiting().is_empty(), "it stands in the root still");
}

#[test]
fn a_dead_one_costs_nothing_but_time() {
    for signal in [Signal::SIGKILL, Signal::SIGSTOP] {
        let mut warmed = Warmed::new();
        for pid in warmed.waiting() {
            kill(pid, signal).unwrap();
        }
        warmed.mirror.write("second");
        assert_eq!(warmed.run("second", Deletions::Travel), Outcome::Done, "{signal}");
        assert!(warmed.mirror.replica.join("second").exists());
    }
}

#[test]
fn one_that_may_delete_is_not_used_where_nothing_may() {
    let mut warmed = Warmed::new();
    fs::remove_file(warmed.mirror.source.join("first")).unwrap();
    assert_eq!(warmed.run("first", Deletions::Held), Outcome::Done);
    assert!(warmed.mirror.replica.join("first").exists());
}

#[test]
fn one_of_another_root_is_not_used() {
    let mut warmed = Warmed::new();
    let moved = warmed.mirror.source.with_extension("moved");
    fs::rename(&warmed.mirror.source, &moved).unwrap();
    fs::create_dir(&warmed.mirror.source).unwrap();
    fs::write(moved.join("second"), "old root").unwrap();
    warmed.mirror.write("second");
    assert_eq!(warmed.run("second", Deletions::Held), Outcome::Done);
    let arrived = fs::read(warmed.mirror.replica.join("second")).unwrap();
    assert_eq!(arrived, fs::read(warmed.mirror.source.join("second")).unwrap());
}
