//! Step 3: resource limits and priorities.

use nix::sys::resource::{Resource, getrlimit, setrlimit};

use super::spec::{Confinement, IoPriority};
use super::{ConfineError, at, raw};

/// Class and place of `ioprio_set(2)`.
const CLASS_SHIFT: u32 = 13;
const BEST_EFFORT: i32 = 2;
const IDLE: i32 = 3;

/// Sets them for this process and all that it starts.
pub(super) fn set(confinement: &Confinement) -> Result<(), ConfineError> {
    let limits = &confinement.limits;
    let step = "3 limits";
    no_core()?;
    if let Some(bytes) = limits.file_bytes {
        at(step, lower(Resource::RLIMIT_FSIZE, bytes))?;
    }
    at(step, lower(Resource::RLIMIT_NOFILE, limits.files))?;
    if let (Some(processes), Some(_)) = (limits.processes, confinement.identity) {
        at(step, lower(Resource::RLIMIT_NPROC, processes))?;
    }
    if let Some(bytes) = limits.memory {
        at(step, lower(Resource::RLIMIT_AS, bytes))?;
    }
    // Only ever to be more modest than whoever started us.
    if i32::from(limits.nice) > raw::nice() {
        at(step, raw::set_nice(i32::from(limits.nice)))?;
    }
    if let Some(io) = limits.io {
        at(step, raw::set_io_priority(io_value(io)))?;
    }
    Ok(())
}

/// The soft and the hard limit of CPU time, in seconds, of a program that may use that much: the
/// first one is a signal that tells what happened. Neither is more than this process has itself.
pub(super) fn cpu_within(seconds: u64) -> (u64, u64) {
    let most = getrlimit(Resource::RLIMIT_CPU).map_or(u64::MAX, |(_, hard)| hard);
    (seconds.min(most), seconds.saturating_add(5).min(most))
}

/// No core dump. One byte, since with none the kernel still writes to a crash handler behind a pipe
/// (core(5)): rsync and ssh hold passwords and keys.
pub(super) fn no_core() -> Result<(), ConfineError> {
    at("3 limits", lower(Resource::RLIMIT_CORE, 1))
}

/// The limit, or what is left of it: nobody raises what was set from outside.
fn lower(resource: Resource, limit: u64) -> nix::Result<()> {
    let (_, hard) = getrlimit(resource)?;
    let limit = limit.min(hard);
    setrlimit(resource, limit, limit)
}

fn io_value(priority: IoPriority) -> i32 {
    match priority {
        IoPriority::BestEffort(place) => (BEST_EFFORT << CLASS_SHIFT) | i32::from(place.min(7)),
        IoPriority::Idle => IDLE << CLASS_SHIFT,
    }
}
