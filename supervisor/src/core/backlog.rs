//! What is dirty for one remote: a set of paths, coalesced, in the order in which they became
//! ready, in bounded memory.

mod bounds;
mod cost;
mod places;
mod store;
mod told;

use std::time::Duration;

use common::event::{Change, Dirt, IN_CREATE, RECEIVED, merged};
use common::path::RelPath;

use super::kept::Kept;
use super::retry::Jitter;
use cost::cost;
use store::Store;

pub use bounds::{Collapsed, MAX_ALL, MAX_PATHS};
pub(super) use cost::cost_of;
pub use places::Copies;

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
/// Most paths that are looked at for one that may go.
const MAX_LOOKED: usize = 256;

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
    /// When the first change came that was not sent, in milliseconds since 1970; older than the
    /// supervisor where it was kept on disk.
    pub at: u64,
    /// How often it failed.
    pub attempts: u32,
    /// Place among those that are ready at the same moment; 0 before it has one.
    sequence: u32,
    /// Too large to travel among others.
    pub heavy: bool,
}

/// A path with its entry, as it leaves the backlog.
pub type Taken = (RelPath, Entry);

/// Dirty paths.
#[derive(Debug, Default)]
pub struct Backlog {
    store: Store,
    jitter: Jitter,
    /// The supervisor's start, in milliseconds since 1970.
    epoch: u64,
    /// What the disk has to be told of, and what it holds of paths that do not wait; `None` where
    /// nothing is kept.
    kept: Option<Kept>,
}

impl Backlog {
    /// An empty one, with chance for what waits for an echo.
    pub fn new(seed: u64) -> Backlog {
        Backlog { jitter: Jitter::new(seed), ..Backlog::default() }
    }

    /// It is one of several that mostly hold the same ([`Copies`]). It is empty.
    pub fn share(&mut self) {
        self.store = Store::shared();
    }

    /// The number of the last change that was new to it.
    pub fn sequence(&self) -> u32 {
        self.store.sequence()
    }

    /// How many paths wait.
    pub fn len(&self) -> usize {
        self.store.len()
    }

    /// True when nothing waits.
    pub fn is_empty(&self) -> bool {
        self.store.len() == 0
    }

    /// When the first path may go.
    pub fn next_ready(&self) -> Option<Duration> {
        self.store.turns().next().map(|(_, (_, entry))| entry.ready)
    }

    /// True when a path may go at `now`.
    pub fn has_ready(&self, now: Duration) -> bool {
        self.next_ready().is_some_and(|ready| ready <= now)
    }

    /// Takes a change in. A directory that is to be sent deep, or was removed, absorbs what
    /// waits below it.
    pub fn insert(&mut self, now: Duration, change: &Change, traffic: Traffic) {
        self.insert_copy(now, change, traffic, &mut Copies::default());
    }

    /// The same, of a change that others get too.
    pub fn insert_copy(&mut self, now: Duration, change: &Change, traffic: Traffic, copies: &mut Copies) {
        if !self.is_covered(&change.path, change.dirt) {
            self.take_in(now, change, traffic, copies);
        }
    }

    fn take_in(&mut self, now: Duration, change: &Change, traffic: Traffic, copies: &mut Copies) {
        let path = &change.path;
        let absorbed =
            if is_wide(change.dirt) { self.remove_below(path, |it| absorbs(change.dirt, it)) } else { None };
        let place = self.store.find(path.as_bytes());
        let old = place.and_then(|place| self.store.at(place)).map(|(_, old)| *old);
        let dirt = old.map_or(change.dirt, |old| old.dirt.then(change.dirt));
        let just_created = change.dirt == Dirt::Touched && change.mask == IN_CREATE;
        let echo = traffic == Traffic::BothWays && change.mask & RECEIVED != 0;
        let oldest = [old.map(|old| old.at), absorbed].into_iter().flatten().min();
        let at = oldest.unwrap_or_else(|| self.epoch.saturating_add(millis(now)));
        let ready = match (dirt, old) {
            (Dirt::Removed, _) => now.saturating_add(HOLD),
            (Dirt::Touched, None) if just_created => now.saturating_add(SETTLE),
            (Dirt::Touched, _) if echo => self.echo_until(now).min(self.since(at).saturating_add(ECHO_MOST)),
            // One that fails again and again waits its time out, however often it changes.
            (_, Some(old)) if old.attempts >= QUARANTINE => old.ready,
            // A path keeps its place in the queue; one that failed gets a new chance with a new change.
            (_, Some(old)) => old.ready.min(now),
            (_, None) => now,
        };
        let mask = old.map_or(change.mask, |old| merged(old.mask, change.mask));
        let (sequence, attempts) = old.map_or((0, 0), |old| (old.sequence, old.attempts));
        let heavy = old.is_some_and(|old| old.heavy);
        // The disk is told what is new to it, and not that the same path changed once more.
        if old.is_none_or(|old| (old.dirt, old.at, old.attempts) != (dirt, at, attempts)) {
            self.touch(path);
        }
        self.put_in(place, path, Entry { dirt, mask, ready, at, attempts, sequence, heavy }, copies);
    }

    /// Puts back what was taken and not done: to the head, or, with `pause`, for later. What
    /// happened to a path meanwhile comes after.
    pub fn put_back(&mut self, taken: Vec<Taken>, retry: Option<(Duration, Duration)>) {
        for (path, mut entry) in taken {
            if let Some((now, pause)) = retry {
                entry.attempts = entry.attempts.saturating_add(1);
                entry.ready = now.saturating_add(pause);
            }
            if let Some(newer) = self.store.get(path.as_bytes()) {
                entry.dirt = entry.dirt.then(newer.dirt);
                entry.mask = merged(entry.mask, newer.mask);
                entry.attempts = entry.attempts.max(newer.attempts);
                entry.heavy |= newer.heavy;
                let waits = retry.is_some() && entry.attempts >= QUARANTINE;
                entry.ready = if waits { entry.ready } else { newer.ready };
            }
            self.link(&path, entry);
        }
    }

    /// Takes paths that may go at `now`, oldest first, up to `bytes` of them; at least one when
    /// any is ready, and none of which `stays` is true. Paths that failed travel by themselves, so that
    /// they fail nobody else's batch, and large files, so that nobody waits for them.
    pub fn take(
        &mut self,
        now: Duration,
        bytes: usize,
        stays: impl Fn(&RelPath, &Entry) -> bool,
    ) -> Vec<Taken> {
        let mut room = bytes;
        let (mut kind, mut skipped, mut before) = (None, 0_usize, RelPath::root());
        let mut numbers = Vec::new();
        for (number, (path, entry)) in self.store.turns() {
            let cost = cost(&before, path);
            if entry.ready > now || (cost > room && !numbers.is_empty()) {
                break;
            }
            let of_kind = (entry.attempts > 0, entry.heavy);
            if stays(path, entry) || *kind.get_or_insert(of_kind) != of_kind {
                skipped = skipped.saturating_add(1);
                if skipped > MAX_SKIPPED {
                    break;
                }
                continue;
            }
            room = room.saturating_sub(cost);
            before.clone_from(path);
            numbers.push(number);
        }
        numbers.into_iter().filter_map(|number| self.take_out(number)).collect()
    }

    /// Takes that path, if it may go at `now` and `goes` is true of it.
    pub fn take_one(
        &mut self,
        now: Duration,
        path: &RelPath,
        goes: impl Fn(&Entry) -> bool,
    ) -> Option<Taken> {
        let number = self.store.find(path.as_bytes())?;
        let entry = self.store.get(path.as_bytes())?;
        if entry.ready > now || !goes(entry) { None } else { self.take_out(number) }
    }

    /// Since when a path may go at `now` that is `of_kind`, and of which `goes` is true, as far as one is
    /// found soon.
    pub fn ready_since(
        &self,
        now: Duration,
        of_kind: impl Fn(&Entry) -> bool,
        goes: impl Fn(&RelPath) -> bool,
    ) -> Option<Duration> {
        let ready = self.store.turns().take_while(|(_, (_, entry))| entry.ready <= now);
        let mut few = ready.take(MAX_SKIPPED).filter(|(_, (_, entry))| of_kind(entry)).take(MAX_LOOKED);
        few.find(|(_, (path, _))| goes(path)).map(|(_, (_, entry))| entry.ready)
    }

    /// When the first path may go that may not at `now`.
    pub fn next_after(&self, now: Duration) -> Option<Duration> {
        self.store.turns_after(now).next().map(|(_, entry)| entry.ready)
    }

    /// Takes everything, whether ready or not.
    pub fn drain(&mut self) -> Vec<Taken> {
        self.drain_if(|_| true)
    }

    /// Takes all of which that is true, whether ready or not.
    pub fn drain_if(&mut self, which: impl Fn(&Entry) -> bool) -> Vec<Taken> {
        let numbers: Vec<u32> =
            self.store.turns().filter(|(_, (_, entry))| which(entry)).map(|(number, _)| number).collect();
        let take = |number| self.take_out(number).inspect(|(path, _)| self.settled(path));
        numbers.into_iter().filter_map(take).collect()
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
        self.store.iter().any(|(_, entry)| entry.attempts > 0)
    }

    /// True when `path` waits, or something above it that covers it.
    pub fn holds(&self, path: &RelPath) -> bool {
        self.store.get(path.as_bytes()).is_some() || self.is_covered(path, Dirt::Touched)
    }

    /// True when something waits at, below or above `path`.
    pub fn meets(&self, path: &RelPath) -> bool {
        let (from, to) = below(path);
        let mut way = path.ancestors().chain([&b""[..], path.as_bytes()]);
        way.any(|path| self.store.get(path).is_some()) || self.store.between(&from, &to).next().is_some()
    }

    /// Lets the removal of a directory go at `ready`, and not before; one that failed keeps its time.
    pub fn hold_removal(&mut self, path: &RelPath, ready: Duration) {
        let place = self.store.find(path.as_bytes());
        let entry = place.and_then(|place| self.store.at(place)).map(|(_, entry)| *entry);
        let held = |entry: &Entry| entry.attempts == 0 && entry.dirt == Dirt::RemovedDir;
        if let Some(entry) = entry.filter(held) {
            self.store.put(place, path, Entry { ready, ..entry }, &mut Copies::default());
        }
    }

    fn bring_forward(&mut self, now: Duration, which: impl Fn(&Entry) -> bool) {
        self.store.set_turns(|entry| {
            if which(entry) {
                entry.ready = entry.ready.min(now);
            }
        });
    }

    /// The paths that wait, for tests and displays.
    pub fn iter(&self) -> impl Iterator<Item = (&RelPath, &Entry)> {
        self.store.iter()
    }

    /// A waiting ancestor may already cover a change; one that failed does not, since it would
    /// hold up its neighbours.
    fn is_covered(&self, path: &RelPath, dirt: Dirt) -> bool {
        // Mostly there is nothing that could.
        let mut above = path.ancestors().filter(|_| self.store.has_wide());
        above.any(|ancestor| {
            self.store.get(ancestor).is_some_and(|entry| {
                entry.attempts == 0
                    && match entry.dirt {
                        Dirt::Deep | Dirt::Sweep => absorbs(entry.dirt, dirt),
                        Dirt::Touched | Dirt::Removed | Dirt::RemovedDir => false,
                    }
            })
        })
    }

    fn echo_until(&mut self, now: Duration) -> Duration {
        now.saturating_add(self.jitter.spread(ECHO))
    }

    /// Removes entries below `path`; when the first of them came.
    fn remove_below(&mut self, path: &RelPath, absorbed: impl Fn(Dirt) -> bool) -> Option<u64> {
        let (from, to) = below(path);
        let victims = self.store.between(&from, &to).filter(|(_, (_, entry))| absorbed(entry.dirt));
        let victims: Vec<u32> = victims.map(|(number, _)| number).collect();
        let mut oldest = None;
        for number in victims {
            if let Some((path, entry)) = self.take_out(number) {
                self.settled(&path);
                oldest = Some(entry.at.min(oldest.unwrap_or(u64::MAX)));
            }
        }
        oldest
    }

    /// When the first change came that waits here.
    pub fn oldest(&self) -> Option<Duration> {
        self.store.iter().map(|(_, entry)| entry.at).min().map(|at| self.since(at))
    }

    /// When that was after the supervisor's start.
    pub fn since(&self, at: u64) -> Duration {
        Duration::from_millis(at.saturating_sub(self.epoch))
    }

    fn link(&mut self, path: &RelPath, entry: Entry) {
        self.touch(path);
        self.put_in(self.store.find(path.as_bytes()), path, entry, &mut Copies::default());
    }

    /// `place` is that of the path, if it waits.
    fn put_in(&mut self, place: Option<u32>, path: &RelPath, entry: Entry, copies: &mut Copies) {
        let number = self.store.put(place, path, entry, copies);
        // Of who waits already it is known.
        if place.is_none() && self.kept.as_mut().is_some_and(|kept| kept.was_saved_at(path)) {
            self.store.is_saved(number);
        }
    }

    fn take_out(&mut self, number: u32) -> Option<Taken> {
        let saved = self.store.forget_saved(number);
        let (path, entry) = self.store.take(number)?;
        if let (true, Some(kept)) = (saved, &mut self.kept) {
            kept.is_saved_at(path.clone());
        }
        Some((path, entry))
    }
}

/// Whether what is dirty in this way may stand for what waits below it.
fn is_wide(dirt: Dirt) -> bool {
    match dirt {
        Dirt::Deep | Dirt::RemovedDir | Dirt::Sweep => true,
        Dirt::Touched | Dirt::Removed => false,
    }
}

/// Whether a directory that is dirty in this way stands for what waits below it.
fn absorbs(directory: Dirt, below: Dirt) -> bool {
    match directory {
        Dirt::Deep | Dirt::RemovedDir => true,
        Dirt::Sweep => matches!(below, Dirt::Touched | Dirt::Sweep),
        Dirt::Touched | Dirt::Removed => false,
    }
}

/// In whole milliseconds.
pub(super) fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
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
