//! `http` against servers, plain and with TLS.

use std::ffi::OsString;
use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::Command;
use std::sync::Arc;
use std::sync::mpsc::Sender;
use std::thread::sleep;
use std::time::{Duration, Instant};

use common::config::{Call, HttpPlugin, PluginKind};
use common::message::PluginEvent;
use common::message::Verdict::{self, Delivered, Refused, Unreachable};
use plugins::Plugin;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};

use crate::common_ground::{batch, event, json, longest, object, plugin, single};
use crate::peer::{Peer, deaf_port, flood, head};

fn http_to(url: String, ca: Option<OsString>, call: Call) -> Plugin {
    plugin(PluginKind::Http(HttpPlugin { watch: OsString::from("/w"), url, ca }), call)
}

fn http(port: u16, call: Call) -> Plugin {
    http_to(format!("http://127.0.0.1:{port}/hook?x=1"), None, call)
}

/// Head and body of a request.
fn request(stream: &mut impl Read) -> Option<(String, String)> {
    let head = String::from_utf8(head(stream)?).unwrap();
    let length = head.to_lowercase();
    let length = length.split("content-length: ").nth(1)?.split("\r\n").next()?.parse().ok()?;
    let mut body = vec![0; length];
    stream.read_exact(&mut body).ok()?;
    Some((head, String::from_utf8(body).unwrap()))
}

/// Tells each request of each connection, and gives the same answer to all.
fn server(answer: String) -> Peer<(String, String)> {
    Peer::new(move |mut stream: TcpStream, sender: &Sender<_>| {
        sender.send((String::from("connection"), String::new())).unwrap();
        while let Some(request) = request(&mut stream) {
            sender.send(request).unwrap();
            stream.write_all(answer.as_bytes()).unwrap();
        }
    })
}

fn status(status: &str) -> String {
    format!("HTTP/1.1 {status}\r\nContent-Length: 2\r\n\r\nok")
}

#[test]
fn forms() {
    let peer = server(status("200 OK"));
    let events = [event("a"), PluginEvent { directory: true, ..event(b"b &\xff") }, event(longest())];
    assert_eq!(http(peer.port, single(10)).tell(&events).unwrap().verdicts, [Delivered; 3]);
    let told: Vec<_> = (0..4).map(|_| peer.next()).collect();
    // One connection serves all.
    assert_eq!(told[0].0, "connection");
    let (head, body) = &told[1];
    assert!(head.starts_with("POST /hook?x=1 HTTP/1.1\r\n"), "{head}");
    let lower = head.to_lowercase();
    assert!(lower.contains("content-type: application/x-www-form-urlencoded\r\n"), "{head}");
    assert!(lower.contains(&format!("host: 127.0.0.1:{}\r\n", peer.port)), "{head}");
    assert_eq!(body, "watchroot=/w&isdir=0&inotifyPath=/w/a&mask=8");
    assert_eq!(told[2].1, "watchroot=/w&isdir=1&inotifyPath=/w/b%20%26%FF&mask=8");
    let long = String::from_utf8(longest()).unwrap();
    assert_eq!(told[3].1, format!("watchroot=/w&isdir=0&inotifyPath=/w/{long}&mask=8"));
}

#[test]
fn formats() {
    let form = |name| format!("watchroot=/w&isdir=0&inotifyPath=/w/{name}&mask=8");
    for (call, kind, body) in [
        (json(single(10)), "application/json", object("a")),
        (batch(10), "text/plain", form("a") + "\n" + &form("b")),
        (json(batch(10)), "application/json", format!("[{},{}]", object("a"), object("b"))),
    ] {
        let peer = server(status("200 OK"));
        assert_eq!(http(peer.port, call).tell(&["a", "b"].map(event)).unwrap().verdicts, [Delivered; 2]);
        peer.next();
        let (head, found) = peer.next();
        assert!(head.to_lowercase().contains(&format!("content-type: {kind}\r\n")), "{head}");
        assert_eq!(found, body);
    }
}

#[test]
fn statuses() {
    let table: [(&str, Verdict); 13] = [
        ("204 No Content", Delivered),
        ("201 Created", Delivered),
        ("301 Moved", Refused),
        ("400 Bad", Refused),
        ("401 Who", Refused),
        ("404 Not Found", Refused),
        ("500 Oops", Refused),
        ("408 Slow", Unreachable),
        ("425 Early", Unreachable),
        ("429 Many", Unreachable),
        ("502 Bad Gateway", Unreachable),
        ("503 Later", Unreachable),
        ("504 Gateway", Unreachable),
    ];
    for (line, verdict) in table {
        let length = if line.starts_with("204") { "" } else { "Content-Length: 0\r\n" };
        let peer = server(format!("HTTP/1.1 {line}\r\n{length}\r\n"));
        let told = http(peer.port, single(10)).tell(&["a", "b"].map(event)).unwrap();
        assert_eq!(told.verdicts, vec![verdict; if verdict == Unreachable { 1 } else { 2 }], "{line}");
        let note = if verdict == Delivered { String::new() } else { format!("HTTP {}", &line[..3]) };
        assert_eq!(told.note, note);
    }
}

#[test]
fn redirects_are_not_followed() {
    let target = server(status("200 OK"));
    for code in ["301 Moved", "302 Found", "303 Other", "307 Temporary", "308 Permanent"] {
        let answer = format!(
            "HTTP/1.1 {code}\r\nLocation: http://127.0.0.1:{}/\r\nContent-Length: 0\r\n\r\n",
            target.port
        );
        let peer = server(answer);
        let told = http(peer.port, single(10)).tell(&[event("a")]).unwrap();
        assert_eq!((told.verdicts, told.note), (vec![Refused], format!("HTTP {}", &code[..3])));
    }
    assert!(target.all().is_empty());
}

#[test]
fn nobody_there() {
    for host in ["127.0.0.1", "no-such-host.invalid"] {
        let url = format!("http://{host}:{}/", deaf_port());
        let told =
            http_to(format!("{url}?key=SECRET"), None, single(20)).tell(&["a", "b"].map(event)).unwrap();
        assert_eq!(told.verdicts, [Unreachable]);
        assert!(told.note.starts_with(&format!("post {url}: ")), "{}", told.note);
        assert!(!told.note.contains("SECRET"), "{}", told.note);
    }
}

/// Ends of a conversation that are none: each takes at most the time of one call.
#[test]
fn servers_that_misbehave() {
    type Serve = fn(TcpStream);
    let table: [(&str, Serve, Verdict); 6] = [
        ("hangs", |mut stream| drop((request(&mut stream), sleep(Duration::from_secs(60)))), Unreachable),
        ("hangs up", |mut stream| drop(request(&mut stream)), Unreachable),
        ("hangs up at once", drop, Unreachable),
        ("babbles", |mut stream| flood(&mut stream, b"\0\xff"), Unreachable),
        (
            "endless head",
            |mut stream| {
                request(&mut stream);
                stream.write_all(b"HTTP/1.1 200 OK\r\n").unwrap();
                flood(&mut stream, b"A: b\r\n");
            },
            Unreachable,
        ),
        (
            "endless body",
            |mut stream| {
                request(&mut stream);
                stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999\r\n\r\n").unwrap();
                flood(&mut stream, b"x");
            },
            Delivered,
        ),
    ];
    for (name, serve, verdict) in table {
        let peer = Peer::new(move |stream: TcpStream, _: &Sender<()>| serve(stream));
        let start = Instant::now();
        let told = http(peer.port, single(2)).tell(&[event("a")]).unwrap();
        assert_eq!(told.verdicts, [verdict], "{name}: {}", told.note);
        assert!(start.elapsed() < Duration::from_secs(4), "{name}: {:?}", start.elapsed());
    }
}

/// Only whoever sits in the config is told, not a proxy that the environment names.
#[test]
fn no_proxy_from_the_environment() {
    let mut again = Command::new(std::env::current_exe().unwrap());
    let dead = format!("http://127.0.0.1:{}", deaf_port());
    for name in ["http_proxy", "HTTP_PROXY", "https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"] {
        again.env(name, &dead);
    }
    let output = again.args(["--exact", "http::forms"]).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && text.contains("1 passed"), "{text}");
}

/// The next change waited until the time of the call was over.
#[test]
fn a_body_that_does_not_end_holds_nobody_up() {
    type Serve = fn(&mut TcpStream);
    let hangs: Serve = |stream| {
        let _ = stream.read(&mut [0]);
    };
    let drips: Serve = |stream| {
        while stream.write_all(b"x").is_ok() {
            sleep(Duration::from_millis(50));
        }
    };
    for (line, verdict) in [("200 OK", Delivered), ("403 No", Refused)] {
        for rest in [hangs, drips] {
            let peer = Peer::new(move |mut stream: TcpStream, sender: &Sender<String>| {
                sender.send(request(&mut stream).unwrap().1).unwrap();
                write!(stream, "HTTP/1.1 {line}\r\nContent-Length: 99999\r\n\r\nbegun").unwrap();
                rest(&mut stream);
            });
            let start = Instant::now();
            let told = http(peer.port, single(60)).tell(&["a", "b"].map(event)).unwrap();
            assert_eq!(told.verdicts, [verdict; 2]);
            assert!(start.elapsed() < Duration::from_secs(10), "{:?}", start.elapsed());
            // Each on a connection of its own.
            assert_eq!(peer.all().len(), 2);
        }
    }
}

fn server_config(chain: &rcgen::Certificate, key: &KeyPair) -> Arc<ServerConfig> {
    let chain = vec![CertificateDer::from(chain.der().to_vec())];
    let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .unwrap();
    Arc::new(config)
}

/// Says `200 OK` to each request, and tells its body.
fn tls_server(config: Arc<ServerConfig>) -> Peer<String> {
    Peer::new(move |stream: TcpStream, sender: &Sender<String>| {
        let mut stream = StreamOwned::new(ServerConnection::new(config.clone()).unwrap(), stream);
        while let Some((_, body)) = request(&mut stream) {
            sender.send(body).unwrap();
            stream.write_all(status("200 OK").as_bytes()).unwrap();
        }
    })
}

/// `openssl req -x509` marks it as a CA, and nothing said what was wrong with it.
#[test]
fn a_self_signed_certificate_that_is_marked_as_a_ca_is_named() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("own.pem");
    for (is_ca, verdicts) in [
        (IsCa::NoCa, vec![Delivered; 2]),
        (IsCa::ExplicitNoCa, vec![Delivered; 2]),
        (IsCa::Ca(BasicConstraints::Unconstrained), vec![Unreachable]),
    ] {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        params.is_ca = is_ca;
        let own = params.self_signed(&key).unwrap();
        fs::write(&file, own.pem()).unwrap();
        let peer = tls_server(server_config(&own, &key));
        let url = format!("https://localhost:{}/", peer.port);
        let ca = Some(file.clone().into());
        let told = http_to(url, ca, single(10)).tell(&["a", "b"].map(event)).unwrap();
        assert_eq!(told.verdicts, verdicts, "{is_ca:?} {}", told.note);
        let is_named = told.note.contains("CaUsedAsEndEntity") && told.note.ends_with("it needs CA:FALSE");
        assert_eq!(is_named, verdicts == [Unreachable], "{}", told.note);
    }
}

/// A CA, and a server for `localhost` that it vouches for.
fn authority() -> (String, Arc<ServerConfig>) {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(vec![]).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let ca = params.self_signed(&key).unwrap();
    let server_key = KeyPair::generate().unwrap();
    let issuer = Issuer::new(params, key);
    let certificate = CertificateParams::new(vec!["localhost".to_owned()])
        .unwrap()
        .signed_by(&server_key, &issuer)
        .unwrap();
    (ca.pem(), server_config(&certificate, &server_key))
}

#[test]
fn only_the_configured_authority_is_believed() {
    let (ca, config) = authority();
    let (other, _) = authority();
    let peer = tls_server(config);
    let directory = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str| {
        let path = directory.path().join(name);
        fs::write(&path, text).unwrap();
        Some(OsString::from(path))
    };
    let (ca, other) = (file("ca.pem", &ca), file("other.pem", &other));
    let tell = |host: &str, ca| {
        let url = format!("https://{host}:{}/", peer.port);
        http_to(url, ca, single(10)).tell(&["a", "b"].map(event)).unwrap()
    };
    assert_eq!(tell("localhost", ca.clone()).verdicts, [Delivered; 2]);
    assert_eq!(peer.all().len(), 2);
    // Another authority; the system's; another name than the certificate's.
    for (host, ca) in [("localhost", other), ("localhost", None), ("127.0.0.1", ca)] {
        let told = tell(host, ca);
        assert_eq!(told.verdicts, [Unreachable]);
        assert!(told.note.to_lowercase().contains("certificate"), "{}", told.note);
    }
    assert!(peer.all().is_empty());
}
