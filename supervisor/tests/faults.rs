//! Whatever fails, when it is over, source and remotes are equal; without a full transfer where
//! less is enough; and until then the log says what is missing.
//!
//! `make faults` (`FAULTS=long`) is the long form of what the normal suite runs shortly. `SEED`
//! repeats a run. What is measured stands in docs/reliability.md.
#![allow(
    unreachable_pub,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test that cannot go on fails"
)]

mod support;

#[path = "faults/brake.rs"]
mod brake;
#[path = "faults/clock.rs"]
mod clock;
#[path = "faults/codes.rs"]
mod codes;
#[path = "faults/document.rs"]
mod document;
#[path = "faults/downtime.rs"]
mod downtime;
#[path = "faults/files.rs"]
mod files;
#[path = "faults/ground.rs"]
mod ground;
#[path = "faults/kills.rs"]
mod kills;
#[path = "faults/limit.rs"]
mod limit;
#[path = "faults/memory.rs"]
mod memory;
#[path = "faults/model.rs"]
mod model;
#[path = "faults/network.rs"]
mod network;
#[path = "faults/order.rs"]
mod order;
#[path = "faults/poison.rs"]
mod poison;
#[path = "faults/proof.rs"]
mod proof;
#[path = "faults/remote.rs"]
mod remote;
#[path = "faults/roots.rs"]
mod roots;
#[path = "faults/state.rs"]
mod state;
#[path = "faults/wire.rs"]
mod wire;
