//! What comes round by the clock: the full sync of `<crontab>` and the sweep of `<failLog>`.
//! Neither waits for the other, nor for anything that fails.

use std::time::Duration;

/// Something that is due every so often.
#[derive(Debug, Clone, Copy)]
pub struct Schedule {
    every: Duration,
    next: Duration,
}

impl Schedule {
    /// Due for the first time `every` after `start`.
    pub fn new(start: Duration, every: Duration) -> Schedule {
        Schedule { every, next: start.saturating_add(every) }
    }

    /// With that pause from now on; as it was where the pause is the same.
    #[must_use]
    pub fn every(self, now: Duration, every: Duration) -> Schedule {
        if self.every == every { self } else { Schedule::new(now, every) }
    }

    /// True once each time that it is due. What was missed is not made up for.
    pub fn is_due(&mut self, now: Duration) -> bool {
        let due = now >= self.next;
        if due {
            self.next = now.saturating_add(self.every);
        }
        due
    }

    /// When it is due next.
    pub fn deadline(&self) -> Duration {
        self.next
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn due_once_each_time() {
        let at = Duration::from_secs;
        let mut schedule = Schedule::new(at(5), at(60));
        assert!(!schedule.is_due(at(64)));
        assert!(schedule.is_due(at(65)));
        assert!(!schedule.is_due(at(66)));
        assert!(schedule.is_due(at(300)), "the machine slept");
        assert!(!schedule.is_due(at(301)));
        assert_eq!(schedule.deadline(), at(360));
        assert_eq!(schedule.every(at(310), at(60)).deadline(), at(360));
        assert_eq!(schedule.every(at(310), at(5)).deadline(), at(315));
    }
}
