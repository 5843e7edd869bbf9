//! From a config to what each role is told: absolute roots, programs found, slices cut so
//! that a role receives only its own part (invariant I7).

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use common::config::Config;
use common::confine::Confinement;
use common::event::TreeId;
use common::exit::Exit;
use common::log::Shown;
use common::message::{SyncSlice, WatchSlice, WatchTree};
use thiserror::Error;

use crate::core::dispatch::Setup;
use crate::core::{RemoteId, Role};

/// Oldest rsync that compares nanoseconds and removes missing arguments.
const OLDEST_RSYNC: (u32, u32, u32) = (3, 1, 3);
/// rsyncs before this one have known holes in the client.
const SAFE_RSYNC: (u32, u32, u32) = (3, 4, 3);
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
    /// Not built yet.
    #[error("<ssh start=\"true\"/>: this release speaks only to rsync daemons; ssh comes with the next one")]
    Ssh,
}

impl Error {
    /// How the program ends on it.
    pub fn exit(&self) -> Exit {
        match self {
            Error::Root { .. } | Error::NoDirectory(_) => Exit::NoInput,
            Error::NoRsync | Error::UnknownRsync(..) | Error::OldRsync(..) | Error::Ssh => Exit::Unavailable,
        }
    }
}

/// Everything that the supervisor needs to know of a config.
#[derive(Debug)]
pub struct Plan {
    config: Config,
    roots: Vec<PathBuf>,
    rsync: PathBuf,
    /// Which tree and which of its remotes each [`RemoteId`] stands for.
    remotes: Vec<(usize, usize)>,
    /// Things to tell the operator.
    pub warnings: Vec<String>,
}

impl Plan {
    /// Checks what a config names against this machine. `probe_uid` is who may run rsync to
    /// ask for its version.
    pub fn new(config: Config, probe_uid: Option<u32>) -> Result<Plan, Error> {
        let mut warnings = Vec::new();
        if config.rsync.ssh {
            return Err(Error::Ssh);
        }
        let roots = config.trees.iter().map(|tree| root(&tree.watch)).collect::<Result<_, _>>()?;
        let rsync = find_rsync(config.rsync.program.as_deref())?;
        check_version(&rsync, probe_uid, &mut warnings)?;
        let remotes = config
            .trees
            .iter()
            .enumerate()
            .flat_map(|(tree, block)| (0..block.remotes.len()).map(move |remote| (tree, remote)))
            .collect();
        if let Some(plugin) = config.plugin {
            warnings
                .push(format!("plugin {} is configured; this release has no plugins yet", plugin.as_str()));
        }
        Ok(Plan { config, roots, rsync, remotes, warnings })
    }

    /// The config.
    pub fn config(&self) -> &Config {
        &self.config
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
        let label = |remote: &common::config::Remote| format!("{}::{}", remote.host, Shown(&remote.module));
        Setup {
            trees: self
                .config
                .trees
                .iter()
                .zip(&self.roots)
                .map(|(tree, root)| {
                    (Shown(root.as_os_str()).to_string(), tree.remotes.iter().map(label).collect())
                })
                .collect(),
            full_sync,
            mirror: self.config.switches.delete && (full_sync || self.config.crontab.is_some()),
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
                || keeps_links(&self.config.rsync.params),
            debug: self.config.debug,
            confinement,
        }
    }

    /// A syncer's part.
    pub fn sync_slice(&self, remote: RemoteId, confinement: Confinement) -> Option<SyncSlice> {
        let &(tree, n) = self.remotes.get(usize::from(remote.0))?;
        Some(SyncSlice {
            root: self.roots.get(tree)?.clone().into_os_string(),
            remote: self.config.trees.get(tree)?.remotes.get(n)?.clone(),
            rsync: self.config.rsync.clone(),
            rsync_program: self.rsync.clone().into_os_string(),
            ssh_program: None,
            delete: self.config.switches.delete,
            filter: self.config.filter.clone(),
            excludes: self.config.sync_excludes.clone(),
            warm: self.config.warm,
            debug: self.config.debug,
            confinement,
        })
    }

    /// For logs: which child a role is.
    pub fn name(&self, role: Role) -> String {
        match role {
            Role::Watcher => "watcher".to_owned(),
            Role::Syncer(id, _) => format!("syncer{}", id.0),
        }
    }
}

fn root(watch: &OsStr) -> Result<PathBuf, Error> {
    let failed = |source| Error::Root { path: watch.to_owned(), source };
    let path = std::path::absolute(watch).map_err(failed)?;
    if path.metadata().map_err(failed)?.is_dir() {
        Ok(path)
    } else {
        Err(Error::NoDirectory(watch.to_owned()))
    }
}

fn find_rsync(configured: Option<&OsStr>) -> Result<PathBuf, Error> {
    if let Some(program) = configured {
        return Ok(PathBuf::from(program));
    }
    let path = std::env::var_os("PATH").unwrap_or_else(|| "/usr/local/bin:/usr/bin:/bin".into());
    std::env::split_paths(&path)
        .filter(|directory| directory.is_absolute())
        .map(|directory| directory.join("rsync"))
        .find(|program| is_executable(program))
        .ok_or(Error::NoRsync)
}

fn is_executable(path: &Path) -> bool {
    path.metadata().is_ok_and(|found| found.is_file() && found.permissions().mode() & 0o111 != 0)
}

/// Whether `-H` is among rsync's parameters.
fn keeps_links(params: &[OsString]) -> bool {
    params.iter().map(|word| word.as_bytes()).any(|word| {
        word == b"--hard-links"
            || (word.starts_with(b"-") && !word.starts_with(b"--") && word.contains(&b'H'))
    })
}

/// Asks rsync for its version, without the supervisor's privileges.
fn check_version(rsync: &Path, uid: Option<u32>, warnings: &mut Vec<String>) -> Result<(), Error> {
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
    Ok(())
}

/// `rsync  version 3.5.0  protocol version 32` → `(3, 5, 0)`.
fn version(line: &str) -> Option<(u32, u32, u32)> {
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
