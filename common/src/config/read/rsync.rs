//! `<rsync>`: how the transport is called.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::Path;

use super::super::diagnostic::Severity;
use super::super::params::{self, Deletions};
use super::super::xml::{Attribute, Element, Span};
use super::super::{Auth, RsyncOptions};
use super::values::Reader;

/// What the original's file says.
const DEFAULT_PARAMS: &str = "-artuz";
const DEFAULT_PORT: u16 = 874;
const DEFAULT_TIMEOUT: u32 = 100;
const MAX_TIMEOUT: u32 = 1_000_000;

impl Reader {
    /// `<rsync>`, or the defaults where it says nothing.
    pub(super) fn rsync(&mut self, rsync: Option<&Element>, deletions: Deletions) -> RsyncOptions {
        let child = |name| rsync.and_then(|rsync| rsync.child(name));
        self.severity = Severity::Error;
        let params = match child("commonParams").and_then(|element| element.attribute("params")) {
            Some(attribute) => self.params(attribute, deletions),
            None => vec![OsString::from(DEFAULT_PARAMS)],
        };
        let auth = child("auth").and_then(|element| self.auth(element));
        let port = child("userDefinedPort").filter(|element| self.is_on(Some(element))).map(|element| {
            element.attribute("port").and_then(|attribute| self.port(attribute)).unwrap_or(DEFAULT_PORT)
        });
        let timeout = child("timeout").filter(|element| self.is_on(Some(element))).map(|element| {
            let time = element.attribute("time");
            time.and_then(|time| self.number(time, &(1..=MAX_TIMEOUT))).unwrap_or(DEFAULT_TIMEOUT)
        });
        let ssh = self.is_on(child("ssh"));
        let program = rsync.and_then(|rsync| rsync.attribute("program")).map(|program| self.program(program));
        RsyncOptions { params, auth, port, timeout, ssh, program }
    }

    fn params(&mut self, attribute: &Attribute, deletions: Deletions) -> Vec<OsString> {
        let Ok(words) = shell_words::split(&attribute.value) else {
            let message = "a quote is opened and never closed";
            self.error(&attribute.span, message, "the value is split into words as a shell does it");
            return Vec::new();
        };
        let findings = params::examine(&words, deletions);
        for objection in findings.objections {
            let place = place_of(attribute, &objection.word);
            self.error(&place, objection.message, objection.help);
        }
        if let Some(word) = findings.update {
            let place = place_of(attribute, &word);
            let message = "with `-u` an older file that is moved over a newer one never arrives";
            let help = "for a one-way mirror write -artz; `-u` is for two servers that mirror one another";
            self.warning(&place, message, help);
        }
        words.iter().map(|word| OsString::from_vec(self.encoding.bytes(word))).collect()
    }

    fn auth(&mut self, auth: &Element) -> Option<Auth> {
        if !self.is_on(Some(auth)) {
            return None;
        }
        let given = |name| auth.attribute(name).filter(|attribute| !attribute.value.is_empty());
        let user = given("users").and_then(|user| self.user(user));
        let password_file = given("passwordfile").map(|file| self.os(file));
        (user.is_some() || password_file.is_some()).then_some(Auth { user, password_file })
    }

    fn user(&mut self, attribute: &Attribute) -> Option<String> {
        let user = self.text(attribute)?;
        // Any of these would end the user's name where rsync splits user@host::module.
        let splits = |c: char| c.is_whitespace() || "@:/[],".contains(c);
        if user.starts_with('-') || user.contains(splits) {
            let message = format!("`{}` is no user name", super::super::diagnostic::quote(&user));
            self.error(&attribute.span, message, "one name was expected, without blanks and `@ : / [ ] ,`");
            return None;
        }
        Some(user)
    }

    fn program(&mut self, attribute: &Attribute) -> OsString {
        let program = self.os(attribute);
        if !Path::new(&program).is_absolute() {
            let place = super::values::attribute_place(attribute);
            self.error(&place, "the path of rsync is not absolute", "write program=\"/usr/bin/rsync\"");
        }
        program
    }
}

/// Where `word` stands in the value; the whole value when quotes or entities hide it.
fn place_of(attribute: &Attribute, word: &str) -> Span {
    let whole = attribute.span.clone();
    // Without entities the value has the length that it has in the file.
    if whole.is_empty() || attribute.value.len() != whole.len() {
        return super::values::attribute_place(attribute);
    }
    let mut from = 0;
    for piece in attribute.value.split_inclusive(char::is_whitespace) {
        let start = whole.start.saturating_add(from);
        if piece.trim_end() == word {
            return start..start.saturating_add(word.len());
        }
        from = from.saturating_add(piece.len());
    }
    whole
}
