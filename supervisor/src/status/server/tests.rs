//! Real clients on a real socket: honest ones, many slow ones, and those that never read.

use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::os::unix::fs::PermissionsExt;
use std::time::Instant;

use super::*;

const OPEN: Access = Access { mode: 0o600, group: None };
/// More than a socket's buffer takes.
const LARGE: usize = 4 << 20;

const fn at(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

struct Scene {
    _directory: tempfile::TempDir,
    socket: StatusSocket,
}

impl Scene {
    fn new() -> Scene {
        let directory = tempfile::tempdir().unwrap();
        let socket = StatusSocket::bind(&directory.path().join("status"), Place::Own, None, OPEN).unwrap();
        Scene { _directory: directory, socket }
    }

    fn connect(&self) -> UnixStream {
        UnixStream::connect(&self.socket.listener.as_ref().unwrap().1).unwrap()
    }

    fn give(&mut self, now: Duration, bytes: &[u8]) {
        self.socket.seen = Some(now);
        self.socket.give(now, &Rc::from(bytes), Duration::ZERO);
    }
}

fn heard(mut stream: &UnixStream) -> Vec<u8> {
    let mut bytes = Vec::new();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    stream.read_to_end(&mut bytes).unwrap();
    bytes
}

#[test]
fn nothing_is_made_for_nobody() {
    let mut scene = Scene::new();
    scene.socket.serve(at(1), Some(at(1)));
    assert!(!scene.socket.is_due(at(1)) && !scene.socket.lacks_proof(at(1)));
    assert_eq!((scene.socket.deadline(), scene.socket.fds().count()), (None, 1));
}

#[test]
fn one_snapshot_for_all_who_wait() {
    let mut scene = Scene::new();
    let clients = [scene.connect(), scene.connect(), scene.connect()];
    // Not before the watcher has reported all that happened before they came.
    for seen in [None, Some(at(999))] {
        scene.socket.serve(at(1000), seen);
        assert!(!scene.socket.is_due(at(1001)) && scene.socket.lacks_proof(at(1001)));
    }
    scene.socket.serve(at(1001), Some(at(1000)));
    assert!(scene.socket.is_due(at(1001)) && !scene.socket.lacks_proof(at(1001)));
    scene.give(at(1001), b"all is well\n");
    for client in &clients {
        assert_eq!(heard(client), b"all is well\n");
    }
    assert_eq!((scene.socket.deadline(), scene.socket.fds().count()), (None, 1));
}

#[test]
fn a_watcher_that_does_not_answer_keeps_nobody_waiting() {
    let mut scene = Scene::new();
    let client = scene.connect();
    scene.socket.serve(at(1000), None);
    assert_eq!(scene.socket.deadline(), Some(at(1500)));
    assert!(!scene.socket.is_due(at(1499)) && scene.socket.is_due(at(1500)));
    assert!(!scene.socket.lacks_proof(at(1500)));
    scene.socket.give(at(1500), &Rc::from(&b"x"[..]), Duration::ZERO);
    assert_eq!(heard(&client), b"x");
}

#[test]
fn seldom_and_the_seldomer_the_longer_it_takes() {
    let mut scene = Scene::new();
    let mut pause_after = |now: u64, took: u64| {
        let _client = scene.connect();
        scene.socket.serve(at(now), Some(at(now)));
        scene.socket.give(at(now), &Rc::from(&b"x"[..]), at(took));
        let _next = scene.connect();
        scene.socket.serve(at(now + 1), Some(at(now + 1)));
        let due = scene.socket.deadline().unwrap();
        let before = due.saturating_sub(at(1));
        assert!(scene.socket.is_due(due) && !scene.socket.is_due(before));
        scene.socket.clients.clear();
        due.saturating_sub(at(now))
    };
    assert_eq!((pause_after(1000, 0), pause_after(100_000, 100)), (at(100), at(2100)));
}

#[test]
fn one_that_never_reads_is_given_up() {
    let mut scene = Scene::new();
    let lazy = scene.connect();
    scene.socket.serve(at(0), None);
    scene.give(at(0), &vec![b'x'; LARGE]);
    assert_eq!(scene.socket.clients.len(), 1, "all of it fits into the socket");
    assert_eq!(scene.socket.deadline(), Some(at(10_000)));
    scene.socket.serve(at(9_999), None);
    assert_eq!(scene.socket.clients.len(), 1);
    scene.socket.serve(at(10_000), None);
    assert_eq!(scene.socket.clients.len(), 0);
    assert!(heard(&lazy).len() < LARGE);
}

#[test]
fn a_slow_one_gets_all_of_it() {
    let mut scene = Scene::new();
    let client = scene.connect();
    scene.socket.serve(at(0), None);
    let bytes: Vec<u8> = (0..LARGE).map(|n| u8::try_from(n % 251).unwrap()).collect();
    scene.give(at(0), &bytes);
    let reading = std::thread::spawn(move || heard(&client));
    let end = Instant::now() + Duration::from_secs(20);
    while !scene.socket.clients.is_empty() && Instant::now() < end {
        scene.socket.serve(at(1), None);
    }
    assert!(reading.join().unwrap() == bytes);
}

/// Many of them cost a descriptor each, and keep nobody else from his snapshot.
#[test]
fn two_hundred_slow_ones_and_an_honest_one() {
    let mut scene = Scene::new();
    let large: Rc<[u8]> = vec![b'x'; LARGE].into();
    let mut slow = Vec::new();
    for n in 0..200 {
        slow.push(scene.connect());
        scene.socket.serve(at(n), Some(at(n)));
        scene.socket.give(at(n), &large, Duration::ZERO);
    }
    assert_eq!((scene.socket.clients.len(), Rc::strong_count(&large)), (MAX_CLIENTS, MAX_CLIENTS + 1));
    let honest = scene.connect();
    scene.socket.serve(at(300), None);
    scene.give(at(400), b"all is well\n");
    assert_eq!(heard(&honest), b"all is well\n");
    // Those who came first had to go; the others still may read.
    let start = Instant::now();
    scene.socket.serve(at(500), None);
    assert!(start.elapsed() < Duration::from_millis(500));
    assert!(scene.socket.clients.len() >= MAX_CLIENTS - 1);
    drop(slow);
    scene.socket.serve(at(600), None);
    assert_eq!((scene.socket.clients.len(), Rc::strong_count(&large)), (0, 1));
}

#[test]
fn those_who_talk_or_hang_up() {
    use std::io::Write;
    let mut scene = Scene::new();
    let mut talks = scene.connect();
    talks.write_all(b"GET / HTTP/1.0\r\n\r\n").unwrap();
    drop(scene.connect());
    scene.socket.serve(at(5), None);
    // Who waits is not polled for, so one that hung up does not wake us again and again.
    assert_eq!(scene.socket.fds().count(), 1);
    scene.give(at(6), b"x");
    let mut byte = [0];
    talks.read_exact(&mut byte).unwrap();
    assert_eq!((byte, scene.socket.clients.len()), ([b'x'], 0));
}

#[test]
fn its_file_is_as_it_was_asked_for() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("status");
    let mode = || fs::symlink_metadata(&path).unwrap().permissions().mode() & 0o7777;
    drop(UnixListener::bind(&path).unwrap());
    let socket =
        StatusSocket::bind(&path, Place::Elsewhere, None, Access { mode: 0o660, group: None }).unwrap();
    assert_eq!(mode(), 0o660);
    drop(socket);
    assert!(path.symlink_metadata().is_err());
    if nix::unistd::geteuid().is_root() {
        let (owner, group) = (Some(Identity { uid: 4711, gid: 4712 }), Some(4713));
        let _socket =
            StatusSocket::bind(&path, Place::Elsewhere, owner, Access { mode: 0o660, group }).unwrap();
        let found = path.symlink_metadata().unwrap();
        assert_eq!((found.uid(), found.gid(), mode()), (4711, 4713, 0o660));
    }
}

/// A file that is no socket is nobody's that we know.
#[test]
fn what_is_no_socket_stays() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("status");
    fs::write(&path, "precious").unwrap();
    assert!(StatusSocket::bind(&path, Place::Elsewhere, None, OPEN).is_err());
    assert_eq!(fs::read(&path).unwrap(), b"precious");
    let long = directory.path().join("x".repeat(108));
    assert!(StatusSocket::bind(&long, Place::Own, None, OPEN).unwrap_err().to_string().contains("107"));
}

/// Whoever may write to the socket may read the status, and nobody else.
#[test]
fn one_that_answers_is_not_replaced_and_one_that_was_left_is() {
    let scene = Scene::new();
    let path = scene.socket.listener.as_ref().unwrap().1.clone();
    let again = || StatusSocket::bind(&path, Place::Elsewhere, None, OPEN);
    assert_eq!(again().unwrap_err().kind(), io::ErrorKind::AddrInUse);
    scene.connect();
    let left = path.with_file_name("left");
    drop(UnixListener::bind(&left).unwrap());
    StatusSocket::bind(&left, Place::Elsewhere, None, OPEN).unwrap();
}

#[test]
fn by_real_uids() {
    if !nix::unistd::geteuid().is_root() {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let path = directory.path().join("status");
    let owner = Some(Identity { uid: 4711, gid: 4711 });
    let access = Access { mode: 0o660, group: Some(4713) };
    let _socket = StatusSocket::bind(&path, Place::Elsewhere, owner, access).unwrap();
    let may = |uid, gid| with_files_of(Some(Identity { uid, gid }), || UnixStream::connect(&path)).is_ok();
    assert_eq!(
        [may(4711, 1), may(4712, 4713), may(4712, 4712), may(65_534, 65_534)],
        [true, true, false, false]
    );
}

/// The page asks again and again, reads nothing, and comes to one snapshot at a time; visitors do not push it
/// aside, nor does it count as one of them.
#[test]
fn the_page_has_one_at_a_time() {
    let mut scene = Scene::new();
    let (feed, page) = UnixStream::pair().unwrap();
    feed.set_nonblocking(true).unwrap();
    for n in 0..100 {
        scene.socket.admit_page(at(n), feed.try_clone().unwrap());
    }
    assert_eq!(scene.socket.clients.len(), 1);
    let visitors: Vec<UnixStream> = (0..MAX_CLIENTS + 10).map(|_| scene.connect()).collect();
    for _ in 0..10 {
        scene.socket.serve(at(100), None);
    }
    assert_eq!(scene.socket.clients.iter().filter(|client| client.who == Who::Page).count(), 1);
    let line = [&vec![b'x'; LARGE][..], b"\n"].concat();
    scene.give(at(100), &line);
    drop(visitors);
    scene.socket.admit_page(at(101), feed.try_clone().unwrap());
    scene.socket.serve(at(102), None);
    assert_eq!(scene.socket.clients.len(), 1, "it has not read the first one");
    let reader = std::thread::spawn(move || {
        let mut read = vec![0; LARGE + 1];
        (&page).read_exact(&mut read).unwrap();
        (page, read)
    });
    let deadline = Instant::now() + Duration::from_secs(20);
    while !scene.socket.clients.is_empty() {
        assert!(Instant::now() < deadline);
        scene.socket.serve(at(103), None);
    }
    let (page, read) = reader.join().unwrap();
    assert!(read == line);
    // And the next one over the same socket, until another page takes its place.
    scene.socket.admit_page(at(5000), feed.try_clone().unwrap());
    scene.give(at(5000), b"{}\n");
    let mut next = [0; 3];
    (&page).read_exact(&mut next).unwrap();
    assert_eq!(&next, b"{}\n");
    scene.socket.admit_page(at(6000), feed);
    scene.socket.forget_page();
    assert_eq!((scene.socket.clients.len(), scene.socket.deadline()), (0, None));
}

#[test]
fn for_the_page_alone() {
    let socket = StatusSocket::nowhere();
    assert_eq!((socket.fds().count(), socket.deadline()), (0, None));
}
