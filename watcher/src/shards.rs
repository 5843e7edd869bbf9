//! A hash table that never holds anybody up: many small ones, of which one at a time grows.
//!
//! A table of a million entries takes a tenth of a second to grow, and the kernel's queue is not
//! read in that time. It holds numbers only; what they stand for, and its hash, is with the caller.

use hashbrown::HashTable;

/// How many tables; at a million entries one has some four thousand.
const TABLES: u8 = u8::MAX;

/// Entries of one table that are no reason to make it smaller.
const SMALL: usize = 16;

/// Numbers, found by the hash of what they stand for.
pub(crate) struct Shards<N> {
    tables: Box<[HashTable<N>]>,
    numbers: usize,
    /// Most that there were since all was removed.
    most: usize,
}

impl<N: Copy + Eq> Shards<N> {
    /// Holds nothing.
    pub(crate) fn new() -> Shards<N> {
        Shards { tables: (0..=TABLES).map(|_| HashTable::new()).collect(), numbers: 0, most: 0 }
    }

    /// Removes all, and gives back what many needed.
    pub(crate) fn clear(&mut self) {
        if self.numbers == 0 && self.most < self.tables.len() {
            return;
        }
        for table in &mut self.tables {
            table.clear();
            table.shrink_to(SMALL, |_| 0);
        }
        (self.numbers, self.most) = (0, 0);
    }

    /// The number with this hash that `is_it`.
    pub(crate) fn find(&self, hash: u64, is_it: impl Fn(N) -> bool) -> Option<N> {
        self.table(hash)?.find(hash, |&number| is_it(number)).copied()
    }

    /// The numbers that may have this hash.
    pub(crate) fn all(&self, hash: u64) -> impl Iterator<Item = N> {
        self.table(hash).into_iter().flat_map(move |table| table.iter_hash(hash)).copied()
    }

    /// Adds a number that is not there yet.
    pub(crate) fn add(&mut self, hash: u64, number: N, hash_of: impl Fn(N) -> u64) {
        if let Some(table) = self.tables.get_mut(place(hash)) {
            table.insert_unique(hash, number, |&number| hash_of(number));
            self.numbers += 1;
            self.most = self.most.max(self.numbers);
        }
    }

    /// Removes a number, if it is there.
    pub(crate) fn remove(&mut self, hash: u64, number: N) {
        let table = self.tables.get_mut(place(hash));
        if let Some(Ok(entry)) = table.map(|table| table.find_entry(hash, |&other| other == number)) {
            entry.remove();
            self.numbers -= 1;
        }
    }

    fn table(&self, hash: u64) -> Option<&HashTable<N>> {
        self.tables.get(place(hash))
    }
}

/// By bits that the tables themselves do not look at: theirs are the lowest and the highest seven.
fn place(hash: u64) -> usize {
    usize::from(hash.to_be_bytes()[2])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_come_and_go() {
        let hash = |number: u32| u64::from(number / 2).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        let mut shards = Shards::new();
        for number in 0..20_000 {
            shards.add(hash(number), number, hash);
        }
        for number in (0..20_000).step_by(2) {
            shards.remove(hash(number), number);
            shards.remove(hash(number), number);
        }
        for number in 0..20_000 {
            let there = number % 2 == 1;
            assert_eq!(shards.find(hash(number), |other| other == number), there.then_some(number));
            assert_eq!(shards.all(hash(number)).any(|other| other == number), there);
        }
        shards.clear();
        assert!((0..20_000).all(|number| shards.find(hash(number), |_| true).is_none()));
    }

    #[test]
    fn no_table_is_large() {
        let (mut shards, spread) = (Shards::new(), 0x9E37_79B9_7F4A_7C15_u64);
        for number in 0..200_000_u32 {
            shards.add(u64::from(number).wrapping_mul(spread), number, |number| {
                u64::from(number).wrapping_mul(spread)
            });
        }
        let largest = shards.tables.iter().map(HashTable::len).max().unwrap();
        assert!(largest < 2 * 200_000 / shards.tables.len(), "{largest}");
    }
}
