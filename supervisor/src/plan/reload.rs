//! A config against the one that runs: what of it can be carried out while the supervisor goes on,
//! whose part of it has changed, and which remote is which.

use std::collections::{BTreeMap, VecDeque};
use std::ffi::OsStr;
use std::fmt;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::time::Duration;

use common::config::{Config, Plugin, Remote, Tree};
use common::confine::{Confinement, Identity};
use common::event::TreeId;
use common::filter::Filter;
use common::log::Shown;

use super::{Plan, label, machine, traffic};
use crate::accounts::absolute;
use crate::core::dispatch::{Added, AuditPlan, Described, Fate, Reload, Rules};
use crate::core::{PluginId, RemoteId, Role};

/// Where each remote stands in the config, by its id: its tree, and its place among that one's.
type Places = Vec<Option<(usize, usize)>>;

/// A config that can take the place of the one that runs.
#[derive(Debug)]
pub struct Reloaded {
    /// The plan from now on. Remotes have the ids that they had.
    pub plan: Plan,
    /// What the core is told.
    pub reload: Reload,
    /// What to tell the operator that was not so before.
    pub warnings: Vec<String>,
    /// For the log.
    pub summary: Summary,
}

/// How much has changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Summary {
    /// Nothing at all.
    pub same: bool,
    /// Remotes that are new.
    pub added: usize,
    /// Remotes that are configured no more.
    pub removed: usize,
    /// Remotes whose syncers get another part of the config.
    pub changed: usize,
    /// The others.
    pub kept: usize,
    /// Whether the watcher does.
    pub watcher: bool,
    /// How many plugins do.
    pub plugins: usize,
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "remotes_added={} remotes_removed={} remotes_changed={} remotes_kept={} watcher={} plugins_restarted={}",
            self.added,
            self.removed,
            self.changed,
            self.kept,
            if self.watcher { "restarted" } else { "kept" },
            self.plugins
        )?;
        if self.same { write!(f, "; nothing has changed") } else { Ok(()) }
    }
}

impl Plan {
    /// What becomes of this plan by another config. `Err` holds a line for each element that takes a
    /// restart. Programs and accounts stay those that were found at start; nothing is run.
    pub fn reloaded(&self, mut config: Config, full_sync: bool) -> Result<Reloaded, Vec<String>> {
        let mut lines = takes_restart(&self.config, &config);
        let plugins = self.same_plugins(&config, &mut lines);
        let order = self.same_roots(&config, &plugins, &mut lines);
        if self.ssh.is_none() && machine::remotes(&config).any(|remote| remote.rsync.ssh.is_some()) {
            lines.push("<ssh>: the first remote that is reached by ssh takes a restart".to_owned());
        }
        let filter = Filter::new(&config.filter).map_err(|error| lines.push(format!("<filter>: {error}")));
        config.trees = in_order(config.trees, &order);
        let remotes = self.places(&config);
        if u16::try_from(remotes.len()).is_err() {
            lines.push("<remote>: too many have come and gone; that takes a restart".to_owned());
        }
        let (Ok(filter), true) = (filter, lines.is_empty()) else { return Err(lines) };
        let mut warnings = Vec::new();
        machine::check_params(&config, &mut warnings);
        machine::check_lookups(&self.rsync, &config, &mut warnings);
        let plan = Plan {
            config,
            filter,
            roots: self.roots.clone(),
            rsync: self.rsync.clone(),
            rsync_version: self.rsync_version,
            ssh: self.ssh.clone(),
            libraries: self.libraries.clone(),
            plugins,
            remotes,
            warnings: warnings.clone(),
        };
        warnings.retain(|warning| !self.warnings.contains(warning));
        let (reload, summary) = self.difference(&plan, full_sync);
        Ok(Reloaded { plan, reload, warnings, summary })
    }

    /// What each role is told by one and the other plan is compared: who is told the same goes on.
    fn difference(&self, new: &Plan, full_sync: bool) -> (Reload, Summary) {
        let none = Confinement::none;
        let ids = (0_u16..).map(RemoteId).take(self.remotes.len());
        let fate = |id| match (new.remote(id), self.remote(id)) {
            (None, _) | (_, None) => Fate::Removed,
            (Some(_), Some(_)) if self.sync_slice(id, none()) == new.sync_slice(id, none()) => Fate::Kept,
            (Some((_, remote)), Some(_)) => Fate::Changed(described(remote)),
        };
        let remotes: Vec<Fate> = ids.map(fate).collect();
        let before = self.remotes.iter().filter(|place| place.is_some()).count();
        let added: Vec<Added> =
            new.remotes.iter().skip(self.remotes.len()).filter_map(|place| new.added((*place)?)).collect();
        let watcher = self.watch_slice(full_sync, none()) != new.watch_slice(full_sync, none());
        let keeper = self.keep_slice(none()) != new.keep_slice(none());
        let mut replaced: Vec<Role> = (0_u8..)
            .map(PluginId)
            .take(self.plugins.len())
            .filter(|&id| self.plugin_slice(id, none()) != new.plugin_slice(id, none()))
            .map(Role::Plugin)
            .collect();
        let plugins = replaced.len();
        replaced.extend(watcher.then_some(Role::Watcher));
        replaced.extend(keeper.then_some(Role::Keeper));
        let count = |which: fn(&Fate) -> bool| remotes.iter().filter(|fate| which(fate)).count();
        let kept = count(|fate| matches!(fate, Fate::Kept));
        let changed = count(|fate| matches!(fate, Fate::Changed(_)));
        let summary = Summary {
            same: self.config == new.config,
            added: added.len(),
            removed: before.saturating_sub(kept).saturating_sub(changed),
            changed,
            kept,
            watcher,
            plugins,
        };
        let timeouts = new.plugins.iter().map(|(plugin, _)| Duration::from_secs(plugin.call.timeout.into()));
        let rules = Rules {
            filter: (self.config.filter != new.config.filter).then(|| new.filter.clone()),
            delete: new.config.switches.delete,
            mirror: new.mirrors(full_sync),
            crontab: new.crontab(),
            sweep: new.sweep(),
            brake: new.config.delete_guard,
            audit: new.audit(),
            sharing: new.config.sharing,
            warm: new.warm(),
        };
        (Reload { rules, remotes, added, timeouts: timeouts.collect(), replaced }, summary)
    }

    fn added(&self, (tree, n): (usize, usize)) -> Option<Added> {
        let remote = self.config.trees.get(tree)?.remotes.get(n)?;
        let host = remote.host.clone();
        Some(Added { tree: TreeId(u16::try_from(tree).ok()?), host, remote: described(remote) })
    }

    /// The plugins that are on, with their new settings.
    fn same_plugins(&self, config: &Config, lines: &mut Vec<String>) -> Vec<(Plugin, Option<Identity>)> {
        let mut plugins = Vec::new();
        for (old, account) in &self.plugins {
            let name = old.kind.name();
            let Some(new) = config.plugins.iter().find(|plugin| plugin.kind.name() == name) else { continue };
            if new.user != old.user {
                lines.push(restart(&format!("<plugin name=\"{}\" user>", name.as_str())));
            }
            plugins.push((new.clone(), *account));
        }
        plugins
    }

    /// Which tree of `config` each root is, whatever their order there. Whether they are there does
    /// not count: a root may be lost at the moment.
    fn same_roots(
        &self,
        config: &Config,
        plugins: &[(Plugin, Option<Identity>)],
        lines: &mut Vec<String>,
    ) -> Vec<usize> {
        let watches = machine::watches(config, plugins).into_iter();
        let new: Vec<PathBuf> =
            watches.map(|watch| absolute(watch).unwrap_or_else(|_| PathBuf::from(watch))).collect();
        let mut order = Vec::new();
        for root in &self.roots {
            match new.iter().position(|path| path == root) {
                Some(place) => order.push(place),
                None => lines.push(format!("{} is missing", restart(&watch(root.as_os_str())))),
            }
        }
        for root in new.iter().filter(|path| !self.roots.contains(path)) {
            lines.push(format!("{} is new", restart(&watch(root.as_os_str()))));
        }
        order
    }

    /// Where the remotes of this plan stand in `config`, and behind them those that are new. Which one
    /// is which its tree, host, port and module say; those of which these are the same go by
    /// their order.
    fn places(&self, config: &Config) -> Places {
        let mut known: BTreeMap<(usize, Vec<u8>), VecDeque<usize>> = BTreeMap::new();
        for (id, place) in self.remotes.iter().enumerate() {
            let remote =
                place.and_then(|(tree, n)| Some((tree, self.config.trees.get(tree)?.remotes.get(n)?)));
            if let Some((tree, remote)) = remote {
                known.entry((tree, key(remote))).or_default().push_back(id);
            }
        }
        let (mut places, mut added): (Places, Places) = (vec![None; self.remotes.len()], Vec::new());
        for (tree, block) in config.trees.iter().enumerate() {
            for (n, remote) in block.remotes.iter().enumerate() {
                let id = known.get_mut(&(tree, key(remote))).and_then(VecDeque::pop_front);
                match id.and_then(|id| places.get_mut(id)) {
                    Some(place) => *place = Some((tree, n)),
                    None => added.push(Some((tree, n))),
                }
            }
        }
        places.extend(added);
        places
    }

    /// What each remote is known by in the file of what is kept, by its id.
    pub(super) fn keys(&self) -> Vec<(TreeId, Vec<u8>)> {
        let mut seen: BTreeMap<(usize, Vec<u8>), u32> = BTreeMap::new();
        let mut key = |(id, place): (u16, &Option<(usize, usize)>)| {
            let remote =
                place.and_then(|(tree, n)| Some((tree, self.config.trees.get(tree)?.remotes.get(n)?)));
            // No host begins with this byte, and nobody has it in a later run.
            let Some((tree, remote)) = remote else { return (TreeId(0), format!("\0{id}").into_bytes()) };
            let mut key = key(remote);
            let before = seen.entry((tree, key.clone())).or_default();
            if *before > 0 {
                key.extend_from_slice(format!("\0{before}").as_bytes());
            }
            *before = before.saturating_add(1);
            (TreeId(u16::try_from(tree).unwrap_or(u16::MAX)), key)
        };
        (0_u16..).zip(&self.remotes).map(&mut key).collect()
    }

    /// How plugins name the remotes, by their ids.
    pub(super) fn labels(&self) -> Vec<String> {
        let ids = (0_u16..).map(RemoteId).take(self.remotes.len());
        ids.map(|id| self.remote(id).map_or_else(String::new, |(_, remote)| label(remote))).collect()
    }

    /// Whether what is missing here is removed there by a full sync that nobody asked for.
    pub(super) fn mirrors(&self, full_sync: bool) -> bool {
        self.config.switches.delete && (full_sync || self.config.crontab.is_some())
    }

    pub(super) fn crontab(&self) -> Option<Duration> {
        self.config.crontab.as_ref().map(|crontab| minutes(crontab.minutes))
    }

    pub(super) fn sweep(&self) -> Duration {
        minutes(self.config.fail_log.minutes)
    }

    pub(super) fn audit(&self) -> Option<AuditPlan> {
        self.config.verify.map(|verify| AuditPlan {
            every: minutes(verify.minutes),
            repair: verify.repair,
            by: verify.by,
            budget: verify.budget,
            // Excludes of full syncs are anchored at the root, and count there only.
            whole: !self.config.sync_excludes.is_empty(),
        })
    }
}

/// A line for each element that differs and that only a restart can carry out: who the processes are
/// and what they may, and what was opened or claimed at start.
fn takes_restart(old: &Config, new: &Config) -> Vec<String> {
    let elements = [
        (old.host != new.host, "<host>"),
        (old.rsync_program != new.rsync_program, "<rsync program>"),
        (old.fail_log.path != new.fail_log.path, "<failLog path>"),
        (old.privileges != new.privileges, "<privileges>"),
        (old.limits != new.limits, "<limits>"),
        (old.sandbox != new.sandbox, "<sandbox>"),
        (old.watcher != new.watcher, "<inotify watcher>"),
        (old.state != new.state, "<state>"),
        (old.status != new.status, "<status>"),
        (old.log != new.log, "<log>"),
        (old.plugins_on != new.plugins_on, "<plugin start name>"),
    ];
    elements.into_iter().filter(|(differs, _)| *differs).map(|(_, element)| restart(element)).collect()
}

fn restart(element: &str) -> String {
    format!("{element}: a change takes a restart of the supervisor")
}

fn watch(root: &OsStr) -> String {
    format!("<localpath watch=\"{}\">", Shown(root))
}

/// The trees in the order of the roots, where each root has one.
fn in_order(trees: Vec<Tree>, order: &[usize]) -> Vec<Tree> {
    let mut trees: Vec<Option<Tree>> = trees.into_iter().map(Some).collect();
    order.iter().filter_map(|&place| trees.get_mut(place)?.take()).collect()
}

/// Which remote of its tree it is: what its parameters are does not count.
fn key(remote: &Remote) -> Vec<u8> {
    let mut key = format!("{}:{}:", remote.host, syncer::port(remote)).into_bytes();
    key.extend_from_slice(remote.module.as_bytes());
    key
}

fn described(remote: &Remote) -> Described {
    Described { label: label(remote), traffic: traffic(remote), connections: remote.connections }
}

fn minutes(minutes: u32) -> Duration {
    Duration::from_secs(u64::from(minutes).saturating_mul(60))
}

#[cfg(test)]
mod tests;
