//! One remote in trouble never delays another, and catches up by itself.
#![allow(clippy::indexing_slicing, clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::fs;
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::time::Duration;

use crate::support::daemon::OTHERHOST;
use crate::support::{Daemon, LOCALHOST, Mirror, SOON, Setup, exists, holds, wait_until, write};
use nix::sys::signal::Signal;

/// Far more than a change to a healthy remote takes, far less than any timeout or retry.
const PROMPTLY: Duration = Duration::from_secs(2);

/// Changes that must reach the first replica promptly: new, edited, renamed, removed.
fn changes_travel(mirror: &Mirror, round: &str) {
    changes_travel_within(PROMPTLY, mirror, round);
}

fn changes_travel_within(deadline: Duration, mirror: &Mirror, round: &str) {
    let (here, there) = (mirror.source(round), mirror.replica(round));
    for text in ["new", "edited", "edited again"] {
        write(here.join("file"), format!("{round} {text}"));
        wait_until("a change arrives", deadline, || holds(there.join("file"), format!("{round} {text}")));
    }
    fs::rename(here.join("file"), here.join("renamed")).unwrap();
    wait_until("a rename arrives", deadline, || !exists(there.join("file")) && exists(there.join("renamed")));
    fs::remove_file(here.join("renamed")).unwrap();
    wait_until("a removal arrives", deadline, || !exists(there.join("renamed")));
    write(here.join("kept"), round);
}

/// The lines about the second remote's state.
fn turns(mirror: &Mirror) -> Vec<String> {
    let is_turn = |line: &&str| line.contains("remote down ") || line.contains("remote up ");
    mirror.log().lines().filter(is_turn).filter(|line| line.contains("::m1")).map(str::to_owned).collect()
}

fn second_module(mirror: &Mirror) -> [(String, PathBuf); 1] {
    [("m1".to_owned(), mirror.replicas[1].clone())]
}

/// Brings the second remote up and waits until it has everything.
fn comes_back(mirror: &Mirror) -> Daemon {
    let config = mirror.dir.join("second.conf");
    let daemon = Daemon::start(&config, OTHERHOST, mirror.port, &second_module(mirror)).unwrap();
    mirror.wait_equal(SOON);
    mirror.wait_logged("remote up remote=127.0.0.2::m1");
    daemon
}

/// A server that accepts and never says a word.
struct Hole {
    listener: TcpListener,
    held: Vec<TcpStream>,
}

impl Hole {
    fn new(port: u16) -> Hole {
        let listener = TcpListener::bind((OTHERHOST, port)).unwrap();
        listener.set_nonblocking(true).unwrap();
        Hole { listener, held: Vec::new() }
    }

    /// How often somebody has come.
    fn tries(&mut self) -> usize {
        self.held.extend(self.listener.accept().map(|(stream, _)| stream));
        self.held.len()
    }
}

#[test]
fn one_is_unreachable_then_hangs_then_is_back() {
    let mut mirror = Mirror::start(Setup::plain().remotes(&[LOCALHOST, OTHERHOST]).timeout(2));
    changes_travel(&mirror, "unreachable");
    mirror.wait_logged("remote down remote=127.0.0.2::m1");

    let mut hole = Hole::new(mirror.port);
    wait_until("it is tried while it hangs", SOON, || hole.tries() >= 1);
    changes_travel(&mirror, "hangs");
    wait_until("it is tried again", SOON, || hole.tries() >= 2);
    changes_travel(&mirror, "still hangs");
    drop(hole);

    let daemon = comes_back(&mirror);
    let log = turns(&mirror);
    // One line for each state: not one for each try.
    let (down, up): (Vec<_>, Vec<_>) = log.iter().partition(|line| line.contains("remote down "));
    assert!(down.len() <= 2 && up.len() == 1, "{log:#?}");

    // Once more, and it is told once more.
    drop(daemon);
    changes_travel(&mirror, "down again");
    wait_until("it is down again", SOON, || turns(&mirror).len() == log.len() + 1);
    let _daemon = comes_back(&mirror);
    assert_eq!(turns(&mirror).len(), log.len() + 2, "{:#?}", turns(&mirror));
    mirror.settle();
    mirror.wait_equal(SOON);
}

#[test]
fn a_full_sync_waits_for_its_remote() {
    let mut mirror = Mirror::new(Setup::exact().remotes(&[LOCALHOST, OTHERHOST]));
    for n in 0..50 {
        write(mirror.source(format!("dir{}/file{n}", n % 7)), format!("{n}"));
        write(mirror.replicas[1].join(format!("theirs{n}")), "only there");
    }
    mirror.run();
    changes_travel(&mirror, "live");
    mirror.wait_difference(0, &[], SOON);
    let _daemon = comes_back(&mirror);
}

#[test]
fn a_module_that_does_not_exist_yet() {
    let mut mirror = Mirror::new(Setup::plain().remotes(&[LOCALHOST, OTHERHOST]));
    let config = mirror.dir.join("second.conf");
    let daemon = Daemon::start(&config, OTHERHOST, mirror.port, &[]).unwrap();
    mirror.run();
    changes_travel(&mirror, "refused");
    mirror.wait_logged("remote down remote=127.0.0.2::m1");
    let line = turns(&mirror).remove(0);
    assert!(line.contains("check module") && line.contains("Unknown module"), "{line}");
    daemon.add_modules(&second_module(&mirror));
    mirror.wait_equal(SOON);
    mirror.wait_logged("remote up remote=127.0.0.2::m1");
    assert_eq!(turns(&mirror).len(), 2, "{:#?}", turns(&mirror));
}

/// A hanging remote holds the only worker; the other one gets it all the same.
#[test]
fn one_worker_is_enough() {
    let mut mirror = Mirror::new(Setup::plain().remotes(&[LOCALHOST, OTHERHOST]).flags(&["-n", "1"]));
    let mut hole = Hole::new(mirror.port);
    mirror.run();
    write(mirror.source("first"), "first");
    wait_until("it hangs", SOON, || hole.tries() >= 1);
    // Each transfer waits until the stuck one has had its second; a rename takes two.
    changes_travel_within(Duration::from_secs(5), &mirror, "one worker");
}

#[test]
fn a_term_does_not_wait_for_the_dead() {
    let mut mirror = Mirror::start(Setup::plain().remotes(&[LOCALHOST, OTHERHOST]));
    changes_travel(&mirror, "before");
    mirror.wait_logged("remote down remote=127.0.0.2::m1");
    write(mirror.source("last"), "last");
    mirror.supervisor().signal(Signal::SIGTERM);
    assert_eq!(mirror.supervisor().wait_end(Duration::from_secs(3)).code(), Some(0));
    assert!(holds(mirror.replica("last"), "last"));
    assert_eq!(mirror.logged("not sent remote=127.0.0.2::m1"), 1, "it says what is left");
}
