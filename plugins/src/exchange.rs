//! TCP connections over one poll loop: each takes one request, and what the peer says to it.
//!
//! The peer is hostile: it may refuse, hang, break off, or talk without end. Each exchange has a
//! deadline of its own and takes a few kilobytes.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::os::fd::{AsFd, AsRawFd};
use std::slice;
use std::time::{Duration, Instant};

use bstr::ByteSlice;
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{AddressFamily, SockFlag, SockType, SockaddrStorage, connect, socket};

use crate::deliver::{after, left};

/// Most bytes of an answer that are kept.
pub(crate) const MAX_ANSWER: usize = 4096;

/// How exchanges go.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Rules<'a> {
    /// Where to: tried in this order.
    pub(crate) addresses: &'a [SocketAddr],
    /// How many at once.
    pub(crate) width: usize,
    /// How long each may take.
    pub(crate) patience: Duration,
    /// What is waited for once the request is out.
    pub(crate) parting: Parting,
}

/// What is waited for once the request is out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Parting {
    /// We say that this was all, and wait that long for the peer to close too. What it says is
    /// thrown away.
    Close(Duration),
    /// The head of an answer.
    Answer,
}

/// How an exchange ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum End {
    /// The request is out, and the answer is complete, or the peer has closed.
    Over(Vec<u8>),
    /// The request is out; time ran out while more was waited for.
    Waiting(Vec<u8>),
    /// All was written, but the peer broke the connection off, as it does when it closes
    /// with something unread.
    Broken {
        /// What it said before.
        answer: Vec<u8>,
        /// Why.
        reason: String,
    },
    /// The request could not be sent.
    Failed {
        /// What failed: `connect` or `send`.
        step: &'static str,
        /// Why.
        reason: String,
    },
}

/// Whether another exchange is begun.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Onward {
    /// Yes.
    More,
    /// No; those under way are finished.
    Stop,
}

/// Sends each of `requests`, begun in order; hands out the number of each and its end as it comes.
pub(crate) fn exchange(
    rules: Rules<'_>,
    requests: &mut dyn Iterator<Item = Vec<u8>>,
    ended: &mut dyn FnMut(usize, End) -> Onward,
) {
    let mut numbered = requests.enumerate();
    let mut onward = Onward::More;
    let mut live: Vec<Exchange<'_>> = Vec::new();
    loop {
        while onward == Onward::More && live.len() < rules.width {
            match numbered.next() {
                Some((number, request)) => live.push(Exchange::new(number, request, rules)),
                None => onward = Onward::Stop,
            }
        }
        if live.is_empty() {
            return;
        }
        let before = live.len();
        live.retain_mut(|one| {
            let Some(end) = one.step() else { return true };
            if ended(one.number, end) == Onward::Stop {
                onward = Onward::Stop;
            }
            false
        });
        if live.len() == before {
            wait(&live);
        }
    }
}

fn wait(live: &[Exchange<'_>]) {
    let mut fds: Vec<_> = live.iter().filter_map(Exchange::awaited).collect();
    let next = live.iter().map(Exchange::due).min().map_or(Duration::ZERO, left);
    // Whatever it says, each exchange looks for itself.
    let _ = poll(&mut fds, PollTimeout::try_from(next).unwrap_or(PollTimeout::MAX));
}

#[derive(Debug, Clone, Copy)]
enum State {
    /// Until then; the next address has its turn after that.
    Connecting(Instant),
    /// So many bytes are out.
    Sending(usize),
    Receiving,
}

struct Exchange<'a> {
    number: usize,
    request: Vec<u8>,
    answer: Vec<u8>,
    parting: Parting,
    untried: slice::Iter<'a, SocketAddr>,
    stream: Option<TcpStream>,
    state: State,
    deadline: Instant,
    /// Why the last address did not do.
    reason: String,
}

impl<'a> Exchange<'a> {
    fn new(number: usize, request: Vec<u8>, rules: Rules<'a>) -> Exchange<'a> {
        let now = Instant::now();
        Exchange {
            number,
            request,
            answer: Vec::new(),
            parting: rules.parting,
            untried: rules.addresses.iter(),
            stream: None,
            state: State::Connecting(now),
            deadline: after(now, rules.patience),
            reason: "no address".to_owned(),
        }
    }

    fn awaited(&self) -> Option<PollFd<'_>> {
        let flags = match self.state {
            State::Connecting(_) | State::Sending(_) => PollFlags::POLLOUT,
            State::Receiving => PollFlags::POLLIN,
        };
        self.stream.as_ref().map(|stream| PollFd::new(stream.as_fd(), flags))
    }

    fn due(&self) -> Instant {
        match self.state {
            State::Connecting(until) => until.min(self.deadline),
            State::Sending(_) | State::Receiving => self.deadline,
        }
    }

    /// Does what can be done without waiting: a bounded piece, so that a peer that is always
    /// ready does not keep the others, or the clock, from their turn.
    fn step(&mut self) -> Option<End> {
        if let State::Connecting(until) = self.state {
            match self.connect(until) {
                Ok(true) => self.state = State::Sending(0),
                Ok(false) => return None,
                Err(reason) => return Some(End::Failed { step: "connect", reason }),
            }
        }
        if let State::Sending(sent) = self.state {
            match self.send(sent) {
                Ok(true) => self.part(),
                Ok(false) => return None,
                Err(reason) => return Some(End::Failed { step: "send", reason }),
            }
        }
        self.receive()
    }

    /// False while it is under way; an error when no address is left.
    fn connect(&mut self, until: Instant) -> Result<bool, String> {
        if let Some(stream) = &self.stream {
            match stream.take_error() {
                Ok(None) if stream.peer_addr().is_ok() => return Ok(true),
                Ok(None) if Instant::now() < until => return Ok(false),
                Ok(None) => "timed out".clone_into(&mut self.reason),
                Ok(Some(error)) | Err(error) => self.reason = error.to_string(),
            }
        }
        loop {
            // What is left of the time is shared by the addresses that are left.
            let shares = u32::try_from(self.untried.len()).unwrap_or(1).max(1);
            let time = self.deadline.saturating_duration_since(Instant::now());
            let Some(address) = self.untried.next() else { return Err(self.reason.clone()) };
            match dial(*address) {
                Ok(stream) => {
                    self.stream = Some(stream);
                    let share = time.checked_div(shares).unwrap_or(time);
                    self.state = State::Connecting(after(Instant::now(), share));
                    return Ok(false);
                }
                Err(error) => self.reason = error.to_string(),
            }
        }
    }

    /// True once all is out.
    fn send(&mut self, sent: usize) -> Result<bool, String> {
        let rest = self.request.get(sent..).unwrap_or_default();
        let Some(stream) = &mut self.stream else { return Err(self.reason.clone()) };
        if rest.is_empty() {
            return Ok(true);
        }
        match stream.write(rest) {
            Ok(length) => {
                let sent = sent.saturating_add(length);
                self.state = State::Sending(sent);
                Ok(sent >= self.request.len())
            }
            Err(error) if is_passing(&error) && Instant::now() < self.deadline => Ok(false),
            Err(error) if is_passing(&error) => Err("timed out".to_owned()),
            Err(error) => Err(error.to_string()),
        }
    }

    fn part(&mut self) {
        self.state = State::Receiving;
        match self.parting {
            Parting::Answer => {}
            Parting::Close(patience) => {
                self.deadline = self.deadline.min(after(Instant::now(), patience));
                // When it fails the peer has closed already, which reading shows.
                let _ = self.stream.as_ref().map(|stream| stream.shutdown(Shutdown::Write));
            }
        }
    }

    fn receive(&mut self) -> Option<End> {
        let mut buffer = [0; MAX_ANSWER];
        let got = self.stream.as_mut().map_or(Ok(0), |stream| stream.read(&mut buffer));
        match got {
            Ok(length) if length > 0 => self.keep(buffer.get(..length).unwrap_or_default()),
            Ok(_) => return Some(self.closed()),
            Err(error) if is_passing(&error) => {}
            Err(error) => return Some(self.broken(&error)),
        }
        if self.parting == Parting::Answer && is_complete(&self.answer) {
            return Some(End::Over(std::mem::take(&mut self.answer)));
        }
        (Instant::now() >= self.deadline).then(|| End::Waiting(std::mem::take(&mut self.answer)))
    }

    /// A peer that closed before the request came has the system answer it with a reset, which
    /// reading does not show once the end of the stream was there.
    fn closed(&mut self) -> End {
        match self.stream.as_ref().map(TcpStream::take_error) {
            Some(Ok(Some(error)) | Err(error)) => self.broken(&error),
            Some(Ok(None)) | None => End::Over(std::mem::take(&mut self.answer)),
        }
    }

    fn broken(&mut self, error: &io::Error) -> End {
        End::Broken { answer: std::mem::take(&mut self.answer), reason: error.to_string() }
    }

    fn keep(&mut self, bytes: &[u8]) {
        match self.parting {
            Parting::Close(_) => {}
            Parting::Answer => {
                let room = MAX_ANSWER.saturating_sub(self.answer.len());
                self.answer.extend_from_slice(bytes.get(..room).unwrap_or(bytes));
            }
        }
    }
}

fn is_complete(answer: &[u8]) -> bool {
    answer.len() >= MAX_ANSWER || answer.contains_str(b"\r\n\r\n") || answer.contains_str(b"\n\n")
}

fn is_passing(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted)
}

/// Begins to connect.
fn dial(address: SocketAddr) -> io::Result<TcpStream> {
    let family = match address {
        SocketAddr::V4(_) => AddressFamily::Inet,
        SocketAddr::V6(_) => AddressFamily::Inet6,
    };
    let flags = SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC;
    let socket = socket(family, SockType::Stream, flags, None)?;
    match connect(socket.as_raw_fd(), &SockaddrStorage::from(address)) {
        Ok(()) | Err(Errno::EINPROGRESS | Errno::EINTR) => Ok(TcpStream::from(socket)),
        Err(error) => Err(error.into()),
    }
}
