//! Renames as a remote's backlog and jobs meet them: one case each, and chance against the rules.

use std::collections::BTreeSet;

mod files;

use super::*;
use crate::core::backlog::Traffic;
use crate::core::remote::Remote;
use crate::core::retry::Jitter;
use crate::core::{JobEnd, Lane};
use common::event::{RootId, TreeId};
use common::message::{Deletions, Job, Outcome, Work};
use proptest::prelude::*;

const ROOT: RootId = RootId { device: 1, inode: 2, born: 3 };

fn path(text: &str) -> RelPath {
    RelPath::new(text).unwrap()
}

fn at(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

fn remote() -> Remote {
    Remote::new(TreeId(0), "r".to_owned(), Traffic::OneWay, 7)
}

fn change(remote: &mut Remote, now: u64, text: &str, dirt: Dirt) {
    remote.insert(at(now), &[Change { path: path(text), dirt, mask: 0 }]);
}

/// A rename as the watcher tells it, but for what comes at the end of the new name.
fn leave(remote: &mut Remote, now: u64, from: &str, to: &str) {
    remote.moved(at(now), EntryKind::Directory, &path(from), &path(to));
    change(remote, now, from, Dirt::RemovedDir);
}

fn start(remote: &mut Remote, now: u64) -> Option<Job> {
    remote.start(at(now), Lane::Batch, ROOT, Deletions::Travel)
}

fn end(remote: &mut Remote, now: u64, outcome: Outcome) {
    end_without(remote, now, outcome, &[]);
}

/// Its syncer left these large files out.
fn end_without(remote: &mut Remote, now: u64, outcome: Outcome, left: &[&str]) {
    let left = left.iter().map(|left| path(left)).collect();
    let end = JobEnd { outcome, status: 0, tail: String::new(), failed: None, left };
    remote.finish(at(now), Lane::Batch, &end, &mut Jitter::new(7));
}

/// The renames of the next job, as `old>new`.
#[track_caller]
fn moves(remote: &mut Remote, now: u64) -> Vec<String> {
    let job = start(remote, now).expect("a job");
    shown(&job)
}

fn shown(job: &Job) -> Vec<String> {
    job.moves.iter().map(|it| format!("{}>{}", it.from, it.to).replace('"', "")).collect()
}

#[test]
fn the_removal_waits_for_the_new_name() {
    let mut remote = remote();
    leave(&mut remote, 0, "old", "new");
    assert!(start(&mut remote, 100).is_none());
    change(&mut remote, 100, "new", Dirt::Deep);
    assert_eq!(moves(&mut remote, 100), ["old>new"]);
}

#[test]
fn it_does_not_wait_for_ever() {
    let mut remote = remote();
    leave(&mut remote, 0, "old", "new");
    assert_eq!(remote.deadline(at(0)), Some(PATIENCE));
    assert_eq!(moves(&mut remote, 5000), [""; 0]);
    change(&mut remote, 5001, "new", Dirt::Deep);
    end(&mut remote, 5002, Outcome::Done);
    assert_eq!(moves(&mut remote, 5003), [""; 0]);
}

#[test]
fn a_new_name_that_is_gone_or_an_old_one_that_is_back() {
    for (text, dirt) in [
        ("new", Dirt::RemovedDir),
        ("old", Dirt::Touched),
        ("old/f", Dirt::Touched),
        ("old", Dirt::Deep),
        ("", Dirt::Sweep),
    ] {
        let mut remote = remote();
        leave(&mut remote, 0, "old", "new");
        change(&mut remote, 1, text, dirt);
        change(&mut remote, 2, "new", Dirt::Deep);
        assert_eq!(moves(&mut remote, 2), [""; 0], "{text} {dirt:?}");
    }
}

#[test]
fn what_happens_within_the_new_name_does_not_matter() {
    let mut remote = remote();
    leave(&mut remote, 0, "old", "new");
    change(&mut remote, 1, "new/f", Dirt::Touched);
    change(&mut remote, 1, "older", Dirt::RemovedDir);
    end(&mut remote, 1, Outcome::Done);
    change(&mut remote, 2, "new", Dirt::Deep);
    assert_eq!(moves(&mut remote, 2), ["old>new"]);
}

#[test]
fn twice_before_anything_was_sent() {
    let mut remote = remote();
    leave(&mut remote, 0, "a", "b");
    leave(&mut remote, 1, "b", "c");
    change(&mut remote, 2, "c", Dirt::Deep);
    assert_eq!(moves(&mut remote, 2), ["a>c"]);
}

#[test]
fn twice_with_something_in_between() {
    let mut remote = remote();
    leave(&mut remote, 0, "a", "b");
    change(&mut remote, 1, "b/f", Dirt::Touched);
    leave(&mut remote, 2, "b", "c");
    change(&mut remote, 3, "c", Dirt::Deep);
    assert_eq!(moves(&mut remote, 3), [""; 0]);
}

/// Each of the two is there again: nothing may be made out of either.
#[test]
fn two_that_trade_names() {
    let mut remote = remote();
    leave(&mut remote, 0, "a", "t");
    leave(&mut remote, 0, "b", "a");
    leave(&mut remote, 0, "t", "b");
    for new in ["a", "b"] {
        change(&mut remote, 1, new, Dirt::Deep);
    }
    let job = start(&mut remote, 1).unwrap();
    let gone = ["t"].map(path);
    assert!(job.moves.iter().all(|it| gone.contains(&it.from)), "{:?}", job.moves);
}

/// Another directory with the same name, old or new, while the first one waits.
#[test]
fn one_name_twice() {
    for (from, to) in [("old", "other"), ("other", "new")] {
        let mut remote = remote();
        leave(&mut remote, 0, "old", "new");
        leave(&mut remote, 1, from, to);
        for new in ["new", "other"] {
            change(&mut remote, 2, new, Dirt::Deep);
        }
        let found = moves(&mut remote, 2);
        assert!(!found.contains(&"old>new".to_owned()) && found.len() <= 1, "{found:?}");
    }
}

#[test]
fn only_what_the_remote_has_as_it_was() {
    for (what, expected) in [("old/f", 0), ("f", 1), ("older/f", 1)] {
        // It waits.
        let mut waiting = remote();
        waiting.insert(at(0), &[Change { path: path(what), dirt: Dirt::Removed, mask: 0 }]);
        leave(&mut waiting, 1, "old", "new");
        change(&mut waiting, 1, "new", Dirt::Deep);
        assert_eq!(moves(&mut waiting, 1).len(), expected, "{what} waits");
        // It is under way.
        let mut busy = remote();
        change(&mut busy, 0, what, Dirt::Touched);
        assert!(start(&mut busy, 0).is_some());
        leave(&mut busy, 1, "old", "new");
        change(&mut busy, 1, "new", Dirt::Deep);
        end(&mut busy, 2, Outcome::Done);
        assert_eq!(moves(&mut busy, 2).len(), expected, "{what} is under way");
    }
    let mut full = remote();
    full.want_full(at(0), Deletions::Held);
    leave(&mut full, 1, "old", "new");
    change(&mut full, 1, "new", Dirt::Deep);
    assert_eq!(moves(&mut full, 1), [""; 0]);
}

/// The remote may have done half of it.
#[test]
fn a_job_that_failed_is_tried_without() {
    let mut remote = remote();
    leave(&mut remote, 0, "old", "new");
    change(&mut remote, 0, "new", Dirt::Deep);
    assert_eq!(moves(&mut remote, 0), ["old>new"]);
    end(&mut remote, 1, Outcome::Unreachable);
    assert_eq!(moves(&mut remote, 3_600_000), [""; 0]);
}

#[test]
fn where_changes_come_back_or_deletions_are_held() {
    let mut pair = Remote::new(TreeId(0), "r".to_owned(), Traffic::BothWays, 7);
    leave(&mut pair, 0, "old", "new");
    assert_eq!(moves(&mut pair, 0), [""; 0]);
    let mut held = remote();
    leave(&mut held, 0, "old", "new");
    held.hold_deletions(at(1));
    held.release_deletions(at(2));
    change(&mut held, 3, "new", Dirt::Deep);
    assert_eq!(moves(&mut held, 3), [""; 0]);
}

#[test]
fn bounded() {
    let mut remote = remote();
    for n in 0..1000 {
        leave(&mut remote, 0, &format!("o{n}"), &format!("n{n}"));
    }
    for n in 0..1000 {
        change(&mut remote, 1, &format!("n{n}"), Dirt::Deep);
    }
    assert_eq!(moves(&mut remote, 1).len(), MAX_MOVES);
    let (mut remote, from, to) = (self::remote(), "o".repeat(2000), "n".repeat(3000));
    leave(&mut remote, 0, &from, &to);
    change(&mut remote, 0, &to, Dirt::Deep);
    assert_eq!(moves(&mut remote, 1), [""; 0]);
}

#[derive(Debug, Clone)]
enum Step {
    File(RelPath, RelPath),
    Rename(RelPath, RelPath),
    Read(usize),
    Change(RelPath, Dirt),
    Start,
    End(bool),
    Full,
}

fn any_path() -> impl Strategy<Value = RelPath> {
    proptest::collection::vec("[abc]", 1..3).prop_map(|parts| path(&parts.join("/")))
}

fn any_step() -> impl Strategy<Value = Step> {
    let dirt = prop_oneof![
        Just(Dirt::Touched),
        Just(Dirt::Removed),
        Just(Dirt::RemovedDir),
        Just(Dirt::Deep),
        Just(Dirt::Sweep)
    ];
    prop_oneof![
        4 => (any_path(), any_path()).prop_map(|(from, to)| Step::Rename(from, to)),
        2 => (any_path(), any_path()).prop_map(|(from, to)| Step::File(from, to)),
        4 => (0_usize..4).prop_map(Step::Read),
        2 => (any_path(), dirt).prop_map(|(path, dirt)| Step::Change(path, dirt)),
        3 => Just(Step::Start),
        3 => any::<bool>().prop_map(Step::End),
        1 => Just(Step::Full),
    ]
}

/// What has happened to a remote, told apart naively.
struct World {
    remote: Remote,
    now: u64,
    /// New names that are still being read.
    reading: Vec<RelPath>,
    /// What is dirty there: reported and not brought over.
    dirty: BTreeSet<RelPath>,
    flying: Option<BTreeSet<RelPath>>,
    /// For names that directories got, under which others the remote may have had them, clean.
    origins: Vec<(RelPath, RelPath)>,
}

impl World {
    fn change(&mut self, path: &RelPath, dirt: Dirt) {
        self.dirty.insert(path.clone());
        self.remote.insert(at(self.now), &[Change { path: path.clone(), dirt, mask: 0 }]);
    }

    /// Whether all that the remote has there is as it was here.
    fn is_clean(&self, top: &RelPath) -> bool {
        let mut all = self.dirty.iter().chain(self.flying.iter().flatten());
        !all.any(|path| path.overlaps(top))
    }

    fn step(&mut self, step: &Step) {
        self.now += 20;
        match step {
            Step::Rename(from, to) if !from.overlaps(to) => {
                let (earlier, rest): (Vec<_>, Vec<_>) =
                    std::mem::take(&mut self.origins).into_iter().partition(|(name, _)| name == from);
                self.origins = rest.into_iter().filter(|(name, _)| name != to).collect();
                self.origins.extend(earlier.into_iter().map(|(_, origin)| (to.clone(), origin)));
                if self.is_clean(from) {
                    self.origins.push((to.clone(), from.clone()));
                }
                self.remote.moved(at(self.now), EntryKind::Directory, from, to);
                self.change(from, Dirt::RemovedDir);
                self.reading.retain(|new| new != from);
                self.reading.push(to.clone());
            }
            Step::Rename(..) => {}
            Step::File(from, to) if !from.overlaps(to) => {
                // What stands above an old name now says nothing of it, as with any change.
                let is_other = |origin: &RelPath| to.overlaps(origin) && !origin.is_below(to);
                self.origins.retain(|(_, origin)| !from.overlaps(origin) && !is_other(origin));
                self.remote.moved(at(self.now), EntryKind::File, from, to);
                self.change(from, Dirt::Removed);
                self.change(to, Dirt::Touched);
            }
            Step::File(..) => {}
            Step::Read(n) if *n < self.reading.len() => {
                let new = self.reading.remove(*n);
                self.origins.retain(|(_, origin)| !new.overlaps(origin));
                self.change(&new, Dirt::Deep);
            }
            Step::Read(_) => {}
            Step::Change(path, dirt) => {
                // The attributes of what is above say nothing of it.
                let says = |origin: &RelPath| *dirt != Dirt::Touched || !origin.is_below(path);
                self.origins.retain(|(_, origin)| !path.overlaps(origin) || !says(origin));
                self.change(path, *dirt);
            }
            Step::Start => {
                if self.flying.is_none()
                    && let Some(job) = start(&mut self.remote, self.now)
                {
                    self.check(&job);
                    let Work::Batch(paths) = &job.work else { panic!("{job:?}") };
                    let taken: BTreeSet<RelPath> = paths.iter().map(|(path, _)| path.clone()).collect();
                    // What a directory stands for is not reported once more.
                    let covers = |top: &RelPath, path: &RelPath| top == path || path.is_below(top);
                    self.dirty.retain(|path| !taken.iter().any(|top| covers(top, path)));
                    self.flying = Some(taken);
                }
            }
            Step::End(good) => {
                if let Some(flying) = self.flying.take() {
                    if !*good {
                        self.dirty.extend(flying);
                    }
                    end(&mut self.remote, self.now, if *good { Outcome::Done } else { Outcome::Broken });
                    self.now += 120_000;
                }
            }
            Step::Full => self.remote.hurry(at(self.now)),
        }
    }

    /// A job names a directory's rename only if it carries both names, and the remote has what was renamed;
    /// a file's only if it carries the new one.
    fn check(&self, job: &Job) {
        let Work::Batch(paths) = &job.work else { panic!("{job:?}") };
        for it in job.moves.iter().filter(|it| !paths.contains(&(it.to.clone(), Dirt::Touched))) {
            assert!(paths.contains(&(it.from.clone(), Dirt::RemovedDir)), "{it:?} of {paths:?}");
            assert!(paths.contains(&(it.to.clone(), Dirt::Deep)), "{it:?} of {paths:?}");
            assert!(self.origins.contains(&(it.to.clone(), it.from.clone())), "{it:?} of {:?}", self.origins);
        }
        let olds: BTreeSet<&RelPath> = job.moves.iter().map(|it| &it.from).collect();
        assert_eq!(olds.len(), job.moves.len(), "{:?}", job.moves);
    }
}

proptest! {
    #[test]
    fn only_what_is_carried_and_clean(steps in proptest::collection::vec(any_step(), 1..60)) {
        let mut world = World {
            remote: remote(),
            now: 0,
            reading: vec![],
            dirty: BTreeSet::new(),
            flying: None,
            origins: vec![],
        };
        for step in &steps {
            world.step(step);
        }
        // Nothing is held up: whatever was reported goes in the end.
        world.step(&Step::End(true));
        world.now += 10_000;
        while let Some(job) = start(&mut world.remote, world.now) {
            world.check(&job);
            end(&mut world.remote, world.now, Outcome::Done);
        }
        prop_assert_eq!(world.remote.pending(), 0);
    }
}
