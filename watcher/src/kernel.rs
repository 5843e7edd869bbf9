//! What the kernel tells of one tree: one inotify instance, and where the operator chose so a mark on
//! its filesystem, which then takes the place of the watches.
//!
//! Watches are set from within the opened directory, so that what is watched is what was opened and
//! no symbolic link can come in between. One instance serves one tree, so that a tree inside
//! another has watches of its own. With a mark the root has one all the same, which tells that it is
//! moved, removed or unmounted, and so have directories of other filesystems below it.

use std::ffi::OsStr;
use std::io::{self, ErrorKind};
use std::os::fd::{AsFd, BorrowedFd};

use common::config::Switches;
use common::confine::{self, Marked};
use common::log::Shown;
use inotify::{Inotify, WatchMask, Watches};
use nix::errno::Errno;
use nix::unistd::{chdir, fchdir};
use rustix::fs::inotify::remove_watch;

use crate::fanotify::{self, Fanotify, Key};

/// An inotify instance and its watches, and the mark, if there is one.
pub(crate) struct Kernel {
    inotify: Inotify,
    watches: Watches,
    mask: WatchMask,
    /// Whether the working directory is this thread's alone, and one of the tree.
    standing: Standing,
    mark: Option<Mark>,
    #[cfg(test)]
    pub(crate) budget: usize,
    #[cfg(test)]
    known: std::collections::HashSet<i32>,
    #[cfg(test)]
    pub(crate) gap: Gap,
}

/// A mark in use.
struct Mark {
    fanotify: Fanotify,
    /// The root's watch, and its number in the table.
    root: (i32, i32),
    /// It was said that there are other filesystems.
    told: bool,
}

/// The longest time between two reads, in time that this thread had a processor.
#[cfg(test)]
#[derive(Default)]
pub(crate) struct Gap {
    last: Option<std::time::Duration>,
    pub(crate) longest: std::time::Duration,
}

#[cfg(test)]
impl Gap {
    fn read(&mut self) {
        let now: std::time::Duration =
            nix::time::clock_gettime(nix::time::ClockId::CLOCK_THREAD_CPUTIME_ID).unwrap().into();
        self.longest =
            self.longest.max(self.last.map_or(std::time::Duration::ZERO, |last| now.saturating_sub(last)));
        self.last = Some(now);
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Standing {
    /// Others have the same working directory: it is left alone.
    #[cfg_attr(not(test), expect(dead_code, reason = "where several tests share a process"))]
    Shared,
    /// It is not in the tree.
    Outside,
    /// It is in the tree.
    Inside,
}

/// One event of the kernel, in inotify's words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Event<'a> {
    /// In which directory, or to which.
    pub(crate) of: Of,
    /// What happened: [`crate::translate::bits`].
    pub(crate) mask: u32,
    /// What the two events of a rename have in common.
    pub(crate) cookie: u32,
    /// Of which entry; `None`, or `.` from a mark, for the directory itself.
    pub(crate) name: Option<&'a OsStr>,
}

/// A directory, as the kernel calls it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Of {
    /// By its watch; -1 for what concerns none.
    Watch(i32),
    /// By its handle.
    Handle(Key),
}

/// The events of one read, in their order.
pub(crate) enum Events<'a> {
    /// Of watches; and which of them, if any, stands for which number: the root's beside a mark.
    Watches(inotify::Events<'a>, Option<(i32, i32)>),
    /// Of the mark.
    Mark(fanotify::Events<'a>),
}

impl<'a> Iterator for Events<'a> {
    type Item = Event<'a>;

    fn next(&mut self) -> Option<Event<'a>> {
        let (event, root) = match self {
            Events::Watches(events, root) => (events.next()?, *root),
            Events::Mark(events) => return events.next(),
        };
        let (wd, mask) = (event.wd.get_watch_descriptor_id(), event.mask.bits());
        let wd = root.filter(|(watch, _)| *watch == wd).map_or(wd, |(_, number)| number);
        Some(Event { of: Of::Watch(wd), mask, cookie: event.cookie, name: event.name })
    }
}

impl Kernel {
    /// Opens an instance. It is charged to the uid of this moment, so not before confinement.
    pub(crate) fn open(switches: Switches) -> io::Result<Kernel> {
        let inotify = Inotify::init()?;
        Ok(Kernel {
            watches: inotify.watches(),
            inotify,
            mask: mask(switches),
            standing: standing(),
            mark: None,
            #[cfg(test)]
            budget: usize::MAX,
            #[cfg(test)]
            known: std::collections::HashSet::new(),
            #[cfg(test)]
            gap: Gap::default(),
        })
    }

    /// The same with the mark on the filesystem of the open `root`.
    pub(crate) fn marked(switches: Switches, marked: Marked, root: BorrowedFd<'_>) -> io::Result<Kernel> {
        let mut kernel = Kernel::open(switches)?;
        // Before the filesystem may be unmounted: with that the mark would end, in silence.
        let itself = WatchMask::DELETE_SELF | WatchMask::MOVE_SELF | WatchMask::ONLYDIR;
        let watch = kernel.watches.add(confine::fd_path(root), itself)?.get_watch_descriptor_id();
        let (fanotify, number) = Fanotify::new(marked.into_group(), root)?;
        kernel.mark = Some(Mark { fanotify, root: (watch, number), told: false });
        Ok(kernel)
    }

    /// For messages: what is asked.
    pub(crate) fn name(&self) -> &'static str {
        if self.mark.is_some() { "fanotify" } else { "inotify" }
    }

    /// Whether what happened to a name several times may be told once, where it happened first.
    pub(crate) fn merges(&self) -> bool {
        self.mark.is_some()
    }

    /// Watches the open directory `dir`; the same directory has the same number again. Until
    /// [`Kernel::step_out`] the process may stand in it.
    pub(crate) fn add(&mut self, dir: BorrowedFd<'_>) -> io::Result<i32> {
        if let Some(mark) = &mut self.mark
            && let Some(number) = mark.add(dir)?
        {
            return Ok(number);
        }
        let descriptor = if self.enter(dir)? {
            // Twice as fast as the way through /proc.
            self.watches.add(".", self.mask)?
        } else {
            self.watches.add(confine::fd_path(dir), self.mask)?
        };
        let wd = descriptor.get_watch_descriptor_id();
        #[cfg(test)]
        if !self.known.contains(&wd) {
            if self.known.len() >= self.budget {
                self.remove(wd);
                return Err(Errno::ENOSPC.into());
            }
            self.known.insert(wd);
        }
        Ok(wd)
    }

    /// Stands nowhere in the tree any more: that would be in the way of an unmount.
    pub(crate) fn step_out(&mut self) {
        if self.standing == Standing::Inside && chdir("/").is_ok() {
            self.standing = Standing::Outside;
        }
    }

    /// Ends a watch.
    pub(crate) fn remove(&mut self, wd: i32) {
        if let Some(mark) = self.mark.as_mut().filter(|mark| wd < fanotify::NO_WATCH && wd != mark.root.1) {
            return mark.fanotify.remove(wd);
        }
        // By its number: the crate would have a descriptor of its own kept for each watch. Refused when
        // the directory is gone already: the kernel ended the watch itself.
        let _ = remove_watch(&self.inotify, wd);
        self.forget(wd);
    }

    /// Notes that the kernel ended a watch itself.
    #[cfg_attr(not(test), expect(clippy::unused_self, reason = "only tests count them"))]
    pub(crate) fn forget(&mut self, wd: i32) {
        #[cfg(test)]
        self.known.remove(&wd);
        #[cfg(not(test))]
        let _ = wd;
    }

    /// The events that wait, at most one `buffer` of them; `None` when there are none.
    pub(crate) fn read<'a>(&mut self, buffer: &'a mut [u8]) -> io::Result<Option<Events<'a>>> {
        #[cfg(test)]
        self.gap.read();
        // The watches first: when the root was moved away, what happens in it since is not ours.
        let part = if self.mark.is_some() { buffer.len() / 4 } else { buffer.len() };
        let (of_watches, of_mark) = buffer.split_at_mut(part);
        match self.inotify.read_events(of_watches) {
            Ok(events) => return Ok(Some(Events::Watches(events, self.mark.as_ref().map(|mark| mark.root)))),
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {}
            Err(error) => return Err(error),
        }
        let Some(mark) = &mut self.mark else { return Ok(None) };
        let count = mark.fanotify.read(of_mark)?;
        let read = of_mark.get(..count).unwrap_or_default();
        Ok((count > 0).then(|| Events::Mark(mark.fanotify.events(read))))
    }

    /// The number of the directory that an event speaks of; `None` when it is none of ours.
    pub(crate) fn number(&self, of: Of) -> Option<i32> {
        match of {
            Of::Watch(wd) => Some(wd),
            Of::Handle(key) => self.mark.as_ref()?.fanotify.number(key),
        }
    }

    /// What to poll.
    pub(crate) fn fds(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        let mark = self.mark.as_ref().map(|mark| mark.fanotify.as_fd());
        [Some(self.inotify.as_fd()), mark].into_iter().flatten()
    }

    /// Makes `dir` the working directory. False where that may not be.
    fn enter(&mut self, dir: BorrowedFd<'_>) -> Result<bool, Errno> {
        match self.standing {
            Standing::Shared => Ok(false),
            Standing::Outside | Standing::Inside => match fchdir(dir) {
                Ok(()) => {
                    self.standing = Standing::Inside;
                    Ok(true)
                }
                // It may be read, and not be entered.
                Err(Errno::EACCES) => Ok(false),
                Err(errno) => Err(errno),
            },
        }
    }
}

impl Mark {
    /// The number of an open directory; `None` for one of another filesystem.
    fn add(&mut self, dir: BorrowedFd<'_>) -> io::Result<Option<i32>> {
        let number = self.fanotify.add(dir)?;
        if number.is_none() && !std::mem::replace(&mut self.told, true) {
            let path = std::fs::read_link(confine::fd_path(dir)).unwrap_or_default();
            let path = Shown(path.as_os_str());
            log::info!("another filesystem below the root: watched with inotify first={path}");
        }
        Ok(number)
    }
}

impl Drop for Kernel {
    fn drop(&mut self) {
        self.step_out();
    }
}

/// This process has one thread.
#[cfg(not(test))]
fn standing() -> Standing {
    Standing::Outside
}

/// Each test has a thread, and takes a working directory of its own where that is allowed.
#[cfg(test)]
fn standing() -> Standing {
    use nix::sched::{CloneFlags, unshare};
    if unshare(CloneFlags::CLONE_FS).is_ok() { Standing::Outside } else { Standing::Shared }
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

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::OwnedFd;

    #[test]
    fn nobody_stands_in_a_directory_that_was_watched() {
        let temp = tempfile::tempdir().unwrap();
        let dir: OwnedFd = std::fs::File::open(temp.path()).unwrap().into();
        let mut kernel = Kernel::open(Switches::default()).unwrap();
        let wd = kernel.add(dir.as_fd()).unwrap();
        assert_eq!(kernel.add(dir.as_fd()).unwrap(), wd);
        kernel.step_out();
        assert_ne!(std::env::current_dir().unwrap(), temp.path());
        std::fs::write(temp.path().join("f"), "").unwrap();
        let mut buffer = [0; 4096];
        let event = kernel.read(&mut buffer).unwrap().unwrap().next().unwrap();
        assert_eq!((event.of, event.name), (Of::Watch(wd), Some(OsStr::new("f"))));
        kernel.add(dir.as_fd()).unwrap();
        drop(kernel);
        assert_ne!(std::env::current_dir().unwrap(), temp.path());
    }
}
