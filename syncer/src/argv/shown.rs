//! A command for people, as they would type it. Nothing is ever run from this text.

use std::ffi::OsString;

use common::log::Quoted;

/// The command for people: quoted as a shell would want it, nothing unprintable.
pub(crate) fn shown(argv: &[OsString]) -> String {
    let words: Vec<String> = argv.iter().map(|word| Quoted(word).to_string()).collect();
    words.join(" ")
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
