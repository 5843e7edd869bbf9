//! The view of all that is known: what a remote tells of itself, corrected by what its tree tells.

use std::time::Duration;

use common::event::TreeId;
use common::message::{Advance, RootLoss};
use common::status::Health;

use super::sight::Sight;
use super::{Dispatcher, Tree};
use crate::core::guard::Guard;
use crate::core::remote::Remote;
use crate::core::view::{RemoteView, RoleView, TreeView, View, Watched};
use crate::core::{Lane, RemoteId, Role};

/// Since when a tree is watched, or is not.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Vigil {
    pub(super) since: Duration,
    pub(super) directories: u64,
    pub(super) unwatched: u64,
    pub(super) loss: Option<RootLoss>,
}

impl Dispatcher {
    /// A job has come so far.
    pub fn advanced(&mut self, now: Duration, role: Role, advance: Advance) {
        if let Role::Syncer(id, lane) = role
            && let Some(remote) = self.remotes.get_mut(usize::from(id.0))
            && remote.is_working(lane)
        {
            remote.tally.advance(now, lane, advance);
        }
    }

    /// A job that is about to end has sent so much.
    pub fn moved_bytes(&mut self, now: Duration, role: Role, bytes: u64) {
        let Role::Syncer(id, lane) = role else { return };
        let remote = self.remotes.get(usize::from(id.0));
        let before = remote.and_then(|remote| remote.tally.advance_of(lane)).unwrap_or_default();
        if bytes > before.bytes {
            self.advanced(now, role, Advance { bytes, ..before });
        }
    }

    /// So many directories have no watch. A watcher that is started anew says so again.
    pub fn unwatched(&mut self, tree: TreeId, directories: u64) {
        if let Some(tree) = self.trees.get_mut(usize::from(tree.0)) {
            tree.vigil.unwatched = directories;
        }
    }

    /// Full syncs under way: of whom, since when, and how far they have come.
    pub fn full_syncs(&self) -> impl Iterator<Item = (&str, Duration, Option<Advance>)> {
        let is_syncing = |it: &&Remote| it.is_working(Lane::Full) && !it.is_auditing(Lane::Full);
        self.remotes.iter().filter(is_syncing).map(|remote| {
            let since = remote.tally.began(Lane::Full).unwrap_or_default();
            (remote.label.as_str(), since, remote.tally.advance_of(Lane::Full))
        })
    }

    /// All that is known. What is told of remotes takes as long as they have paths that wait.
    pub fn view(&self, now: Duration) -> View<'_> {
        let trees: Vec<TreeView<'_>> = (0_u16..)
            .map(TreeId)
            .zip(&self.trees)
            .map(|(id, tree)| self.view_of_tree(now, id, tree))
            .collect();
        let remotes = (0_u16..).map(RemoteId).zip(&self.remotes).filter(|(_, remote)| !remote.is_gone());
        let remotes = remotes.map(|(id, remote)| {
            let mut view = remote.view(now, id);
            if let Some(tree) = trees.iter().find(|tree| tree.id == remote.tree) {
                correct(&mut view, tree);
            }
            view
        });
        let remotes = remotes.collect();
        let roles =
            self.pool.all().map(|(role, state, restarts)| RoleView { role, state, restarts }).collect();
        View { draining: self.draining.is_some(), trees, remotes, roles }
    }

    fn view_of_tree<'a>(&self, now: Duration, id: TreeId, tree: &'a Tree) -> TreeView<'a> {
        let Vigil { since, directories, unwatched, loss } = tree.vigil;
        let watched = match (tree.guard, tree.sight) {
            (Guard::Unseen, _) => Watched::NotYet,
            (Guard::Lost { .. }, _) => Watched::Lost(loss.unwrap_or(RootLoss::Missing)),
            (Guard::Present { .. } | Guard::Replaced { .. }, Sight::Lost | Sight::Replaced) => {
                Watched::NoWatcher
            }
            (Guard::Present { .. }, Sight::Whole) => Watched::Yes,
            (Guard::Replaced { .. }, Sight::Whole) => Watched::Replaced,
        };
        let (braked, comparing) = (tree.brake.names(), self.is_finding(now, id));
        TreeView { id, label: &tree.label, watched, since, directories, unwatched, braked, comparing }
    }
}

/// What its tree says of a remote.
fn correct(remote: &mut RemoteView<'_>, tree: &TreeView<'_>) {
    let of_tree = match tree.watched {
        Watched::Yes if tree.braked > 0 => Health::Held,
        // What happens where nobody watches is seen within a minute, or more.
        Watched::Yes if tree.comparing || tree.unwatched > 0 => Health::Behind,
        Watched::Yes => Health::InSync,
        Watched::Replaced => Health::Held,
        Watched::NotYet | Watched::NoWatcher | Watched::Lost(_) => Health::Unwatched,
    };
    remote.health = remote.health.max(of_tree);
}

impl Tree {
    /// It is watched from now on.
    pub(super) fn watched(&mut self, now: Duration, directories: u64) {
        self.vigil = Vigil { since: now, directories, unwatched: 0, loss: None };
    }

    /// Nobody watches it from now on: its root is lost, or without a `loss` the watcher is.
    pub(super) fn unwatched(&mut self, now: Duration, loss: Option<RootLoss>) {
        self.vigil = Vigil { since: now, loss: loss.or(self.vigil.loss), ..self.vigil };
    }
}

impl Lane {
    /// For people and programs.
    pub fn as_str(self) -> &'static str {
        match self {
            Lane::Batch => "batch",
            Lane::Express => "express",
            Lane::Full => "full",
        }
    }
}

#[cfg(test)]
mod tests;
