//! SIGKILL of each role, of the supervisor alone and of everything at once, at random moments of
//! a heavy churn, and started again without `-r`.

use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::ground::{RECOVERED, exact, known, sized, some};
use crate::support::churn::Churn;
use crate::support::random::{Random, seed};
use crate::support::{LOCALHOST, Mirror, pause};

/// Who is killed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Victim {
    Role(&'static str),
    Supervisor,
    All,
}

const VICTIMS: [Victim; 6] = [
    Victim::All,
    Victim::Role("watcher"),
    Victim::Role("keeper"),
    Victim::Supervisor,
    Victim::Role("syncer0"),
    Victim::Role("guardian"),
];

/// Changes in one round.
const CHANGES: u64 = 200;

impl Victim {
    /// Kills it, and starts again what nobody else does.
    fn fall(self, mirror: &mut Mirror, random: &mut Random) {
        match self {
            Victim::Role(name) => {
                for pid in mirror.supervisor().children(name) {
                    let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
                }
                return;
            }
            Victim::Supervisor => mirror.kill(),
            Victim::All => mirror.kill_all(random),
        }
        if random.once_in(2) {
            pause(Duration::from_millis(random.below(400)));
        }
        mirror.run();
    }
}

fn rounds(remotes: &[&'static str], count: u64, seed: u64) {
    let mut mirror = known(exact().remotes(remotes), some);
    let (mut churn, mut random) = (Churn::new(&mirror.source(""), seed), Random(seed));
    for round in 0..count {
        let victim = VICTIMS[usize::try_from(round).unwrap() % VICTIMS.len()];
        let began = Instant::now();
        thread::scope(|scope| {
            let churner = scope.spawn(|| {
                churn.run(CHANGES, |random| {
                    if random.once_in(4) {
                        pause(Duration::from_millis(random.below(20)));
                    }
                });
            });
            pause(Duration::from_millis(random.below(600)));
            victim.fall(&mut mirror, &mut random);
            churner.join().unwrap();
        });
        let over = Instant::now();
        eprintln!("round {round}: {victim:?}");
        mirror.wait_equal(RECOVERED);
        eprintln!("  churn {:?}, then equal after {:?}", over - began, over.elapsed());
    }
    // What was held back comes later, if there is any.
    mirror.restart(&[]);
    mirror.settle();
    mirror.wait_equal(RECOVERED);
}

#[test]
fn anything_may_be_killed_at_any_time() {
    rounds(&[LOCALHOST, LOCALHOST], sized("KILL_ROUNDS", 6, 100), seed());
}

/// A supervisor that is killed again and again before it has caught up with what it missed.
#[test]
fn killed_again_while_it_catches_up() {
    let seed = seed();
    let mut mirror = known(exact(), some);
    let (mut churn, mut random) = (Churn::new(&mirror.source(""), seed), Random(seed));
    for _ in 0..sized("KILL_ROUNDS", 5, 50) {
        mirror.kill_all(&mut random);
        churn.run(40, |_| {});
        mirror.launch();
        pause(Duration::from_millis(random.below(500)));
        churn.run(5, |_| {});
    }
    mirror.kill_all(&mut random);
    mirror.run();
    mirror.wait_equal(RECOVERED);
}
