//! Which uid each role runs under: one of its own per instance, since processes of one uid
//! may trace each other, and inotify watches and process counts are charged per uid.

use std::collections::BTreeMap;
use std::io;

use crate::core::{PluginId, Role};
use crate::runtime::ROLE_UIDS;

/// The last ones of a block are the plugins', each its own for ever: what a plugin's program leaves
/// running goes on under that uid, and no other role is to meet it there.
const PLUGIN_UIDS: u32 = 6;
/// Behind them the page's: who speaks to strangers meets nobody there either.
const PAGE: u32 = ROLE_UIDS - 1;
/// What is left for the watcher, the keeper and the syncers.
const OTHER_UIDS: u32 = PAGE - PLUGIN_UIDS;

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
        let free = match role {
            Role::Plugin(PluginId(id)) => {
                Some(OTHER_UIDS.saturating_add(id.into())).filter(|&slot| slot < PAGE)
            }
            Role::Page => Some(PAGE),
            Role::Watcher | Role::Keeper | Role::Syncer(..) => {
                (0..OTHER_UIDS).find(|slot| !self.taken.values().any(|taken| taken == slot))
            }
        };
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
    use crate::core::{Lane, RemoteId};
    use crate::plan::MAX_SYNCERS;

    const FIRST: u32 = 2_000_000_000;

    fn given(uids: &mut Uids, roles: impl Iterator<Item = Role>) -> Vec<u32> {
        roles.map_while(|role| uids.claim(role).ok().flatten()).collect()
    }

    #[test]
    fn each_syncer_and_the_watcher_have_one() {
        let mut uids = Uids::new(Some(FIRST));
        assert_eq!(uids.claim(Role::Watcher).unwrap(), Some(FIRST));
        assert_eq!(uids.claim(Role::Keeper).unwrap(), Some(FIRST + 1));
        let syncer = |id| Role::Syncer(RemoteId(id), Lane::Batch);
        let all = given(&mut uids, (0..1000).map(syncer));
        assert_eq!(all.len(), usize::try_from(MAX_SYNCERS).unwrap());
        uids.release(syncer(7));
        assert_eq!(uids.claim(syncer(1000)).unwrap(), Some(all[7]));
        // One plugin of each kind beside them.
        const { assert!(MAX_SYNCERS + 2 <= OTHER_UIDS && PLUGIN_UIDS >= 4) };
    }

    /// A program that a plugin left running would share its uid with a syncer, and could trace it.
    #[test]
    fn a_plugins_uid_is_never_anothers() {
        let mut uids = Uids::new(Some(FIRST));
        let plugins = given(&mut uids, (0..=u8::MAX).map(|id| Role::Plugin(PluginId(id))));
        assert_eq!(plugins, (FIRST + 56..FIRST + 62).collect::<Vec<_>>());
        // The last uid of the block is no role's.
        assert_eq!(uids.claim(Role::Page).unwrap(), Some(FIRST + 62));
        for id in 0..6 {
            uids.release(Role::Plugin(PluginId(id)));
        }
        let syncers = (0..1000).map(|id| Role::Syncer(RemoteId(id), Lane::Full));
        let others = given(&mut uids, syncers);
        assert_eq!((others.len(), others.last()), (56, Some(&(FIRST + 55))));
        assert_eq!(uids.claim(Role::Plugin(PluginId(2))).unwrap(), Some(plugins[2]));
    }
}
