//! The supervisor's own steps: on what footing it was started, and what it keeps.

use std::ffi::OsString;

use caps::{CapSet, Capability, CapsHashSet};
use nix::sys::prctl;
use nix::unistd::{Gid, Uid, geteuid, setfsgid, setfsuid};

use super::spec::{Demand, Identity, Syscalls};
use super::{ConfineError, Kernel, at, credentials, files, limits, syscalls};
use crate::config::WatcherKind;

/// On what footing the supervisor was started.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Footing {
    /// As root: it lowers itself.
    pub root: bool,
    /// It can give each role a uid of its own: as root, or as a user to whom systemd gave what
    /// that takes.
    pub gives_uids: bool,
    /// It can let roles read what only root may.
    pub reads_all: bool,
}

/// What the supervisor keeps for its roles' uids, and why.
const TO_GIVE_UIDS: [Capability; 4] = [
    // A uid for each role.
    Capability::CAP_SETUID,
    // And a group.
    Capability::CAP_SETGID,
    // Bounding set and securebits of each role.
    Capability::CAP_SETPCAP,
    // Ending roles of other uids; their death signal needs it too.
    Capability::CAP_KILL,
];
/// And to hand on to those roles that read the tree.
const TO_READ_ALL: Capability = Capability::CAP_DAC_READ_SEARCH;

/// And for each new watcher to set its marks with, where the operator chose that: the watcher gives it
/// up before it reads anything. Who is confined by Landlock mounts nothing with it.
const TO_MARK: Capability = Capability::CAP_SYS_ADMIN;

impl Footing {
    /// Looks at this process.
    pub fn find() -> Footing {
        let permitted = caps::read(None, CapSet::Permitted).unwrap_or_default();
        Footing {
            root: geteuid().is_root(),
            gives_uids: TO_GIVE_UIDS.iter().all(|needed| permitted.contains(needed)),
            reads_all: permitted.contains(&TO_READ_ALL),
        }
    }

    /// What the supervisor keeps.
    fn kept(self, watcher: WatcherKind) -> CapsHashSet {
        let uids = TO_GIVE_UIDS.into_iter().filter(|_| self.gives_uids);
        let marks = match watcher {
            WatcherKind::Inotify => None,
            WatcherKind::Fanotify => Some(TO_MARK),
        };
        uids.chain(self.reads_all.then_some(TO_READ_ALL)).chain(marks).collect()
    }
}

/// What the supervisor makes of itself.
#[derive(Debug)]
pub struct Lowering<'a> {
    /// On what footing it stands.
    pub footing: Footing,
    /// Who it becomes, when root started it.
    pub identity: Option<Identity>,
    /// The group that sees the processes of others where `/proc` hides them.
    pub sees_processes: Option<u32>,
    /// Directories and files below which it, and all that it starts, may write; `None` for no
    /// such bound: an operator's program writes what it wants.
    pub writes: Option<&'a [OsString]>,
    /// What becomes of a step that this kernel cannot take.
    pub demand: Demand,
    /// Whether calls that no role needs are refused.
    pub syscalls: bool,
    /// What its watchers need.
    pub watcher: WatcherKind,
}

/// Gives up everything but what the supervisor needs; for good.
pub fn lower(lowering: &Lowering<'_>) -> Result<(), ConfineError> {
    let keep = lowering.footing.kept(lowering.watcher);
    // Its memory holds the config, and passwords with it.
    limits::no_core()?;
    if lowering.footing.gives_uids {
        let group = lowering.sees_processes.map(Gid::from_raw);
        credentials::lower(lowering.identity, group, &keep)?;
    } else {
        credentials::give_up_all_but(&keep)?;
    }
    at("8 no_new_privs", prctl::set_no_new_privs())?;
    let kernel = Kernel::probe();
    if let Some(writes) = lowering.writes {
        files::write_only_below(writes, kernel)?;
    }
    // Nobody of the same user reads its memory, its environment or its descriptors.
    at("10 dumpable", prctl::set_dumpable(false))?;
    if lowering.footing.gives_uids {
        let group = lowering.sees_processes.map(Gid::from_raw);
        credentials::prove_lowered(lowering.identity, group, &keep)?;
    }
    if lowering.syscalls {
        syscalls::install(Syscalls::Command, lowering.demand, kernel)?;
        syscalls::prove(Syscalls::Command, kernel)?;
    }
    Ok(())
}

/// For the process that ends what a dead supervisor left: it may end processes of any uid, and
/// nothing else.
pub fn keep_only_kill() -> Result<(), ConfineError> {
    limits::no_core()?;
    credentials::give_up_all_but(&CapsHashSet::from([Capability::CAP_KILL]))?;
    at("8 no_new_privs", prctl::set_no_new_privs())?;
    at("10 dumpable", prctl::set_dumpable(false))
}

/// Does `work` with the files of `owner`, who started the supervisor and whose directories it
/// writes what the operator asked for in. Capabilities do not come back with it. `None` to do it
/// as who we are.
pub fn with_files_of<T>(owner: Option<Identity>, work: impl FnOnce() -> T) -> T {
    let Some(Identity { uid, gid }) = owner else { return work() };
    let (group, user) = (setfsgid(Gid::from_raw(gid)), setfsuid(Uid::from_raw(uid)));
    let done = work();
    setfsuid(user);
    setfsgid(group);
    done
}
