//! Telling the keeper what changes, commit by commit, up to the last one before a stop; and what
//! the brake makes of changes.

use std::time::Duration;

use common::event::{Change, Dirt, TreeId};
use common::keep::{Edit, HeldDelete, NameOp};
use common::path::RelPath;
use log::Level;

use super::Dispatcher;
use crate::core::backlog::millis;
use crate::core::keeping::{Keeping, Names};
use crate::core::{Action, Role, notice};

/// How long a stop waits for the disk.
const SAVE_MOST: Duration = Duration::from_secs(5);
/// How long what nobody saw may wait for a keeper that does not come back.
const PATIENCE: Duration = Duration::from_secs(20);

impl Dispatcher {
    /// The watcher told names. While another directory stands in the root's place they are not
    /// those that are kept.
    pub(super) fn names(&mut self, now: Duration, tree: TreeId, ops: Vec<NameOp>) {
        self.audits.note(tree, &ops);
        let wanted = self.trees.get(usize::from(tree.0)).is_some_and(|tree| tree.guard.is_original());
        if let Some(keeping) = &mut self.keeping {
            let lost = keeping.names(now, tree, ops, wanted);
            if lost {
                self.names_lost();
            }
        }
    }

    pub(super) fn listed(&mut self, id: TreeId, path: RelPath, pass: u32) {
        let Some(tree) = self.trees.get(usize::from(id.0)) else { return };
        let is_root = path.is_root();
        let told = match &mut self.keeping {
            Some(keeping) if tree.guard.is_original() => keeping.listed(id, path, pass),
            Some(_) | None => false,
        };
        if let (true, true, Some(tree)) = (told, is_root, self.trees.get_mut(usize::from(id.0))) {
            tree.memory.told = tree.memory.told.saturating_add(1);
        }
    }

    /// Tells the keeper what has changed, when it is time; and stops waiting for one that does not
    /// come.
    pub(super) fn keep(&mut self, now: Duration, out: &mut Vec<Action>) {
        if self.past.until().is_some_and(|until| now >= until) {
            self.past.waited();
        }
        let edits = self.has_edits();
        let Some(keeping) = &self.keeping else { return };
        // One that is about to be replaced knows the remotes by other numbers.
        if keeping.is_due(now, edits) && self.pool.is_ready(Role::Keeper) && self.tell_changed() {
            let all = self.trees.iter().all(|tree| tree.memory.listed || !tree.guard.is_original());
            let all = all && !self.unnamed;
            let recalls = all && std::mem::take(&mut self.recall);
            if recalls {
                out.push(Action::Recall);
            }
            // What is recalled comes after this commit: the next one may settle it.
            let all = all && !recalls;
            let names = if all { Names::Whole } else { Names::Partial };
            self.keeping.iter_mut().for_each(|keeping| keeping.commit(now, names, out));
        }
        let Some(keeping) = &mut self.keeping else { return };
        keeping.pump(now, out);
        if !keeping.is_live() {
            self.give_up_comparing(now, out);
        }
    }

    /// Tells the keeper as much of what has changed as it may have now. True when that was all of it:
    /// only then the disk may take it for one moment.
    fn tell_changed(&mut self) -> bool {
        while self.has_edits() {
            let Some(keeping) = &mut self.keeping else { return false };
            let mut room = keeping.portion();
            if room == 0 {
                return false;
            }
            let (remotes, trees) = (&mut self.remotes, &mut self.trees);
            keeping.edits(|tell| {
                for (id, remote) in (0_u16..).zip(remotes) {
                    room = room.saturating_sub(remote.tell(id, room, tell));
                }
                for (id, tree) in (0_u16..).map(TreeId).zip(trees) {
                    let held = tree.brake.tell(room, |path, gone| tell(Edit::Held(id, path, gone)));
                    room = room.saturating_sub(held);
                }
            });
        }
        true
    }

    /// Before a stop: whether all that was not sent is on disk, as far as that is possible.
    pub(super) fn is_saved(&mut self, now: Duration, out: &mut Vec<Action>) -> bool {
        let Some(keeping) = &mut self.keeping else { return true };
        let since = self.saving.unwrap_or(now);
        if self.saving.is_none() {
            keeping.finish();
            self.saving = Some(now);
            self.keep(now, out);
        }
        let ended = self.keeping.as_ref().is_none_or(Keeping::has_ended);
        if !ended && now.saturating_sub(since) < SAVE_MOST {
            return false;
        }
        if !ended {
            out.push(Action::Log(Level::Warn, "state: not all of it could be written in time".to_owned()));
        }
        true
    }

    /// When a stop waits no longer for the disk.
    pub(super) fn saving_until(&self) -> Option<Duration> {
        self.saving.map(|since| since.saturating_add(SAVE_MOST))
    }

    /// A full sync takes the place of a comparison that nobody makes.
    fn give_up_comparing(&mut self, now: Duration, out: &mut Vec<Action>) {
        let late = |tree: &super::Tree| {
            tree.memory.catching_up.is_some_and(|since| now.saturating_sub(since) >= PATIENCE)
        };
        let ids: Vec<TreeId> =
            (0_u16..).map(TreeId).zip(&self.trees).filter(|(_, tree)| late(tree)).map(|(id, _)| id).collect();
        for id in ids {
            if let Some(tree) = self.trees.get_mut(usize::from(id.0)) {
                tree.memory.catching_up = None;
                out.push(notice::reconcile(&tree.label, "what is kept of it cannot be read", self.mirror));
            }
            self.resync(now, id);
        }
    }

    /// When waiting for the keeper is over.
    pub(super) fn comparing_until(&self) -> Option<Duration> {
        if self.keeping.as_ref().is_none_or(Keeping::is_live) {
            return None;
        }
        self.trees
            .iter()
            .filter_map(|tree| tree.memory.catching_up)
            .min()
            .map(|at| at.saturating_add(PATIENCE))
    }

    /// True while what nobody saw is being found, or it is not yet known whether there is anything.
    pub(super) fn is_finding(&self, now: Duration, id: TreeId) -> bool {
        let catching_up = self.trees.get(usize::from(id.0)).is_some_and(|tree| tree.memory.is_catching_up());
        let relists = self.keeping.as_ref().is_some_and(Keeping::relists);
        catching_up || relists || (self.keeping.is_some() && self.past.last.is_none() && now < PATIENCE)
    }

    /// True when something beside names is to be told to the keeper.
    pub(super) fn has_edits(&self) -> bool {
        self.keeping.is_some()
            && (self.remotes.iter().any(|remote| !remote.is_told())
                || self.trees.iter().any(|tree| !tree.brake.is_told()))
    }

    /// True when changes of the tree have to pass the brake.
    pub(super) fn brakes(&self, id: TreeId) -> bool {
        self.trees.get(usize::from(id.0)).is_some_and(|tree| tree.brake.looks())
    }

    /// What of these changes travels.
    pub(super) fn brake(
        &mut self,
        now: Duration,
        id: TreeId,
        changes: &[Change],
        out: &mut Vec<Action>,
    ) -> Vec<Change> {
        let at = self.epoch.saturating_add(millis(now));
        let Some(tree) = self.trees.get_mut(usize::from(id.0)) else { return changes.to_vec() };
        let braked = tree.brake.is_braking(now);
        let passed: Vec<Change> =
            changes.iter().filter_map(|change| tree.brake.passes(now, change, at)).collect();
        if !braked && tree.brake.is_braking(now) {
            // Those of the same wave that have not travelled yet stay too.
            for remote in self.remotes.iter_mut().filter(|remote| remote.tree == id) {
                for (path, dirt) in remote.take_removals() {
                    let directory = dirt == Dirt::RemovedDir;
                    tree.brake.hold(path, HeldDelete { directory, names: 1, since: at });
                }
            }
            out.push(notice::held(&tree.label, tree.brake.names()));
        }
        passed
    }
}
