//! Mirroring over ssh, to a real sshd with keys made for the test.
#![allow(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test that cannot go on fails"
)]

use std::fs;
use std::io::Read;
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use tempfile::TempDir;

use crate::support::{Mirror, SOON, Setup, exists, holds, is_root, processes, wait_until, write};

/// An sshd of our own; gone when dropped.
struct Sshd {
    port: u16,
    process: Child,
    keys: TempDir,
}

impl Sshd {
    fn start() -> Sshd {
        let keys = tempfile::Builder::new().prefix("sersync-e2e-").tempdir().unwrap();
        let directory = keys.path();
        for key in ["key", "hostkey", "otherkey"] {
            let made = Command::new("ssh-keygen")
                .args(["-q", "-t", "ed25519", "-N", "", "-C", "test", "-f"])
                .arg(directory.join(key))
                .status();
            assert!(made.unwrap().success());
        }
        fs::copy(directory.join("key.pub"), directory.join("authorized")).unwrap();
        if is_root() {
            // sshd insists on it.
            fs::create_dir_all("/run/sshd").unwrap();
        }
        // Another process may take the free port before sshd does; then the next one is tried.
        for _ in 0..10 {
            let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port();
            if let Some(process) = try_start(directory, port) {
                let host_key = fs::read_to_string(directory.join("hostkey.pub")).unwrap();
                write(directory.join("known"), format!("[127.0.0.1]:{port} {host_key}"));
                return Sshd { port, process, keys };
            }
        }
        panic!("no sshd: is openssh-server installed?");
    }
}

impl Drop for Sshd {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn try_start(directory: &Path, port: u16) -> Option<Child> {
    let option = |text: String| ["-o".to_owned(), text];
    let options = [
        option("ListenAddress=127.0.0.1".to_owned()),
        option(format!("Port={port}")),
        option("PidFile=none".to_owned()),
        option("StrictModes=no".to_owned()),
        option("PermitRootLogin=yes".to_owned()),
        option(format!("AuthorizedKeysFile={}", directory.join("authorized").display())),
    ];
    let log = fs::File::create(directory.join("sshd.log")).unwrap();
    let mut process = Command::new("/usr/sbin/sshd")
        .args(["-D", "-e", "-f", "/dev/null", "-h"])
        .arg(directory.join("hostkey"))
        .args(options.as_flattened())
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(log)
        .spawn()
        .ok()?;
    let mut answers = false;
    wait_until("sshd answers or ends", SOON, || {
        let ended = process.try_wait().unwrap().is_some();
        answers = !ended && greets(port);
        ended || answers
    });
    answers.then_some(process)
}

fn greets(port: u16) -> bool {
    let mut greeting = [0; 3];
    TcpStream::connect((Ipv4Addr::LOCALHOST, port))
        .and_then(|mut stream| {
            stream.set_read_timeout(Some(Duration::from_secs(2)))?;
            stream.read_exact(&mut greeting)
        })
        .is_ok_and(|()| greeting == *b"SSH")
}

/// A mirror whose one remote is a path behind that sshd.
fn mirror(setup: Setup, known: &str) -> (Mirror, Sshd) {
    let sshd = Sshd::start();
    let keys = sshd.keys.path();
    let remote = format!(
        "name=\"@DIR@/replica0\" ssh=\"true\" port=\"{}\" identity=\"{}\" knownhosts=\"{}\"/>",
        sshd.port,
        keys.join("key").display(),
        keys.join(known).display()
    );
    (Mirror::new(setup.edit("name=\"m0\"/>", remote)), sshd)
}

#[test]
fn a_thousand_files_a_rename_and_deletions() {
    let (mut mirror, _sshd) = mirror(Setup::exact(), "known");
    for n in 0..1000 {
        write(mirror.source(format!("d{}/f{n}", n % 10)), format!("{n}"));
    }
    write(mirror.replica("stale"), "only there");
    mirror.run();
    mirror.wait_equal(SOON);
    assert!(!exists(mirror.replica("stale")));
    if is_root() {
        let syncer = mirror.supervisor().child("syncer0");
        let uid = processes::status(syncer, "Uid").unwrap();
        assert!(uid.split(' ').all(|uid| uid.parse::<u32>().unwrap() >= 2_000_000_000), "{uid}");
    }
    fs::rename(mirror.source("d3"), mirror.source("renamed")).unwrap();
    fs::remove_dir_all(mirror.source("d4")).unwrap();
    for n in 0..10 {
        fs::remove_file(mirror.source(format!("d{n}/f{n}"))).ok();
    }
    for name in ["$(touch INJ)", "a b'c\"d", "*", "-e touch INJ", "line\nbreak"] {
        write(mirror.source(name), name);
    }
    mirror.wait_equal(SOON);
    assert!(holds(mirror.replica("renamed/f3"), "3") || !exists(mirror.source("renamed/f3")));
    assert!(!exists(mirror.replica("INJ")) && !exists("/root/INJ"));
}

#[test]
fn a_renamed_directory_is_made_out_of_the_old_one() {
    let (mut mirror, _sshd) = mirror(Setup::exact(), "known");
    for n in 0..300 {
        write(mirror.source(format!("a/old/f{n}")), format!("{n}"));
    }
    mirror.run();
    // While the full sync runs, all of what is renamed would travel.
    mirror.wait_done();
    // While they are open nothing else gets their numbers.
    let open = |n: u32| fs::File::open(mirror.replica(format!("a/old/f{n}"))).unwrap();
    let before: Vec<fs::File> = (0..300).map(open).collect();
    fs::rename(mirror.source("a/old"), mirror.source("new")).unwrap();
    mirror.wait_equal(SOON);
    for (n, file) in before.iter().enumerate() {
        let now = fs::metadata(mirror.replica(format!("new/f{n}"))).unwrap();
        assert_eq!((now.ino(), now.nlink()), (file.metadata().unwrap().ino(), 1), "f{n}\n{}", mirror.log());
    }
}

#[test]
fn an_unknown_host_key_says_what_to_do() {
    let (mut mirror, _sshd) = mirror(Setup::plain(), "nothing");
    mirror.run();
    write(mirror.source("f"), "x");
    mirror.wait_logged("ssh-keyscan");
    assert!(mirror.log().contains("known_hosts"), "{}", mirror.log());
    assert!(!exists(mirror.replica("f")));
    assert_eq!(mirror.logged("remote down"), 1, "{}", mirror.log());
}
