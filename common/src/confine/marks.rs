//! Marks on whole filesystems (fanotify), and the handles by which their events name directories.
//!
//! Setting a mark takes `CAP_SYS_ADMIN`; reading what it tells takes nothing. So it is set before
//! [`enter`](super::enter), which takes that away for good: whoever needs another mark, since its
//! filesystem was unmounted, has to be another process. From a handle no file is ever opened.

use std::ffi::OsStr;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use nix::errno::Errno;
use nix::fcntl::{OFlag, open};
use nix::sys::fanotify::{EventFFlags, Fanotify, InitFlags, MarkFlags, MaskFlags};
use nix::sys::stat::{Mode, fstat};
use nix::sys::statfs::fstatfs;
use thiserror::Error;

use super::raw;
use crate::config::Switches;
use crate::event::RootId;

/// Each event names the directory and the entry in it, and is merged with others of the same file only:
/// a directory's removal is the last that is said of it. From Linux 5.17, as is `FAN_RENAME`.
const BY_NAME: InitFlags = InitFlags::from_bits_retain(libc::FAN_REPORT_DFID_NAME_TARGET);

/// A filesystem that is marked.
#[derive(Debug)]
pub struct Marked {
    group: OwnedFd,
    /// Keeps the filesystem mounted: a mark ends with it, and nobody is told.
    pin: OwnedFd,
    device: u64,
}

impl Marked {
    /// Whether it is the filesystem that this root lies on.
    pub fn covers(&self, root: RootId) -> bool {
        self.device == root.device
    }

    /// What to read the events from. The filesystem can be unmounted from now on.
    pub fn into_group(self) -> OwnedFd {
        drop(self.pin);
        self.group
    }
}

/// Why a filesystem cannot be marked.
#[derive(Debug, Error)]
pub enum MarkError {
    /// The root is not there, or may not be looked at.
    #[error("the root cannot be opened: {0}")]
    Root(Errno),
    /// The kernel refuses.
    #[error("{0}: {why}", why = why(*.0))]
    Refused(Errno),
}

/// What is behind the kernel's refusal; for people.
fn why(errno: Errno) -> &'static str {
    match errno {
        Errno::EPERM => {
            "marking a filesystem takes CAP_SYS_ADMIN, which root has outside of containers, and a service of \
             systemd with sersync-supervisor-fanotify.conf"
        }
        Errno::EINVAL => "it takes Linux 5.17",
        Errno::ENOSYS => "this kernel is made without fanotify (CONFIG_FANOTIFY), or a filter refuses it",
        Errno::EOPNOTSUPP | Errno::ENODEV => "this filesystem has no handles or no id for the events to name",
        Errno::EXDEV => "it is a btrfs subvolume, whose id is not that of its filesystem",
        Errno::EMFILE => "too many groups (fs.fanotify.max_user_groups)",
        _ => "the kernel refuses the mark",
    }
}

/// Marks the filesystem that `root` lies on, for what `switches` ask for; what they leave out of names
/// is left out later. Events are kept without a bound: they have to be read at all times.
pub fn mark(root: &OsStr, switches: Switches) -> Result<Marked, MarkError> {
    let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    let pin = open(root, flags, Mode::empty()).map_err(MarkError::Root)?;
    let device = fstat(&pin).map_err(MarkError::Root)?.st_dev;
    let flags = BY_NAME | InitFlags::FAN_UNLIMITED_QUEUE | InitFlags::FAN_NONBLOCK | InitFlags::FAN_CLOEXEC;
    let group = Fanotify::init(flags, EventFFlags::empty()).map_err(MarkError::Refused)?;
    let flags = MarkFlags::FAN_MARK_ADD | MarkFlags::FAN_MARK_FILESYSTEM;
    group.mark(flags, mask(switches), &pin, Some(".")).map_err(MarkError::Refused)?;
    handle(pin.as_fd()).map_err(|error| MarkError::Refused(errno(&error)))?;
    Ok(Marked { group: group.into(), pin, device })
}

fn mask(switches: Switches) -> MaskFlags {
    let mut mask = MaskFlags::FAN_CREATE
        | MaskFlags::FAN_DELETE
        | MaskFlags::FAN_RENAME
        | MaskFlags::FAN_CLOSE_WRITE
        | MaskFlags::FAN_ONDIR;
    if switches.attrib {
        mask |= MaskFlags::FAN_ATTRIB;
    }
    if switches.modify {
        mask |= MaskFlags::FAN_MODIFY;
    }
    mask
}

/// What an event calls a directory: unique as long as its filesystem is mounted, whatever name the
/// directory has.
pub struct Handle {
    /// Which filesystem.
    pub filesystem: [u8; 8],
    /// Which kind of handle.
    pub kind: i32,
    bytes: Box<[u8]>,
}

impl Handle {
    /// The filesystem's own word for the directory; at most 128 bytes.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }
}

/// The handle of an open directory. `EOPNOTSUPP` on a filesystem that has none.
pub fn handle(directory: BorrowedFd<'_>) -> io::Result<Handle> {
    let found = raw::handle(directory.as_raw_fd())?;
    let filesystem = raw::id_bytes(fstatfs(directory)?.filesystem_id());
    let length = usize::try_from(found.length).unwrap_or(usize::MAX);
    let bytes = found.bytes.get(..length).ok_or(Errno::EOVERFLOW)?;
    Ok(Handle { filesystem, kind: found.kind, bytes: bytes.into() })
}

fn errno(error: &io::Error) -> Errno {
    Errno::from_raw(error.raw_os_error().unwrap_or(libc::EIO))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::{self, File};

    #[test]
    fn a_directory_keeps_its_handle() {
        let temp = tempfile::tempdir().unwrap();
        let of = |name: &str| {
            let found = handle(File::open(temp.path().join(name)).unwrap().as_fd()).unwrap();
            (found.filesystem, found.kind, found.bytes().to_vec())
        };
        fs::create_dir(temp.path().join("a")).unwrap();
        fs::create_dir(temp.path().join("b")).unwrap();
        let a = of("a");
        assert_ne!(a, of("b"));
        assert_eq!(a.0, of("b").0);
        fs::rename(temp.path().join("a"), temp.path().join("c")).unwrap();
        assert_eq!(of("c"), a);
        assert_ne!(handle(File::open("/proc/self").unwrap().as_fd()).ok().map(|it| it.filesystem), Some(a.0));
    }

    #[test]
    fn what_cannot_be_marked_says_why() {
        let refused = |root: &str| mark(OsStr::new(root), Switches::default()).unwrap_err().to_string();
        assert!(refused("/missing").contains("cannot be opened: ENOENT"), "{}", refused("/missing"));
        let proc = refused("/proc");
        let reason = if nix::unistd::geteuid().is_root() { "no handles or no id" } else { "CAP_SYS_ADMIN" };
        assert!(proc.contains(reason), "{proc}");
    }
}
