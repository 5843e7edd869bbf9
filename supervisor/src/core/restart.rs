//! One child's life, as a table without holes: it is started, gets ready, is killed when its
//! signs of life stay away, and is started again after a pause, for ever.

use std::time::Duration;

use super::Pace;
use super::retry::doubled;

/// How long a child may take from its start until it is confined and ready.
const START: Duration = Duration::from_secs(10);
/// How long the kernel may take to deliver a kill before it is sent again.
const KILL: Duration = Duration::from_secs(5);
/// Two missed beats of a child that works, and room for a machine out of breath.
const BUSY: Duration = Duration::from_secs(10);
/// Two missed beats of a child that waits.
const IDLE: Duration = Duration::from_secs(150);
/// First pause before a restart.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
/// Longest pause before a restart.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// A child that ran for so long may be replaced without a pause.
const SETTLED: Duration = Duration::from_secs(1);
/// After this long a child counts as healthy, and its next death as its first.
const HEALTHY: Duration = Duration::from_secs(60);

/// Where a child stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// Not wanted.
    Off,
    /// Started, not yet confined.
    Starting {
        /// When to give up on it.
        deadline: Duration,
    },
    /// Takes work.
    Ready {
        /// Since when.
        since: Duration,
        /// When its next sign of life is overdue.
        deadline: Duration,
    },
    /// Killed, not yet gone.
    Stopping {
        /// When to kill it again.
        deadline: Duration,
        /// Whether it is wanted again afterwards.
        next: Next,
    },
    /// Gone; waits for its next start.
    Backoff {
        /// When that is.
        until: Duration,
    },
}

/// What follows a kill.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// Another start, after a pause.
    Restart,
    /// Another start at once: it was killed because the config has changed.
    Anew,
    /// Nothing until it is wanted again.
    Off,
}

/// What can happen to a child.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event {
    /// There is work for it.
    Wanted,
    /// It is confined.
    Ready,
    /// It said that it lives.
    Alive(Pace),
    /// It is gone.
    Exited,
    /// It is gone to make room for one that may reach what was replaced.
    Outdated,
    /// It works by a config that counts no more.
    Replaced,
    /// There will be no work for a long time.
    Unwanted,
    /// Time has passed.
    Tick,
}

/// What a child's machine asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ask {
    /// Start it.
    Spawn,
    /// Kill it.
    Kill,
}

/// One child.
#[derive(Debug, Clone)]
pub struct ChildMachine {
    state: State,
    deaths: u32,
    restarts: u64,
}

impl Default for ChildMachine {
    fn default() -> ChildMachine {
        ChildMachine { state: State::Off, deaths: 0, restarts: 0 }
    }
}

impl ChildMachine {
    /// Where it stands.
    pub fn state(&self) -> State {
        self.state
    }

    /// True when it takes work.
    pub fn is_ready(&self) -> bool {
        matches!(self.state, State::Ready { .. })
    }

    /// True while a process exists, or is about to.
    pub fn is_alive(&self) -> bool {
        matches!(self.state, State::Starting { .. } | State::Ready { .. } | State::Stopping { .. })
    }

    /// How often it was started again.
    pub fn restarts(&self) -> u64 {
        self.restarts
    }

    /// When time alone changes something.
    pub fn deadline(&self) -> Option<Duration> {
        match self.state {
            State::Off => None,
            State::Starting { deadline }
            | State::Ready { deadline, .. }
            | State::Stopping { deadline, .. } => Some(deadline),
            State::Backoff { until } => Some(until),
        }
    }

    /// The table.
    pub fn on(&mut self, now: Duration, event: Event) -> Option<Ask> {
        let (state, ask) = match (self.state, event) {
            (State::Off, Event::Wanted) => (start(now), Some(Ask::Spawn)),
            (
                State::Off,
                Event::Ready
                | Event::Alive(_)
                | Event::Exited
                | Event::Outdated
                | Event::Replaced
                | Event::Unwanted
                | Event::Tick,
            ) => (State::Off, None),

            (State::Starting { .. }, Event::Ready) => (ready(now, now, Pace::Idle), None),
            (State::Starting { .. }, Event::Exited | Event::Outdated) => (self.died(now, None), None),
            (State::Starting { .. }, Event::Unwanted) => (stop(now, Next::Off), Some(Ask::Kill)),
            // It may have been told already what to do.
            (State::Starting { .. } | State::Ready { .. }, Event::Replaced) => {
                (stop(now, Next::Anew), Some(Ask::Kill))
            }
            (State::Starting { deadline }, Event::Tick) if now >= deadline => {
                (stop(now, Next::Restart), Some(Ask::Kill))
            }
            (State::Starting { .. }, Event::Wanted | Event::Alive(_) | Event::Tick) => (self.state, None),

            (State::Ready { since, .. }, Event::Alive(pace)) => (ready(now, since, pace), None),
            (State::Ready { since, .. }, Event::Exited) => (self.died(now, Some(since)), None),
            // One that says so again and again is no better than one that dies.
            (State::Ready { since, .. }, Event::Outdated) if now.saturating_sub(since) < SETTLED => {
                (self.died(now, Some(since)), None)
            }
            (State::Ready { .. }, Event::Outdated) => self.again(now),
            (State::Ready { .. }, Event::Unwanted) => (stop(now, Next::Off), Some(Ask::Kill)),
            (State::Ready { deadline, .. }, Event::Tick) if now >= deadline => {
                (stop(now, Next::Restart), Some(Ask::Kill))
            }
            (State::Ready { .. }, Event::Wanted | Event::Ready | Event::Tick) => (self.state, None),

            (State::Stopping { deadline, next }, event) => self.on_stopping(now, (deadline, next), event),
            (State::Backoff { until }, event) => self.on_backoff(now, until, event),
        };
        self.state = state;
        ask
    }

    fn on_stopping(
        &mut self,
        now: Duration,
        (deadline, next): (Duration, Next),
        event: Event,
    ) -> (State, Option<Ask>) {
        match (next, event) {
            (Next::Off, Event::Exited | Event::Outdated) => (State::Off, None),
            (Next::Restart, Event::Exited | Event::Outdated) => (self.died(now, None), None),
            (Next::Anew, Event::Exited | Event::Outdated) => self.again(now),
            // Not wanted again after all.
            (Next::Off | Next::Restart | Next::Anew, Event::Unwanted) => {
                (State::Stopping { deadline, next: Next::Off }, None)
            }
            (Next::Restart | Next::Anew, Event::Replaced) => {
                (State::Stopping { deadline, next: Next::Anew }, None)
            }
            (Next::Off | Next::Restart | Next::Anew, Event::Tick) if now >= deadline => {
                (stop(now, next), Some(Ask::Kill))
            }
            // Whoever wants it asks again once it is gone.
            (
                Next::Off | Next::Restart | Next::Anew,
                Event::Wanted | Event::Ready | Event::Alive(_) | Event::Replaced | Event::Tick,
            ) => (self.state, None),
        }
    }

    fn on_backoff(&mut self, now: Duration, until: Duration, event: Event) -> (State, Option<Ask>) {
        match event {
            Event::Unwanted => (State::Off, None),
            // What it died of may be over.
            Event::Replaced => self.again(now),
            Event::Tick if now >= until => self.again(now),
            Event::Wanted
            | Event::Ready
            | Event::Alive(_)
            | Event::Exited
            | Event::Outdated
            | Event::Tick => (self.state, None),
        }
    }

    fn again(&mut self, now: Duration) -> (State, Option<Ask>) {
        self.restarts = self.restarts.saturating_add(1);
        (start(now), Some(Ask::Spawn))
    }

    fn died(&mut self, now: Duration, ready_since: Option<Duration>) -> State {
        if ready_since.is_some_and(|since| now.saturating_sub(since) >= HEALTHY) {
            self.deaths = 0;
        }
        self.deaths = self.deaths.saturating_add(1);
        State::Backoff { until: now.saturating_add(doubled(FIRST_PAUSE, LONGEST_PAUSE, self.deaths)) }
    }
}

fn start(now: Duration) -> State {
    State::Starting { deadline: now.saturating_add(START) }
}

fn ready(now: Duration, since: Duration, pace: Pace) -> State {
    let patience = match pace {
        Pace::Idle => IDLE,
        Pace::Busy => BUSY,
        Pace::Until(most) => most,
    };
    State::Ready { since, deadline: now.saturating_add(patience) }
}

fn stop(now: Duration, next: Next) -> State {
    State::Stopping { deadline: now.saturating_add(KILL), next }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn secs(n: u64) -> Duration {
        Duration::from_secs(n)
    }

    #[test]
    fn a_child_that_dies_at_once_is_restarted_ever_more_slowly() {
        let mut child = ChildMachine::default();
        let mut now = secs(1);
        let mut pauses = vec![];
        assert_eq!(child.on(now, Event::Wanted), Some(Ask::Spawn));
        for _ in 0..12 {
            child.on(now, Event::Exited);
            let until = child.deadline().unwrap();
            pauses.push(until.saturating_sub(now).as_millis());
            now = until;
            assert_eq!(child.on(now, Event::Tick), Some(Ask::Spawn));
        }
        assert_eq!(pauses[..5], [100, 200, 400, 800, 1600]);
        assert_eq!(pauses[11], 30_000);
    }

    #[test]
    fn a_healthy_minute_is_forgiven() {
        let mut child = ChildMachine::default();
        child.on(secs(0), Event::Wanted);
        for n in 1..6 {
            child.on(secs(n), Event::Exited);
            child.on(secs(n) + secs(30), Event::Tick);
        }
        child.on(secs(100), Event::Ready);
        child.on(secs(161), Event::Exited);
        assert_eq!(child.deadline(), Some(secs(161) + FIRST_PAUSE));
    }

    #[test]
    fn outdated_but_not_again_and_again() {
        let mut child = ChildMachine::default();
        child.on(secs(0), Event::Wanted);
        child.on(secs(1), Event::Ready);
        assert_eq!(child.on(secs(100), Event::Outdated), Some(Ask::Spawn));
        child.on(secs(100), Event::Ready);
        assert_eq!(child.on(secs(100), Event::Outdated), None);
        assert!(matches!(child.state(), State::Backoff { .. }));
    }

    #[test]
    fn replaced_at_once_and_not_by_one_that_is_not_wanted() {
        let mut child = ChildMachine::default();
        assert_eq!(child.on(secs(0), Event::Replaced), None, "what does not run has nothing old");
        child.on(secs(0), Event::Wanted);
        assert_eq!(child.on(secs(0), Event::Replaced), Some(Ask::Kill));
        assert_eq!(child.on(secs(1), Event::Exited), Some(Ask::Spawn));
        child.on(secs(1), Event::Ready);
        assert_eq!(child.on(secs(2), Event::Replaced), Some(Ask::Kill));
        assert_eq!(child.on(secs(2), Event::Unwanted), None);
        assert_eq!(child.on(secs(3), Event::Exited), None);
        assert_eq!(child.state(), State::Off);
    }

    /// A remote that is removed while its syncer is killed for its silence stays without one.
    #[test]
    fn unwanted_while_it_is_killed() {
        let mut child = ChildMachine::default();
        child.on(secs(0), Event::Wanted);
        assert_eq!(child.on(secs(20), Event::Tick), Some(Ask::Kill));
        child.on(secs(20), Event::Unwanted);
        child.on(secs(21), Event::Exited);
        assert_eq!(child.state(), State::Off);
    }

    #[test]
    fn missed_beats_kill() {
        let mut child = ChildMachine::default();
        child.on(secs(0), Event::Wanted);
        child.on(secs(1), Event::Ready);
        assert_eq!(child.on(secs(100), Event::Tick), None);
        child.on(secs(100), Event::Alive(Pace::Busy));
        assert_eq!(child.on(secs(109), Event::Tick), None);
        assert_eq!(child.on(secs(110), Event::Tick), Some(Ask::Kill));
        assert_eq!(
            child.on(secs(115), Event::Tick),
            Some(Ask::Kill),
            "a kill that had no effect is repeated"
        );
        assert_eq!(child.on(secs(116), Event::Exited), None);
        assert!(matches!(child.state(), State::Backoff { .. }));
    }

    #[test]
    fn retired_and_wanted_again() {
        let mut child = ChildMachine::default();
        child.on(secs(0), Event::Wanted);
        child.on(secs(1), Event::Ready);
        assert_eq!(child.on(secs(2), Event::Unwanted), Some(Ask::Kill));
        child.on(secs(3), Event::Exited);
        assert_eq!(child.state(), State::Off);
        assert_eq!(child.on(secs(4), Event::Wanted), Some(Ask::Spawn));
    }

    proptest! {
        /// Whatever happens, a wanted child is started again, and never twice at once.
        #[test]
        fn never_two_processes(events in proptest::collection::vec((0_u64..40, 0_usize..8), 0..200)) {
            let mut child = ChildMachine::default();
            let (mut now, mut processes) = (secs(0), 0_i32);
            for (pause, event) in events {
                now += secs(pause);
                let event = [Event::Wanted, Event::Ready, Event::Alive(Pace::Busy), Event::Exited,
                    Event::Unwanted, Event::Tick, Event::Outdated, Event::Replaced][event];
                if matches!(event, Event::Exited | Event::Outdated) {
                    if processes == 0 { continue }
                    processes -= 1;
                }
                if child.on(now, event) == Some(Ask::Spawn) {
                    processes += 1;
                }
                prop_assert!((0..=1).contains(&processes));
                prop_assert_eq!(processes == 1, child.is_alive());
            }
        }
    }
}
