//! What is dirty for one remote: a set of paths, coalesced, in the order in which they became
//! ready, in bounded memory.
//!
//! When more than [`MAX_PATHS`] wait, the directory with the most of them becomes one deep
//! entry. Not sooner: a deep entry also removes what only the remote has there, which single
//! changes never do.

use std::collections::{BTreeMap, HashMap};
use std::ops::Bound;
use std::time::Duration;

use common::event::{Change, Dirt, IN_CREATE, RECEIVED, merged};
use common::keep::Pending;
use common::path::RelPath;

use super::kept::Kept;
use super::retry::Jitter;

/// Most paths that wait for one remote.
pub const MAX_PATHS: usize = 200_000;
/// How long the removal of a file is held: editors remove a file before they write it anew,
/// and the live copy must not vanish meanwhile.
pub const HOLD: Duration = Duration::from_millis(250);
/// How long a file that was just created waits: it is about to be written, and is sent at
/// once when it is closed. Symlinks, fifos and hard links never are.
pub const SETTLE: Duration = Duration::from_millis(10);
/// How long a file waits that an rsync brought, where two servers mirror one another (`-u`): it
/// is most likely our own edit coming back, and must not undo the one after it. rsync protects
/// what is newer by two whole seconds; what is not has arrived here by then. Give or take a
/// fifth: two servers that swapped their edits would go on swapping if both waited alike.
pub const ECHO: Duration = Duration::from_millis(2500);
/// Longest such wait while rsyncs keep bringing the file anew.
const ECHO_MOST: Duration = Duration::from_secs(60);
/// How often a path fails before it is in quarantine: from then on it is spoken of by name, and a
/// new change does not bring it forward.
pub const QUARANTINE: u32 = 3;
/// Most paths that are passed over while a batch is put together.
const MAX_SKIPPED: usize = 10_000;
/// What a path costs in an order beside its bytes.
const PATH_OVERHEAD: usize = 8;

/// Whether the remote mirrors back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Traffic {
    /// Changes only go there.
    OneWay,
    /// They may come back from there (`-u`).
    BothWays,
}

/// Why and since when a path waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entry {
    /// What happened to it.
    pub dirt: Dirt,
    /// The inotify bits seen since it was last sent.
    pub mask: u32,
    /// When it may go.
    pub ready: Duration,
    /// When the first change came that was not sent.
    pub since: Duration,
    /// The same in milliseconds since 1970; older than the supervisor where it was kept on disk.
    pub at: u64,
    /// How often it failed.
    pub attempts: u32,
    /// Place among those that are ready at the same moment; 0 before it has one.
    sequence: u64,
}

/// A path with its entry, as it leaves the backlog.
pub type Taken = (RelPath, Entry);

/// Dirty paths.
#[derive(Debug, Default)]
pub struct Backlog {
    entries: BTreeMap<RelPath, Entry>,
    queue: BTreeMap<(Duration, u64), RelPath>,
    sequence: u64,
    jitter: Jitter,
    /// The supervisor's start, in milliseconds since 1970.
    epoch: u64,
    /// What the disk has to be told of; `None` where nothing is kept.
    kept: Option<Kept>,
}

/// What had to be given up to stay within bounds.
#[derive(Debug, PartialEq, Eq)]
pub enum Collapsed {
    /// A directory and how many waiting paths it now stands for.
    Into(RelPath, usize),
    /// No directory but the root holds enough: the whole tree has to be synced.
    Whole,
}

impl Backlog {
    /// An empty one, with chance for what waits for an echo.
    pub fn new(seed: u64) -> Backlog {
        Backlog { jitter: Jitter::new(seed), ..Backlog::default() }
    }

    /// What waits here is kept on disk from now on. `epoch` is the supervisor's start.
    pub fn keep(&mut self, epoch: u64) {
        self.epoch = epoch;
        self.kept = Some(Kept::default());
    }

    /// What the disk has to be told of, where something is kept.
    pub fn kept(&mut self) -> Option<&mut Kept> {
        self.kept.as_mut()
    }

    /// True when the disk knows all.
    pub fn is_told(&self) -> bool {
        self.kept.as_ref().is_none_or(Kept::is_told)
    }

    /// The disk is to be told all again.
    pub fn tell_again(&mut self) {
        if let Some(kept) = &mut self.kept {
            kept.touch_all(self.entries.keys());
        }
    }

    /// Tells all that has changed; `look` makes of a path and what waits there what is told.
    pub fn tell<T>(
        &mut self,
        look: impl Fn(&RelPath, Option<&Entry>) -> Option<T>,
        tell: impl FnMut(RelPath, Option<T>),
    ) {
        if let Some(kept) = &mut self.kept {
            kept.tell(|path| look(path, self.entries.get(path)), tell);
        }
    }

    /// What waits at `path`.
    pub fn get(&self, path: &RelPath) -> Option<&Entry> {
        self.entries.get(path)
    }

    /// A path that waited when the last run ended.
    pub fn restore(&mut self, now: Duration, path: RelPath, pending: &Pending) {
        if let Some(kept) = &mut self.kept {
            kept.is_saved_at(path.clone());
        }
        let Pending { dirt, since: at, attempts, .. } = *pending;
        let entry = Entry { dirt, mask: 0, ready: now, since: now, at, attempts, sequence: 0 };
        match self.unlink(&path) {
            Some(newer) => self.link(path, Entry { dirt: dirt.then(newer.dirt), at, ..newer }),
            None => self.link(path, entry),
        }
    }

    /// How many paths wait.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// True when nothing waits.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// When the first path may go.
    pub fn next_ready(&self) -> Option<Duration> {
        self.queue.keys().next().map(|&(ready, _)| ready)
    }

    /// True when a path may go at `now`.
    pub fn has_ready(&self, now: Duration) -> bool {
        self.next_ready().is_some_and(|ready| ready <= now)
    }

    /// Takes a change in. A directory that is to be sent deep, or was removed, absorbs what
    /// waits below it.
    pub fn insert(&mut self, now: Duration, change: &Change, traffic: Traffic) {
        let path = &change.path;
        if self.is_covered(path, change.dirt) {
            return;
        }
        let absorbed = match change.dirt {
            Dirt::Deep | Dirt::RemovedDir => self.remove_below(path, |_| true),
            Dirt::Sweep => self.remove_below(path, |dirt| matches!(dirt, Dirt::Touched | Dirt::Sweep)),
            Dirt::Touched | Dirt::Removed => None,
        };
        let old = self.take_out(path);
        let dirt = old.map_or(change.dirt, |old| old.dirt.then(change.dirt));
        let just_created = change.dirt == Dirt::Touched && change.mask == IN_CREATE;
        let echo = traffic == Traffic::BothWays && change.mask & RECEIVED != 0;
        let oldest = [old.map(|old| (old.since, old.at)), absorbed].into_iter().flatten().min();
        let (since, at) = oldest.unwrap_or_else(|| (now, self.epoch.saturating_add(millis(now))));
        let ready = match (dirt, old) {
            (Dirt::Removed, _) => now.saturating_add(HOLD),
            (Dirt::Touched, None) if just_created => now.saturating_add(SETTLE),
            (Dirt::Touched, _) if echo => self.echo_until(now).min(since.saturating_add(ECHO_MOST)),
            // One that fails again and again waits its time out, however often it changes.
            (_, Some(old)) if old.attempts >= QUARANTINE => old.ready,
            // A path keeps its place in the queue; one that failed gets a new chance with a new change.
            (_, Some(old)) => old.ready.min(now),
            (_, None) => now,
        };
        let mask = old.map_or(change.mask, |old| merged(old.mask, change.mask));
        let (sequence, attempts) = old.map_or((0, 0), |old| (old.sequence, old.attempts));
        let entry = Entry { dirt, mask, ready, since, at, attempts, sequence };
        // The disk is told what is new to it, and not that the same path changed once more.
        if old.is_none_or(|old| (old.dirt, old.at, old.attempts) != (dirt, at, attempts)) {
            self.touch(path);
        }
        self.put_in(path.clone(), entry);
    }

    /// Puts back what was taken and not done: to the head, or, with `pause`, for later. What
    /// happened to a path meanwhile comes after.
    pub fn put_back(&mut self, taken: Vec<Taken>, retry: Option<(Duration, Duration)>) {
        for (path, mut entry) in taken {
            if let Some((now, pause)) = retry {
                entry.attempts = entry.attempts.saturating_add(1);
                entry.ready = now.saturating_add(pause);
            }
            if let Some(newer) = self.unlink(&path) {
                entry.dirt = entry.dirt.then(newer.dirt);
                entry.mask = merged(entry.mask, newer.mask);
                entry.attempts = entry.attempts.max(newer.attempts);
                let waits = retry.is_some() && entry.attempts >= QUARANTINE;
                entry.ready = if waits { entry.ready } else { newer.ready };
            }
            self.link(path, entry);
        }
    }

    /// Takes paths that may go at `now`, oldest first, up to `bytes` of them; at least one when
    /// any is ready. Paths that failed travel by themselves, so that they fail nobody else's batch.
    pub fn take(&mut self, now: Duration, bytes: usize) -> Vec<Taken> {
        let mut room = bytes;
        let (mut kind, mut skipped) = (None, 0_usize);
        let mut places = Vec::new();
        for (&(ready, sequence), path) in &self.queue {
            let cost = cost(path);
            if ready > now || (cost > room && !places.is_empty()) {
                break;
            }
            let failed = self.entries.get(path).is_some_and(|entry| entry.attempts > 0);
            if *kind.get_or_insert(failed) != failed {
                skipped = skipped.saturating_add(1);
                if skipped > MAX_SKIPPED {
                    break;
                }
                continue;
            }
            room = room.saturating_sub(cost);
            places.push((ready, sequence));
        }
        let take = |place| {
            let path = self.queue.remove(&place)?;
            let entry = self.entries.remove(&path)?;
            Some((path, entry))
        };
        places.into_iter().filter_map(take).collect()
    }

    /// Takes everything, whether ready or not.
    pub fn drain(&mut self) -> Vec<Taken> {
        self.queue.clear();
        let all = std::mem::take(&mut self.entries);
        if let Some(kept) = &mut self.kept {
            for path in all.keys() {
                kept.touch(path);
            }
        }
        all.into_iter().collect()
    }

    /// Lets everything that is held or waits for a retry go now; but for what may be an echo.
    pub fn release(&mut self, now: Duration) {
        self.bring_forward(now, |entry| entry.mask & RECEIVED == 0);
    }

    /// Lets everything that failed go now.
    pub fn retry(&mut self, now: Duration) {
        self.bring_forward(now, |entry| entry.attempts > 0);
    }

    /// True when something in it failed before.
    pub fn has_failed(&self) -> bool {
        self.entries.values().any(|entry| entry.attempts > 0)
    }

    /// True when `path` waits, or something above it that covers it.
    pub fn holds(&self, path: &RelPath) -> bool {
        self.entries.contains_key(path) || self.is_covered(path, Dirt::Touched)
    }

    fn bring_forward(&mut self, now: Duration, which: impl Fn(&Entry) -> bool) {
        for (path, mut entry) in self.drain() {
            if which(&entry) {
                entry.ready = entry.ready.min(now);
            }
            self.link(path, entry);
        }
    }

    /// Keeps the bound of `limit` paths. To be called after each insertion of many.
    pub fn collapse(&mut self, now: Duration, limit: usize) -> Option<Collapsed> {
        if self.len() <= limit {
            return None;
        }
        let Some((directory, count)) = self.heaviest(limit) else {
            self.drain();
            return Some(Collapsed::Whole);
        };
        let change = Change { path: directory.clone(), dirt: Dirt::Deep, mask: 0 };
        self.insert(now, &change, Traffic::OneWay);
        Some(Collapsed::Into(directory, count))
    }

    /// The paths that wait, for tests and displays.
    pub fn iter(&self) -> impl Iterator<Item = (&RelPath, &Entry)> {
        self.entries.iter()
    }

    /// A waiting ancestor may already cover a change; one that failed does not, since it would
    /// hold up its neighbours.
    fn is_covered(&self, path: &RelPath, dirt: Dirt) -> bool {
        path.ancestors().any(|ancestor| {
            self.entries.get(ancestor).is_some_and(|entry| {
                entry.attempts == 0
                    && match entry.dirt {
                        Dirt::Deep => true,
                        Dirt::Sweep => matches!(dirt, Dirt::Touched | Dirt::Sweep),
                        Dirt::Touched | Dirt::Removed | Dirt::RemovedDir => false,
                    }
            })
        })
    }

    fn echo_until(&mut self, now: Duration) -> Duration {
        now.saturating_add(self.jitter.spread(ECHO))
    }

    /// Removes entries below `path`; when the first of them came.
    fn remove_below(&mut self, path: &RelPath, absorbed: impl Fn(Dirt) -> bool) -> Option<(Duration, u64)> {
        let (from, to) = below(path);
        let range = (Bound::Included(&from[..]), Bound::Excluded(&to[..]));
        let victims: Vec<RelPath> = self
            .entries
            .range::<[u8], _>(range)
            .filter(|(_, entry)| absorbed(entry.dirt))
            .map(|(path, _)| path.clone())
            .collect();
        victims.iter().filter_map(|victim| self.unlink(victim)).map(|entry| (entry.since, entry.at)).min()
    }

    /// When the first change came that waits here.
    pub fn oldest(&self) -> Option<Duration> {
        self.entries.values().map(|entry| entry.since).min()
    }

    fn link(&mut self, path: RelPath, entry: Entry) {
        self.touch(&path);
        self.put_in(path, entry);
    }

    fn unlink(&mut self, path: &RelPath) -> Option<Entry> {
        let entry = self.take_out(path)?;
        self.touch(path);
        Some(entry)
    }

    fn touch(&mut self, path: &RelPath) {
        if let Some(kept) = &mut self.kept {
            kept.touch(path);
        }
    }

    fn put_in(&mut self, path: RelPath, mut entry: Entry) {
        // A number from another backlog may be taken here.
        while entry.sequence == 0 || self.queue.contains_key(&(entry.ready, entry.sequence)) {
            self.sequence = self.sequence.saturating_add(1);
            entry.sequence = self.sequence;
        }
        self.queue.insert((entry.ready, entry.sequence), path.clone());
        self.entries.insert(path, entry);
    }

    fn take_out(&mut self, path: &RelPath) -> Option<Entry> {
        let entry = self.entries.remove(path.as_bytes())?;
        self.queue.remove(&(entry.ready, entry.sequence));
        Some(entry)
    }

    /// The deepest directory that holds a good part of what waits.
    fn heaviest(&self, limit: usize) -> Option<(RelPath, usize)> {
        let enough = (limit / 16).max(2);
        let deepest = self.entries.keys().map(|path| path.ancestors().count()).max().unwrap_or(0);
        for depth in (1..=deepest).rev() {
            let mut counts: HashMap<&[u8], usize> = HashMap::new();
            for path in self.entries.keys() {
                if let Some(directory) = path.ancestors().nth(depth.saturating_sub(1)) {
                    let count = counts.entry(directory).or_default();
                    *count = count.saturating_add(1);
                }
            }
            let best =
                counts.into_iter().max_by_key(|&(directory, count)| (count, std::cmp::Reverse(directory)));
            if let Some((directory, count)) = best
                && count >= enough
                && let Ok(directory) = RelPath::new(directory)
            {
                return Some((directory, count));
            }
        }
        None
    }
}

/// In whole milliseconds.
pub(super) fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// What a path costs in an order, in bytes.
fn cost(path: &RelPath) -> usize {
    path.as_bytes().len().saturating_add(PATH_OVERHEAD)
}

/// What they cost in an order, in bytes.
pub(super) fn cost_of(taken: &[Taken]) -> usize {
    taken.iter().map(|(path, _)| cost(path)).fold(0, usize::saturating_add)
}

/// The range of bytes in which everything strictly below `path` sorts: `path/` to `path0`,
/// since `0` follows `/`.
pub(super) fn below(path: &RelPath) -> (Vec<u8>, Vec<u8>) {
    if path.is_root() {
        return (vec![0], vec![0xff; common::path::MAX_PATH.saturating_add(1)]);
    }
    let (mut from, mut to) = (path.as_bytes().to_vec(), path.as_bytes().to_vec());
    from.push(b'/');
    to.push(b'0');
    (from, to)
}

#[cfg(test)]
mod tests;
