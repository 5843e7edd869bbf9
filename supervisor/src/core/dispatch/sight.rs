//! What is seen of a tree, and what is not: roots that come and go, and what makes up for events
//! that nobody saw.

use std::time::Duration;

use common::event::{Change, Dirt, RootId, TreeId};
use common::keep::Knowledge;
use common::message::{Deletions, LossCause, RootLoss};
use common::path::RelPath;

use super::super::restart::Event;
use super::Dispatcher;
use crate::core::guard::Seen;
use crate::core::remote::Remote;
use crate::core::{Action, Role, notice};

/// Rescans of a tree are spoken of at most this often.
const RESCAN_PAUSE: Duration = Duration::from_secs(10);

impl Dispatcher {
    pub(super) fn rescan(
        &mut self,
        now: Duration,
        id: TreeId,
        path: RelPath,
        cause: LossCause,
        out: &mut Vec<Action>,
    ) {
        let repair = self.repair(id);
        let Some(tree) = self.trees.get_mut(usize::from(id.0)) else { return };
        if cause == LossCause::Linked {
            // Mostly it was a temporary file. Without names to compare with, there is nothing to find.
            if tree.memory.knowledge == Some(Knowledge::Whole) {
                tree.memory.doubt(now);
            }
            return;
        }
        tree.unproven.seen_again(now, &path);
        let (said, unsaid) = &mut tree.rescans;
        if said.is_none_or(|said| now.saturating_sub(said) >= RESCAN_PAUSE) {
            out.push(notice::rescan(&tree.label, &path, cause, repair, *unsaid));
            tree.rescans = (Some(now), 0);
        } else {
            *unsaid = unsaid.saturating_add(1);
        }
        match repair {
            // The watcher lists all of it; what differs is found.
            Repair::Compare if path.is_root() => tree.memory.catch_up(now),
            Repair::Compare => tree.memory.catch_up_part(),
            Repair::Mirror | Repair::Send if path.is_root() => self.resync(now, id),
            Repair::Mirror => self.insert(now, id, &[Change { path, dirt: Dirt::Deep, mask: 0 }], out),
            Repair::Send => self.insert(now, id, &[Change { path, dirt: Dirt::Sweep, mask: 0 }], out),
        }
    }

    /// How what was not seen is made up for.
    pub(super) fn repair(&self, tree: TreeId) -> Repair {
        if self.compares(tree) {
            Repair::Compare
        } else if self.mirror {
            Repair::Mirror
        } else {
            Repair::Send
        }
    }

    /// Sight of a whole tree was lost: asks for a full sync of every remote, with deletions where
    /// the operator asked for mirror semantics.
    pub(super) fn resync(&mut self, now: Duration, tree: TreeId) {
        let deletions = if self.mirror { Deletions::Travel } else { Deletions::Held };
        self.resync_with(now, tree, deletions);
    }

    fn resync_with(&mut self, now: Duration, tree: TreeId, deletions: Deletions) {
        self.each_remote(tree, |remote| remote.want_full(now, deletions));
        let all = Change { path: RelPath::root(), dirt: Dirt::Sweep, mask: 0 };
        self.tell_plugins(now, tree, &[all]);
    }

    pub(super) fn each_remote(&mut self, tree: TreeId, mut act: impl FnMut(&mut Remote)) {
        self.remotes.iter_mut().filter(|remote| remote.tree == tree).for_each(&mut act);
    }

    pub(super) fn watching(
        &mut self,
        now: Duration,
        id: TreeId,
        root: RootId,
        directories: u64,
        out: &mut Vec<Action>,
    ) {
        let Some(tree) = self.trees.get_mut(usize::from(id.0)) else { return };
        let seen = tree.guard.seen(root);
        let sight = std::mem::take(&mut tree.sight);
        tree.watched(now, directories);
        tree.unproven.seen_again(now, &RelPath::root());
        let label = tree.label.clone();
        out.push(notice::watching(&label, directories));
        match seen {
            Seen::First => {
                // It may have been missing at first.
                self.each_remote(id, |remote| remote.release_deletions(now));
                if self.full_sync {
                    self.each_remote(id, |remote| remote.want_full(now, Deletions::Travel));
                }
                self.first_sight(now, id, out);
            }
            Seen::Same => {
                self.each_remote(id, |remote| remote.release_deletions(now));
                if sight != Sight::Whole {
                    self.make_up(now, id, sight, out);
                }
            }
            Seen::Other => {
                out.push(notice::root_replaced(&label));
                self.each_remote(id, |remote| remote.hold_deletions(now));
                self.resync_with(now, id, Deletions::Held);
            }
        }
    }

    /// Nobody watched for a while.
    fn make_up(&mut self, now: Duration, id: TreeId, sight: Sight, out: &mut Vec<Action>) {
        let repair = self.repair(id);
        let Some(tree) = self.trees.get_mut(usize::from(id.0)) else { return };
        out.push(notice::blind(&tree.label, repair, sight));
        match repair {
            Repair::Compare => tree.memory.catch_up(now),
            Repair::Mirror | Repair::Send => self.resync(now, id),
        }
    }

    pub(super) fn root_lost(&mut self, now: Duration, id: TreeId, cause: RootLoss, out: &mut Vec<Action>) {
        let Some(tree) = self.trees.get_mut(usize::from(id.0)) else { return };
        tree.guard.lost();
        tree.sight = Sight::Lost;
        tree.unwatched(now, Some(cause));
        out.push(notice::root_lost(&tree.label, cause));
        self.each_remote(id, |remote| remote.hold_deletions(now));
        // One that runs ssh has a copy of the host's mounts from its start. The next one sees
        // what is mounted then.
        let lanes: Vec<Role> = self.lanes().filter(|&role| self.tree_of(role) == Some(id)).collect();
        for role in lanes {
            self.pool.on(now, role, Event::Unwanted, out);
        }
    }
}

/// Whether somebody watches a tree. While nobody does, what happens is found by a rescan.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Sight {
    /// Somebody does.
    #[default]
    Whole,
    /// Nobody, until another watcher is there, which was ordered.
    Replaced,
    /// Nobody.
    Lost,
}

impl Sight {
    /// What is to be said when both happened: the worse of them.
    pub(super) fn then(self, other: Sight) -> Sight {
        match (self, other) {
            (Sight::Lost, _) | (_, Sight::Lost) => Sight::Lost,
            (Sight::Replaced, _) | (_, Sight::Replaced) => Sight::Replaced,
            (Sight::Whole, Sight::Whole) => Sight::Whole,
        }
    }
}

/// How events that nobody saw are made up for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Repair {
    /// The tree is compared with the names on disk: what differs is sent, deletions too.
    Compare,
    /// A full sync, which deletes what only the remote has.
    Mirror,
    /// A full sync that deletes nothing.
    Send,
}
