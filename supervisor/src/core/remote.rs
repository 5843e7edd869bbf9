//! One remote: what it still has to get, what it is getting, and how it fares.

mod audit;
mod bounds;
mod carried;
mod finish;
mod flights;
mod hot;
mod kept;
mod lanes;
mod lonely;
mod moved;
mod reload;
mod view;
mod whereabouts;

use std::collections::BTreeMap;
use std::time::Duration;

use common::event::{Change, Dirt, TreeId};
use common::message::{Deletions, MAX_JOB_BYTES, Outcome};
use common::path::RelPath;

use super::Lane;
use super::backlog::{Backlog, Collapsed, Copies, Entry, MAX_PATHS, QUARANTINE, Traffic};
use super::moves::Moves;
use super::recursive::Recursive;
use super::tally::Tally;
use audit::Audit;
pub use audit::{Slice, Standing};
pub use carried::Carried;
use common::config::MAX_CONNECTIONS;
use flights::Flights;
use hot::Hot;
use lonely::Lonely;
use reload::Age;
pub use reload::excludes;
pub use whereabouts::{Waits, Whereabouts};

/// Where a tree has so many remotes what they lack is held once for all: for fewer it would cost more.
const SHARED: usize = 3;
/// Signs of life without progress before nobody waits any more: two seconds apart, but for the first.
const STALLED: u8 = 4;

/// How a job's end changed a remote's standing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Turn {
    /// Nothing to tell.
    None,
    /// It failed, and had not before, or not like this.
    Failed,
    /// Some paths failed.
    Partial,
    /// So many paths failed again and again: they are tried ever less often.
    Quarantined(usize),
    /// So many that had are as they should be.
    Recovered(usize),
    /// A full sync failed, and had not before, or not like this. Batches go on.
    FullFailed,
    /// A full sync is over.
    Synced,
    /// A full sync found the root empty, and was not done.
    RootEmpty,
    /// A full sync found more to delete than may go; it deleted no more than that.
    Braked,
}

/// Whether a job gets on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Progress {
    /// It moved something.
    Moving,
    /// It did not.
    Stalled,
}

/// A remote of a tree.
#[derive(Debug)]
pub struct Remote {
    /// The tree it mirrors.
    pub tree: TreeId,
    /// For people: `host::module`.
    pub label: String,
    /// Most jobs at a time: with one, full syncs and batches take turns.
    pub connections: u8,
    traffic: Traffic,
    backlog: Backlog,
    /// The root is lost or replaced: what would delete is parked.
    held: bool,
    parked: Backlog,
    flights: Flights,
    lonely: Lonely,
    /// What a small job takes at least, and how many of them that says.
    quickest: (Duration, u32),
    hot: Hot,
    recursive: Recursive,
    /// Directories that were renamed, while both names wait.
    moves: Moves,
    full: FullLane,
    failures: u32,
    trouble: Option<Outcome>,
    /// rsync's last exit status that was not 0.
    status: i32,
    /// Something failed, and the fail log tells of it.
    recorded: bool,
    /// Signs of life in a row without a byte moved, of each lane for batches.
    stalls: [u8; 2],
    not_before: Duration,
    /// Most bytes of paths in the next batch: half of one that failed as a whole.
    batch_bytes: usize,
    /// A comparison: what is to be compared, until it begins; and whether one is under way.
    audit: (Option<Audit>, bool),
    /// When paths that failed were last spoken of.
    said_partial: Option<Duration>,
    /// Why paths failed that did.
    reasons: BTreeMap<RelPath, String>,
    /// What has arrived and was not spoken of; `None` where nobody wants to know.
    arrived: Option<Vec<(RelPath, Dirt)>>,
    /// Until then what gets through in part says nothing about its room.
    cramped_until: Duration,
    /// What the disk holds of the full sync that it is to get.
    saved_full: Option<Deletions>,
    /// When each lane was last at work, to retire what idles.
    pub last_work: [Duration; 3],
    /// What it has been through.
    pub tally: Tally,
}

/// What a remote still has to get after it failed.
#[derive(Debug)]
pub struct Failed<'a> {
    /// rsync's exit status, or minus a signal.
    pub status: i32,
    /// A full sync of the tree.
    pub full: Option<Deletions>,
    /// Paths, as many as were asked for.
    pub paths: Vec<(&'a RelPath, Dirt)>,
    /// How many there are beside those.
    pub more: usize,
}

#[derive(Debug, Default)]
#[allow(clippy::struct_excessive_bools, reason = "each is asked and answered by itself")]
struct FullLane {
    wanted: Option<Deletions>,
    running: Option<Deletions>,
    age: Age,
    not_before: Duration,
    partial: u32,
    failures: u32,
    /// How it failed last, where that says nothing about the remote.
    trouble: Option<Outcome>,
    /// What changed while it ran: its list may be older than what the batches sent.
    replay: Backlog,
    /// When the first of what is wanted was asked for; and whether that is still owed.
    asked: Duration,
    owed: bool,
    /// It brings what the remote is known to lack; otherwise it came round by itself.
    lags: bool,
    /// The second belt: rsync found more to delete than may go, until somebody approves.
    held: bool,
    /// Somebody did: the next one has no bound.
    approved: bool,
    /// One ran without the deletions that were asked for, since another root stood there.
    withheld: bool,
}

impl Remote {
    /// A remote that has nothing to get. `seed` is chance.
    pub fn new(tree: TreeId, label: String, traffic: Traffic, seed: u64) -> Remote {
        Remote {
            tree,
            label,
            connections: MAX_CONNECTIONS,
            traffic,
            backlog: Backlog::new(seed),
            held: false,
            parked: Backlog::default(),
            flights: Flights::default(),
            lonely: Lonely::default(),
            quickest: (Duration::MAX, 0),
            hot: Hot::default(),
            recursive: Recursive::default(),
            moves: Moves::default(),
            full: FullLane::default(),
            failures: 0,
            trouble: None,
            status: 0,
            recorded: false,
            stalls: [0; 2],
            not_before: Duration::ZERO,
            batch_bytes: MAX_JOB_BYTES,
            audit: (None, false),
            said_partial: None,
            reasons: BTreeMap::new(),
            arrived: None,
            cramped_until: Duration::ZERO,
            saved_full: None,
            last_work: [Duration::ZERO; 3],
            tally: Tally::default(),
        }
    }

    /// It is one of so many of its tree. Where that is worth it, what they all lack is held once. It has
    /// nothing to get yet.
    pub fn share_among(&mut self, siblings: usize) {
        if siblings >= SHARED {
            self.backlog.share();
        }
    }

    /// The number of the last change that was new to it.
    pub fn sequence(&self) -> u32 {
        self.backlog.sequence()
    }

    /// Takes changes in. While deletions are held, removals are parked.
    pub fn insert(&mut self, now: Duration, changes: &[Change]) -> Option<Collapsed> {
        let mut copies: Vec<Copies> = changes.iter().map(|_| Copies::default()).collect();
        self.insert_copies(now, changes, &mut copies)
    }

    /// The same, of changes that others get too: what they may have in common stands beside each.
    pub fn insert_copies(
        &mut self,
        now: Duration,
        changes: &[Change],
        copies: &mut [Copies],
    ) -> Option<Collapsed> {
        for (change, copies) in changes.iter().zip(copies) {
            let change = &self.recursive.deepened(now, change);
            if self.held && may_delete(change.dirt) {
                self.parked.insert(now, change, self.traffic);
            }
            if !(self.held && only_deletes(change.dirt)) {
                self.note_lonely(now, change);
                self.backlog.insert_copy(now, change, self.traffic, copies);
            }
            self.pair_up(now, change);
        }
        self.bound_parked(now, MAX_PATHS);
        self.collapse(now, MAX_PATHS)
    }

    /// Asks for a full sync; one that may delete is not replaced by one that may not.
    pub fn want_full(&mut self, now: Duration, deletions: Deletions) {
        self.full.lags = true;
        if !std::mem::replace(&mut self.full.owed, true) {
            self.full.asked = now;
        }
        if self.full.wanted != Some(Deletions::Travel) {
            self.full.wanted = Some(deletions);
        }
        self.full.not_before = self.full.not_before.min(now);
    }

    /// Parks the removals that wait: their root was lost.
    pub fn hold_deletions(&mut self, now: Duration) {
        self.held = true;
        self.moves.clear();
        let waiting = self.backlog.drain_if(|entry| may_delete(entry.dirt));
        self.put_back(now, waiting, None);
    }

    /// The root is back: what was parked may go.
    pub fn release_deletions(&mut self, now: Duration) {
        self.held = false;
        let parked = self.parked.drain();
        self.backlog.put_back(parked, None);
        self.backlog.release(now);
        if std::mem::take(&mut self.full.withheld) {
            self.want_full(now, Deletions::Travel);
        }
    }

    /// How many deletions are parked.
    pub fn parked(&self) -> usize {
        self.parked.len()
    }

    /// How many paths wait or are in flight.
    pub fn pending(&self) -> usize {
        self.backlog.len().saturating_add(self.flights.iter().count())
    }

    /// True when nothing waits and nothing is under way.
    pub fn is_done(&self) -> bool {
        self.backlog.is_empty()
            && self.flights.is_empty()
            && self.full.wanted.is_none()
            && self.full.running.is_none()
    }

    /// True while jobs fail.
    pub fn is_in_trouble(&self) -> bool {
        self.trouble.is_some()
    }

    /// True while nobody should wait for it: jobs fail, or the one under way moves nothing.
    pub fn is_known_down(&self) -> bool {
        self.is_in_trouble() || self.is_stalled()
    }

    /// The batch under way has, or has not, moved since its syncer's last sign of life. True when
    /// it has just become known that it does not, or does again.
    pub fn note_progress(&mut self, lane: Lane, progress: Progress) -> bool {
        let was_stalled = self.is_stalled();
        if let Some(stalls) = self.stalls.get_mut(lane_index(lane)) {
            *stalls = match progress {
                Progress::Moving => 0,
                Progress::Stalled => stalls.saturating_add(1),
            };
        }
        was_stalled != self.is_stalled()
    }

    fn is_stalled(&self) -> bool {
        self.stalls.iter().any(|&stalls| stalls >= STALLED)
    }

    /// Lets everything go that is held or waits for its next try.
    pub fn hurry(&mut self, now: Duration) {
        self.backlog.release(now);
    }

    /// Tries everything again that failed, now.
    pub fn sweep(&mut self, now: Duration) {
        self.backlog.retry(now);
        self.not_before = self.not_before.min(now);
        self.full.not_before = self.full.not_before.min(now);
    }

    /// What failed and waits for its next try, and rsync's exit status; for the fail log.
    /// At most `most` paths are named.
    pub fn failed(&self, most: usize) -> Failed<'_> {
        let down = self.is_in_trouble();
        let all = self.backlog.iter().chain(self.flights.iter());
        let mut paths =
            all.filter(|(_, entry)| down || entry.attempts > 0).map(|(path, entry)| (path, entry.dirt));
        let full = self.full.wanted.or(self.full.running).filter(|_| down || self.full.has_failed());
        let named = paths.by_ref().take(most).collect();
        Failed { status: self.status, full, paths: named, more: paths.count() }
    }

    /// Whether what [`Remote::failed`] tells may have changed with the job that just ended.
    pub fn touched_record(&mut self, outcome: Outcome) -> bool {
        let before = self.recorded;
        let still = || self.is_in_trouble() || self.full.has_failed() || self.backlog.has_failed();
        self.recorded = outcome != Outcome::Done || (before && still());
        before || self.recorded
    }

    /// A path that failed often, and why.
    pub fn quarantined(&self) -> impl Iterator<Item = (&RelPath, &Entry, &str)> {
        let often = |entry: &Entry| entry.attempts >= QUARANTINE;
        let reason = |path: &RelPath| self.reasons.get(path).map_or("", String::as_str);
        self.backlog
            .iter()
            .filter(move |(_, entry)| often(entry))
            .map(move |(path, entry)| (path, entry, reason(path)))
    }

    /// Paths that batches still carry, or that wait for the root to come back.
    pub fn carries(&self, path: &RelPath) -> bool {
        self.backlog.holds(path) || self.parked.holds(path)
    }

    /// Paths of the batches under way.
    pub fn in_flight(&self) -> impl Iterator<Item = &RelPath> {
        self.flights.iter().map(|(path, _)| path)
    }

    fn note_work(&mut self, now: Duration, lane: Lane) {
        if let Some(last) = self.last_work.get_mut(lane_index(lane)) {
            *last = now;
        }
    }
}

impl FullLane {
    fn has_failed(&self) -> bool {
        self.partial > 0 || self.failures > 0
    }

    /// The last one met an empty root, and did nothing.
    fn is_refused(&self) -> bool {
        self.trouble == Some(Outcome::RootEmpty)
    }
}

/// The lane's place among all; those for batches come first.
pub fn lane_index(lane: Lane) -> usize {
    match lane {
        Lane::Batch => 0,
        Lane::Express => 1,
        Lane::Full => 2,
    }
}

/// A listed path of this kind removes something on the remote, and nothing else.
fn only_deletes(dirt: Dirt) -> bool {
    match dirt {
        Dirt::Removed | Dirt::RemovedDir => true,
        Dirt::Touched | Dirt::Deep | Dirt::Sweep => false,
    }
}

/// A listed path of this kind may remove something on the remote.
fn may_delete(dirt: Dirt) -> bool {
    match dirt {
        Dirt::Removed | Dirt::RemovedDir | Dirt::Deep => true,
        Dirt::Touched | Dirt::Sweep => false,
    }
}

#[cfg(test)]
mod tests;
