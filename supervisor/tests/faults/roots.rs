//! The watched root is lost in every way, and comes back: what happened to it meanwhile is found
//! by comparing, and nothing is taken for deleted that was only out of sight.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use crate::ground::{RECOVERED, exact, is_long, known, some};
use crate::support::mounts::Mount;
use crate::support::{LOCALHOST, Mirror, SOON, exists, holds, is_root, wait_until, write};

/// A mount is looked for at a sign of life, at least a minute after the last look.
const SEEN: Duration = Duration::from_secs(130);

/// Everything that [`some`] made is still on all remotes.
fn expect_all(mirror: &Mirror) {
    for replica in &mirror.replicas {
        for n in 0..40 {
            assert!(exists(replica.join(format!("dir{}/file{n}", n % 4))), "file{n} is gone");
        }
    }
}

#[test]
fn renamed_changed_and_brought_back() {
    let mirror = known(exact().remotes(&[LOCALHOST, LOCALHOST]), some);
    let elsewhere = mirror.dir.join("elsewhere");
    fs::rename(mirror.source(""), &elsewhere).unwrap();
    mirror.wait_logged("root lost");
    expect_all(&mirror);
    fs::remove_file(elsewhere.join("dir1/file1")).unwrap();
    fs::remove_dir_all(elsewhere.join("dir2")).unwrap();
    write(elsewhere.join("dir3/new"), "new");
    fs::rename(&elsewhere, mirror.source("")).unwrap();
    mirror.wait_equal(RECOVERED);
    assert_eq!(mirror.logged("full sync"), 0, "{}", mirror.log());
}

#[test]
fn replaced_by_an_empty_directory_and_brought_back() {
    let mut mirror = known(exact().remotes(&[LOCALHOST, LOCALHOST]), some);
    let elsewhere = mirror.dir.join("elsewhere");
    fs::rename(mirror.source(""), &elsewhere).unwrap();
    fs::create_dir(mirror.source("")).unwrap();
    mirror.wait_logged("root replaced");
    write(mirror.source("new"), "in the new one");
    wait_until("what is new arrives", SOON, || holds(mirror.replica("new"), "in the new one"));
    expect_all(&mirror);
    // Started again, it accepts the new one; what is not in it is not taken for deleted.
    mirror.restart(&[]);
    mirror.wait_logged("another directory than before stands at its root");
    write(mirror.source("newer"), "in the new one");
    wait_until("what is new arrives", SOON, || holds(mirror.replica("newer"), "in the new one"));
    expect_all(&mirror);
    // The old one is back, with what happened to it.
    mirror.stop();
    fs::remove_dir_all(mirror.source("")).unwrap();
    fs::rename(&elsewhere, mirror.source("")).unwrap();
    write(mirror.source("dir1/file1"), "changed elsewhere");
    mirror.run();
    mirror.wait_logged("another directory than before stands at its root");
    for replica in 0..2 {
        mirror.wait_difference(replica, &["*deleting   newer", "*deleting   new"], RECOVERED);
    }
    expect_all(&mirror);
    mirror.restart(&["-r"]);
    mirror.wait_equal(RECOVERED);
}

/// Emptied while nobody watched: it looks as a root that is not mounted, however few files it had.
/// A directory that comes back may lack what it held: that stays until somebody decides.
#[test]
fn emptied_while_nobody_watched() {
    for goes_on in ["filled again", "approved"] {
        let mut mirror = known(exact(), some);
        mirror.stop();
        let aside = mirror.dir.join("aside");
        fs::create_dir(&aside).unwrap();
        for entry in fs::read_dir(mirror.source("")).unwrap().flatten() {
            fs::rename(entry.path(), aside.join(entry.file_name())).unwrap();
        }
        mirror.run();
        mirror.wait_logged("root empty tree=");
        mirror.settle();
        expect_all(&mirror);
        if goes_on == "filled again" {
            mirror.stop();
            for entry in fs::read_dir(&aside).unwrap().flatten() {
                fs::rename(entry.path(), mirror.source(entry.file_name())).unwrap();
            }
            fs::remove_file(mirror.source("dir1/file1")).unwrap();
            mirror.run();
            mirror.wait_logged("caught up tree=");
            expect_all(&mirror);
        }
        let (code, text) = mirror.ask(&["deletes", "approve"]);
        assert_eq!(code, Some(0), "{text}");
        mirror.wait_equal(RECOVERED);
    }
}

#[test]
fn directories_that_may_not_be_entered() {
    let mut mirror = known(exact(), some);
    for (path, mode) in [("dir0/deep", 0o000), ("dir1", 0o000), ("dir1/file1", 0o000)].iter().rev() {
        fs::set_permissions(mirror.source(path), fs::Permissions::from_mode(*mode)).unwrap();
    }
    if is_root() {
        // With the right to read everything, as the supervisor has then.
        mirror.wait_equal(RECOVERED);
        mirror.stop();
        write(mirror.source("dir1/new"), "in a closed directory");
        fs::remove_file(mirror.source("dir1/file5")).unwrap();
        mirror.run();
        mirror.wait_equal(RECOVERED);
    } else {
        mirror.restart(&[]);
        mirror.settle();
        expect_all(&mirror);
    }
    for path in ["dir1", "dir0/deep"] {
        fs::set_permissions(mirror.source(path), fs::Permissions::from_mode(0o755)).unwrap();
    }
    if is_root() {
        mirror.wait_equal(RECOVERED);
    } else {
        fs::set_permissions(mirror.source("dir1/file1"), fs::Permissions::from_mode(0o644)).unwrap();
        mirror.restart(&["-r"]);
        mirror.wait_equal(RECOVERED);
    }
}

/// Nothing tells of a mount: it is looked for at a sign of life at least a minute later.
#[test]
fn unmounted_changed_and_mounted_again() {
    if !is_long() {
        return eprintln!("skipped: takes more than a minute; FAULTS=long");
    }
    // An rsync that waits for the next change stands in the root.
    let mut mirror = Mirror::new(exact().edit("<sersync>", "<warm idle=\"1\"/><sersync>"));
    let disk = mirror.dir.join("disk");
    fs::create_dir(&disk).unwrap();
    some(&disk);
    // Two steps, so that it is another file system than the directory below.
    let Some(_held) = Mount::tmpfs(&disk, "mode=755") else { return };
    some(&disk);
    let Some(mounted) = Mount::bind(&disk, &mirror.source("")) else { return };
    mirror.copy();
    mirror.learn();
    wait_until("nothing of ours keeps it from being unmounted", SOON, || mounted.unmount());
    wait_until("it is seen to be gone", SEEN, || mirror.logged("root lost") > 0);
    write(mirror.source("below"), "below");
    wait_until("what is in its place arrives", SOON, || holds(mirror.replica("below"), "below"));
    expect_all(&mirror);
    fs::remove_file(disk.join("dir1/file1")).unwrap();
    write(disk.join("dir2/file2"), "changed while it was out of sight");
    let Some(_mounted) = Mount::bind(&disk, &mirror.source("")) else { return };
    wait_until("it is seen", SEEN, || !exists(mirror.replica("dir1/file1")));
    mirror.wait_difference(0, &["*deleting   below"], RECOVERED);
    drop(mirror);
}
