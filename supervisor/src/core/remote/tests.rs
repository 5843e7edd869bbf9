//! Full syncs: what they may delete, and what is owed when they could not.

use super::*;
use crate::core::JobEnd;
use crate::core::retry::Jitter;
use common::event::RootId;

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
