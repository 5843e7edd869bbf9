//! What operators ask of a running supervisor: to wait until all has arrived, and what becomes of
//! deletions that are held. (`audit` compares.)

use std::time::Duration;

use common::event::TreeId;
use common::message::{Deletions, WatcherOrder};
use common::path::RelPath;

use super::Dispatcher;
use crate::core::remote::Remote;
use crate::core::{Action, Ask, ClientId, DeletesWhat, RemoteId, Role};

/// How a command ends: as asked.
pub(super) const FINE: u8 = 0;
/// It differs, or has not arrived in time.
pub(super) const NOT_SO: u8 = 1;
/// There is no such remote or tree.
pub(super) const UNKNOWN: u8 = 64;
/// Most commands that wait.
const MAX_WAITING: usize = 64;
/// Most held deletions that are listed.
const MAX_LISTED: usize = 1000;

/// A client that waits until all that happened before it came has arrived.
#[derive(Debug)]
pub(super) struct Waiting {
    client: ClientId,
    remotes: Vec<RemoteId>,
    until: Option<Duration>,
    stage: Stage,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// The watcher has yet to report all that happened before.
    Seeing(u64),
    /// What was reported until then has yet to arrive.
    Arriving(Duration),
}

impl Dispatcher {
    pub(super) fn asked(&mut self, now: Duration, client: ClientId, ask: Ask, out: &mut Vec<Action>) {
        match ask {
            Ask::Wait { remote, timeout } => {
                let Some(remotes) = self.named(remote.as_deref(), client, out) else { return };
                let until = timeout.map(|timeout| now.saturating_add(timeout));
                self.flushes = self.flushes.wrapping_add(1);
                let stage = Stage::Seeing(self.flushes);
                if self.waiting.len() >= MAX_WAITING {
                    say(out, client, "too many are waiting already".to_owned());
                    out.push(Action::End(client, NOT_SO));
                    return;
                }
                self.waiting.push(Waiting { client, remotes, until, stage });
                if self.pool.is_ready(Role::Watcher) {
                    out.push(Action::Watch(WatcherOrder::Flush(self.flushes)));
                }
            }
            Ask::Verify { remote, repair, by } => {
                let Some(remotes) = self.named(remote.as_deref(), client, out) else { return };
                self.audit(now, client, remotes, (repair, by), out);
            }
            Ask::Explain { tree, path } => self.explain(now, client, (&tree, &path), out),
            Ask::Deletes { tree, what } => self.deletes(now, client, tree.as_deref(), what, out),
        }
    }

    /// The remote is configured no more: nobody waits for it.
    pub(super) fn forget_waiting(&mut self, id: RemoteId, out: &mut Vec<Action>) {
        self.waiting.retain_mut(|waiting| {
            let before = waiting.remotes.len();
            waiting.remotes.retain(|&other| other != id);
            let ends = before > 0 && waiting.remotes.is_empty();
            if ends {
                say(out, waiting.client, "the remote is configured no more".to_owned());
                out.push(Action::End(waiting.client, UNKNOWN));
            }
            !ends
        });
    }

    /// The client hung up.
    pub(super) fn asker_gone(&mut self, client: ClientId) {
        self.waiting.retain(|waiting| waiting.client != client);
        self.audits.gone(client);
    }

    /// All that happened before this flush has been reported.
    pub(super) fn flushed(&mut self, now: Duration, number: u64) {
        for waiting in &mut self.waiting {
            if waiting.stage == Stage::Seeing(number) {
                waiting.stage = Stage::Arriving(now);
            }
        }
    }

    /// A new watcher knows nothing of what its predecessor was asked.
    pub(super) fn flush_again(&mut self, out: &mut Vec<Action>) {
        for waiting in &self.waiting {
            if let Stage::Seeing(number) = waiting.stage {
                out.push(Action::Watch(WatcherOrder::Flush(number)));
            }
        }
    }

    /// Answers those for whom all has arrived, or whose time is over.
    pub(super) fn answer(&mut self, now: Duration, out: &mut Vec<Action>) {
        let mut waiting = std::mem::take(&mut self.waiting);
        waiting.retain_mut(|waiting| {
            // What is found meanwhile happened before, too.
            if matches!(waiting.stage, Stage::Arriving(_)) && self.is_looking(now, &waiting.remotes) {
                waiting.stage = Stage::Arriving(now);
            }
            let missing: Vec<RemoteId> = waiting
                .remotes
                .iter()
                .copied()
                .filter(|&id| !self.has_arrived(now, id, waiting.stage))
                .collect();
            if missing.is_empty() {
                say(out, waiting.client, format!("confirmed remotes={}", waiting.remotes.len()));
                out.push(Action::End(waiting.client, FINE));
                return false;
            }
            if waiting.until.is_none_or(|until| now < until) {
                return true;
            }
            for id in missing {
                if let Some(remote) = self.remotes.get(usize::from(id.0)) {
                    let state = remote.standing().as_str();
                    let pending = remote.pending();
                    let held =
                        self.trees.get(usize::from(remote.tree.0)).map_or(0, |tree| tree.brake.names());
                    let tree = match self.permits(remote.tree) {
                        Some((_, Deletions::Travel)) => "",
                        Some((_, Deletions::Held)) => " tree=replaced",
                        None => " tree=unwatched",
                    };
                    let text = format!(
                        "not confirmed remote={} state={state} pending={pending} held_deletions={held}{tree}",
                        remote.label
                    );
                    say(out, waiting.client, text);
                }
            }
            out.push(Action::End(waiting.client, NOT_SO));
            false
        });
        self.waiting = waiting;
    }

    /// When the time of the next of them is over.
    pub(super) fn answer_until(&self) -> Option<Duration> {
        self.waiting.iter().filter_map(|waiting| waiting.until).min()
    }

    fn has_arrived(&self, now: Duration, id: RemoteId, stage: Stage) -> bool {
        let Stage::Arriving(since) = stage else { return false };
        let Some(remote) = self.remotes.get(usize::from(id.0)) else { return true };
        // Where another directory stands in its place, removals wait for the right one.
        let is_there = matches!(self.permits(remote.tree), Some((_, Deletions::Travel)));
        let seen = is_there && !self.is_finding(now, remote.tree);
        let held = self.trees.get(usize::from(remote.tree.0)).is_some_and(|tree| tree.brake.names() > 0);
        seen && !held && !remote.holds_full() && remote.is_confirmed(since)
    }

    fn is_looking(&self, now: Duration, remotes: &[RemoteId]) -> bool {
        let trees = remotes.iter().filter_map(|id| self.remotes.get(usize::from(id.0)));
        trees.map(|remote| remote.tree).any(|tree| self.is_finding(now, tree))
    }

    /// The remotes that are meant; all without a name.
    fn named(&self, name: Option<&str>, client: ClientId, out: &mut Vec<Action>) -> Option<Vec<RemoteId>> {
        let is_meant = |id: &RemoteId| {
            let remote = self.remotes.get(usize::from(id.0));
            remote.is_some_and(|remote| name.is_none_or(|name| name == remote.label))
        };
        let found: Vec<RemoteId> = self.remote_ids().filter(is_meant).collect();
        if found.is_empty() {
            let known = self.remotes.iter().filter(|remote| !remote.is_gone());
            let known: Vec<&str> = known.map(|remote| remote.label.as_str()).collect();
            say(out, client, format!("there is no such remote; known={}", known.join(",")));
            out.push(Action::End(client, UNKNOWN));
            return None;
        }
        Some(found)
    }

    fn deletes(
        &mut self,
        now: Duration,
        client: ClientId,
        name: Option<&str>,
        what: DeletesWhat,
        out: &mut Vec<Action>,
    ) {
        let ids: Vec<TreeId> = (0_u16..)
            .map(TreeId)
            .zip(&self.trees)
            .filter(|(_, tree)| name.is_none_or(|name| name == tree.label))
            .map(|(id, _)| id)
            .collect();
        if ids.is_empty() {
            say(out, client, "there is no such tree".to_owned());
            out.push(Action::End(client, UNKNOWN));
            return;
        }
        let mut held = 0_u64;
        for id in ids {
            held = held.saturating_add(self.deletes_of(now, client, id, what, out));
        }
        let exit = if what == DeletesWhat::List && held == 0 { NOT_SO } else { FINE };
        out.push(Action::End(client, exit));
    }

    /// How many names were held.
    fn deletes_of(
        &mut self,
        now: Duration,
        client: ClientId,
        id: TreeId,
        what: DeletesWhat,
        out: &mut Vec<Action>,
    ) -> u64 {
        let full: Vec<RemoteId> = self.remote_ids().filter(|&remote| self.holds_full(remote, id)).collect();
        let Some(tree) = self.trees.get_mut(usize::from(id.0)) else { return 0 };
        let (label, names) = (tree.label.clone(), tree.brake.names());
        match what {
            DeletesWhat::List => {
                let held = tree.brake.held();
                let more = held.len().saturating_sub(MAX_LISTED);
                for (path, gone) in held.take(MAX_LISTED) {
                    say(out, client, format!("held tree={label} names={} path={}", gone.names, shown(path)));
                }
                if more > 0 {
                    say(out, client, format!("held tree={label} more={more}"));
                }
                for remote in full.iter().filter_map(|id| self.remotes.get(usize::from(id.0))) {
                    say(
                        out,
                        client,
                        format!(
                            "held tree={label} remote={} a full sync found more than may go",
                            remote.label
                        ),
                    );
                }
            }
            DeletesWhat::Approve => {
                let (changes, more) = tree.brake.approve();
                self.insert_judged(now, id, &changes, out);
                for remote in &mut self.remotes {
                    if remote.tree == id && (more || remote.holds_full()) {
                        remote.approve_full(now, Deletions::Travel);
                    }
                }
                say(out, client, format!("approved tree={label} names={names} full_syncs={}", full.len()));
            }
            DeletesWhat::Drop => {
                tree.brake.drop_all();
                tree.unproven.give_up();
                self.each_remote(id, Remote::forget_held_full);
                say(out, client, format!("dropped tree={label} names={names}; the remotes keep them"));
            }
        }
        names.saturating_add(u64::try_from(full.len()).unwrap_or(u64::MAX))
    }

    fn holds_full(&self, id: RemoteId, tree: TreeId) -> bool {
        self.remotes.get(usize::from(id.0)).is_some_and(|remote| remote.tree == tree && remote.holds_full())
    }
}

pub(super) fn say(out: &mut Vec<Action>, client: ClientId, text: String) {
    out.push(Action::Say(client, text));
}

/// The root stands for what there was no room to remember.
fn shown(path: &RelPath) -> String {
    if path.is_root() { "(more than can be remembered)".to_owned() } else { path.to_string() }
}
