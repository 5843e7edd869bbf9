//! The watcher: sees which paths of the watched trees change, and says so.
//!
//! It reports that a path is dirty and why ([`common::event::Dirt`]), never what to do about
//! it. It follows renames, never symbolic links; what it loses sight of it reports as a rescan.
//! It is told its part of the config, gives up every privilege, and from then on speaks; what it
//! hears is no more than how much, and what once more. One way: kernel → `live` (with `translate`,
//! `tree`, `limbo`) → `scan` for what is new → `outbox` → supervisor. For the index on disk it also
//! tells the names: of each change (`told`), and of whole trees (`pass`).
//!
//! | module | what it holds |
//! |---|---|
//! | `watcher` | the loop |
//! | `root`, `live` | a tree whose root may be gone; a tree whose root is there |
//! | `kernel`, `fanotify`, `open` | inotify; marks in its place; directories without following links |
//! | `tree`, `arena`, `shards` | which watch is which directory |
//! | `translate` | what an event means |
//! | `limbo`, `recent`, `renamed` | the two halves of a rename; names that come and go at once; both names of a rename |
//! | `received` | files that an rsync brought |
//! | `scan`, `reading`, `limit` | walking; one directory of it; too few watches |
//! | `looks` | what was found while events are dealt with |
//! | `links`, `fleeting` | files with several names; names that nobody could look at |
//! | `names`, `pass`, `listing` | telling what a tree holds, to be compared with the index |
//! | `told`, `stamp` | what a change says of the names; what tells two states of a file apart |
//! | `bench` | the table of directories, to be measured |
//! | `outbox`, `flush` | what waits for the supervisor; who waits for all of it |

#![forbid(unsafe_code)]

mod arena;
#[doc(hidden)]
pub mod bench;
mod fanotify;
mod fleeting;
mod flush;
mod kernel;
mod limbo;
mod limit;
mod links;
mod listing;
mod live;
mod looks;
mod names;
mod open;
mod outbox;
mod pass;
mod reading;
mod received;
mod recent;
mod renamed;
mod root;
mod scan;
mod shards;
mod stamp;
mod told;
mod translate;
mod tree;
mod watcher;

#[cfg(test)]
mod tests;

use std::time::Duration;

use common::confine::{self, Confined};
use common::exit::Exit;
use common::filter::Filter;
use common::message::{WatchSlice, WatcherOrder, WatcherReport};
use common::wire::{self, Uplink};
use ipc_channel::ipc::IpcReceiver;

use crate::root::Means;
use crate::watcher::{End, Watcher};

/// Why the role ends before it watches anything.
#[derive(Debug, thiserror::Error)]
enum Error {
    #[error(transparent)]
    Confine(#[from] confine::ConfineError),
    #[error("channel to the supervisor: {0}")]
    Channel(#[from] std::io::Error),
    #[error("no order came")]
    NoOrder,
    #[error("filter: {0}")]
    Filter(#[from] common::filter::BadExpression),
    #[error(transparent)]
    End(#[from] End),
}

/// The role's whole life: meets the supervisor at `channel`, takes its part of the config,
/// becomes powerless, and watches until the supervisor is gone.
pub fn run(channel: &str) -> Exit {
    let cleaned = confine::start_clean();
    common::log::start_role();
    let prepared = cleaned.map_err(Error::from).and_then(|()| prepare(channel));
    let mut watcher = match prepared {
        Ok(watcher) => watcher,
        Err(error) => {
            log::error!("watcher cannot start: {error}");
            return match error {
                Error::Confine(_) => Exit::NoPermission,
                Error::Channel(_) | Error::NoOrder | Error::End(_) => Exit::OsError,
                Error::Filter(_) => Exit::Config,
            };
        }
    };
    loop {
        if let Err(End::Gone | End::Outdated) = watcher.turn(Duration::MAX) {
            return Exit::Ok;
        }
    }
}

fn prepare(channel: &str) -> Result<Watcher, Error> {
    let uplink = Uplink::from_stdin()?;
    let orders = wire::meet::<WatcherOrder>(channel)?;
    let WatcherOrder::Configure(slice) = orders.recv().map_err(|_| Error::NoOrder)? else {
        return Err(Error::NoOrder);
    };
    // What takes a capability that this process is not to keep.
    let means = root::means(&slice);
    let confined = confine::enter(&slice.confinement)?;
    start(&slice, means, (uplink, orders), confined)
}

/// What comes after confinement: the first file descriptor of inotify among it.
fn start(
    slice: &WatchSlice,
    means: Vec<Means>,
    (uplink, orders): (Uplink, IpcReceiver<WatcherOrder>),
    confined: Confined,
) -> Result<Watcher, Error> {
    let filter = Filter::new(&slice.filter)?;
    uplink.send(&WatcherReport::Ready).map_err(|_| End::Gone)?;
    Ok(Watcher::new(slice, (filter, means), (uplink, orders), confined))
}
