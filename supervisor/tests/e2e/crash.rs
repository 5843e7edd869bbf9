//! Whatever is killed or stopped, the mirror goes on. `SEED` repeats a run, `CRASH_OPS` makes
//! it longer.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::fs;
use std::os::unix::process::CommandExt;
use std::process::Stdio;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::support::churn::Churn;
use crate::support::random::{Random, seed};
use crate::support::supervisor::{self, Supervisor};
use crate::support::{
    LOCALHOST, Mirror, Over, SOON, Setup, holds, pause, processes, scale, wait_until, write,
};
use nix::sys::signal::{Signal, kill, killpg};
use nix::unistd::Pid;

/// The pause before a restart doubles with each death, up to half a minute; so does that before
/// a retry.
const RECOVERED: Duration = Duration::from_mins(3);
/// From one kill to the next.
const INTERVAL: Duration = Duration::from_millis(500);

/// Churns while children named `victims` are killed or stopped, and returns the log.
fn churn_under_fire(victims: &str, changes: u64) -> String {
    let mut mirror = Mirror::new(Setup::exact().remotes(&[LOCALHOST, LOCALHOST]));
    let seed = seed();
    let mut churn = Churn::new(&mirror.source(""), seed);
    churn.run(200, |_| {});
    mirror.run();
    let (supervisor, over) = (mirror.supervisor().pid(), AtomicBool::new(false));
    let shots = thread::scope(|scope| {
        let shooter = scope.spawn(|| shoot(supervisor, victims, Random(seed), &over));
        let over = Over(&over);
        let spread = Duration::from_secs(9) / u32::try_from(changes).unwrap().min(3000);
        churn.run(changes, |_| pause(spread));
        drop(over);
        shooter.join().unwrap()
    });
    eprintln!("{victims}: {shots} shots");
    assert!(shots > 5, "only {shots} shots");
    mirror.wait_equal(RECOVERED);
    mirror.settle();
    mirror.wait_equal(RECOVERED);
    let log = mirror.log();
    // It says what happened, briefly.
    let lines = log.lines().count();
    assert!(lines < 300 + 20 * shots, "{lines} lines for {shots} shots");
    log
}

/// Kills or stops one child at a time.
fn shoot(supervisor: i32, victims: &str, mut random: Random, over: &AtomicBool) -> usize {
    let mut shots = 0;
    while !over.load(Ordering::Relaxed) {
        let next = Instant::now() + INTERVAL;
        let mut children = processes::roles(supervisor, "");
        let is_victim = |pid: &i32| processes::command(*pid).starts_with(victims);
        children.retain(is_victim);
        if let Some(&victim) = random.of(&children) {
            let signal = if random.once_in(3) { Signal::SIGSTOP } else { Signal::SIGKILL };
            shots += usize::from(kill(Pid::from_raw(victim), signal).is_ok());
        }
        while Instant::now() < next && !over.load(Ordering::Relaxed) {
            pause(Duration::from_millis(10));
        }
    }
    shots
}

fn count(log: &str, words: &[&str]) -> usize {
    log.lines().filter(|line| words.iter().all(|word| line.contains(word))).count()
}

#[test]
fn any_child_may_die_at_any_time() {
    let log = churn_under_fire("sersync: ", scale("CRASH_OPS", 3000));
    let deaths = count(&log, &["child died", "role=watcher"]);
    let rescans = count(&log, &["rescan tree="]);
    assert!(rescans <= deaths, "{rescans} rescans for {deaths} deaths of the watcher");
}

#[test]
fn the_death_of_a_syncer_costs_no_rescan() {
    let log = churn_under_fire("sersync: syncer", scale("CRASH_OPS", 3000) / 2);
    assert!(count(&log, &["child died", "role=syncer"]) > 0);
    assert_eq!(count(&log, &["child died", "role=watcher"]), 0);
    assert_eq!(count(&log, &["rescan tree="]), 0);
    let full_syncs = count(&log, &["full sync done"]);
    // One for each remote, at start; one that met files on the move says so and comes later.
    assert!(full_syncs <= 2, "{full_syncs}");
}

/// A removal waits for a remote that is down, and goes when the same name holds something else, of which
/// no watcher ever hears: it was sent, and nobody knew its name.
#[test]
fn what_was_sent_while_nobody_watched_goes_too() {
    let mut mirror = Mirror::start(Setup::plain());
    for file in ["d/old", "x", "stays"] {
        write(mirror.source(file), "old");
    }
    mirror.wait_equal(SOON);
    mirror.daemon.end(Signal::SIGKILL);
    fs::remove_dir_all(mirror.source("d")).unwrap();
    fs::remove_file(mirror.source("x")).unwrap();
    mirror.wait_logged("remote down");
    // Each death makes the next start later: after these it is seconds away.
    let supervisor = mirror.supervisor().pid();
    for deaths in 1..=5 {
        wait_until("a watcher lives", RECOVERED, || !processes::roles(supervisor, "watcher").is_empty());
        for pid in processes::roles(supervisor, "watcher") {
            let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
        }
        let died = || count(&mirror.log(), &["child died", "role=watcher"]) >= deaths;
        wait_until("its death is known", RECOVERED, died);
    }
    write(mirror.source("d/new"), "new");
    write(mirror.source("x"), "new");
    mirror.daemon.again();
    wait_until("it is sent", RECOVERED, || {
        holds(mirror.replica("d/new"), "new") && holds(mirror.replica("x"), "new")
    });
    fs::remove_dir_all(mirror.source("d")).unwrap();
    fs::remove_file(mirror.source("x")).unwrap();
    mirror.wait_equal(RECOVERED);
}

/// A transfer that takes minutes, and is under way.
fn busy() -> Mirror {
    // One that waits for work is replaced when its turn comes, which these tests do not wait for.
    let setup = Setup::plain().params("-art --bwlimit=100");
    let setup = setup.edit("<sersync>", "<warm start=\"false\"/><sersync>");
    let mut mirror = Mirror::start(setup);
    write(mirror.source("large"), vec![b'x'; 40_000_000]);
    let supervisor = mirror.supervisor().pid();
    wait_until("rsync runs", SOON, || !rsyncs(supervisor).is_empty());
    mirror
}

fn rsyncs(supervisor: i32) -> Vec<i32> {
    let of_supervisor = processes::descendants(supervisor).into_iter();
    of_supervisor.filter(|process| process.command.contains("bwlimit")).map(|process| process.pid).collect()
}

#[test]
fn an_rsync_that_is_killed_or_stopped_is_replaced() {
    let mut mirror = busy();
    let supervisor = mirror.supervisor().pid();
    for signal in [Signal::SIGKILL, Signal::SIGSTOP, Signal::SIGTERM] {
        let old = rsyncs(supervisor);
        for &pid in &old {
            kill(Pid::from_raw(pid), signal).unwrap();
        }
        wait_until("another rsync runs", SOON, || {
            let new = rsyncs(supervisor);
            !new.is_empty() && !new.iter().any(|pid| old.contains(pid))
        });
    }
    assert_eq!(mirror.logged("child died"), 0, "{}", mirror.log());
}

/// Fails unless all of `family` are gone within a second.
fn expect_gone(family: &[processes::Process]) {
    let end = Instant::now() + Duration::from_secs(1);
    loop {
        let left: Vec<_> = family.iter().filter(|process| processes::lives(process.pid)).collect();
        if left.is_empty() {
            return;
        }
        assert!(Instant::now() < end, "still there: {left:#?}");
        pause(Duration::from_millis(10));
    }
}

#[test]
fn nothing_outlives_the_supervisor() {
    for signal in [Signal::SIGKILL, Signal::SIGABRT] {
        let mut mirror = busy();
        let family = processes::descendants(mirror.supervisor().pid());
        assert!(family.len() >= 3, "{family:?}");
        mirror.supervisor().signal(signal);
        expect_gone(&family);
    }
}

#[test]
fn a_term_drains() {
    for round in 0..5 {
        let mut mirror = Mirror::start(Setup::plain().remotes(&[LOCALHOST, LOCALHOST]));
        let supervisor = mirror.supervisor().pid();
        write(mirror.source("old"), "to be removed");
        mirror.wait_equal(SOON);
        fs::remove_file(mirror.source("old")).unwrap();
        write(mirror.source("last"), format!("just before the signal, {round}"));
        mirror.supervisor().signal(Signal::SIGTERM);
        let status = mirror.supervisor().wait_end(SOON);
        assert_eq!(status.code(), Some(0));
        for replica in 0..2 {
            assert_eq!(mirror.difference(replica), Vec::<String>::new(), "replica{replica}, round {round}");
        }
        assert!(holds(mirror.replica("last"), format!("just before the signal, {round}")));
        assert!(processes::descendants(supervisor).is_empty());
    }
}

#[test]
fn a_second_term_ends_at_once() {
    let mut mirror = busy();
    let family = processes::descendants(mirror.supervisor().pid());
    mirror.supervisor().signal(Signal::SIGTERM);
    mirror.wait_logged("stopping");
    assert!(mirror.supervisor().ended().is_none(), "it drains");
    mirror.supervisor().signal(Signal::SIGTERM);
    assert_eq!(mirror.supervisor().wait_end(Duration::from_secs(2)).code(), Some(0));
    expect_gone(&family);
}

/// The watcher ended with it, and a new one had to find what happened meanwhile.
#[test]
fn what_ends_the_whole_group_is_for_the_supervisor() {
    for signal in [Signal::SIGTERM, Signal::SIGINT] {
        let mut mirror = Mirror::new(Setup::plain());
        let log = mirror.dir.join("log");
        let output = fs::File::create(&log).unwrap();
        let mut command = supervisor::command(&mirror);
        command.args(mirror.setup.arguments(&mirror.config)).process_group(0).stdin(Stdio::null());
        command.stdout(output.try_clone().unwrap()).stderr(output);
        mirror.adopt(Supervisor::of(command.spawn().unwrap(), &log));
        mirror.supervisor().wait_watching(1);
        // The stop takes as long as the remote does not answer.
        mirror.daemon.signal(Signal::SIGSTOP);
        write(mirror.source("f"), "1");
        pause(Duration::from_millis(500));
        let roles = |mirror: &mut Mirror| {
            [mirror.supervisor().child("watcher"), mirror.supervisor().child("syncer0")]
        };
        let before = roles(&mut mirror);
        killpg(Pid::from_raw(mirror.supervisor().pid()), signal).unwrap();
        mirror.wait_logged("stopping: sending what is pending");
        pause(Duration::from_secs(1));
        assert_eq!(roles(&mut mirror), before, "{signal}");
        mirror.daemon.signal(Signal::SIGCONT);
        assert_eq!(mirror.supervisor().wait_end(SOON).code(), Some(0), "{}", mirror.log());
        assert!(holds(mirror.replica("f"), "1"));
        assert_eq!(mirror.logged("nobody watched for a while"), 0, "{}", mirror.log());
    }
}
