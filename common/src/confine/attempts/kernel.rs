//! Parts of the kernel that no role needs, each with a history of holes.

use super::Barrier::{Everywhere, Sandbox};
use super::Group::Kernel;
use super::{Attempt, NO_FD, NOWHERE, address, signed, try_call, worst};

/// More than any list of segments or flags that the kernel takes.
const TOO_MUCH: usize = 0xffff;

pub(super) const ATTEMPTS: &[Attempt] = &[
    Attempt {
        name: "io-uring",
        what: "io_uring, past all filters",
        group: Kernel,
        barrier: Sandbox,
        act: |_| try_call(libc::SYS_io_uring_setup, [1, 0]),
    },
    Attempt {
        name: "bpf",
        what: "load BPF",
        group: Kernel,
        barrier: Everywhere,
        act: |_| try_call(libc::SYS_bpf, [0, 0, 0]),
    },
    Attempt {
        name: "keyctl",
        what: "look at the kernel's keys",
        group: Kernel,
        barrier: Everywhere,
        act: |_| try_call(libc::SYS_keyctl, [0, signed(-3), 0]),
    },
    Attempt {
        name: "add-key",
        what: "give the kernel a key",
        group: Kernel,
        barrier: Everywhere,
        act: |_| try_call(libc::SYS_add_key, [0, 0, 0, 0, 0]),
    },
    Attempt {
        name: "request-key",
        what: "have the kernel ask for a key",
        group: Kernel,
        barrier: Everywhere,
        act: |_| try_call(libc::SYS_request_key, [0, 0, 0, 0]),
    },
    Attempt {
        name: "userfaultfd",
        what: "answer page faults",
        group: Kernel,
        barrier: Everywhere,
        act: |_| try_call(libc::SYS_userfaultfd, [1]),
    },
    Attempt {
        name: "perf",
        what: "measure with perf",
        group: Kernel,
        barrier: Everywhere,
        act: |_| try_call(libc::SYS_perf_event_open, [0, 0, 0, NO_FD, 0]),
    },
    Attempt {
        name: "fanotify",
        what: "watch files with fanotify",
        group: Kernel,
        barrier: Sandbox,
        // FAN_REPORT_FID, which an ordinary user may have.
        act: |_| try_call(libc::SYS_fanotify_init, [0x200, 0]),
    },
    Attempt {
        name: "load-module",
        what: "load a kernel module",
        group: Kernel,
        barrier: Everywhere,
        act: |_| try_call(libc::SYS_finit_module, [NO_FD, 0, 0]),
    },
    Attempt {
        name: "load-module-from-memory",
        what: "load a kernel module from memory",
        group: Kernel,
        barrier: Everywhere,
        act: |_| try_call(libc::SYS_init_module, [0, 0, 0]),
    },
    Attempt {
        name: "remove-module",
        what: "remove a kernel module",
        group: Kernel,
        barrier: Everywhere,
        act: |_| try_call(libc::SYS_delete_module, [NOWHERE, 0]),
    },
    Attempt {
        name: "kexec",
        what: "start another kernel",
        group: Kernel,
        barrier: Everywhere,
        act: |_| try_call(libc::SYS_kexec_load, [0, TOO_MUCH, 0, TOO_MUCH]),
    },
    Attempt {
        name: "reboot",
        what: "reboot",
        group: Kernel,
        barrier: Everywhere,
        // Without its magic numbers.
        act: |_| try_call(libc::SYS_reboot, [0, 0, 0, 0]),
    },
    Attempt {
        name: "swap-on",
        what: "give the kernel swap space",
        group: Kernel,
        barrier: Everywhere,
        act: |_| try_call(libc::SYS_swapon, [NOWHERE, 0]),
    },
    Attempt {
        name: "swap-off",
        what: "take swap space away",
        group: Kernel,
        barrier: Everywhere,
        act: |_| try_call(libc::SYS_swapoff, [NOWHERE]),
    },
    Attempt {
        name: "set-time",
        what: "set the clock",
        group: Kernel,
        barrier: Everywhere,
        act: |_| try_call(libc::SYS_settimeofday, [0, 0]),
    },
    Attempt {
        name: "set-clock",
        what: "set the clock in another way",
        group: Kernel,
        barrier: Everywhere,
        act: |_| try_call(libc::SYS_clock_settime, [0, NOWHERE]),
    },
    Attempt {
        name: "host-name",
        what: "rename the host",
        group: Kernel,
        barrier: Everywhere,
        // A name that is longer than any.
        act: |_| try_call(libc::SYS_sethostname, [0, TOO_MUCH]),
    },
    Attempt {
        name: "domain-name",
        what: "set the host's domain",
        group: Kernel,
        barrier: Everywhere,
        act: |_| try_call(libc::SYS_setdomainname, [0, TOO_MUCH]),
    },
    Attempt {
        name: "accounting",
        what: "write process accounting to a file",
        group: Kernel,
        barrier: Sandbox,
        act: |_| try_call(libc::SYS_acct, [NOWHERE]),
    },
    Attempt {
        name: "quota",
        what: "change quotas",
        group: Kernel,
        barrier: Sandbox,
        act: |_| try_call(libc::SYS_quotactl, [TOO_MUCH, 0, 0, 0]),
    },
    Attempt {
        name: "kernel-log",
        what: "read the kernel's log",
        group: Kernel,
        barrier: Everywhere,
        // How large its buffer is.
        act: |_| try_call(libc::SYS_syslog, [10, 0, 0]),
    },
    Attempt {
        name: "type-for-others",
        what: "type into the terminal",
        group: Kernel,
        barrier: Sandbox,
        act: |_| try_call(libc::SYS_ioctl, [NO_FD, 0x5412, NOWHERE]),
    },
    Attempt {
        name: "secret-memory",
        what: "make memory that the kernel itself does not see",
        group: Kernel,
        barrier: Sandbox,
        act: |_| try_call(libc::SYS_memfd_secret, [TOO_MUCH]),
    },
    Attempt {
        name: "shared-memory",
        what: "System V messages and semaphores",
        group: Kernel,
        barrier: Sandbox,
        act: |_| {
            worst([
                try_call(libc::SYS_msgget, [0, 0]),
                try_call(libc::SYS_semget, [0, 0, 0]),
                try_call(libc::SYS_shmget, [0, 0, 0]),
                try_call(libc::SYS_mq_open, [address(c"sersync-attempt"), 0]),
            ])
        },
    },
    #[cfg(target_arch = "x86_64")]
    Attempt {
        name: "ports",
        what: "reach the machine's I/O ports",
        group: Kernel,
        barrier: Everywhere,
        act: |_| try_call(libc::SYS_ioperm, [0, 0, 0]),
    },
    #[cfg(target_arch = "x86_64")]
    Attempt {
        name: "privilege-level",
        what: "raise the processor's I/O privilege level",
        group: Kernel,
        barrier: Everywhere,
        act: |_| try_call(libc::SYS_iopl, [TOO_MUCH]),
    },
    #[cfg(target_arch = "x86_64")]
    Attempt {
        name: "segments",
        what: "change the segments of its memory",
        group: Kernel,
        barrier: Everywhere,
        act: |_| try_call(libc::SYS_modify_ldt, [TOO_MUCH, 0, 0]),
    },
    #[cfg(target_arch = "x86_64")]
    Attempt {
        name: "other-numbers",
        what: "make system calls under other numbers (x32)",
        group: Kernel,
        barrier: Sandbox,
        act: |_| try_call(X32 | libc::SYS_getpid, [0]),
    },
];

/// The bit that marks a call of the x32 interface.
#[cfg(target_arch = "x86_64")]
const X32: i64 = 0x4000_0000;
