//! A role that was taken over: it cannot stop, block, crash, grow or deceive the supervisor,
//! and the other roles go on.
//!
//! This test is its own supervisor: a copy of its image beside a file `mode` runs as one, and
//! so its roles (`/proc/self/exe`) are this image too. The file says which role misbehaves and
//! how; every other role is the real one. See [`roles`] for what they do.

#![allow(clippy::indexing_slicing, clippy::unwrap_used, reason = "a test that cannot go on fails")]

#[path = "hostile/roles.rs"]
mod roles;
mod support;

use std::collections::VecDeque;
use std::ffi::OsString;
use std::fs;
use std::panic::catch_unwind;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Mutex;
use std::thread;
use std::time::{Duration, Instant};

use support::{
    LOCALHOST, Listener, Manner, Mirror, SOON, Setup, holds, is_root, processes, wait_until, write,
};

/// By when a change must have reached the honest remote, whatever the other one's syncer does.
const PROMPTLY: Duration = Duration::from_secs(4);

/// What is to be seen of a hostile role.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Expect {
    /// A line that says `violation`, with these words.
    Violation(&'static str),
    /// A line with these words.
    Line(&'static str),
    /// Nothing: it is allowed to be like this.
    Nothing,
}

/// Role, what it does, and what is seen of it.
const SCENARIOS: &[(&str, &str, Expect)] = {
    use Expect::{Line, Nothing, Violation};
    &[
        // What takes long comes first: it ignores everything, it never says hello.
        ("syncer0", "deaf", Line("restarting it")),
        ("syncer0", "never-come", Line("restarting it")),
        ("plugin-socket", "deaf", Line("restarting it")),
        // Frames before anything was agreed.
        ("syncer0", "early garbage", Violation("does not decode")),
        ("syncer0", "early length-too-long", Violation("frame ")),
        ("syncer0", "early length-huge", Violation("frame ")),
        ("syncer0", "early length-negative", Violation("frame ")),
        ("syncer0", "early four-bytes", Violation("frame ")),
        ("syncer0", "early eight-bytes", Violation("frame ")),
        ("syncer0", "early oversize", Violation("too long")),
        ("syncer0", "early beat", Violation("before it was ready")),
        ("syncer0", "early empty", Nothing),
        ("syncer0", "early descriptors", Violation("before it was ready")),
        // The same once it is trusted with work.
        ("syncer0", "late garbage", Violation("does not decode")),
        ("syncer0", "late length-too-long", Violation("frame ")),
        ("syncer0", "late length-huge", Violation("frame ")),
        ("syncer0", "late length-negative", Violation("frame ")),
        ("syncer0", "late four-bytes", Violation("frame ")),
        ("syncer0", "late eight-bytes", Violation("frame ")),
        ("syncer0", "late oversize", Violation("too long")),
        ("syncer0", "late changes", Violation("frame ")),
        ("syncer0", "late empty", Nothing),
        ("syncer0", "late descriptors", Nothing),
        // Reports out of turn.
        ("syncer0", "ready-twice", Violation("ready twice")),
        ("syncer0", "unasked", Violation("not given")),
        ("syncer0", "wrong-ticket", Violation("not given")),
        ("syncer0", "done-twice", Violation("not given")),
        ("syncer0", "unconfined", Violation("confinement")),
        // Too much, too little.
        ("syncer0", "beats", Nothing),
        ("syncer0", "lines", Line("it logs too much")),
        ("syncer0", "endless-line", Nothing),
        ("syncer0", "forgery", Line("forged")),
        ("syncer0", "deaf-beating", Nothing),
        ("syncer0", "hang-up", Nothing),
        ("syncer0", "stop", Line("was stopped")),
        ("syncer0", "exit-at-once", Line("restarting it")),
        ("syncer0", "exit-when-ready", Line("restarting it")),
        // A plugin.
        ("plugin-socket", "early garbage", Violation("does not decode")),
        ("plugin-socket", "late oversize", Violation("too long")),
        ("plugin-socket", "ready-twice", Violation("ready twice")),
        ("plugin-socket", "unasked", Violation("not given")),
        ("plugin-socket", "wrong-ticket", Violation("not given")),
        ("plugin-socket", "done-twice", Violation("not given")),
        ("plugin-socket", "too-many-verdicts", Violation("not given")),
        ("plugin-socket", "forgery", Line("forged")),
        ("plugin-socket", "beats", Nothing),
        ("plugin-socket", "exit-when-ready", Line("restarting it")),
        // The watcher.
        ("watcher", "unknown-tree", Violation("tree that does not exist")),
        ("watcher", "dot-dot", Violation("does not decode")),
        ("watcher", "late garbage", Violation("does not decode")),
        ("watcher", "early oversize", Violation("too long")),
        ("watcher", "ready-twice", Violation("ready twice")),
        ("watcher", "rescans", Line("rescan tree=")),
    ]
};

fn main() -> ExitCode {
    let arguments: Vec<OsString> = std::env::args_os().collect();
    let image = std::env::current_exe().unwrap_or_default();
    if let Ok(mode) = fs::read_to_string(image.with_file_name("mode")) {
        return roles::enter(&mode, arguments).into();
    }
    let words: Vec<String> =
        arguments.iter().skip(1).map(|word| word.to_string_lossy().into_owned()).collect();
    if words.iter().any(|word| word == "--list") {
        return ExitCode::SUCCESS;
    }
    let wanted = |name: &str| words.iter().all(|word| word.starts_with('-') || name.contains(word));
    run(SCENARIOS.iter().filter(|(role, mode, _)| wanted(&format!("{role} {mode}"))).copied().collect())
}

/// Runs scenarios, a few at a time.
fn run(scenarios: VecDeque<(&'static str, &'static str, Expect)>) -> ExitCode {
    let (all, failed) = (Mutex::new(scenarios), Mutex::new(Vec::new()));
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                loop {
                    let Some((role, mode, expect)) = all.lock().unwrap().pop_front() else { return };
                    let start = Instant::now();
                    let good = catch_unwind(|| survive(role, mode, expect)).is_ok();
                    let word = if good { "ok" } else { "FAILED" };
                    println!("test hostile {role} {mode} ... {word} ({:.1?})", start.elapsed());
                    if !good {
                        failed.lock().unwrap().push(format!("{role} {mode}"));
                    }
                }
            });
        }
    });
    let failed = failed.into_inner().unwrap();
    if failed.is_empty() {
        return ExitCode::SUCCESS;
    }
    println!("failed: {failed:#?}");
    ExitCode::FAILURE
}

/// A supervisor whose `role` behaves as `mode` says; the others go on.
fn survive(role: &str, mode: &str, expect: Expect) {
    if mode == "unconfined" && !is_root() {
        return;
    }
    let place = tempfile::Builder::new().prefix("sersync-hostile-").tempdir().unwrap();
    let mut setup = Setup::plain().remotes(&[LOCALHOST, LOCALHOST]);
    let told = Listener::new(Manner::Listens);
    if role == "plugin-socket" {
        let block = "<plugin name=\"socket\" timeout=\"1\"><localpath watch=\"@DIR@/source0\"><deshost ip=\"127.0.0.1\"";
        setup = setup.plugin("socket", &format!("{block} port=\"{}\"/></localpath></plugin>", told.port));
    }
    setup.program = copy_of_self(place.path());
    setup.expects_violations = true;
    let choose = |text: &str| fs::write(place.path().join("mode"), text).unwrap();
    choose(&format!("{role} {mode}"));
    let mut mirror = Mirror::new(setup);
    mirror.launch();
    if role == "watcher" {
        // Nothing is seen while it is like this; afterwards everything is.
        wait_seen(&mirror, expect);
        check(&mut mirror);
        choose("none");
        mirror.supervisor().wait_watching(1);
    } else {
        mirror.supervisor().wait_watching(1);
        expect_calm(&mut mirror, mode);
        wait_seen(&mirror, expect);
        choose("none");
    }
    if role == "watcher" || expect != Expect::Nothing {
        // It was replaced by an honest one: whatever was missed is made up for.
        write(mirror.source("recovered"), "recovered");
        let everywhere =
            || mirror.replicas.iter().all(|replica| holds(replica.join("recovered"), "recovered"));
        wait_until("all goes well again", Duration::from_mins(1), everywhere);
        let path = mirror.source("recovered").display().to_string();
        let heard = || role != "plugin-socket" || told.has(&path);
        wait_until("the plugin tells again", Duration::from_mins(1), heard);
    }
    check(&mut mirror);
    assert!(!mirror.log().lines().any(|line| line.starts_with("forged")), "a forged line");
}

/// The honest remote gets every change promptly.
fn goes_on(mirror: &mut Mirror) {
    for n in 0..5 {
        let text = format!("change {n} at {:?}", Instant::now());
        write(mirror.source("file"), &text);
        wait_until("the honest remote has it", PROMPTLY, || holds(mirror.replicas[1].join("file"), &text));
        check(mirror);
    }
}

/// Changes still arrive, and the supervisor is not kept busy by a role that says nothing.
fn expect_calm(mirror: &mut Mirror, mode: &str) {
    let pid = mirror.supervisor().pid();
    let (start, before) = (Instant::now(), processes::cpu_time(pid));
    while start.elapsed() < Duration::from_secs(1) {
        goes_on(mirror);
    }
    let used = processes::cpu_time(pid).saturating_sub(before);
    let noisy = ["beats", "lines", "endless-line"].contains(&mode);
    assert!(noisy || used < start.elapsed() / 2, "{used:?} of CPU within {:?}", start.elapsed());
}

/// The supervisor is alive, small, and brief.
fn check(mirror: &mut Mirror) {
    let ended = mirror.supervisor().ended();
    assert!(ended.is_none(), "the supervisor ended: {ended:?}");
    let pid = mirror.supervisor().pid();
    let rss = processes::status(pid, "VmRSS").unwrap();
    let kib: u64 = rss.trim_end_matches(" kB").parse().unwrap();
    assert!(kib < 64 << 10, "VmRSS {rss}");
    let descriptors = fs::read_dir(format!("/proc/{pid}/fd")).unwrap().count();
    assert!(descriptors < 64, "{descriptors} descriptors");
    let (lines, bytes) = (mirror.log().lines().count(), mirror.log().len());
    assert!(lines < 2500 && bytes < 1 << 20, "{lines} lines, {bytes} bytes of log");
    // Who has said one thing too many is killed and not listened to any more.
    let (violations, deaths) = (mirror.logged("violation role="), mirror.logged("restarting it"));
    assert!(violations <= deaths + 1, "{violations} violations, {deaths} deaths");
}

fn wait_seen(mirror: &Mirror, expect: Expect) {
    let words = match expect {
        Expect::Violation(what) => ["violation", what],
        Expect::Line(what) => [what, ""],
        Expect::Nothing => return,
    };
    let is_it = |line: &str| words.iter().all(|word| line.contains(word));
    wait_until(&format!("{words:?} in the log"), SOON, || mirror.log().lines().any(is_it));
}

fn copy_of_self(to: &Path) -> PathBuf {
    let copy = to.join("sersync-supervisor");
    fs::copy(std::env::current_exe().unwrap(), &copy).unwrap();
    copy
}
