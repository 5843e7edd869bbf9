//! Finding out what a remote lacks when it does not say so itself.
//!
//! An old remote just hangs up on what it does not know. So does a broken network, and taking
//! that for an old remote would make a good one slow. Hence the order: the same failure in two
//! jobs, then probes that transfer nothing, of which the failing one must fail again; and what
//! was guessed is put to the test at each full sync.

use std::time::{Duration, Instant};

use common::log::Shown;
use common::message::Work;

use crate::abilities::{Abilities, Hint};
use crate::argv::{self, Errand, Form};
use crate::job::Worker;
use crate::rsync::Feed;
use crate::transfers::{Transfers, goes_on};

/// How long a guess counts where no full sync comes: a remote's batches and its full syncs are
/// the work of different syncers.
const GUESS_LIFE: Duration = Duration::from_hours(1);

/// What is kept from job to job beside the abilities.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Doubt {
    /// The last job failed as an old remote, or a broken network, makes it fail.
    hung_up: bool,
    /// When guesses were last found to hold.
    tested: Option<Instant>,
}

impl Doubt {
    /// Whether guesses are to be tested before this job.
    fn is_due(self, work: &Work, now: Instant) -> bool {
        match work {
            Work::Full | Work::Verify { .. } => true,
            Work::Batch(_) => self.tested.is_none_or(|at| now.duration_since(at) >= GUESS_LIFE),
        }
    }
}

impl Worker {
    /// Keeps what a job has found out.
    pub(crate) fn note(&mut self, abilities: Abilities, doubt: Doubt) {
        let remote = &self.slice.remote;
        let lacks = abilities.lacks(&remote.rsync.params);
        if lacks != self.abilities.lacks(&remote.rsync.params) {
            let module = Shown(&remote.module);
            match lacks {
                Some(lacks) => log::warn!("remote={}::{module} cannot do all: {lacks}", remote.host),
                None => log::info!("remote={}::{module} can do all again", remote.host),
            }
        }
        self.abilities = abilities;
        self.doubt = doubt;
    }
}

impl Transfers<'_> {
    /// After a job that failed: true when the remote turned out to lack something, so that it
    /// is worth trying again.
    pub(crate) fn learn(&mut self) -> bool {
        let again = std::mem::take(&mut self.doubt.hung_up);
        let found = match self.take_hint() {
            Hint::None => None,
            Hint::Left(found) => Some(found),
            Hint::Perhaps if again => self.search(),
            Hint::Perhaps => {
                self.doubt.hung_up = true;
                None
            }
        };
        // A last probe may have left one.
        self.take_hint();
        self.abilities = found.unwrap_or(self.abilities);
        found.is_some()
    }

    /// Before a job, when it is time: asks again for what was only guessed to be missing.
    pub(crate) fn test_guesses(&mut self, work: &Work, now: Instant) {
        let (guessed, hopes) = (self.abilities, self.abilities.hopes());
        if guessed == hopes || !self.doubt.is_due(work, now) {
            return;
        }
        self.doubt.tested = Some(now);
        // It asks for no more than the guess.
        self.warm.discard();
        self.abilities = hopes;
        match self.probe(hopes) {
            Probe::Accepted => {}
            Probe::Told(found) => self.abilities = found,
            Probe::Refused | Probe::Unclear => self.abilities = guessed,
        }
    }

    /// Tries what may be left with empty lists, which transfer nothing.
    fn search(&mut self) -> Option<Abilities> {
        let known = self.abilities;
        match self.probe(known) {
            // So it was something else.
            Probe::Accepted | Probe::Unclear => return None,
            Probe::Told(found) => return Some(found),
            Probe::Refused => {}
        }
        let guess = self.guess(known)?;
        match self.probe(known) {
            Probe::Refused => {
                self.doubt.tested = Some(Instant::now());
                Some(guess)
            }
            Probe::Told(found) => Some(found),
            // It was the network after all.
            Probe::Accepted | Probe::Unclear => None,
        }
    }

    /// The most of what is known that the remote accepts now.
    fn guess(&mut self, known: Abilities) -> Option<Abilities> {
        let least = known.least();
        match self.probe(least) {
            Probe::Accepted => {}
            Probe::Told(found) => return Some(found),
            Probe::Refused | Probe::Unclear => return None,
        }
        for guess in known.guesses() {
            match self.probe(guess) {
                Probe::Accepted => return Some(guess),
                Probe::Refused | Probe::Told(_) => {}
                Probe::Unclear => return None,
            }
        }
        Some(least)
    }

    fn probe(&mut self, abilities: Abilities) -> Probe {
        let errand = Errand::Send(Form::Shallow, self.deletions);
        let argv = argv::argv(&self.worker.slice, errand, abilities);
        let known = std::mem::replace(&mut self.abilities, abilities);
        let end = self.run(None, &argv, &mut |_| Feed::End, &mut |_| {});
        let hint = self.take_hint();
        // What a guess proves is proven again by the next run.
        if abilities != known {
            self.abilities = known;
        }
        if goes_on(end.outcome) {
            return Probe::Accepted;
        }
        match hint {
            Hint::Left(found) => Probe::Told(found),
            Hint::Perhaps => Probe::Refused,
            Hint::None => Probe::Unclear,
        }
    }
}

/// How a remote took an empty list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Probe {
    Accepted,
    /// It may be the options.
    Refused,
    /// It is, and these are left.
    Told(Abilities),
    /// It failed on something else.
    Unclear,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn when_guesses_are_tested() {
        let (now, batch) = (Instant::now(), Work::Batch(vec![]));
        let doubt = Doubt { tested: Some(now), ..Doubt::default() };
        assert!(doubt.is_due(&Work::Full, now));
        assert!(!doubt.is_due(&batch, now));
        assert!(!doubt.is_due(&batch, now + GUESS_LIFE / 2));
        assert!(doubt.is_due(&batch, now + GUESS_LIFE));
    }
}
