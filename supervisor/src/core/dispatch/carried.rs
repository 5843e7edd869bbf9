//! What jobs have carried, and when it is carried once more: see [`crate::core::unproven`].

use std::time::Duration;

use common::event::TreeId;
use common::message::Deletions;

use super::{Dispatcher, Sight};
use crate::core::remote::Carried;
use crate::core::unproven::Again;
use crate::core::{Action, RemoteId, notice};

impl Dispatcher {
    /// The watcher speaks: what was carried before is proven, where it watches.
    pub(super) fn watcher_speaks(&mut self, now: Duration) {
        let watched = self.trees.iter_mut().filter(|tree| tree.sight == Sight::Whole);
        watched.for_each(|tree| tree.unproven.sign(now));
    }

    /// A job is over that has carried something.
    pub(super) fn note_carried(
        &mut self,
        now: Duration,
        id: RemoteId,
        carried: Option<Carried>,
        out: &mut Vec<Action>,
    ) {
        let Some(remote) = self.remotes.get_mut(usize::from(id.0)) else { return };
        let Some(tree) = self.trees.get_mut(usize::from(remote.tree.0)) else { return };
        match carried {
            Some(Carried::Paths(since, paths)) => {
                let again = tree.unproven.carried(now, since, paths);
                if let Some(collapsed) = remote.insert(now, &again) {
                    out.push(notice::collapsed(&remote.label, &collapsed));
                }
            }
            Some(Carried::All(since)) if tree.unproven.synced(now, since, id) => {
                remote.want_full(now, Deletions::Travel);
            }
            Some(Carried::All(_)) | None => {}
        }
    }

    /// Directories go once more when their tree was compared, and nothing of it is held.
    pub(super) fn carry_later(&mut self, now: Duration, out: &mut Vec<Action>) {
        for id in (0_u16..).map(TreeId).take(self.trees.len()) {
            let Some(tree) = self.trees.get(usize::from(id.0)) else { return };
            if !tree.unproven.waits() {
                continue;
            }
            let is_there = matches!(tree.guard.permits(), Some((_, Deletions::Travel)));
            let is_quiet = is_there && tree.sight == Sight::Whole && tree.brake.names() == 0;
            // Without names to compare with a full sync makes up for it, or nothing does.
            let compares = self.compares(id);
            if compares && (!is_quiet || self.is_finding(now, id)) {
                continue;
            }
            let Some(tree) = self.trees.get_mut(usize::from(id.0)) else { return };
            let later = tree.unproven.compared();
            if compares {
                self.give(now, id, &later, out);
            }
        }
    }

    /// What was carried while perhaps nobody watched.
    pub(super) fn carry_again(&mut self, now: Duration, id: TreeId, again: Again, out: &mut Vec<Action>) {
        self.give(now, id, &again.changes, out);
        for remote in again.full {
            // It may be configured no more.
            let remote = self.remotes.get_mut(usize::from(remote.0)).filter(|remote| remote.tree == id);
            if let Some(remote) = remote {
                remote.want_full(now, Deletions::Travel);
            }
        }
        if let (true, Some(tree)) = (again.more, self.trees.get(usize::from(id.0))) {
            out.push(notice::unproven(&tree.label));
        }
    }
}

#[cfg(test)]
mod tests;
