//! Whom and what the attempts are aimed at: a directory of the doctor's own, listeners, and a
//! process that stands for another role. Looked at again afterwards.

use std::ffi::OsString;
use std::fs::{self, DirBuilder, Permissions};
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, TcpListener};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt, chown, symlink};
use std::os::unix::net::{SocketAddr, UnixListener};
use std::path::{Path, PathBuf};

use common::confine::Identity;
use common::confine::attempts::{EVERYBODY, Targets, stand_in};
use tempfile::TempDir;

/// Ports that are tried until one is found that no role may connect to.
const PORTS: u32 = 100;
const OWN_TEXT: &str = "a file of the own root\n";
const OTHER_TEXT: &str = "a file of another root\n";

/// The victims.
pub(super) struct Scene {
    directory: TempDir,
    watched: Vec<OsString>,
    listeners: Vec<TcpListener>,
    unix: [UnixListener; 2],
    abstract_name: String,
    port: u16,
}

impl Scene {
    /// Sets it up. The victim listens on a port that is none of `used`, which roles may connect to.
    pub(super) fn new(watched: Vec<OsString>, used: &[u16]) -> io::Result<Scene> {
        let everybody = Permissions::from_mode(0o755);
        let directory =
            tempfile::Builder::new().prefix("sersync-doctor-").permissions(everybody).tempdir()?;
        let path = directory.path();
        DirBuilder::new().mode(0o700).create(path.join("private"))?;
        fs::write(path.join("private/secret"), "secret\n")?;
        fs::set_permissions(path.join("private/secret"), Permissions::from_mode(0o600))?;
        make_open(&path.join("other"), 0o755)?;
        fs::write(path.join("other/file"), OTHER_TEXT)?;
        fs::set_permissions(path.join("other/file"), Permissions::from_mode(0o644))?;
        let (listeners, port) = listen(used)?;
        let socket = path.join("socket");
        let unix = UnixListener::bind(&socket)?;
        fs::set_permissions(&socket, Permissions::from_mode(0o777))?;
        let abstract_name = format!("sersync-doctor-{}", std::process::id());
        let hidden = UnixListener::bind_addr(&SocketAddr::from_abstract_name(&abstract_name)?)?;
        for listener in [&unix, &hidden] {
            listener.set_nonblocking(true)?;
        }
        Ok(Scene { directory, watched, listeners, unix: [unix, hidden], abstract_name, port })
    }

    /// Where sockets of the rendezvous may stand.
    pub(super) fn private(&self) -> PathBuf {
        self.path("private")
    }

    /// The stand-in for a role's own root, as new, given to the role where that can be done.
    pub(super) fn own_root(&self, identity: Option<Identity>) -> io::Result<PathBuf> {
        let root = self.path("own");
        if root.exists() {
            fs::remove_dir_all(&root)?;
        }
        make_open(&root, 0o777)?;
        for name in [stand_in::FILE, stand_in::SPARE] {
            fs::write(root.join(name), OWN_TEXT)?;
            fs::set_permissions(root.join(name), Permissions::from_mode(0o666))?;
        }
        fs::create_dir(root.join(stand_in::EMPTY))?;
        fs::create_dir(root.join(stand_in::SWAPPED))?;
        symlink(self.path("other/file"), root.join(stand_in::LINK))?;
        if let Some(Identity { uid, gid }) = identity {
            // Without the right to do so, what only an owner may do is refused for that alone.
            let _ = chown(&root, Some(uid), Some(gid));
            let _ = chown(root.join(stand_in::FILE), Some(uid), Some(gid));
        }
        Ok(root)
    }

    /// A directory of the own root becomes a link to another root.
    pub(super) fn swap(&self) -> io::Result<()> {
        let swapped = self.path("own").join(stand_in::SWAPPED);
        if swapped.symlink_metadata()?.is_dir() {
            fs::remove_dir(&swapped)?;
            symlink(self.path("other"), &swapped)?;
        }
        Ok(())
    }

    /// What the attempts are aimed at.
    pub(super) fn targets(&self, others: Vec<i32>) -> Targets {
        Targets {
            supervisor: std::process::id().cast_signed(),
            others,
            own_root: self.path("own").into(),
            watched: self.watched.clone(),
            other_file: self.path("other/file").into(),
            secret: self.path("private/secret").into(),
            port: self.port,
            unix: self.path("socket").into(),
            abstract_name: self.abstract_name.clone(),
        }
    }

    /// What was done to the victims, whatever the attempts say of themselves; nothing, if all is well.
    pub(super) fn damage(&self) -> Vec<String> {
        let mut found = Vec::new();
        if self.listeners.iter().any(|listener| listener.accept().is_ok()) {
            found.push(format!("somebody connected to TCP port {}", self.port));
        }
        if self.unix.iter().any(|listener| listener.accept().is_ok()) {
            found.push("somebody connected to a unix socket".to_owned());
        }
        let own = self.path("own");
        for (path, text) in [(own.join(stand_in::FILE), OWN_TEXT), (self.path("other/file"), OTHER_TEXT)] {
            if fs::read_to_string(&path).ok().as_deref() != Some(text) {
                found.push(format!("{} is not what it was", path.display()));
            }
        }
        let entries = fs::read_dir(&own).map(Iterator::count);
        if entries.ok() != Some(ENTRIES) {
            found.push(format!("there is more or less in {} than there was", own.display()));
        }
        found
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }
}

/// What [`Scene::own_root`] makes.
const ENTRIES: usize = 5;

fn make_open(path: &Path, mode: u32) -> io::Result<()> {
    fs::create_dir(path)?;
    fs::set_permissions(path, Permissions::from_mode(mode))
}

/// On this machine, over IPv4 and where there is IPv6 over that.
fn listen(used: &[u16]) -> io::Result<(Vec<TcpListener>, u16)> {
    for _ in 0..PORTS {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let port = listener.local_addr()?.port();
        if used.contains(&port) {
            continue;
        }
        let second = TcpListener::bind((Ipv6Addr::LOCALHOST, port)).ok();
        let listeners: Vec<TcpListener> = [Some(listener), second].into_iter().flatten().collect();
        listeners.iter().try_for_each(|listener| listener.set_nonblocking(true))?;
        return Ok((listeners, port));
    }
    Err(io::Error::other("no free TCP port"))
}

/// Whether a process has [`EVERYBODY`] pending.
pub(super) fn was_signalled(pid: i32) -> io::Result<bool> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let pending = status.lines().find_map(|line| line.strip_prefix("ShdPnd:"));
    let pending = pending.and_then(|bits| u64::from_str_radix(bits.trim(), 16).ok());
    let pending = pending.ok_or_else(|| io::Error::other("no ShdPnd line"))?;
    let bit = u32::try_from(EVERYBODY).unwrap_or(1).saturating_sub(1);
    Ok(pending.checked_shr(bit).unwrap_or(0) & 1 == 1)
}
