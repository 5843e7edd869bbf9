//! What the four kinds have in common: how a delivery goes on from change to change, and how
//! its end is put.

use std::time::{Duration, Instant};

use common::config::Call;
use common::log::escape;
use common::message::{MAX_TAIL, Verdict};

use crate::news::News;

/// One kind of plugin.
pub(crate) trait Deliver {
    /// Tells of `news`, in order. Begins no call after `until`, and none takes longer than the
    /// config allows.
    fn deliver(&mut self, news: &[News<'_>], until: Instant) -> Told;
}

/// How a delivery ended.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Told {
    /// One for each change, from the first on; the rest was not tried.
    pub verdicts: Vec<Verdict>,
    /// Why the last one failed, escaped, at most [`MAX_TAIL`] bytes; empty when none did.
    pub note: String,
}

/// A call that did not succeed, with the reason.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Failed {
    /// The next one may fare better.
    Refused(String),
    /// The next one would not.
    Unreachable(String),
}

impl Failed {
    /// What it comes to, and why.
    pub(crate) fn split(self) -> (Verdict, String) {
        match self {
            Failed::Refused(why) => (Verdict::Refused, why),
            Failed::Unreachable(why) => (Verdict::Unreachable, why),
        }
    }
}

/// Whether each call is said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Trace {
    /// No.
    Off,
    /// One line each.
    Calls,
}

impl Trace {
    /// Says a call, if calls are said.
    pub(crate) fn call(self, line: impl FnOnce() -> String) {
        match self {
            Trace::Off => {}
            Trace::Calls => log::info!("call {}", line()),
        }
    }
}

/// One call after the other: for each change, or for all of them where the config says so.
pub(crate) fn one_by_one<'a>(
    call: Call,
    news: &[News<'a>],
    until: Instant,
    tell: &mut dyn FnMut(&[News<'a>]) -> Result<(), Failed>,
) -> Told {
    let mut told = Told::default();
    let size = if call.batch { news.len().max(1) } else { 1 };
    for part in news.chunks(size) {
        if !told.verdicts.is_empty() && Instant::now() >= until {
            break;
        }
        let (verdict, why) = tell(part).map_or_else(Failed::split, |()| (Verdict::Delivered, String::new()));
        told.verdicts.extend(part.iter().map(|_| verdict));
        match verdict {
            Verdict::Delivered => {}
            Verdict::Refused => told.note = why,
            Verdict::Unreachable => {
                told.note = why;
                break;
            }
        }
    }
    told
}

/// How long one call may take.
pub(crate) fn timeout(call: Call) -> Duration {
    Duration::from_secs(call.timeout.into())
}

/// A moment that far ahead.
pub(crate) fn after(start: Instant, time: Duration) -> Instant {
    start.checked_add(time).unwrap_or(start)
}

/// What is left until `end`, rounded up so that what is waited for has come.
pub(crate) fn left(end: Instant) -> Duration {
    end.saturating_duration_since(Instant::now()).saturating_add(Duration::from_millis(1))
}

/// Foreign words as they may travel up: escaped and bounded.
pub(crate) fn note(words: &str) -> String {
    let mut text = escape(words.as_bytes());
    text.truncate(text.floor_char_boundary(MAX_TAIL));
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::news::tests::{event, news_of};
    use common::config::Format;

    fn call(batch: bool) -> Call {
        Call { batch, format: Format::Original, timeout: 5 }
    }

    #[test]
    fn what_is_tried_after_a_failure() {
        let events = ["a", "b", "c", "d"].map(event);
        let news = news_of(&events);
        let far = after(Instant::now(), Duration::from_secs(60));
        let mut names = Vec::new();
        let told = one_by_one(call(false), &news, far, &mut |part| {
            names.push(part[0].path.clone());
            match part[0].path.as_slice() {
                b"/w/b" => Err(Failed::Refused("no b".into())),
                b"/w/c" => Err(Failed::Unreachable("gone".into())),
                _ => Ok(()),
            }
        });
        assert_eq!(told.verdicts, [Verdict::Delivered, Verdict::Refused, Verdict::Unreachable]);
        assert_eq!((told.note.as_str(), names.len()), ("gone", 3));
        let whole = one_by_one(call(true), &news, far, &mut |_| Err(Failed::Refused("all".into())));
        assert_eq!(whole.verdicts, [Verdict::Refused; 4]);
    }

    /// When time is up the rest is left; but something is tried in each delivery, or it would
    /// never come to an end.
    #[test]
    fn time_is_up() {
        let events = ["a", "b"].map(event);
        let told = one_by_one(call(false), &news_of(&events), Instant::now(), &mut |_| Ok(()));
        assert_eq!(told.verdicts, [Verdict::Delivered]);
    }

    #[test]
    fn notes_are_escaped_and_bounded() {
        assert_eq!(note("a\u{1b}[2J\nb"), "a\\u{1b}[2J\\nb");
        assert_eq!(escape(b"a\xff\0"), "a\\xff\\u{0}");
        assert!(note(&"\u{56fe}\n".repeat(3000)).len() <= MAX_TAIL);
    }
}
