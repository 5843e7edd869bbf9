//! The one place with `unsafe`: system calls that no crate wraps, and what runs between a fork
//! and its exec.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::os::unix::process::CommandExt;
use std::process::Command;

use nix::sys::prctl;
use nix::sys::resource::{Resource, setrlimit};
use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, sigaction};
use nix::unistd::{getpid, getppid};

/// Ignores that signal, here and in what is started from here, until that handles it itself.
pub fn ignore(signal: Signal) -> io::Result<()> {
    let ignored = SigAction::new(SigHandler::SigIgn, SaFlags::empty(), SigSet::empty());
    // SAFETY: no handler is installed, so nothing runs in a signal's context.
    unsafe { sigaction(signal, &ignored) }?;
    Ok(())
}

/// Makes the child that `command` starts die with this process, whatever its parent's fate:
/// a program must not outlive the role that answers for it.
pub fn die_with_parent(command: &mut Command) {
    bound(command, None, None);
}

/// Takes every capability from the program that `command` runs under another uid.
pub fn without_capabilities(command: &mut Command) {
    // SAFETY: the closure makes one system call with plain integers; it is async-signal-safe.
    unsafe {
        command.pre_exec(|| {
            let (clear, no) = (libc::PR_CAP_AMBIENT_CLEAR_ALL, 0_u64);
            result(i64::from(libc::prctl(libc::PR_CAP_AMBIENT, clear, no, no, no))).map(drop)
        });
    }
}

/// The same as [`die_with_parent`]; and the child enters the Landlock domain `ruleset`, below ours, and may use so
/// much CPU time in seconds.
pub(super) fn bound(command: &mut Command, ruleset: Option<RawFd>, cpu: Option<(u64, u64)>) {
    let parent = getpid();
    let in_child = move || {
        prctl::set_pdeathsig(Signal::SIGKILL)?;
        if getppid() != parent {
            return Err(io::Error::from_raw_os_error(libc::ESRCH));
        }
        if let Some((soft, hard)) = cpu {
            setrlimit(Resource::RLIMIT_CPU, soft, hard)?;
        }
        ruleset.map_or(Ok(()), restrict_self)
    };
    // SAFETY: the closure runs between fork and exec and makes system calls only, all of them
    // async-signal-safe; it allocates nothing and takes no lock.
    unsafe { command.pre_exec(in_child) };
}

/// The hour of the local clock, 0 to 23, so many seconds after 1970; `None` where nobody can tell. Which
/// clock that is TZ or /etc/localtime says, as they were when this was first asked.
pub fn local_hour(seconds: i64) -> Option<u8> {
    let seconds = libc::time_t::try_from(seconds).ok()?;
    let mut local = std::mem::MaybeUninit::<libc::tm>::uninit();
    // SAFETY: both pointers are to memory of ours that outlives the call, which keeps neither of them. It
    // reads the environment, which no process of ours ever changes.
    let found = unsafe { libc::localtime_r(&raw const seconds, local.as_mut_ptr()) };
    if found.is_null() {
        return None;
    }
    // SAFETY: where it does not return null, the whole of it was written.
    let local = unsafe { local.assume_init() };
    u8::try_from(local.tm_hour).ok().filter(|hour| *hour < 24)
}

/// Enters the Landlock domain `ruleset`.
pub(super) fn restrict_self(ruleset: RawFd) -> io::Result<()> {
    // SAFETY: the arguments are plain integers; the call touches no memory of ours.
    result(unsafe { libc::syscall(libc::SYS_landlock_restrict_self, ruleset, 0) }).map(drop)
}

/// The version of the kernel's Landlock.
pub(super) fn landlock_version() -> io::Result<i64> {
    const VERSION: u32 = 1;
    let no_attributes = std::ptr::null::<u8>();
    // SAFETY: with this flag the kernel wants no attributes and reads none.
    result(unsafe { libc::syscall(libc::SYS_landlock_create_ruleset, no_attributes, 0_usize, VERSION) })
}

/// Whether seccomp knows an action.
pub(super) fn seccomp_action_available(action: u32) -> bool {
    const GET_ACTION_AVAIL: u32 = 2;
    // SAFETY: the kernel reads four bytes at the address of a live `u32`.
    result(unsafe { libc::syscall(libc::SYS_seccomp, GET_ACTION_AVAIL, 0, &raw const action) }).is_ok()
}

/// `ioprio_set(2)` for this process and what it starts.
pub(super) fn set_io_priority(value: i32) -> io::Result<()> {
    const PROCESS: i32 = 1;
    // SAFETY: the arguments are plain integers.
    result(unsafe { libc::syscall(libc::SYS_ioprio_set, PROCESS, 0, value) }).map(drop)
}

/// `getpriority(2)` of this process; 0 where it cannot be told.
pub(super) fn nice() -> i32 {
    // SAFETY: the arguments are plain integers.
    unsafe { libc::getpriority(libc::PRIO_PROCESS, 0) }.clamp(0, 19)
}

/// `setpriority(2)` for this process and what it starts.
pub(super) fn set_nice(value: i32) -> io::Result<()> {
    // SAFETY: the arguments are plain integers.
    result(i64::from(unsafe { libc::setpriority(libc::PRIO_PROCESS, 0, value) })).map(drop)
}

/// `PR_SET_SECUREBITS`.
pub(super) fn set_securebits(bits: u32) -> io::Result<()> {
    // SAFETY: the arguments are plain integers.
    result(i64::from(unsafe { libc::prctl(libc::PR_SET_SECUREBITS, libc::c_ulong::from(bits), 0, 0, 0) }))
        .map(drop)
}

/// `PR_GET_SECUREBITS`.
pub(super) fn securebits() -> io::Result<i64> {
    // SAFETY: the arguments are plain integers.
    result(i64::from(unsafe { libc::prctl(libc::PR_GET_SECUREBITS, 0, 0, 0, 0) }))
}

/// Closes all descriptors above `last_kept`.
pub(super) fn close_all_above(last_kept: i32) -> io::Result<()> {
    let first = u32::try_from(last_kept).unwrap_or(2).saturating_add(1);
    // SAFETY: called before this process has opened anything of its own, so no object holds a
    // descriptor that vanishes under it. The numbers are plain integers.
    result(unsafe { libc::syscall(libc::SYS_close_range, first, u32::MAX, 0_u32) }).map(drop)
}

/// Puts every signal back to its default action.
pub(super) fn default_dispositions() -> nix::Result<()> {
    let default = SigAction::new(SigHandler::SigDfl, SaFlags::empty(), SigSet::empty());
    for signal in Signal::iterator() {
        if signal != Signal::SIGKILL && signal != Signal::SIGSTOP {
            // SAFETY: the default action runs no code of ours.
            unsafe { sigaction(signal, &default)? };
        }
    }
    Ok(())
}

/// A handle as the kernel writes it (`struct file_handle`), with room for the longest.
#[repr(C)]
pub(super) struct RawHandle {
    /// How many of `bytes` count.
    pub(super) length: u32,
    pub(super) kind: i32,
    pub(super) bytes: [u8; MAX_HANDLE],
}

/// `MAX_HANDLE_SZ`: the longest handle, in bytes.
pub(super) const MAX_HANDLE: usize = 128;

/// `name_to_handle_at(2)` of an open file.
pub(super) fn handle(file: RawFd) -> io::Result<RawHandle> {
    let mut handle = RawHandle { length: 128, kind: 0, bytes: [0; MAX_HANDLE] };
    let (mut mount, name) = (0_i32, c"".as_ptr());
    // SAFETY: the name ends in NUL; the kernel writes into `handle`, whose size `length` says, and one
    // number into `mount`, and both are ours alone.
    let returned = unsafe {
        libc::syscall(
            libc::SYS_name_to_handle_at,
            file,
            name,
            &raw mut handle,
            &raw mut mount,
            libc::AT_EMPTY_PATH,
        )
    };
    result(returned).map(|_| handle)
}

/// The bytes of a filesystem's id, whose fields libc keeps to itself.
pub(super) fn id_bytes(id: libc::fsid_t) -> [u8; 8] {
    // SAFETY: it is two 32-bit numbers; any eight bytes are eight bytes.
    unsafe { std::mem::transmute(id) }
}

/// The number of an open ruleset, for [`bound`].
pub(super) fn number(ruleset: &OwnedFd) -> RawFd {
    ruleset.as_raw_fd()
}

/// One system call of an escape attempt, with the error that the kernel gives. Each argument must
/// be a number, no address at all, or the address of a live buffer that the kernel only reads;
/// and what the call does if it is allowed must not touch memory that this program uses.
pub(super) fn attempt_call(number: i64, args: [usize; 6]) -> nix::Result<usize> {
    let [first, second, third, fourth, fifth, sixth] = args;
    // SAFETY: the callers, all in `attempts`, keep to the above: nothing of ours is written,
    // unmapped or freed by the kernel. A call that is refused does nothing.
    let returned = unsafe { libc::syscall(number, first, second, third, fourth, fifth, sixth) };
    usize::try_from(returned).map_err(|_| nix::errno::Errno::last())
}

fn result(returned: i64) -> io::Result<i64> {
    if returned < 0 { Err(io::Error::last_os_error()) } else { Ok(returned) }
}
