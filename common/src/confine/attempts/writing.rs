//! Changing anything on any disk. All but one aim at the stand-in for the own root, and at
//! places where everybody may write; what comes through is removed again.

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{OpenOptionsExt, symlink};
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, OFlag, open};
use nix::sys::stat::{Mode, UtimensatFlags, utimensat};
use nix::sys::time::TimeSpec;
use nix::unistd::{chown, mkfifo, truncate};

use super::Barrier::Sandbox;
use super::Group::Writing;
use super::{Attempt, Targets, Verdict, address, below, call, io_outcome, outcome, stand_in, worst};

/// Nothing of ours has this name.
const NAME: &str = ".sersync-attempt";

pub(super) const ATTEMPTS: &[Attempt] = &[
    Attempt {
        name: "create",
        what: "make a file in the own root",
        group: Writing,
        barrier: Sandbox,
        act: |targets| create(&below(&targets.own_root, NAME)),
    },
    Attempt {
        name: "create-in-tmp",
        what: "make a file in /tmp or /var/tmp",
        group: Writing,
        barrier: Sandbox,
        act: |_| worst(["/tmp", "/var/tmp"].map(|place| create(&own_name(place)))),
    },
    Attempt {
        name: "create-in-shared-memory",
        what: "make a file in /dev/shm",
        group: Writing,
        barrier: Sandbox,
        act: |_| create(&own_name("/dev/shm")),
    },
    Attempt {
        name: "create-unnamed",
        what: "make a file without a name in the watched roots, or in /tmp",
        group: Writing,
        barrier: Sandbox,
        act: |targets| {
            let places = targets.watched.iter().map(PathBuf::from).chain(["/tmp".into()]);
            worst(places.map(|place| unnamed(&place)))
        },
    },
    Attempt {
        name: "write",
        what: "write to a file of the own root",
        group: Writing,
        barrier: Sandbox,
        act: |targets| io_outcome(OpenOptions::new().write(true).open(file(targets))),
    },
    Attempt {
        name: "append",
        what: "append to a file of the own root",
        group: Writing,
        barrier: Sandbox,
        act: |targets| {
            let open = OpenOptions::new().append(true).open(file(targets));
            io_outcome(open.and_then(|mut file| file.write(b"x")))
        },
    },
    Attempt {
        name: "truncate",
        what: "shorten a file of the own root",
        group: Writing,
        barrier: Sandbox,
        act: |targets| outcome(truncate(&file(targets), 1)),
    },
    Attempt {
        name: "open-truncating",
        what: "empty a file of the own root while opening it to read",
        group: Writing,
        barrier: Sandbox,
        act: |targets| outcome(open(&file(targets), OFlag::O_RDONLY | OFlag::O_TRUNC, Mode::empty())),
    },
    Attempt {
        name: "rename",
        what: "rename a file of the own root",
        group: Writing,
        barrier: Sandbox,
        act: |targets| {
            let (from, to) = (file(targets), below(&targets.own_root, NAME));
            undo(fs::rename(&from, &to), || fs::rename(&to, &from))
        },
    },
    Attempt {
        name: "unlink",
        what: "remove a file of the own root",
        group: Writing,
        barrier: Sandbox,
        act: |targets| {
            let spare = below(&targets.own_root, stand_in::SPARE);
            undo(fs::remove_file(&spare), || File::create(&spare).map(drop))
        },
    },
    Attempt {
        name: "rmdir",
        what: "remove a directory of the own root",
        group: Writing,
        barrier: Sandbox,
        act: |targets| {
            let empty = below(&targets.own_root, stand_in::EMPTY);
            undo(fs::remove_dir(&empty), || fs::create_dir(&empty))
        },
    },
    Attempt {
        name: "mkdir",
        what: "make a directory in the own root",
        group: Writing,
        barrier: Sandbox,
        act: |targets| {
            let path = below(&targets.own_root, NAME);
            undo(fs::create_dir(&path), || fs::remove_dir(&path))
        },
    },
    Attempt {
        name: "symlink",
        what: "make a symbolic link in the own root",
        group: Writing,
        barrier: Sandbox,
        act: |targets| {
            let path = below(&targets.own_root, NAME);
            undo(symlink("/etc", &path), || fs::remove_file(&path))
        },
    },
    Attempt {
        name: "link",
        what: "make a hard link in the own root",
        group: Writing,
        barrier: Sandbox,
        act: |targets| {
            let path = below(&targets.own_root, NAME);
            undo(fs::hard_link(file(targets), &path), || fs::remove_file(&path))
        },
    },
    Attempt {
        name: "mkfifo",
        what: "make a named pipe in the own root",
        group: Writing,
        barrier: Sandbox,
        act: |targets| {
            let path = below(&targets.own_root, NAME);
            undo(mkfifo(&path, Mode::S_IRUSR).map_err(Into::into), || fs::remove_file(&path))
        },
    },
    Attempt {
        name: "mknod",
        what: "make a device in the own root",
        group: Writing,
        barrier: Sandbox,
        act: |targets| {
            let path = c_path(&below(&targets.own_root, NAME));
            // /dev/null, which is harmless.
            let made = call(libc::SYS_mknodat, [at_cwd(), address(path.as_slice()), 0o020_600, 0x103]);
            undo(made.map(drop).map_err(Into::into), || fs::remove_file(below(&targets.own_root, NAME)))
        },
    },
    Attempt {
        name: "make-socket",
        what: "make a unix socket in the own root",
        group: Writing,
        barrier: Sandbox,
        act: |targets| {
            let path = below(&targets.own_root, NAME);
            undo(UnixDatagram::bind(&path).map(drop), || fs::remove_file(&path))
        },
    },
    Attempt {
        name: "chmod",
        what: "change the mode of a file that is its own",
        group: Writing,
        barrier: Sandbox,
        act: |targets| {
            let path = c_path(&file(targets));
            outcome(call(libc::SYS_fchmodat, [at_cwd(), address(path.as_slice()), 0o666]))
        },
    },
    Attempt {
        name: "chown",
        what: "change the owner of a file that is its own",
        group: Writing,
        barrier: Sandbox,
        act: |targets| outcome(chown(&file(targets), None, None)),
    },
    Attempt {
        name: "utimensat",
        what: "change the times of a file that is its own",
        group: Writing,
        barrier: Sandbox,
        act: |targets| {
            let keep = TimeSpec::UTIME_OMIT;
            outcome(utimensat(AT_FDCWD, &file(targets), &keep, &keep, UtimensatFlags::FollowSymlink))
        },
    },
    Attempt {
        name: "setxattr",
        what: "set an extended attribute of a file that is its own",
        group: Writing,
        barrier: Sandbox,
        act: |targets| {
            let path = c_path(&file(targets));
            let (path, name) = (address(path.as_slice()), address(c"user.sersync-attempt"));
            let set = call(libc::SYS_setxattr, [path, name, address(b"x"), 1]);
            undo(set.map(drop).map_err(Into::into), || {
                Ok(call(libc::SYS_removexattr, [path, name]).map(drop)?)
            })
        },
    },
    Attempt {
        name: "write-own-memory-file",
        what: "write to its own code through /proc/self/mem",
        group: Writing,
        barrier: Sandbox,
        act: |_| io_outcome(OpenOptions::new().write(true).open("/proc/self/mem")),
    },
];

fn file(targets: &Targets) -> PathBuf {
    below(&targets.own_root, stand_in::FILE)
}

/// Where everybody writes, a name that nobody else takes.
fn own_name(place: &str) -> PathBuf {
    Path::new(place).join(format!("{NAME}-{}", std::process::id()))
}

fn create(path: &Path) -> Verdict {
    let made = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
    undo(made.map(drop), || fs::remove_file(path))
}

/// Such a file goes with its descriptor. Not every file system has them.
fn unnamed(place: &Path) -> Verdict {
    match open(place, OFlag::O_TMPFILE | OFlag::O_WRONLY, Mode::S_IRUSR) {
        Err(Errno::EOPNOTSUPP | Errno::EISDIR) => {
            Verdict::NotApplicable("this file system has none".to_owned())
        }
        Err(Errno::ENOENT) => Verdict::NotApplicable("there is nothing".to_owned()),
        other => outcome(other),
    }
}

/// What came through is taken back at once.
fn undo(done: std::io::Result<()>, back: impl FnOnce() -> std::io::Result<()>) -> Verdict {
    if done.is_ok() && back().is_err() {
        return Verdict::Allowed("it was done, and could not be undone".to_owned());
    }
    io_outcome(done)
}

fn c_path(path: &Path) -> Vec<u8> {
    [path.as_os_str().as_bytes(), &[0]].concat()
}

fn at_cwd() -> usize {
    super::signed(libc::AT_FDCWD)
}
