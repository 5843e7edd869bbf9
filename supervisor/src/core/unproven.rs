//! What jobs have carried, until the watcher has shown that it saw what they read.
//!
//! A job reads a path when its turn comes, which may be long after the path was reported. What it finds
//! there and nobody reports, since the watcher has just died or lost events, and what is gone again before
//! a watcher looks, would stay on the remote for ever: neither the watcher nor the index has its name. So
//! removals, and directories with all below them, that were carried since the watcher last spoke are carried
//! once more. Not before the tree was compared: until then nobody knows whether what was put into their place
//! is to be there, and what is gone has been judged. What was reported as it is has its name in the index.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use common::event::{Change, Dirt};
use common::path::RelPath;

/// Most paths that are remembered.
pub const MOST: usize = 100_000;
/// Signs of life that follow each other faster count as one.
const SIGN: Duration = Duration::from_secs(1);

/// What was carried for one tree.
#[derive(Debug, Default)]
pub struct Unproven {
    /// Each path, how it was dirty, and when the last job with it ended.
    carried: HashMap<RelPath, (Dirt, Duration)>,
    /// When something ended last that cannot be carried once more: a path without room, a full sync.
    lost: Option<Duration>,
    /// What waits for the tree to be compared.
    later: BTreeMap<RelPath, Dirt>,
    /// Something cannot be carried once more, and nobody was told.
    untold: bool,
    /// Since when somebody watches without a gap.
    seen_since: Duration,
    /// When the watcher last spoke.
    sign: Duration,
}

/// Whether a job may have brought over, under such a path, what nobody reported: something new where
/// something was removed, or something in a directory.
pub fn may_hide(dirt: Dirt) -> bool {
    match dirt {
        Dirt::Removed | Dirt::RemovedDir | Dirt::Deep => true,
        Dirt::Touched | Dirt::Sweep => false,
    }
}

impl Unproven {
    /// A job that began at `since` has carried these, of all of which [`may_hide`] is true.
    pub fn carried(&mut self, now: Duration, since: Duration, paths: Vec<(RelPath, Dirt)>) {
        for (path, dirt) in paths {
            if since < self.seen_since {
                // It may have read this before somebody watched.
                self.put_off(path, dirt);
            } else if let Some(known) = self.carried.get_mut(&path) {
                *known = (known.0.then(dirt), now);
            } else if self.carried.len() < MOST {
                self.carried.insert(path, (dirt, now));
            } else {
                self.lost = Some(now);
            }
        }
    }

    /// A full sync that deletes is over. A tree in which events are lost all the time would have them without
    /// end, if each was repeated.
    pub fn synced(&mut self, now: Duration, since: Duration) {
        self.untold |= since < self.seen_since;
        self.lost = Some(now);
    }

    /// The watcher speaks, and somebody watches: what ended before it spoke last is proven.
    pub fn sign(&mut self, now: Duration) {
        if now.saturating_sub(self.sign) < SIGN {
            return;
        }
        let before = std::mem::replace(&mut self.sign, now);
        self.lost = self.lost.filter(|ended| *ended >= before);
        self.carried.retain(|_, (_, ended)| *ended >= before);
        if self.carried.is_empty() {
            self.carried = HashMap::new();
        }
    }

    /// Somebody watches again from now on; what is at, above or below `path` was not seen for a while.
    pub fn seen_again(&mut self, now: Duration, path: &RelPath) {
        if path.is_root() {
            self.seen_since = now;
            self.untold |= self.lost.take().is_some();
        }
        let is_there = |it: &RelPath| it == path || it.is_below(path) || path.is_below(it);
        for (path, (dirt, _)) in self.carried.extract_if(|it, _| is_there(it)).collect::<Vec<_>>() {
            self.put_off(path, dirt);
        }
    }

    /// True when something waits for the tree to be compared.
    pub fn waits(&self) -> bool {
        !self.later.is_empty()
    }

    /// It was: what has to be carried once more.
    pub fn compared(&mut self) -> Vec<Change> {
        let later = std::mem::take(&mut self.later);
        later.into_iter().map(|(path, dirt)| Change { path, dirt, mask: 0 }).collect()
    }

    /// None of it is to be carried once more.
    pub fn give_up(&mut self) {
        self.untold |= self.waits();
        self.later.clear();
    }

    /// Leaves out what does not travel any more.
    pub fn forget(&mut self, excludes: impl Fn(&RelPath, bool) -> bool) {
        let goes = |path: &RelPath, dirt: Dirt| !excludes(path, dirt != Dirt::Removed);
        self.carried.retain(|path, (dirt, _)| goes(path, *dirt));
        self.later.retain(|path, dirt| goes(path, *dirt));
    }

    /// Whether something cannot be carried once more of which nobody was told; from now on somebody was.
    pub fn is_untold(&mut self) -> bool {
        std::mem::take(&mut self.untold)
    }

    fn put_off(&mut self, path: RelPath, dirt: Dirt) {
        if let Some(known) = self.later.get_mut(&path) {
            *known = known.then(dirt);
        } else if self.later.len() < MOST {
            self.later.insert(path, dirt);
        } else {
            self.untold = true;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn path(text: &str) -> RelPath {
        RelPath::new(text).unwrap()
    }

    fn again(unproven: &mut Unproven, now: u64, below: &RelPath) -> Vec<String> {
        unproven.seen_again(at(now), below);
        unproven.compared().iter().map(|it| format!("{} {:?}", it.path, it.dirt).replace('"', "")).collect()
    }

    #[test]
    fn what_ended_before_the_last_sign_but_one_is_proven() {
        let mut unproven = Unproven::default();
        for (now, name) in [(1, "a"), (3, "b"), (5, "c")] {
            unproven.carried(at(now), at(now), vec![(path(name), Dirt::Removed)]);
            unproven.sign(at(now + 1));
        }
        assert_eq!(again(&mut unproven, 9, &RelPath::root()), ["c Removed"]);
        assert!(again(&mut unproven, 9, &RelPath::root()).is_empty());
    }

    #[test]
    fn a_job_from_before_somebody_watched_again_is_repeated() {
        let mut unproven = Unproven::default();
        unproven.seen_again(at(5), &RelPath::root());
        let deep = vec![(path("d"), Dirt::Deep)];
        unproven.carried(at(6), at(5), deep.clone());
        assert!(!unproven.waits());
        unproven.carried(at(6), at(4), deep);
        assert!(unproven.waits());
        unproven.give_up();
        assert!(unproven.is_untold() && !unproven.is_untold() && !unproven.waits());
    }

    #[test]
    fn of_a_full_sync_somebody_is_told() {
        let mut unproven = Unproven::default();
        unproven.synced(at(1), at(1));
        assert!(!unproven.is_untold());
        unproven.seen_again(at(2), &RelPath::root());
        assert!(unproven.is_untold());
        unproven.synced(at(3), at(1));
        assert!(unproven.is_untold());
        unproven.synced(at(4), at(3));
        unproven.sign(at(5));
        unproven.sign(at(7));
        unproven.seen_again(at(8), &RelPath::root());
        assert!(!unproven.is_untold());
    }

    #[test]
    fn a_part_of_a_tree() {
        let mut unproven = Unproven::default();
        let paths = ["a", "a/b", "a/b/c", "ab", "c"].map(|name| (path(name), Dirt::Removed));
        unproven.carried(at(1), at(1), paths.to_vec());
        assert_eq!(again(&mut unproven, 2, &path("a/b")), ["a Removed", "a/b Removed", "a/b/c Removed"]);
        assert!(again(&mut unproven, 3, &path("a/b")).is_empty());
    }

    #[test]
    fn what_is_excluded_by_now_is_left_out() {
        let mut unproven = Unproven::default();
        unproven.carried(at(1), at(1), vec![(path("a"), Dirt::Removed), (path("b"), Dirt::Deep)]);
        unproven.forget(|path, directory| path.as_bytes() == b"b" && directory);
        assert_eq!(again(&mut unproven, 2, &RelPath::root()), ["a Removed"]);
    }

    #[test]
    fn no_more_than_a_bound_and_that_is_known() {
        let mut unproven = Unproven::default();
        let many = (0..=MOST).map(|n| (path(&n.to_string()), Dirt::Removed)).collect();
        unproven.carried(at(1), at(1), many);
        assert_eq!(again(&mut unproven, 2, &RelPath::root()).len(), MOST);
        assert!(unproven.is_untold());
    }
}
