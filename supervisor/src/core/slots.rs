//! How many transfers may be at work at once, and who holds a place among them.
//!
//! A transfer that moves nothing holds none, so that a remote which hangs delays nobody. Where all move and
//! nothing ends, one more may begin by and by, ever more slowly: slow remotes shall not keep all others
//! waiting, and a machine that has enough to do shall not get ten times as much.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::Role;

/// How long nothing has ended before one more may begin than there are places; the next one after twice
/// that, and so on. Also how long a transfer is no short one.
const LONG: Duration = Duration::from_millis(500);
/// Most such doublings: the pause ends at half a minute.
const DOUBLINGS: u32 = 6;

/// The places.
#[derive(Debug)]
pub struct Slots {
    most: usize,
    /// Places beyond those, until as many long transfers have ended.
    lent: u32,
    /// When a transfer last ended, or got such a place.
    last: Duration,
    /// Transfers at work, and since when.
    begun: BTreeMap<Role, Duration>,
    /// Those of them that moved nothing of late.
    still: BTreeSet<Role>,
}

impl Slots {
    /// As many places as there are `workers`; at least one.
    pub fn new(workers: usize) -> Slots {
        let (begun, still) = (BTreeMap::new(), BTreeSet::new());
        Slots { most: workers.max(1), lent: 0, last: Duration::ZERO, begun, still }
    }

    /// How many places there are at most while nobody is stuck.
    pub fn most(&self) -> usize {
        self.most
    }

    /// How many of the transfers at work of which `counts` is true hold a place.
    pub fn held(&self, counts: impl Fn(Role) -> bool) -> usize {
        self.begun.keys().filter(|&&role| !self.still.contains(&role) && counts(role)).count()
    }

    /// Whether one that waits since then may begin, where so many hold a place.
    pub fn has_room(&self, now: Duration, held: usize, since: Duration) -> bool {
        !self.is_full(held) || now >= self.due(since)
    }

    /// When one that waits since then may begin though all places are held.
    pub fn due(&self, since: Duration) -> Duration {
        let pause = LONG.saturating_mul(1_u32.checked_shl(self.lent.min(DOUBLINGS)).unwrap_or(1));
        since.max(self.last).saturating_add(pause)
    }

    /// A transfer begins, where so many held a place.
    pub fn begin(&mut self, now: Duration, role: Role, held: usize) {
        if held < self.most {
            self.lent = 0;
        } else if self.is_full(held) {
            (self.lent, self.last) = (self.lent.saturating_add(1), now);
        }
        self.begun.insert(role, now);
    }

    /// One is over, or its syncer is gone.
    pub fn end(&mut self, now: Duration, role: Role) {
        self.still.remove(&role);
        if let Some(since) = self.begun.remove(&role) {
            self.last = now;
            if now.saturating_sub(since) >= LONG {
                self.lent = self.lent.saturating_sub(1);
            }
        }
    }

    /// A transfer at work moves.
    pub fn moves(&mut self, role: Role) {
        self.still.remove(&role);
    }

    /// One moves nothing.
    pub fn is_still(&mut self, role: Role) {
        if self.begun.contains_key(&role) {
            self.still.insert(role);
        }
    }

    fn is_full(&self, held: usize) -> bool {
        held >= self.most.saturating_add(usize::try_from(self.lent).unwrap_or(0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::{Lane, RemoteId};

    fn syncer(id: u16) -> Role {
        Role::Syncer(RemoteId(id), Lane::Batch)
    }

    fn at(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    /// As many begin, one each ten milliseconds from `from` to `to` on, as may. How many.
    fn crowd(slots: &mut Slots, next: &mut u16, from: u64, to: u64) -> usize {
        let before = *next;
        for now in (from..to).step_by(10) {
            while slots.has_room(at(now), slots.held(|_| true), at(0)) {
                slots.begin(at(now), syncer(*next), slots.held(|_| true));
                *next += 1;
            }
        }
        usize::from(*next - before)
    }

    /// Where ten of a hundred were at work and each took four seconds, all hundred were let go at once.
    #[test]
    fn those_that_move_let_few_begin_beside_them() {
        let (mut slots, mut next) = (Slots::new(10), 0);
        assert_eq!(crowd(&mut slots, &mut next, 0, 490), 10);
        // After 0.5 s, 1 s more and 2 s more.
        assert_eq!(crowd(&mut slots, &mut next, 490, 4000), 3);
        assert_eq!(slots.held(|_| true), 13);
        // As they end the places beyond the ten go first.
        for id in 0..13 {
            slots.end(at(4000), syncer(id));
        }
        assert_eq!(crowd(&mut slots, &mut next, 4000, 4010), 10);
    }

    #[test]
    fn those_that_are_stuck_hold_no_place() {
        let (mut slots, mut next) = (Slots::new(2), 0);
        assert_eq!(crowd(&mut slots, &mut next, 0, 10), 2);
        slots.is_still(syncer(0));
        slots.is_still(syncer(77));
        assert_eq!(crowd(&mut slots, &mut next, 10, 20), 1);
        // It moves again: three are at work, and nobody else may.
        slots.moves(syncer(0));
        assert_eq!((crowd(&mut slots, &mut next, 20, 30), slots.held(|_| true)), (0, 3));
    }

    /// A place beyond the others stays while the slow ones are at work: the quick ones take turns there.
    #[test]
    fn quick_ones_follow_each_other_beside_slow_ones() {
        let (mut slots, mut next) = (Slots::new(1), 0);
        assert_eq!(crowd(&mut slots, &mut next, 0, 510), 2);
        for now in (510..900).step_by(10) {
            slots.end(at(now), syncer(next - 1));
            assert_eq!(crowd(&mut slots, &mut next, now, now + 10), 1);
        }
    }
}
