//! What a role may keep, as data: written by the supervisor's table, carried out by
//! [`enter`](super::enter).

use std::ffi::OsString;

use serde::{Deserialize, Serialize};

/// What a role may keep.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Confinement {
    /// Who the process becomes; `None` when the supervisor cannot give it an identity of its own.
    pub identity: Option<Identity>,
    /// Whether `CAP_DAC_READ_SEARCH` stays: reading what only root may read.
    pub read_all: bool,
    /// What it may use up.
    pub limits: Limits,
    /// What it may reach; `None` for all that its uid may.
    pub domain: Option<Domain>,
    /// What it may ask of the kernel; `None` for anything.
    pub syscalls: Option<Syscalls>,
    /// What becomes of a step that this kernel cannot take.
    pub demand: Demand,
    /// Process that must still be the parent once the death signal is set.
    pub supervisor: i32,
}

impl Confinement {
    /// Nothing is taken away: for roles that are driven in process, by tests.
    pub fn none() -> Confinement {
        Confinement {
            identity: None,
            read_all: false,
            limits: Limits {
                files: u64::MAX,
                file_bytes: None,
                processes: None,
                memory: None,
                transfer_cpu: None,
                nice: 0,
                io: None,
            },
            domain: None,
            syscalls: None,
            demand: Demand::BestEffort,
            supervisor: 1,
        }
    }
}

/// A user and a group, without supplementary groups.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// User.
    pub uid: u32,
    /// Group.
    pub gid: u32,
}

/// What a process may use up; `None` for no limit of its own.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// Open files (`RLIMIT_NOFILE`).
    pub files: u64,
    /// Largest file that it, or what it starts, may write, in bytes (`RLIMIT_FSIZE`).
    pub file_bytes: Option<u64>,
    /// Processes of this uid (`RLIMIT_NPROC`); without an own uid the limit would hit the user
    /// and is left out.
    pub processes: Option<u64>,
    /// Address space of each process, in bytes (`RLIMIT_AS`).
    pub memory: Option<u64>,
    /// CPU time of each program that it starts through [`Confined::prepare`](super::Confined::prepare),
    /// in seconds (`RLIMIT_CPU`).
    pub transfer_cpu: Option<u64>,
    /// Nice value, 0 to 19.
    pub nice: u8,
    /// I/O priority; `None` for the one that follows from the nice value.
    pub io: Option<IoPriority>,
}

/// Priority of reads and writes (`ioprio_set(2)`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum IoPriority {
    /// Best effort, 0 (first) to 7 (last).
    BestEffort(u8),
    /// Only when nobody else asks.
    Idle,
}

/// What a process may reach (Landlock). What is not named here is refused.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Domain {
    /// Files and directories. Those that do not exist are left out.
    pub files: Vec<FileRule>,
    /// TCP ports that it may connect to. It may listen on none.
    pub connect: Vec<u16>,
}

/// A right to a file, or to everything below a directory.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileRule {
    /// Absolute. What it is when the process is confined counts: what takes its place later is
    /// another file, see [`Confined::outdated`](super::Confined::outdated).
    pub path: OsString,
    /// The right.
    pub access: Access,
}

/// What may be done with a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Access {
    /// List directories; no file is opened.
    List,
    /// Read files.
    Read,
    /// List directories and read files.
    ReadTree,
    /// Read and execute files.
    Execute,
    /// Read and write files that exist: `/dev/null`.
    Use,
}

/// Which system calls are left (seccomp). What each list holds: `syscalls`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Syscalls {
    /// Files, inotify and the report socket; no network, no program.
    Watcher,
    /// The same, and the handles of directories: for a watcher with marks.
    MarkedWatcher,
    /// Files, programs, TCP: for rsync and ssh too.
    Syncer,
    /// TCP and what a resolver reads; no program.
    Plugin,
    /// Files that are open already, also to write; no network, no program.
    Keeper,
    /// Connections that others made to sockets that are open already; no file, no socket, no program.
    Page,
    /// Everything but what only an intruder wants: an operator's program.
    Command,
}

/// What becomes of a step that this kernel cannot take.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Demand {
    /// The process does not start.
    Required,
    /// It goes on without; the supervisor has said so.
    BestEffort,
}
