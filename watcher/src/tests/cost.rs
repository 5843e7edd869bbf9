//! What walking and telling names costs. Run by hand, in release, on a tmpfs:
//! `TMPDIR=/dev/shm cargo test --release -p watcher cost -- --ignored --nocapture`.

use std::fs;
use std::time::Instant;

use common::config::Switches;
use common::keep::NameOp;
use common::message::{WatcherOrder, WatcherReport};

use super::Bench;

fn memory(key: &str) -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with(key)).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

/// Turns until `done`; gives room for each frame of listings at once, and counts them.
fn until(bench: &mut Bench, done: impl Fn(&WatcherReport) -> bool) -> (u32, usize) {
    let (mut frames, mut names) = (0, 0);
    loop {
        bench.turn();
        for report in std::mem::take(&mut bench.seen) {
            if let WatcherReport::Names(_, ops) = &report {
                let listed = ops.iter().map(|op| match op {
                    NameOp::Listing { entries, .. } => entries.len(),
                    NameOp::Entry(..) | NameOp::Gone(_) => 0,
                });
                let listed: usize = listed.sum();
                names += listed;
                if listed > 0 {
                    frames += 1;
                    bench.order(WatcherOrder::Room(1));
                }
            }
            if done(&report) {
                return (frames, names);
            }
        }
    }
}

fn list(prepare: impl FnOnce(&Bench)) {
    let mut bench = Bench::built(&["root"], Switches::default(), &[], |slice| {
        (slice.index, slice.follow_links) = (true, false);
    });
    bench.mkdir("");
    prepare(&bench);
    bench.order(WatcherOrder::Flush(0));
    until(&mut bench, |report| *report == WatcherReport::Flushed(0));
    fs::write("/proc/self/clear_refs", "5").unwrap();
    let (before, start) = (memory("VmRSS"), Instant::now());
    bench.order(WatcherOrder::Room(8));
    let (frames, names) = until(&mut bench, |report| matches!(report, WatcherReport::Listed { .. }));
    let (time, peak) = (start.elapsed(), memory("VmHWM"));
    eprintln!("listed names={names} frames={frames} time={time:?} before={before}K peak={peak}K");
}

#[test]
#[ignore = "measures"]
fn cost_of_a_pass() {
    list(|bench| {
        for dir in 0..100_000 {
            bench.mkdir(format!("{}/{dir}", dir / 100));
            for file in 0..10 {
                bench.write(format!("{}/{dir}/file{file}", dir / 100));
            }
        }
    });
}

#[test]
#[ignore = "measures"]
fn cost_of_a_huge_directory() {
    list(|bench| {
        for file in 0..1_000_000 {
            bench.write(format!("file{file}"));
        }
    });
}

#[test]
#[ignore = "measures"]
fn cost_of_live_changes() {
    let one_by_one = [(false, false), (true, false)];
    let runs = [1, 1000, 1, 1000].into_iter().flat_map(|spread| one_by_one.map(|run| (run, spread)));
    for ((index, links), spread) in runs {
        let mut bench = Bench::built(&["root"], Switches::default(), &[], |slice| {
            (slice.index, slice.follow_links) = (index, links);
        });
        for dir in 0..spread {
            bench.mkdir(format!("{dir}"));
        }
        bench.order(WatcherOrder::Flush(0));
        until(&mut bench, |report| *report == WatcherReport::Flushed(0));
        // The census of files with several names comes after that.
        bench.settle("settled");
        bench.seen.clear();
        for file in 0..5000 {
            bench.write(format!("{}/{file}", file % spread));
        }
        let start = Instant::now();
        bench.order(WatcherOrder::Flush(1));
        until(&mut bench, |report| *report == WatcherReport::Flushed(1));
        eprintln!(
            "live index={index} links={links} directories={spread} a change={:?}",
            start.elapsed() / 5000
        );
    }
}

/// Processor time of this thread, in milliseconds.
fn cpu() -> i64 {
    use nix::sys::time::TimeValLike;
    nix::time::clock_gettime(nix::time::ClockId::CLOCK_THREAD_CPUTIME_ID).unwrap().num_milliseconds()
}

/// Walks the tree that `TREE` names, and makes 50,000 changes in it meanwhile. With it is told the
/// longest time that the kernel's queue was left alone.
#[test]
#[ignore = "measures"]
fn cost_of_a_start() {
    let tree = std::env::var("TREE").expect("TREE is an absolute path");
    for changes in [0, 50_000] {
        let mut bench = Bench::built(&[&tree], Switches::default(), &[], |slice| {
            (slice.index, slice.follow_links) = (true, false);
        });
        let before = memory("VmRSS");
        let (root, from) = (std::path::PathBuf::from(&tree), cpu());
        let writer = std::thread::spawn(move || {
            let dir = root.join("changed");
            fs::create_dir_all(&dir).unwrap();
            for number in 0..changes {
                fs::write(dir.join(format!("{}", number % 500)), "").unwrap();
            }
            fs::remove_dir_all(dir).unwrap();
        });
        until(&mut bench, |report| matches!(report, WatcherReport::Watching { .. }));
        let watching = cpu() - from;
        eprintln!("watching cpu={watching}ms before={before}K now={}K", memory("VmRSS"));
        bench.order(WatcherOrder::Room(8));
        until(&mut bench, |report| matches!(report, WatcherReport::Listed { .. }));
        let gap = bench.watcher.roots[0].live().unwrap().kernel.gap.longest;
        eprintln!(
            "listed changes={changes} cpu={}ms longest_gap={gap:?} now={}K",
            cpu() - from,
            memory("VmRSS")
        );
        writer.join().unwrap();
    }
}

/// Kilobytes of a line of `/proc/meminfo`.
fn of_the_kernel(key: &str) -> u64 {
    let text = fs::read_to_string("/proc/meminfo").unwrap();
    let line = text.lines().find(|line| line.starts_with(key)).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

/// With `WATCHER_TESTS_WITH=fanotify` and without.
#[test]
#[ignore = "measures"]
fn cost_of_watching() {
    let mut bench = Bench::built(&["root"], Switches::default(), &[], |slice| slice.follow_links = false);
    for dir in 0..100_000 {
        bench.mkdir(format!("{}/{dir}", dir / 100));
    }
    let slab = of_the_kernel("SUnreclaim:");
    let (before, before_cpu, start) = (memory("VmRSS"), cpu(), Instant::now());
    until(&mut bench, |report| matches!(report, WatcherReport::Watching { .. }));
    let (time, after) = (start.elapsed(), memory("VmRSS"));
    let cpu = cpu() - before_cpu;
    let slab = of_the_kernel("SUnreclaim:").saturating_sub(slab);
    let with = super::backend();
    eprintln!("watched with={with:?} time={time:?} cpu={cpu}ms memory={}K kernel={slab}K", after - before);
}
