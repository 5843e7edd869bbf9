//! Connections, for a loop that must never wait. They are few, each has little time, and where there is no
//! room left the one that has been there for longest gives way: an honest one is done within milliseconds.

use std::collections::VecDeque;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{MsgFlags, Shutdown, recv, send, shutdown};
use rustix::net::{SocketFlags, accept_with};

use super::answers::{Answers, Wish};
use super::http::{Answer, Head, MAX_HEAD, read};

/// Connections at once.
pub(super) const MAX_CLIENTS: usize = 256;
/// Connections taken in one round from each socket.
const ACCEPTS_A_TURN: usize = 32;
/// How long the head of a request may take.
const HEAD: Duration = Duration::from_secs(10);
/// How long a snapshot is waited for.
pub(super) const SNAPSHOT: Duration = Duration::from_secs(5);
/// How long an answer may take to be read.
const ANSWER: Duration = Duration::from_secs(30);
/// How long the end of a connection may take. Closed at once, what was not read of it would make the kernel
/// take back the answer.
const END: Duration = Duration::from_secs(2);
/// Most bytes that are read and thrown away then.
const MAX_REST: usize = 256 << 10;
/// How long nothing is accepted after that failed.
const REST: Duration = Duration::from_secs(1);

/// All who are connected, the first come first.
#[derive(Debug)]
pub(super) struct Clients {
    listeners: Vec<OwnedFd>,
    connected: VecDeque<Client>,
    resting_until: Duration,
}

#[derive(Debug)]
struct Client {
    socket: OwnedFd,
    since: Duration,
    stage: Stage,
}

#[derive(Debug)]
enum Stage {
    /// It says what it wants.
    Head(Vec<u8>),
    /// It wants what takes a snapshot.
    Waiting(Wish),
    /// It reads the answer; so much of it was taken.
    Answer(Answer, usize),
    /// All is said; so many bytes were thrown away.
    End(usize),
}

/// Whether a connection goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Goes {
    On,
    Away,
}

impl Clients {
    pub(super) fn new(listeners: Vec<OwnedFd>) -> Clients {
        Clients { listeners, connected: VecDeque::new(), resting_until: Duration::ZERO }
    }

    /// What to poll, and for what.
    pub(super) fn fds(&self, now: Duration) -> impl Iterator<Item = (BorrowedFd<'_>, PollFlags)> {
        let listeners = self.listeners.iter().filter(move |_| now >= self.resting_until);
        let clients = self.connected.iter().map(|client| {
            let flags = match client.stage {
                Stage::Head(_) | Stage::End(_) => PollFlags::POLLIN,
                // Whether it hangs up, which is always told.
                Stage::Waiting(_) => PollFlags::empty(),
                Stage::Answer(..) => PollFlags::POLLOUT,
            };
            (client.socket.as_fd(), flags)
        });
        listeners.map(|socket| (socket.as_fd(), PollFlags::POLLIN)).chain(clients)
    }

    /// When [`Clients::serve`] is due at the latest.
    pub(super) fn deadline(&self, now: Duration) -> Option<Duration> {
        let resting = Some(self.resting_until).filter(|&until| until > now);
        self.connected.iter().map(Client::deadline).chain(resting).min()
    }

    /// Whether somebody waits for a snapshot.
    pub(super) fn is_anybody_waiting(&self) -> bool {
        self.connected.iter().any(|client| matches!(client.stage, Stage::Waiting(_)))
    }

    /// Does for all what can be done now.
    pub(super) fn serve(&mut self, now: Duration, answers: &mut Answers) {
        self.connected.retain_mut(|client| client.goes_on(now, answers) == Goes::On);
        if now >= self.resting_until {
            self.accept(now, answers);
        }
    }

    fn accept(&mut self, now: Duration, answers: &mut Answers) {
        for listener in &self.listeners {
            for _ in 0..ACCEPTS_A_TURN {
                let socket = match accept_with(listener, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK) {
                    Ok(socket) => socket,
                    Err(rustix::io::Errno::INTR | rustix::io::Errno::CONNABORTED) => continue,
                    Err(rustix::io::Errno::WOULDBLOCK) => break,
                    Err(error) => {
                        // No descriptors, no memory: whoever waits there would wake us again at once.
                        log::warn!("accept: {error}; nothing is accepted for {} s", REST.as_secs());
                        self.resting_until = now.saturating_add(REST);
                        return;
                    }
                };
                if self.connected.len() >= MAX_CLIENTS {
                    self.connected.pop_front();
                }
                // Mostly it has said what it wants already.
                let mut client = Client { socket, since: now, stage: Stage::Head(Vec::new()) };
                if client.goes_on(now, answers) == Goes::On {
                    self.connected.push_back(client);
                }
            }
        }
    }
}

impl Client {
    /// When it is given up, or told that there is no answer.
    fn deadline(&self) -> Duration {
        let most = match self.stage {
            Stage::Head(_) => HEAD,
            Stage::Waiting(_) => SNAPSHOT,
            Stage::Answer(..) => ANSWER,
            Stage::End(_) => END,
        };
        self.since.saturating_add(most)
    }

    fn goes_on(&mut self, now: Duration, answers: &mut Answers) -> Goes {
        loop {
            let next = match &mut self.stage {
                Stage::Head(head) => match hear(&self.socket, head) {
                    Some(Head::More) => None,
                    Some(Head::Whole(request)) => Some(match answers.wish(&request) {
                        Ok(wish) => Stage::Waiting(wish),
                        Err(answer) => Stage::Answer(answer, 0),
                    }),
                    Some(Head::Bad(status)) => Some(Stage::Answer(Answers::refuse(status), 0)),
                    None => return Goes::Away,
                },
                Stage::Waiting(wish) => match answers.grant(*wish, self.since, now) {
                    Some(answer) => Some(Stage::Answer(answer, 0)),
                    None if has_hung_up(&self.socket) => return Goes::Away,
                    None => None,
                },
                Stage::Answer(answer, taken) => match tell(&self.socket, answer, taken) {
                    Ok(true) => {
                        // Where it fails the other side is gone.
                        let _ = shutdown(self.socket.as_raw_fd(), Shutdown::Write);
                        Some(Stage::End(0))
                    }
                    Ok(false) => None,
                    Err(_) => return Goes::Away,
                },
                Stage::End(thrown) => {
                    if is_over(&self.socket, thrown) {
                        return Goes::Away;
                    }
                    None
                }
            };
            let Some(next) = next else {
                return if now >= self.deadline() { Goes::Away } else { Goes::On };
            };
            (self.stage, self.since) = (next, now);
        }
    }
}

/// Reads on; `None` when it has gone.
fn hear(socket: &OwnedFd, head: &mut Vec<u8>) -> Option<Head> {
    loop {
        let mut buffer = [0; 2048];
        match recv(socket.as_raw_fd(), &mut buffer, MsgFlags::MSG_DONTWAIT) {
            Ok(0) => return None,
            Ok(length) => head.extend_from_slice(buffer.get(..length).unwrap_or_default()),
            Err(Errno::EINTR) => continue,
            Err(Errno::EAGAIN) => return Some(Head::More),
            Err(_) => return None,
        }
        match read(head) {
            Head::More if head.len() < MAX_HEAD => {}
            read => return Some(read),
        }
    }
}

/// Writes as much as the socket takes; whether that was all.
fn tell(socket: &OwnedFd, answer: &Answer, taken: &mut usize) -> nix::Result<bool> {
    loop {
        let of_body = taken.saturating_sub(answer.head.len());
        let rest = match answer.head.get(*taken..).filter(|rest| !rest.is_empty()) {
            Some(rest) => rest,
            None => answer.body.get(of_body..).unwrap_or_default(),
        };
        if rest.is_empty() {
            return Ok(true);
        }
        match send(socket.as_raw_fd(), rest, MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL) {
            Ok(sent) => *taken = taken.saturating_add(sent),
            Err(Errno::EINTR) => {}
            Err(Errno::EAGAIN) => return Ok(false),
            Err(error) => return Err(error),
        }
    }
}

/// Throws away what it still says; whether it has ended, or says too much.
fn is_over(socket: &OwnedFd, thrown: &mut usize) -> bool {
    let mut buffer = [0; 4096];
    while *thrown < MAX_REST {
        match recv(socket.as_raw_fd(), &mut buffer, MsgFlags::MSG_DONTWAIT) {
            Ok(0) => return true,
            Ok(length) => *thrown = thrown.saturating_add(length),
            Err(Errno::EINTR) => {}
            Err(Errno::EAGAIN) => return false,
            Err(_) => return true,
        }
    }
    true
}

/// Whether there is nobody left to be answered. One that has only ended what it says is still there.
fn has_hung_up(socket: &OwnedFd) -> bool {
    let mut fds = [PollFd::new(socket.as_fd(), PollFlags::empty())];
    match poll(&mut fds, PollTimeout::ZERO) {
        Ok(_) => fds.iter().any(|fd| fd.any().unwrap_or(true)),
        Err(error) => error != Errno::EINTR,
    }
}
