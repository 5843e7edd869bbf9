//! Files that were renamed: how many bytes travel, and that the result is right whatever the remote has.

use std::fs::{self, File};
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt, symlink};
use std::path::Path;
use std::time::{Duration, SystemTime};

use common::event::Dirt::{self, Removed, Touched};
use common::message::{Deletions, Load, Move, Outcome, Work};
use common::path::RelPath;
use syncer::JobEnd;

use crate::mirror::{Mirror, batch, expressions, tree};

/// Bytes of a file.
const SIZE: usize = 3 << 20;

/// What nothing can compress, another for each `seed`.
pub(crate) fn noise(seed: u64, size: usize) -> Vec<u8> {
    let mut state = 0x0139_408D_CBBF_7A44_u64 ^ (seed + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    };
    (0..size / 8).flat_map(|_| next()).collect()
}

/// A file with that, and a time of its own: two that are written at once may be as old.
fn put(path: &Path, seed: u64, size: usize) {
    fs::write(path, noise(seed, size)).unwrap();
    let time = SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000 + seed);
    File::options().write(true).open(path).unwrap().set_modified(time).unwrap();
}

/// A mirror whose both sides have these files, each with a content of its own.
fn mirror_with(module: &str, files: &[&str]) -> Mirror {
    let mirror = Mirror::start_with(module);
    for (seed, file) in (0..).zip(files) {
        mirror.write(file);
        put(&mirror.source.join(file), seed, SIZE);
    }
    assert_eq!(mirror.run(Work::Full).outcome, Outcome::Done);
    mirror
}

fn mirror(files: &[&str]) -> Mirror {
    mirror_with("", files)
}

fn rename(mirror: &Mirror, from: &str, to: &str) {
    fs::rename(mirror.source.join(from), mirror.source.join(to)).unwrap();
}

fn hint((from, to): &(&str, &str)) -> Move {
    Move { from: RelPath::new(*from).unwrap(), to: RelPath::new(*to).unwrap() }
}

fn run(mirror: &Mirror, load: Load, moves: &[(&str, &str)], paths: &[(&str, Dirt)]) -> JobEnd {
    mirror.run_with(&mut mirror.worker(), batch(paths), load, moves.iter().map(hint).collect())
}

/// Runs the batch and compares; how many bytes the daemon got.
#[track_caller]
fn passed(mirror: &Mirror, moves: &[(&str, &str)], paths: &[(&str, Dirt)]) -> usize {
    let before = mirror.received();
    let end = run(mirror, Load::Any, moves, paths);
    assert_eq!(end.outcome, Outcome::Done, "{end:?}");
    assert!(tree(&mirror.replica) == tree(&mirror.source), "{end:?}");
    let names = |path: &str| mirror.replica.join(path).symlink_metadata().map_or(1, |meta| meta.nlink());
    assert!(moves.iter().all(|(from, to)| names(from) == 1 && names(to) == 1), "a file has two names");
    mirror.received() - before
}

/// Little enough: sums alone.
const LITTLE: usize = SIZE / 50;

#[test]
fn in_the_same_directory() {
    let mirror = mirror(&["a/old", "a/other", "c"]);
    rename(&mirror, "a/old", "a/new");
    let sent = passed(&mirror, &[("a/old", "a/new")], &[("a/old", Removed), ("a/new", Touched)]);
    assert!(sent < LITTLE, "{sent}");
    // While the old name is still to go, and is gone here.
    rename(&mirror, "c", "d");
    let before = mirror.received();
    assert_eq!(run(&mirror, Load::Light, &[("c", "d")], &[("d", Touched)]).outcome, Outcome::Done);
    let sent = mirror.received() - before;
    assert!(sent < LITTLE && mirror.replica.join("c").exists(), "{sent}");
    mirror.equal_after(&[("c", Removed)]);
}

/// Its directory is new too.
#[test]
fn in_another_directory() {
    let mirror = mirror(&["a/old", "top", "b/deep/x"]);
    fs::create_dir_all(mirror.source.join("p/q")).unwrap();
    fs::set_permissions(mirror.source.join("p/q"), fs::Permissions::from_mode(0o750)).unwrap();
    for (from, to) in [("a/old", "p/q/old"), ("top", "a/top"), ("b/deep/x", "x")] {
        rename(&mirror, from, to);
        let paths = [("p", Touched), ("p/q", Touched), (from, Removed), (to, Touched)];
        let sent = passed(&mirror, &[(from, to)], &paths);
        assert!(sent < LITTLE, "{from} {to} {sent}");
    }
}

/// With another name too: what this rsync does depends on the module, the result never does.
#[test]
fn in_another_directory_with_another_name() {
    let mirror = mirror(&["a/old", "b/x"]);
    let mut worker = mirror.worker();
    for (round, (from, to)) in [("a/old", "b/new"), ("b/new", "a/newer")].into_iter().enumerate() {
        rename(&mirror, from, to);
        let before = mirror.connections();
        let moves = vec![hint(&(from, to))];
        let end = mirror.run_with(&mut worker, batch(&[(from, Removed), (to, Touched)]), Load::Any, moves);
        assert_eq!(end.outcome, Outcome::Done, "{end:?}");
        assert!(tree(&mirror.replica) == tree(&mirror.source));
        // Without chroot it does not work, which is found out once.
        assert_eq!(mirror.connections() - before, if round == 0 { 3 } else { 1 });
    }
    if nix::unistd::geteuid().is_root() {
        let mirror = mirror_with("use chroot = yes", &["a/old", "b/x"]);
        rename(&mirror, "a/old", "b/new");
        let sent = passed(&mirror, &[("a/old", "b/new")], &[("a/old", Removed), ("b/new", Touched)]);
        assert!(sent < LITTLE, "{sent}");
    }
}

/// By size and time they are the same, and one of them is not what was renamed: no remote is to take the
/// one for the other.
#[test]
fn what_only_looks_the_same() {
    for (from, to) in [("a/f", "b/f"), ("a/f", "b/g"), ("a/f", "a/g")] {
        let mirror = mirror(&["a/f", "b/x"]);
        let time = fs::metadata(mirror.source.join(from)).unwrap().modified().unwrap();
        rename(&mirror, from, to);
        let file = File::options().write(true).open(mirror.source.join(to)).unwrap();
        file.write_all_at(b"else", (SIZE / 2).try_into().unwrap()).unwrap();
        file.set_modified(time).unwrap();
        drop(file);
        let sent = passed(&mirror, &[(from, to)], &[(from, Removed), (to, Touched)]);
        assert!(sent < SIZE / 2, "{from} {to}: {sent}");
        let read = |top: &Path| fs::read(top.join(to)).unwrap();
        assert!(read(&mirror.source) == read(&mirror.replica), "{from} {to}");
    }
}

/// The remote has a file there already: that is compared with, as ever, and never missing.
#[test]
fn over_one_that_is_there() {
    let mirror = mirror(&["a/old", "a/new", "b/old"]);
    for (from, to) in [("a/old", "a/new"), ("a/new", "b/old")] {
        rename(&mirror, from, to);
        run(&mirror, Load::Any, &[(from, to), (from, to)], &[(from, Removed), (to, Touched)]);
        mirror.equal_after(&[]);
    }
}

/// Whatever it was before, there or here.
#[test]
fn what_changed_after_the_rename_arrives() {
    let mirror = mirror(&["a/old", "b/x"]);
    rename(&mirror, "a/old", "a/new");
    let mut content = noise(0, SIZE);
    content.extend_from_slice(b"more");
    fs::write(mirror.source.join("a/new"), &content).unwrap();
    fs::set_permissions(mirror.source.join("a/new"), fs::Permissions::from_mode(0o600)).unwrap();
    passed(&mirror, &[("a/old", "a/new")], &[("a/old", Removed), ("a/new", Touched)]);
    // The remote's old one is another of the same size and time.
    let time = File::open(mirror.source.join("b/x")).unwrap().metadata().unwrap().modified().unwrap();
    fs::write(mirror.replica.join("b/x"), noise(7, SIZE)).unwrap();
    File::options().write(true).open(mirror.replica.join("b/x")).unwrap().set_modified(time).unwrap();
    rename(&mirror, "b/x", "b/y");
    passed(&mirror, &[("b/x", "b/y")], &[("b/x", Removed), ("b/y", Touched)]);
    // It is not there at all; the new name is a directory there.
    fs::remove_file(mirror.replica.join("b/y")).unwrap();
    fs::create_dir_all(mirror.replica.join("b/z/sub")).unwrap();
    rename(&mirror, "b/y", "b/z");
    let sent = passed(&mirror, &[("b/y", "b/z")], &[("b/y", Removed), ("b/z", Touched)]);
    assert!(sent >= SIZE, "{sent}");
}

/// The remote still has a symlink where the file's directory is now.
#[test]
fn a_symlink_in_its_way_leads_nowhere() {
    for to in ["p/old", "p/old.1"] {
        let mirror = mirror(&["a/old", "precious/old.1"]);
        symlink("precious", mirror.source.join("p")).unwrap();
        mirror.equal_after(&[("p", Touched)]);
        mirror.remove("p");
        fs::create_dir(mirror.source.join("p")).unwrap();
        rename(&mirror, "a/old", to);
        // The change of the directory is lost on the way: no job may rely on it.
        let sent = passed(&mirror, &[("a/old", to)], &[("a/old", Removed), (to, Touched)]);
        assert!(to != "p/old" || sent < LITTLE, "{sent}");
    }
    let mirror = mirror(&["precious/log.1", "real/log"]);
    symlink("precious", mirror.source.join("d")).unwrap();
    mirror.equal_after(&[("d", Touched)]);
    mirror.remove("d");
    rename(&mirror, "real", "d");
    rename(&mirror, "d/log", "d/log.1");
    passed(
        &mirror,
        &[("d/log", "d/log.1")],
        &[("d/log", Removed), ("d/log.1", Touched), ("real", Dirt::RemovedDir)],
    );
}

#[test]
fn odd_names_and_what_is_sent_like_something_new() {
    for name in ["o d", "$(id)", "-old", "*", "[a]", "caf\u{e9}"] {
        let mirror = mirror(&[&format!("a/{name}"), "b/x"]);
        let (old, new, far) = (format!("a/{name}"), format!("a/{name}x"), format!("b/{name}x"));
        rename(&mirror, &old, &new);
        let sent = passed(&mirror, &[(&old, &new)], &[(&old, Removed), (&new, Touched)]);
        assert!(sent < LITTLE, "{name} {sent}");
        rename(&mirror, &new, &far);
        let sent = passed(&mirror, &[(&new, &far)], &[(&new, Removed), (&far, Touched)]);
        assert!(sent >= SIZE, "{name} {sent}");
        // Counted up, which would take a pattern.
        let counted = format!("{far}.1");
        rename(&mirror, &far, &counted);
        passed(&mirror, &[(&far, &counted)], &[(&far, Removed), (&counted, Touched)]);
    }
    for params in [&["-artz", "--inplace"][..], &["-artzH"], &["-artuz"], &["-art", "--exclude=/none"]] {
        let mut mirror = mirror(&["old"]);
        mirror.slice.remote.rsync.params = params.iter().map(Into::into).collect();
        rename(&mirror, "old", "new");
        let sent = passed(&mirror, &[("old", "new")], &[("old", Removed), ("new", Touched)]);
        assert!(sent >= SIZE, "{params:?} {sent}");
    }
    let mut filtered = mirror(&["old"]);
    filtered.slice.filter = expressions(&[r".*\.none"]);
    rename(&filtered, "old", "new");
    let sent = passed(&filtered, &[("old", "new")], &[("old", Removed), ("new", Touched)]);
    assert!(sent < LITTLE, "{sent}");
}

/// No run more than it takes without: they cost more than the bytes.
#[test]
fn a_small_file_takes_one_run() {
    let mirror = Mirror::with(&["a/old", "b/x"]);
    for to in ["a/new", "b/new"] {
        rename(&mirror, "a/old", to);
        let before = mirror.connections();
        passed(&mirror, &[("a/old", to)], &[("a/old", Removed), (to, Touched)]);
        assert_eq!(mirror.connections() - before, 1);
        rename(&mirror, to, "a/old");
        mirror.equal_after(&[("a/old", Touched), (to, Removed)]);
    }
}

/// A daemon that does not take it: one run more, and the file as it is.
#[test]
fn where_the_remote_refuses() {
    for option in ["fuzzy", "copy-dest", "delete"] {
        let mirror = mirror_with(&format!("refuse options = {option}"), &["a/old", "a/x.1", "b/y"]);
        for (from, to) in [("a/old", "a/new"), ("a/new", "b/new"), ("b/y", "b/y.1")] {
            rename(&mirror, from, to);
            let end = run(&mirror, Load::Any, &[(from, to)], &[(to, Touched)]);
            assert_eq!(end.outcome, Outcome::Done, "{option} {end:?}");
            let of = |root: &Path| fs::read(root.join(to)).unwrap();
            assert!(of(&mirror.replica) == of(&mirror.source), "{option} {to}");
        }
    }
}

#[test]
fn while_deletions_are_held() {
    let mut mirror = mirror(&["log", "log.1"]);
    rename(&mirror, "log", "log.1");
    mirror.deletions = Deletions::Held;
    let end = run(&mirror, Load::Any, &[("log", "log.1")], &[("log.1", Touched)]);
    assert_eq!(end.outcome, Outcome::Done);
    let of = |root: &Path| fs::read(root.join("log.1")).unwrap();
    assert!(of(&mirror.replica) == of(&mirror.source) && mirror.replica.join("log").exists());
}

/// A light job leaves a large file out, and with it the removal of its old name: that is what it is made
/// of. Another file there now is small, and does not wait.
#[test]
fn what_a_large_file_is_made_of_stays_with_it() {
    for is_back in [false, true] {
        let mirror = Mirror::with(&["old", "else"]);
        let file = File::create(mirror.source.join("old")).unwrap();
        file.set_len(9 << 20).unwrap();
        assert_eq!(mirror.run(Work::Full).outcome, Outcome::Done);
        rename(&mirror, "old", "new");
        if is_back {
            mirror.write("old");
        }
        let paths = [("old", if is_back { Touched } else { Removed }), ("new", Touched), ("else", Touched)];
        let end = run(&mirror, Load::Light, &[("old", "new")], &paths);
        let mut left: Vec<String> = end.left.iter().map(|path| path.to_string().replace('"', "")).collect();
        left.sort();
        let expected: &[&str] = if is_back { &["new"] } else { &["new", "old"] };
        assert_eq!((end.outcome, left), (Outcome::Done, expected.iter().map(|&it| it.to_owned()).collect()));
        let there = fs::metadata(mirror.replica.join("old")).unwrap().len();
        assert_eq!(there == 9 << 20, !is_back);
    }
}
