//! `refreshCDN` against servers that play the CDN.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::Write;
use std::net::TcpStream;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::Sender;
use std::thread::sleep;
use std::time::{Duration, Instant};

use bstr::ByteSlice;
use common::config::{Call, FilterExpression, PluginKind, RefreshCdnPlugin};
use common::message::Verdict::{Delivered, Refused, Unreachable};
use common::message::{EventKind, PluginEvent};
use plugins::Plugin;
use tempfile::TempDir;

use crate::common_ground::{batch, event, logged, longest, single, slice};
use crate::peer::{Peer, deaf_port, flood, head};

const OK: &[u8] = b"HTTP/1.1 200 OK\r\nwhatsup: content=\"succeed\"\r\n\r\n";

/// The plugin, and its `errorlog.txt`.
struct Cdn {
    plugin: Plugin,
    path: PathBuf,
    _directory: TempDir,
}

fn cdn_with(port: u16, call: Call, pattern: Option<&str>) -> Cdn {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("errorlog.txt");
    let answers = File::options().append(true).create(true).open(&path).unwrap();
    let kind = PluginKind::RefreshCdn(RefreshCdnPlugin {
        watch: OsString::from("/w"),
        domain: "127.0.0.1".into(),
        port,
        user: "USR".into(),
        password: "SECRET%1".into(),
        base: "http://pic/cms".into(),
        pattern: pattern.map(|it| FilterExpression(it.into())),
    });
    Cdn { plugin: Plugin::new(slice(kind, call), answers).unwrap(), path, _directory: directory }
}

fn cdn(port: u16, call: Call) -> Cdn {
    cdn_with(port, call, None)
}

impl Cdn {
    fn answers(&self) -> String {
        let text = fs::read_to_string(&self.path).unwrap();
        assert!(!text.contains("SECRET") && !text.contains("USR"), "{text}");
        text
    }
}

/// Tells each request and answers it.
fn answering(answer: &'static [u8]) -> Peer<Vec<u8>> {
    Peer::new(move |mut stream: TcpStream, sender: &Sender<Vec<u8>>| {
        if let Some(head) = head(&mut stream) {
            sender.send(head).unwrap();
            let _ = stream.write_all(answer);
        }
    })
}

fn request(query: &str) -> String {
    format!("HEAD /index.jsp?user=USR&pswd=SECRET%1&ok=ok&{query} HTTP/1.0\r\nHost: 127.0.0.1\r\n\r\n")
}

fn entry(said: &str, query: &str) -> String {
    format!("{said} HEAD /index.jsp?user=***&pswd=***&ok=ok&{query} HTTP/1.0\r\nHost: 127.0.0.1\r\n\r\n\n")
}

#[test]
fn requests_and_entries() {
    let peer = answering(OK);
    let mut cdn = cdn(peer.port, single(10));
    for (event, query) in [
        (event("a/123.txt"), "urls=http://pic/cms/a/123.txt".to_owned()),
        (PluginEvent { directory: true, ..event("b") }, "dirs=http://pic/cms/b/".to_owned()),
        (event(b"a b\xff"), "urls=http://pic/cms/a%20b%FF".to_owned()),
        (event(longest()), format!("urls=http://pic/cms/{}", String::from_utf8(longest()).unwrap())),
    ] {
        fs::write(&cdn.path, "").unwrap();
        let told = cdn.plugin.tell(&[event]).unwrap();
        assert_eq!((told.verdicts, told.note), (vec![Delivered], String::new()));
        assert_eq!(String::from_utf8(peer.next()).unwrap(), request(&query));
        assert_eq!(cdn.answers(), entry("whatsup: content=\"succeed\"", &query));
    }
}

#[test]
fn a_batch_is_one_request() {
    let peer = answering(b"HTTP/1.0 404 No\r\n\r\n");
    let mut cdn = cdn(peer.port, batch(10));
    let told = cdn.plugin.tell(&["a", "b"].map(event)).unwrap();
    assert_eq!(told.verdicts, [Delivered; 2]);
    let query = "urls=http://pic/cms/a%0D%0Ahttp://pic/cms/b";
    assert_eq!(String::from_utf8(peer.next()).unwrap(), request(query));
    assert_eq!(cdn.answers(), entry("HTTP/1.0 404 No\r\n\r\n", query));
}

/// Nobody is asked about a path that the pattern does not know: here nobody would answer.
#[test]
fn no_match_no_request() {
    let mut cdn = cdn_with(deaf_port(), single(5), Some("/w/site(.*)x"));
    assert_eq!(cdn.plugin.tell(&["a", "b"].map(event)).unwrap().verdicts, [Delivered; 2]);
    let told = cdn.plugin.tell(&["a", "site/x", "b", "site/y/x"].map(event)).unwrap();
    // Both requests were under way when the first one failed.
    assert_eq!(told.verdicts, [Delivered, Unreachable, Delivered, Unreachable]);
    assert!(told.note.starts_with("connect 127.0.0.1:") && !told.note.contains("SECRET"), "{}", told.note);
}

#[test]
fn a_broken_cdn_stops_the_delivery() {
    let peer = answering(b"HTTP/1.1 503 Later\r\n\r\n");
    let events: Vec<_> = (0..200).map(|i| event(format!("f{i}"))).collect();
    let mut cdn = cdn(peer.port, single(10));
    let told = cdn.plugin.tell(&events).unwrap();
    assert_eq!((told.verdicts[0], told.note.as_str()), (Unreachable, "HTTP 503"));
    assert!(told.verdicts.len() <= 32, "{}", told.verdicts.len());
    assert_eq!(peer.all().len(), told.verdicts.len());
}

#[test]
fn a_cdn_that_says_nothing() {
    let silent = Peer::new(|mut stream: TcpStream, sender: &Sender<TcpStream>| {
        head(&mut stream);
        sender.send(stream).unwrap();
    });
    let mut cdn = cdn(silent.port, single(1));
    let start = Instant::now();
    assert_eq!(cdn.plugin.tell(&[event("a")]).unwrap().verdicts, [Delivered]);
    assert_eq!(cdn.answers(), entry("no answer", "urls=http://pic/cms/a"));
    assert!(start.elapsed() < Duration::from_secs(2), "{:?}", start.elapsed());
}

/// One that is restarted, and one that breaks off with the request unread: either was taken
/// for done.
#[test]
fn closing_without_a_word_is_no_success() {
    let closing = Peer::new(|mut stream: TcpStream, _: &Sender<()>| drop(head(&mut stream)));
    let resetting =
        Peer::new(|stream: TcpStream, _: &Sender<()>| assert_eq!(stream.peek(&mut [0]).unwrap(), 1));
    for port in [closing.port, resetting.port] {
        let mut cdn = cdn(port, single(10));
        let events: Vec<_> = (0..20).map(|i| event(format!("f{i}"))).collect();
        let told = cdn.plugin.tell(&events).unwrap();
        // The next one may fare better.
        assert_eq!((told.verdicts, told.note.as_str()), (vec![Refused; 20], "closed without an answer"));
        assert_eq!(cdn.answers().matches("no answer HEAD").count(), 20);
    }
}

/// It was recorded as it came.
#[test]
fn what_the_cdn_echoes_of_user_and_password_is_not_recorded() {
    for (answer, said) in [
        (
            &b"HTTP/1.1 301 Moved\r\nLocation: http://h/?user=USR&pswd=SECRET%1&ok=ok\r\n\r\n"[..],
            "HTTP/1.1 301 Moved\r\nLocation: http://h/?user=***&pswd=***&ok=ok\r\n\r\n",
        ),
        (
            b"HTTP/1.1 200 OK\r\nwhatsup: no user=USR with SECRET%251 or SECRET%1\r\n\r\n",
            "whatsup: no user=*** with *** or ***",
        ),
    ] {
        let peer = answering(answer);
        let mut cdn = cdn(peer.port, single(10));
        assert_eq!(cdn.plugin.tell(&[event("a")]).unwrap().verdicts, [Delivered]);
        assert_eq!(cdn.answers(), entry(said, "urls=http://pic/cms/a"));
    }
}

/// Nobody heard of it but for `errorlog.txt`; once for all, not for each file.
#[test]
fn a_cdn_that_refuses_is_said_once() {
    let refuses = Arc::new(AtomicBool::new(true));
    let manner = refuses.clone();
    let peer = Peer::new(move |mut stream: TcpStream, _: &Sender<()>| {
        let Some(head) = head(&mut stream) else { return };
        // Some are accepted all the same.
        let is_for_f = head.contains_str("/f");
        let answer = if is_for_f && manner.load(Ordering::SeqCst) {
            &b"HTTP/1.0 403 Forbidden\r\nX: y\r\n\r\n"[..]
        } else {
            OK
        };
        stream.write_all(answer).unwrap();
    });
    let mut cdn = cdn(peer.port, single(10));
    let events = ["f1", "f2", "g"].map(event);
    let lines = || logged().into_iter().filter(|line| line.contains(" cdn ")).collect::<Vec<_>>();
    for _ in 0..2 {
        assert_eq!(cdn.plugin.tell(&events).unwrap().verdicts, [Delivered; 3]);
    }
    assert_eq!(lines(), ["WARN cdn refuses status=403"]);
    refuses.store(false, Ordering::SeqCst);
    for _ in 0..2 {
        assert_eq!(cdn.plugin.tell(&events).unwrap().verdicts, [Delivered; 3]);
    }
    assert_eq!(lines()[1..], ["INFO cdn accepts again status=200"]);
}

#[test]
fn the_root_is_the_base() {
    let peer = answering(OK);
    let mut cdn = cdn(peer.port, single(10));
    let root = PluginEvent { kind: EventKind::Rescanned, directory: true, mask: 0, ..event("") };
    assert_eq!(cdn.plugin.tell(&[root]).unwrap().verdicts, [Delivered]);
    assert_eq!(String::from_utf8(peer.next()).unwrap(), request("dirs=http://pic/cms/"));
}

/// Begins nothing once its time is over, and says how far it came.
#[test]
fn a_delivery_has_an_end() {
    let peer = Peer::new(|mut stream: TcpStream, sender: &Sender<TcpStream>| {
        head(&mut stream);
        sender.send(stream).unwrap();
    });
    let events: Vec<_> = (0..200).map(|i| event(format!("f{i}"))).collect();
    let start = Instant::now();
    let told = cdn(peer.port, single(1)).plugin.tell(&events).unwrap();
    assert!((16..=32).contains(&told.verdicts.len()), "{}", told.verdicts.len());
    assert!(start.elapsed() < Duration::from_secs(2), "{:?}", start.elapsed());
}

/// Two seconds an answer: one after the other 32 would take 64 seconds.
#[test]
fn a_slow_cdn_is_asked_in_parallel() {
    let (now, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let (in_server, high) = (now.clone(), most.clone());
    let peer = Peer::new(move |mut stream: TcpStream, sender: &Sender<Vec<u8>>| {
        sender.send(head(&mut stream).unwrap()).unwrap();
        high.fetch_max(in_server.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
        sleep(Duration::from_secs(2));
        in_server.fetch_sub(1, Ordering::SeqCst);
        stream.write_all(OK).unwrap();
    });
    let events: Vec<_> = (0..32).map(|i| event(format!("f{i}"))).collect();
    let mut cdn = cdn(peer.port, single(30));
    let start = Instant::now();
    assert_eq!(cdn.plugin.tell(&events).unwrap().verdicts, [Delivered; 32]);
    assert!(start.elapsed() < Duration::from_secs(16), "{:?}", start.elapsed());
    assert!(most.load(Ordering::SeqCst) <= 16, "{most:?}");
    assert_eq!(cdn.answers().matches("whatsup: content=\"succeed\" HEAD").count(), 32);
}

#[test]
fn a_cdn_without_end() {
    for word in [&b"a: b\r\n"[..], b"x", b"\x1b\0"] {
        let peer = Peer::new(move |mut stream: TcpStream, _: &Sender<()>| {
            head(&mut stream);
            flood(&mut stream, word);
        });
        let mut cdn = cdn(peer.port, single(10));
        let start = Instant::now();
        assert_eq!(cdn.plugin.tell(&["a", "b"].map(event)).unwrap().verdicts, [Delivered; 2]);
        assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
        let text = cdn.answers();
        assert!(text.len() < 2 * (4096 + 200) && !text.contains('\x1b'), "{}", text.len());
    }
}

/// A byte now and then keeps nobody waiting.
#[test]
fn a_cdn_that_drips() {
    let peer = Peer::new(|mut stream: TcpStream, _: &Sender<()>| {
        head(&mut stream);
        while stream.write_all(b"x").is_ok() {
            sleep(Duration::from_millis(50));
        }
    });
    let start = Instant::now();
    assert_eq!(cdn(peer.port, single(1)).plugin.tell(&[event("a")]).unwrap().verdicts, [Delivered]);
    assert!(start.elapsed() < Duration::from_secs(2), "{:?}", start.elapsed());
}
