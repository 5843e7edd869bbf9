//! Real clients on a real socket: honest ones, and those that flood, stall, hang up or lie.

use super::*;
use crate::control::client;
use crate::control::protocol::{DeletesWhat, MAX_REPLY, MAX_REQUEST, MAX_TEXT};
use nix::poll::{PollFd, PollTimeout, poll};
use std::io::{Read, Write};
use std::os::unix::fs::MetadataExt;
use std::process::{Command, Stdio};
use std::thread;
use std::time::Instant;

const SOON: Duration = Duration::from_secs(20);
const ZERO: Duration = Duration::ZERO;
const ASKED: Request = Request::Wait { remote: None, timeout: None };

struct Scene {
    directory: tempfile::TempDir,
    control: Control,
}

impl Scene {
    fn new() -> Scene {
        let directory = tempfile::tempdir().unwrap();
        let control = Control::bind(&directory.path().join("control"), None).unwrap();
        Scene { directory, control }
    }

    fn path(&self) -> PathBuf {
        self.directory.path().join("control")
    }

    fn connect(&self) -> UnixStream {
        let stream = UnixStream::connect(self.path()).unwrap();
        stream.set_read_timeout(Some(SOON)).unwrap();
        stream
    }

    /// Someone whose command is being carried out.
    fn served(&mut self) -> (UnixStream, Client) {
        let mut stream = self.connect();
        stream.write_all(&ASKED.encode().unwrap()).unwrap();
        (stream, self.commands(1).pop().unwrap().0)
    }

    /// Serves as the loop does, whenever something is ready, until that many commands are there.
    fn commands(&mut self, count: usize) -> Vec<(Client, Request)> {
        let mut found = Vec::new();
        self.turn_until(|control| {
            found.extend(control.serve(ZERO));
            found.len() >= count
        });
        assert_eq!(found.len(), count);
        found
    }

    /// Polls as the loop does, between what is to come true.
    fn turn_until(&mut self, mut done: impl FnMut(&mut Control) -> bool) {
        let end = Instant::now() + SOON;
        while !done(&mut self.control) {
            assert!(Instant::now() < end, "not in time: {:?}", self.control);
            wait(&self.control);
        }
    }
}

/// One poll, as the event loop's.
fn wait(control: &Control) {
    let mut fds: Vec<PollFd<'_>> = control.fds().map(|(fd, flags)| PollFd::new(fd, flags)).collect();
    let _ = poll(&mut fds, PollTimeout::from(50_u8));
}

/// All that a client hears until the end.
fn heard(mut stream: &UnixStream) -> String {
    let mut text = String::new();
    // After a refusal the rest of what we said was never read: the kernel tells so behind the text.
    match stream.read_to_string(&mut text) {
        Ok(_) => text,
        Err(error) if error.kind() == ErrorKind::ConnectionReset => text,
        Err(error) => panic!("{error} after {text}"),
    }
}

/// Serves until what `stream` hears is over.
fn answer(scene: &mut Scene, stream: &UnixStream, now: Duration) -> String {
    let reader = stream.try_clone().unwrap();
    let hearing = thread::spawn(move || heard(&reader));
    scene.turn_until(|control| {
        assert!(control.serve(now).is_empty());
        hearing.is_finished()
    });
    hearing.join().unwrap()
}

#[test]
fn a_command_and_its_answer() {
    let mut scene = Scene::new();
    let stream = scene.connect();
    let request = Request::Deletes { tree: Some("/srv".into()), what: DeletesWhat::List };
    let asked = request.clone();
    let asking = thread::spawn(move || {
        let mut out = Vec::new();
        let exit = client::ask(&stream, &asked, &mut out).unwrap();
        (exit, String::from_utf8(out).unwrap())
    });
    let commands = scene.commands(1);
    let [(client, said)] = &commands[..] else { panic!() };
    assert_eq!(*said, request);
    scene.control.say(*client, "one");
    scene.control.say(*client, "two\u{1b}[2J\nthree");
    scene.control.end(*client, 1);
    scene.turn_until(|control| {
        assert!(control.serve(ZERO).is_empty());
        asking.is_finished()
    });
    assert_eq!(asking.join().unwrap(), (1, "one\ntwo\\u{1b}[2J\\nthree\n".to_owned()));
    assert!(scene.control.gone().is_empty(), "it had its answer");
    assert_eq!((scene.control.room(*client), scene.control.fds().count()), (0, 1));
}

#[test]
fn a_private_socket_that_goes_with_us() {
    let scene = Scene::new();
    let path = scene.path();
    let found = path.symlink_metadata().unwrap();
    assert!(found.file_type().is_socket());
    assert_eq!(found.mode() & 0o7777, 0o600);
    // What an earlier run left goes; what is no socket stays.
    let again = Control::bind(&path, None).unwrap();
    drop(again);
    assert!(!path.exists());
    fs::write(&path, "a file").unwrap();
    assert!(Control::bind(&path, None).is_err());
    assert_eq!(fs::read(&path).unwrap(), b"a file");
    let long = scene.directory.path().join("x".repeat(MAX_SOCKET));
    assert!(Control::bind(&long, None).unwrap_err().to_string().contains("XDG_RUNTIME_DIR"));
}

#[test]
fn whom_we_become_owns_it() {
    if !geteuid().is_root() {
        return;
    }
    let nobody = Identity { uid: 65534, gid: 65534 };
    let directory = tempfile::tempdir().unwrap();
    std::os::unix::fs::chown(directory.path(), Some(nobody.uid), Some(nobody.gid)).unwrap();
    let path = directory.path().join("control");
    let _control = Control::bind(&path, Some(nobody)).unwrap();
    let found = path.symlink_metadata().unwrap();
    assert_eq!((found.uid(), found.gid(), found.mode() & 0o777), (nobody.uid, nobody.gid, 0o600));
    // Of root's rights over other people's directories nothing is used.
    let roots = tempfile::tempdir().unwrap();
    assert!(Control::bind(&roots.path().join("control"), Some(nobody)).is_err());
}

/// A stranger's process: the file mode is out of the way, and what counts is who it is.
#[test]
fn another_user_is_refused() {
    if !geteuid().is_root() {
        return;
    }
    let mut scene = Scene::new();
    fs::set_permissions(scene.directory.path(), Permissions::from_mode(0o755)).unwrap();
    fs::set_permissions(scene.path(), Permissions::from_mode(0o666)).unwrap();
    let script =
        "use IO::Socket::UNIX; alarm 20; my $s = IO::Socket::UNIX->new(Peer => $ARGV[0]) or die; print <$s>";
    let stranger = Command::new("setpriv")
        .args(["--reuid=65534", "--regid=65534", "--clear-groups", "perl", "-e", script])
        .arg(scene.path())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let hearing = thread::spawn(move || stranger.wait_with_output().unwrap());
    scene.turn_until(|control| {
        assert!(control.serve(ZERO).is_empty());
        assert!(control.clients.is_empty());
        hearing.is_finished()
    });
    let output = hearing.join().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.contains("only root") && text.contains("\"exit\":77"), "{text}");
    assert!(scene.control.refusals.quiet_until > ZERO);
}

#[test]
fn what_is_no_command() {
    let longest = format!("{{\"wait\":{{\"remote\":\"{}", "a".repeat(MAX_REQUEST));
    for (said, why) in [
        (&b"\n"[..], "not understood"),
        (b"status\n", "not understood"),
        (b"\xff\xfe\0\n", "not understood"),
        (b"{\"wait\":{\"remote\":null,\"timeout\":null,\"\x1b\":1}}\n", "not understood"),
        (b"{\"wait\":{}}\n{\"wait\":{}}\n", "more than one"),
        (longest.as_bytes(), "longer than 4096"),
    ] {
        let mut scene = Scene::new();
        let mut stream = scene.connect();
        stream.write_all(said).unwrap();
        let text = answer(&mut scene, &stream, ZERO);
        let shown = said.escape_ascii();
        assert!(text.contains(why) && text.ends_with("{\"end\":{\"exit\":64}}\n"), "{shown}: {text}");
        assert!(!text.contains('\u{1b}') && scene.control.clients.is_empty(), "{shown}");
        assert!(scene.control.gone().is_empty(), "{shown}: nothing of it was begun");
    }
}

#[test]
fn the_longest_command_in_single_bytes() {
    let mut scene = Scene::new();
    let remote = |length| Request::Wait { remote: Some("a".repeat(length)), timeout: None };
    let rest = remote(0).encode().unwrap().len();
    let line = remote(MAX_REQUEST - rest).encode().unwrap();
    assert_eq!(line.len(), MAX_REQUEST);
    let mut stream = scene.connect();
    let (last, first) = line.split_last().unwrap();
    for byte in first {
        stream.write_all(&[*byte]).unwrap();
        assert!(scene.control.serve(ZERO).is_empty());
    }
    stream.write_all(&[*last]).unwrap();
    assert_eq!(scene.commands(1)[0].1, remote(MAX_REQUEST - rest));
}

#[test]
fn who_says_nothing_has_five_seconds() {
    let mut scene = Scene::new();
    let mut stream = scene.connect();
    stream.write_all(b"{\"wait\"").unwrap();
    scene.turn_until(|control| {
        assert!(control.serve(ZERO).is_empty());
        control.clients.len() == 1
    });
    assert_eq!(scene.control.deadline(), Some(PATIENCE));
    assert!(scene.control.serve(Duration::from_millis(4999)).is_empty());
    assert_eq!(scene.control.clients.len(), 1);
    let text = answer(&mut scene, &stream, PATIENCE);
    assert!(text.contains("within 5 s"), "{text}");
    assert!(scene.control.clients.is_empty() && scene.control.deadline().is_none());
}

#[test]
fn who_hangs_up_is_told_of_once() {
    let mut scene = Scene::new();
    let (stream, client) = scene.served();
    let early = scene.connect();
    assert!(scene.control.serve(ZERO).is_empty() && scene.control.gone().is_empty());
    drop(stream);
    drop(early);
    scene.turn_until(|control| {
        assert!(control.serve(ZERO).is_empty());
        control.clients.is_empty()
    });
    assert_eq!(scene.control.gone(), [client]);
    assert!(scene.control.gone().is_empty());
    // What is said to it now goes nowhere, and its number is nobody else's.
    scene.control.say(client, "x");
    scene.control.end(client, 0);
    let (_stream, other) = scene.served();
    assert_ne!(other, client);
}

#[test]
fn a_second_command_ends_the_first() {
    let mut scene = Scene::new();
    let (mut stream, client) = scene.served();
    stream.write_all(&ASKED.encode().unwrap()).unwrap();
    scene.turn_until(|control| {
        assert!(control.serve(ZERO).is_empty());
        control.clients.is_empty()
    });
    assert_eq!(scene.control.gone(), [client]);
}

#[test]
fn more_than_eight() {
    let mut scene = Scene::new();
    let mut served: Vec<_> = (0..MAX_CLIENTS).map(|_| scene.served()).collect();
    let mut late = scene.connect();
    late.write_all(&ASKED.encode().unwrap()).unwrap();
    let text = answer(&mut scene, &late, ZERO);
    assert!(text.contains("8 commands") && text.contains("\"exit\":75"), "{text}");
    let (stream, client) = served.pop().unwrap();
    scene.control.end(client, 0);
    assert_eq!(heard(&stream), "{\"end\":{\"exit\":0}}\n");
    let (_stream, _) = scene.served();
    assert!(scene.control.gone().is_empty());
}

/// Hundreds come, say nothing and stay: who was there before is served all the same.
#[test]
fn a_flood() {
    let mut scene = Scene::new();
    let (stream, client) = scene.served();
    let crowd: Vec<UnixStream> = (0..300).map(|_| scene.connect()).collect();
    scene.turn_until(|control| {
        assert!(control.serve(ZERO).is_empty());
        assert!(control.clients.len() <= MAX_CLIENTS);
        control.next >= u64::try_from(MAX_CLIENTS).unwrap()
    });
    scene.control.say(client, "still here");
    scene.control.end(client, 0);
    assert_eq!(heard(&stream), "{\"line\":\"still here\"}\n{\"end\":{\"exit\":0}}\n");
    // Behind hundreds who have left, none of whom takes a place.
    drop(crowd);
    scene.served();
}

#[test]
fn a_slow_reader_gets_all_of_it() {
    const LINES: usize = 40_000;
    let mut scene = Scene::new();
    let (stream, client) = scene.served();
    let mut said = 0;
    let mut full = 0;
    let reading = thread::spawn(move || heard(&stream).lines().count());
    scene.turn_until(|control| {
        assert!(control.serve(ZERO).is_empty());
        while said < LINES && control.room(client) > MAX_REPLY {
            control.say(client, &format!("{said} {}", "x".repeat(100)));
            said += 1;
        }
        full += usize::from(said < LINES);
        said == LINES
    });
    assert!(full > 0, "it was never slower than we");
    scene.control.end(client, 0);
    scene.turn_until(|control| {
        assert!(control.serve(ZERO).is_empty());
        reading.is_finished()
    });
    assert_eq!(reading.join().unwrap(), LINES + 1);
    assert!(scene.control.gone().is_empty());
}

#[test]
fn who_never_reads_is_given_up() {
    let mut scene = Scene::new();
    let (_stream, client) = scene.served();
    let mut said = 0_usize;
    let gone = loop {
        scene.control.say(client, &"x".repeat(MAX_TEXT));
        assert!(scene.control.serve(ZERO).is_empty());
        said += MAX_TEXT;
        assert!(said < 16 * MAX_QUEUE, "it grows without an end");
        let gone = scene.control.gone();
        if !gone.is_empty() {
            break gone;
        }
    };
    assert_eq!((gone, scene.control.room(client)), (vec![client], 0));
    assert!(said > MAX_QUEUE);
}

/// An answer that is over and unread does not keep its place for ever.
#[test]
fn an_unread_end() {
    let mut scene = Scene::new();
    let (_stream, client) = scene.served();
    while scene.control.room(client) > MAX_REPLY {
        scene.control.say(client, &"x".repeat(MAX_TEXT));
    }
    scene.control.end(client, 0);
    assert!(scene.control.serve(ZERO).is_empty());
    let until = scene.control.deadline().unwrap();
    assert!(until > PATIENCE && scene.control.clients.len() == 1);
    assert!(scene.control.serve(until).is_empty());
    assert!(scene.control.clients.is_empty() && scene.control.gone().is_empty());
}
