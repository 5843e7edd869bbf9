//! One connection to the control socket: a command comes in, an answer goes out, and neither is
//! ever waited for.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use common::exit::Exit;
use nix::errno::Errno;
use nix::poll::PollFlags;
use nix::sys::socket::{MsgFlags, recv, send};

use super::PATIENCE;
use crate::control::protocol::{MAX_REQUEST, Malformed, Reply, Request};

/// How long an answer may lie there unread: as long as somebody looks at a page of it.
const UNREAD: Duration = Duration::from_secs(600);

/// What a client did.
#[derive(Debug)]
pub(super) enum Heard {
    /// Nothing that counts.
    Nothing,
    /// It said its command, the only one.
    Command(Request),
    /// It hung up, or is given up.
    Left,
}

/// A connection, and how far it got.
#[derive(Debug)]
pub(super) struct Connection {
    /// The client's process, for the log.
    pub(super) pid: i32,
    socket: UnixStream,
    phase: Phase,
    /// What is still to be sent.
    answer: Vec<u8>,
    /// When an answer that nobody reads has waited long enough.
    unread_until: Option<Duration>,
}

#[derive(Debug)]
enum Phase {
    /// It is saying its command.
    Asking { heard: Vec<u8>, until: Duration },
    /// Its command is being carried out.
    Served,
    /// All has been said; what waits is still to be sent.
    Ending,
}

impl Connection {
    /// A client that has until then to say its command.
    pub(super) fn new(socket: UnixStream, pid: i32, until: Duration) -> io::Result<Connection> {
        socket.set_nonblocking(true)?;
        let phase = Phase::Asking { heard: Vec::new(), until };
        Ok(Connection { pid, socket, phase, answer: Vec::new(), unread_until: None })
    }

    /// What to poll for. Also a client that is only waited for may hang up.
    pub(super) fn wants(&self) -> (BorrowedFd<'_>, PollFlags) {
        let mut flags = match self.phase {
            Phase::Asking { .. } | Phase::Served => PollFlags::POLLIN,
            // A hang-up is told without being asked for. What it says now is not read.
            Phase::Ending => PollFlags::empty(),
        };
        flags.set(PollFlags::POLLOUT, self.queued() > 0);
        (self.socket.as_fd(), flags)
    }

    pub(super) fn deadline(&self) -> Option<Duration> {
        let asking = match self.phase {
            Phase::Asking { until, .. } => Some(until),
            Phase::Served | Phase::Ending => None,
        };
        asking.into_iter().chain(self.unread_until).min()
    }

    /// Whether its command is being carried out.
    pub(super) fn is_served(&self) -> bool {
        match self.phase {
            Phase::Served => true,
            Phase::Asking { .. } | Phase::Ending => false,
        }
    }

    /// Bytes that wait.
    pub(super) fn queued(&self) -> usize {
        self.answer.len()
    }

    /// Whether nothing is left to do but to close it.
    pub(super) fn is_over(&self) -> bool {
        match self.phase {
            Phase::Ending => self.answer.is_empty(),
            Phase::Asking { .. } | Phase::Served => false,
        }
    }

    /// Adds to what waits.
    pub(super) fn queue(&mut self, line: &[u8]) {
        self.answer.extend_from_slice(line);
    }

    /// Nothing will be said any more.
    pub(super) fn end(&mut self) {
        self.phase = Phase::Ending;
        // Who cannot be told any more is found out by the next round.
        let _ = self.send();
    }

    /// Says why not, and that this is all.
    pub(super) fn refuse(&mut self, why: &str, exit: Exit) {
        self.queue(&Reply::line(why).encode());
        self.queue(&Reply::End { exit: exit.code() }.encode());
        self.end();
    }

    /// Sends what can be sent, reads what can be read.
    pub(super) fn hear(&mut self, now: Duration) -> Heard {
        let before = self.queued();
        if self.send().is_err() {
            return Heard::Left;
        }
        if self.queued() == 0 {
            self.unread_until = None;
        } else if self.queued() < before || self.unread_until.is_none() {
            self.unread_until = Some(now.saturating_add(UNREAD));
        }
        if self.unread_until.is_some_and(|until| now >= until) {
            return Heard::Left;
        }
        match &self.phase {
            Phase::Asking { until, .. } if now >= *until => {
                self.refuse(&format!("no command came within {} s", PATIENCE.as_secs()), Exit::Usage);
                Heard::Nothing
            }
            Phase::Asking { .. } => self.read_command(),
            Phase::Served if self.has_more_to_say() => Heard::Left,
            Phase::Served | Phase::Ending => Heard::Nothing,
        }
    }

    fn read_command(&mut self) -> Heard {
        let Phase::Asking { heard, .. } = &mut self.phase else { return Heard::Nothing };
        // One byte more than may be, to see that it is too much.
        let mut buffer = [0; MAX_REQUEST + 1];
        let room = buffer.len().saturating_sub(heard.len());
        let read = match recv(self.socket.as_raw_fd(), buffer.get_mut(..room).unwrap_or_default(), DONT_WAIT)
        {
            Ok(0) => return Heard::Left,
            Ok(read) => read,
            Err(Errno::EAGAIN | Errno::EINTR) => return Heard::Nothing,
            Err(_) => return Heard::Left,
        };
        heard.extend_from_slice(buffer.get(..read).unwrap_or_default());
        let command = match heard.iter().position(|&byte| byte == b'\n') {
            None if heard.len() <= MAX_REQUEST => return Heard::Nothing,
            None => Err(Malformed::TooLong.to_string()),
            Some(end) if end.saturating_add(1) < heard.len() => Err("more than one command".to_owned()),
            Some(end) => {
                Request::decode(heard.get(..end).unwrap_or_default()).map_err(|error| error.to_string())
            }
        };
        match command {
            Ok(request) => {
                self.phase = Phase::Served;
                Heard::Command(request)
            }
            Err(why) => {
                self.refuse(&why, Exit::Usage);
                Heard::Nothing
            }
        }
    }

    /// True also when it hung up. One command is all that a client has to say.
    fn has_more_to_say(&self) -> bool {
        match recv(self.socket.as_raw_fd(), &mut [0], DONT_WAIT) {
            Ok(_) => true,
            Err(error) => !matches!(error, Errno::EAGAIN | Errno::EINTR),
        }
    }

    /// Sends as much as the client's socket takes.
    fn send(&mut self) -> Result<(), Errno> {
        let mut taken = 0_usize;
        while let Some(rest) = self.answer.get(taken..).filter(|rest| !rest.is_empty()) {
            match send(self.socket.as_raw_fd(), rest, DONT_WAIT | MsgFlags::MSG_NOSIGNAL) {
                Ok(sent) => taken = taken.saturating_add(sent),
                Err(Errno::EINTR) => {}
                Err(Errno::EAGAIN) => break,
                Err(error) => return Err(error),
            }
        }
        self.answer.drain(..taken.min(self.answer.len()));
        Ok(())
    }
}

const DONT_WAIT: MsgFlags = MsgFlags::MSG_DONTWAIT;
