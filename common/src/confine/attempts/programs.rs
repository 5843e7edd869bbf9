//! Other programs, and code of a role's own making.

use std::process::{Command, Stdio};

use super::Barrier::{NotSyncer, Sandbox};
use super::Group::Programs;
use super::{Attempt, NO_FD, NOWHERE, Verdict, address, call, io_outcome, outcome, signed, try_call, worst};

const PAGE: usize = 4096;
const ALL_RIGHTS: i32 = libc::PROT_READ | libc::PROT_WRITE | libc::PROT_EXEC;
/// On aarch64 libraries need it with memory that was never writable at the same time.
#[cfg(target_arch = "x86_64")]
const MADE_EXECUTABLE: i32 = libc::PROT_READ | libc::PROT_EXEC;
#[cfg(not(target_arch = "x86_64"))]
const MADE_EXECUTABLE: i32 = ALL_RIGHTS;

pub(super) const ATTEMPTS: &[Attempt] = &[
    Attempt {
        name: "run-program",
        what: "run /bin/true or /usr/bin/env",
        group: Programs,
        barrier: Sandbox,
        act: |_| worst(["/bin/true", "/usr/bin/env"].map(start)),
    },
    Attempt {
        name: "exec",
        what: "call execve at all",
        group: Programs,
        barrier: NotSyncer,
        act: |_| try_call(libc::SYS_execve, [NOWHERE]),
    },
    Attempt {
        name: "exec-descriptor",
        what: "call execveat at all",
        group: Programs,
        barrier: Sandbox,
        act: |_| try_call(libc::SYS_execveat, [NO_FD, NOWHERE]),
    },
    Attempt {
        name: "memory-file",
        what: "make a file in memory",
        group: Programs,
        barrier: Sandbox,
        act: |_| outcome(memory_file()),
    },
    Attempt {
        name: "run-memory-file",
        what: "run a program from memory",
        group: Programs,
        barrier: Sandbox,
        act: |_| {
            const EMPTY_PATH: usize = 0x1000;
            // An empty file is no program, so even what is allowed does not run.
            let run = |fd| call(libc::SYS_execveat, [fd, address(c""), 0, 0, EMPTY_PATH]);
            outcome(memory_file().and_then(run))
        },
    },
    Attempt {
        name: "writable-code",
        what: "map memory that is writable and executable",
        group: Programs,
        barrier: Sandbox,
        act: |_| outcome(map(ALL_RIGHTS)),
    },
    Attempt {
        name: "make-executable",
        what: "make memory executable that was written to",
        group: Programs,
        barrier: Sandbox,
        act: |_| {
            let rights = signed(MADE_EXECUTABLE);
            match map(libc::PROT_READ | libc::PROT_WRITE) {
                Ok(page) => try_call(libc::SYS_mprotect, [page, PAGE, rights]),
                Err(error) => Verdict::NotApplicable(format!("no memory: {error}")),
            }
        },
    },
    Attempt {
        name: "make-executable-with-key",
        what: "the same through pkey_mprotect",
        group: Programs,
        barrier: Sandbox,
        // Nothing at all is protected: a length of 0.
        act: |_| try_call(libc::SYS_pkey_mprotect, [0, 0, signed(ALL_RIGHTS), NO_FD]),
    },
    Attempt {
        name: "executable-shared-memory",
        what: "attach System V shared memory to execute it",
        group: Programs,
        barrier: Sandbox,
        act: |_| try_call(libc::SYS_shmat, [NO_FD, 0, signed(libc::SHM_EXEC)]),
    },
    Attempt {
        name: "personality",
        what: "ask for another personality, such as readable memory that executes",
        group: Programs,
        barrier: Sandbox,
        // This value only asks.
        act: |_| try_call(libc::SYS_personality, [0xffff_ffff]),
    },
];

fn start(program: &str) -> Verdict {
    let mut command = Command::new(program);
    command.env_clear().stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    io_outcome(command.status())
}

fn memory_file() -> nix::Result<usize> {
    call(libc::SYS_memfd_create, [address(c"attempt"), 1])
}

/// A page of its own that nobody else uses.
fn map(rights: i32) -> nix::Result<usize> {
    let flags = signed(libc::MAP_PRIVATE | libc::MAP_ANONYMOUS);
    call(libc::SYS_mmap, [0, PAGE, signed(rights), flags, NO_FD, 0])
}
