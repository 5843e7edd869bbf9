//! Chance that can be had again: a `SplitMix64` of our own.

/// A sequence that its seed determines.
#[derive(Debug, Clone)]
pub struct Random(pub u64);

impl Random {
    /// The next number.
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `bound`, which is not 0.
    pub fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    /// True once in `n`.
    pub fn once_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }

    /// One of `choices`, if there are any.
    pub fn of<'a, T>(&mut self, choices: &'a [T]) -> Option<&'a T> {
        let count = u64::try_from(choices.len()).unwrap();
        (count > 0).then(|| &choices[usize::try_from(self.below(count)).unwrap()])
    }
}

/// The seed of a run: of the environment's `SEED`, else chosen anew; printed, to be had again.
pub fn seed() -> u64 {
    use std::hash::BuildHasher;
    let chosen = std::hash::RandomState::new().hash_one(0);
    let seed = super::scale("SEED", chosen);
    eprintln!("SEED={seed}");
    seed
}
