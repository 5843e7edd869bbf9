//! How a job ends, and what becomes of what it carried.

use std::time::Duration;

use common::message::Outcome;

use super::{Remote, Turn, may_delete, only_deletes};
use crate::core::backlog::{Taken, cost_of};
use crate::core::retry::{Jitter, delay, doubled};
use crate::core::{Blame, JobEnd, Lane};
use common::message::MAX_JOB_BYTES;

/// First pause after a full sync that brought over most of the tree but not all.
const PARTIAL_FULL: Duration = Duration::from_secs(30);
/// Longest such pause: a full sync reads the whole tree.
const PARTIAL_FULL_LONGEST: Duration = Duration::from_secs(3600);

impl Remote {
    /// A job is over.
    pub fn finish(&mut self, now: Duration, lane: Lane, end: &JobEnd, jitter: &mut Jitter) -> Turn {
        self.note_work(now, lane);
        self.recursive.end(now, lane);
        self.stalls = 0;
        if end.outcome != Outcome::Done {
            self.status = end.status;
        }
        let turn = match lane {
            Lane::Batch => self.finish_batch(now, end.outcome, jitter),
            Lane::Full => self.finish_full(now, end.outcome, jitter),
        };
        match end.outcome {
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
        }
    }

    /// A syncer died with its job, which goes back to the head.
    pub fn abandon(&mut self, now: Duration, lane: Lane, blame: Blame) {
        self.recursive.end(now, lane);
        self.stalls = 0;
        match lane {
            Lane::Batch => {
                if let Some(taken) = self.in_flight.take() {
                    if blame == Blame::Work {
                        self.halve(&taken);
                    }
                    self.put_back(now, taken, None);
                }
            }
            Lane::Full => {
                if let Some(deletions) = self.full.running.take() {
                    self.replay(now);
                    self.want_full(now, deletions);
                }
            }
        }
    }

    fn finish_batch(&mut self, now: Duration, outcome: Outcome, jitter: &mut Jitter) -> Turn {
        let Some(taken) = self.in_flight.take() else { return Turn::None };
        match outcome {
            Outcome::Done | Outcome::RootEmpty => {
                self.batch_bytes = self.batch_bytes.saturating_mul(2).min(MAX_JOB_BYTES);
                Turn::None
            }
            Outcome::Partial => {
                let attempts = taken.iter().map(|(_, entry)| entry.attempts).max().unwrap_or(0);
                let pause = delay(outcome, attempts.saturating_add(1), jitter);
                self.put_back(now, taken, Some(pause));
                Turn::Partial
            }
            // A smaller one may get through.
            Outcome::TimedOut | Outcome::Broken | Outcome::Limit => {
                self.halve(&taken);
                self.put_back(now, taken, None);
                Turn::None
            }
            Outcome::Unreachable
            | Outcome::Refused
            | Outcome::UnknownHost
            | Outcome::NoSpace
            | Outcome::Misconfigured
            | Outcome::RootGone => {
                self.put_back(now, taken, None);
                Turn::None
            }
        }
    }

    /// The next batch is half of the one that failed.
    fn halve(&mut self, failed: &[Taken]) {
        self.batch_bytes = (cost_of(failed).min(self.batch_bytes) / 2).max(1);
    }

    fn finish_full(&mut self, now: Duration, outcome: Outcome, jitter: &mut Jitter) -> Turn {
        let Some(deletions) = self.full.running.take() else { return Turn::None };
        self.replay(now);
        match outcome {
            Outcome::Done => {
                (self.full.partial, self.full.failures, self.full.trouble) = (0, 0, None);
                Turn::Synced
            }
            Outcome::RootEmpty => Turn::RootEmpty,
            Outcome::Partial => {
                self.full.partial = self.full.partial.saturating_add(1);
                let pause = doubled(PARTIAL_FULL, PARTIAL_FULL_LONGEST, self.full.partial);
                self.want_full(now, deletions);
                self.full.not_before = now.saturating_add(jitter.spread(pause));
                Turn::Partial
            }
            Outcome::Unreachable
            | Outcome::Refused
            | Outcome::UnknownHost
            | Outcome::NoSpace
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
            self.bound_parked(now);
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
        Outcome::Unreachable | Outcome::UnknownHost | Outcome::NoSpace | Outcome::RootGone => true,
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
