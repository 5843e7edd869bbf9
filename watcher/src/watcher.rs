//! The watcher's loop: events first, then what is to be sent, then a little of the walking.

use std::io;
use std::os::fd::AsFd;
use std::rc::Rc;
use std::time::{Duration, Instant};

use common::confine::Confined;
use common::filter::Filter;
use common::log::Shown;
use common::message::{BUSY_BEAT_SECS, IDLE_BEAT_SECS, WatchSlice, WatcherReport};
use common::wire::{SendError, Uplink};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use crate::live::Rules;
use crate::outbox::Outbox;
use crate::root::Root;

/// How long the kernel's queue may be left alone; it overflows after some 100 ms at the rate
/// that one writer can reach.
const WORK_SLICE: Duration = Duration::from_millis(2);
/// What one read takes from the kernel; more is not faster.
const READ_BUFFER: usize = 64 << 10;

/// Why there is nothing more to do here.
#[derive(Debug, thiserror::Error)]
pub(crate) enum End {
    /// The supervisor no longer listens.
    #[error("the supervisor is gone")]
    Gone,
    /// A root came that this process may not look into: another one may.
    #[error("a new watcher takes over")]
    Outdated,
}

/// All trees, and the way to the supervisor.
pub(crate) struct Watcher {
    pub(crate) roots: Vec<Root>,
    outbox: Outbox,
    uplink: Uplink,
    confined: Confined,
    /// The report that found the socket full.
    in_hand: Option<WatcherReport>,
    buffer: Box<[u8]>,
    /// Which tree has the next slice of work.
    turn: usize,
    busy_since: Option<Instant>,
    beat_at: Option<Instant>,
    said_busy: bool,
}

impl Watcher {
    /// Watches what `slice` names. Nothing is opened before the first turn.
    pub(crate) fn new(slice: &WatchSlice, filter: Filter, uplink: Uplink, confined: Confined) -> Watcher {
        let rules = Rc::new(Rules {
            switches: slice.switches,
            filter,
            follow_links: slice.follow_links,
            debug: slice.debug,
        });
        let now = Instant::now();
        Watcher {
            roots: slice.trees.iter().map(|tree| Root::new(tree, Rc::clone(&rules), now)).collect(),
            outbox: Outbox::new(),
            uplink,
            confined,
            in_hand: None,
            buffer: vec![0; READ_BUFFER].into_boxed_slice(),
            turn: 0,
            busy_since: Some(now),
            beat_at: None,
            said_busy: false,
        }
    }

    /// Waits for something to do, at most `longest`, and does it.
    pub(crate) fn turn(&mut self, longest: Duration) -> Result<(), End> {
        self.wait(longest)?;
        let now = Instant::now();
        for root in &mut self.roots {
            root.drain(&mut self.buffer, now, &mut self.outbox);
        }
        self.send()?;
        let ahead = self.roots.len().min(self.turn + 1);
        let (before, after) = self.roots.split_at_mut(ahead);
        if let Some((index, root)) =
            (0..).zip(after.iter_mut().chain(before)).find(|(_, root)| root.is_busy())
        {
            root.work(now + WORK_SLICE, &mut self.outbox);
            self.turn = (ahead + index) % self.roots.len();
            self.send()?;
        }
        let needed = self.roots.iter().map(Root::needed).sum();
        for root in &mut self.roots {
            root.tell_limit(now, needed, &mut self.outbox);
        }
        self.send()?;
        self.check_domain()?;
        self.beat(now)
    }

    /// While a root is lost, what comes in its place may be out of reach. What other trees have
    /// to say is said first: a new watcher knows nothing of it.
    fn check_domain(&self) -> Result<(), End> {
        let lost = self.roots.iter().any(|root| root.live().is_none()) && !self.is_waiting();
        let Some(path) = lost.then(|| self.confined.outdated()).flatten() else { return Ok(()) };
        match self.uplink.try_send(&WatcherReport::Outdated) {
            // Full: the next turn tries it again.
            Err(SendError::Full | SendError::TooLong) => Ok(()),
            Err(SendError::Closed) => Err(End::Gone),
            Ok(()) => {
                let path = Shown(path.as_os_str());
                log::info!("another directory stands there now, a new watcher takes over path={path}");
                Err(End::Outdated)
            }
        }
    }

    /// True while a tree is being walked, or the supervisor is behind.
    fn is_busy(&self) -> bool {
        self.is_waiting() || self.roots.iter().any(Root::is_busy)
    }

    /// True while something waits for room in the socket.
    fn is_waiting(&self) -> bool {
        self.in_hand.is_some() || !self.outbox.is_empty()
    }

    fn wait(&mut self, longest: Duration) -> Result<(), End> {
        let work = self.roots.iter().any(Root::is_busy);
        let now = Instant::now();
        let deadline = self.roots.iter().filter_map(Root::deadline).fold(self.next_beat(now), Instant::min);
        let timeout =
            if work { Duration::ZERO } else { longest.min(deadline.saturating_duration_since(now)) };
        // Rounded up: waking a moment early would mean to wake twice.
        let timeout = PollTimeout::try_from(timeout.as_micros().div_ceil(1000)).unwrap_or(PollTimeout::MAX);
        let wanted = if self.is_waiting() { PollFlags::POLLOUT } else { PollFlags::empty() };
        let mut fds = vec![PollFd::new(self.uplink.as_fd(), wanted)];
        fds.extend(self.roots.iter().filter_map(Root::events).map(|fd| PollFd::new(fd, PollFlags::POLLIN)));
        match poll(&mut fds, timeout) {
            Ok(_) | Err(Errno::EINTR) => {}
            Err(errno) => log::error!("poll failed reason={}", io::Error::from(errno)),
        }
        let uplink = fds.first().and_then(PollFd::revents).unwrap_or(PollFlags::empty());
        if uplink.intersects(PollFlags::POLLHUP | PollFlags::POLLERR | PollFlags::POLLNVAL) {
            Err(End::Gone)
        } else {
            Ok(())
        }
    }

    fn send(&mut self) -> Result<(), End> {
        while let Some(report) = self.in_hand.take().or_else(|| self.outbox.next()) {
            match self.uplink.try_send(&report) {
                Ok(()) => {}
                Err(SendError::Full) => {
                    self.in_hand = Some(report);
                    break;
                }
                Err(SendError::TooLong) => log::error!("report too long, not sent"),
                Err(SendError::Closed) => return Err(End::Gone),
            }
        }
        Ok(())
    }

    /// When a sign of life is due, if nothing changes; the first one at once.
    fn next_beat(&self, now: Instant) -> Instant {
        let Some(last) = self.beat_at else { return now };
        match self.busy_since {
            Some(since) => last.max(since) + Duration::from_secs(BUSY_BEAT_SECS),
            None => last + Duration::from_secs(IDLE_BEAT_SECS),
        }
    }

    fn beat(&mut self, now: Instant) -> Result<(), End> {
        let busy = self.is_busy();
        self.busy_since = if busy { self.busy_since.or(Some(now)) } else { None };
        // What lasts less than a beat is not spoken of.
        let over = self.said_busy && !busy;
        if !over && self.next_beat(now) > now {
            return Ok(());
        }
        (self.beat_at, self.said_busy) = (Some(now), busy);
        match self.uplink.try_send(&WatcherReport::Beat { busy }) {
            // Full: what waits there is a sign of life too.
            Ok(()) | Err(SendError::Full | SendError::TooLong) => Ok(()),
            Err(SendError::Closed) => Err(End::Gone),
        }
    }
}
