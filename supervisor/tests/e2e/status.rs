//! `status` tells the truth: in sync when all has arrived, and otherwise which remote lacks something, why,
//! and what holds it up.
#![allow(clippy::indexing_slicing, clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::fs::{self, Permissions};
use std::io::{BufRead, BufReader, Read};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use supervisor::status::{Health, Snapshot, TreeState};

use crate::support::daemon::Daemon;
use crate::support::daemon::OTHERHOST;
use crate::support::{LOCALHOST, Mirror, SOON, Setup, holds, is_root, wait_until, write};

const LATER: Duration = Duration::from_mins(1);

/// Exit status and output of `status` with these words.
fn ask(mirror: &Mirror, words: &[&str]) -> (Option<i32>, String) {
    let mut command = crate::support::supervisor::command(mirror);
    command.arg("status").args(words).arg("-o").arg(&mirror.config).stdin(Stdio::null());
    let output = command.output().unwrap();
    (output.status.code(), String::from_utf8([output.stdout, output.stderr].concat()).unwrap())
}

/// What it tells, and the exit status.
fn told(mirror: &Mirror) -> (Snapshot, Option<i32>) {
    let (code, text) = ask(mirror, &["--json"]);
    let snapshot = serde_json::from_str(&text).unwrap();
    (snapshot, code)
}

/// Waits until that is true of what it tells.
fn wait_told(mirror: &Mirror, what: &str, is_so: impl Fn(&Snapshot) -> bool) -> (Snapshot, Option<i32>) {
    let mut last = None;
    wait_until(what, LATER, || {
        last = Some(told(mirror));
        last.as_ref().is_some_and(|(snapshot, _)| is_so(snapshot))
    });
    last.unwrap()
}

fn is_in_sync(snapshot: &Snapshot) -> bool {
    snapshot.health == Health::InSync
}

#[test]
fn healthy_and_after_the_death_of_a_role() {
    let mut mirror = Mirror::new(Setup::plain().flags(&["-r"]));
    // A full sync of an empty root is refused.
    write(mirror.source("a"), "a");
    mirror.run();
    let (snapshot, code) =
        wait_told(&mirror, "all is in sync", |it| is_in_sync(it) && it.remotes[0].full_sync.done >= 1);
    assert_eq!(code, Some(0));
    assert_eq!(snapshot.supervisor.pid.cast_signed(), mirror.supervisor().pid());
    let (tree, remote) = (&snapshot.trees[0], &snapshot.remotes[0]);
    assert_eq!(
        (tree.path.as_str(), tree.state, tree.directories),
        (mirror.sources[0].to_str().unwrap(), TreeState::Watched, 1)
    );
    assert_eq!((remote.pending, remote.behind_seconds, remote.last_error.as_ref()), (0, None, None));
    assert!(snapshot.watch.used == Some(1) && snapshot.watch.seen.is_some());
    let watcher = snapshot.roles.iter().find(|role| role.name == "watcher").unwrap();
    assert_eq!((watcher.pid, watcher.restarts), (Some(mirror.supervisor().child("watcher")), 0));
    assert!(watcher.memory.is_some_and(|bytes| bytes > 1 << 20), "{watcher:?}");
    let sandbox = watcher.sandbox.as_ref().unwrap();
    assert!(sandbox.no_new_privs && sandbox.seccomp && sandbox.landlock, "{sandbox:?}");
    if is_root() {
        assert_ne!(watcher.uid, Some(0));
    }
    let (code, screen) = ask(&mirror, &[]);
    assert!(code == Some(0) && screen.contains("\nin sync\n"), "{screen}");
    assert!(!screen.contains('\u{1b}'), "colours in a pipe");

    kill(Pid::from_raw(watcher.pid.unwrap()), Signal::SIGKILL).unwrap();
    let restarted = |it: &Snapshot| it.roles.iter().any(|it| it.name == "watcher" && it.restarts == 1);
    let (snapshot, _) =
        wait_told(&mirror, "a restart is counted, and all is in sync", |it| restarted(it) && is_in_sync(it));
    assert_eq!(snapshot.roles.iter().map(|role| role.restarts).sum::<u64>(), 1);

    // What has not arrived is never called in sync, however soon the question comes.
    for n in 0..20 {
        let (path, text) = (format!("file{n}"), format!("{n} {:?}", Instant::now()));
        write(mirror.source(&path), &text);
        let (snapshot, code) = told(&mirror);
        let arrived = holds(mirror.replica(&path), &text);
        assert!(arrived || snapshot.health != Health::InSync, "{snapshot:?}");
        assert_eq!(code == Some(0), snapshot.health == Health::InSync);
    }
}

#[test]
fn a_remote_that_is_down() {
    let mirror = Mirror::start(Setup::plain().remotes(&[LOCALHOST, OTHERHOST]));
    write(mirror.source("a"), "a");
    let (snapshot, code) = wait_told(&mirror, "one is down", |it| it.remotes[1].health == Health::Down);
    assert_eq!((code, snapshot.health), (Some(1), Health::Down));
    let remote = &snapshot.remotes[1];
    let error = remote.last_error.as_ref().unwrap();
    assert_eq!(
        (remote.standing.as_str(), error.outcome.as_str(), error.over),
        ("unreachable", "unreachable", false)
    );
    assert!(remote.pending == 1 && remote.behind_seconds.is_some() && remote.down_since.is_some());
    assert!(!error.cure.is_empty() && snapshot.remotes[0].health <= Health::Behind);
    let knocked = |it: &Snapshot| {
        let error = it.remotes[1].last_error.as_ref();
        error.is_some_and(|error| error.status == 10 && error.said.starts_with("no rsync was started: "))
    };
    wait_told(&mirror, "it is knocked at", knocked);
    let (code, screen) = ask(&mirror, &[]);
    assert_eq!(code, Some(1));
    for words in ["DOWN     127.0.0.2::m1", "why: ", "do: ", "down for ", "no rsync was started: 127.0.0.2:"]
    {
        assert!(screen.contains(words), "{words}: {screen}");
    }
    let modules = [("m1".to_owned(), mirror.replicas[1].clone())];
    let _other = Daemon::start(&mirror.dir.join("other.conf"), OTHERHOST, mirror.port, &modules).unwrap();
    let (snapshot, code) = wait_told(&mirror, "it is up again", is_in_sync);
    assert_eq!(code, Some(0));
    assert!(snapshot.remotes[1].last_error.as_ref().is_some_and(|error| error.over));
}

/// A file cannot take the place of a directory with something in it where nothing may be deleted.
#[test]
fn a_path_in_quarantine() {
    let mut mirror = Mirror::new(Setup::plain().switch("delete", false));
    write(mirror.replica("bad/in the way"), "x");
    mirror.run();
    write(mirror.source("bad"), "a file");
    write(mirror.source("good"), "good");
    let (snapshot, code) =
        wait_told(&mirror, "a path in quarantine", |it| it.remotes[0].quarantine.paths == 1);
    assert_eq!((code, snapshot.remotes[0].health), (Some(1), Health::Failing));
    let first = &snapshot.remotes[0].quarantine.first[0];
    assert_eq!(first.path, "bad");
    assert!(first.attempts >= 3 && !first.reason.is_empty(), "{first:?}");
    let (_, screen) = ask(&mirror, &[]);
    assert!(screen.contains("FAILING") && screen.contains("- bad ("), "{screen}");
    fs::remove_dir_all(mirror.replica("bad")).unwrap();
    assert!(holds(mirror.replica("good"), "good"));
}

#[test]
fn held_deletions() {
    let brake = "<delete start=\"true\" guard=\"all\" maxDelete=\"5\" maxDeletePercent=\"0\"/>";
    let mut mirror = Mirror::new(Setup::exact().edit("<delete start=\"true\"/>", brake));
    for n in 0..20 {
        write(mirror.source(format!("dir/{n}")), "x");
    }
    mirror.run();
    wait_told(&mirror, "all is in sync", is_in_sync);
    fs::remove_dir_all(mirror.source("dir")).unwrap();
    let (snapshot, code) = wait_told(&mirror, "deletions are held", |it| it.trees[0].held_deletions > 0);
    assert_eq!((code, snapshot.remotes[0].health), (Some(1), Health::Held));
    let (_, screen) = ask(&mirror, &[]);
    assert!(screen.contains("HELD") && screen.contains("deletes list"), "{screen}");
}

#[test]
fn a_full_sync_under_way() {
    let mut mirror = Mirror::new(Setup::plain().params("-art --bwlimit=1500").flags(&["-r"]));
    let mut noise = crate::support::random::Random(7);
    for n in 0..60 {
        let bytes: Vec<u8> = (0..25_000).flat_map(|_| noise.next().to_le_bytes()).take(100_000).collect();
        write(mirror.source(format!("dir{}/{n}", n % 7)), bytes);
    }
    mirror.launch();
    let progress = |it: &Snapshot| {
        let flight = it.remotes[0].in_flight.iter().find(|flight| flight.work == "full").cloned()?;
        flight.progress.filter(|progress| progress.percent.is_some_and(|percent| percent < 100.0))
    };
    let mut seen = None;
    wait_until("progress is told", LATER, || {
        // The socket comes before the first child.
        let (_, text) = ask(&mirror, &["--json"]);
        seen = serde_json::from_str(&text).ok().filter(|it| progress(it).is_some());
        seen.is_some()
    });
    let snapshot: Snapshot = seen.unwrap();
    let progress = progress(&snapshot).unwrap();
    assert!(progress.bytes > 0 && progress.files > 0 && progress.checked <= progress.entries, "{progress:?}");
    assert!(snapshot.health >= Health::Behind && snapshot.remotes[0].full_sync.owed_since.is_some());
    let (code, screen) = ask(&mirror, &[]);
    assert!(code == Some(1) && screen.contains("full sync for ") && screen.contains("%, "), "{screen}");
    let (snapshot, _) = wait_told(&mirror, "it is over", |it| it.remotes[0].full_sync.done == 1);
    // What it was asked for last, a second before its end or less.
    let bytes = snapshot.remotes[0].bytes;
    assert!((progress.bytes..=6_000_000).contains(&bytes), "{bytes}");
    assert!(snapshot.remotes[0].in_flight.is_empty());
    // Nothing of it in a log.
    assert!(!mirror.log().contains("to-chk") && !mirror.log().contains("%, "), "{}", mirror.log());
}

#[test]
fn nobody_runs() {
    let mut mirror = Mirror::new(Setup::plain());
    let (code, text) = ask(&mirror, &[]);
    assert_eq!(code, Some(69), "{text}");
    mirror.run();
    assert_eq!(wait_told(&mirror, "all is in sync", is_in_sync).1, Some(0));
    assert_eq!(ask(&mirror, &["word"]).0, Some(64));
    mirror.supervisor().signal(Signal::SIGTERM);
    mirror.supervisor().wait_end(SOON);
    assert_eq!(ask(&mirror, &[]).0, Some(69));
}

/// They are given up, and nobody else waits for them.
#[test]
fn two_hundred_slow_clients() {
    let place = tempfile::tempdir().unwrap();
    let socket = place.path().join("status");
    let element = format!("<status socket=\"{}\"/>", socket.display());
    let mirror = Mirror::start(
        Setup::plain().edit("<head version=\"2.5\">\n", format!("<head version=\"2.5\">\n{element}")),
    );
    let slow: Vec<UnixStream> = (0..200).map(|_| UnixStream::connect(&socket).unwrap()).collect();
    for n in 0..20 {
        write(mirror.source("file"), format!("{n}"));
        wait_until("a change arrives", SOON, || holds(mirror.replica("file"), format!("{n}")));
    }
    let start = Instant::now();
    wait_told(&mirror, "all is in sync", is_in_sync);
    assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
    drop(slow);
}

/// By default the supervisor's own and root; with a group, those too.
#[test]
fn who_may_read_it() {
    if !is_root() {
        return;
    }
    let place = tempfile::tempdir().unwrap();
    fs::set_permissions(place.path(), Permissions::from_mode(0o755)).unwrap();
    let program = place.path().join("sersync-supervisor");
    fs::copy(env!("CARGO_BIN_EXE_sersync-supervisor"), &program).unwrap();
    let socket = place.path().join("status");
    let element = format!("<status socket=\"{}\" mode=\"0660\" group=\"54321\"/>", socket.display());
    let mirror = Mirror::start(
        Setup::plain().edit("<head version=\"2.5\">\n", format!("<head version=\"2.5\">\n{element}")),
    );
    let ask_as = |uid, gid, socket: &Path| {
        let mut command = Command::new(&program);
        command.args(["status", "--json", "--socket"]).arg(socket).uid(uid).gid(gid).env_clear();
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status().unwrap().code()
    };
    wait_told(&mirror, "all is in sync", is_in_sync);
    assert_eq!(ask_as(54_320, 54_321, &socket), Some(0));
    assert_eq!(ask_as(54_320, 54_320, &socket), Some(77));
    let private = Mirror::start(Setup::plain());
    assert!(ask(&private, &["--json"]).0 <= Some(1));
    let metadata = fs::metadata(&private.config).unwrap();
    let usual: Vec<PathBuf> = supervisor::runtime::status_sockets(&private.config, &metadata);
    assert!(usual.iter().any(|path| path.exists()));
    assert!(usual.iter().all(|path| matches!(ask_as(54_320, 54_321, path), Some(69 | 77))));
}

/// It goes on while the supervisor is away, and ends with a signal.
#[test]
fn watched_each_second() {
    let mut mirror = Mirror::start(Setup::plain());
    wait_told(&mirror, "all is in sync", is_in_sync);
    let mut command = crate::support::supervisor::command(&mirror);
    command.args(["status", "--watch", "--json", "-o"]).arg(&mirror.config);
    let mut watching =
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(watching.stdout.take().unwrap()).lines();
    let mut next = || serde_json::from_str::<Snapshot>(&lines.next().unwrap().unwrap()).unwrap();
    let first = next();
    assert!(next().at > first.at);
    mirror.supervisor().signal(Signal::SIGTERM);
    mirror.supervisor().wait_end(SOON);
    mirror.run();
    let pid = mirror.supervisor().pid();
    let end = Instant::now() + LATER;
    while next().supervisor.pid.cast_signed() != pid {
        assert!(Instant::now() < end, "it does not see the new one");
    }
    kill(Pid::from_raw(watching.id().cast_signed()), Signal::SIGINT).unwrap();
    assert_eq!(watching.wait().unwrap().code(), Some(0));
    let mut complaints = String::new();
    watching.stderr.take().unwrap().read_to_string(&mut complaints).unwrap();
    assert!(
        complaints
            .lines()
            .all(|line| line.contains("no supervisor runs") || line.contains("does not answer")),
        "{complaints}"
    );
}
