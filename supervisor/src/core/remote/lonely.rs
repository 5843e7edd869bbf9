//! Which changes are alone: made while a batch is under way, in a directory where hardly anything
//! else happens. They go beside the batch, in the express lane; what belongs to a burst does not,
//! since it is done soonest in one piece.

use std::collections::{HashMap, HashSet, VecDeque};
use std::time::Duration;

use common::event::{Change, IN_CREATE, IN_ISDIR, IN_MOVED_TO};
use common::path::RelPath;

/// How long a change waits for the batch under way, and for company.
pub(super) const PATIENCE: Duration = Duration::from_millis(5);
/// More changes in one directory than this, within a window or two, belong together.
const FEW: u32 = 4;
/// How long a window is.
const WINDOW: Duration = Duration::from_millis(100);
/// More lonely changes at once than this are a burst over many directories.
const MOST: usize = 32;
/// How long a directory counts as new, at least: what follows in it belongs to what made it.
const NEW: Duration = Duration::from_secs(5);
/// Most new directories that are remembered. While there are more nothing is alone.
const NEW_DIRECTORIES: usize = 8192;
/// How often those that have found company, or found nobody to take them, are looked for, where there
/// are so many.
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
    /// Directories that came of late, and before that.
    new: [HashSet<RelPath>; 2],
    new_since: Duration,
    /// When those were last looked through that have found company.
    weeded: Duration,
}

impl Lonely {
    /// A directory came: it is remembered.
    pub(super) fn note_new(&mut self, now: Duration, change: &Change) {
        if now.saturating_sub(self.new_since) >= NEW {
            self.new.rotate_left(1);
            let [_, new] = &mut self.new;
            new.clear();
            self.new_since = now;
        }
        let came = change.mask & IN_ISDIR != 0 && change.mask & (IN_CREATE | IN_MOVED_TO) != 0;
        let [_, new] = &mut self.new;
        if came && new.len() < NEW_DIRECTORIES {
            new.insert(change.path.clone());
        }
    }

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
        if let Some(count) = counts.get_mut(directory_of(path)) {
            *count = count.saturating_add(1);
        } else if counts.len() < DIRECTORIES {
            counts.insert(path.parent().unwrap_or_else(RelPath::root), 1);
        }
        if self.waiting.len() > MOST && now.saturating_sub(self.weeded) >= WEED {
            let mut waiting = std::mem::take(&mut self.waiting);
            let is_young = |since: Duration| now.saturating_sub(since) < WINDOW.saturating_mul(2);
            waiting.retain(|(since, path)| is_young(*since) && self.is_alone(path));
            (self.waiting, self.weeded) = (waiting, now);
        }
        if self.waiting.len() <= MOST && self.is_alone(path) && !self.waiting.iter().any(|(_, it)| it == path)
        {
            self.waiting.push_back((now, path.clone()));
        }
    }

    /// These wait for the next batch.
    pub(super) fn leave(&mut self, paths: &HashSet<RelPath>) {
        self.waiting.retain(|(_, path)| !paths.contains(path));
    }

    /// When the first of them has waited long enough; in the past if it has. `None` for a burst.
    pub(super) fn due(&self) -> Option<Duration> {
        let mut few = self.waiting.iter().filter(|_| self.waiting.len() <= MOST);
        few.find(|(_, path)| self.is_alone(path)).map(|(since, _)| since.saturating_add(PATIENCE))
    }

    /// Those that came a moment ago, and are still alone. None for a burst.
    pub(super) fn young(&self, now: Duration) -> Vec<RelPath> {
        let is_young = |since: Duration| now.saturating_sub(since) < WINDOW;
        let few = self.waiting.iter().filter(|_| self.waiting.len() <= MOST);
        few.filter(|(since, path)| is_young(*since) && self.is_alone(path))
            .map(|(_, path)| path.clone())
            .collect()
    }

    /// Takes out those that have waited long enough and are still alone.
    pub(super) fn take(&mut self, now: Duration) -> Vec<RelPath> {
        let due = |(since, _): &&(Duration, RelPath)| since.saturating_add(PATIENCE) <= now;
        let count = self.waiting.iter().take_while(due).count();
        let ripe: Vec<RelPath> = self.waiting.drain(..count).map(|(_, path)| path).collect();
        ripe.into_iter().filter(|path| self.is_alone(path)).collect()
    }

    fn is_alone(&self, path: &RelPath) -> bool {
        let directory = directory_of(path);
        // A new directory itself is about to be filled.
        let is_new = |new: &HashSet<RelPath>| new.contains(directory) || new.contains(path);
        if self.new.iter().any(|new| new.len() >= NEW_DIRECTORIES || is_new(new)) {
            return false;
        }
        let count = |counts: &HashMap<RelPath, u32>| counts.get(directory).copied().unwrap_or(0);
        self.counts.iter().map(count).fold(0, u32::saturating_add) <= FEW
    }
}

/// The bytes of the directory that holds it. This is asked for each change and each remote.
fn directory_of(path: &RelPath) -> &[u8] {
    path.ancestors().last().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use common::event::Dirt;

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

    /// Made, or made anew where one was removed, which the watcher tells otherwise.
    #[test]
    fn what_is_in_a_new_directory_is_not_alone() {
        in_a_new_directory(Dirt::Touched, IN_CREATE | IN_ISDIR);
        in_a_new_directory(Dirt::Deep, IN_MOVED_TO | IN_ISDIR);
    }

    fn in_a_new_directory(dirt: Dirt, mask: u32) {
        let mut lonely = Lonely::default();
        let made = Change { path: path("new"), dirt, mask };
        lonely.note_new(at(6000), &made);
        lonely.note(at(6000), &path("new"));
        lonely.note(at(6001), &path("new/x"));
        lonely.note(at(6001), &path("old/x"));
        assert_eq!(lonely.take(at(6010)), [path("old/x")]);
        // After a while it is one like any other.
        for later in [12_000, 18_000] {
            lonely.note_new(at(later), &Change { mask: 0, ..made.clone() });
        }
        lonely.note(at(18_000), &path("new/x"));
        assert_eq!(lonely.take(at(18_010)), [path("new/x")]);
    }

    #[test]
    fn a_burst_over_many_directories() {
        let mut lonely = Lonely::default();
        for n in 0..10_000 {
            lonely.note(at(1000), &path(&format!("{n}/x")));
        }
        assert_eq!(lonely.due(), None);
        assert!(lonely.counts[1].len() <= DIRECTORIES && lonely.waiting.len() <= MOST + 1);
        // What nobody took makes room: it goes with the next batch.
        lonely.note(at(3000), &path("a/x"));
        assert_eq!(lonely.take(at(3020)), [path("a/x")]);
    }
}
