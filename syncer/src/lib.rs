//! The role that runs rsync: one remote, one root, one job at a time.
//!
//! A job is a set of dirty paths or the whole tree. It becomes normalised lists (`list`),
//! argument vectors (`argv`), runs (`rsync`) and one [`Outcome`](common::message::Outcome).
//! The source tree is never written. What decides when and what to send is the supervisor.
//!
//! | module | what it holds |
//! |---|---|
//! | `job` | one job from order to report |
//! | `root` | the open root: its identity, what stands where below it |
//! | `transfers` | its runs |
//! | `list` | dirty paths into lists, pure |
//! | `argv` | argument vectors, pure |
//! | `rsync`, `session` | one run: spawn; feed, read, watch, reap |
//! | `warm` | an rsync that was started ahead |
//! | `reach` | whether anybody is there, without an rsync |
//! | `vital`, `tail` | its signs of life, what it said |
//! | `meter` | how far it has come |
//! | `outcome` | the table of exit statuses |
//! | `abilities`, `doubt`, `fallback` | what the remote's rsync lacks: known, found out, made up for |
//! | `walk`, `listed` | subtrees under a filter |
//! | `moved` | directories that were renamed |
//! | `compare`, `itemized` | dry runs that tell what differs |
//! | `verify` | a job that only compares |
//! | [`fuzzed`] | what the fuzzers feed |
//! | `apart`, `complaints` | which paths of a batch failed, and why |
#![forbid(unsafe_code)]

mod abilities;
mod apart;
mod argv;
mod compare;
mod complaints;
mod doubt;
mod fallback;
pub mod fuzzed;
mod itemized;
mod job;
mod list;
mod listed;
mod meter;
mod moved;
mod outcome;
mod reach;
mod root;
mod rsync;
mod session;
mod tail;
mod transfers;
mod verify;
mod vital;
mod walk;
mod warm;

use std::time::{Duration, Instant};

use common::exit::Exit;
use common::filter::BadExpression;
use common::log::Shown;
use common::message::{IDLE_BEAT_SECS, SyncerOrder, SyncerReport};
use common::wire::{self, SendError, Uplink};
use common::{confine, log as role_log};
use ipc_channel::ipc::IpcReceiver;
use ipc_channel::{IpcError, TryRecvError};
use thiserror::Error;

use crate::rsync::after;

pub use argv::{full_sync_argv, port, sets};
pub use job::{JobEnd, Worker};
pub use rsync::Pace;

/// Why a syncer ends before it is told to.
#[derive(Debug, Error)]
enum Failure {
    #[error(transparent)]
    Confine(#[from] confine::ConfineError),
    #[error("no channel to the supervisor: {0}")]
    Channel(#[from] std::io::Error),
    #[error("order: {0}")]
    Order(#[from] IpcError),
    #[error("an order that makes no sense now")]
    OutOfTurn,
    #[error("filter: {0}")]
    Filter(#[from] BadExpression),
    #[error("report: {0}")]
    Report(#[from] SendError),
}

/// The syncer, from its first instruction to its end. `channel` names the rendezvous.
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
    let orders = wire::meet::<SyncerOrder>(channel)?;
    let SyncerOrder::Configure(slice) = orders.recv()? else { return Err(Failure::OutOfTurn) };
    let confined = confine::enter(&slice.confinement)?;
    uplink.send(&SyncerReport::Ready)?;
    obey(&orders, &uplink, Worker::new(*slice, confined)?)
}

fn obey(orders: &IpcReceiver<SyncerOrder>, uplink: &Uplink, mut worker: Worker) -> Result<(), Failure> {
    let pause = Duration::from_secs(IDLE_BEAT_SECS);
    let mut beat_at = after(Instant::now(), pause);
    loop {
        let wake_at = worker.cools_at().map_or(beat_at, |at| at.min(beat_at));
        match orders.try_recv_timeout(wake_at.saturating_duration_since(Instant::now())) {
            Ok(SyncerOrder::Sync { ticket, job }) => {
                if let Some(path) = worker.outdated() {
                    let path = Shown(path.as_os_str());
                    log::info!("something else stands there now, a new syncer takes over path={path}");
                    return Ok(uplink.send(&SyncerReport::Outdated)?);
                }
                // A beat that finds no room is not missed: unread reports are beats too. And
                // when the supervisor is gone, so are we.
                let mut beat = |pace| {
                    let _ = uplink.try_send(&match pace {
                        Pace::Moving => SyncerReport::Beat { stalled: false },
                        Pace::Stalled => SyncerReport::Beat { stalled: true },
                        Pace::Advanced(advance) => SyncerReport::Advanced { ticket, advance },
                    });
                };
                // What finds nobody there is followed by a report that fails.
                let mut differs = |found| {
                    let _ = uplink.send(&SyncerReport::Differs { ticket, found });
                };
                let end = worker.run(&job, &mut beat, &mut differs);
                let JobEnd { outcome, status, tail, failed, left } = end.clone();
                let bytes = worker.sent_bytes();
                uplink.send(&SyncerReport::Done { ticket, outcome, status, tail, failed, left, bytes })?;
                worker.warm_up(&job, &end);
                beat_at = after(Instant::now(), pause);
            }
            Ok(SyncerOrder::Configure(_)) => return Err(Failure::OutOfTurn),
            Err(TryRecvError::Empty) => {
                let now = Instant::now();
                worker.cool_down(now);
                if now >= beat_at {
                    uplink.send(&SyncerReport::Beat { stalled: false })?;
                    beat_at = after(now, pause);
                }
            }
            Err(TryRecvError::IpcError(error)) => return Err(error.into()),
        }
    }
}

fn exit_of(failure: &Failure) -> Exit {
    match failure {
        Failure::Confine(_) => Exit::NoPermission,
        Failure::Channel(_) => Exit::OsError,
        Failure::Order(_) | Failure::OutOfTurn | Failure::Filter(_) | Failure::Report(_) => Exit::Software,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use common::confine::Confined;
    use common::event::RootId;
    use common::message::{Deletions, Job, Outcome, Work};
    use common::wire::{FrameReader, Received, report_socket};
    use ipc_channel::ipc;
    use std::os::fd::AsFd;

    fn worker() -> Worker {
        Worker::new(argv::tests::slice(&["-a"]), Confined::not()).unwrap()
    }

    fn order(ticket: u64) -> SyncerOrder {
        let root = RootId { device: 0, inode: 0, born: 0 };
        SyncerOrder::Sync {
            ticket,
            job: Job {
                root,
                deletions: Deletions::Travel,
                max_delete: None,
                terms: common::message::Terms::default(),
                by: common::message::Comparison::Times,
                load: common::message::Load::Any,
                work: Work::Full,
                moves: Vec::new(),
            },
        }
    }

    #[test]
    fn each_order_is_answered_with_its_ticket() {
        let (ours, theirs) = report_socket().unwrap();
        let (sender, orders) = ipc::channel().unwrap();
        for ticket in [77, 5] {
            sender.send(order(ticket)).unwrap();
        }
        drop(sender);
        let end = obey(&orders, &Uplink::new(theirs), worker());
        assert!(matches!(end, Err(Failure::Order(IpcError::Disconnected))), "{end:?}");
        for wanted in [77, 5] {
            let Received::Frame(report) = FrameReader::default().receive(ours.as_fd()) else { panic!() };
            let SyncerReport::Done { ticket, outcome, status, .. } = report else { panic!("{report:?}") };
            assert_eq!((ticket, outcome, status), (wanted, Outcome::RootGone, 0));
        }
    }

    #[test]
    fn a_second_configuration_is_refused() {
        let (_ours, theirs) = report_socket().unwrap();
        let (sender, orders) = ipc::channel().unwrap();
        sender.send(SyncerOrder::Configure(Box::new(argv::tests::slice(&["-a"])))).unwrap();
        let end = obey(&orders, &Uplink::new(theirs), worker());
        assert!(matches!(end, Err(Failure::OutOfTurn)), "{end:?}");
    }

    #[test]
    fn without_a_supervisor() {
        let (ours, theirs) = report_socket().unwrap();
        drop(ours);
        let (sender, orders) = ipc::channel().unwrap();
        sender.send(order(1)).unwrap();
        let end = obey(&orders, &Uplink::new(theirs), worker());
        assert!(matches!(end, Err(Failure::Report(SendError::Closed))), "{end:?}");
    }
}
