//! Which uid each role runs under: one of its own per instance, since processes of one uid
//! may trace each other, and inotify watches and process counts are charged per uid.

use std::collections::BTreeMap;
use std::io;

use crate::core::Role;
use crate::runtime::ROLE_UIDS;

/// The uids in use.
#[derive(Debug)]
pub struct Uids {
    first: Option<u32>,
    taken: BTreeMap<Role, u32>,
}

impl Uids {
    /// The first [`ROLE_UIDS`] uids of the block from `first`; none where roles share the
    /// supervisor's.
    pub fn new(first: Option<u32>) -> Uids {
        Uids { first, taken: BTreeMap::new() }
    }

    /// Gives `role` a uid that no live child has; `None` where it shares the supervisor's.
    pub fn claim(&mut self, role: Role) -> io::Result<Option<u32>> {
        let free = (0..ROLE_UIDS).find(|slot| !self.taken.values().any(|taken| taken == slot));
        let slot = free.ok_or_else(|| io::Error::other("all uids of the block are in use"))?;
        self.taken.insert(role, slot);
        Ok(self.first.map(|first| first.saturating_add(slot)))
    }

    /// The child is gone.
    pub fn release(&mut self, role: Role) {
        self.taken.remove(&role);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::PluginId;
    use crate::plan::MAX_SYNCERS;
    use crate::runtime::UIDS;

    #[test]
    fn the_last_uid_of_the_block_is_no_roles() {
        let mut uids = Uids::new(Some(2_000_000_000));
        let roles = (0..u8::try_from(UIDS).unwrap()).map(|n| Role::Plugin(PluginId(n)));
        let given: Vec<u32> = roles.map_while(|role| uids.claim(role).ok().flatten()).collect();
        let last = given.last().copied().unwrap();
        assert_eq!((given.len(), last), (63, 2_000_000_062));
        uids.release(Role::Plugin(PluginId(7)));
        assert_eq!(uids.claim(Role::Watcher).unwrap(), Some(2_000_000_007));
        assert!(uids.claim(Role::Plugin(PluginId(200))).is_err());
        // The watcher and a plugin of each kind beside the syncers.
        const { assert!(MAX_SYNCERS + 1 + 4 <= ROLE_UIDS) };
    }
}
