//! What one running supervisor owns on the host: a private runtime directory, the lock that
//! refuses a second instance on the same config, and a block of uids for its roles.
//!
//! "The same config" is the same device and inode of the file. Supervisors with different
//! configs live side by side. The directory belongs to whoever the supervisor becomes; the locks
//! beside it to whoever started it.

mod blocks;

use std::ffi::OsString;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use common::confine::{Footing, Identity};
use common::exit::Exit;
use nix::fcntl::{Flock, FlockArg, OFlag};
use nix::poll::{PollTimeout, poll};
use nix::unistd::{Gid, Uid, fchown, geteuid};
use thiserror::Error;

use crate::accounts;
use crate::guardian;
use crate::operator_file::Owner;
use crate::state::number_of;

use blocks::Blocks;
pub use blocks::{footing, for_probes, is_mapped, usual_uid};

/// Uids that one supervisor uses.
pub const UIDS: u32 = 64;
/// Those of them that roles get. The last one is the supervisor's own.
pub const ROLE_UIDS: u32 = 63;
/// Where root's supervisors, and the one that systemd starts, keep what is theirs.
const SYSTEM: &str = "/run/sersync";
/// The control socket, in the directory of its config.
const CONTROL: &str = "control";
/// The usual status socket, beside it.
const STATUS: &str = "status";
/// Whom root becomes, where there is such an account.
pub const ACCOUNT: &str = "sersync";
/// How long the guardian of a supervisor that was killed may hold its uids.
const GUARDIAN: Duration = Duration::from_secs(6);
const ROOT: Identity = Identity { uid: 0, gid: 0 };

/// Why the runtime directory cannot be had.
#[derive(Debug, Error)]
pub enum Error {
    /// Somebody else runs on this config.
    #[error("another supervisor already runs on this config (lock {0})")]
    AlreadyRunning(PathBuf),
    /// A directory or file cannot be made.
    #[error("cannot make {0}: {1}")]
    Create(PathBuf, io::Error),
    /// It belongs to somebody else, or others may write it.
    #[error(
        "{0} does not belong to this user alone; remove it, or set XDG_RUNTIME_DIR to a private directory"
    )]
    NotPrivate(PathBuf),
    /// Neither `XDG_RUNTIME_DIR`, `XDG_STATE_HOME` nor `HOME` says where an ordinary user's files go.
    #[error("set XDG_RUNTIME_DIR or HOME: there is no directory for the lock and the sockets")]
    NoPlace,
    /// All blocks are taken.
    #[error("no block of {UIDS} uids is free below {0}")]
    NoUids(PathBuf),
    /// The configured ones do not exist in this user namespace.
    #[error("the {UIDS} uids from {0} are not mapped in this user namespace; set another firstUid")]
    NotMapped(u32),
    /// Another supervisor has these uids.
    #[error("the {UIDS} uids from firstUid={0} are in use by another supervisor; set another one")]
    UidsInUse(u32),
    /// A role would get the uid of the supervisor.
    #[error("uid {0} is the supervisor's own and lies in the block of its roles; set another firstUid")]
    OwnUid(u32),
}

impl Error {
    /// How the program ends on it.
    pub fn exit(&self) -> Exit {
        match self {
            Error::AlreadyRunning(_) => Exit::AlreadyRunning,
            Error::OwnUid(_) | Error::NotMapped(_) | Error::UidsInUse(_) => Exit::Config,
            Error::Create(..) | Error::NotPrivate(_) | Error::NoPlace | Error::NoUids(_) => Exit::CantCreate,
        }
    }
}

/// Held for the supervisor's life. The locks go with the process, whatever ends it; the files
/// go with an orderly end.
#[derive(Debug)]
pub struct Runtime {
    /// Private directory of this config: 0700, of whoever the supervisor becomes.
    pub directory: PathBuf,
    /// Where the directory and the locks stand.
    pub base: PathBuf,
    /// First uid of the block, when roles get uids of their own.
    pub first_uid: Option<u32>,
    /// Whom the supervisor has to become; `None` when it stays who it is.
    pub identity: Option<Identity>,
    owner: Owner,
    /// Leads to the directory by the path of the config.
    link: Option<PathBuf>,
    _lock: Lock,
    block: Option<Lock>,
}

impl Runtime {
    /// Claims everything for the config file with this metadata. `configured_uid` is the first
    /// of [`UIDS`] that nobody else uses.
    pub fn claim(
        config: &fs::Metadata,
        configured_uid: Option<u32>,
        footing: Footing,
    ) -> Result<Runtime, Error> {
        // Root without the right to become somebody else stays root.
        let lowers = footing.root && footing.gives_uids;
        let account = if lowers { accounts::identity(ACCOUNT).ok() } else { None };
        let owner = Owner::new(lowers.then_some(ROOT));
        let base = base_directory(footing)?;
        make_base(&base, footing, account)?;
        let name = name_of(config);
        let lock_path = base.join(format!("{name}.lock"));
        let mut held = lock(&lock_path, owner)?.ok_or(Error::AlreadyRunning(lock_path))?;
        // Only for people; the lock itself is what counts.
        let _ = held.file.set_len(0).and_then(|()| writeln!(held.file, "{}", std::process::id()));
        let (first_uid, block) = match (footing.gives_uids, configured_uid) {
            (false, _) => (None, None),
            (true, Some(uid)) if blocks::is_mapped(uid) => {
                (Some(uid), Some(claim_configured(&base, owner, uid)?))
            }
            (true, Some(uid)) => return Err(Error::NotMapped(uid)),
            (true, None) => {
                let (uid, block) = claim_block(&base, owner)?;
                (Some(uid), Some(block))
            }
        };
        let last = first_uid.map(|first| first.saturating_add(ROLE_UIDS));
        let last = last.map(|uid| Identity { uid, gid: uid });
        let identity = if lowers { account.or(last) } else { None };
        if let Some(first) = first_uid {
            let own = identity.map_or_else(|| geteuid().as_raw(), |identity| identity.uid);
            if (first..first.saturating_add(ROLE_UIDS)).contains(&own) {
                return Err(Error::OwnUid(own));
            }
        }
        let directory = base.join(name);
        make_anew(&directory, identity)?;
        Ok(Runtime { directory, base, first_uid, identity, owner, link: None, _lock: held, block })
    }

    /// Lets commands find us by the path of the config too: an editor may put another file in its
    /// place, which is read at a reload. To be called while we may still write beside the locks.
    pub fn be_found_by(&mut self, config: &Path) -> io::Result<()> {
        let link = self.base.join(link_of(config)?);
        match fs::remove_file(&link) {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
            Ok(()) | Err(_) => {}
        }
        symlink(self.directory.file_name().unwrap_or_default(), &link)?;
        self.link = Some(link);
        Ok(())
    }

    /// A descriptor that holds the lock on the block of uids for as long as it is open, whoever
    /// has it.
    pub fn block_lock(&self) -> Option<OwnedFd> {
        self.block.as_ref().and_then(|lock| lock.file.as_fd().try_clone_to_owned().ok())
    }

    /// Where the control socket belongs. It goes with the directory.
    pub fn control_socket(&self) -> PathBuf {
        self.directory.join(CONTROL)
    }

    /// Where the status socket belongs, if the config names no other place. It goes with the directory.
    pub fn status_socket(&self) -> PathBuf {
        self.directory.join(STATUS)
    }

    /// Whose the operator's files are.
    pub fn owner(&self) -> Owner {
        self.owner
    }
}

/// Where the control socket of the supervisor stands that runs on the config at this path, with this
/// metadata, if one does: below the base that this user's own supervisors have, or below the
/// system's; named after the file, or after its path.
pub fn control_sockets(path: &Path, config: &fs::Metadata) -> Vec<PathBuf> {
    sockets(path, config, CONTROL)
}

/// The same for the usual status socket.
pub fn status_sockets(path: &Path, config: &fs::Metadata) -> Vec<PathBuf> {
    sockets(path, config, STATUS)
}

fn sockets(path: &Path, config: &fs::Metadata, socket: &str) -> Vec<PathBuf> {
    let names: Vec<String> = [Ok(name_of(config)), link_of(path)].into_iter().flatten().collect();
    let mut bases: Vec<PathBuf> = base_directory(Footing::find()).into_iter().collect();
    bases.push(PathBuf::from(SYSTEM));
    bases.dedup();
    let sockets = |name: String| bases.iter().map(move |base| base.join(&name).join(socket));
    names.into_iter().flat_map(sockets).collect()
}

/// What leads to the directory of a config by its path.
fn link_of(config: &Path) -> io::Result<String> {
    Ok(format!("config-{:016x}", number_of(std::path::absolute(config)?.as_os_str().as_bytes())))
}

/// What is named after a config: the same file has the same name, whatever its path.
fn name_of(config: &fs::Metadata) -> String {
    format!("{:x}-{}", config.dev(), config.ino())
}

/// `/run/sersync` for root; else what systemd says, else what XDG says.
fn base_directory(footing: Footing) -> Result<PathBuf, Error> {
    let system = PathBuf::from(SYSTEM);
    if footing.root {
        return Ok(system);
    }
    // Several directories of a unit stand there with colons between them.
    let first = |names: OsString| {
        let name = names.as_bytes().split(|&byte| byte == b':').next().unwrap_or_default();
        PathBuf::from(OsString::from_vec(name.to_owned()))
    };
    let given = std::env::var_os("RUNTIME_DIRECTORY").map(first).filter(|path| path.is_absolute());
    let is_ours =
        |path: &PathBuf| path.symlink_metadata().is_ok_and(|found| found.uid() == geteuid().as_raw());
    let absolute = |name: &str| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    given
        .or_else(|| Some(system).filter(|path| footing.gives_uids && is_ours(path)))
        .or_else(|| Some(absolute("XDG_RUNTIME_DIR")?.join("sersync")))
        .or_else(|| Some(absolute("XDG_STATE_HOME")?.join("sersync/run")))
        .or_else(|| Some(absolute("HOME")?.join(".local/state/sersync/run")))
        .ok_or(Error::NoPlace)
}

/// Makes the directory of the locks. It may be `account`'s, whom root becomes: systemd makes it so.
fn make_base(path: &Path, footing: Footing, account: Option<Identity>) -> Result<(), Error> {
    let failed = |error| Error::Create(path.to_owned(), error);
    DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(failed)?;
    let found = path.symlink_metadata().map_err(failed)?;
    let is_ours = found.uid() == geteuid().as_raw();
    if !found.is_dir() || !(is_ours || account.is_some_and(|account| account.uid == found.uid())) {
        return Err(Error::NotPrivate(path.to_owned()));
    }
    // Who root becomes has to pass through it, even without the capability to pass everywhere.
    let wanted = match (is_ours, footing.root) {
        (true, true) => 0o711,
        (true, false) => 0o700,
        (false, _) => found.mode() & 0o755,
    };
    if found.mode() & 0o7777 != wanted {
        fs::set_permissions(path, fs::Permissions::from_mode(wanted)).map_err(failed)?;
    }
    Ok(())
}

/// Makes the directory of this config, whose lock is held, and gives it to `identity`. What an
/// earlier run left there goes, whoever that run had become.
fn make_anew(path: &Path, identity: Option<Identity>) -> Result<(), Error> {
    let failed = |error| Error::Create(path.to_owned(), error);
    match path.symlink_metadata() {
        Ok(found) if found.is_dir() && (geteuid().is_root() || found.uid() == geteuid().as_raw()) => {
            fs::remove_dir_all(path).map_err(failed)?;
        }
        Ok(_) => return Err(Error::NotPrivate(path.to_owned())),
        Err(error) if error.kind() == ErrorKind::NotFound => {}
        Err(error) => return Err(failed(error)),
    }
    DirBuilder::new().mode(0o700).create(path).map_err(failed)?;
    let Some(Identity { uid, gid }) = identity else { return Ok(()) };
    // By descriptor: where systemd made the base, its owner could put a link in this place.
    let flags = (OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW).bits();
    let made = OpenOptions::new().read(true).custom_flags(flags).open(path).map_err(failed)?;
    fchown(&made, Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid))).map_err(|error| failed(error.into()))
}

/// The lock, or `None` when somebody else holds it.
fn lock(path: &Path, owner: Owner) -> Result<Option<Lock>, Error> {
    let failed = |error| Error::Create(path.to_owned(), error);
    loop {
        let file = match open_lock(path) {
            Ok(file) => file,
            // Made by another, or removed by its holder, in between.
            Err(error) if matches!(error.kind(), ErrorKind::AlreadyExists | ErrorKind::NotFound) => continue,
            Err(error) => return Err(failed(error)),
        };
        let Ok(file) = Flock::lock(file, FlockArg::LockExclusiveNonblock) else { return Ok(None) };
        // Whoever stops removes its file: a lock on one that is gone is worth nothing.
        let ours = file.metadata().map_err(failed)?;
        if path.symlink_metadata().is_ok_and(|there| (there.dev(), there.ino()) == (ours.dev(), ours.ino())) {
            return Ok(Some(Lock { file, path: path.to_owned(), owner }));
        }
    }
}

/// Opens the file of a lock, and makes it where there is none.
fn open_lock(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.write(true).mode(0o600).custom_flags((OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC).bits());
    match options.open(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => {}
        opened => return opened,
    }
    // The base has to be there, or nobody could ever make the file.
    let base = path.parent().unwrap_or(path).metadata().map_err(io::Error::other)?;
    let made = options.create_new(true).open(path)?;
    // Root's may outlive it, and would be in the way of the base's owner, for whom systemd starts
    // the next one. Only what was made just now is given away, never what stood there.
    if geteuid().is_root() && base.uid() != 0 {
        fchown(&made, Some(Uid::from_raw(base.uid())), Some(Gid::from_raw(base.gid())))?;
    }
    Ok(made)
}

/// A locked file, removed when it is let go.
#[derive(Debug)]
struct Lock {
    file: Flock<File>,
    path: PathBuf,
    owner: Owner,
}

impl Drop for Lock {
    fn drop(&mut self) {
        // Before the lock is released, so that nobody else's file is removed. As who we have
        // become where the base is that account's, as the starter where it is his.
        let _ = fs::remove_file(&self.path).or_else(|_| self.owner.work(|| fs::remove_file(&self.path)));
    }
}

impl Drop for Runtime {
    fn drop(&mut self) {
        // What a role that died on its way to the rendezvous left there goes too. The lock is
        // still held. The directory is empty where it cannot be removed: its name stands in
        // the starter's.
        if let Some(link) = &self.link {
            let _ = fs::remove_file(link).or_else(|_| self.owner.work(|| fs::remove_file(link)));
        }
        let _ = fs::remove_dir_all(&self.directory)
            .or_else(|_| self.owner.work(|| fs::remove_dir(&self.directory)));
    }
}

/// Users other than root whose locks stand elsewhere begin elsewhere: they do not see each other's.
fn claim_block(base: &Path, owner: Owner) -> Result<(u32, Lock), Error> {
    let blocks = Blocks::find().ok_or_else(|| Error::NoUids(base.to_owned()))?;
    let from = if base == Path::new(SYSTEM) {
        0
    } else {
        geteuid().as_raw().checked_rem(blocks.count()).unwrap_or(0)
    };
    for block in (from..blocks.count()).chain(0..from) {
        match lock(&base.join(format!("uids-{block}")), owner) {
            // Something of an earlier supervisor may still run there, a hook's for example.
            Ok(Some(held)) if guardian::under(blocks.first_of(block)).next().is_none() => {
                return Ok((blocks.first_of(block), held));
            }
            // Another user's, held or not.
            Err(Error::Create(_, error)) if error.kind() == ErrorKind::PermissionDenied => {}
            Ok(Some(_) | None) => {}
            Err(error) => return Err(error),
        }
    }
    Err(Error::NoUids(base.to_owned()))
}

/// The uids that the config names. The guardian of a supervisor that was killed may need a moment
/// to clear them.
fn claim_configured(base: &Path, owner: Owner, first: u32) -> Result<Lock, Error> {
    let (path, deadline) = (base.join(format!("uids-from-{first}")), Instant::now() + GUARDIAN);
    loop {
        match lock(&path, owner)? {
            Some(held) => return Ok(held),
            None if Instant::now() >= deadline => return Err(Error::UidsInUse(first)),
            None => drop(poll(&mut [], PollTimeout::from(20_u8))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOBODY: Identity = Identity { uid: 65534, gid: 65534 };

    /// Root's supervisor was killed; `User=` starts the next one.
    #[test]
    fn a_lock_that_root_left_behind() {
        if !geteuid().is_root() {
            return;
        }
        let base = tempfile::tempdir().unwrap();
        std::os::unix::fs::chown(base.path(), Some(NOBODY.uid), Some(NOBODY.gid)).unwrap();
        let (path, theirs) = (base.path().join("config.lock"), Owner::new(Some(NOBODY)));
        let by_nobody = || common::confine::with_files_of(Some(NOBODY), || lock(&path, theirs));
        let held = lock(&path, Owner::new(None)).unwrap().unwrap();
        assert!(by_nobody().unwrap().is_none(), "while it is held");
        drop(held);
        // As a kill leaves it: the lock is gone, the file is not.
        drop(open_lock(&path).unwrap());
        assert_eq!(path.metadata().unwrap().uid(), NOBODY.uid);
        let held = by_nobody().unwrap();
        assert!(held.is_some() && lock(&path, Owner::new(None)).unwrap().is_none());
        drop(held);
        assert!(!path.exists());
        // Where root owns the base, the locks are root's.
        let path = tempfile::tempdir().unwrap();
        let own = lock(&path.path().join("lock"), Owner::new(None)).unwrap().unwrap();
        assert_eq!(own.file.metadata().unwrap().uid(), 0);
    }

    #[test]
    fn no_base_no_lock() {
        let base = tempfile::tempdir().unwrap();
        assert!(lock(&base.path().join("missing/lock"), Owner::new(None)).is_err());
    }
}
