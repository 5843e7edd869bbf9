//! Where what is kept stands: one file for each config, private, opened before the supervisor gives
//! anything up. Whoever works on it, the keeper, gets a descriptor and no path.

use std::ffi::{OsStr, OsString};
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use common::config::StateConfig;
use common::confine::Footing;
use common::log::Shown;
use nix::fcntl::{Flock, FlockArg, OFlag};
use nix::poll::{PollTimeout, poll};
use nix::unistd::{Gid, Uid, fchown, geteuid};
use thiserror::Error;

use crate::{accounts, runtime};

/// Where root's supervisors keep what must survive, and the one that systemd starts.
const SYSTEM: &str = "/var/lib/sersync";
/// How long the keeper of a supervisor that was killed may hold the file.
const OTHER: Duration = Duration::from_secs(6);
/// Longest name of a file made of a config's path, in bytes; beyond, its end and a number stand for
/// it.
const MAX_NAME: usize = 200;

/// Why nothing can be kept.
#[derive(Debug, Error)]
pub enum Error {
    /// The directory or the file cannot be made or opened.
    #[error("state {path}: {error}", path = Shown(.0.as_os_str()), error = .1)]
    Open(PathBuf, io::Error),
    /// Others could put something in its place.
    #[error(
        "state {path}: it does not belong to this user alone; chmod 700, or name another directory",
        path = Shown(.0.as_os_str())
    )]
    NotPrivate(PathBuf),
    /// Another supervisor has it: the same config by another name, or a copy in its place.
    #[error("state {path}: another supervisor uses it", path = Shown(.0.as_os_str()))]
    InUse(PathBuf),
    /// Nothing says where an ordinary user's files go.
    #[error("state: set XDG_STATE_HOME or HOME, or name a directory with --state-dir")]
    NoPlace,
}

/// Opens the file of the config at `config`. `typed` is the directory of the command line.
pub fn open(
    typed: Option<&OsStr>,
    configured: &StateConfig,
    config: &Path,
    footing: Footing,
) -> Result<Flock<File>, Error> {
    let directory = directory(typed, configured, footing)?;
    let failed = |error| Error::Open(directory.clone(), error);
    DirBuilder::new().recursive(true).mode(0o700).create(&directory).map_err(failed)?;
    let found = directory.metadata().map_err(failed)?;
    let own = geteuid().as_raw();
    // Root may work in the directory that systemd made for the account that it becomes.
    let account = accounts::identity(runtime::ACCOUNT).ok().map(|account| account.uid);
    let is_ours = found.uid() == own || (own == 0 && account == Some(found.uid()));
    if !found.is_dir() || !is_ours || found.mode() & 0o022 != 0 {
        return Err(Error::NotPrivate(directory));
    }
    let config = config.canonicalize().or_else(|_| std::path::absolute(config)).map_err(failed)?;
    let path = directory.join(name_of(&config));
    let mut file = open_file(&path, &found)?;
    let deadline = Instant::now() + OTHER;
    loop {
        // The keeper of a supervisor that was killed may need a moment to end.
        match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            Ok(locked) => return Ok(locked),
            Err(_) if Instant::now() >= deadline => return Err(Error::InUse(path)),
            Err((back, _)) => file = back,
        }
        let _ = poll(&mut [], PollTimeout::from(20_u8));
    }
}

/// The directory that a supervisor without `--state-dir` would take.
pub fn place(configured: &StateConfig, footing: Footing) -> Result<PathBuf, Error> {
    directory(None, configured, footing)
}

/// Opens the two files of [`crate::recent`] in the runtime directory's base.
pub fn recent(base: &Path, config: &Path) -> Result<[(PathBuf, File); 2], Error> {
    let failed = |error| Error::Open(base.to_owned(), error);
    let config = config.canonicalize().or_else(|_| std::path::absolute(config)).map_err(failed)?;
    let found = base.metadata().map_err(failed)?;
    let open = |end: &str| {
        let mut name = name_of(&config);
        name.push(end);
        let path = base.join(name);
        open_file(&path, &found).map(|file| (path, file))
    };
    Ok([open(".recent0")?, open(".recent1")?])
}

fn open_file(path: &Path, directory: &fs::Metadata) -> Result<File, Error> {
    let failed = |error| Error::Open(path.to_owned(), error);
    let mut options = OpenOptions::new();
    let flags = OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC | OFlag::O_NONBLOCK;
    options.read(true).write(true).mode(0o600).custom_flags(flags.bits());
    let file = match options.open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let made = options.create_new(true).open(path).map_err(failed)?;
            // The next one may be started as the directory's owner.
            if geteuid().is_root() && directory.uid() != 0 {
                fchown(&made, Some(Uid::from_raw(directory.uid())), Some(Gid::from_raw(directory.gid())))
                    .map_err(|error| failed(error.into()))?;
            }
            made
        }
        opened => opened.map_err(failed)?,
    };
    let found = file.metadata().map_err(failed)?;
    let is_ours = found.uid() == geteuid().as_raw() || found.uid() == directory.uid();
    if !found.is_file() || !is_ours || found.nlink() != 1 || found.mode() & 0o077 != 0 {
        return Err(Error::NotPrivate(path.to_owned()));
    }
    Ok(file)
}

/// The command line's word, else the config's, else what systemd says, else the usual place.
fn directory(typed: Option<&OsStr>, configured: &StateConfig, footing: Footing) -> Result<PathBuf, Error> {
    let named = typed.or(configured.path.as_deref()).filter(|path| !path.is_empty());
    if let Some(path) = named {
        return std::path::absolute(path).map_err(|error| Error::Open(path.into(), error));
    }
    let absolute = |name: &str| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    // Several directories of a unit stand there with colons between them.
    let first = |names: OsString| {
        let name = names.as_bytes().split(|&byte| byte == b':').next().unwrap_or_default();
        PathBuf::from(OsString::from_vec(name.to_owned()))
    };
    std::env::var_os("STATE_DIRECTORY")
        .map(first)
        .filter(|path| path.is_absolute())
        .or_else(|| (footing.root || footing.gives_uids).then(|| PathBuf::from(SYSTEM)))
        .or_else(|| Some(absolute("XDG_STATE_HOME")?.join("sersync")))
        .or_else(|| Some(absolute("HOME")?.join(".local/state/sersync")))
        .ok_or(Error::NoPlace)
}

/// A name that no other config's path has, and that people recognise.
fn name_of(config: &Path) -> OsString {
    let mut name = Vec::new();
    for &byte in config.as_os_str().as_bytes().strip_prefix(b"/").unwrap_or_default() {
        match byte {
            b'/' => name.push(b'-'),
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'.' | b'_' => name.push(byte),
            _ => name.extend_from_slice(format!("%{byte:02x}").as_bytes()),
        }
    }
    if name.len() > MAX_NAME {
        let end = name.split_off(name.len().saturating_sub(MAX_NAME / 2));
        name = format!("%{:016x}", number_of(config.as_os_str().as_bytes())).into_bytes();
        name.extend(end);
    }
    name.extend_from_slice(b".state");
    OsString::from_vec(name)
}

/// FNV-1a: the same number in every version of this program.
pub fn number_of(bytes: &[u8]) -> u64 {
    bytes
        .iter()
        .fold(0xcbf2_9ce4_8422_2325, |hash, &byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{PermissionsExt, symlink};

    const USER: Footing = Footing { root: false, gives_uids: false, reads_all: false };

    fn open_in(directory: &Path, config: &str) -> Result<Flock<File>, Error> {
        let configured = StateConfig { start: true, path: None };
        open(Some(directory.as_os_str()), &configured, Path::new(config), USER)
    }

    #[test]
    fn each_config_has_a_file_of_its_own() {
        let names = ["/etc/a-b", "/etc/a/b", "/etc/a%2db", "/etc/a b"].map(|path| name_of(Path::new(path)));
        assert_eq!(names[1], "etc-a-b.state");
        for (n, name) in names.iter().enumerate() {
            assert!(!names[..n].contains(name), "{name:?}");
        }
        let long = |end: &str| name_of(Path::new(&format!("/{}{end}", "x/".repeat(500))));
        assert!(long("a").len() < 255 && long("a") != long("b"));
    }

    #[test]
    fn a_file_that_others_could_have_made_is_refused() {
        let temp = tempfile::tempdir().unwrap();
        let state = temp.path().join("state");
        drop(open_in(&state, "/c").unwrap());
        assert_eq!(state.metadata().unwrap().mode() & 0o777, 0o700);
        let file = state.join("c.state");
        assert_eq!(file.metadata().unwrap().mode() & 0o777, 0o600);
        fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).unwrap();
        assert!(matches!(open_in(&state, "/c"), Err(Error::NotPrivate(_))));
        fs::remove_file(&file).unwrap();
        symlink("/dev/null", &file).unwrap();
        assert!(matches!(open_in(&state, "/c"), Err(Error::Open(..))));
        fs::set_permissions(&state, fs::Permissions::from_mode(0o777)).unwrap();
        assert!(matches!(open_in(&state, "/d"), Err(Error::NotPrivate(_))));
    }
}
