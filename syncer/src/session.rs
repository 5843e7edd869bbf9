//! An rsync under way: one loop that feeds it, reads it, watches it, and reaps it.

use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{Signal, killpg};
use nix::sys::socket::{MsgFlags, send};
use nix::sys::wait::{Id, WaitPidFlag, WaitStatus, waitid, waitpid};
use nix::unistd::{Pid, read};

use crate::outcome::Ended;
use crate::rsync::{Feed, Pace, Pulse, Run, Spawned, after};
use crate::tail::{Lines, Stream};
use crate::vital::Signs;

/// How long what rsync started may keep its outputs open after rsync itself has ended.
const GRACE: Duration = Duration::from_secs(1);
/// After it said a little, rsync is let talk on for so long: its progress comes a line a file, and each would
/// wake us. That it ends is seen at once. A pipe holds 64 KiB, so one that lists much is always listened to.
const LISTEN_AGAIN: Duration = Duration::from_millis(10);
/// How much is read at a time, in bytes.
const READ: usize = 16 << 10;
/// Longest pause between two looks at an rsync that has closed its outputs.
const LINGER: Duration = Duration::from_millis(50);

/// One of rsync's outputs, open.
pub(crate) struct Output {
    stream: Stream,
    pipe: OwnedFd,
    lines: Lines,
}

impl Output {
    /// Nothing has been read yet.
    pub(crate) fn new(stream: Stream, pipe: OwnedFd) -> Output {
        Output { stream, pipe, lines: Lines::default() }
    }
}

/// A running rsync.
pub(crate) struct Session<'a> {
    run: Run<'a>,
    pid: Pid,
    /// `None` once the list is complete, or rsync wants no more of it.
    stdin: Option<OwnedFd>,
    outputs: Vec<Output>,
    pending: Vec<u8>,
    sent: usize,
    fed: Feed,
    /// Until then what rsync says is left in its pipes.
    deaf_until: Instant,
    /// It has said much at once.
    lists_much: bool,
    /// When rsync was first seen to have ended; it is not reaped yet.
    ended: Option<Instant>,
    linger: Duration,
    started: Instant,
    progress: Instant,
    /// When the pace was last taken.
    looked: Option<Instant>,
    signs: Signs,
}

impl<'a> Session<'a> {
    /// `run` has become that process.
    pub(crate) fn new(run: Run<'a>, spawned: Spawned) -> Session<'a> {
        let (now, Spawned { pid, stdin, outputs }) = (Instant::now(), spawned);
        Session {
            run,
            pid,
            stdin: Some(stdin),
            outputs,
            pending: Vec::new(),
            sent: 0,
            fed: Feed::More,
            deaf_until: now,
            lists_much: false,
            ended: None,
            linger: Duration::from_millis(1),
            started: now,
            progress: now,
            looked: None,
            signs: Signs::default(),
        }
    }

    /// Sees it through to its end.
    pub(crate) fn drive(&mut self, pulse: &mut Pulse<'_>) -> Ended {
        loop {
            let now = Instant::now();
            let due = pulse.is_due(now);
            if due || self.outputs.is_empty() {
                match self.look(now) {
                    Ok(()) => {}
                    Err(ended) => return self.kill(ended),
                }
            }
            if self.ended.is_some_and(|at| self.outputs.is_empty() || now >= after(at, GRACE)) {
                return self.reap();
            }
            if due {
                pulse.beat(now, self.pace(now));
                if self.is_overdue(now) {
                    return self.kill(Ended::TimedOut);
                }
            }
            pulse.advance(now);
            pulse.meter().ask_if_due(self.pid, now);
            self.refill();
            let wait = self.wait(now, pulse.next());
            self.exchange(now, wait);
        }
    }

    /// Whether rsync still runs, without reaping it: its process group stays ours to kill.
    fn look(&mut self, now: Instant) -> Result<(), Ended> {
        let flags =
            WaitPidFlag::WEXITED | WaitPidFlag::WSTOPPED | WaitPidFlag::WNOHANG | WaitPidFlag::WNOWAIT;
        match waitid(Id::Pid(self.pid), flags) {
            Ok(WaitStatus::Stopped(..)) => Err(Ended::Stopped),
            Ok(WaitStatus::Exited(..) | WaitStatus::Signaled(..)) => {
                self.ended.get_or_insert(now);
                Ok(())
            }
            Ok(_) | Err(Errno::EINTR) => Ok(()),
            Err(error) => Err(Ended::Failed(error.into())),
        }
    }

    /// Whether anything was done since the last time that this was asked.
    fn pace(&mut self, now: Instant) -> Pace {
        if self.signs.work_of(self.pid, self.run.limits.work) {
            self.progress = now;
        }
        let moved = self.looked.is_none_or(|at| self.progress > at);
        self.looked = Some(now);
        if moved { Pace::Moving } else { Pace::Stalled }
    }

    fn is_overdue(&self, now: Instant) -> bool {
        let stuck = now.duration_since(self.progress) > self.run.limits.no_progress;
        let long = now.duration_since(self.started) > self.run.limits.total;
        stuck || long
    }

    /// Gets the next part of the list when the last one is on its way.
    fn refill(&mut self) {
        if self.outputs.is_empty() {
            // It reads nothing any more.
            self.stdin = None;
        }
        if self.stdin.is_none() || self.sent < self.pending.len() {
            return;
        }
        self.pending.clear();
        self.sent = 0;
        if self.fed == Feed::More {
            self.fed = (self.run.feed)(&mut self.pending);
        }
        if self.fed == Feed::End && self.pending.is_empty() {
            self.stdin = None;
        }
    }

    fn wait(&mut self, now: Instant, beat: Instant) -> Duration {
        if self.outputs.is_empty() {
            let step = self.linger;
            self.linger = self.linger.saturating_mul(2).min(LINGER);
            return step;
        }
        if self.stdin.is_some() && self.pending.is_empty() {
            return Duration::ZERO;
        }
        let until = self.ended.map_or(beat, |at| beat.min(after(at, GRACE)));
        let until = if now < self.deaf_until { until.min(self.deaf_until) } else { until };
        // Rounded up, so that what is waited for has come.
        until.saturating_duration_since(now).saturating_add(Duration::from_millis(1))
    }

    /// Waits for rsync to read or write, then does its part.
    fn exchange(&mut self, now: Instant, wait: Duration) {
        // The end of an output is told in any case.
        let wanted = if now < self.deaf_until { PollFlags::empty() } else { PollFlags::POLLIN };
        let mut fds: Vec<PollFd<'_>> =
            self.outputs.iter().map(|output| PollFd::new(output.pipe.as_fd(), wanted)).collect();
        let stdin = self.stdin.as_ref().filter(|_| self.sent < self.pending.len());
        fds.extend(stdin.map(|socket| PollFd::new(socket.as_fd(), PollFlags::POLLOUT)));
        if poll(&mut fds, PollTimeout::try_from(wait).unwrap_or(PollTimeout::MAX)).is_err() {
            return;
        }
        let ready: Vec<bool> = fds.iter().map(|fd| fd.any().unwrap_or(true)).collect();
        let of_outputs = self.outputs.len();
        if ready.get(of_outputs) == Some(&true) {
            self.write();
        }
        let line = &mut *self.run.line;
        let (mut ready, mut most) = (ready.into_iter(), 0);
        self.outputs.retain_mut(|output| {
            if !ready.next().unwrap_or(false) {
                return true;
            }
            let length = output.read(line);
            most = most.max(length.unwrap_or(0));
            length.is_some()
        });
        self.lists_much |= most >= READ;
        if most > 0 && !self.lists_much {
            self.deaf_until = after(Instant::now(), LISTEN_AGAIN);
        }
    }

    fn write(&mut self) {
        let Some(socket) = &self.stdin else { return };
        let rest = self.pending.get(self.sent..).unwrap_or_default();
        let flags = MsgFlags::MSG_NOSIGNAL | MsgFlags::MSG_DONTWAIT;
        match send(socket.as_raw_fd(), rest, flags) {
            Ok(length) => {
                self.sent = self.sent.saturating_add(length);
                self.progress = Instant::now();
            }
            Err(Errno::EAGAIN | Errno::EINTR) => {}
            // Not an error of its own: rsync's exit status tells.
            Err(_) => self.stdin = None,
        }
    }

    fn kill(&mut self, ended: Ended) -> Ended {
        // How it ends now is our doing and says nothing.
        let _ = self.end_group();
        ended
    }

    /// Takes the exit status, once nothing of the process group is left.
    fn reap(&mut self) -> Ended {
        match self.end_group() {
            Ok(WaitStatus::Exited(_, status)) => Ended::Exited(status),
            Ok(WaitStatus::Signaled(_, signal, _)) => Ended::Signalled(signal as i32),
            Ok(_) => Ended::Signalled(0),
            Err(error) => Ended::Failed(error.into()),
        }
    }

    fn end_group(&mut self) -> nix::Result<WaitStatus> {
        // Not reaped yet, so the number cannot have become that of another group.
        let _ = killpg(self.pid, Signal::SIGKILL);
        // What is still open is held by somebody who left the group: not waited for.
        for mut output in self.outputs.drain(..) {
            output.lines.finish(&mut |text| (self.run.line)(output.stream, text));
        }
        loop {
            match waitpid(self.pid, None) {
                Err(Errno::EINTR) => {}
                result => return result,
            }
        }
    }
}

impl Output {
    /// Reads what is there, and says how many bytes. `None` at the end.
    fn read(&mut self, line: &mut dyn FnMut(Stream, &[u8])) -> Option<usize> {
        let mut buffer = [0; READ];
        let stream = self.stream;
        let mut sink = |text: &[u8]| line(stream, text);
        match read(&self.pipe, &mut buffer) {
            Ok(length) if length > 0 => {
                self.lines.push(buffer.get(..length).unwrap_or_default(), &mut sink);
                Some(length)
            }
            Err(Errno::EINTR | Errno::EAGAIN) => Some(0),
            Ok(_) | Err(_) => {
                self.lines.finish(&mut sink);
                None
            }
        }
    }
}
