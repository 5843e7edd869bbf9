//! What the watcher saw, as pure data: a [`Change`] says that a path is dirty, never what
//! to do with it. What is there when rsync runs decides (ARCHITECTURE.md, "level-triggered").

use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;
use std::time::UNIX_EPOCH;

use serde::{Deserialize, Serialize};

use crate::path::RelPath;

/// inotify's bit for a name that came by a rename. What is made anew where something was just removed
/// is reported so too.
pub const IN_MOVED_TO: u32 = 0x80;
/// inotify's bit for a name that appeared.
pub const IN_CREATE: u32 = 0x100;
/// inotify's bit for an event that concerns a directory.
pub const IN_ISDIR: u32 = 0x4000_0000;

/// Not inotify's: a file came to this name as an rsync brings it, from a temporary name beside
/// it. Between two servers that mirror one another that is most likely our own edit coming back.
pub const RECEIVED: u32 = 0x0800_0000;

/// Not inotify's: a comparison found that a remote holds something else there, though size and time
/// are the same.
pub const DOUBTED: u32 = 0x0400_0000;

/// The bits of two changes of one path. Whether it was [`RECEIVED`] is what the later one says.
pub fn merged(earlier: u32, later: u32) -> u32 {
    (earlier & !RECEIVED) | later
}

/// Which watched root a message speaks of: its place in the config, counted from 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct TreeId(pub u16);

/// Which directory the root is. A root that comes back with another identity is another root:
/// inode numbers are used again, so the moment of its birth is part of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct RootId {
    /// `st_dev`.
    pub device: u64,
    /// `st_ino`.
    pub inode: u64,
    /// Nanoseconds since 1970; 0 where the filesystem does not know.
    pub born: u64,
}

impl RootId {
    /// Whether this is the directory that had the identity `self` when an earlier run saw it: the
    /// number of a device may be another one after a reboot. It counts where a birth is not known, or
    /// in whole seconds as `mkfs` gives it to the root of a filesystem.
    pub fn is_still(self, now: RootId) -> bool {
        let is_exact = !self.born.is_multiple_of(1_000_000_000);
        self.inode == now.inode && self.born == now.born && (is_exact || self.device == now.device)
    }
}

impl From<&Metadata> for RootId {
    fn from(metadata: &Metadata) -> RootId {
        let born = metadata.created().ok().and_then(|born| born.duration_since(UNIX_EPOCH).ok());
        let born = born.and_then(|born| u64::try_from(born.as_nanos()).ok()).unwrap_or(0);
        RootId { device: metadata.dev(), inode: metadata.ino(), born }
    }
}

/// Why a path is dirty.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Dirt {
    /// The entry itself is to be brought over; a directory without what it holds.
    Touched,
    /// The name of a file was removed. Held for a moment, since editors remove before they write.
    Removed,
    /// A directory was removed, or renamed away. Not held.
    RemovedDir,
    /// Everything below is to become equal, extra entries on the remote included: a directory
    /// that was moved in, or that took the place of another.
    Deep,
    /// Everything below is to be sent again because we lost sight of it. Removes nothing on
    /// the remote.
    Sweep,
}

impl Dirt {
    const ALL: [Dirt; 5] = [Dirt::Touched, Dirt::Removed, Dirt::RemovedDir, Dirt::Deep, Dirt::Sweep];

    /// What stands for it on a wire and on disk.
    #[must_use]
    pub const fn number(self) -> u8 {
        match self {
            Dirt::Touched => 0,
            Dirt::Removed => 1,
            Dirt::RemovedDir => 2,
            Dirt::Deep => 3,
            Dirt::Sweep => 4,
        }
    }

    /// What a number stands for; `None` for one that stands for nothing.
    #[must_use]
    pub fn of_number(number: u8) -> Option<Dirt> {
        Dirt::ALL.into_iter().find(|dirt| dirt.number() == number)
    }

    /// What a path is when `next` happens to it while `self` has not been dealt with.
    #[must_use]
    pub fn then(self, next: Dirt) -> Dirt {
        use Dirt::{Deep, Removed, RemovedDir, Sweep, Touched};
        match (self, next) {
            (Deep, _) | (_, Deep) => Deep,
            // Something took the place of a directory: leftovers of the old one must go.
            (RemovedDir, Touched | Sweep) => Deep,
            (RemovedDir, Removed | RemovedDir) | (Touched | Removed, RemovedDir) => RemovedDir,
            // Below an unseen directory more may differ than this one name.
            (Sweep, RemovedDir | Removed) => Deep,
            (Sweep, Touched | Sweep) | (Touched | Removed, Sweep) => Sweep,
            (Touched | Removed, Touched) => Touched,
            (Touched | Removed, Removed) => Removed,
        }
    }
}

/// One dirty path.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    /// Below the root; never the root itself, but for [`Dirt::Sweep`] and [`Dirt::Deep`].
    pub path: RelPath,
    /// Why.
    pub dirt: Dirt,
    /// The inotify bits seen, [`IN_ISDIR`] among them; [`IN_CREATE`] for what a scan found, 0 for
    /// what nobody saw.
    pub mask: u32,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_root_after_a_reboot() {
        let root = RootId { device: 1, inode: 2, born: 3 };
        assert!(root.is_still(root) && root.is_still(RootId { device: 9, ..root }));
        assert!(!root.is_still(RootId { inode: 9, ..root }) && !root.is_still(RootId { born: 9, ..root }));
        for born in [0, 5_000_000_000] {
            let made = RootId { born, ..root };
            assert!(made.is_still(made) && !made.is_still(RootId { device: 9, ..made }));
        }
    }
}
