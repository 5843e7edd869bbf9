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
    /// That removal has come.
    removed: bool,
    /// Something has happened at or below `to` since.
    touched: bool,
}

impl Moves {
    /// A directory was renamed: the removal of `from` follows, and then all of `to`. What that does
    /// to removals that wait.
    pub fn note(&mut self, now: Duration, from: &RelPath, to: &RelPath, copy: Copy) -> Vec<Turn> {
        let until = now.saturating_add(PATIENCE);
        // Twice before anything was sent: the remote has it under its first name.
        let earlier = self.0.iter().find(|hint| hint.to == *from && !hint.touched);
        let origin = match (earlier, copy) {
            (Some(hint), _) => Some((hint.from.clone(), hint.removed)),
            (None, Copy::Settled) => Some((from.clone(), false)),
            (None, Copy::Unsettled) => None,
        };
        // Where another one comes or goes, what was noted of its name is no longer so.
        let is_over = |hint: &Hint| hint.from.overlaps(from) || hint.to == *from || hint.to == *to;
        let over: Vec<RelPath> =
            self.0.iter().filter(|hint| is_over(hint)).map(|hint| hint.from.clone()).collect();
        self.0.retain(|hint| !is_over(hint));
        let origin = origin.filter(|(origin, _)| !origin.overlaps(to) && self.0.len() < MAX_HINTS);
        let stays = |old: &RelPath| origin.as_ref().is_some_and(|(origin, _)| origin == old);
        let turn = |old| if stays(&old) { Turn::Hold(old, until) } else { Turn::Release(old) };
        let turns = over.into_iter().map(turn).collect();
        let (to, touched) = (to.clone(), false);
        self.0.extend(origin.map(|(from, removed)| Hint { from, to, until, removed, touched }));
        turns
    }

    /// A change is taken in. What it does to removals that wait.
    pub fn changed(&mut self, now: Duration, change: &Change) -> Vec<Turn> {
        let mut turns = Vec::new();
        // A watcher that died has not told the rest.
        self.0.retain(|hint| hint.until > now);
        self.0.retain_mut(|hint| {
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
