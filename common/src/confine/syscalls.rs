//! Step 11: seccomp. What each role may ask of the kernel is in the tables below this page;
//! here they become filters, are installed, and are tried.
//!
//! A role has two filters. What only an intruder calls ends the process; what is merely not on
//! its list is answered with ENOSYS, upon which libc and programs take another way. An
//! operator's program has a list of what is refused instead. Everything that a process starts
//! inherits its filters, and none of them can be taken off.
//!
//! | module | what it holds |
//! |---|---|
//! | `table` | how a table is written |
//! | `allowed` | what the roles may call, group by group |
//! | `hostile` | what nobody of ours calls |

use std::collections::BTreeMap;

use nix::errno::Errno;
use nix::sys::socket::{AddressFamily, SockFlag, SockType, socket};
use nix::unistd::{chroot, execve, unlink};
use seccompiler::{
    BpfProgram, SeccompAction, SeccompFilter, SeccompRule, TargetArch, apply_filter, sock_filter,
};

use super::spec::{Demand, Syscalls};
use super::{ConfineError, Kernel, at, failed};
use table::Group;

mod allowed;
mod hostile;
mod table;

const STEP: &str = "11 seccomp";
const PROOF: &str = "12 proof";

/// Leaves this process, and what it starts, only these calls. The process must have one thread
/// and `no_new_privs`.
pub(super) fn install(list: Syscalls, demand: Demand, kernel: Kernel) -> Result<(), ConfineError> {
    if !kernel.seccomp {
        return match demand {
            Demand::Required => Err(failed(STEP, kernel.missing().join("; "))),
            Demand::BestEffort => Ok(()),
        };
    }
    for program in at(STEP, programs(list))? {
        at(STEP, apply_filter(&program))?;
    }
    Ok(())
}

/// What is not on the list must be closed. Each call would fail without a filter too, or do no
/// harm; only the filter fails it with just this error.
pub(super) fn prove(list: Syscalls, kernel: Kernel) -> Result<(), ConfineError> {
    if !kernel.seccomp {
        return Ok(());
    }
    let refused = |what: &'static str, wanted: Errno, answer: nix::Result<()>| match answer {
        Err(error) if error == wanted => Ok(()),
        Err(error) => Err(failed(PROOF, format!("{what} is answered with {error}, not with {wanted}"))),
        Ok(()) => Err(failed(PROOF, format!("{what} is not refused"))),
    };
    let opened = |family, kind| socket(family, kind, SockFlag::SOCK_CLOEXEC, None).map(drop);
    if list == Syscalls::Command {
        return refused("chroot", Errno::EPERM, chroot(c""));
    }
    refused("a local socket", Errno::ENOSYS, opened(AddressFamily::Unix, SockType::Datagram))?;
    refused("UDP", Errno::ENOSYS, opened(AddressFamily::Inet, SockType::Datagram))?;
    refused("removing a file", Errno::ENOSYS, unlink(c""))?;
    match list {
        Syscalls::Watcher | Syscalls::MarkedWatcher | Syscalls::Keeper | Syscalls::Page => {
            refused("TCP", Errno::ENOSYS, opened(AddressFamily::Inet, SockType::Stream))?;
            refused("a program", Errno::ENOSYS, run_nothing())
        }
        Syscalls::Plugin => refused("a program", Errno::ENOSYS, run_nothing()),
        Syscalls::Syncer | Syscalls::Command => Ok(()),
    }
}

fn run_nothing() -> nix::Result<()> {
    execve::<&std::ffi::CStr, &std::ffi::CStr>(c"", &[], &[]).map(|never| match never {})
}

/// The filters of a list, in the order in which they are installed: the last one may refuse the
/// calls that install a filter. The kernel asks all of them and takes the severest answer.
fn programs(list: Syscalls) -> Result<Vec<BpfProgram>, seccompiler::BackendError> {
    let kill = || compile(hostile::OF_ROLES, SeccompAction::Allow, SeccompAction::KillProcess);
    let allow = |groups| compile(groups, answer(Errno::ENOSYS), SeccompAction::Allow);
    match list {
        Syscalls::Watcher => Ok(vec![kill()?, allow(allowed::WATCHER)?]),
        Syscalls::MarkedWatcher => Ok(vec![kill()?, allow(allowed::MARKED_WATCHER)?]),
        Syscalls::Syncer => Ok(vec![kill()?, allow(allowed::SYNCER)?]),
        Syscalls::Plugin => Ok(vec![kill()?, allow(allowed::PLUGIN)?]),
        Syscalls::Keeper => Ok(vec![kill()?, allow(allowed::KEEPER)?]),
        Syscalls::Page => Ok(vec![kill()?, allow(allowed::PAGE)?]),
        Syscalls::Command => Ok(vec![
            compile(hostile::OF_COMMANDS, SeccompAction::Allow, answer(Errno::EPERM))?,
            compile(hostile::UNREADABLE, SeccompAction::Allow, answer(Errno::ENOSYS))?,
        ]),
    }
}

fn answer(error: Errno) -> SeccompAction {
    SeccompAction::Errno((error as i32).unsigned_abs())
}

/// One filter. A process of another architecture, whose numbers mean other calls, is killed by
/// the check that the crate puts first.
fn compile(
    groups: &[Group],
    otherwise: SeccompAction,
    listed: SeccompAction,
) -> Result<BpfProgram, seccompiler::BackendError> {
    let target = TargetArch::try_from(std::env::consts::ARCH)?;
    let filter: BpfProgram = SeccompFilter::new(rules(groups)?, otherwise, listed, target)?.try_into()?;
    let mut program = foreign_numbers_refused();
    program.extend(filter);
    Ok(program)
}

/// x86-64 processes can make the calls of x32, whose numbers are the same with this bit set: a
/// list of what is refused would not know them. There is no such call elsewhere.
fn foreign_numbers_refused() -> BpfProgram {
    const X32: u32 = 0x4000_0000;
    const NUMBER: u32 = 0;
    let instruction =
        |code: u32, jf, k| u16::try_from(code).ok().map(|code| sock_filter { code, jt: 0, jf, k });
    let refusal = u32::from(answer(Errno::ENOSYS));
    [
        instruction(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, NUMBER),
        instruction(libc::BPF_JMP | libc::BPF_JGE | libc::BPF_K, 1, X32),
        instruction(libc::BPF_RET | libc::BPF_K, 0, refusal),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// What a filter says of each number. A call of several groups is listed under the cases of
/// each; no cases is any arguments.
fn rules(groups: &[Group]) -> Result<BTreeMap<i64, Vec<SeccompRule>>, seccompiler::BackendError> {
    let mut rules: BTreeMap<i64, Vec<SeccompRule>> = BTreeMap::new();
    for group in groups {
        match group {
            Group::Any(numbers) => rules.extend(numbers.iter().map(|&number| (number, Vec::new()))),
            Group::If(calls) => {
                for call in *calls {
                    let cases = rules.entry(call.number).or_default();
                    for case in call.cases {
                        cases.push(table::rule(case)?);
                    }
                }
            }
        }
    }
    Ok(rules)
}

#[cfg(test)]
mod tests;
