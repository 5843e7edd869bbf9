//! From a config to what each role is told: absolute roots, programs found, slices cut so
//! that a role receives only its own part (invariant I7).

pub(crate) mod machine;
mod reload;

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::time::Duration;

use common::config::{Config, Plugin, PluginName, Remote};
use common::confine::{Confinement, Domain, Identity};
use common::event::TreeId;
use common::exit::Exit;
use common::filter::{BadExpression, Filter};
use common::keep::KeepSlice;
use common::log::Shown;
use common::message::{PluginSlice, RsyncVersion, SshSlice, SyncSlice, WatchSlice, WatchTree};
use thiserror::Error;

use crate::accounts::{Starter, find_program};
use crate::core::backlog::Traffic;
use crate::core::dispatch::Setup;
use crate::core::{PluginId, RemoteId, Role};
use crate::domains;
use crate::privileges::Subject;
use crate::state::number_of;

pub use reload::{Reloaded, Summary};

/// Syncers alive at once: the block of uids less the watcher's, the keeper's and the plugins'.
pub const MAX_SYNCERS: u32 = 54;

/// Why the config cannot be run on this machine.
#[derive(Debug, Error)]
pub enum Error {
    /// A watched root is not there.
    #[error("watch={path:?}: {source}")]
    Root {
        /// As written in the config.
        path: OsString,
        /// What the system said.
        source: io::Error,
    },
    /// A watched root is something else.
    #[error("watch={0:?} is not a directory")]
    NoDirectory(OsString),
    /// No rsync.
    #[error("rsync is not in PATH; install it, or name it in <rsync program=\"/path/to/rsync\">")]
    NoRsync,
    /// An rsync that does not say its version.
    #[error("{0:?} --version does not say which version of rsync it is: {1}")]
    UnknownRsync(PathBuf, String),
    /// An rsync from before 2018.
    #[error("{0:?} is rsync {1}; 3.1.3 or later is needed")]
    OldRsync(PathBuf, String),
    /// No ssh.
    #[error("ssh is not in PATH; <ssh start=\"true\"/> needs it")]
    NoSsh,
    /// An expression of the filter.
    #[error("filter: {0}")]
    Filter(#[from] BadExpression),
    /// A plugin's account.
    #[error("plugin {plugin}: user={user:?}: {source}")]
    Account {
        /// Which plugin.
        plugin: &'static str,
        /// As written in the config.
        user: String,
        /// What is wrong with it.
        source: io::Error,
    },
}

impl Error {
    /// How the program ends on it.
    pub fn exit(&self) -> Exit {
        match self {
            Error::Root { .. } | Error::NoDirectory(_) => Exit::NoInput,
            Error::NoRsync | Error::UnknownRsync(..) | Error::OldRsync(..) | Error::NoSsh => {
                Exit::Unavailable
            }
            Error::Account { .. } | Error::Filter(_) => Exit::Config,
        }
    }
}

/// Everything that the supervisor needs to know of a config.
#[derive(Debug)]
pub struct Plan {
    config: Config,
    filter: Filter,
    roots: Vec<PathBuf>,
    /// Nothing where there is no remote.
    rsync: PathBuf,
    rsync_version: RsyncVersion,
    ssh: Option<(Starter, PathBuf)>,
    /// Libraries of both that stand where nobody looks for them.
    libraries: Vec<PathBuf>,
    /// The plugins that are on, and the account that each is to have.
    plugins: Vec<(Plugin, Option<Identity>)>,
    /// Which tree and which of its remotes each [`RemoteId`] stands for; `None` for one that a reload
    /// has removed.
    remotes: Vec<Option<(usize, usize)>>,
    /// Things to tell the operator.
    pub warnings: Vec<String>,
}

impl Plan {
    /// Checks what a config names against this machine. `probe_uid` is who may run rsync to
    /// ask for its version; `None` for an ordinary user.
    pub fn new(config: Config, probe_uid: Option<u32>) -> Result<Plan, Error> {
        let mut warnings = Vec::new();
        let plugins = machine::plugins(&config, probe_uid, &mut warnings)?;
        let roots = machine::roots(&config, &plugins)?;
        let (mut rsync, mut rsync_version) = (PathBuf::new(), (0, 0, 0));
        if machine::remotes(&config).next().is_some() {
            rsync = match config.rsync_program.as_ref() {
                Some(program) => PathBuf::from(program),
                None => find_program("rsync").ok_or(Error::NoRsync)?,
            };
            rsync_version = machine::check_version(&rsync, probe_uid, &mut warnings)?;
            machine::check_program(&rsync, &config, &mut warnings);
            machine::check_params(&config, &mut warnings);
            machine::check_lookups(&rsync, &config, &mut warnings);
        }
        let wants_ssh = machine::remotes(&config).any(|remote| remote.rsync.ssh.is_some());
        let ssh = wants_ssh.then(|| find_program("ssh").ok_or(Error::NoSsh)).transpose()?;
        if let Some(ssh) = &ssh {
            machine::check_program(ssh, &config, &mut warnings);
        }
        let programs = [Some(&rsync).filter(|_| machine::remotes(&config).next().is_some()), ssh.as_ref()];
        let programs = programs.into_iter().flatten().filter(|_| config.sandbox);
        let libraries = programs.flat_map(|program| machine::libraries(program, probe_uid)).collect();
        let all = config.trees.iter().enumerate();
        let remotes =
            all.flat_map(|(tree, block)| (0..block.remotes.len()).map(move |n| Some((tree, n)))).collect();
        Ok(Plan {
            filter: Filter::new(&config.filter)?,
            config,
            roots,
            rsync,
            rsync_version,
            ssh: ssh.map(|program| (Starter::find(), program)),
            libraries,
            plugins,
            remotes,
            warnings,
        })
    }

    /// The config.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// False when only a plugin runs.
    pub fn has_remotes(&self) -> bool {
        machine::remotes(&self.config).next().is_some()
    }

    /// How many trees are watched.
    pub fn trees(&self) -> usize {
        self.roots.len()
    }

    /// The root of a tree, as people are shown it.
    pub fn watch(&self, tree: TreeId) -> &OsStr {
        self.roots.get(usize::from(tree.0)).map_or(OsStr::new("?"), |root| root.as_os_str())
    }

    /// What a tree is known by in files that outlive the config's order.
    pub fn number(&self, tree: TreeId) -> u64 {
        number_of(self.watch(tree).as_bytes())
    }

    /// What the core is told.
    pub fn setup(&self, full_sync: bool, workers: usize, seed: u64) -> Setup {
        let named = self.config.trees.iter().zip(&self.roots).map(|(tree, root)| {
            (
                Shown(root.as_os_str()).to_string(),
                tree.remotes.iter().map(|remote| (label(remote), traffic(remote))).collect(),
            )
        });
        let plugin = |plugin: &Plugin| {
            (plugin.kind.name().as_str().to_owned(), Duration::from_secs(plugin.call.timeout.into()))
        };
        Setup {
            trees: named.collect(),
            full_sync,
            mirror: self.mirrors(full_sync),
            plugins: self.plugins.iter().map(|(it, _)| plugin(it)).collect(),
            crontab: self.crontab(),
            sweep: self.sweep(),
            workers,
            hosts: machine::remotes(&self.config).map(|remote| remote.host.clone()).collect(),
            sharing: self.config.sharing,
            warm: self.warm(),
            max_syncers: usize::try_from(MAX_SYNCERS).unwrap_or(1),
            seed,
            keep: false,
            page: false,
            epoch: 0,
            brake: self.config.delete_guard,
            filter: self.filter.clone(),
            delete: self.config.switches.delete,
            connections: self.connections(),
            audit: self.audit(),
            files: self.config.log.files,
        }
    }

    /// The watcher's part. Files with several names are followed where the remote is to become
    /// equal: with `-r`, `<crontab>` or `-H`; their contents wherever names are kept (`event_loop`).
    /// Elsewhere each name travels by its own events, as ever.
    pub fn watch_slice(&self, full_sync: bool, confinement: Confinement) -> WatchSlice {
        let trees = (0_u16..).map(TreeId).zip(&self.roots);
        WatchSlice {
            trees: trees
                .map(|(id, root)| WatchTree { id, root: root.clone().into_os_string(), original: None })
                .collect(),
            watcher: self.config.watcher,
            switches: self.config.switches,
            filter: self.config.filter.clone(),
            follow_links: full_sync
                || self.config.crontab.is_some()
                || machine::remotes(&self.config)
                    .any(|remote| syncer::sets(&remote.rsync.params, "--hard-links", Some(b'H'))),
            debug: self.config.debug,
            index: false,
            confinement,
        }
    }

    /// A syncer's part.
    pub fn sync_slice(&self, id: RemoteId, confinement: Confinement) -> Option<SyncSlice> {
        let (root, remote) = self.remote(id)?;
        let ssh = self.ssh_slice(remote);
        Some(SyncSlice {
            root: root.to_owned(),
            remote: Remote { host: domains::with_scope_number(&remote.host), ..remote.clone() },
            rsync_program: self.rsync.clone().into_os_string(),
            rsync_version: self.rsync_version,
            ssh,
            delete: self.config.switches.delete,
            filter: self.config.filter.clone(),
            excludes: self.config.sync_excludes.clone(),
            warm: self.config.warm.filter(|_| remote.connections > 1),
            debug: self.config.debug,
            confinement,
        })
    }

    /// How a remote is reached, where that is by ssh.
    fn ssh_slice(&self, remote: &Remote) -> Option<SshSlice> {
        let (configured, (starter, program)) = remote.rsync.ssh.as_ref().zip(self.ssh.as_ref())?;
        let user = remote.rsync.auth.as_ref().and_then(|auth| auth.user.as_ref());
        Some(starter.ssh(program, configured, user))
    }

    /// How long an rsync may wait for the next batch.
    fn warm(&self) -> Option<Duration> {
        self.config.warm.map(|seconds| Duration::from_secs(seconds.into()))
    }

    /// How many jobs at a time each remote takes.
    fn connections(&self) -> BTreeMap<RemoteId, u8> {
        let ids = (0_u16..).map(RemoteId);
        ids.zip(machine::remotes(&self.config)).map(|(id, remote)| (id, remote.connections)).collect()
    }

    /// The keeper's part: each tree by its root, each remote by all that says which one it is.
    pub fn keep_slice(&self, confinement: Confinement) -> KeepSlice {
        let trees = self.roots.iter().map(|root| root.as_os_str().as_bytes().to_vec()).collect();
        KeepSlice { trees, remotes: self.keys(), confinement }
    }

    /// What a role is about, as far as its privileges depend on it.
    pub fn subject(&self, role: Role) -> Option<Subject<'_>> {
        Some(match role {
            Role::Watcher => Subject::Watcher,
            Role::Syncer(id, _) => self.remote(id).map(|_| Subject::Syncer)?,
            Role::Plugin(id) => self.plugin(id).map(|(plugin, account)| Subject::Plugin(plugin, account))?,
            Role::Keeper => Subject::Keeper,
            Role::Page => Subject::Page,
        })
    }

    /// What a role may reach; `None` for all that its uid may.
    pub fn domain(&self, role: Role) -> Option<Domain> {
        match role {
            Role::Watcher => Some(domains::watcher(&self.roots)),
            Role::Syncer(id, _) => {
                let (root, remote) = self.remote(id)?;
                let ssh = self.ssh_slice(remote);
                Some(domains::syncer(root, remote, &self.rsync, ssh.as_ref(), &self.libraries))
            }
            Role::Plugin(id) => domains::plugin(self.plugin(id)?.0),
            Role::Keeper => Some(domains::keeper()),
            Role::Page => Some(domains::page()),
        }
    }

    /// A plugin's part.
    pub fn plugin_slice(&self, id: PluginId, confinement: Confinement) -> Option<PluginSlice> {
        let (plugin, _) = self.plugin(id)?;
        Some(PluginSlice {
            kind: plugin.kind.clone(),
            call: plugin.call,
            roots: self.roots.iter().map(|root| root.clone().into_os_string()).collect(),
            remotes: self.labels(),
            debug: self.config.debug,
            confinement,
        })
    }

    /// A remote, and the root that it mirrors.
    pub fn remote(&self, id: RemoteId) -> Option<(&OsStr, &Remote)> {
        let (tree, n) = (*self.remotes.get(usize::from(id.0))?)?;
        Some((self.roots.get(tree)?.as_os_str(), self.config.trees.get(tree)?.remotes.get(n)?))
    }

    /// A plugin that is on, and the account that it is to have.
    pub fn plugin(&self, id: PluginId) -> Option<(&Plugin, Option<Identity>)> {
        self.plugins.get(usize::from(id.0)).map(|(plugin, account)| (plugin, *account))
    }

    /// True when a syncer runs ssh, which needs an account for its uid.
    pub fn runs_ssh(&self) -> bool {
        self.ssh.is_some()
    }

    /// True for the role that runs an operator's program.
    pub fn is_command(&self, role: Role) -> bool {
        match role {
            Role::Plugin(id) => self.plugin(id).is_some_and(|(it, _)| it.kind.name() == PluginName::Command),
            Role::Watcher | Role::Syncer(..) | Role::Keeper | Role::Page => false,
        }
    }

    /// Private keys that ssh may try, and which of them the config names.
    pub fn identities(&self) -> impl Iterator<Item = OsString> {
        machine::remotes(&self.config)
            .filter_map(|remote| self.ssh_slice(remote))
            .flat_map(|ssh| ssh.identities)
    }

    /// For logs: which child a role is.
    pub fn name(&self, role: Role) -> String {
        match role {
            Role::Watcher => "watcher".to_owned(),
            Role::Keeper => "keeper".to_owned(),
            Role::Page => "page".to_owned(),
            Role::Syncer(id, _) => format!("syncer{}", id.0),
            Role::Plugin(id) => {
                let name = self.plugin(id).map_or("?", |(plugin, _)| plugin.kind.name().as_str());
                format!("plugin-{name}")
            }
        }
    }
}

/// For people: `host::module`, or `host:path`.
pub(crate) fn label(remote: &Remote) -> String {
    let between = if remote.rsync.ssh.is_some() { ":" } else { "::" };
    format!("{}{between}{}", remote.host, Shown(&remote.module))
}

/// `-u` is what two servers need that mirror one another.
fn traffic(remote: &Remote) -> Traffic {
    if syncer::sets(&remote.rsync.params, "--update", Some(b'u')) {
        Traffic::BothWays
    } else {
        Traffic::OneWay
    }
}
