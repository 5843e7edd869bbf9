//! The other way to watch: one mark on the filesystem of the root (fanotify) in place of a watch for
//! each directory.
//!
//! The mark was set before this process gave up the right to. Its events call directories by their
//! handles. A table says which of them are ours, and gives each a number, as a watch has one, below
//! [`NO_WATCH`]; whatever else happens on the filesystem is read and dropped. No handle is opened.

use std::ffi::OsStr;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::time::Instant;

use common::confine;
use nix::errno::Errno;
use nix::unistd::read;

use crate::kernel::{Event, Of};
use crate::live::Live;
use crate::outbox::Outbox;
use crate::scan::Work;
use crate::shards::Shards;
use crate::translate::bits;
use crate::tree::NodeId;

/// The number that no watch has.
pub(crate) const NO_WATCH: i32 = -1;
/// Of cookies that are made here: the kernel counts its own from 1.
const OWN_COOKIE: u32 = 0x8000_0000;
/// Bytes before the records of an event: its length, its mask, and four words that are not for us.
const HEAD: usize = 24;
/// Bytes of a record before the handle: its kind, its length, the filesystem, and the handle's own
/// length and kind.
const RECORD_HEAD: usize = 20;

/// What a handle is known by here: filesystem, kind and bytes, of which there may be 128, in 128 bits
/// by keys that nobody knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Key(u128);

/// How handles become [`Key`]s.
#[derive(Clone)]
struct Keys([RandomState; 2]);

impl Keys {
    fn of(&self, filesystem: &[u8], kind: i32, bytes: &[u8]) -> Key {
        let half = |state: &RandomState| {
            let mut hasher = state.build_hasher();
            hasher.write(filesystem);
            hasher.write_i32(kind);
            hasher.write(bytes);
            u128::from(hasher.finish())
        };
        let [high, low] = &self.0;
        Key(half(high) << 64 | half(low))
    }
}

/// The events of one filesystem, and which of its directories are ours.
pub(crate) struct Fanotify {
    group: OwnedFd,
    filesystem: [u8; 8],
    keys: Keys,
    handles: Handles,
    cookie: u32,
}

impl Fanotify {
    /// Takes over a mark on the filesystem of `root`, which is the first directory of the table.
    pub(crate) fn new(group: OwnedFd, root: BorrowedFd<'_>) -> io::Result<(Fanotify, i32)> {
        let handle = confine::handle(root)?;
        let keys = Keys([RandomState::new(), RandomState::new()]);
        let mut handles = Handles::new();
        let number = handles.add(keys.of(&handle.filesystem, handle.kind, handle.bytes()))?;
        let filesystem = handle.filesystem;
        Ok((Fanotify { group, filesystem, keys, handles, cookie: 0 }, number))
    }

    /// The number of an open directory; `None` for one of another filesystem.
    pub(crate) fn add(&mut self, dir: BorrowedFd<'_>) -> io::Result<Option<i32>> {
        let handle = match confine::handle(dir) {
            Ok(handle) if handle.filesystem == self.filesystem => handle,
            Ok(_) => return Ok(None),
            Err(error) if error.raw_os_error() == Some(Errno::EOPNOTSUPP as i32) => return Ok(None),
            Err(error) => return Err(error),
        };
        self.handles.add(self.keys.of(&handle.filesystem, handle.kind, handle.bytes())).map(Some)
    }

    /// Forgets a directory.
    pub(crate) fn remove(&mut self, number: i32) {
        self.handles.remove(number);
    }

    /// The number of a directory that an event speaks of, if it is ours.
    pub(crate) fn number(&self, key: Key) -> Option<i32> {
        self.handles.find(key)
    }

    /// Reads what waits, at most one `buffer`; the number of bytes, 0 for nothing.
    pub(crate) fn read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        match read(&self.group, buffer) {
            Ok(count) => Ok(count),
            Err(Errno::EAGAIN | Errno::EINTR) => Ok(0),
            Err(errno) => Err(errno.into()),
        }
    }

    /// The events in what was read.
    pub(crate) fn events<'a>(&mut self, read: &'a [u8]) -> Events<'a> {
        let first = self.cookie;
        // More than there can be renames in it.
        let most = u32::try_from(read.len()).unwrap_or(u32::MAX);
        self.cookie = first.wrapping_add(most) & !OWN_COOKIE;
        Events { rest: read, keys: self.keys.clone(), cookie: first, current: None }
    }
}

impl AsFd for Fanotify {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.group.as_fd()
    }
}

/// Numbers for keys. A number is used again once it is removed.
struct Handles {
    keys: Vec<Key>,
    unused: Vec<u32>,
    slots: Shards<u32>,
}

impl Handles {
    fn new() -> Handles {
        Handles { keys: Vec::new(), unused: Vec::new(), slots: Shards::new() }
    }

    fn add(&mut self, key: Key) -> io::Result<i32> {
        if let Some(number) = self.find(key) {
            return Ok(number);
        }
        let slot = match self.unused.pop() {
            Some(slot) => slot,
            None => u32::try_from(self.keys.len()).map_err(|_| Errno::ENOSPC)?,
        };
        let number = number(slot).ok_or(Errno::ENOSPC)?;
        if let Some(old) = self.keys.get_mut(slot as usize) {
            *old = key;
        } else {
            if self.keys.len() == self.keys.capacity() {
                // As the arena: a million directories are a few of these steps.
                self.keys.reserve_exact(64.max(self.keys.len() / 4));
            }
            self.keys.push(key);
        }
        let keys = &self.keys;
        self.slots.add(hash(key), slot, |slot| keys.get(slot as usize).map_or(0, |&key| hash(key)));
        Ok(number)
    }

    fn find(&self, key: Key) -> Option<i32> {
        self.slots.find(hash(key), |slot| self.keys.get(slot as usize) == Some(&key)).and_then(number)
    }

    fn remove(&mut self, number: i32) {
        let Some(slot) = slot(number) else { return };
        let Some(&key) = self.keys.get(slot as usize) else { return };
        // Removed before, it may stand for another directory by now, or for none.
        if self.slots.find(hash(key), |other| other == slot).is_some() {
            self.slots.remove(hash(key), slot);
            self.unused.push(slot);
        }
    }
}

fn number(slot: u32) -> Option<i32> {
    NO_WATCH.checked_sub(1)?.checked_sub(i32::try_from(slot).ok()?)
}

fn slot(number: i32) -> Option<u32> {
    u32::try_from(NO_WATCH.checked_sub(1)?.checked_sub(number)?).ok()
}

/// Every bit of a key is as good as any other.
#[expect(clippy::cast_possible_truncation, reason = "half of the bits are enough")]
fn hash(key: Key) -> u64 {
    key.0 as u64
}

/// What was read, event by event as inotify would say it.
pub(crate) struct Events<'a> {
    rest: &'a [u8],
    keys: Keys,
    cookie: u32,
    current: Option<Merged<'a>>,
}

/// An entry of a directory.
type Place<'a> = (Key, &'a OsStr);

/// All that happened to one file under one name, or one rename, since the queue was read last.
struct Merged<'a> {
    /// What is left to tell, in inotify's bits, which are fanotify's.
    mask: u32,
    /// [`bits::ISDIR`] or nothing.
    kind: u32,
    cookie: u32,
    at: Option<Place<'a>>,
    from: Option<Place<'a>>,
    to: Option<Place<'a>>,
}

impl<'a> Merged<'a> {
    /// In an order in which they can have happened: a file that went and came back by a link is the
    /// only one that can be told wrong, and then it is told that it is dirty all the same.
    const ORDER: [u32; 7] = [
        bits::CREATE,
        bits::MOVED_FROM,
        bits::MOVED_TO,
        bits::MODIFY,
        bits::CLOSE_WRITE,
        bits::ATTRIB,
        bits::DELETE,
    ];

    fn next(&mut self) -> Option<Event<'a>> {
        let mask = self.mask;
        for bit in Self::ORDER.into_iter().filter(|bit| mask & bit != 0) {
            self.mask &= !bit;
            let (place, cookie) = match bit {
                bits::MOVED_FROM => (self.from, self.cookie),
                bits::MOVED_TO => (self.to, self.cookie),
                _ => (self.at, 0),
            };
            if let Some((key, name)) = place {
                return Some(Event { of: Of::Handle(key), mask: bit | self.kind, cookie, name: Some(name) });
            }
        }
        None
    }
}

impl<'a> Iterator for Events<'a> {
    type Item = Event<'a>;

    fn next(&mut self) -> Option<Event<'a>> {
        loop {
            if let Some(event) = self.current.as_mut().and_then(Merged::next) {
                return Some(event);
            }
            let length = usize::try_from(word(self.rest, 0)?).ok().filter(|&length| length >= HEAD)?;
            let (event, rest) = self.rest.split_at_checked(length)?;
            self.rest = rest;
            let mask = u64::from_ne_bytes(event.get(8..16)?.try_into().ok()?);
            if mask & nix::libc::FAN_Q_OVERFLOW != 0 {
                let of = Of::Watch(NO_WATCH);
                return Some(Event { of, mask: bits::Q_OVERFLOW, cookie: 0, name: None });
            }
            self.cookie = self.cookie.wrapping_add(1) & !OWN_COOKIE;
            self.current = Some(self.merged(event, mask));
        }
    }
}

impl<'a> Events<'a> {
    fn merged(&self, event: &'a [u8], mask: u64) -> Merged<'a> {
        let low = u32::try_from(mask & u64::from(u32::MAX)).unwrap_or_default();
        let renamed = if mask & nix::libc::FAN_RENAME == 0 { 0 } else { bits::MOVED_FROM | bits::MOVED_TO };
        let mut merged = Merged {
            mask: low | renamed,
            kind: low & bits::ISDIR,
            cookie: self.cookie | OWN_COOKIE,
            at: None,
            from: None,
            to: None,
        };
        let head = event.get(6..8).and_then(|length| length.try_into().ok()).map_or(0, u16::from_ne_bytes);
        let mut records = event.get(usize::from(head)..).unwrap_or_default();
        while let [kind, _, low, high, ..] = *records {
            let length = usize::from(u16::from_ne_bytes([low, high]));
            let Some((record, rest)) = records.split_at_checked(length).filter(|_| length >= 4) else {
                break;
            };
            records = rest;
            match kind {
                nix::libc::FAN_EVENT_INFO_TYPE_DFID_NAME => merged.at = self.place(record),
                nix::libc::FAN_EVENT_INFO_TYPE_OLD_DFID_NAME => merged.from = self.place(record),
                nix::libc::FAN_EVENT_INFO_TYPE_NEW_DFID_NAME => merged.to = self.place(record),
                // The file itself. Without a name beside it, it is one of its other names that changed it.
                _ => {}
            }
        }
        merged
    }

    fn place(&self, record: &'a [u8]) -> Option<Place<'a>> {
        let length = usize::try_from(word(record, 12)?).ok()?;
        let kind = word(record, 16)?.cast_signed();
        let (handle, name) = record.get(RECORD_HEAD..)?.split_at_checked(length)?;
        let name = name.split(|&byte| byte == 0).next().filter(|name| !name.is_empty())?;
        Some((self.keys.of(record.get(4..12)?, kind, handle), OsStr::from_bytes(name)))
    }
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    let four = bytes.get(at..)?.first_chunk::<4>()?;
    Some(u32::from_ne_bytes(*four))
}

impl Live {
    /// Whether a directory may stand where one was said to go: what is said of one of them several
    /// times is told once, where it was said first. Where not all that comes is wanted, as it was told.
    pub(crate) fn is_doubtful(&self) -> bool {
        self.kernel.merges() && self.rules.switches.create_folder && self.rules.switches.move_to
    }

    /// The walk looks for one.
    pub(crate) fn look_if_doubtful(&mut self, parent: NodeId, name: &[u8]) {
        if self.is_doubtful() {
            self.scan.push(Work::Look(parent, name.into()));
        }
    }

    /// What fanotify says of a directory itself, as its parent would say it.
    pub(crate) fn of_itself(&mut self, nodes: &[NodeId], event: (u32, u32), now: Instant, out: &mut Outbox) {
        for &node in nodes {
            if let Some((parent, name)) = self.tree.place(node)
                && let Some(dir) = self.tree.path(parent)
            {
                self.entry_event(parent, &dir, &name, event, now, out);
            }
        }
    }
}

#[cfg(test)]
mod tests;
