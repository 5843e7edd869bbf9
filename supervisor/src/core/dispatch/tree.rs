//! What the core knows of a watched directory.

use std::time::Duration;

use common::config::DeleteGuard;

use super::Sight;
use super::memory::Memory;
use super::view::Vigil;
use crate::core::RemoteId;
use crate::core::brake::Brake;
use crate::core::guard::Guard;
use crate::core::unproven::Unproven;

/// A watched directory.
#[derive(Debug)]
pub(super) struct Tree {
    pub(super) label: String,
    pub(super) remotes: Vec<RemoteId>,
    pub(super) guard: Guard,
    pub(super) sight: Sight,
    pub(super) vigil: Vigil,
    /// When a rescan was last spoken of, and how many were not since.
    pub(super) rescans: (Option<Duration>, u64),
    pub(super) brake: Brake,
    pub(super) memory: Memory,
    pub(super) unproven: Unproven,
}

impl Tree {
    /// One that nobody watches yet.
    pub(super) fn new(label: String, remotes: Vec<RemoteId>, brake: DeleteGuard) -> Tree {
        Tree {
            label,
            remotes,
            guard: Guard::default(),
            sight: Sight::Whole,
            vigil: Vigil::default(),
            rescans: (None, 0),
            brake: Brake::new(brake),
            memory: Memory::default(),
            unproven: Unproven::default(),
        }
    }
}
