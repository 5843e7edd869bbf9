//! The role that keeps what must survive a kill: the names of each tree, and what each remote
//! lacks. Its file is its standard output, a descriptor without a path.
//!
//! It is a process of its own so that neither a stalled disk nor a damaged file touches the loop
//! of the supervisor. Everything goes into one open transaction, which only an order to commit
//! makes durable: after any kill the file holds one moment.
//!
//! | module | what it holds |
//! |---|---|
//! | `store` | the file: opening, loading, committing |
//! | `tables`, `fault` | its layout; what its errors mean |
//! | `slots` | which numbers trees and remotes have in it |
//! | `names` | the index: what is listed is compared with what is kept |
//! | `edits` | what is kept beside the names |
//! | `voice` | what is said to the supervisor, in frames |

mod edits;
mod fault;
mod names;
mod slots;
mod store;
mod tables;
mod voice;

#[cfg(test)]
mod tests;

use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::time::Duration;

use common::exit::Exit;
use common::keep::{Durable, KeepSlice, KeeperOrder, KeeperReport, LastRun};
use common::message::IDLE_BEAT_SECS;
use common::wire::{self, SendError, Uplink};
use common::{confine, log as role_log};
use ipc_channel::ipc::IpcReceiver;
use ipc_channel::{IpcError, TryRecvError};
use thiserror::Error;

use fault::Fault;
pub(crate) use store::LOST;
use store::Store;
use voice::Voice;

/// Why a keeper ends before it is told to.
#[derive(Debug, Error)]
enum Failure {
    #[error(transparent)]
    Confine(#[from] confine::ConfineError),
    #[error("no channel to the supervisor: {0}")]
    Channel(#[from] io::Error),
    #[error("order: {0}")]
    Order(#[from] IpcError),
    #[error("an order that makes no sense now")]
    OutOfTurn,
    #[error("state file: {0}")]
    File(#[from] Fault),
    #[error("report: {0}")]
    Report(#[from] SendError),
}

/// The keeper, from its first instruction to its end. `channel` names the rendezvous; standard
/// output is the state file, open for reading and writing.
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
    let file = file_from_stdout()?;
    let orders = wire::meet::<KeeperOrder>(channel)?;
    let KeeperOrder::Configure(slice) = orders.recv()? else { return Err(Failure::OutOfTurn) };
    confine::enter(&slice.confinement)?;
    uplink.send(&KeeperReport::Ready)?;
    keep(&orders, &mut Voice::new(uplink), file, &slice)
}

/// Takes the state file from standard output and leaves the log there, so that nothing that is
/// printed by mistake ends up in the file.
fn file_from_stdout() -> io::Result<File> {
    // Such a duplicate is closed by an exec.
    let file = io::stdout().as_fd().try_clone_to_owned()?;
    nix::unistd::dup2_stdout(io::stderr())?;
    Ok(File::from(file))
}

/// Loads what is kept and obeys, and says what is wrong with the file if that ends it.
fn keep(
    orders: &IpcReceiver<KeeperOrder>,
    voice: &mut Voice,
    file: File,
    slice: &KeepSlice,
) -> Result<(), Failure> {
    let ended = Store::open(file, slice, voice).and_then(|store| obey(orders, voice, store));
    if let Err(Failure::File(fault)) = &ended {
        voice.say(&KeeperReport::Trouble(fault.trouble, fault.text()))?;
    }
    ended
}

fn obey(orders: &IpcReceiver<KeeperOrder>, voice: &mut Voice, mut store: Store) -> Result<(), Failure> {
    loop {
        match orders.try_recv_timeout(Duration::from_secs(IDLE_BEAT_SECS)) {
            Ok(KeeperOrder::Names(ticket, tree, ops)) => {
                store.names(tree, &ops, voice)?;
                voice.say(&KeeperReport::Done(ticket))?;
            }
            Ok(KeeperOrder::Listed(_, tree, path)) => {
                let names = store.listed(tree, &path);
                voice.say(&KeeperReport::Compared(tree, path, names))?;
            }
            Ok(KeeperOrder::Edits(ticket, edits)) => {
                store.edit(&edits, voice)?;
                voice.say(&KeeperReport::Done(ticket))?;
            }
            Ok(KeeperOrder::Commit { ticket, heard, last }) => {
                let durable = if voice.told() > heard {
                    Durable::NotYet
                } else {
                    store.commit(if last { LastRun::Clean } else { LastRun::Unclean })?;
                    Durable::Yes
                };
                voice.say(&KeeperReport::Committed(ticket, durable))?;
            }
            Ok(KeeperOrder::Configure(_)) => return Err(Failure::OutOfTurn),
            Err(TryRecvError::Empty) => voice.say(&KeeperReport::Beat)?,
            Err(TryRecvError::IpcError(error)) => return Err(error.into()),
        }
    }
}

fn exit_of(failure: &Failure) -> Exit {
    match failure {
        Failure::Confine(_) => Exit::NoPermission,
        Failure::Channel(_) => Exit::OsError,
        Failure::File(_) => Exit::CantCreate,
        Failure::Order(_) | Failure::OutOfTurn | Failure::Report(_) => Exit::Software,
    }
}
