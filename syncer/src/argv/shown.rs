//! A command for people, as they would type it. Nothing is ever run from this text.

use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;

use crate::tail::escape;

/// The command for people: quoted as a shell would want it, nothing unprintable.
pub(crate) fn shown(argv: &[OsString]) -> String {
    let words: Vec<String> = argv.iter().map(|word| quoted(word.as_bytes())).collect();
    words.join(" ")
}

fn quoted(word: &[u8]) -> String {
    let is_plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_=+,./:@%^".contains(byte);
    let text = escape(word);
    if text.as_bytes() != word {
        return format!("$'{}'", text.replace('\'', "\\'"));
    }
    if !word.is_empty() && word.iter().all(is_plain) {
        return text;
    }
    format!("'{}'", text.replace('\'', r"'\''"))
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
