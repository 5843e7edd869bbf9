//! How a running supervisor tells how it is: a snapshot (`common::status`), as JSON, for whoever connects to
//! its status socket.
//!
//! | module | what it holds |
//! |---|---|
//! | `build` | from what the core and the event loop know to a snapshot |
//! | `process` | what the kernel tells of a role |
//! | `place`, `server` | where the socket stands; the socket, which writes and never reads |
//! | `client` | `sersync-supervisor status`: reads it |
//! | `screen` | and draws it |
//! | `progress` | full syncs in one line |

pub mod build;
pub mod client;
pub mod place;
pub mod process;
pub mod progress;
pub mod screen;
pub mod server;

pub use common::status::{
    Bucket, Flight, FullSync, Health, LastError, Moment, Outcomes, Progress, Quarantine, Quarantined, Remote,
    Role, SCHEMA, Sandbox, Snapshot, Stage, Supervisor, Transfers, Tree, TreeState, Watch, escaped,
};

#[cfg(test)]
mod tests;
