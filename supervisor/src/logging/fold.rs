//! What is said again and again is counted: the first few times a line is written, then once a minute
//! with how often it came.

use std::time::Duration;

use log::Level;

/// So often a line is written within [`SPAN`] before it is counted.
const OFTEN: u64 = 5;
/// How long a line is remembered.
const SPAN: Duration = Duration::from_secs(60);
/// Most lines that are remembered; the oldest is forgotten first.
const MAX_LINES: usize = 64;

/// Lines of late.
#[derive(Debug, Default)]
pub(super) struct Fold {
    /// The oldest first.
    lines: Vec<Line>,
    /// Of what was forgotten too early.
    left: Vec<(Level, String)>,
}

#[derive(Debug)]
struct Line {
    level: Level,
    text: String,
    since: Duration,
    last: Duration,
    times: u64,
    /// It was counted within the last span too, so it is not written anew.
    counted: bool,
}

impl Fold {
    /// Whether this line is to be written; otherwise it is counted.
    pub(super) fn is_new(&mut self, now: Duration, level: Level, text: &str) -> bool {
        if let Some(line) = self.lines.iter_mut().find(|line| line.text == text) {
            (line.last, line.times) = (now, line.times.saturating_add(1));
            return !line.counted && line.times <= OFTEN;
        }
        if self.lines.len() >= MAX_LINES {
            let oldest = self.lines.remove(0);
            self.left.extend(oldest.tells());
        }
        self.lines.push(Line {
            level,
            text: text.to_owned(),
            since: now,
            last: now,
            times: 1,
            counted: false,
        });
        true
    }

    /// When [`Fold::settle`] has something to tell.
    pub(super) fn deadline(&self) -> Option<Duration> {
        let due = |line: &Line| line.since.saturating_add(SPAN);
        if self.left.is_empty() {
            self.lines.iter().filter(|line| line.unwritten() > 0).map(due).min()
        } else {
            Some(Duration::ZERO)
        }
    }

    /// Forgets what is old, and tells how often it came that was not written: what came last is told last.
    pub(super) fn settle(&mut self, now: Duration) -> Vec<(Level, String)> {
        self.lines.sort_by_key(|line| line.last);
        let mut told = std::mem::take(&mut self.left);
        self.lines.retain_mut(|line| {
            if now.saturating_sub(line.since) < SPAN {
                return true;
            }
            let tells = line.tells();
            let goes_on = tells.is_some();
            told.extend(tells);
            (line.since, line.times, line.counted) = (now, 0, true);
            goes_on
        });
        told
    }
}

impl Line {
    fn unwritten(&self) -> u64 {
        self.times.saturating_sub(if self.counted { 0 } else { OFTEN })
    }

    fn tells(&self) -> Option<(Level, String)> {
        let more = Some(self.unwritten()).filter(|&more| more > 0)?;
        Some((self.level, format!("{} repeated={more}", self.text)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::collection::vec;
    use proptest::prelude::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_few_are_written_and_the_rest_counted() {
        let mut fold = Fold::default();
        let written = (0..100).filter(|_| fold.is_new(Duration::ZERO, Level::Warn, "again")).count();
        assert_eq!(written, 5);
        assert!(fold.is_new(SECOND, Level::Info, "another"));
        assert_eq!(fold.deadline(), Some(SPAN));
        assert!(fold.settle(SPAN.saturating_sub(SECOND)).is_empty());
        assert_eq!(fold.settle(SPAN), [(Level::Warn, "again repeated=95".to_owned())]);
        // It goes on: once a minute.
        assert!(!fold.is_new(SPAN, Level::Warn, "again"));
        assert_eq!(fold.settle(SPAN * 2), [(Level::Warn, "again repeated=1".to_owned())]);
        // A minute of silence, and it is new.
        assert!(fold.settle(SPAN * 3).is_empty() && fold.deadline().is_none());
        assert!(fold.is_new(SPAN * 3, Level::Warn, "again"));
    }

    proptest! {
        /// Whatever is said is written or counted, and there are never many lines.
        #[test]
        fn nothing_is_lost(said in vec((0_u8..100, 0_u64..20), 0..400)) {
            let (mut fold, mut now, mut told) = (Fold::default(), Duration::ZERO, 0_u64);
            let count = |lines: Vec<(Level, String)>| {
                let more = |(_, text): &(Level, String)| -> u64 {
                    text.rsplit_once("repeated=").unwrap().1.parse().unwrap()
                };
                lines.iter().map(more).sum::<u64>()
            };
            for &(what, pause) in &said {
                now += SECOND * u32::try_from(pause).unwrap();
                told += count(fold.settle(now));
                told += u64::from(fold.is_new(now, Level::Info, &what.to_string()));
                prop_assert!(fold.lines.len() <= MAX_LINES);
            }
            told += count(fold.settle(Duration::MAX));
            prop_assert_eq!(told, u64::try_from(said.len()).unwrap());
        }
    }
}
