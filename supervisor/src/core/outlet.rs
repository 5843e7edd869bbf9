//! One plugin's queue: what it has to be told, what it is being told, and when to try again.
//!
//! The policy: a path waits at most once. Whoever is to be told and does not answer is tried
//! again for ever, as long as there is room to keep the changes; a change that is refused is
//! tried [`MAX_TRIES`] times. What is dropped is counted and told to the operator.

use std::collections::BTreeMap;
use std::time::Duration;

use common::event::{IN_CREATE, TreeId};
use common::message::Verdict;
use common::path::RelPath;

use super::Blame;
use super::backlog::SETTLE;
use super::ledger::Settled;
use super::retry::{Jitter, doubled};

/// Most changes that wait for one plugin.
pub const MAX_WAITING: usize = 50_000;
/// Most changes in one delivery.
const MAX_EVENTS: usize = 100;
/// Most bytes of paths in one delivery: an order fits one message of the channel.
const MAX_BYTES: usize = 40 << 10;
/// What a change costs in an order beside its path; and what each remote's outcome adds.
const EVENT_OVERHEAD: usize = 48;
const REMOTE_OVERHEAD: usize = 4;
/// How often a change is offered that is refused, or that kills the plugin.
pub const MAX_TRIES: u32 = 8;
/// A new reason is spoken of at most this often.
const SAME_REASON: Duration = Duration::from_secs(10);
/// How often nobody answers a change before the others go first.
const UNANSWERED: u32 = 3;
/// First and longest pause after a refusal.
const REFUSED: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));
/// First and longest pause while nobody answers.
const UNREACHABLE: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(30));

/// A change with the tree that it happened in.
pub type Event = (TreeId, Settled);

/// How a delivery changed a plugin's standing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Turn {
    /// Nothing to tell.
    None,
    /// Whoever is to be told does not answer any more, or for another reason than before.
    Down,
    /// It answers again.
    Up,
}

/// The queue.
#[derive(Debug)]
pub struct Outlet {
    /// For people.
    pub label: String,
    /// How long one call may take.
    pub timeout: Duration,
    waiting: BTreeMap<(Duration, u64), Item>,
    places: BTreeMap<(TreeId, RelPath), (Duration, u64)>,
    in_flight: Option<Vec<((Duration, u64), Item)>>,
    sequence: u64,
    not_before: Duration,
    failures: u32,
    down: bool,
    /// When and why it was last said to be down.
    reason: (Duration, String),
    /// So many are offered one at a time after the plugin died: the change that kills it must
    /// not take others along.
    careful: usize,
    dropped: u64,
}

#[derive(Debug)]
struct Item {
    event: Event,
    tries: u32,
    /// How often nobody answered while it was its turn.
    unanswered: u32,
}

impl Outlet {
    /// An empty queue.
    pub fn new(label: String, timeout: Duration) -> Outlet {
        Outlet {
            label,
            timeout,
            waiting: BTreeMap::new(),
            places: BTreeMap::new(),
            in_flight: None,
            sequence: 0,
            not_before: Duration::ZERO,
            failures: 0,
            down: false,
            reason: (Duration::ZERO, String::new()),
            careful: 0,
            dropped: 0,
        }
    }

    /// Takes a change in. One that waits already for the same path becomes this one.
    pub fn push(&mut self, now: Duration, event: Event) {
        // Something just created is about to be written; that is one change.
        let settle = if event.1.mask == IN_CREATE { SETTLE } else { Duration::ZERO };
        let ready = event.1.seen.saturating_add(settle).max(now);
        self.insert(ready, Item { event, tries: 0, unanswered: 0 });
    }

    /// Takes out what is to be delivered now; nothing while a delivery is under way.
    pub fn take(&mut self, now: Duration) -> Vec<Event> {
        if self.in_flight.is_some() || now < self.not_before {
            return Vec::new();
        }
        let (mut taken, mut room) = (Vec::new(), MAX_BYTES);
        let most = if self.careful > 0 { 1 } else { MAX_EVENTS };
        while let Some(entry) = self.waiting.first_entry() {
            let cost = cost(&entry.get().event.1);
            if entry.key().0 > now || taken.len() >= most || (cost > room && !taken.is_empty()) {
                break;
            }
            room = room.saturating_sub(cost);
            let (place, item) = entry.remove_entry();
            self.places.remove(&key(&item.event));
            taken.push((place, item));
        }
        let events = taken.iter().map(|(_, item)| item.event.clone()).collect();
        self.in_flight = (!taken.is_empty()).then_some(taken);
        events
    }

    /// The delivery under way is over.
    pub fn done(&mut self, now: Duration, verdicts: &[Verdict], why: &str, jitter: &mut Jitter) -> Turn {
        let taken = self.in_flight.take().unwrap_or_default();
        let nothing = verdicts.is_empty();
        let mut verdicts = verdicts.iter().copied();
        let (mut moved, mut stuck) = (false, nothing);
        for (place, item) in taken {
            match verdicts.next() {
                Some(Verdict::Delivered) => moved = true,
                Some(Verdict::Refused) => {
                    moved = true;
                    let pause = doubled(REFUSED.0, REFUSED.1, item.tries.saturating_add(1));
                    self.retry(now.saturating_add(jitter.spread(pause)), item);
                }
                Some(Verdict::Unreachable) => {
                    stuck = true;
                    self.answer_failed(now, place, item);
                }
                None => self.put_back(place, item),
            }
        }
        if moved {
            self.careful = self.careful.saturating_sub(1);
            self.failures = 0;
        }
        if stuck {
            self.failures = self.failures.saturating_add(1);
            let pause = doubled(UNREACHABLE.0, UNREACHABLE.1, self.failures);
            self.not_before = now.saturating_add(jitter.spread(pause));
        }
        match (std::mem::replace(&mut self.down, stuck), stuck) {
            (true, false) => Turn::Up,
            (false, true) => self.says(now, why),
            // It is down for another reason than was said.
            (true, true) if self.reason.1 != why && now.saturating_sub(self.reason.0) >= SAME_REASON => {
                self.says(now, why)
            }
            (true, true) | (false, false) => Turn::None,
        }
    }

    fn says(&mut self, now: Duration, why: &str) -> Turn {
        self.reason = (now, why.to_owned());
        Turn::Down
    }

    /// The plugin died with its delivery.
    pub fn abandon(&mut self, now: Duration, blame: Blame) {
        let Some(taken) = self.in_flight.take() else { return };
        let alone = taken.len() == 1;
        if blame == Blame::Work && !alone {
            self.careful = taken.len();
        }
        for (place, item) in taken {
            if alone && blame == Blame::Work {
                self.retry(now, item);
            } else {
                self.put_back(place, item);
            }
        }
    }

    /// Lets everything go that waits for its next try.
    pub fn hurry(&mut self, now: Duration) {
        self.not_before = self.not_before.min(now);
        self.places.clear();
        for ((ready, sequence), item) in std::mem::take(&mut self.waiting) {
            self.put_back((ready.min(now), sequence), item);
        }
    }

    /// When time alone gives it something to deliver.
    pub fn deadline(&self) -> Option<Duration> {
        let first = self.waiting.keys().next().filter(|_| self.in_flight.is_none());
        first.map(|&(ready, _)| ready.max(self.not_before))
    }

    /// How many changes wait or are under way.
    pub fn pending(&self) -> usize {
        self.waiting.len().saturating_add(self.in_flight.as_ref().map_or(0, Vec::len))
    }

    /// True while a delivery is under way.
    pub fn is_busy(&self) -> bool {
        self.in_flight.is_some()
    }

    /// True while whoever is to be told does not answer.
    pub fn is_down(&self) -> bool {
        self.down
    }

    /// True when all that can be told at once has been told.
    pub fn is_quiet(&self) -> bool {
        let refused = |item: &Item| item.tries > 0;
        self.in_flight.is_none() && (self.down || self.waiting.values().all(refused))
    }

    /// Changes that were dropped since this was last asked.
    pub fn take_dropped(&mut self) -> u64 {
        std::mem::take(&mut self.dropped)
    }

    fn retry(&mut self, ready: Duration, mut item: Item) {
        item.tries = item.tries.saturating_add(1);
        if item.tries >= MAX_TRIES {
            self.dropped = self.dropped.saturating_add(1);
        } else {
            self.insert(ready, item);
        }
    }

    /// It may be this very change that nobody answers: after a few times the others go first.
    fn answer_failed(&mut self, now: Duration, place: (Duration, u64), mut item: Item) {
        item.unanswered = item.unanswered.saturating_add(1);
        if item.unanswered.is_multiple_of(UNANSWERED) {
            self.insert(now, item);
        } else {
            self.put_back(place, item);
        }
    }

    fn insert(&mut self, ready: Duration, item: Item) {
        self.sequence = self.sequence.saturating_add(1);
        self.put_back((ready, self.sequence), item);
    }

    /// Back to its place; what happened to the path meanwhile joins it, at the earlier place.
    fn put_back(&mut self, mut place: (Duration, u64), mut item: Item) {
        let key = key(&item.event);
        let other = self.places.remove(&key).and_then(|place| Some((place, self.waiting.remove(&place)?)));
        if let Some((other_place, other)) = other {
            place = place.min(other_place);
            item = item.joined(other);
        }
        if self.waiting.len() >= MAX_WAITING {
            self.dropped = self.dropped.saturating_add(1);
            return;
        }
        self.places.insert(key, place);
        self.waiting.insert(place, item);
    }
}

impl Item {
    /// Two changes of one path: the later one with the bits of both, as old as the earlier.
    fn joined(self, other: Item) -> Item {
        let (earlier, mut later) =
            if self.event.1.seen < other.event.1.seen { (self, other) } else { (other, self) };
        later.event.1.mask |= earlier.event.1.mask;
        later.event.1.seen = earlier.event.1.seen;
        later
    }
}

fn key(event: &Event) -> (TreeId, RelPath) {
    (event.0, event.1.path.clone())
}

fn cost(settled: &Settled) -> usize {
    let remotes = settled.remotes.len().saturating_mul(REMOTE_OVERHEAD);
    settled.path.as_bytes().len().saturating_add(EVENT_OVERHEAD).saturating_add(remotes)
}

#[cfg(test)]
mod tests;
