//! Attribute values into typed ones, and the list of problems found on the way.

use std::ffi::OsString;
use std::net::Ipv6Addr;
use std::ops::RangeInclusive;
use std::os::unix::ffi::OsStringExt;
use std::path::Path;

use super::super::diagnostic::{Diagnostic, Severity, quote};
use super::super::xml::{Attribute, Element, Encoding, Span};
use super::super::{FilterExpression, MAX_FILTER_BYTES};
use crate::filter::Filter;

/// Reads values and remembers what was wrong with them.
pub(super) struct Reader {
    pub(super) encoding: Encoding,
    pub(super) problems: Vec<Diagnostic>,
    /// What [`Reader::problem`] reports: a plugin that is off must not stop the rest.
    pub(super) severity: Severity,
    filter_bytes: usize,
}

impl Reader {
    pub(super) fn new(encoding: Encoding) -> Reader {
        Reader { encoding, problems: Vec::new(), severity: Severity::Error, filter_bytes: 0 }
    }

    pub(super) fn error(&mut self, span: &Span, message: impl Into<String>, help: &str) {
        self.problems.push(Diagnostic::error(span.clone(), message).with_help(help));
    }

    pub(super) fn warning(&mut self, span: &Span, message: impl Into<String>, help: &str) {
        self.problems.push(Diagnostic::warning(span.clone(), message).with_help(help));
    }

    /// An error, or a warning where errors are not fatal.
    pub(super) fn problem(&mut self, span: &Span, message: impl Into<String>, help: &str) {
        match self.severity {
            Severity::Error => self.error(span, message, help),
            Severity::Warning => self.warning(span, message, help),
        }
    }

    /// The switch `name` of `element`; `None` when it is not there. Only the exact text
    /// `true` is on, as ever.
    pub(super) fn switch(&mut self, element: Option<&Element>, name: &str) -> Option<bool> {
        let attribute = element?.attribute(name)?;
        match attribute.value.as_str() {
            "true" => Some(true),
            "false" => Some(false),
            other => {
                let message = format!("`{}` counts as false", quote(other));
                self.warning(
                    &attribute.span,
                    message,
                    "only the exact text `true` is true; write `true` or `false`",
                );
                Some(false)
            }
        }
    }

    /// Whether `element` is there and says start="true".
    pub(super) fn is_on(&mut self, element: Option<&Element>) -> bool {
        self.switch(element, "start").unwrap_or(false)
    }

    /// The bytes of a value, for arguments and paths.
    pub(super) fn os(&self, attribute: &Attribute) -> OsString {
        OsString::from_vec(self.encoding.bytes(&attribute.value))
    }

    /// A value that must be there and not be empty.
    pub(super) fn required<'a>(
        &mut self,
        element: Option<&'a Element>,
        name: &str,
        parent: &Span,
        example: &str,
    ) -> Option<&'a Attribute> {
        let help = format!("write {example}");
        let Some(element) = element else {
            self.problem(parent, format!("an element that says `{name}` is missing here"), &help);
            return None;
        };
        match element.attribute(name) {
            Some(attribute) if attribute.value.is_empty() => {
                self.problem(&attribute.place(), format!("`{name}` is empty"), &help);
                None
            }
            Some(attribute) => Some(attribute),
            None => {
                let message = format!("`<{}>` has no attribute `{name}`", element.name);
                self.problem(&element.span, message, &help);
                None
            }
        }
    }

    /// A value that is text, not bytes.
    pub(super) fn text(&mut self, attribute: &Attribute) -> Option<String> {
        if attribute.value.contains(char::is_control) {
            self.problem(&attribute.span, "control characters cannot stand here", "write it on one line");
            return None;
        }
        if self.encoding == Encoding::Bytes && !attribute.value.is_ascii() {
            let message = "characters other than ASCII can stand here only in a UTF-8 file";
            self.problem(&attribute.span, message, "save the file as UTF-8");
            return None;
        }
        Some(attribute.value.clone())
    }

    /// A number that is refused when it is out of range.
    pub(super) fn number(&mut self, attribute: &Attribute, range: &RangeInclusive<u32>) -> Option<u32> {
        self.number_or(attribute, range, &format!("write {}=\"number\"", attribute.name))
    }

    /// The same, with a cure of its own.
    pub(super) fn number_or(
        &mut self,
        attribute: &Attribute,
        range: &RangeInclusive<u32>,
        help: &str,
    ) -> Option<u32> {
        let number = number(&attribute.value).filter(|number| range.contains(number));
        if number.is_none() {
            let message = format!(
                "`{}` is no number from {} to {}",
                quote(&attribute.value),
                range.start(),
                range.end()
            );
            self.problem(&attribute.place(), message, help);
        }
        number
    }

    /// A port that is refused when it is none.
    pub(super) fn port(&mut self, attribute: &Attribute) -> Option<u16> {
        self.number(attribute, &(1..=u32::from(u16::MAX))).and_then(|port| u16::try_from(port).ok())
    }

    /// A number that takes its default when it is out of range, as in the original.
    pub(super) fn lenient(
        &mut self,
        element: Option<&Element>,
        name: &str,
        range: &RangeInclusive<u32>,
        default: u32,
    ) -> u32 {
        let Some(attribute) = element.and_then(|element| element.attribute(name)) else { return default };
        if let Some(number) = number(&attribute.value).filter(|number| range.contains(number)) {
            return number;
        }
        let message =
            format!("`{}` is no number from {} to {}", quote(&attribute.value), range.start(), range.end());
        self.warning(&attribute.place(), message, &format!("write one; {default} is used instead"));
        default
    }

    /// The `expression`s of the children `name` of `parent`, as bytes with their places.
    pub(super) fn expressions(&mut self, parent: &Element, name: &str) -> Vec<(Vec<u8>, Span)> {
        let mut found = Vec::new();
        for child in parent.children(name) {
            let Some(attribute) =
                child.attribute("expression").filter(|attribute| !attribute.value.is_empty())
            else {
                let message = format!("`<{name}>` has no expression; it is ignored");
                self.warning(&child.span, message, &format!("write <{name} expression=\"…\"/>"));
                continue;
            };
            let bytes = self.encoding.bytes(&attribute.value);
            let before = self.filter_bytes;
            self.filter_bytes = before.saturating_add(bytes.len());
            if before <= MAX_FILTER_BYTES && self.filter_bytes > MAX_FILTER_BYTES {
                let message = format!("all expressions together are longer than {MAX_FILTER_BYTES} bytes");
                self.error(&child.span, message, "leave some out, or write shorter ones");
            }
            if self.filter_bytes <= MAX_FILTER_BYTES {
                found.push((bytes, attribute.span.clone()));
            }
        }
        found
    }

    /// An absolute path, for a file that other programs open.
    pub(super) fn absolute(&mut self, attribute: &Attribute) -> Option<OsString> {
        self.absolute_as(attribute, "/path/of/the/file")
    }

    /// An absolute path, with an example of one for whoever wrote another.
    pub(super) fn absolute_as(&mut self, attribute: &Attribute, example: &str) -> Option<OsString> {
        let path = self.os(attribute);
        if attribute.value.contains(|c: char| c.is_ascii_control()) {
            self.problem(&attribute.place(), "control characters cannot stand here", "write it on one line");
            return None;
        }
        if !Path::new(&path).is_absolute() {
            let help = format!("write {}=\"{example}\"", attribute.name);
            self.problem(&attribute.place(), "the path is not absolute", &help);
            return None;
        }
        Some(path)
    }

    /// A host name or address that rsync and ssh will take for nothing else.
    pub(super) fn host(&mut self, attribute: &Attribute) -> Option<String> {
        match host(&attribute.value) {
            Ok(host) if self.encoding == Encoding::Utf8 || host.is_ascii() => Some(host.to_owned()),
            Ok(_) => self.text(attribute),
            Err(help) => {
                let message = format!("`{}` is no host name or address", quote(&attribute.value));
                self.problem(&attribute.place(), message, help);
                None
            }
        }
    }
}

/// Why `expression` is no regular expression for whole names.
pub(super) fn bad_expression(expression: &FilterExpression) -> Option<String> {
    Filter::new(std::slice::from_ref(expression)).err().map(|error| error.to_string())
}

fn number(text: &str) -> Option<u32> {
    let digits = text.trim();
    digits.bytes().all(|byte| byte.is_ascii_digit()).then(|| digits.parse().ok()).flatten()
}

/// The address in `text`, without brackets; or what is wrong with it.
pub(super) fn host(text: &str) -> Result<&str, &'static str> {
    const ADDRESS: &str = "write an IPv6 address as `fe80::1`, and a port as port=\"…\"";
    const NAME: &str = "letters, digits, `.`, `-` and `_` were expected; an address may also hold `:`";
    if text.contains('@') {
        return Err("write the user as user=\"…\"");
    }
    let inner = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    if inner.is_some() || text.contains(':') {
        let address = inner.unwrap_or(text);
        let (number, zone) = address.split_once('%').unwrap_or((address, "0"));
        let is_zone = !zone.is_empty()
            && zone.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte));
        return if is_zone && number.parse::<Ipv6Addr>().is_ok() { Ok(address) } else { Err(ADDRESS) };
    }
    let is_name = |c: char| c.is_alphanumeric() || "._-".contains(c);
    if text.is_empty() || text.len() > 255 || text.starts_with('-') || !text.chars().all(is_name) {
        return Err(NAME);
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts() {
        for (text, expected) in [
            ("127.0.0.1", "127.0.0.1"),
            ("web_1.example-2.org", "web_1.example-2.org"),
            ("::1", "::1"),
            ("[fe80::1%eth0]", "fe80::1%eth0"),
            ("例え.jp", "例え.jp"),
        ] {
            assert_eq!(host(text), Ok(expected), "{text}");
        }
        let long = "a".repeat(256);
        for text in [
            "", "-e", "a b", "a/b", "u@h", "h:873", "[h]", "[::1", "::1]", "fe80::1%", "a\u{7f}", "a\nb",
            "a;b", "[]", &long,
        ] {
            assert!(host(text).is_err(), "{text}");
        }
    }

    #[test]
    fn numbers() {
        for (text, expected) in
            [("60", Some(60)), (" 60 ", Some(60)), ("060", Some(60)), ("", None), ("+6", None)]
        {
            assert_eq!(number(text), expected, "{text}");
        }
        assert_eq!(number("4294967296"), None);
    }
}
