//! What children say of themselves, what the watcher owes, and how they are named.

use std::time::Duration;

use common::event::TreeId;

use super::Dispatcher;
use crate::core::remote::{Progress, Remote};
use crate::core::{Action, Input, Lane, Pace, Role, notice};

impl Dispatcher {
    pub(super) fn alive(&mut self, now: Duration, role: Role, pace: Pace, out: &mut Vec<Action>) {
        self.pool.pace(now, role, pace, out);
        if role == Role::Watcher {
            self.watcher_speaks(now);
        }
        self.slots.moves(role);
        if let Some((remote, lane)) = self.batch_of(role)
            && remote.note_progress(lane, Progress::Moving)
        {
            out.push(notice::moves_again(&remote.label));
        }
    }

    /// A job without progress still lives; but nobody waits for its remote any more.
    pub(super) fn stalled(&mut self, now: Duration, role: Role, out: &mut Vec<Action>) {
        self.pool.pace(now, role, Pace::Busy, out);
        self.slots.is_still(role);
        let Some((remote, lane)) = self.batch_of(role) else { return };
        if remote.note_progress(lane, Progress::Stalled) {
            out.push(notice::stalled(remote));
        }
        let is_down = remote.is_known_down();
        if let (true, tree, Role::Syncer(id, _)) = (is_down, remote.tree, role) {
            self.telling.give_up_on(tree, id);
            self.lend(role);
        }
    }

    /// The remote whose batches this syncer sends, and in which lane.
    pub(super) fn batch_of(&mut self, role: Role) -> Option<(&mut Remote, Lane)> {
        match role {
            Role::Syncer(id, lane @ (Lane::Batch | Lane::Express)) => {
                Some((self.remotes.get_mut(usize::from(id.0))?, lane))
            }
            Role::Syncer(_, Lane::Full) | Role::Watcher | Role::Keeper | Role::Plugin(_) | Role::Page => None,
        }
    }

    pub(super) fn tree_of(&self, role: Role) -> Option<TreeId> {
        let Role::Syncer(id, _) = role else { return None };
        self.remotes.get(usize::from(id.0)).map(|remote| remote.tree)
    }

    pub(super) fn describe(&self, role: Role) -> String {
        match role {
            Role::Watcher => "role=watcher".to_owned(),
            Role::Keeper => "role=keeper".to_owned(),
            Role::Page => "role=page".to_owned(),
            Role::Syncer(id, _) => {
                let label = self.remotes.get(usize::from(id.0)).map_or("?", |remote| &remote.label);
                format!("role=syncer remote={label}")
            }
            Role::Plugin(id) => format!("role=plugin plugin={}", self.telling.label(id)),
        }
    }
    /// Whether the watcher still owes names after this.
    pub(super) fn is_unnamed_after(&self, input: &Input) -> bool {
        match input {
            Input::Changes(..) => true,
            Input::Names(..)
            | Input::NamesLost
            | Input::Listed(..)
            | Input::Flushed(_)
            | Input::Moved(..)
            | Input::Rescan(..)
            | Input::Watching(..)
            | Input::RootLost(..)
            | Input::Alive(Role::Watcher, _) => false,
            Input::Tick
            | Input::Keeper(_)
            | Input::Ready(_)
            | Input::Alive(..)
            | Input::Stalled(_)
            | Input::Exited(..)
            | Input::Outdated(_)
            | Input::Done(..)
            | Input::Differs(..)
            | Input::Told(..)
            | Input::Asked(..)
            | Input::AskerGone(_)
            | Input::Reload(_)
            | Input::Drain => self.unnamed,
        }
    }
}
