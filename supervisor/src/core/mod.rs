//! PURE from here down: decisions without clock, file, process or socket. Time is passed in as
//! the [`Duration`] since the supervisor started; chance is a seed. The core cannot fail, it
//! can only decide (invariant I5).
//!
//! [`Dispatcher::on`](dispatch::Dispatcher::on) takes an [`Input`] and appends [`Action`]s; the
//! event loop performs them.

pub mod backlog;
pub mod dispatch;
pub mod guard;
pub mod ledger;
pub mod notice;
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
pub mod telling;

use std::time::Duration;

use common::event::{Change, RootId, TreeId};
use common::message::{Job, LossCause, Outcome, RootLoss, Verdict};
use common::path::RelPath;
use log::Level;

/// Which remote: its place among all remotes of all trees, counted from 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RemoteId(pub u16);

/// Which of a remote's two syncers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Lane {
    /// Batches of dirty paths, one at a time.
    Batch,
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
}

/// What happened.
#[derive(Debug)]
pub enum Input {
    /// Nothing but the passing of time.
    Tick,
    /// The watcher saw changes.
    Changes(TreeId, Vec<Change>),
    /// The watcher lost sight of a subtree.
    Rescan(TreeId, RelPath, LossCause),
    /// The watcher watches every directory of a tree; how many.
    Watching(TreeId, RootId, u64),
    /// A root is gone.
    RootLost(TreeId, RootLoss),
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
    /// Finish what is pending, then stop.
    Drain,
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
