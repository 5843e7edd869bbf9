//! What is kept on disk: taking it in at start, telling the keeper what changes, and turning what
//! it finds into changes.

use std::time::Duration;

use common::event::TreeId;
use common::filter::EntryKind;
use common::keep::{Durable, Edit, Find, FindKind, HeldDelete, KeeperReport, Knowledge, LastRun, Trouble};
use common::message::Deletions;
use common::path::RelPath;
use log::Level;

use super::Dispatcher;
use super::memory::{Before, Keeper, Left};
use crate::core::backlog::millis;
use crate::core::brake::Judgement;
use crate::core::keeping::Keeping;
use crate::core::remote::Remote;
use crate::core::{Action, RemoteId, Role, notice};

/// Deaths of a keeper before it has told all, until its file is taken for damaged.
const DEATHS: u32 = 5;

impl Dispatcher {
    /// True while it is not known what was kept: no job runs before.
    pub(super) fn awaits_past(&self) -> bool {
        self.past.wait.is_some() && self.past.last.is_none()
    }

    /// What becomes of what an earlier run left of a tree.
    pub fn left(&self, id: TreeId) -> Left {
        match self.trees.get(usize::from(id.0)) {
            Some(tree) if tree.memory.moved => Left::Drop,
            Some(tree) if tree.guard.is_original() && !self.awaits_past() => Left::Take,
            Some(_) | None => Left::Wait,
        }
    }

    /// True when the names of a tree are on disk, so that comparing finds what differs. A keeper that is
    /// being replaced is waited for, but not for ever.
    pub(super) fn compares(&self, tree: TreeId) -> bool {
        let whole = |tree: &super::Tree| tree.memory.knowledge == Some(Knowledge::Whole);
        let is_there =
            self.keeping.as_ref().is_some_and(Keeping::is_live) || self.pool.is_alive(Role::Keeper);
        is_there && self.trees.get(usize::from(tree.0)).is_some_and(whole)
    }

    pub(super) fn keeper_says(&mut self, now: Duration, report: KeeperReport, out: &mut Vec<Action>) {
        match report {
            KeeperReport::Ready | KeeperReport::Beat => {}
            KeeperReport::Kept(edits) => {
                for edit in edits {
                    self.take_kept(now, edit);
                }
                // No honest keeper was given more; one that was taken over may say so again and again.
                for remote in &mut self.remotes {
                    if let Some(collapsed) = remote.bound_restored(now) {
                        out.push(notice::collapsed(&remote.label, &collapsed));
                    }
                }
            }
            KeeperReport::Loaded { last, trees, names } => {
                self.trees.iter_mut().zip(names).for_each(|(tree, names)| tree.brake.had(names));
                self.loaded(now, last, &trees, out);
            }
            KeeperReport::Found(tree, finds) => {
                self.keeping.iter_mut().for_each(Keeping::heard);
                self.found(now, tree, finds, out);
            }
            KeeperReport::Done(_) => self.keeping.iter_mut().for_each(|keeping| keeping.done(out)),
            KeeperReport::Compared(tree, path, names) => {
                self.keeping.iter_mut().for_each(|keeping| keeping.done(out));
                self.compared(now, tree, &path, names, out);
            }
            KeeperReport::Committed(_, durable) => {
                self.keeping.iter_mut().for_each(|keeping| keeping.committed(durable, out));
                if durable == Durable::Yes && std::mem::take(&mut self.past.unwritable) {
                    out.push(Action::Log(Level::Info, "state is written again".to_owned()));
                }
            }
            KeeperReport::Trouble(trouble, text) => self.trouble(trouble, &text, out),
        }
    }

    /// Something that was kept. A keeper that was started again tells it once more: then only what
    /// the disk holds is news.
    fn take_kept(&mut self, now: Duration, edit: Edit) {
        let first = self.past.last.is_none();
        match edit {
            Edit::Pending(id, path, Some(pending)) => {
                if let Some(remote) = self.remote_mut(id) {
                    remote.restore(now, path, first.then_some(&pending));
                }
            }
            Edit::Parked(id, path, Some(pending)) => {
                if let Some(remote) = self.remote_mut(id) {
                    remote.restore_parked(now, path, first.then_some(&pending));
                }
            }
            Edit::Full(id, Some(deletions)) => {
                if let Some(remote) = self.remote_mut(id) {
                    remote.restore_full(now, deletions, first);
                }
            }
            Edit::Known(id) => drop(self.past.known.insert(id)),
            Edit::Held(tree, path, Some(gone)) => {
                if let Some(tree) = self.trees.get_mut(usize::from(tree.0)) {
                    if first { tree.brake.restore(path, gone) } else { tree.brake.is_saved_at(path) }
                }
            }
            Edit::Root(tree, root) => {
                if let Some(tree) = self.trees.get_mut(usize::from(tree.0)) {
                    tree.memory.root = Some(root);
                }
            }
            Edit::Pending(..) | Edit::Parked(..) | Edit::Full(..) | Edit::Held(..) | Edit::Complete(..) => {}
        }
    }

    fn loaded(&mut self, now: Duration, last: LastRun, trees: &[Knowledge], out: &mut Vec<Action>) {
        let first = self.past.last.is_none();
        for (tree, &knowledge) in self.trees.iter_mut().zip(trees) {
            tree.memory.knowledge = Some(knowledge);
        }
        self.past.deaths = 0;
        if first {
            self.past.last = Some(last);
            self.past.wait = None;
            // What was pending may be excluded since.
            self.forget_excluded();
            if last == LastRun::Unclean {
                out.push(notice::unclean());
            }
        }
        if self.past.keeper == Keeper::Another {
            self.remotes.iter_mut().for_each(Remote::tell_again);
            self.trees.iter_mut().for_each(|tree| tree.brake.tell_again());
        }
        if let Some(keeping) = &mut self.keeping {
            keeping.begin(now, first, out);
        }
        let ids: Vec<TreeId> = (0_u16..).take(self.trees.len()).map(TreeId).collect();
        for id in ids {
            self.first_sight(now, id, out);
        }
    }

    /// A tree is watched, and what was kept of it is known: what to make of the time between.
    pub(super) fn first_sight(&mut self, now: Duration, id: TreeId, out: &mut Vec<Action>) {
        if !self.keeping.as_ref().is_some_and(Keeping::is_live) {
            return;
        }
        let damaged = self.past.damaged;
        let Some(tree) = self.trees.get_mut(usize::from(id.0)) else { return };
        let (Some((root, _)), true) = (tree.guard.permits(), tree.guard.is_original()) else { return };
        let before = tree.memory.root.replace(root);
        let knowledge = tree.memory.knowledge.unwrap_or(Knowledge::None);
        // A keeper that was started anew finds nothing that was not known.
        let past = std::mem::replace(&mut tree.memory.before, Before::Settled);
        let cause = match knowledge {
            Knowledge::None if damaged => Some("what was kept of it is lost"),
            Knowledge::None => None,
            Knowledge::Partial if before.is_none() => Some("what was kept of it is lost"),
            Knowledge::Partial | Knowledge::Whole if !before.is_some_and(|before| before.is_still(root)) => {
                Some("another directory than before stands at its root")
            }
            Knowledge::Partial if past == Before::Settled && !tree.memory.is_catching_up() => None,
            Knowledge::Partial => Some("its first listing was not finished"),
            Knowledge::Whole => {
                if past == Before::Open {
                    tree.memory.catch_up(now);
                }
                None
            }
        };
        if let Some(cause) = cause {
            // Its names are learned anew.
            tree.memory.knowledge = Some(Knowledge::Partial);
            tree.memory.moved = before.is_some_and(|before| !before.is_still(root));
            let (moved, epoch) = (tree.memory.moved, self.epoch);
            out.push(notice::reconcile(&tree.label, cause, self.mirror));
            if moved {
                // What was to be removed was so in another directory.
                self.each_remote(id, |remote| remote.forget_before(epoch));
            }
            self.resync(now, id);
        }
        if knowledge == Knowledge::None && !damaged && self.full_sync {
            self.each_remote(id, Remote::approve_first);
        }
        self.greet_remotes(now, id, knowledge, out);
        if let (true, Some(keeping)) = (before != Some(root), &mut self.keeping) {
            keeping.edit([Edit::Root(id, root)]);
        }
    }

    /// A remote that is new to a tree that is not gets all of it.
    fn greet_remotes(&mut self, now: Duration, id: TreeId, knowledge: Knowledge, out: &mut Vec<Action>) {
        let Some(ids) = self.trees.get(usize::from(id.0)).map(|tree| tree.remotes.clone()) else { return };
        let fresh: Vec<RemoteId> = ids.into_iter().filter(|id| self.past.known.insert(id.0)).collect();
        for RemoteId(id) in fresh {
            let is_new = self.past.greeted.insert(id) && knowledge != Knowledge::None && !self.past.damaged;
            if let (Some(remote), true) = (self.remotes.get_mut(usize::from(id)), is_new) {
                remote.seed(now);
                // It may be owed more than that: each start with -r makes all of them equal.
                let mirrors = self.delete && remote.wants_mirror();
                let deletions = if mirrors { Deletions::Travel } else { Deletions::Held };
                out.push(notice::seeded(&remote.label, deletions));
            }
            if let Some(keeping) = &mut self.keeping {
                keeping.edit([Edit::Known(id)]);
            }
        }
    }

    fn found(&mut self, now: Duration, id: TreeId, finds: Vec<Find>, out: &mut Vec<Action>) {
        let since = self.epoch.saturating_add(millis(now));
        let mut changes = Vec::new();
        let Some(tree) = self.trees.get_mut(usize::from(id.0)) else { return };
        for find in finds {
            if let Some(change) = find.change() {
                if self.filter.excludes_within(&change.path, EntryKind::File) {
                    continue;
                }
                tree.memory.found.0 = tree.memory.found.0.saturating_add(1);
                changes.push(change);
            } else if let Find { path, kind: FindKind::Gone { directory, names } } = find {
                tree.memory.found.1 = tree.memory.found.1.saturating_add(names);
                let kind = if directory { EntryKind::Directory } else { EntryKind::File };
                // Excluded since, and not gone: what it left on the remotes stays there.
                if self.delete && !self.filter.excludes_within(&path, kind) {
                    tree.brake.found(path, HeldDelete { directory, names, since });
                }
            }
        }
        self.insert(now, id, &changes, out);
    }

    fn compared(&mut self, now: Duration, id: TreeId, path: &RelPath, names: u64, out: &mut Vec<Action>) {
        let at = self.epoch.saturating_add(millis(now));
        let Some(tree) = self.trees.get_mut(usize::from(id.0)) else { return };
        if path.is_root() {
            tree.memory.knowledge = Some(Knowledge::Whole);
            tree.memory.listed = true;
            tree.memory.parts = 0;
            tree.memory.compared = tree.memory.compared.saturating_add(1);
            if tree.memory.compared < tree.memory.awaited {
                // This listing began before the last loss.
                return;
            }
            let (changed, gone) = std::mem::take(&mut tree.memory.found);
            let told = tree.memory.catching_up.take().is_some() && !tree.memory.silent;
            if told || changed > 0 || gone > 0 {
                out.push(notice::caught_up(&tree.label, changed, gone));
            }
            if let Some(keeping) = &mut self.keeping {
                keeping.edit([Edit::Complete(id, at)]);
            }
        }
        if !path.is_root() {
            tree.memory.parts = tree.memory.parts.saturating_sub(1);
        }
        match tree.brake.judge(names, at) {
            Judgement::Go(changes) => self.insert_judged(now, id, &changes, out),
            Judgement::Held(held) if names == 0 => out.push(notice::emptied(&tree.label, held)),
            Judgement::Held(held) => out.push(notice::held(&tree.label, held)),
        }
    }

    fn trouble(&mut self, trouble: Trouble, text: &str, out: &mut Vec<Action>) {
        match trouble {
            Trouble::Damaged => {
                self.past.damaged = true;
                self.past.deaths = 0;
                out.push(notice::state_damaged(text));
                out.push(Action::EraseKept);
            }
            Trouble::Unwritable => {
                self.past.excused = true;
                if !std::mem::replace(&mut self.past.unwritable, true) {
                    out.push(notice::state_unwritable(text));
                }
            }
        }
    }

    /// What was not committed is lost; the next one gets all of it again.
    pub(super) fn keeper_died(&mut self, was_ready: bool, out: &mut Vec<Action>) {
        let Some(keeping) = &mut self.keeping else { return };
        // One that did not even start, or could not write, says nothing about what stands there.
        if !keeping.is_live() && was_ready && !std::mem::take(&mut self.past.excused) {
            self.past.deaths = self.past.deaths.saturating_add(1);
        }
        keeping.end();
        self.past.keeper = Keeper::Another;
        self.names_lost();
        // The next one says what is on disk.
        self.past.known.clear();
        for tree in &mut self.trees {
            tree.memory.forget_disk();
        }
        self.remotes.iter_mut().for_each(Remote::forget_saved);
        self.trees.iter_mut().for_each(|tree| tree.brake.forget_saved());
        if self.past.deaths >= DEATHS {
            self.trouble(Trouble::Damaged, "the keeper died over it again and again", out);
        }
    }

    /// Names were reported that the keeper will not hear of before they are listed again.
    pub(super) fn names_lost(&mut self) {
        self.trees.iter_mut().for_each(|tree| tree.memory.listed = false);
    }
}
