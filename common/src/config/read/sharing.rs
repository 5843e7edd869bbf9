//! `<connections>` and `<bandwidth>` with its `<hours>`.
//!
//! What is wrong here is refused, not guessed: a limit that was misread is a line that is full.

use super::super::diagnostic::quote;
use super::super::sharing::{Bandwidth, HOURS, Sharing};
use super::super::xml::{Attribute, Element};
use super::values::Reader;

/// More than any host serves at once.
const MAX_PER_HOST: u32 = 10_000;
/// KiB a second: ten gigabytes are beyond any wire.
const MAX_RATE: u64 = 10_000_000;
const RATE: &str = "KiB a second as of rsync's --bwlimit, or a number with k, m or g as in 10m; `none` or `0` for \
                    no limit";
const EXAMPLE: &str = "<hours from=\"8\" to=\"18\" limit=\"2m\"/>";

/// KiB a second, or none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Limit(Option<u32>);

impl Reader {
    /// Both elements, below `<head>`.
    pub(super) fn sharing(&mut self, head: &Element) -> Sharing {
        let per_host = head.child("connections").and_then(|element| element.attribute("perHost"));
        let per_host = per_host.and_then(|most| self.number(most, &(1..=MAX_PER_HOST)));
        let bandwidth = head.child("bandwidth").map(|element| self.bandwidth(element));
        Sharing {
            per_host: per_host.and_then(|most| u16::try_from(most).ok()),
            bandwidth: bandwidth.unwrap_or_default(),
        }
    }

    fn bandwidth(&mut self, element: &Element) -> Bandwidth {
        let usual = element.attribute("limit").and_then(|limit| self.rate(limit));
        let usual = usual.and_then(|Limit(usual)| usual);
        let mut by_hour = [usual; HOURS];
        let mut taken = [false; HOURS];
        for hours in element.children("hours") {
            let Some((from, to, Limit(limit))) = self.hours(hours) else { continue };
            let is_meant =
                |hour: usize| if from < to { from <= hour && hour < to } else { hour >= from || hour < to };
            let places = by_hour.iter_mut().zip(&mut taken).enumerate();
            let mut twice = None;
            for (hour, (place, taken)) in places.filter(|(hour, _)| is_meant(*hour)) {
                if std::mem::replace(taken, true) {
                    twice = twice.or(Some(hour));
                }
                *place = limit;
            }
            if let Some(hour) = twice {
                let message = format!("another `<hours>` says already what counts from {hour} o'clock on");
                self.problem(&hours.span, message, "each hour may be in one `<hours>` only");
            }
        }
        if element.attribute("limit").is_none() && element.child("hours").is_none() {
            let message = "`<bandwidth>` says no limit";
            self.warning(&element.span, message, &format!("write limit=\"10m\", or {EXAMPLE} into it"));
        }
        Bandwidth { by_hour }
    }

    /// From which hour until before which, and the limit then. All that is wrong is reported.
    fn hours(&mut self, hours: &Element) -> Option<(usize, usize, Limit)> {
        let given =
            ["from", "to", "limit"].map(|name| self.required(Some(hours), name, &hours.span, EXAMPLE));
        let [from, to, limit] = given;
        let from = from.and_then(|from| self.number(from, &(0..=23)));
        let until = to.and_then(|to| self.number(to, &(0..=24)));
        let limit = limit.and_then(|limit| self.rate(limit));
        let (from, until, limit) = (usize::try_from(from?).ok()?, usize::try_from(until?).ok()?, limit?);
        if from == until {
            let help = format!(
                "`to` is the hour in which it ends: write {EXAMPLE}; from=\"22\" to=\"6\" is the night"
            );
            self.problem(&hours.span, "these hours are none", &help);
            return None;
        }
        Some((from, until, limit))
    }

    /// What was written, in KiB a second.
    fn rate(&mut self, attribute: &Attribute) -> Option<Limit> {
        let rate = rate(&attribute.value);
        if rate.is_none() {
            let message =
                format!("`{}` is no bandwidth from 1 to {MAX_RATE} KiB a second", quote(&attribute.value));
            self.problem(&attribute.place(), message, &format!("write {}=\"10m\": {RATE}", attribute.name));
        }
        rate
    }
}

/// `10m` → 10240.
fn rate(text: &str) -> Option<Limit> {
    let text = text.trim();
    if matches!(text, "none" | "0") {
        return Some(Limit(None));
    }
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit = match text.strip_prefix(digits)? {
        "" | "k" | "K" => 1,
        "m" | "M" => 1 << 10,
        "g" | "G" => 1 << 20,
        _ => return None,
    };
    let is_number = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    let number: u64 = is_number.then(|| digits.parse().ok()).flatten()?;
    let rate = number.checked_mul(unit).filter(|rate| (1..=MAX_RATE).contains(rate))?;
    u32::try_from(rate).ok().map(|rate| Limit(Some(rate)))
}
