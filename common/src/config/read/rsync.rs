//! `<rsync>`: how the transport is called, for all remotes that say nothing else.
//!
//! What is said here and what a `<remote>` says of its own (`remote.rs`) is read alike.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::Path;

use super::super::diagnostic::{Severity, quote};
use super::super::params::{self, Deletions};
use super::super::xml::{Attribute, Element, Span};
use super::super::{Auth, Ssh};
use super::values::Reader;

/// What the original's file says.
const DEFAULT_PARAMS: &str = "-artuz";
const DEFAULT_PORT: u16 = 874;
const DEFAULT_TIMEOUT: u32 = 100;
const MAX_TIMEOUT: u32 = 1_000_000;

/// `<rsync>`, or the defaults where it says nothing.
#[derive(Debug)]
pub(super) struct Block {
    pub(super) params: Vec<OsString>,
    pub(super) auth: Auth,
    /// Where the password file is said, for when it cannot be used.
    pub(super) password_place: Option<Span>,
    /// `<userDefinedPort>`, when on.
    pub(super) port: Option<u16>,
    /// `<timeout>`, when on, in seconds.
    pub(super) timeout: Option<u32>,
    pub(super) transport: Transport,
    /// Keys for the remotes that use ssh, whether all do or not.
    pub(super) keys: Ssh,
    pub(super) deletions: Deletions,
}

/// How a remote is reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Transport {
    /// It has an rsync daemon.
    Daemon,
    /// Through ssh.
    Ssh,
}

impl Reader {
    /// `<rsync>`, or the defaults where it says nothing.
    pub(super) fn rsync(&mut self, rsync: Option<&Element>, deletions: Deletions) -> Block {
        let child = |name| rsync.and_then(|rsync| rsync.child(name));
        self.severity = Severity::Error;
        let params = match child("commonParams").and_then(|element| element.attribute("params")) {
            Some(attribute) => self.params(attribute, deletions),
            None => vec![OsString::from(DEFAULT_PARAMS)],
        };
        let auth = child("auth").filter(|auth| self.is_on(Some(auth)));
        let given = |name| auth.and_then(|auth| auth.attribute(name)).filter(|given| !given.value.is_empty());
        let (user, password_file) = (given("users"), given("passwordfile"));
        let port = child("userDefinedPort").filter(|element| self.is_on(Some(element))).map(|element| {
            element.attribute("port").and_then(|attribute| self.port(attribute)).unwrap_or(DEFAULT_PORT)
        });
        let timeout = child("timeout").filter(|element| self.is_on(Some(element))).map(|element| {
            let time = element.attribute("time");
            let no_limit = "for no limit write <timeout start=\"false\"/>";
            time.and_then(|time| self.timeout(time, no_limit)).unwrap_or(DEFAULT_TIMEOUT)
        });
        let ssh = child("ssh");
        let key = |name| ssh.and_then(|ssh| ssh.attribute(name)).filter(|given| !given.value.is_empty());
        Block {
            params,
            auth: Auth {
                user: user.and_then(|user| self.user(user)),
                password_file: password_file.map(|file| self.os(file)),
            },
            password_place: password_file.map(Attribute::place),
            port,
            timeout,
            transport: self.transport(ssh, "start").unwrap_or(Transport::Daemon),
            keys: Ssh {
                identity: key("identity").and_then(|identity| self.absolute(identity)),
                known_hosts: key("knownhosts").and_then(|hosts| self.absolute(hosts)),
            },
            deletions,
        }
    }

    /// `program` of `<rsync>`.
    pub(super) fn rsync_program(&mut self, rsync: Option<&Element>) -> Option<OsString> {
        rsync.and_then(|rsync| rsync.attribute("program")).map(|program| self.program(program))
    }

    /// The transport that a switch of `element` chooses; `None` when it is not there.
    pub(super) fn transport(&mut self, element: Option<&Element>, name: &str) -> Option<Transport> {
        let is_ssh = self.switch(element, name)?;
        Some(if is_ssh { Transport::Ssh } else { Transport::Daemon })
    }

    /// Options for rsync, examined. What is wrong has been reported.
    pub(super) fn params(&mut self, attribute: &Attribute, deletions: Deletions) -> Vec<OsString> {
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

    /// A user at a remote.
    pub(super) fn user(&mut self, attribute: &Attribute) -> Option<String> {
        let user = self.text(attribute)?;
        // Any of these would end the user's name where rsync splits user@host::module.
        let splits = |c: char| c.is_whitespace() || "@:/[],".contains(c);
        if user.starts_with('-') || user.contains(splits) {
            let message = format!("`{}` is no user name", quote(&user));
            self.error(&attribute.span, message, "one name was expected, without blanks and `@ : / [ ] ,`");
            return None;
        }
        Some(user)
    }

    /// rsync's `--timeout`, in seconds. Its 0 is no limit, and `no_limit` says how that is written here.
    pub(super) fn timeout(&mut self, attribute: &Attribute, no_limit: &str) -> Option<u32> {
        let value = attribute.value.trim();
        if !value.is_empty() && value.bytes().all(|byte| byte == b'0') {
            return self.number_or(attribute, &(1..=MAX_TIMEOUT), no_limit);
        }
        self.number(attribute, &(1..=MAX_TIMEOUT))
    }

    fn program(&mut self, attribute: &Attribute) -> OsString {
        let program = self.os(attribute);
        if !Path::new(&program).is_absolute() {
            let place = attribute.place();
            self.error(&place, "the path of rsync is not absolute", "write program=\"/usr/bin/rsync\"");
        }
        program
    }
}

/// Where `word` stands in the value; the whole value when quotes or entities hide it.
fn place_of(attribute: &Attribute, word: &str) -> Span {
    let piece = attribute.value.split_whitespace().find(|piece| *piece == word);
    attribute.place_of(piece.unwrap_or(&attribute.value))
}
