//! Which changes are alone: made while a batch is under way, in a directory where hardly anything
//! else happens. They go beside the batch, in the express lane; what belongs to a burst does not,
//! since it is done soonest in one piece.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use common::path::RelPath;

/// How long a change waits for the batch under way, and for company.
pub(super) const PATIENCE: Duration = Duration::from_millis(5);
/// More changes in one directory than this, within a window or two, belong together.
const FEW: u32 = 4;
/// How long a window is.
const WINDOW: Duration = Duration::from_millis(100);
/// More lonely changes at once than this are a burst over many directories.
const MOST: usize = 32;
/// How often those that have found company are looked for, where there are so many.
const WEED: Duration = Duration::from_millis(2);
/// Most directories that are counted in a window.
const DIRECTORIES: usize = 1024;

/// The changes of late.
#[derive(Debug, Default)]
pub(super) struct Lonely {
    /// How much happened in each directory in this window, and in the one before.
    counts: [HashMap<RelPath, u32>; 2],
    since: Duration,
    waiting: VecDeque<(Duration, RelPath)>,
    /// When those were last looked through that have found company.
    weeded: Duration,
}

impl Lonely {
    /// A path changed.
    pub(super) fn note(&mut self, now: Duration, path: &RelPath) {
        let age = now.saturating_sub(self.since);
        if age >= WINDOW {
            self.counts.rotate_left(1);
            let [before, counts] = &mut self.counts;
            counts.clear();
            if age >= WINDOW.saturating_mul(2) {
                before.clear();
            }
            self.since = now;
        }
        let [_, counts] = &mut self.counts;
        let directory = path.parent().unwrap_or_else(RelPath::root);
        if counts.len() < DIRECTORIES || counts.contains_key(&directory) {
            let count = counts.entry(directory).or_default();
            *count = count.saturating_add(1);
        }
        if self.waiting.len() > MOST && now.saturating_sub(self.weeded) >= WEED {
            let mut waiting = std::mem::take(&mut self.waiting);
            waiting.retain(|(_, path)| self.is_alone(path));
            (self.waiting, self.weeded) = (waiting, now);
        }
        if self.waiting.len() <= MOST && self.is_alone(path) && !self.waiting.iter().any(|(_, it)| it == path)
        {
            self.waiting.push_back((now, path.clone()));
        }
    }

    /// When the first of them has waited long enough; in the past if it has. `None` for a burst.
    pub(super) fn due(&self) -> Option<Duration> {
        let (since, _) = self.waiting.front().filter(|_| self.waiting.len() <= MOST)?;
        Some(since.saturating_add(PATIENCE))
    }

    /// Takes out those that have waited long enough and are still alone.
    pub(super) fn take(&mut self, now: Duration) -> Vec<RelPath> {
        let due = |(since, _): &&(Duration, RelPath)| since.saturating_add(PATIENCE) <= now;
        let count = self.waiting.iter().take_while(due).count();
        let ripe: Vec<RelPath> = self.waiting.drain(..count).map(|(_, path)| path).collect();
        ripe.into_iter().filter(|path| self.is_alone(path)).collect()
    }

    fn is_alone(&self, path: &RelPath) -> bool {
        let directory = path.parent().unwrap_or_else(RelPath::root);
        let count = |counts: &HashMap<RelPath, u32>| counts.get(&directory).copied().unwrap_or(0);
        self.counts.iter().map(count).fold(0, u32::saturating_add) <= FEW
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    fn path(text: &str) -> RelPath {
        RelPath::new(text).unwrap()
    }

    #[test]
    fn one_change_in_a_quiet_directory() {
        let mut lonely = Lonely::default();
        lonely.note(at(1000), &path("a/x"));
        assert_eq!((lonely.due(), lonely.take(at(1004))), (Some(at(1005)), vec![]));
        assert_eq!((lonely.take(at(1005)), lonely.due()), (vec![path("a/x")], None));
    }

    #[test]
    fn a_burst_is_not_alone() {
        let mut lonely = Lonely::default();
        for n in 0..100 {
            lonely.note(at(1000), &path(&format!("a/{n}")));
        }
        lonely.note(at(1000), &path("b/x"));
        assert_eq!(lonely.take(at(1010)), [path("b/x")]);
        // Quiet again, after a while.
        lonely.note(at(1250), &path("a/x"));
        assert_eq!(lonely.take(at(1260)), [path("a/x")]);
    }

    #[test]
    fn a_burst_over_many_directories() {
        let mut lonely = Lonely::default();
        for n in 0..10_000 {
            lonely.note(at(1000), &path(&format!("{n}/x")));
        }
        assert_eq!(lonely.due(), None);
        assert!(lonely.counts[1].len() <= DIRECTORIES && lonely.waiting.len() <= MOST + 1);
        // What has found company since makes room.
        for n in 0..10_000 {
            lonely.note(at(1050), &path(&format!("0/{n}")));
        }
    }
}
