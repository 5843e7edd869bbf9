//! The tree of a config file into the [`Config`] model.
//!
//! This module and its children are the only place that knows element and attribute names.
//! What is missing takes the value of the original's own file; what is wrong is reported,
//! all of it at once.

mod durability;
mod limits;
mod logs;
mod names;
mod page;
mod plugins;
mod remote;
mod rsync;
mod sharing;
mod status;
mod trees;
mod url;
mod values;

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;

use super::diagnostic::{Diagnostic, Severity, quote};
use super::params::Deletions;
use super::xml::{self, Attribute, Element};
use super::{
    Config, Crontab, FailLog, FilterExpression, PluginName, Privileges, Switches, Tree, WatcherKind,
};
use crate::confine::Demand;
pub use names::closest;
use values::{Reader, bad_expression};

/// Minutes between full syncs when nothing usable is said.
const DEFAULT_SCHEDULE: u32 = 600;
/// Minutes between retry sweeps when nothing usable is said.
const DEFAULT_RETRY: u32 = 60;
/// A year, in minutes.
const MAX_MINUTES: u32 = 525_600;
const DEFAULT_FAIL_LOG: &str = "/tmp/rsync_fail_log.sh";
/// For how long an rsync waits that was started ahead, and the longest such time, in seconds.
const WARM_IDLE: u32 = 60;
const MAX_WARM_IDLE: u32 = 3600;
/// First uid that is no system account on common distributions.
const MIN_UID: u32 = 1000;
/// 64 uids from here on still leave out the highest one, which means "no user".
const MAX_UID: u32 = u32::MAX - 64;

/// What reading a config file gave.
#[derive(Debug)]
pub struct Parsed {
    /// The config; `None` when one of the diagnostics is an error.
    pub config: Option<Config>,
    /// What could be read of it all the same, also where there is an error: for looking at, never to
    /// be run. `None` where the file is no config at all.
    pub draft: Option<Config>,
    /// All that is wrong, in the order of the file.
    pub diagnostics: Vec<Diagnostic>,
    /// The text that the diagnostics point into.
    pub text: String,
}

/// Reads a whole config file, to mirror. Nothing in it is looked up on the system.
pub fn parse(source: &[u8]) -> Parsed {
    parse_for(source, Purpose::Mirror)
}

/// Reads a config file for one plugin that runs without any mirroring (`-m`).
///
/// Only the plugin's own block and the general part count; `<remote>`, `<rsync>`, `<failLog>` and
/// `<crontab>` are not looked at. The one tree of the config is the plugin's `watch`, for `command`
/// that of the first `<localpath>`, and has no remotes.
pub fn parse_for_plugin(source: &[u8], name: PluginName) -> Parsed {
    parse_for(source, Purpose::Plugin(name))
}

/// What a config file is read for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Purpose {
    /// To mirror.
    Mirror,
    /// To run one plugin, and nothing else.
    Plugin(PluginName),
}

fn parse_for(source: &[u8], purpose: Purpose) -> Parsed {
    let (text, encoding) = match xml::decode(source) {
        Ok(decoded) => decoded,
        Err(problem) => {
            return Parsed { config: None, draft: None, diagnostics: vec![problem], text: String::new() };
        }
    };
    let tree = match xml::tree(&text) {
        Ok(tree) => tree,
        Err(problem) => return Parsed { config: None, draft: None, diagnostics: vec![problem], text },
    };
    if tree.root.name != names::HEAD.name {
        let message = format!("the file is about `<{}>`", quote(&tree.root.name));
        let problem = Diagnostic::error(tree.root.span, message).with_help("`<head>` was expected");
        return Parsed { config: None, draft: None, diagnostics: vec![problem], text };
    }
    let mut reader = Reader::new(encoding);
    names::check(&tree, &mut reader.problems);
    let general = reader.general(&tree.root);
    let config = match purpose {
        Purpose::Mirror => reader.mirror(&tree.root, general),
        Purpose::Plugin(name) => reader.plugin_alone(&tree.root, name, general),
    };
    let mut diagnostics = reader.problems;
    diagnostics.sort_by_key(|diagnostic| diagnostic.span.start);
    let is_usable = diagnostics.iter().all(|diagnostic| diagnostic.severity != Severity::Error);
    let (config, draft) = if is_usable { (Some(config.clone()), Some(config)) } else { (None, Some(config)) };
    Parsed { config, draft, diagnostics, text }
}

impl Reader {
    /// What counts for every purpose; nothing is watched yet.
    fn general(&mut self, head: &Element) -> Config {
        let sandbox = self.switch(head.child("sandbox"), "start").unwrap_or(true);
        Config {
            host: self.host_element(head.child("host")),
            debug: self.is_on(head.child("debug")),
            xfs: self.switch(head.child("fileSystem"), "xfs").unwrap_or(false),
            filter: self.filter(head.child("filter")),
            switches: self.switches(head.child("inotify")),
            watcher: self.watcher(head.child("inotify")),
            delete_guard: self
                .delete_guard(head.child("inotify").and_then(|inotify| inotify.child("delete"))),
            trees: Vec::new(),
            rsync_program: None,
            fail_log: FailLog { path: None, minutes: DEFAULT_RETRY },
            crontab: None,
            verify: None,
            sync_excludes: Vec::new(),
            plugins_on: Vec::new(),
            plugins: Vec::new(),
            privileges: self.privileges(head.child("privileges")),
            limits: self.limits(head),
            sandbox,
            warm: self.warm(head, sandbox),
            sharing: self.sharing(head),
            state: self.state(head.child("state")),
            status: self.status(head.child("status")),
            log: self.log(head.child("log")),
        }
    }

    /// Unless said, off without a sandbox: that is for a wrapper in place of rsync, and what it decides
    /// or notes is to be of the moment of the change, not of one before it.
    fn warm(&mut self, head: &Element, sandbox: bool) -> Option<u32> {
        let warm = head.child("warm");
        let on = self.switch(warm, "start").unwrap_or(sandbox);
        let idle = warm.and_then(|warm| warm.attribute("idle"));
        let idle = idle.and_then(|idle| self.number(idle, &(1..=MAX_WARM_IDLE))).unwrap_or(WARM_IDLE);
        on.then_some(idle)
    }

    fn mirror(&mut self, head: &Element, general: Config) -> Config {
        let sersync = head.child("sersync");
        let part = |name| sersync.and_then(|sersync| sersync.child(name));
        let deletions = if general.switches.delete { Deletions::On } else { Deletions::Off };
        let crontab = part("crontab");
        let (plugins_on, plugins) = self.plugins(head, sersync);
        let rsync = self.rsync(part("rsync"), deletions);
        let trees = self.trees(sersync, &head.span, &rsync);
        self.log_outside(head.child("log"), &general.log, &trees);
        Config {
            trees,
            rsync_program: self.rsync_program(part("rsync")),
            fail_log: self.fail_log(part("failLog")),
            crontab: self.crontab(crontab),
            verify: self.verify(part("verify")),
            sync_excludes: self.sync_excludes(crontab.and_then(|crontab| crontab.child("crontabfilter"))),
            plugins_on,
            plugins,
            ..general
        }
    }

    fn plugin_alone(&mut self, head: &Element, name: PluginName, general: Config) -> Config {
        let plugin = self.only_plugin(head, name);
        let own_root = plugin.as_ref().and_then(|plugin| plugin.kind.watch().cloned());
        let tree = match own_root {
            Some(watch) => Some(Tree { watch, remotes: Vec::new() }),
            None if name == PluginName::Command => self.first_tree(head.child("sersync"), &head.span),
            // What is wrong with its block has been said.
            None => None,
        };
        let (trees, plugins) = (tree.into_iter().collect(), plugin.into_iter().collect());
        Config { trees, plugins_on: vec![name], plugins, ..general }
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

    /// `auto` never takes what needs `CAP_SYS_ADMIN`: that is the operator's to choose.
    fn watcher(&mut self, inotify: Option<&Element>) -> WatcherKind {
        let Some(attribute) = inotify.and_then(|inotify| inotify.attribute("watcher")) else {
            return WatcherKind::default();
        };
        match attribute.value.as_str() {
            "inotify" | "auto" => WatcherKind::Inotify,
            "fanotify" => WatcherKind::Fanotify,
            other => {
                let message = format!("`{}` is none of `inotify`, `auto` and `fanotify`", quote(other));
                let help = "`inotify`: a watch for each directory; `fanotify`: a mark on the filesystem, with CAP_SYS_ADMIN";
                self.problem(&attribute.place(), message, help);
                WatcherKind::default()
            }
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
        let given = |name| privileges.and_then(|privileges| privileges.attribute(name));
        Privileges {
            first_uid: given("firstUid").and_then(|uid| self.number(uid, &(MIN_UID..=MAX_UID))),
            read_all: self.switch(privileges, "readAll").unwrap_or(true),
            sandbox: given("sandbox").and_then(|demand| self.demand(demand)),
        }
    }

    /// No word but these two: a misspelt `required` must not become something less.
    fn demand(&mut self, attribute: &Attribute) -> Option<Demand> {
        match attribute.value.as_str() {
            "required" => Some(Demand::Required),
            "best-effort" => Some(Demand::BestEffort),
            other => {
                let message = format!("`{}` is neither `required` nor `best-effort`", quote(other));
                let help = "`required`: nothing starts without all of the sandbox; `best-effort`: a warning";
                self.problem(&attribute.place(), message, help);
                None
            }
        }
    }
}

#[cfg(test)]
mod tests;
#[cfg(test)]
mod tests_durability;
#[cfg(test)]
mod tests_limits;
#[cfg(test)]
mod tests_logs;
#[cfg(test)]
mod tests_page;
#[cfg(test)]
mod tests_plugins;
#[cfg(test)]
mod tests_remote;
#[cfg(test)]
mod tests_sharing;
#[cfg(test)]
mod tests_shown;
#[cfg(test)]
mod tests_status;
