//! Which names do not travel: the `<filter>` expressions, and the names that the original
//! always left out of its events.
//!
//! The original matched an expression against the whole of a subject that differed by moment:
//! `name` in the root, `/dir/name` below it, `dir/sub/` for directories met at start. Here all
//! of these forms are tried at any moment, so that one expression has one meaning
//! (`docs/migrating-from-sersync.md`).

use std::fmt::Write;

use regex::bytes::{RegexSet, RegexSetBuilder};
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::config::FilterExpression;
use crate::path::RelPath;

/// Memory that the compiled expressions may take, in bytes.
const SIZE_LIMIT: usize = 16 << 20;

/// An expression that is no regular expression, or one that cannot be matched in linear time.
#[derive(Debug, Error)]
#[error("{0}")]
pub struct BadExpression(String);

/// What kind of entry a name belongs to, as far as filters care.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum EntryKind {
    /// A directory.
    Directory,
    /// Anything else.
    File,
}

/// The compiled `<filter>`; by default one that excludes nothing.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    expressions: RegexSet,
}

impl Filter {
    /// Compiles `expressions`, all of which must be good.
    pub fn new(expressions: &[FilterExpression]) -> Result<Filter, BadExpression> {
        let whole: Vec<String> = expressions.iter().map(|e| whole(&e.0)).collect();
        let expressions = build(&whole, false).or_else(|_| build(&whole, true)).map_err(|error| {
            let text = error.to_string();
            BadExpression(text.lines().last().unwrap_or(&text).trim_start_matches("error: ").to_owned())
        })?;
        Ok(Filter { expressions })
    }

    /// True when there is nothing to exclude.
    pub fn is_empty(&self) -> bool {
        self.expressions.is_empty()
    }

    /// True when the entry itself is excluded. What lies below an excluded directory is
    /// excluded with it, but not looked at here: see [`Filter::excludes_within`].
    pub fn excludes(&self, path: &RelPath, kind: EntryKind) -> bool {
        self.excludes_bytes(path.as_bytes(), kind)
    }

    /// True when the entry or one of the directories that hold it is excluded.
    pub fn excludes_within(&self, path: &RelPath, kind: EntryKind) -> bool {
        !self.is_empty()
            && (path.ancestors().any(|dir| self.excludes_bytes(dir, EntryKind::Directory))
                || self.excludes(path, kind))
    }

    fn excludes_bytes(&self, path: &[u8], kind: EntryKind) -> bool {
        if self.is_empty() || path.is_empty() {
            return false;
        }
        let mut subject = Vec::with_capacity(path.len().saturating_add(2));
        if path.contains(&b'/') {
            subject.push(b'/');
        }
        subject.extend_from_slice(path);
        if self.expressions.is_match(&subject) {
            return true;
        }
        if kind == EntryKind::File {
            return false;
        }
        subject.push(b'/');
        let with_slash = subject.strip_prefix(b"/").unwrap_or(&subject);
        self.expressions.is_match(with_slash)
    }
}

/// True for names whose own events never travelled in the original: `.*`, `*~` and vim's
/// probe `4913`. Directories are not concerned, and what is below a directory that is sent as
/// a whole travels with it.
pub fn is_hidden_file(name: &[u8]) -> bool {
    name.starts_with(b".") || name.ends_with(b"~") || name == b"4913"
}

fn build(expressions: &[String], unicode: bool) -> Result<RegexSet, regex::Error> {
    RegexSetBuilder::new(expressions)
        .unicode(unicode)
        .dot_matches_new_line(true)
        .size_limit(SIZE_LIMIT)
        .dfa_size_limit(SIZE_LIMIT)
        .build()
}

/// The expression anchored at both ends; bytes that are no UTF-8 become escapes.
fn whole(expression: &[u8]) -> String {
    let mut text = String::from(r"\A(?:");
    for chunk in expression.utf8_chunks() {
        text.push_str(chunk.valid());
        for byte in chunk.invalid() {
            // Writing to a String cannot fail.
            let _ = write!(text, r"\x{byte:02X}");
        }
    }
    text.push_str(r")\z");
    text
}

#[cfg(test)]
mod tests {
    use super::EntryKind::{Directory, File};
    use super::*;

    fn excludes(expression: &str, path: &str, kind: EntryKind) -> bool {
        let filter = Filter::new(&[FilterExpression(expression.into())]).unwrap();
        filter.excludes_within(&RelPath::new(path).unwrap(), kind)
    }

    #[test]
    fn measured_rows_of_the_original() {
        for (expression, path, kind, excluded) in [
            ("gz", "a.gz", File, false),
            (".*gz", "a.gz", File, true),
            ("sub/x", "sub/x", File, false),
            ("/sub/x", "sub/x", File, true),
            (".*/x", "sub/x", File, true),
            (".*/x", "x", File, false),
            (".*x", "sub/x", File, true),
            ("^sub/.*", "sub/x", File, true),
            ("sub", "sub", Directory, true),
            ("sub/", "sub", Directory, true),
            ("sub/", "sub/x", File, true),
            ("/sub/deep", "sub/deep", Directory, true),
            ("X", "x", File, false),
            ("^info/*", "info", Directory, true),
            ("^info/*", "info/1", File, true),
            ("^info/*", "sub/info", Directory, false),
            (r"(.*)\.svn", "pre/.svn/entries", File, true),
            ("a\nb", "a\nb", File, true),
            (".*", "a\nb", File, true),
            ("图片", "图片", Directory, true),
            ("[图片]", "图", File, true),
        ] {
            assert_eq!(excludes(expression, path, kind), excluded, "{expression:?} on {path:?}");
        }
    }

    #[test]
    fn bytes_that_are_no_text() {
        let filter = Filter::new(&[FilterExpression(b"\xff.*".to_vec())]).unwrap();
        assert!(filter.excludes(&RelPath::new(b"\xff\xfe".to_vec()).unwrap(), File));
        assert!(!filter.excludes(&RelPath::new(b"a\xff".to_vec()).unwrap(), File));
    }

    #[test]
    fn what_does_not_compile() {
        for expression in ["(bad", "[", r"(a)\1", "a(?=b)"] {
            assert!(Filter::new(&[FilterExpression(expression.into())]).is_err(), "{expression}");
        }
    }

    #[test]
    fn hidden_names() {
        for (name, hidden) in [(".x", true), ("x~", true), ("4913", true), ("49130", false), ("x", false)] {
            assert_eq!(is_hidden_file(name.as_bytes()), hidden, "{name}");
        }
    }
}
