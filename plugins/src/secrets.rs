//! What an answer echoes of user and password is hidden before it is recorded, whichever way
//! the peer writes it: each byte raw, as HTML, or percent-encoded, once or more.
//!
//! A short one is hidden only where it is named as in our request: a user `a` is in every word.

use std::cmp::Reverse;

use percent_encoding::percent_decode_str;
use regex::bytes::{Regex, RegexBuilder};

use crate::exchange::MAX_ANSWER;
use crate::expression::BadExpression;

/// What stands for user and password where people read.
pub(crate) const HIDDEN: &str = "***";
/// Fewest bytes of what is hidden wherever it stands.
const LONG: usize = 4;
/// Most bytes that one byte takes when it is encoded, but for one that is encoded many times.
const WIDEST: usize = 6;

/// User and password.
pub(crate) struct Secrets {
    pattern: Regex,
    /// Most bytes that one of them takes in an answer.
    widest: usize,
}

impl Secrets {
    /// Fails when they are too long for an expression, which takes kilobytes.
    pub(crate) fn new(user: &str, password: &str) -> Result<Secrets, BadExpression> {
        // They go out as written, so what is `%21` in the config is `!` to the peer.
        let forms = |text: &str| [text.as_bytes().to_vec(), percent_decode_str(text).collect()];
        let mut all: Vec<Vec<u8>> = [user, password].into_iter().flat_map(forms).collect();
        all.retain(|secret| !secret.is_empty());
        // Longest first: one that begins with the other must not be hidden by half.
        all.sort_by_key(|secret| Reverse(secret.len()));
        let expressions: Vec<_> = all.iter().map(|secret| expression(secret)).collect();
        let named =
            format!(r"((?i:user|pswd)(?:=|%(?:25)*3[Dd]))(?:{})?[^&\s\x22'<>]*", expressions.join("|"));
        let long = all.iter().zip(expressions).filter(|(secret, _)| secret.len() >= LONG);
        let parts: Vec<_> = [named].into_iter().chain(long.map(|(_, expression)| expression)).collect();
        let pattern = RegexBuilder::new(&parts.join("|")).unicode(false).build()?;
        let widest = all.first().map_or(0, |secret| secret.len().saturating_mul(WIDEST));
        Ok(Secrets { pattern, widest })
    }

    /// The answer without them.
    pub(crate) fn hide(&self, answer: &[u8]) -> Vec<u8> {
        let mut shown = self.pattern.replace_all(answer, format!("${{1}}{HIDDEN}").as_bytes()).into_owned();
        if answer.len() >= MAX_ANSWER {
            // It was cut, so its end may be the beginning of one.
            shown.truncate(shown.len().saturating_sub(self.widest));
        }
        shown
    }
}

fn expression(secret: &[u8]) -> String {
    secret.iter().map(|byte| written(*byte)).collect()
}

/// The ways in which one byte is written.
fn written(byte: u8) -> String {
    let special = match byte {
        b' ' => r"|\+",
        b'&' => "|&amp;",
        b'"' => "|&(?:quot|#34);",
        b'\'' => "|&(?:apos|#39|#x27);",
        b'<' => "|&lt;",
        b'>' => "|&gt;",
        _ => "",
    };
    format!(r"(?:\x{byte:02X}{special}|%(?:25)*(?i:{byte:02X}))")
}

#[cfg(test)]
mod tests {
    use super::*;
    use bstr::ByteSlice;

    fn hidden(user: &str, password: &str, answer: &str) -> String {
        String::from_utf8(Secrets::new(user, password).unwrap().hide(answer.as_bytes())).unwrap()
    }

    #[test]
    fn every_way_to_write_them() {
        for echo in [
            "S3cret! p&\"",
            "S3cret!%20p%26%22",
            "S3cret!+p%26%22",
            "%53%33%63%72%65%74%21+%70%26%22",
            "S3cret%2521%2520p%2526%2522",
            "S3cret! p&amp;&quot;",
        ] {
            assert_eq!(hidden("USRX", "S3cret! p&\"", &format!("a {echo} b\r\nc")), "a *** b\r\nc");
            let named = format!("Location: /?user=USRX&pswd={echo}&x=y");
            assert_eq!(hidden("USRX", "S3cret! p&\"", &named), "Location: /?user=***&pswd=***&x=y");
        }
        // Written encoded in the config; the peer decodes it.
        assert_eq!(hidden("USRX", "S3cret%2f%C3%a9", "S3cret/\u{e9} S3cret%2F%c3%A9"), "*** ***");
    }

    #[test]
    fn short_ones_only_where_they_are_named() {
        let told = hidden("a", "b c", "HTTP/1.0 401 a bad day\r\nX: user=a&pswd=b c&b c&aa");
        assert_eq!(told, "HTTP/1.0 401 a bad day\r\nX: user=***&pswd=***&b c&aa");
        assert_eq!(hidden("a", "b", "/?next=user%3Da%26pswd%3Db x"), "/?next=user%3D*** x");
        assert_eq!(
            hidden("a", "b", "<a href='/?user=a&pswd=b'>a</a>"),
            "<a href='/?user=***&pswd=***'>a</a>"
        );
    }

    #[test]
    fn one_that_begins_with_the_other() {
        assert_eq!(hidden("admin", "admin-secret", "admin-secret admin"), "*** ***");
        assert_eq!(hidden("admin-secret", "admin", "admin-secret admin"), "*** ***");
    }

    #[test]
    fn other_values_that_are_named_so_and_nothing_else() {
        assert_eq!(
            hidden("USRX", "S3cret", "User=root pswd=x&ok=ok whatsup"),
            "User=*** pswd=***&ok=ok whatsup"
        );
        let plain = "HTTP/1.1 200 OK\r\nwhatsup: content=\"succeed\"\r\n\r\n";
        assert_eq!(hidden("USRX", "S3cret", plain), plain);
    }

    /// The answer is cut in the middle of the password.
    #[test]
    fn one_that_is_cut() {
        let secrets = Secrets::new("USRX", "S3cret-password").unwrap();
        let answer = ["x".repeat(MAX_ANSWER - 8).as_bytes(), b"S3cret-p"].concat();
        let shown = secrets.hide(&answer);
        assert!(!shown.contains_str("S3") && shown.len() > MAX_ANSWER / 2, "{}", shown.as_bstr());
    }

    #[test]
    fn long_ones() {
        let password = "p%& ".repeat(1000);
        assert_eq!(hidden("USRX", &password, &format!("a {password} b")), "a *** b");
    }
}
