//! Which lane may take what, and when.
//!
//! Batches follow each other, and what came meanwhile goes with the next: large batches are cheap.
//! What must not wait that long goes beside, in the express lane: while nothing but large files is
//! under way, or the remote is far, all that is ready; else only changes that are alone ([`super::lonely`]).

use std::cell::Cell;
use std::time::Duration;

use common::event::{Change, DOUBTED, Dirt, RootId};
use common::message::{Comparison, Deletions, Job, Load, Terms, Work};
use common::path::RelPath;

use super::Remote;
use super::flights::Flight;
use crate::core::backlog::{Entry, MAX_PATHS, Taken};
use crate::core::{Lane, earliest};

/// A remote whose small jobs take longer than this is far: most of that is waiting for answers, and
/// two jobs at once wait no longer than one. Beside us, two would only share a processor.
const FAR: Duration = Duration::from_millis(40);
/// So many small jobs tell how far it is: the first ones have no rsync that waits.
const KNOWN: u32 = 10;
/// So many paths are a small job.
const SMALL: usize = 8;
/// Most bytes of paths in a batch for a remote whose last job failed.
const TRIAL: usize = 4 << 10;
/// How long a large file lets others go before it.
const YIELDS: Duration = Duration::from_secs(1);
/// A batch of so many paths takes a while.
const LONG: usize = 256;
/// So long after such a batch began the express lane gets ready.
const READY_AFTER: Duration = Duration::from_millis(5);
/// One that was at work since then is ready.
const STAYS_READY: Duration = Duration::from_secs(30);

impl Remote {
    /// True while the lane works.
    pub fn is_working(&self, lane: Lane) -> bool {
        match lane {
            Lane::Batch | Lane::Express => self.flights.of(lane).is_some(),
            Lane::Full => self.full.running.is_some() || self.audit.1,
        }
    }

    /// Since when the lane has work that could go; `None` when it has none, or works already.
    pub fn waiting_since(&self, now: Duration, lane: Lane) -> Option<Duration> {
        let working = Lane::ALL.iter().filter(|&&lane| self.is_working(lane)).count();
        if now < self.not_before || self.is_working(lane) || working >= usize::from(self.connections) {
            return None;
        }
        match lane {
            Lane::Batch | Lane::Express if self.rests(now, lane) => None,
            Lane::Batch if self.is_working(Lane::Express) => {
                self.backlog.ready_since(now, |_| true, |path| !self.flights.blocks(lane, path))
            }
            Lane::Batch => self.backlog.next_ready().filter(|&ready| ready <= now),
            Lane::Express if self.is_open_beside() => {
                self.backlog.ready_since(now, |entry| !entry.heavy, |path| !self.flights.blocks(lane, path))
            }
            Lane::Express => self.lonely_since(now).filter(|&since| since <= now),
            Lane::Full if self.full.wanted.is_some() && now >= self.full.not_before => {
                Some(self.full.not_before)
            }
            Lane::Full => self.audit.0.as_ref().map(|audit| audit.since),
        }
        .map(|since| since.max(self.not_before))
    }

    /// When time alone will give a lane work.
    pub fn deadline(&self, now: Duration) -> Option<Duration> {
        let open =
            !self.is_working(Lane::Batch) || (self.is_open_beside() && !self.is_working(Lane::Express));
        let from = self.not_before.max(self.hot.rests_until);
        // What may go now, and waits for a lane or a worker, is none of it.
        let batch = if now < from { self.backlog.next_ready() } else { self.backlog.next_after(now) };
        let batch = batch.filter(|_| open).map(|at| at.max(from));
        let lonely = self.lonely_since(now).filter(|_| !self.is_working(Lane::Express));
        let full = self.full.wanted.filter(|_| !self.is_working(Lane::Full)).map(|_| self.full.not_before);
        let audit = self.audit.0.as_ref().filter(|_| !self.is_working(Lane::Full)).map(|audit| audit.since);
        let all = [batch, lonely, full, audit].into_iter().fold(None, earliest);
        all.map(|at| at.max(self.not_before))
    }

    /// Takes the next job of a lane out of what waits.
    pub fn start(&mut self, now: Duration, lane: Lane, root: RootId, deletions: Deletions) -> Option<Job> {
        let job = match lane {
            Lane::Batch | Lane::Express => self.start_batch(now, lane, root, deletions)?,
            Lane::Full if self.full.wanted.is_none() || now < self.full.not_before => {
                self.begin_audit(root)?
            }
            Lane::Full => self.start_full(now, root, deletions)?,
        };
        self.note_work(now, lane);
        self.tally.begin(now, lane);
        Some(job)
    }

    /// When the express lane is to get ready for what may happen beside the batch under way: its first
    /// job would have to wait for a process, and for an rsync to connect.
    pub fn ready_beside_at(&self) -> Option<Duration> {
        let batch = self.flights.of(Lane::Batch).filter(|batch| batch.heavy || batch.taken.len() >= LONG)?;
        let at = batch.since.saturating_add(READY_AFTER);
        let is_ready = self.flights.express_at().is_some_and(|last| at.saturating_sub(last) < STAYS_READY);
        let working = Lane::ALL.iter().filter(|&&lane| self.is_working(lane)).count();
        let has_room = working < usize::from(self.connections);
        let may = has_room && !self.is_working(Lane::Express) && !self.is_in_trouble();
        (may && !is_ready).then(|| at.max(self.not_before))
    }

    /// A job of nothing, behind which rsyncs wait.
    pub fn start_nothing(&mut self, now: Duration, root: RootId, deletions: Deletions) -> Job {
        self.note_work(now, Lane::Express);
        self.flights.replace(Lane::Express, Some(Flight::of_nothing(now)));
        let (by, work) = (Comparison::Times, Work::Batch(Vec::new()));
        let (terms, load) = (Terms::default(), Load::Light);
        Job { root, deletions, max_delete: None, terms, by, load, work, moves: Vec::new() }
    }

    /// Notes a change that may go beside the batch under way.
    pub(super) fn note_lonely(&mut self, now: Duration, change: &Change) {
        self.lonely.note_new(now, change);
        let waits = self.is_working(Lane::Batch) || !self.backlog.is_empty();
        if waits && !self.is_hot(now, &change.path) {
            self.lonely.note(now, &change.path);
        }
    }

    /// A batch was done: what that says of the way there.
    pub(super) fn note_pace(&mut self, now: Duration, flight: &Flight) {
        if (1..=SMALL).contains(&flight.taken.len()) && !flight.heavy {
            let took = now.saturating_sub(flight.since);
            let (before, jobs) = self.quickest;
            // Forgotten by and by: the way may be another one tomorrow. Slowly: a busy machine is slow for
            // a while, and then two jobs at once would make it slower.
            let before = before.checked_mul(101).map_or(before, |before| before / 100);
            self.quickest = (took.min(before), jobs.saturating_add(1));
        }
    }

    fn start_batch(&mut self, now: Duration, lane: Lane, root: RootId, deletions: Deletions) -> Option<Job> {
        let taken = if lane == Lane::Express && !self.is_open_beside() {
            self.take_lonely(now)
        } else {
            self.take_ready(now, lane)
        };
        if taken.is_empty() {
            return None;
        }
        if self.full.running.is_some() {
            self.full.replay.put_back(taken.clone(), None);
            self.bound_replay(now, MAX_PATHS);
        }
        let work = Work::Batch(taken.iter().map(|(path, entry)| (path.clone(), entry.dirt)).collect());
        let deep = |dirt| matches!(dirt, Dirt::Deep | Dirt::RemovedDir);
        let subtrees = taken.iter().filter(|(_, entry)| deep(entry.dirt)).map(|(path, _)| path.clone());
        self.recursive.begin(now, lane, subtrees);
        let doubted = taken.iter().any(|(_, entry)| entry.mask & DOUBTED != 0);
        let by = if doubted { Comparison::Checksums } else { Comparison::Times };
        let moves = self.moves.take(&taken);
        let flight = Flight::new(taken, moves.clone(), now);
        // Without a second connection nobody could go beside them.
        let load = if flight.heavy || self.connections < 2 { Load::Any } else { Load::Light };
        self.flights.replace(lane, Some(flight));
        Some(Job { root, deletions, max_delete: None, terms: Terms::default(), by, load, work, moves })
    }

    fn start_full(&mut self, now: Duration, root: RootId, deletions: Deletions) -> Option<Job> {
        let wanted = self.full.wanted.take()?;
        self.full.running = Some(wanted);
        // Another root stands there: what it does not delete is owed once the right one is back.
        self.full.withheld |= wanted == Deletions::Travel && deletions == Deletions::Held;
        let deletions =
            if wanted == Deletions::Held || self.holds_full() { Deletions::Held } else { deletions };
        let all = (deletions == Deletions::Travel).then(RelPath::root);
        self.recursive.begin(now, Lane::Full, all.into_iter());
        let (by, load) = (Comparison::Times, Load::Any);
        Some(Job {
            root,
            deletions,
            max_delete: None,
            terms: Terms::default(),
            by,
            load,
            work: Work::Full,
            moves: Vec::new(),
        })
    }

    fn take_ready(&mut self, now: Duration, lane: Lane) -> Vec<Taken> {
        // Who may not be there gets little to try.
        let most = if self.trouble.is_some() { self.batch_bytes.min(TRIAL) } else { self.batch_bytes };
        let flights = &self.flights;
        let blocked = |path: &RelPath, entry: &Entry| {
            flights.blocks(lane, path) || (entry.dirt == Dirt::Removed && flights.needs(lane, path))
        };
        let waits = |entry: &Entry| lane == Lane::Express || now < entry.ready.saturating_add(YIELDS);
        let met_heavy = Cell::new(false);
        let lonely = if lane == Lane::Batch { self.left_to_express(now) } else { Vec::new() };
        let light = |path: &RelPath, entry: &Entry| {
            let heavy = entry.heavy && waits(entry);
            met_heavy.set(met_heavy.get() || heavy);
            heavy || blocked(path, entry)
        };
        let beside = |path: &RelPath, entry: &Entry| goes_alone(entry) && lonely.contains(path);
        let mut taken = self.backlog.take(now, most, |path, it| light(path, it) || beside(path, it));
        if taken.is_empty() && !lonely.is_empty() {
            taken = self.backlog.take(now, most, light);
        }
        if taken.is_empty() && lane == Lane::Batch && met_heavy.get() {
            return self.backlog.take(now, most, blocked);
        }
        taken
    }

    /// What came alone just before a long batch goes beside it, and not with it, where that lane is ready.
    fn left_to_express(&self, now: Duration) -> Vec<RelPath> {
        let last = self.flights.express_at();
        let is_ready = last.is_some_and(|last| now.saturating_sub(last) < STAYS_READY);
        let others = Lane::ALL.iter().filter(|&&lane| lane != Lane::Express && self.is_working(lane)).count();
        let has_room = others.saturating_add(2) <= usize::from(self.connections);
        let is_long = self.backlog.len() >= LONG;
        let may = is_ready && has_room && is_long && !self.is_in_trouble();
        if may { self.lonely.young(now) } else { Vec::new() }
    }

    fn take_lonely(&mut self, now: Duration) -> Vec<Taken> {
        let mut taken = Vec::new();
        for path in self.lonely.take(now) {
            if !self.flights.blocks(Lane::Express, &path) {
                taken.extend(self.backlog.take_one(now, &path, goes_alone));
            }
        }
        taken
    }

    /// Whether whatever is ready may go beside the batch under way.
    fn is_open_beside(&self) -> bool {
        let batch = self.flights.of(Lane::Batch);
        let (took, jobs) = self.quickest;
        batch.is_some_and(|batch| batch.heavy || (jobs >= KNOWN && took > FAR))
    }

    /// Whether the lane takes whatever is ready, and waits for what is hot to change on.
    fn rests(&self, now: Duration, lane: Lane) -> bool {
        now < self.hot.rests_until && (lane == Lane::Batch || self.is_open_beside())
    }

    /// When the first lonely change may go beside the batch under way, or while none may begin.
    fn lonely_since(&self, now: Duration) -> Option<Duration> {
        let rests = self.connections > 1 && now < self.hot.rests_until;
        self.lonely.due().filter(|_| rests || self.is_working(Lane::Batch))
    }
}

/// Whether the express lane takes it by itself.
fn goes_alone(entry: &Entry) -> bool {
    !entry.heavy && entry.attempts == 0 && entry.dirt == Dirt::Touched
}
