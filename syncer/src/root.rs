//! The watched root, held open for one job: which directory it is, and what stands where
//! below it. Symlinks below the root are never followed.

use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::MetadataExt;

use bstr::ByteSlice;
use common::event::RootId;
use common::path::RelPath;
use nix::dir::Dir;
use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, open, openat};
use nix::sys::stat::{FileStat, Mode, SFlag, fstatat};
use thiserror::Error;

use crate::list::Kind;

/// Why a job does not start.
#[derive(Debug, Error, PartialEq, Eq)]
pub(crate) enum RootError {
    /// Missing, no directory, or closed to us.
    #[error("the root cannot be opened: {}", .0.desc())]
    Closed(Errno),
    /// Not the directory that the paths were seen in.
    #[error("another directory stands in the place of the root")]
    Replaced,
}

/// A directory at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Mark {
    device: u64,
    inode: u64,
    changed: (i64, i64),
}

/// An open root.
pub(crate) struct Root {
    fd: OwnedFd,
}

impl Root {
    /// Opens `path`, which must be the very directory that `id` names.
    pub(crate) fn open(path: &OsStr, id: RootId) -> Result<Root, RootError> {
        let fd = File::from(open(path, DIRECTORY, Mode::empty()).map_err(RootError::Closed)?);
        let found = fd.metadata().map_err(|error| RootError::Closed(errno(&error)))?;
        if RootId::from(&found) != id {
            return Err(RootError::Replaced);
        }
        let fd = OwnedFd::from(fd);
        // Without the right to search it nothing below can be looked at, nor can rsync start in it.
        fstatat(&fd, ".", AtFlags::AT_SYMLINK_NOFOLLOW).map_err(RootError::Closed)?;
        Ok(Root { fd })
    }

    /// What stands at `path`.
    pub(crate) fn kind(&self, path: &[u8]) -> Kind {
        match fstatat(&self.fd, path, AtFlags::AT_SYMLINK_NOFOLLOW) {
            Ok(stat) if is_directory(&stat) => Kind::Directory,
            Ok(_) => Kind::Other,
            Err(Errno::ENOENT | Errno::ENOTDIR) => Kind::Missing,
            Err(_) => Kind::Unknown,
        }
    }

    /// How large the file at `path` is, in bytes; `None` for anything else.
    pub(crate) fn size(&self, path: &[u8]) -> Option<u64> {
        let stat = fstatat(&self.fd, path, AtFlags::AT_SYMLINK_NOFOLLOW).ok()?;
        let is_file = SFlag::from_bits_truncate(stat.st_mode) & SFlag::S_IFMT == SFlag::S_IFREG;
        if is_file { u64::try_from(stat.st_size).ok() } else { None }
    }

    /// True when the root holds no entry at all.
    pub(crate) fn is_empty(&self) -> Result<bool, RootError> {
        let fd = openat(&self.fd, ".", DIRECTORY, Mode::empty()).map_err(RootError::Closed)?;
        let mut directory = Dir::from_fd(fd).map_err(RootError::Closed)?;
        for entry in directory.iter() {
            if !is_dot(entry.map_err(RootError::Closed)?.file_name().to_bytes()) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// What tells whether the directory at `path` is the same as before and was nowhere else meanwhile: its
    /// own rename changes it too. `None` where there is none.
    pub(crate) fn mark(&self, path: &RelPath) -> Option<Mark> {
        let meta = File::from(self.open_dir(path).ok()?).metadata().ok()?;
        Some(Mark { device: meta.dev(), inode: meta.ino(), changed: (meta.ctime(), meta.ctime_nsec()) })
    }

    /// Opens a directory below the root for reading. Goes down component by component, so that
    /// no component can be a symlink.
    pub(crate) fn open_dir(&self, path: &RelPath) -> nix::Result<OwnedFd> {
        let mut above = None::<OwnedFd>;
        if let Some(parent) = path.parent() {
            for component in parent.as_bytes().split_str("/").filter(|component| !component.is_empty()) {
                let from = above.as_ref().map_or(self.fd.as_fd(), AsFd::as_fd);
                above = Some(openat(from, component, PASSAGE, Mode::empty())?);
            }
        }
        let name = if path.is_root() { &b"."[..] } else { path.name() };
        let from = above.as_ref().map_or(self.fd.as_fd(), AsFd::as_fd);
        openat(from, name, DIRECTORY.union(OFlag::O_NOFOLLOW), Mode::empty())
    }
}

impl AsFd for Root {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// True for the two names that every directory holds.
pub(crate) fn is_dot(name: &[u8]) -> bool {
    matches!(name, b"." | b"..")
}

/// True when `stat` is that of a real directory.
pub(crate) fn is_directory(stat: &FileStat) -> bool {
    SFlag::from_bits_truncate(stat.st_mode) & SFlag::S_IFMT == SFlag::S_IFDIR
}

const DIRECTORY: OFlag = OFlag::O_RDONLY.union(OFlag::O_DIRECTORY).union(OFlag::O_CLOEXEC);
const PASSAGE: OFlag =
    OFlag::O_PATH.union(OFlag::O_DIRECTORY).union(OFlag::O_NOFOLLOW).union(OFlag::O_CLOEXEC);

fn errno(error: &io::Error) -> Errno {
    Errno::from_raw(error.raw_os_error().unwrap_or(nix::libc::EIO))
}
