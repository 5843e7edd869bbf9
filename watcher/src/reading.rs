//! Reading one directory, a slice at a time: what it holds is walked, reported or looked at.
//!
//! It is watched by then. Nothing is made of an entry that is not needed: most of them are files that
//! nobody asks about.

use std::os::fd::{AsFd, OwnedFd};

use common::event::Dirt;
use common::filter::EntryKind;
use common::path::{MAX_PATH, RelPath};
use nix::errno::Errno;
use nix::fcntl::AtFlags;
use nix::sys::stat::{SFlag, fstatat};
use rustix::fs::{FileType, RawDir, RawDirEntry};

use crate::live::Live;
use crate::outbox::Outbox;
use crate::scan::{Voice, Work};
use crate::translate::bits;
use crate::tree::NodeId;

/// Entries of a directory that are read in one step, and what one call fills beyond them.
const SLICE: usize = 1000;
/// What one call fills: some thousand entries.
const READ_BUFFER: usize = 32 << 10;

/// A directory that is being read.
pub(crate) struct Reading {
    pub(crate) node: NodeId,
    pub(crate) voice: Voice,
    /// What is met from now on is younger.
    pub(crate) since: u64,
    pub(crate) fd: OwnedFd,
}

/// How a slice ended.
enum End {
    Slice,
    Directory,
    Failed(Errno),
}

impl Live {
    /// Reads a slice of a directory.
    pub(crate) fn read_on(&mut self, reading: Reading, out: &mut Outbox) {
        // Moved or removed between two slices: what matters of it comes by another way.
        let Some(dir) = self.tree.path(reading.node) else { return };
        let mut buffer = std::mem::take(&mut self.scan.buffer);
        buffer.reserve_exact(READ_BUFFER);
        let mut entries = RawDir::new(&reading.fd, buffer.spare_capacity_mut());
        let mut read = 0_usize;
        let end = loop {
            match entries.next() {
                Some(Ok(entry)) => self.found(&reading, &dir, &entry, out),
                Some(Err(error)) => break End::Failed(Errno::from_raw(error.raw_os_error())),
                None => break End::Directory,
            }
            read += 1;
            if read >= SLICE && entries.is_buffer_empty() {
                break End::Slice;
            }
        };
        self.scan.buffer = buffer;
        match end {
            End::Slice => self.scan.reading = Some(reading),
            End::Directory if reading.voice == Voice::Census => {}
            End::Directory => self.sweep(reading.node, reading.since, None),
            End::Failed(errno) => self.scan.cannot(&dir, errno),
        }
    }

    fn found(&mut self, reading: &Reading, dir: &RelPath, entry: &RawDirEntry<'_>, out: &mut Outbox) {
        let name = entry.file_name().to_bytes();
        if matches!(name, b"." | b"..") {
            return;
        }
        match kind(reading, entry) {
            Some(EntryKind::Directory) => self.found_directory(reading, dir, name),
            Some(EntryKind::File) => self.found_file(reading, dir, entry, out),
            None => {}
        }
    }

    fn found_directory(&mut self, reading: &Reading, dir: &RelPath, name: &[u8]) {
        if dir.as_bytes().len() + name.len() >= MAX_PATH {
            self.scan.too_long(dir);
            return;
        }
        let child = match reading.voice {
            Voice::Census => self.tree.child(reading.node, name),
            // Not seen: what may be known below it is swept.
            Voice::Named | Voice::Quiet if self.is_excluded(dir, name, EntryKind::Directory) => None,
            Voice::Named | Voice::Quiet => self.tree.ensure(reading.node, name),
        };
        let Some(child) = child else { return };
        if reading.voice == Voice::Named {
            self.tree.announce(child);
        }
        self.scan.push(Work::Read(child, reading.voice));
    }

    fn found_file(&mut self, reading: &Reading, dir: &RelPath, entry: &RawDirEntry<'_>, out: &mut Outbox) {
        let is_told = match reading.voice {
            Voice::Named => true,
            Voice::Quiet if self.links.is_counting() => false,
            Voice::Quiet => return,
            Voice::Census => false,
        };
        let name = entry.file_name().to_bytes();
        if reading.voice != Voice::Census && self.is_excluded(dir, name, EntryKind::File) {
            return;
        }
        self.count_names(reading.fd.as_fd(), dir, entry.file_name());
        if !is_told {
            return;
        }
        match dir.join(name) {
            Ok(path) => out.change(self.id, path, Dirt::Touched, bits::CREATE),
            Err(_) => self.scan.too_long(dir),
        }
    }

    fn is_excluded(&self, dir: &RelPath, name: &[u8], kind: EntryKind) -> bool {
        let filter = &self.rules.filter;
        !filter.is_empty() && dir.join(name).is_ok_and(|path| filter.excludes(&path, kind))
    }
}

/// Not every filesystem says in the directory what an entry is.
fn kind(reading: &Reading, entry: &RawDirEntry<'_>) -> Option<EntryKind> {
    let directory = match entry.file_type() {
        FileType::Unknown => {
            let stat = fstatat(&reading.fd, entry.file_name(), AtFlags::AT_SYMLINK_NOFOLLOW).ok()?;
            SFlag::from_bits_truncate(stat.st_mode) & SFlag::S_IFMT == SFlag::S_IFDIR
        }
        known => known == FileType::Directory,
    };
    Some(if directory { EntryKind::Directory } else { EntryKind::File })
}
