//! One job: open the root, make the lists, see to it that they are brought over, say how it ended.

use std::path::Path;
use std::time::Instant;

use common::confine::Confined;
use common::event::Dirt;
use common::filter::{BadExpression, Filter};
use common::log::Shown;
use common::message::{
    Ahead, Difference, FailedPath, Job, LARGE, Load, MAX_LEFT, Move, Outcome, SyncSlice, Work,
};
use common::path::RelPath;

use crate::abilities::{Abilities, Hint};
use crate::argv;
use crate::complaints::Complaints;
use crate::doubt::Doubt;
use crate::list::{self, Kind, Lists, Whole};
use crate::meter;
use crate::reach;
use crate::root::{Root, RootError};
use crate::rsync::{Limits, Pace, Pulse};
use crate::transfers::Transfers;
use crate::warm::{Warm, Warmth};

/// Most lines of rsync that one job writes to the log.
const MAX_LOGGED: u32 = 1000;

/// How a job ended, as [`common::message::SyncerReport::Done`] tells it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JobEnd {
    /// The worst of all its runs.
    pub outcome: Outcome,
    /// rsync's exit status, or minus the signal that ended it; 0 when none was started, but for a port that
    /// is closed: what it would have been.
    pub status: i32,
    /// The end of what rsync said, escaped, lines joined by newlines.
    pub tail: String,
    /// Which paths of a batch failed, at most one frame of them; `None` where that is not known.
    pub failed: Option<Vec<FailedPath>>,
    /// Large files that a light job left out.
    pub left: Vec<RelPath>,
}

/// A syncer that knows its slice.
pub struct Worker {
    pub(crate) slice: SyncSlice,
    pub(crate) filter: Filter,
    pub(crate) confined: Confined,
    /// The rsync that waits for the next batch.
    warm: Warmth,
    /// How many jobs in a row did not reach the remote.
    unreached: u32,
    /// What both ends can do, as far as is known.
    pub(crate) abilities: Abilities,
    pub(crate) doubt: Doubt,
    /// Bytes of files that the last job sent.
    sent_bytes: u64,
}

impl Worker {
    /// Fails when an expression of the filter is not one.
    pub fn new(slice: SyncSlice, confined: Confined) -> Result<Worker, BadExpression> {
        if slice.remote.rsync.ssh.is_some() {
            for path in slice.ssh.iter().flat_map(argv::unspeakable) {
                log::error!("ssh path={}: cannot be told to ssh, left out", Shown(path));
            }
        }
        let filter = Filter::new(&slice.filter)?;
        meter::prepare();
        let (abilities, doubt) = (Abilities::default(), Doubt::default());
        let warm = Warmth::new(slice.warm);
        Ok(Worker { slice, filter, confined, warm, unreached: 0, abilities, doubt, sent_bytes: 0 })
    }

    /// Bytes of files that the last job sent, as far as rsync said so.
    pub fn sent_bytes(&self) -> u64 {
        self.sent_bytes
    }

    /// A path that the next job may need and that this process may no longer reach.
    pub fn outdated(&self) -> Option<&Path> {
        self.confined.outdated()
    }

    /// Does `job`; calls `beat` every [`common::message::BUSY_BEAT_SECS`] seconds, and `differs` with
    /// what a [`Work::Verify`] finds, at most one frame at a time.
    pub fn run(
        &mut self,
        job: &Job,
        beat: &mut dyn FnMut(Pace),
        differs: &mut dyn FnMut(Vec<Difference>),
    ) -> JobEnd {
        self.sent_bytes = 0;
        // A try at a dead port costs next to nothing, an rsync ten milliseconds.
        if let Some(error) = reach::knock(&self.slice.remote, self.unreached) {
            self.unreached = self.unreached.saturating_add(1);
            return reach::not_started(&self.slice.remote, &error);
        }
        let mut warm = std::mem::replace(&mut self.warm, Warmth::new(None));
        // Closed at the end of the job: an open root would keep its filesystem from being
        // unmounted.
        let root = match Root::open(&self.slice.root, job.root) {
            Ok(root) => root,
            Err(error) => {
                warm.discard();
                self.warm = warm;
                return JobEnd::of_root(&error);
            }
        };
        let deletions = argv::effective(&self.slice, job.deletions);
        let mut transfers = Transfers {
            worker: self,
            root: &root,
            id: job.root,
            deletions,
            max_delete: job.max_delete,
            by: job.by,
            load: job.load,
            left: Vec::new(),
            rate: job.terms.rate,
            pulse: Pulse::new(beat),
            limits: Limits::with_timeout(argv::timeout(&self.slice)),
            log_left: MAX_LOGGED,
            warm,
            abilities: self.abilities,
            doubt: self.doubt,
            hint: Hint::None,
            complaints: Complaints::default(),
            parts: Vec::new(),
            end: JobEnd::good(),
        };
        transfers.test_guesses(&job.work, Instant::now());
        transfers.work(job, differs);
        let sent_bytes = transfers.pulse.meter().total().bytes;
        let Transfers { mut end, warm, abilities, doubt, left, .. } = transfers;
        self.sent_bytes = sent_bytes;
        end.left = left;
        self.warm = warm;
        self.warm.hear(&end.tail);
        self.unreached = if reach::was_nobody_there(&end) { self.unreached.saturating_add(1) } else { 0 };
        self.note(abilities, doubt);
        end
    }

    /// Starts an rsync ahead for the batch that may follow this job, where one may wait.
    pub fn warm_up(&mut self, job: &Job, end: &JobEnd) {
        let most = match job.terms.ahead {
            Ahead::Ends => 0,
            Ahead::Waits => 1,
            Ahead::TwoWait => 2,
        };
        if most == 0 {
            self.warm.discard();
        }
        let good = end.outcome == Outcome::Done && matches!(job.work, Work::Batch(_));
        while good && self.warm.lacks(Instant::now(), most) {
            let Some(warm) = Warm::start(&self.slice, job, self.abilities, &self.confined) else { return };
            self.warm.put(warm);
        }
    }

    /// When the first rsync that waits has waited long enough.
    pub fn cools_at(&self) -> Option<Instant> {
        self.warm.expires()
    }

    /// Ends the rsyncs that have waited long enough.
    pub fn cool_down(&mut self, now: Instant) {
        self.warm.cool_down(now);
    }
}

impl JobEnd {
    pub(crate) fn good() -> JobEnd {
        JobEnd { outcome: Outcome::Done, status: 0, tail: String::new(), failed: None, left: Vec::new() }
    }

    pub(crate) fn of_root(error: &RootError) -> JobEnd {
        JobEnd {
            outcome: Outcome::RootGone,
            status: 0,
            tail: error.to_string(),
            failed: None,
            left: Vec::new(),
        }
    }
}

impl Transfers<'_> {
    fn work(&mut self, job: &Job, differs: &mut dyn FnMut(Vec<Difference>)) {
        loop {
            match &job.work {
                Work::Full => self.all(Lists { whole: Some(Whole::Mirror), ..Lists::default() }),
                Work::Batch(paths) => {
                    let mut lists = list::normalise(paths, |path| self.root.kind(path));
                    self.leave_out_large(&mut lists, paths, &job.moves);
                    self.moved_files(&mut lists, &job.moves);
                    self.moved(&lists, &job.moves);
                    self.all(lists);
                }
                Work::Verify { tops, by } => self.verify(tops, *by, differs),
            }
            // Each time something that was assumed is known to be missing: three times at most.
            if !self.learn() {
                break;
            }
            self.end = JobEnd::good();
            self.parts.clear();
            self.left.clear();
        }
        if let (Work::Batch(paths), Outcome::Partial) = (&job.work, self.end.outcome) {
            self.take_apart(paths);
        }
    }

    /// Takes large files out of a light job, and the removal of the old name of one: on the remote it is
    /// what the file is made of.
    fn leave_out_large(&mut self, lists: &mut Lists, batch: &[(RelPath, Dirt)], moves: &[Move]) {
        if self.load == Load::Any {
            return;
        }
        let (most, mut room) = MAX_LEFT;
        let (source, left) = (self.root, &mut self.left);
        let mut leave = |path: &RelPath, left: &mut Vec<RelPath>| {
            let fits = left.len() < most && path.as_bytes().len() <= room;
            // What is listed may stand for what was below it once.
            let leaves = fits && batch.iter().any(|(it, _)| it == path);
            if leaves {
                room = room.saturating_sub(path.as_bytes().len());
                left.push(path.clone());
            }
            leaves
        };
        lists.shallow.retain(|path| {
            let is_large = source.size(path.as_bytes()).is_some_and(|size| size > LARGE);
            !(is_large && leave(path, left))
        });
        for it in moves.iter().filter(|it| source.kind(it.from.as_bytes()) == Kind::Missing) {
            if left.contains(&it.to) && lists.shallow.contains(&it.from) && leave(&it.from, left) {
                lists.shallow.remove(&it.from);
                lists.gone.remove(&it.from);
            }
        }
    }
}
