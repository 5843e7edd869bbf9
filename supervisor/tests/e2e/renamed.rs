//! A directory that gets another name: the remote makes the new one out of the old one, and what it
//! holds does not travel.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt};

use crate::support::proxy::Proxy;
use crate::support::{LOCALHOST, Mirror, SOON, Setup, exists, holds, wait_until, walk, write};

/// Files in a directory.
const FILES: u64 = 1000;
/// Bytes of a file.
const SIZE: u64 = 2400;

/// A tree of `directories` with [`FILES`] files each, which nothing can compress; its remote has all
/// of it, and is reached through a relay that counts.
fn mirror(setup: Setup, directories: &[&str]) -> (Mirror, Proxy) {
    let mut mirror = Mirror::new(setup);
    let proxy = Proxy::new(mirror.port);
    let config = fs::read_to_string(&mirror.config).unwrap();
    let other = config.replace(&format!("port=\"{}\"", mirror.port), &format!("port=\"{}\"", proxy.port));
    assert!(other != config);
    fs::write(&mirror.config, other).unwrap();
    let mut state = 88_172_645_463_325_252_u64;
    let mut noise = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    };
    for directory in directories {
        for n in 0..FILES {
            let content: Vec<u8> = (0..SIZE / 8).flat_map(|_| noise()).collect();
            write(mirror.source(format!("{directory}/s{}/f{n}", n % 7)), content);
        }
    }
    mirror.run();
    mirror.wait_equal(SOON);
    // The first full sync is over then too, and not only what it does.
    mirror.wait_logged("full sync done");
    mirror.settle();
    (mirror, proxy)
}

/// What passes while that is done and until nothing differs, in bytes.
fn bytes(mirror: &Mirror, proxy: &Proxy, act: impl FnOnce()) -> u64 {
    let before = proxy.bytes();
    act();
    mirror.wait_equal(SOON);
    proxy.bytes() - before
}

fn rename(mirror: &Mirror, from: &str, to: &str) {
    fs::rename(mirror.source(from), mirror.source(to)).unwrap();
}

/// No file of the replica may have two names: owner, mode and time would be those of both.
fn each_by_itself(mirror: &Mirror) {
    for path in walk(&mirror.replica("")) {
        let meta = path.symlink_metadata().unwrap();
        assert!(meta.is_dir() || meta.nlink() == 1, "{}: {} names", path.display(), meta.nlink());
    }
}

/// Names and times alone take nearly a fiftieth of files as small as these.
#[test]
fn a_directory_of_a_thousand_files() {
    let (mirror, proxy) = mirror(Setup::exact(), &["a/old", "b/other"]);
    let passed = bytes(&mirror, &proxy, || rename(&mirror, "a/old", "b/new"));
    assert!(passed < SIZE * FILES / 50, "{passed} bytes");
    each_by_itself(&mirror);
    // And at once something happens in it.
    let passed = bytes(&mirror, &proxy, || {
        rename(&mirror, "b/new", "c");
        write(mirror.source("c/s1/f1"), "other");
        fs::set_permissions(mirror.source("c/s2"), Permissions::from_mode(0o700)).unwrap();
        fs::set_permissions(mirror.source("c/s3/f3"), Permissions::from_mode(0o751)).unwrap();
        fs::remove_dir_all(mirror.source("c/s4")).unwrap();
        write(mirror.source("c/s5/new"), "new");
    });
    assert!(passed < SIZE * FILES / 50, "{passed} bytes");
    each_by_itself(&mirror);
}

#[test]
fn while_the_remote_is_down_in_chains_and_in_circles() {
    let (mut mirror, _proxy) = mirror(Setup::exact(), &["a", "b", "c"]);
    mirror.daemon.end(nix::sys::signal::Signal::SIGKILL);
    rename(&mirror, "a", "x");
    rename(&mirror, "x", "y");
    write(mirror.source("y/s0/f0"), "other");
    rename(&mirror, "b", "t");
    rename(&mirror, "c", "b");
    rename(&mirror, "t", "c");
    mirror.daemon.again();
    mirror.wait_equal(SOON);
    for _ in 0..3 {
        rename(&mirror, "b", "t");
        rename(&mirror, "c", "b");
        rename(&mirror, "t", "c");
        rename(&mirror, "y", "z");
        rename(&mirror, "z", "y");
        rename(&mirror, "y", "w");
        rename(&mirror, "w", "y");
    }
    mirror.wait_equal(SOON);
    each_by_itself(&mirror);
}

/// As a deployment does it: the old one is removed or put aside, the new one takes its place.
#[test]
fn over_one_that_was_just_removed() {
    let (mirror, _proxy) = mirror(Setup::exact(), &["current", "next"]);
    fs::remove_dir_all(mirror.source("current")).unwrap();
    rename(&mirror, "next", "current");
    mirror.wait_equal(SOON);
    write(mirror.source("next/f"), "one");
    mirror.wait_equal(SOON);
    rename(&mirror, "current", "previous");
    rename(&mirror, "next", "current");
    mirror.wait_equal(SOON);
    each_by_itself(&mirror);
}

#[test]
fn odd_names_and_names_that_are_excluded() {
    let (mirror, _proxy) = mirror(Setup::exact(), &["$(id) *", "-n"]);
    rename(&mirror, "$(id) *", "'\"\\");
    rename(&mirror, "-n", "--delete");
    mirror.wait_equal(SOON);
    each_by_itself(&mirror);
    let mut filtered = Mirror::new(Setup::exact().filter(&["out/"]));
    for n in 0..FILES {
        write(filtered.source(format!("out/f{n}")), "x");
        // Of another size: they may be as old as the others to the nanosecond.
        write(filtered.source(format!("in/f{n}")), "in");
    }
    filtered.run();
    wait_until("what is not excluded arrives", SOON, || exists(filtered.replica("in/f999")));
    rename(&filtered, "in", "t");
    rename(&filtered, "out", "in");
    rename(&filtered, "t", "out");
    let old = |name: &str| exists(filtered.replica(name));
    wait_until("both are as they should be", SOON, || {
        holds(filtered.replica("in/f999"), "x") && !old("t") && !old("out")
    });
    each_by_itself(&filtered);
}

/// One has the old directory, the other lost it.
#[test]
fn a_remote_without_the_old_directory() {
    let (mirror, _proxy) = mirror(Setup::exact().remotes(&[LOCALHOST, LOCALHOST]), &["old"]);
    fs::remove_dir_all(mirror.replicas[1].join("old")).unwrap();
    rename(&mirror, "old", "new");
    mirror.wait_equal(SOON);
    each_by_itself(&mirror);
}
