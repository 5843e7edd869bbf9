//! The tree of a config file into the [`Config`] model.
//!
//! This module and its children are the only place that knows element and attribute names.
//! What is missing takes the value of the original's own file; what is wrong is reported,
//! all of it at once.

mod names;
mod plugins;
mod rsync;
mod trees;
mod values;

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;

use super::diagnostic::{Diagnostic, Severity, quote};
use super::params::Deletions;
use super::xml::{self, Element};
use super::{Config, Crontab, FailLog, FilterExpression, Host, Privileges, Switches};
use values::{Reader, bad_expression};

/// Minutes between full syncs when nothing usable is said.
const DEFAULT_SCHEDULE: u32 = 600;
/// Minutes between retry sweeps when nothing usable is said.
const DEFAULT_RETRY: u32 = 60;
/// A year, in minutes.
const MAX_MINUTES: u32 = 525_600;
const DEFAULT_FAIL_LOG: &str = "/tmp/rsync_fail_log.sh";
const DEFAULT_HOST_PORT: u16 = 8008;
/// First uid that is no system account on common distributions.
const MIN_UID: u32 = 1000;
/// 64 uids from here on still leave out the highest one, which means "no user".
const MAX_UID: u32 = u32::MAX - 64;

/// What reading a config file gave.
#[derive(Debug)]
pub struct Parsed {
    /// The config; `None` when one of the diagnostics is an error.
    pub config: Option<Config>,
    /// All that is wrong, in the order of the file.
    pub diagnostics: Vec<Diagnostic>,
    /// The text that the diagnostics point into.
    pub text: String,
}

/// Reads a whole config file. Nothing in it is looked up on the system.
pub fn parse(source: &[u8]) -> Parsed {
    let (text, encoding) = match xml::decode(source) {
        Ok(decoded) => decoded,
        Err(problem) => return Parsed { config: None, diagnostics: vec![problem], text: String::new() },
    };
    let tree = match xml::tree(&text) {
        Ok(tree) => tree,
        Err(problem) => return Parsed { config: None, diagnostics: vec![problem], text },
    };
    if tree.root.name != names::HEAD.name {
        let message = format!("the file is about `<{}>`", quote(&tree.root.name));
        let problem = Diagnostic::error(tree.root.span, message).with_help("`<head>` was expected");
        return Parsed { config: None, diagnostics: vec![problem], text };
    }
    let mut reader = Reader::new(encoding);
    names::check(&tree, &mut reader.problems);
    let config = reader.config(&tree.root);
    let mut diagnostics = reader.problems;
    diagnostics.sort_by_key(|diagnostic| diagnostic.span.start);
    let is_usable = diagnostics.iter().all(|diagnostic| diagnostic.severity != Severity::Error);
    Parsed { config: is_usable.then_some(config), diagnostics, text }
}

impl Reader {
    fn config(&mut self, head: &Element) -> Config {
        let sersync = head.child("sersync");
        let part = |name| sersync.and_then(|sersync| sersync.child(name));
        let switches = self.switches(head.child("inotify"));
        let deletions = if switches.delete { Deletions::On } else { Deletions::Off };
        let crontab = part("crontab");
        let (plugin, plugins) = self.plugins(head, sersync);
        Config {
            host: self.host_element(head.child("host")),
            debug: self.is_on(head.child("debug")),
            xfs: self.switch(head.child("fileSystem"), "xfs").unwrap_or(false),
            filter: self.filter(head.child("filter")),
            switches,
            trees: self.trees(sersync, &head.span),
            rsync: self.rsync(part("rsync"), deletions),
            fail_log: self.fail_log(part("failLog")),
            crontab: self.crontab(crontab),
            sync_excludes: self.sync_excludes(crontab.and_then(|crontab| crontab.child("crontabfilter"))),
            plugin,
            plugins,
            privileges: self.privileges(head.child("privileges")),
            warm: self.switch(head.child("warm"), "start").unwrap_or(true),
        }
    }

    fn host_element(&mut self, host: Option<&Element>) -> Host {
        let ip = host.and_then(|host| host.attribute("hostip"));
        let port = self.lenient(host, "port", &(0..=u32::from(u16::MAX)), u32::from(DEFAULT_HOST_PORT));
        Host {
            ip: ip.map_or_else(|| "localhost".to_owned(), |ip| ip.value.clone()),
            port: u16::try_from(port).unwrap_or(DEFAULT_HOST_PORT),
        }
    }

    fn filter(&mut self, filter: Option<&Element>) -> Vec<FilterExpression> {
        let mut expressions = Vec::new();
        let Some(filter) = filter.filter(|filter| self.is_on(Some(filter))) else { return expressions };
        for (bytes, span) in self.expressions(filter, "exclude") {
            let expression = FilterExpression(bytes);
            match bad_expression(&expression) {
                Some(why) => {
                    self.warning(&span, format!("this filter expression is skipped: {why}"), plugins::REGEX);
                }
                None => expressions.push(expression),
            }
        }
        expressions
    }

    fn switches(&mut self, inotify: Option<&Element>) -> Switches {
        let default = Switches::default();
        let mut switch = |name, default| {
            self.switch(inotify.and_then(|inotify| inotify.child(name)), "start").unwrap_or(default)
        };
        Switches {
            delete: switch("delete", default.delete),
            create_folder: switch("createFolder", default.create_folder),
            create_file: switch("createFile", default.create_file),
            close_write: switch("closeWrite", default.close_write),
            move_from: switch("moveFrom", default.move_from),
            move_to: switch("moveTo", default.move_to),
            attrib: switch("attrib", default.attrib),
            modify: switch("modify", default.modify),
            hidden_file: switch("hiddenFile", default.hidden_file),
        }
    }

    fn fail_log(&mut self, fail_log: Option<&Element>) -> FailLog {
        let path = match fail_log.and_then(|fail_log| fail_log.attribute("path")) {
            Some(path) => Some(self.os(path)).filter(|path| !path.is_empty()),
            None => Some(OsString::from(DEFAULT_FAIL_LOG)),
        };
        FailLog { path, minutes: self.lenient(fail_log, "timeToExecute", &(1..=MAX_MINUTES), DEFAULT_RETRY) }
    }

    fn crontab(&mut self, crontab: Option<&Element>) -> Option<Crontab> {
        let on = self.is_on(crontab);
        on.then(|| Crontab {
            minutes: self.lenient(crontab, "schedule", &(1..=MAX_MINUTES), DEFAULT_SCHEDULE),
        })
    }

    fn sync_excludes(&mut self, crontabfilter: Option<&Element>) -> Vec<OsString> {
        let Some(filter) = crontabfilter.filter(|filter| self.is_on(Some(filter))) else { return Vec::new() };
        let patterns = self.expressions(filter, "exclude");
        patterns.into_iter().map(|(bytes, _)| OsString::from_vec(bytes)).collect()
    }

    fn privileges(&mut self, privileges: Option<&Element>) -> Privileges {
        let first_uid = privileges.and_then(|privileges| privileges.attribute("firstUid"));
        Privileges { first_uid: first_uid.and_then(|uid| self.number(uid, &(MIN_UID..=MAX_UID))) }
    }
}

#[cfg(test)]
mod tests;
#[cfg(test)]
mod tests_shown;
