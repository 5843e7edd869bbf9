//! A process that is confined, as it sees itself.

use std::ffi::OsString;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::process::Command;

use super::raw;
use crate::event::RootId;

/// What a confined process needs: to start programs in a domain below its own, and to notice
/// that its domain is out of date.
#[derive(Debug)]
pub struct Confined {
    ruleset: Option<OwnedFd>,
    /// What stood at each path of the domain.
    seen: Vec<(OsString, Option<RootId>)>,
    transfer_cpu: Option<u64>,
}

impl Confined {
    /// For a process that is not confined: tests.
    pub fn not() -> Confined {
        Confined::new(None, Vec::new(), None)
    }

    pub(super) fn new(
        ruleset: Option<OwnedFd>,
        seen: Vec<(OsString, Option<RootId>)>,
        transfer_cpu: Option<u64>,
    ) -> Confined {
        Confined { ruleset, seen, transfer_cpu }
    }

    /// Makes the child that `command` starts die with this process, gives it its CPU time, and
    /// puts it into a domain below this process's: it cannot signal or trace us, while we can
    /// end it.
    pub fn prepare(&self, command: &mut Command) {
        raw::bound(command, self.ruleset.as_ref().map(raw::number), self.transfer_cpu);
    }

    /// A path of the domain at which something stands now that did not when the domain was made,
    /// if any: Landlock knows files, not names, so what came in its place is out of reach until
    /// the process is started anew. Costs a `stat` for each path.
    pub fn outdated(&self) -> Option<&Path> {
        let is_new =
            |path: &OsString, seen: Option<RootId>| identity_of(path).is_some_and(|now| seen != Some(now));
        self.seen.iter().find(|(path, seen)| is_new(path, *seen)).map(|(path, _)| Path::new(path))
    }
}

/// Which file stands at `path`.
pub(super) fn identity_of(path: &OsString) -> Option<RootId> {
    Path::new(path).metadata().ok().map(|found| RootId::from(&found))
}
