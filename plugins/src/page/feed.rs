//! Snapshots: asked for when somebody waits, read from a socket as lines of JSON. The supervisor may be
//! busy or stopped, so nothing here waits for it; a line that was cut short is dropped, and asked for again.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::rc::Rc;
use std::time::Duration;

use common::status::Snapshot;
use nix::errno::Errno;
use nix::sys::socket::{MsgFlags, recv};
use thiserror::Error;

/// Shortest time from one question to the next.
const PAUSE: Duration = Duration::from_millis(500);
/// A question that was not answered for so long is asked again: the supervisor gives up who does not read
/// for ten seconds.
const FORGOTTEN: Duration = Duration::from_secs(15);
/// Longest snapshot, in bytes: more than ten thousand remotes take.
const MAX_LINE: usize = 64 << 20;
/// Most bytes that are read at once.
const CHUNK: usize = 16 << 10;

/// What ends the page.
#[derive(Debug, Error)]
pub(super) enum FeedError {
    /// The supervisor has closed it.
    #[error("the socket is closed")]
    Closed,
    /// It cannot be read.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// A snapshot without an end.
    #[error("a snapshot of more than {MAX_LINE} bytes")]
    TooLong,
}

/// A snapshot.
#[derive(Debug)]
pub(super) struct Latest {
    /// When it came.
    pub(super) at: Duration,
    /// As the supervisor wrote it, with its line break.
    pub(super) bytes: Rc<[u8]>,
    /// What it says.
    pub(super) snapshot: Snapshot,
}

/// The socket, and what was asked.
#[derive(Debug)]
pub(super) struct Feed {
    socket: OwnedFd,
    line: Vec<u8>,
    /// How much of the line is known to have no end.
    searched: usize,
    /// When the question was asked that is not answered.
    asked: Option<Duration>,
    /// When the next may be.
    next: Duration,
}

impl Feed {
    pub(super) fn new(socket: OwnedFd) -> Feed {
        Feed { socket, line: Vec::new(), searched: 0, asked: None, next: Duration::ZERO }
    }

    /// Whether a question may be asked now.
    pub(super) fn may_ask(&self, now: Duration) -> bool {
        now >= self.next_ask()
    }

    /// When a question may be asked.
    pub(super) fn next_ask(&self) -> Duration {
        let again = self.asked.map_or(Duration::ZERO, |asked| asked.saturating_add(FORGOTTEN));
        again.max(self.next)
    }

    /// It was.
    pub(super) fn asked(&mut self, now: Duration) {
        self.asked = Some(now);
        self.put_off(now);
    }

    /// Not before a while.
    pub(super) fn put_off(&mut self, now: Duration) {
        self.next = now.saturating_add(PAUSE);
    }

    /// Takes what has come; a snapshot once all of it is there.
    pub(super) fn read(&mut self, now: Duration) -> Result<Option<Latest>, FeedError> {
        loop {
            if let Some(line) = self.take_line() {
                self.asked = None;
                match serde_json::from_slice(&line) {
                    Ok(snapshot) => return Ok(Some(Latest { at: now, bytes: line.into(), snapshot })),
                    Err(error) => log::warn!("a snapshot was cut short: {error}"),
                }
                continue;
            }
            if self.line.len() > MAX_LINE {
                return Err(FeedError::TooLong);
            }
            let mut chunk = [0; CHUNK];
            match recv(self.socket.as_raw_fd(), &mut chunk, MsgFlags::MSG_DONTWAIT) {
                Ok(0) => return Err(FeedError::Closed),
                Ok(length) => self.line.extend_from_slice(chunk.get(..length).unwrap_or_default()),
                Err(Errno::EAGAIN) => return Ok(None),
                Err(Errno::EINTR) => {}
                Err(error) => return Err(io::Error::from(error).into()),
            }
        }
    }

    fn take_line(&mut self) -> Option<Vec<u8>> {
        let unsearched = self.line.get(self.searched..).unwrap_or_default();
        let Some(end) = unsearched.iter().position(|&byte| byte == b'\n') else {
            self.searched = self.line.len();
            return None;
        };
        let end = self.searched.saturating_add(end).saturating_add(1);
        let rest = self.line.split_off(end.min(self.line.len()));
        self.searched = 0;
        Some(std::mem::replace(&mut self.line, rest))
    }
}

impl AsFd for Feed {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::page::tests::{example, line};
    use std::io::Write;
    use std::os::unix::net::UnixStream;

    fn secs(n: u64) -> Duration {
        Duration::from_secs(n)
    }

    #[test]
    fn questions_are_few() {
        let (_ours, theirs) = UnixStream::pair().unwrap();
        let mut feed = Feed::new(theirs.into());
        assert!(feed.may_ask(secs(0)));
        feed.asked(secs(0));
        assert!(!feed.may_ask(secs(14)), "it is not answered yet");
        assert!(feed.may_ask(secs(15)), "it was forgotten");
        feed.asked(secs(20));
        feed.asked = None;
        assert!(!feed.may_ask(Duration::from_millis(20_499)) && feed.may_ask(Duration::from_millis(20_500)));
    }

    #[test]
    fn in_pieces_cut_short_and_closed() {
        let (mut ours, theirs) = UnixStream::pair().unwrap();
        let mut feed = Feed::new(theirs.into());
        let whole = line(&example());
        let (first, second) = whole.split_at(100);
        feed.asked(secs(1));
        ours.write_all(first).unwrap();
        assert!(feed.read(secs(2)).unwrap().is_none() && !feed.may_ask(secs(3)));
        ours.write_all(second).unwrap();
        let latest = feed.read(secs(3)).unwrap().unwrap();
        assert_eq!((latest.at, &*latest.bytes, &latest.snapshot), (secs(3), &whole[..], &example()));
        assert!(feed.may_ask(secs(3)));
        // The rest of a snapshot that nobody read in time never comes: the next one follows it.
        for part in [first, &whole[..], &whole[..]] {
            ours.write_all(part).unwrap();
        }
        assert_eq!(feed.read(secs(4)).unwrap().unwrap().snapshot, example());
        assert!(feed.read(secs(4)).unwrap().is_none());
        drop(ours);
        assert!(matches!(feed.read(secs(5)), Err(FeedError::Closed)));
    }
}
