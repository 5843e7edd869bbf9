//! An rsync that is started ahead: connected and authenticated, it waits for its list. What
//! is left to do when a change comes is the list and the transfer.
//!
//! It is only kept for a while after the last batch (`<warm idle>`), and for less where it was found
//! dead, since a module may have a timeout. It stands in the root, which cannot be unmounted
//! meanwhile, and takes one of the remote's connections: none where these are scarce.

use std::collections::VecDeque;
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use common::confine::Confined;
use common::event::RootId;
use common::message::{Deletions, Job, SyncSlice};
use nix::sys::signal::{Signal, killpg};
use nix::sys::wait::{Id, WaitPidFlag, WaitStatus, waitid, waitpid};

use crate::abilities::Abilities;
use crate::argv::{self, Errand, Form};
use crate::meter::metered;
use crate::root::Root;
use crate::rsync::{Spawned, after};

/// Shortest time for which one is kept, where the server seems to end those that wait.
const LEAST: Duration = Duration::from_secs(1);
/// After so long a shorter life is forgotten.
const FORGOTTEN: Duration = Duration::from_hours(1);
/// For how long there is none after the server had no connection left.
const SCARCE: Duration = Duration::from_mins(10);
/// What such a server says.
const FULL: &str = "max connections";
/// How long it may take to end once its list is over before it began.
const FAREWELL: Duration = Duration::from_millis(200);

/// Those that wait, the oldest first, and how long they may.
pub(crate) struct Warmth {
    waiting: VecDeque<Warm>,
    /// How long one may be kept at most; `None` where none is wanted.
    longest: Option<Duration>,
    /// How long one is kept, and when one was last found dead.
    life: Option<Duration>,
    found_dead: Option<Instant>,
    /// Not before this.
    not_before: Option<Instant>,
}

impl Warmth {
    /// None waits yet. Each is kept for so many seconds.
    pub(crate) fn new(idle: Option<u32>) -> Warmth {
        let longest = idle.map(|idle| Duration::from_secs(idle.into()));
        Warmth { waiting: VecDeque::new(), longest, life: longest, found_dead: None, not_before: None }
    }

    /// Whether one is to be started, where so many may wait.
    pub(crate) fn lacks(&self, now: Instant, most: usize) -> bool {
        self.waiting.len() < most && self.life.is_some() && self.not_before.is_none_or(|at| now >= at)
    }

    /// One more waits.
    pub(crate) fn put(&mut self, warm: Warm) {
        // A remote that was only started anew does not hang up the next time.
        if self.found_dead.is_some_and(|at| at.elapsed() > FORGOTTEN) {
            (self.life, self.found_dead) = (self.longest, None);
        }
        self.waiting.push_back(warm);
    }

    /// Takes out the oldest that still runs and is what such a run needs.
    pub(crate) fn take_for(
        &mut self,
        root: RootId,
        deletions: Deletions,
        rate: Option<u32>,
    ) -> Option<Spawned> {
        while let Some(warm) = self.waiting.pop_front() {
            if !warm.is_running() {
                let waited = warm.since.elapsed();
                self.life = self.life.map(|life| life.min((waited / 2).max(LEAST)));
                self.found_dead = Some(Instant::now());
            } else if warm.root == root && warm.deletions == deletions && suits(warm.rate, rate) {
                return Some(warm.spawned);
            }
            warm.discard();
        }
        None
    }

    /// Ends those that wait.
    pub(crate) fn discard(&mut self) {
        self.waiting.drain(..).for_each(Warm::discard);
    }

    /// When the oldest has waited long enough.
    pub(crate) fn expires(&self) -> Option<Instant> {
        Some(after(self.waiting.front()?.since, self.life?))
    }

    /// Ends those that have waited long enough.
    pub(crate) fn cool_down(&mut self, now: Instant) {
        while self.expires().is_some_and(|at| now >= at) {
            self.waiting.pop_front().into_iter().for_each(Warm::discard);
        }
    }

    /// What a run said: a server without a connection left has none to spare for one that waits.
    pub(crate) fn hear(&mut self, said: &str) {
        if said.contains(FULL) {
            self.not_before = Some(after(Instant::now(), SCARCE));
            self.discard();
        }
    }
}

/// An rsync that waits.
pub(crate) struct Warm {
    spawned: Spawned,
    root: RootId,
    deletions: Deletions,
    /// KiB a second that it may send, beside the remote's own limit.
    rate: Option<u32>,
    since: Instant,
}

impl Warm {
    /// Starts one for a batch like `job`. `None` when it cannot be had, which costs nothing.
    pub(crate) fn start(
        slice: &SyncSlice,
        job: &Job,
        abilities: Abilities,
        confined: &Confined,
    ) -> Option<Warm> {
        let root = Root::open(&slice.root, job.root).ok()?;
        let deletions = argv::effective(slice, job.deletions);
        let mut argv = argv::argv(slice, Errand::Send(Form::Shallow, deletions), abilities);
        let rate = job.terms.rate;
        argv::slow_down(&mut argv, slice, rate);
        metered(&mut argv);
        let spawned = Spawned::start(&argv, root.as_fd(), confined).ok()?;
        Some(Warm { spawned, root: job.root, deletions, rate, since: Instant::now() })
    }

    /// Ends it. An empty list is a clean end, which the remote does not take for a failure.
    fn discard(self) {
        let Spawned { pid, stdin, outputs } = self.spawned;
        drop((stdin, outputs));
        let deadline = after(Instant::now(), FAREWELL);
        let done = WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG | WaitPidFlag::WNOWAIT;
        while Instant::now() < deadline && matches!(waitid(Id::Pid(pid), done), Ok(WaitStatus::StillAlive)) {
            std::thread::sleep(Duration::from_millis(2));
        }
        // Not reaped yet, so the number cannot have become that of another group.
        let _ = killpg(pid, Signal::SIGKILL);
        let _ = waitpid(pid, None);
    }

    fn is_running(&self) -> bool {
        let news = WaitPidFlag::WEXITED | WaitPidFlag::WSTOPPED | WaitPidFlag::WNOHANG | WaitPidFlag::WNOWAIT;
        matches!(waitid(Id::Pid(self.spawned.pid), news), Ok(WaitStatus::StillAlive))
    }
}

/// Whether one that was started with this rate may do a job of that: it cannot be told another. It must
/// not be faster, and a slow one would hold up a large batch.
fn suits(rate: Option<u32>, wanted: Option<u32>) -> bool {
    match (rate, wanted) {
        (None, None) => true,
        (Some(rate), Some(wanted)) => rate <= wanted && rate >= wanted / 2,
        (Some(_), None) | (None, Some(_)) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::suits;

    #[test]
    fn rates_that_one_started_ahead_may_have() {
        for (rate, wanted, expected) in [
            (None, None, true),
            (Some(100), Some(100), true),
            (Some(50), Some(100), true),
            (Some(49), Some(100), false),
            (Some(101), Some(100), false),
            (Some(1), Some(1), true),
            (None, Some(100), false),
            (Some(100), None, false),
        ] {
            assert_eq!(suits(rate, wanted), expected, "{rate:?} {wanted:?}");
        }
    }
}
