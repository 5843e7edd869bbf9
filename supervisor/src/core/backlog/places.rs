//! The places of a store, by their numbers. Where several remotes mirror one tree, what is known of a path
//! is mostly the same for each of them: it is held once for all that agree, and who has another story to
//! tell gets a copy of its own.

use std::sync::Arc;

use common::path::RelPath;

use super::{Entry, Taken};

/// Most stories of one change that are looked at for one that is the same.
const MOST: usize = 4;

/// What remotes may have in common of one change.
#[derive(Debug, Default)]
pub struct Copies {
    /// Its place among those that are ready at the same moment; 0 where nobody else gets it.
    sequence: u32,
    made: Vec<Arc<Taken>>,
}

impl Copies {
    /// Of so many changes, which several get whose last numbers are `before`.
    pub fn of_all(changes: usize, before: impl Iterator<Item = u32>) -> Vec<Copies> {
        let mut sequence = before.max().unwrap_or(0);
        let mut next = || {
            sequence = sequence.wrapping_add(1).max(1);
            sequence
        };
        (0..changes).map(|_| Copies { sequence: next(), made: Vec::new() }).collect()
    }

    pub(super) fn sequence(&self) -> u32 {
        self.sequence
    }

    /// The same as somebody else's, if anybody has it.
    fn of(&mut self, taken: Taken) -> Arc<Taken> {
        if let Some(same) = self.made.iter().find(|it| ***it == taken) {
            return Arc::clone(same);
        }
        let own = Arc::new(taken);
        if self.sequence > 0 && self.made.len() < MOST {
            self.made.push(Arc::clone(&own));
        }
        own
    }
}

/// The places; an empty one is `None`.
#[derive(Debug)]
pub(super) enum Places {
    /// All that is here is here only: some 60 bytes a path.
    Own(Vec<Option<Taken>>),
    /// What is here others may have too: eight bytes for each, and some 90 for all that have the same.
    Shared(Vec<Option<Arc<Taken>>>),
}

impl Default for Places {
    fn default() -> Places {
        Places::Own(Vec::new())
    }
}

impl Places {
    /// How many there are, empty ones too.
    pub(super) fn len(&self) -> usize {
        match self {
            Places::Own(places) => places.len(),
            Places::Shared(places) => places.len(),
        }
    }

    /// One more, empty. Its number.
    pub(super) fn add(&mut self) -> u32 {
        // There are never more than a bound that is far below.
        let number = u32::try_from(self.len()).unwrap_or(u32::MAX);
        match self {
            Places::Own(places) => places.push(None),
            Places::Shared(places) => places.push(None),
        }
        number
    }

    pub(super) fn get(&self, number: u32) -> Option<&Taken> {
        match self {
            Places::Own(places) => places.get(index(number))?.as_ref(),
            Places::Shared(places) => places.get(index(number))?.as_deref(),
        }
    }

    /// Puts that into a place, whatever is there.
    pub(super) fn set(&mut self, number: u32, taken: Taken, copies: &mut Copies) {
        match self {
            Places::Own(places) => {
                if let Some(place) = places.get_mut(index(number)) {
                    *place = Some(taken);
                }
            }
            Places::Shared(places) => {
                if let Some(place) = places.get_mut(index(number)) {
                    *place = Some(copies.of(taken));
                }
            }
        }
    }

    /// Empties a place.
    pub(super) fn take(&mut self, number: u32) -> Option<Taken> {
        match self {
            Places::Own(places) => places.get_mut(index(number))?.take(),
            Places::Shared(places) => places.get_mut(index(number))?.take().map(Arc::unwrap_or_clone),
        }
    }

    /// Changes each entry.
    pub(super) fn for_each(&mut self, change: impl Fn(&mut Entry)) {
        match self {
            Places::Own(places) => places.iter_mut().flatten().for_each(|(_, entry)| change(entry)),
            Places::Shared(places) => {
                for place in places.iter_mut().flatten() {
                    let (path, old) = &**place;
                    let mut entry = *old;
                    change(&mut entry);
                    if entry != *old {
                        *place = Arc::new((path.clone(), entry));
                    }
                }
            }
        }
    }

    /// Forgets all places, which are empty, with their memory.
    pub(super) fn clear(&mut self) {
        match self {
            Places::Own(places) => *places = Vec::new(),
            Places::Shared(places) => *places = Vec::new(),
        }
    }

    pub(super) fn path(&self, number: u32) -> Option<&[u8]> {
        self.get(number).map(|(path, _): &(RelPath, Entry)| path.as_bytes())
    }
}

pub(super) fn index(number: u32) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}
