//! What nobody of ours calls: a role that does is killed, an operator's program is refused.
//!
//! A call belongs here only if no library calls it on its own account: what libraries merely try
//! (`clone3`, `memfd_create`, `name_to_handle_at`, `personality`) is left off the roles' lists
//! instead, and so answered with ENOSYS.

use libc::{
    CLONE_NEWCGROUP, CLONE_NEWIPC, CLONE_NEWNET, CLONE_NEWNS, CLONE_NEWPID, CLONE_NEWUSER, CLONE_NEWUTS,
};

use super::table::{Group, bits, call};

/// Kills a role.
pub(super) const OF_ROLES: &[Group] =
    &[OTHERS, KERNEL, MOUNTS, NAMESPACES, HANDLES, HOST, KEYS, PORTS, NOT_FOR_ROLES];

/// Refused to an operator's program, and so to the supervisor and all that it starts. Besides,
/// the roles' own filters are made below this one: seccomp, prctl, Landlock, and what changes
/// credentials must stay off it.
pub(super) const OF_COMMANDS: &[Group] =
    &[OTHERS, KERNEL, MOUNTS, NAMESPACES, HANDLES, HOST, KEYS, PORTS, CLONED_NAMESPACES];

/// Answered with ENOSYS for an operator's program: clone3 has its flags in memory, where no
/// filter can read them. With any other error than this one libc would not fall back to clone.
pub(super) const UNREADABLE: &[Group] = &[Group::Any(&[libc::SYS_clone3])];

/// Other processes: their memory, their descriptors.
const OTHERS: Group = Group::Any(&[
    libc::SYS_ptrace,
    libc::SYS_process_vm_readv,
    libc::SYS_process_vm_writev,
    libc::SYS_pidfd_getfd,
]);

/// Ways into the kernel: code of one's own there, and interfaces known for their holes.
const KERNEL: Group = Group::Any(&[
    libc::SYS_bpf,
    libc::SYS_kexec_load,
    libc::SYS_kexec_file_load,
    libc::SYS_init_module,
    libc::SYS_finit_module,
    libc::SYS_delete_module,
    libc::SYS_perf_event_open,
    libc::SYS_userfaultfd,
    libc::SYS_syslog,
]);

/// Another view of the file system: what Landlock and the paths of our tables rest on.
const MOUNTS: Group = Group::Any(&[
    libc::SYS_mount,
    libc::SYS_umount2,
    libc::SYS_pivot_root,
    libc::SYS_chroot,
    libc::SYS_open_tree,
    libc::SYS_move_mount,
    libc::SYS_fsopen,
    libc::SYS_fsconfig,
    libc::SYS_fsmount,
    libc::SYS_fspick,
    libc::SYS_mount_setattr,
]);

/// Namespaces: in one of its own a user has every capability, and so every hole of the kernel.
const NAMESPACES: Group = Group::Any(&[libc::SYS_unshare, libc::SYS_setns]);

/// The same by clone, which is also every fork and thread. To a role it is not allowed either.
const CLONED_NAMESPACES: Group = Group::If(&[call(
    libc::SYS_clone,
    &[
        &[bits(0, CLONE_NEWNS, CLONE_NEWNS)],
        &[bits(0, CLONE_NEWCGROUP, CLONE_NEWCGROUP)],
        &[bits(0, CLONE_NEWUTS, CLONE_NEWUTS)],
        &[bits(0, CLONE_NEWIPC, CLONE_NEWIPC)],
        &[bits(0, CLONE_NEWUSER, CLONE_NEWUSER)],
        &[bits(0, CLONE_NEWPID, CLONE_NEWPID)],
        &[bits(0, CLONE_NEWNET, CLONE_NEWNET)],
    ],
)]);

/// With `CAP_DAC_READ_SEARCH` any file of the file system can be opened by a guessed handle.
const HANDLES: Group = Group::Any(&[libc::SYS_open_by_handle_at]);

/// The host: its power, its names, its clock.
const HOST: Group = Group::Any(&[
    libc::SYS_reboot,
    libc::SYS_swapon,
    libc::SYS_swapoff,
    libc::SYS_sethostname,
    libc::SYS_setdomainname,
    libc::SYS_settimeofday,
    libc::SYS_clock_settime,
]);

/// The kernel's key rings, which know no sandbox. ssh asks for them only with Kerberos, which
/// its command line (`-F none`) leaves off.
const KEYS: Group = Group::Any(&[libc::SYS_add_key, libc::SYS_request_key, libc::SYS_keyctl]);

/// The machine itself; x86 only.
#[cfg(target_arch = "x86_64")]
const PORTS: Group = Group::Any(&[libc::SYS_iopl, libc::SYS_ioperm, libc::SYS_modify_ldt]);
#[cfg(not(target_arch = "x86_64"))]
const PORTS: Group = Group::Any(&[]);

/// What a program of an operator may well call: node has `io_uring`, systemctl compares with
/// `kcmp`.
const NOT_FOR_ROLES: Group = Group::Any(&[
    libc::SYS_io_uring_setup,
    libc::SYS_io_uring_enter,
    libc::SYS_io_uring_register,
    libc::SYS_kcmp,
    libc::SYS_memfd_secret,
    libc::SYS_fanotify_init,
    libc::SYS_quotactl,
    libc::SYS_quotactl_fd,
    libc::SYS_acct,
    libc::SYS_vhangup,
]);
