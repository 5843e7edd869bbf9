//! A role outside of a supervisor: a program that runs once starts it, tells it what to do, hears it
//! out and ends it. Its confinement is the one that it would have below a supervisor, and is looked
//! at from outside before it gets any work.

use std::io::{self, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::thread;
use std::time::{Duration, Instant};

use common::confine;
use common::event::RootId;
use common::message::{
    Comparison, Deletions, Difference, Job, Load, Outcome, SyncerOrder, SyncerReport, Terms, Work,
};
use common::wire::{FrameReader, Received, Rendezvous, call_off, report_socket};
use ipc_channel::ipc::IpcSender;
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::core::{Lane, RemoteId, Role};
use crate::plan::Plan;
use crate::privileges::{self, Grounds};

/// How often it is looked whether a role has died on its way.
const GLANCE: Duration = Duration::from_millis(50);
/// How long a role may take until it is confined.
const START: Duration = Duration::from_secs(10);
/// Longest complaint of a role, in bytes.
const MAX_COMPLAINT: u64 = 2048;

/// A role that was started, and has met us. Killed when dropped.
pub(crate) struct Alone<O> {
    process: Started,
    reports: OwnedFd,
    frames: FrameReader,
    /// The way down to it.
    pub(crate) orders: IpcSender<O>,
}

impl<O: Serialize + DeserializeOwned + Send + 'static> Alone<O> {
    /// Starts the role of that name, which comes to the rendezvous before `deadline`.
    pub(crate) fn start(word: &str, deadline: Instant) -> io::Result<Alone<O>> {
        let (reports, theirs) = report_socket()?;
        let rendezvous = Rendezvous::<O>::open()?;
        let name = rendezvous.name().to_owned();
        let mut command = Command::new("/proc/self/exe");
        command.arg0(format!("sersync: {word}")).args(["role", word, &name]).env_clear();
        command.env("RES_OPTIONS", confine::RESOLVER_OPTIONS);
        let started = command.stdin(theirs).stdout(Stdio::null()).stderr(Stdio::piped()).spawn();
        // Else this process holds the other end, and never hears that it is closed.
        drop(command);
        let mut process = Started(started?);
        let (met, meeting) = channel();
        thread::Builder::new().name("rendezvous".to_owned()).spawn(move || met.send(rendezvous.accept()))?;
        let orders = loop {
            match meeting.recv_timeout(GLANCE) {
                Ok(orders) => break orders,
                Err(RecvTimeoutError::Timeout) if process.is_alive() && Instant::now() < deadline => {}
                Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {
                    call_off::<O>(&name);
                    break None;
                }
            }
        };
        let Some(orders) = orders else { return Err(process.complaint()) };
        Ok(Alone { process, reports, frames: FrameReader::default(), orders })
    }
}

impl<O> Alone<O> {
    /// Its pid.
    pub(crate) fn pid(&self) -> i32 {
        self.process.0.id().cast_signed()
    }

    /// The next report; `None` at the end.
    pub(crate) fn hear<R: DeserializeOwned>(&mut self, deadline: Instant) -> io::Result<Option<R>> {
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(io::Error::new(io::ErrorKind::TimedOut, "it does not answer in time"));
            }
            let mut fds = [PollFd::new(self.reports.as_fd(), PollFlags::POLLIN)];
            match poll(&mut fds, PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX)) {
                Ok(_) | Err(Errno::EINTR) => {}
                Err(error) => return Err(error.into()),
            }
            match self.frames.receive(self.reports.as_fd()) {
                Received::Frame(report) => return Ok(Some(report)),
                Received::Closed => return Ok(None),
                Received::Empty => {}
                Received::Violation(violation) => return Err(io::Error::other(violation)),
            }
        }
    }

    /// Waits for its end.
    pub(crate) fn wait(&mut self) -> io::Result<ExitStatus> {
        self.process.0.wait()
    }

    /// Ends it. Why it ended, in its own words.
    pub(crate) fn complaint(&mut self) -> io::Error {
        self.process.complaint()
    }
}

/// How a job ended, as the syncer says it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Ended {
    /// How.
    pub(crate) outcome: Outcome,
    /// The end of what rsync said, escaped.
    pub(crate) tail: String,
}

/// Compares a remote with the source, by a syncer of its own that gets this uid; `found` is told what
/// differs. Nothing is changed anywhere. `silence` is how long the syncer may say nothing at all.
pub(crate) fn compare(
    plan: &Plan,
    id: RemoteId,
    rights: (Option<u32>, Grounds),
    work: Work,
    silence: Duration,
    found: &mut dyn FnMut(Vec<Difference>),
) -> io::Result<Ended> {
    let (mut syncer, root) = syncer(plan, id, rights)?;
    let ticket = ticket();
    let job = Job {
        root,
        deletions: Deletions::Travel,
        max_delete: None,
        by: Comparison::Times,
        load: Load::Any,
        terms: Terms::default(),
        work,
        moves: Vec::new(),
    };
    syncer.orders.send(SyncerOrder::Sync { ticket, job }).map_err(io::Error::other)?;
    let mut deadline = soon(silence);
    loop {
        match syncer.hear(deadline)? {
            // Busy without moving anything is silence, too.
            Some(SyncerReport::Beat { stalled: true }) => {}
            Some(SyncerReport::Beat { stalled: false } | SyncerReport::Advanced { .. }) => {
                deadline = soon(silence);
            }
            Some(SyncerReport::Differs { ticket: of, found: some }) if of == ticket => {
                found(some);
                deadline = soon(silence);
            }
            Some(SyncerReport::Done { ticket: of, outcome, tail, .. }) if of == ticket => {
                return Ok(Ended { outcome, tail });
            }
            Some(SyncerReport::Outdated) => {
                return Err(io::Error::other("what it needs is being replaced; try again"));
            }
            Some(SyncerReport::Ready | SyncerReport::Differs { .. } | SyncerReport::Done { .. }) => {
                return Err(io::Error::other("it reports what it was not asked for"));
            }
            None => return Err(syncer.complaint()),
        }
    }
}

/// A syncer that is confined and knows its slice, and the root that it would work in.
fn syncer(
    plan: &Plan,
    id: RemoteId,
    (uid, grounds): (Option<u32>, Grounds),
) -> io::Result<(Alone<SyncerOrder>, RootId)> {
    let role = Role::Syncer(id, Lane::Full);
    let gone = || io::Error::other("there is no such remote");
    let subject = plan.subject(role).ok_or_else(gone)?;
    let confinement = privileges::confinement(subject, uid, plan.domain(role), plan.config(), grounds);
    let mut slice = plan.sync_slice(id, confinement.clone()).ok_or_else(gone)?;
    // Nobody reads a log here, and nothing follows.
    (slice.debug, slice.warm) = (false, None);
    let root = RootId::from(&std::fs::metadata(&slice.root)?);
    let mut syncer = Alone::<SyncerOrder>::start("syncer", soon(START))?;
    syncer.orders.send(SyncerOrder::Configure(Box::new(slice))).map_err(io::Error::other)?;
    match syncer.hear(soon(START))? {
        Some(SyncerReport::Ready) => {}
        Some(_) => return Err(io::Error::other("it reports what it was not asked for")),
        None => return Err(syncer.complaint()),
    }
    confine::check_from_outside(syncer.pid(), &confinement).map_err(io::Error::other)?;
    Ok((syncer, root))
}

fn soon(time: Duration) -> Instant {
    let now = Instant::now();
    now.checked_add(time).unwrap_or(now)
}

fn ticket() -> u64 {
    use std::hash::BuildHasher;
    std::hash::RandomState::new().hash_one(0)
}

/// A process that ends with its owner.
struct Started(Child);

impl Started {
    fn is_alive(&mut self) -> bool {
        matches!(self.0.try_wait(), Ok(None))
    }

    /// Why it ended, in its own words.
    fn complaint(&mut self) -> io::Error {
        let _ = self.0.kill();
        let _ = self.0.wait();
        let mut said = Vec::new();
        if let Some(stderr) = self.0.stderr.take() {
            let _ = stderr.take(MAX_COMPLAINT).read_to_end(&mut said);
        }
        let said = String::from_utf8_lossy(&said);
        let said = said.trim_end().escape_debug().to_string();
        io::Error::other(if said.is_empty() { "it ended without a word".to_owned() } else { said })
    }
}

impl Drop for Started {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
