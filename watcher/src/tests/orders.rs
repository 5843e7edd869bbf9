//! Orders as they may come: often, early, in odd order, or with bells for nothing.

use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use common::config::Switches;
use common::event::TreeId;
use common::message::{WatcherOrder, WatcherReport};
use common::path::RelPath;
use common::wire::ring;

use super::{Bench, PATIENCE, changes};

fn listed(pass: u32) -> WatcherReport {
    WatcherReport::Listed { tree: TreeId(0), path: RelPath::root(), pass }
}

fn indexed() -> Bench {
    let bench = Bench::built(&["root"], Switches::default(), &[], |slice| slice.index = true);
    bench.mkdir("a/b");
    bench
}

#[test]
fn all_that_happened_before_a_flush_is_reported_before_its_answer() {
    let mut bench = indexed();
    for round in 0..5_u64 {
        for number in 0..2000 {
            bench.write(format!("a/{round}-{number}"));
            if number % 500 == 0 {
                bench.mkdir(format!("a/dir{round}-{number}/x/y"));
                bench.write(format!("a/dir{round}-{number}/x/y/f"));
            }
        }
        bench.order(WatcherOrder::Flush(round));
        bench.until(|seen| seen.contains(&WatcherReport::Flushed(round)));
        // Before the root was watched nothing happened, as far as anybody knows.
        let told = changes(&bench.seen, 0).filter(|(path, _)| path.starts_with(b"a/")).count();
        assert!(round == 0 || told >= 2000 + 4 * 4, "{round}: {told}");
        let last = bench.seen.iter().rposition(|r| matches!(r, WatcherReport::Changes(..)));
        let answer = bench.seen.iter().position(|r| *r == WatcherReport::Flushed(round));
        assert!(last < answer, "{round}");
        bench.seen.clear();
    }
}

#[test]
fn flushes_are_answered_without_an_index_and_without_a_root() {
    let mut bench = Bench::watching(Switches::default());
    bench.write("f");
    bench.order(WatcherOrder::Flush(1));
    bench.until(|seen| seen.contains(&WatcherReport::Flushed(1)));
    assert!(changes(&bench.seen, 0).any(|(path, _)| path == b"f"));
    assert!(!bench.seen.iter().any(|report| matches!(report, WatcherReport::Names(..))));
    let mut rootless = Bench::of(&["root"], Switches::default(), &[]);
    rootless.order(WatcherOrder::Flush(2));
    rootless.until(|seen| seen.contains(&WatcherReport::Flushed(2)));
}

#[test]
fn orders_in_any_sequence() {
    let mut bench = indexed();
    // Before anything is watched; more room than there may be; one that may not come twice.
    for order in [
        WatcherOrder::List(7),
        WatcherOrder::Room(u32::MAX),
        WatcherOrder::Room(u32::MAX),
        WatcherOrder::Flush(9),
        WatcherOrder::List(8),
        WatcherOrder::Flush(9),
    ] {
        bench.order(order);
    }
    bench.until(|seen| seen.contains(&listed(8)));
    assert!(!bench.seen.contains(&listed(7)) && !bench.seen.contains(&listed(0)));
    assert_eq!(bench.seen.iter().filter(|report| **report == WatcherReport::Flushed(9)).count(), 2);
    // Each one starts anew, and only the last one counts.
    bench.seen.clear();
    for pass in 10..20 {
        bench.order(WatcherOrder::List(pass));
    }
    bench.until(|seen| seen.contains(&listed(19)));
    assert_eq!(bench.seen.iter().filter(|report| matches!(report, WatcherReport::Listed { .. })).count(), 1);
}

#[test]
fn bells_for_nothing_stop_nothing() {
    let mut bench = indexed();
    let deadline = Instant::now() + PATIENCE;
    bench.order(WatcherOrder::Room(8));
    while !bench.seen.contains(&listed(0)) {
        assert!(Instant::now() < deadline);
        (0..1000).for_each(|_| ring(bench.socket.as_fd()));
        bench.turn();
    }
    // Many orders, each with many bells.
    for number in 0..50 {
        bench.order(WatcherOrder::Flush(number));
        (0..1000).for_each(|_| ring(bench.socket.as_fd()));
    }
    bench.until(|seen| (0..50).all(|number| seen.contains(&WatcherReport::Flushed(number))));
    while bench.watcher.turn(Duration::from_millis(50)).is_ok() {
        let start = Instant::now();
        bench.watcher.turn(Duration::from_millis(50)).unwrap();
        if start.elapsed() >= Duration::from_millis(50) {
            break;
        }
        assert!(Instant::now() < deadline, "it does not come to rest");
    }
    // An order whose bell got lost is found with the next one.
    bench.orders.send(WatcherOrder::Flush(100)).unwrap();
    bench.order(WatcherOrder::Flush(101));
    bench.until(|seen| seen.contains(&WatcherReport::Flushed(101)));
    assert!(bench.seen.contains(&WatcherReport::Flushed(100)));
}

/// How many directories of each tree are watched, once all is reported that happened before.
#[test]
fn a_look_is_answered_behind_all_that_happened_before() {
    let mut bench = Bench::watching(Switches::default());
    bench.mkdir("a/b");
    bench.order(WatcherOrder::Look(1));
    bench.until(|seen| seen.contains(&WatcherReport::Looked { number: 1, directories: vec![3] }));
    for number in 2..7 {
        (0..500).for_each(|file| bench.write(format!("a/{number}-{file}")));
        bench.order(WatcherOrder::Look(number));
        let answer = WatcherReport::Looked { number, directories: vec![3] };
        bench.until(|seen| seen.contains(&answer));
        let of_round =
            changes(&bench.seen, 0).filter(|(path, _)| path.starts_with(format!("a/{number}-").as_bytes()));
        assert_eq!(of_round.count(), 500);
        let last = bench.seen.iter().rposition(|r| matches!(r, WatcherReport::Changes(..)));
        assert!(last < bench.seen.iter().position(|report| *report == answer));
        bench.seen.clear();
    }
    let mut rootless = Bench::of(&["root"], Switches::default(), &[]);
    rootless.order(WatcherOrder::Look(9));
    rootless.until(|seen| seen.contains(&WatcherReport::Looked { number: 9, directories: vec![0] }));
}
