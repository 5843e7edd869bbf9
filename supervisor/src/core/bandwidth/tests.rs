//! What transfers get of the bandwidth that all of them share.

use common::config::{Bandwidth, HOURS};
use proptest::prelude::*;

use super::*;
use crate::core::{Lane, RemoteId};

fn shares(total: u32) -> Shares {
    Shares::new(Bandwidth { by_hour: [Some(total); HOURS] })
}

fn batch(id: u16) -> Role {
    Role::Syncer(RemoteId(id), Lane::Batch)
}

fn full(id: u16) -> Role {
    Role::Syncer(RemoteId(id), Lane::Full)
}

fn crowd(slots: usize, working: usize, waiting: usize, idle: usize) -> Crowd {
    Crowd { slots, working, waiting, idle }
}

#[test]
fn without_a_limit_each_has_all() {
    let mut shares = Shares::default();
    assert_eq!(shares.take(batch(0), crowd(1, 0, 1, 0), Urgency::Live), Share::All);
    assert_eq!((shares.total(), shares.given()), (None, 0));
}

#[test]
fn one_alone_has_all_of_it() {
    let mut shares = shares(1000);
    assert_eq!(shares.take(batch(0), crowd(10, 0, 1, 0), Urgency::Live), Share::Rate(1000));
    shares.give_back(batch(0));
    assert_eq!(shares.given(), 0);
}

/// The same change for all of them, which is what mostly happens.
#[test]
fn those_that_begin_together_have_the_same() {
    let mut shares = shares(900);
    for id in 0..3 {
        let crowd = crowd(10, id.into(), usize::from(3 - id), 0);
        assert_eq!(shares.take(batch(id), crowd, Urgency::Live), Share::Rate(300));
    }
    shares.give_back(batch(1));
    // What it had is what is there for the next.
    assert_eq!(shares.take(batch(1), crowd(10, 2, 1, 0), Urgency::Live), Share::Rate(300));
}

#[test]
fn what_an_idle_remote_does_not_take_goes_to_the_others() {
    let mut shares = shares(1200);
    assert_eq!(shares.take(batch(0), crowd(10, 0, 1, 2), Urgency::Live), Share::Rate(800));
    assert_eq!(shares.take(batch(1), crowd(10, 1, 1, 1), Urgency::Live), Share::Rate(200));
    assert_eq!(shares.take(batch(2), crowd(10, 2, 1, 0), Urgency::Live), Share::Rate(200));
    shares.give_back(batch(0));
    shares.give_back(batch(2));
    assert_eq!(shares.take(batch(2), crowd(10, 1, 1, 1), Urgency::Live), Share::Rate(800));
}

/// A full sync leaves something for live changes; and waits for something worth having.
#[test]
fn bulk_waits_and_live_changes_do_not() {
    let mut sync_first = shares(1000);
    assert_eq!(sync_first.take(full(0), crowd(10, 0, 1, 1), Urgency::Bulk), Share::Rate(750));
    assert_eq!(sync_first.take(batch(0), crowd(10, 1, 1, 0), Urgency::Live), Share::Rate(250));
    let mut sync_second = shares(1000);
    assert_eq!(sync_second.take(batch(0), crowd(10, 0, 1, 0), Urgency::Live), Share::Rate(1000));
    assert_eq!(sync_second.take(full(0), crowd(10, 1, 1, 0), Urgency::Bulk), Share::Later);
    sync_second.give_back(batch(0));
    assert!(matches!(sync_second.take(full(0), crowd(10, 0, 1, 1), Urgency::Bulk), Share::Rate(_)));
}

/// Ten are stuck; what is let go beside them gets little, but something.
#[test]
fn beyond_the_workers_there_is_little() {
    let mut shares = shares(800);
    for id in 0..10 {
        let crowd = crowd(10, id.into(), usize::from(100 - id), 0);
        assert_eq!(shares.take(batch(id), crowd, Urgency::Live), Share::Rate(70), "{id}");
    }
    for id in 10..20 {
        assert_eq!(
            shares.take(batch(id), crowd(10, id.into(), 90, 0), Urgency::Live),
            Share::Rate(10),
            "{id}"
        );
    }
    assert_eq!(shares.given(), 800);
    assert_eq!(shares.take(batch(20), crowd(10, 20, 80, 0), Urgency::Live), Share::Later);
}

#[test]
fn the_hour_decides() {
    let mut limits = Bandwidth::default();
    (limits.by_hour[8], limits.by_hour[9]) = (Some(1000), Some(100));
    let mut shares = Shares::new(limits);
    assert_eq!(shares.total(), None);
    shares.set_hour(8);
    assert_eq!(shares.take(batch(0), crowd(10, 0, 1, 1), Urgency::Live), Share::Rate(750));
    // It goes on with what it has; the next one waits for nobody.
    shares.set_hour(9);
    assert_eq!(shares.take(batch(1), crowd(10, 1, 1, 0), Urgency::Live), Share::Rate(25));
    shares.set_hour(10);
    assert_eq!(shares.take(batch(1), crowd(10, 1, 1, 0), Urgency::Live), Share::All);
}

proptest! {
    /// Whatever comes and goes, in whatever number: together they never have more than there is, each
    /// has something, and one that finds nobody at work is never told to wait.
    #[test]
    fn never_more_than_there_is(
        total in 1_u32..5000,
        slots in 1_usize..12,
        remotes in 1_u16..40,
        steps in proptest::collection::vec((0_u16..40, any::<bool>(), 0_usize..40), 1..200),
    ) {
        let mut shares = shares(total);
        let mut working = std::collections::BTreeSet::new();
        for (id, bulk, others) in steps {
            let id = id % remotes;
            let (role, urgency) = if bulk { (full(id), Urgency::Bulk) } else { (batch(id), Urgency::Live) };
            if working.remove(&role) {
                shares.give_back(role);
                continue;
            }
            let rest = usize::from(remotes).saturating_sub(working.len());
            let waiting = others.min(rest).max(1);
            let crowd = crowd(slots, working.len(), waiting, rest.saturating_sub(waiting));
            match shares.take(role, crowd, urgency) {
                Share::All => prop_assert!(false, "there is a limit"),
                Share::Rate(rate) => {
                    prop_assert!(rate >= 1);
                    working.insert(role);
                }
                Share::Later => prop_assert!(!working.is_empty()),
            }
            prop_assert!(shares.given() <= total, "{} of {total}", shares.given());
        }
    }
}
