//! What the supervisor and its roles say to each other: one enum per role and direction, so
//! that a syncer cannot even say what only a watcher may.
//!
//! Orders go down over ipc-channel, reports come up as capped frames (see [`crate::wire`]).
//! There is no version: both ends are the same executable.

use std::ffi::OsString;

use serde::{Deserialize, Serialize};

use crate::config::{FilterExpression, Remote, RsyncOptions, Switches};
use crate::confine::Confinement;
use crate::event::{Change, Dirt, RootId, TreeId};
use crate::path::RelPath;

/// How often a role says that it lives while it works, in seconds.
pub const BUSY_BEAT_SECS: u64 = 2;
/// How often a role says that it lives while it waits, in seconds.
pub const IDLE_BEAT_SECS: u64 = 60;
/// Most bytes of a transfer's messages that travel up, in bytes.
pub const MAX_TAIL: usize = 2048;
/// Most bytes that the paths of one job may take: an order fits one message of the channel.
pub const MAX_JOB_BYTES: usize = 60 << 10;

/// To the watcher.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum WatcherOrder {
    /// The first and only order.
    Configure(Box<WatchSlice>),
}

/// The watcher's part of the config.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WatchSlice {
    /// The roots.
    pub trees: Vec<WatchTree>,
    /// Which kinds of change travel.
    pub switches: Switches,
    /// Which names do not.
    pub filter: Vec<FilterExpression>,
    /// Whether a file that changed under one of its names is reported under the others too.
    pub follow_links: bool,
    /// Print each watch and each event.
    pub debug: bool,
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
}

/// How a root was lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum RootLoss {
    /// It does not exist, or cannot be opened.
    Missing,
    /// Another directory stands in its place, or it was renamed.
    Replaced,
    /// Its filesystem was unmounted.
    Unmounted,
}

/// To a syncer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum SyncerOrder {
    /// The first order.
    Configure(Box<SyncSlice>),
    /// A transfer.
    Sync {
        /// Cannot be guessed: [`SyncerReport::Done`] repeats it, which proves that this order
        /// was read. So a syncer that reads nothing gets nothing more, and sending never blocks.
        ticket: u64,
        /// What to do.
        job: Job,
    },
}

/// A syncer's part of the config: one root, one remote.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SyncSlice {
    /// Absolute path of the root.
    pub root: OsString,
    /// Where to.
    pub remote: Remote,
    /// How.
    pub rsync: RsyncOptions,
    /// Absolute path of rsync.
    pub rsync_program: OsString,
    /// Absolute path of ssh, where that is the transport.
    pub ssh_program: Option<OsString>,
    /// Whether anything is ever deleted on the remote (`<delete>`).
    pub delete: bool,
    /// Which names do not travel inside a directory.
    pub filter: Vec<FilterExpression>,
    /// rsync patterns for full syncs.
    pub excludes: Vec<OsString>,
    /// Whether an rsync is kept waiting for the next batch.
    pub warm: bool,
    /// Print each rsync command and what it says.
    pub debug: bool,
    /// What the process may keep.
    pub confinement: Confinement,
}

/// One piece of work for a syncer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Job {
    /// The root that the paths were seen in; any other directory in its place ends the job.
    pub root: RootId,
    /// Whether deletions travel, or are held because the root cannot be trusted.
    pub deletions: Deletions,
    /// What to transfer.
    pub work: Work,
}

/// Whether a job may delete on the remote. `<delete start="false">` rules this out altogether.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Deletions {
    /// What is missing here is removed there.
    Travel,
    /// Nothing is removed.
    Held,
}

/// What a job transfers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Work {
    /// Dirty paths.
    Batch(Vec<(RelPath, Dirt)>),
    /// The whole tree.
    Full,
}

/// From a syncer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum SyncerReport {
    /// Confined; nothing untrusted has been read yet.
    Ready,
    /// A sign of life.
    Beat,
    /// The job that was ordered with this ticket is over.
    Done {
        /// The ticket of the order.
        ticket: u64,
        /// How it ended.
        outcome: Outcome,
        /// rsync's exit status, or minus the signal that ended it; 0 when none was started.
        status: i32,
        /// The end of what rsync said, escaped, at most [`MAX_TAIL`] bytes.
        tail: String,
    },
}

/// How a transfer ended, as far as what to do next depends on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Outcome {
    /// Everything listed is as it is here.
    Done,
    /// Most of it; some paths failed.
    Partial,
    /// The remote does not answer, or broke off.
    Unreachable,
    /// The remote answers and refuses: wrong module, wrong password, read-only.
    Refused,
    /// The remote has no room left.
    NoSpace,
    /// rsync does not understand what we or the config tell it.
    Misconfigured,
    /// The root is missing, or is not the one that the job names. Nothing was done.
    RootGone,
    /// A full sync that would have deleted found the root empty. Nothing was done.
    RootEmpty,
    /// It took longer than allowed and was killed.
    TimedOut,
    /// Anything else: a signal, no memory, an exit status without a meaning.
    Broken,
}
