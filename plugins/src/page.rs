//! The role that serves the page, its metrics and `/healthz` to whoever connects to the sockets that the
//! supervisor opened for it. It has no power over the mirror: it may ask how all is, and no more.
//!
//! One thread, one poll. What it does not expect of a client ends that client; nothing that one does, or
//! leaves undone, keeps another waiting.
//!
//! | module | what it holds |
//! |---|---|
//! | `clients` | connections: bounded, slow ones given up |
//! | `http` | the head of a request, and of an answer |
//! | `entry` | who may ask: by the page's name, with the token |
//! | `answers` | what is answered to whom |
//! | `feed` | snapshots: asked for when somebody waits |
//! | `history` | the last hour of each remote |
//! | `metrics`, `exposition` | a snapshot for Prometheus, in two formats |
//! | `health` | whether all is well |

mod answers;
mod clients;
mod entry;
mod exposition;
mod feed;
mod health;
mod history;
mod http;
mod metrics;

#[cfg(test)]
mod tests;

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use common::exit::Exit;
use common::message::{IDLE_BEAT_SECS, PageOrder, PageReport, PageSlice};
use common::wire::{self, SendError, Uplink};
use common::{confine, handover, log as role_log};
use ipc_channel::IpcError;
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use rustix::io::ioctl_fionbio;
use thiserror::Error;

use answers::Answers;
use clients::Clients;
use feed::{Feed, FeedError};

pub use exposition::{Family, Kind};
pub use metrics::FAMILIES;

/// Why a page ends before it is told to.
#[derive(Debug, Error)]
enum Failure {
    #[error(transparent)]
    Confine(#[from] confine::ConfineError),
    #[error("no channel to the supervisor: {0}")]
    Channel(#[from] io::Error),
    #[error("order: {0}")]
    Order(#[from] IpcError),
    #[error("poll: {0}")]
    Poll(Errno),
    #[error("snapshots: {0}")]
    Feed(#[from] FeedError),
    #[error("report: {0}")]
    Report(#[from] SendError),
}

/// The page, from its first instruction to its end. `channel` names the rendezvous; standard output is the
/// socket of its snapshots, with the sockets in it that others connect to.
pub fn run(channel: &str) -> Exit {
    match serve(channel) {
        // The supervisor is gone or has let go of us.
        Ok(()) | Err(Failure::Report(SendError::Closed) | Failure::Order(IpcError::Disconnected)) => Exit::Ok,
        Err(failure) => {
            log::error!("{failure}");
            exit_of(&failure)
        }
    }
}

fn serve(channel: &str) -> Result<(), Failure> {
    confine::start_clean()?;
    role_log::start_role();
    let uplink = Uplink::from_stdin()?;
    let feed = feed_from_stdout()?;
    let listeners = handover::take(&feed)?;
    // Another process may have made them wait.
    for socket in listeners.iter().chain([&feed]) {
        ioctl_fionbio(socket, true).map_err(io::Error::from)?;
    }
    // Kept until the end: there is no second order, but the supervisor holds the other end.
    let orders = wire::meet::<PageOrder>(channel)?;
    let PageOrder::Configure(slice) = orders.recv()?;
    confine::enter(&slice.confinement)?;
    uplink.send(&PageReport::Ready)?;
    Server::new(&uplink, feed, listeners, *slice).run()
}

/// Takes the socket from standard output and leaves the log there.
fn feed_from_stdout() -> io::Result<OwnedFd> {
    let feed = io::stdout().as_fd().try_clone_to_owned()?;
    nix::unistd::dup2_stdout(io::stderr())?;
    Ok(feed)
}

/// All that is there while the page is served.
struct Server<'a> {
    uplink: &'a Uplink,
    feed: Feed,
    clients: Clients,
    answers: Answers,
    start: Instant,
    /// When the supervisor is to hear of us next.
    beat_at: Duration,
}

impl Server<'_> {
    fn new(uplink: &Uplink, feed: OwnedFd, listeners: Vec<OwnedFd>, slice: PageSlice) -> Server<'_> {
        let answers = Answers::new(slice.token, slice.hosts, slice.lag);
        let (feed, clients) = (Feed::new(feed), Clients::new(listeners));
        Server { uplink, feed, clients, answers, start: Instant::now(), beat_at: Duration::ZERO }
    }

    fn run(mut self) -> Result<(), Failure> {
        loop {
            self.wait()?;
            let now = self.start.elapsed();
            while let Some(latest) = self.feed.read(now)? {
                self.answers.take(now, latest);
            }
            self.clients.serve(now, &mut self.answers);
            let is_wanted = self.clients.is_anybody_waiting() || self.answers.is_sample_due(now);
            if is_wanted && self.feed.may_ask(now) {
                match self.uplink.try_send(&PageReport::Ask) {
                    Ok(()) => self.feed.asked(now),
                    // It has not read what it was told before: it is busy, or stopped.
                    Err(SendError::Full) => self.feed.put_off(now),
                    Err(error) => return Err(error.into()),
                }
            }
            if now >= self.beat_at {
                self.beat_at = now.saturating_add(Duration::from_secs(IDLE_BEAT_SECS));
                match self.uplink.try_send(&PageReport::Beat) {
                    Ok(()) | Err(SendError::Full) => {}
                    Err(error) => return Err(error.into()),
                }
            }
        }
    }

    /// Sleeps until somebody has something to say, or is to be given up.
    fn wait(&self) -> Result<(), Failure> {
        let now = self.start.elapsed();
        let asking = self.clients.is_anybody_waiting().then(|| self.feed.next_ask());
        let sample = self.answers.sample_at().max(self.feed.next_ask());
        let deadlines = [Some(self.beat_at), Some(sample), asking, self.clients.deadline(now)];
        let at = deadlines.into_iter().flatten().min().unwrap_or(self.beat_at);
        // Rounded up, or the last millisecond would be spent spinning.
        let millis = at.saturating_sub(now).as_micros().div_ceil(1000);
        let mut fds = vec![
            // Nothing is said there: only that the supervisor is gone.
            PollFd::new(self.uplink.as_fd(), PollFlags::POLLIN),
            PollFd::new(self.feed.as_fd(), PollFlags::POLLIN),
        ];
        fds.extend(self.clients.fds(now).map(|(fd, flags)| PollFd::new(fd, flags)));
        match poll(&mut fds, PollTimeout::from(u16::try_from(millis).unwrap_or(u16::MAX))) {
            Ok(_) | Err(Errno::EINTR) => {}
            Err(error) => return Err(Failure::Poll(error)),
        }
        let is_gone = fds.first().is_some_and(|fd| fd.any().unwrap_or(true));
        if is_gone && self.uplink.heard_bell().is_err() {
            return Err(SendError::Closed.into());
        }
        Ok(())
    }
}

fn exit_of(failure: &Failure) -> Exit {
    match failure {
        Failure::Confine(_) => Exit::NoPermission,
        Failure::Channel(_) | Failure::Poll(_) => Exit::OsError,
        Failure::Order(_) | Failure::Feed(_) | Failure::Report(_) => Exit::Software,
    }
}
