//! Remotes that are old or refuse an option: what they lack is found out once, and the same
//! job goes on without it. Stubs stand for old rsyncs where none can be had: they refuse what
//! those refuse, in their words or without any, and run the real one otherwise.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::time::{Duration, SystemTime};

use bstr::ByteSlice;
use common::config::Ssh;
use common::confine::Confined;
use common::event::Dirt::{self, Deep, Removed, RemovedDir, Touched};
use common::event::RootId;
use common::message::{Comparison, Job, Load, Outcome, SshSlice, SyncSlice, Terms, Work};
use common::path::RelPath;
use syncer::{JobEnd, Worker};

use crate::mirror::{Mirror, batch, expressions, tree, wait_for, write_program};

/// One worker for several jobs, as a syncer's life is.
pub(crate) struct Life<'a> {
    mirror: &'a Mirror,
    worker: Worker,
}

impl<'a> Life<'a> {
    pub(crate) fn new(mirror: &'a Mirror) -> Life<'a> {
        let worker =
            Worker::new(SyncSlice { warm: Some(60), ..mirror.slice.clone() }, Confined::not()).unwrap();
        Life { mirror, worker }
    }

    pub(crate) fn run(&mut self, work: Work) -> JobEnd {
        let root = RootId::from(&fs::metadata(&self.mirror.source).unwrap());
        let job = Job {
            root,
            deletions: self.mirror.deletions,
            max_delete: None,
            terms: Terms::default(),
            by: Comparison::Times,
            load: if matches!(work, Work::Batch(_)) { Load::Light } else { Load::Any },
            work,
            moves: Vec::new(),
        };
        let end = self.worker.run(&job, &mut |_| {}, &mut |_| {});
        self.worker.warm_up(&job, &end);
        end
    }

    pub(crate) fn done(&mut self, paths: &[(&str, Dirt)]) {
        let end = self.run(batch(paths));
        assert_eq!(end.outcome, Outcome::Done, "{end:?}");
    }

    pub(crate) fn equal_after(&mut self, paths: &[(&str, Dirt)]) {
        self.done(paths);
        assert_eq!(tree(&self.mirror.replica), tree(&self.mirror.source), "{paths:?}");
    }
}

/// A remote rsync behind a stand-in for ssh that refuses `options` as an old one does.
fn old_over_ssh(options: &[&str]) -> Mirror {
    let mut mirror = Mirror::start();
    let script = format!(
        "#!/bin/bash\nwhile [ \"$1\" != rsync ]; do shift; done\necho run >> {0}/runs\n\
         for word; do for no in {1}; do [ \"$word\" != \"$no\" ] || {{\n\
         echo \"rsync: $word: unknown option\" >&2\n\
         echo 'rsync error: syntax or usage error (code 1) at main.c(1335) [server=3.0.9]' >&2; exit 1; }}; done; done\n\
         eval exec $(printf '%s ' \"$@\")\n",
        mirror.directory.path().display(),
        options.join(" "),
    );
    let stub = mirror.directory.path().join("ssh");
    write_program(&stub, &script);
    mirror.slice.remote.rsync.ssh = Some(Ssh::default());
    mirror.slice.ssh =
        Some(SshSlice { program: stub.into(), user: "me".into(), identities: vec![], known_hosts: vec![] });
    mirror.slice.remote.module = mirror.replica.clone().into();
    mirror
}

const V309: [&str; 3] = ["--delete-missing-args", "-@-1", "--info=NONE"];

fn runs(mirror: &Mirror) -> usize {
    fs::read(mirror.directory.path().join("runs")).unwrap_or_default().lines().count()
}

fn fill(mirror: &Mirror) {
    for file in ["a", "d/b", "d/s/c", "gone/x", "e/1"] {
        mirror.write(file);
    }
    for extra in ["extra", "d/extra", "e/extra/deep"] {
        mirror.write_there(extra);
    }
}

/// The journey of a replica on a remote that can do no more than compare and delete.
pub(crate) fn lives_with(life: &mut Life<'_>) {
    let mirror = life.mirror;
    fill(mirror);
    life.done(&[("a", Touched), ("d", Touched), ("d/b", Touched), ("d/s", Deep), ("gone", Deep)]);
    assert_eq!(
        mirror.replica_names(),
        [
            "a",
            "d/",
            "d/b",
            "d/extra",
            "d/s/",
            "d/s/c",
            "e/",
            "e/extra/",
            "e/extra/deep",
            "extra",
            "gone/",
            "gone/x"
        ]
    );
    mirror.remove("gone");
    mirror.remove("d/s/c");
    life.done(&[("gone", RemovedDir), ("d/s/c", Removed), ("e", Deep)]);
    assert_eq!(mirror.replica_names(), ["a", "d/", "d/b", "d/extra", "d/s/", "e/", "e/1", "extra"]);
    // A type that changes, a rename, and something removed together with its directory.
    mirror.remove("d/s");
    mirror.write("d/s");
    fs::rename(mirror.source.join("a"), mirror.source.join("z")).unwrap();
    mirror.remove("e");
    life.done(&[("d/s", Touched), ("a", Removed), ("z", Touched), ("e/1", Removed), ("e", RemovedDir)]);
    assert_eq!(mirror.replica_names(), ["d/", "d/b", "d/extra", "d/s", "extra", "z"]);
    let end = life.run(Work::Full);
    assert_eq!(end.outcome, Outcome::Done, "{end:?}");
    assert_eq!(tree(&mirror.replica), tree(&mirror.source));
}

#[test]
fn an_old_rsync_over_ssh() {
    lives_with(&mut Life::new(&old_over_ssh(&V309)));
}

#[test]
fn it_is_found_out_once() {
    let mirror = old_over_ssh(&V309);
    fill(&mirror);
    let mut life = Life::new(&mirror);
    life.done(&[("a", Touched)]);
    // One refusal for each option that is missing, the run itself, and the warm one.
    wait_for("the warm one", || runs(&mirror) == 4);
    life.done(&[("a", Touched)]);
    wait_for("the next one", || runs(&mirror) == 5);
}

#[test]
fn same_size_in_the_same_second() {
    let mirror = old_over_ssh(&V309);
    let mut life = Life::new(&mirror);
    for (name, dirt) in [("a", Touched), ("d/a", Touched), ("d", Deep)] {
        let file = mirror.source.join(if name == "d" { "d/a" } else { name });
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        let second = SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000);
        for (content, nanos) in [("1111", 1), ("2222", 2), ("3333", 3)] {
            fs::write(&file, content).unwrap();
            let time = second + Duration::from_nanos(nanos);
            fs::File::options().write(true).open(&file).unwrap().set_modified(time).unwrap();
            life.done(&[(name, dirt)]);
            let there = mirror.replica.join(file.strip_prefix(&mirror.source).unwrap());
            assert_eq!(fs::read(there).unwrap(), content.as_bytes(), "{name}");
        }
    }
}

/// A rule for a removal names that path and no other.
#[test]
fn removals_with_difficult_names() {
    let long = "\\".repeat(250);
    let mut names: Vec<&[u8]> =
        vec![long.as_bytes(), b"a*", b"a?", b"[ab]", b"a\\*", b"b\\s", b"\\", b"*", b"**", b"***", b"a\\"];
    names.extend([&b"#x"[..], b";y", b"- z", b"+ z", b"!", b"-x", b" ", b"a\nb", b"\xff\xfe", b"q\"q'q`$x"]);
    // What they would match.
    let kept = ["ab", "ax", "a", "b", "bs", "keep", "a\\xyz", "ab/in/deep", "a*x", "deep/a*x/in"];
    let mirror = old_over_ssh(&V309);
    let mut life = Life::new(&mirror);
    let mut all: Vec<Vec<u8>> = Vec::new();
    for name in &names {
        all.extend([name.to_vec(), [b"sub/", *name].concat(), [b"dir/", *name, b"/in"].concat()]);
        all.push([b"in ", *name, b"/x"].concat());
    }
    for path in &all {
        mirror.write(OsStr::from_bytes(path));
    }
    for path in kept.iter().filter(|path| **path != "ab") {
        mirror.write(path);
        mirror.write(format!("sub/{path}"));
        mirror.write(format!("dir/{path}/in"));
    }
    assert_eq!(life.run(Work::Full).outcome, Outcome::Done);
    let mut listed = Vec::new();
    for path in &all {
        let (gone, dirt) = match path.strip_prefix(b"dir/") {
            Some(rest) => ([b"dir/", rest.strip_suffix(b"/in").unwrap()].concat(), RemovedDir),
            None => (path.clone(), Removed),
        };
        mirror.remove(OsStr::from_bytes(&gone));
        listed.push((RelPath::new(gone).unwrap(), dirt));
    }
    mirror.write_there("extra");
    let end = life.run(Work::Batch(listed));
    assert_eq!(end.outcome, Outcome::Done, "{end:?}");
    mirror.write("extra");
    let names = |root| tree(root).into_keys().collect::<Vec<_>>();
    assert_eq!(names(&mirror.replica), names(&mirror.source));
}

/// The user's own rules come before ours: an exclude protects, anything wider rules removals out.
#[test]
fn removals_beside_the_users_rules() {
    for (params, left) in [
        (&["-a", "--exclude=*.tmp"][..], &["d/", "d/x.tmp", "other/", "other/keep"][..]),
        (&["-a", "--delete-excluded", "--prune-empty-dirs"], &["other/", "other/keep"]),
        (&["-a", "--include=*/", "--include=k*"], &["d/", "d/1", "d/x.tmp", "other/", "other/keep", "y"]),
        (&["-a", "--filter=+ other/"], &["d/", "d/1", "d/x.tmp", "other/", "other/keep", "y"]),
    ] {
        let mut mirror = old_over_ssh(&V309);
        mirror.slice.remote.rsync.params = params.iter().map(Into::into).collect();
        for file in ["d/1", "d/x.tmp", "y", "other/keep"] {
            mirror.write_there(file);
        }
        Life::new(&mirror).done(&[("d", RemovedDir), ("y", Removed)]);
        assert_eq!(mirror.replica_names(), left, "{params:?}");
    }
}

/// A directory on the way that rsync would prune from its list is not taken for a missing one.
#[test]
fn removals_beside_pruned_directories() {
    let mut mirror = old_over_ssh(&V309);
    mirror.slice.remote.rsync.params = ["-a", "--prune-empty-dirs"].map(Into::into).into();
    mirror.write("d/");
    mirror.write_there("d/gone");
    Life::new(&mirror).done(&[("d/gone", Removed)]);
    assert_eq!(mirror.replica_names(), ["d/"]);
}

#[test]
fn removals_under_a_filter() {
    let mut mirror = old_over_ssh(&V309);
    mirror.slice.filter = expressions(&[r".*\.log"]);
    fill(&mirror);
    mirror.write_there("d/old.log");
    let mut life = Life::new(&mirror);
    life.done(&[("d", Deep)]);
    assert_eq!(life.run(Work::Full).outcome, Outcome::Done);
    let names = ["a", "d/", "d/b", "d/old.log", "d/s/", "d/s/c", "e/", "e/1", "gone/", "gone/x"];
    assert_eq!(mirror.replica_names(), names);
}

/// Rules do not stop at a symlink, as a list does.
#[test]
fn what_is_behind_a_symlink_over_there_is_not_erased() {
    let mirror = old_over_ssh(&V309);
    mirror.write("d/stays");
    mirror.write_there("elsewhere/gone");
    std::os::unix::fs::symlink("elsewhere", mirror.replica.join("d")).unwrap();
    Life::new(&mirror).done(&[("d/gone", Removed)]);
    assert_eq!(mirror.replica_names(), ["d/", "elsewhere/", "elsewhere/gone"]);
}

/// The run that removes must not send: by then the directory may be back, with what the filter
/// excludes in it.
#[test]
fn an_erased_directory_that_comes_back_is_not_sent() {
    let mut mirror = old_over_ssh(&V309);
    mirror.slice.filter = expressions(&[r"(.*)\.key"]);
    // Between our look and the run: `d` with files, `e` as a file, `new` that was never there.
    let program = mirror.directory.path().join("rsync");
    write_program(
        &program,
        "#!/bin/bash\ncase \" $* \" in *' --include-from=- '*)\nmkdir -p d/sub new; echo secret | \
         tee d/id.key d/sub/id.key new/id.key d/a > e;;\nesac\nexec /usr/bin/rsync \"$@\"\n",
    );
    mirror.slice.rsync_program = program.into();
    for file in ["d/gone", "e/gone", "f"] {
        mirror.write_there(file);
    }
    let mut life = Life::new(&mirror);
    life.done(&[("d", Removed), ("e", Removed), ("f", Removed), ("new", Removed)]);
    assert!(mirror.source.join("new/id.key").exists(), "it must have come back");
    let names = mirror.replica_names();
    assert!(names.iter().all(|name| name == "d/" || name.starts_with('e')), "{names:?}");
    // What came back has a change of its own.
    let back = [("d", Deep), ("e", Touched), ("new", Deep)];
    life.done(&back);
    assert_eq!(mirror.replica_names(), ["d/", "d/a", "d/sub/", "e", "new/"]);
}

#[test]
fn a_daemon_that_refuses_to_delete() {
    let mirror = Mirror::start_with("refuse options = delete");
    fill(&mirror);
    let mut life = Life::new(&mirror);
    let mut wanted = tree(&mirror.source).into_keys().collect::<Vec<_>>();
    wanted.extend(["extra", "d/extra", "e/extra/", "e/extra/deep"].map(Into::into));
    wanted.sort();
    life.done(&[("a", Touched), ("d", Deep)]);
    assert_eq!(life.run(Work::Full).outcome, Outcome::Done);
    assert_eq!(tree(&mirror.replica).into_keys().collect::<Vec<_>>(), wanted);
    mirror.remove("a");
    life.done(&[("a", Removed), ("d", RemovedDir)]);
    assert_eq!(tree(&mirror.replica).into_keys().collect::<Vec<_>>(), wanted);
}

#[test]
fn a_daemon_that_refuses_nanoseconds() {
    let mirror = Mirror::start_with("refuse options = modify-window");
    lives_with(&mut Life::new(&mirror));
}

/// rsyncd 3.5 takes this one whatever it is told, and then stumbles over the first missing name.
#[test]
fn a_daemon_that_refuses_missing_args() {
    lives_with(&mut Life::new(&Mirror::start_with("refuse options = delete-missing-args")));
}
