//! The brake on deletions: when more goes at once than the operator finds likely, the deletions are
//! held until somebody decides; creations keep flowing.
//!
//! What nobody saw happen is judged as a whole, once all of a tree was compared. What was seen
//! event by event is judged as it comes, where the config asks for it.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::time::Duration;

use common::config::{DeleteGuard, GuardScope};
use common::event::{Change, Dirt};
use common::keep::HeldDelete;
use common::path::RelPath;

use super::backlog::{MAX_PATHS, below};
use super::kept::Kept;

/// Deletions that come within this time of each other are one wave.
const WAVE: Duration = Duration::from_secs(10);
/// The moment of a deletion that was not judged yet.
const UNJUDGED: u64 = 0;

/// What becomes of deletions.
#[derive(Debug, PartialEq, Eq)]
pub enum Judgement {
    /// They travel.
    Go(Vec<Change>),
    /// So many names are held now.
    Held(u64),
}

/// The brake of one tree.
#[derive(Debug)]
pub struct Brake {
    guard: DeleteGuard,
    /// Found while a tree is compared, and not judged yet.
    waiting: BTreeMap<RelPath, HeldDelete>,
    held: BTreeMap<RelPath, HeldDelete>,
    kept: Kept,
    /// How many names the tree had when they were last counted.
    total: Option<u64>,
    /// Names removed in this wave, and when the last of them was.
    wave: (u64, Duration),
}

impl Brake {
    /// Nothing is held.
    pub fn new(guard: DeleteGuard) -> Brake {
        Brake {
            guard,
            waiting: BTreeMap::new(),
            held: BTreeMap::new(),
            kept: Kept::default(),
            total: None,
            wave: (0, Duration::ZERO),
        }
    }

    /// So many names the tree had when they were last counted, in an earlier run perhaps.
    pub fn had(&mut self, names: u64) {
        self.total = self.total.or((names > 0).then_some(names));
    }

    /// Other bounds count from now on.
    pub fn set(&mut self, guard: DeleteGuard) {
        self.guard = guard;
    }

    /// A name is gone, and nobody saw it go.
    pub fn found(&mut self, path: RelPath, gone: HeldDelete) {
        let gone = HeldDelete { since: UNJUDGED, ..gone };
        put(&mut self.waiting, &mut self.kept, path, gone);
    }

    /// All of the tree, or of a part of it, was compared; it has `total` names now. What becomes of
    /// what was found. `at` is today, in milliseconds since 1970.
    pub fn judge(&mut self, total: u64, at: u64) -> Judgement {
        self.total = Some(total);
        let waiting = std::mem::take(&mut self.waiting);
        let names = waiting.values().map(|gone| gone.names).fold(0, u64::saturating_add);
        let brakes = match self.guard.scope {
            GuardScope::Off => false,
            // An empty root is more likely a disk that is not mounted than a wish.
            GuardScope::Unseen | GuardScope::All => self.is_much(names) || (total == 0 && names > 0),
        };
        for path in waiting.keys() {
            self.kept.touch(path);
        }
        if !brakes && !waiting.contains_key(&RelPath::root()) {
            return Judgement::Go(waiting.into_iter().map(|(path, gone)| removal(path, gone)).collect());
        }
        for (path, gone) in waiting {
            self.hold(path, HeldDelete { since: at, ..gone });
        }
        Judgement::Held(self.names())
    }

    /// What of a change that somebody saw travels; `None` when it is held. A file that comes back is
    /// no longer held. What a directory held is, and a whole one that comes to its place takes
    /// nothing away meanwhile.
    pub fn passes(&mut self, now: Duration, change: &Change, at: u64) -> Option<Change> {
        let directory = match change.dirt {
            Dirt::Removed => false,
            Dirt::RemovedDir => true,
            Dirt::Touched | Dirt::Sweep => {
                self.came_back(&change.path);
                return Some(change.clone());
            }
            Dirt::Deep if self.holds_within(&change.path) => {
                return Some(Change { dirt: Dirt::Sweep, ..change.clone() });
            }
            Dirt::Deep => return Some(change.clone()),
        };
        if self.guard.scope != GuardScope::All {
            return Some(change.clone());
        }
        let (names, last) = self.wave;
        let names = if now.saturating_sub(last) < WAVE { names.saturating_add(1) } else { 1 };
        self.wave = (names, now);
        if !self.is_much(names) {
            return Some(change.clone());
        }
        self.hold(change.path.clone(), HeldDelete { directory, names: 1, since: at });
        None
    }

    /// True when changes have to be shown to [`Brake::passes`].
    pub fn looks(&self) -> bool {
        self.guard.scope == GuardScope::All || !self.held.is_empty()
    }

    /// True from the deletion on with which a wave became too large.
    pub fn is_braking(&self, now: Duration) -> bool {
        let (names, last) = self.wave;
        self.guard.scope == GuardScope::All && now.saturating_sub(last) < WAVE && self.is_much(names)
    }

    /// Holds a deletion that has not travelled yet.
    pub fn hold(&mut self, path: RelPath, gone: HeldDelete) {
        put(&mut self.held, &mut self.kept, path, gone);
    }

    /// What was held when the last run ended.
    pub fn restore(&mut self, path: RelPath, gone: HeldDelete) {
        self.kept.is_saved_at(path.clone());
        let place = if gone.since == UNJUDGED { &mut self.waiting } else { &mut self.held };
        if place.len() < MAX_PATHS || place.contains_key(&path) {
            place.insert(path, gone);
        } else {
            put(place, &mut self.kept, path, gone);
        }
    }

    /// Gives out everything that is held: it travels now. Whether there was more than could be
    /// remembered, which only a full sync finds.
    pub fn approve(&mut self) -> (Vec<Change>, bool) {
        let mut held = self.take();
        let more = held.remove(&RelPath::root()).is_some();
        (held.into_iter().map(|(path, gone)| removal(path, gone)).collect(), more)
    }

    /// Forgets everything that is held: the remotes keep it.
    pub fn drop_all(&mut self) -> usize {
        self.take().len()
    }

    /// Forgets what does not travel any more: the remotes keep it. `excludes` is given each path, and
    /// whether it was a directory.
    pub fn forget(&mut self, excludes: impl Fn(&RelPath, bool) -> bool) {
        for map in [&mut self.held, &mut self.waiting] {
            for (path, _) in map.extract_if(.., |path, gone| excludes(path, gone.directory)) {
                self.kept.touch(&path);
            }
        }
    }

    /// What is held, in the order of its paths.
    pub fn held(&self) -> impl ExactSizeIterator<Item = (&RelPath, &HeldDelete)> {
        self.held.iter()
    }

    /// Whether any is held.
    pub fn holds_any(&self) -> bool {
        !self.held.is_empty()
    }

    /// How many names are held.
    pub fn names(&self) -> u64 {
        self.held.values().map(|gone| gone.names).fold(0, u64::saturating_add)
    }

    /// Most names that a full sync may remove, as rsync counts; `None` for no bound.
    pub fn max_delete(&self) -> Option<u32> {
        if self.guard.scope == GuardScope::Off {
            return None;
        }
        let total = self.total?;
        let share = total.saturating_mul(u64::from(self.guard.percent)) / 100;
        u32::try_from(share.max(self.guard.names)).ok()
    }

    /// What the disk has to be told of, `most` paths of it at most; how many were looked at.
    pub fn tell(&mut self, most: usize, mut tell: impl FnMut(RelPath, Option<HeldDelete>)) -> usize {
        let (held, waiting) = (&self.held, &self.waiting);
        self.kept.tell(most, |path| held.get(path).or_else(|| waiting.get(path)).copied(), &mut tell)
    }

    /// True when the disk knows all.
    pub fn is_told(&self) -> bool {
        self.kept.is_told()
    }

    /// The disk holds nothing that is known of but what is said from now on: it will be told all.
    pub fn forget_saved(&mut self) {
        self.kept.forget();
    }

    /// The disk holds something there.
    pub fn is_saved_at(&mut self, path: RelPath) {
        self.kept.is_saved_at(path);
    }

    /// The disk is to be told all again.
    pub fn tell_again(&mut self) {
        self.kept.touch_all(self.held.keys().chain(self.waiting.keys()));
    }

    fn is_much(&self, names: u64) -> bool {
        let before = self.total.unwrap_or(0).max(1).saturating_add(match self.guard.scope {
            GuardScope::All => 0,
            GuardScope::Off | GuardScope::Unseen => names,
        });
        names > self.guard.names
            && names.saturating_mul(100) > before.saturating_mul(u64::from(self.guard.percent))
    }

    fn came_back(&mut self, path: &RelPath) {
        if self.held.get(path).is_some_and(|held| !held.directory) {
            self.held.remove(path);
            self.kept.touch(path);
        }
    }

    /// Whether something is held at or below `path`.
    fn holds_within(&self, path: &RelPath) -> bool {
        let (from, to) = below(path);
        let range = (Bound::Included(&from[..]), Bound::Excluded(&to[..]));
        self.held.contains_key(path) || self.held.range::<[u8], _>(range).next().is_some()
    }

    fn take(&mut self) -> BTreeMap<RelPath, HeldDelete> {
        let held = std::mem::take(&mut self.held);
        for path in held.keys() {
            self.kept.touch(path);
        }
        held
    }
}

/// Keeps one more, or lets the root stand for what there is no room for: only a full sync finds it.
fn put(map: &mut BTreeMap<RelPath, HeldDelete>, kept: &mut Kept, path: RelPath, gone: HeldDelete) {
    let path = if map.len() < MAX_PATHS || map.contains_key(&path) { path } else { RelPath::root() };
    kept.touch(&path);
    map.entry(path).and_modify(|old| old.names = old.names.saturating_add(gone.names)).or_insert(gone);
}

fn removal(path: RelPath, gone: HeldDelete) -> Change {
    let dirt = if gone.directory { Dirt::RemovedDir } else { Dirt::Removed };
    Change { path, dirt, mask: 0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// It took in whatever a keeper said that it had kept.
    #[test]
    fn what_is_restored_is_bounded() {
        let mut brake = Brake::new(DeleteGuard::default());
        let gone = HeldDelete { directory: false, names: 1, since: 1 };
        for n in 0..MAX_PATHS + 10 {
            brake.restore(RelPath::new(format!("f{n}")).unwrap(), gone);
        }
        assert_eq!((brake.held().len(), brake.names()), (MAX_PATHS + 1, MAX_PATHS as u64 + 10));
        assert!(brake.approve().1, "the root stands for the rest");
    }
}
