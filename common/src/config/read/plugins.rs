//! `<plugin>`: the switch in `<sersync>`, and the blocks below `<head>`.
//!
//! What is wrong with the block of a plugin that is on is an error. What is wrong with the
//! others is a warning, and they are left out.

mod kinds;

use super::super::diagnostic::{Severity, quote};
use super::super::xml::{Attribute, Element, Span};
use super::super::{Call, Format, Plugin, PluginKind, PluginName};
use super::names::closest;
use super::trees::normal;
use super::values::Reader;

const NAMES: &str = "the plugins are refreshCDN, socket, http and command";
const SWITCH: &str = "<plugin start=\"true\" name=\"socket\"/>";
/// Seconds that one call may take when nothing is said.
const DEFAULT_TIMEOUT: u32 = 60;
const MAX_TIMEOUT: u32 = 3600;
/// Longest account name, in bytes: that of useradd.
const MAX_ACCOUNT: usize = 32;

impl Reader {
    /// The plugins that are on and fit to run, and every block that could be used.
    pub(super) fn plugins(
        &mut self,
        head: &Element,
        sersync: Option<&Element>,
    ) -> (Vec<PluginName>, Vec<Plugin>) {
        let switch = sersync.and_then(|sersync| sersync.child("plugin"));
        let chosen = match switch.filter(|switch| self.is_on(Some(switch))) {
            Some(switch) => self.chosen(head, switch),
            None => Vec::new(),
        };
        let mut fit = Vec::new();
        let mut plugins = Vec::new();
        for (name, block) in self.blocks(head) {
            let is_on = chosen.contains(&name);
            self.severity = if is_on { Severity::Error } else { Severity::Warning };
            let Some(plugin) = self.block(name, block) else { continue };
            self.severity = Severity::Warning;
            if is_on && self.is_fit(&plugin, block) {
                self.compare_watch(block, sersync);
                fit.push(name);
            }
            plugins.push(plugin);
        }
        self.severity = Severity::Error;
        (chosen.into_iter().filter(|name| fit.contains(name)).collect(), plugins)
    }

    /// The plugin `name` alone, which must be there and be fit to run.
    pub(super) fn only_plugin(&mut self, head: &Element, name: PluginName) -> Option<Plugin> {
        self.severity = Severity::Error;
        let Some(block) = first_block(head, name) else {
            let message = format!("there is no block for the plugin `{}`", name.as_str());
            self.error(&head.span, message, &block_example(name));
            return None;
        };
        let plugin = self.block(name, block)?;
        self.is_fit(&plugin, block).then_some(plugin)
    }

    /// Whether the plugin would not execute what was uploaded. Otherwise that is reported.
    fn is_fit(&mut self, plugin: &Plugin, block: &Element) -> bool {
        let PluginKind::Command(command) = &plugin.kind else { return true };
        if !command.runs_what_changed() {
            return true;
        }
        let prefix = block.child("param").and_then(|param| param.attribute("prefix"));
        let place = prefix.map_or_else(|| block.span.clone(), Attribute::place);
        let message =
            format!("`{}` would execute each changed file", quote(&shell_words::join(&command.prefix)));
        let advice = "name a program that takes the path as its argument, or set allowShell=\"true\"";
        let help = match self.severity {
            Severity::Error => advice.to_owned(),
            Severity::Warning => format!("{advice}; the plugin stays off, mirroring goes on"),
        };
        self.problem(&place, message, &help);
        false
    }

    /// A plugin brings its own root, and that is easily overlooked.
    fn compare_watch(&mut self, block: &Element, sersync: Option<&Element>) {
        let watch = block.child("localpath").and_then(|localpath| localpath.attribute("watch"));
        let Some(watch) = watch else { return };
        let roots = self.roots(sersync);
        if !roots.is_empty() && !roots.contains(&normal(&self.os(watch))) {
            let message =
                "the plugin's watch takes the place of the first <localpath watch> (as in sersync 2.5.4)";
            self.warning(&watch.span, message, "write the same directory in both");
        }
    }

    /// The plugins that the switch in `<sersync>` names, in order, each once.
    fn chosen(&mut self, head: &Element, switch: &Element) -> Vec<PluginName> {
        let Some(attribute) = self.required(Some(switch), "name", &switch.span, SWITCH) else {
            return Vec::new();
        };
        let words = attribute.value.split(|c: char| c.is_whitespace() || c == ',');
        let words: Vec<&str> = words.filter(|word| !word.is_empty()).collect();
        if words.is_empty() {
            self.error(&attribute.place(), "`name` names no plugin", NAMES);
        }
        let mut chosen = Vec::new();
        for word in words {
            match self.choice(head, word, &attribute.place_of(word)) {
                Some(name) if !chosen.contains(&name) => chosen.push(name),
                Some(_) | None => {}
            }
        }
        chosen
    }

    fn choice(&mut self, head: &Element, word: &str, place: &Span) -> Option<PluginName> {
        let Some(name) = PluginName::from_name(word) else {
            self.error(place, format!("there is no plugin `{}`", quote(word)), NAMES);
            return None;
        };
        if first_block(head, name).is_none() {
            let message = format!("the plugin `{}` is on, but there is no block for it", name.as_str());
            self.error(place, message, &block_example(name));
        }
        Some(name)
    }

    /// The first block of each plugin; those that nobody can mean are reported.
    fn blocks<'a>(&mut self, head: &'a Element) -> Vec<(PluginName, &'a Element)> {
        let mut blocks: Vec<(PluginName, &Element)> = Vec::new();
        for block in head.children("plugin") {
            let Some(name) = self.block_name(block) else { continue };
            if blocks.iter().any(|(earlier, _)| *earlier == name) {
                let message = format!("another block of the plugin `{}`; it is ignored", name.as_str());
                self.warning(&block.span, message, "only the first one counts");
            } else {
                blocks.push((name, block));
            }
        }
        blocks
    }

    fn block_name(&mut self, block: &Element) -> Option<PluginName> {
        let Some(attribute) = block.attribute("name") else {
            self.warning(&block.span, "this plugin has no name; it is ignored", NAMES);
            return None;
        };
        let name = PluginName::from_name(&attribute.value);
        if name.is_none() {
            let message = format!("there is no plugin `{}`; this block is ignored", quote(&attribute.value));
            let close = closest(&attribute.value, PluginName::ALL.into_iter().map(PluginName::as_str));
            let help = close.map_or(NAMES.to_owned(), |close| format!("did you mean `{close}`?"));
            self.warning(&attribute.span, message, &help);
        }
        name
    }

    fn block(&mut self, name: PluginName, block: &Element) -> Option<Plugin> {
        let user = block.attribute("user").map(|user| self.account(user).ok_or(())).transpose();
        let call = self.call(name, block);
        let kind = match name {
            PluginName::Command => self.command(block).map(PluginKind::Command),
            PluginName::Socket => self.socket(block).map(PluginKind::Socket),
            PluginName::Http => self.http(block).map(PluginKind::Http),
            PluginName::RefreshCdn => self.refresh_cdn(block).map(PluginKind::RefreshCdn),
        };
        if let Some(shell) = block.attribute("allowShell").filter(|_| name != PluginName::Command) {
            let message = "`allowShell` counts only for the plugin `command`";
            self.warning(&shell.name_span, message, "leave it out");
        }
        Some(Plugin { user: user.ok()?, call: call?, kind: kind? })
    }

    fn call(&mut self, name: PluginName, block: &Element) -> Option<Call> {
        let batch = self.switch(Some(block), "batch").unwrap_or(false);
        let format = block.attribute("format");
        let timeout = block.attribute("timeout");
        let timeout = timeout.map(|timeout| self.number(timeout, &(1..=MAX_TIMEOUT)).ok_or(())).transpose();
        if let Some(format) = format.filter(|format| name == PluginName::RefreshCdn && format.value == "json")
        {
            self.warning(&format.span, "refreshCDN has only the format of its CDN", "leave `format` out");
        }
        let format = match format {
            Some(format) => self.format(format)?,
            None => Format::Original,
        };
        Some(Call { batch, format, timeout: timeout.ok()?.unwrap_or(DEFAULT_TIMEOUT) })
    }

    fn format(&mut self, attribute: &Attribute) -> Option<Format> {
        match attribute.value.as_str() {
            "text" => Some(Format::Original),
            "json" => Some(Format::Json),
            other => {
                let message = format!("there is no format `{}`", quote(other));
                self.problem(&attribute.place(), message, "write `text` or `json`");
                None
            }
        }
    }

    /// The account that a plugin runs under. Whether it exists is looked up at start.
    fn account(&mut self, attribute: &Attribute) -> Option<String> {
        let name = &attribute.value;
        let may_stand = |byte: u8| byte.is_ascii_alphanumeric() || b"._-$".contains(&byte);
        if name.is_empty()
            || name.len() > MAX_ACCOUNT
            || name.starts_with('-')
            || !name.bytes().all(may_stand)
        {
            let message = format!("`{}` is no account name", quote(name));
            let help = "letters, digits, `.`, `_`, `-` and `$` were expected, at most 32";
            self.problem(&attribute.place(), message, help);
            return None;
        }
        if name == "root" || name.bytes().all(|byte| byte == b'0') {
            let help = "create an account for it, or leave `user` out: then it has a user id of its own";
            self.problem(&attribute.span, "a plugin does not run as root", help);
            return None;
        }
        Some(name.clone())
    }
}

fn first_block(head: &Element, name: PluginName) -> Option<&Element> {
    head.children("plugin").find(|block| block.attribute("name").is_some_and(|it| it.value == name.as_str()))
}

fn block_example(name: PluginName) -> String {
    format!("write <plugin name=\"{}\"> below <head>", name.as_str())
}

/// What people from Perl miss.
pub(super) const REGEX: &str = "regular expressions are those of the Rust crate `regex`: Perl's, without look-around and back-references";
