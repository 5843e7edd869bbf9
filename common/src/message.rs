//! What the supervisor and its roles say to each other: one enum per role and direction, so
//! that a syncer cannot even say what only a watcher may.
//!
//! Orders go down over ipc-channel, reports come up as capped frames (see [`crate::wire`]).
//! There is no version: both ends are the same executable.

use std::ffi::OsString;

use serde::{Deserialize, Serialize};

use crate::config::{Call, FilterExpression, PluginKind, Remote, Switches};
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
    /// It does not exist.
    Missing,
    /// It may not be read.
    Unreadable,
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

/// `3.5.0` as `(3, 5, 0)`.
pub type RsyncVersion = (u32, u32, u32);

/// A syncer's part of the config: one root, one remote.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SyncSlice {
    /// Absolute path of the root.
    pub root: OsString,
    /// Where to, and how.
    pub remote: Remote,
    /// Absolute path of rsync.
    pub rsync_program: OsString,
    /// Its version.
    pub rsync_version: RsyncVersion,
    /// ssh, where that is the transport.
    pub ssh: Option<SshSlice>,
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

/// How a syncer's rsync calls ssh. All paths are absolute.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SshSlice {
    /// The program.
    pub program: OsString,
    /// Whom it logs in as: the configured user, else the one that started the supervisor.
    pub user: String,
    /// Private keys to try, in order.
    pub identities: Vec<OsString>,
    /// Files of known host keys.
    pub known_hosts: Vec<OsString>,
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
    /// A sign of life. Busy ones follow each other within [`BUSY_BEAT_SECS`].
    Beat {
        /// Nothing has moved since the last one: the remote does not answer, or is stuck.
        stalled: bool,
    },
    /// As [`WatcherReport::Outdated`], for the root, rsync or a secret. The last order was not
    /// carried out.
    Outdated,
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
    /// ssh does not know the remote's host key, or knows another.
    UnknownHost,
    /// The remote has no room left.
    NoSpace,
    /// rsync does not understand what we or the config tell it.
    Misconfigured,
    /// rsync used up what it may: CPU time, memory, processes (`<limits>`).
    Limit,
    /// The root is missing, or is not the one that the job names. Nothing was done.
    RootGone,
    /// A full sync that would have deleted found the root empty. Nothing was done.
    RootEmpty,
    /// It took longer than allowed and was killed.
    TimedOut,
    /// Anything else: a signal, no memory, an exit status without a meaning.
    Broken,
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
