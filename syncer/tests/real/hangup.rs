//! Connections that break off without a word: by a remote that is old, or by a network that is
//! broken. A proxy in front of a healthy daemon does what either would do.

use std::fs;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;

use bstr::ByteSlice;
use common::event::Dirt::{Removed, Touched};
use common::message::{Outcome, Work};

use crate::mirror::{Mirror, batch, tree, wait_for};
use crate::old::{Life, lives_with};

/// What the client said in each connection, as far as it came.
type Heard = Arc<Mutex<Vec<Vec<u8>>>>;
/// Whether the connection of that number, from 1, breaks off over the word.
type Breaks = fn(usize, &[u8]) -> bool;

/// Puts a proxy in front of the daemon of `mirror`.
fn behind_a_proxy(mirror: &mut Mirror, breaks: Breaks) -> Heard {
    let daemon = mirror.slice.remote.rsync.port.unwrap();
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    mirror.slice.remote.rsync.port = Some(listener.local_addr().unwrap().port());
    let heard = Heard::default();
    let shared = heard.clone();
    thread::spawn(move || {
        for client in listener.incoming().map_while(Result::ok) {
            let mut connections = shared.lock().unwrap();
            connections.push(Vec::new());
            let (number, shared) = (connections.len(), shared.clone());
            let Ok(server) = TcpStream::connect((Ipv4Addr::LOCALHOST, daemon)) else { return };
            let (from, to) = (server.try_clone().unwrap(), client.try_clone().unwrap());
            thread::spawn(move || pump(from, to, |_| false));
            thread::spawn(move || {
                pump(client, server, |bytes| {
                    let said = &mut shared.lock().unwrap()[number - 1];
                    if said.len() < 4096 {
                        said.extend_from_slice(bytes);
                    }
                    breaks(number, said)
                });
            });
        }
    });
    heard
}

fn pump(mut from: TcpStream, mut to: TcpStream, mut breaks: impl FnMut(&[u8]) -> bool) {
    let mut buffer = [0; 4096];
    while let Ok(length) = from.read(&mut buffer)
        && length > 0
    {
        if breaks(&buffer[..length]) {
            let _ = (from.shutdown(Shutdown::Both), to.shutdown(Shutdown::Both));
            return;
        }
        if to.write_all(&buffer[..length]).is_err() {
            break;
        }
    }
    let _ = to.shutdown(Shutdown::Write);
}

fn connections(heard: &Heard) -> usize {
    heard.lock().unwrap().len()
}

/// A removal arrives, and the connections after it ask for all that a healthy remote can do.
fn is_not_degraded(life: &mut Life<'_>, heard: &Heard) {
    let before = connections(heard);
    life.done(&[("gone", Removed)]);
    wait_for("a warm one", || connections(heard) > before);
    let asks = |said: &[u8]| said.contains_str("--delete-missing-args") && said.contains_str("-@-1");
    wait_for("what it asks for", || asks(heard.lock().unwrap().last().unwrap()));
}

/// The greeting is over when this comes.
const ARGUMENTS: &str = "--server";

#[test]
fn old_daemons_that_only_hang_up() {
    let cases: [(Breaks, usize); 3] = [
        (|_, said| said.contains_str("--delete-missing-args"), 6),
        (|_, said| said.contains_str("-@-1"), 5),
        (|_, said| ["--delete-missing-args", "-@-1"].iter().any(|word| said.contains_str(word)), 7),
    ];
    for (number, (breaks, probes)) in cases.into_iter().enumerate() {
        let mut mirror = Mirror::start();
        let heard = behind_a_proxy(&mut mirror, breaks);
        mirror.write("a");
        let mut life = Life::new(&mirror);
        let end = life.run(batch(&[("a", Touched)]));
        assert_eq!((end.outcome, connections(&heard)), (Outcome::Unreachable, 1), "{number} {end:?}");
        life.equal_after(&[("a", Touched)]);
        // Two failures, the probes, the run, and the warm one.
        assert!(connections(&heard) <= probes + 3, "{number} {}", connections(&heard));
        mirror.remove("a");
        fs::remove_dir_all(&mirror.replica).unwrap();
        fs::create_dir(&mirror.replica).unwrap();
        // With a full sync, after which it is still known.
        lives_with(&mut life);
        mirror.write("last");
        life.equal_after(&[("last", Touched)]);
    }
}

/// A remote that hangs up whatever it is asked is not taken for an old one, and is not asked
/// three times for each job.
#[test]
fn a_broken_remote_is_not_old() {
    let mut mirror = Mirror::start();
    let heard = behind_a_proxy(&mut mirror, |_, said| said.contains_str(ARGUMENTS));
    mirror.write("a");
    let mut life = Life::new(&mirror);
    for wanted in [1, 4, 5, 8] {
        let end = life.run(batch(&[("a", Touched)]));
        assert_eq!((end.outcome, connections(&heard)), (Outcome::Unreachable, wanted), "{end:?}");
    }
}

#[test]
fn broken_connections_degrade_no_healthy_remote() {
    let networks: [(Breaks, usize); 5] = [
        (|number, said| number <= 1 && said.contains_str(ARGUMENTS), 1),
        (|number, said| number <= 2 && said.contains_str(ARGUMENTS), 2),
        (|number, said| number <= 3 && said.contains_str(ARGUMENTS), 2),
        (|number, said| number <= 4 && said.contains_str(ARGUMENTS), 2),
        (|number, said| number <= 5 && said.contains_str(ARGUMENTS), 3),
    ];
    for (breaks, failures) in networks {
        let mut mirror = Mirror::start();
        let heard = behind_a_proxy(&mut mirror, breaks);
        mirror.write("a");
        mirror.write_there("gone");
        let mut life = Life::new(&mirror);
        for _ in 0..failures {
            let end = life.run(batch(&[("a", Touched)]));
            assert_eq!(end.outcome, Outcome::Unreachable, "{end:?}");
            assert_eq!(mirror.replica_names(), ["gone"]);
        }
        life.done(&[("a", Touched)]);
        is_not_degraded(&mut life, &heard);
        assert_eq!(tree(&mirror.replica), tree(&mirror.source));
    }
}

/// The worst network: each probe that should fail does, and the others do not.
#[test]
fn a_wrong_guess_lasts_until_the_next_full_sync() {
    let mut mirror = Mirror::start();
    let heard = behind_a_proxy(&mut mirror, |number, said| {
        [1, 2, 3, 5, 6, 7].contains(&number) && said.contains_str(ARGUMENTS)
    });
    mirror.write("a");
    mirror.write_there("gone");
    let mut life = Life::new(&mirror);
    assert_eq!(life.run(batch(&[("a", Touched)])).outcome, Outcome::Unreachable);
    life.done(&[("a", Touched)]);
    let degraded = heard.lock().unwrap().get(7).unwrap().clone();
    assert!(!degraded.contains_str("--delete-missing-args") && !degraded.contains_str("-@-1"));
    // Slower, but nothing is lost.
    life.done(&[("gone", Removed)]);
    assert_eq!(mirror.replica_names(), ["a"]);
    assert_eq!(life.run(Work::Full).outcome, Outcome::Done);
    is_not_degraded(&mut life, &heard);
}

/// That would lose removals: it is believed only when the remote says it.
#[test]
fn a_remote_that_hangs_up_on_deletions_is_still_asked_for_them() {
    let mut mirror = Mirror::start();
    let heard = behind_a_proxy(&mut mirror, |_, said| said.contains_str("--delete"));
    mirror.write("b");
    mirror.write_there("a");
    let mut life = Life::new(&mirror);
    for _ in 0..5 {
        let end = life.run(batch(&[("a", Removed)]));
        assert_eq!(end.outcome, Outcome::Unreachable, "{end:?}");
    }
    assert!(connections(&heard) > 5);
    assert_eq!(mirror.replica_names(), ["a"]);
}
