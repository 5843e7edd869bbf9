//! Full syncs under way in one line: for systemd, and for a terminal that the supervisor was started on.

use super::Progress;
use super::screen::{bytes, time};

/// Longest line, in characters.
const MOST: usize = 200;

/// A full sync under way.
#[derive(Debug, Clone, PartialEq)]
pub struct Running<'a> {
    /// Its remote, as logs name it.
    pub remote: &'a str,
    /// For how long, in seconds.
    pub seconds: f64,
    /// How far it has come, once rsync has said so.
    pub progress: Option<Progress>,
}

/// What they have come to; `None` when there is none.
pub fn line(running: &[Running<'_>]) -> Option<String> {
    let told: Vec<String> = running
        .iter()
        .map(|it| {
            let how_far = it.progress.as_ref().map_or_else(|| format!("for {}", time(it.seconds)), of);
            format!("{} {how_far}", it.remote)
        })
        .collect();
    (!told.is_empty()).then(|| format!("full sync: {}", told.join("; ")).chars().take(MOST).collect())
}

/// Progress in words.
pub fn of(it: &Progress) -> String {
    let share = match (it.percent, it.listing) {
        (Some(percent), _) => format!("{percent:.0}%"),
        (None, true) => format!("listing {} so far", it.entries),
        (None, false) => "begins".to_owned(),
    };
    let left = it.seconds_left.map_or_else(String::new, |left| format!(", {} left", time(left)));
    format!("{share}, {} files, {}, {}/s{left}", it.files, bytes(it.bytes), bytes(it.rate))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn progress() -> Progress {
        Progress {
            files: 1200,
            bytes: 5 << 30,
            rate: 12 << 20,
            checked: 3000,
            entries: 9000,
            listing: false,
            percent: Some(33.3),
            seconds_left: Some(754.2),
        }
    }

    #[test]
    fn in_words() {
        assert_eq!(of(&progress()), "33%, 1200 files, 5.0 GiB, 12.0 MiB/s, 12m34s left");
        let listing = Progress { listing: true, percent: None, seconds_left: None, ..progress() };
        assert_eq!(of(&listing), "listing 9000 so far, 1200 files, 5.0 GiB, 12.0 MiB/s");
    }

    #[test]
    fn in_one_line() {
        assert_eq!(line(&[]), None);
        let silent = Running { remote: "b::m", seconds: 71.0, progress: None };
        let running =
            [Running { remote: "a::m", progress: Some(progress()), ..silent.clone() }, silent.clone()];
        let wanted = "full sync: a::m 33%, 1200 files, 5.0 GiB, 12.0 MiB/s, 12m34s left; b::m for 1m11s";
        assert_eq!(line(&running).unwrap(), wanted);
        assert_eq!(line(&vec![silent; 100]).unwrap().len(), MOST);
    }
}
