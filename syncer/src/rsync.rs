//! One run of rsync: spawned without a shell in a process group of its own, fed its list,
//! read, watched and always reaped.
//!
//! rsync has a timeout of its own, which a hostile remote can defeat. So a run that neither
//! moves bytes nor uses the CPU is killed, and so is one that lasts a day, or that was stopped.

use std::ffi::OsString;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use common::confine;
use common::message::BUSY_BEAT_SECS;
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{Signal, killpg};
use nix::sys::socket::{AddressFamily, MsgFlags, SockFlag, SockType, send, socketpair};
use nix::sys::wait::{Id, WaitPidFlag, WaitStatus, waitid, waitpid};
use nix::unistd::{Pid, read};

use crate::outcome::Ended;
use crate::tail::{Lines, Stream};
use crate::vital;

/// How long what rsync started may keep its outputs open after rsync itself has ended.
const GRACE: Duration = Duration::from_secs(1);
/// Longest pause between two looks at an rsync that has closed its outputs.
const LINGER: Duration = Duration::from_millis(50);

/// Whether there is more of the list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Feed {
    /// Ask again.
    More,
    /// That was all.
    End,
}

/// How long a run may take.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    /// Without any progress.
    pub(crate) no_progress: Duration,
    /// Altogether.
    pub(crate) total: Duration,
}

/// The sign of life that is due while we work.
pub(crate) struct Pulse<'a> {
    beat: &'a mut dyn FnMut(),
    next: Instant,
}

impl<'a> Pulse<'a> {
    /// The first beat is one interval away.
    pub(crate) fn new(beat: &'a mut dyn FnMut()) -> Pulse<'a> {
        Pulse { beat, next: after(Instant::now(), Duration::from_secs(BUSY_BEAT_SECS)) }
    }

    /// Beats if it is time, and says whether it was.
    pub(crate) fn tick(&mut self, now: Instant) -> bool {
        let due = now >= self.next;
        if due {
            (self.beat)();
            self.next = after(now, Duration::from_secs(BUSY_BEAT_SECS));
        }
        due
    }
}

/// What to run.
pub(crate) struct Run<'a> {
    /// Program and arguments.
    pub(crate) argv: &'a [OsString],
    /// The directory to run in.
    pub(crate) root: BorrowedFd<'a>,
    /// Appends a part of the list to the buffer; must return within milliseconds.
    pub(crate) feed: &'a mut dyn FnMut(&mut Vec<u8>) -> Feed,
    /// Takes each line that rsync says.
    pub(crate) line: &'a mut dyn FnMut(Stream, &[u8]),
    /// When to give up.
    pub(crate) limits: Limits,
}

impl<'a> Run<'a> {
    /// Runs it to its end.
    pub(crate) fn finish(self, pulse: &mut Pulse<'_>) -> Ended {
        match self.start() {
            Ok(mut session) => session.drive(pulse),
            Err(error) => Ended::Failed(error),
        }
    }

    fn start(self) -> io::Result<Session<'a>> {
        let no_program = || io::Error::from(io::ErrorKind::NotFound);
        let (program, arguments) = self.argv.split_first().ok_or_else(no_program)?;
        // A socket and not a pipe: writing to a closed one must not raise SIGPIPE.
        let (ours, theirs) = socketpair(AddressFamily::Unix, SockType::Stream, None, SockFlag::SOCK_CLOEXEC)?;
        let mut command = Command::new(program);
        command
            .args(arguments)
            .env_clear()
            .env("LC_ALL", "C")
            .env("PATH", "/usr/bin:/bin")
            // Not by name: rsync starts in the very directory that was compared.
            .current_dir(confine::fd_path(self.root))
            .process_group(0)
            .stdin(Stdio::from(theirs))
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        confine::die_with_parent(&mut command);
        let mut child = command.spawn()?;
        let pid = Pid::from_raw(i32::try_from(child.id()).map_err(io::Error::other)?);
        let output = child.stdout.take().map(|pipe| Output::new(Stream::Output, pipe.into()));
        let errors = child.stderr.take().map(|pipe| Output::new(Stream::Errors, pipe.into()));
        let now = Instant::now();
        Ok(Session {
            pid,
            stdin: Some(ours),
            outputs: output.into_iter().chain(errors).collect(),
            pending: Vec::new(),
            sent: 0,
            fed: Feed::More,
            ended: None,
            linger: Duration::from_millis(1),
            started: now,
            progress: now,
            signs: None,
            run: self,
        })
    }
}

/// One of rsync's outputs, open.
struct Output {
    stream: Stream,
    pipe: OwnedFd,
    lines: Lines,
}

impl Output {
    fn new(stream: Stream, pipe: OwnedFd) -> Output {
        Output { stream, pipe, lines: Lines::default() }
    }
}

/// A running rsync.
struct Session<'a> {
    run: Run<'a>,
    pid: Pid,
    /// `None` once the list is complete, or rsync wants no more of it.
    stdin: Option<OwnedFd>,
    outputs: Vec<Output>,
    pending: Vec<u8>,
    sent: usize,
    fed: Feed,
    /// When rsync was first seen to have ended; it is not reaped yet.
    ended: Option<Instant>,
    linger: Duration,
    started: Instant,
    progress: Instant,
    signs: Option<vital::Signs>,
}

impl Session<'_> {
    fn drive(&mut self, pulse: &mut Pulse<'_>) -> Ended {
        loop {
            let now = Instant::now();
            let due = pulse.tick(now);
            if due || self.outputs.is_empty() {
                match self.look(now) {
                    Ok(()) => {}
                    Err(ended) => return self.kill(ended),
                }
            }
            if self.ended.is_some_and(|at| self.outputs.is_empty() || now >= after(at, GRACE)) {
                return self.reap();
            }
            if due && let Some(ended) = self.overdue(now) {
                return self.kill(ended);
            }
            self.refill();
            let wait = self.wait(now, pulse.next);
            self.exchange(wait);
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

    fn overdue(&mut self, now: Instant) -> Option<Ended> {
        let signs = vital::signs(self.pid);
        // Signs that cannot be read prove nothing: then only the whole time counts.
        if signs.is_none() || signs != self.signs {
            self.progress = now;
            self.signs = signs;
        }
        let stuck = now.duration_since(self.progress) > self.run.limits.no_progress;
        let long = now.duration_since(self.started) > self.run.limits.total;
        (stuck || long).then_some(Ended::TimedOut)
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
        // Rounded up, so that what is waited for has come.
        until.saturating_duration_since(now).saturating_add(Duration::from_millis(1))
    }

    /// Waits for rsync to read or write, then does its part.
    fn exchange(&mut self, wait: Duration) {
        let mut fds: Vec<PollFd<'_>> =
            self.outputs.iter().map(|output| PollFd::new(output.pipe.as_fd(), PollFlags::POLLIN)).collect();
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
        let mut ready = ready.into_iter();
        self.outputs.retain_mut(|output| !ready.next().unwrap_or(false) || output.read(line));
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
    /// Reads what is there. False at the end.
    fn read(&mut self, line: &mut dyn FnMut(Stream, &[u8])) -> bool {
        let mut buffer = [0; 16 << 10];
        let stream = self.stream;
        let mut sink = |text: &[u8]| line(stream, text);
        match read(&self.pipe, &mut buffer) {
            Ok(length) if length > 0 => {
                self.lines.push(buffer.get(..length).unwrap_or_default(), &mut sink);
                true
            }
            Err(Errno::EINTR | Errno::EAGAIN) => true,
            Ok(_) | Err(_) => {
                self.lines.finish(&mut sink);
                false
            }
        }
    }
}

fn after(start: Instant, time: Duration) -> Instant {
    start.checked_add(time).unwrap_or(start)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::File;

    const SHORT: Limits = Limits { no_progress: Duration::from_secs(1), total: Duration::from_secs(60) };

    struct Seen {
        ended: Ended,
        lines: Vec<(Stream, String)>,
        beats: u32,
        took: Duration,
    }

    /// Runs a shell in place of rsync.
    fn shell(script: &str, limits: Limits, feed: &mut dyn FnMut(&mut Vec<u8>) -> Feed) -> Seen {
        let root = File::open("/").unwrap();
        let argv = ["/bin/sh", "-c", script].map(OsString::from);
        let (mut lines, mut beats, start) = (Vec::new(), 0, Instant::now());
        let mut line = |stream, text: &[u8]| lines.push((stream, String::from_utf8_lossy(text).into_owned()));
        let run = Run { argv: &argv, root: root.as_fd(), feed, line: &mut line, limits };
        let ended = run.finish(&mut Pulse::new(&mut || beats += 1));
        Seen { ended, lines, beats, took: start.elapsed() }
    }

    fn nothing(_: &mut Vec<u8>) -> Feed {
        Feed::End
    }

    #[test]
    fn status_and_both_outputs() {
        let seen = shell("echo out; echo err >&2; printf last; exit 23", SHORT, &mut nothing);
        assert!(matches!(seen.ended, Ended::Exited(23)));
        let mut lines = seen.lines;
        lines.sort_by(|a, b| a.1.cmp(&b.1));
        let wanted = [(Stream::Errors, "err"), (Stream::Output, "last"), (Stream::Output, "out")];
        assert_eq!(lines, wanted.map(|(stream, text)| (stream, text.to_owned())));
        assert!(seen.took < Duration::from_secs(1), "{:?}", seen.took);
    }

    #[test]
    fn directory_and_environment() {
        let seen = shell("pwd; env | sort", SHORT, &mut nothing);
        let lines: Vec<_> = seen.lines.iter().map(|(_, text)| text.as_str()).collect();
        assert_eq!(lines, ["/", "LC_ALL=C", "PATH=/usr/bin:/bin", "PWD=/"]);
    }

    #[test]
    fn the_list_arrives_whole() {
        let mut left = 3000;
        let seen = shell("sleep 0.1; wc -c", SHORT, &mut |buffer| {
            buffer.extend_from_slice(&[b'x'; 1000]);
            left -= 1;
            if left == 0 { Feed::End } else { Feed::More }
        });
        assert!(matches!(seen.ended, Ended::Exited(0)));
        assert_eq!(seen.lines[0].1.trim(), "3000000");
    }

    #[test]
    fn a_list_that_nobody_reads() {
        let mut endless = |buffer: &mut Vec<u8>| {
            buffer.extend_from_slice(&[b'x'; 30_000]);
            Feed::More
        };
        let seen = shell("exec <&-; echo enough; exit 5", SHORT, &mut endless);
        assert!(matches!(seen.ended, Ended::Exited(5)));
        assert_eq!(seen.lines.len(), 1);
    }

    #[test]
    fn a_flood() {
        let seen = shell("yes | head -c 2000000; exit 3", SHORT, &mut nothing);
        assert!(matches!(seen.ended, Ended::Exited(3)));
        assert_eq!(seen.lines.len(), 1_000_000);
    }

    #[test]
    fn stuck() {
        let seen = shell("sleep 300", SHORT, &mut nothing);
        assert!(matches!(seen.ended, Ended::TimedOut));
        assert!(seen.beats >= 2 && seen.took < Duration::from_secs(15), "{} {:?}", seen.beats, seen.took);
    }

    #[test]
    fn busy_but_too_long() {
        let limits = Limits { no_progress: Duration::from_secs(60), total: Duration::from_secs(1) };
        let seen = shell("while :; do :; done", limits, &mut nothing);
        assert!(matches!(seen.ended, Ended::TimedOut));
    }

    #[test]
    fn busy_is_not_stuck() {
        let seen =
            shell("n=0; while [ $n -lt 60 ]; do sleep 0.1; n=$((n+1)); done; exit 24", SHORT, &mut nothing);
        assert!(matches!(seen.ended, Ended::Exited(24)), "{:?}", seen.ended);
    }

    #[test]
    fn stopped() {
        let seen = shell("kill -STOP $$", SHORT, &mut nothing);
        assert!(matches!(seen.ended, Ended::Stopped));
    }

    #[test]
    fn killed_by_somebody() {
        let seen = shell("kill -TERM $$", SHORT, &mut nothing);
        assert!(matches!(seen.ended, Ended::Signalled(15)));
    }

    /// What rsync started does not outlive it, nor keep us waiting, wherever it went.
    #[test]
    fn outputs_that_stay_open() {
        for left_behind in ["sleep 300 &", "setsid sleep 20 &"] {
            let seen = shell(&format!("{left_behind} exit 12"), SHORT, &mut nothing);
            assert!(matches!(seen.ended, Ended::Exited(12)), "{:?}", seen.ended);
            assert!(seen.took < Duration::from_secs(10), "{:?}", seen.took);
        }
    }

    #[test]
    fn no_program() {
        let root = File::open("/").unwrap();
        let argv = [OsString::from("/nonexistent/rsync")];
        let run =
            Run { argv: &argv, root: root.as_fd(), feed: &mut nothing, line: &mut |_, _| {}, limits: SHORT };
        assert!(matches!(run.finish(&mut Pulse::new(&mut || {})), Ended::Failed(_)));
    }
}
