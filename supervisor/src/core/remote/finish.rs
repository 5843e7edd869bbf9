//! How a job ends, and what becomes of what it carried.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use common::message::{Deletions, MAX_JOB_BYTES, Outcome};
use common::path::RelPath;

use super::{Age, Remote, Turn, lane_index, may_delete, only_deletes};
use crate::core::backlog::{MAX_PATHS, QUARANTINE, Taken, cost_of};
use crate::core::retry::{Jitter, delay, doubled};
use crate::core::{Action, Blame, JobEnd, Lane, notice};

/// First pause after a full sync that brought over most of the tree but not all.
const PARTIAL_FULL: Duration = Duration::from_secs(30);
/// For how long a remote without space counts as such when some of a batch got through.
const CRAMPED: Duration = Duration::from_secs(60);
/// rsync's words when `--max-delete` stopped it; its exit status may be 0.
const TOO_MANY_DELETIONS: &str = "Deletions stopped due to --max-delete";
/// rsync's exit status when some paths failed.
const PATHS_FAILED: i32 = 23;
/// Most reasons that are remembered.
pub(super) const MAX_REASONS: usize = 10_000;
/// Paths that failed once are spoken of at most this often.
const PARTIAL_PAUSE: Duration = Duration::from_secs(10);
/// Longest such pause: a full sync reads the whole tree.
const PARTIAL_FULL_LONGEST: Duration = Duration::from_secs(3600);

impl Remote {
    /// A job is over.
    pub fn finish(&mut self, now: Duration, lane: Lane, end: &JobEnd, jitter: &mut Jitter) -> Turn {
        self.note_work(now, lane);
        self.recursive.end(now, lane);
        self.still(lane);
        if end.outcome == Outcome::Done && self.flights.of(lane).is_some_and(|flight| flight.is_nothing) {
            // Nothing was sent, and the remote was not asked.
            self.flights.replace(lane, None);
            self.tally.abandon(lane);
            return Turn::None;
        }
        if self.is_auditing(lane) {
            self.tally.abandon(lane);
        } else {
            self.tally.end(now, lane, end);
        }
        if end.outcome != Outcome::Done {
            self.status = end.status;
        }
        let turn = match lane {
            Lane::Batch | Lane::Express => self.finish_batch(now, lane, end, jitter),
            Lane::Full if self.is_auditing(lane) => {
                self.end_audit();
                Turn::None
            }
            Lane::Full => self.finish_full(now, end, jitter),
        };
        if end.outcome == Outcome::NoSpace {
            self.cramped_until = now.saturating_add(CRAMPED);
        }
        let turn = match end.outcome {
            // Small files find room where large ones do not: that is no end of it.
            Outcome::Partial if self.trouble == Some(Outcome::NoSpace) && now < self.cramped_until => turn,
            Outcome::Done | Outcome::Partial | Outcome::RootEmpty => {
                self.failures = 0;
                self.trouble = None;
                turn
            }
            outcome if lane == Lane::Full && !is_of_the_remote(outcome) => turn,
            outcome => {
                let before = self.trouble.replace(outcome);
                self.failures = self.failures.saturating_add(1);
                self.not_before = now.saturating_add(delay(outcome, self.failures, jitter));
                if before == Some(outcome) { Turn::None } else { Turn::Failed }
            }
        };
        self.tally.stands(now, self.trouble.is_none());
        turn
    }

    /// A syncer died with its job, which goes back to the head.
    pub fn abandon(&mut self, now: Duration, lane: Lane, blame: Blame) {
        self.tally.abandon(lane);
        self.recursive.end(now, lane);
        self.still(lane);
        match lane {
            Lane::Batch | Lane::Express => {
                if let Some(flight) = self.flights.replace(lane, None) {
                    if blame == Blame::Work {
                        self.halve(&flight.taken);
                    }
                    self.put_back(now, flight.taken, None);
                }
            }
            Lane::Full if self.is_auditing(lane) => self.audit_again(now),
            Lane::Full => {
                if let Some(deletions) = self.full.running.take() {
                    self.replay(now);
                    self.want_again(now, deletions);
                }
            }
        }
    }

    /// The lane's job is over: what does not move there is none of it any more.
    fn still(&mut self, lane: Lane) {
        if let Some(stalls) = self.stalls.get_mut(lane_index(lane)) {
            *stalls = 0;
        }
    }

    /// Large files that were left out go back, and travel by themselves.
    fn set_apart(&mut self, now: Duration, taken: Vec<Taken>, left: &[RelPath]) -> Vec<Taken> {
        if left.is_empty() {
            return taken;
        }
        let left: BTreeSet<&RelPath> = left.iter().collect();
        let (mut heavy, rest): (Vec<Taken>, Vec<Taken>) =
            taken.into_iter().partition(|(path, _)| left.contains(path));
        for (_, entry) in &mut heavy {
            entry.heavy = true;
        }
        self.put_back(now, heavy, None);
        rest
    }

    /// What arrives is spoken of from now on, path by path.
    pub fn tell_arrivals(&mut self) {
        self.arrived = Some(Vec::new());
    }

    /// Speaks of what has arrived since.
    pub fn arrivals(&mut self) -> Vec<Action> {
        let arrived = self.arrived.as_mut().map(std::mem::take).unwrap_or_default();
        arrived.iter().map(|(path, dirt)| notice::arrived(&self.label, path, *dirt)).collect()
    }

    fn finish_batch(&mut self, now: Duration, lane: Lane, end: &JobEnd, jitter: &mut Jitter) -> Turn {
        let Some(flight) = self.flights.replace(lane, None) else { return Turn::None };
        if end.outcome == Outcome::Done {
            self.note_pace(now, &flight);
            if lane == Lane::Batch {
                self.cool_down(now, &flight);
            }
        }
        // Who was sent by itself cannot be left out.
        let left = if flight.heavy { &[][..] } else { &end.left };
        let taken = self.set_apart(now, flight.taken, left);
        self.move_later(now, flight.moves, left);
        match end.outcome {
            Outcome::Done | Outcome::RootEmpty => {
                if self.full.is_refused() && end.outcome == Outcome::Done {
                    // Something is there again, and travels.
                    self.full.trouble = None;
                }
                self.batch_bytes = self.batch_bytes.saturating_mul(2).min(MAX_JOB_BYTES);
                match self.settle(&taken) {
                    0 => Turn::None,
                    recovered => Turn::Recovered(recovered),
                }
            }
            Outcome::Partial => self.finish_partly(now, taken, end, jitter),
            // A smaller one may get through.
            Outcome::TimedOut | Outcome::Broken | Outcome::Limit => {
                self.halve(&taken);
                self.put_back(now, taken, None);
                Turn::None
            }
            Outcome::Unreachable
            | Outcome::Refused
            | Outcome::UnknownHost
            | Outcome::Hostile
            | Outcome::NoSpace
            | Outcome::ReadOnly
            | Outcome::Misconfigured
            | Outcome::RootGone => {
                self.put_back(now, taken, None);
                Turn::None
            }
        }
    }

    /// Some paths failed, each of which is tried again by its own clock; the rest is done. Where it
    /// is not known which, all of them count as failed.
    fn finish_partly(&mut self, now: Duration, taken: Vec<Taken>, end: &JobEnd, jitter: &mut Jitter) -> Turn {
        let failed: Option<BTreeMap<&RelPath, &str>> = end
            .failed
            .as_ref()
            .map(|failed| failed.iter().map(|it| (&it.path, it.reason.as_str())).collect());
        let is_bad = |path: &RelPath| failed.as_ref().is_none_or(|failed| failed.contains_key(path));
        let (bad, good): (Vec<Taken>, Vec<Taken>) = taken.into_iter().partition(|(path, _)| is_bad(path));
        let recovered = self.settle(&good);
        let (mut fresh, mut quarantined) = (0_usize, 0_usize);
        for (path, entry) in bad {
            let attempts = entry.attempts.saturating_add(1);
            fresh = fresh.saturating_add(usize::from(attempts == 1));
            quarantined = quarantined.saturating_add(usize::from(attempts == QUARANTINE));
            let reason = failed.as_ref().and_then(|failed| failed.get(&path)).copied().unwrap_or_default();
            if !reason.is_empty() && self.reasons.len() < MAX_REASONS {
                self.reasons.insert(path.clone(), reason.to_owned());
            }
            let pause = delay(end.outcome, attempts, jitter);
            self.put_back(now, vec![(path, entry)], Some(pause));
        }
        if quarantined > 0 {
            Turn::Quarantined(quarantined)
        } else if fresh > 0 && self.says_partial(now) {
            Turn::Partial
        } else if recovered > 0 {
            Turn::Recovered(recovered)
        } else {
            Turn::None
        }
    }

    /// These are done. How many of them had been in quarantine.
    fn settle(&mut self, done: &[Taken]) -> usize {
        if let Some(arrived) = &mut self.arrived {
            arrived.extend(done.iter().map(|(path, entry)| (path.clone(), entry.dirt)));
        }
        let mut recovered = 0_usize;
        for (path, entry) in done {
            recovered = recovered.saturating_add(usize::from(entry.attempts >= QUARANTINE));
            if !self.reasons.is_empty() {
                self.reasons.remove(path);
            }
            self.backlog.settled(path);
        }
        recovered
    }

    /// Whether failures of paths are spoken of now: under churn each batch may have some.
    fn says_partial(&mut self, now: Duration) -> bool {
        let says = self.said_partial.is_none_or(|said| now.saturating_sub(said) >= PARTIAL_PAUSE);
        if says {
            self.said_partial = Some(now);
        }
        says
    }

    /// The next batch is half of the one that failed.
    fn halve(&mut self, failed: &[Taken]) {
        if failed.is_empty() {
            return;
        }
        self.batch_bytes = (cost_of(failed).min(self.batch_bytes) / 2).max(1);
    }

    /// A full sync is over that deleted what it could; what another root kept from going is still approved.
    fn use_up_approval(&mut self, deletions: Deletions) {
        self.full.approved &= deletions == Deletions::Held || self.full.withheld;
    }

    fn finish_full(&mut self, now: Duration, end: &JobEnd, jitter: &mut Jitter) -> Turn {
        let Some(deletions) = self.full.running.take() else { return Turn::None };
        self.replay(now);
        let outcome = end.outcome;
        if outcome == Outcome::Partial && end.tail.lines().any(|line| line.starts_with(TOO_MANY_DELETIONS)) {
            self.full.held = true;
            self.full.owed = self.full.wanted.is_some();
            if end.status == PATHS_FAILED {
                self.full_again_later(now, Deletions::Held, jitter);
            }
            return Turn::Braked;
        }
        match outcome {
            Outcome::Done => {
                self.full.owed = self.full.wanted.is_some();
                (self.full.partial, self.full.failures, self.full.trouble) = (0, 0, None);
                self.full.lags &= self.full.owed;
                self.full.age = Age::Known;
                self.use_up_approval(deletions);
                Turn::Synced
            }
            Outcome::RootEmpty => {
                self.full.owed = self.full.wanted.is_some();
                self.full.trouble = Some(outcome);
                Turn::RootEmpty
            }
            Outcome::Partial => {
                self.full.trouble = None;
                self.use_up_approval(deletions);
                self.full_again_later(now, deletions, jitter);
                Turn::Partial
            }
            Outcome::Unreachable
            | Outcome::Refused
            | Outcome::UnknownHost
            | Outcome::Hostile
            | Outcome::NoSpace
            | Outcome::ReadOnly
            | Outcome::Misconfigured
            | Outcome::RootGone
            | Outcome::TimedOut
            | Outcome::Limit
            | Outcome::Broken => {
                // A pause of its own: batches that get through meanwhile say nothing about it.
                self.full.failures = self.full.failures.saturating_add(1);
                self.want_full(now, deletions);
                self.full.not_before = now.saturating_add(delay(outcome, self.full.failures, jitter));
                let before = self.full.trouble.replace(outcome);
                if before == Some(outcome) { Turn::None } else { Turn::FullFailed }
            }
        }
    }

    /// A full sync comes round by itself: nothing is known to be missing.
    pub fn want_routine(&mut self, now: Duration) {
        self.want_again(now, Deletions::Travel);
    }

    /// As urgent as it was.
    fn want_again(&mut self, now: Duration, deletions: Deletions) {
        let lags = self.full.lags;
        self.want_full(now, deletions);
        self.full.lags = lags;
    }

    fn full_again_later(&mut self, now: Duration, deletions: Deletions, jitter: &mut Jitter) {
        self.full.partial = self.full.partial.saturating_add(1);
        let pause = doubled(PARTIAL_FULL, PARTIAL_FULL_LONGEST, self.full.partial);
        self.want_full(now, deletions);
        self.full.not_before = now.saturating_add(jitter.spread(pause));
    }

    fn replay(&mut self, now: Duration) {
        let replay = self.full.replay.drain();
        self.put_back(now, replay, None);
    }

    pub(super) fn put_back(&mut self, now: Duration, taken: Vec<Taken>, pause: Option<Duration>) {
        let retry = pause.map(|pause| (now, pause));
        if self.held {
            let parked = taken.iter().filter(|(_, entry)| may_delete(entry.dirt)).cloned().collect();
            let rest = taken.into_iter().filter(|(_, entry)| !only_deletes(entry.dirt)).collect();
            self.parked.put_back(parked, None);
            self.bound_parked(now, MAX_PATHS);
            self.backlog.put_back(rest, retry);
        } else {
            self.backlog.put_back(taken, retry);
        }
    }
}

/// Whether a full sync that ends like this says something about the remote, and not only about
/// so large a job.
fn is_of_the_remote(outcome: Outcome) -> bool {
    match outcome {
        Outcome::Unreachable
        | Outcome::UnknownHost
        | Outcome::Hostile
        | Outcome::NoSpace
        | Outcome::ReadOnly
        | Outcome::RootGone => true,
        Outcome::Done
        | Outcome::Partial
        | Outcome::RootEmpty
        | Outcome::Refused
        | Outcome::Misconfigured
        | Outcome::TimedOut
        | Outcome::Limit
        | Outcome::Broken => false,
    }
}
