//! BOUNDARY: the numbered list that makes a process powerless, and the proof that it did.
//!
//! The only module that changes credentials, capabilities or limits, and in `raw` the only one
//! with `unsafe`. [`start_clean`] is a role's very first act; [`enter`] comes after it was told
//! what it may keep and before it reads anything that others wrote (invariant I2). The supervisor
//! then looks for itself with [`check_from_outside`], and lowers itself with [`lower`].
//!
//! | module | what it holds |
//! |---|---|
//! | `spec` | what a role may keep, as data |
//! | `kernel` | what this kernel can refuse |
//! | `limits` | step 3 |
//! | `credentials` | steps 5 to 7: who a process is, and its capabilities |
//! | `files` | step 9: Landlock |
//! | `marks` | what only `CAP_SYS_ADMIN` can ask for, before it is given up |
//! | `roots` | the way to a watched directory |
//! | `syscalls` | step 11: seccomp, and its lists |
//! | `confined` | what a confined process needs to start programs below itself |
//! | `attempts` | what an intruder would try, for the proof that it fails |
//! | `lowered` | the supervisor's own steps |
//! | `raw` | system calls that no crate wraps |

pub mod attempts;
mod confined;
mod credentials;
mod files;
mod kernel;
mod limits;
mod lowered;
mod marks;
mod raw;
mod roots;
mod spec;
mod syscalls;

use std::io;
use std::os::fd::{AsFd, AsRawFd};

use nix::fcntl::{FcntlArg, FdFlag, OFlag, fcntl, open};
use nix::sys::prctl;
use nix::sys::signal::{SigSet, SigmaskHow, Signal, sigprocmask};
use nix::sys::stat::{Mode, umask};
use nix::unistd::{Pid, chdir, getppid};
use thiserror::Error;

pub use confined::Confined;
pub use kernel::Kernel;
pub use lowered::{Footing, Lowering, keep_only_kill, lower, with_files_of};
pub use marks::{Handle, MarkError, Marked, handle, mark};
pub use raw::{die_with_parent, ignore, local_hour, without_capabilities};
pub use spec::{Access, Confinement, Demand, Domain, FileRule, Identity, IoPriority, Limits, Syscalls};

/// Value of `RES_OPTIONS` for all roles and what they start: the C library asks name servers over
/// TCP, since no role may send UDP.
pub const RESOLVER_OPTIONS: &str = "use-vc";

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
    at("0 signals", raw::default_dispositions())?;
    at("0 signals", sigprocmask(SigmaskHow::SIG_SETMASK, Some(&SigSet::empty()), None))?;
    // 1. Nothing but 0, 1 and 2: a stray end of a pipe would keep its reader waiting for ever.
    at("1 descriptors", raw::close_all_above(2))?;
    // 2. No group or world bits on anything; no directory that an unmount would wait for.
    umask(Mode::from_bits_truncate(0o077));
    at("2 directory", chdir("/"))
}

/// Steps 3 to 12. After this the process is what `confinement` says, or an error is returned
/// and it must exit.
pub fn enter(confinement: &Confinement) -> Result<Confined, ConfineError> {
    // 3. Limits first: later steps may take away the right to set them.
    limits::set(confinement)?;
    // 4. Nothing is opened ahead: each role reads with its own rights, or not at all. (But for `marks`,
    //    which tell of names and open nothing.)
    // 5. The bounding set goes and the securebits come while SETPCAP is still there.
    // 6. Groups before uid: afterwards there is no right to change them.
    // 7. Exactly these capabilities, in all sets; ambient, so that rsync has them after its exec.
    credentials::take_on(confinement.identity, confinement.read_all)?;
    // 8. No exec gains anything any more, set-uid programs included.
    at("8 no_new_privs", prctl::set_no_new_privs())?;
    // 9. Files, TCP ports and signals beyond what the role is for are out of reach, whatever its
    //    uid and capabilities say.
    let kernel = Kernel::probe();
    let confined = files::restrict(confinement, kernel)?;
    // 10. No core dump, no ptrace by a sibling; and when the supervisor dies, so do we. After
    //     step 6, since the kernel forgets the death signal when credentials change; then
    //     look whether the supervisor died before it was set.
    at("10 dumpable", prctl::set_dumpable(false))?;
    at("10 death signal", prctl::set_pdeathsig(Signal::SIGKILL))?;
    if getppid() != Pid::from_raw(confinement.supervisor) {
        return Err(failed("10 parent", "the supervisor is gone"));
    }
    // 12. Prove it, before step 11 hides whether the steps hold by themselves.
    credentials::prove(confinement.identity, confinement.read_all)?;
    files::prove(confinement, kernel)?;
    // 11. Last, since the steps before need calls that no role does: what Landlock does not
    //     know (UDP, MPTCP, namespaces, io_uring) and what no role needs.
    if let Some(syscalls) = confinement.syscalls {
        syscalls::install(syscalls, confinement.demand, kernel)?;
        syscalls::prove(syscalls, kernel)?;
    }
    Ok(confined)
}

/// What the supervisor reads in `/proc/PID/status` before it gives a role work.
pub fn check_from_outside(pid: i32, confinement: &Confinement) -> Result<(), ConfineError> {
    let status = at("12 status", std::fs::read_to_string(format!("/proc/{pid}/status")))?;
    check_status(&status, confinement, Kernel::probe()).map_err(|reason| failed("12 status", reason))
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

/// The path of an open file, for system calls that only take a path.
pub fn fd_path(fd: impl AsFd) -> String {
    format!("/proc/self/fd/{}", fd.as_fd().as_raw_fd())
}

/// Compares a `/proc/PID/status` with what was asked for. Landlock does not show there.
fn check_status(status: &str, confinement: &Confinement, kernel: Kernel) -> Result<(), String> {
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
    if confinement.syscalls.is_some() && kernel.seccomp {
        expect("Seccomp", "2")?;
    }
    let bits = credentials::kept(confinement.read_all).iter().fold(0_u64, |bits, kept| bits | kept.bitmask());
    let wanted = format!("{bits:016x}");
    for set in ["CapInh", "CapPrm", "CapEff", "CapAmb"] {
        expect(set, &wanted)?;
    }
    let Some(Identity { uid, gid }) = confinement.identity else { return Ok(()) };
    expect("Uid", &format!("{uid} {uid} {uid} {uid}"))?;
    expect("Gid", &format!("{gid} {gid} {gid} {gid}"))?;
    expect("Groups", "")?;
    expect("CapBnd", &wanted)
}

fn at<T, E: std::fmt::Display>(step: &'static str, result: Result<T, E>) -> Result<T, ConfineError> {
    result.map_err(|error| failed(step, error))
}

fn failed(step: &'static str, reason: impl std::fmt::Display) -> ConfineError {
    ConfineError { step, reason: reason.to_string() }
}

#[cfg(test)]
mod tests;
