//! Directories that were renamed, for one remote: which new name is which old one, while both
//! changes wait. Pure.
//!
//! This is never more than a hint. The changes alone say what is dirty; with the hint a remote that
//! still has the old name may make the new one out of it, without the bytes.

use std::collections::VecDeque;
use std::time::Duration;

use common::event::{Change, Dirt};
use common::message::{MAX_MOVES, Move};
use common::path::RelPath;

use super::backlog::Taken;

/// Longest wait of an old name's removal for the new name, which is reported when all of it was
/// read. A directory of a million files takes about two seconds.
const PATIENCE: Duration = Duration::from_secs(5);
/// Most renames that are remembered. What is beyond travels with its bytes.
const MAX_HINTS: usize = 256;
/// Most bytes that the names of one job's renames may take, beside those of its paths.
const MAX_NAMES: usize = 4 << 10;

/// Whether a remote has a directory as it was here when it was renamed.
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
    from: RelPath,
    to: RelPath,
    /// How long the removal of `from` waits.
    until: Duration,
    /// Something has happened at or below `to` since.
    touched: bool,
}

impl Moves {
    /// A directory was renamed: the removal of `from` follows, and then all of `to`.
    pub fn note(&mut self, now: Duration, from: &RelPath, to: &RelPath, copy: Copy) {
        let until = now.saturating_add(PATIENCE);
        // Twice before anything was sent: the remote has it under its first name.
        if let Some(hint) = self.0.iter_mut().find(|hint| hint.to == *from && !hint.touched) {
            if !hint.from.overlaps(to) {
                (hint.to, hint.until) = (to.clone(), until);
            }
            return;
        }
        if copy == Copy::Settled && !from.overlaps(to) && self.0.len() < MAX_HINTS {
            self.0.push_back(Hint { from: from.clone(), to: to.clone(), until, touched: false });
        }
    }

    /// A change is taken in. What it does to removals that wait.
    pub fn changed(&mut self, now: Duration, change: &Change) -> Vec<Turn> {
        let mut turns = Vec::new();
        // A watcher that died has not told the rest.
        self.0.retain(|hint| hint.until > now);
        self.0.retain_mut(|hint| {
            let is_removal = change.path == hint.from && change.dirt == Dirt::RemovedDir;
            if is_removal {
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

    /// The renames of which a job carries both names. Those of which it carries one are over too.
    pub fn take(&mut self, taken: &[Taken]) -> Vec<Move> {
        if self.0.is_empty() {
            return Vec::new();
        }
        let (mut moves, mut bytes) = (Vec::new(), 0_usize);
        let at = |path: &RelPath| taken.iter().find(|(other, _)| other == path).map(|(_, entry)| entry);
        self.0.retain(|hint| {
            let (from, to) = (at(&hint.from), at(&hint.to));
            if let (Some(old), Some(new)) = (from, to)
                && (old.dirt, new.dirt) == (Dirt::RemovedDir, Dirt::Deep)
                && (old.attempts, new.attempts) == (0, 0)
                && moves.len() < MAX_MOVES
            {
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

    /// Nothing is known any more.
    pub fn clear(&mut self) {
        self.0.clear();
    }
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
