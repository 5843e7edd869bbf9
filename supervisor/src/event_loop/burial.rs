//! How children end: what the kernel says of it, what they said last, what they leave behind.

use std::time::Duration;

use log::{error, warn};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::Signal;
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;
use std::os::fd::AsFd;

use super::status::News;
use super::{EventLoop, send_kill};
use crate::cgroup::Rest;
use crate::child::Standing;
use crate::core::Input;
use crate::guardian::Guardian;
use crate::orphans;

/// Most frames taken from one that is dead: more than its socket holds.
const LAST_FRAMES: usize = 1024;

impl EventLoop {
    pub(super) fn reap(&mut self) {
        let flags = WaitPidFlag::WNOHANG | WaitPidFlag::WUNTRACED;
        loop {
            match waitpid(None, Some(flags)) {
                Ok(WaitStatus::Exited(pid, _) | WaitStatus::Signaled(pid, _, _)) if self.is_guardian(pid) => {
                    if self.guardian.as_ref().is_some_and(Guardian::has_settled) {
                        warn!("guardian died; starting another one");
                        self.guard();
                    } else {
                        error!("guardian died at once; if the supervisor is killed, an ssh may live on");
                        self.guardian = None;
                    }
                }
                Ok(WaitStatus::Exited(pid, code)) => self.buried(pid, format!("exit status {code}")),
                Ok(WaitStatus::Signaled(pid, signal, _)) => {
                    self.suspect(pid, signal);
                    self.buried(pid, format!("signal {}", signal.as_str()));
                }
                Ok(WaitStatus::Stopped(pid, _)) => {
                    if let Some(child) = self.children.get(&pid.as_raw()) {
                        warn!("child was stopped role={}; killing it", self.plan.name(child.role));
                    }
                    send_kill(pid.as_raw());
                }
                Ok(WaitStatus::StillAlive) | Err(_) => return,
                Ok(_) => {}
            }
        }
    }

    /// The kernel ends with this signal what makes a call that no honest role makes.
    fn suspect(&self, pid: Pid, signal: Signal) {
        if let (Signal::SIGSYS, Some(child)) = (signal, self.children.get(&pid.as_raw())) {
            let role = self.plan.name(child.role);
            error!(
                "violation role={role} what=\"a system call that only an intruder makes\"; the kernel ended it"
            );
        }
    }

    fn buried(&mut self, pid: Pid, how: String) {
        // Its last words may have come after we last listened. Those of one that was not looked at count
        // for nothing, and now nothing is there to look at.
        if self.children.get(&pid.as_raw()).is_some_and(|child| child.ready) {
            let _ = (0..LAST_FRAMES).find(|_| !self.take_report(pid.as_raw()));
        }
        let Some(child) = self.children.remove(&pid.as_raw()) else { return };
        let (role, outdated) = (child.role, child.standing == Standing::Outdated);
        let rest = if self.plan.is_command(role) { Rest::LivesOn } else { Rest::Ends };
        let hit = self.host.end(self.start.elapsed(), child.bury(), rest);
        // An rsync that outlived its syncer must not write beside the next one.
        let known = |pid| self.children.contains_key(&pid) || self.is_guardian(Pid::from_raw(pid));
        orphans::end(known, &self.spared);
        self.uids.release(role);
        self.tell(if outdated { Input::Outdated(role) } else { Input::Exited(role, how + hit) });
        self.tell_progress(role, News::Over);
    }

    pub(super) fn end_children(&mut self) {
        self.children.keys().copied().for_each(send_kill);
        let deadline = self.now().saturating_add(Duration::from_secs(5));
        while !self.children.is_empty() && self.now() < deadline {
            match waitpid(None, Some(WaitPidFlag::WNOHANG)) {
                Ok(WaitStatus::Exited(pid, _) | WaitStatus::Signaled(pid, _, _)) => {
                    if let Some(child) = self.children.remove(&pid.as_raw()) {
                        child.bury();
                    }
                }
                Ok(_) => {
                    let mut fds = [PollFd::new(self.signals.as_fd(), PollFlags::POLLIN)];
                    let _ = poll(&mut fds, PollTimeout::from(50_u8));
                    while let Ok(Some(_)) = self.signals.read_signal() {}
                }
                Err(_) => break,
            }
        }
        if let Some(guardian) = self.guardian.take() {
            guardian.dismiss();
        }
        orphans::end(|_| false, &self.spared);
    }

    /// Starts the guardian, where roles have uids of their own. After the command plugins are
    /// started, whose uids it spares.
    pub(super) fn guard(&mut self) {
        self.guardian = None;
        let Some(runtime) = &self.runtime else { return };
        let Some(first) = runtime.first_uid else { return };
        match Guardian::start(first, &self.spared, runtime.block_lock()) {
            Ok(guardian) => self.guardian = Some(guardian),
            Err(error) => {
                error!(
                    "guardian could not be started: {error}; if the supervisor is killed, an ssh may live on"
                );
            }
        }
    }

    fn is_guardian(&self, pid: Pid) -> bool {
        self.guardian.as_ref().is_some_and(|guardian| guardian.pid() == pid.as_raw())
    }
}
