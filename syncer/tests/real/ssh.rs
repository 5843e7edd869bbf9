//! Over ssh, against a real sshd on a loopback port with keys made for the test.
//!
//! sshd must be installed: without it these tests fail, for what they prove is proven nowhere
//! else. They log in as whoever runs them; for root that takes an account that is not locked.

use std::fs;
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use common::config::Ssh;
use common::event::Dirt::{Deep, Removed, Touched};
use common::message::{Load, Move, Outcome, SshSlice, Work};
use common::path::RelPath;
use nix::unistd::{User, geteuid};

use crate::mirror::{Mirror, batch, expressions, tree, wait_for, write_program};
use crate::renamed::noise;

/// A mirror whose remote is a path on this machine, reached over ssh.
struct Remote {
    mirror: Mirror,
    keys: PathBuf,
    port: u16,
    sshd: Child,
}

impl Remote {
    fn start() -> Remote {
        let mirror = Mirror::start();
        let keys = mirror.directory.path().join("ke'ys of mine");
        fs::create_dir(&keys).unwrap();
        for name in ["host", "other host", "user", "stranger"] {
            keygen(&keys.join(name));
        }
        fs::copy(keys.join("user.pub"), keys.join("authorized")).unwrap();
        let (sshd, port) = start_sshd(&keys);
        let mut remote = Remote { mirror, keys, port, sshd };
        remote.knows("host");
        let known_hosts = remote.known_hosts();
        let slice = &mut remote.mirror.slice;
        slice.remote.module = remote.mirror.replica.clone().into();
        slice.remote.rsync.port = Some(port);
        slice.remote.rsync.ssh = Some(Ssh::default());
        slice.ssh = Some(SshSlice {
            program: "/usr/bin/ssh".into(),
            user: User::from_uid(geteuid()).unwrap().unwrap().name,
            identities: vec![remote.keys.join("user").into()],
            known_hosts: vec!["/nonexistent/known".into(), known_hosts.into()],
        });
        remote
    }

    fn known_hosts(&self) -> PathBuf {
        self.keys.join("known 100% hosts")
    }

    /// Makes that key the one which is known of the remote.
    fn knows(&self, key: &str) {
        let key = fs::read_to_string(self.keys.join(format!("{key}.pub"))).unwrap();
        fs::write(self.known_hosts(), format!("[127.0.0.1]:{} {key}", self.port)).unwrap();
    }

    fn outcome(&self) -> (Outcome, String) {
        let end = self.mirror.run(batch(&[("a", Touched)]));
        (end.outcome, format!("{} {}", end.status, end.tail))
    }
}

impl Drop for Remote {
    fn drop(&mut self) {
        let _ = self.sshd.kill();
        let _ = self.sshd.wait();
    }
}

fn keygen(file: &Path) {
    let mut command = Command::new("ssh-keygen");
    command.args(["-q", "-t", "ed25519", "-N", "", "-f"]).arg(file);
    assert!(command.status().expect("ssh-keygen: install openssh-client").success());
}

/// sshd wants its full path, and a directory for a privilege separation that root only does.
fn start_sshd(keys: &Path) -> (Child, u16) {
    const SSHD: &str = "/usr/sbin/sshd";
    assert!(Path::new(SSHD).exists(), "{SSHD}: install openssh-server");
    if geteuid().is_root() {
        fs::create_dir_all("/run/sshd").unwrap();
    }
    let quoted = |name: &str| format!("\"{}\"", keys.join(name).display());
    for _ in 0..20 {
        let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port();
        let config = format!(
            "Port {port}\nListenAddress 127.0.0.1\nHostKey {}\nAuthorizedKeysFile {}\nPidFile none\n\
             StrictModes no\nUsePAM no\nPasswordAuthentication no\nKbdInteractiveAuthentication no\n\
             PermitRootLogin yes\nMaxStartups 100\n",
            quoted("host"),
            quoted("authorized")
        );
        let file = keys.join("sshd_config");
        fs::write(&file, config).unwrap();
        let log = fs::File::create(keys.join("sshd.log")).unwrap();
        let mut sshd = Command::new(SSHD)
            .args(["-D", "-e", "-f"])
            .arg(&file)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap();
        let mut up = false;
        wait_for("sshd", || {
            up = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_ok();
            up || sshd.try_wait().unwrap().is_some()
        });
        if up && sshd.try_wait().unwrap().is_none() {
            return (sshd, port);
        }
        let _ = sshd.kill();
        let _ = sshd.wait();
    }
    panic!("sshd does not start: {}", fs::read_to_string(keys.join("sshd.log")).unwrap());
}

#[test]
fn transfers_and_removes() {
    let mut remote = Remote::start();
    let mirror = &mut remote.mirror;
    mirror.write_there("d/extra");
    mirror.write_there("gone");
    mirror.write("d/a");
    mirror.write("#b");
    mirror.equal_after(&[("d", Deep), ("gone", Removed), ("#b", Touched)]);
    mirror.slice.filter = expressions(&["kept"]);
    mirror.slice.remote.rsync.bwlimit = Some(10_000);
    mirror.write_there("kept");
    mirror.write_there("extra");
    assert_eq!(mirror.run(Work::Full).outcome, Outcome::Done);
    assert_eq!(mirror.replica_names(), ["#b", "d/", "d/a", "kept"]);
}

#[test]
fn unknown_and_changed_hosts() {
    let remote = Remote::start();
    remote.mirror.write("a");
    remote.knows("other host");
    let (outcome, said) = remote.outcome();
    assert_eq!(outcome, Outcome::UnknownHost, "{said}");
    assert!(said.contains("HAS CHANGED"), "{said}");
    fs::write(remote.known_hosts(), "").unwrap();
    let (outcome, said) = remote.outcome();
    assert_eq!(outcome, Outcome::UnknownHost, "{said}");
    assert!(said.contains("host key is known"), "{said}");
    assert_eq!(fs::read(remote.known_hosts()).unwrap(), b"");
    remote.knows("host");
    assert_eq!(remote.outcome().0, Outcome::Done);
    assert_eq!(tree(&remote.mirror.replica), tree(&remote.mirror.source));
}

#[test]
fn a_key_that_the_remote_does_not_take() {
    let mut remote = Remote::start();
    remote.mirror.write("a");
    let stranger = remote.keys.join("stranger").into();
    remote.mirror.slice.ssh.as_mut().unwrap().identities = vec![stranger];
    let (outcome, said) = remote.outcome();
    assert_eq!(outcome, Outcome::Refused, "{said}");
    assert!(said.contains("Permission denied (publickey"), "{said}");
}

#[test]
fn nobody_there() {
    let mut remote = Remote::start();
    remote.mirror.write("a");
    let closed = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port();
    remote.mirror.slice.remote.rsync.port = Some(closed);
    let (outcome, said) = remote.outcome();
    assert_eq!(outcome, Outcome::Unreachable, "{said}");
    remote.mirror.slice.ssh.as_mut().unwrap().program = "/bin/false".into();
    let (outcome, said) = remote.outcome();
    assert_eq!(outcome, Outcome::Unreachable, "{said}");
}

/// No shell on the way reads anything into a path or a name.
#[test]
fn nothing_is_interpreted() {
    interprets_nothing(Local::Ours);
}

/// An rsync from before 3.2.4 leaves remote paths to the remote's shell.
#[test]
fn nothing_is_interpreted_by_an_old_client() {
    interprets_nothing(Local::Old);
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Local {
    Ours,
    /// Says that it is an older one, and escapes as little.
    Old,
}

fn interprets_nothing(local: Local) {
    for name in [
        "b l a n k",
        "$(touch INJ)",
        "q'u\"o`t`e",
        "w*?[a-z]",
        "back\\sl*ash",
        "a;touch INJ&",
        "tab\tand\nline",
    ] {
        let mut remote = Remote::start();
        let mirror = &mut remote.mirror;
        if local == Local::Old {
            let program = mirror.directory.path().join("rsync");
            let script = "#!/bin/bash\nRSYNC_OLD_ARGS=1 exec /usr/bin/rsync \"$@\"\n";
            write_program(&program, script);
            mirror.slice.rsync_program = program.into();
            mirror.slice.rsync_version = (3, 1, 3);
        }
        // What a wildcard would find.
        for decoy in ["wxxa", "wxxb", "back\\slXash"] {
            fs::create_dir_all(mirror.replica.join(decoy)).unwrap();
        }
        let replica = mirror.replica.join(name);
        fs::create_dir(&replica).unwrap();
        mirror.slice.remote.module = replica.clone().into();
        mirror.write(name);
        mirror.write(format!("dir/{name}/in"));
        let end = mirror.run(batch(&[(name, Touched), ("dir", Deep)]));
        assert_eq!(end.outcome, Outcome::Done, "{name:?} {end:?}");
        assert_eq!(tree(&replica), tree(&mirror.source), "{name:?}");
        for decoy in ["wxxa", "wxxb", "back\\slXash"] {
            assert_eq!(fs::read_dir(mirror.replica.join(decoy)).unwrap().count(), 0, "{name:?}");
        }
        mirror.remove(name);
        mirror.batch(&[(name, Removed)]);
        assert_eq!(tree(&replica), tree(&mirror.source), "{name:?}");
        let home = User::from_uid(geteuid()).unwrap().unwrap().dir;
        assert!(!home.join("INJ").exists() && !mirror.source.join("INJ").exists(), "{name:?}");
    }
}

/// Whatever its old and its new name are: little more than sums.
#[test]
fn a_renamed_file_is_made_out_of_the_old_one() {
    const SIZE: usize = 2 << 20;
    let mut remote = Remote::start();
    let (program, told) = (remote.keys.join("rsync"), remote.keys.join("told"));
    let script =
        "#!/bin/bash\n/usr/bin/rsync --stats \"$@\" | tee -a \"${0%/*}/told\"; exit ${PIPESTATUS[0]}\n";
    write_program(&program, script);
    remote.mirror.slice.rsync_program = program.into();
    let mirror = &remote.mirror;
    for place in ["a/x", "b/c/y"] {
        mirror.write(place);
    }
    fs::write(mirror.source.join("a/f"), noise(1, SIZE)).unwrap();
    assert_eq!(mirror.run(Work::Full).outcome, Outcome::Done);
    let sent = || -> usize {
        let told = fs::read_to_string(&told).unwrap();
        let bytes = told.lines().filter_map(|line| line.strip_prefix("Total bytes sent: "));
        bytes.map(|bytes| bytes.replace(',', "").parse::<usize>().unwrap()).sum()
    };
    assert!(sent() > SIZE);
    for (from, to) in [("a/f", "a/g"), ("a/g", "b/c/g"), ("b/c/g", "a/f"), ("a/f", "a/f.1")] {
        fs::rename(mirror.source.join(from), mirror.source.join(to)).unwrap();
        let before = sent();
        let moves = vec![Move { from: RelPath::new(from).unwrap(), to: RelPath::new(to).unwrap() }];
        let work = batch(&[(from, Removed), (to, Touched)]);
        let end = mirror.run_with(&mut mirror.worker(), work, Load::Any, moves);
        assert_eq!(end.outcome, Outcome::Done, "{end:?}");
        assert!(tree(&mirror.replica) == tree(&mirror.source), "{from} {to}");
        assert!(sent() - before < SIZE / 50, "{from} {to} {}", sent() - before);
    }
}
