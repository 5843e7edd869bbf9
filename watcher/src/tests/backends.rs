//! The same tests with the other way to watch: the test program runs them as its own child.

use std::fs;
use std::process::Command;

use common::config::{Switches, WatcherKind};
use common::event::Dirt::{Deep, Touched};
use common::message::WatcherReport;

use super::{Bench, backend};

/// Where it matters how the kernel is asked. What is left out is about inotify itself, its limits and
/// what wakes nobody, or the same whoever tells of an event.
const SAME: [&str; 6] = [
    "tests::backends::a_",
    "tests::events::",
    "tests::links::",
    "tests::loss::a_root",
    "tests::names::a_directory",
    "tests::races::",
];

#[test]
fn the_same_tests() {
    if backend() == WatcherKind::Fanotify {
        return;
    }
    let root = std::env::temp_dir();
    if let Err(error) = common::confine::mark(root.as_os_str(), Switches::default()) {
        return eprintln!("skipped: {error}");
    }
    let mut command = Command::new(std::env::current_exe().unwrap());
    let output = command.args(SAME).env("WATCHER_TESTS_WITH", "fanotify").output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}\n{}", String::from_utf8_lossy(&output.stderr));
    for part in SAME {
        assert!(said.contains(&format!("test {part}")), "{part} is none: {said}");
    }
}

/// A mark has no bound that a burst could pass: what inotify would have dropped is there.
#[test]
fn a_burst_that_nobody_reads() {
    if backend() == WatcherKind::Inotify {
        return;
    }
    let mut bench = Bench::prepared(Switches::default(), &[], |bench| bench.mkdir("renamed/sub"));
    for number in 0..20_000 {
        bench.write(format!("{number}"));
        fs::remove_file(bench.at(format!("{number}"))).unwrap();
    }
    bench.mkdir("new/sub");
    bench.rename("renamed", "new_name");
    bench.until_dirty("new_name", Deep);
    bench.write("new_name/sub/f");
    bench.until_dirty("new_name/sub/f", Touched);
    bench.write("new/sub/f");
    bench.until_dirty("new/sub/f", Touched);
    assert!(!bench.seen.iter().any(|report| matches!(report, WatcherReport::Rescan { .. })));
}

/// What is told of one directory several times is told once, where it was told first.
#[test]
fn a_directory_renamed_to_and_fro() {
    let mut bench = Bench::prepared(Switches::default(), &[], |bench| bench.mkdir("a/sub"));
    bench.rename("a", "b");
    bench.rename("b", "a");
    bench.rename("a", "b");
    bench.until_dirty("b", Deep);
    bench.settle("s");
    bench.write("b/sub/f");
    bench.until_dirty("b/sub/f", Touched);
    assert_eq!(bench.watcher.roots[0].needed(), 3);
}
