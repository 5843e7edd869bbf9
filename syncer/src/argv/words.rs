//! Reading the user's words as rsync does, as far as that matters here.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;

use bstr::ByteSlice;

/// Short options that take a value, in the same word or the next.
const SHORT_WITH_VALUE: &[u8] = b"efBMT@";

/// True when `params` hold the option, as a long word or among bundled letters.
pub fn sets(params: &[OsString], long: &str, short: Option<u8>) -> bool {
    params.iter().any(|word| {
        let word = word.as_bytes();
        match word.strip_prefix(b"--") {
            Some(_) => word.strip_prefix(long.as_bytes()).is_some_and(|rest| matches!(rest, [] | [b'=', ..])),
            None => short.is_some_and(|short| letters(word).contains(&short)),
        }
    })
}

/// The value of a long option, in the same word or the next; the last one counts.
pub(super) fn value_of<'a>(params: &'a [OsString], long: &str) -> Option<&'a OsStr> {
    let pairs = params.iter().zip(params.iter().skip(1).map(Some).chain([None]));
    let values = pairs.filter_map(|(word, next)| match word.as_bytes().strip_prefix(long.as_bytes())? {
        [] => next.map(OsString::as_os_str),
        [b'=', value @ ..] => Some(OsStr::from_bytes(value)),
        _ => None,
    });
    values.last()
}

/// KiB a second of the user's `--bwlimit`, at least 1; `None` where there is none, or one that rsync
/// does not understand either.
pub(super) fn rate_of(params: &[OsString]) -> Option<u32> {
    let text = value_of(params, "--bwlimit")?.to_str()?;
    let number = text.trim_end_matches(|c: char| !c.is_ascii_digit() && c != '.');
    let (letter, rest) = text.strip_prefix(number)?.split_at_checked(1).unwrap_or_default();
    let thousands = match rest {
        "" | "ib" | "iB" => 1024.0,
        "b" | "B" => 1000.0,
        _ => return None,
    };
    let power = match letter {
        "b" | "B" => 0,
        "" | "k" | "K" => 1,
        "m" | "M" => 2,
        "g" | "G" => 3,
        "t" | "T" => 4,
        _ => return None,
    };
    let number: f64 = number.parse().ok().filter(|number| *number > 0.0)?;
    let rate = number * f64::powi(thousands, power) / 1024.0;
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "it is bounded before")]
    let rate = rate.clamp(1.0, f64::from(u32::MAX)) as u32;
    Some(rate)
}

/// The letters of a bundle such as `-artuz`, up to and with the first that takes a value.
fn letters(word: &[u8]) -> &[u8] {
    let Some(letters) = word.strip_prefix(b"-").filter(|rest| !rest.starts_with(b"-")) else { return &[] };
    let end = letters.find_byteset(SHORT_WITH_VALUE).map_or(letters.len(), |at| at.saturating_add(1));
    letters.get(..end).unwrap_or(letters)
}

/// The word as a dry run may have it: a quiet one would tell nothing, and `-I` would tell of each
/// file. An emptied word becomes a harmless option.
pub(super) fn for_dry_run(word: &OsStr) -> OsString {
    let bytes = word.as_bytes();
    let kept: Vec<u8> = letters(bytes).iter().copied().filter(|letter| !b"qI".contains(letter)).collect();
    if matches!(bytes, b"--quiet" | b"--ignore-times") || (kept.is_empty() && !letters(bytes).is_empty()) {
        return "--no-motd".into();
    }
    let bundle = letters(bytes);
    if kept.len() == bundle.len() {
        return word.to_owned();
    }
    let value = bytes.get(bundle.len().saturating_add(1)..).unwrap_or_default();
    OsStr::from_bytes(&[b"-", &kept[..], value].concat()).to_owned()
}

/// Whether files get the times that they have here. Where they do not, their times say nothing.
pub(super) fn keep_times(params: &[OsString]) -> bool {
    let said = |word: &OsString| {
        let word = std::slice::from_ref(word);
        if sets(word, "--times", Some(b't')) || sets(word, "--archive", Some(b'a')) {
            return Some(true);
        }
        (sets(word, "--no-times", None) || sets(word, "--no-t", None)).then_some(false)
    };
    params.iter().filter_map(said).next_back().unwrap_or(false)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(words: &[&str]) -> Vec<OsString> {
        words.iter().map(OsString::from).collect()
    }

    #[test]
    fn bundled_letters() {
        let given = |params: &[&str]| sets(&self::tests::words(params), "--modify-window", Some(b'@'));
        assert!(given(&["-a@1"]) && given(&["--modify-window=2"]) && given(&["--modify-window", "2"]));
        assert!(!given(&["-aT@1"]) && !given(&["--modify-windows=1"]) && !given(&["a@b"]));
        for (word, kept) in [
            ("-aqz", "-az"),
            ("-q", "--no-motd"),
            ("-aIz", "-az"),
            ("--ignore-times", "--no-motd"),
            ("-aTq", "-aTq"),
            ("-qTq", "-Tq"),
            ("--bwlimit=q", "--bwlimit=q"),
        ] {
            assert_eq!(for_dry_run(OsStr::new(word)), kept, "{word}");
        }
    }

    #[test]
    fn rates() {
        for (text, expected) in [
            ("500", Some(500)),
            ("500k", Some(500)),
            ("1.5m", Some(1536)),
            ("1.5MiB", Some(1536)),
            ("1MB", Some(976)),
            ("1g", Some(1 << 20)),
            ("2048b", Some(2)),
            ("100b", Some(1)),
            ("99999t", Some(u32::MAX)),
            ("0", None),
            ("fast", None),
            ("", None),
            ("1x", None),
            ("-5", None),
        ] {
            assert_eq!(rate_of(&words(&["-a", &format!("--bwlimit={text}")])), expected, "{text}");
        }
        assert_eq!(rate_of(&words(&["--bwlimit", "7", "-a"])), Some(7));
        assert_eq!(rate_of(&words(&["-a"])), None);
    }

    #[test]
    fn times_of_files() {
        for (params, kept) in [
            (&["-artuz"][..], true),
            (&["-rl"], false),
            (&["-a", "--no-t"], false),
            (&["--no-times", "-rt"], true),
            (&["--archive"], true),
            (&["-e", "t"], false),
        ] {
            assert_eq!(keep_times(&words(params)), kept, "{params:?}");
        }
    }
}
