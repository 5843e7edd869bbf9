//! Regular expressions of the config, compiled within bounds: the same dialect as the filter's
//! (`common::filter`), but on absolute paths, and one of them with a group. As there, bytes come
//! first, since only so `\xFF` is a byte; classes of other letters than ASCII's need Unicode.

use common::config::FilterExpression;
use regex::bytes::{Regex, RegexBuilder, RegexSet, RegexSetBuilder};
use thiserror::Error;

/// Memory that the compiled expressions may take, in bytes.
const SIZE_LIMIT: usize = 16 << 20;

/// An expression that does not compile. The config's reader has tried it before.
#[derive(Debug, Error)]
#[error("regular expression: {0}")]
pub struct BadExpression(#[from] regex::Error);

/// Expressions of which one has to match a subject entirely.
pub(crate) fn entire(expressions: &[FilterExpression]) -> Result<RegexSet, BadExpression> {
    let whole: Vec<String> = expressions.iter().map(|it| format!(r"\A(?:{})\z", text(it))).collect();
    let build = |unicode| {
        RegexSetBuilder::new(&whole)
            .unicode(unicode)
            .dot_matches_new_line(true)
            .size_limit(SIZE_LIMIT)
            .dfa_size_limit(SIZE_LIMIT)
            .build()
    };
    Ok(build(false).or_else(|_| build(true))?)
}

/// An expression that is searched for.
pub(crate) fn search(expression: &FilterExpression) -> Result<Regex, BadExpression> {
    let text = text(expression);
    let build = |unicode| {
        RegexBuilder::new(&text)
            .unicode(unicode)
            .dot_matches_new_line(true)
            .size_limit(SIZE_LIMIT)
            .dfa_size_limit(SIZE_LIMIT)
            .build()
    };
    Ok(build(false).or_else(|_| build(true))?)
}

/// Bytes that are no UTF-8 become escapes, which are the same in the expression's language.
fn text(expression: &FilterExpression) -> String {
    let mut text = String::new();
    for chunk in expression.0.utf8_chunks() {
        text.push_str(chunk.valid());
        text.push_str(&chunk.invalid().escape_ascii().to_string());
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_subject_is_matched_entirely() {
        let of = |text: &[u8]| entire(&[FilterExpression(text.to_vec())]).unwrap();
        assert!(of(br"/w/.*\.sh").is_match(b"/w/a\nb.sh"));
        assert!(!of(br"/w/.*\.sh").is_match(b"/w/a.sh\n"));
        assert!(!of(b"a|/w/x").is_match(b"/w/xy"));
        assert!(of("/w/[\u{56fe}\u{7247}]".as_bytes()).is_match("/w/\u{7247}".as_bytes()));
        assert!(of(b"/w/\xff.*").is_match(b"/w/\xff\xfe"));
        assert!(!entire(&[]).unwrap().is_match(b""));
    }

    #[test]
    fn what_does_not_compile() {
        for bad in ["(bad", r"(a)\1", "((a{1000}){1000}){1000}"] {
            assert!(entire(&[FilterExpression(bad.into())]).is_err(), "{bad}");
            assert!(search(&FilterExpression(bad.into())).is_err(), "{bad}");
        }
    }
}
