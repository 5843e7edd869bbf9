//! What jobs have carried, until the watcher has shown that it saw what they read.
//!
//! A job reads a path when its turn comes, which may be long after the path was reported. What it finds
//! there and nobody reports, since the watcher has just died or lost events, and what is gone again before
//! a watcher looks, would stay on the remote for ever: neither the watcher nor the index has its name. So
//! what was carried since the watcher last spoke is carried once more when somebody watches again: removals,
//! which were decided on before, at once; directories with all below them when the tree was compared, since
//! by then it is known whether they are still to be there. What was reported as it is has its name in the index.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use common::event::{Change, Dirt};
use common::path::RelPath;

use super::RemoteId;

/// Most paths that are remembered.
pub const MOST: usize = 100_000;
/// Signs of life that follow each other faster count as one.
const SIGN: Duration = Duration::from_secs(1);

/// What was carried for one tree.
#[derive(Debug, Default)]
pub struct Unproven {
    /// Each path, how it was dirty, and when the last job with it ended.
    carried: HashMap<RelPath, (Dirt, Duration)>,
    /// What waits for the tree to be compared.
    later: Vec<Change>,
    /// When the last job with a path ended that found no room.
    beyond: Option<Duration>,
    /// When full syncs that delete ended.
    full: BTreeMap<RemoteId, Duration>,
    /// Since when somebody watches without a gap.
    seen_since: Duration,
    /// When the watcher last spoke.
    sign: Duration,
}

/// What is to be carried once more.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Again {
    /// To each remote of the tree.
    pub changes: Vec<Change>,
    /// All of the tree, with deletions, to these.
    pub full: Vec<RemoteId>,
    /// There were more paths than are remembered.
    pub more: bool,
}

impl Unproven {
    /// A job that began at `since` has carried these. Those that have to be carried once more at once: it
    /// may have read them before somebody watched.
    pub fn carried(&mut self, now: Duration, since: Duration, paths: Vec<(RelPath, Dirt)>) -> Vec<Change> {
        let paths = paths.into_iter().filter(|(_, dirt)| may_hide(*dirt));
        if since < self.seen_since {
            let again = paths.map(|(path, dirt)| change(path, dirt)).collect();
            return self.put_off(again);
        }
        for (path, dirt) in paths {
            if let Some(known) = self.carried.get_mut(&path) {
                *known = (known.0.then(dirt), now);
            } else if self.carried.len() < MOST {
                self.carried.insert(path, (dirt, now));
            } else {
                self.beyond = Some(now);
            }
        }
        Vec::new()
    }

    /// A full sync that deletes is over; whether another one has to follow at once.
    pub fn synced(&mut self, now: Duration, since: Duration, remote: RemoteId) -> bool {
        if since >= self.seen_since {
            self.full.insert(remote, now);
        }
        since < self.seen_since
    }

    /// The watcher speaks, and somebody watches: what ended before it spoke last is proven.
    pub fn sign(&mut self, now: Duration) {
        if now.saturating_sub(self.sign) < SIGN {
            return;
        }
        let before = std::mem::replace(&mut self.sign, now);
        self.carried.retain(|_, (_, ended)| *ended >= before);
        self.full.retain(|_, ended| *ended >= before);
        self.beyond = self.beyond.filter(|ended| *ended >= before);
        if self.carried.is_empty() {
            self.carried = HashMap::new();
        }
    }

    /// Somebody watches again from now on; what is at or below `path` was not seen for a while.
    pub fn seen_again(&mut self, now: Duration, path: &RelPath) -> Again {
        if !path.is_root() {
            let is_there = |it: &RelPath| it == path || it.is_below(path) || path.is_below(it);
            let there = self.carried.iter().filter(|(it, _)| is_there(it));
            let changes = there.map(|(it, (dirt, _))| change(it.clone(), *dirt)).collect();
            return Again { changes: self.put_off(changes), ..Again::default() };
        }
        self.seen_since = now;
        let changes = std::mem::take(&mut self.carried);
        let changes = changes.into_iter().map(|(path, (dirt, _))| change(path, dirt)).collect();
        let full = std::mem::take(&mut self.full).into_keys().collect();
        Again { changes: self.put_off(changes), full, more: self.beyond.take().is_some() }
    }

    /// True when something waits for the tree to be compared.
    pub fn waits(&self) -> bool {
        !self.later.is_empty()
    }

    /// It was.
    pub fn compared(&mut self) -> Vec<Change> {
        std::mem::take(&mut self.later)
    }

    /// Keeps directories for later; the others, in their order.
    fn put_off(&mut self, mut changes: Vec<Change>) -> Vec<Change> {
        changes.sort_unstable_by(|one, other| one.path.cmp(&other.path));
        let (now, later): (Vec<Change>, Vec<Change>) =
            changes.into_iter().partition(|change| change.dirt != Dirt::Deep);
        self.later.extend(later.into_iter().take(MOST.saturating_sub(self.later.len())));
        now
    }
}

/// Nobody saw what happened to it.
fn change(path: RelPath, dirt: Dirt) -> Change {
    Change { path, dirt, mask: 0 }
}

/// Whether a job may have brought over, under such a path, what nobody reported: something new where
/// something was removed, or something in a directory.
fn may_hide(dirt: Dirt) -> bool {
    match dirt {
        Dirt::Removed | Dirt::RemovedDir | Dirt::Deep => true,
        Dirt::Touched | Dirt::Sweep => false,
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

    fn again(unproven: &mut Unproven, now: u64) -> Vec<String> {
        let again = unproven.seen_again(at(now), &RelPath::root());
        again.changes.iter().map(|it| format!("{} {:?}", it.path, it.dirt)).collect()
    }

    #[test]
    fn what_ended_before_the_last_sign_but_one_is_proven() {
        let mut unproven = Unproven::default();
        for (now, name) in [(1, "a"), (3, "b"), (5, "c")] {
            assert!(unproven.carried(at(now), at(now), vec![(path(name), Dirt::Removed)]).is_empty());
            unproven.sign(at(now + 1));
        }
        assert_eq!(again(&mut unproven, 9), ["\"c\" Removed"]);
        assert!(again(&mut unproven, 9).is_empty());
    }

    #[test]
    fn a_job_from_before_somebody_watched_again_is_repeated() {
        let mut unproven = Unproven::default();
        unproven.seen_again(at(5), &RelPath::root());
        let deep = vec![(path("d"), Dirt::RemovedDir)];
        assert_eq!(unproven.carried(at(6), at(4), deep.clone()), [change(path("d"), Dirt::RemovedDir)]);
        assert!(unproven.synced(at(6), at(4), RemoteId(0)));
        assert!(unproven.carried(at(6), at(5), deep).is_empty());
        assert!(!unproven.synced(at(7), at(5), RemoteId(3)));
        let all = unproven.seen_again(at(8), &RelPath::root());
        assert_eq!((all.full, all.more), (vec![RemoteId(3)], false));
    }

    /// Its removal, if nobody saw it, is judged first.
    #[test]
    fn a_directory_waits_until_the_tree_was_compared() {
        let mut unproven = Unproven::default();
        unproven.carried(at(1), at(1), vec![(path("d"), Dirt::Deep), (path("f"), Dirt::Touched)]);
        assert!(again(&mut unproven, 2).is_empty());
        assert!(unproven.carried(at(3), at(1), vec![(path("e"), Dirt::Deep)]).is_empty());
        assert!(unproven.waits());
        assert_eq!(unproven.compared(), [change(path("d"), Dirt::Deep), change(path("e"), Dirt::Deep)]);
        assert!(!unproven.waits());
    }

    #[test]
    fn a_part_of_a_tree() {
        let mut unproven = Unproven::default();
        let paths = ["a", "a/b", "a/b/c", "ab", "c"].map(|name| (path(name), Dirt::Removed));
        unproven.carried(at(1), at(1), paths.to_vec());
        let there = unproven.seen_again(at(2), &path("a/b")).changes;
        assert_eq!(
            there.iter().map(|it| it.path.to_string()).collect::<Vec<_>>(),
            ["\"a\"", "\"a/b\"", "\"a/b/c\""]
        );
    }

    #[test]
    fn no_more_than_a_bound_and_that_is_known() {
        let mut unproven = Unproven::default();
        let many = (0..=MOST).map(|n| (path(&n.to_string()), Dirt::Removed)).collect();
        unproven.carried(at(1), at(1), many);
        let all = unproven.seen_again(at(2), &RelPath::root());
        assert_eq!((all.changes.len(), all.more), (MOST, true));
    }
}
