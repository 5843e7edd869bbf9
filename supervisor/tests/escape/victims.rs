//! Whom the stand-ins attack, and what is looked at afterwards: every file around, listeners,
//! and all processes of the supervisor.

use std::collections::BTreeMap;
use std::fs::{self, Permissions};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::net::{Ipv4Addr, Ipv6Addr, TcpListener, UdpSocket};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};
use std::os::unix::net::{SocketAddr, UnixListener};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use common::confine::attempts::{EVERYBODY, stand_in};

use crate::programs::PLAN;
use crate::support::{processes, walk};

/// What stands in the other root.
pub(crate) const OTHER_TEXT: &str = "a file of another root\n";
const OWN_TEXT: &str = "a file of the own root\n";
/// What swaps its directory for a link.
const RACING: &str = ".racing";
const PARKED: &str = ".parked";

/// Who listens, and must not hear anything.
pub(crate) struct Listeners {
    tcp: Vec<TcpListener>,
    udp: UdpSocket,
    unix: [UnixListener; 2],
    /// Of TCP and UDP.
    pub(crate) port: u16,
    /// Where the unix socket is.
    pub(crate) path: PathBuf,
    /// The name of the abstract one.
    pub(crate) abstract_name: String,
}

impl Listeners {
    /// On a free port, and on `path`.
    pub(crate) fn new(path: PathBuf) -> Listeners {
        let (first, udp) = (0..100)
            .find_map(|_| {
                let tcp = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
                let udp = UdpSocket::bind((Ipv4Addr::LOCALHOST, tcp.local_addr().unwrap().port())).ok()?;
                Some((tcp, udp))
            })
            .unwrap();
        let port = first.local_addr().unwrap().port();
        let second = TcpListener::bind((Ipv6Addr::LOCALHOST, port)).ok();
        let tcp: Vec<TcpListener> = [Some(first), second].into_iter().flatten().collect();
        for listener in &tcp {
            listener.set_nonblocking(true).unwrap();
        }
        udp.set_nonblocking(true).unwrap();
        let unix = UnixListener::bind(&path).unwrap();
        fs::set_permissions(&path, Permissions::from_mode(0o777)).unwrap();
        let abstract_name = format!("sersync-escape-{}-{port}", std::process::id());
        let hidden =
            UnixListener::bind_addr(&SocketAddr::from_abstract_name(&abstract_name).unwrap()).unwrap();
        for listener in [&unix, &hidden] {
            listener.set_nonblocking(true).unwrap();
        }
        Listeners { tcp, udp, unix: [unix, hidden], port, path, abstract_name }
    }

    /// Who was heard.
    pub(crate) fn heard(&self) -> Vec<&'static str> {
        let mut heard = Vec::new();
        if self.tcp.iter().any(|listener| listener.accept().is_ok()) {
            heard.push("tcp");
        }
        if self.udp.recv(&mut [0; 16]).is_ok() {
            heard.push("udp");
        }
        if self.unix.iter().any(|listener| listener.accept().is_ok()) {
            heard.push("unix");
        }
        heard
    }
}

/// The stand-in for the root of an attacker of that uid.
pub(crate) fn make_own_root(path: &Path, uid: u32) {
    fs::create_dir(path).unwrap();
    fs::set_permissions(path, Permissions::from_mode(0o777)).unwrap();
    for name in [stand_in::FILE, stand_in::SPARE] {
        fs::write(path.join(name), OWN_TEXT).unwrap();
        fs::set_permissions(path.join(name), Permissions::from_mode(0o666)).unwrap();
    }
    for name in [stand_in::EMPTY, stand_in::SWAPPED, RACING] {
        fs::create_dir(path.join(name)).unwrap();
    }
    fs::write(path.join(RACING).join("file"), OWN_TEXT).unwrap();
    symlink("../../source1/file", path.join(stand_in::LINK)).unwrap();
    symlink("/etc/shadow", path.join("shadow")).unwrap();
    for entry in walk(path).iter().chain([&path.to_owned()]).filter(|entry| !entry.is_symlink()) {
        chown(entry, Some(uid), Some(uid)).unwrap();
    }
}

/// A directory of it becomes a link, now that its owner is confined.
pub(crate) fn swap(own_root: &Path) {
    fs::remove_dir(own_root.join(stand_in::SWAPPED)).unwrap();
    symlink("../../source1", own_root.join(stand_in::SWAPPED)).unwrap();
}

/// Swaps a directory of each for a link to the other root and back, until it is over.
pub(crate) fn swap_without_end(own_roots: &[PathBuf], over: &AtomicBool) {
    while !over.load(Ordering::Relaxed) {
        for root in own_roots {
            let (racing, parked) = (root.join(RACING), root.join(PARKED));
            fs::rename(&racing, &parked).unwrap();
            symlink("../../source1", &racing).unwrap();
            fs::remove_file(&racing).unwrap();
            fs::rename(&parked, &racing).unwrap();
        }
    }
}

/// Every file below `top` but the log: what it is, whose, and what it holds. The state file counts too:
/// the keeper, who alone may write it, is a stand-in that does not.
pub(crate) fn snapshot(top: &Path) -> BTreeMap<PathBuf, String> {
    let is_counted = |path: &PathBuf| {
        // The log grows, the plan comes later, and what races is never the same.
        !path.ends_with("log")
            && !path.ends_with(PLAN)
            && !path.iter().any(|name| name == RACING || name == PARKED)
    };
    let describe = |path: PathBuf| {
        let Ok(found) = path.symlink_metadata() else { return (path, "gone".to_owned()) };
        let mut hasher = DefaultHasher::new();
        if found.is_file() {
            fs::read(&path).unwrap().hash(&mut hasher);
        } else if found.is_symlink() {
            fs::read_link(&path).unwrap().hash(&mut hasher);
        }
        // In these the test itself makes something: what others make there is a path more.
        let is_ours = found.is_dir()
            && path
                .file_name()
                .is_some_and(|name| name == "source0" || name.as_encoded_bytes().starts_with(b"own-"));
        let time = if is_ours { 0 } else { found.mtime_nsec() + found.mtime() * 1_000_000_000 };
        let (mode, uid, gid, content) = (found.mode(), found.uid(), found.gid(), hasher.finish());
        (path, format!("mode={mode:o} uid={uid} gid={gid} time={time} content={content:x}"))
    };
    walk(top).into_iter().filter(is_counted).map(describe).collect()
}

/// What is other than it was.
pub(crate) fn changes(before: &BTreeMap<PathBuf, String>, after: &BTreeMap<PathBuf, String>) -> Vec<String> {
    let paths = before.keys().chain(after.keys().filter(|path| !before.contains_key(*path)));
    let of = |path: &PathBuf| (before.get(path).cloned(), after.get(path).cloned());
    let changed = paths.filter(|path| before.get(*path) != after.get(*path));
    changed.map(|path| format!("{}: {:?}", path.display(), of(path))).collect()
}

/// What attempts leave where everybody may write.
pub(crate) fn litter() -> Vec<PathBuf> {
    let places = ["/tmp", "/var/tmp", "/dev/shm"];
    let entries = places.into_iter().flat_map(|place| fs::read_dir(place).into_iter().flatten().flatten());
    let is_litter = |path: &PathBuf| {
        path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(".sersync-attempt"))
    };
    entries.map(|entry| entry.path()).filter(is_litter).collect()
}

/// What a process was.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Known {
    pub(crate) pid: i32,
    uid: String,
    started: String,
}

/// These processes as they are.
pub(crate) fn known(pids: impl IntoIterator<Item = i32>) -> Vec<Known> {
    pids.into_iter().map(|pid| look(pid).unwrap_or_else(|| panic!("there is no process {pid}"))).collect()
}

/// What became of them: dead, stopped, signalled, or of another uid.
pub(crate) fn harm(before: &[Known]) -> Vec<String> {
    let mut harm = Vec::new();
    for known in before {
        let now = look(known.pid);
        if now.as_ref() != Some(known) {
            harm.push(format!("{known:?} is {now:?}"));
        }
        let state = processes::status(known.pid, "State").unwrap_or_default();
        if state.starts_with(['T', 't']) {
            harm.push(format!("{known:?} is stopped: {state}"));
        }
        let tracer = processes::status(known.pid, "TracerPid");
        if tracer.as_deref() != Some("0") {
            harm.push(format!("{known:?} is traced by {tracer:?}"));
        }
        if is_pending(known.pid) {
            harm.push(format!("{known:?} was sent a signal"));
        }
    }
    harm
}

fn look(pid: i32) -> Option<Known> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let started = stat.rsplit_once(')')?.1.split_whitespace().nth(19)?.to_owned();
    Some(Known { pid, uid: processes::status(pid, "Uid")?, started })
}

/// Whether the signal of the attempts waits there: those who block it show that they got it.
fn is_pending(pid: i32) -> bool {
    let pending = processes::status(pid, "ShdPnd").and_then(|bits| u64::from_str_radix(&bits, 16).ok());
    pending.is_some_and(|bits| bits >> (EVERYBODY - 1) & 1 == 1)
}
