//! Who has room at a host, and who may leave an rsync waiting there.

use proptest::prelude::*;

use super::*;

const NOW: Duration = Duration::from_secs(100);
const WARM: Option<Duration> = Some(Duration::from_secs(10));

fn hosts(most: Option<usize>, names: &[&str]) -> Hosts {
    let mut hosts = Hosts::new(10, names.iter().map(|&name| name.to_owned()));
    hosts.set(most, WARM);
    hosts
}

fn id(id: u16) -> RemoteId {
    RemoteId(id)
}

#[test]
fn a_host_is_known_by_its_name() {
    let mut hosts = hosts(Some(2), &["a", "b", "A"]);
    let at_work = |remote: RemoteId| usize::from(remote.0 != 1);
    assert!(!hosts.has_room(NOW, id(0), Takes::Waiting, at_work), "two names, one host");
    assert!(hosts.has_room(NOW, id(1), Takes::Waiting, at_work));
    hosts.push("a");
    assert!(!hosts.has_room(NOW, id(3), Takes::Waiting, at_work));
    hosts.set(None, WARM);
    assert!(hosts.has_room(NOW, id(3), Takes::Waiting, |_| 1000));
}

#[test]
fn an_rsync_that_waits_is_a_connection_for_all_but_its_own_batch() {
    let mut hosts = hosts(Some(2), &["a", "a"]);
    hosts.begin(id(0), hosts.ahead(NOW, id(0)));
    hosts.end(NOW, id(0), Some(Outcome::Done));
    assert_eq!(hosts.ahead(NOW, id(1)), Ahead::Ends, "half of two have one");
    let one = |remote: RemoteId| usize::from(remote == id(1));
    assert!(hosts.has_room(NOW, id(0), Takes::Waiting, one));
    assert!(!hosts.has_room(NOW, id(0), Takes::Another, one));
    assert!(!hosts.has_room(NOW, id(1), Takes::Another, one));
    let later = hosts.deadline(NOW).unwrap();
    assert!(hosts.has_room(later, id(1), Takes::Another, one), "it has ended by itself");
    assert_eq!(hosts.deadline(later), None);
}

#[test]
fn none_waits_after_a_batch_that_failed_or_died() {
    for outcome in [Some(Outcome::Partial), Some(Outcome::Unreachable), None] {
        let mut hosts = hosts(Some(4), &["a", "a", "a"]);
        hosts.begin(id(0), hosts.ahead(NOW, id(0)));
        hosts.end(NOW, id(0), outcome);
        assert_eq!(hosts.deadline(NOW), None, "{outcome:?}");
    }
}

/// 100 remotes would have 100 of them.
#[test]
fn no_more_wait_than_there_are_workers() {
    let names: Vec<String> = (0..100).map(|n| format!("host{n}")).collect();
    let mut hosts = Hosts::new(10, names);
    hosts.set(None, WARM);
    let mut waiting = 0;
    for n in 0..100 {
        let ahead = hosts.ahead(NOW, id(n));
        waiting += usize::from(ahead != Ahead::Ends);
        hosts.begin(id(n), ahead);
        hosts.end(NOW, id(n), Some(Outcome::Done));
    }
    assert_eq!(waiting, 10);
    assert_ne!(hosts.ahead(NOW, id(3)), Ahead::Ends, "it has one already");
    assert_ne!(hosts.ahead(NOW + Duration::from_secs(11), id(50)), Ahead::Ends);
    hosts.set(None, None);
    assert_eq!(hosts.ahead(NOW, id(3)), Ahead::Ends, "the config lets none");
}

proptest! {
    /// Whatever begins and ends: transfers and rsyncs that wait are never more at one host than it may
    /// have, and those that wait leave room for a transfer.
    #[test]
    fn never_more_than_a_host_may_have(
        most in 1_usize..6,
        names in proptest::collection::vec(0_u8..3, 1..12),
        steps in proptest::collection::vec((0_u16..12, 0_u64..4, any::<bool>(), any::<bool>()), 1..300),
    ) {
        let mut hosts = Hosts::new(10, names.iter().map(ToString::to_string));
        hosts.set(Some(most), WARM);
        let mut work = vec![[false; 2]; names.len()];
        let mut now = NOW;
        for (n, pause, batch, good) in steps {
            now += Duration::from_secs(pause);
            let index = usize::from(n) % names.len();
            let id = RemoteId(u16::try_from(index).unwrap());
            let lane = usize::from(!batch);
            let at_work = |id: RemoteId| work[usize::from(id.0)].iter().filter(|it| **it).count();
            let takes = if batch { Takes::Waiting } else { Takes::Another };
            if work[index][lane] {
                work[index][lane] = false;
                if batch {
                    hosts.end(now, id, good.then_some(Outcome::Done));
                }
            } else if hosts.has_room(now, id, takes, at_work) {
                if batch {
                    hosts.begin(id, hosts.ahead(now, id));
                }
                work[index][lane] = true;
            }
            for host in 0..3 {
                let here = || (0..names.len()).filter(|&index| names[index] == host);
                let at_work: usize = here().map(|index| work[index].iter().filter(|it| **it).count()).sum();
                let waiting = here().filter(|&n| hosts.waits(now, RemoteId(u16::try_from(n).unwrap()))).count();
                prop_assert!(at_work + waiting <= most, "{at_work} and {waiting} of {most}");
                prop_assert!(waiting <= most / 2);
            }
        }
    }
}
