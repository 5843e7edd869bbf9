//! The role without its confinement, driven over real sockets: what it serves, what it refuses, and that
//! who is slow costs nobody else anything.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::thread::{JoinHandle, spawn};

use common::confine::Confinement;
use common::status::{
    Bucket, Flight, FullSync, Health, LastError, Outcomes, Progress, Quarantine, Quarantined, Remote, Role,
    SCHEMA, Sandbox, Snapshot, Stage, Supervisor, Transfers, Tree, TreeState, Watch,
};
use common::wire::{FrameReader, Received, report_socket};

use super::clients::MAX_CLIENTS;
use super::*;

const AT: f64 = 1_795_412_809.5;

fn remote(name: &str, health: Health) -> Remote {
    let outcomes = ["done", "unreachable"].map(|it| Outcomes { outcome: it.to_owned(), count: 12 });
    let buckets = vec![Bucket { le: Some(1.0), count: 4 }, Bucket { le: None, count: 8 }];
    Remote {
        name: name.to_owned(),
        tree: "/srv/www".to_owned(),
        health,
        standing: "up".to_owned(),
        down_since: None,
        retry_at: None,
        behind_seconds: None,
        pending: 0,
        parked_deletions: 0,
        rate: 0,
        bytes: 123_456_789,
        in_flight: vec![],
        full_sync: FullSync {
            owed_since: None,
            done: 1,
            last_done: Some(AT - 60.0),
            trouble: None,
            held: false,
        },
        last_error: None,
        quarantine: Quarantine { paths: 0, first: vec![] },
        transfers: Transfers { outcomes: outcomes.to_vec(), seconds: 3.25, buckets },
    }
}

fn down() -> Remote {
    let error = LastError {
        at: AT - 3.0,
        outcome: "unreachable".to_owned(),
        words: "it does not answer or broke off".to_owned(),
        cure: "see whether the host is up and its rsync port is open; it is tried again".to_owned(),
        status: 10,
        said: "rsync: [sender] failed to connect to 10.0.0.3: Connection refused (111)".to_owned(),
        over: false,
    };
    Remote {
        down_since: Some(AT - 754.0),
        retry_at: Some(AT + 12.0),
        behind_seconds: Some(760.2),
        pending: 1204,
        last_error: Some(error),
        ..remote("10.0.0.3::web", Health::Down)
    }
}

fn syncing() -> Remote {
    let progress = Progress {
        files: 1200,
        bytes: 5 << 30,
        rate: 12 << 20,
        checked: 3000,
        entries: 9000,
        listing: false,
        percent: Some(33.3),
        seconds_left: Some(754.2),
    };
    let full = Flight {
        lane: "full".to_owned(),
        work: "full".to_owned(),
        paths: 0,
        seconds: 377.0,
        stalled: false,
        progress: Some(progress),
    };
    Remote { behind_seconds: Some(37.0), in_flight: vec![full], ..remote("10.0.0.7::web", Health::Behind) }
}

fn failing() -> Remote {
    let first = vec![Quarantined {
        path: "a/<b>".to_owned(),
        attempts: 4,
        reason: "Permission denied (13)".to_owned(),
        waiting_seconds: 34.0,
    }];
    let quarantine = Quarantine { paths: 2, first };
    Remote { behind_seconds: Some(34.0), pending: 2, quarantine, ..remote("10.0.0.4::web", Health::Failing) }
}

fn roles() -> Vec<Role> {
    let sandbox = Sandbox {
        no_new_privs: true,
        seccomp: true,
        landlock: true,
        capabilities: "0000000000000000".to_owned(),
    };
    let watcher = Role {
        name: "watcher".to_owned(),
        remote: None,
        lane: None,
        state: "ready".to_owned(),
        pid: Some(7),
        uid: Some(2_000_000_000),
        restarts: 0,
        memory: Some(6 << 20),
        sandbox: Some(sandbox),
    };
    let syncer = Role {
        name: "syncer1".to_owned(),
        remote: Some("10.0.0.3::web".to_owned()),
        lane: Some("full".to_owned()),
        restarts: 2,
        ..watcher.clone()
    };
    vec![watcher, syncer]
}

/// One of each.
pub(super) fn example() -> Snapshot {
    let tree = Tree {
        path: "/srv/www".to_owned(),
        state: TreeState::Watched,
        reason: None,
        since: AT - 99.0,
        directories: 60_001,
        held_deletions: 1500,
        comparing: true,
    };
    let lost = Tree {
        path: "/mnt/usb".to_owned(),
        state: TreeState::Lost,
        reason: Some("it was unmounted".to_owned()),
        ..tree.clone()
    };
    let unwatched = Remote { tree: "/mnt/usb".to_owned(), ..remote("10.0.0.5::usb", Health::Unwatched) };
    let held = Remote { parked_deletions: 3, ..remote("10.0.0.6::web", Health::Held) };
    Snapshot {
        schema: SCHEMA,
        at: AT,
        health: Health::Down,
        supervisor: Supervisor {
            version: "0.1.0".to_owned(),
            pid: 1234,
            started: AT - 273_600.0,
            state: Stage::Running,
            config: "/etc/sersync/confxml.xml".to_owned(),
        },
        watch: Watch {
            watcher: "inotify".to_owned(),
            seen: Some(AT - 0.1),
            used: Some(60_001),
            allowed: Some(65_536),
            overflows: 1,
        },
        trees: vec![tree, lost],
        remotes: vec![remote("10.0.0.2::web", Health::InSync), syncing(), failing(), down(), held, unwatched],
        roles: roles(),
    }
}

/// As the supervisor writes it.
pub(super) fn line(snapshot: &Snapshot) -> Vec<u8> {
    [&serde_json::to_vec(snapshot).unwrap()[..], b"\n"].concat()
}

/// A page in a thread, and the supervisor's ends of what it has.
struct Served {
    address: SocketAddr,
    reports: OwnedFd,
    feed: UnixStream,
    page: Option<JoinHandle<Result<(), Failure>>>,
}

impl Served {
    fn start(token: Option<&str>) -> Served {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let address = listener.local_addr().unwrap();
        let ((reports, theirs), (feed, its)) = (report_socket().unwrap(), UnixStream::pair().unwrap());
        let token = token.map(|token| token.as_bytes().to_vec());
        let hosts = vec!["localhost".to_owned(), "127.0.0.1".to_owned()];
        let slice = PageSlice { token, hosts, lag: 300, confinement: Confinement::none() };
        let page = spawn(move || {
            let uplink = Uplink::new(theirs);
            Server::new(&uplink, its.into(), vec![listener.into()], slice).run()
        });
        Served { address, reports, feed, page: Some(page) }
    }

    /// Answers each question with that, for as long as the page lives.
    fn answering(token: Option<&str>, snapshot: &Snapshot) -> Served {
        let served = Served::start(token);
        let (reports, mut feed) = (served.reports.try_clone().unwrap(), served.feed.try_clone().unwrap());
        let line = line(snapshot);
        spawn(move || {
            let mut reader = FrameReader::default();
            loop {
                let mut fds = [PollFd::new(reports.as_fd(), PollFlags::POLLIN)];
                poll(&mut fds, PollTimeout::NONE).unwrap();
                match reader.receive(reports.as_fd()) {
                    Received::Frame(PageReport::Ask) if feed.write_all(&line).is_err() => return,
                    Received::Frame(_) | Received::Empty => {}
                    Received::Closed | Received::Violation(_) => return,
                }
            }
        });
        served
    }

    /// What is answered to these bytes.
    fn say(&self, request: &[u8]) -> String {
        let mut socket = TcpStream::connect(self.address).unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        socket.write_all(request).unwrap();
        let mut answer = Vec::new();
        socket.read_to_end(&mut answer).unwrap();
        String::from_utf8(answer).unwrap()
    }

    fn get(&self, path: &str) -> String {
        self.say(format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n").as_bytes())
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        // As it ends with its supervisor.
        nix::sys::socket::shutdown(
            std::os::fd::AsRawFd::as_raw_fd(&self.reports),
            nix::sys::socket::Shutdown::Both,
        )
        .unwrap();
        let end = self.page.take().unwrap().join().unwrap();
        assert!(matches!(end, Err(Failure::Report(SendError::Closed))), "{end:?}");
    }
}

fn starts(answer: &str, line: &str) {
    assert!(answer.starts_with(&format!("HTTP/1.1 {line}\r\n")), "{line}: {answer}");
}

fn body(answer: &str) -> &str {
    answer.split_once("\r\n\r\n").unwrap().1
}

#[test]
fn what_is_served() {
    let served = Served::answering(None, &example());
    let page = served.get("/");
    starts(&page, "200 OK");
    let nonce = page.split_once("'nonce-").unwrap().1.split_once('\'').unwrap().0;
    assert!(
        body(&page).matches(&format!("nonce=\"{nonce}\"")).count() == 2 && !page.contains("{{"),
        "{nonce}"
    );
    assert_ne!(page, served.get("/"), "the same nonce twice");
    let status = served.get("/status.json?x");
    assert_eq!(serde_json::from_str::<Snapshot>(body(&status)).unwrap(), example());
    let metrics = served.get("/metrics");
    assert!(metrics.contains("version=0.0.4") && metrics.contains("\nsersync_watches 60001\n"));
    let open = b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nAccept: application/openmetrics-text\r\n\r\n";
    let open = served.say(open);
    assert!(open.contains("openmetrics-text; version=1.0.0") && open.ends_with("# EOF\n"));
    let health = served.get("/healthz");
    starts(&health, "503 Service Unavailable");
    assert!(health.contains("remote 10.0.0.3::web of /srv/www is down"), "{health}");
    let history = served.get("/history.json");
    let told: serde_json::Value = serde_json::from_str(body(&history)).unwrap();
    assert_eq!((told["at"].as_array().unwrap().len(), told["remotes"].as_array().unwrap().len()), (1, 6));
    let head = served.say(b"HEAD /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n");
    starts(&head, "200 OK");
    assert_eq!(body(&head), "");
}

#[test]
fn what_is_refused() {
    let served = Served::start(None);
    for (request, line) in [
        (&b"GET /x HTTP/1.1\r\nHost: localhost\r\n\r\n"[..], "404 Not Found"),
        (b"GET /../etc/passwd HTTP/1.1\r\nHost: localhost\r\n\r\n", "404 Not Found"),
        (b"POST / HTTP/1.1\r\nHost: localhost\r\n\r\n", "405 Method Not Allowed"),
        (b"GET / HTTP/1.1\r\nHost: evil.example\r\n\r\n", "403 Forbidden"),
        (b"GET / HTTP/1.0\r\n\r\n", "403 Forbidden"),
        (b"GET / HTTP/1.1\r\n\r\n", "400 Bad Request"),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", "400 Bad Request"),
        (
            b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\n123456789",
            "413 Content Too Large",
        ),
        (&vec![b'A'; 100_000], "431 Request Header Fields Too Large"),
    ] {
        starts(&served.say(request), line);
    }
}

#[test]
fn with_a_token() {
    let served = Served::answering(Some("0123456789abcdef"), &example());
    for path in ["/", "/metrics", "/healthz", "/status.json", "/history.json", "/nothing"] {
        starts(&served.get(path), "401 Unauthorized");
        let right = format!(
            "GET {path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer 0123456789abcdef\r\n\r\n"
        );
        assert!(!served.say(right.as_bytes()).starts_with("HTTP/1.1 401"), "{path}");
    }
}

/// A supervisor that is stopped keeps nobody waiting for ever, and says so.
#[test]
fn without_an_answer() {
    let served = Served::start(None);
    let answers = std::thread::scope(|scope| {
        let asked = ["/healthz", "/metrics", "/status.json"].map(|path| scope.spawn(move || path));
        asked
            .map(|path| {
                let (path, served) = (path.join().unwrap(), &served);
                scope.spawn(move || served.get(path))
            })
            .map(|it| it.join().unwrap())
    });
    for answer in answers {
        starts(&answer, "503 Service Unavailable");
        assert!(answer.ends_with("the supervisor has not answered yet\n"), "{answer}");
    }
    starts(&served.get("/"), "200 OK");
}

/// A request for which more comes than is read gets its answer all the same.
#[test]
fn more_than_was_asked_for() {
    let served = Served::start(None);
    let request = [&b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"[..], &vec![b'x'; 50_000]].concat();
    let answer = served.say(&request);
    starts(&answer, "200 OK");
    assert!(answer.ends_with("</html>\n"));
}

/// Twice as many as there is room for say nothing, or read nothing; who comes then is served at once.
#[test]
fn slow_ones_give_way() {
    let served = Served::answering(None, &example());
    let slow: Vec<TcpStream> = (0..2 * MAX_CLIENTS)
        .map(|n| {
            let mut socket = TcpStream::connect(served.address).unwrap();
            let _ = socket.write_all(if n % 2 == 0 {
                b"GET / HT"
            } else {
                b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n"
            });
            socket
        })
        .collect();
    for _ in 0..10 {
        starts(&served.get("/healthz"), "503 Service Unavailable");
    }
    drop(slow);
    // One that ends what it says, and one that does so in the middle.
    let mut socket = TcpStream::connect(served.address).unwrap();
    socket.write_all(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
    socket.shutdown(Shutdown::Write).unwrap();
    let mut answer = String::new();
    socket.read_to_string(&mut answer).unwrap();
    starts(&answer, "503 Service Unavailable");
    let mut socket = TcpStream::connect(served.address).unwrap();
    socket.write_all(b"GET / HTTP/1.1\r\nHost: loc").unwrap();
    socket.shutdown(Shutdown::Write).unwrap();
    let mut rest = Vec::new();
    socket.read_to_end(&mut rest).unwrap();
    assert_eq!(rest, b"");
}

/// One that was stopped for a while, and is given what nobody asked for.
#[test]
fn what_the_supervisor_says_unasked() {
    let mut served = Served::start(None);
    served.feed.write_all(b"no snapshot\n{}\n").unwrap();
    served.feed.write_all(&line(&example())).unwrap();
    starts(&served.get("/"), "200 OK");
}
