//! `socket` against listeners.

use std::ffi::OsString;
use std::io::Read;
use std::net::TcpStream;
use std::sync::mpsc::Sender;
use std::time::{Duration, Instant};

use common::config::{Call, PluginKind, SocketPlugin};
use common::message::Verdict::{Delivered, Refused, Unreachable};
use plugins::{Plugin, Told};

use crate::common_ground::{batch, event, json, longest, object, plugin, single};
use crate::peer::{Peer, deaf_port, flood, listen};

fn socket_to(host: &str, port: u16, call: Call) -> Plugin {
    let watch = OsString::from("/w");
    plugin(PluginKind::Socket(SocketPlugin { watch, host: host.to_owned(), port }), call)
}

fn socket(port: u16, call: Call) -> Plugin {
    socket_to("127.0.0.1", port, call)
}

#[test]
fn one_connection_a_change_in_order() {
    let peer = Peer::new(listen);
    let paths = [b"a b".to_vec(), longest(), b"\xff\n".to_vec(), Vec::new(), b"last".to_vec()];
    let told = socket(peer.port, single(10)).tell(&paths.clone().map(event)).unwrap();
    assert_eq!(told, Told { verdicts: vec![Delivered; 5], note: String::new() });
    assert_eq!(peer.next(), b"/w/a b");
    assert_eq!(peer.next(), [b"/w/", &longest()[..]].concat());
    assert_eq!(peer.next(), b"/w/\xff\n");
    assert_eq!(peer.next(), b"/w");
    assert_eq!(peer.next(), b"/w/last");
}

#[test]
fn formats() {
    let events = ["a", "b"].map(event);
    for (call, wanted) in [
        (batch(10), vec!["/w/a\0/w/b\0".to_owned()]),
        (json(single(10)), vec![object("a") + "\n", object("b") + "\n"]),
        (json(batch(10)), vec![object("a") + "\n" + &object("b") + "\n"]),
    ] {
        let peer = Peer::new(listen);
        let told = socket(peer.port, call).tell(&events).unwrap();
        assert_eq!(told.verdicts, [Delivered; 2]);
        for text in wanted {
            assert_eq!(peer.next(), text.as_bytes());
        }
    }
}

/// `localhost` has two addresses, and the listener is behind the second at best.
#[test]
fn a_host_name() {
    let peer = Peer::new(listen);
    let told = socket_to("localhost", peer.port, single(10)).tell(&[event("a")]).unwrap();
    assert_eq!(told.verdicts, [Delivered]);
    assert_eq!(peer.next(), b"/w/a");
}

#[test]
fn nobody_there() {
    for host in ["127.0.0.1", "no-such-host.invalid"] {
        let port = deaf_port();
        let told = socket_to(host, port, single(20)).tell(&["a", "b"].map(event)).unwrap();
        assert_eq!(told.verdicts, [Unreachable]);
        assert!(told.note.starts_with(&format!("connect {host}:{port}: ")), "{}", told.note);
    }
}

/// What is never read is in the listener's kernel, whole; and it costs one second, not one each.
#[test]
fn a_listener_that_does_not_read() {
    let (read_now, may_read) = std::sync::mpsc::channel::<()>();
    let may_read = std::sync::Arc::new(std::sync::Mutex::new(may_read));
    let peer = Peer::new(move |stream: TcpStream, sender: &Sender<Vec<u8>>| {
        let _ = may_read.lock().unwrap().recv();
        listen(stream, sender);
    });
    let start = Instant::now();
    let events: Vec<_> = (0..20).map(|_| event(longest())).collect();
    let told = socket(peer.port, single(30)).tell(&events).unwrap();
    assert_eq!(told.verdicts, [Delivered; 20]);
    assert!(start.elapsed() < Duration::from_secs(10), "{:?}", start.elapsed());
    drop(read_now);
    for _ in 0..20 {
        assert_eq!(peer.next().len(), 3 + longest().len());
    }
}

/// More than all buffers hold.
#[test]
fn a_batch_that_nobody_reads() {
    let peer = Peer::new(|stream: TcpStream, sender: &Sender<TcpStream>| sender.send(stream).unwrap());
    let events: Vec<_> = (0..8000).map(|_| event(longest())).collect();
    let start = Instant::now();
    let told = socket(peer.port, batch(1)).tell(&events).unwrap();
    assert_eq!(told.verdicts, vec![Unreachable; 8000]);
    assert_eq!(told.note, format!("send 127.0.0.1:{}: timed out", peer.port));
    assert!(start.elapsed() < Duration::from_secs(3), "{:?}", start.elapsed());
}

#[test]
fn a_listener_that_hangs_up() {
    let peer = Peer::new(|stream: TcpStream, sender: &Sender<()>| {
        drop(stream);
        sender.send(()).unwrap();
    });
    let start = Instant::now();
    let events: Vec<_> = (0..8000).map(|_| event(longest())).collect();
    let told = socket(peer.port, batch(5)).tell(&events).unwrap();
    assert_eq!(told.verdicts[0], Unreachable);
    assert!(told.note.starts_with("send "), "{}", told.note);
    assert!(start.elapsed() < Duration::from_secs(4), "{:?}", start.elapsed());
}

/// The system says so, and it was taken for delivered.
#[test]
fn a_listener_that_closes_with_the_path_unread() {
    let nothing_read =
        Peer::new(|stream: TcpStream, _: &Sender<()>| assert_eq!(stream.peek(&mut [0]).unwrap(), 1));
    let half_read =
        Peer::new(|mut stream: TcpStream, _: &Sender<()>| stream.read_exact(&mut [0; 100]).unwrap());
    for port in [nothing_read.port, half_read.port] {
        let told = socket(port, single(10)).tell(&[longest(), longest()].map(event)).unwrap();
        assert_eq!(told.verdicts, [Refused; 2]);
        assert!(told.note.starts_with(&format!("unread 127.0.0.1:{port}: ")), "{}", told.note);
    }
}

#[test]
fn a_listener_that_talks() {
    let peer = Peer::new(|mut stream: TcpStream, sender: &Sender<Vec<u8>>| {
        let mut path = [0; 4];
        stream.read_exact(&mut path).unwrap();
        flood(&mut stream, b"x");
        sender.send(path.to_vec()).unwrap();
    });
    let start = Instant::now();
    let told = socket(peer.port, single(10)).tell(&["a", "b"].map(event)).unwrap();
    assert_eq!(told.verdicts, [Delivered; 2]);
    assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
    let mut heard = [peer.next(), peer.next()];
    heard.sort();
    assert_eq!(heard, [b"/w/a", b"/w/b"]);
}
