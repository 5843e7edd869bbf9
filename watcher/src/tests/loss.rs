//! What is lost, said and made up for: the root, events, watches, room in the socket.

use std::fs;
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use common::config::Switches;
use common::event::{Dirt, TreeId};
use common::message::{LossCause, RootLoss, WatcherReport};
use common::path::RelPath;
use common::wire::Received;

use super::{Bench, changes};
use crate::outbox::Outbox;

fn is_watching(report: &WatcherReport) -> bool {
    matches!(report, WatcherReport::Watching { .. })
}

fn lost(cause: RootLoss) -> WatcherReport {
    WatcherReport::RootLost { tree: TreeId(0), cause }
}

fn rescan(path: &str, cause: LossCause) -> WatcherReport {
    WatcherReport::Rescan { tree: TreeId(0), path: RelPath::new(path).unwrap(), cause }
}

#[test]
fn a_root_removed_and_made_again() {
    let mut bench = Bench::prepared(Switches::default(), &[], |bench| bench.mkdir("d"));
    fs::remove_dir_all(bench.at("")).unwrap();
    bench.until(|seen| seen.contains(&lost(RootLoss::Missing)));
    assert!(!bench.seen.iter().any(is_watching));
    bench.mkdir("d");
    bench.until(|seen| seen.iter().any(is_watching));
    bench.write("d/f");
    bench.until_dirty("d/f", Dirt::Touched);
    let told = bench.seen.iter().filter(|report| matches!(report, WatcherReport::RootLost { .. })).count();
    assert_eq!(told, 1);
}

#[test]
fn a_root_renamed_and_another_in_its_place() {
    let mut bench = Bench::prepared(Switches::default(), &[], |bench| bench.write("f"));
    let old = bench.temp.path().join("old");
    fs::rename(bench.at(""), &old).unwrap();
    fs::remove_file(old.join("f")).unwrap();
    bench.mkdir("");
    bench.until(|seen| seen.iter().any(is_watching));
    assert!(bench.seen.contains(&lost(RootLoss::Replaced)));
    // Nothing that happened in the old one speaks of the new one.
    assert_eq!(bench.taken(), []);
    fs::write(old.join("g"), "").unwrap();
    bench.settle("s");
    assert_eq!(bench.taken(), []);
}

#[test]
fn a_root_that_was_never_there() {
    let mut bench = Bench::of(&["root"], Switches::default(), &[]);
    bench.until(|seen| seen.contains(&lost(RootLoss::Missing)));
    bench.mkdir("d");
    bench.until(|seen| seen.iter().any(is_watching));
    bench.write("d/f");
    bench.until_dirty("d/f", Dirt::Touched);
}

#[test]
fn a_root_that_is_a_file() {
    let mut bench = Bench::of(&["root"], Switches::default(), &[]);
    fs::write(bench.at("").as_os_str().to_str().unwrap().trim_end_matches('/'), "").unwrap();
    bench.until(|seen| seen.contains(&lost(RootLoss::Missing)));
}

#[test]
fn more_events_than_the_kernel_keeps() {
    let mut bench = Bench::prepared(Switches::default(), &[], |bench| bench.mkdir("renamed/sub"));
    let limit: usize =
        fs::read_to_string("/proc/sys/fs/inotify/max_queued_events").unwrap().trim().parse().unwrap();
    // Three events each, and nobody reads them.
    for number in 0..=limit / 2 {
        bench.write(format!("{number}"));
        fs::remove_file(bench.at(format!("{number}"))).unwrap();
    }
    bench.mkdir("lost/sub");
    bench.rename("renamed", "new_name");
    bench.until(|seen| seen.contains(&rescan("", LossCause::Overflow)));
    bench.seen.clear();
    assert_eq!(bench.watcher.roots[0].needed(), 5);
    bench.write("lost/sub/f");
    bench.until_dirty("lost/sub/f", Dirt::Touched);
    bench.write("new_name/sub/f");
    bench.until_dirty("new_name/sub/f", Dirt::Touched);
    // It does not feed on itself.
    assert!(!bench.seen.iter().any(|report| matches!(report, WatcherReport::Rescan { .. })));
}

fn limit(report: &WatcherReport) -> Option<(u64, u64)> {
    match *report {
        WatcherReport::WatchLimit { unwatched, needed, .. } => Some((unwatched, needed)),
        _ => None,
    }
}

#[test]
fn more_directories_than_watches() {
    let mut bench = Bench::of(&["root"], Switches::default(), &[]);
    for dir in 0..5 {
        bench.mkdir(format!("{dir}/sub"));
    }
    bench.watcher.roots[0].drain(&mut [0; 4096], Instant::now(), &mut Outbox::new());
    bench.watcher.roots[0].live_mut().unwrap().kernel.budget = 5;
    bench.until(|seen| seen.iter().any(|report| limit(report) == Some((6, 11))));
    bench.seen.clear();
    // New directories in what has no watch are found when the time has come.
    for dir in 0..5 {
        bench.mkdir(format!("{dir}/sub/new"));
    }
    bench.settle("s");
    let live = bench.watcher.roots[0].live_mut().unwrap();
    live.kernel.budget = usize::MAX;
    live.limit.make_due();
    bench.until(|seen| seen.iter().any(|report| limit(report) == Some((0, 16))));
    let of_unwatched =
        |report: &&WatcherReport| matches!(report, WatcherReport::Rescan { cause: LossCause::Unwatched, .. });
    assert!(bench.seen.iter().filter(of_unwatched).count() >= 1);
    for dir in 0..5 {
        bench.write(format!("{dir}/sub/new/f"));
        bench.until_dirty(format!("{dir}/sub/new/f"), Dirt::Touched);
    }
}

#[test]
fn a_supervisor_that_does_not_read() {
    let mut bench = Bench::watching(Switches::default());
    for round in 0..3 {
        for number in 0..3000 {
            bench.write(format!("{number:0100}"));
            if number % 500 == 0 {
                bench.watcher.turn(Duration::ZERO).unwrap();
            }
        }
        assert!(bench.watcher.turn(Duration::ZERO).is_ok(), "{round}");
    }
    // Every path, and the later rounds have merged with what waited.
    let all = |seen: &[WatcherReport]| {
        changes(seen, 0).map(|(path, _)| path).collect::<std::collections::BTreeSet<_>>().len()
    };
    bench.until(|seen| all(seen) == 3000);
    bench.settle("s");
    assert!(bench.taken().len() < 3 * 3000);
}

#[test]
fn the_watcher_ends_with_the_supervisor() {
    let Bench { temp: _temp, mut watcher, socket, .. } = Bench::watching(Switches::default());
    drop(socket);
    assert!(watcher.turn(Duration::MAX).is_err());
}

#[test]
fn signs_of_life() {
    let mut bench = Bench::of(&["root"], Switches::default(), &[]);
    bench.mkdir("a/b");
    bench.watcher.turn(Duration::ZERO).unwrap();
    let Received::Frame(first) = bench.reader.receive::<WatcherReport>(bench.socket.as_fd()) else {
        panic!()
    };
    assert!(is_watching(&first) || matches!(first, WatcherReport::Beat { .. }), "{first:?}");
    bench.settle("s");
    // Nothing to do: it sleeps for as long as it may.
    let (start, longest) = (Instant::now(), Duration::from_millis(100));
    bench.watcher.turn(longest).unwrap();
    assert!(start.elapsed() >= longest);
}

#[test]
fn an_idle_root_is_not_held_open() {
    let bench = Bench::prepared(Switches::default(), &[], |bench| bench.mkdir("a/b"));
    let held =
        fs::read_dir("/proc/self/fd").unwrap().flatten().filter_map(|fd| fs::read_link(fd.path()).ok());
    assert_eq!(held.filter(|path| path.starts_with(bench.temp.path())).count(), 0);
}
