//! Large trees: what a directory costs, and that none of them keeps the kernel's queue waiting.

use std::fs;
use std::process::Command;
use std::time::{Duration, Instant};

use common::config::Switches;
use common::event::Dirt;
use common::message::WatcherReport;
use common::path::RelPath;

use super::{Bench, PATIENCE};
use crate::tree::Tree;
use crate::watcher::GATHERING;

/// As the module's figures are stated: a directory's memory, beside its name.
const MOST_BYTES: u64 = 120;
/// Longer than any step, in time that the thread had a processor: optimised it is a fifth of that.
const LONGEST_GAP: Duration = Duration::from_millis(20);

fn gap(bench: &Bench) -> Duration {
    bench.watcher.roots[0].live().unwrap().kernel.gap.longest
}

fn directories(bench: &Bench) -> u64 {
    bench.watcher.roots[0].needed()
}

fn until_known(bench: &mut Bench, wanted: u64) {
    let deadline = Instant::now() + PATIENCE;
    while directories(bench) != wanted {
        assert!(Instant::now() < deadline, "{} of {wanted}", directories(bench));
        bench.turn();
    }
}

#[test]
fn the_queue_is_read_all_the_time() {
    const MANY: u64 = 10_000;
    let mut bench = Bench::of(&["root"], Switches::default(), &[]);
    for dir in 0..MANY {
        bench.mkdir(format!("all/{dir}"));
    }
    let outside = bench.temp.path().join("outside");
    // Each of these concerns all of them at once: walked, gone, back, gone through again.
    until_known(&mut bench, MANY + 2);
    fs::rename(bench.at("all"), &outside).unwrap();
    until_known(&mut bench, 1);
    fs::rename(&outside, bench.at("back")).unwrap();
    until_known(&mut bench, MANY + 2);
    bench.until_dirty("back", Dirt::Deep);
    bench.rename("back", "again");
    bench.until_dirty("again", Dirt::Deep);
    bench.settle("settled");
    assert_eq!(directories(&bench), MANY + 2);
    eprintln!("longest gap={:?}", gap(&bench));
    assert!(gap(&bench) < LONGEST_GAP);
    // What is gone has no watch, what is there has one.
    bench.taken();
    bench.write("again/7/f");
    bench.until_dirty("again/7/f", Dirt::Touched);
}

#[test]
fn what_is_gone_is_forgotten_in_parts() {
    let mut bench = Bench::prepared(Switches::default(), &[], |bench| {
        for dir in 0..200 {
            bench.mkdir(format!("all/{dir}"));
        }
    });
    let live = bench.watcher.roots[0].live_mut().unwrap();
    let all = live.tree.at(&RelPath::new("all").unwrap()).unwrap();
    live.drop_node(all);
    // None of it can be found any more, but most of it waits for its turn.
    assert_eq!(live.tree.path(all), None);
    assert!(live.scan.is_busy() && live.tree.directories() > 100);
    until_known(&mut bench, 1);
}

#[test]
fn a_burst_becomes_few_frames() {
    let mut bench = Bench::watching(Switches::default());
    bench.settle("settled");
    bench.seen.clear();
    let (start, root) = (Instant::now(), bench.at(""));
    let writer = std::thread::spawn(move || {
        for file in 0..2000 {
            fs::write(root.join(format!("{file}")), "").unwrap();
        }
    });
    bench.until_dirty("1999", Dirt::Touched);
    writer.join().unwrap();
    let frames = bench.seen.iter().filter(|report| matches!(report, WatcherReport::Changes(..))).count();
    // The paths of all of them fill one frame at most.
    let most = start.elapsed().as_micros() / GATHERING.as_micros() + 2;
    assert!(frames as u128 <= most, "{frames} in {:?}", start.elapsed());
}

/// Anonymous memory of a process of its own that holds so many directories.
fn memory_of(directories: u32) -> u64 {
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--ignored", "--exact", "--nocapture", "--test-threads=1", "tests::large::holds_directories"])
        .env("DIRECTORIES", directories.to_string())
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let bytes = text.split_once("bytes=").unwrap().1;
    bytes.split_whitespace().next().unwrap().parse().unwrap()
}

#[test]
fn a_directory_costs_at_most_120_bytes_beside_its_name() {
    let one = memory_of(1);
    for many in [100_000, 1_000_000] {
        let names = u64::from(many) * NAME.len() as u64;
        let each = (memory_of(many) - one - names) / u64::from(many);
        eprintln!("directories={many} bytes={each}");
        assert!(each <= MOST_BYTES, "{each} at {many}");
    }
}

/// As long as names of directories mostly are.
const NAME: &str = "0000000";

#[test]
#[ignore = "is run by the test above"]
fn holds_directories() {
    let wanted: u32 = std::env::var("DIRECTORIES").unwrap().parse().unwrap();
    let mut tree = Tree::new();
    let mut parent = tree.root();
    for number in 1..=wanted {
        let node = tree.ensure(parent, format!("{number:07}").as_bytes()).unwrap();
        tree.set_wd(node, Some(number.cast_signed()));
        if number % 100 == 0 {
            parent = if number % 10_000 == 0 { tree.root() } else { node };
        }
    }
    let rollup = fs::read_to_string("/proc/self/smaps_rollup").unwrap();
    let line = rollup.lines().find(|line| line.starts_with("Anonymous:")).unwrap();
    let kilobytes: u64 = line.split_whitespace().nth(1).unwrap().parse().unwrap();
    println!("bytes={}", kilobytes * 1024);
    assert_eq!(tree.directories(), u64::from(wanted) + 1);
}
