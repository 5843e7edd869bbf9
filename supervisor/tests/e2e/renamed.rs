//! A directory or a large file that gets another name: the remote makes the new one out of the old one,
//! and what it holds does not travel.
#![allow(clippy::indexing_slicing, clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt};

use crate::support::proxy::Proxy;
use crate::support::{LOCALHOST, Mirror, SOON, Setup, exists, holds, wait_until, walk, write};

/// Files in a directory.
const FILES: u64 = 1000;
/// Bytes of a file.
const SIZE: u64 = 2400;
/// Bytes of a large one, which no batch carries among others.
const LARGE: u64 = 20 << 20;
/// Where chance begins.
const STATE: u64 = 88_172_645_463_325_252;

/// A mirror whose remotes are reached through a relay that counts.
fn counted(setup: Setup) -> (Mirror, Proxy) {
    let mirror = Mirror::new(setup);
    let proxy = Proxy::new(mirror.port);
    let config = fs::read_to_string(&mirror.config).unwrap();
    let other = config.replace(&format!("port=\"{}\"", mirror.port), &format!("port=\"{}\"", proxy.port));
    assert!(other != config);
    fs::write(&mirror.config, other).unwrap();
    (mirror, proxy)
}

/// A tree of `directories` with [`FILES`] files each, which nothing can compress; its remote has all
/// of it, and is reached through a relay that counts.
fn mirror(setup: Setup, directories: &[&str]) -> (Mirror, Proxy) {
    let (mut mirror, proxy) = counted(setup);
    let mut state = STATE;
    for directory in directories {
        for n in 0..FILES {
            write(mirror.source(format!("{directory}/s{}/f{n}", n % 7)), noise(&mut state, SIZE));
        }
    }
    begin(&mut mirror);
    (mirror, proxy)
}

/// The same with large files.
fn mirror_of_files(setup: Setup, files: &[&str]) -> (Mirror, Proxy) {
    let (mut mirror, proxy) = counted(setup);
    let mut state = STATE;
    for file in files {
        write(mirror.source(file), noise(&mut state, LARGE));
    }
    begin(&mut mirror);
    (mirror, proxy)
}

fn begin(mirror: &mut Mirror) {
    mirror.run();
    mirror.wait_done();
}

/// What nothing can compress.
fn noise(state: &mut u64, size: u64) -> Vec<u8> {
    let mut next = || {
        *state ^= *state << 13;
        *state ^= *state >> 7;
        *state ^= *state << 17;
        state.to_le_bytes()
    };
    (0..size / 8).flat_map(|_| next()).collect()
}

/// What passes while that is done and until nothing differs, in bytes.
fn bytes(mirror: &Mirror, proxy: &Proxy, act: impl FnOnce()) -> u64 {
    let before = proxy.bytes();
    act();
    mirror.wait_done();
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
    // And at once something happens in it. Where that is found while the directory is still being read, all of
    // it travels, slower and as right; not each time.
    let names = ["b/new", "c", "d", "e"];
    let passed = names.windows(2).map(|pair| {
        let (from, to) = (pair[0], pair[1]);
        let at = |path: &str| mirror.source(format!("{to}/{path}"));
        bytes(&mirror, &proxy, || {
            rename(&mirror, from, to);
            write(at("s1/f1"), format!("other, {to}"));
            fs::set_permissions(at("s2"), Permissions::from_mode(0o700)).unwrap();
            fs::set_permissions(at("s3/f3"), Permissions::from_mode(0o751)).unwrap();
            fs::remove_dir_all(at("s4")).unwrap();
            write(at("s5/new"), format!("new, {to}"));
            fs::create_dir(at("s4")).unwrap();
        })
    });
    let least = passed.min().unwrap();
    assert!(least < SIZE * FILES / 50, "{least} bytes");
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

#[test]
fn a_large_file_in_its_directory_and_to_another() {
    let (mirror, proxy) = mirror_of_files(Setup::exact(), &["a/old", "b/other"]);
    let passed = bytes(&mirror, &proxy, || rename(&mirror, "a/old", "a/new"));
    assert!(passed < LARGE / 50, "{passed} bytes");
    // Into one that is watched: of what is found in a new one nobody knows where it was.
    fs::create_dir_all(mirror.source("p/q")).unwrap();
    mirror.wait_done();
    let passed = bytes(&mirror, &proxy, || {
        rename(&mirror, "a/new", "p/q/new");
        write(mirror.source("a/else"), "else");
    });
    assert!(passed < LARGE / 50, "{passed} bytes");
    // Back, and at once it is another.
    rename(&mirror, "p/q/new", "a/new");
    write(mirror.source("a/new"), "other");
    rename(&mirror, "a/new", "b/other");
    mirror.wait_equal(SOON);
    each_by_itself(&mirror);
}

/// logrotate, twice: the old names are there again, here and on the remote. What is small is there soon,
/// whatever large file travels.
#[test]
fn large_files_that_are_rotated() {
    let (mirror, proxy) = mirror_of_files(Setup::exact(), &["log/a.log"]);
    let rotate = |mirror: &Mirror, text: &str| {
        for (from, to) in [("a.log.1", "a.log.2"), ("a.log", "a.log.1")] {
            if mirror.source("log").join(from).exists() {
                rename(mirror, &format!("log/{from}"), &format!("log/{to}"));
            }
        }
        write(mirror.source("log/a.log"), text);
    };
    for text in ["one", "two"] {
        rotate(&mirror, text);
        mirror.wait_done();
    }
    // A name with a date is new.
    write(mirror.source("log/a.log"), noise(&mut (STATE + 2), LARGE));
    mirror.wait_done();
    let passed = bytes(&mirror, &proxy, || rename(&mirror, "log/a.log", "log/a.log-20261123"));
    assert!(passed < LARGE / 50, "{passed} bytes");
}
