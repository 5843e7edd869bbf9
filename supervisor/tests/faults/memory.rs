//! A remote that is down while very much changes costs bounded memory, and gets it in one pass.

use std::fs;
use std::time::Instant;

use nix::sys::signal::Signal;

use crate::ground::{RECOVERED, exact, known, sized};
use crate::support::proxy::Proxy;
use crate::support::random::Random;
use crate::support::{processes, write};

/// What the supervisor and the others may use at most, in KiB.
const SUPERVISOR: u64 = 64 << 10;
const ROLE: u64 = 256 << 10;

fn peak(pid: i32) -> u64 {
    let text = processes::status(pid, "VmHWM").unwrap_or_default();
    text.trim_end_matches(" kB").parse().unwrap_or(0)
}

#[test]
fn a_remote_down_under_a_flood() {
    let paths = sized("FLOOD_PATHS", 20_000, 200_000);
    let changes = sized("FLOOD_CHANGES", 60_000, 1_000_000);
    let mut mirror = known(exact(), |root| {
        for n in 0..paths {
            write(root.join(format!("dir{}/file{n}", n / 200)), "1");
        }
    });
    let proxy = Proxy::new(mirror.port);
    mirror.stop();
    mirror.port = proxy.port;
    mirror.reconfigure();
    mirror.daemon.end(Signal::SIGTERM);
    mirror.run();
    let (mut random, began) = (Random(1), Instant::now());
    for n in 0..changes {
        let path = mirror.source(format!("dir{}/file{}", (n % paths) / 200, n % paths));
        // Each of them many times; each path at least once.
        match random.below(4) {
            0 => drop(
                fs::rename(&path, mirror.source("dir0/between"))
                    .and_then(|()| fs::rename(mirror.source("dir0/between"), &path)),
            ),
            1 => drop(fs::remove_file(&path)),
            _ => fs::write(&path, n.to_string()).unwrap(),
        }
    }
    eprintln!("flood: changes={changes} paths={paths} took {:?}", began.elapsed());
    write(mirror.source("last"), "last");
    // Everything is seen before it is measured.
    let flushed = mirror.ask(&["wait", "--timeout", "2"]);
    assert_eq!(flushed.0, Some(1), "{}", flushed.1);
    let supervisor = mirror.supervisor().pid();
    let used = peak(supervisor);
    eprintln!("flood: VmHWM supervisor={used} kB");
    let mut roles = Vec::new();
    for name in ["watcher", "keeper", "syncer0"] {
        for pid in mirror.supervisor().children(name) {
            roles.push((name, peak(pid)));
        }
    }
    eprintln!("flood: VmHWM {roles:?} kB");
    assert!(used > 0 && used < SUPERVISOR, "the supervisor used {used} kB");
    assert!(roles.iter().all(|&(_, used)| used < ROLE), "{roles:?}");
    let began = Instant::now();
    mirror.daemon.again();
    let arrived = mirror.ask(&["wait", "--timeout", "180"]);
    assert_eq!(arrived.0, Some(0), "{}", arrived.1);
    mirror.wait_equal(RECOVERED);
    mirror.settle();
    let sent = proxy.bytes();
    eprintln!(
        "flood: equal after {:?}, sent {sent} bytes in {} connections",
        began.elapsed(),
        proxy.connections()
    );
    // Each path once: its name, what it holds, and what rsync says about both.
    assert!(sent < paths * 250 + 1_000_000, "{sent} bytes for {paths} paths");
    let used = peak(supervisor);
    eprintln!("flood: VmHWM supervisor={used} kB when it is over");
    assert!(used < SUPERVISOR, "the supervisor used {used} kB");
}
