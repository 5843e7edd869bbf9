//! What each role may keep: one table. `common::confine` carries it out.

use common::config::{Config, Plugin, PluginKind, RoleLimits, WatcherKind};
use common::confine::{Confinement, Demand, Domain, Footing, Identity, Limits, Syscalls};

/// Largest file that a role with a log of its own may write, in bytes.
const LOG_BYTES: u64 = 64 << 20;
/// What the page may use up. No operator knows better: how many may look on at once, and what is kept for
/// them, is bounded in it. It is the last one to get the CPU.
const PAGE: RoleLimits = RoleLimits {
    memory: Some(512 << 20),
    memory_high: None,
    pids: 1,
    files: 320,
    cpu: None,
    cpu_weight: Some(10),
    io_weight: None,
    nice: 10,
    ionice: None,
};

/// What holds for all roles.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Grounds {
    /// On what footing the supervisor was started.
    pub footing: Footing,
    /// What becomes of a sandbox that this kernel does not have in full.
    pub demand: Demand,
}

impl Grounds {
    /// As found and as configured. Whose roles read what only root may has no excuse for less than
    /// the whole sandbox.
    pub fn new(footing: Footing, config: &Config) -> Grounds {
        let usual = if footing.gives_uids || footing.reads_all || footing.root {
            Demand::Required
        } else {
            Demand::BestEffort
        };
        Grounds { footing, demand: config.privileges.sandbox.unwrap_or(usual) }
    }
}

/// What one role is about.
#[derive(Debug, Clone, Copy)]
pub enum Subject<'a> {
    /// The watcher.
    Watcher,
    /// A syncer.
    Syncer,
    /// The keeper of the state file.
    Keeper,
    /// Who serves the page.
    Page,
    /// A plugin, and the account that it is to have.
    Plugin(&'a Plugin, Option<Identity>),
}

impl Subject<'_> {
    /// Its `<limits>`.
    pub fn limits(self, config: &Config) -> &RoleLimits {
        match self {
            // Like the watcher it is one process that holds no more than its tables.
            Subject::Watcher | Subject::Keeper => &config.limits.watcher,
            Subject::Syncer => &config.limits.syncer,
            Subject::Page => &PAGE,
            Subject::Plugin(plugin, _) => match &plugin.kind {
                PluginKind::Command(_) => &config.limits.command,
                PluginKind::Socket(_) | PluginKind::Http(_) | PluginKind::RefreshCdn(_) => {
                    &config.limits.plugin
                }
            },
        }
    }
}

/// What a role may keep when it gets that uid (`None` when it shares the supervisor's), and may
/// reach no more than `domain`.
pub fn confinement(
    subject: Subject<'_>,
    uid: Option<u32>,
    domain: Option<Domain>,
    config: &Config,
    grounds: Grounds,
) -> Confinement {
    let own = uid.map(|uid| Identity { uid, gid: uid });
    let may_read_all = grounds.footing.reads_all && config.privileges.read_all;
    let (identity, read_all, file_bytes, syscalls) = match subject {
        // Logs are pipes: whoever has no file of its own to write may write none.
        Subject::Watcher => {
            let syscalls = match config.watcher {
                WatcherKind::Inotify => Syscalls::Watcher,
                WatcherKind::Fanotify => Syscalls::MarkedWatcher,
            };
            (own, may_read_all, Some(0), syscalls)
        }
        // A wrapper in place of rsync, for which the sandbox is off, may have a log.
        Subject::Syncer => (own, may_read_all, config.sandbox.then_some(0), Syscalls::Syncer),
        // How large its file gets is for the tree to say.
        Subject::Keeper => (own, false, None, Syscalls::Keeper),
        Subject::Page => (own, false, Some(0), Syscalls::Page),
        Subject::Plugin(plugin, account) => {
            let identity = own.map(|own| account.unwrap_or(own));
            let (file_bytes, syscalls) = match &plugin.kind {
                // What the operator's program may write is the operator's business.
                PluginKind::Command(_) => (None, Syscalls::Command),
                PluginKind::Socket(_) | PluginKind::Http(_) => (Some(0), Syscalls::Plugin),
                PluginKind::RefreshCdn(_) => (Some(LOG_BYTES), Syscalls::Plugin),
            };
            (identity, false, file_bytes, syscalls)
        }
    };
    let limits = subject.limits(config);
    // An account of the machine has other processes, which count too.
    let shared = matches!(subject, Subject::Plugin(_, Some(_)));
    Confinement {
        identity,
        read_all,
        limits: Limits {
            files: u64::from(limits.files),
            file_bytes,
            processes: (!shared).then_some(u64::from(limits.pids)),
            memory: limits.memory,
            transfer_cpu: limits.cpu.map(u64::from),
            nice: limits.nice,
            io: limits.ionice,
        },
        domain: domain.filter(|_| config.sandbox),
        syscalls: config.sandbox.then_some(syscalls),
        demand: grounds.demand,
        supervisor: std::process::id().cast_signed(),
    }
}
