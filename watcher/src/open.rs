//! Opening directories: the root as the config names it, everything below it without ever
//! following a symbolic link or leaving the root.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;

use common::event::RootId;
use common::message::RootLoss;
use common::path::RelPath;
use nix::errno::Errno;
use nix::fcntl::{OFlag, OpenHow, ResolveFlag, open, openat, openat2};
use nix::sys::stat::Mode;

const DIRECTORY: OFlag = OFlag::O_RDONLY.union(OFlag::O_DIRECTORY).union(OFlag::O_CLOEXEC);

/// Opens the root. Its own path is the administrator's word and may contain links.
pub(crate) fn root(path: &OsStr) -> io::Result<(OwnedFd, RootId)> {
    let fd = File::from(open(path, DIRECTORY, Mode::empty())?);
    let id = RootId::from(&fd.metadata()?);
    Ok((fd.into(), id))
}

/// Opens the root if it still is the one that is watched.
pub(crate) fn known_root(path: &OsStr, known: RootId) -> Result<OwnedFd, RootLoss> {
    match root(path) {
        Ok((fd, id)) if id == known => Ok(fd),
        Ok(_) => Err(RootLoss::Replaced),
        Err(error) => Err(loss(&error)),
    }
}

/// What a root is that cannot be opened.
pub(crate) fn loss(error: &io::Error) -> RootLoss {
    match error.kind() {
        io::ErrorKind::PermissionDenied => RootLoss::Unreadable,
        _ => RootLoss::Missing,
    }
}

/// Checks, without opening it, that the root still is the one that is watched.
pub(crate) fn check_root(path: &OsStr, known: RootId) -> Result<(), RootLoss> {
    match fs::metadata(path) {
        Ok(found) if RootId::from(&found) == known => Ok(()),
        Ok(_) => Err(RootLoss::Replaced),
        Err(_) => Err(RootLoss::Missing),
    }
}

/// Opens the directory `path` below `root`.
pub(crate) fn below(root: BorrowedFd<'_>, path: &RelPath) -> Result<OwnedFd, Errno> {
    let how = OpenHow::new()
        .flags(DIRECTORY | OFlag::O_NOFOLLOW)
        .resolve(ResolveFlag::RESOLVE_BENEATH | ResolveFlag::RESOLVE_NO_SYMLINKS);
    match openat2(root, path.as_path(), how) {
        // Before Linux 5.6, or a sandbox that does not know the call.
        Err(Errno::ENOSYS | Errno::EPERM) => step_by_step(root, path),
        result => result,
    }
}

/// The same, one component at a time.
fn step_by_step(root: BorrowedFd<'_>, path: &RelPath) -> Result<OwnedFd, Errno> {
    let mut dir = openat(root, ".", DIRECTORY, Mode::empty())?;
    for name in path.as_bytes().split(|&b| b == b'/').filter(|name| !name.is_empty()) {
        dir = openat(dir.as_fd(), OsStr::from_bytes(name), DIRECTORY | OFlag::O_NOFOLLOW, Mode::empty())?;
    }
    Ok(dir)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::symlink;

    #[test]
    fn links_are_not_followed() {
        let temp = tempfile::tempdir().unwrap();
        let at = |path: &str| temp.path().join(path);
        fs::create_dir_all(at("a/b")).unwrap();
        fs::write(at("file"), "").unwrap();
        symlink("a", at("link")).unwrap();
        symlink("/etc", at("a/out")).unwrap();
        let (root, _) = root(temp.path().as_os_str()).unwrap();
        for open in [below, step_by_step] {
            let open = |path: &str| open(root.as_fd(), &RelPath::new(path).unwrap()).map(drop);
            assert_eq!(open(""), Ok(()));
            assert_eq!(open("a/b"), Ok(()));
            for path in ["link", "link/b", "a/out", "file"] {
                assert!(matches!(open(path), Err(Errno::ELOOP | Errno::ENOTDIR)), "{path}: {:?}", open(path));
            }
            assert_eq!(open("a/c"), Err(Errno::ENOENT));
        }
    }
}
