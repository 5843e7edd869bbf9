//! The stamp of an entry ([`Stamp`]), and how an entry is looked at: below the known root, never
//! through a symbolic link.
//!
//! Stamps are kept on disk and compared with those of later versions: how one is made may change
//! only together with the file's format.

use std::ffi::OsStr;
use std::os::fd::{AsFd, OwnedFd};

use common::event::RootId;
use common::filter::EntryKind;
use common::keep::Stamp;
use common::message::RootLoss;
use common::path::RelPath;
use nix::errno::Errno;
use nix::fcntl::AtFlags;
use nix::sys::stat::{FileStat, SFlag, fstatat};
use nix::time::{ClockId, clock_gettime};

use crate::open;

/// The mark of a file whose state is not known to be brought over: no file has it, so that it is
/// found to have changed.
pub(crate) const UNPROVEN: u64 = 0;

/// Odd, so that different owners give different products.
const SPREAD: u64 = 0x9E37_79B9_7F4A_7C15;

/// The stamp of what `stat` describes.
pub(crate) fn stamp(stat: &FileStat) -> Stamp {
    let directory = SFlag::from_bits_truncate(stat.st_mode) & SFlag::S_IFMT == SFlag::S_IFDIR;
    let mark = if directory {
        let owners = u64::from(stat.st_uid) << 32 | u64::from(stat.st_gid);
        owners.wrapping_mul(SPREAD) ^ u64::from(stat.st_mode)
    } else {
        nanoseconds(stat.st_ctime, stat.st_ctime_nsec)
    };
    Stamp { directory, inode: stat.st_ino, mark }
}

/// What the kernel would give a file that changes now as its change time, at the least.
pub(crate) fn file_mark_now() -> u64 {
    let now = clock_gettime(ClockId::CLOCK_REALTIME_COARSE);
    now.map_or(0, |now| nanoseconds(now.tv_sec(), now.tv_nsec()))
}

/// As a filter sees it.
pub(crate) fn kind(stamp: Stamp) -> EntryKind {
    if stamp.directory { EntryKind::Directory } else { EntryKind::File }
}

fn nanoseconds(seconds: i64, nanoseconds: i64) -> u64 {
    seconds.wrapping_mul(1_000_000_000).wrapping_add(nanoseconds).cast_unsigned()
}

/// Looks at entries below an open root. Keeps the directory of the last one open: changes mostly
/// come several of a directory.
pub(crate) struct Looker {
    root: OwnedFd,
    directory: Option<(RelPath, Result<OwnedFd, Errno>)>,
}

impl Looker {
    /// Opens the root at `path`, unless it is not there, or another.
    pub(crate) fn open(path: &OsStr, known: RootId) -> Result<Looker, RootLoss> {
        let root = open::known_root(path, known)?;
        Ok(Looker { root, directory: None })
    }

    /// Another directory may be where the last one was.
    pub(crate) fn forget(&mut self) {
        self.directory = None;
    }

    /// What stands at `path` now.
    pub(crate) fn stat(&mut self, path: &RelPath) -> Result<FileStat, Errno> {
        if !self.directory.as_ref().is_some_and(|(known, _)| path.is_in(known)) {
            let parent = path.parent().ok_or(Errno::EINVAL)?;
            let directory = open::below(self.root.as_fd(), &parent);
            self.directory = Some((parent, directory));
        }
        let (_, directory) = self.directory.as_ref().ok_or(Errno::EINVAL)?;
        let directory = directory.as_ref().map_err(|&errno| errno)?;
        fstatat(directory, path.name(), AtFlags::AT_SYMLINK_NOFOLLOW)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::{self, Permissions};
    use std::os::unix::fs::{PermissionsExt, symlink};

    #[test]
    fn what_changes_a_stamp_and_what_does_not() {
        let temp = tempfile::tempdir().unwrap();
        let at = |path: &str| temp.path().join(path);
        fs::create_dir_all(at("d/e")).unwrap();
        fs::write(at("d/f"), "1").unwrap();
        symlink("d", at("link")).unwrap();
        let (_, id) = open::root(temp.path().as_os_str()).unwrap();
        let mut looker = Looker::open(temp.path().as_os_str(), id).unwrap();
        let mut look = |path: &str| looker.stat(&RelPath::new(path).unwrap()).map(|stat| stamp(&stat));
        let (dir, file) = (look("d").unwrap(), look("d/f").unwrap());
        assert!(dir.directory && !file.directory && !look("link").unwrap().directory);
        assert_eq!(kind(dir), EntryKind::Directory);
        // What a directory holds is not its own state.
        fs::write(at("d/g"), "").unwrap();
        assert_eq!(look("d").unwrap(), dir);
        fs::set_permissions(at("d"), Permissions::from_mode(0o711)).unwrap();
        assert_ne!(look("d").unwrap(), dir);
        // The clock of file systems goes in steps.
        while file_mark_now() <= file.mark {}
        fs::write(at("d/f"), "2").unwrap();
        let later = look("d/f").unwrap();
        assert!(later.inode == file.inode && later.mark > file.mark);
        assert_eq!(look("d/none"), Err(Errno::ENOENT));
        assert!(matches!(look("link/f"), Err(Errno::ELOOP | Errno::ENOTDIR)));
        assert_eq!(look(""), Err(Errno::EINVAL));
        assert!(Looker::open(temp.path().as_os_str(), RootId { inode: id.inode + 1, ..id }).is_err());
    }

    #[test]
    fn owners_are_told_apart() {
        let mut stat = nix::sys::stat::stat("/").unwrap();
        let mut marks: Vec<u64> = Vec::new();
        for (uid, gid, mode) in [(0, 0, 0o755), (0, 1, 0o755), (1, 0, 0o755), (1, 1, 0o755), (0, 0, 0o750)] {
            (stat.st_uid, stat.st_gid, stat.st_mode) = (uid, gid, SFlag::S_IFDIR.bits() | mode);
            marks.push(stamp(&stat).mark);
        }
        marks.sort_unstable();
        marks.dedup();
        assert_eq!(marks.len(), 5);
    }
}
