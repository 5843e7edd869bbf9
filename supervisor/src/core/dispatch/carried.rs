//! What jobs have carried, and when it is carried once more: see [`crate::core::unproven`].

use std::time::Duration;

use common::event::TreeId;
use common::keep::Knowledge;
use common::message::Deletions;

use super::{Dispatcher, Sight};
use crate::core::remote::Carried;
use crate::core::{Action, RemoteId, notice};

impl Dispatcher {
    /// The watcher speaks: what was carried before is proven, where it watches.
    pub(super) fn watcher_speaks(&mut self, now: Duration) {
        let watched = self.trees.iter_mut().filter(|tree| tree.sight == Sight::Whole);
        watched.for_each(|tree| tree.unproven.sign(now));
    }

    /// A job is over that has carried something.
    pub(super) fn note_carried(&mut self, now: Duration, id: RemoteId, carried: Option<Carried>) {
        let Some(remote) = self.remotes.get(usize::from(id.0)) else { return };
        let Some(tree) = self.trees.get_mut(usize::from(remote.tree.0)) else { return };
        match carried {
            Some(Carried::Paths(since, paths)) => tree.unproven.carried(now, since, paths),
            Some(Carried::All(since)) => tree.unproven.synced(now, since),
            None => {}
        }
    }

    /// What was carried while perhaps nobody watched goes once more, when its tree was compared and nothing
    /// of it is held. Without names to compare with a full sync makes up for it, or nothing does.
    pub(super) fn carry_again(&mut self, now: Duration, out: &mut Vec<Action>) {
        for id in (0_u16..).map(TreeId).take(self.trees.len()) {
            let Some(tree) = self.trees.get_mut(usize::from(id.0)) else { return };
            if tree.unproven.is_untold() {
                out.push(notice::unproven(&tree.label));
            }
            if !tree.unproven.waits() {
                continue;
            }
            if tree.memory.knowledge != Some(Knowledge::Whole) {
                tree.unproven.compared();
                continue;
            }
            let is_there = matches!(tree.guard.permits(), Some((_, Deletions::Travel)));
            let is_quiet = is_there && tree.sight == Sight::Whole && !tree.brake.holds_any();
            if !is_quiet || !self.compares(id) || self.is_finding(now, id) {
                continue;
            }
            let Some(tree) = self.trees.get_mut(usize::from(id.0)) else { return };
            let again = tree.unproven.compared();
            self.give(now, id, &again, out);
        }
    }

    /// Before a stop: what is not carried once more by then nobody will know of.
    pub(super) fn say_unproven(&mut self, out: &mut Vec<Action>) {
        for tree in &mut self.trees {
            tree.unproven.give_up();
            if tree.unproven.is_untold() {
                out.push(notice::unproven(&tree.label));
            }
        }
    }
}

#[cfg(test)]
mod tests;
