//! The entries of one directory: gathered slice by slice in the order of the disk, told in the
//! order of their bytes, corrected by what happened in between.
//!
//! Pure. A directory of a million entries must hold up nobody, so nothing here takes longer than
//! a slice: each slice is sorted by itself, and the slices are merged while they are told.

use std::cmp::Reverse;
use std::collections::{BTreeSet, BinaryHeap};

use common::keep::Stamp;

/// Most names that may be noted while a directory is read; beyond, it is read again.
const MAX_NOTES: usize = 100_000;

struct Slot {
    start: usize,
    length: u32,
    stamp: Stamp,
}

/// What is next to be told.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Next {
    /// A name as it was read.
    Read(Vec<u8>, Stamp),
    /// A name that something happened to since: it is to be looked at again.
    Noted(Vec<u8>),
}

/// The entries of one directory.
#[derive(Default)]
pub(crate) struct Listing {
    names: Vec<u8>,
    slots: Vec<Slot>,
    /// Where each sorted slice ends.
    ends: Vec<usize>,
    /// The next name of each slice, and which slot it is, and where its slice ends.
    heads: BinaryHeap<Reverse<(Vec<u8>, usize, usize)>>,
    noted: BTreeSet<Vec<u8>>,
    /// All names up to this one have been told.
    told: Option<Vec<u8>>,
}

impl Listing {
    /// Adds an entry.
    pub(crate) fn add(&mut self, name: &[u8], stamp: Stamp) {
        let length = u32::try_from(name.len()).unwrap_or(u32::MAX);
        self.slots.push(Slot { start: self.names.len(), length, stamp });
        self.names.extend_from_slice(name);
    }

    /// Sorts what was added since the last time.
    pub(crate) fn end_slice(&mut self) {
        let start = self.ends.last().copied().unwrap_or(0);
        let names = &self.names;
        if let Some(slice) = self.slots.get_mut(start..) {
            slice.sort_unstable_by(|one, other| name_of(names, one).cmp(name_of(names, other)));
        }
        let end = self.slots.len();
        if start < end {
            self.ends.push(end);
        }
    }

    /// All of it was added: it can be told.
    pub(crate) fn complete(&mut self) {
        self.end_slice();
        let mut start = 0;
        for end in std::mem::take(&mut self.ends) {
            self.push_head(start, end);
            start = end;
        }
    }

    /// Something happened to `name`. False when that happens too often to be remembered.
    pub(crate) fn note(&mut self, name: &[u8]) -> bool {
        if self.told.as_ref().is_none_or(|told| name > told.as_slice()) {
            self.noted.insert(name.to_vec());
        }
        self.noted.len() <= MAX_NOTES
    }

    /// The last name that was told.
    pub(crate) fn told(&self) -> Option<&Vec<u8>> {
        self.told.as_ref()
    }

    /// True when all of it was told.
    pub(crate) fn is_over(&self) -> bool {
        self.heads.is_empty() && self.noted.is_empty()
    }

    /// The next entry, in the order of the names.
    pub(crate) fn next(&mut self) -> Option<Next> {
        let read = self.heads.peek().map(|Reverse((name, ..))| name);
        let noted = match (self.noted.first(), read) {
            (Some(noted), Some(read)) => noted <= read,
            (noted, _) => noted.is_some(),
        };
        let next = if noted {
            Next::Noted(self.noted.pop_first()?)
        } else {
            let (name, stamp) = self.pop_head()?;
            Next::Read(name, stamp)
        };
        let (Next::Read(name, _) | Next::Noted(name)) = &next;
        let name = name.clone();
        // The same name once more: noted, or told twice by the disk while entries moved.
        while self.heads.peek().is_some_and(|Reverse((other, ..))| *other == name) {
            self.pop_head();
        }
        self.told = Some(name);
        Some(next)
    }

    fn pop_head(&mut self) -> Option<(Vec<u8>, Stamp)> {
        let Reverse((name, slot, end)) = self.heads.pop()?;
        let stamp = self.slots.get(slot)?.stamp;
        self.push_head(slot + 1, end);
        Some((name, stamp))
    }

    fn push_head(&mut self, slot: usize, end: usize) {
        if let Some(head) = self.slots.get(slot).filter(|_| slot < end) {
            self.heads.push(Reverse((name_of(&self.names, head).to_vec(), slot, end)));
        }
    }
}

fn name_of<'a>(names: &'a [u8], slot: &Slot) -> &'a [u8] {
    names.get(slot.start..).and_then(|rest| rest.get(..slot.length as usize)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    fn stamp(mark: u64) -> Stamp {
        Stamp { directory: false, inode: 1, mark }
    }

    fn tell(listing: &mut Listing) -> Vec<Next> {
        std::iter::from_fn(|| listing.next()).collect()
    }

    #[test]
    fn what_was_told_is_not_noted() {
        let mut listing = Listing::default();
        for name in ["c", "a", "b"] {
            listing.add(name.as_bytes(), stamp(1));
        }
        listing.complete();
        assert_eq!(listing.next(), Some(Next::Read(b"a".to_vec(), stamp(1))));
        for name in ["a", "0", "bb", "c"] {
            assert!(listing.note(name.as_bytes()));
        }
        assert!(!listing.is_over());
        let rest =
            [Next::Read(b"b".to_vec(), stamp(1)), Next::Noted(b"bb".to_vec()), Next::Noted(b"c".to_vec())];
        assert_eq!(tell(&mut listing), rest);
        assert!(listing.is_over());
    }

    #[test]
    fn too_many_notes_are_said_to_be_too_many() {
        let mut listing = Listing::default();
        let fit = (0..=MAX_NOTES).take_while(|number| listing.note(&number.to_be_bytes())).count();
        assert_eq!(fit, MAX_NOTES);
    }

    proptest! {
        #[test]
        fn every_name_once_and_in_order(
            slices in proptest::collection::vec(proptest::collection::vec("[a-d]{1,3}", 0..20), 0..8),
            notes in proptest::collection::vec("[a-d]{1,3}", 0..20),
        ) {
            let mut listing = Listing::default();
            let mut expected = BTreeMap::new();
            for slice in &slices {
                for name in slice {
                    listing.add(name.as_bytes(), stamp(7));
                    expected.insert(name.clone().into_bytes(), false);
                }
                listing.end_slice();
            }
            for name in notes {
                prop_assert!(listing.note(name.as_bytes()));
                expected.insert(name.into_bytes(), true);
            }
            listing.complete();
            let told: Vec<_> = tell(&mut listing).into_iter().map(|next| match next {
                Next::Read(name, found) => { assert_eq!(found, stamp(7)); (name, false) }
                Next::Noted(name) => (name, true),
            }).collect();
            prop_assert_eq!(told, expected.into_iter().collect::<Vec<_>>());
        }
    }
}
