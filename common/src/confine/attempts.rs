//! Escape attempts: what a confined process must not be able to do, as data. `doctor` and the
//! escape tests run them inside each role.
//!
//! Every attempt is harmless where it is allowed: it changes nothing, is undone at once, or
//! only touches the stand-ins that [`Targets`] names. A call that must be filtered is made with
//! arguments that the kernel would refuse otherwise (EFAULT, EINVAL, EBADF): those answers mean
//! that it came through. A call of the kill list ends the process with SIGSYS; whoever started
//! it counts that as refused.

mod kernel;
mod network;
mod privileges;
mod processes;
mod programs;
mod reading;
mod writing;

use std::ffi::{OsStr, OsString};
use std::io;

use nix::errno::Errno;
use serde::{Deserialize, Serialize};

use super::raw;

/// One attempt.
#[derive(Debug)]
pub struct Attempt {
    /// Unique; stable, for scripts and tests.
    pub name: &'static str,
    /// For people.
    pub what: &'static str,
    /// What it is about.
    pub group: Group,
    /// What is in its way, and so where it must be refused.
    pub barrier: Barrier,
    act: fn(&Targets) -> Verdict,
}

/// What an attempt is about: a line of the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Group {
    /// Opening what is none of its business.
    Reading,
    /// Changing anything on any disk.
    Writing,
    /// Speaking to anybody else.
    Network,
    /// Other processes.
    Processes,
    /// Becoming more than it is.
    Privileges,
    /// Other programs, and code of its own making.
    Programs,
    /// Parts of the kernel that no role needs.
    Kernel,
}

impl Group {
    /// All of them, in the order shown to people.
    pub const ALL: [Group; 7] = [
        Group::Reading,
        Group::Writing,
        Group::Network,
        Group::Processes,
        Group::Privileges,
        Group::Programs,
        Group::Kernel,
    ];

    /// Its name for people.
    pub fn as_str(self) -> &'static str {
        match self {
            Group::Reading => "reading",
            Group::Writing => "writing",
            Group::Network => "network",
            Group::Processes => "processes",
            Group::Privileges => "privileges",
            Group::Programs => "programs",
            Group::Kernel => "kernel",
        }
    }
}

/// Inside what an attempt is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Area {
    /// The watcher.
    Watcher,
    /// A syncer.
    Syncer,
    /// rsync or ssh, in their domain below the syncer's.
    Program,
    /// The keeper of the state file.
    Keeper,
    /// Who serves the page.
    Page,
    /// The plugins socket, http and refreshCDN.
    Plugin,
    /// An operator's program, started by the plugin command.
    Command,
}

/// Whether a process has a uid that nobody else has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Uid {
    /// It has.
    Own,
    /// It is the supervisor's: an ordinary user cannot give others away.
    Shared,
}

/// What is in the way of an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Barrier {
    /// Landlock, and the list of calls that a role may make: every role of ours.
    Sandbox,
    /// The same; and for an operator's program its uid, where it has its own.
    SandboxOrUid,
    /// The list of calls that only an intruder makes: everybody.
    Everywhere,
    /// Only syncers read files, or run programs.
    NotSyncer,
    /// Only the watcher has inotify, whose watches Landlock does not bound.
    NotWatcher,
    /// The watcher, the keeper and the page connect to nobody, and so make no socket at all.
    Socketless,
    /// The keeper and the page open nothing, whatever it is.
    Closed,
    /// Nothing: a residual risk, told openly.
    Nothing,
}

/// What must become of an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expected {
    /// It is refused.
    Refused,
    /// It is known to come through.
    Residual,
    /// It is what the process is there for.
    Permitted,
}

impl Attempt {
    /// What must become of it.
    pub fn expected(&self, area: Area, uid: Uid) -> Expected {
        let refused_if = |barred| if barred { Expected::Refused } else { Expected::Permitted };
        match self.barrier {
            Barrier::Everywhere => Expected::Refused,
            Barrier::Sandbox => refused_if(area != Area::Command),
            Barrier::SandboxOrUid => refused_if(area != Area::Command || uid == Uid::Own),
            Barrier::NotSyncer => {
                refused_if(matches!(area, Area::Watcher | Area::Keeper | Area::Page | Area::Plugin))
            }
            Barrier::Socketless => refused_if(matches!(area, Area::Watcher | Area::Keeper | Area::Page)),
            Barrier::Closed => refused_if(matches!(area, Area::Keeper | Area::Page)),
            Barrier::NotWatcher if area == Area::Watcher => Expected::Residual,
            Barrier::NotWatcher => refused_if(area != Area::Command),
            Barrier::Nothing => Expected::Residual,
        }
    }
}

/// Whom and what the attempts are aimed at. All paths are absolute.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Targets {
    /// The process that started the role.
    pub supervisor: i32,
    /// Other roles. They hold [`EVERYBODY`] blocked: what reaches them stays visible.
    pub others: Vec<i32>,
    /// A stand-in for the role's own root, which it may list, and read where the role may: with
    /// the entries that [`stand_in`] names. World-writable, the role's own where that can be.
    pub own_root: OsString,
    /// The real roots. Nothing but a file without a name is ever made there.
    pub watched: Vec<OsString>,
    /// A file of another root; everybody may read it but for the sandbox.
    pub other_file: OsString,
    /// Another role's secret, readable by its owner only.
    pub secret: OsString,
    /// A TCP port of 127.0.0.1 on which somebody listens, and that is not the role's.
    pub port: u16,
    /// A unix socket on which somebody listens.
    pub unix: OsString,
    /// The name of an abstract one.
    pub abstract_name: String,
}

/// The signal that is sent to every process: ignored by default.
pub const EVERYBODY: i32 = libc::SIGWINCH;

/// What stands in [`Targets::own_root`].
pub mod stand_in {
    /// A file of mode 0666.
    pub const FILE: &str = "file";
    /// Another one, to be removed.
    pub const SPARE: &str = "spare";
    /// An empty directory.
    pub const EMPTY: &str = "empty";
    /// A symbolic link to [`Targets::other_file`](super::Targets::other_file).
    pub const LINK: &str = "link";
    /// A directory that becomes a link to that file's directory once the role is confined.
    pub const SWAPPED: &str = "swapped";
}

/// How an attempt went.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Verdict {
    /// It was refused: with this error, or signal.
    Refused(String),
    /// It came through: this is what was seen.
    Allowed(String),
    /// It cannot be told from here: whether the [`others`](Targets::others) have [`EVERYBODY`] pending says it.
    SeeVictims,
    /// It means nothing here, and why.
    NotApplicable(String),
}

/// All attempts, in the order in which they are best made.
pub fn all() -> impl Iterator<Item = &'static Attempt> {
    [
        reading::ATTEMPTS,
        writing::ATTEMPTS,
        network::ATTEMPTS,
        processes::ATTEMPTS,
        programs::ATTEMPTS,
        privileges::ATTEMPTS,
        kernel::ATTEMPTS,
    ]
    .into_iter()
    .flatten()
}

/// The attempt of that name.
pub fn find(name: &str) -> Option<&'static Attempt> {
    all().find(|attempt| attempt.name == name)
}

/// Makes an attempt, in this very process. After one that is allowed the process may be other than
/// it was: further ones are better made in a fresh one.
pub fn run(attempt: &Attempt, targets: &Targets) -> Verdict {
    (attempt.act)(targets)
}

/// What an error means: refused, or looked at and only then found wrong.
fn judge(error: Errno) -> Verdict {
    match error {
        Errno::EPERM
        | Errno::EACCES
        | Errno::ENOSYS
        | Errno::EROFS
        | Errno::EAFNOSUPPORT
        | Errno::EPROTONOSUPPORT
        | Errno::ESOCKTNOSUPPORT => Verdict::Refused(format!("{error:?}")),
        _ => Verdict::Allowed(format!("not refused, but {error:?}")),
    }
}

/// The same for what should have done something.
#[expect(clippy::needless_pass_by_value, reason = "the end of a chain of calls")]
fn outcome<T>(result: nix::Result<T>) -> Verdict {
    match result {
        Ok(_) => Verdict::Allowed("it was done".to_owned()),
        Err(error) => judge(error),
    }
}

/// The same for what the standard library did. What is not there cannot be tried.
fn io_outcome<T>(result: io::Result<T>) -> Verdict {
    match result.map_err(|error| error.raw_os_error().map(Errno::from_raw)) {
        Ok(_) => Verdict::Allowed("it was done".to_owned()),
        Err(Some(Errno::ENOENT)) => Verdict::NotApplicable("there is nothing".to_owned()),
        Err(Some(error)) => judge(error),
        Err(None) => Verdict::Allowed("not refused, but without an answer".to_owned()),
    }
}

/// The first that is allowed, or the last of all.
fn worst(verdicts: impl IntoIterator<Item = Verdict>) -> Verdict {
    let mut worst = Verdict::NotApplicable("there is nobody to try it on".to_owned());
    for verdict in verdicts {
        match (&worst, &verdict) {
            (_, Verdict::Allowed(_)) => return verdict,
            (Verdict::Refused(_), Verdict::NotApplicable(_)) => {}
            (_, Verdict::Refused(_) | Verdict::SeeVictims | Verdict::NotApplicable(_)) => worst = verdict,
        }
    }
    worst
}

/// A system call with these first arguments and zeros behind them.
fn call<const N: usize>(number: i64, first: [usize; N]) -> nix::Result<usize> {
    let mut args = [0; 6];
    for (arg, value) in args.iter_mut().zip(first) {
        *arg = value;
    }
    raw::attempt_call(number, args)
}

/// The same, judged.
fn try_call<const N: usize>(number: i64, first: [usize; N]) -> Verdict {
    outcome(call(number, first))
}

/// The address of bytes that end with a NUL, or of any other live buffer that is only read.
fn address<T: ?Sized>(buffer: &T) -> usize {
    std::ptr::from_ref(buffer).cast::<u8>().addr()
}

/// A pid, or -1, as an argument.
fn signed(number: i32) -> usize {
    usize::from_ne_bytes(i64::from(number).to_ne_bytes())
}

/// An address that is never mapped.
const NOWHERE: usize = 1;
/// The descriptor that nobody has.
const NO_FD: usize = usize::MAX;

fn below(directory: &OsStr, name: &str) -> std::path::PathBuf {
    std::path::Path::new(directory).join(name)
}

#[cfg(test)]
mod tests;
