//! BOUNDARY: the numbered list that makes a process powerless, and the proof that it did.
//!
//! The only module that changes credentials, capabilities or limits, and the only one with
//! `unsafe`. [`start_clean`] is a role's very first act; [`enter`] comes after it was told what
//! it may keep and before it reads anything that others wrote (invariant I2). The supervisor
//! then looks for itself with [`check_from_outside`].
//!
//! Steps 9 (Landlock) and 11 (seccomp) of the full list have their place in [`enter`] and come
//! with the hardening release.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use caps::{CapSet, Capability, CapsHashSet};
use nix::fcntl::{FcntlArg, FdFlag, OFlag, fcntl, open};
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use nix::sys::prctl;
use nix::sys::resource::{Resource, setrlimit};
use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, SigmaskHow, Signal, sigaction, sigprocmask};
use nix::sys::stat::{Mode, umask};
use nix::unistd::{
    Gid, Pid, Uid, chdir, getgroups, getppid, getresgid, getresuid, setgroups, setresgid, setresuid,
};
use serde::{Deserialize, Serialize};
use thiserror::Error;

/// What a role may keep.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Confinement {
    /// Who the process becomes; `None` when the supervisor is an ordinary user and cannot give
    /// it an identity of its own.
    pub identity: Option<Identity>,
    /// A file that the process sees in place of `/etc/passwd`, in a mount namespace of its own:
    /// ssh does not run for a uid without an account. `None` to see the host's.
    pub passwd: Option<OsString>,
    /// Whether `CAP_DAC_READ_SEARCH` stays: reading what only root may read.
    pub read_all: bool,
    /// Open files.
    pub max_files: u64,
    /// Largest file that it, or what it starts, may write, in bytes; `None` for no limit.
    pub max_file_bytes: Option<u64>,
    /// Processes of this uid; without an own uid the limit would hit the user and is left out.
    pub max_processes: u64,
    /// Process that must still be the parent once the death signal is set.
    pub supervisor: i32,
}

/// A user and a group, without supplementary groups.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// User.
    pub uid: u32,
    /// Group.
    pub gid: u32,
}

/// A step that failed. The role exits, and the supervisor says why.
#[derive(Debug, Error)]
#[error("confinement failed at step {step}: {reason}")]
pub struct ConfineError {
    step: &'static str,
    reason: String,
}

/// Steps 0 to 2, before anything else: whatever the parent left us with.
pub fn start_clean() -> Result<(), ConfineError> {
    // 0. A blocked signal mask survives exec, and with it a TERM that is never delivered.
    at("0 signals", reset_signals())?;
    // 1. Nothing but 0, 1 and 2: a stray end of a pipe would keep its reader waiting for ever.
    at("1 descriptors", close_all_above(2))?;
    // 2. No group or world bits on anything; no directory that an unmount would wait for.
    umask(Mode::from_bits_truncate(0o077));
    at("2 directory", chdir("/"))
}

/// Steps 3 to 12. After this the process is what `confinement` says, or an error is returned
/// and it must exit.
pub fn enter(confinement: &Confinement) -> Result<(), ConfineError> {
    // 3. Limits first: later steps may take away the right to set them.
    at("3 limits", set_limits(confinement))?;
    if let Some(Identity { uid, gid }) = confinement.identity {
        // 4. What takes privilege to see comes first.
        if let Some(passwd) = &confinement.passwd {
            see_as_passwd(passwd)?;
        }
        let keep = kept(confinement);
        // 5. The bounding set goes while SETPCAP is still there; permitted capabilities are
        //    kept over the change of uid so that step 7 can choose among them.
        at("5 bounding set", drop_bounding_set(&keep))?;
        at("5 keep capabilities", prctl::set_keepcaps(true))?;
        // 6. Groups before uid: afterwards there is no right to change them.
        at("6 groups", setgroups(&[]))?;
        let (user, group) = (Uid::from_raw(uid), Gid::from_raw(gid));
        at("6 gid", setresgid(group, group, group))?;
        at("6 uid", setresuid(user, user, user))?;
        // 7. Exactly these, in all sets; ambient, so that rsync has them after its exec.
        at("7 capabilities", set_capabilities(&keep))?;
    }
    // 8. No exec gains anything any more, set-uid programs included.
    at("8 no_new_privs", prctl::set_no_new_privs())?;
    // 9. Landlock: hardening release.
    // 10. No core dump, no ptrace by a sibling; and when the supervisor dies, so do we. After
    //     step 6, since the kernel forgets the death signal when credentials change; then
    //     look whether the supervisor died before it was set.
    at("10 dumpable", prctl::set_dumpable(false))?;
    at("10 death signal", prctl::set_pdeathsig(Signal::SIGKILL))?;
    if getppid() != Pid::from_raw(confinement.supervisor) {
        return Err(failed("10 parent", "the supervisor is gone"));
    }
    // 11. seccomp: hardening release.
    // 12. Prove it.
    prove(confinement)
}

/// What the supervisor reads in `/proc/PID/status` before it gives a role work.
pub fn check_from_outside(pid: i32, confinement: &Confinement) -> Result<(), ConfineError> {
    let status = at("12 status", std::fs::read_to_string(format!("/proc/{pid}/status")))?;
    check_status(&status, confinement).map_err(|reason| failed("12 status", reason))
}

/// Makes the child that `command` starts die with this process, whatever its parent's fate:
/// an rsync must not outlive the syncer that answers for it.
pub fn die_with_parent(command: &mut Command) {
    let parent = nix::unistd::getpid();
    let in_child = move || {
        prctl::set_pdeathsig(Signal::SIGKILL)?;
        if getppid() != parent {
            return Err(io::Error::from_raw_os_error(libc::ESRCH));
        }
        Ok(())
    };
    // SAFETY: the closure runs between fork and exec and makes two system calls, both
    // async-signal-safe; it allocates nothing and takes no lock.
    unsafe { command.pre_exec(in_child) };
}

/// Marks `fd` so that no exec inherits it.
pub fn set_close_on_exec(fd: impl AsFd) -> io::Result<()> {
    fcntl(fd, FcntlArg::F_SETFD(FdFlag::FD_CLOEXEC))?;
    Ok(())
}

/// Puts `/dev/null` in place of standard input.
pub fn null_stdin() -> io::Result<()> {
    let null = open("/dev/null", OFlag::O_RDWR | OFlag::O_CLOEXEC, Mode::empty())?;
    Ok(nix::unistd::dup2_stdin(null)?)
}

fn reset_signals() -> nix::Result<()> {
    let default = SigAction::new(SigHandler::SigDfl, SaFlags::empty(), SigSet::empty());
    for signal in Signal::iterator() {
        if signal != Signal::SIGKILL && signal != Signal::SIGSTOP {
            // SAFETY: the default action runs no code of ours.
            unsafe { sigaction(signal, &default)? };
        }
    }
    sigprocmask(SigmaskHow::SIG_SETMASK, Some(&SigSet::empty()), None)
}

fn close_all_above(last_kept: i32) -> io::Result<()> {
    let first = u32::try_from(last_kept).unwrap_or(2).saturating_add(1);
    // SAFETY: called before this process has opened anything of its own, so no object holds a
    // descriptor that vanishes under it. The numbers are plain integers.
    let result = unsafe { libc::syscall(libc::SYS_close_range, first, u32::MAX, 0_u32) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

fn set_limits(confinement: &Confinement) -> nix::Result<()> {
    setrlimit(Resource::RLIMIT_CORE, 0, 0)?;
    if let Some(bytes) = confinement.max_file_bytes {
        setrlimit(Resource::RLIMIT_FSIZE, bytes, bytes)?;
    }
    let (_, hard) = nix::sys::resource::getrlimit(Resource::RLIMIT_NOFILE)?;
    let files = confinement.max_files.min(hard);
    setrlimit(Resource::RLIMIT_NOFILE, files, files)?;
    if confinement.identity.is_some() {
        let (_, hard) = nix::sys::resource::getrlimit(Resource::RLIMIT_NPROC)?;
        let processes = confinement.max_processes.min(hard);
        setrlimit(Resource::RLIMIT_NPROC, processes, processes)?;
    }
    Ok(())
}

/// Puts `file` in the place of `/etc/passwd`, for this process and what it starts.
fn see_as_passwd(file: &OsStr) -> Result<(), ConfineError> {
    let advised = |result: nix::Result<()>| {
        result.map_err(|error| {
            let advice = "needs CAP_SYS_ADMIN at start; or give the uid an account in /etc/passwd";
            failed("4 accounts", format!("{}: {error}: {advice}", Path::new(file).display()))
        })
    };
    let (no, passwd) = (None::<&OsStr>, OsStr::new("/etc/passwd"));
    advised(unshare(CloneFlags::CLONE_NEWNS))?;
    // Nothing of ours goes back. What the host mounts later comes only by its shared mounts.
    advised(mount(no, "/", no, MsFlags::MS_REC | MsFlags::MS_SLAVE, no))?;
    advised(mount(Some(file), passwd, no, MsFlags::MS_BIND, no))?;
    let read_only = MsFlags::MS_BIND | MsFlags::MS_REMOUNT | MsFlags::MS_RDONLY;
    let harmless = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
    advised(mount(no, passwd, no, read_only | harmless, no))
}

fn kept(confinement: &Confinement) -> CapsHashSet {
    confinement.read_all.then_some(Capability::CAP_DAC_READ_SEARCH).into_iter().collect()
}

fn drop_bounding_set(keep: &CapsHashSet) -> Result<(), caps::errors::CapsError> {
    for capability in caps::read(None, CapSet::Bounding)? {
        if !keep.contains(&capability) {
            caps::drop(None, CapSet::Bounding, capability)?;
        }
    }
    Ok(())
}

fn set_capabilities(keep: &CapsHashSet) -> Result<(), caps::errors::CapsError> {
    caps::set(None, CapSet::Inheritable, keep)?;
    caps::set(None, CapSet::Effective, keep)?;
    caps::set(None, CapSet::Permitted, keep)?;
    caps::set(None, CapSet::Ambient, keep)
}

fn prove(confinement: &Confinement) -> Result<(), ConfineError> {
    let Some(Identity { uid, gid }) = confinement.identity else { return Ok(()) };
    let step = "12 proof";
    let (uids, gids) = (at(step, getresuid())?, at(step, getresgid())?);
    let wanted = (Uid::from_raw(uid), Gid::from_raw(gid));
    if [uids.real, uids.effective, uids.saved] != [wanted.0; 3]
        || [gids.real, gids.effective, gids.saved] != [wanted.1; 3]
    {
        return Err(failed(step, "uid or gid is not what was asked for"));
    }
    if !at(step, getgroups())?.is_empty() {
        return Err(failed(step, "supplementary groups are left"));
    }
    let root = Uid::from_raw(0);
    if setresuid(root, root, root).is_ok() {
        return Err(failed(step, "the way back to root is open"));
    }
    for set in [CapSet::Effective, CapSet::Permitted, CapSet::Bounding, CapSet::Ambient, CapSet::Inheritable]
    {
        if at(step, caps::read(None, set))? != kept(confinement) {
            return Err(failed(step, "capabilities are not what was asked for"));
        }
    }
    Ok(())
}

/// Compares a `/proc/PID/status` with what was asked for.
fn check_status(status: &str, confinement: &Confinement) -> Result<(), String> {
    let field = |name: &str| {
        status
            .lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))
            .map(str::trim)
            .ok_or_else(|| format!("no {name} line"))
    };
    let expect = |name: &str, wanted: &str| {
        let found = field(name)?;
        let same = found.split_whitespace().eq(wanted.split_whitespace());
        if same { Ok(()) } else { Err(format!("{name} is {found}, not {wanted}")) }
    };
    expect("NoNewPrivs", "1")?;
    let Some(Identity { uid, gid }) = confinement.identity else { return Ok(()) };
    expect("Uid", &format!("{uid} {uid} {uid} {uid}"))?;
    expect("Gid", &format!("{gid} {gid} {gid} {gid}"))?;
    expect("Groups", "")?;
    let bits = kept(confinement).iter().fold(0_u64, |bits, capability| bits | capability.bitmask());
    let wanted = format!("{bits:016x}");
    for set in ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"] {
        expect(set, &wanted)?;
    }
    Ok(())
}

fn at<T, E: std::fmt::Display>(step: &'static str, result: Result<T, E>) -> Result<T, ConfineError> {
    result.map_err(|error| failed(step, error))
}

fn failed(step: &'static str, reason: impl std::fmt::Display) -> ConfineError {
    ConfineError { step, reason: reason.to_string() }
}

/// The path of an open file, for system calls that only take a path.
pub fn fd_path(fd: impl AsFd) -> String {
    format!("/proc/self/fd/{}", fd.as_fd().as_raw_fd())
}

#[cfg(test)]
mod tests;
