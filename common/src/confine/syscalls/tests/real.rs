//! The filters in this kernel, each in a child of its own: what is refused, what is fatal, and
//! what goes on working.

use super::*;
use crate::confine::Confined;

use std::fs;
use std::io;
use std::net::{Ipv4Addr, TcpListener, TcpStream, UdpSocket};
use std::os::unix::net::UnixStream;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use nix::sched::{CloneFlags, unshare};
use nix::sys::signal::Signal;

#[test]
fn proof() {
    if let Some(deed) = deed() {
        enter(named(&deed));
        return prove(named(&deed), WITH).unwrap();
    }
    for list in ["Watcher", "Syncer", "Plugin", "Keeper", "Page", "Command"] {
        // Without the filter each proof fails: it is not the call itself that does.
        let error = prove(named(list), WITH).unwrap_err().to_string();
        assert!(error.contains("step 12 proof"), "{error}");
        succeeded(&child("real::proof", list).output().unwrap());
    }
}

#[test]
fn what_intruders_do() {
    if let Some(deed) = deed() {
        let (list, deed) = deed.split_once(' ').unwrap();
        enter(named(list));
        let answer = match deed {
            "chroot" => chroot("/"),
            "unshare" => unshare(CloneFlags::CLONE_NEWUSER),
            "mount" => nix::mount::umount("/nonexistent"),
            _ => std::process::abort(),
        };
        assert_eq!(answer, Err(Errno::EPERM));
        return;
    }
    for deed in ["chroot", "unshare", "mount", "abort"] {
        for list in ["Watcher", "Syncer", "Plugin", "Keeper", "Page", "Command"] {
            let ended = child("real::what_intruders_do", &format!("{list} {deed}")).output().unwrap();
            match (list, deed) {
                // A panic ends as what it is.
                (_, "abort") => assert_eq!(ended.status.signal(), Some(Signal::SIGABRT as i32), "{list}"),
                ("Command", _) => succeeded(&ended),
                _ => assert_eq!(ended.status.signal(), Some(Signal::SIGSYS as i32), "{list} {deed}"),
            }
        }
    }
}

fn not_there<T>(what: &str, result: io::Result<T>) {
    let error = result.err().and_then(|error| error.raw_os_error());
    assert_eq!(error, Some(libc::ENOSYS), "{what}");
}

#[test]
fn what_roles_do_not_do() {
    if let Some(deed) = deed() {
        let (list, place) = deed.split_once(' ').unwrap();
        let (list, place) = (named(list), Path::new(place));
        let permissions = fs::metadata(place).unwrap().permissions();
        enter(list);
        not_there("mkdir", fs::create_dir(place.join("new")));
        not_there("unlink", fs::remove_file(place.join("file")));
        not_there("rename", fs::rename(place.join("file"), place.join("other")));
        not_there("link", fs::hard_link(place.join("file"), place.join("other")));
        not_there("symlink", std::os::unix::fs::symlink("file", place.join("other")));
        not_there("chmod", fs::set_permissions(place.join("file"), permissions));
        not_there("UDP", UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)));
        not_there("a local socket", UnixStream::connect(place.join("socket")));
        not_there("listening", TcpListener::bind((Ipv4Addr::LOCALHOST, 0)));
        if list != Syscalls::Syncer {
            not_there("a program", Command::new("/bin/true").status());
        }
        if [Syscalls::Keeper, Syscalls::Page].contains(&list) {
            not_there("reading", fs::read(place.join("file")));
        } else {
            assert_eq!(fs::read(place.join("file")).unwrap(), b"as it was");
        }
        if [Syscalls::Watcher, Syscalls::MarkedWatcher, Syscalls::Keeper, Syscalls::Page].contains(&list) {
            not_there("TCP", TcpStream::connect((Ipv4Addr::LOCALHOST, 9)));
            not_there("a thread", std::thread::Builder::new().spawn(|| ()));
        } else {
            let refused = TcpStream::connect((Ipv4Addr::LOCALHOST, 9)).unwrap_err();
            assert_eq!(refused.kind(), io::ErrorKind::ConnectionRefused);
            assert_eq!(std::thread::spawn(|| 7).join().unwrap(), 7);
        }
        return;
    }
    for list in ROLES {
        let place = tempfile::tempdir().unwrap();
        fs::write(place.path().join("file"), "as it was").unwrap();
        let deed = format!("{list:?} {}", place.path().display());
        succeeded(&child("real::what_roles_do_not_do", &deed).output().unwrap());
        assert_eq!(fs::read(place.path().join("file")).unwrap(), b"as it was");
        assert_eq!(fs::read_dir(place.path()).unwrap().count(), 1);
    }
}

/// Ended when dropped.
struct Daemon(Child);

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// An rsync daemon that takes what is sent, on a port that was free.
fn daemon(place: &Path) -> (Daemon, u16) {
    let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port();
    // As root a daemon would become nobody, who may not write here.
    let user = if nix::unistd::geteuid().is_root() { "uid = 0\ngid = 0\n" } else { "" };
    let config = format!(
        "use chroot = false\nmunge symlinks = false\n{user}[m]\npath = {place}/to\nread only = false\nauth users = me\n\
         secrets file = {place}/secrets\nstrict modes = false\n",
        place = place.display()
    );
    fs::write(place.join("conf"), config).unwrap();
    fs::write(place.join("secrets"), "me:word\n").unwrap();
    fs::create_dir(place.join("to")).unwrap();
    let mut command = Command::new("rsync");
    command.args(["--daemon", "--no-detach", "--address=127.0.0.1"]);
    command.arg(format!("--port={port}")).arg(format!("--config={}", place.join("conf").display()));
    let mut daemon = Daemon(command.stdin(Stdio::null()).spawn().unwrap());
    let deadline = Instant::now() + Duration::from_secs(20);
    while TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_err() {
        assert!(Instant::now() < deadline && daemon.0.try_wait().unwrap().is_none(), "no daemon");
        std::thread::yield_now();
    }
    (daemon, port)
}

/// A real rsync under the syncer's filter sends to a real daemon, and cannot write here.
#[test]
fn rsync() {
    if let Some(deed) = deed() {
        let (place, destination) = deed.split_once(' ').unwrap();
        enter(Syscalls::Syncer);
        let mut command = Command::new("rsync");
        command.args([
            "-aHAXz",
            "--checksum",
            "--delete",
            "--filter=- *.no",
            "--timeout=20",
            "--contimeout=10",
        ]);
        command.arg(format!("--password-file={place}/word")).arg(format!("{place}/from/")).arg(destination);
        // As the syncer starts it: between fork and exec limits and the death signal are set.
        Confined::not().prepare(&mut command);
        let status = command.status().unwrap();
        std::process::exit(status.code().unwrap_or(99));
    }
    let place = tempfile::tempdir().unwrap();
    let from = place.path().join("from");
    fs::create_dir_all(from.join("deep/er")).unwrap();
    for n in 0..50 {
        fs::write(from.join(format!("deep/er/{n}")), vec![b'x'; n * 1000]).unwrap();
    }
    fs::write(from.join("left.no"), "").unwrap();
    fs::hard_link(from.join("deep/er/7"), from.join("same")).unwrap();
    std::os::unix::fs::symlink("same", from.join("link")).unwrap();
    fs::write(place.path().join("word"), "word\n").unwrap();
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o600);
    fs::set_permissions(place.path().join("word"), mode).unwrap();
    let (_daemon, port) = daemon(place.path());
    let deed =
        |to: String| child("real::rsync", &format!("{} {to}", place.path().display())).output().unwrap();
    succeeded(&deed(format!("rsync://me@127.0.0.1:{port}/m/")));
    let to = place.path().join("to");
    assert_eq!(fs::read_dir(to.join("deep/er")).unwrap().count(), 50);
    assert_eq!(fs::read(to.join("same")).unwrap().len(), 7000);
    assert_eq!(fs::read_link(to.join("link")).unwrap(), Path::new("same"));
    assert!(!to.join("left.no").exists());
    // The name that it would write to is not made.
    assert!(!deed(place.path().join("local").display().to_string()).status.success());
    assert!(!place.path().join("local").exists());
}
