//! A role that was taken over: it cannot stop, block, crash, grow or deceive the supervisor,
//! and the other roles go on.
//!
//! This test is its own supervisor: a copy of its image beside a file `mode` runs as one, and
//! so its roles (`/proc/self/exe`) are this image too. The file says which role misbehaves and
//! how; every other role is the real one. See [`roles`] for what they do.

#![allow(clippy::indexing_slicing, clippy::unwrap_used, reason = "a test that cannot go on fails")]

#[path = "hostile/kept.rs"]
mod kept;
#[path = "hostile/roles.rs"]
mod roles;
mod support;

use std::collections::VecDeque;
use std::ffi::OsString;
use std::fs;
use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::panic::catch_unwind;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Mutex;
use std::thread;
use std::time::{Duration, Instant};

use support::daemon::free_port;
use support::{
    LOCALHOST, Listener, Manner, Mirror, SOON, Setup, holds, is_root, processes, wait_until, write,
};

/// By when a change must have reached the honest remote, whatever the other one's syncer does.
const PROMPTLY: Duration = Duration::from_secs(4);

/// By when one that stands behind hundreds of thousands of others must have.
const FLOODED: Duration = Duration::from_mins(2);

/// How many scenarios play at a time.
const AT_ONCE: usize = 6;

/// Floods of paths, which the remotes get as well.
const OF_PATHS: [&str; 3] = ["flood-changes", "flood-kept", "flood-finds"];

/// Fewest frames of a flood of seconds, on a busy machine.
const FEWEST: u64 = 100_000;

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
type Scenario = (&'static str, &'static str, Expect);

const SCENARIOS: &[Scenario] = {
    use Expect::{Line, Nothing, Violation};
    &[
        // What takes long comes first: it ignores everything, it never says hello.
        ("syncer0", "deaf", Line("restarting it")),
        ("syncer0", "never-come", Line("restarting it")),
        ("watcher", "never-come", Line("restarting it")),
        ("plugin-socket", "never-come", Line("restarting it")),
        ("plugin-socket", "deaf", Line("restarting it")),
        ("plugin-http", "deaf", Line("restarting it")),
        // Floods, for seconds: frames that mean something, descriptors, log lines.
        ("syncer0", "gigabyte", Line("it logs too much")),
        ("watcher", "gigabyte", Line("it logs too much")),
        ("plugin-socket", "gigabyte", Line("it logs too much")),
        ("syncer0", "flood-beats", Line("flood frames=")),
        ("watcher", "flood-beats", Line("flood frames=")),
        ("plugin-socket", "flood-beats", Line("flood frames=")),
        ("watcher", "flood-changes", Line("flood frames=")),
        ("syncer0", "flood-descriptors", Line("flood frames=")),
        ("watcher", "flood-descriptors", Line("flood frames=")),
        ("plugin-socket", "flood-descriptors", Line("flood frames=")),
        ("syncer0", "lines", Line("it logs too much")),
        ("syncer0", "endless-line", Nothing),
        // Reports out of turn.
        ("syncer0", "ready-twice", Violation("ready twice")),
        ("syncer0", "unasked", Violation("not given")),
        ("syncer0", "wrong-ticket", Violation("not given")),
        ("syncer0", "done-twice", Violation("not given")),
        ("syncer0", "progress-unasked", Violation("not given")),
        ("syncer0", "progress-nonsense", Violation("makes no sense")),
        ("syncer0", "progress-flood", Violation("makes no sense")),
        ("syncer0", "unconfined", Violation("confinement")),
        ("watcher", "unconfined", Violation("confinement")),
        ("plugin-socket", "unconfined", Violation("confinement")),
        // Too little.
        ("syncer0", "forgery", Line("forged")),
        ("syncer0", "deaf-beating", Nothing),
        ("syncer0", "hang-up", Nothing),
        ("syncer0", "stop", Line("was stopped")),
        ("syncer0", "exit-at-once", Line("restarting it")),
        ("syncer0", "exit-when-ready", Line("restarting it")),
        // A plugin.
        ("plugin-socket", "ready-twice", Violation("ready twice")),
        ("plugin-socket", "unasked", Violation("not given")),
        ("plugin-socket", "wrong-ticket", Violation("not given")),
        ("plugin-socket", "done-twice", Violation("not given")),
        ("plugin-socket", "too-many-verdicts", Violation("not given")),
        ("plugin-socket", "forgery", Line("forged")),
        ("plugin-socket", "deaf-beating", Nothing),
        ("plugin-socket", "exit-when-ready", Line("restarting it")),
        // The page.
        ("page", "never-come", Line("restarting it")),
        ("page", "gigabyte", Line("it logs too much")),
        ("page", "flood-beats", Line("flood frames=")),
        ("page", "flood-descriptors", Line("flood frames=")),
        ("page", "asks-without-end", Violation("more questions")),
        ("page", "asks-and-never-reads", Nothing),
        ("page", "spoils-its-sockets", Line("restarting it")),
        ("page", "ready-twice", Violation("ready twice")),
        ("page", "unconfined", Violation("confinement")),
        ("page", "forgery", Line("forged")),
        ("page", "exit-when-ready", Line("restarting it")),
        // The watcher.
        ("watcher", "unknown-tree", Violation("tree that does not exist")),
        ("watcher", "dot-dot", Violation("does not decode")),
        ("watcher", "outside", Violation("does not decode")),
        ("watcher", "absolute", Violation("does not decode")),
        ("watcher", "ready-twice", Violation("ready twice")),
        ("watcher", "look-unasked", Violation("not asked for")),
        ("watcher", "rescans", Line("rescan tree=")),
        ("watcher", "exit-when-ready", Line("restarting it")),
    ]
};

/// Those of which each frame is sent, before anything was agreed and after.
const ROLES: [&str; 5] = ["syncer0", "watcher", "plugin-socket", "keeper", "page"];
/// The other plugins are the same program, told otherwise: once each of them is trusted.
const PLUGINS: [&str; 3] = ["plugin-http", "plugin-refreshCDN", "plugin-command"];

/// The frames of `privsep.md` 1.1, with and without descriptors, early and late.
const FRAMES: &[(&str, &str, Expect)] = {
    use Expect::{Nothing, Violation};
    &[
        ("early garbage", "late garbage", Violation("does not decode")),
        ("early length-too-long", "late length-too-long", Violation("frame ")),
        ("early length-huge", "late length-huge", Violation("frame ")),
        ("early length-negative", "late length-negative", Violation("frame ")),
        ("early four-bytes", "late four-bytes", Violation("frame ")),
        ("early eight-bytes", "late eight-bytes", Violation("frame ")),
        ("early oversize", "late oversize", Violation("too long")),
        ("early foreign", "late foreign", Violation("frame ")),
        ("early fd-length-too-long", "late fd-length-too-long", Violation("frame ")),
        ("early fd-length-huge", "late fd-length-huge", Violation("frame ")),
        ("early fd-length-negative", "late fd-length-negative", Violation("frame ")),
        ("early fd-eight-bytes", "late fd-eight-bytes", Violation("frame ")),
        ("early fd-file", "late fd-file", Violation("frame ")),
        ("early empty", "late empty", Nothing),
    ]
};

/// All of them, those that take long first.
fn scenarios() -> Vec<Scenario> {
    let early = ROLES.iter().flat_map(|&role| {
        let valid = ["early beat", "early descriptors"];
        let valid = valid.map(|mode| (role, mode, Expect::Violation("before it was ready")));
        FRAMES.iter().map(move |&(early, _, expect)| (role, early, expect)).chain(valid)
    });
    let late = ROLES.iter().chain(&PLUGINS).flat_map(|&role| {
        let valid = [(role, "late descriptors", Expect::Nothing)];
        FRAMES.iter().map(move |&(_, late, expect)| (role, late, expect)).chain(valid)
    });
    kept::SCENARIOS.iter().chain(SCENARIOS).copied().chain(early).chain(late).collect()
}

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
    run(scenarios().into_iter().filter(|(role, mode, _)| wanted(&format!("{role} {mode}"))).collect())
}

/// Runs scenarios, a few at a time.
fn run(scenarios: VecDeque<Scenario>) -> ExitCode {
    let (all, failed) = (Mutex::new(scenarios), Mutex::new(Vec::new()));
    thread::scope(|scope| {
        for _ in 0..AT_ONCE {
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
    if let Some(name) = role.strip_prefix("plugin-") {
        setup = setup.plugin(name, &plugin(name, told.port));
    }
    let page = free_port();
    if role == "page" {
        let host = format!("<host hostip=\"127.0.0.1\" port=\"{page}\" start=\"true\"/></head>");
        setup = setup.edit("</head>", host);
    }
    setup.program = copy_of_self(place.path());
    setup.expects_violations = true;
    let choose = |text: &str| fs::write(place.path().join("mode"), text).unwrap();
    choose(&format!("{role} {mode}"));
    let mut mirror = Mirror::new(setup);
    kept::prepare(&mirror, mode);
    mirror.launch();
    if (role == "watcher" && !is_flood(mode)) || kept::is_seen_first(role, mode) {
        // Nothing is seen while it is like this, or while a start waits for it; afterwards everything is.
        wait_seen(&mirror, expect);
        check(&mut mirror, mode);
        choose("none");
        mirror.supervisor().wait_watching(1);
    } else {
        mirror.supervisor().wait_watching(1);
        if mode.starts_with("early") || mode.starts_with("late") {
            goes_on(&mut mirror, role, mode);
        } else {
            expect_calm(&mut mirror, role, mode);
        }
        wait_seen(&mirror, expect);
        choose("none");
    }
    if let Some(frames) = flooded(&mirror) {
        let most = processes::status(mirror.supervisor().pid(), "VmHWM").unwrap_or_default();
        println!("  {role} {mode}: frames={frames} supervisor={most}");
        // The page is the last one to get the CPU.
        let most = if role == "page" { FEWEST / 20 } else { FEWEST };
        assert!(frames > if mode == "flood-beats" { most } else { FEWEST / 1000 }, "{frames} frames");
    }
    if !is_flood(mode) && (role == "watcher" || expect != Expect::Nothing) {
        // It was replaced by an honest one: whatever was missed is made up for.
        write(mirror.source("recovered"), "recovered");
        let everywhere =
            || mirror.replicas.iter().all(|replica| holds(replica.join("recovered"), "recovered"));
        wait_until("all goes well again", Duration::from_mins(1), everywhere);
        let path = mirror.source("recovered").display().to_string();
        let heard = || role != "plugin-socket" || told.has(&path);
        wait_until("the plugin tells again", Duration::from_mins(1), heard);
        let served = || role != "page" || is_served(page);
        wait_until("the page is served again", Duration::from_mins(1), served);
    }
    kept::look(&mirror, mode);
    check(&mut mirror, mode);
    assert!(!mirror.log().lines().any(|line| line.starts_with("forged")), "a forged line");
}

/// Whether somebody gets an answer there.
fn is_served(port: u16) -> bool {
    let ask = || -> io::Result<String> {
        let mut socket = TcpStream::connect((LOCALHOST, port))?;
        socket.set_read_timeout(Some(Duration::from_secs(2)))?;
        socket.write_all(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")?;
        let mut answer = String::new();
        socket.read_to_string(&mut answer)?;
        Ok(answer)
    };
    ask().is_ok_and(|answer| answer.starts_with("HTTP/1.1 "))
}

/// It is at it for seconds, and then goes on as if nothing had been.
fn is_flood(mode: &str) -> bool {
    mode.starts_with("flood-") || mode == "gigabyte"
}

/// The block of a plugin that tells a listener, or nobody.
fn plugin(name: &str, port: u16) -> String {
    let inner = match name {
        "socket" => format!("<deshost ip=\"127.0.0.1\" port=\"{port}\"/>"),
        "http" => format!("<deshost url=\"http://127.0.0.1:{port}/\" port=\"{port}\"/>"),
        "refreshCDN" => format!(
            "<cdninfo domainname=\"127.0.0.1\" port=\"{port}\" username=\"user\" passwd=\"word\"/>\
             <sendurl base=\"http://pic\"/><regexurl regex=\"false\" match=\"x\"/>"
        ),
        _ => return "<plugin name=\"command\"><param prefix=\"/bin/true\" suffix=\"\"/></plugin>".to_owned(),
    };
    let watch = format!("<localpath watch=\"@DIR@/source0\">{inner}</localpath>");
    format!("<plugin name=\"{name}\" timeout=\"1\">{watch}</plugin>")
}

/// The honest remotes get every change promptly; both are, unless it is a syncer that was taken over.
fn goes_on(mirror: &mut Mirror, role: &str, mode: &str) {
    let honest = if role.starts_with("syncer") { 1.. } else { 0.. };
    for n in 0..5 {
        let deadline = match mode {
            // There the change itself comes through the flood, and waits for the paths before it: more than
            // 100,000, of which rsync deals with some thousands a second where other scenarios play too.
            _ if OF_PATHS.contains(&mode) => FLOODED,
            // A start waits some seconds for what was kept.
            _ if role == "keeper" && n == 0 => SOON,
            _ => PROMPTLY,
        };
        let text = format!("change {n} at {:?}", Instant::now());
        write(mirror.source("file"), &text);
        let everywhere =
            || mirror.replicas[honest.clone()].iter().all(|replica| holds(replica.join("file"), &text));
        wait_until("the honest remotes have it", deadline, everywhere);
        check(mirror, mode);
    }
}

/// Changes still arrive, and the supervisor is not kept busy by a role that says nothing.
fn expect_calm(mirror: &mut Mirror, role: &str, mode: &str) {
    let pid = mirror.supervisor().pid();
    let (start, before) = (Instant::now(), processes::cpu_time(pid));
    while start.elapsed() < Duration::from_secs(1) {
        goes_on(mirror, role, mode);
    }
    let used = processes::cpu_time(pid).saturating_sub(before);
    let noisy = is_flood(mode) || ["lines", "endless-line", "kept-without-end"].contains(&mode);
    assert!(noisy || used < start.elapsed() / 2, "{used:?} of CPU within {:?}", start.elapsed());
}

/// The supervisor is alive, small, and brief.
fn check(mirror: &mut Mirror, mode: &str) {
    let ended = mirror.supervisor().ended();
    assert!(ended.is_none(), "the supervisor ended: {ended:?}");
    let pid = mirror.supervisor().pid();
    let rss = processes::status(pid, "VmRSS").unwrap();
    let kib: u64 = rss.trim_end_matches(" kB").parse().unwrap();
    // Two remotes may have as many paths waiting as a backlog holds; nobody brings about more.
    let most = if OF_PATHS.contains(&mode) { 160 << 10 } else { 64 << 10 };
    assert!(kib < most, "VmRSS {rss}");
    let descriptors = fs::read_dir(format!("/proc/{pid}/fd")).unwrap().count();
    assert!(descriptors < 64, "{descriptors} descriptors");
    let (lines, bytes) = (mirror.log().lines().count(), mirror.log().len());
    assert!(lines < 2500 && bytes < 1 << 20, "{lines} lines, {bytes} bytes of log");
    // Who has said one thing too many is killed and not listened to any more.
    let (violations, deaths) = (mirror.logged("violation role="), mirror.logged("restarting it"));
    assert!(violations <= deaths + 1, "{violations} violations, {deaths} deaths");
}

/// How many frames a flood had, as its role says.
fn flooded(mirror: &Mirror) -> Option<u64> {
    let log = mirror.log();
    log.lines().find_map(|line| line.rsplit_once("flood frames=")?.1.parse().ok())
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
    let image = std::env::current_exe().unwrap();
    // It is a large one.
    fs::hard_link(&image, &copy).or_else(|_| fs::copy(&image, &copy).map(drop)).unwrap();
    copy
}
