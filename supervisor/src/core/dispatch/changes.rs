//! Changes on their way to the remotes and the plugins of their tree.

use std::time::Duration;

use common::event::{Change, TreeId};
use common::filter::EntryKind;
use common::message::RemoteOutcome;
use common::path::RelPath;

use super::Dispatcher;
use crate::core::backlog::{Copies, MAX_ALL};
use crate::core::ledger::Standing;
use crate::core::remote::Remote;
use crate::core::{Action, RemoteId, notice};

impl Dispatcher {
    /// A directory or file has another name.
    pub(super) fn moved(
        &mut self,
        now: Duration,
        tree: TreeId,
        kind: EntryKind,
        from: &RelPath,
        to: &RelPath,
    ) {
        for remote in self.remotes.iter_mut().filter(|remote| remote.tree == tree) {
            remote.moved(now, kind, from, to);
        }
    }

    /// Changes that the brake has let go.
    pub(super) fn insert_judged(
        &mut self,
        now: Duration,
        tree: TreeId,
        changes: &[Change],
        out: &mut Vec<Action>,
    ) {
        self.give(now, tree, changes, out);
        self.tell_plugins(now, tree, changes);
    }

    /// Changes that the tree's remotes get, and nobody else hears of.
    pub(super) fn give(&mut self, now: Duration, tree: TreeId, changes: &[Change], out: &mut Vec<Action>) {
        let numbers = self.remotes.iter().filter(|remote| remote.tree == tree).map(Remote::sequence);
        let mut copies = Copies::of_all(changes.len(), numbers);
        for remote in self.remotes.iter_mut().filter(|remote| remote.tree == tree) {
            if let Some(collapsed) = remote.insert_copies(now, changes, &mut copies) {
                out.push(notice::collapsed(&remote.label, &collapsed));
            }
            self.failures = self.failures.saturating_add(u64::from(remote.is_in_trouble()));
        }
        self.bound(now, out);
    }

    /// All remotes together have a bound too. Who has more than its share gives up half of it, so that
    /// this is seldom.
    fn bound(&mut self, now: Duration, out: &mut Vec<Action>) {
        let weights = || self.remotes.iter().map(Remote::weight);
        if weights().fold(0, usize::saturating_add) <= MAX_ALL {
            return;
        }
        let share = MAX_ALL / 2 / weights().filter(|&weight| weight > 0).count().max(1);
        for remote in &mut self.remotes {
            for collapsed in remote.shrink(now, share) {
                out.push(notice::collapsed(&remote.label, &collapsed));
            }
        }
    }

    /// Plugins hear of it when the remotes of the tree have dealt with it.
    pub(super) fn tell_plugins(&mut self, now: Duration, tree: TreeId, changes: &[Change]) {
        let Some(remotes) = self.trees.get(usize::from(tree.0)).map(|tree| &tree.remotes) else { return };
        let standing = |id: &RemoteId| {
            let remote = self.remotes.get(usize::from(id.0))?;
            Some((*id, remote.is_known_down().then_some(RemoteOutcome::Down)))
        };
        let standings: Vec<Standing> = remotes.iter().filter_map(standing).collect();
        self.telling.note(now, tree, changes, &standings);
    }
}
