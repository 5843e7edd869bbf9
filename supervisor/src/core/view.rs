//! What the core knows at one moment, for people and for programs that look on: a view, borrowed,
//! made when it is asked for and thrown away. Nothing is decided by it.

use std::time::Duration;

use common::event::TreeId;
use common::message::{Advance, Outcome, RootLoss};
use common::path::RelPath;
use common::status::Health;

use super::remote::Standing;
use super::restart::State;
use super::tally::{Mishap, Tally};
use super::{Lane, RemoteId, Role};

/// Most paths in quarantine that are named.
pub const MAX_NAMED: usize = 20;

/// All of it.
#[derive(Debug)]
pub struct View<'a> {
    /// Whether it is on its way out.
    pub draining: bool,
    /// Trees, in the order of their ids.
    pub trees: Vec<TreeView<'a>>,
    /// Remotes that are configured, in the order of their ids.
    pub remotes: Vec<RemoteView<'a>>,
    /// Children that are wanted.
    pub roles: Vec<RoleView>,
}

/// A tree.
#[derive(Debug)]
pub struct TreeView<'a> {
    /// Which.
    pub id: TreeId,
    /// Its root, as logs name it.
    pub label: &'a str,
    /// Whether it is watched.
    pub watched: Watched,
    /// Since when that is so.
    pub since: Duration,
    /// Directories that the watcher counted when it began.
    pub directories: u64,
    /// Directories without a watch, which are looked at once a minute.
    pub unwatched: u64,
    /// Names whose deletion the brake holds.
    pub braked: u64,
    /// What nobody saw is being found.
    pub comparing: bool,
}

/// Whether a tree is watched, and why not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Watched {
    /// It is.
    Yes,
    /// The watcher has not come so far.
    NotYet,
    /// There is no watcher at the moment.
    NoWatcher,
    /// The root is gone.
    Lost(RootLoss),
    /// It is, but another directory stands there: deletions are held.
    Replaced,
}

/// A remote.
#[derive(Debug)]
pub struct RemoteView<'a> {
    /// Which.
    pub id: RemoteId,
    /// The tree that it mirrors.
    pub tree: TreeId,
    /// As logs name it.
    pub label: &'a str,
    /// The worst that can be said of it.
    pub health: Health,
    /// How it stands, by its last job.
    pub standing: Standing,
    /// Since when jobs fail.
    pub down_since: Option<Duration>,
    /// When the next job may begin, where that is to come.
    pub retry_at: Option<Duration>,
    /// Paths that wait or are under way.
    pub pending: usize,
    /// How long the first change waits that it lacks.
    pub behind: Option<Duration>,
    /// Deletions that wait for the root to come back.
    pub parked: usize,
    /// What each lane has under way.
    pub flights: Vec<FlightView>,
    /// Its full sync.
    pub full: FullView,
    /// How many paths failed again and again.
    pub quarantine: usize,
    /// The first of them.
    pub quarantined: Vec<Quarantined<'a>>,
    /// What it has been through.
    pub tally: &'a Tally,
    /// What went wrong last.
    pub mishap: Option<&'a Mishap>,
}

/// A job under way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FlightView {
    /// In which lane.
    pub lane: Lane,
    /// What it does.
    pub work: Errand,
    /// Since when.
    pub since: Duration,
    /// How far it has come.
    pub advance: Option<Advance>,
    /// Whether nothing moves.
    pub stalled: bool,
}

/// What a job does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Errand {
    /// It sends so many paths.
    Batch(usize),
    /// It brings over the whole tree.
    Full,
    /// It compares.
    Verify,
}

/// A remote's full sync.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FullView {
    /// Since when one is owed, under way or not.
    pub owed_since: Option<Duration>,
    /// How the last one failed, where that says nothing of the remote.
    pub trouble: Option<Outcome>,
    /// It found more to delete than may go.
    pub braked: bool,
}

/// A path that failed again and again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Quarantined<'a> {
    /// Which.
    pub path: &'a RelPath,
    /// How often.
    pub attempts: u32,
    /// Why, in rsync's words; may be empty.
    pub reason: &'a str,
    /// How long it has been waiting.
    pub waits: Duration,
}

/// A child.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RoleView {
    /// Which.
    pub role: Role,
    /// Where it stands.
    pub state: State,
    /// How often it was started again.
    pub restarts: u64,
}
