//! What plugins are still to be told of one tree: each changed path, until every remote has
//! dealt with it. A remote has dealt with a change when a job that began after the change, and
//! covers its path, is over; or when the remote is known to be down, which delays nobody.
//!
//! A path that changes again while a job carries it gets a second entry: the first is told
//! when that job is over, the second after the next one. So a file that never rests is told of
//! again and again, and never too early.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::time::Duration;

use common::event::{Change, DOUBTED, Dirt, IN_ISDIR, RECEIVED};
use common::message::{EventKind, RemoteOutcome, Work};
use common::path::RelPath;

use super::backlog::{MAX_PATHS, below};
use super::{RemoteId, Role};

/// How a remote stands with a change; `None` while it has not dealt with it.
pub type Standing = (RemoteId, Option<RemoteOutcome>);

/// A change that all remotes have dealt with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settled {
    /// What changed.
    pub path: RelPath,
    /// How.
    pub kind: EventKind,
    /// Whether it is, or was, a directory.
    pub directory: bool,
    /// The inotify bits seen; 0 when nobody saw it.
    pub mask: u32,
    /// When it was seen first.
    pub seen: Duration,
    /// How the remotes fared.
    pub remotes: Vec<(RemoteId, RemoteOutcome)>,
}

/// The changes of one tree that are not settled.
#[derive(Debug, Default)]
pub struct Ledger {
    entries: BTreeMap<RelPath, Entry>,
    settled: BTreeSet<RelPath>,
    /// What the jobs under way cover, and the last change before each of them began.
    flights: BTreeMap<Role, Flight>,
    changes: u64,
    /// Changes that found no room.
    untold: u64,
}

#[derive(Debug)]
struct Entry {
    first: Cell,
    second: Option<Cell>,
}

#[derive(Debug)]
struct Cell {
    /// The number of the last change in it.
    change: u64,
    kind: EventKind,
    directory: bool,
    mask: u32,
    seen: Duration,
    /// A job has begun that covers it: what happens now is another change.
    closed: bool,
    remotes: Vec<Standing>,
}

#[derive(Debug)]
struct Flight {
    /// The last change that happened before it.
    since: u64,
    scope: Scope,
}

#[derive(Debug)]
enum Scope {
    /// Each path, and whether all below it is covered too.
    Paths(Vec<(RelPath, bool)>),
    All,
}

impl Ledger {
    /// Takes a change in. `remotes` are those of the tree, with what is known of them already.
    pub fn note(&mut self, now: Duration, change: &Change, remotes: &[Standing]) {
        self.changes = self.changes.saturating_add(1);
        let cell = Cell {
            change: self.changes,
            kind: kind(change),
            directory: change.mask & IN_ISDIR != 0 || is_tree(change.dirt),
            mask: change.mask & !(RECEIVED | DOUBTED),
            seen: now,
            closed: false,
            remotes: remotes.to_vec(),
        };
        if self.entries.len() >= MAX_PATHS && !self.entries.contains_key(&change.path) {
            self.untold = self.untold.saturating_add(1);
            return;
        }
        match self.entries.entry(change.path.clone()) {
            std::collections::btree_map::Entry::Vacant(place) => {
                place.insert(Entry { first: cell, second: None });
            }
            std::collections::btree_map::Entry::Occupied(place) => {
                let entry = place.into_mut();
                match &mut entry.second {
                    Some(second) => second.absorb(cell),
                    None if entry.first.closed => entry.second = Some(cell),
                    None => entry.first.absorb(cell),
                }
            }
        }
        self.settle(&change.path);
    }

    /// A job begins.
    pub fn begin(&mut self, role: Role, work: &Work) {
        let scope = match work {
            Work::Full => Scope::All,
            // Brings nothing over.
            Work::Verify { .. } => return,
            Work::Batch(paths) => {
                Scope::Paths(paths.iter().map(|(path, dirt)| (path.clone(), is_tree(*dirt))).collect())
            }
        };
        self.each_covered(&scope, |_, cell| cell.closed = true);
        self.flights.insert(role, Flight { since: self.changes, scope });
    }

    /// The job is over. With `None` it dealt with nothing, and will be done again. It does not answer
    /// for what somebody else still `carries`: a batch during a full sync, and who gets what it left out.
    pub fn end(
        &mut self,
        role: Role,
        remote: RemoteId,
        outcome: Option<RemoteOutcome>,
        carries: impl Fn(&RelPath) -> bool,
    ) {
        let Some(Flight { since, scope }) = self.flights.remove(&role) else { return };
        if outcome.is_some() {
            self.each_covered(&scope, |path, cell| {
                if cell.change <= since && !carries(path) {
                    cell.dealt_with(remote, outcome);
                }
            });
        }
    }

    /// The remote is down: nobody waits for it.
    pub fn give_up_on(&mut self, remote: RemoteId) {
        self.each_covered(&Scope::All, |_, cell| cell.dealt_with(remote, Some(RemoteOutcome::Down)));
    }

    /// The remote is configured no more.
    pub fn forget_remote(&mut self, remote: RemoteId) {
        self.flights.retain(|role, _| !matches!(role, Role::Syncer(id, _) if *id == remote));
        self.each_covered(&Scope::All, |_, cell| cell.remotes.retain(|(id, _)| *id != remote));
    }

    /// These do not travel any more: nobody is told of them. `excludes` is given each path, and
    /// whether it is a directory.
    pub fn forget_paths(&mut self, excludes: impl Fn(&RelPath, bool) -> bool) {
        self.entries.retain(|path, entry| !excludes(path, entry.first.directory));
    }

    /// Takes out what all remotes have dealt with, in the order in which it happened.
    pub fn take_settled(&mut self) -> Vec<Settled> {
        let mut all = Vec::new();
        for path in std::mem::take(&mut self.settled) {
            while let Some(entry) = self.entries.get_mut(&path).filter(|entry| entry.first.is_settled()) {
                let cell = match entry.second.take() {
                    Some(second) => std::mem::replace(&mut entry.first, second),
                    None => match self.entries.remove(&path) {
                        Some(entry) => entry.first,
                        None => break,
                    },
                };
                all.push((cell.change, cell.settled(&path)));
            }
        }
        all.sort_unstable_by_key(|(change, _)| *change);
        all.into_iter().map(|(_, settled)| settled).collect()
    }

    /// Changes that found no room since this was last asked.
    pub fn take_untold(&mut self) -> u64 {
        std::mem::take(&mut self.untold)
    }

    /// How many paths are not settled.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// True when every change is settled and taken.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    fn each_covered(&mut self, scope: &Scope, mut act: impl FnMut(&RelPath, &mut Cell)) {
        let mut touched = Vec::new();
        let mut visit = |path: &RelPath, entry: &mut Entry| {
            act(path, &mut entry.first);
            entry.second.iter_mut().for_each(|cell| act(path, cell));
            if entry.first.is_settled() {
                touched.push(path.clone());
            }
        };
        match scope {
            Scope::All => self.entries.iter_mut().for_each(|(path, entry)| visit(path, entry)),
            Scope::Paths(paths) => {
                for (path, is_tree) in paths {
                    if let Some(entry) = self.entries.get_mut(path) {
                        visit(path, entry);
                    }
                    if *is_tree {
                        let (from, to) = below(path);
                        let range = (Bound::Included(&from[..]), Bound::Excluded(&to[..]));
                        self.entries.range_mut::<[u8], _>(range).for_each(|(path, entry)| visit(path, entry));
                    }
                }
            }
        }
        self.settled.extend(touched);
    }

    fn settle(&mut self, path: &RelPath) {
        if self.entries.get(path).is_some_and(|entry| entry.first.is_settled()) {
            self.settled.insert(path.clone());
        }
    }
}

impl Cell {
    /// A later change of the same path.
    fn absorb(&mut self, later: Cell) {
        self.mask |= later.mask;
        (self.change, self.kind, self.directory) = (later.change, later.kind, later.directory);
        self.remotes = later.remotes;
    }

    fn dealt_with(&mut self, remote: RemoteId, outcome: Option<RemoteOutcome>) {
        for (id, standing) in &mut self.remotes {
            if *id == remote && standing.is_none() {
                *standing = outcome;
            }
        }
    }

    fn is_settled(&self) -> bool {
        self.remotes.iter().all(|(_, standing)| standing.is_some())
    }

    fn settled(self, path: &RelPath) -> Settled {
        let standing = |(id, standing): Standing| Some((id, standing?));
        Settled {
            path: path.clone(),
            kind: self.kind,
            directory: self.directory,
            mask: self.mask,
            seen: self.seen,
            remotes: self.remotes.into_iter().filter_map(standing).collect(),
        }
    }
}

fn kind(change: &Change) -> EventKind {
    match change.dirt {
        Dirt::Removed | Dirt::RemovedDir => EventKind::Removed,
        Dirt::Touched => EventKind::Changed,
        // Without a bit nobody saw what happened there.
        Dirt::Deep | Dirt::Sweep if change.mask == 0 => EventKind::Rescanned,
        Dirt::Deep | Dirt::Sweep => EventKind::Changed,
    }
}

/// A job that lists a path of this kind covers all below it.
fn is_tree(dirt: Dirt) -> bool {
    match dirt {
        Dirt::RemovedDir | Dirt::Deep | Dirt::Sweep => true,
        Dirt::Touched | Dirt::Removed => false,
    }
}

#[cfg(test)]
mod tests;
