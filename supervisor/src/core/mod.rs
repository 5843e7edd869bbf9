//! PURE from here down: decisions without clock, file, process or socket. Time is passed in as
//! the [`Duration`] since the supervisor started; chance is a seed. The core cannot fail, it
//! can only decide (invariant I5).
//!
//! [`Dispatcher::on`](dispatch::Dispatcher::on) takes an [`Input`] and appends [`Action`]s; the
//! event loop performs them.

pub mod backlog;
pub mod bandwidth;
pub mod brake;
pub mod dispatch;
pub mod guard;
pub mod hosts;
pub mod keeping;
pub mod kept;
pub mod ledger;
pub mod moves;
pub mod notice;
pub mod order;
pub mod outlet;
pub mod pool;
pub mod recursive;
#[cfg(test)]
mod regressions;
pub mod remote;
pub mod restart;
pub mod retry;
pub mod schedule;
#[cfg(test)]
mod simulation;
pub mod slots;
#[cfg(test)]
mod survival;
pub mod tally;
pub mod telling;
pub mod unproven;
pub mod view;

use std::time::Duration;

use common::config::Repair;
use common::event::{Change, RootId, TreeId};
use common::filter::EntryKind;
use common::keep::{KeeperReport, NameOp};
use common::message::{
    Comparison, Difference, FailedPath, Job, LossCause, Outcome, RootLoss, Verdict, WatcherOrder,
};
use common::path::RelPath;
use log::Level;

/// Which remote: its place among all remotes of all trees, counted from 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RemoteId(pub u16);

/// Which of a remote's syncers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Lane {
    /// Batches of dirty paths, one at a time.
    Batch,
    /// What does not wait until a long batch is over.
    Express,
    /// Full syncs, beside the batches.
    Full,
}

/// Which plugin: its place among those that are on, counted from 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PluginId(pub u8);

/// A child of the supervisor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Role {
    /// Watches all trees.
    Watcher,
    /// Serves one remote for its life.
    Syncer(RemoteId, Lane),
    /// Tells somebody of each change.
    Plugin(PluginId),
    /// Keeps names and pending work on disk.
    Keeper,
    /// Serves the page and its metrics.
    Page,
}

/// What happened.
#[derive(Debug)]
pub enum Input {
    /// Nothing but the passing of time.
    Tick,
    /// The watcher saw changes.
    Changes(TreeId, Vec<Change>),
    /// The watcher saw a directory or file get another name; both changes follow.
    Moved(TreeId, EntryKind, RelPath, RelPath),
    /// The watcher lost sight of a subtree.
    Rescan(TreeId, RelPath, LossCause),
    /// The watcher watches every directory of a tree; how many.
    Watching(TreeId, RootId, u64),
    /// A root is gone.
    RootLost(TreeId, RootLoss),
    /// The watcher told names.
    Names(TreeId, Vec<NameOp>),
    /// It could not tell some.
    NamesLost,
    /// It has listed all at and below a path, in that pass.
    Listed(TreeId, RelPath, u32),
    /// The keeper said something.
    Keeper(KeeperReport),
    /// All that happened before that flush was ordered has been reported.
    Flushed(u64),
    /// A syncer that compares has found differences.
    Differs(Role, Vec<Difference>),
    /// An operator asks for something.
    Asked(ClientId, Ask),
    /// An operator does not wait any more.
    AskerGone(ClientId),
    /// A child is confined and waits for work.
    Ready(Role),
    /// A child said that it lives; whether it is busy.
    Alive(Role, Pace),
    /// A syncer at work has not moved a byte since its last sign of life.
    Stalled(Role),
    /// A child is no more.
    Exited(Role, String),
    /// A child is no more, as it said: what it may reach was replaced, and only a new one may
    /// reach that.
    Outdated(Role),
    /// A syncer's job is over.
    Done(Role, JobEnd),
    /// A plugin's delivery is over: how each change fared, and why the last one failed.
    Told(PluginId, Vec<Verdict>, String),
    /// The config has changed.
    Reload(Box<dispatch::Reload>),
    /// Finish what is pending, then stop.
    Drain,
}

/// An operator's command that waits for its answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ClientId(pub u64);

/// What an operator asks for. Remotes and trees go by the names that logs give them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ask {
    /// To be told when all that happened until now has arrived; of all remotes without a name.
    Wait {
        /// Which remote.
        remote: Option<String>,
        /// How long to wait.
        timeout: Option<Duration>,
    },
    /// To compare remotes with their source.
    Verify {
        /// Which remote.
        remote: Option<String>,
        /// What becomes of differences.
        repair: Repair,
        /// How files are compared.
        by: Comparison,
    },
    /// Deletions that are held.
    Deletes {
        /// Of which tree; of all without one.
        tree: Option<String>,
        /// What becomes of them.
        what: DeletesWhat,
    },
    /// Where one path is on its way.
    Explain {
        /// Of which tree.
        tree: String,
        /// Which.
        path: RelPath,
    },
}

/// What becomes of deletions that are held.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeletesWhat {
    /// They are told.
    List,
    /// They travel.
    Approve,
    /// They are forgotten: the remotes keep what they have.
    Drop,
}

/// Whose fault it is that a child did not finish what it worked on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Blame {
    /// Perhaps that of the work: it is tried again with care.
    Work,
    /// Not that of the work.
    Nobody,
}

/// How soon a child's next sign of life is due.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pace {
    /// It waits.
    Idle,
    /// It works.
    Busy,
    /// It works, and will not say a word before it is done; at most this long.
    Until(Duration),
}

/// How a job ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JobEnd {
    /// What to make of it.
    pub outcome: Outcome,
    /// rsync's exit status, or minus a signal.
    pub status: i32,
    /// What rsync said last, escaped and bounded.
    pub tail: String,
    /// Which paths of a batch failed, where only some did and that is known.
    pub failed: Option<Vec<FailedPath>>,
    /// Large files that were left out.
    pub left: Vec<RelPath>,
}

impl Lane {
    /// All of them.
    pub const ALL: [Lane; 3] = [Lane::Batch, Lane::Express, Lane::Full];
}

/// What to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Start a child.
    Spawn(Role),
    /// Kill a child and all that it started.
    Kill(Role),
    /// Give a syncer a job.
    Send(Role, Job),
    /// Give a plugin something to tell.
    Deliver(PluginId, Vec<outlet::Event>),
    /// Give the keeper something to do.
    Keep(keeping::Keep),
    /// Give the watcher an order.
    Watch(WatcherOrder),
    /// All that happened until now is about to be committed.
    Rotate,
    /// It is committed.
    Settle,
    /// All that happened since the last commit happened again.
    Recall,
    /// Empty the file of what is kept: it is damaged.
    EraseKept,
    /// Tell an operator who asked.
    Say(ClientId, String),
    /// All is said, and the command ends with this status.
    End(ClientId, u8),
    /// Tell the operator.
    Log(Level, String),
    /// Everything is done that can be done before stopping.
    Drained,
}

/// The earlier of two optional moments.
pub(crate) fn earliest(a: Option<Duration>, b: Option<Duration>) -> Option<Duration> {
    match (a, b) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (a, b) => a.or(b),
    }
}
