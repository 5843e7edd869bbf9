//! Walking the tree, one directory or one slice of a huge one at a time, so that the kernel's
//! queue is never left alone for long.
//!
//! The work is a stack: what an event needs goes on top and is done first. A directory's watch
//! is set before it is reported and before it is read, and what is to be said of a whole subtree
//! is said after all directories in it are watched: so nothing falls in between.

use std::collections::VecDeque;
use std::os::fd::{AsFd, OwnedFd};

use common::event::Dirt;
use common::filter::EntryKind;
use common::log::Shown;
use common::message::{LossCause, RootLoss, WatcherReport};
use common::path::RelPath;
use nix::errno::Errno;

use crate::live::{Live, absolute};
use crate::open;
use crate::outbox::Outbox;
use crate::reading::Reading;
use crate::translate::bits;
use crate::tree::{Left, NodeId};

/// Directories that are gone through in one step, where nothing is asked of the kernel.
const SLICE: usize = 1000;
/// Watches that are ended in one step, and directories that are forgotten. Each watch puts an event
/// into the kernel's queue.
const ENDED_AT_ONCE: usize = 500;
/// Directories that are forgotten at once when an event says that one is gone.
const FORGOTTEN_AT_ONCE: usize = 16;

/// What a scan says about what it finds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Voice {
    /// Nothing: one report will cover all of it.
    Quiet,
    /// Each entry by name.
    Named,
    /// Nothing; it only looks for files with several names.
    Census,
}

/// What to say when everything below a directory is watched.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Then {
    /// It came from elsewhere: all of it is to be sent.
    Deep,
    /// The tree is watched.
    Watching,
    /// Sight of the tree is regained.
    Repaired,
    /// Directories without a watch were looked at again.
    Retried(Vec<NodeId>),
    /// Files with several names are known.
    Counted,
}

/// One piece of work.
#[derive(Debug)]
pub(crate) enum Work {
    /// Watch this directory and read it.
    Read(NodeId, Voice),
    /// A directory may be here that no event speaks of.
    Look(NodeId, Box<[u8]>),
    /// All of this directory is done.
    Done(NodeId, Then),
    /// Read the whole tree again: events were lost.
    Repair,
    /// Of what this directory held before the moment `1`, the rest is gone: to be gone through from
    /// this child on.
    Sweep(NodeId, u64, NodeId),
    /// Directories without a watch are to be found from here on; these are.
    Seek(NodeId, Vec<NodeId>),
}

/// The walk of one tree.
#[derive(Default)]
pub(crate) struct Scan {
    stack: Vec<Work>,
    /// Done after all of the stack.
    last: VecDeque<Work>,
    pub(crate) reading: Option<Reading>,
    /// What a directory is read into.
    pub(crate) buffer: Vec<u8>,
    /// Open only while there is work: an open root would stand in the way of an unmount.
    root: Option<OwnedFd>,
    doomed: Vec<i32>,
    /// Directories that are no longer in the tree, and not forgotten yet.
    buried: Vec<NodeId>,
    unreadable: u64,
    first_unreadable: Option<(RelPath, Errno)>,
    told_too_long: bool,
}

impl Scan {
    /// Starts with the root, which is open.
    pub(crate) fn of(root: OwnedFd) -> Scan {
        Scan { root: Some(root), ..Scan::default() }
    }

    /// Adds work that is done before what is there.
    pub(crate) fn push(&mut self, work: Work) {
        self.stack.push(work);
    }

    /// Adds work that is done after all that is there.
    pub(crate) fn push_last(&mut self, work: Work) {
        self.last.push_back(work);
    }

    /// Watches that no directory has any more.
    pub(crate) fn end(&mut self, watches: &mut Vec<i32>) {
        self.doomed.append(watches);
    }

    /// True while there is something to do.
    pub(crate) fn is_busy(&self) -> bool {
        let waits = !self.stack.is_empty() || !self.last.is_empty();
        waits || self.reading.is_some() || !self.doomed.is_empty() || !self.buried.is_empty()
    }

    /// A name in `dir` makes its path too long for any transfer.
    pub(crate) fn too_long(&mut self, dir: &RelPath) {
        if !std::mem::replace(&mut self.told_too_long, true) {
            log::warn!("path too long: below {dir} there are entries that cannot be watched or sent");
        }
    }

    /// A directory cannot be read. Said when there is nothing more to do.
    pub(crate) fn cannot(&mut self, path: &RelPath, errno: Errno) {
        self.unreadable += 1;
        self.first_unreadable.get_or_insert_with(|| (path.clone(), errno));
    }

    /// Lets go of the root, for now.
    pub(crate) fn close_root(&mut self) {
        self.root = None;
    }

    fn rest(&mut self) {
        self.close_root();
        // Whatever a huge tree needed is given back.
        self.buffer = Vec::new();
        self.stack.shrink_to(1024);
        self.doomed.shrink_to(1024);
        self.buried.shrink_to(1024);
        if let Some((path, errno)) = self.first_unreadable.take() {
            let count = std::mem::take(&mut self.unreadable);
            log::warn!("directories cannot be read count={count} first={path} reason={errno}");
        }
    }
}

impl Live {
    /// Does one step of the work. Says how the root was lost, if that comes out.
    pub(crate) fn step(&mut self, out: &mut Outbox) -> Result<(), RootLoss> {
        if let Some(reading) = self.scan.reading.take() {
            self.read_on(reading, out);
        } else if !self.scan.doomed.is_empty() {
            self.end_watches();
        } else if let Some(&node) = self.scan.buried.last() {
            if self.tree.remove(node, ENDED_AT_ONCE, &mut self.ended) == Left::Nothing {
                self.scan.buried.pop();
            }
            self.scan.end(&mut self.ended);
        } else {
            match self.scan.stack.pop().or_else(|| self.scan.last.pop_front()) {
                Some(Work::Read(node, voice)) => self.begin(node, voice, out)?,
                Some(Work::Look(parent, name)) => self.look(parent, &name)?,
                Some(Work::Done(node, then)) => self.done(node, then, out),
                Some(Work::Repair) => self.repair(),
                Some(Work::Sweep(node, since, from)) => self.sweep(node, since, Some(from)),
                Some(Work::Seek(from, found)) => self.seek(from, found),
                None => {}
            }
        }
        if !self.scan.is_busy() {
            self.scan.rest();
            self.kernel.step_out();
        }
        Ok(())
    }

    /// Forgets a directory with all below it, and ends the watches: most of it later, where it holds
    /// much.
    pub(crate) fn drop_node(&mut self, node: NodeId) {
        if self.tree.remove(node, FORGOTTEN_AT_ONCE, &mut self.ended) == Left::Something {
            self.scan.buried.push(node);
        }
        self.scan.end(&mut self.ended);
    }

    /// Forgets what a directory that was read no longer holds.
    pub(crate) fn sweep(&mut self, node: NodeId, since: u64, from: Option<NodeId>) {
        let mut gone = Vec::new();
        let next = self.tree.sweep(node, since, (from, SLICE), &mut gone);
        for gone in gone {
            self.drop_node(gone);
        }
        if let Some(next) = next {
            self.scan.push(Work::Sweep(node, since, next));
        }
    }

    fn end_watches(&mut self) {
        let from = self.scan.doomed.len().saturating_sub(ENDED_AT_ONCE);
        for wd in self.scan.doomed.split_off(from) {
            // A scan may have met the same directory again meanwhile.
            if !self.tree.has_wd(wd) {
                self.kernel.remove(wd);
            }
        }
    }

    /// Opens the directory at `path`; within the known root, or not at all.
    pub(crate) fn open(&mut self, path: &RelPath) -> Result<Result<OwnedFd, Errno>, RootLoss> {
        let root = match self.scan.root.take() {
            Some(root) => root,
            None => open::known_root(&self.path, self.root)?,
        };
        Ok(open::below(self.scan.root.insert(root).as_fd(), path))
    }

    fn begin(&mut self, node: NodeId, voice: Voice, out: &mut Outbox) -> Result<(), RootLoss> {
        // Gone, or between two names, whose end will bring us here again.
        let Some(path) = self.tree.path(node) else { return Ok(()) };
        match self.open(&path)?.and_then(|fd| self.ready(node, voice, &path, fd)) {
            Ok(reading) => {
                self.tell(voice, path, out);
                self.read_on(reading, out);
            }
            Err(errno) if path.is_root() => {
                log::error!("root cannot be watched path={} reason={errno}", Shown(&self.path));
                return Err(RootLoss::Missing);
            }
            Err(Errno::ENOENT | Errno::ENOTDIR | Errno::ELOOP) => self.drop_node(node),
            Err(Errno::ENFILE | Errno::EMFILE | Errno::ENOMEM) => {
                self.unwatched(node);
                self.tell(voice, path, out);
            }
            Err(errno) => {
                self.scan.cannot(&path, errno);
                self.tell(voice, path, out);
            }
        }
        Ok(())
    }

    /// Reports a new directory: now that it is watched, nothing in it is missed if someone
    /// who hears of it looks inside.
    fn tell(&self, voice: Voice, path: RelPath, out: &mut Outbox) {
        match voice {
            Voice::Named => out.change(self.id, path, Dirt::Touched, bits::CREATE | bits::ISDIR),
            Voice::Quiet | Voice::Census => {}
        }
    }

    /// Watches an open directory, and only then makes it ready to be read.
    fn ready(&mut self, node: NodeId, voice: Voice, path: &RelPath, fd: OwnedFd) -> Result<Reading, Errno> {
        match voice {
            Voice::Quiet | Voice::Named => self.watch(node, path, &fd)?,
            Voice::Census => {}
        }
        Ok(Reading { node, voice, since: self.tree.tick(), fd })
    }

    /// Sets the watch. Without one the directory is still read: what is below counts.
    fn watch(&mut self, node: NodeId, path: &RelPath, fd: &OwnedFd) -> Result<(), Errno> {
        match self.kernel.add(fd.as_fd()).map_err(|error| errno(&error)) {
            Ok(wd) => {
                if self.rules.debug {
                    let full =
                        if path.is_root() { self.path.to_os_string() } else { absolute(&self.path, path) };
                    log::info!("add watch: {} return wd is: {wd}", Shown(&full));
                }
                self.ended.extend(self.tree.set_wd(node, Some(wd)));
                self.scan.end(&mut self.ended);
            }
            Err(Errno::ENOSPC | Errno::ENOMEM) => self.unwatched(node),
            Err(errno) => return Err(errno),
        }
        Ok(())
    }

    /// There is no watch for a directory: it is looked at again from time to time.
    pub(crate) fn unwatched(&mut self, node: NodeId) {
        self.ended.extend(self.tree.set_wd(node, None));
        self.scan.end(&mut self.ended);
    }

    /// Looks whether a directory that no event speaks of is where one was.
    fn look(&mut self, parent: NodeId, name: &[u8]) -> Result<(), RootLoss> {
        let Some(path) = self.tree.path(parent).and_then(|dir| dir.join(name).ok()) else { return Ok(()) };
        if self.rules.filter.excludes(&path, EntryKind::Directory)
            || self.tree.child(parent, name).is_some()
            || self.open(&path)?.is_err()
        {
            return Ok(());
        }
        if let Some(node) = self.tree.ensure(parent, name) {
            self.scan.push(Work::Done(node, Then::Deep));
            self.scan.push(Work::Read(node, Voice::Quiet));
        }
        Ok(())
    }

    fn done(&mut self, node: NodeId, then: Then, out: &mut Outbox) {
        let Some(path) = self.tree.path(node) else { return };
        let tree = self.id;
        match then {
            Then::Deep => out.change(tree, path, Dirt::Deep, bits::MOVED_TO | bits::ISDIR),
            Then::Watching => {
                self.watching = true;
                let directories = self.tree.directories() - self.tree.unwatched();
                out.report(WatcherReport::Watching { tree, root: self.root, directories });
                self.list_whole();
            }
            Then::Repaired => {
                out.report(WatcherReport::Rescan { tree, path, cause: LossCause::Overflow });
                self.repaired();
                self.list_whole();
            }
            Then::Retried(nodes) => {
                for node in nodes {
                    let Some(path) = self.tree.path(node) else { continue };
                    self.list_subtree(&path);
                    out.report(WatcherReport::Rescan { tree, path, cause: LossCause::Unwatched });
                }
            }
            Then::Counted => self.counted(out),
        }
    }
}

/// What the kernel said.
pub(crate) fn errno(error: &std::io::Error) -> Errno {
    Errno::from_raw(error.raw_os_error().unwrap_or(nix::libc::EIO))
}
