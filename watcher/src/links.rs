//! Files with several names. A file that is changed through one of its hard links has changed
//! under all of them, but only the directory that the writer went through gets an event.
//!
//! Which names belong together is found out by one walk, once the tree is watched; after that
//! events keep the index, at one `lstat` per changed file. Names are checked when they are
//! used, so that the index may be out of date but never lies. Names that went before they could be
//! looked at are a matter of [`crate::fleeting`].

use std::ffi::CStr;
use std::os::fd::BorrowedFd;
use std::time::{Duration, Instant};

use common::event::Dirt;
use common::filter::{EntryKind, is_hidden_file};
use common::keep::Stamp;
use common::message::{LossCause, WatcherReport};
use common::path::RelPath;
use hashbrown::{HashMap, HashSet};
use nix::fcntl::AtFlags;
use nix::sys::stat::{FileStat, SFlag, fstatat, lstat};

use crate::fleeting::Fleeting;
use crate::live::{Live, absolute};
use crate::outbox::Outbox;
use crate::scan::{Then, Voice, Work};
use crate::stamp::stamp;
use crate::translate::bits;

/// Most names that are remembered.
const MAX_NAMES: usize = 200_000;
/// Least time from one walk to the next.
const PAUSE: Duration = Duration::from_secs(30);

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum State {
    /// The first walk waits until the tree is watched.
    #[default]
    Due,
    /// The walk is under way.
    Counting,
    /// The walk was done; events keep the index up to date.
    Counted,
    /// There are too many, or nobody wants to know.
    GivenUp,
}

/// When a file with several names is reported under all of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Follow {
    /// Never.
    Never,
    /// When its contents may have changed.
    Contents,
    /// When anything of it may have.
    All,
}

/// Which file, whatever its name: device and inode number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Inode(pub(crate) u64, pub(crate) u64);

#[derive(Default)]
struct Names {
    paths: Vec<RelPath>,
    /// `st_nlink` at the last walk: what it did not find is not in this tree.
    walked: u64,
}

/// Files with several names.
#[derive(Default)]
pub(crate) struct Links {
    state: State,
    files: HashMap<Inode, Names>,
    /// Whose each name is, or was: an event may speak of a name that is another's by now.
    owners: HashMap<RelPath, Inode>,
    names: usize,
    /// Changed, but their names are not all known: the walk will tell.
    waiting: HashSet<Inode>,
    not_before: Option<Instant>,
    pub(crate) fleeting: Fleeting,
}

impl Links {
    /// Names are followed, or not at all.
    pub(crate) fn new(follow: Follow) -> Links {
        let state = match follow {
            Follow::Never => State::GivenUp,
            Follow::Contents | Follow::All => State::Due,
        };
        Links { state, ..Links::default() }
    }

    /// Whether scans are to look at every file.
    pub(crate) fn is_counting(&self) -> bool {
        match self.state {
            State::Due | State::GivenUp => false,
            State::Counting | State::Counted => true,
        }
    }

    /// When a walk is due.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.is_wanted().then(|| self.not_before.unwrap_or_else(Instant::now))
    }

    /// Makes a walk that is wanted due now.
    pub(crate) fn hurry(&mut self) {
        self.not_before = None;
        self.fleeting.hurry();
    }

    fn is_wanted(&self) -> bool {
        match self.state {
            State::Due => true,
            State::Counted => !self.waiting.is_empty(),
            State::Counting | State::GivenUp => false,
        }
    }

    fn note(&mut self, inode: Inode, path: &RelPath, links: u64) {
        let names = self.files.entry(inode).or_default();
        if self.state == State::Counting {
            names.walked = links;
        }
        // A look through all of its names only where this one was another's: it may have thousands.
        let is_known = match self.owners.insert(path.clone(), inode) {
            Some(owner) => owner == inode || names.paths.contains(path),
            None => false,
        };
        if is_known {
            return;
        }
        names.paths.push(path.clone());
        self.names += 1;
        if self.names > MAX_NAMES {
            log::warn!(
                "hard links: more than {MAX_NAMES} names; their other names only travel with full syncs"
            );
            *self = Links { state: State::GivenUp, ..Links::default() };
        }
    }

    /// Whether every name of the file that could be found is known.
    fn are_known(&self, inode: Inode, links: u64) -> bool {
        let known = |names: &Names| names.paths.len() as u64 >= links || names.walked == links;
        self.state == State::Counted && self.files.get(&inode).is_some_and(known)
    }
}

impl Live {
    /// An entry had an event: keeps the index, and reports a file's other names if it was changed.
    /// Returns what was found there, if that was looked at.
    pub(crate) fn follow_links(
        &mut self,
        path: &RelPath,
        (mask, cookie): (u32, u32),
        out: &mut Outbox,
    ) -> Option<Stamp> {
        if self.links.state == State::GivenUp {
            return None;
        }
        if mask & bits::ISDIR != 0 {
            if mask & (bits::MOVED_FROM | bits::MOVED_TO) != 0 {
                self.links.fleeting.paths_changed();
            }
            return None;
        }
        if mask & (bits::DELETE | bits::MOVED_FROM) != 0 {
            self.links.fleeting.left(path, cookie);
            return None;
        }
        let switches = self.rules.switches;
        let changed = (switches.close_write && mask & bits::CLOSE_WRITE != 0)
            || (switches.modify && mask & bits::MODIFY != 0)
            || (self.rules.follow == Follow::All && switches.attrib && mask & bits::ATTRIB != 0);
        let came = mask & (bits::CREATE | bits::MOVED_TO) != 0;
        if !(changed || came) {
            return None;
        }
        let found = self.looks.event(&self.path, self.root, path);
        let look = found.as_ref().map(identity);
        if came {
            self.links.fleeting.came(path, cookie, look);
        }
        let owner = self.links.owners.get(path).copied();
        if changed {
            self.links.fleeting.changed(path, look);
        }
        if let Some(owner) = owner.filter(|owner| changed && look != Some(*owner)) {
            self.report_names(owner, Some(path), mask, out);
        }
        let stat = found?;
        let stamp = stamp(&stat);
        if !has_more_names(&stat) {
            return Some(stamp);
        }
        let inode = identity(&stat);
        self.links.note(inode, path, stat.st_nlink);
        // A name that moved here may have been changed before, under the name it had.
        self.report_names(inode, Some(path), mask, out);
        if changed && !self.links.are_known(inode, stat.st_nlink) && self.links.waiting.len() < MAX_NAMES {
            self.links.waiting.insert(inode);
        }
        Some(stamp)
    }

    /// Starts a walk when one is wanted and due.
    pub(crate) fn recount(&mut self, now: Instant) {
        if !self.links.is_wanted() || self.links.not_before.is_some_and(|due| now < due) {
            return;
        }
        self.links.state = State::Counting;
        self.links.not_before = Some(now + PAUSE);
        self.links.files.clear();
        self.links.owners.clear();
        self.links.names = 0;
        self.scan.push(Work::Done(self.tree.root(), Then::Counted));
        self.scan.push(Work::Read(self.tree.root(), Voice::Census));
    }

    /// Compares the whole tree with the index when that is due: a file may have been changed through
    /// a name that nobody saw.
    pub(crate) fn compare_doubted(&mut self, now: Instant, out: &mut Outbox) {
        if self.names.is_comparing() {
            return;
        }
        self.links.fleeting.compared(now);
        if self.rules.index && self.links.fleeting.deadline().is_some_and(|due| due <= Instant::now()) {
            let (tree, path) = (self.id, RelPath::root());
            out.report(WatcherReport::Rescan { tree, path, cause: LossCause::Linked });
            self.list_whole();
        }
    }

    /// False while somebody waits, and a file may have changed under names that were not reported.
    pub(crate) fn links_are_proved(&self) -> bool {
        let owed = !self.links.waiting.is_empty() && self.links.not_before.is_none();
        let doubted = self.rules.index && self.links.fleeting.is_hurried();
        !owed && !doubted
    }

    /// When that comparison is due.
    pub(crate) fn compare_deadline(&self) -> Option<Instant> {
        let waits = self.rules.index && !self.names.is_comparing();
        self.links.fleeting.deadline().filter(|_| waits)
    }

    /// A scan found the file `name` in the directory `fd`, which is `dir`.
    pub(crate) fn count_names(&mut self, fd: BorrowedFd<'_>, dir: &RelPath, name: &CStr) {
        if !self.links.is_counting() {
            return;
        }
        let Ok(stat) = fstatat(fd, name, AtFlags::AT_SYMLINK_NOFOLLOW) else { return };
        // By now it may be the only name of a file that was changed through another.
        let inode = identity(&stat);
        if !has_more_names(&stat) && !self.links.waiting.contains(&inode) {
            return;
        }
        match dir.join(name.to_bytes()) {
            Ok(path) => self.links.note(inode, &path, stat.st_nlink),
            Err(_) => self.scan.too_long(dir),
        }
    }

    /// The walk is over: what waited for it is reported.
    pub(crate) fn counted(&mut self, out: &mut Outbox) {
        if self.links.state != State::Counting {
            return;
        }
        self.links.state = State::Counted;
        for inode in std::mem::take(&mut self.links.waiting) {
            self.report_names(inode, None, bits::CLOSE_WRITE, out);
        }
    }

    fn report_names(&mut self, inode: Inode, but: Option<&RelPath>, mask: u32, out: &mut Outbox) {
        let Some(names) = self.links.files.get_mut(&inode) else { return };
        let before = names.paths.len();
        let (root, rules, id) = (&self.path, &self.rules, self.id);
        let owners = &mut self.links.owners;
        names.paths.retain(|path| {
            let stat = lstat(absolute(root, path).as_os_str());
            if stat.as_ref().map(identity) != Ok(inode) {
                if owners.get(path) == Some(&inode) {
                    owners.remove(path);
                }
                return false;
            }
            if but == Some(path) {
                return true;
            }
            let hidden = !rules.switches.hidden_file && is_hidden_file(path.name());
            if !hidden && !rules.filter.excludes_within(path, EntryKind::File) {
                out.change(id, path.clone(), Dirt::Touched, mask);
            }
            true
        });
        self.links.names -= before - names.paths.len();
        if names.paths.is_empty() {
            self.links.files.remove(&inode);
        }
    }
}

fn has_more_names(stat: &FileStat) -> bool {
    stat.st_nlink > 1 && SFlag::from_bits_truncate(stat.st_mode) & SFlag::S_IFMT == SFlag::S_IFREG
}

fn identity(stat: &FileStat) -> Inode {
    Inode(stat.st_dev, stat.st_ino)
}
