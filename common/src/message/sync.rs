//! What the supervisor and a syncer say to each other.

use std::ffi::OsString;

use serde::{Deserialize, Serialize};

use crate::config::{FilterExpression, Remote};
use crate::confine::Confinement;
use crate::event::{Dirt, RootId};
use crate::path::RelPath;

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
    /// How many seconds an rsync is kept waiting for the next batch, if one is.
    pub warm: Option<u32>,
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
    /// Most names that a full sync may remove on the remote, as rsync counts them; no bound without
    /// it.
    pub max_delete: Option<u32>,
    /// How files are compared before they are sent.
    pub by: Comparison,
    /// Whether large files of a batch go along.
    pub load: Load,
    /// What it may take of what all share.
    pub terms: Terms,
    /// What to transfer.
    pub work: Work,
    /// What was renamed, at most [`MAX_MOVES`](super::MAX_MOVES), oldest first: directories of which a
    /// batch carries both names, the removal of the old one and all of the new one, and files of which
    /// it carries the new name. Only a hint.
    pub moves: Vec<Move>,
}

/// A directory or file that has another name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Move {
    /// The name that it had.
    pub from: RelPath,
    /// The name that it has.
    pub to: RelPath,
}

/// Files larger than this are large, in bytes: on a fast network they take some tenth of a second.
pub const LARGE: u64 = 8 << 20;
/// Files of less than this are sent anew under another name, in bytes: making them out of what is
/// there takes a run of its own.
pub const WORTH_MOVING: u64 = 1 << 20;
/// Most large files that are left out of one job, and most bytes of their paths.
pub const MAX_LEFT: (usize, usize) = (64, 12 << 10);

/// What a batch may hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Load {
    /// Everything.
    Any,
    /// No file larger than [`LARGE`], nor what stands now at the old name of one that was renamed: those
    /// are named in [`SyncerReport::Done`], as far as they fit.
    Light,
}

/// What a job may take of what all remotes share.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Terms {
    /// KiB a second, at least 1, that each of its rsyncs may send; `None` for no limit but the
    /// remote's own.
    pub rate: Option<u32>,
    /// Whether an rsync may wait, connected, when it is over.
    pub ahead: Ahead,
}

/// How many rsyncs may wait for the next batch, where the config lets them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum Ahead {
    /// One may, for as long as the config says.
    #[default]
    Waits,
    /// Two may: now and then a handshake stands still for 40 ms, and the next change may come sooner.
    TwoWait,
    /// Its connection is needed by others.
    Ends,
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
    Batch(#[serde(with = "super::batch")] Vec<(RelPath, Dirt)>),
    /// The whole tree.
    Full,
    /// Nothing: what differs is told, in [`SyncerReport::Differs`].
    Verify {
        /// Directories with all below them, or the root for the whole tree; none for what the
        /// remote's root has beside the names in ours.
        tops: Vec<RelPath>,
        /// How.
        by: Comparison,
    },
}

/// How files are compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Comparison {
    /// By size and time.
    Times,
    /// By what they hold.
    Checksums,
}

/// One difference between a remote and the source.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Difference {
    /// Where.
    pub path: RelPath,
    /// What.
    pub kind: DifferenceKind,
    /// Whether it is, here or there, a directory.
    pub directory: bool,
}

/// How a remote differs at a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum DifferenceKind {
    /// It is not there.
    Missing,
    /// It is there and not here.
    Extra,
    /// It holds something else, or is something else.
    Content,
    /// Only its mode, owner, time or the like differ.
    Attributes,
}

/// A path that a batch did not bring over.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FailedPath {
    /// As the job named it.
    pub path: RelPath,
    /// What rsync said of it, escaped, at most [`crate::keep::MAX_REASON`] bytes; may be empty.
    pub reason: String,
}

/// From a syncer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum SyncerReport {
    /// Confined; nothing untrusted has been read yet.
    Ready,
    /// A sign of life. Busy ones follow each other within [`BUSY_BEAT_SECS`](super::BUSY_BEAT_SECS).
    Beat {
        /// Nothing has moved since the last one: the remote does not answer, or is stuck.
        stalled: bool,
    },
    /// As [`WatcherReport::Outdated`](super::WatcherReport::Outdated), for the root, rsync or a secret. The last order was not
    /// carried out.
    Outdated,
    /// The job that was ordered with this ticket is over.
    Done {
        /// The ticket of the order.
        ticket: u64,
        /// How it ended.
        outcome: Outcome,
        /// rsync's exit status, or minus the signal that ended it; 0 when none was started, but for a port
        /// that is closed: what it would have been.
        status: i32,
        /// The end of what rsync said, escaped, at most [`MAX_TAIL`](super::MAX_TAIL) bytes; our own words
        /// when none was started.
        tail: String,
        /// After [`Outcome::Partial`]: which paths of the batch failed, at most one frame of them.
        /// The rest is as it is here. `None` where that could not be found out.
        failed: Option<Vec<FailedPath>>,
        /// Large files that were not sent, since the job was [`Load::Light`]; at most [`MAX_LEFT`].
        left: Vec<RelPath>,
        /// Bytes of files that were sent, as rsync counts them; 0 where it did not say.
        bytes: u64,
    },
    /// How far the job has come that was ordered with this ticket. At most one each
    /// [`ADVANCE_MILLIS`] milliseconds.
    Advanced {
        /// The ticket of the order.
        ticket: u64,
        /// So far.
        advance: Advance,
    },
    /// Differences that a [`Work::Verify`] found, before its [`SyncerReport::Done`]; at most one
    /// frame of them.
    Differs {
        /// The ticket of the order.
        ticket: u64,
        /// In the order in which rsync told of them.
        found: Vec<Difference>,
    },
}

/// How often a syncer tells at most how far its job has come, in milliseconds.
pub const ADVANCE_MILLIS: u64 = 500;

/// How far a job has come, by what rsync says of it (`--info=progress2`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Advance {
    /// Bytes of the files that were sent.
    pub bytes: u64,
    /// Files that were sent.
    pub files: u64,
    /// Of all bytes that rsync has listed until now, sent or equal, 0 to 100.
    pub percent: u8,
    /// Entries that are still to be compared, and all that rsync has listed until now.
    pub to_check: Option<(u64, u64)>,
    /// Whether rsync still lists: `percent` and `to_check` are of a part of the tree then.
    pub listing: Listing,
}

/// Whether rsync knows all that there is to compare.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum Listing {
    /// Not yet.
    #[default]
    Open,
    /// It does.
    Complete,
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
    /// What the remote says breaks rsync's protocol.
    Hostile,
    /// The remote has no room left.
    NoSpace,
    /// The remote's filesystem cannot be written: all paths failed for the same reason.
    ReadOnly,
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

impl Outcome {
    /// All of them.
    pub const ALL: [Outcome; 14] = [
        Outcome::Done,
        Outcome::Partial,
        Outcome::Unreachable,
        Outcome::Refused,
        Outcome::UnknownHost,
        Outcome::Hostile,
        Outcome::NoSpace,
        Outcome::ReadOnly,
        Outcome::Misconfigured,
        Outcome::Limit,
        Outcome::RootGone,
        Outcome::RootEmpty,
        Outcome::TimedOut,
        Outcome::Broken,
    ];
}
