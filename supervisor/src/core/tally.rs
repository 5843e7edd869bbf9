//! What a remote has been through: jobs by outcome, how long they took, how much they moved, what
//! went wrong last. Nothing is decided by it; it is for people and programs that look on.

use std::time::Duration;

use common::message::{Advance, Outcome};

use super::remote::lane_index;
use super::{JobEnd, Lane};

/// Upper bounds of the histogram's buckets, in milliseconds. What took longer is in one more.
pub const BUCKETS_MS: [u64; 14] =
    [5, 10, 25, 50, 100, 250, 500, 1000, 2500, 5000, 10_000, 30_000, 120_000, 600_000];
/// The rate is told of that many seconds.
const RECENT_SECS: u64 = 10;
const SLOTS: usize = 10;
/// Most bytes that are remembered of what rsync said last.
pub const MAX_SAID: usize = 400;

/// What went wrong last.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mishap {
    /// When.
    pub at: Duration,
    /// What to make of it.
    pub outcome: Outcome,
    /// rsync's exit status, or minus a signal.
    pub status: i32,
    /// The end of what rsync said, at most [`MAX_SAID`] bytes; lines.
    pub said: String,
    /// Since then a job was done.
    pub is_over: bool,
}

/// Jobs of a remote, counted.
#[derive(Debug, Clone, Default)]
pub struct Tally {
    outcomes: [u64; Outcome::ALL.len()],
    buckets: [u64; BUCKETS_MS.len() + 1],
    took: Duration,
    bytes: u64,
    full_syncs: u64,
    full_synced: Option<Duration>,
    /// Of batches, and of full syncs: one that is done says nothing of the other.
    mishaps: [Option<Mishap>; 2],
    down_since: Option<Duration>,
    began: [Option<Duration>; Lane::ALL.len()],
    advance: [Option<Advance>; Lane::ALL.len()],
    rate: Rate,
}

impl Tally {
    /// A job begins.
    pub fn begin(&mut self, now: Duration, lane: Lane) {
        self.set(lane, Some(now), None);
    }

    /// A job has come so far.
    pub fn advance(&mut self, now: Duration, lane: Lane, advance: Advance) {
        let Some(place) = self.advance.get_mut(lane_index(lane)) else { return };
        let before = place.map_or(0, |before| before.bytes);
        self.rate.add(now, advance.bytes.saturating_sub(before));
        // What was told once is never taken back.
        *place = Some(Advance { bytes: advance.bytes.max(before), ..advance });
    }

    /// A job ended without a word.
    pub fn abandon(&mut self, lane: Lane) {
        self.bytes = self.bytes.saturating_add(self.advance_of(lane).map_or(0, |advance| advance.bytes));
        self.set(lane, None, None);
    }

    /// A transfer is over.
    pub fn end(&mut self, now: Duration, lane: Lane, end: &JobEnd) {
        let began = self.began(lane);
        let known = self.advance_of(lane).map_or(0, |advance| advance.bytes);
        self.set(lane, None, None);
        let took = began.map_or(Duration::ZERO, |began| now.saturating_sub(began));
        if let Some(count) = self.outcomes.get_mut(place_of(end.outcome)) {
            *count = count.saturating_add(1);
        }
        let millis = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
        let bucket = BUCKETS_MS.iter().position(|&most| millis <= most).unwrap_or(BUCKETS_MS.len());
        if let Some(count) = self.buckets.get_mut(bucket) {
            *count = count.saturating_add(1);
        }
        self.took = self.took.saturating_add(took);
        self.bytes = self.bytes.saturating_add(known);
        if end.outcome == Outcome::Done {
            self.mishap_of(lane).iter_mut().for_each(|mishap| mishap.is_over = true);
            if lane == Lane::Full {
                (self.full_syncs, self.full_synced) = (self.full_syncs.saturating_add(1), Some(now));
            }
        } else {
            let from = end.tail.ceil_char_boundary(end.tail.len().saturating_sub(MAX_SAID));
            let said = end.tail.get(from..).unwrap_or_default().trim().to_owned();
            let (outcome, status) = (end.outcome, end.status);
            *self.mishap_of(lane) = Some(Mishap { at: now, outcome, status, said, is_over: false });
        }
    }

    /// Whether jobs fail.
    pub fn stands(&mut self, now: Duration, is_up: bool) {
        self.down_since = if is_up { None } else { self.down_since.or(Some(now)) };
    }

    /// How many transfers ended like this.
    pub fn ended(&self, outcome: Outcome) -> u64 {
        self.outcomes.get(place_of(outcome)).copied().unwrap_or(0)
    }

    /// How many transfers took so long, by [`BUCKETS_MS`], and at last those that took longer.
    pub fn buckets(&self) -> &[u64] {
        &self.buckets
    }

    /// What all transfers took together.
    pub fn took(&self) -> Duration {
        self.took
    }

    /// Bytes of files that were brought over, as rsync counts them.
    pub fn bytes(&self) -> u64 {
        let running = self.advance.iter().flatten().map(|advance| advance.bytes);
        running.fold(self.bytes, u64::saturating_add)
    }

    /// Bytes a second of the last ten seconds.
    pub fn rate(&self, now: Duration) -> u64 {
        self.rate.of(now)
    }

    /// Full syncs that were done, and when the last one was.
    pub fn full_syncs(&self) -> (u64, Option<Duration>) {
        (self.full_syncs, self.full_synced)
    }

    /// What went wrong last, and before all what is not over.
    pub fn mishap(&self) -> Option<&Mishap> {
        self.mishaps.iter().flatten().max_by_key(|mishap| (!mishap.is_over, mishap.at))
    }

    fn mishap_of(&mut self, lane: Lane) -> &mut Option<Mishap> {
        let [batches, full] = &mut self.mishaps;
        match lane {
            Lane::Batch | Lane::Express => batches,
            Lane::Full => full,
        }
    }

    /// Since when jobs fail.
    pub fn down_since(&self) -> Option<Duration> {
        self.down_since
    }

    /// When the lane's job began.
    pub fn began(&self, lane: Lane) -> Option<Duration> {
        self.began.get(lane_index(lane)).copied().flatten()
    }

    /// How far the lane's job has come, where rsync has said so.
    pub fn advance_of(&self, lane: Lane) -> Option<Advance> {
        self.advance.get(lane_index(lane)).copied().flatten()
    }

    fn set(&mut self, lane: Lane, since: Option<Duration>, how_far: Option<Advance>) {
        let place = lane_index(lane);
        if let (Some(began), Some(advance)) = (self.began.get_mut(place), self.advance.get_mut(place)) {
            (*began, *advance) = (since, how_far);
        }
    }
}

/// Bytes of the last seconds: a slot for each.
#[derive(Debug, Clone, Default)]
struct Rate {
    slots: [u64; SLOTS],
    /// The second that was last written to.
    last: u64,
}

impl Rate {
    fn add(&mut self, now: Duration, bytes: u64) {
        let second = now.as_secs();
        if second.saturating_sub(self.last) >= RECENT_SECS {
            self.slots = [0; SLOTS];
        } else {
            for passed in self.last.saturating_add(1)..=second {
                self.slots.get_mut(slot_of(passed)).into_iter().for_each(|slot| *slot = 0);
            }
        }
        self.last = self.last.max(second);
        if let Some(slot) = self.slots.get_mut(slot_of(second)) {
            *slot = slot.saturating_add(bytes);
        }
    }

    fn of(&self, now: Duration) -> u64 {
        let second = now.as_secs();
        let from = second.saturating_sub(RECENT_SECS.saturating_sub(1));
        let oldest = self.last.saturating_sub(RECENT_SECS.saturating_sub(1));
        let seconds = from.max(oldest)..=self.last.min(second);
        let sum = seconds
            .filter_map(|second| self.slots.get(slot_of(second)))
            .fold(0, |sum: u64, bytes| sum.saturating_add(*bytes));
        sum / RECENT_SECS
    }
}

fn slot_of(second: u64) -> usize {
    usize::try_from(second % RECENT_SECS).unwrap_or(0)
}

fn place_of(outcome: Outcome) -> usize {
    Outcome::ALL.iter().position(|&other| other == outcome).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn at(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    fn end(outcome: Outcome) -> JobEnd {
        let tail = "é".repeat(MAX_SAID);
        JobEnd { outcome, status: 10, tail, failed: None, left: Vec::new() }
    }

    fn advance(bytes: u64) -> Advance {
        Advance {
            bytes,
            files: 1,
            percent: 5,
            to_check: Some((3, 9)),
            listing: common::message::Listing::Open,
        }
    }

    #[test]
    fn every_outcome_has_its_place() {
        let mut tally = Tally::default();
        for (count, outcome) in (1..).zip(Outcome::ALL) {
            (0..count).for_each(|_| tally.end(at(0), Lane::Batch, &end(outcome)));
        }
        for (count, outcome) in (1..).zip(Outcome::ALL) {
            assert_eq!(tally.ended(outcome), count, "{outcome:?}");
        }
    }

    #[test]
    fn durations_fall_into_their_buckets() {
        let mut tally = Tally::default();
        for took in [0, 5, 6, 600_000, 600_001] {
            tally.begin(at(7), Lane::Batch);
            tally.end(at(7 + took), Lane::Batch, &end(Outcome::Done));
        }
        let mut wanted = [0; BUCKETS_MS.len() + 1];
        (wanted[0], wanted[1], wanted[13], wanted[14]) = (2, 1, 1, 1);
        assert_eq!(tally.buckets(), wanted);
        assert_eq!(tally.took(), at(1_200_012));
    }

    /// Whoever looks on takes a counter that goes back for a new one.
    #[test]
    fn bytes_never_go_back() {
        let mut tally = Tally::default();
        tally.begin(at(0), Lane::Batch);
        tally.advance(at(1000), Lane::Batch, advance(4000));
        tally.advance(at(2000), Lane::Batch, advance(3000));
        assert_eq!(tally.bytes(), 4000);
        tally.abandon(Lane::Batch);
        assert_eq!(tally.bytes(), 4000, "its syncer died");
    }

    #[test]
    fn bytes_are_counted_once() {
        let mut tally = Tally::default();
        tally.begin(at(0), Lane::Full);
        tally.advance(at(1000), Lane::Full, advance(4000));
        assert_eq!((tally.bytes(), tally.rate(at(1000))), (4000, 400));
        tally.advance(at(2000), Lane::Full, advance(5000));
        tally.advance(at(3000), Lane::Full, advance(6000));
        tally.end(at(3000), Lane::Full, &end(Outcome::Done));
        assert_eq!((tally.bytes(), tally.rate(at(3000))), (6000, 600));
        assert_eq!(tally.full_syncs(), (1, Some(at(3000))));
        assert_eq!(tally.rate(at(10_999)), 600);
        assert_eq!(tally.rate(at(11_000)), 200, "the first second is too old");
        assert_eq!(tally.rate(at(1_000_000)), 0);
        // What was in a slot ten seconds ago does not count again.
        tally.advance(at(13_000), Lane::Batch, advance(10));
        tally.end(at(13_000), Lane::Batch, &end(Outcome::Done));
        assert_eq!(tally.rate(at(13_000)), 1);
        tally.advance(at(900_000), Lane::Batch, advance(50));
        assert_eq!(tally.rate(at(900_000)), 5);
    }

    #[test]
    fn what_went_wrong_is_remembered_and_over() {
        let mut tally = Tally::default();
        tally.end(at(5), Lane::Batch, &end(Outcome::Unreachable));
        tally.stands(at(5), false);
        tally.stands(at(9), false);
        assert_eq!(tally.down_since(), Some(at(5)));
        let mishap = tally.mishap().unwrap().clone();
        assert!(mishap.said.len() <= MAX_SAID && !mishap.is_over && mishap.outcome == Outcome::Unreachable);
        tally.end(at(6), Lane::Batch, &end(Outcome::Done));
        tally.stands(at(6), true);
        assert!(tally.mishap().unwrap().is_over && tally.down_since().is_none());
    }

    #[test]
    fn a_job_that_ended_without_a_word_has_not_come_far() {
        let mut tally = Tally::default();
        tally.begin(at(1), Lane::Express);
        tally.advance(at(2), Lane::Express, advance(7));
        assert_eq!(
            (tally.began(Lane::Express), tally.advance_of(Lane::Express)),
            (Some(at(1)), Some(advance(7)))
        );
        tally.abandon(Lane::Express);
        assert_eq!((tally.began(Lane::Express), tally.advance_of(Lane::Express)), (None, None));
    }
}
