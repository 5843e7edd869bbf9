//! A line of the log as a JSON object. Its text stays as it is; what is `key=value` in it can be asked
//! for by itself beside that.

use common::log::out_of_quotes;
use log::Level;
use serde_json::{Map, Value, json};

/// `{"time":...,"level":...,"message":...,"fields":{...}}`.
pub(super) fn line(time: &str, level: Level, text: &str) -> String {
    let level = level.as_str().to_ascii_lowercase();
    json!({ "time": time, "level": level, "message": text, "fields": fields(text) }).to_string()
}

/// Now, as the log tells it.
pub(super) fn now() -> String {
    let now = time::OffsetDateTime::now_utc();
    now.format(&time::format_description::well_known::Rfc3339).unwrap_or_default()
}

/// `key=value` and `key="value of words"`, each key once; the words as they were before somebody escaped
/// them. Punctuation that ends a clause is no part of a value.
fn fields(text: &str) -> Map<String, Value> {
    let (mut fields, mut rest) = (Map::new(), text);
    while let Some(equals) = rest.find('=') {
        let (before, after) = rest.split_at(equals);
        let key = before.rsplit(' ').next().unwrap_or_default();
        let after = after.get(1..).unwrap_or_default();
        let is_key = !key.is_empty() && key.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_');
        let (value, next) = if let Some((words, next)) = after.strip_prefix('"').and_then(quoted) {
            (out_of_quotes(words), next)
        } else {
            let (word, next) = after.split_at(after.find(' ').unwrap_or(after.len()));
            (word.trim_end_matches([':', ';', ',']).to_owned(), next)
        };
        if !is_key {
            rest = after;
            continue;
        }
        fields.entry(key).or_insert(Value::String(value));
        rest = next;
    }
    fields
}

/// What stands before the quote that closes, and what behind it. Quotes of the words' own are escaped.
fn quoted(text: &str) -> Option<(&str, &str)> {
    let mut is_escaped = false;
    let end = text.bytes().position(|byte| {
        let closes = byte == b'"' && !is_escaped;
        is_escaped = byte == b'\\' && !is_escaped;
        closes
    })?;
    Some((text.get(..end)?, text.get(end.saturating_add(1)..)?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_is_in_a_line() {
        for (text, expected) in [
            ("root lost tree=/srv/a: it was renamed", json!({"tree": "/srv/a"})),
            (
                r#"remote down remote=h::m reason="rsync failed" status=-9; again"#,
                json!({"remote": "h::m", "reason": "rsync failed", "status": "-9"}),
            ),
            ("plain words", json!({})),
            ("<delete maxDelete=5> a=b=c =d", json!({"a": "b=c"})),
            (r#"path="a \"b\" \\" what=sent"#, json!({"path": r#"a "b" \"#, "what": "sent"})),
            (r#"path="a\n\\n;""#, json!({"path": "a\n\\n;"})),
            (r#"path="a\xff""#, json!({"path": r"a\xff"})),
            (r#"open="never closed"#, json!({"open": "\"never"})),
        ] {
            assert_eq!(Value::Object(fields(text)), expected, "{text}");
        }
    }

    /// It ended at the first name of a file, and what that holds became fields.
    #[test]
    fn what_rsync_says_is_whole() {
        let words = r#"mkstemp "/d/" status=0 x="\#377" (in m) failed: Permission denied (13);"#;
        let text =
            format!("some paths failed remote=h::m status=23{}", crate::core::notice::fact("said", words));
        assert_eq!(Value::Object(fields(&text)), json!({"remote": "h::m", "status": "23", "said": words}));
    }

    proptest! {
        #[test]
        fn any_line_is_one_object(text in ".*") {
            let line = line("2026-11-23T07:37:21Z", Level::Warn, &text);
            let read: Value = serde_json::from_str(&line).unwrap();
            prop_assert_eq!(read["message"].as_str(), Some(text.as_str()));
            prop_assert!(!line.contains('\n'));
        }
    }
}
