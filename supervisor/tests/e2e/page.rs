//! The page from outside: what it serves, to whom, and that nobody who comes to it delays the mirror.
#![allow(clippy::indexing_slicing, clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::fs::{self, Permissions};
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use supervisor::status::{Health, Snapshot};

use crate::support::daemon::{OTHERHOST, free_port};
use crate::support::random::Random;
use crate::support::{LOCALHOST, Mirror, SOON, Setup, holds, is_root, processes, wait_until, write};

const LATER: Duration = Duration::from_mins(1);

/// With a page on that port, and what else is said of it.
fn with_page(setup: Setup, port: u16, attributes: &str) -> Setup {
    setup.edit("</head>", format!("<host start=\"true\" port=\"{port}\" {attributes}/></head>"))
}

/// What is answered to these bytes.
fn say(mut socket: impl Read + Write, request: &[u8]) -> io::Result<String> {
    socket.write_all(request)?;
    let mut answer = Vec::new();
    socket.read_to_end(&mut answer)?;
    String::from_utf8(answer).map_err(io::Error::other)
}

fn connect(port: u16) -> io::Result<TcpStream> {
    let socket = TcpStream::connect((LOCALHOST, port))?;
    socket.set_read_timeout(Some(SOON))?;
    Ok(socket)
}

fn get(port: u16, path: &str) -> io::Result<String> {
    say(connect(port)?, format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n").as_bytes())
}

fn body(answer: &str) -> &str {
    answer.split_once("\r\n\r\n").unwrap().1
}

fn wait_in_sync(port: u16) -> Snapshot {
    let mut found = None;
    wait_until("all is in sync on the page", LATER, || {
        let answer = get(port, "/status.json").ok();
        found = answer.and_then(|answer| serde_json::from_str::<Snapshot>(body(&answer)).ok());
        found.as_ref().is_some_and(|snapshot| snapshot.health == Health::InSync)
    });
    found.unwrap()
}

#[test]
fn served_and_truthful() {
    let port = free_port();
    let setup =
        Setup::plain().remotes(&[LOCALHOST, OTHERHOST]).edit("</head>", "<status start=\"false\"/></head>");
    let mut mirror = Mirror::start(with_page(setup, port, ""));
    write(mirror.source("a"), "a");
    let mut health = String::new();
    wait_until("one is down", LATER, || {
        health = get(port, "/healthz").unwrap();
        // Before it was tried, its tree may not have been watched.
        health.starts_with("HTTP/1.1 503") && health.contains("127.0.0.2::m1") && health.contains("is down")
    });
    let metrics = get(port, "/metrics").unwrap();
    assert!(
        metrics.contains("sersync_remote_up{") && metrics.contains("outcome=\"unreachable\"} "),
        "{metrics}"
    );
    let page = get(port, "/").unwrap();
    assert!(page.starts_with("HTTP/1.1 200") && page.ends_with("</html>\n"));
    // Killed, it is there again; who came meanwhile waited.
    let pid = mirror.supervisor().child("page");
    kill(Pid::from_raw(pid), Signal::SIGSTOP).unwrap();
    let waiting = connect(port).unwrap();
    // The supervisor ends a child that is stopped, and may have been faster.
    let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
    let answer = say(waiting, b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
    assert!(answer.starts_with("HTTP/1.1 503"), "{answer}");
    assert_ne!(mirror.supervisor().child("page"), pid);
    // Stopped, the supervisor answers nobody, and that is said.
    mirror.supervisor().signal(Signal::SIGSTOP);
    let is_said = |answer: &str| answer.starts_with("HTTP/1.1 503") && answer.contains("has not answered");
    wait_until("it says that nobody answers", SOON, || is_said(&get(port, "/healthz").unwrap()));
    assert!(is_said(&get(port, "/metrics").unwrap()));
    mirror.supervisor().signal(Signal::SIGCONT);
    wait_until("it answers again", SOON, || get(port, "/healthz").unwrap().contains("is down"));
}

/// As the original had it: printed, and nobody listens.
#[test]
fn off_by_default() {
    let port = free_port();
    let host = format!("<host hostip=\"0.0.0.0\" port=\"{port}\"/></head>");
    let mut mirror = Mirror::start(Setup::plain().edit("</head>", host));
    assert!(connect(port).is_err() && mirror.supervisor().children("page").is_empty());
}

#[test]
fn with_a_token_and_over_a_unix_socket() {
    let (port, place) = (free_port(), tempfile::tempdir().unwrap());
    let file = place.path().join("token");
    write(&file, "0123456789abcdef\n");
    fs::set_permissions(&file, Permissions::from_mode(0o600)).unwrap();
    let attributes = format!("hostip=\"0.0.0.0\" tokenFile=\"{}\"", file.display());
    let mut mirror = Mirror::start(with_page(Setup::plain(), port, &attributes));
    let ask = |authorization: &str| {
        let request = format!("GET /metrics HTTP/1.1\r\nHost: any.example\r\n{authorization}\r\n");
        say(connect(port).unwrap(), request.as_bytes()).unwrap()
    };
    assert!(ask("").starts_with("HTTP/1.1 401"));
    assert!(ask("Authorization: Bearer 0123456789abcdeF\r\n").starts_with("HTTP/1.1 401"));
    assert!(ask("Authorization: Bearer 0123456789abcdef\r\n").starts_with("HTTP/1.1 200"));
    mirror.supervisor().signal(Signal::SIGTERM);
    mirror.supervisor().wait_end(SOON);
    // A file that others may read is refused; one that is gone costs the page only.
    fs::set_permissions(&file, Permissions::from_mode(0o644)).unwrap();
    mirror.launch();
    let code = mirror.supervisor().wait_end(SOON).code();
    assert!(code == Some(78) && mirror.log().contains("tokenFile"), "{code:?} {}", mirror.log());
    fs::remove_file(&file).unwrap();
    mirror.run();
    assert!(mirror.log().contains("it is not served") && connect(port).is_err());

    let socket = place.path().join("page");
    let attributes = format!("socket=\"{}\" mode=\"0660\"", socket.display());
    let mirror = Mirror::start(with_page(Setup::plain(), port, &attributes));
    assert_eq!(fs::metadata(&socket).unwrap().mode() & 0o777, 0o660);
    let ask = || {
        let socket = UnixStream::connect(&socket)?;
        say(socket, b"GET /healthz HTTP/1.1\r\nHost: whatever\r\n\r\n")
    };
    wait_until("all is well", LATER, || ask().is_ok_and(|answer| answer.ends_with("\r\n\r\nok\n")));
    drop(mirror);
}

/// Milliseconds until each of so many edits is on the remote, in order.
fn delays(mirror: &Mirror, edits: usize) -> Vec<f64> {
    let mut delays: Vec<f64> = (0..edits)
        .map(|n| {
            let text = format!("{n} {:?}", Instant::now());
            let start = Instant::now();
            write(mirror.source("file"), &text);
            while !holds(mirror.replica("file"), &text) {
                assert!(start.elapsed() < SOON, "an edit does not arrive");
                thread::park_timeout(Duration::from_micros(200));
            }
            start.elapsed().as_secs_f64() * 1000.0
        })
        .collect();
    delays.sort_by(f64::total_cmp);
    delays
}

fn of(sorted: &[f64], percent: usize) -> f64 {
    sorted[(sorted.len() * percent / 100).min(sorted.len() - 1)]
}

/// One that trickles, one that reads nothing, and one that says nothing at all, each for as long as it may;
/// and one that talks nonsense.
fn pester(address: SocketAddr, over: &AtomicBool, number: u64) {
    let mut random = Random(number * 7919 + 1);
    let requests: [&[u8]; 3] =
        [b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n", b"GET / HTTP/1.1\r\nHost: loc", b""];
    let mut sockets: Vec<Option<TcpStream>> = (0..125).map(|_| None).collect();
    while !over.load(Ordering::Relaxed) {
        for slot in &mut sockets {
            let is_alive = slot.as_mut().is_some_and(|socket| match random.below(3) {
                // Nothing, or one more byte.
                0 => socket.write_all(b"x").is_ok(),
                _ => true,
            });
            if !is_alive {
                *slot = TcpStream::connect_timeout(&address, Duration::from_secs(1)).ok();
                let nonsense: Vec<u8> =
                    (0..random.below(200)).map(|_| random.next().to_le_bytes()[0]).collect();
                let request = random.of(&requests).copied().unwrap_or(b"");
                let request = if random.once_in(10) { &nonsense } else { request };
                let _ = slot.as_mut().map(|socket| socket.write_all(request));
            }
        }
        thread::park_timeout(Duration::from_millis(100));
    }
}

/// The promise of the page: a thousand slow clients and malformed requests, and mirroring keeps its delay.
#[test]
fn a_thousand_slow_clients() {
    let port = free_port();
    let mut mirror = Mirror::start(with_page(Setup::plain(), port, ""));
    wait_in_sync(port);
    delays(&mirror, 20);
    let quiet = delays(&mirror, 100);
    let (over, address) = (AtomicBool::new(false), SocketAddr::from(([127, 0, 0, 1], port)));
    let (loaded, honest) = thread::scope(|scope| {
        for number in 0..8 {
            let over = &over;
            scope.spawn(move || pester(address, over, number));
        }
        thread::park_timeout(Duration::from_secs(1));
        let loaded = delays(&mirror, 100);
        // An honest one is served all the same.
        let start = Instant::now();
        let answer = get(port, "/metrics");
        over.store(true, Ordering::Relaxed);
        assert!(answer.unwrap().starts_with("HTTP/1.1 200"));
        (loaded, start.elapsed())
    });
    let pid = mirror.supervisor().child("page");
    let memory = processes::status(pid, "VmHWM").unwrap();
    println!(
        "edits: p50 {:.1} ms, p99 {:.1} ms; with 1,000 slow clients p50 {:.1} ms, p99 {:.1} ms; an honest one {honest:?}; \
         page {memory}",
        of(&quiet, 50),
        of(&quiet, 99),
        of(&loaded, 50),
        of(&loaded, 99)
    );
    assert_eq!(mirror.logged("restarting it"), 0, "{}", mirror.log());
    // Generous: the clients of this test take their share of the machine too.
    assert!(of(&loaded, 50) < of(&quiet, 50) * 5.0 + 50.0, "{} {}", of(&loaded, 50), of(&quiet, 50));
    assert!(honest < Duration::from_secs(10), "{honest:?}");
    let kib: u64 = memory.trim_end_matches(" kB").parse().unwrap();
    assert!(kib < 64 << 10, "{memory}");
}

/// One of its own, that can do nothing: it is refused what every other role is, and has no file open.
#[test]
fn it_has_nothing_but_its_sockets() {
    if !is_root() {
        return;
    }
    let port = free_port();
    let mut mirror = Mirror::start(with_page(Setup::plain(), port, ""));
    wait_in_sync(port);
    let pid = mirror.supervisor().child("page");
    for entry in fs::read_dir(format!("/proc/{pid}/fd")).unwrap().flatten() {
        let target = fs::read_link(entry.path()).unwrap().display().to_string();
        let known = ["socket:", "pipe:", "/dev/null"].iter().any(|start| target.starts_with(start));
        assert!(known, "{target}");
    }
    let listens = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    assert!(listens.contains("CapEff:\t0000000000000000"), "{listens}");
}
