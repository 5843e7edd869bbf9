//! Whether a process does anything: its CPU time, which the kernel tells without `/proc`. What a
//! transfer moves costs it CPU time; what waits for an answer takes next to none.

use std::time::Duration;

use nix::time::{clock_getcpuclockid, clock_gettime};
use nix::unistd::Pid;

/// How much CPU time a process had used when it was last seen to do something.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Signs {
    used: Option<Duration>,
}

impl Signs {
    /// Whether `pid` has used so much CPU time since this was last true. So it is too where that
    /// cannot be seen: what is not known proves nothing.
    pub(crate) fn work_of(&mut self, pid: Pid, work: Duration) -> bool {
        self.note(used(pid), work)
    }

    fn note(&mut self, used: Option<Duration>, work: Duration) -> bool {
        let worked = match (self.used, used) {
            (Some(before), Some(now)) => now.saturating_sub(before) >= work,
            (None, _) | (_, None) => true,
        };
        if worked {
            self.used = used;
        }
        worked
    }
}

fn used(pid: Pid) -> Option<Duration> {
    clock_gettime(clock_getcpuclockid(pid).ok()?).ok().map(Duration::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn little_by_little() {
        let mut signs = Signs::default();
        let micros = |micros| Some(Duration::from_micros(micros));
        let seen = [micros(5), micros(700), micros(1004), micros(1005), micros(1005), None, micros(1005)];
        let worked = seen.map(|used| signs.note(used, Duration::from_millis(1)));
        assert_eq!(worked, [true, false, false, true, false, true, true]);
    }

    #[test]
    fn our_own() {
        let mut signs = Signs::default();
        let work = Duration::from_millis(1);
        assert!(signs.work_of(Pid::this(), work));
        let mut sum = 0_u64;
        while !signs.work_of(Pid::this(), work) {
            sum = (0..10_000).fold(sum, u64::wrapping_add);
        }
        assert!(used(Pid::this()).is_some(), "{sum}");
    }
}
