//! What a remote, a root or an rsync can do to a job, and what the supervisor is told.

use std::ffi::OsString;
use std::fs;
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::fs::PermissionsExt;
use std::time::{Duration, Instant};

use common::config::Auth;
use common::event::Dirt::{Deep, Removed, Sweep, Touched};
use common::event::RootId;
use common::message::{Deletions, Load, Outcome, Work};

use crate::mirror::{Mirror, batch};

fn identity(mirror: &Mirror) -> RootId {
    let meta = fs::metadata(&mirror.source).unwrap();
    RootId::from(&meta)
}

#[test]
fn a_root_that_is_another_or_missing() {
    let mirror = Mirror::with(&["a", "d/b"]);
    let seen = identity(&mirror);
    let before = mirror.replica_names();
    fs::rename(&mirror.source, mirror.directory.path().join("old")).unwrap();
    let works = || [batch(&[("a", Removed), ("d", Deep)]), Work::Full, batch(&[("", Sweep)])];
    for work in works() {
        let end = mirror.run_on(seen, work);
        assert_eq!((end.outcome, end.status), (Outcome::RootGone, 0));
        assert!(end.tail.contains("No such file"), "{}", end.tail);
    }
    fs::create_dir(&mirror.source).unwrap();
    for work in works() {
        let end = mirror.run_on(seen, work);
        assert_eq!((end.outcome, end.status), (Outcome::RootGone, 0));
        assert!(end.tail.contains("another directory"), "{}", end.tail);
    }
    assert_eq!(mirror.replica_names(), before);
}

#[test]
fn an_empty_root() {
    let mut mirror = Mirror::with(&["a"]);
    mirror.remove("a");
    for work in [Work::Full, batch(&[("", Deep), ("a", Removed)])] {
        let end = mirror.run(work);
        assert_eq!((end.outcome, end.status), (Outcome::RootEmpty, 0));
    }
    assert_eq!(mirror.replica_names(), ["a"]);
    // Nothing can be lost where nothing is deleted.
    mirror.deletions = Deletions::Held;
    assert_eq!(mirror.run(Work::Full).outcome, Outcome::Done);
    assert_eq!(mirror.replica_names(), ["a"]);
}

#[test]
fn a_remote_that_says_nothing() {
    let silent = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let mut mirror = Mirror::start();
    mirror.write("a");
    mirror.slice.remote.rsync.port = Some(silent.local_addr().unwrap().port());
    mirror.slice.remote.rsync.timeout = Some(1);
    let start = Instant::now();
    let end = mirror.run(batch(&[("a", Touched)]));
    assert_eq!((end.outcome, end.status), (Outcome::Unreachable, 30), "{end:?}");
    assert!(start.elapsed() < Duration::from_secs(20));
}

#[test]
fn a_closed_port() {
    let mut mirror = Mirror::start();
    let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port();
    mirror.slice.remote.rsync.port = Some(port);
    let end = mirror.run(batch(&[("a", Touched), ("b", Deep)]));
    assert_eq!((end.outcome, end.status), (Outcome::Unreachable, 10), "{end:?}");
    assert!(end.tail.contains("Connection refused"), "{}", end.tail);
    // From the second time on it is only knocked at: that ended with 0, which the fail log told as success.
    let mut worker = mirror.worker();
    for said in ["failed to connect", "no rsync was started: 127.0.0.1:"] {
        let end = mirror.run_with(&mut worker, batch(&[("a", Touched)]), Load::Any, Vec::new());
        assert_eq!((end.outcome, end.status), (Outcome::Unreachable, 10), "{end:?}");
        assert!(end.tail.contains(said) && end.tail.contains("Connection refused"), "{}", end.tail);
    }
}

#[test]
fn wrong_module_and_read_only_module() {
    let mut mirror = Mirror::start_with("read only = yes");
    mirror.write("a");
    let end = mirror.run(batch(&[("a", Touched)]));
    assert_eq!(end.outcome, Outcome::Refused, "{end:?}");
    mirror.slice.remote.module = "other".into();
    let end = mirror.run(batch(&[("a", Touched)]));
    assert_eq!((end.outcome, end.status), (Outcome::Refused, 5), "{end:?}");
}

#[test]
fn passwords() {
    let mut mirror = Mirror::start_with("auth users = bob\nsecrets file = DIR/secrets");
    mirror.write("a");
    let (secrets, password) =
        (mirror.directory.path().join("secrets"), mirror.directory.path().join("password"));
    for (file, text) in [(&secrets, "bob:right\n"), (&password, "wrong\n")] {
        fs::write(file, text).unwrap();
        fs::set_permissions(file, fs::Permissions::from_mode(0o600)).unwrap();
    }
    mirror.slice.remote.rsync.auth =
        Some(Auth { user: Some("bob".into()), password_file: Some(password.clone().into()) });
    let expect = |outcome| {
        let end = mirror.run(batch(&[("a", Touched)]));
        assert_eq!(end.outcome, outcome, "{end:?}");
    };
    expect(Outcome::Refused);
    fs::write(&password, "right\n").unwrap();
    expect(Outcome::Done);
    fs::set_permissions(&password, fs::Permissions::from_mode(0o644)).unwrap();
    expect(Outcome::Misconfigured);
    fs::remove_file(&password).unwrap();
    expect(Outcome::Misconfigured);
}

#[test]
fn a_full_remote() {
    let mirror = Mirror::start();
    let Some(_small) = Mount::tmpfs(&mirror.replica) else {
        eprintln!("skipped: tmpfs cannot be mounted");
        return;
    };
    fs::write(mirror.source.join("big"), vec![7; 1 << 20]).unwrap();
    mirror.write("d/a");
    let end = mirror.run(batch(&[("big", Touched), ("d", Deep)]));
    assert_eq!((end.outcome, end.status), (Outcome::NoSpace, 11), "{end:?}");
}

#[test]
fn parameters_and_programs_that_do_not_work() {
    let mut mirror = Mirror::start();
    mirror.write("a");
    mirror.slice.remote.rsync.params = vec!["--no-such-thing".into()];
    let end = mirror.run(batch(&[("a", Touched)]));
    assert_eq!((end.outcome, end.status), (Outcome::Misconfigured, 1), "{end:?}");
    mirror.slice.rsync_program = "/nonexistent/rsync".into();
    let end = mirror.run(batch(&[("a", Touched)]));
    assert_eq!((end.outcome, end.status), (Outcome::Misconfigured, 0), "{end:?}");
    assert!(end.tail.contains("No such file"), "{}", end.tail);
}

#[test]
fn an_rsync_that_was_stopped() {
    let mut mirror = Mirror::start();
    mirror.write("a");
    mirror.slice.rsync_program = "/bin/sh".into();
    mirror.slice.remote.rsync.params = ["-c", "kill -STOP $$"].map(OsString::from).into();
    let end = mirror.run(batch(&[("a", Touched), ("b", Deep)]));
    assert_eq!((end.outcome, end.status), (Outcome::Broken, -9), "{end:?}");
}

/// A job of several runs: a part that fails does not keep the rest from going.
#[test]
fn the_worst_run_counts() {
    let mirror = Mirror::with(&["d/a"]);
    mirror.write("d/b");
    mirror.write("x");
    // The shallow run meets a name that cannot be looked at.
    let long = "n".repeat(300);
    let end = mirror.run(batch(&[(long.as_str(), Touched), ("x", Touched), ("d", Deep)]));
    assert_eq!((end.outcome, end.status), (Outcome::Partial, 23), "{end:?}");
    assert_eq!(mirror.replica_names(), ["d/", "d/a", "d/b", "x"]);
}

/// A small filesystem on a directory, for as long as this lives.
struct Mount(std::path::PathBuf);

impl Mount {
    fn tmpfs(directory: &std::path::Path) -> Option<Mount> {
        let mut mount = std::process::Command::new("mount");
        let done = mount.args(["-t", "tmpfs", "-o", "size=256k", "tmpfs"]).arg(directory).output().ok()?;
        done.status.success().then(|| Mount(directory.to_owned()))
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        let _ = std::process::Command::new("umount").arg("-l").arg(&self.0).output();
    }
}
