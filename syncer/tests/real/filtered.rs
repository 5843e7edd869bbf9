//! Subtrees and full syncs under a filter: what it excludes neither travels nor is deleted.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{PermissionsExt, symlink};

use common::event::Dirt::{Deep, Removed, RemovedDir, Sweep, Touched};
use common::message::{Deletions, Outcome, Work};
use common::path::RelPath;

use crate::mirror::{Mirror, expressions, tree};

fn filtered(texts: &[&str]) -> Mirror {
    let mut mirror = Mirror::start();
    mirror.slice.filter = expressions(texts);
    mirror
}

fn fill(mirror: &Mirror) {
    for file in ["a", "b.log", "d/c", "d/e.log", "d/cache/1", "d/s/f", "cache/2", "empty/"] {
        mirror.write(file);
    }
    symlink("s", mirror.source.join("d/link")).unwrap();
    for file in [
        "there.log",
        "gone",
        "d/there.log",
        "d/gone/1",
        "d/gone/deep/2",
        "x/keep.log",
        "x/other",
        "x/y/z",
        "d/cache/9",
    ] {
        mirror.write_there(file);
    }
}

const FILTER: [&str; 2] = [r".*\.log", "(.*/)?cache/"];

#[test]
fn full() {
    let mirror = filtered(&FILTER);
    fill(&mirror);
    let end = mirror.run(Work::Full);
    assert_eq!(end.outcome, Outcome::Done, "{end:?}");
    let left = [
        "a",
        "d/",
        "d/c",
        "d/cache/",
        "d/cache/9",
        "d/link",
        "d/s/",
        "d/s/f",
        "d/there.log",
        "empty/",
        "there.log",
        "x/",
        "x/keep.log",
    ];
    assert_eq!(mirror.replica_names(), left);
    // Attributes of what was listed arrive too, and a second run finds nothing to do.
    fs::set_permissions(mirror.source.join("d/s"), fs::Permissions::from_mode(0o700)).unwrap();
    fs::write(mirror.source.join("a"), "other").unwrap();
    assert_eq!(mirror.run(Work::Full).outcome, Outcome::Done);
    let (here, there) = (tree(&mirror.source), tree(&mirror.replica));
    for name in ["a", "d/", "d/s/", "d/link", "empty/"] {
        assert_eq!(here.get(OsStr::new(name)), there.get(OsStr::new(name)), "{name}");
    }
}

#[test]
fn full_without_deletions() {
    for held in [true, false] {
        let mut mirror = filtered(&FILTER);
        fill(&mirror);
        let mut wanted = mirror.replica_names();
        if held {
            mirror.deletions = Deletions::Held;
        } else {
            mirror.slice.delete = false;
        }
        assert_eq!(mirror.run(Work::Full).outcome, Outcome::Done);
        wanted.extend(["a", "d/c", "d/link", "d/s/", "d/s/f", "empty/"].map(str::to_owned));
        wanted.sort();
        assert_eq!(mirror.replica_names(), wanted);
    }
}

#[test]
fn deep_and_sweep() {
    let mirror = filtered(&FILTER);
    fill(&mirror);
    mirror.batch(&[("d/s", Sweep), ("d/gone", RemovedDir)]);
    assert!(mirror.replica.join("d/s/f").exists() && !mirror.replica.join("d/gone").exists());
    assert!(mirror.replica.join("d/there.log").exists() && !mirror.replica.join("d/c").exists());
    mirror.write_there("d/extra/1");
    mirror.write_there("d/extra.log/1");
    mirror.batch(&[("d", Deep)]);
    let below: Vec<_> = mirror.replica_names().into_iter().filter(|name| name.starts_with("d/")).collect();
    let wanted = [
        "d/",
        "d/c",
        "d/cache/",
        "d/cache/9",
        "d/extra.log/",
        "d/extra.log/1",
        "d/link",
        "d/s/",
        "d/s/f",
        "d/there.log",
    ];
    assert_eq!(below, wanted);
    // Outside of it nothing was touched.
    assert!(mirror.replica.join("gone").exists() && mirror.replica.join("x/other").exists());
}

#[test]
fn an_excluded_deep_directory_stays_as_it_is() {
    let mirror = filtered(&FILTER);
    fill(&mirror);
    let before = mirror.replica_names();
    mirror.batch(&[("d/cache", Deep), ("cache", Sweep)]);
    let mut wanted = before;
    wanted.retain(|name| name != "d/cache/9");
    let now: Vec<_> = mirror.replica_names().into_iter().filter(|name| name != "d/cache/9").collect();
    assert_eq!(now, wanted);
    assert!(mirror.replica.join("d/cache/9").exists());
}

/// What a shallow list names was let through by the watcher.
#[test]
fn shallow_entries_are_not_filtered_again() {
    let mirror = filtered(&FILTER);
    fill(&mirror);
    mirror.batch(&[("b.log", Touched), ("there.log", Removed)]);
    assert!(mirror.replica.join("b.log").exists() && !mirror.replica.join("there.log").exists());
}

#[test]
fn type_changes() {
    let mirror = filtered(&["never"]);
    for file in ["dir-to-file/a/b", "dir-to-link/a/b"] {
        mirror.write_there(file);
    }
    mirror.write_there("file-to-dir");
    mirror.write("file-to-dir/x");
    mirror.write("dir-to-file");
    symlink("dir-to-file", mirror.source.join("dir-to-link")).unwrap();
    let end = mirror.run(Work::Full);
    assert_eq!(end.outcome, Outcome::Done, "{end:?}");
    assert_eq!(tree(&mirror.replica), tree(&mirror.source));
}

#[test]
fn excludes_and_filter_together() {
    let mut mirror = filtered(&FILTER);
    mirror.slice.excludes = vec!["*.php".into(), "/info/*".into()];
    fill(&mirror);
    for file in ["a.php", "d/b.php", "info/here", "info2/here"] {
        mirror.write(file);
    }
    for file in ["there.php", "info/there", "x/there.php"] {
        mirror.write_there(file);
    }
    assert_eq!(mirror.run(Work::Full).outcome, Outcome::Done);
    let names = mirror.replica_names();
    let has = |name: &str| names.iter().any(|found| found == name);
    for name in ["there.php", "info/there", "x/there.php", "x/keep.log", "info/", "info2/here"] {
        assert!(has(name), "{name} in {names:?}");
    }
    for name in ["a.php", "d/b.php", "info/here", "x/other", "gone"] {
        assert!(!has(name), "{name} in {names:?}");
    }
}

#[test]
fn difficult_names_go() {
    let mirror = filtered(&[r".*\.log"]);
    mirror.write("keep");
    let names: [&[u8]; 8] =
        [b"#x", b"a\nb", b"\xff\xfe", b"\\#012", b" lead", b"trail ", b"* ?[a]$x", b"\xe5\x9b\xbe"];
    for name in names {
        mirror.write_there(OsStr::from_bytes(name));
        mirror.write_there(OsStr::from_bytes(&[b"in ", name, b"/f"].concat()));
        mirror.write_there(OsStr::from_bytes(&[b"part ", name, b"/", name].concat()));
        mirror.write_there(OsStr::from_bytes(&[b"part ", name, b"/x.log"].concat()));
    }
    let end = mirror.run(Work::Full);
    assert_eq!(end.outcome, Outcome::Done, "{end:?}");
    let left = mirror.replica_names();
    assert_eq!(left.len(), 1 + 2 * names.len(), "{left:?}");
}

#[test]
fn every_wordiness_of_rsync() {
    for params in
        ["-rlptq", "-artz --quiet", "-avvP --stats", "-a --info=progress2 --delete-after", "-a --info=all3"]
    {
        let mut mirror = filtered(&FILTER);
        mirror.slice.remote.rsync.params = params.split(' ').map(Into::into).collect();
        fill(&mirror);
        assert_eq!(mirror.run(Work::Full).outcome, Outcome::Done, "{params}");
        let names = mirror.replica_names();
        assert!(
            !names.contains(&"gone".to_owned()) && names.contains(&"there.log".to_owned()),
            "{params}: {names:?}"
        );
    }
}

#[test]
fn an_empty_root_empties_nothing() {
    let mirror = filtered(&FILTER);
    mirror.write_there("a");
    assert_eq!(mirror.run(Work::Full).outcome, Outcome::RootEmpty);
    assert_eq!(mirror.replica_names(), ["a"]);
}

#[test]
fn many_entries() {
    let mirror = filtered(&[r".*\.skip"]);
    for i in 0..1600 {
        let file = RelPath::new(format!(
            "d{}/{}{i}{}",
            i % 5,
            "n".repeat(40),
            if i % 2 == 0 { ".skip" } else { "" }
        ))
        .unwrap();
        mirror.write(OsStr::from_bytes(file.as_bytes()));
    }
    for i in 0..2000 {
        mirror.write_there(format!("old{}/{i}", i % 3));
    }
    assert_eq!(mirror.run(Work::Full).outcome, Outcome::Done);
    assert_eq!(mirror.replica_names().len(), 800 + 5);
}
