//! One run of rsync: what it is given, and how long it may take. It is spawned without a shell
//! in a process group of its own; [`crate::session`] sees it through.
//!
//! rsync has a timeout of its own, which a hostile remote can defeat. So a run that neither
//! moves bytes nor uses the CPU is killed, and so is one that lasts a day, or that was stopped.

use std::ffi::OsString;
use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::rc::Rc;
use std::time::{Duration, Instant};

use common::confine::{self, Confined};
use common::message::{Advance, BUSY_BEAT_SECS};
use nix::sys::socket::{AddressFamily, SockFlag, SockType, socketpair};
use nix::unistd::Pid;

use crate::meter::Meter;
use crate::outcome::Ended;
use crate::session::{Output, Session};
use crate::tail::Stream;

/// Longest run of rsync.
const MAX_RUN: Duration = Duration::from_hours(24);
/// Shortest time without progress after which a run is ended. rsync's own timeout comes first; this
/// is for a remote that defeats it. Long enough for one that is only slow: at the end of a
/// transfer there may be nothing but a sign of life each half timeout, of some 30 µs.
const BELT: (Duration, Duration) = (Duration::from_mins(30), Duration::from_millis(1));
/// So many times rsync's own timeout a list may be gone through without a word.
const SILENCES: u32 = 5;
/// The same when the user has switched rsync's timeout off. One that hangs wakes each minute.
const NO_TIMEOUT: (Duration, Duration) = (Duration::from_hours(1), Duration::from_millis(10));

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
    /// rsync's own timeout, where rsync itself does not look after it.
    pub(crate) silence: Duration,
    /// CPU time that counts as progress.
    pub(crate) work: Duration,
    /// Altogether.
    pub(crate) total: Duration,
}

impl Limits {
    /// For runs with that `--timeout`, in seconds; 0 for none.
    pub(crate) fn with_timeout(timeout: u32) -> Limits {
        let (no_progress, work) = match timeout {
            0 => NO_TIMEOUT,
            seconds => (BELT.0.max(Duration::from_secs(seconds.into()).saturating_mul(10)), BELT.1),
        };
        let silence = if timeout == 0 { no_progress } else { Duration::from_secs(timeout.into()) };
        Limits { no_progress, silence, work, total: MAX_RUN }
    }

    /// For a list that has no timeout of its own.
    pub(crate) fn alone(self) -> Limits {
        Limits { no_progress: self.silence.saturating_mul(SILENCES).min(self.no_progress), ..self }
    }

    /// The same for a few names and an rsync that has waited: its connection may be no more, and a new
    /// one is started next.
    pub(crate) fn resumed(self) -> Limits {
        Limits { no_progress: self.silence, ..self }
    }
}

/// How far the first signs of life of a job are apart. The second one is the first that can tell whether
/// anything moves; while nothing does others go in its place, and they shall not wait for long.
const FIRST_BEATS: [Duration; 2] = [Duration::from_millis(200), Duration::from_millis(800)];

/// What a sign of life tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pace {
    /// rsync has moved bytes or used the CPU since the last one, as far as can be seen.
    Moving,
    /// It has done nothing at all.
    Stalled,
    /// It has said how far the job has come.
    Advanced(Advance),
}

/// The sign of life that is due while we work.
pub(crate) struct Pulse<'a> {
    beat: &'a mut dyn FnMut(Pace),
    next: Instant,
    beats: usize,
    meter: Rc<Meter>,
}

impl<'a> Pulse<'a> {
    /// The first beat is not far away.
    pub(crate) fn new(beat: &'a mut dyn FnMut(Pace)) -> Pulse<'a> {
        let mut pulse = Pulse { beat, next: Instant::now(), beats: 0, meter: Rc::new(Meter::new()) };
        pulse.follow(pulse.next);
        pulse
    }

    /// What hears how far the job has come.
    pub(crate) fn meter(&self) -> &Rc<Meter> {
        &self.meter
    }

    /// Tells how far the job has come, if that is due.
    pub(crate) fn advance(&mut self, now: Instant) {
        if let Some(advance) = self.meter.due(now) {
            (self.beat)(Pace::Advanced(advance));
        }
    }

    /// Whether it is time.
    pub(crate) fn is_due(&self, now: Instant) -> bool {
        now >= self.next
    }

    /// Beats.
    pub(crate) fn beat(&mut self, now: Instant, pace: Pace) {
        (self.beat)(pace);
        self.follow(now);
    }

    fn follow(&mut self, now: Instant) {
        let usual = Duration::from_secs(BUSY_BEAT_SECS);
        self.next = after(now, FIRST_BEATS.get(self.beats).copied().unwrap_or(usual));
        self.beats = self.beats.saturating_add(1);
    }

    /// When the next one is due, or rsync is to be asked how far it has come.
    pub(crate) fn next(&self) -> Instant {
        self.meter.ask_at().map_or(self.next, |at| at.min(self.next))
    }
}

/// What to run.
pub(crate) struct Run<'a> {
    /// Program and arguments.
    pub(crate) argv: &'a [OsString],
    /// The directory to run in.
    pub(crate) root: BorrowedFd<'a>,
    /// What bounds it.
    pub(crate) confined: &'a Confined,
    /// Appends a part of the list to the buffer; must return within milliseconds.
    pub(crate) feed: &'a mut dyn FnMut(&mut Vec<u8>) -> Feed,
    /// Takes each line that rsync says.
    pub(crate) line: &'a mut dyn FnMut(Stream, &[u8]),
    /// When to give up.
    pub(crate) limits: Limits,
}

impl Run<'_> {
    /// Runs it to its end.
    pub(crate) fn finish(self, pulse: &mut Pulse<'_>) -> Ended {
        match Spawned::start(self.argv, self.root, self.confined) {
            Ok(spawned) => self.resume(spawned, pulse),
            Err(error) => Ended::Failed(error),
        }
    }

    /// The same, with a process that was started before.
    pub(crate) fn resume(self, spawned: Spawned, pulse: &mut Pulse<'_>) -> Ended {
        Session::new(self, spawned).drive(pulse)
    }
}

/// A process that runs and has not been given its list.
pub(crate) struct Spawned {
    /// Also its process group.
    pub(crate) pid: Pid,
    /// Where its list goes.
    pub(crate) stdin: OwnedFd,
    /// What it says.
    pub(crate) outputs: Vec<Output>,
}

impl Spawned {
    /// Starts `argv` in the directory `root`, with less than what is `confined` has.
    pub(crate) fn start(argv: &[OsString], root: BorrowedFd<'_>, confined: &Confined) -> io::Result<Spawned> {
        let no_program = || io::Error::from(io::ErrorKind::NotFound);
        let (program, arguments) = argv.split_first().ok_or_else(no_program)?;
        // A socket and not a pipe: writing to a closed one must not raise SIGPIPE.
        let (ours, theirs) = socketpair(AddressFamily::Unix, SockType::Stream, None, SockFlag::SOCK_CLOEXEC)?;
        let mut command = Command::new(program);
        command
            .args(arguments)
            .env_clear()
            .env("LC_ALL", "C")
            .env("PATH", "/usr/bin:/bin")
            // Names are asked for over TCP: the sandbox knows no UDP.
            .env("RES_OPTIONS", confine::RESOLVER_OPTIONS)
            // Not by name: rsync starts in the very directory that was compared.
            .current_dir(confine::fd_path(root))
            .process_group(0)
            .stdin(Stdio::from(theirs))
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        confined.prepare(&mut command);
        let mut child = command.spawn()?;
        let pid = Pid::from_raw(i32::try_from(child.id()).map_err(io::Error::other)?);
        let output = child.stdout.take().map(|pipe| Output::new(Stream::Output, pipe.into()));
        let errors = child.stderr.take().map(|pipe| Output::new(Stream::Errors, pipe.into()));
        Ok(Spawned { pid, stdin: ours, outputs: output.into_iter().chain(errors).collect() })
    }
}

/// A moment that far ahead.
pub(crate) fn after(start: Instant, time: Duration) -> Instant {
    start.checked_add(time).unwrap_or(start)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::File;
    use std::os::fd::AsFd;

    const SHORT: Limits = Limits {
        no_progress: Duration::from_secs(1),
        silence: Duration::from_secs(1),
        work: Duration::from_millis(1),
        total: Duration::from_mins(1),
    };

    struct Seen {
        ended: Ended,
        lines: Vec<(Stream, String)>,
        beats: Vec<Pace>,
        took: Duration,
    }

    /// Runs a shell in place of rsync.
    fn shell(script: &str, limits: Limits, feed: &mut dyn FnMut(&mut Vec<u8>) -> Feed) -> Seen {
        let root = File::open("/").unwrap();
        let argv = ["/bin/sh", "-c", script].map(OsString::from);
        let (mut lines, mut beats, start) = (Vec::new(), Vec::new(), Instant::now());
        let mut line = |stream, text: &[u8]| lines.push((stream, String::from_utf8_lossy(text).into_owned()));
        let confined = Confined::not();
        let run = Run { argv: &argv, root: root.as_fd(), confined: &confined, feed, line: &mut line, limits };
        let ended = run.finish(&mut Pulse::new(&mut |pace| beats.push(pace)));
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
        assert_eq!(lines, ["/", "LC_ALL=C", "PATH=/usr/bin:/bin", "PWD=/", "RES_OPTIONS=use-vc"]);
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
            buffer.extend_from_slice(&[b'x'; 10_000]);
            Feed::More
        };
        let seen = shell("exec <&-; echo enough; exit 5", SHORT, &mut endless);
        assert!(matches!(seen.ended, Ended::Exited(5)));
        assert_eq!(seen.lines.len(), 1);
    }

    #[test]
    fn little_by_little() {
        let script = "n=0; while [ $n -lt 300 ]; do echo $n; n=$((n+1)); done; echo err >&2; exit 7";
        let seen = shell(script, SHORT, &mut nothing);
        assert!(matches!(seen.ended, Ended::Exited(7)));
        assert_eq!(seen.lines.iter().filter(|(stream, _)| *stream == Stream::Output).count(), 300);
        assert_eq!(seen.lines.len(), 301);
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
        assert!(seen.beats.len() >= 2 && seen.took < Duration::from_secs(15), "{:?}", seen.took);
        // What was there before the first look cannot be told.
        assert!(seen.beats.iter().skip(1).all(|pace| *pace == Pace::Stalled), "{:?}", seen.beats);
    }

    #[test]
    fn busy_but_too_long() {
        let limits = Limits { no_progress: Duration::from_mins(1), total: Duration::from_secs(1), ..SHORT };
        let seen = shell("while :; do :; done", limits, &mut nothing);
        assert!(matches!(seen.ended, Ended::TimedOut));
    }

    #[test]
    fn busy_is_not_stuck() {
        let seen =
            shell("n=0; while [ $n -lt 60 ]; do sleep 0.1; n=$((n+1)); done; exit 24", SHORT, &mut nothing);
        assert!(matches!(seen.ended, Ended::Exited(24)), "{:?}", seen.ended);
        // On a busy machine one beat may follow upon another before anything was done.
        let moving = seen.beats.iter().filter(|pace| **pace == Pace::Moving).count();
        assert!(moving >= 2 && moving > seen.beats.len() / 2, "{:?}", seen.beats);
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
        let (root, confined) = (root.as_fd(), &Confined::not());
        let (feed, line) = (&mut nothing, &mut |_, _: &[u8]| {});
        let run = Run { argv: &argv, root, confined, feed, line, limits: SHORT };
        assert!(matches!(run.finish(&mut Pulse::new(&mut |_| {})), Ended::Failed(_)));
    }
}
