//! A process that is confined, as it sees itself.

use std::ffi::{OsStr, OsString};
use std::os::fd::OwnedFd;
use std::path::Path;
use std::process::Command;

use nix::fcntl::{OFlag, open};
use nix::sys::stat::Mode;

use super::{limits, raw};
use crate::event::RootId;

/// What a confined process needs: to start programs in a domain below its own, and to notice
/// that its domain is out of date.
#[derive(Debug)]
pub struct Confined {
    ruleset: Option<OwnedFd>,
    /// What stood at each path of the domain.
    seen: Vec<Seen>,
    transfer_cpu: Option<u64>,
}

impl Confined {
    /// For a process that is not confined: tests.
    pub fn not() -> Confined {
        Confined::new(None, Vec::new(), None)
    }

    pub(super) fn new(ruleset: Option<OwnedFd>, seen: Vec<Seen>, transfer_cpu: Option<u64>) -> Confined {
        Confined { ruleset, seen, transfer_cpu }
    }

    /// Makes the child that `command` starts die with this process, gives it its CPU time, and
    /// puts it into a domain below this process's: it cannot signal or trace us, while we can
    /// end it.
    pub fn prepare(&self, command: &mut Command) {
        raw::bound(
            command,
            self.ruleset.as_ref().map(raw::number),
            self.transfer_cpu.map(limits::cpu_within),
        );
    }

    /// A path of the domain at which something stands now that did not when the domain was made,
    /// if any: Landlock knows files, not names, so what came in its place is out of reach until
    /// the process is started anew. Costs a few system calls for each path.
    pub fn outdated(&self) -> Option<&Path> {
        self.seen.iter().find(|seen| seen.is_outdated()).map(|seen| Path::new(&seen.path))
    }
}

/// What stood at a path of the domain.
#[derive(Debug)]
pub(super) struct Seen {
    path: OsString,
    file: Option<RootId>,
    /// It could be opened once the domain was entered.
    opened: bool,
}

impl Seen {
    /// To be asked before the domain is made.
    pub(super) fn of(path: &OsStr) -> Seen {
        Seen { path: path.to_owned(), file: file_at(path), opened: false }
    }

    /// To be asked once it is entered.
    pub(super) fn try_open(&mut self) {
        self.opened = opens(&self.path);
    }

    fn is_outdated(&self) -> bool {
        match file_at(&self.path) {
            // There is nothing to reach.
            None => false,
            // A disk that was unmounted and is back: the very same file, but the rule went with
            // the mount.
            Some(now) if self.file == Some(now) => self.opened && !opens(&self.path),
            Some(_) => true,
        }
    }
}

fn file_at(path: &OsStr) -> Option<RootId> {
    Path::new(path).metadata().ok().map(|found| RootId::from(&found))
}

fn opens(path: &OsStr) -> bool {
    open(path, OFlag::O_RDONLY | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC | OFlag::O_NOCTTY, Mode::empty())
        .is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn what_came_in_its_place() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("file");
        let confined = |seen| Confined::new(None, vec![seen], None);
        let never_there = confined(Seen::of(path.as_os_str()));
        assert_eq!(never_there.outdated(), None);
        fs::write(&path, "1").unwrap();
        assert_eq!(never_there.outdated(), Some(path.as_path()));
        let mut seen = Seen::of(path.as_os_str());
        seen.try_open();
        let there = confined(seen);
        assert_eq!(there.outdated(), None);
        fs::remove_file(&path).unwrap();
        assert_eq!(there.outdated(), None);
        fs::write(directory.path().join("other"), "2").unwrap();
        fs::rename(directory.path().join("other"), &path).unwrap();
        assert_eq!(there.outdated(), Some(path.as_path()));
    }

    /// As Landlock does it to a file whose disk was unmounted and mounted again.
    #[test]
    fn the_same_but_out_of_reach() {
        let unreachable = Seen { path: "/".into(), file: file_at(OsStr::new("/")), opened: true };
        assert!(!unreachable.is_outdated());
        if nix::unistd::geteuid().is_root() {
            return eprintln!("skipped: root opens everything");
        }
        let closed = OsStr::new("/etc/shadow");
        assert!(Seen { path: closed.into(), file: file_at(closed), opened: true }.is_outdated());
        assert!(!Seen { path: closed.into(), file: file_at(closed), opened: false }.is_outdated());
    }
}
