//! What may go wrong is I/O or a sentence; and the few conversions between counts and figures.

use std::io;
use std::time::Duration;

/// Of whatever may fail here.
pub(crate) type Outcome<T> = io::Result<T>;

/// A failure in one sentence.
pub(crate) fn failed(sentence: impl Into<String>) -> io::Error {
    io::Error::other(sentence.into())
}

/// A count as a figure.
#[expect(clippy::cast_precision_loss, reason = "figures of measurements are far below 2^53")]
pub(crate) fn real(count: usize) -> f64 {
    count as f64
}

/// A count as a figure.
pub(crate) fn real64(count: u64) -> f64 {
    usize::try_from(count).map_or(f64::MAX, real)
}

/// A figure as a count; what is below 0 or no number counts as 0.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a cast from f64 saturates, which is what is meant"
)]
pub(crate) fn whole(figure: f64) -> usize {
    figure.round() as usize
}

/// In milliseconds.
pub(crate) fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}

/// The middle of `figures`; between the two middle ones where there is an even number; `None` of none.
pub(crate) fn median(figures: &[f64]) -> Option<f64> {
    let sorted = sorted(figures);
    let (low, high) = (sorted.get(sorted.len().checked_sub(1)? / 2)?, sorted.get(sorted.len() / 2)?);
    Some(f64::midpoint(*low, *high))
}

/// The figure below which `percent` of `figures` are.
pub(crate) fn percentile(figures: &[f64], percent: usize) -> Option<f64> {
    let sorted = sorted(figures);
    let last = sorted.len().checked_sub(1)?;
    sorted.get((sorted.len() * percent / 100).min(last)).copied()
}

fn sorted(figures: &[f64]) -> Vec<f64> {
    let mut sorted = figures.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn middle_and_edge() {
        assert_eq!(median(&[]), None);
        assert_eq!(median(&[3.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median(&[4.0, 1.0, 2.0, 3.0]), Some(2.5));
        let hundred: Vec<f64> = (0_u32..100).map(f64::from).collect();
        assert_eq!((percentile(&hundred, 50), percentile(&hundred, 99)), (Some(50.0), Some(99.0)));
        assert_eq!(percentile(&[7.0], 99), Some(7.0));
    }

    #[test]
    fn a_figure_is_rounded_to_a_count() {
        assert_eq!((whole(2.6), whole(-1.0), whole(f64::NAN)), (3, 0, 0));
    }
}
