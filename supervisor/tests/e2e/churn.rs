//! Random changes of every kind, then nothing differs. `SEED` repeats a run, `CHURN_OPS` and
//! `CHURN_SEEDS` make it longer.

use std::time::Duration;

use crate::support::churn::Churn;
use crate::support::random::{Random, seed};
use crate::support::{LOCALHOST, Mirror, Setup, pause, scale};

const CONVERGED: Duration = Duration::from_mins(2);

/// Mostly at full speed, now and then with a pause in which the mirror catches up.
fn between(random: &mut Random) {
    if random.once_in(12) {
        pause(Duration::from_millis(random.below(40)));
    }
}

fn churn(seed: u64, changes: u64) {
    let mut mirror = Mirror::new(Setup::exact().remotes(&[LOCALHOST, LOCALHOST]));
    let mut churn = Churn::new(&mirror.source(""), seed);
    churn.run(changes / 10, |_| {});
    mirror.run();
    churn.run(changes, between);
    mirror.wait_equal(CONVERGED);
    // It stays so: nothing that was held back comes later.
    mirror.settle();
    mirror.wait_equal(CONVERGED);
}

fn several(first: u64) {
    let seed = seed();
    for n in 0..scale("CHURN_SEEDS", 2) {
        let seed = seed.wrapping_add(2 * n + first);
        eprintln!("churn with seed {seed}");
        churn(seed, scale("CHURN_OPS", 1500));
    }
}

#[test]
fn any_change_arrives() {
    several(0);
}

#[test]
fn any_change_arrives_with_another_seed() {
    several(1);
}
