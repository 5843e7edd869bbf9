//! Directories and files that were renamed, for one remote: which new name is which old one, while
//! the changes wait. Pure.
//!
//! This is never more than a hint. The changes alone say what is dirty; with the hint a remote that
//! still has the old name may make the new one out of it, without the bytes. A directory is made by
//! links, which takes both names in one job; a file is made by copying, whatever becomes of its old
//! name later.

use std::collections::VecDeque;
use std::time::Duration;

use common::event::{Change, Dirt};
use common::filter::EntryKind;
use common::message::{MAX_MOVES, Move};
use common::path::RelPath;

use super::backlog::Taken;

/// Longest wait of an old name's removal for the new name, which is reported when all of it was
/// read. A directory of a million files takes about two seconds.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long a file's rename is remembered while its new name waits.
const MEMORY: Duration = Duration::from_secs(3600);
/// Most renames that are remembered. What is beyond travels with its bytes. Fewer of files, which are
/// remembered for long: each change is held against all of them.
const MAX_HINTS: usize = 256;
const MAX_FILES: usize = 32;
/// Most bytes that the names of one job's renames may take, beside those of its paths.
const MAX_NAMES: usize = 4 << 10;

/// Whether a remote has a directory or file as it was here when it was renamed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Copy {
    /// Nothing waits, or is under way, that concerns it.
    Settled,
    /// It may be another one there.
    Unsettled,
}

/// What a change does to the removal of an old name.
#[derive(Debug, PartialEq, Eq)]
pub enum Turn {
    /// It is held until then.
    Hold(RelPath, Duration),
    /// It waits no more.
    Release(RelPath),
}

/// The renames, oldest first.
#[derive(Debug, Default)]
pub struct Moves(VecDeque<Hint>);

#[derive(Debug)]
struct Hint {
    kind: EntryKind,
    from: RelPath,
    to: RelPath,
    /// How long the removal of `from` waits; of a file, how long this is remembered.
    until: Duration,
    /// That removal has come.
    removed: bool,
    /// Something has happened at or below `to` since.
    touched: bool,
}

impl Moves {
    /// Something was renamed: the removal of its old name follows, and then all of the new one. What
    /// that does to removals that wait.
    pub fn note(
        &mut self,
        now: Duration,
        kind: EntryKind,
        (from, to): (&RelPath, &RelPath),
        copy: Copy,
    ) -> Vec<Turn> {
        let until = now.saturating_add(match kind {
            EntryKind::Directory => PATIENCE,
            EntryKind::File => MEMORY,
        });
        // Twice before anything was sent: the remote has it under its first name.
        let earlier = self.0.iter().find(|hint| hint.kind == kind && hint.to == *from && !hint.touched);
        let origin = match (earlier, copy) {
            (Some(hint), _) => Some((hint.from.clone(), hint.removed)),
            (None, Copy::Settled) => Some((from.clone(), false)),
            (None, Copy::Unsettled) => None,
        };
        // Where another one comes or goes, what was noted of its name is no longer so.
        let is_over = |hint: &Hint| hint.from.overlaps(from) || hint.to == *from || hint.to == *to;
        let held = |hint: &&Hint| hint.kind == EntryKind::Directory && is_over(hint);
        let over: Vec<RelPath> = self.0.iter().filter(held).map(|hint| hint.from.clone()).collect();
        self.0.retain(|hint| !is_over(hint));
        let origin = origin.filter(|(origin, _)| !origin.overlaps(to) && self.has_room(kind));
        let stays = |old: &RelPath| origin.as_ref().is_some_and(|(origin, _)| origin == old);
        let turn = |old| if stays(&old) { Turn::Hold(old, until) } else { Turn::Release(old) };
        let turns = over.into_iter().map(turn).collect();
        let (to, touched) = (to.clone(), false);
        self.0.extend(origin.map(|(from, removed)| Hint { kind, from, to, until, removed, touched }));
        turns
    }

    /// A change is taken in. What it does to removals that wait.
    pub fn changed(&mut self, now: Duration, change: &Change) -> Vec<Turn> {
        let mut turns = Vec::new();
        // A watcher that died has not told the rest.
        self.0.retain(|hint| hint.until > now);
        self.0.retain_mut(|hint| {
            if hint.kind == EntryKind::File {
                hint.touched |= concerns(change, &hint.to);
                return !ends_file(change, hint);
            }
            let is_removal = change.path == hint.from && change.dirt == Dirt::RemovedDir;
            if is_removal && !std::mem::replace(&mut hint.removed, true) {
                turns.push(Turn::Hold(hint.from.clone(), hint.until));
                return true;
            }
            let has_come = change.path == hint.to && change.dirt == Dirt::Deep;
            // What stands at the old name now is another one, or the new one will never come.
            let is_void = concerns(change, &hint.from) || (!has_come && covers(change, &hint.to));
            if has_come || is_void {
                turns.push(Turn::Release(hint.from.clone()));
            }
            hint.touched |= concerns(change, &hint.to);
            !is_void
        });
        turns
    }

    /// The renames of which a job carries both names, or of a file the new one. Those of which it carries
    /// one are over too.
    pub fn take(&mut self, taken: &[Taken]) -> Vec<Move> {
        if self.0.is_empty() {
            return Vec::new();
        }
        let (mut moves, mut bytes) = (Vec::new(), 0_usize);
        let at = |path: &RelPath| taken.iter().find(|(other, _)| other == path).map(|(_, entry)| entry);
        self.0.retain(|hint| {
            let (from, to) = (at(&hint.from), at(&hint.to));
            let fits = match (hint.kind, from, to) {
                (_, _, None) | (EntryKind::Directory, None, Some(_)) => false,
                (EntryKind::Directory, Some(old), Some(new)) => {
                    (old.dirt, new.dirt) == (Dirt::RemovedDir, Dirt::Deep)
                        && (old.attempts, new.attempts) == (0, 0)
                }
                // By another job before this one it would be another file by now.
                (EntryKind::File, old, Some(new)) => {
                    new.dirt == Dirt::Touched && new.attempts == 0 && old.is_none_or(|old| old.attempts == 0)
                }
            };
            if fits && moves.len() < MAX_MOVES {
                let size = hint.from.as_bytes().len().saturating_add(hint.to.as_bytes().len());
                bytes = bytes.saturating_add(size);
                if bytes <= MAX_NAMES {
                    moves.push(Move { from: hint.from.clone(), to: hint.to.clone() });
                }
            }
            from.is_none() && to.is_none()
        });
        moves
    }

    /// A job did not carry these files after all: the next one that does may make them out of their old
    /// names.
    pub fn again(&mut self, now: Duration, moves: impl DoubleEndedIterator<Item = Move>) {
        let (until, removed, touched) = (now.saturating_add(MEMORY), true, true);
        for Move { from, to } in moves.rev() {
            // What was renamed since may have taken one of these names.
            let is_over =
                self.0.iter().any(|hint| hint.to == to || hint.to == from || hint.from.overlaps(&to));
            if !is_over && self.has_room(EntryKind::File) {
                self.0.push_front(Hint { kind: EntryKind::File, from, to, until, removed, touched });
            }
        }
    }

    fn has_room(&self, kind: EntryKind) -> bool {
        let most = match kind {
            EntryKind::Directory => MAX_HINTS,
            EntryKind::File => MAX_FILES,
        };
        self.0.iter().filter(|hint| hint.kind == kind).count() < most
    }

    /// Nothing is known any more.
    pub fn clear(&mut self) {
        self.0.clear();
    }
}

/// Whether nothing can be made of a renamed file any more. Another one at its old name does not matter:
/// the remote has the first until the job that brings the second.
fn ends_file(change: &Change, hint: &Hint) -> bool {
    let is_there = change.path == hint.to && change.dirt == Dirt::Touched;
    let is_file = matches!(change.dirt, Dirt::Touched | Dirt::Removed);
    let is_old = change.path == hint.from && is_file;
    !is_there && !is_old && (covers(change, &hint.to) || covers(change, &hint.from))
}

/// Whether something happens at or below `path`, or to all that is below something above it.
fn concerns(change: &Change, path: &RelPath) -> bool {
    change.path == *path || change.path.is_below(path) || covers(change, path)
}

/// Whether more than its own attributes change of `path`, or of something above it.
fn covers(change: &Change, path: &RelPath) -> bool {
    change.dirt != Dirt::Touched && (change.path == *path || path.is_below(&change.path))
}

#[cfg(test)]
mod tests;
