use super::*;
use std::process::{Command, Output};

mod names;
mod real;

const ROLES: [Syscalls; 6] = [
    Syscalls::Watcher,
    Syscalls::MarkedWatcher,
    Syscalls::Syncer,
    Syscalls::Plugin,
    Syscalls::Keeper,
    Syscalls::Page,
];
const WITH: Kernel = Kernel { landlock: 0, seccomp: true };
const WITHOUT: Kernel = Kernel { landlock: 0, seccomp: false };

/// What this test is to do, where it is its own child.
fn deed() -> Option<String> {
    std::env::var("SECCOMP_DEED").ok()
}

/// Runs the test `name` once more, as its own child, to do `deed`.
fn child(name: &str, deed: &str) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    let name = format!("confine::syscalls::tests::{name}");
    command.args(["--exact", &name, "--nocapture", "--test-threads=1"]).env("SECCOMP_DEED", deed);
    command
}

fn named(name: &str) -> Syscalls {
    ROLES.into_iter().chain([Syscalls::Command]).find(|list| name == format!("{list:?}")).unwrap()
}

fn enter(list: Syscalls) {
    install(list, Demand::Required, WITH).unwrap();
}

fn succeeded(output: &Output) {
    let said = [&output.stdout, &output.stderr].map(|text| String::from_utf8_lossy(text));
    assert!(output.status.success(), "{}: {said:?}", output.status);
}

#[derive(Debug, PartialEq)]
enum Answer {
    Allowed,
    Error(Errno),
    Killed,
}
use Answer::{Allowed, Error, Killed};

/// What the kernel would make of one call: its machine, in small.
fn run(program: &BpfProgram, arch: u32, number: u32, arguments: [u64; 6]) -> u32 {
    let load = |offset: u32| match offset {
        0 => number,
        4 => arch,
        16.. => {
            let argument = arguments[(offset as usize - 16) / 8];
            u32::try_from(if offset.is_multiple_of(8) { argument & 0xffff_ffff } else { argument >> 32 })
                .unwrap()
        }
        _ => panic!("offset {offset}"),
    };
    let (mut at, mut accumulator) = (0, 0);
    loop {
        let sock_filter { code, jt, jf, k } = program[at].clone();
        at += 1;
        let mut branch = |taken: bool| at += usize::from(if taken { jt } else { jf });
        match code {
            0x20 => accumulator = load(k),
            0x54 => accumulator &= k,
            0x05 => at += k as usize,
            0x15 => branch(accumulator == k),
            0x25 => branch(accumulator > k),
            0x35 => branch(accumulator >= k),
            0x06 => return k,
            _ => panic!("instruction {code:#x}"),
        }
    }
}

fn ask_as(list: Syscalls, arch: u32, number: u32, arguments: &[u64]) -> Answer {
    let mut six = [0; 6];
    six[..arguments.len()].copy_from_slice(arguments);
    let answers: Vec<_> =
        programs(list).unwrap().iter().map(|program| run(program, arch, number, six)).collect();
    let error = answers.iter().rev().find(|&&answer| answer & 0xffff_0000 == libc::SECCOMP_RET_ERRNO);
    if answers.contains(&libc::SECCOMP_RET_KILL_PROCESS) {
        Killed
    } else if let Some(error) = error {
        Error(Errno::from_raw(i32::try_from(error & 0xffff).unwrap()))
    } else {
        assert!(answers.iter().all(|&answer| answer == libc::SECCOMP_RET_ALLOW), "{answers:?}");
        Allowed
    }
}

#[cfg(target_arch = "x86_64")]
const NATIVE: u32 = 0xc000_003e;
#[cfg(target_arch = "aarch64")]
const NATIVE: u32 = 0xc000_00b7;

fn ask(list: Syscalls, number: i64, arguments: &[u64]) -> Answer {
    ask_as(list, NATIVE, u32::try_from(number).unwrap(), arguments)
}

/// The numbers of a table, and those among them that have conditions.
fn numbers(groups: &[Group]) -> (Vec<i64>, Vec<i64>) {
    let (mut any, mut conditions) = (Vec::new(), Vec::new());
    for group in groups {
        match group {
            Group::Any(numbers) => any.extend_from_slice(numbers),
            Group::If(calls) => conditions.extend(calls.iter().map(|call| call.number)),
        }
    }
    (any, conditions)
}

#[test]
fn no_call_is_listed_twice() {
    for groups in [
        allowed::WATCHER,
        allowed::SYNCER,
        allowed::PLUGIN,
        allowed::KEEPER,
        allowed::PAGE,
        hostile::OF_COMMANDS,
    ] {
        let (mut any, conditions) = numbers(groups);
        // One without conditions would make those of the other void.
        assert!(!conditions.iter().any(|number| any.contains(number)));
        let listed = any.len();
        any.sort_unstable();
        any.dedup();
        assert_eq!(any.len(), listed);
    }
    let (killed, conditions) = numbers(hostile::OF_ROLES);
    assert_eq!(conditions, []);
    for groups in [allowed::WATCHER, allowed::SYNCER, allowed::PLUGIN, allowed::KEEPER, allowed::PAGE] {
        let (any, conditions) = numbers(groups);
        assert!(!any.iter().chain(&conditions).any(|number| killed.contains(number)));
    }
}

/// The kernel keeps a bitmap of what is allowed whatever the arguments; the rest costs the
/// filters' time.
#[test]
fn frequent_calls_have_no_conditions() {
    for groups in [allowed::WATCHER, allowed::SYNCER, allowed::PLUGIN] {
        let (any, _) = numbers(groups);
        for number in [
            libc::SYS_read,
            libc::SYS_write,
            libc::SYS_openat,
            libc::SYS_newfstatat,
            libc::SYS_statx,
            libc::SYS_close,
            libc::SYS_ppoll,
            libc::SYS_pselect6,
            libc::SYS_getdents64,
            libc::SYS_recvmsg,
            libc::SYS_recvfrom,
            libc::SYS_futex,
            libc::SYS_clock_gettime,
        ] {
            assert!(any.contains(&number), "{number}");
        }
    }
}

#[test]
fn filters_fit_and_know_their_own_architecture_only() {
    for list in ROLES.into_iter().chain([Syscalls::Command]) {
        let programs = programs(list).unwrap();
        println!("{list:?}: {:?} instructions", programs.iter().map(Vec::len).collect::<Vec<_>>());
        assert!(programs.iter().all(|program| program.len() < 4096));
        let read = u32::try_from(libc::SYS_read).unwrap();
        assert_eq!(ask_as(list, NATIVE, read, &[]), Allowed);
        // i386, whose number 3 is read and whose number 26 is ptrace.
        assert_eq!(ask_as(list, 0x4000_0003, 3, &[]), Killed);
        // x32: the same numbers with a bit, some of its own, and whatever else a number can be.
        for number in [read, u32::try_from(libc::SYS_ptrace).unwrap(), 521, 0x3fff_ffff] {
            assert_eq!(ask_as(list, NATIVE, 0x4000_0000 | number, &[]), Error(Errno::ENOSYS));
        }
        assert_eq!(ask_as(list, NATIVE, u32::MAX, &[]), Error(Errno::ENOSYS));
    }
}

#[test]
fn intruders() {
    for number in [
        libc::SYS_ptrace,
        libc::SYS_process_vm_readv,
        libc::SYS_pidfd_getfd,
        libc::SYS_bpf,
        libc::SYS_keyctl,
        libc::SYS_userfaultfd,
        libc::SYS_perf_event_open,
        libc::SYS_unshare,
        libc::SYS_setns,
        libc::SYS_mount,
        libc::SYS_move_mount,
        libc::SYS_chroot,
        libc::SYS_open_by_handle_at,
        libc::SYS_finit_module,
        libc::SYS_kexec_load,
    ] {
        assert_eq!(ask(Syscalls::Command, number, &[]), Error(Errno::EPERM), "{number}");
        assert!(ROLES.iter().all(|&list| ask(list, number, &[]) == Killed), "{number}");
    }
    for number in [libc::SYS_io_uring_setup, libc::SYS_io_uring_enter, libc::SYS_kcmp] {
        assert_eq!(ask(Syscalls::Command, number, &[]), Allowed, "{number}");
        assert!(ROLES.iter().all(|&list| ask(list, number, &[]) == Killed), "{number}");
    }
    for number in [
        // What libraries try is not worth a life.
        libc::SYS_clone3,
        libc::SYS_memfd_create,
        libc::SYS_personality,
        libc::SYS_execveat,
        libc::SYS_shmat,
        libc::SYS_pidfd_open,
        libc::SYS_pidfd_send_signal,
        // Nothing is changed.
        libc::SYS_unlinkat,
        libc::SYS_renameat2,
        libc::SYS_mkdirat,
        libc::SYS_mknodat,
        libc::SYS_linkat,
        libc::SYS_symlinkat,
        libc::SYS_fchmod,
        libc::SYS_fchmodat,
        libc::SYS_fchownat,
        libc::SYS_utimensat,
        libc::SYS_truncate,
        libc::SYS_setxattr,
        libc::SYS_fsetxattr,
        // Nobody is waited for on a socket.
        libc::SYS_bind,
        libc::SYS_listen,
        libc::SYS_accept,
        // Nor does anybody become somebody.
        libc::SYS_setuid,
        libc::SYS_setresuid,
        libc::SYS_setgroups,
        libc::SYS_capset,
        libc::SYS_seccomp,
    ] {
        assert!(ROLES.iter().all(|&list| ask(list, number, &[]) == Error(Errno::ENOSYS)), "{number}");
    }
}

#[test]
fn who_writes() {
    for number in [
        libc::SYS_pwrite64,
        libc::SYS_pwritev,
        libc::SYS_fdatasync,
        libc::SYS_fsync,
        libc::SYS_ftruncate,
        libc::SYS_fallocate,
        libc::SYS_flock,
    ] {
        each(&[(number, &[], &[Syscalls::Keeper])]);
    }
    // What it has was opened for it.
    for number in [libc::SYS_openat, libc::SYS_openat2, libc::SYS_readlinkat, libc::SYS_getdents64] {
        let who = [Syscalls::Watcher, Syscalls::MarkedWatcher, Syscalls::Syncer, Syscalls::Plugin];
        each(&[(number, &[], &who)]);
    }
}

/// Only the page, and it can end no socket that it did not open.
#[test]
fn who_takes_connections() {
    let [read, write, both] = [libc::SHUT_RD, libc::SHUT_WR, libc::SHUT_RDWR].map(word);
    let most =
        [Syscalls::Watcher, Syscalls::MarkedWatcher, Syscalls::Syncer, Syscalls::Plugin, Syscalls::Keeper];
    each(&[
        (libc::SYS_accept4, &[3, 0, 0, 0], &[Syscalls::Page]),
        (libc::SYS_shutdown, &[3, write], &ROLES),
        (libc::SYS_shutdown, &[3, read], &most),
        (libc::SYS_shutdown, &[3, both], &most),
    ]);
    for number in
        [libc::SYS_socket, libc::SYS_connect, libc::SYS_fstat, libc::SYS_statx, libc::SYS_setsockopt]
    {
        assert_eq!(ask(Syscalls::Page, number, &[]), Error(Errno::ENOSYS), "{number}");
    }
}

/// What roles and the supervisor do below the supervisor's own filter.
#[test]
fn an_operators_program_and_the_supervisor() {
    for number in [
        libc::SYS_seccomp,
        libc::SYS_prctl,
        libc::SYS_landlock_create_ruleset,
        libc::SYS_landlock_add_rule,
        libc::SYS_landlock_restrict_self,
        libc::SYS_setresuid,
        libc::SYS_setresgid,
        libc::SYS_setgroups,
        libc::SYS_capset,
        libc::SYS_prlimit64,
        libc::SYS_ioprio_set,
        libc::SYS_close_range,
        libc::SYS_socket,
        libc::SYS_bind,
        libc::SYS_execve,
        libc::SYS_personality,
        libc::SYS_name_to_handle_at,
        libc::SYS_memfd_create,
        libc::SYS_unlinkat,
    ] {
        assert_eq!(ask(Syscalls::Command, number, &[]), Allowed, "{number}");
    }
    let clone = |flags: i32| ask(Syscalls::Command, libc::SYS_clone, &[u64::from(flags.cast_unsigned())]);
    assert_eq!(clone(libc::SIGCHLD), Allowed);
    assert_eq!(clone(libc::CLONE_THREAD | libc::CLONE_VM | libc::CLONE_SIGHAND), Allowed);
    for flag in [libc::CLONE_NEWUSER, libc::CLONE_NEWNS, libc::CLONE_NEWNET, libc::CLONE_NEWPID] {
        assert_eq!(clone(libc::SIGCHLD | flag), Error(Errno::EPERM));
    }
    assert_eq!(ask(Syscalls::Command, libc::SYS_clone3, &[]), Error(Errno::ENOSYS));
}

/// The calls and their arguments, and which roles may.
fn each(rows: &[(i64, &[u64], &[Syscalls])]) {
    for (number, arguments, who) in rows {
        for list in ROLES {
            let wanted = if who.contains(&list) { Allowed } else { Error(Errno::ENOSYS) };
            assert_eq!(ask(list, *number, arguments), wanted, "{list:?} {number} {arguments:x?}");
        }
    }
}

fn word(number: i32) -> u64 {
    u64::from(number.cast_unsigned())
}

#[test]
fn memory_and_processes() {
    use Syscalls::{MarkedWatcher, Plugin, Syncer, Watcher};
    let (write, run) = (word(libc::PROT_WRITE | libc::PROT_READ), word(libc::PROT_EXEC | libc::PROT_READ));
    let (thread, fork) = (word(libc::CLONE_THREAD | libc::CLONE_VM), word(libc::SIGCHLD));
    let high = 1 << 32;
    each(&[
        (libc::SYS_mmap, &[0, 1, write], &ROLES),
        (libc::SYS_mmap, &[0, 1, run], &[Syncer, Plugin]),
        (libc::SYS_mmap, &[0, 1, write | run], &[]),
        (libc::SYS_mmap, &[0, 1, write | run | high], &[]),
        (libc::SYS_mprotect, &[0, 1, write], &ROLES),
        (libc::SYS_mprotect, &[0, 1, write | run], &[]),
        #[cfg(target_arch = "x86_64")]
        (libc::SYS_mprotect, &[0, 1, run], &[]),
        (libc::SYS_pkey_mprotect, &[0, 1, write], &[]),
        (libc::SYS_clone, &[thread], &[Syncer, Plugin]),
        (libc::SYS_clone, &[fork], &[Syncer]),
        (libc::SYS_clone, &[thread | word(libc::CLONE_NEWUSER)], &[]),
        (libc::SYS_clone, &[fork | word(libc::CLONE_NEWNET)], &[]),
        (libc::SYS_execve, &[], &[Syncer]),
        (libc::SYS_kill, &[], &[Syncer]),
        (libc::SYS_landlock_restrict_self, &[], &[Syncer]),
        (libc::SYS_inotify_add_watch, &[], &[Watcher, MarkedWatcher]),
        (libc::SYS_name_to_handle_at, &[], &[MarkedWatcher]),
        (libc::SYS_fanotify_mark, &[], &[]),
        (libc::SYS_prlimit64, &[0, 0, 0, 8], &ROLES),
        (libc::SYS_prlimit64, &[0, 0, 8, 0], &[Syncer]),
        (libc::SYS_prlimit64, &[0, 0, high, 0], &[Syncer]),
        (libc::SYS_prlimit64, &[1, 0, 0, 8], &[]),
        (libc::SYS_prctl, &[word(libc::PR_SET_NAME)], &ROLES),
        (libc::SYS_prctl, &[word(libc::PR_SET_DUMPABLE), 0], &ROLES),
        (libc::SYS_prctl, &[word(libc::PR_SET_DUMPABLE), 1], &[]),
        (libc::SYS_prctl, &[word(libc::PR_SET_PDEATHSIG), 9], &[Syncer]),
        (libc::SYS_prctl, &[word(libc::PR_SET_MM)], &[]),
        (libc::SYS_ioctl, &[0, libc::TCGETS], &ROLES),
        (libc::SYS_ioctl, &[0, libc::TIOCSTI], &[]),
        (libc::SYS_lgetxattr, &[], &[Syncer]),
        (libc::SYS_tgkill, &[], &ROLES),
    ]);
}

#[test]
fn sockets() {
    use Syscalls::{Plugin, Syncer};
    let (inet, inet6, local) = (word(libc::AF_INET), word(libc::AF_INET6), word(libc::AF_UNIX));
    let (stream, datagram) = (word(libc::SOCK_STREAM), word(libc::SOCK_DGRAM));
    let flags = word(libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK);
    let (tcp, mptcp, fast) = (6, 262, word(libc::MSG_FASTOPEN));
    each(&[
        (libc::SYS_socket, &[inet, stream, 0], &[Syncer, Plugin]),
        (libc::SYS_socket, &[inet6, stream | flags, tcp], &[Syncer, Plugin]),
        (libc::SYS_socket, &[inet, stream, mptcp], &[]),
        (libc::SYS_socket, &[inet, datagram | flags, 0], &[]),
        (libc::SYS_socket, &[inet, word(libc::SOCK_RAW), tcp], &[]),
        (libc::SYS_socket, &[local, stream, 0], &[]),
        (libc::SYS_socket, &[word(libc::AF_NETLINK), word(libc::SOCK_RAW), 0], &[]),
        (libc::SYS_socket, &[word(libc::AF_VSOCK), stream, 0], &[]),
        (libc::SYS_connect, &[3], &[Syncer, Plugin]),
        (libc::SYS_setsockopt, &[3, word(libc::SOL_SOCKET), word(libc::SO_KEEPALIVE)], &[Syncer, Plugin]),
        (libc::SYS_setsockopt, &[3, word(libc::SOL_SOCKET), word(libc::SO_SNDTIMEO)], &[Syncer, Plugin]),
        (libc::SYS_setsockopt, &[3, word(libc::SOL_SOCKET), word(libc::SO_ATTACH_FILTER)], &[]),
        (libc::SYS_setsockopt, &[3, tcp, word(libc::TCP_NODELAY)], &[Syncer, Plugin]),
        (libc::SYS_setsockopt, &[3, tcp, word(libc::TCP_ULP)], &[]),
        (libc::SYS_setsockopt, &[3, tcp, word(libc::TCP_FASTOPEN_CONNECT)], &[]),
        (libc::SYS_sendto, &[3, 0, 0, word(libc::MSG_NOSIGNAL)], &ROLES),
        (libc::SYS_sendto, &[3, 0, 0, fast | word(libc::MSG_NOSIGNAL)], &[]),
        (libc::SYS_sendmsg, &[3, 0, fast], &[]),
        (libc::SYS_sendmmsg, &[3, 0, 1, fast], &[]),
        (libc::SYS_socketpair, &[local, stream | flags, 0], &[Syncer]),
        (libc::SYS_socketpair, &[local, word(libc::SOCK_SEQPACKET), 0], &[Syncer]),
        (libc::SYS_socketpair, &[local, datagram, 0], &[]),
        (libc::SYS_socketpair, &[word(libc::AF_TIPC), stream, 0], &[]),
    ]);
}

#[test]
fn a_kernel_without_filters() {
    for list in ROLES {
        let error = install(list, Demand::Required, WITHOUT).unwrap_err().to_string();
        assert!(error.contains("step 11 seccomp") && error.contains("CONFIG_SECCOMP_FILTER"), "{error}");
        install(list, Demand::BestEffort, WITHOUT).unwrap();
        prove(list, WITHOUT).unwrap();
    }
}
