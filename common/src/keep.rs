//! What is kept on disk, and the words for it between the supervisor, its keeper and the watcher.
//!
//! The disk always holds one consistent moment: the names of each tree as they were then, and what
//! each remote lacked then. All that happened since is found by comparing the tree with the names.

use serde::{Deserialize, Serialize};

use crate::confine::Confinement;
use crate::event::{Change, Dirt, RootId, TreeId};
use crate::message::Deletions;
use crate::path::RelPath;

/// Frames of names that the watcher may send before it is given more room.
pub const NAMES_WINDOW: u32 = 8;
/// Longest reason that is kept beside a path, in bytes.
pub const MAX_REASON: usize = 200;
/// Orders that the keeper may have before it has done the first.
pub const KEEP_WINDOW: usize = 2;

/// What tells two states of one entry apart. Equality counts, never order: no clock is trusted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Stamp {
    /// Whether it is a directory (never a link to one).
    pub directory: bool,
    /// `st_ino`.
    pub inode: u64,
    /// Of a file: its change time in nanoseconds since 1970, as a bit pattern. Of a directory:
    /// made of its mode and owners, since its times change with all that it holds.
    pub mark: u64,
}

/// What the watcher saw of the names of a tree. In the order in which they are told: each one
/// counts more than those before it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum NameOp {
    /// All entries of a directory whose names lie after `after` (from the first one on without it)
    /// and up to `upto` (to the last one without it), sorted by their bytes. What the index has
    /// in that range beside them is gone.
    Listing {
        /// Which directory.
        directory: RelPath,
        /// Exclusive.
        after: Option<Vec<u8>>,
        /// Inclusive.
        upto: Option<Vec<u8>>,
        /// Name and stamp of each.
        entries: Vec<(Vec<u8>, Stamp)>,
        /// Whether what differs is to be told.
        purpose: Purpose,
    },
    /// One entry, as it was before its change was reported. Where the index knows a directory that
    /// is another one or none any more by this, it is not taken: what was in that directory is only
    /// forgotten once its removal was reported, which [`NameOp::Gone`] says.
    Entry(RelPath, Stamp),
    /// A name is gone, with all below it; its removal was reported.
    Gone(RelPath),
}

/// What a listing is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Purpose {
    /// What differs from the index is a change that nobody has reported.
    Compare,
    /// All of it was reported, or is not to be: the index only takes in the names that it does not
    /// have. The others were told since, and so was or will be what is gone.
    Learn,
}

/// A change that nobody saw, found by comparing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Find {
    /// Where.
    pub path: RelPath,
    /// What.
    pub kind: FindKind,
}

impl Find {
    /// What is to be sent; `None` for what is gone, of which the operator may have to be asked.
    pub fn change(&self) -> Option<Change> {
        match self.kind {
            FindKind::Changed => Some(Change { path: self.path.clone(), dirt: Dirt::Touched, mask: 0 }),
            FindKind::Gone { .. } => None,
        }
    }
}

/// What was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum FindKind {
    /// New, or other than it was. A directory by itself, without what it holds.
    Changed,
    /// A name is gone.
    Gone {
        /// Whether it was a directory.
        directory: bool,
        /// How many names went with it, itself included.
        names: u64,
    },
}

/// A change of what is kept beside the names. Each one replaces what was kept under the same key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Edit {
    /// A path that a remote lacks; `None` when it does not any more.
    Pending(u16, RelPath, Option<Pending>),
    /// A removal that waits for the root to come back.
    Parked(u16, RelPath, Option<Pending>),
    /// A full sync that a remote is to get.
    Full(u16, Option<Deletions>),
    /// A remote is known: it was mirrored to before.
    Known(u16),
    /// A deletion that the brake holds until the operator decides.
    Held(TreeId, RelPath, Option<HeldDelete>),
    /// Which directory the root is.
    Root(TreeId, RootId),
    /// Milliseconds since 1970 up to which all that happened in a tree is accounted for.
    Complete(TreeId, u64),
}

/// Why and since when a remote lacks a path.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pending {
    /// What happened to it.
    pub dirt: Dirt,
    /// In milliseconds since 1970.
    pub since: u64,
    /// How often it failed.
    pub attempts: u32,
    /// Why it failed last, at most [`MAX_REASON`] bytes; empty when it did not.
    pub reason: String,
}

/// A deletion that is held.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct HeldDelete {
    /// Whether it was a directory.
    pub directory: bool,
    /// How many names went, itself included.
    pub names: u64,
    /// In milliseconds since 1970; 0 while nobody has decided yet whether it is to be held.
    pub since: u64,
}

/// To the keeper.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum KeeperOrder {
    /// The first order.
    Configure(Box<KeepSlice>),
    /// What the watcher saw, at most one frame of it.
    Names(u64, TreeId, Vec<NameOp>),
    /// All of the tree, or of a directory in it, was listed: the last of it came before this.
    Listed(u64, TreeId, RelPath),
    /// What changed beside the names; at most one frame of it.
    Edits(u64, Vec<Edit>),
    /// All that was ordered before becomes durable at once, if the supervisor has heard of every
    /// find that it led to.
    Commit {
        /// The ticket, which the first field of each order before is too.
        ticket: u64,
        /// How many reports of finds the supervisor had heard.
        heard: u64,
        /// Whether this is the last one of an orderly end.
        last: bool,
    },
}

/// The keeper's part of the config. Its file is its standard output.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeepSlice {
    /// What each tree is known by, in the order of their ids.
    pub trees: Vec<Vec<u8>>,
    /// What each remote is known by, in the order of their ids: place of its tree, and a name that
    /// no other remote of that tree has. What is kept of others is forgotten.
    pub remotes: Vec<(TreeId, Vec<u8>)>,
    /// What the process may keep.
    pub confinement: Confinement,
}

/// From the keeper.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum KeeperReport {
    /// Confined; nothing untrusted has been read yet.
    Ready,
    /// What was kept, before [`KeeperReport::Loaded`]; at most one frame of it.
    Kept(Vec<Edit>),
    /// All that was kept has been told. For each tree of the slice, how well its names are known.
    Loaded {
        /// How the last run ended.
        last: LastRun,
        /// In the order of their ids.
        trees: Vec<Knowledge>,
        /// How many names of each are kept.
        names: Vec<u64>,
    },
    /// What differs. Counted: see [`KeeperOrder::Commit`].
    Found(TreeId, Vec<Find>),
    /// The order with this ticket was carried out.
    Done(u64),
    /// All of a tree was listed and compared; how many names it has now.
    Compared(TreeId, RelPath, u64),
    /// As [`KeeperReport::Done`], for a commit; whether all of it is durable now.
    Committed(u64, Durable),
    /// A sign of life.
    Beat,
    /// The file cannot be used. Nothing follows.
    Trouble(Trouble, String),
}

/// Whether a commit was carried out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Durable {
    /// It was.
    Yes,
    /// There are finds that the supervisor had not heard of. The next one will do it.
    NotYet,
}

/// How the run before this one ended, as the file tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum LastRun {
    /// There was none.
    None,
    /// Orderly.
    Clean,
    /// Otherwise.
    Unclean,
}

/// How well the names of a tree are known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Knowledge {
    /// The tree is new to the file.
    None,
    /// Its first listing was not finished.
    Partial,
    /// All of them as they were at the last commit.
    Whole,
}

/// What is wrong with the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Trouble {
    /// It is no file of ours, or it is damaged: only an empty one helps.
    Damaged,
    /// It cannot be written at the moment: no space, an I/O error.
    Unwritable,
}
