//! What one running supervisor owns on the host: a private runtime directory, the lock that
//! refuses a second instance on the same config, and a block of uids for its roles.
//!
//! "The same config" is the same device and inode of the file. Supervisors with different
//! configs live side by side.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use nix::fcntl::{Flock, FlockArg, OFlag};
use nix::unistd::geteuid;
use thiserror::Error;

/// Uids that one supervisor uses.
pub const UIDS: u32 = 64;
/// First uid of the first block: above what distributions and containers hand out, below
/// what the kernel reserves.
const FIRST_BLOCK: u32 = 2_000_000_000;
/// Blocks that may be claimed on one host.
const BLOCKS: u32 = 4096;

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
}

/// Held for the supervisor's life. The locks go with the process, whatever ends it; the files
/// go with an orderly end.
#[derive(Debug)]
pub struct Runtime {
    /// Private directory of this config: 0700, ours.
    pub directory: PathBuf,
    /// First uid of the block, when roles get uids of their own.
    pub first_uid: Option<u32>,
    _lock: Lock,
    _block: Option<Lock>,
}

impl Runtime {
    /// Claims everything for the config file with this metadata.
    pub fn claim(config: &fs::Metadata, configured_uid: Option<u32>) -> Result<Runtime, Error> {
        let base = base_directory()?;
        make_private(&base)?;
        let directory = base.join(format!("{:x}-{}", config.dev(), config.ino()));
        make_private(&directory)?;
        let lock_path = directory.join("lock");
        let mut lock = lock(&lock_path)?.ok_or(Error::AlreadyRunning(lock_path))?;
        // Only for people; the lock itself is what counts.
        let _ = lock.file.set_len(0).and_then(|()| writeln!(lock.file, "{}", std::process::id()));
        let (first_uid, block) = match (geteuid().is_root(), configured_uid) {
            (false, _) => (None, None),
            (true, Some(uid)) => (Some(uid), None),
            (true, None) => {
                let (uid, block) = claim_block(&base)?;
                (Some(uid), Some(block))
            }
        };
        Ok(Runtime { directory, first_uid, _lock: lock, _block: block })
    }
}

/// `/run/sersync` for root, else below what XDG says.
fn base_directory() -> Result<PathBuf, Error> {
    if geteuid().is_root() {
        return Ok(PathBuf::from("/run/sersync"));
    }
    let absolute = |name: &str| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    absolute("XDG_RUNTIME_DIR")
        .map(|path| path.join("sersync"))
        .or_else(|| Some(absolute("XDG_STATE_HOME")?.join("sersync/run")))
        .or_else(|| Some(absolute("HOME")?.join(".local/state/sersync/run")))
        .ok_or(Error::NoPlace)
}

fn make_private(path: &Path) -> Result<(), Error> {
    let failed = |error| Error::Create(path.to_owned(), error);
    DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(failed)?;
    let found = path.symlink_metadata().map_err(failed)?;
    if !found.is_dir() || found.uid() != geteuid().as_raw() {
        return Err(Error::NotPrivate(path.to_owned()));
    }
    if found.mode() & 0o077 != 0 {
        fs::set_permissions(path, fs::Permissions::from_mode(0o700)).map_err(failed)?;
    }
    Ok(())
}

/// The lock, or `None` when somebody else holds it.
fn lock(path: &Path) -> Result<Option<Lock>, Error> {
    let failed = |error| Error::Create(path.to_owned(), error);
    let flags = (OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC).bits();
    loop {
        let file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .custom_flags(flags)
            .open(path)
            .map_err(failed)?;
        let Ok(file) = Flock::lock(file, FlockArg::LockExclusiveNonblock) else { return Ok(None) };
        // Whoever stops removes its file: a lock on one that is gone is worth nothing.
        let ours = file.metadata().map_err(failed)?;
        if path.symlink_metadata().is_ok_and(|there| (there.dev(), there.ino()) == (ours.dev(), ours.ino())) {
            return Ok(Some(Lock { file, path: path.to_owned() }));
        }
    }
}

/// A locked file, removed when it is let go.
#[derive(Debug)]
struct Lock {
    file: Flock<File>,
    path: PathBuf,
}

impl Drop for Lock {
    fn drop(&mut self) {
        // Before the lock is released, so that nobody else's file is removed.
        let _ = fs::remove_file(&self.path);
    }
}

impl Drop for Runtime {
    fn drop(&mut self) {
        // What a role that died on its way to the rendezvous left there goes too. The lock is
        // still held.
        let _ = fs::remove_dir_all(&self.directory);
    }
}

fn claim_block(base: &Path) -> Result<(u32, Lock), Error> {
    for block in 0..BLOCKS {
        if let Some(held) = lock(&base.join(format!("uids-{block}")))? {
            return Ok((FIRST_BLOCK.saturating_add(block.saturating_mul(UIDS)), held));
        }
    }
    Err(Error::NoUids(base.to_owned()))
}
