//! When to try again: exponential, with jitter, for ever, and at a pace that fits what went
//! wrong.

use std::time::Duration;

use common::message::Outcome;

/// First and longest pause after an outcome.
fn pace(outcome: Outcome) -> (Duration, Duration) {
    let (first, longest) = match outcome {
        // A try at a dead port costs next to nothing; being late costs the user.
        Outcome::Unreachable => (500, 800),
        Outcome::TimedOut => (500, 10_000),
        Outcome::Broken | Outcome::Limit => (500, 30_000),
        // Somebody has to change something first.
        Outcome::Refused
        | Outcome::UnknownHost
        | Outcome::Hostile
        | Outcome::Misconfigured
        | Outcome::NoSpace
        | Outcome::ReadOnly => (2_000, 60_000),
        Outcome::Partial => (1_000, 60_000),
        Outcome::RootGone | Outcome::RootEmpty | Outcome::Done => (1_000, 1_000),
    };
    (Duration::from_millis(first), Duration::from_millis(longest))
}

/// The pause before the next try after `failures` failures in a row (at least one), the last
/// of which was `outcome`.
pub fn delay(outcome: Outcome, failures: u32, jitter: &mut Jitter) -> Duration {
    let (first, longest) = pace(outcome);
    jitter.spread(doubled(first, longest, failures))
}

/// `first`, doubled with each failure after the first, at most `longest`.
pub fn doubled(first: Duration, longest: Duration, failures: u32) -> Duration {
    let factor = 1_u32.checked_shl(failures.saturating_sub(1)).unwrap_or(u32::MAX);
    first.checked_mul(factor).unwrap_or(longest).min(longest)
}

/// Pseudo-random spreading, so that a hundred mirrors do not come back in the same instant.
#[derive(Debug, Clone, Default)]
pub struct Jitter(u64);

impl Jitter {
    /// From a seed.
    pub fn new(seed: u64) -> Jitter {
        Jitter(seed)
    }

    /// `pause`, give or take a fifth.
    pub fn spread(&mut self, pause: Duration) -> Duration {
        // splitmix64: enough to take mirrors out of step.
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        let permille = u32::try_from((z ^ (z >> 31)) % 401).unwrap_or(0).saturating_add(800);
        pause.saturating_mul(permille) / 1000
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn pauses_are_bounded_and_never_shrink(failures in 1_u32..2000, seed: u64) {
            let (first, longest) = pace(Outcome::Unreachable);
            let pause = delay(Outcome::Unreachable, failures, &mut Jitter::new(seed));
            prop_assert!(pause >= first * 4 / 5);
            prop_assert!(pause <= longest * 6 / 5);
            prop_assert!(doubled(first, longest, failures + 1) >= doubled(first, longest, failures));
        }
    }
}
