//! Where a backlog keeps its paths: each one once, in a place with a number, and the numbers in two
//! orders, by path and by turn. A backlog may hold very many for weeks, and one for each remote: this
//! costs some 64 bytes a path beside the path itself, which all remotes of a tree share.

use std::time::Duration;

use common::path::RelPath;

use super::bounds::weight;
use super::{Entry, Taken};
use crate::core::order::Order;

/// Paths with their entries.
#[derive(Debug, Default)]
pub(super) struct Store {
    places: Vec<Option<Taken>>,
    /// Places that hold nothing.
    free: Vec<u32>,
    by_path: Order,
    by_turn: Order,
    sequence: u32,
    weight: usize,
}

impl Store {
    /// How many paths there are.
    pub(super) fn len(&self) -> usize {
        self.places.len().saturating_sub(self.free.len())
    }

    /// For how many paths of common length they count.
    pub(super) fn weight(&self) -> usize {
        self.weight
    }

    /// What is at a path.
    pub(super) fn get(&self, path: &[u8]) -> Option<&Entry> {
        self.at(self.find(path)?).map(|(_, entry)| entry)
    }

    /// The same, to be changed in what is no part of its turn.
    pub(super) fn get_mut(&mut self, path: &[u8]) -> Option<&mut Entry> {
        let number = self.find(path)?;
        self.places.get_mut(index(number))?.as_mut().map(|(_, entry)| entry)
    }

    /// Puts an entry at a path, in the place of the one that is there.
    pub(super) fn put(&mut self, path: &RelPath, mut entry: Entry) {
        if entry.sequence == 0 {
            self.sequence = self.sequence.wrapping_add(1).max(1);
            entry.sequence = self.sequence;
        }
        let number = match self.find(path.as_bytes()) {
            Some(number) => {
                let old = self.at(number).map(|(_, old)| (old.ready, old.sequence));
                if old == Some((entry.ready, entry.sequence)) {
                    self.set(number, entry);
                    return;
                }
                self.leave_turn(number);
                self.set(number, entry);
                number
            }
            None => self.place(path, entry),
        };
        let (turn, places) = ((entry.ready, entry.sequence, number), &self.places);
        self.by_turn.insert(number, |it| turn_of(places, it) < Some(turn));
    }

    /// Takes out what is at a place.
    pub(super) fn take(&mut self, number: u32) -> Option<Taken> {
        self.leave_turn(number);
        let places = &self.places;
        if let Some(path) = path_of(places, number) {
            self.by_path.remove(number, |it| path_of(places, it) < Some(path));
        }
        let taken = self.places.get_mut(index(number))?.take()?;
        self.free.push(number);
        self.weight = self.weight.saturating_sub(weight(&taken.0));
        if self.free.len() == self.places.len() {
            // Nothing is left, and with the last path goes the memory.
            (self.places, self.free) = (Vec::new(), Vec::new());
        }
        Some(taken)
    }

    /// Changes each entry in what is no part of its turn.
    pub(super) fn for_each(&mut self, change: impl Fn(&mut Entry)) {
        self.places.iter_mut().flatten().for_each(|(_, entry)| change(entry));
    }

    /// Lets each entry have another turn; nothing else of it may change.
    pub(super) fn set_turns(&mut self, set: impl Fn(&mut Entry)) {
        self.for_each(set);
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
            .from(|it| path_of(&self.places, it) < Some(from))
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

    fn at(&self, number: u32) -> Option<&Taken> {
        self.places.get(index(number))?.as_ref()
    }

    fn set(&mut self, number: u32, entry: Entry) {
        if let Some(Some((_, old))) = self.places.get_mut(index(number)) {
            *old = entry;
        }
    }

    pub(super) fn find(&self, path: &[u8]) -> Option<u32> {
        let number = self.by_path.from(|it| path_of(&self.places, it) < Some(path)).next()?;
        (path_of(&self.places, number) == Some(path)).then_some(number)
    }

    fn place(&mut self, path: &RelPath, entry: Entry) -> u32 {
        let taken = Some((path.clone(), entry));
        self.weight = self.weight.saturating_add(weight(path));
        let number = self.free.pop().unwrap_or_else(|| {
            self.places.push(None);
            // There are never more than a bound that is far below.
            u32::try_from(self.places.len().saturating_sub(1)).unwrap_or(u32::MAX)
        });
        if let Some(place) = self.places.get_mut(index(number)) {
            *place = taken;
        }
        let places = &self.places;
        self.by_path.insert(number, |it| path_of(places, it) < Some(path.as_bytes()));
        number
    }

    fn leave_turn(&mut self, number: u32) {
        let places = &self.places;
        if let Some(turn) = turn_of(places, number) {
            self.by_turn.remove(number, |it| turn_of(places, it) < Some(turn));
        }
    }
}

fn index(number: u32) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}

fn path_of(places: &[Option<Taken>], number: u32) -> Option<&[u8]> {
    places.get(index(number))?.as_ref().map(|(path, _)| path.as_bytes())
}

/// What counts before: no two places have the same.
fn turn_of(places: &[Option<Taken>], number: u32) -> Option<(Duration, u32, u32)> {
    places.get(index(number))?.as_ref().map(|(_, entry)| (entry.ready, entry.sequence, number))
}
