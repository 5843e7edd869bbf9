//! One inotify instance: the only place that talks to that interface.
//!
//! Watches are set through an open descriptor, so that what is watched is what was opened and
//! no symbolic link can come in between. One instance serves one tree, so that a tree inside
//! another has watches of its own.

use std::io::{self, ErrorKind};
use std::os::fd::{AsFd, BorrowedFd};

use common::config::Switches;
use common::confine;
use hashbrown::HashTable;
use inotify::{Events, Inotify, WatchDescriptor, WatchMask, Watches};

/// An inotify instance and its watches.
pub(crate) struct Kernel {
    inotify: Inotify,
    watches: Watches,
    mask: WatchMask,
    /// What [`Watches::remove`] wants back, by number.
    descriptors: HashTable<WatchDescriptor>,
    #[cfg(test)]
    pub(crate) budget: usize,
}

impl Kernel {
    /// Opens an instance. It is charged to the uid of this moment, so not before confinement.
    pub(crate) fn open(switches: Switches) -> io::Result<Kernel> {
        let inotify = Inotify::init()?;
        let watches = inotify.watches();
        let mask = mask(switches);
        let descriptors = HashTable::new();
        Ok(Kernel {
            inotify,
            watches,
            mask,
            descriptors,
            #[cfg(test)]
            budget: usize::MAX,
        })
    }

    /// Watches the open directory `dir`; the same directory has the same number again.
    pub(crate) fn add(&mut self, dir: BorrowedFd<'_>) -> io::Result<i32> {
        let descriptor = self.watches.add(confine::fd_path(dir), self.mask)?;
        let wd = descriptor.get_watch_descriptor_id();
        let hash = |descriptor: &WatchDescriptor| hash(descriptor.get_watch_descriptor_id());
        if self.descriptors.find(hash(&descriptor), |other| is(other, wd)).is_none() {
            #[cfg(test)]
            if self.descriptors.len() >= self.budget {
                self.watches.remove(descriptor)?;
                return Err(nix::errno::Errno::ENOSPC.into());
            }
            self.descriptors.insert_unique(hash(&descriptor), descriptor, hash);
        }
        Ok(wd)
    }

    /// Ends a watch.
    pub(crate) fn remove(&mut self, wd: i32) {
        if let Some(descriptor) = self.take(wd) {
            // Refused when the directory is gone already: the kernel ended the watch itself.
            let _ = self.watches.remove(descriptor);
        }
    }

    /// Notes that the kernel ended a watch itself.
    pub(crate) fn forget(&mut self, wd: i32) {
        drop(self.take(wd));
    }

    /// The events that wait, at most one `buffer` of them; `None` when there are none.
    pub(crate) fn read<'a>(&mut self, buffer: &'a mut [u8]) -> io::Result<Option<Events<'a>>> {
        match self.inotify.read_events(buffer) {
            Ok(events) => Ok(Some(events)),
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn take(&mut self, wd: i32) -> Option<WatchDescriptor> {
        let entry = self.descriptors.find_entry(hash(wd), |other| is(other, wd)).ok()?;
        Some(entry.remove().0)
    }
}

impl AsFd for Kernel {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.inotify.as_fd()
    }
}

/// The same for every directory. What the switches leave out is left out later, by
/// [`crate::translate`]: renames and removals are followed in any case. Only the two kinds that
/// could drown all others are not asked for in vain.
fn mask(switches: Switches) -> WatchMask {
    let mut mask = WatchMask::CREATE
        | WatchMask::DELETE
        | WatchMask::MOVED_FROM
        | WatchMask::MOVED_TO
        | WatchMask::CLOSE_WRITE
        | WatchMask::DELETE_SELF
        | WatchMask::MOVE_SELF
        | WatchMask::ONLYDIR;
    if switches.attrib {
        mask |= WatchMask::ATTRIB;
    }
    if switches.modify {
        mask |= WatchMask::MODIFY;
    }
    mask
}

fn is(descriptor: &WatchDescriptor, wd: i32) -> bool {
    descriptor.get_watch_descriptor_id() == wd
}

/// Numbers are handed out one after the other; this spreads them over all 64 bits.
fn hash(wd: i32) -> u64 {
    u64::from(wd.cast_unsigned()).wrapping_mul(0x9E37_79B9_7F4A_7C15).rotate_left(32)
}
