//! An rsync that is started ahead: connected and authenticated, it waits for its list. What
//! is left to do when a change comes is the list and the transfer.
//!
//! It is only kept for a short while after the last batch. It stands in the root, which cannot
//! be unmounted meanwhile, and takes one of the remote's connections.

use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use common::confine::Confined;
use common::event::RootId;
use common::message::{Deletions, Job, SyncSlice};
use nix::sys::signal::{Signal, killpg};
use nix::sys::wait::{Id, WaitPidFlag, WaitStatus, waitid, waitpid};

use crate::abilities::Abilities;
use crate::argv::{self, Errand, Form};
use crate::root::Root;
use crate::rsync::{Spawned, after};

/// How long it waits.
const LIFE: Duration = Duration::from_secs(10);
/// How long it may take to end once its list is over before it began.
const FAREWELL: Duration = Duration::from_millis(200);

/// An rsync that waits.
pub(crate) struct Warm {
    spawned: Spawned,
    root: RootId,
    deletions: Deletions,
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
        let argv = argv::argv(slice, Errand::Send(Form::Shallow, deletions), abilities);
        let spawned = Spawned::start(&argv, root.as_fd(), confined).ok()?;
        Some(Warm { spawned, root: job.root, deletions, since: Instant::now() })
    }

    /// When it has waited long enough.
    pub(crate) fn expires(&self) -> Instant {
        after(self.since, LIFE)
    }

    /// Hands it over if it still runs and is what such a run needs.
    pub(crate) fn take_for(self, root: RootId, deletions: Deletions) -> Option<Spawned> {
        if self.root == root && self.deletions == deletions && self.is_running() {
            return Some(self.spawned);
        }
        self.discard();
        None
    }

    /// Ends it. An empty list is a clean end, which the remote does not take for a failure.
    pub(crate) fn discard(self) {
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
