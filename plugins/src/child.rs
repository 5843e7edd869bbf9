//! A process seen through to its end: one loop that feeds it, reads it and watches the clock. It
//! may hang, flood, or stop reading. What it leaves running when it ends was meant to; when its
//! time is up, its whole process group is killed.

use std::ffi::OsString;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use bstr::ByteSlice;
use common::confine;
use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{Signal, killpg};
use nix::sys::wait::{Id, WaitPidFlag, WaitStatus, waitid, waitpid};
use nix::unistd::{Pid, read, write};

use crate::deliver::{after, left};

/// Where programs are looked for.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/// How long what it left running may keep its outputs open.
const GRACE: Duration = Duration::from_millis(200);
/// Shortest and longest pause between two looks whether it still runs.
const FIRST_LINGER: Duration = Duration::from_millis(1);
const LINGER: Duration = Duration::from_millis(50);
/// Longest line that is logged, in bytes before escaping.
const MAX_LINE: usize = 1000;

/// Takes each line that the process says.
type Sink<'a> = &'a mut dyn FnMut(Stream, &[u8]);

/// What to run.
pub(crate) struct Child<'a> {
    /// Program and arguments.
    pub(crate) argv: &'a [OsString],
    /// What the environment holds besides a path and a locale.
    pub(crate) variables: &'a [(&'static str, String)],
    /// For its standard input; `None` for `/dev/null`.
    pub(crate) input: Option<Vec<u8>>,
    /// When it is killed.
    pub(crate) deadline: Instant,
}

/// How it ended.
#[derive(Debug)]
pub(crate) enum Ended {
    /// With that status.
    Exited(i32),
    /// By that signal.
    Signalled(i32),
    /// It took too long and was killed.
    TimedOut,
    /// It never ran.
    NotStarted(io::Error),
}

/// Which of its two outputs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stream {
    /// Standard output.
    Output,
    /// Standard error.
    Errors,
}

impl Child<'_> {
    /// Runs it to its end. Each line of its outputs goes to `sink`.
    pub(crate) fn finish(self, sink: Sink<'_>) -> Ended {
        match self.start(Stdio::piped(), Stdio::piped()) {
            Ok(mut running) => running.drive(sink),
            Err(error) => Ended::NotStarted(error),
        }
    }

    /// The same with its outputs in `/dev/null`.
    pub(crate) fn finish_unheard(self) -> Ended {
        match self.start(Stdio::null(), Stdio::null()) {
            Ok(mut running) => running.drive(&mut |_, _| {}),
            Err(error) => Ended::NotStarted(error),
        }
    }

    fn start(self, stdout: Stdio, stderr: Stdio) -> io::Result<Running> {
        let no_program = || io::Error::from(io::ErrorKind::NotFound);
        let (program, arguments) = self.argv.split_first().ok_or_else(no_program)?;
        let mut command = Command::new(program);
        command
            .args(arguments)
            .env_clear()
            .env("PATH", PATH)
            .env("LC_ALL", "C.UTF-8")
            .envs(self.variables.iter().map(|(name, value)| (name, value)))
            .current_dir("/")
            .process_group(0)
            .stdin(if self.input.is_some() { Stdio::piped() } else { Stdio::null() })
            .stdout(stdout)
            .stderr(stderr);
        confine::die_with_parent(&mut command);
        let mut child = command.spawn()?;
        let pid = Pid::from_raw(i32::try_from(child.id()).map_err(io::Error::other)?);
        let stdin = child.stdin.take().map(OwnedFd::from);
        if let Some(pipe) = &stdin {
            fcntl(pipe, FcntlArg::F_SETFL(OFlag::O_NONBLOCK))?;
        }
        let output = child.stdout.take().map(|pipe| Output::new(Stream::Output, pipe.into()));
        let errors = child.stderr.take().map(|pipe| Output::new(Stream::Errors, pipe.into()));
        Ok(Running {
            pid,
            stdin,
            input: self.input.unwrap_or_default(),
            fed: 0,
            outputs: output.into_iter().chain(errors).collect(),
            deadline: self.deadline,
        })
    }
}

struct Running {
    pid: Pid,
    /// `None` once it has all of its input, or wants no more.
    stdin: Option<OwnedFd>,
    input: Vec<u8>,
    fed: usize,
    outputs: Vec<Output>,
    deadline: Instant,
}

impl Running {
    fn drive(&mut self, sink: Sink<'_>) -> Ended {
        let mut linger = FIRST_LINGER;
        let mut is_late = false;
        while !is_late && !self.has_ended() {
            let open = self.outputs.len();
            self.exchange(linger.min(left(self.deadline)), sink);
            // What closes its outputs is about to end.
            let is_closing = self.outputs.len() < open;
            linger = if is_closing { FIRST_LINGER } else { linger.saturating_mul(2).min(LINGER) };
            is_late = Instant::now() >= self.deadline;
        }
        if is_late {
            // It is not reaped yet, so the number cannot have become that of another group.
            let _ = killpg(self.pid, Signal::SIGKILL);
        }
        let status = self.reap();
        self.drain(sink);
        match status {
            _ if is_late => Ended::TimedOut,
            Ok(WaitStatus::Exited(_, status)) => Ended::Exited(status),
            Ok(WaitStatus::Signaled(_, signal, _)) => Ended::Signalled(signal as i32),
            Ok(_) => Ended::Signalled(0),
            Err(error) => Ended::NotStarted(error.into()),
        }
    }

    /// Looks without reaping it.
    fn has_ended(&self) -> bool {
        let flags = WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG | WaitPidFlag::WNOWAIT;
        !matches!(waitid(Id::Pid(self.pid), flags), Ok(WaitStatus::StillAlive) | Err(Errno::EINTR))
    }

    fn reap(&self) -> nix::Result<WaitStatus> {
        loop {
            match waitpid(self.pid, None) {
                Err(Errno::EINTR) => {}
                result => return result,
            }
        }
    }

    /// Reads what is left in its outputs.
    fn drain(&mut self, sink: Sink<'_>) {
        self.stdin = None;
        let end = after(Instant::now(), GRACE);
        while !self.outputs.is_empty() && Instant::now() < end {
            self.exchange(left(end), sink);
        }
        for output in &mut self.outputs {
            output.finish(sink);
        }
    }

    /// Waits for it to read or write, then does its part.
    fn exchange(&mut self, wait: Duration, sink: Sink<'_>) {
        let mut fds: Vec<PollFd<'_>> =
            self.outputs.iter().map(|output| PollFd::new(output.pipe.as_fd(), PollFlags::POLLIN)).collect();
        fds.extend(self.stdin.as_ref().map(|pipe| PollFd::new(pipe.as_fd(), PollFlags::POLLOUT)));
        if poll(&mut fds, PollTimeout::try_from(wait).unwrap_or(PollTimeout::MAX)).is_err() {
            return;
        }
        let ready: Vec<bool> = fds.iter().map(|fd| fd.any().unwrap_or(true)).collect();
        if ready.get(self.outputs.len()) == Some(&true) {
            self.feed();
        }
        let mut ready = ready.into_iter();
        self.outputs.retain_mut(|output| !ready.next().unwrap_or(false) || output.read(sink));
    }

    fn feed(&mut self) {
        let Some(pipe) = &self.stdin else { return };
        match write(pipe, self.input.get(self.fed..).unwrap_or_default()) {
            Ok(length) => self.fed = self.fed.saturating_add(length),
            Err(Errno::EAGAIN | Errno::EINTR) => return,
            // Not an error of its own: its exit status tells.
            Err(_) => self.fed = self.input.len(),
        }
        if self.fed >= self.input.len() {
            self.stdin = None;
        }
    }
}

/// One of its outputs, open.
struct Output {
    stream: Stream,
    pipe: OwnedFd,
    partial: Vec<u8>,
}

impl Output {
    fn new(stream: Stream, pipe: OwnedFd) -> Output {
        Output { stream, pipe, partial: Vec::new() }
    }

    /// Reads what is there. False at the end.
    fn read(&mut self, sink: Sink<'_>) -> bool {
        let mut buffer = [0; 16 << 10];
        match read(&self.pipe, &mut buffer) {
            Ok(length) if length > 0 => {
                self.push(buffer.get(..length).unwrap_or_default(), sink);
                true
            }
            Err(Errno::EINTR | Errno::EAGAIN) => true,
            Ok(_) | Err(_) => {
                self.finish(sink);
                false
            }
        }
    }

    fn push(&mut self, bytes: &[u8], sink: Sink<'_>) {
        for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
            let text = piece.strip_suffix(b"\n");
            let room = MAX_LINE.saturating_sub(self.partial.len());
            let kept = text.unwrap_or(piece);
            self.partial.extend_from_slice(kept.get(..room).unwrap_or(kept));
            if text.is_some() {
                self.finish(sink);
            }
        }
    }

    /// Hands out what is left without an end of line.
    fn finish(&mut self, sink: Sink<'_>) {
        if !self.partial.is_empty() {
            sink(self.stream, self.partial.trim_end_with(|ch| ch == '\r'));
        }
        self.partial.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::Said;
    use std::fs;

    struct Seen {
        ended: Ended,
        lines: Vec<(Stream, Vec<u8>)>,
        took: Duration,
    }

    fn shell(script: &str, input: Option<Vec<u8>>, seconds: u64) -> Seen {
        let argv = ["/bin/sh", "-c", script].map(OsString::from);
        let (mut lines, start) = (Vec::new(), Instant::now());
        let deadline = after(start, Duration::from_secs(seconds));
        let child = Child { argv: &argv, variables: &[("SERSYNC_MASK", "8".to_owned())], input, deadline };
        let ended = child.finish(&mut |stream, line| lines.push((stream, line.to_vec())));
        Seen { ended, lines, took: start.elapsed() }
    }

    fn output(script: &str, input: Option<Vec<u8>>) -> String {
        let seen = shell(script, input, 20);
        assert!(matches!(seen.ended, Ended::Exited(0)), "{:?}", seen.ended);
        seen.lines.iter().map(|(_, line)| String::from_utf8_lossy(line) + "\n").collect()
    }

    #[test]
    fn status_and_both_outputs() {
        let seen = shell("echo out; echo err >&2; printf last; exit 23", None, 20);
        assert!(matches!(seen.ended, Ended::Exited(23)));
        let mut lines = seen.lines;
        lines.sort_by(|a, b| a.1.cmp(&b.1));
        let wanted = [(Stream::Errors, "err"), (Stream::Output, "last"), (Stream::Output, "out")];
        assert_eq!(lines, wanted.map(|(stream, text)| (stream, text.as_bytes().to_vec())));
        assert!(matches!(shell("kill -TERM $$", None, 20).ended, Ended::Signalled(15)));
    }

    #[test]
    fn surroundings() {
        let wanted = format!("/\nLC_ALL=C.UTF-8\nPATH={PATH}\nPWD=/\nSERSYNC_MASK=8\n");
        assert_eq!(output("pwd; env | LC_ALL=C sort", None), wanted);
        assert_eq!(output("readlink /proc/self/fd/0", None), "/dev/null\n");
        // A group of its own, and no signal blocked.
        assert_eq!(output("test $$ = $(ps -o pgid= -p $$) && echo own", None), "own\n");
        assert_eq!(output("grep SigBlk /proc/self/status", None), "SigBlk:\t0000000000000000\n");
    }

    #[test]
    fn input() {
        let large = vec![b'x'; 3_000_000];
        assert_eq!(output("sleep 0.1; wc -c", Some(large.clone())), "3000000\n");
        assert_eq!(output("cat /dev/stdin", Some(b"a\nb".to_vec())), "a\nb\n");
        assert_eq!(output("exec <&-; echo enough", Some(large)), "enough\n");
        // It writes before it reads: both ways at once.
        let both = output("cat", Some(b"line\n".repeat(100_000)));
        assert_eq!(both.lines().count(), 100_000);
    }

    #[test]
    fn what_is_kept_of_a_flood() {
        let seen = shell("yes | head -c 200000; head -c 5000 /dev/zero | tr '\\0' y; exit 3", None, 20);
        assert!(matches!(seen.ended, Ended::Exited(3)));
        assert_eq!(seen.lines.len(), 100_001);
        assert_eq!(seen.lines[100_000].1, [b'y'; MAX_LINE]);
        let mut said = Said::default();
        let logged: Vec<_> =
            seen.lines.iter().filter_map(|(stream, line)| said.line(*stream, line)).collect();
        assert_eq!((logged.len(), logged[0].as_str()), (100, "out: y"));
        assert_eq!(said.last().as_deref(), Some("out: lines_left_out=99901"));
        assert_eq!(Said::default().line(Stream::Errors, b"\x1b[2J\xff").unwrap(), "err: \\u{1b}[2J\\xff");
        assert_eq!(Said::default().last(), None);
    }

    #[test]
    fn a_flood_without_end() {
        let seen = shell("exec yes", None, 1);
        assert!(matches!(seen.ended, Ended::TimedOut), "{:?}", seen.ended);
        assert!(seen.took < Duration::from_secs(3), "{:?}", seen.took);
    }

    #[test]
    fn stuck_or_stopped() {
        for script in ["sleep 300", "exec >&- 2>&-; sleep 300", "kill -STOP $$", "trap '' TERM; sleep 300"] {
            let seen = shell(script, None, 1);
            assert!(matches!(seen.ended, Ended::TimedOut), "{script}: {:?}", seen.ended);
            assert!(seen.took < Duration::from_secs(3), "{script}: {:?}", seen.took);
        }
    }

    /// A hook may start a service: that is not waited for, and lives on. One that takes too long
    /// goes with all that it started.
    #[test]
    fn what_it_leaves_behind() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("pid");
        let state = |pid: &str| fs::read_to_string(format!("/proc/{}/stat", pid.trim())).unwrap_or_default();
        let is_gone = |pid: &str| state(pid).is_empty() || state(pid).contains(") Z ");
        let script = |last: &str| format!("sleep 300 & echo $! > {}; {last}", file.display());
        let seen = shell(&script("exit 12"), None, 20);
        assert!(matches!(seen.ended, Ended::Exited(12)), "{:?}", seen.ended);
        assert!(seen.took < Duration::from_secs(3), "{:?}", seen.took);
        let pid = fs::read_to_string(&file).unwrap();
        assert!(!is_gone(&pid), "{}", state(&pid));
        nix::sys::signal::kill(Pid::from_raw(pid.trim().parse().unwrap()), Signal::SIGKILL).unwrap();
        let seen = shell(&script("wait"), None, 1);
        assert!(matches!(seen.ended, Ended::TimedOut), "{:?}", seen.ended);
        let pid = fs::read_to_string(&file).unwrap();
        let end = after(Instant::now(), Duration::from_secs(10));
        while !is_gone(&pid) {
            assert!(Instant::now() < end, "{}", state(&pid));
            std::thread::yield_now();
        }
    }

    #[test]
    fn what_cannot_be_started() {
        for program in ["/nonexistent", "/etc/passwd", "/", ""] {
            let deadline = after(Instant::now(), Duration::from_secs(5));
            let argv = [OsString::from(program)];
            let child = Child { argv: &argv, variables: &[], input: None, deadline };
            assert!(matches!(child.finish_unheard(), Ended::NotStarted(_)), "{program}");
        }
    }
}
