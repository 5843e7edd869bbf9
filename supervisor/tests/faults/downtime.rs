//! What changed while the daemon was down is found from the source tree itself, and only that is
//! sent; what only a remote has stays there.

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::time::{Duration, SystemTime};

use nix::fcntl::{AT_FDCWD, RenameFlags, renameat2};

use crate::ground::{RECOVERED, exact, known, sized, some};
use crate::support::random::Random;
use crate::support::{LOCALHOST, Mirror, SOON, exists, holds, wait_until, write};
use crate::wire::{FILES, Metered, content, file};

fn swap(one: &Path, other: &Path) {
    renameat2(AT_FDCWD, one, AT_FDCWD, other, RenameFlags::RENAME_EXCHANGE).unwrap();
}

/// Every way to change a tree that [`some`] made.
fn change_everything(root: &Path) {
    let at = |path: &str| root.join(path);
    write(at("top"), "changed");
    write(at("new/dir/file"), "new");
    fs::remove_file(at("dir0/file0")).unwrap();
    fs::remove_dir_all(at("dir0/deep")).unwrap();
    fs::rename(at("dir1"), at("dir1 renamed")).unwrap();
    fs::rename(at("dir0/file4"), at("dir2/file4")).unwrap();
    swap(&at("dir2"), &at("dir3"));
    // A file becomes a directory, a directory a file.
    fs::remove_file(at("dir0/file8")).unwrap();
    write(at("dir0/file8/inside"), "inside");
    fs::remove_file(at("link")).unwrap();
    symlink("dir0/file12", at("link")).unwrap();
    fs::set_permissions(at("dir0/file12"), Permissions::from_mode(0o604)).unwrap();
    fs::set_permissions(at("dir0"), Permissions::from_mode(0o705)).unwrap();
}

#[test]
fn every_kind_of_change_is_found() {
    for way in ["stopped", "killed"] {
        let mut mirror = known(exact().remotes(&[LOCALHOST, LOCALHOST]), some);
        if way == "stopped" {
            mirror.stop();
        } else {
            mirror.kill_all(&mut Random(1));
        }
        change_everything(&mirror.source(""));
        mirror.run();
        mirror.wait_equal(RECOVERED);
        assert_eq!(mirror.logged("full sync"), 0, "{}", mirror.log());
        // And back: the file is a directory no more.
        mirror.stop();
        fs::remove_dir_all(mirror.source("dir0/file8")).unwrap();
        write(mirror.source("dir0/file8"), "a file again");
        swap(&mirror.source("dir2"), &mirror.source("dir3"));
        fs::rename(mirror.source("dir1 renamed"), mirror.source("dir1")).unwrap();
        mirror.run();
        mirror.wait_equal(RECOVERED);
        assert_eq!(mirror.logged("full sync"), 0, "{}", mirror.log());
    }
}

#[test]
fn what_only_a_remote_has_stays() {
    let mut mirror = known(exact(), some);
    mirror.stop();
    for name in ["only there", "dir2/only there"] {
        write(mirror.replica(name), "only there");
    }
    change_everything(&mirror.source(""));
    swap(&mirror.source("dir2"), &mirror.source("dir3"));
    fs::remove_file(mirror.source("dir2/file2")).unwrap();
    mirror.run();
    mirror.wait_difference(0, &["*deleting   only there", "*deleting   dir2/only there"], RECOVERED);
}

/// No time and no clock decides what is sent, but whether something is as it was.
#[test]
fn a_clock_that_was_stepped() {
    let hour = Duration::from_secs(3600);
    let mut mirror = known(exact(), some);
    let now = SystemTime::now();
    for (round, time) in
        [now + hour, now - hour, SystemTime::UNIX_EPOCH, now + 100_000 * hour].iter().enumerate()
    {
        mirror.stop();
        for n in [1, 2, 3] {
            let path = mirror.source(format!("dir{n}/file{n}"));
            write(&path, format!("{round} written at another time"));
            fs::File::open(&path).unwrap().set_modified(*time).unwrap();
        }
        fs::remove_file(mirror.source(format!("dir0/file{}", round * 4))).unwrap();
        mirror.run();
        mirror.wait_equal(RECOVERED);
        assert_eq!(mirror.logged("full sync"), 0, "{}", mirror.log());
    }
}

/// A remote that is down while the daemon is started again: what it lacks is kept.
#[test]
fn what_a_remote_lacks_is_kept() {
    let mut mirror = known(exact(), some);
    mirror.daemon.end(nix::sys::signal::Signal::SIGTERM);
    write(mirror.source("dir1/file1"), "while the remote is down");
    fs::remove_file(mirror.source("dir1/file5")).unwrap();
    mirror.wait_logged("remote down");
    for way in [Mirror::stop, Mirror::kill] {
        way(&mut mirror);
        fs::remove_file(
            mirror.source(format!("dir2/file{}", if exists(mirror.source("dir2/file2")) { 2 } else { 6 })),
        )
        .unwrap();
        mirror.run();
        wait_until("what nobody saw is found", SOON, || mirror.logged("caught up tree=") == 1);
    }
    mirror.daemon.again();
    mirror.wait_equal(RECOVERED);
    assert!(holds(mirror.replica("dir1/file1"), "while the remote is down"));
    assert_eq!(mirror.logged("full sync"), 0, "{}", mirror.log());
}

#[test]
fn after_downtime_only_what_changed_is_sent() {
    // What rsync itself says of each path that it carries is about as much as five names of a list.
    let files = sized("WIRE_FILES", 10_000, 100_000);
    let mut metered = Metered::new(files);
    let (changed, deleted) = (sized("WIRE_CHANGED", 40, 1000), sized("WIRE_DELETED", 20, 500));
    metered.mirror.stop();
    metered.begin();
    let mirror = &metered.mirror;
    for n in 0..changed {
        write(mirror.source(file(n * 7)), content(n * 7, 1));
    }
    for n in 0..deleted {
        fs::remove_file(mirror.source(file(files - 1 - n * 3))).unwrap();
    }
    // One directory gets another name, two change places.
    let quarter = files / FILES / 4;
    let directory = |n: u64| mirror.source(format!("project{n:03}"));
    fs::rename(directory(quarter * 2), mirror.source("renamed")).unwrap();
    swap(&directory(quarter * 2 + 1), &directory(quarter * 2 + 2));
    metered.mirror.run();
    metered.mirror.wait_equal(RECOVERED);
    metered.mirror.settle();
    // What the renamed and the swapped directories hold is new where they are.
    let contents = content(0, 0).len() as u64 * (changed + 3 * FILES);
    metered.expect_little(&format!("downtime, {changed} changed, {deleted} deleted"), contents);
    assert_eq!(metered.mirror.logged("full sync"), 0, "{}", metered.mirror.log());
}
