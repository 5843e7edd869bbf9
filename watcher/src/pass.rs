//! Telling the names of a tree: each directory is read, each entry looked at, and the names are
//! told in their order, as long as there is room for frames of them.
//!
//! Done when there is nothing else to do, a slice at a time. What happens meanwhile is told
//! before and after a slice, never within one; so each listing is right at its place.

use std::ffi::CStr;
use std::fs::File;
use std::os::fd::OwnedFd;
use std::time::Instant;

use common::event::TreeId;
use common::keep::{NameOp, Stamp};
use common::message::{RootLoss, WatcherReport};
use common::path::RelPath;
use nix::dir::Dir;
use nix::errno::Errno;
use nix::fcntl::AtFlags;
use nix::sys::stat::fstatat;

use crate::listing::{self, Listing};
use crate::live::Live;
use crate::names::{Aim, Next, Reading};
use crate::outbox::{FRAME_BYTES, Outbox};
use crate::stamp::{UNPROVEN, kind, stamp};
use crate::translate::is_silent;
use crate::tree::NodeId;

/// Entries that are looked at in one step.
const SLICE: usize = 1000;
/// Most bytes that an entry takes beside its name.
const ENTRY_BYTES: usize = 26;
/// Most bytes that a listing takes beside its path and entries: both ends of its range, and
/// one entry more than fits.
const LISTING_BYTES: usize = 1024;

/// A frame of listings.
#[derive(Default)]
struct Frame {
    ops: Vec<NameOp>,
    bytes: usize,
}

impl Frame {
    fn send(&mut self, tree: TreeId, room: &mut u32, out: &mut Outbox) {
        if !self.ops.is_empty() {
            *room = room.saturating_sub(1);
            out.report(WatcherReport::Names(tree, std::mem::take(&mut self.ops)));
        }
        self.bytes = 0;
    }
}

impl Live {
    /// The names of the whole tree are to be told once more, and only this pass counts.
    pub(crate) fn list_anew(&mut self, pass: u32) {
        self.names.pass = pass;
        if self.watching {
            self.list_whole();
        }
    }

    /// The whole tree is to be compared with the index.
    pub(crate) fn list_whole(&mut self) {
        if self.rules.index {
            self.links.fleeting.comparing(Instant::now());
            self.names.whole();
        }
    }

    /// A subtree is to be compared with the index.
    pub(crate) fn list_subtree(&mut self, path: &RelPath) {
        if self.rules.index {
            self.names.subtree(path.clone());
        }
    }

    /// Tells names until `until`, or until there is no more room. Everything that was reported
    /// before must have been sent.
    pub(crate) fn list(&mut self, until: Instant, room: &mut u32, out: &mut Outbox) -> Result<(), RootLoss> {
        let mut frame = Frame::default();
        while self.names.wants(*room) {
            match self.names.next() {
                Next::Go(reading) => self.go_on(reading, &mut frame, room, out)?,
                Next::Begin(node, aim) => self.begin_listing(node, aim)?,
                Next::Over(path) => {
                    frame.send(self.id, room, out);
                    out.report(WatcherReport::Listed { tree: self.id, path, pass: self.names.pass });
                }
                Next::Start(path) => {
                    if let Some(node) = self.tree.at(&path) {
                        self.names.add(node, Aim::Compare);
                    }
                }
                Next::Rest => break,
            }
            if Instant::now() >= until {
                break;
            }
        }
        frame.send(self.id, room, out);
        self.scan.close_root();
        Ok(())
    }

    fn begin_listing(&mut self, node: NodeId, aim: Aim) -> Result<(), RootLoss> {
        // Gone, or between two names: its events tell.
        let Some(path) = self.tree.path(node) else { return Ok(()) };
        self.names.looked();
        match self.open(&path)?.and_then(source) {
            Ok(source) => {
                let listing = Listing::default();
                self.names.keep(Box::new(Reading { node, path, aim, source: Some(source), listing }));
            }
            Err(Errno::ENOENT | Errno::ENOTDIR | Errno::ELOOP) => {}
            // It will be looked at again.
            Err(Errno::ENFILE | Errno::EMFILE | Errno::ENOMEM) => self.unwatched(node),
            Err(errno) => self.scan.cannot(&path, errno),
        }
        Ok(())
    }

    fn go_on(
        &mut self,
        mut reading: Box<Reading>,
        frame: &mut Frame,
        room: &mut u32,
        out: &mut Outbox,
    ) -> Result<(), RootLoss> {
        if self.tree.path(reading.node).as_ref() != Some(&reading.path) {
            // Moved or removed: its events tell.
            return Ok(());
        }
        if let Some((dir, mut entries)) = reading.source.take() {
            self.names.looked();
            for _ in 0..SLICE {
                let Some(entry) = entries.next() else {
                    reading.listing.complete();
                    self.names.keep(reading);
                    return Ok(());
                };
                if let Err(errno) =
                    entry.and_then(|entry| self.take_in(&mut reading, &dir, entry.file_name()))
                {
                    // Half a listing would say that the other half is gone.
                    self.scan.cannot(&reading.path, errno);
                    return Ok(());
                }
            }
            reading.listing.end_slice();
            reading.source = Some((dir, entries));
            self.names.keep(reading);
            return Ok(());
        }
        self.tell_part(reading, frame, room, out)
    }

    fn take_in(&mut self, reading: &mut Reading, dir: &File, name: &CStr) -> Result<(), Errno> {
        if matches!(name.to_bytes(), b"." | b"..") {
            return Ok(());
        }
        let stat = match fstatat(dir, name, AtFlags::AT_SYMLINK_NOFOLLOW) {
            Err(Errno::ENOENT) => return Ok(()),
            stat => stat?,
        };
        let name = name.to_bytes();
        let Some(stamp) = self.known(reading, name, stamp(&stat)) else { return Ok(()) };
        if stamp.directory {
            match self.tree.child(reading.node, name) {
                Some(child) => self.names.add(child, reading.aim),
                // With one of these off, there are directories that nobody is to know.
                None if self.rules.switches.create_folder && self.rules.switches.move_to => {
                    self.names.meet(reading.node, name);
                }
                None => return Ok(()),
            }
        }
        reading.listing.add(name, stamp);
        Ok(())
    }

    /// What the index is to know of an entry, if anything.
    fn known(&mut self, reading: &Reading, name: &[u8], stamp: Stamp) -> Option<Stamp> {
        let Ok(path) = reading.path.join(name) else {
            self.scan.too_long(&reading.path);
            return None;
        };
        let proven = match reading.aim {
            Aim::Compare => true,
            Aim::Learn(since) => stamp.directory || stamp.mark < since,
        };
        let stamp = if proven { stamp } else { Stamp { mark: UNPROVEN, ..stamp } };
        (!is_silent(&path, kind(stamp), self.rules.switches, &self.rules.filter)).then_some(stamp)
    }

    /// Tells as much of a directory as one frame holds.
    fn tell_part(
        &mut self,
        mut reading: Box<Reading>,
        frame: &mut Frame,
        room: &mut u32,
        out: &mut Outbox,
    ) -> Result<(), RootLoss> {
        if frame.bytes + reading.path.as_bytes().len() + LISTING_BYTES > FRAME_BYTES {
            frame.send(self.id, room, out);
            if *room == 0 {
                self.names.keep(reading);
                return Ok(());
            }
        }
        frame.bytes += reading.path.as_bytes().len() + LISTING_BYTES / 2;
        let after = reading.listing.told().cloned();
        let (mut entries, mut opened) = (Vec::new(), None);
        for _ in 0..SLICE {
            let (name, stamp) = match reading.listing.next() {
                Some(listing::Next::Read(name, stamp)) => (name, stamp),
                Some(listing::Next::Noted(name)) => {
                    let dir = match opened.take() {
                        Some(dir) => dir,
                        None => match self.open(&reading.path)? {
                            Ok(dir) => dir,
                            // Gone: its events tell.
                            Err(_) => return Ok(()),
                        },
                    };
                    let found = self.look_again(&reading, opened.insert(dir), &name);
                    let Some(stamp) = found else { continue };
                    (name, stamp)
                }
                None => break,
            };
            frame.bytes += name.len() + ENTRY_BYTES;
            entries.push((name, stamp));
            if frame.bytes + LISTING_BYTES / 2 > FRAME_BYTES {
                break;
            }
        }
        let is_over = reading.listing.is_over();
        let upto = reading.listing.told().filter(|_| !is_over).cloned();
        let (directory, purpose) = (reading.path.clone(), reading.aim.purpose());
        frame.ops.push(NameOp::Listing { directory, after, upto, entries, purpose });
        if !is_over {
            self.names.keep(reading);
        }
        Ok(())
    }

    /// What stands at a name that something happened to while its directory was read.
    fn look_again(&mut self, reading: &Reading, dir: &OwnedFd, name: &[u8]) -> Option<Stamp> {
        self.names.looked();
        let stamp = stamp(&fstatat(dir, name, AtFlags::AT_SYMLINK_NOFOLLOW).ok()?);
        self.known(reading, name, stamp)
    }
}

fn source(dir: OwnedFd) -> Result<(File, nix::dir::OwningIter), Errno> {
    let dir = File::from(dir);
    let copy = dir.try_clone().map_err(|error| crate::scan::errno(&error))?;
    Ok((dir, Dir::from_fd(copy.into())?.into_iter()))
}
