//! The words of the control socket: one line of JSON with a command, then lines of JSON with what
//! is to be printed, and at last how the command ends.
//!
//! Both ends are meant to be the same program, and after an upgrade may not be: what is unknown is
//! refused, never guessed.

use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;

use common::config::Repair;
use common::log::escape;
use common::message::Comparison;
use common::path::RelPath;
use serde::{Deserialize, Serialize};
use thiserror::Error;

/// Longest command, with the line break that ends it, in bytes.
pub const MAX_REQUEST: usize = 4 << 10;
/// Longest line of an answer, with the line break that ends it, in bytes.
pub const MAX_REPLY: usize = 64 << 10;
/// Longest text of one line, in bytes; the rest is cut off. JSON at most doubles it.
pub const MAX_TEXT: usize = 16 << 10;
/// Longest time that `wait` may be told to wait, in seconds: a year.
pub const MAX_TIMEOUT: u64 = 31_536_000;

/// A command.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase", deny_unknown_fields)]
pub enum Request {
    /// Ends when everything that was seen up to now has been confirmed.
    Wait {
        /// The only remote that counts, as logs name it.
        remote: Option<String>,
        /// After how many seconds it ends all the same; at most [`MAX_TIMEOUT`].
        timeout: Option<u64>,
    },
    /// Compares remotes with the source.
    Verify {
        /// The only remote that is compared, as logs name it.
        remote: Option<String>,
        /// Whether what differs is sent again.
        repair: Repair,
        /// How files are compared.
        #[serde(with = "Comparing")]
        by: Comparison,
    },
    /// About deletions that the brake holds.
    Deletes {
        /// The only tree that counts: an absolute path without a slash at its end.
        #[serde(with = "bytes")]
        tree: Option<OsString>,
        /// What to do with them.
        what: DeletesWhat,
    },
    /// Where a path is on its way to each remote.
    Explain {
        /// Its tree: an absolute path without a slash at its end.
        #[serde(with = "exact")]
        tree: OsString,
        /// The path below it, as [`RelPath`] wants it.
        #[serde(with = "exact")]
        path: OsString,
    },
}

/// What becomes of deletions that are held.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DeletesWhat {
    /// Nothing; they are told.
    List,
    /// They are carried out.
    Approve,
    /// They are forgotten: what is gone here stays there.
    Drop,
}

/// A line of an answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase", deny_unknown_fields)]
pub enum Reply {
    /// To be printed.
    Line(String),
    /// The last one.
    End {
        /// The command's exit status.
        exit: u8,
    },
}

/// A line that is no word of this protocol.
#[derive(Debug, Error)]
pub enum Malformed {
    /// Longer than [`MAX_REQUEST`].
    #[error("the command is longer than {MAX_REQUEST} bytes")]
    TooLong,
    /// Something else, or of another version of the program.
    #[error("not understood: {0}; after an upgrade the supervisor is to be restarted")]
    Unknown(serde_json::Error),
    /// An `explain` of what is no path below a tree.
    #[error("this is no path below a tree")]
    Path,
    /// More than [`MAX_TIMEOUT`].
    #[error("the timeout is longer than {MAX_TIMEOUT} seconds")]
    Timeout,
}

impl Request {
    /// The line, at most [`MAX_REQUEST`] bytes of it.
    pub fn encode(&self) -> Result<Vec<u8>, Malformed> {
        let mut line = serde_json::to_vec(self).map_err(Malformed::Unknown)?;
        line.push(b'\n');
        if line.len() <= MAX_REQUEST { Ok(line) } else { Err(Malformed::TooLong) }
    }

    /// Reads a line, without what ends it.
    pub fn decode(line: &[u8]) -> Result<Request, Malformed> {
        if line.len() >= MAX_REQUEST {
            return Err(Malformed::TooLong);
        }
        match serde_json::from_slice(line).map_err(Malformed::Unknown)? {
            Request::Wait { timeout: Some(seconds), .. } if seconds > MAX_TIMEOUT => Err(Malformed::Timeout),
            Request::Explain { path, .. } if RelPath::new(path.as_bytes()).is_err() => Err(Malformed::Path),
            request => Ok(request),
        }
    }
}

impl Reply {
    /// A line that cannot steer a terminal, however it came about; what is too long is cut off.
    pub fn line(text: &str) -> Reply {
        let mut text = escape(text.as_bytes());
        text.truncate(text.floor_char_boundary(MAX_TEXT));
        Reply::Line(text)
    }

    /// The line, at most [`MAX_REPLY`] bytes of it.
    pub fn encode(&self) -> Vec<u8> {
        // Text and a number always have a JSON form.
        let mut line = serde_json::to_vec(self).unwrap_or_default();
        line.push(b'\n');
        line
    }

    /// Reads a line, without what ends it.
    pub fn decode(line: &[u8]) -> Result<Reply, Malformed> {
        serde_json::from_slice(line).map_err(Malformed::Unknown)
    }
}

/// [`Comparison`] as people would write it.
#[derive(Serialize, Deserialize)]
#[serde(remote = "Comparison", rename_all = "lowercase")]
enum Comparing {
    Times,
    Checksums,
}

/// Bytes as text: a character for each, the one with its number. What is ASCII reads as it is.
mod exact {
    use std::ffi::{OsStr, OsString};
    use std::os::unix::ffi::{OsStrExt, OsStringExt};

    use serde::de::{Error, Unexpected};
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    pub(super) fn text(path: &OsStr) -> String {
        path.as_bytes().iter().copied().map(char::from).collect()
    }

    pub(super) fn path<E: Error>(text: &str) -> Result<OsString, E> {
        let bytes: Option<Vec<u8>> = text.chars().map(|c| u8::try_from(u32::from(c)).ok()).collect();
        let wrong = || E::invalid_value(Unexpected::Str("a path"), &"a character for each byte");
        bytes.map(OsString::from_vec).ok_or_else(wrong)
    }

    pub(super) fn serialize<S: Serializer>(path: &OsStr, to: S) -> Result<S::Ok, S::Error> {
        text(path).serialize(to)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<OsString, D::Error> {
        path(&String::deserialize(from)?)
    }
}

/// The same, where there may be none.
mod bytes {
    use std::ffi::OsString;

    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    use super::exact;

    #[allow(clippy::ref_option, reason = "serde's own shape")]
    pub(super) fn serialize<S: Serializer>(path: &Option<OsString>, to: S) -> Result<S::Ok, S::Error> {
        path.as_ref().map(|path| exact::text(path)).serialize(to)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Option<OsString>, D::Error> {
        Option::<String>::deserialize(from)?.map(|text| exact::path(&text)).transpose()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::os::unix::ffi::OsStringExt;

    fn text(line: Vec<u8>) -> String {
        String::from_utf8(line).unwrap()
    }

    #[test]
    fn the_words() {
        for (request, line) in [
            (Request::Wait { remote: None, timeout: None }, r#"{"wait":{"remote":null,"timeout":null}}"#),
            (
                Request::Wait { remote: Some("10.0.0.2::web".into()), timeout: Some(5) },
                r#"{"wait":{"remote":"10.0.0.2::web","timeout":5}}"#,
            ),
            (
                Request::Verify { remote: None, repair: Repair::On, by: Comparison::Checksums },
                r#"{"verify":{"remote":null,"repair":"on","by":"checksums"}}"#,
            ),
            (
                Request::Deletes {
                    tree: Some(OsString::from_vec(b"/a\xff\n".to_vec())),
                    what: DeletesWhat::Drop,
                },
                "{\"deletes\":{\"tree\":\"/a\u{ff}\\n\",\"what\":\"drop\"}}",
            ),
            (
                Request::Explain {
                    tree: OsString::from_vec(b"/a\xff".to_vec()),
                    path: OsString::from_vec(b"b\n/c".to_vec()),
                },
                "{\"explain\":{\"tree\":\"/a\u{ff}\",\"path\":\"b\\n/c\"}}",
            ),
            (
                Request::Deletes { tree: None, what: DeletesWhat::List },
                r#"{"deletes":{"tree":null,"what":"list"}}"#,
            ),
        ] {
            assert_eq!(text(request.encode().unwrap()), format!("{line}\n"));
            assert_eq!(Request::decode(line.as_bytes()).unwrap(), request);
        }
        assert_eq!(text(Reply::line("a\tb").encode()), "{\"line\":\"a\\\\tb\"}\n");
        assert_eq!(text(Reply::End { exit: 1 }.encode()), "{\"end\":{\"exit\":1}}\n");
    }

    #[test]
    fn what_is_not_understood() {
        for line in [
            &b""[..],
            b"{}",
            b"wait",
            b"\xff\xfe",
            b"{\"wait\":{}} {\"wait\":{}}",
            b"{\"wait\":{\"timeout\":-1}}",
            b"{\"wait\":{\"timeout\":31536001}}",
            b"{\"wait\":{\"remote\":null,\"timeout\":null,\"more\":1}}",
            b"{\"verify\":{\"remote\":null,\"repair\":true,\"by\":\"times\"}}",
            b"{\"verify\":{\"remote\":null,\"repair\":\"on\",\"by\":\"Times\"}}",
            b"{\"deletes\":{\"tree\":null,\"what\":\"all\"}}",
            b"{\"explain\":{\"tree\":\"/a\",\"path\":\"../etc\"}}",
            b"{\"explain\":{\"tree\":null,\"path\":\"a\"}}",
            b"{\"deletes\":{\"tree\":\"\xe5\x9b\xbe\",\"what\":\"list\"}}",
            &[b'['; MAX_REQUEST - 1],
        ] {
            assert!(Request::decode(line).is_err(), "{}", line.escape_ascii());
        }
    }

    #[test]
    fn bounds() {
        let wait = |length| Request::Wait { remote: Some("a".repeat(length)), timeout: None };
        let rest = wait(0).encode().unwrap().len();
        assert_eq!(wait(MAX_REQUEST - rest).encode().unwrap().len(), MAX_REQUEST);
        assert!(matches!(wait(MAX_REQUEST - rest + 1).encode(), Err(Malformed::TooLong)));
        let longest = Request::Wait { remote: None, timeout: Some(MAX_TIMEOUT) };
        assert_eq!(Request::decode(longest.encode().unwrap().trim_ascii_end()).unwrap(), longest);
        for worst in ["\\", "\"", "\u{1b}", "图"] {
            let line = Reply::line(&worst.repeat(MAX_TEXT)).encode();
            assert!(line.len() <= MAX_REPLY, "{worst:?}: {}", line.len());
        }
    }

    proptest! {
        #[test]
        fn any_path_arrives(path in proptest::collection::vec(any::<u8>(), 0..500)) {
            let tree = Some(OsString::from_vec(path));
            let request = Request::Deletes { tree, what: DeletesWhat::Approve };
            let line = request.encode().unwrap();
            prop_assert_eq!(line.iter().position(|&byte| byte == b'\n'), Some(line.len() - 1));
            prop_assert_eq!(Request::decode(line.trim_ascii_end()).unwrap(), request);
        }

        #[test]
        fn anything_is_read_or_refused(line in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = Request::decode(&line);
            let _ = Reply::decode(&line);
        }
    }
}
