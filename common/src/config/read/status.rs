//! `<status>`.
//!
//! What is wrong here is refused, not guessed: a misread mode would show the status to everybody, or to
//! nobody.

use super::super::diagnostic::quote;
use super::super::xml::{Attribute, Element};
use super::super::{MAX_SOCKET, StatusConfig};
use super::values::Reader;

/// More than any name of a group has.
const MAX_GROUP: usize = 256;

impl Reader {
    /// `<status>`; on when it is not there.
    pub(super) fn status(&mut self, status: Option<&Element>) -> StatusConfig {
        let given = |name| {
            status.and_then(|status| status.attribute(name)).filter(|attribute| !attribute.value.is_empty())
        };
        let default = StatusConfig::default();
        let config = StatusConfig {
            start: self.switch(status, "start").unwrap_or(true),
            socket: given("socket").and_then(|socket| self.socket_path(socket)),
            mode: given("mode").and_then(|mode| self.mode(mode)).unwrap_or(default.mode),
            group: given("group").and_then(|group| self.group(group)),
        };
        let moot = given("group").or(given("mode").filter(|_| config.mode != default.mode));
        if let (None, Some(attribute)) = (given("socket"), moot) {
            let message =
                format!("`{}` opens nothing: the usual place is a private directory", attribute.name);
            self.warning(
                &attribute.place(),
                message,
                "name another place with socket=\"/path/of/the/socket\"",
            );
        }
        config
    }

    pub(super) fn socket_path(&mut self, attribute: &Attribute) -> Option<std::ffi::OsString> {
        let path = self.absolute(attribute)?;
        if path.len() > MAX_SOCKET {
            let message = format!("the path of a socket has at most {MAX_SOCKET} bytes");
            self.problem(&attribute.place(), message, "put it into /run");
            return None;
        }
        Some(path)
    }

    /// Octal, as chmod takes it.
    pub(super) fn mode(&mut self, attribute: &Attribute) -> Option<u32> {
        let digits = attribute.value.trim();
        let is_octal =
            (3..=4).contains(&digits.len()) && digits.bytes().all(|digit| (b'0'..=b'7').contains(&digit));
        let mode = u32::from_str_radix(digits, 8).ok().filter(|&mode| is_octal && mode <= 0o777);
        if mode.is_none() {
            let message = format!("`{}` is no mode", quote(&attribute.value));
            self.problem(
                &attribute.place(),
                message,
                "write mode=\"0660\": owner, group and others, in octal",
            );
        }
        mode
    }

    pub(super) fn group(&mut self, attribute: &Attribute) -> Option<String> {
        let name = self.text(attribute)?;
        if name.len() > MAX_GROUP || name.contains([':', ' ', ',']) {
            let message = format!("`{}` is no group", quote(&attribute.value));
            self.problem(&attribute.place(), message, "write the name of one group, or its number");
            return None;
        }
        Some(name)
    }
}
