//! One test a row: what was done here, what was listed, and that the replica is right after it.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::time::{Duration, SystemTime};

use common::event::Dirt::{Deep, Removed, RemovedDir, Sweep, Touched};
use common::message::{Deletions, Outcome, Work};
use common::path::RelPath;

use crate::mirror::{Mirror, batch, tree};

#[test]
fn new_changed_and_deleted_files() {
    let mirror = Mirror::with(&["a", "b", "d/c"]);
    mirror.write("new");
    mirror.write("deep/er/new");
    fs::write(mirror.source.join("a"), "changed").unwrap();
    fs::set_permissions(mirror.source.join("d/c"), fs::Permissions::from_mode(0o751)).unwrap();
    mirror.remove("b");
    mirror.equal_after(&[
        ("new", Touched),
        ("deep/er/new", Touched),
        ("a", Touched),
        ("b", Removed),
        ("d/c", Touched),
    ]);
}

#[test]
fn same_size_in_the_same_second() {
    let mirror = Mirror::with(&["a"]);
    for content in ["1111", "2222", "3333"] {
        fs::write(mirror.source.join("a"), content).unwrap();
        mirror.equal_after(&[("a", Touched)]);
    }
}

#[test]
fn parameters_that_are_no_archive() {
    for params in [
        "-tuz",
        "-avz --bwlimit=500",
        "-artuz -R",
        "-t",
        "-a --timeout=5 --delete-delay",
        "-rlptgoDq",
        "-a --no-R",
        "-a --no-implied-dirs --no-force --no-from0",
    ] {
        let mut mirror = Mirror::start();
        mirror.slice.remote.rsync.params = params.split(' ').map(Into::into).collect();
        mirror.write("d/a");
        mirror.write("d/keep");
        mirror.write_there("d/extra");
        mirror.write_there("d/gone/x");
        mirror.batch(&[("d/a", Touched), ("d/keep", Touched), ("d/gone", RemovedDir)]);
        assert_eq!(mirror.replica_names(), ["d/", "d/a", "d/extra", "d/keep"], "{params}");
        mirror.remove("d/keep");
        mirror.write("d/s/t");
        mirror.batch(&[("d", Deep)]);
        assert_eq!(mirror.replica_names(), ["d/", "d/a", "d/s/", "d/s/t"], "{params}");
    }
}

#[test]
fn deleted_directory_in_every_listing() {
    for listed in [
        &[("p/d", RemovedDir)][..],
        &[("p/d/s/1", Removed), ("p/d/s", RemovedDir), ("p/d/2", Removed), ("p/d", RemovedDir)],
        &[("p/d/s/1", Removed)],
    ] {
        let mirror = Mirror::with(&["p/d/s/1", "p/d/2", "p/stay"]);
        mirror.remove("p/d");
        mirror.equal_after(listed);
    }
}

#[test]
fn directory_to_file_with_stale_children_listed() {
    for listed in
        [&[("d", Touched)][..], &[("d/a", Removed), ("d/s", RemovedDir), ("d", RemovedDir), ("d", Touched)]]
    {
        let mirror = Mirror::with(&["d/a", "d/s/b"]);
        mirror.remove("d");
        mirror.write("d");
        mirror.equal_after(listed);
    }
}

#[test]
fn file_to_directory() {
    for listed in [&[("d", Touched), ("d/a", Touched)][..], &[("d/a", Touched)], &[("d", Deep)]] {
        let mirror = Mirror::with(&["d"]);
        mirror.remove("d");
        mirror.write("d/a");
        mirror.equal_after(listed);
    }
}

#[test]
fn directory_to_symlink_with_a_stale_child() {
    for listed in [
        &[("d/s", Touched)][..],
        &[("d/s", Touched), ("d/s/c", Removed)],
        &[("d/s/c", Touched)],
        &[("d/s", Deep)],
    ] {
        let mirror = Mirror::with(&["d/s/c", "target/c"]);
        mirror.remove("d/s");
        symlink("../target", mirror.source.join("d/s")).unwrap();
        mirror.equal_after(listed);
    }
}

#[test]
fn symlink_to_directory() {
    for listed in [&[("d/s", Touched), ("d/s/new", Touched)][..], &[("d/s/new", Touched)], &[("d/s", Deep)]] {
        let mirror = Mirror::with(&["target/c", "d/x"]);
        symlink("../target", mirror.source.join("d/s")).unwrap();
        mirror.equal_after(&[("d/s", Touched)]);
        mirror.remove("d/s");
        mirror.write("d/s/new");
        mirror.equal_after(listed);
        assert!(!mirror.replica.join("target/new").exists());
    }
}

#[test]
fn path_through_a_symlinked_directory() {
    let mirror = Mirror::with(&["target/c"]);
    symlink("target", mirror.source.join("link")).unwrap();
    mirror.equal_after(&[("link/c", Touched)]);
}

#[test]
fn moved_in_tree_with_stale_extras() {
    let mirror = Mirror::with(&["d/old/1", "d/same"]);
    mirror.remove("d");
    mirror.write("d/same");
    mirror.write("d/new/2");
    mirror.equal_after(&[("d", Deep)]);
}

/// A deep entry deletes below itself, not beside itself or above.
#[test]
fn deep_keeps_extras_outside() {
    let mirror = Mirror::with(&["p/q/d/a"]);
    for extra in ["extra", "p/extra", "p/q/extra", "p/q/d/gone", "p/q/d/s/gone", "p/other/x"] {
        mirror.write_there(extra);
    }
    mirror.write("p/q/d/b");
    mirror.batch(&[("p/q/d", Deep)]);
    let left = [
        "extra",
        "p/",
        "p/extra",
        "p/other/",
        "p/other/x",
        "p/q/",
        "p/q/d/",
        "p/q/d/a",
        "p/q/d/b",
        "p/q/extra",
    ];
    assert_eq!(mirror.replica_names(), left);
}

#[test]
fn removed_directory_that_is_there_again() {
    let mirror = Mirror::with(&["d/old/1", "d/2"]);
    mirror.remove("d");
    mirror.write("d/3");
    mirror.equal_after(&[("d", RemovedDir)]);
}

/// The directory comes back between our look at it and rsync's: a shallow entry would leave
/// what the old one held.
#[test]
fn removed_directory_that_comes_back_while_rsync_starts() {
    for listed in [&[("d", RemovedDir)][..], &[("d/old/1", Removed)]] {
        let mut mirror = Mirror::with(&["d/old/1", "keep"]);
        mirror.remove("d");
        mirror.slice.rsync_program = "/bin/sh".into();
        let script = "mkdir -p d; echo x > d/new; exec rsync \"$0\" \"$@\"";
        mirror.slice.remote.rsync.params = ["-c", script, "-artz"].map(Into::into).into();
        mirror.batch(listed);
        assert_eq!(mirror.replica_names(), ["d/", "d/new", "keep"]);
    }
}

#[test]
fn remote_extras_stay_beside_what_is_listed() {
    let mirror = Mirror::with(&["d/a"]);
    mirror.write_there("d/extra");
    mirror.write_there("top");
    mirror.write("d/b");
    mirror.batch(&[("d", Touched), ("d/b", Touched)]);
    assert_eq!(mirror.replica_names(), ["d/", "d/a", "d/b", "d/extra", "top"]);
}

#[test]
fn difficult_names() {
    let long = "n".repeat(255);
    let mut names: Vec<&[u8]> =
        vec![b"#x", b";y", b"-z", b"--delete", b"a\nb", b"q\"q'q`", b"b\\s", b"\xff\xfe", b"* ?[a]$x"];
    names.extend([&b"cr\rx"[..], b"..dots", b"a::b", b"~", b" ", b"\\#012", long.as_bytes()]);
    let mirror = Mirror::with(&["keep"]);
    let mut batch_of: Vec<Vec<u8>> = Vec::new();
    for name in &names {
        batch_of.extend([name.to_vec(), [b"sub/", *name].concat(), [b"dir/", *name, b"/in"].concat()]);
    }
    let listed = |dirt| {
        let paths = batch_of.iter().map(|path| match path.strip_suffix(b"/in") {
            Some(directory) => {
                (RelPath::new(directory).unwrap(), if dirt == Touched { Deep } else { RemovedDir })
            }
            None => (RelPath::new(path.clone()).unwrap(), dirt),
        });
        Work::Batch(paths.collect())
    };
    for path in &batch_of {
        mirror.write(OsStr::from_bytes(path));
    }
    let end = mirror.run(listed(Touched));
    assert_eq!(end.outcome, Outcome::Done, "{end:?}");
    assert_eq!(tree(&mirror.replica), tree(&mirror.source));
    for path in &batch_of {
        mirror.remove(OsStr::from_bytes(path.strip_suffix(b"/in").unwrap_or(path)));
    }
    let end = mirror.run(listed(Removed));
    assert_eq!(end.outcome, Outcome::Done, "{end:?}");
    assert_eq!(mirror.replica_names(), ["dir/", "keep", "sub/"]);
}

#[test]
fn delete_off_or_held_keeps_everything() {
    for held in [true, false] {
        let mut mirror = Mirror::with(&["a", "d/b", "e/c"]);
        mirror.write_there("extra");
        let before = mirror.replica_names();
        mirror.slice.remote.rsync.params.push("--delete".into());
        if held {
            mirror.deletions = Deletions::Held;
        } else {
            mirror.slice.delete = false;
        }
        mirror.remove("a");
        mirror.remove("d");
        mirror.remove("e/c");
        mirror.batch(&[("a", Removed), ("d", RemovedDir), ("d/b", Removed), ("e", Deep)]);
        assert_eq!(mirror.run(Work::Full).outcome, Outcome::Done);
        assert_eq!(mirror.replica_names(), before);
        mirror.write("e/new");
        mirror.batch(&[("e", Deep)]);
        assert!(mirror.replica.join("e/new").exists());
    }
}

#[test]
fn sweep_sends_all_and_removes_nothing() {
    for top in ["d", ""] {
        let mirror = Mirror::with(&["d/a", "d/s/b"]);
        mirror.write_there("d/extra");
        mirror.remove("d/a");
        mirror.write("d/s/new");
        mirror.batch(&[(top, Sweep)]);
        assert_eq!(mirror.replica_names(), ["d/", "d/a", "d/extra", "d/s/", "d/s/b", "d/s/new"]);
    }
}

#[test]
fn sweep_of_what_is_gone_or_a_file() {
    let mirror = Mirror::with(&["d/a", "e/b"]);
    mirror.remove("d");
    mirror.remove("e");
    mirror.write("e");
    mirror.equal_after(&[("d", Sweep), ("e", Sweep)]);
}

#[test]
fn full_with_excludes() {
    let mut mirror = Mirror::start();
    mirror.slice.excludes = vec!["*.php".into()];
    mirror.write("a.php");
    mirror.write("b");
    mirror.write_there("there.php");
    mirror.write_there("extra");
    assert_eq!(mirror.run(Work::Full).outcome, Outcome::Done);
    assert_eq!(mirror.replica_names(), ["b", "there.php"]);
    // Excludes are for full syncs.
    mirror.batch(&[("a.php", Touched)]);
    assert_eq!(mirror.replica_names(), ["a.php", "b", "there.php"]);
}

#[test]
fn deep_root_is_a_full_sync() {
    let mirror = Mirror::with(&["a"]);
    mirror.write_there("extra");
    mirror.write("b");
    mirror.equal_after(&[("", Deep), ("b", Touched)]);
}

#[test]
fn an_older_file_arrives_too() {
    let mirror = Mirror::with(&["a"]);
    mirror.write("b");
    let old = SystemTime::now() - Duration::from_hours(1);
    fs::File::options().write(true).open(mirror.source.join("b")).unwrap().set_modified(old).unwrap();
    fs::rename(mirror.source.join("b"), mirror.source.join("a")).unwrap();
    mirror.equal_after(&[("b", Removed), ("a", Touched)]);
}

/// `-u` is the user's to choose: it keeps an echo between two mirrors from overwriting an edit.
#[test]
fn update_keeps_what_is_newer_there() {
    let mut mirror = Mirror::with(&["a"]);
    mirror.slice.remote.rsync.params = vec!["-artuz".into()];
    let old = SystemTime::now() - Duration::from_hours(1);
    fs::write(mirror.source.join("a"), "older").unwrap();
    fs::File::options().write(true).open(mirror.source.join("a")).unwrap().set_modified(old).unwrap();
    mirror.batch(&[("a", Touched)]);
    assert_ne!(fs::read(mirror.replica.join("a")).unwrap(), b"older");
}

#[test]
fn many_paths() {
    let mirror = Mirror::start();
    let paths: Vec<_> =
        (0..1500).map(|i| RelPath::new(format!("d{}/{}{i}", i % 7, "n".repeat(60))).unwrap()).collect();
    for path in &paths {
        mirror.write(OsStr::from_bytes(path.as_bytes()));
    }
    let end = mirror.run(Work::Batch(paths.into_iter().map(|path| (path, Touched)).collect()));
    assert_eq!(end.outcome, Outcome::Done, "{end:?}");
    assert_eq!(tree(&mirror.replica), tree(&mirror.source));
}

#[test]
fn an_empty_batch_starts_nothing() {
    let mirror = Mirror::start();
    let end = mirror.run(batch(&[("", Touched)]));
    assert_eq!((end.outcome, end.status, end.tail.as_str()), (Outcome::Done, 0, ""));
}
