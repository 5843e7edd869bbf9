//! What the supervisor and its roles say to each other: one enum per role and direction, so
//! that a syncer cannot even say what only a watcher may.
//!
//! Orders go down over ipc-channel, reports come up as capped frames (see [`crate::wire`]).
//! There is no version: both ends are the same executable.

pub mod batch;
mod page;
mod sync;

use std::ffi::OsString;

use serde::{Deserialize, Serialize};

use crate::config::{Call, FilterExpression, PluginKind, Switches, WatcherKind};
use crate::confine::Confinement;
use crate::event::{Change, RootId, TreeId};
use crate::filter::EntryKind;
use crate::keep::NameOp;
use crate::path::RelPath;

pub use page::*;
pub use sync::*;

/// How often a role says that it lives while it works, in seconds.
pub const BUSY_BEAT_SECS: u64 = 2;
/// How often a role says that it lives while it waits, in seconds.
pub const IDLE_BEAT_SECS: u64 = 60;
/// Most bytes of a transfer's messages that travel up, in bytes.
pub const MAX_TAIL: usize = 2048;
/// With these words begins the tail of a transfer for which no rsync was started, since the remote's port
/// is closed; the port and the kernel's reason follow.
pub const NOT_STARTED: &str = "no rsync was started: ";
/// Most bytes that the paths of one job may take, as [`batch`] packs them: an order fits one message of
/// the channel.
pub const MAX_JOB_BYTES: usize = 150 << 10;
/// Most renames that one job names: each may cost a run of its own.
pub const MAX_MOVES: usize = 16;

/// What `fs.inotify.max_user_watches` should be for so many directories: a fifth more, to grow into.
pub fn watches_wanted(needed: u64) -> u64 {
    needed.saturating_add(needed.div_ceil(5))
}

/// To the watcher.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum WatcherOrder {
    /// The first order.
    Configure(Box<WatchSlice>),
    /// Room for that many more frames of names.
    Room(u32),
    /// List the names of every tree, once more if that was done: this pass counts, and none before.
    List(u32),
    /// Report all that happened until now, then [`WatcherReport::Flushed`] with this number.
    Flush(u64),
    /// Say [`WatcherReport::Looked`] with this number once all that the kernel had queued until now was
    /// reported. Unlike a flush it hurries nothing that is done by and by.
    Look(u64),
    /// Say [`WatcherReport::Proved`] with this number, at once.
    Prove(u64),
}

/// The watcher's part of the config.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WatchSlice {
    /// The roots.
    pub trees: Vec<WatchTree>,
    /// How the kernel is asked what changes.
    pub watcher: WatcherKind,
    /// Which kinds of change travel.
    pub switches: Switches,
    /// Which names do not.
    pub filter: Vec<FilterExpression>,
    /// Whether a file that changed under one of its names is reported under the others too. With
    /// `index` it is where its contents may have changed, and with this also its attributes.
    pub follow_links: bool,
    /// Print each watch and each event.
    pub debug: bool,
    /// Whether the names of what is watched are told, for the index on disk.
    pub index: bool,
    /// What the process may keep.
    pub confinement: Confinement,
}

/// One root to watch.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WatchTree {
    /// How messages name it.
    pub id: TreeId,
    /// Absolute path of the root.
    pub root: OsString,
    /// The directory that an earlier watcher found there first, if there was one.
    pub original: Option<RootId>,
}

/// From the watcher.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum WatcherReport {
    /// Confined; nothing untrusted has been read yet.
    Ready,
    /// Every directory of the tree is watched: what changes from now on is reported. Said
    /// again when a lost root is back.
    Watching {
        /// Which tree.
        tree: TreeId,
        /// Which directory the root is.
        root: RootId,
        /// Directories watched.
        directories: u64,
    },
    /// Paths that are dirty, in the order of their events.
    Changes(TreeId, Vec<Change>),
    /// A directory, or a file of [`WORTH_MOVING`] and more, has another name in the same tree. The change
    /// of each follows, but for what was reported before; this only helps to bring them over.
    Moved {
        /// Which tree.
        tree: TreeId,
        /// What has it.
        kind: EntryKind,
        /// The old name.
        from: RelPath,
        /// The new one.
        to: RelPath,
    },
    /// Sight was lost of everything at and below a path.
    Rescan {
        /// Which tree.
        tree: TreeId,
        /// From where; the root for the whole tree.
        path: RelPath,
        /// Why.
        cause: LossCause,
    },
    /// The root is no longer there, or no longer the one that was watched. The watcher waits
    /// for a root to appear and then says [`WatcherReport::Watching`].
    RootLost {
        /// Which tree.
        tree: TreeId,
        /// Why.
        cause: RootLoss,
    },
    /// The kernel gives no more watches; the directories counted here are rescanned instead.
    WatchLimit {
        /// Which tree.
        tree: TreeId,
        /// Directories that have no watch.
        unwatched: u64,
        /// Directories that need one, as far as known.
        needed: u64,
    },
    /// Something else stands where a root was, and is out of reach ([`Confined::outdated`]): only a
    /// new watcher can go on. Nothing follows.
    ///
    /// [`Confined::outdated`]: crate::confine::Confined::outdated
    Outdated,
    /// What was seen of the names of a tree. Those of a change follow it at once; those of a
    /// listing wait for [`WatcherOrder::Room`].
    Names(TreeId, Vec<NameOp>),
    /// All names at and below a path were told, in this pass.
    Listed {
        /// Which tree.
        tree: TreeId,
        /// From where; the root for the whole tree.
        path: RelPath,
        /// Of [`WatcherOrder::List`].
        pass: u32,
    },
    /// Names were not told: more waited than may. Only another pass makes the index right.
    NamesLost,
    /// All that happened before [`WatcherOrder::Flush`] came was reported.
    Flushed(u64),
    /// All that the kernel had queued when [`WatcherOrder::Look`] came was reported.
    Looked {
        /// The number of the order.
        number: u64,
        /// How many directories of each tree are watched, in the order of the trees.
        directories: Vec<u64>,
    },
    /// All orders up to this [`WatcherOrder::Prove`] were read.
    Proved(u64),
    /// A sign of life; when busy the next follows within [`BUSY_BEAT_SECS`].
    Beat {
        /// Whether a scan is under way.
        busy: bool,
    },
}

/// Why a subtree has to be looked at again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum LossCause {
    /// The kernel's queue was full.
    Overflow,
    /// Directories without a watch: their time to be looked at has come.
    Unwatched,
    /// More changes waited in the watcher than it may hold.
    Backlog,
    /// A directory could not be read.
    Unreadable,
    /// A file may have been changed through a name that was gone before it could be looked at.
    Linked,
}

/// How a root was lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum RootLoss {
    /// It does not exist.
    Missing,
    /// It may not be read.
    Unreadable,
    /// Another directory stands in its place, or it was renamed.
    Replaced,
    /// Its filesystem was unmounted.
    Unmounted,
}

/// To a plugin.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum PluginOrder {
    /// The first order.
    Configure(Box<PluginSlice>),
    /// Changes to tell of, each path at most once.
    Deliver {
        /// Cannot be guessed: [`PluginReport::Done`] repeats it.
        ticket: u64,
        /// In the order in which they are to be told.
        events: Vec<PluginEvent>,
    },
}

/// A plugin's part of the config.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PluginSlice {
    /// What it does, and to whom.
    pub kind: PluginKind,
    /// How.
    pub call: Call,
    /// Absolute path of each tree's root, in the order of their ids.
    pub roots: Vec<OsString>,
    /// Each remote for people, in the order of their numbers in [`PluginEvent::remotes`].
    pub remotes: Vec<String>,
    /// Say each call.
    pub debug: bool,
    /// What the process may keep.
    pub confinement: Confinement,
}

/// One change that all remotes have dealt with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PluginEvent {
    /// Which tree.
    pub tree: TreeId,
    /// Below the root; the root itself when sight of all of it was lost.
    pub path: RelPath,
    /// What happened.
    pub kind: EventKind,
    /// Whether the path is, or was, a directory.
    pub directory: bool,
    /// The inotify bits seen since the path was last told of; 0 when nobody saw it.
    pub mask: u32,
    /// When the first of it was seen, in milliseconds since 1970.
    pub time: u64,
    /// How each remote of the tree fared.
    pub remotes: Vec<(u16, RemoteOutcome)>,
}

/// What happened to a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum EventKind {
    /// It is new, or other than it was.
    Changed,
    /// Its name is gone.
    Removed,
    /// Sight of it and all below it was lost: anything may have changed.
    Rescanned,
}

/// How a remote fared with a change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum RemoteOutcome {
    /// It has it.
    Done,
    /// It failed on it once; it will be tried again.
    Failed,
    /// It was known to be down; it gets it later.
    Down,
}

/// From a plugin.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum PluginReport {
    /// Confined; nothing untrusted has been read yet.
    Ready,
    /// As [`WatcherReport::Outdated`], for what a plugin reads. The last order was not carried out.
    Outdated,
    /// A sign of life while it waits.
    Beat,
    /// The delivery that was ordered with this ticket is over.
    Done {
        /// The ticket of the order.
        ticket: u64,
        /// How each event fared, from the first on; those without a verdict were not tried.
        verdicts: Vec<Verdict>,
        /// Why the last one failed, escaped, at most [`MAX_TAIL`] bytes.
        note: String,
    },
}

/// How the delivery of one event ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Verdict {
    /// It was told, or the config says that it is not to be told of.
    Delivered,
    /// This one was refused; the next may fare better. It is tried again, but not for ever.
    Refused,
    /// Whoever is to be told does not answer; the next would fare no better. It is tried again
    /// for as long as there is room to keep it.
    Unreachable,
}
