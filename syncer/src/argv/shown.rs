//! A command for people, as they would type it. Nothing is ever run from this text.

use std::ffi::OsString;

use common::log::Quoted;

/// Most words that are shown: what comes behind are names.
const MOST: usize = 100;

/// The command for people: quoted as a shell would want it, nothing unprintable.
pub(crate) fn shown(argv: &[OsString]) -> String {
    let words: Vec<String> = argv.iter().take(MOST).map(|word| Quoted(word).to_string()).collect();
    let more = argv.len().saturating_sub(MOST);
    if more == 0 { words.join(" ") } else { format!("{} ... and {more} more", words.join(" ")) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::ffi::OsStringExt;

    #[test]
    fn quoting_for_people() {
        let argv = [OsString::from("a b"), "it's".into(), "".into(), OsString::from_vec(b"\xff\n'".to_vec())];
        assert_eq!(shown(&argv), r"'a b' 'it'\''s' '' $'\xff\n\''");
    }
}
