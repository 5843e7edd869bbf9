//! One configured root: there or not.
//!
//! A root that goes away takes everything with it that was known of the tree; a directory that
//! appears in its place is another one and is watched from scratch. Nothing is carried over, so
//! that nothing of the old can be done to the new.

use std::ffi::OsStr;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::rc::Rc;
use std::time::{Duration, Instant};

use common::config::WatcherKind;
use common::confine::{self, MarkError, Marked};
use common::event::{RootId, TreeId};
use common::log::Shown;
use common::message::{IDLE_BEAT_SECS, RootLoss, WatchSlice, WatchTree, WatcherReport};

use crate::kernel::Kernel;
use crate::live::{Live, Rules};
use crate::open;
use crate::outbox::Outbox;

/// How often a root that is lost, or replaced by another, is looked for.
const LOOK_PAUSE: Duration = Duration::from_secs(1);
/// How often it is checked that the root's path still leads to the root: a mount over it, or a
/// rename above it, sends no event. Wakes nobody for it: an idle watcher looks whenever it
/// wakes for its sign of life, which is a little later than this.
const CHECK_PAUSE: Duration = Duration::from_secs(IDLE_BEAT_SECS / 2);

/// One configured root.
pub(crate) struct Root {
    id: TreeId,
    path: Rc<OsStr>,
    rules: Rc<Rules>,
    pub(crate) means: Means,
    /// It is there, and nothing that this process can do watches it.
    needs_mark: bool,
    state: State,
    /// The loss was reported, and since then no tree was watched.
    lost: bool,
    /// The one that was there first. While another stands in its place it is looked for.
    original: Option<RootId>,
    next_look: Instant,
    /// When something happened last, until a look has followed well after it. Of a root that was removed the
    /// kernel tells when nobody uses it any more, and an rsync that waits in it may do so for a minute.
    stirred: Option<Instant>,
    /// Which pass of listing counts.
    pass: u32,
}

enum State {
    Lost,
    Live(Box<Live>),
}

/// How a root that is there can be watched.
#[derive(Debug)]
pub(crate) enum Means {
    /// By watches, at any time.
    Watches,
    /// By the mark that was set on its filesystem, once.
    Mark(Marked),
    /// Its filesystem refused the mark; what stood there then.
    Refused(MarkError, Option<RootId>),
    /// The mark was for what is gone. Setting another is for another process.
    Spent,
}

/// For each tree, what only can be made before confinement.
pub(crate) fn means(slice: &WatchSlice) -> Vec<Means> {
    let means = |tree: &WatchTree| match slice.watcher {
        WatcherKind::Inotify => Means::Watches,
        WatcherKind::Fanotify => match confine::mark(&tree.root, slice.switches) {
            Ok(marked) => Means::Mark(marked),
            Err(error) => Means::Refused(error, open::root(&tree.root).ok().map(|(_, id)| id)),
        },
    };
    slice.trees.iter().map(means).collect()
}

/// Why a root that is there is not watched; for the log.
#[derive(Debug, thiserror::Error)]
enum Blind {
    #[error("inotify cannot be opened reason={0}")]
    Inotify(io::Error),
    #[error("fanotify cannot be used reason={0}")]
    Fanotify(io::Error),
    #[error("fanotify cannot mark the filesystem reason=\"{0}\"")]
    Refused(String),
    #[error("its filesystem is not marked: a new watcher has to")]
    Spent,
}

impl Root {
    /// A root that is yet to be looked for.
    pub(crate) fn new(tree: &WatchTree, means: Means, rules: Rc<Rules>, now: Instant) -> Root {
        Root {
            id: tree.id,
            path: Rc::from(tree.root.as_os_str()),
            rules,
            means,
            needs_mark: false,
            state: State::Lost,
            lost: false,
            original: tree.original,
            next_look: now,
            stirred: None,
            pass: 0,
        }
    }

    /// Reads and deals with events; does what is due.
    pub(crate) fn drain(&mut self, buffer: &mut [u8], now: Instant, out: &mut Outbox) {
        let result = match &mut self.state {
            State::Lost => Ok(false),
            State::Live(live) => live.drain(buffer, now, out),
        };
        if let Ok(true) = result {
            self.stirred = Some(now);
            self.next_look = self.next_look.min(now + LOOK_PAUSE);
        }
        self.survive(result.map(drop), now, out);
        if self.next_look <= now {
            self.look(now, out);
        }
        if let State::Live(live) = &mut self.state {
            live.tick(now, out);
        }
    }

    /// How messages name it.
    pub(crate) fn id(&self) -> TreeId {
        self.id
    }

    /// Lists all names once more: this pass counts.
    pub(crate) fn list_anew(&mut self, pass: u32) {
        self.pass = pass;
        if let State::Live(live) = &mut self.state {
            live.list_anew(pass);
        }
    }

    /// Whether there are names to be told, with room for that many frames of them.
    pub(crate) fn wants_to_list(&self, room: u32) -> bool {
        self.live().is_some_and(|live| live.names.wants(room))
    }

    /// Does work until `until`; at least one step. Names are told only when there is nothing else,
    /// and then with nothing in between.
    pub(crate) fn work(&mut self, until: Instant, room: &mut u32, out: &mut Outbox) {
        if let State::Live(live) = &mut self.state
            && !live.scan.is_busy()
        {
            let result = live.list(until, room, out);
            return self.survive(result, Instant::now(), out);
        }
        loop {
            let State::Live(live) = &mut self.state else { return };
            let result = live.step(out);
            let busy = live.scan.is_busy();
            let now = Instant::now();
            self.survive(result, now, out);
            if !busy || now >= until {
                return;
            }
        }
    }

    /// Reports how many directories have no watch, if that is news.
    pub(crate) fn tell_limit(&mut self, now: Instant, all_needed: u64, out: &mut Outbox) {
        if let State::Live(live) = &mut self.state {
            live.tell_limit(now, all_needed, out);
        }
    }

    /// Directories that need a watch.
    pub(crate) fn needed(&self) -> u64 {
        self.live().map_or(0, |live| live.tree.directories())
    }

    /// True while there is work.
    pub(crate) fn is_busy(&self) -> bool {
        self.live().is_some_and(|live| live.scan.is_busy())
    }

    /// When something is due next.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        match &self.state {
            State::Lost => Some(self.next_look),
            State::Live(live) if self.stirred.is_some() || self.is_replaced() => {
                Some(live.deadline().map_or(self.next_look, |due| due.min(self.next_look)))
            }
            State::Live(live) => live.deadline(),
        }
    }

    fn is_replaced(&self) -> bool {
        self.live().is_some_and(|live| self.original.is_some_and(|original| live.root != original))
    }

    /// What to poll.
    pub(crate) fn events(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        self.live().into_iter().flat_map(|live| live.kernel.fds())
    }

    /// Its path, as configured.
    pub(crate) fn path(&self) -> &OsStr {
        &self.path
    }

    /// True when it is there, and only another process could mark its filesystem.
    pub(crate) fn needs_mark(&self) -> bool {
        self.needs_mark
    }

    /// The tree, while there is one.
    pub(crate) fn live(&self) -> Option<&Live> {
        match &self.state {
            State::Lost => None,
            State::Live(live) => Some(live),
        }
    }

    /// The tree, while there is one.
    pub(crate) fn live_mut(&mut self) -> Option<&mut Live> {
        match &mut self.state {
            State::Lost => None,
            State::Live(live) => Some(live),
        }
    }

    fn look(&mut self, now: Instant, out: &mut Outbox) {
        match &self.state {
            State::Live(live) => {
                self.next_look = now + if self.is_replaced() { LOOK_PAUSE } else { CHECK_PAUSE };
                // A root goes after what was in it.
                self.stirred = self.stirred.filter(|&at| now < at + LOOK_PAUSE);
                self.next_look = self.stirred.map_or(self.next_look, |at| at + LOOK_PAUSE);
                let result = open::check_root(&self.path, live.root);
                self.survive(result, now, out);
            }
            State::Lost => {
                self.next_look = now + LOOK_PAUSE;
                self.needs_mark = false;
                let found = match open::root(&self.path) {
                    Ok(found) => found,
                    Err(error) => return self.lose(open::loss(&error), now, out),
                };
                match self.kernel(found.0.as_fd(), found.1) {
                    Ok(kernel) => {
                        let (path, rules) = (Rc::clone(&self.path), Rc::clone(&self.rules));
                        self.original.get_or_insert(found.1);
                        self.state = State::Live(Box::new(Live::begin_with(
                            self.id, path, rules, kernel, found, self.pass,
                        )));
                        self.next_look = now + LOOK_PAUSE;
                    }
                    Err(error) => {
                        if !self.lost {
                            let root = Shown(&self.path);
                            log::error!("{error} root={root}");
                        }
                        self.lose(RootLoss::Missing, now, out);
                    }
                }
            }
        }
    }

    /// What tells of the root that was just opened.
    fn kernel(&mut self, root: BorrowedFd<'_>, id: RootId) -> Result<Kernel, Blind> {
        let switches = self.rules.switches;
        match std::mem::replace(&mut self.means, Means::Spent) {
            Means::Watches => {
                self.means = Means::Watches;
                Kernel::open(switches).map_err(Blind::Inotify)
            }
            Means::Mark(marked) if marked.covers(id) => {
                Kernel::marked(switches, marked, root).map_err(Blind::Fanotify)
            }
            Means::Refused(error, Some(then)) if then == id => {
                let blind = Blind::Refused(error.to_string());
                self.means = Means::Refused(error, Some(then));
                Err(blind)
            }
            Means::Mark(_) | Means::Refused(..) | Means::Spent => {
                self.needs_mark = true;
                Err(Blind::Spent)
            }
        }
    }

    fn survive(&mut self, result: Result<(), RootLoss>, now: Instant, out: &mut Outbox) {
        if let Err(cause) = result {
            self.lose(cause, now, out);
        }
    }

    fn lose(&mut self, cause: RootLoss, now: Instant, out: &mut Outbox) {
        // One that was lost before it could be watched is still the same loss.
        let watched = self.live().is_some_and(|live| live.watching);
        self.next_look = if watched { now } else { now + LOOK_PAUSE };
        self.state = State::Lost;
        if self.lost && !watched {
            return;
        }
        self.lost = true;
        log::warn!("root lost path={} cause={cause:?}", Shown(&self.path));
        out.report(WatcherReport::RootLost { tree: self.id, cause });
    }
}
