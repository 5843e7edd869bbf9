//! One inotify instance: the only place that talks to that interface.
//!
//! Watches are set from within the opened directory, so that what is watched is what was opened and
//! no symbolic link can come in between. One instance serves one tree, so that a tree inside
//! another has watches of its own.

use std::ffi::OsStr;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;

use common::config::Switches;
use common::confine;
use nix::errno::Errno;
use nix::unistd::{chdir, fchdir, read};
use rustix::fs::inotify::{self, CreateFlags, WatchFlags};

/// An inotify instance and its watches.
pub(crate) struct Kernel {
    inotify: OwnedFd,
    mask: WatchFlags,
    /// Whether the working directory is this thread's alone, and one of the tree.
    standing: Standing,
    #[cfg(test)]
    pub(crate) budget: usize,
    #[cfg(test)]
    watches: std::collections::HashSet<i32>,
    #[cfg(test)]
    pub(crate) gap: Gap,
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

/// One event of the kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Event<'a> {
    /// Of which watch; -1 for what concerns none.
    pub(crate) wd: i32,
    /// What happened: [`crate::translate::bits`].
    pub(crate) mask: u32,
    /// What the two events of a rename have in common.
    pub(crate) cookie: u32,
    /// Of which entry; `None` for the watched directory itself.
    pub(crate) name: Option<&'a OsStr>,
}

/// The events of one read, in their order.
pub(crate) struct Events<'a>(&'a [u8]);

impl<'a> Iterator for Events<'a> {
    type Item = Event<'a>;

    fn next(&mut self) -> Option<Event<'a>> {
        let (wd, rest) = self.0.split_first_chunk()?;
        let (mask, rest) = rest.split_first_chunk()?;
        let (cookie, rest) = rest.split_first_chunk()?;
        let (length, rest) = rest.split_first_chunk()?;
        let length = usize::try_from(u32::from_ne_bytes(*length)).ok()?;
        let (name, rest) = rest.split_at_checked(length)?;
        self.0 = rest;
        // Filled up with NULs, so that the next event is aligned.
        let name = name.split(|&byte| byte == 0).next().filter(|name| !name.is_empty());
        Some(Event {
            wd: i32::from_ne_bytes(*wd),
            mask: u32::from_ne_bytes(*mask),
            cookie: u32::from_ne_bytes(*cookie),
            name: name.map(OsStr::from_bytes),
        })
    }
}

impl Kernel {
    /// Opens an instance. It is charged to the uid of this moment, so not before confinement.
    pub(crate) fn open(switches: Switches) -> io::Result<Kernel> {
        Ok(Kernel {
            inotify: inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK)?,
            mask: mask(switches),
            standing: standing(),
            #[cfg(test)]
            budget: usize::MAX,
            #[cfg(test)]
            watches: std::collections::HashSet::new(),
            #[cfg(test)]
            gap: Gap::default(),
        })
    }

    /// Watches the open directory `dir`; the same directory has the same number again. Until
    /// [`Kernel::step_out`] the process may stand in it.
    pub(crate) fn add(&mut self, dir: BorrowedFd<'_>) -> io::Result<i32> {
        let wd = if self.enter(dir)? {
            // Twice as fast as the way through /proc.
            inotify::add_watch(&self.inotify, c".", self.mask)?
        } else {
            inotify::add_watch(&self.inotify, confine::fd_path(dir), self.mask)?
        };
        #[cfg(test)]
        if !self.watches.contains(&wd) {
            if self.watches.len() >= self.budget {
                self.remove(wd);
                return Err(Errno::ENOSPC.into());
            }
            self.watches.insert(wd);
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
        // Refused when the directory is gone already: the kernel ended the watch itself.
        let _ = inotify::remove_watch(&self.inotify, wd);
        self.forget(wd);
    }

    /// Notes that the kernel ended a watch itself.
    #[cfg_attr(not(test), expect(clippy::unused_self, reason = "only tests count them"))]
    pub(crate) fn forget(&mut self, wd: i32) {
        #[cfg(test)]
        self.watches.remove(&wd);
        #[cfg(not(test))]
        let _ = wd;
    }

    /// The events that wait, at most one `buffer` of them; `None` when there are none.
    pub(crate) fn read<'a>(&mut self, buffer: &'a mut [u8]) -> io::Result<Option<Events<'a>>> {
        #[cfg(test)]
        self.gap.read();
        match read(&self.inotify, buffer) {
            Ok(length) => Ok(buffer.get(..length).map(Events)),
            Err(Errno::EAGAIN | Errno::EINTR) => Ok(None),
            Err(errno) => Err(errno.into()),
        }
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

impl Drop for Kernel {
    fn drop(&mut self) {
        self.step_out();
    }
}

impl AsFd for Kernel {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.inotify.as_fd()
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
fn mask(switches: Switches) -> WatchFlags {
    let mut mask = WatchFlags::CREATE
        | WatchFlags::DELETE
        | WatchFlags::MOVED_FROM
        | WatchFlags::MOVED_TO
        | WatchFlags::CLOSE_WRITE
        | WatchFlags::DELETE_SELF
        | WatchFlags::MOVE_SELF
        | WatchFlags::ONLYDIR;
    if switches.attrib {
        mask |= WatchFlags::ATTRIB;
    }
    if switches.modify {
        mask |= WatchFlags::MODIFY;
    }
    mask
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_as_the_kernel_writes_them() {
        let mut bytes = Vec::new();
        for (wd, mask, cookie, name) in
            [(1_i32, 2_u32, 0_u32, &b""[..]), (7, 0x40, 9, b"name\0\0\0\0"), (-1, 0x4000, 0, b"")]
        {
            bytes.extend(wd.to_ne_bytes());
            bytes.extend([mask, cookie, u32::try_from(name.len()).unwrap()].map(u32::to_ne_bytes).concat());
            bytes.extend(name);
        }
        let event = |wd, mask, cookie, name: Option<&'static str>| Event {
            wd,
            mask,
            cookie,
            name: name.map(OsStr::new),
        };
        let expected = [event(1, 2, 0, None), event(7, 0x40, 9, Some("name")), event(-1, 0x4000, 0, None)];
        assert_eq!(Events(&bytes).collect::<Vec<_>>(), expected);
        for cut in 0..bytes.len() {
            assert!(Events(&bytes[..cut]).count() < 3);
        }
    }

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
        assert_eq!((event.wd, event.name), (wd, Some(OsStr::new("f"))));
        kernel.add(dir.as_fd()).unwrap();
        drop(kernel);
        assert_ne!(std::env::current_dir().unwrap(), temp.path());
    }
}
