//! Many remotes: what a host may have at once, and bandwidth that all of them share.
#![allow(clippy::indexing_slicing, clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::fs;
use std::net::TcpListener;
use std::time::{Duration, Instant};

use crate::support::daemon::OTHERHOST;
use crate::support::random::Random;
use crate::support::{LOCALHOST, Mirror, SOON, Setup, holds, wait_until, write};
use nix::sys::signal::Signal;

/// By when a hundred transfers have gone through few places, however busy the machine is.
const ALL_SERVED: Duration = Duration::from_mins(2);

/// Twenty modules of a daemon that refuses more than a few connections, and one that hangs. With a limit
/// below that of the daemon nobody is ever refused, and all get everything.
#[test]
fn a_host_gets_no_more_connections_than_it_may_have() {
    let mut hosts = vec![LOCALHOST; 20];
    hosts.push(OTHERHOST);
    let setup = Setup::plain()
        .remotes(&hosts)
        .flags(&["-n", "20"])
        .edit("</head>", "<connections perHost=\"4\"/></head>");
    let mut mirror = Mirror::new(setup);
    // Its processes are gone a moment after the transfer that they served: it gets four more. All modules
    // have one lock, and so one count.
    let limit = format!("max connections = 8\nlock file = {}", mirror.dir.join("lock").display());
    mirror.daemon.edit(|text| text.replace("max connections = 0", &limit));
    // Accepted by the kernel, and never answered.
    let hole = TcpListener::bind((OTHERHOST, mirror.port)).unwrap();
    mirror.run();
    for round in 0..5 {
        for n in 0..20 {
            write(mirror.source(format!("dir{n}/file{round}")), format!("{round} {n}"));
        }
        let last = format!("dir19/file{round}");
        let there = |n: usize| holds(mirror.replicas[n].join(&last), format!("{round} 19"));
        wait_until("all that answer have it", ALL_SERVED, || (0..20).all(there));
    }
    for n in 0..20 {
        mirror.wait_difference(n, &[], SOON);
    }
    let refused = mirror.log().lines().filter(|line| line.contains("remote down remote=127.0.0.1")).count();
    assert_eq!(refused, 0, "{}", mirror.log());
    drop(hole);
}

/// The test above can fail: without our limit the daemon's own is met.
#[test]
fn without_the_limit_the_daemon_refuses() {
    let setup = Setup::plain().remotes(&[LOCALHOST; 20]).flags(&["-n", "20"]);
    let mut mirror = Mirror::new(setup);
    let limit = format!("max connections = 2\nlock file = {}", mirror.dir.join("lock").display());
    mirror.daemon.edit(|text| text.replace("max connections = 0", &limit));
    mirror.run();
    for n in 0..20 {
        write(mirror.source(format!("file{n}")), "x");
    }
    mirror.wait_logged("remote down remote=127.0.0.1");
}

/// How long it takes until two remotes have a file of 300 KiB that cannot be compressed.
fn time_to_send(mirror: &Mirror, name: &str) -> Duration {
    let mut random = Random(name.len().try_into().unwrap());
    let content: Vec<u8> = (0..300 << 10).map(|_| random.below(256).try_into().unwrap()).collect();
    let begin = Instant::now();
    write(mirror.source(name), &content);
    let there = |n: usize| holds(mirror.replicas[n].join(name), &content);
    wait_until("both have it", ALL_SERVED, || there(0) && there(1));
    begin.elapsed()
}

/// Two remotes share 200 KiB a second: 600 KiB take three seconds, and with SIGHUP no time at all.
#[test]
fn bandwidth_is_shared_until_a_reload_lifts_the_limit() {
    let limit = "<bandwidth limit=\"none\"><hours from=\"0\" to=\"24\" limit=\"200k\"/></bandwidth></head>";
    let setup = Setup::plain().remotes(&[LOCALHOST; 2]).edit("</head>", limit);
    let mut mirror = Mirror::start(setup);
    mirror.settle();
    let slow = time_to_send(&mirror, "slow");
    assert!(slow >= Duration::from_millis(1500), "{slow:?}");
    let text = fs::read_to_string(&mirror.config).unwrap();
    fs::write(&mirror.config, text.replace("limit=\"200k\"", "limit=\"none\"")).unwrap();
    mirror.supervisor().signal(Signal::SIGHUP);
    mirror.wait_logged("reloaded config=");
    assert_eq!(mirror.logged("remotes_changed=0 remotes_kept=2"), 1, "{}", mirror.log());
    let fast = time_to_send(&mirror, "fast");
    assert!(fast < slow / 2, "{fast:?} after {slow:?}");
}
