//! Mounts come and go without an event, and a bind mount shows one directory under two names.
//! Run as root in a mount namespace of its own: `unshare -m cargo test -p watcher -- --ignored`.

use std::path::Path;
use std::process::Command;

use common::config::Switches;
use common::event::Dirt::{Deep, Touched};
use common::event::TreeId;
use common::message::{RootLoss, WatcherReport};

use super::Bench;

fn mount(kind: &[&str], at: &Path) {
    assert!(Command::new("mount").args(kind).arg(at).status().unwrap().success());
}

fn unmount(at: &Path) {
    assert!(Command::new("umount").arg(at).status().unwrap().success());
}

#[test]
#[ignore = "needs root and a mount namespace"]
fn mounts_below_the_root() {
    let mut bench = Bench::prepared(Switches::default(), &[], |bench| {
        for dir in ["a/sub", "b", "other/under"] {
            bench.mkdir(dir);
        }
        mount(&["--bind", bench.at("a").to_str().unwrap()], &bench.at("b"));
        mount(&["-t", "tmpfs", "none"], &bench.at("other"));
        bench.mkdir("other/x/y");
    });
    assert_eq!(bench.watcher.roots[0].needed(), 8);
    bench.write("other/x/y/f");
    bench.until_dirty("other/x/y/f", Touched);
    // One directory, two names.
    bench.write("a/sub/f");
    bench.until_dirty("a/sub/f", Touched);
    bench.until_dirty("b/sub/f", Touched);
    bench.rename("b/sub", "b/sub2");
    bench.until_dirty("a/sub2", Deep);
    bench.until_dirty("b/sub2", Deep);
    bench.write("a/sub2/f");
    bench.until_dirty("a/sub2/f", Touched);
    bench.until_dirty("b/sub2/f", Touched);
    // What the mount had covered is watched; what it held is not taken for removed.
    bench.settle("1");
    bench.taken();
    unmount(&bench.at("other"));
    bench.settle("2");
    assert_eq!(bench.taken(), []);
    bench.write("other/under/f");
    bench.until_dirty("other/under/f", Touched);
    unmount(&bench.at("b"));
}

#[test]
#[ignore = "needs root and a mount namespace"]
fn a_mount_as_root() {
    let watching = |seen: &[WatcherReport]| {
        seen.iter().filter(|report| matches!(report, WatcherReport::Watching { .. })).count()
    };
    let lost = |cause| WatcherReport::RootLost { tree: TreeId(0), cause };
    let mut bench = Bench::of(&["root"], Switches::default(), &[]);
    bench.mkdir("");
    mount(&["-t", "tmpfs", "none"], &bench.at(""));
    bench.until(|seen| watching(seen) == 1);
    unmount(&bench.at(""));
    bench.until(|seen| watching(seen) == 2 && seen.contains(&lost(RootLoss::Unmounted)));
    // Nobody says that something was mounted over it: it is noticed on waking for a sign of life.
    mount(&["-t", "tmpfs", "none"], &bench.at(""));
    for _ in 0..3 {
        if watching(&bench.seen) < 3 {
            bench.turn_for(std::time::Duration::MAX);
            bench.receive();
        }
    }
    bench.until(|seen| watching(seen) == 3 && seen.contains(&lost(RootLoss::Replaced)));
    unmount(&bench.at(""));
}
