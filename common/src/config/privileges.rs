//! What each process may, as the config says it: `<privileges>` and `<limits>`, with their defaults.
//!
//! Only what was written. Which of it this kernel can carry out, and what a role makes of it, is
//! the supervisor's business.

use crate::confine::{Demand, IoPriority};

/// `<privileges firstUid readAll sandbox/>`, ours: the original ignores it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Privileges {
    /// First of 64 uids for the roles; otherwise a free block is claimed.
    pub first_uid: Option<u32>,
    /// `readAll`: watcher and syncers may read what only root may.
    pub read_all: bool,
    /// `sandbox`: what becomes of a sandbox that this kernel does not have in full; `None` for
    /// the default, which is `required` for root.
    pub sandbox: Option<Demand>,
}

impl Default for Privileges {
    fn default() -> Privileges {
        Privileges { first_uid: None, read_all: true, sandbox: None }
    }
}

/// `<limits role="…" …/>`, ours: what the processes of each role may use up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LimitsTable {
    /// `role="watcher"`.
    pub watcher: RoleLimits,
    /// `role="syncer"`: each syncer, with its rsync and ssh.
    pub syncer: RoleLimits,
    /// `role="plugin"`: socket, http and refreshCDN.
    pub plugin: RoleLimits,
    /// `role="command"`: the command plugin and what it runs.
    pub command: RoleLimits,
}

/// One `<limits>`; `None` for no limit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RoleLimits {
    /// `memory`: address space of each process (`RLIMIT_AS`) and, in a cgroup, memory of all
    /// together (`memory.max`), in bytes.
    pub memory: Option<u64>,
    /// `memoryHigh`: from where on a cgroup is slowed down (`memory.high`), in bytes.
    pub memory_high: Option<u64>,
    /// `pids`: processes and threads, 1 or more.
    pub pids: u32,
    /// `files`: open files of each process, 16 or more.
    pub files: u32,
    /// `cpu`: CPU time of one transfer, in seconds. Counts for syncers.
    pub cpu: Option<u32>,
    /// `cpuWeight`: share of the CPU in a cgroup, 1 to 10000; the kernel's default is 100.
    pub cpu_weight: Option<u16>,
    /// `ioWeight`: share of the disk in a cgroup, 1 to 10000; the kernel's default is 100.
    pub io_weight: Option<u16>,
    /// `nice`: 0 to 19.
    pub nice: u8,
    /// `ionice`: `be:0` to `be:7`, or `idle`.
    pub ionice: Option<IoPriority>,
}

impl Default for LimitsTable {
    fn default() -> LimitsTable {
        let role = |memory: Option<u64>, pids, files| RoleLimits {
            memory,
            memory_high: None,
            pids,
            files,
            cpu: None,
            cpu_weight: None,
            io_weight: None,
            nice: 0,
            ionice: None,
        };
        LimitsTable {
            watcher: role(Some(4 << 30), 4, 512),
            // A day: as long as one transfer may take altogether.
            syncer: RoleLimits { cpu: Some(86_400), ..role(Some(4 << 30), 64, 256) },
            plugin: role(Some(1 << 30), 8, 64),
            // What the operator's program may use up is the operator's business.
            command: role(None, 256, 1024),
        }
    }
}
