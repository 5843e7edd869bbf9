//! What the roles may call, group by group; the rest is answered with ENOSYS.
//!
//! Found by watching the roles, rsync 3.5 and OpenSSH 9.2 at work, and completed by the other
//! variants of each call, for other versions of them and of libc. Nothing here but WRITING changes
//! a file, nothing changes a directory, binds, listens, or makes memory that is both writable and
//! executable.

use libc::{
    AF_INET, AF_INET6, AF_UNIX, CLONE_NEWCGROUP, CLONE_NEWIPC, CLONE_NEWNET, CLONE_NEWNS, CLONE_NEWPID,
    CLONE_NEWUSER, CLONE_NEWUTS, CLONE_THREAD, IPPROTO_IP, IPPROTO_IPV6, IPPROTO_TCP, MSG_FASTOPEN,
    PROT_EXEC, PROT_WRITE, SOCK_CLOEXEC, SOCK_NONBLOCK, SOCK_SEQPACKET, SOCK_STREAM, SOL_SOCKET,
};

use super::table::{Argument, Case, Group, bits, call, is, null, up_to};

/// Files, inotify and the report socket; no network, no program.
pub(super) const WATCHER: &[Group] =
    &[BASE, SELF, MEMORY, DATA_ONLY, FILES, REPORT, ORDERS, INOTIFY, old::BASE, old::FILES, old::INOTIFY];

/// The same, and the handles of directories.
pub(super) const MARKED_WATCHER: &[Group] = &[
    BASE,
    SELF,
    MEMORY,
    DATA_ONLY,
    FILES,
    REPORT,
    ORDERS,
    INOTIFY,
    HANDLES,
    old::BASE,
    old::FILES,
    old::INOTIFY,
];

/// Files, programs, TCP.
pub(super) const SYNCER: &[Group] = &[
    BASE,
    SELF,
    MEMORY,
    CODE,
    FILES,
    ATTRIBUTES,
    REPORT,
    ORDERS,
    TCP,
    CONNECTIONS,
    PROGRAMS,
    CHILDREN,
    PAIRS,
    old::BASE,
    old::FILES,
    old::PROGRAMS,
];

/// TCP and what a resolver reads; no program.
pub(super) const PLUGIN: &[Group] =
    &[BASE, SELF, MEMORY, CODE, FILES, REPORT, ORDERS, TCP, CONNECTIONS, THREADS, old::BASE, old::FILES];

/// One file that is open already, and the report socket; nothing is opened.
pub(super) const KEEPER: &[Group] =
    &[BASE, SELF, MEMORY, DATA_ONLY, REPORT, ORDERS, OPEN_FILE, WRITING, old::BASE];

/// Sockets that are open already, and who connects to them; nothing is opened or connected to.
pub(super) const PAGE: &[Group] =
    &[BASE, SELF, MEMORY, DATA_ONLY, REPORT, HEARING, VISITORS, LAST_WORDS, old::BASE];

/// What a process needs to run at all, and what it does with descriptors it has.
const BASE: Group = Group::Any(&[
    // Descriptors.
    libc::SYS_read,
    libc::SYS_readv,
    libc::SYS_pread64,
    libc::SYS_write,
    libc::SYS_writev,
    libc::SYS_close,
    libc::SYS_close_range,
    libc::SYS_dup,
    libc::SYS_fcntl,
    libc::SYS_ppoll,
    libc::SYS_pselect6,
    // Its own signals; tgkill is how abort ends a process.
    libc::SYS_rt_sigaction,
    libc::SYS_rt_sigprocmask,
    libc::SYS_rt_sigreturn,
    libc::SYS_rt_sigsuspend,
    libc::SYS_rt_sigtimedwait,
    libc::SYS_rt_sigpending,
    libc::SYS_sigaltstack,
    libc::SYS_tgkill,
    libc::SYS_restart_syscall,
    libc::SYS_exit,
    libc::SYS_exit_group,
    // Locks, and what libc sets up for a thread.
    libc::SYS_futex,
    libc::SYS_set_tid_address,
    libc::SYS_set_robust_list,
    libc::SYS_rseq,
    libc::SYS_sched_yield,
    libc::SYS_sched_getaffinity,
    libc::SYS_getcpu,
    // Time.
    libc::SYS_clock_gettime,
    libc::SYS_clock_getres,
    libc::SYS_clock_nanosleep,
    libc::SYS_nanosleep,
    libc::SYS_gettimeofday,
    libc::SYS_setitimer,
    libc::SYS_getitimer,
    // Who and where it is.
    libc::SYS_getpid,
    libc::SYS_gettid,
    libc::SYS_getppid,
    libc::SYS_getpgid,
    libc::SYS_getsid,
    libc::SYS_getuid,
    libc::SYS_geteuid,
    libc::SYS_getgid,
    libc::SYS_getegid,
    libc::SYS_getresuid,
    libc::SYS_getresgid,
    libc::SYS_getgroups,
    libc::SYS_capget,
    libc::SYS_getrusage,
    libc::SYS_times,
    libc::SYS_sysinfo,
    libc::SYS_uname,
    libc::SYS_getrandom,
]);

/// The same, where arguments count.
const SELF: Group = Group::If(&[
    // Limits are read; setting them is for a child, see CHILDREN.
    call(libc::SYS_prlimit64, &[&[is(0, 0), null(2)]]),
    call(
        libc::SYS_prctl,
        &[
            &[is(0, libc::PR_SET_NAME)],
            &[is(0, libc::PR_GET_NAME)],
            &[is(0, libc::PR_GET_DUMPABLE)],
            // Off, never on again.
            &[is(0, libc::PR_SET_DUMPABLE), is(1, 0)],
            &[is(0, libc::PR_CAPBSET_READ)],
            // libc names its memory.
            &[is(0, libc::PR_SET_VMA), is(1, libc::PR_SET_VMA_ANON_NAME)],
        ],
    ),
    // What is waiting, not to wait, and whether it is a terminal.
    call(
        libc::SYS_ioctl,
        &[
            &[is(1, request(libc::FIONREAD))],
            &[is(1, request(libc::FIONBIO))],
            &[is(1, request(libc::FIOCLEX))],
            &[is(1, request(libc::TCGETS))],
            &[is(1, request(libc::TCGETS2))],
            &[is(1, request(libc::TIOCGWINSZ))],
        ],
    ),
]);

const MEMORY: Group = Group::Any(&[libc::SYS_brk, libc::SYS_munmap, libc::SYS_mremap, libc::SYS_madvise]);

/// Memory that holds no code.
const DATA_ONLY: Group =
    Group::If(&[call(libc::SYS_mmap, &[NOT_EXECUTABLE]), call(libc::SYS_mprotect, &[NOT_EXECUTABLE])]);

/// Memory that may hold the code of a file, for libraries; never what was written there.
const CODE: Group = Group::If(&[call(libc::SYS_mmap, WRITTEN_OR_RUN), call(libc::SYS_mprotect, PROTECTED)]);

const NOT_EXECUTABLE: Case = &[bits(2, PROT_EXEC, 0)];
const WRITTEN_OR_RUN: &[Case] = &[NOT_EXECUTABLE, &[bits(2, PROT_WRITE, 0)]];

// Elsewhere the loader marks code as a target of branches (BTI) once it is mapped.
#[cfg(target_arch = "x86_64")]
const PROTECTED: &[Case] = &[NOT_EXECUTABLE];
#[cfg(not(target_arch = "x86_64"))]
const PROTECTED: &[Case] = WRITTEN_OR_RUN;

/// Looking at files. Which ones is for Landlock and the uid to say, and whether open may write.
const FILES: Group = Group::Any(&[
    libc::SYS_openat,
    libc::SYS_openat2,
    libc::SYS_fstat,
    libc::SYS_newfstatat,
    libc::SYS_statx,
    libc::SYS_statfs,
    libc::SYS_fstatfs,
    libc::SYS_faccessat,
    libc::SYS_faccessat2,
    libc::SYS_readlinkat,
    libc::SYS_getdents64,
    libc::SYS_lseek,
    libc::SYS_fadvise64,
    libc::SYS_getcwd,
    libc::SYS_chdir,
    libc::SYS_fchdir,
    libc::SYS_umask,
]);

/// Looking at what is open: a part of FILES. The middle two are how libc and std ask; that they could
/// name a path cannot be told from their arguments.
const OPEN_FILE: Group =
    Group::Any(&[libc::SYS_fstat, libc::SYS_newfstatat, libc::SYS_statx, libc::SYS_lseek]);

/// A database in a file that is open: written in place, made durable, cut, locked.
const WRITING: Group = Group::Any(&[
    libc::SYS_pwrite64,
    libc::SYS_pwritev,
    libc::SYS_fsync,
    libc::SYS_fdatasync,
    libc::SYS_ftruncate,
    libc::SYS_fallocate,
    libc::SYS_flock,
]);

/// ACLs and extended attributes, read.
const ATTRIBUTES: Group = Group::Any(&[
    libc::SYS_getxattr,
    libc::SYS_lgetxattr,
    libc::SYS_fgetxattr,
    libc::SYS_listxattr,
    libc::SYS_llistxattr,
    libc::SYS_flistxattr,
]);

/// Sockets that are open already: orders and reports, and of PAIRS and TCP. Fast open would
/// connect where Landlock does not look.
const REPORT: Group = Group::If(&[
    call(libc::SYS_sendto, &[&[bits(3, MSG_FASTOPEN, 0)]]),
    call(libc::SYS_sendmsg, &[&[bits(2, MSG_FASTOPEN, 0)]]),
    call(libc::SYS_sendmmsg, &[&[bits(3, MSG_FASTOPEN, 0)]]),
]);

/// The other direction.
const ORDERS: Group = Group::Any(&[libc::SYS_recvfrom, libc::SYS_recvmsg, libc::SYS_shutdown]);

/// The same, without an end to it: shut down for reading, a socket that others connect to is closed for
/// every page to come.
const HEARING: Group = Group::Any(&[libc::SYS_recvfrom, libc::SYS_recvmsg]);
const LAST_WORDS: Group = Group::If(&[call(libc::SYS_shutdown, &[&[is(1, libc::SHUT_WR)]])]);

/// Who connects to a socket that the supervisor opened.
const VISITORS: Group = Group::Any(&[libc::SYS_accept4]);

const INOTIFY: Group =
    Group::Any(&[libc::SYS_inotify_init1, libc::SYS_inotify_add_watch, libc::SYS_inotify_rm_watch]);

/// What fanotify calls a directory. The way back, from a handle to a file, is what an intruder wants
/// (`hostile`): a watcher does without it, and can mark nothing either.
const HANDLES: Group = Group::Any(&[libc::SYS_name_to_handle_at]);

/// TCP, outwards: no UDP, no MPTCP, which Landlock does not know, and no other family.
const TCP: Group = Group::If(&[
    call(
        libc::SYS_socket,
        &[
            &[is(0, AF_INET), STREAM, is(2, 0)],
            &[is(0, AF_INET), STREAM, is(2, IPPROTO_TCP)],
            &[is(0, AF_INET6), STREAM, is(2, 0)],
            &[is(0, AF_INET6), STREAM, is(2, IPPROTO_TCP)],
        ],
    ),
    // Options of old: no filters (SO_ATTACH_FILTER and on), no TCP_ULP, no packet filter tables.
    call(
        libc::SYS_setsockopt,
        &[
            &[is(1, SOL_SOCKET), up_to(2, libc::SO_SNDTIMEO)],
            &[is(1, IPPROTO_TCP), up_to(2, libc::TCP_USER_TIMEOUT)],
            &[is(1, IPPROTO_IP), is(2, libc::IP_TOS)],
            &[is(1, IPPROTO_IPV6), is(2, libc::IPV6_TCLASS)],
            &[is(1, IPPROTO_IPV6), is(2, libc::IPV6_V6ONLY)],
        ],
    ),
]);

/// What a socket is for: where to is for Landlock to say.
const CONNECTIONS: Group =
    Group::Any(&[libc::SYS_connect, libc::SYS_getsockopt, libc::SYS_getsockname, libc::SYS_getpeername]);

const STREAM: Argument = kind(SOCK_STREAM);

/// A kind of socket, whatever its flags.
const fn kind(wanted: i32) -> Argument {
    bits(1, !(SOCK_CLOEXEC | SOCK_NONBLOCK), wanted)
}

/// Name lookups have a thread each.
const THREADS: Group =
    Group::If(&[call(libc::SYS_clone, &[&[bits(0, NAMESPACES | CLONE_THREAD, CLONE_THREAD)]])]);

/// Starting rsync, which starts ssh.
const PROGRAMS: Group = Group::Any(&[
    libc::SYS_execve,
    libc::SYS_wait4,
    libc::SYS_waitid,
    libc::SYS_kill,
    libc::SYS_setpgid,
    libc::SYS_setsid,
    libc::SYS_pipe2,
    libc::SYS_dup3,
    // Into the domain below, between fork and exec.
    libc::SYS_landlock_restrict_self,
]);

/// The same, where arguments count. clone3 is not there: its flags cannot be read.
const CHILDREN: Group = Group::If(&[
    call(libc::SYS_clone, &[&[bits(0, NAMESPACES, 0)]]),
    call(libc::SYS_prlimit64, &[&[is(0, 0)]]),
    call(libc::SYS_prctl, &[&[is(0, libc::PR_SET_PDEATHSIG)]]),
]);

const NAMESPACES: i32 =
    CLONE_NEWNS | CLONE_NEWCGROUP | CLONE_NEWUTS | CLONE_NEWIPC | CLONE_NEWUSER | CLONE_NEWPID | CLONE_NEWNET;

/// Two connected sockets, between a program and who started it. Datagrams could be sent
/// elsewhere: to any socket that has a path.
const PAIRS: Group = Group::If(&[call(
    libc::SYS_socketpair,
    &[&[is(0, AF_UNIX), STREAM], &[is(0, AF_UNIX), kind(SOCK_SEQPACKET)]],
)]);

/// The number of an ioctl, which has 32 bits whatever the type.
#[expect(clippy::cast_possible_truncation, reason = "all of them fit")]
const fn request(number: libc::Ioctl) -> i32 {
    number as i32
}

/// Calls that have a successor above, and that only x86-64 still has.
#[cfg(target_arch = "x86_64")]
mod old {
    use super::Group;

    pub(super) const BASE: Group = Group::Any(&[
        libc::SYS_poll,
        libc::SYS_select,
        libc::SYS_pause,
        libc::SYS_alarm,
        libc::SYS_time,
        libc::SYS_getpgrp,
        libc::SYS_getrlimit,
    ]);

    pub(super) const FILES: Group = Group::Any(&[
        libc::SYS_open,
        libc::SYS_stat,
        libc::SYS_lstat,
        libc::SYS_access,
        libc::SYS_readlink,
        libc::SYS_getdents,
    ]);

    pub(super) const INOTIFY: Group = Group::Any(&[libc::SYS_inotify_init]);

    /// Besides, a program's start sets up its thread pointer and shadow stack.
    pub(super) const PROGRAMS: Group = Group::Any(&[
        libc::SYS_fork,
        libc::SYS_vfork,
        libc::SYS_pipe,
        libc::SYS_dup2,
        libc::SYS_setrlimit,
        libc::SYS_arch_prctl,
    ]);
}

#[cfg(not(target_arch = "x86_64"))]
mod old {
    use super::Group;

    pub(super) const BASE: Group = Group::Any(&[]);
    pub(super) const FILES: Group = Group::Any(&[]);
    pub(super) const INOTIFY: Group = Group::Any(&[]);
    pub(super) const PROGRAMS: Group = Group::Any(&[]);
}
