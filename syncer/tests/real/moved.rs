//! Directories that were renamed: what the remote makes out of its old one, and when it must not.

use std::fs::{self, File, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::Path;
use std::process::Command;

use common::event::Dirt::{Deep, Removed, RemovedDir, Touched};
use common::message::{Deletions, Outcome};

use crate::mirror::{Mirror, expressions, tree, write_program};

/// Files in the directory that is renamed: enough for a run of its own.
const FILES: usize = 120;

/// A mirror of directories with [`FILES`] files each, half of them one level down, and what more is
/// named.
fn mirror(directories: &[&str], more: &[&str]) -> Mirror {
    let mut files: Vec<String> = more.iter().map(|&name| name.to_owned()).collect();
    for directory in directories {
        let place = |n: usize| if n.is_multiple_of(2) { "sub/" } else { "" };
        files.extend((0..FILES).map(|n| format!("{directory}/{}f{n}", place(n))));
    }
    Mirror::with(&files.iter().map(String::as_str).collect::<Vec<_>>())
}

fn rename(mirror: &Mirror, from: &str, to: &str) {
    fs::rename(mirror.source.join(from), mirror.source.join(to)).unwrap();
}

/// The inodes and the number of names of the files below, by path.
fn inodes(top: &Path) -> Vec<(String, u64, u64)> {
    let mut found: Vec<_> = (0..FILES)
        .filter_map(|n| {
            let name = format!("{}f{n}", if n.is_multiple_of(2) { "sub/" } else { "" });
            let meta = fs::symlink_metadata(top.join(&name)).ok()?;
            Some((name, meta.ino(), meta.nlink()))
        })
        .collect();
    found.sort();
    found
}

/// Runs the batch and compares; how many files the replica had under the old name already.
#[track_caller]
fn kept(mirror: &Mirror, from: &str, to: &str, more: &[(&str, common::event::Dirt)]) -> usize {
    let before = inodes(&mirror.replica.join(from));
    // While they are open nothing else gets their numbers.
    let open = |(name, ..): &(String, u64, u64)| File::open(mirror.replica.join(from).join(name)).unwrap();
    let _held: Vec<File> = before.iter().map(open).collect();
    let end = mirror.run_moved(from, to, more);
    assert_eq!(end.outcome, Outcome::Done, "{end:?}");
    assert_eq!(tree(&mirror.replica), tree(&mirror.source), "{end:?}");
    let after = inodes(&mirror.replica.join(to));
    assert!(after.iter().all(|(_, _, names)| *names == 1), "a file has two names: {after:?}");
    let is_same = |(name, inode, _): &&(String, u64, u64)| {
        before.iter().any(|(old, number, _)| (old, number) == (name, inode))
    };
    after.iter().filter(is_same).count()
}

#[test]
fn nothing_that_is_the_same_is_sent_again() {
    let mirror = mirror(&["a/old"], &["x"]);
    fs::create_dir(mirror.source.join("p")).unwrap();
    rename(&mirror, "a/old", "p/new");
    mirror.remove("x");
    // Its parent is new too, and other things have happened.
    let more = [("p", Touched), ("x", Removed), ("a/old/f1", Removed)];
    assert_eq!(kept(&mirror, "a/old", "p/new", &more), FILES);
}

#[test]
fn what_changed_after_the_rename_arrives() {
    let mirror = mirror(&["old"], &[]);
    rename(&mirror, "old", "new");
    let at = |name: &str| mirror.source.join("new").join(name);
    fs::write(at("f1"), "other").unwrap();
    fs::set_permissions(at("f3"), Permissions::from_mode(0o751)).unwrap();
    fs::set_permissions(at(""), Permissions::from_mode(0o750)).unwrap();
    fs::remove_file(at("f5")).unwrap();
    fs::create_dir(at("empty")).unwrap();
    symlink("nowhere", at("link")).unwrap();
    assert_eq!(kept(&mirror, "old", "new", &[]), FILES - 2);
}

/// Its place had leftovers, as a directory and as a file.
#[test]
fn what_stood_there_goes() {
    let mirror = mirror(&["old"], &["new/stale", "new/sub/stale"]);
    mirror.remove("new");
    rename(&mirror, "old", "new");
    assert_eq!(kept(&mirror, "old", "new", &[]), FILES);
    mirror.remove("new/sub/f0");
    fs::write(mirror.source.join("file"), "was one").unwrap();
    mirror.equal_after(&[("file", Touched), ("new/sub/f0", Removed)]);
    mirror.remove("file");
    rename(&mirror, "new", "file");
    assert_eq!(kept(&mirror, "new", "file", &[]), FILES - 1);
}

/// The remote still has a symlink there: rsync would follow it, and make its target equal.
#[test]
fn a_symlink_at_the_new_name_leads_nowhere() {
    let mirror = mirror(&["old"], &["precious/a", "precious/b"]);
    symlink("precious", mirror.source.join("new")).unwrap();
    mirror.equal_after(&[("new", Touched)]);
    mirror.remove("new");
    rename(&mirror, "old", "new");
    assert_eq!(kept(&mirror, "old", "new", &[]), FILES);
    // The same one level up.
    symlink("precious", mirror.source.join("p")).unwrap();
    mirror.equal_after(&[("p", Touched)]);
    mirror.remove("p");
    fs::create_dir(mirror.source.join("p")).unwrap();
    rename(&mirror, "new", "p/new");
    assert_eq!(kept(&mirror, "new", "p/new", &[("p", Touched)]), FILES);
}

/// Nor does one at the old name, or above it: what it leads to stays where it is.
#[test]
fn a_symlink_at_the_old_name_is_not_emptied() {
    let mirror = mirror(&["old", "d/old"], &[]);
    fs::rename(mirror.replica.join("old"), mirror.replica.join("precious")).unwrap();
    symlink("precious", mirror.replica.join("old")).unwrap();
    fs::rename(mirror.replica.join("d"), mirror.replica.join("dear")).unwrap();
    symlink("dear", mirror.replica.join("d")).unwrap();
    for (from, to, elsewhere) in [("old", "new", "precious"), ("d/old", "d/new", "dear/old")] {
        rename(&mirror, from, to);
        assert_eq!(mirror.run_moved(from, to, &[]).outcome, Outcome::Done);
        assert_eq!(inodes(&mirror.replica.join(elsewhere)).len(), FILES, "{from}");
        assert_eq!(inodes(&mirror.replica.join(to)).len(), FILES, "{from}");
        assert!(!mirror.replica.join(from).exists(), "{from}");
    }
}

/// Nor one that comes here, at the new name or above the old one, once the job has begun, for however short a
/// time: the first run would make the same of the remote.
#[test]
fn a_symlink_that_comes_meanwhile_is_not_filled() {
    for (from, before, after) in [
        ("old", "mv new newer; ln -s precious new", "true"),
        ("old", "mv new newer; ln -s precious new", "rm new; mv newer new"),
        ("d/old", "mv d dd; ln -s precious d", "true"),
    ] {
        let mut mirror = mirror(&[from], &["precious/old/a", "precious/b"]);
        rename(&mirror, from, "new");
        mirror.remove("precious/old");
        let precious = tree(&mirror.replica.join("precious"));
        let (place, program) = (mirror.directory.path().display(), mirror.directory.path().join("rsync"));
        let script = format!(
            "#!/bin/bash\n[ -e {place}/began ] && exec /usr/bin/rsync \"$@\"\n\
             touch {place}/began; {before}; /usr/bin/rsync \"$@\"; end=$?; {after}; exit $end\n"
        );
        write_program(&program, &script);
        mirror.slice.rsync_program = program.into();
        mirror.run_moved(from, "new", &[]);
        assert_eq!(tree(&mirror.replica.join("precious")), precious, "{from} {before} {after}");
        let names = ["new", "newer", "d", "dd", "precious/old"];
        mirror.equal_after(&names.map(|name| (name, RemovedDir)));
    }
}

/// Whatever ends in the midst of it: never do two names have one file, of which a new mode of the one would
/// be the other's too.
#[test]
fn an_old_name_that_is_back_after_a_run_that_was_cut_off() {
    let mut mirror = mirror(&["old"], &[]);
    let real = mirror.slice.rsync_program.clone();
    let program = mirror.directory.path().join("rsync");
    let real_one = real.to_str().unwrap();
    // Nothing after the renaming is done.
    let script = format!(
        "#!/bin/bash\ncd .\ncase \" $* \" in *--backup*) {real_one} \"$@\"; touch {0}/cut; exit 12;; esac\n\
         [ -e {0}/cut ] && exit 12\nexec {real_one} \"$@\"\n",
        mirror.directory.path().display()
    );
    write_program(&program, &script);
    mirror.slice.rsync_program = program.into();
    rename(&mirror, "old", "new");
    assert_ne!(mirror.run_moved("old", "new", &[]).outcome, Outcome::Done);
    assert_eq!(inodes(&mirror.replica.join("new")).len(), FILES, "it was renamed");
    mirror.slice.rsync_program = real;
    let copied = Command::new("cp").args(["-a", "new", "old"]).current_dir(&mirror.source).status();
    assert!(copied.unwrap().success());
    for n in 0..FILES {
        let name = format!("old/{}f{n}", if n.is_multiple_of(2) { "sub/" } else { "" });
        fs::set_permissions(mirror.source.join(name), Permissions::from_mode(0o600)).unwrap();
    }
    mirror.equal_after(&[("old", Deep), ("new", Deep)]);
}

/// Else its files and those of the new name would be the same over there for good.
#[test]
fn an_old_name_that_is_back() {
    let mirror = mirror(&["old"], &[]);
    rename(&mirror, "old", "new");
    let copied = Command::new("cp").args(["-a", "new", "old"]).current_dir(&mirror.source).status();
    assert!(copied.unwrap().success());
    assert_eq!(kept(&mirror, "old", "new", &[]), 0);
}

#[test]
fn a_removed_parent_and_a_remote_without_it() {
    let mirror = mirror(&["a/b/old", "c/old"], &[]);
    rename(&mirror, "a/b/old", "new");
    mirror.remove("a");
    // What is above it cannot be looked at.
    assert_eq!(kept(&mirror, "a/b/old", "new", &[("a", RemovedDir)]), 0);
    fs::remove_dir_all(mirror.replica.join("c")).unwrap();
    rename(&mirror, "c/old", "other");
    assert_eq!(kept(&mirror, "c/old", "other", &[("c", Deep)]), 0);
}

#[test]
fn where_it_is_sent_like_something_new() {
    for name in ["o d", "$(id)", "-old", "*", "caf\u{e9}"] {
        let mirror = mirror(&[name], &[]);
        rename(&mirror, name, "new");
        assert_eq!(kept(&mirror, name, "new", &[]), 0, "{name}");
        rename(&mirror, "new", name);
        assert_eq!(kept(&mirror, "new", name, &[]), 0, "{name}");
    }
    for params in [&["-artz", "--inplace"][..], &["-artzH"], &["-artuz"], &["-art", "--exclude=/none"]] {
        let mut mirror = mirror(&["old"], &[]);
        mirror.slice.remote.rsync.params = params.iter().map(Into::into).collect();
        rename(&mirror, "old", "new");
        assert_eq!(kept(&mirror, "old", "new", &[]), 0, "{params:?}");
    }
    let mut filtered = mirror(&["old"], &[]);
    filtered.slice.filter = expressions(&[r".*\.none"]);
    rename(&filtered, "old", "new");
    assert_eq!(kept(&filtered, "old", "new", &[]), 0);
    let small = Mirror::with(&["old/sub/f0"]);
    rename(&small, "old", "new");
    assert_eq!(kept(&small, "old", "new", &[]), 0);
}

/// While deletions are held the old name stays: what it holds must not be linked to.
#[test]
fn not_while_deletions_are_held() {
    let mut mirror = mirror(&["old"], &[]);
    rename(&mirror, "old", "new");
    mirror.deletions = Deletions::Held;
    assert_eq!(mirror.run_moved("old", "new", &[]).outcome, Outcome::Done);
    for name in ["old", "new"] {
        let files = inodes(&mirror.replica.join(name));
        assert!(files.len() == FILES && files.iter().all(|(_, _, names)| *names == 1), "{name}: {files:?}");
    }
}

/// A few large files are worth it, and a module's own rules are no hindrance.
#[test]
fn large_files_in_a_module_below_another() {
    for options in ["munge symlinks = yes", "use chroot = yes", "use chroot = yes\nmunge symlinks = yes"] {
        let chroots = options.contains("chroot");
        if chroots && !nix::unistd::geteuid().is_root() {
            continue;
        }
        let mut mirror = Mirror::start_with(options);
        mirror.slice.remote.module = "m/below".into();
        mirror.replica = mirror.replica.join("below");
        fs::create_dir(&mirror.replica).unwrap();
        fs::create_dir_all(mirror.source.join("a/old/sub")).unwrap();
        fs::write(mirror.source.join("a/old/sub/f0"), vec![7; 2 << 20]).unwrap();
        assert_eq!(mirror.run(common::message::Work::Full).outcome, Outcome::Done);
        rename(&mirror, "a/old", "new");
        assert_eq!(kept(&mirror, "a/old", "new", &[]), 1, "{options}");
    }
}

/// A daemon that does not take it: the directory is sent like something new.
#[test]
fn where_the_remote_refuses() {
    for option in ["backup", "backup-dir", "delete-excluded"] {
        let mirror = Mirror::start_with(&format!("refuse options = {option}"));
        for n in 0..FILES {
            mirror.write(format!("old/f{n}"));
        }
        assert_eq!(mirror.run(common::message::Work::Full).outcome, Outcome::Done);
        rename(&mirror, "old", "new");
        assert_eq!(kept(&mirror, "old", "new", &[]), 0, "{option}");
    }
}
