//! Opening what is none of a role's business.

use std::fs::{self, File};
use std::io::Read;
use std::path::Path;

use nix::fcntl::{OFlag, open};
use nix::sys::stat::Mode;

use super::Barrier::{Everywhere, NotSyncer, Nothing, Sandbox, SandboxOrUid};
use super::Group::Reading;
use super::{Attempt, Verdict, address, below, call, io_outcome, outcome, stand_in, try_call, worst};

pub(super) const ATTEMPTS: &[Attempt] = &[
    Attempt {
        name: "read-shadow",
        what: "read /etc/shadow",
        group: Reading,
        barrier: SandboxOrUid,
        act: |_| read("/etc/shadow"),
    },
    Attempt {
        name: "read-world-readable",
        what: "read /proc/version, which everybody may",
        group: Reading,
        barrier: Sandbox,
        act: |_| read("/proc/version"),
    },
    Attempt {
        name: "read-other-root",
        what: "read a file of another root",
        group: Reading,
        barrier: Sandbox,
        act: |targets| read(&targets.other_file),
    },
    Attempt {
        name: "read-other-secret",
        what: "read another role's secret",
        group: Reading,
        barrier: SandboxOrUid,
        act: |targets| read(&targets.secret),
    },
    Attempt {
        name: "read-own-file",
        what: "read the content of a watched file",
        group: Reading,
        barrier: NotSyncer,
        act: |targets| read(below(&targets.own_root, stand_in::FILE)),
    },
    Attempt {
        name: "read-through-link",
        what: "read another root through a symbolic link in the own one",
        group: Reading,
        barrier: Sandbox,
        act: |targets| read(below(&targets.own_root, stand_in::LINK)),
    },
    Attempt {
        name: "read-through-dots",
        what: "read another root through .. of the own one",
        group: Reading,
        barrier: Sandbox,
        act: |targets| {
            let up = below(&targets.own_root, "..");
            let other = Path::new(&targets.other_file)
                .strip_prefix(Path::new(&targets.own_root).parent().unwrap_or(Path::new("/")));
            other.map_or_else(
                |_| Verdict::NotApplicable("the other root is elsewhere".to_owned()),
                |rest| read(up.join(rest)),
            )
        },
    },
    Attempt {
        name: "read-through-swapped-directory",
        what: "read another root through a directory that became a link",
        group: Reading,
        barrier: Sandbox,
        act: |targets| {
            let name = Path::new(&targets.other_file).file_name().unwrap_or_default();
            read(below(&targets.own_root, stand_in::SWAPPED).join(name))
        },
    },
    Attempt {
        name: "list-etc",
        what: "list /etc",
        group: Reading,
        barrier: Sandbox,
        act: |_| io_outcome(fs::read_dir("/etc")),
    },
    Attempt {
        name: "list-processes",
        what: "list /proc",
        group: Reading,
        barrier: Sandbox,
        act: |_| io_outcome(fs::read_dir("/proc")),
    },
    Attempt {
        name: "read-supervisor-environment",
        what: "read /proc/SUPERVISOR/environ",
        group: Reading,
        barrier: SandboxOrUid,
        act: |targets| read(format!("/proc/{}/environ", targets.supervisor)),
    },
    Attempt {
        name: "read-supervisor-memory",
        what: "open /proc/SUPERVISOR/mem",
        group: Reading,
        barrier: SandboxOrUid,
        act: |targets| io_outcome(File::open(format!("/proc/{}/mem", targets.supervisor))),
    },
    Attempt {
        name: "read-supervisor-descriptors",
        what: "list /proc/SUPERVISOR/fd",
        group: Reading,
        barrier: SandboxOrUid,
        act: |targets| io_outcome(fs::read_dir(format!("/proc/{}/fd", targets.supervisor))),
    },
    Attempt {
        name: "read-roles-memory",
        what: "open /proc/ROLE/mem of the other roles",
        group: Reading,
        barrier: SandboxOrUid,
        act: |targets| {
            let open = |pid| io_outcome(File::open(format!("/proc/{pid}/mem")));
            worst(targets.others.iter().map(open))
        },
    },
    Attempt {
        name: "open-by-handle",
        what: "open a file by its handle, past all directories",
        group: Reading,
        barrier: Everywhere,
        act: |_| try_call(libc::SYS_open_by_handle_at, [super::NO_FD, 0, 0]),
    },
    Attempt {
        name: "open-path",
        what: "open something for its path alone, which Landlock does not bound",
        group: Reading,
        barrier: super::Barrier::Closed,
        act: |_| outcome(open("/", OFlag::O_PATH | OFlag::O_CLOEXEC, Mode::empty())),
    },
    Attempt {
        name: "stat-shadow",
        what: "see that /etc/shadow exists, its size and times",
        group: Reading,
        barrier: Nothing,
        act: |_| io_outcome(fs::metadata("/etc/shadow")),
    },
    Attempt {
        name: "watch-etc",
        what: "see the names of what changes in /etc, through inotify",
        group: Reading,
        barrier: super::Barrier::NotWatcher,
        act: |_| {
            let watch = call(libc::SYS_inotify_init1, [0])
                .and_then(|fd| call(libc::SYS_inotify_add_watch, [fd, address(c"/etc"), MODIFIED]));
            outcome(watch)
        },
    },
];

/// `IN_MODIFY`.
const MODIFIED: usize = 2;

/// Whether even one byte can be had. Reading counts, not only opening.
fn read(path: impl AsRef<Path>) -> Verdict {
    let mut byte = [0];
    io_outcome(File::open(path).and_then(|mut file| file.read(&mut byte)))
}
