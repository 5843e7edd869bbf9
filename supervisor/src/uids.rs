//! Which uid each role runs under: one of its own per instance, since processes of one uid
//! may trace each other, and inotify watches and process counts are charged per uid.

use std::collections::BTreeMap;
use std::io;

use crate::core::Role;
use crate::runtime::UIDS;

/// The uids in use.
#[derive(Debug)]
pub struct Uids {
    first: Option<u32>,
    taken: BTreeMap<Role, u32>,
}

impl Uids {
    /// A block of [`UIDS`] uids from `first`; none for an ordinary user, whose roles stay his.
    pub fn new(first: Option<u32>) -> Uids {
        Uids { first, taken: BTreeMap::new() }
    }

    /// Gives `role` a uid that no live child has; `None` for an ordinary user.
    pub fn claim(&mut self, role: Role) -> io::Result<Option<u32>> {
        let free = (0..UIDS).find(|slot| !self.taken.values().any(|taken| taken == slot));
        let slot = free.ok_or_else(|| io::Error::other("all uids of the block are in use"))?;
        self.taken.insert(role, slot);
        Ok(self.first.map(|first| first.saturating_add(slot)))
    }

    /// The child is gone.
    pub fn release(&mut self, role: Role) {
        self.taken.remove(&role);
    }
}
