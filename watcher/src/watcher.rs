//! The watcher's loop: orders and events first, then what is to be sent, then a little of the
//! walking.

use std::collections::VecDeque;
use std::io;
use std::os::fd::AsFd;
use std::path::Path;
use std::rc::Rc;
use std::time::{Duration, Instant};

use common::confine::Confined;
use common::filter::Filter;
use common::keep::NAMES_WINDOW;
use common::log::Shown;
use common::message::{BUSY_BEAT_SECS, IDLE_BEAT_SECS, WatchSlice, WatcherOrder, WatcherReport};
use common::wire::{SendError, Uplink};
use ipc_channel::ipc::IpcReceiver;
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use crate::flush::Flushes;
use crate::links::Follow;
use crate::live::Rules;
use crate::outbox::Outbox;
use crate::root::{Means, Root};

/// How long the kernel's queue may be left alone; it overflows after some 100 ms at the rate
/// that one writer can reach.
const WORK_SLICE: Duration = Duration::from_millis(2);
/// How long changes are gathered when others were sent just before: a burst becomes few frames, each
/// of which wakes the supervisor. What comes alone is sent at once. While it goes on, twice as long
/// each time.
pub(crate) const GATHERING: Duration = Duration::from_millis(1);
/// The longest of these. The kernel's queue takes some 25 times as much.
const MOST_GATHERING: Duration = Duration::from_millis(4);
/// What one read takes from the kernel; more is not faster.
const READ_BUFFER: usize = 64 << 10;
/// Orders that are taken before anything else is done.
const ORDERS_AT_ONCE: usize = 100;

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
    orders: IpcReceiver<WatcherOrder>,
    /// An order may have come.
    rung: bool,
    confined: Confined,
    /// What is to be sent before anything of the outbox: a report that found the socket full, and
    /// what belongs right behind it.
    in_hand: VecDeque<WatcherReport>,
    /// When changes were sent last.
    sent_at: Option<Instant>,
    /// How long changes are gathered next.
    gathering: Duration,
    /// Frames of names that may be sent, beside those of changes.
    room: u32,
    flushes: Flushes,
    buffer: Box<[u8]>,
    /// Which tree has the next slice of work.
    turn: usize,
    busy_since: Option<Instant>,
    beat_at: Option<Instant>,
    said_busy: bool,
}

impl Watcher {
    /// Watches what `slice` names. Nothing is opened before the first turn.
    pub(crate) fn new(
        slice: &WatchSlice,
        (filter, means): (Filter, Vec<Means>),
        (uplink, orders): (Uplink, IpcReceiver<WatcherOrder>),
        confined: Confined,
    ) -> Watcher {
        let rules = Rc::new(Rules {
            switches: slice.switches,
            filter,
            follow: match (slice.follow_links, slice.index) {
                (true, _) => Follow::All,
                // Where equality is kept over restarts, it is while running as well; but each name has
                // its attributes by its own events, as ever.
                (false, true) => Follow::Contents,
                (false, false) => Follow::Never,
            },
            debug: slice.debug,
            index: slice.index,
        });
        let (now, trees) = (Instant::now(), slice.trees.iter().zip(means));
        Watcher {
            roots: trees.map(|(tree, means)| Root::new(tree, means, Rc::clone(&rules), now)).collect(),
            outbox: if slice.index { Outbox::with_names() } else { Outbox::new() },
            uplink,
            orders,
            rung: false,
            confined,
            in_hand: VecDeque::new(),
            sent_at: None,
            gathering: GATHERING,
            room: 0,
            flushes: Flushes::default(),
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
        self.obey(now)?;
        for root in &mut self.roots {
            root.drain(&mut self.buffer, now, &mut self.outbox);
        }
        self.send()?;
        let room = self.room_now();
        let ahead = self.roots.len().min(self.turn + 1);
        let (before, after) = self.roots.split_at_mut(ahead);
        if let Some((index, root)) =
            (0..).zip(after.iter_mut().chain(before)).find(|(_, root)| has_work(root, room))
        {
            root.work(now + WORK_SLICE, &mut self.room, &mut self.outbox);
            self.turn = (ahead + index) % self.roots.len();
            self.send()?;
        }
        let needed = self.roots.iter().map(Root::needed).sum();
        for root in &mut self.roots {
            root.tell_limit(now, needed, &mut self.outbox);
        }
        self.flushes.answer(&self.roots, &mut self.outbox);
        self.send()?;
        self.roots.iter_mut().filter_map(Root::live_mut).for_each(|live| live.looks.rest());
        self.check_domain()?;
        self.beat(now)
    }

    /// While a root is lost, what comes in its place may be out of reach. What other trees have
    /// to say is said first: a new watcher knows nothing of it.
    fn check_domain(&self) -> Result<(), End> {
        let lost = self.roots.iter().any(|root| root.live().is_none()) && !self.is_waiting();
        let unmarked = || self.roots.iter().find(|root| root.needs_mark()).map(Root::path);
        let outdated = || self.confined.outdated().map(Path::as_os_str).or_else(unmarked);
        let Some(path) = lost.then(outdated).flatten() else { return Ok(()) };
        match self.uplink.try_send(&WatcherReport::Outdated) {
            // Full: the next turn tries it again.
            Err(SendError::Full | SendError::TooLong) => Ok(()),
            Err(SendError::Closed) => Err(End::Gone),
            Ok(()) => {
                let path = Shown(path);
                log::info!("another directory stands there now, a new watcher takes over path={path}");
                Err(End::Outdated)
            }
        }
    }

    /// True while a tree is being walked, or the supervisor is behind.
    fn is_busy(&self) -> bool {
        self.is_waiting() || self.is_working()
    }

    /// True while there is work that waits for nobody.
    fn is_working(&self) -> bool {
        let room = self.room_now();
        self.roots.iter().any(|root| has_work(root, room))
    }

    /// Room for frames of names; `None` while something waits: names follow all that was reported.
    fn room_now(&self) -> Option<u32> {
        (!self.is_waiting()).then_some(self.room)
    }

    /// True while something waits for room in the socket.
    fn is_waiting(&self) -> bool {
        !self.in_hand.is_empty() || !self.outbox.is_empty()
    }

    fn wait(&mut self, longest: Duration) -> Result<(), End> {
        let work = self.rung || self.is_working();
        let now = Instant::now();
        let deadline = self.roots.iter().filter_map(Root::deadline).fold(self.next_beat(now), Instant::min);
        let timeout =
            if work { Duration::ZERO } else { longest.min(deadline.saturating_duration_since(now)) };
        // Rounded up: waking a moment early would mean to wake twice.
        let timeout = PollTimeout::try_from(timeout.as_micros().div_ceil(1000)).unwrap_or(PollTimeout::MAX);
        let wanted = if self.is_waiting() { PollFlags::POLLOUT } else { PollFlags::empty() };
        let wanted = wanted | PollFlags::POLLIN;
        let mut fds = vec![PollFd::new(self.uplink.as_fd(), wanted)];
        fds.extend(self.roots.iter().flat_map(Root::events).map(|fd| PollFd::new(fd, PollFlags::POLLIN)));
        match poll(&mut fds, timeout) {
            Ok(_) | Err(Errno::EINTR) => {}
            Err(errno) => log::error!("poll failed reason={}", io::Error::from(errno)),
        }
        let mut ready = fds.iter().map(|fd| fd.revents().unwrap_or(PollFlags::empty()));
        let uplink = ready.next().unwrap_or(PollFlags::empty());
        let events = ready.any(|ready| !ready.is_empty());
        if uplink.intersects(PollFlags::POLLHUP | PollFlags::POLLERR | PollFlags::POLLNVAL) {
            return Err(End::Gone);
        }
        self.rung |= uplink.contains(PollFlags::POLLIN);
        if events && !work && !self.rung {
            self.gather();
        }
        Ok(())
    }

    fn gather(&mut self) {
        let until = self.sent_at.map(|at| at + self.gathering);
        match until.and_then(|until| until.checked_duration_since(Instant::now())) {
            Some(rest) => {
                self.gathering = self.gathering.saturating_mul(2).min(MOST_GATHERING);
                std::thread::sleep(rest);
            }
            None => self.gathering = GATHERING,
        }
    }

    /// Takes the orders that came. Nothing here waits for one that did not.
    fn obey(&mut self, now: Instant) -> Result<(), End> {
        if !std::mem::take(&mut self.rung) {
            return Ok(());
        }
        self.uplink.heard_bell().map_err(|_| End::Gone)?;
        for _ in 0..ORDERS_AT_ONCE {
            // Without one the bell was for an order that is taken already, or the supervisor is gone:
            // that is seen elsewhere.
            let Ok(order) = self.orders.try_recv() else { return Ok(()) };
            match order {
                WatcherOrder::Configure(_) => log::warn!("a second configuration came, ignored"),
                WatcherOrder::Room(frames) => self.room = self.room.saturating_add(frames).min(NAMES_WINDOW),
                WatcherOrder::List(pass) => self.roots.iter_mut().for_each(|root| root.list_anew(pass)),
                WatcherOrder::Flush(number) => self.flushes.add(number, &mut self.roots, now),
                WatcherOrder::Look(number) => self.flushes.look(number, now),
                WatcherOrder::Prove(number) => self.outbox.report(WatcherReport::Proved(number)),
            }
        }
        self.rung = true;
        Ok(())
    }

    /// Sends what waits, for a while: what is told of the names is looked at here.
    fn send(&mut self) -> Result<(), End> {
        let until = Instant::now() + WORK_SLICE;
        while let Some(report) = self.next_report() {
            match self.uplink.try_send(&report) {
                Ok(()) if matches!(report, WatcherReport::Changes(..)) => self.sent_at = Some(Instant::now()),
                Ok(()) => {}
                Err(SendError::Full) => {
                    self.in_hand.push_front(report);
                    break;
                }
                Err(SendError::TooLong) => log::error!("report too long, not sent"),
                Err(SendError::Closed) => return Err(End::Gone),
            }
            if Instant::now() >= until {
                break;
            }
        }
        Ok(())
    }

    /// Behind changes follows what they say of the names, looked at before they are sent.
    fn next_report(&mut self) -> Option<WatcherReport> {
        if let Some(report) = self.in_hand.pop_front() {
            return Some(report);
        }
        let report = self.outbox.next()?;
        if let WatcherReport::Changes(tree, changes) = &report
            && let Some(live) = self.roots.iter_mut().find(|root| root.id() == *tree).and_then(Root::live_mut)
            && live.rules.index
        {
            let names = live.names_of(changes, self.outbox.stamps()).into_iter();
            self.in_hand.extend(names.map(|ops| WatcherReport::Names(*tree, ops)));
        }
        Some(report)
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

/// Whether a tree has work that waits for nobody.
fn has_work(root: &Root, frames: Option<u32>) -> bool {
    root.is_busy() || frames.is_some_and(|frames| root.wants_to_list(frames))
}
