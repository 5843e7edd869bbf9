//! What each role may keep: one table. `common::confine` carries it out.

use common::config::{Plugin, PluginKind};
use common::confine::{Confinement, Identity};

use crate::core::Role;

/// Largest file that a role with a log of its own may write, in bytes.
const LOG_BYTES: u64 = 64 << 20;

/// `<sandbox start>`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sandbox {
    /// Everything is bounded that rsync does not need.
    On,
    /// rsync may write files.
    Off,
}

/// What `role` may keep when it gets that uid; `None` when the supervisor is an ordinary user.
/// For a plugin, what the config says of it and the account it is to have.
pub fn confinement(
    role: Role,
    uid: Option<u32>,
    sandbox: Sandbox,
    plugin: Option<(&Plugin, Option<Identity>)>,
) -> Confinement {
    let own = uid.map(|uid| Identity { uid, gid: uid });
    let supervisor = std::process::id().cast_signed();
    let bare = Confinement {
        identity: own,
        passwd: None,
        read_all: false,
        max_files: 64,
        // Logs are pipes.
        max_file_bytes: Some(0),
        max_processes: 8,
        supervisor,
    };
    match (role, plugin) {
        (Role::Watcher, _) => {
            Confinement { read_all: own.is_some(), max_files: 512, max_processes: 4, ..bare }
        }
        (Role::Syncer(..), _) => {
            // A wrapper in place of rsync may have a log of its own.
            let max_file_bytes = (sandbox == Sandbox::On).then_some(0);
            let read_all = own.is_some();
            Confinement { read_all, max_files: 256, max_file_bytes, max_processes: 64, ..bare }
        }
        (Role::Plugin(_), None) => bare,
        (Role::Plugin(_), Some((plugin, account))) => {
            let identity = own.map(|own| account.unwrap_or(own));
            let (max_files, max_file_bytes, max_processes) = match &plugin.kind {
                // What the operator's program may do is the operator's business.
                PluginKind::Command(_) => (1024, None, 256),
                PluginKind::Socket(_) | PluginKind::Http(_) => (64, Some(0), 8),
                PluginKind::RefreshCdn(_) => (64, Some(LOG_BYTES), 8),
            };
            // An account of the machine has other processes, which count too.
            let max_processes = if account.is_some() { u64::MAX } else { max_processes };
            Confinement { identity, max_files, max_file_bytes, max_processes, ..bare }
        }
    }
}
