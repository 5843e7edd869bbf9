//! What changes here arrives there: one change at a time, with a real rsync daemon.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::fs::{self, OpenOptions, Permissions};
use std::io::Write;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use crate::support::{LOCALHOST, Mirror, Over, SOON, Setup, exists, holds, pause, wait_until, walk, write};

/// Does something to the source, and waits until nothing differs.
fn step(mirror: &Mirror, what: &str, act: impl FnOnce(&Path)) {
    act(&mirror.source(""));
    eprintln!("{what}");
    mirror.wait_equal(SOON);
}

#[test]
fn files_with_the_default_switches() {
    let mirror = Mirror::start(Setup::plain());
    step(&mirror, "create", |at| write(at.join("a"), "one"));
    step(&mirror, "edit", |at| write(at.join("a"), "two"));
    let append = |at: &Path| OpenOptions::new().append(true).open(at.join("a")).unwrap();
    step(&mirror, "append", |at| append(at).write_all(b" three").unwrap());
    step(&mirror, "truncate", |at| append(at).set_len(2).unwrap());
    step(&mirror, "rename", |at| fs::rename(at.join("a"), at.join("b")).unwrap());
    step(&mirror, "move in", |at| {
        write(at.parent().unwrap().join("c"), "from outside");
        fs::rename(at.parent().unwrap().join("c"), at.join("c")).unwrap();
    });
    step(&mirror, "rename over", |at| fs::rename(at.join("c"), at.join("b")).unwrap());
    assert!(holds(mirror.replica("b"), "from outside"));
    step(&mirror, "empty", |at| write(at.join("empty"), ""));
    step(&mirror, "large", |at| write(at.join("large"), vec![7; 3_000_000]));
    step(&mirror, "move out", |at| {
        fs::rename(at.join("large"), at.parent().unwrap().join("large")).unwrap();
    });
    step(&mirror, "delete", |at| fs::remove_file(at.join("b")).unwrap());
    assert!(!exists(mirror.replica("b")));
}

#[test]
fn what_only_the_exact_switches_bring() {
    let mirror = Mirror::start(Setup::exact());
    step(&mirror, "create", |at| write(at.join("a"), "one"));
    step(&mirror, "chmod", |at| fs::set_permissions(at.join("a"), Permissions::from_mode(0o751)).unwrap());
    step(&mirror, "touch", |at| {
        let file = fs::File::open(at.join("a")).unwrap();
        let time = std::time::UNIX_EPOCH + Duration::new(1_000_000_000, 123_456_789);
        file.set_times(fs::FileTimes::new().set_modified(time).set_accessed(time)).unwrap();
    });
    step(&mirror, "symlink", |at| symlink("nowhere", at.join("link")).unwrap());
    step(&mirror, "replace the symlink by a file", |at| {
        fs::remove_file(at.join("link")).unwrap();
        write(at.join("link"), "file");
    });
    step(&mirror, "hard link", |at| fs::hard_link(at.join("a"), at.join("other")).unwrap());
    step(&mirror, "write through the other name", |at| write(at.join("other"), "through the other"));
    assert!(holds(mirror.replica("a"), "through the other"));
    step(&mirror, "directory", |at| fs::create_dir(at.join("d")).unwrap());
    let chmod = |path: &Path| fs::set_permissions(path, Permissions::from_mode(0o700)).unwrap();
    step(&mirror, "chmod of a directory", |at| chmod(&at.join("d")));
    step(&mirror, "inside it after that", |at| write(at.join("d/inside"), "inside"));
    step(&mirror, "a directory for a file", |at| {
        fs::remove_file(at.join("a")).unwrap();
        write(at.join("a/b/c"), "in place of a");
    });
    step(&mirror, "a file for a directory", |at| {
        fs::remove_dir_all(at.join("a")).unwrap();
        write(at.join("a"), "a again");
    });
}

#[test]
fn directories() {
    let mirror = Mirror::start(Setup::plain());
    let outside = mirror.dir.join("outside");
    step(&mirror, "mkdir -p with files", |at| write(at.join("a/b/c/d/file"), "deep"));
    for n in 0..30 {
        write(outside.join(format!("x/{n}/file{n}")), format!("content {n}"));
    }
    step(&mirror, "move a tree in", |at| fs::rename(&outside, at.join("tree")).unwrap());
    step(&mirror, "write where it was moved", |at| write(at.join("tree/x/3/new"), "new"));
    step(&mirror, "rename it", |at| fs::rename(at.join("tree"), at.join("a/b/tree2")).unwrap());
    step(&mirror, "write below the new name", |at| write(at.join("a/b/tree2/x/4/newer"), "newer"));
    assert!(!exists(mirror.replica("tree")));
    step(&mirror, "two trade names", |at| {
        fs::rename(at.join("a/b/tree2/x/1"), at.join("aside")).unwrap();
        fs::rename(at.join("a/b/tree2/x/2"), at.join("a/b/tree2/x/1")).unwrap();
        fs::rename(at.join("aside"), at.join("a/b/tree2/x/2")).unwrap();
    });
    assert!(holds(mirror.replica("a/b/tree2/x/1/file2"), "content 2"));
    step(&mirror, "move out", |at| fs::rename(at.join("a/b/tree2/x"), &outside).unwrap());
    step(&mirror, "rm -rf", |at| fs::remove_dir_all(at.join("a")).unwrap());
    assert_eq!(fs::read_dir(mirror.replica("")).unwrap().count(), 0);
}

#[test]
fn several_trees_each_with_its_remotes() {
    let mut mirror = Mirror::start(Setup::plain().trees(&[&[LOCALHOST, LOCALHOST], &[LOCALHOST]]));
    write(mirror.sources[0].join("first/file"), "of the first");
    write(mirror.sources[1].join("second/file"), "of the second");
    mirror.wait_equal(SOON);
    fs::rename(mirror.sources[0].join("first"), mirror.sources[1].join("moved")).unwrap();
    mirror.wait_equal(SOON);
    fs::remove_dir_all(mirror.sources[1].join("second")).unwrap();
    mirror.settle();
    mirror.wait_equal(SOON);
    assert!(holds(mirror.replicas[2].join("moved/file"), "of the first"));
    assert!(!exists(mirror.replicas[1].join("moved")));
}

#[test]
fn nothing_is_deleted_with_delete_off() {
    let mut mirror = Mirror::start(Setup::plain().switch("delete", false));
    for name in ["stays", "old", "dir/file", "olddir/file"] {
        write(mirror.source(name), name);
    }
    write(mirror.source("file"), "a file");
    write(mirror.source("blocked/inner"), "in a directory");
    mirror.wait_equal(SOON);
    fs::remove_file(mirror.source("stays")).unwrap();
    fs::remove_dir_all(mirror.source("dir")).unwrap();
    fs::rename(mirror.source("old"), mirror.source("new")).unwrap();
    fs::rename(mirror.source("olddir"), mirror.source("newdir")).unwrap();
    // A file where the remote has a directory: only force would bring it there.
    fs::remove_dir_all(mirror.source("blocked")).unwrap();
    write(mirror.source("blocked"), "a file in its place");
    mirror.settle();
    wait_until("the new names", SOON, || {
        holds(mirror.replica("new"), "old") && holds(mirror.replica("newdir/file"), "olddir/file")
    });
    for name in ["stays", "old", "dir/file", "olddir/file"] {
        assert!(holds(mirror.replica(name), name), "{name} was deleted");
    }
    assert!(holds(mirror.replica("blocked/inner"), "in a directory"));
}

#[test]
fn hidden_files() {
    let names = [".hidden", "backup~", "4913"];
    let mut mirror = Mirror::start(Setup::plain());
    let mut open = Mirror::start(Setup::plain().switch("hiddenFile", true));
    for mirror in [&mut mirror, &mut open] {
        for name in names {
            write(mirror.source(name), name);
        }
        mirror.settle();
        // With their directory they have always travelled.
        for name in names {
            write(mirror.dir.join("tree").join(name), name);
        }
        fs::rename(mirror.dir.join("tree"), mirror.source("tree")).unwrap();
        let arrived = |name: &&str| holds(mirror.replica("tree").join(name), name);
        wait_until("hidden files in a tree moved in", SOON, || names.iter().all(arrived));
    }
    open.wait_equal(SOON);
    for name in names {
        assert!(!exists(mirror.replica(name)), "{name} was sent");
        fs::remove_file(open.source(name)).unwrap();
    }
    open.wait_equal(SOON);
}

#[test]
fn hostile_names() {
    let mirror = Mirror::start(Setup::exact().remotes(&[LOCALHOST, LOCALHOST]));
    let names = crate::support::names::hostile();
    write(mirror.source("bystander"), "stays");
    for name in &names {
        write(mirror.source(name), "in the root");
        write(mirror.source("sub").join(name), "in a directory");
    }
    mirror.wait_equal(SOON);
    for name in &names {
        fs::remove_file(mirror.source(name)).unwrap();
        write(mirror.source(name).join(name), "in a directory of the same name");
        symlink(name, mirror.source("sub").join(name).with_file_name("link")).unwrap();
        fs::rename(mirror.source("sub/link"), mirror.source("sub").join(name)).unwrap();
    }
    mirror.wait_equal(SOON);
    for name in &names {
        fs::remove_dir_all(mirror.source(name)).unwrap();
        fs::remove_file(mirror.source("sub").join(name)).unwrap();
    }
    mirror.wait_equal(SOON);
    assert!(holds(mirror.replica("bystander"), "stays"));
    let pwned = |path: &Path| path.file_name().is_some_and(|name| name == "pwned");
    assert!(!walk(&mirror.dir).iter().any(|path| pwned(path)) && !exists("/pwned"));
    assert_eq!(fs::read_dir(mirror.dir.join("cwd")).unwrap().count(), 0);
}

/// vim and others move the old file away and write a new one; meanwhile the name is gone here,
/// but must not be gone there.
#[test]
fn a_slow_save_never_deletes_the_live_file() {
    let mirror = Mirror::start(Setup::plain());
    write(mirror.source("page"), "version 0");
    mirror.wait_equal(SOON);
    let (live, stop) = (mirror.replica("page"), AtomicBool::new(false));
    thread::scope(|scope| {
        let gaps = scope.spawn(|| {
            let mut gaps = 0;
            while !stop.load(Ordering::Relaxed) {
                gaps += usize::from(!exists(&live));
            }
            gaps
        });
        let over = Over(&stop);
        for version in 1..=5 {
            let text = format!("version {version}");
            fs::rename(mirror.source("page"), mirror.source("page~")).unwrap();
            pause(Duration::from_millis(120));
            write(mirror.source("page"), &text);
            fs::remove_file(mirror.source("page~")).unwrap();
            wait_until("the new version", SOON, || holds(&live, &text));
        }
        drop(over);
        assert_eq!(gaps.join().unwrap(), 0, "times that the live file was missing");
    });
}

/// A time of modification that is set alone (`touch -m`) is `IN_MODIFY` to inotify.
#[test]
fn a_time_set_alone_travels_with_modify() {
    let mirror = Mirror::start(Setup::exact().switch("modify", true));
    step(&mirror, "create", |at| write(at.join("a"), "one"));
    step(&mirror, "touch -m", |at| {
        fs::File::open(at.join("a")).unwrap().set_modified(std::time::UNIX_EPOCH).unwrap();
    });
    step(&mirror, "write, slowly", |at| {
        let mut file = fs::File::create(at.join("a")).unwrap();
        for n in 0..20 {
            file.write_all(&[n; 1000]).unwrap();
            pause(Duration::from_millis(5));
        }
    });
}

#[test]
fn update_keeps_what_is_newer_there() {
    let mut mirror = Mirror::start(Setup::plain().params("-artuz"));
    write(mirror.source("page"), "ours");
    mirror.wait_equal(SOON);
    let hour = Duration::from_hours(1);
    write(mirror.replica("page"), "theirs, and newer");
    let theirs = std::time::SystemTime::now() + hour;
    fs::File::open(mirror.replica("page")).unwrap().set_modified(theirs).unwrap();
    write(mirror.source("page"), "ours again");
    mirror.settle();
    assert!(holds(mirror.replica("page"), "theirs, and newer"));
    let mut file = fs::File::create(mirror.source("page")).unwrap();
    file.write_all(b"ours, newest").unwrap();
    file.set_modified(theirs + hour).unwrap();
    drop(file);
    mirror.wait_equal(SOON);
}
