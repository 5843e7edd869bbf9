//! From a config to what each role is told: absolute roots, programs found, slices cut so
//! that a role receives only its own part (invariant I7).

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use common::config::{Config, Plugin, Remote};
use common::confine::{Confinement, Identity};
use common::event::TreeId;
use common::exit::Exit;
use common::log::Shown;
use common::message::{PluginSlice, RsyncVersion, SyncSlice, WatchSlice, WatchTree};
use nix::unistd::getuid;
use thiserror::Error;

use crate::accounts::{self, Starter, absolute, find_program};
use crate::core::backlog::Traffic;
use crate::core::dispatch::Setup;
use crate::core::{PluginId, RemoteId, Role};

/// Oldest rsync that compares nanoseconds and removes missing arguments.
const OLDEST_RSYNC: RsyncVersion = (3, 1, 3);
/// rsyncs before this one have known holes in the client.
const SAFE_RSYNC: RsyncVersion = (3, 4, 3);
/// Syncers alive at once: the block of uids less the watcher's and the plugins'.
pub const MAX_SYNCERS: u32 = 55;

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
            Error::Account { .. } => Exit::Config,
        }
    }
}

/// Everything that the supervisor needs to know of a config.
#[derive(Debug)]
pub struct Plan {
    config: Config,
    roots: Vec<PathBuf>,
    /// Nothing where there is no remote.
    rsync: PathBuf,
    rsync_version: RsyncVersion,
    ssh: Option<(Starter, PathBuf)>,
    /// The plugins that are on, and the account that each is to have.
    plugins: Vec<(Plugin, Option<Identity>)>,
    /// Which tree and which of its remotes each [`RemoteId`] stands for.
    remotes: Vec<(usize, usize)>,
    /// Things to tell the operator.
    pub warnings: Vec<String>,
}

impl Plan {
    /// Checks what a config names against this machine. `probe_uid` is who may run rsync to
    /// ask for its version; `None` for an ordinary user.
    pub fn new(config: Config, probe_uid: Option<u32>) -> Result<Plan, Error> {
        let mut warnings = Vec::new();
        let plugins = plugins(&config, probe_uid, &mut warnings)?;
        let roots = roots(&config, &plugins)?;
        let (mut rsync, mut rsync_version) = (PathBuf::new(), (0, 0, 0));
        if remotes(&config).next().is_some() {
            rsync = match config.rsync_program.as_ref() {
                Some(program) => PathBuf::from(program),
                None => find_program("rsync").ok_or(Error::NoRsync)?,
            };
            rsync_version = check_version(&rsync, probe_uid, &mut warnings)?;
        }
        let wants_ssh = remotes(&config).any(|remote| remote.rsync.ssh.is_some());
        let ssh = wants_ssh.then(|| find_program("ssh").ok_or(Error::NoSsh)).transpose()?;
        let all = config.trees.iter().enumerate();
        let remotes =
            all.flat_map(|(tree, block)| (0..block.remotes.len()).map(move |n| (tree, n))).collect();
        Ok(Plan {
            config,
            roots,
            rsync,
            rsync_version,
            ssh: ssh.map(|program| (Starter::find(), program)),
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
        !self.remotes.is_empty()
    }

    /// How many trees are watched.
    pub fn trees(&self) -> usize {
        self.roots.len()
    }

    /// The root of a tree, as people are shown it.
    pub fn watch(&self, tree: TreeId) -> &OsStr {
        self.roots.get(usize::from(tree.0)).map_or(OsStr::new("?"), |root| root.as_os_str())
    }

    /// What the core is told.
    pub fn setup(&self, full_sync: bool, workers: usize, seed: u64) -> Setup {
        let minutes = |minutes: u32| Duration::from_secs(u64::from(minutes).saturating_mul(60));
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
            mirror: self.config.switches.delete && (full_sync || self.config.crontab.is_some()),
            plugins: self.plugins.iter().map(|(it, _)| plugin(it)).collect(),
            crontab: self.config.crontab.as_ref().map(|crontab| minutes(crontab.minutes)),
            sweep: minutes(self.config.fail_log.minutes),
            workers,
            max_syncers: usize::try_from(MAX_SYNCERS).unwrap_or(1),
            seed,
        }
    }

    /// The watcher's part. Files with several names are followed where the remote is to become
    /// equal: with `-r`, `<crontab>` or `-H`. Elsewhere each name travels by its own events, as ever.
    pub fn watch_slice(&self, full_sync: bool, confinement: Confinement) -> WatchSlice {
        let trees = (0_u16..).map(TreeId).zip(&self.roots);
        WatchSlice {
            trees: trees.map(|(id, root)| WatchTree { id, root: root.clone().into_os_string() }).collect(),
            switches: self.config.switches,
            filter: self.config.filter.clone(),
            follow_links: full_sync
                || self.config.crontab.is_some()
                || remotes(&self.config)
                    .any(|remote| syncer::sets(&remote.rsync.params, "--hard-links", Some(b'H'))),
            debug: self.config.debug,
            confinement,
        }
    }

    /// A syncer's part.
    pub fn sync_slice(&self, id: RemoteId, confinement: Confinement) -> Option<SyncSlice> {
        let (root, remote) = self.remote(id)?;
        let ssh = remote.rsync.ssh.as_ref().zip(self.ssh.as_ref()).map(|(configured, (starter, program))| {
            let user = remote.rsync.auth.as_ref().and_then(|auth| auth.user.as_ref());
            starter.ssh(program, configured, user)
        });
        Some(SyncSlice {
            root: root.to_owned(),
            remote: remote.clone(),
            rsync_program: self.rsync.clone().into_os_string(),
            rsync_version: self.rsync_version,
            ssh,
            delete: self.config.switches.delete,
            filter: self.config.filter.clone(),
            excludes: self.config.sync_excludes.clone(),
            warm: self.config.warm,
            debug: self.config.debug,
            confinement,
        })
    }

    /// A plugin's part.
    pub fn plugin_slice(&self, id: PluginId, confinement: Confinement) -> Option<PluginSlice> {
        let (plugin, _) = self.plugin(id)?;
        Some(PluginSlice {
            kind: plugin.kind.clone(),
            call: plugin.call,
            roots: self.roots.iter().map(|root| root.clone().into_os_string()).collect(),
            remotes: remotes(&self.config).map(label).collect(),
            debug: self.config.debug,
            confinement,
        })
    }

    /// A remote, and the root that it mirrors.
    pub fn remote(&self, id: RemoteId) -> Option<(&OsStr, &Remote)> {
        let &(tree, n) = self.remotes.get(usize::from(id.0))?;
        Some((self.roots.get(tree)?.as_os_str(), self.config.trees.get(tree)?.remotes.get(n)?))
    }

    /// A plugin that is on, and the account that it is to have.
    pub fn plugin(&self, id: PluginId) -> Option<(&Plugin, Option<Identity>)> {
        self.plugins.get(usize::from(id.0)).map(|(plugin, account)| (plugin, *account))
    }

    /// True when the role runs ssh, which needs an account for its uid.
    pub fn runs_ssh(&self, role: Role) -> bool {
        match role {
            Role::Syncer(id, _) => self.remote(id).is_some_and(|(_, remote)| remote.rsync.ssh.is_some()),
            Role::Watcher | Role::Plugin(_) => false,
        }
    }

    /// For logs: which child a role is.
    pub fn name(&self, role: Role) -> String {
        match role {
            Role::Watcher => "watcher".to_owned(),
            Role::Syncer(id, _) => format!("syncer{}", id.0),
            Role::Plugin(id) => {
                let name = self.plugin(id).map_or("?", |(plugin, _)| plugin.kind.name().as_str());
                format!("plugin-{name}")
            }
        }
    }
}

/// For people: `host::module`, or `host:path`.
fn label(remote: &Remote) -> String {
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

/// The plugins that are on. One that only root could give its account runs as we do.
fn plugins(
    config: &Config,
    probe_uid: Option<u32>,
    warnings: &mut Vec<String>,
) -> Result<Vec<(Plugin, Option<Identity>)>, Error> {
    let mut plugins = Vec::new();
    for name in &config.plugins_on {
        let Some(plugin) = config.plugins.iter().find(|plugin| plugin.kind.name() == *name) else { continue };
        let account = match &plugin.user {
            None => None,
            Some(user) => {
                let failed = |source| Error::Account { plugin: name.as_str(), user: user.clone(), source };
                let account = accounts::identity(user).map_err(failed)?;
                if probe_uid.is_none() && account.uid != getuid().as_raw() {
                    let name = name.as_str();
                    warnings
                        .push(format!("plugin {name}: user={user:?} needs a supervisor that root started"));
                }
                Some(account)
            }
        };
        plugins.push((plugin.clone(), account));
    }
    Ok(plugins)
}

/// The roots. As in the original, a plugin's own watch takes the place of the first one.
fn roots(config: &Config, plugins: &[(Plugin, Option<Identity>)]) -> Result<Vec<PathBuf>, Error> {
    let mut watches: Vec<&OsStr> = config.trees.iter().map(|tree| tree.watch.as_os_str()).collect();
    let configured: Vec<PathBuf> = watches.iter().filter_map(|watch| absolute(watch).ok()).collect();
    let other = |watch: &&OsString| absolute(watch).is_ok_and(|path| !configured.contains(&path));
    let own = plugins.iter().filter_map(|(plugin, _)| plugin.kind.watch()).find(other);
    if let (Some(own), Some(first)) = (own, watches.first_mut()) {
        *first = own;
    }
    watches.into_iter().map(root).collect()
}

fn remotes(config: &Config) -> impl Iterator<Item = &Remote> {
    config.trees.iter().flat_map(|tree| &tree.remotes)
}

fn root(watch: &OsStr) -> Result<PathBuf, Error> {
    let failed = |source| Error::Root { path: watch.to_owned(), source };
    let path = absolute(watch).map_err(failed)?;
    if path.metadata().map_err(failed)?.is_dir() {
        Ok(path)
    } else {
        Err(Error::NoDirectory(watch.to_owned()))
    }
}

/// Asks rsync for its version, without the supervisor's privileges.
fn check_version(rsync: &Path, uid: Option<u32>, warnings: &mut Vec<String>) -> Result<RsyncVersion, Error> {
    let mut command = Command::new(rsync);
    command.arg("--version").env_clear().env("LC_ALL", "C").env("PATH", "/usr/bin:/bin").stdin(Stdio::null());
    if let Some(uid) = uid {
        command.uid(uid).gid(uid);
    }
    let unknown = |why: String| Error::UnknownRsync(rsync.to_owned(), why);
    let output = command.current_dir("/").output().map_err(|error| unknown(error.to_string()))?;
    let text = String::from_utf8_lossy(&output.stdout);
    let first: String = text.lines().next().unwrap_or_default().chars().take(120).collect();
    let version = version(&first).ok_or_else(|| unknown(first.escape_debug().to_string()))?;
    let shown = format!("{}.{}.{}", version.0, version.1, version.2);
    if version < OLDEST_RSYNC {
        return Err(Error::OldRsync(rsync.to_owned(), shown));
    }
    if version < SAFE_RSYNC {
        warnings
            .push(format!("rsync {shown} has known security holes as a client; 3.4.3 or later is advised"));
    }
    Ok(version)
}

/// `rsync  version 3.5.0  protocol version 32` → `(3, 5, 0)`.
fn version(line: &str) -> Option<RsyncVersion> {
    let word = line.strip_prefix("rsync")?.trim_start().strip_prefix("version")?.split_whitespace().next()?;
    let mut numbers = word.trim_start_matches('v').split('.').map(|part| {
        let digits: String = part.chars().take_while(char::is_ascii_digit).collect();
        digits.parse::<u32>().ok()
    });
    Some((numbers.next()??, numbers.next()??, numbers.next().flatten().unwrap_or(0)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_of_rsync() {
        for (line, expected) in [
            ("rsync  version 3.5.0  protocol version 32", Some((3, 5, 0))),
            ("rsync  version 3.2.7pre1  protocol version 31", Some((3, 2, 7))),
            ("rsync version v3.4.1 protocol", Some((3, 4, 1))),
            ("openrsync: protocol version 29", None),
            ("", None),
        ] {
            assert_eq!(version(line), expected, "{line}");
        }
    }
}
