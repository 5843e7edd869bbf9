//! Full syncs: what they may delete, and what is owed when they could not. What is alone beside a long batch.

use super::*;
use crate::core::JobEnd;
use crate::core::retry::Jitter;
use common::event::RootId;
use common::message::{Job, Work};

const ROOT: RootId = RootId { device: 1, inode: 2, born: 3 };
const T: Duration = Duration::from_secs(1);

fn remote() -> Remote {
    Remote::new(TreeId(0), "r".to_owned(), Traffic::OneWay, 7)
}

/// Runs the full sync that is wanted; what it may delete.
fn run(remote: &mut Remote, permitted: Deletions, outcome: Outcome) -> Option<Deletions> {
    let job = remote.start(T, Lane::Full, ROOT, permitted)?;
    let end = JobEnd { outcome, status: 0, tail: String::new(), failed: None, left: vec![] };
    remote.finish(T, Lane::Full, &end, &mut Jitter::new(7));
    Some(job.deletions)
}

/// It ran without deletions, counted as done, and what it should have deleted stayed.
#[test]
fn what_another_root_kept_from_being_deleted_is_owed() {
    let mut remote = remote();
    remote.hold_deletions(T);
    remote.approve_full(T, Deletions::Travel);
    assert_eq!(run(&mut remote, Deletions::Held, Outcome::Done), Some(Deletions::Held));
    assert!(remote.is_approved());
    assert_eq!(run(&mut remote, Deletions::Held, Outcome::Done), None);
    remote.release_deletions(T);
    assert_eq!(run(&mut remote, Deletions::Travel, Outcome::Done), Some(Deletions::Travel));
    assert!(!remote.is_approved());
    remote.release_deletions(T);
    assert_eq!(run(&mut remote, Deletions::Travel, Outcome::Done), None);
}

/// One path that failed each time would have left every later full sync without a bound.
#[test]
fn an_approval_ends_with_a_full_sync_that_was_nearly_done() {
    for (outcome, stays) in [(Outcome::Unreachable, true), (Outcome::Partial, false), (Outcome::Done, false)]
    {
        let mut remote = remote();
        remote.approve_full(T, Deletions::Travel);
        run(&mut remote, Deletions::Travel, outcome);
        assert_eq!(remote.is_approved(), stays, "{outcome:?}");
    }
}

#[test]
fn what_is_dropped_after_it_was_approved_stays() {
    let mut remote = remote();
    remote.approve_full(T, Deletions::Travel);
    remote.forget_held_full();
    assert!(!remote.is_approved());
    assert_eq!(run(&mut remote, Deletions::Travel, Outcome::Done), Some(Deletions::Held));
}

fn at(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

fn change(path: &str, dirt: Dirt) -> Change {
    Change { path: RelPath::new(path).unwrap(), dirt, mask: 8 }
}

/// A remote with so many connections, whose express lane was at work, and for which a burst waits.
fn beside_a_burst(connections: u8) -> Remote {
    let mut remote = Remote { connections, ..remote() };
    remote.start_nothing(at(900), ROOT, Deletions::Travel);
    let end = JobEnd { outcome: Outcome::Done, status: 0, tail: String::new(), failed: None, left: vec![] };
    remote.finish(at(901), Lane::Express, &end, &mut Jitter::new(7));
    let burst: Vec<Change> = (0..1000).map(|n| change(&format!("new/{n}"), Dirt::Touched)).collect();
    remote.insert(at(1000), &burst);
    remote
}

fn names(job: &Job) -> Vec<RelPath> {
    match &job.work {
        Work::Batch(paths) => paths.iter().map(|(path, _)| path.clone()).collect(),
        work => panic!("{work:?}"),
    }
}

/// An edit that came just before 50,000 files went used to travel with them, and to arrive with the last.
#[test]
fn what_is_alone_does_not_go_with_a_long_batch() {
    let edit = RelPath::new("old/x").unwrap();
    for connections in [3, 1] {
        let mut remote = beside_a_burst(connections);
        remote.insert(at(1001), &[change("old/x", Dirt::Touched)]);
        let batch = remote.start(at(1002), Lane::Batch, ROOT, Deletions::Travel).unwrap();
        assert_eq!(names(&batch).contains(&edit), connections == 1, "without a second connection it must");
        if connections > 1 {
            assert_eq!(remote.deadline(at(1002)), Some(at(1006)));
            let beside = remote.start(at(1006), Lane::Express, ROOT, Deletions::Travel).unwrap();
            assert_eq!(names(&beside), std::slice::from_ref(&edit));
        }
    }
}

/// The removal of an old name goes with the new one, or the remote cannot make the one out of the other.
#[test]
fn only_what_the_express_lane_takes_is_left_to_it() {
    let mut remote = beside_a_burst(3);
    remote.insert(at(1001), &[change("gone", Dirt::RemovedDir)]);
    let batch = remote.start(at(1002), Lane::Batch, ROOT, Deletions::Travel).unwrap();
    assert!(names(&batch).contains(&RelPath::new("gone").unwrap()));
}

/// What waits for another time is no batch beside which it could go.
#[test]
fn what_is_alone_goes_where_nothing_else_may() {
    let mut remote = beside_a_burst(3);
    remote.start(at(1000), Lane::Batch, ROOT, Deletions::Travel).unwrap();
    let end = JobEnd { outcome: Outcome::Done, status: 0, tail: String::new(), failed: None, left: vec![] };
    remote.finish(at(1000), Lane::Batch, &end, &mut Jitter::new(7));
    // Removals are held for a moment: a rename may be behind them.
    let gone: Vec<Change> = (0..1000).map(|n| change(&format!("old/{n}"), Dirt::Removed)).collect();
    remote.insert(at(1000), &gone);
    remote.insert(at(1001), &[change("a/x", Dirt::Touched)]);
    assert!(remote.waiting_since(at(1001), Lane::Batch).is_some());
    let job = remote.start(at(1001), Lane::Batch, ROOT, Deletions::Travel).unwrap();
    assert_eq!(job.work, Work::Batch(vec![(RelPath::new("a/x").unwrap(), Dirt::Touched)]));
}
