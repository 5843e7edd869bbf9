//! Batches of which something fails: what failed is told by name, with rsync's words, and the rest
//! is done. A remote on which nothing can be written is told from paths that cannot.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;

use common::event::Dirt::{self, Deep, Removed, RemovedDir, Sweep, Touched};
use common::keep::MAX_REASON;
use common::message::{Outcome, Work};
use common::path::RelPath;
use nix::unistd::geteuid;
use syncer::JobEnd;

use crate::mirror::{Mirror, batch, expressions, tree, wait_for, write_program};
use crate::old::Life;

/// A file of a replica that not even root may change, for as long as this lives.
struct Immutable(PathBuf);

impl Immutable {
    fn new(path: PathBuf) -> Option<Immutable> {
        let done = Command::new("chattr").arg("+i").arg(&path).output().ok()?;
        done.status.success().then(|| Immutable(path))
    }
}

impl Drop for Immutable {
    fn drop(&mut self) {
        let _ = Command::new("chattr").arg("-i").arg(&self.0).output();
    }
}

/// The replica under itself, read-only.
struct ReadOnly(PathBuf);

impl ReadOnly {
    fn new(path: &Path) -> Option<ReadOnly> {
        let run = |words: &[&str], places: &[&Path]| {
            Command::new("mount").args(words).args(places).output().is_ok_and(|done| done.status.success())
        };
        if !run(&["--bind"], &[path, path]) {
            return None;
        }
        let mounted = ReadOnly(path.to_owned());
        run(&["-o", "remount,bind,ro"], &[path]).then_some(mounted)
    }
}

impl Drop for ReadOnly {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).output();
    }
}

fn skipped(what: &str) {
    eprintln!("skipped: {what}");
}

/// Paths that failed, in the order of the batch.
fn failed(end: &JobEnd) -> Vec<String> {
    assert_eq!(end.outcome, Outcome::Partial, "{end:?}");
    let failed = end.failed.as_ref().unwrap_or_else(|| panic!("not known: {end:?}"));
    failed.iter().map(|one| String::from_utf8_lossy(one.path.as_bytes()).into_owned()).collect()
}

fn reason(end: &JobEnd) -> &str {
    &end.failed.as_ref().unwrap().first().unwrap().reason
}

/// A remote whose rsync is an ordinary user, who may write in the replica.
fn ordinary() -> Option<Mirror> {
    if !geteuid().is_root() {
        return None;
    }
    let mirror = Mirror::start_with("uid = nobody\ngid = nogroup");
    open(mirror.directory.path(), 0o755);
    open(&mirror.replica, 0o777);
    Some(mirror)
}

fn open(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

/// Twenty good files, and a path that goes wrong.
fn among_good(mirror: &Mirror, bad: &[(&str, Dirt)]) -> JobEnd {
    let names: Vec<String> = (0..20).map(|number| format!("good/{number}")).collect();
    for name in &names {
        fs::create_dir_all(mirror.source.join("good")).unwrap();
        fs::write(mirror.source.join(name), format!("{bad:?}")).unwrap();
    }
    let good = names.iter().map(|name| (name.as_str(), Touched));
    let all: Vec<_> = good.chain([("good", Touched)]).chain(bad.iter().copied()).collect();
    let end = mirror.run(batch(&all));
    for name in &names {
        assert_eq!(fs::read(mirror.replica.join(name)).unwrap(), format!("{bad:?}").as_bytes(), "{name}");
    }
    end
}

#[test]
fn one_immutable_file_among_many() {
    let mirror = Mirror::with(&["d/bad", "d/attributes"]);
    fs::create_dir_all(mirror.replica.join("gone/deep")).unwrap();
    for name in ["removed", "gone/deep/in", "d/bad", "d/attributes"] {
        fs::write(mirror.replica.join(name), "").unwrap();
    }
    mirror.run(batch(&[("d/attributes", Touched)]));
    let names = ["removed", "gone/deep/in", "d/bad", "d/attributes"];
    let held: Vec<_> = names.iter().filter_map(|name| Immutable::new(mirror.replica.join(name))).collect();
    if held.len() < names.len() {
        return skipped("no chattr");
    }
    open(&mirror.source.join("d/attributes"), 0o600);
    let cases: [(&[(&str, Dirt)], &str); 4] = [
        (&[("d/bad", Touched)], "rename"),
        (&[("removed", Removed)], "delete_file: unlink"),
        // Named as it was seen, though what was listed for it is the directory.
        (&[("gone/deep/in", Removed)], "delete_file: unlink(gone/deep/in)"),
        (&[("d/attributes", Touched)], "set permissions"),
    ];
    for (bad, said) in cases {
        let end = among_good(&mirror, bad);
        assert_eq!(failed(&end), [bad[0].0], "{end:?}");
        assert!(reason(&end).contains(said) && reason(&end).len() <= MAX_REASON, "{said}: {end:?}");
    }
    drop(held);
    mirror.equal_after(&[
        ("d/bad", Touched),
        ("removed", Removed),
        ("gone", RemovedDir),
        ("d/attributes", Touched),
    ]);
}

#[test]
fn something_stands_in_the_way() {
    let mirror = Mirror::with(&["other"]);
    mirror.write("file");
    mirror.write("deep/x");
    mirror.write_there("file/immutable");
    mirror.write_there("deep/extra");
    let names = ["file/immutable", "deep/extra"];
    let held: Vec<_> = names.iter().filter_map(|name| Immutable::new(mirror.replica.join(name))).collect();
    if held.len() < names.len() {
        return skipped("no chattr");
    }
    let end = among_good(&mirror, &[("file", Touched), ("deep", Deep), ("deep/x", Touched)]);
    // What the deep directory covers went with it.
    assert_eq!(failed(&end), ["file", "deep", "deep/x"], "{end:?}");
    let end = among_good(&mirror, &[("deep", Sweep)]);
    assert_eq!((end.outcome, &end.failed), (Outcome::Done, &None), "{end:?}");
    drop(held);
    assert_eq!(mirror.run(Work::Full).outcome, Outcome::Done);
    assert_eq!(tree(&mirror.replica), tree(&mirror.source));
}

#[test]
fn difficult_names() {
    let mirror = Mirror::start();
    let names: [&[u8]; 5] = [b"a\nb", b"q\"x (y), z", b"\xff\xfe", b"\\#012", b" lead "];
    let mut held = Vec::new();
    for name in names {
        let name = OsStr::from_bytes(name);
        mirror.write(name);
        fs::write(mirror.replica.join(name), "other than here").unwrap();
        held.extend(Immutable::new(mirror.replica.join(name)));
    }
    if held.len() < names.len() {
        return skipped("no chattr");
    }
    mirror.write("good");
    let paths = names.iter().map(|name| RelPath::new(*name).unwrap()).chain([RelPath::new("good").unwrap()]);
    let end = mirror.run(Work::Batch(paths.map(|path| (path, Touched)).collect()));
    let failed = end.failed.as_ref().unwrap();
    let told: Vec<&[u8]> = failed.iter().map(|one| one.path.as_bytes()).collect();
    assert_eq!(told, names, "{end:?}");
    assert!(failed.iter().all(|one| one.reason.contains("not permitted")), "{end:?}");
}

#[test]
fn every_wordiness_and_comparison() {
    for params in
        ["-artuz", "-rlptq", "-avvP --stats", "-aI", "-rl", "-a --size-only --info=all3", "-aH --checksum"]
    {
        let mut mirror = Mirror::start();
        mirror.slice.remote.rsync.params = params.split(' ').map(Into::into).collect();
        mirror.write("bad");
        mirror.write_there("bad");
        fs::write(mirror.source.join("bad"), "longer than it was").unwrap();
        let Some(_held) = Immutable::new(mirror.replica.join("bad")) else { return skipped("no chattr") };
        let end = among_good(&mirror, &[("bad", Touched)]);
        assert_eq!(failed(&end), ["bad"], "{params}: {end:?}");
    }
}

#[test]
fn under_a_filter_and_from_a_warm_one() {
    let mut mirror = Mirror::start();
    mirror.slice.filter = expressions(&[r".*\.log"]);
    for name in ["d/bad", "d/x.log", "e/f"] {
        mirror.write(name);
    }
    for name in ["d/bad/immutable", "e/extra", "d/there.log"] {
        mirror.write_there(name);
    }
    let Some(held) = Immutable::new(mirror.replica.join("d/bad/immutable")) else {
        return skipped("no chattr");
    };
    let end = among_good(&mirror, &[("d", Deep), ("e", Deep)]);
    assert_eq!(failed(&end), ["d"], "{end:?}");
    assert!(mirror.replica.join("e/f").exists() && !mirror.replica.join("e/extra").exists());
    let mut life = Life::new(&mirror);
    life.done(&[("e/f", Touched)]);
    let end = life.run(batch(&[("e/f", Touched), ("d/bad", Touched)]));
    assert_eq!(failed(&end), ["d/bad"], "{end:?}");
    drop(held);
    life.done(&[("d/bad", Touched)]);
}

#[test]
fn a_closed_directory_closes_nothing_else() {
    let Some(mirror) = ordinary() else { return skipped("not root") };
    for name in ["closed/a", "open/b", "open/c"] {
        mirror.write(name);
    }
    for name in ["closed/", "open/"] {
        mirror.write_there(name);
    }
    open(&mirror.replica.join("open"), 0o777);
    let end = mirror.run(batch(&[("closed/a", Touched), ("open/b", Touched)]));
    assert_eq!(failed(&end), ["closed/a"], "{end:?}");
    assert!(reason(&end).contains("mkstemp \"closed/.a."), "{end:?}");
    assert!(mirror.replica.join("open/b").exists());
    // Alone it says nothing of the remote either.
    let end = mirror.run(batch(&[("closed/a", Touched)]));
    assert_eq!(failed(&end), ["closed/a"], "{end:?}");
    // The times of directories of others cannot be set: no path of a batch fails by that.
    let end = mirror.run(batch(&[("open", Touched), ("open/c", Touched)]));
    assert!(mirror.replica.join("open/c").exists());
    assert_eq!(failed(&end), ["open"], "its mode: {end:?}");
    open(&mirror.replica.join("open"), 0o755);
    let end = mirror.run(batch(&[("open", Touched), ("open/c", Touched)]));
    assert_eq!(failed(&end), [""; 0], "{end:?}");
}

#[test]
fn a_remote_that_may_not_be_written() {
    let Some(mirror) = ordinary() else { return skipped("not root") };
    open(&mirror.replica, 0o755);
    for name in ["a", "d/b", "new/c"] {
        mirror.write(name);
    }
    mirror.write_there("d/");
    symlink("a", mirror.source.join("link")).unwrap();
    let works: [&[(&str, Dirt)]; 3] = [
        &[("a", Touched)],
        &[("a", Touched), ("d/b", Touched), ("link", Touched), ("nothing", Removed)],
        &[("new", Deep)],
    ];
    for paths in works {
        let end = mirror.run(batch(paths));
        assert_eq!((end.outcome, end.status, &end.failed), (Outcome::ReadOnly, 23, &None), "{end:?}");
        assert!(end.tail.contains("Permission denied"), "{end:?}");
    }
}

#[test]
fn a_read_only_filesystem() {
    let mirror = Mirror::with(&["d/a", "other/x"]);
    let Some(mounted) = ReadOnly::new(&mirror.replica) else { return skipped("no mount") };
    mirror.write("d/b");
    mirror.write("d/c");
    for paths in
        [&[("d/b", Touched)][..], &[("d/b", Touched), ("d/c", Touched)], &[("d", Deep), ("never", Removed)]]
    {
        let end = mirror.run(batch(paths));
        assert_eq!((end.outcome, &end.failed), (Outcome::ReadOnly, &None), "{end:?}");
    }
    drop(mounted);
    mirror.equal_after(&[("d/b", Touched), ("d/c", Touched)]);
    // Only a part of the remote: the rest goes on.
    let Some(_mounted) = ReadOnly::new(&mirror.replica.join("other")) else { return skipped("no mount") };
    mirror.write("other/y");
    let end = among_good(&mirror, &[("other/y", Touched)]);
    assert_eq!(failed(&end), ["other/y"], "{end:?}");
}

/// rsync without any right beyond those of an ordinary user.
fn powerless(mirror: &mut Mirror) {
    let program = mirror.directory.path().join("powerless");
    write_program(
        &program,
        "#!/bin/bash\nexec setpriv --reuid 65534 --regid 65534 --clear-groups /usr/bin/rsync \"$@\"\n",
    );
    open(mirror.directory.path(), 0o755);
    mirror.slice.rsync_program = program.into();
}

#[test]
fn what_cannot_be_read_here() {
    if !geteuid().is_root() {
        return skipped("not root");
    }
    let mut mirror = Mirror::with(&["x"]);
    powerless(&mut mirror);
    for name in ["secret", "closed/in", "deep/closed/in", "deep/fine", "deep2/fine"] {
        mirror.write(name);
    }
    mirror.write_there("deep2/extra");
    mirror.write_there("removed");
    open(&mirror.source.join("secret"), 0);
    open(&mirror.source.join("closed"), 0);
    open(&mirror.source.join("deep/closed"), 0);
    let end = among_good(&mirror, &[("secret", Touched), ("closed/in", Touched), ("removed", Removed)]);
    assert_eq!(failed(&end), ["secret", "closed/in"], "{end:?}");
    assert!(reason(&end).contains("send_files failed to open"), "{end:?}");
    assert!(!mirror.replica.join("removed").exists());
    // rsync removes nothing at all once it could not read a directory; the good one gets its due.
    let end = among_good(&mirror, &[("deep", Deep), ("deep2", Deep)]);
    assert_eq!(failed(&end), ["deep"], "{end:?}");
    assert!(reason(&end).contains("opendir"), "{end:?}");
    assert!(mirror.replica.join("deep2/fine").exists() && !mirror.replica.join("deep2/extra").exists());
    assert!(mirror.replica.join("deep/fine").exists());
}

/// The regression: a file that shrinks while rsync reads it is incomplete there, and sent again.
#[test]
fn a_file_truncated_while_rsync_reads_it() {
    let mut mirror = Mirror::start();
    mirror.slice.remote.rsync.params.push("--bwlimit=4000".into());
    // Incompressible, so that the limit holds.
    let mut seed = 1_u64;
    let mut bytes = Vec::new();
    while bytes.len() < 6 << 20 {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        bytes.extend_from_slice(&seed.to_be_bytes()[..4]);
    }
    let (file, replica) = (mirror.source.join("shrinks"), mirror.replica.clone());
    fs::write(&file, bytes).unwrap();
    mirror.write("good");
    let shrinking = thread::spawn(move || {
        let arrives = |name: &OsStr| name.as_bytes().starts_with(b".shrinks.");
        wait_for("the first of it", || {
            let mut entries = fs::read_dir(&replica).unwrap();
            entries.any(|entry| entry.is_ok_and(|entry| arrives(&entry.file_name())))
        });
        fs::OpenOptions::new().write(true).open(file).unwrap().set_len(10).unwrap();
    });
    let end = mirror.run(batch(&[("good", Touched), ("shrinks", Touched)]));
    shrinking.join().unwrap();
    assert_eq!((end.status, failed(&end)), (23, vec!["shrinks".to_owned()]), "{end:?}");
    assert!(mirror.replica.join("good").exists());
    mirror.equal_after(&[("shrinks", Touched)]);
}

#[test]
fn too_many_to_tell() {
    let mirror = Mirror::start();
    let directory = "n".repeat(200);
    mirror.write_there(format!("{directory}/closed"));
    let paths: Vec<_> = (0..400).map(|number| format!("{directory}/{number}")).collect();
    for path in &paths {
        mirror.write(path);
    }
    let Some(held) = Immutable::new(mirror.replica.join(&directory)) else { return skipped("no chattr") };
    let all: Vec<_> = paths.iter().map(|path| (path.as_str(), Touched)).collect();
    let end = mirror.run(batch(&all));
    assert_eq!((end.outcome, &end.failed), (Outcome::Partial, &None), "{end:?}");
    // A reason is what is left out first.
    let end = mirror.run(batch(&all[..180]));
    assert_eq!(failed(&end).len(), 180);
    assert!(reason(&end).contains("mkstemp"), "{end:?}");
    drop(held);
}
