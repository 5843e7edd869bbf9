//! Other processes: reading them, steering them, ending them.

use nix::errno::Errno;
use nix::sys::signal::kill;
use nix::unistd::Pid;

use super::Barrier::{Everywhere, Sandbox, SandboxOrUid};
use super::Group::Processes;
use super::{Attempt, EVERYBODY, NO_FD, Targets, Verdict, address, call, outcome, signed, try_call, worst};

/// `PTRACE_SEIZE`: unlike ATTACH it does not stop anybody, and ends with whoever did it.
const SEIZE: usize = 0x4206;

pub(super) const ATTEMPTS: &[Attempt] = &[
    Attempt {
        name: "ptrace-supervisor",
        what: "trace the supervisor",
        group: Processes,
        barrier: Everywhere,
        act: |targets| seize(targets.supervisor),
    },
    Attempt {
        name: "ptrace-roles",
        what: "trace another role",
        group: Processes,
        barrier: Everywhere,
        act: |targets| worst(targets.others.iter().map(|&pid| seize(pid))),
    },
    Attempt {
        name: "ptrace-attach",
        what: "attach to a process as a debugger",
        group: Processes,
        barrier: Everywhere,
        // There is no process 0.
        act: |_| try_call(libc::SYS_ptrace, [16, 0]),
    },
    Attempt {
        name: "read-memory",
        what: "read another process's memory",
        group: Processes,
        barrier: Everywhere,
        act: |targets| on_each(targets, |pid| try_call(libc::SYS_process_vm_readv, [pid])),
    },
    Attempt {
        name: "write-memory",
        what: "write another process's memory",
        group: Processes,
        barrier: Everywhere,
        act: |targets| on_each(targets, |pid| try_call(libc::SYS_process_vm_writev, [pid])),
    },
    Attempt {
        name: "take-descriptor",
        what: "take a descriptor out of another process",
        group: Processes,
        barrier: Everywhere,
        act: |_| try_call(libc::SYS_pidfd_getfd, [NO_FD]),
    },
    Attempt {
        name: "take-supervisors-descriptor",
        what: "take standard error from the supervisor",
        group: Processes,
        barrier: SandboxOrUid,
        act: |targets| {
            let open = call(libc::SYS_pidfd_open, [signed(targets.supervisor), 0]);
            outcome(open.and_then(|fd| call(libc::SYS_pidfd_getfd, [fd, 2, 0])))
        },
    },
    Attempt {
        name: "signal-supervisor",
        what: "signal the supervisor",
        group: Processes,
        barrier: SandboxOrUid,
        act: |targets| worst([0, EVERYBODY].map(|signal| send(targets.supervisor, signal))),
    },
    Attempt {
        name: "signal-roles",
        what: "signal another role",
        group: Processes,
        barrier: SandboxOrUid,
        act: |targets| worst(targets.others.iter().map(|&pid| send(pid, 0))),
    },
    Attempt {
        name: "signal-thread",
        what: "signal a thread of the supervisor, or queue a signal",
        group: Processes,
        barrier: SandboxOrUid,
        act: |targets| {
            let pid = signed(targets.supervisor);
            let information = [0_u8; 128];
            let queue = [pid, 0, address(&information)];
            worst([
                try_call(libc::SYS_tkill, [pid, 0]),
                try_call(libc::SYS_tgkill, [pid, pid, 0]),
                try_call(libc::SYS_rt_sigqueueinfo, queue),
            ])
        },
    },
    Attempt {
        name: "signal-by-descriptor",
        what: "signal the supervisor through a pidfd",
        group: Processes,
        barrier: SandboxOrUid,
        act: |targets| {
            let open = call(libc::SYS_pidfd_open, [signed(targets.supervisor), 0]);
            outcome(open.and_then(|fd| call(libc::SYS_pidfd_send_signal, [fd, 0, 0, 0])))
        },
    },
    Attempt {
        name: "signal-everybody",
        what: "signal every process at once",
        group: Processes,
        barrier: SandboxOrUid,
        // The kernel answers with success even if it was refused for each of them.
        act: |_| match call(libc::SYS_kill, [signed(-1), signed(EVERYBODY)]) {
            Ok(_) | Err(Errno::ESRCH) => Verdict::SeeVictims,
            Err(error) => super::judge(error),
        },
    },
    Attempt {
        name: "limit-supervisor",
        what: "read or set the supervisor's limits",
        group: Processes,
        barrier: SandboxOrUid,
        act: |targets| try_call(libc::SYS_prlimit64, [signed(targets.supervisor), 0, 0, 0]),
    },
    Attempt {
        name: "compare-processes",
        what: "compare what two processes have open",
        group: Processes,
        barrier: Sandbox,
        act: |targets| {
            let pid = signed(targets.supervisor);
            try_call(libc::SYS_kcmp, [pid, pid, 0, 0, 0])
        },
    },
];

fn seize(pid: i32) -> Verdict {
    try_call(libc::SYS_ptrace, [SEIZE, signed(pid), 0, 0])
}

fn send(pid: i32, signal: i32) -> Verdict {
    // Signal 0 is no member of nix's list.
    let known = nix::sys::signal::Signal::try_from(signal).ok();
    outcome(kill(Pid::from_raw(pid), known))
}

fn on_each(targets: &Targets, act: impl Fn(usize) -> Verdict) -> Verdict {
    worst(targets.others.iter().chain([&targets.supervisor]).map(|&pid| act(signed(pid))))
}
