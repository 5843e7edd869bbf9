//! A keeper that only does what it is told, behind a watcher.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::time::{Duration, Instant};

use common::config::Switches;
use common::event::TreeId;
use common::keep::{NameOp, Purpose, Stamp};
use common::message::{WatcherOrder, WatcherReport};
use common::path::RelPath;
use nix::sys::stat::lstat;

use super::{Bench, PATIENCE};
use crate::stamp::stamp;

pub(super) const ROOM: u32 = 8;

pub(super) fn path(path: impl Into<Vec<u8>>) -> RelPath {
    RelPath::new(path).unwrap()
}

fn child(directory: &RelPath, name: &[u8]) -> RelPath {
    directory.join(name).unwrap()
}

/// What the keeper would hold.
#[derive(Default)]
pub(super) struct Index {
    pub(super) names: BTreeMap<RelPath, Stamp>,
    pub(super) whole: bool,
}

impl Index {
    fn forget(&mut self, gone: &RelPath) {
        self.names.retain(|name, _| name != gone && !name.is_below(gone));
    }

    fn enter(&mut self, path: RelPath, stamp: Stamp) {
        if !self.is_other(&path, stamp) {
            self.names.insert(path, stamp);
        }
    }

    /// Whether a directory is known there that is not this one.
    fn is_other(&self, path: &RelPath, stamp: Stamp) -> bool {
        let old = self.names.get(path);
        old.is_some_and(|old| old.directory && (!stamp.directory || old.inode != stamp.inode))
    }

    /// Returns what differs.
    fn obey(&mut self, op: &NameOp) -> Vec<RelPath> {
        match op {
            NameOp::Entry(path, stamp) => self.enter(path.clone(), *stamp),
            NameOp::Gone(path) => self.forget(path),
            NameOp::Listing { directory, entries, purpose: Purpose::Learn, .. } => {
                for (name, stamp) in entries {
                    self.names.entry(child(directory, name)).or_insert(*stamp);
                }
            }
            NameOp::Listing { directory, after, upto, entries, purpose: Purpose::Compare } => {
                let finds = self.list(directory, after.as_ref(), upto.as_ref(), entries);
                if self.whole {
                    return finds;
                }
            }
        }
        Vec::new()
    }

    fn list(
        &mut self,
        directory: &RelPath,
        after: Option<&Vec<u8>>,
        upto: Option<&Vec<u8>>,
        entries: &[(Vec<u8>, Stamp)],
    ) -> Vec<RelPath> {
        assert!(entries.is_sorted_by(|one, other| one.0 < other.0), "{entries:?}");
        let within = |name: &[u8]| {
            after.is_none_or(|after| name > after.as_slice())
                && upto.is_none_or(|upto| name <= upto.as_slice())
        };
        assert!(entries.iter().all(|(name, _)| within(name)));
        let told: BTreeSet<RelPath> = entries.iter().map(|(name, _)| child(directory, name)).collect();
        let gone: Vec<RelPath> = self
            .names
            .keys()
            .filter(|name| name.parent().as_ref() == Some(directory) && within(name.name()))
            .filter(|name| !told.contains(*name))
            .cloned()
            .collect();
        for path in &gone {
            self.forget(path);
        }
        let mut finds = gone;
        for (name, stamp) in entries {
            let path = child(directory, name);
            if self.names.get(&path) != Some(stamp) {
                finds.push(path.clone());
            }
            if self.is_other(&path, *stamp) {
                self.forget(&path);
            }
            self.names.insert(path, *stamp);
        }
        finds
    }
}

/// A watcher, and the keeper behind it.
pub(super) struct Indexed {
    pub(super) bench: Bench,
    pub(super) index: Index,
    /// What a comparison found.
    pub(super) found: Vec<RelPath>,
    /// Listings that were told.
    pub(super) listed: Vec<(RelPath, Purpose)>,
    /// Everything else.
    pub(super) reports: Vec<WatcherReport>,
}

impl Indexed {
    pub(super) fn prepared(switches: Switches, filter: &[&str], prepare: impl FnOnce(&Bench)) -> Indexed {
        let bench = Bench::built(&["root"], switches, filter, |slice| slice.index = true);
        bench.mkdir("");
        prepare(&bench);
        let (index, found, listed, reports) = Default::default();
        Indexed { bench, index, found, listed, reports }
    }

    /// Everything is listed.
    pub(super) fn listed(switches: Switches, filter: &[&str], prepare: impl FnOnce(&Bench)) -> Indexed {
        let mut indexed = Indexed::prepared(switches, filter, prepare);
        indexed.bench.order(WatcherOrder::Room(ROOM));
        indexed.until_listed("", 0);
        indexed.reports.clear();
        indexed.listed.clear();
        indexed
    }

    pub(super) fn turn(&mut self) {
        self.bench.turn();
        for report in std::mem::take(&mut self.bench.seen) {
            match &report {
                WatcherReport::Names(TreeId(0), ops) => {
                    for op in ops {
                        self.found.append(&mut self.index.obey(op));
                        if let NameOp::Listing { directory, purpose, .. } = op {
                            self.listed.push((directory.clone(), *purpose));
                        }
                    }
                    if ops.iter().any(|op| matches!(op, NameOp::Listing { .. })) {
                        self.bench.order(WatcherOrder::Room(1));
                    }
                }
                WatcherReport::Listed { path, .. } if path.is_root() => self.index.whole = true,
                _ => {}
            }
            self.reports.push(report);
        }
    }

    pub(super) fn until(&mut self, done: impl Fn(&Indexed) -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while !done(self) {
            assert!(Instant::now() < deadline, "not in {:#?}", self.reports);
            self.turn();
        }
    }

    pub(super) fn until_listed(&mut self, of: &str, pass: u32) {
        let listed = WatcherReport::Listed { tree: TreeId(0), path: path(of), pass };
        self.until(|indexed| indexed.reports.contains(&listed));
    }

    pub(super) fn flush(&mut self, number: u64) {
        self.bench.order(WatcherOrder::Flush(number));
        self.until(|indexed| indexed.reports.contains(&WatcherReport::Flushed(number)));
    }

    /// Nothing is left to be told.
    pub(super) fn rest(&mut self) {
        self.flush(u64::MAX);
        self.reports.retain(|report| *report != WatcherReport::Flushed(u64::MAX));
        self.until(|indexed| !indexed.bench.watcher.roots[0].wants_to_list(ROOM));
        self.turn();
    }

    /// It waits, and not by spinning: what comes late may wake it, but not often.
    pub(super) fn waits(&mut self) {
        let (start, longest) = (Instant::now(), Duration::from_millis(100));
        let mut turns = 0;
        while start.elapsed() < longest {
            self.bench.watcher.turn(longest).unwrap();
            turns += 1;
        }
        assert!(turns <= 3, "{turns} turns in {longest:?}");
    }

    /// The names as they are, but for what is left out.
    pub(super) fn there(&self, left_out: &[&str]) -> BTreeMap<RelPath, Stamp> {
        let root = self.bench.at("");
        let (mut found, mut open) = (BTreeMap::new(), vec![root.clone()]);
        while let Some(directory) = open.pop() {
            for entry in fs::read_dir(directory).unwrap() {
                let at = entry.unwrap().path();
                let name = path(at.strip_prefix(&root).unwrap().as_os_str().as_bytes());
                if left_out.iter().any(|out| *name.as_bytes() == *out.as_bytes()) {
                    continue;
                }
                let stamp = stamp(&lstat(&at).unwrap());
                found.insert(name, stamp);
                if stamp.directory {
                    open.push(at);
                }
            }
        }
        found
    }

    pub(super) fn check(&self) {
        assert_eq!(self.index.names, self.there(&[]));
    }
}
