//! A changed config: what restarts, and what becomes of remotes that are new, described anew, or
//! gone. Whose part of the config is as it was is not touched.

use std::time::Duration;

use common::config::{DeleteGuard, Sharing};
use common::event::{Change, TreeId};
use common::filter::{EntryKind, Filter};
use common::message::Deletions;
use common::path::RelPath;

use super::{AuditPlan, Dispatcher, Tree};
use crate::core::backlog::Traffic;
use crate::core::guard::Guard;
use crate::core::remote::{Remote, excludes};
use crate::core::restart::Event;
use crate::core::schedule::Schedule;
use crate::core::{Action, Lane, RemoteId, Role, notice};

/// What has changed.
#[derive(Debug)]
pub struct Reload {
    /// What counts for all from now on.
    pub rules: Rules,
    /// What becomes of each remote, in the order of their ids. Ids are never given again.
    pub remotes: Vec<Fate>,
    /// Those that are new: they get the next ids, in this order.
    pub added: Vec<Added>,
    /// How long one call of each plugin may take.
    pub timeouts: Vec<Duration>,
    /// The watcher, the keeper, plugins: those whose part of the config is another one.
    pub replaced: Vec<Role>,
}

/// As in [`Setup`](super::Setup).
#[derive(Debug)]
#[allow(missing_docs, reason = "each is explained there")]
pub struct Rules {
    /// `None` where it is as it was.
    pub filter: Option<Filter>,
    pub delete: bool,
    pub mirror: bool,
    pub crontab: Option<Duration>,
    pub sweep: Duration,
    pub brake: DeleteGuard,
    pub audit: Option<AuditPlan>,
    pub sharing: Sharing,
    pub warm: Option<Duration>,
}

/// What becomes of a remote.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fate {
    /// Its syncers were told nothing that is not true any more.
    Kept,
    /// They were.
    Changed(Described),
    /// It is configured no more, or was not before either.
    Removed,
}

/// A remote as far as the core is concerned.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Described {
    /// For people.
    pub label: String,
    /// Whether it mirrors back.
    pub traffic: Traffic,
    /// Most jobs at a time.
    pub connections: u8,
}

/// A remote that is new.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Added {
    /// The tree that it mirrors.
    pub tree: TreeId,
    /// Where it is.
    pub host: String,
    /// What it is.
    pub remote: Described,
}

impl Dispatcher {
    pub(super) fn reload(&mut self, now: Duration, reload: Reload, out: &mut Vec<Action>) {
        let Reload { rules, remotes, added, timeouts, replaced } = reload;
        let narrowed = rules.filter.is_some();
        self.obey(now, rules);
        for (id, fate) in (0_u16..).map(RemoteId).zip(remotes) {
            match fate {
                Fate::Kept => {
                    // Whoever waits for the operator to do something: perhaps that was done.
                    let remote = self.remote_mut(id.0);
                    remote.filter(|it| it.is_in_trouble()).into_iter().for_each(|it| it.sweep(now));
                }
                Fate::Changed(described) => self.change_remote(now, id, described, out),
                Fate::Removed => self.remove_remote(now, id, out),
            }
        }
        for Added { tree, host, remote } in added {
            self.hosts.push(&host);
            self.add_remote(now, tree, remote, out);
        }
        self.telling.set_timeouts(timeouts);
        for role in replaced {
            self.replace(now, role, out);
        }
        if narrowed {
            self.forget_excluded();
        }
        self.failures = self.failures.saturating_add(1);
    }

    /// A child that works by a config that counts no more ends: at once, or when it has done what it
    /// does.
    fn replace(&mut self, now: Duration, role: Role, out: &mut Vec<Action>) {
        let busy = match role {
            Role::Syncer(id, lane) => {
                self.remotes.get(usize::from(id.0)).is_some_and(|remote| remote.is_working(lane))
            }
            Role::Plugin(id) => self.telling.is_busy(id),
            // They lose nothing by it: what happens meanwhile is found, and told again.
            Role::Watcher | Role::Keeper | Role::Page => false,
        };
        if busy {
            self.stale.insert(role);
        } else {
            self.pool.on(now, role, Event::Replaced, out);
        }
    }

    /// A child has done what it did: it ends if it works by a config that counts no more.
    pub(super) fn replace_stale(&mut self, now: Duration, role: Role, out: &mut Vec<Action>) {
        if self.stale.remove(&role) {
            self.pool.on(now, role, Event::Replaced, out);
        }
    }

    /// Until the watcher of the old config is gone, it reports what the new one excludes.
    pub(super) fn leave_out_excluded(&self, changes: &mut Vec<Change>) {
        if self.pool.is_replacing(Role::Watcher) {
            changes.retain(|it| !excludes(&self.filter, &it.path, it.dirt, it.mask));
        }
    }

    /// True when a path may be one that does not travel, whatever stands or stood there.
    pub fn excludes(&self, path: &RelPath) -> bool {
        [EntryKind::File, EntryKind::Directory].iter().any(|&kind| self.filter.excludes_within(path, kind))
    }

    /// Forgets what is pending, held or to be told of and does not travel any more. What of it is on
    /// the remotes stays there.
    pub(super) fn forget_excluded(&mut self) {
        if self.filter.is_empty() {
            return;
        }
        let filter = &self.filter;
        let excludes = |path: &RelPath, directory: bool| {
            filter.excludes_within(path, if directory { EntryKind::Directory } else { EntryKind::File })
        };
        self.remotes.iter_mut().for_each(|remote| remote.forget_excluded(filter));
        self.trees.iter_mut().for_each(|tree| tree.brake.forget(excludes));
        self.trees.iter_mut().for_each(|tree| tree.unproven.forget(excludes));
        self.telling.forget_paths(excludes);
    }

    /// A remote that is configured.
    pub(super) fn remote_mut(&mut self, id: u16) -> Option<&mut Remote> {
        self.remotes.get_mut(usize::from(id)).filter(|remote| !remote.is_gone())
    }

    fn obey(&mut self, now: Duration, rules: Rules) {
        let Rules { filter, delete, mirror, crontab, sweep, brake, audit, sharing, warm } = rules;
        if let Some(filter) = filter {
            self.filter = filter;
        }
        (self.delete, self.mirror) = (delete, mirror);
        let before = self.crontab;
        self.crontab = crontab
            .map(|every| before.map_or(Schedule::new(now, every), |schedule| schedule.every(now, every)));
        self.sweep = self.sweep.every(now, sweep);
        self.trees.iter_mut().for_each(|tree| tree.brake.set(brake));
        self.audits.replan(now, audit);
        self.share_by(sharing, warm);
    }

    fn change_remote(&mut self, now: Duration, id: RemoteId, it: Described, out: &mut Vec<Action>) {
        let Some(remote) = self.remote_mut(id.0) else { return };
        remote.describe(it.label, it.traffic);
        remote.connections = it.connections;
        // What failed may have failed for what has changed.
        remote.sweep(now);
        for lane in Lane::ALL {
            self.replace(now, Role::Syncer(id, lane), out);
        }
    }

    fn remove_remote(&mut self, now: Duration, id: RemoteId, out: &mut Vec<Action>) {
        let Some(remote) = self.remote_mut(id.0) else { return };
        let (tree, label) = (remote.tree, remote.label.clone());
        self.forget_audits(now, id, out);
        self.forget_waiting(id, out);
        self.telling.forget_remote(tree, id);
        if let Some(tree) = self.trees.get_mut(usize::from(tree.0)) {
            tree.remotes.retain(|&other| other != id);
        }
        for lane in Lane::ALL {
            let role = Role::Syncer(id, lane);
            self.stale.remove(&role);
            self.take_back(now, role, None);
            self.pool.on(now, role, Event::Unwanted, out);
        }
        out.push(notice::removed(&label));
        if let Some(remote) = self.remotes.get_mut(usize::from(id.0)) {
            *remote = Remote::gone(label);
        }
    }

    fn add_remote(&mut self, now: Duration, tree_id: TreeId, it: Described, out: &mut Vec<Action>) {
        let number = self.remotes.len();
        let (Ok(id), Some(tree)) = (u16::try_from(number), self.trees.get_mut(usize::from(tree_id.0))) else {
            return;
        };
        let seed = self.seed.wrapping_add(u64::from(id));
        let mut remote = Remote::new(tree_id, it.label, it.traffic, seed);
        (remote.connections, remote.last_work) = (it.connections, [now; 3]);
        remote.share_among(tree.remotes.len().saturating_add(1));
        if self.files {
            remote.tell_arrivals();
        }
        if self.keeping.is_some() {
            remote.keep(self.epoch);
        }
        if is_in_doubt(tree) {
            remote.hold_deletions(now);
        }
        remote.seed(now);
        out.push(notice::seeded(&remote.label, Deletions::Held));
        tree.remotes.push(RemoteId(id));
        self.remotes.push(remote);
        self.past.greeted.insert(id);
        let role = Role::Syncer(RemoteId(id), Lane::Batch);
        self.pool.want_syncer(now, role, |_| None::<()>, out);
    }
}

/// Whether deletions wait for the root to come back.
fn is_in_doubt(tree: &Tree) -> bool {
    match tree.guard {
        Guard::Unseen | Guard::Present { .. } => false,
        Guard::Lost { .. } | Guard::Replaced { .. } => true,
    }
}

#[cfg(test)]
mod tests;
