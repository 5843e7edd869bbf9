//! Logging: a role writes plain lines to its standard error, which is a pipe to the
//! supervisor; the supervisor bounds, escapes and prefixes them, and writes its own.
//!
//! Lines state facts as `key=value`. Foreign bytes are escaped by whoever writes them
//! ([`Shown`]), and once more by the supervisor for whatever comes out of a role.

use std::ffi::OsStr;
use std::fmt;
use std::io::{self, LineWriter};
use std::os::unix::ffi::OsStrExt;

use bstr::{ByteSlice, ByteVec};
use log::{Level, LevelFilter};
use simplelog::{ConfigBuilder, WriteLogger};

/// Starts logging in a role: `[LEVEL] message`, no time; [`split_level`] reads it back.
pub fn start_role() {
    let config = bare().set_time_level(LevelFilter::Off).build();
    // A second logger in one process is refused; the first one stays.
    let _ = WriteLogger::init(LevelFilter::Info, config, LineWriter::new(io::stderr()));
}

/// Takes the level off a line that a role wrote. Lines that are not of our making (a panic,
/// a library's complaint) count as warnings.
pub fn split_level(line: &str) -> (Level, &str) {
    for level in Level::iter() {
        let rest = line.strip_prefix('[').and_then(|rest| rest.strip_prefix(level.as_str()));
        if let Some(rest) = rest.and_then(|rest| rest.strip_prefix(']')) {
            return (level, rest.trim_start());
        }
    }
    (Level::Warn, line)
}

/// Text as it is; control characters and bytes that are no text as escapes.
pub fn escape(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        for ch in chunk.valid().chars() {
            if ch.is_control() { text.extend(ch.escape_default()) } else { text.push(ch) }
        }
        text.push_str(&chunk.invalid().escape_ascii().to_string());
    }
    text
}

/// What may stand between the quotes of `key="…"`: whatever the words are, they do not end there.
pub fn in_quotes(words: &str) -> String {
    words.replace('\\', r"\\").replace('"', r#"\""#)
}

/// The words again of which [`in_quotes`] or a path of ours made that. Bytes that are no text stay as they are, and
/// so does `\u{…}`, which a path has for what cannot be seen.
pub fn out_of_quotes(text: &str) -> String {
    // No quote stands there but behind a backslash of its own, and bstr leaves those two alone.
    let plain = Vec::unescape_bytes(text.replace(r#"\""#, r"\x22"));
    String::from_utf8(plain).unwrap_or_else(|_| text.to_owned())
}

/// A word as a shell would want it, in one line: for commands that are shown to people, never
/// to a shell by us.
pub struct Quoted<'a>(pub &'a OsStr);

impl fmt::Display for Quoted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = self.0.as_bytes();
        let is_plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_=+,./:@%^".contains(byte);
        match word.to_str() {
            Ok(text) if !text.is_empty() && word.iter().all(is_plain) => f.write_str(text),
            Ok(text) if !text.contains(char::is_control) => write!(f, "'{}'", text.replace('\'', r"'\''")),
            Ok(_) | Err(_) => write!(f, "$'{}'", word.escape_ascii().to_string().replace("\\\"", "\"")),
        }
    }
}

/// Foreign bytes for people: readable where they are text, escaped where they are not.
pub struct Shown<'a>(pub &'a OsStr);

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for ch in self.0.as_bytes().as_bstr().to_str_lossy().chars() {
            if ch.is_control() { write!(f, "{}", ch.escape_default())? } else { write!(f, "{ch}")? }
        }
        Ok(())
    }
}

fn bare() -> ConfigBuilder {
    let mut config = ConfigBuilder::new();
    config
        .set_thread_level(LevelFilter::Off)
        .set_target_level(LevelFilter::Off)
        .set_location_level(LevelFilter::Off)
        .set_max_level(LevelFilter::Error);
    config
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn names_with_odd_characters() {
        assert_eq!(in_quotes(r#"open "a\#377" b=c"#), r#"open \"a\\#377\" b=c"#);
        assert_eq!(out_of_quotes(r#"\"a\" \n\\n"#), "\"a\" \n\\n");
        assert_eq!(out_of_quotes(r#"\"\xff"#), r#"\"\xff"#);
    }

    proptest! {
        #[test]
        fn there_and_back(words: String) {
            prop_assert_eq!(out_of_quotes(&in_quotes(&words)), words);
        }
    }
}
