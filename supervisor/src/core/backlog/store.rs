//! Where a backlog keeps its paths: each one once, in a place with a number, and the numbers in two
//! orders, by path and by turn. A backlog may hold very many for weeks, and one for each remote: so what
//! is in a place several may share ([`Places`]), and a number takes four bytes in each order.

use std::time::Duration;

use common::path::RelPath;

use super::bounds::weight;
use super::places::{Copies, Places, index};
use super::{Entry, Taken, is_wide};
use crate::core::order::Order;

/// Paths with their entries.
#[derive(Debug, Default)]
pub(super) struct Store {
    places: Places,
    /// Of which places the disk holds the path.
    saved: Vec<bool>,
    /// Places that hold nothing.
    free: Vec<u32>,
    by_path: Order,
    by_turn: Order,
    sequence: u32,
    weight: usize,
    /// How many may stand for what is below them.
    wide: usize,
}

impl Store {
    /// What it holds others may hold too. It is empty.
    pub(super) fn shared() -> Store {
        Store { places: Places::Shared(Vec::new()), ..Store::default() }
    }

    /// How many paths there are.
    pub(super) fn len(&self) -> usize {
        self.places.len().saturating_sub(self.free.len())
    }

    /// The last number that it gave: its entries have lower ones, or this.
    pub(super) fn sequence(&self) -> u32 {
        self.sequence
    }

    /// For how many paths of common length they count.
    pub(super) fn weight(&self) -> usize {
        self.weight
    }

    /// True when something is here that may stand for what is below it.
    pub(super) fn has_wide(&self) -> bool {
        self.wide > 0
    }

    /// What is at a path.
    pub(super) fn get(&self, path: &[u8]) -> Option<&Entry> {
        self.at(self.find(path)?).map(|(_, entry)| entry)
    }

    /// Puts an entry at a path, in the place of the one that is there, which [`Store::find`] told. The number
    /// of its place.
    pub(super) fn put(
        &mut self,
        place: Option<u32>,
        path: &RelPath,
        mut entry: Entry,
        copies: &mut Copies,
    ) -> u32 {
        if entry.sequence == 0 {
            self.sequence = self.sequence.wrapping_add(1).max(1).max(copies.sequence());
            entry.sequence = self.sequence;
        }
        self.wide = self.wide.saturating_add(usize::from(is_wide(entry.dirt)));
        let number = match place {
            Some(number) => {
                // The path that is there stays: a million changes must not cost more than their paths.
                let (first, old) = self.at(number).map_or((path, None), |(first, old)| (first, Some(*old)));
                let taken = (first.clone(), entry);
                let was_wide = old.is_some_and(|old| is_wide(old.dirt));
                self.wide = self.wide.saturating_sub(usize::from(was_wide));
                if old.map(|old| (old.ready, old.sequence)) == Some((entry.ready, entry.sequence)) {
                    self.places.set(number, taken, copies);
                    return number;
                }
                self.leave_turn(number);
                self.places.set(number, taken, copies);
                number
            }
            None => self.place((path.clone(), entry), copies),
        };
        let (turn, places) = ((entry.ready, entry.sequence, number), &self.places);
        self.by_turn.insert(number, |it| turn_of(places, it) < Some(turn));
        number
    }

    /// Takes out what is at a place.
    pub(super) fn take(&mut self, number: u32) -> Option<Taken> {
        self.leave_turn(number);
        let places = &self.places;
        if let Some(path) = places.path(number) {
            self.by_path.remove(number, |it| places.path(it) < Some(path));
        }
        let taken = self.places.take(number)?;
        self.forget_saved(number);
        self.wide = self.wide.saturating_sub(usize::from(is_wide(taken.1.dirt)));
        self.free.push(number);
        self.weight = self.weight.saturating_sub(weight(&taken.0));
        if self.free.len() == self.places.len() {
            // Nothing is left, and with the last path goes the memory.
            self.places.clear();
            (self.saved, self.free) = (Vec::new(), Vec::new());
        }
        Some(taken)
    }

    /// The disk holds the path at that place.
    pub(super) fn is_saved(&mut self, number: u32) {
        if let Some(saved) = self.saved.get_mut(index(number)) {
            *saved = true;
        }
    }

    /// Whether it does; from now on it is taken not to.
    pub(super) fn forget_saved(&mut self, number: u32) -> bool {
        self.saved.get_mut(index(number)).is_some_and(std::mem::take)
    }

    /// It holds none.
    pub(super) fn forget_all_saved(&mut self) {
        self.saved.fill(false);
    }

    /// Lets each entry have another turn; nothing else of it may change.
    pub(super) fn set_turns(&mut self, set: impl Fn(&mut Entry)) {
        self.places.for_each(set);
        let mut numbers: Vec<u32> = self.by_turn.iter().collect();
        let places = &self.places;
        numbers.sort_by_key(|&number| turn_of(places, number));
        self.by_turn.replace(&numbers);
    }

    /// Paths with their entries, in the order of their bytes.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&RelPath, &Entry)> {
        self.by_path.iter().filter_map(|number| self.at(number)).map(|(path, entry)| (path, entry))
    }

    /// Paths in a range of bytes, with the numbers of their places.
    pub(super) fn between(&self, from: &[u8], to: &[u8]) -> impl Iterator<Item = (u32, &Taken)> {
        self.by_path
            .from(|it| self.places.path(it) < Some(from))
            .filter_map(|number| Some((number, self.at(number)?)))
            .take_while(move |(_, (path, _))| path.as_bytes() < to)
    }

    /// Numbers and what is there, in the order of turns.
    pub(super) fn turns(&self) -> impl Iterator<Item = (u32, &Taken)> {
        self.by_turn.iter().filter_map(|number| Some((number, self.at(number)?)))
    }

    /// What has its turn after `now`, in the order of turns.
    pub(super) fn turns_after(&self, now: Duration) -> impl Iterator<Item = &Taken> {
        let first = Some((now, u32::MAX, u32::MAX));
        self.by_turn.from(move |it| turn_of(&self.places, it) <= first).filter_map(|number| self.at(number))
    }

    /// What is at a place.
    pub(super) fn at(&self, number: u32) -> Option<&Taken> {
        self.places.get(number)
    }

    /// The place of a path.
    pub(super) fn find(&self, path: &[u8]) -> Option<u32> {
        let number = self.by_path.from(|it| self.places.path(it) < Some(path)).next()?;
        (self.places.path(number) == Some(path)).then_some(number)
    }

    fn place(&mut self, taken: Taken, copies: &mut Copies) -> u32 {
        self.weight = self.weight.saturating_add(weight(&taken.0));
        let number = self.free.pop().unwrap_or_else(|| {
            self.saved.push(false);
            self.places.add()
        });
        self.places.set(number, taken, copies);
        let places = &self.places;
        let path = places.path(number);
        self.by_path.insert(number, |it| places.path(it) < path);
        number
    }

    fn leave_turn(&mut self, number: u32) {
        let places = &self.places;
        if let Some(turn) = turn_of(places, number) {
            self.by_turn.remove(number, |it| turn_of(places, it) < Some(turn));
        }
    }
}

/// What counts before: no two places have the same.
fn turn_of(places: &Places, number: u32) -> Option<(Duration, u32, u32)> {
    places.get(number).map(|(_, entry)| (entry.ready, entry.sequence, number))
}
