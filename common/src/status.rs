//! What a running supervisor tells of itself: one snapshot, as JSON. The supervisor writes it; its status
//! command and the role that serves the page read it. docs/status.md explains each field; a test compares it
//! with the types here.

use std::fmt::Write as _;

use serde::{Deserialize, Serialize};

/// Which meaning the fields have. It grows when one is taken away or means something else; new ones may
/// come at any time.
pub const SCHEMA: u32 = 1;

/// Seconds since 1970, with a fraction.
pub type Moment = f64;

/// Everything.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Snapshot {
    /// [`SCHEMA`].
    pub schema: u32,
    /// When it was made.
    pub at: Moment,
    /// The worst of all remotes and trees.
    pub health: Health,
    /// The supervisor itself.
    pub supervisor: Supervisor,
    /// How the kernel is asked what changes.
    pub watch: Watch,
    /// Watched directories, in the config's order.
    pub trees: Vec<Tree>,
    /// Remotes, in the order in which they were first configured.
    pub remotes: Vec<Remote>,
    /// Processes that are wanted.
    pub roles: Vec<Role>,
}

/// The worst that can be said of a remote, the best first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Health {
    /// All that was reported has arrived.
    InSync,
    /// It lacks something, and gets it.
    Behind,
    /// Deletions wait for the operator, or for the root.
    Held,
    /// Some paths fail again and again, or the full sync does.
    Failing,
    /// Its tree is not watched, or the watcher does not answer.
    Unwatched,
    /// Jobs fail, or the one under way moves nothing.
    Down,
}

/// The supervisor.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Supervisor {
    /// Its version.
    pub version: String,
    /// Its process.
    pub pid: u32,
    /// When it started.
    pub started: Moment,
    /// What it is about.
    pub state: Stage,
    /// Path of its config, escaped.
    pub config: String,
}

/// What the supervisor is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stage {
    /// Not all trees have been watched yet.
    Starting,
    /// It mirrors.
    Running,
    /// It sends what is pending, and ends.
    Stopping,
}

/// How the kernel is asked what changes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Watch {
    /// `inotify` or `fanotify`.
    pub watcher: String,
    /// All that happened before this moment was reported; `null` before it was first asked.
    pub seen: Option<Moment>,
    /// Watches that all trees take; `null` with fanotify, which takes one mark for each.
    pub used: Option<u64>,
    /// Most that a user may have (`fs.inotify.max_user_watches`).
    pub allowed: Option<u64>,
    /// How often the kernel's queue was full.
    pub overflows: u64,
}

/// A watched directory.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Tree {
    /// Its path, escaped.
    pub path: String,
    /// Whether it is watched.
    pub state: TreeState,
    /// Why it is not, or what is odd about it, in words.
    pub reason: Option<String>,
    /// Since when that is so.
    pub since: Moment,
    /// Directories that are watched.
    pub directories: u64,
    /// Names whose deletion the brake holds until somebody decides.
    pub held_deletions: u64,
    /// Whether what nobody saw is being found.
    pub comparing: bool,
}

/// Whether a tree is watched.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TreeState {
    /// It is.
    Watched,
    /// Not yet.
    Starting,
    /// Its root is gone.
    Lost,
    /// Another directory stands there: it is watched, and deletions are held.
    Replaced,
    /// The watcher is being started again.
    Unwatched,
}

/// A remote.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Remote {
    /// As the log names it.
    pub name: String,
    /// The tree that it mirrors, escaped.
    pub tree: String,
    /// The worst that can be said of it.
    pub health: Health,
    /// How its last job ended, in a word: `up`, `degraded`, `unreachable`, `misconfigured`, `hostile`,
    /// `waiting`.
    pub standing: String,
    /// Since when jobs fail.
    pub down_since: Option<Moment>,
    /// When the next job may begin, where that is still to come.
    pub retry_at: Option<Moment>,
    /// How long the oldest change waits that it lacks, in seconds; `null` where it lacks none.
    pub behind_seconds: Option<f64>,
    /// Paths that wait or are under way.
    pub pending: u64,
    /// Deletions that wait for a lost or replaced root.
    pub parked_deletions: u64,
    /// Bytes of files a second, of the last ten seconds.
    pub rate: u64,
    /// Bytes of files that were sent since the supervisor started, as rsync counts them.
    pub bytes: u64,
    /// Transfers under way, at most one in each lane.
    pub in_flight: Vec<Flight>,
    /// Its full sync.
    pub full_sync: FullSync,
    /// What went wrong last.
    pub last_error: Option<LastError>,
    /// Paths that failed again and again.
    pub quarantine: Quarantine,
    /// Transfers that are over.
    pub transfers: Transfers,
}

/// A transfer under way.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Flight {
    /// `batch`, `express` or `full`.
    pub lane: String,
    /// `batch`, `full` or `verify`.
    pub work: String,
    /// Paths that it carries; 0 but for a batch.
    pub paths: u64,
    /// For how long it has been under way, in seconds.
    pub seconds: f64,
    /// Whether nothing has moved for some six seconds.
    pub stalled: bool,
    /// How far it has come, once rsync has said so.
    pub progress: Option<Progress>,
}

/// How far a transfer has come, by what rsync says.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Progress {
    /// Files that were sent.
    pub files: u64,
    /// Bytes of these.
    pub bytes: u64,
    /// Bytes of these a second, since it began.
    pub rate: u64,
    /// Entries that were compared.
    pub checked: u64,
    /// Entries that are known; more while `listing`.
    pub entries: u64,
    /// Whether rsync still lists the tree.
    pub listing: bool,
    /// The share that is done, 0 to 100; `null` while `listing`.
    pub percent: Option<f64>,
    /// How long it may still take, in seconds, if it goes on like that.
    pub seconds_left: Option<f64>,
}

/// A remote's full sync.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FullSync {
    /// Since when one is owed, waiting or under way.
    pub owed_since: Option<Moment>,
    /// How many were done.
    pub done: u64,
    /// When the last one was.
    pub last_done: Option<Moment>,
    /// How the last one failed, where that says nothing of the remote.
    pub trouble: Option<String>,
    /// It found more to delete than may go, and waits for somebody to decide.
    pub held: bool,
}

/// What went wrong last.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LastError {
    /// When.
    pub at: Moment,
    /// In one word, as `transfers.outcomes` counts it.
    pub outcome: String,
    /// In the operator's words.
    pub words: String,
    /// What to do about it.
    pub cure: String,
    /// rsync's exit status, or minus a signal; what it would have been where only the port was knocked at.
    pub status: i32,
    /// The end of what rsync said, escaped; where none was started, why.
    pub said: String,
    /// Whether a transfer was done since.
    pub over: bool,
}

/// Paths that failed again and again.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Quarantine {
    /// How many.
    pub paths: u64,
    /// At most twenty of them.
    pub first: Vec<Quarantined>,
}

/// A path that failed again and again.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Quarantined {
    /// Which, below the tree, escaped; the end of it where it is longer than 512 bytes.
    pub path: String,
    /// How often it failed.
    pub attempts: u32,
    /// Why, in rsync's words; may be empty.
    pub reason: String,
    /// How long it has been waiting, in seconds.
    pub waiting_seconds: f64,
}

/// Transfers that are over, since the supervisor started.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Transfers {
    /// How many ended how.
    pub outcomes: Vec<Outcomes>,
    /// What they took together, in seconds.
    pub seconds: f64,
    /// How many took how long. Each is in one bucket only.
    pub buckets: Vec<Bucket>,
}

/// Transfers that ended alike.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Outcomes {
    /// How.
    pub outcome: String,
    /// How many.
    pub count: u64,
}

/// Transfers that took alike.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Bucket {
    /// At most so many seconds; `null` for any time.
    pub le: Option<f64>,
    /// How many, that took longer than the bucket before allows.
    pub count: u64,
}

/// A process.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Role {
    /// As the log names it.
    pub name: String,
    /// A syncer's remote.
    pub remote: Option<String>,
    /// A syncer's lane.
    pub lane: Option<String>,
    /// `starting`, `ready`, `stopping`, or `waiting` for its next start.
    pub state: String,
    /// Its process.
    pub pid: Option<i32>,
    /// Whose it is.
    pub uid: Option<u32>,
    /// How often it was started again.
    pub restarts: u64,
    /// Memory that it has resident, in bytes.
    pub memory: Option<u64>,
    /// What it is held by, as the kernel tells.
    pub sandbox: Option<Sandbox>,
}

/// What a process is held by.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sandbox {
    /// It gains no rights by starting a program.
    pub no_new_privs: bool,
    /// Its system calls are filtered.
    pub seccomp: bool,
    /// What files and ports it may reach is bounded. The kernel does not tell this: it was ordered, and the
    /// role has said that it holds.
    pub landlock: bool,
    /// Capabilities that it has, in hexadecimal as in `/proc/PID/status`.
    pub capabilities: String,
}

/// Bytes as text that tells them all: what is UTF-8 as it is, but for control characters and backslashes;
/// `\\` for a backslash, `\xHH` for every other byte.
pub fn escaped(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        for ch in chunk.valid().chars() {
            match ch {
                '\\' => text.push_str("\\\\"),
                ch if ch.is_control() => push_bytes(&mut text, ch.encode_utf8(&mut [0; 4]).as_bytes()),
                ch => text.push(ch),
            }
        }
        push_bytes(&mut text, chunk.invalid());
    }
    text
}

fn push_bytes(text: &mut String, bytes: &[u8]) {
    for byte in bytes {
        // Writing into a string cannot fail.
        let _ = write!(text, "\\x{byte:02x}");
    }
}
