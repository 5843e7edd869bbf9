//! `<log>`.
//!
//! What is wrong here is refused, not guessed: a log that nobody finds is none.

use std::path::Path;

use super::super::diagnostic::quote;
use super::super::xml::{Attribute, Element};
use super::super::{LogConfig, LogForm, LogTarget, Tree};
use super::values::Reader;

impl Reader {
    /// `<log>`; to standard error when it is not there.
    pub(super) fn log(&mut self, log: Option<&Element>) -> LogConfig {
        let given =
            |name| log.and_then(|log| log.attribute(name)).filter(|attribute| !attribute.value.is_empty());
        let path = given("path");
        let to = match given("to").map(|to| (to, to.value.as_str())) {
            None | Some((_, "stderr")) => LogTarget::Errors,
            Some((_, "syslog")) => LogTarget::Syslog,
            Some((to, "file")) => self.log_file(to, path),
            Some((to, _)) => self.none_of(to, "write to=\"stderr\", to=\"syslog\" or to=\"file\""),
        };
        if let Some(path) = path.filter(|_| matches!(to, LogTarget::Errors | LogTarget::Syslog)) {
            let message = "`path` is not used: the log goes elsewhere";
            self.warning(&path.place(), message, "write to=\"file\" beside it");
        }
        let form = match given("format").map(|form| (form, form.value.as_str())) {
            None | Some((_, "text")) => LogForm::Text,
            Some((_, "json")) => LogForm::Json,
            Some((form, _)) => self.none_of(form, "write format=\"text\" or format=\"json\""),
        };
        LogConfig { to, form, files: self.switch(log, "files").unwrap_or(false) }
    }

    /// A log that is mirrored itself: each line would be a change that makes the next one.
    pub(super) fn log_outside(&mut self, log: Option<&Element>, config: &LogConfig, trees: &[Tree]) {
        let LogTarget::File(path) = &config.to else { return };
        let is_watched = trees.iter().any(|tree| Path::new(path).starts_with(&tree.watch));
        if let Some(path) = log.and_then(|log| log.attribute("path")).filter(|_| is_watched) {
            let message = "the log lies in a watched directory, and would be mirrored with each of its lines";
            self.problem(&path.place(), message, "name a place outside");
        }
    }

    fn log_file(&mut self, to: &Attribute, path: Option<&Attribute>) -> LogTarget {
        let Some(path) = path else {
            self.problem(
                &to.place(),
                "`to` is a file, and which is not said",
                "write path=\"/path/of/the/log\"",
            );
            return LogTarget::Errors;
        };
        self.absolute(path).map_or(LogTarget::Errors, LogTarget::File)
    }

    fn none_of<T: Default>(&mut self, attribute: &Attribute, cure: &str) -> T {
        let message = format!("`{}` is not known for `{}`", quote(&attribute.value), attribute.name);
        self.problem(&attribute.place(), message, cure);
        T::default()
    }
}
