//! Name lookups under the filters of plugins and syncers: no UDP, no netlink, no cache's socket.

use super::*;

use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, TcpListener, TcpStream, ToSocketAddrs};
use std::thread;

use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};

/// Where the name server of this test listens: port 53, which only root can take.
const SERVER: Ipv4Addr = Ipv4Addr::new(127, 83, 29, 53);

fn addresses(name: &str) -> Vec<IpAddr> {
    let found = (name, 80).to_socket_addrs().unwrap_or_else(|error| panic!("{name}: {error}"));
    let mut found: Vec<_> = found.map(|address| address.ip()).collect();
    found.sort();
    found.dedup();
    found
}

#[test]
fn localhost() {
    if let Some(deed) = deed() {
        enter(named(&deed));
        // In a thread of its own, as plugins look names up; the filter is inherited.
        let found = thread::spawn(|| addresses("localhost")).join().unwrap();
        assert!(found.iter().all(IpAddr::is_loopback) && !found.is_empty(), "{found:?}");
        return;
    }
    for list in ["Plugin", "Syncer"] {
        succeeded(&child("names::localhost", list).output().unwrap());
    }
}

/// Answers each question for `one.test` with one address and for `many.test` with six, so that
/// libc sorts them, for which it would like UDP sockets.
fn serve(mut stream: TcpStream) -> std::io::Result<()> {
    loop {
        let mut length = [0; 2];
        stream.read_exact(&mut length)?;
        let mut question = vec![0; usize::from(u16::from_be_bytes(length))];
        stream.read_exact(&mut question)?;
        let name_ends = question.iter().skip(12).position(|&byte| byte == 0).unwrap() + 13;
        let (many, of_six) = (question[13..].starts_with(b"many"), question[name_ends + 1] == 28);
        let count = match (many, of_six) {
            (true, _) => 3,
            (false, true) => 0,
            (false, false) => 1,
        };
        let mut answer = question[..name_ends + 4].to_vec();
        answer[2..4].copy_from_slice(&[0x81, 0x80]);
        answer[4..12].copy_from_slice(&[0, 1, 0, count, 0, 0, 0, 0]);
        for n in 1..=count {
            let address: Vec<u8> = if of_six {
                [&[0x20, 0x01, 0x0d, 0xb8][..], &[0; 11], &[n]].concat()
            } else {
                vec![192, 0, 2, n]
            };
            answer.extend([0xc0, 12, 0, question[name_ends + 1], 0, 1, 0, 0, 0, 60, 0]);
            answer.push(u8::try_from(address.len()).unwrap());
            answer.extend(address);
        }
        stream.write_all(&u16::try_from(answer.len()).unwrap().to_be_bytes())?;
        stream.write_all(&answer)?;
    }
}

#[test]
fn over_tcp() {
    if let Some(deed) = deed() {
        let (list, resolver) = deed.split_once(' ').unwrap();
        unshare(CloneFlags::CLONE_NEWNS).unwrap();
        let no = None::<&str>;
        mount(no, "/", no, MsFlags::MS_REC | MsFlags::MS_PRIVATE, no).unwrap();
        mount(Some(resolver), "/etc/resolv.conf", no, MsFlags::MS_BIND, no).unwrap();
        enter(named(list));
        assert_eq!(addresses("one.test"), [IpAddr::from([192, 0, 2, 1])]);
        assert_eq!(addresses("many.test").len(), 6);
        return;
    }
    let listener = match TcpListener::bind((SERVER, 53)) {
        Ok(listener) => listener,
        Err(error) => return eprintln!("skipped: needs root for port 53: {error}"),
    };
    thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            thread::spawn(move || serve(stream));
        }
    });
    let mut resolver = tempfile::NamedTempFile::new().unwrap();
    writeln!(resolver, "nameserver {SERVER}").unwrap();
    for list in ["Plugin", "Syncer"] {
        let deed = format!("{list} {}", resolver.path().display());
        let output =
            child("names::over_tcp", &deed).env("RES_OPTIONS", "use-vc timeout:2 attempts:1").output();
        succeeded(&output.unwrap());
    }
}
