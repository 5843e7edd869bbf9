//! `<plugin>`: the switch in `<sersync>`, and the blocks below `<head>`.
//!
//! What is wrong with the block of the plugin that is on is an error. What is wrong with the
//! others is a warning, and they are left out.

use regex::bytes::RegexBuilder;

use super::super::diagnostic::{Severity, quote};
use super::super::xml::{Attribute, Element};
use super::super::{
    CommandPlugin, FilterExpression, HttpPlugin, PluginBlock, PluginName, RefreshCdnPlugin, SocketPlugin,
};
use super::names::closest;
use super::values::{Reader, bad_expression};

const WATCH: &str = "<localpath watch=\"/directory\">";
const NAMES: &str = "the plugins are refreshCDN, socket, http and command";
/// Memory that a compiled expression may take, in bytes.
const SIZE_LIMIT: usize = 1 << 20;

impl Reader {
    /// The plugin that is on, and every block that could be used.
    pub(super) fn plugins(
        &mut self,
        head: &Element,
        sersync: Option<&Element>,
    ) -> (Option<PluginName>, Vec<PluginBlock>) {
        let switch = sersync.and_then(|sersync| sersync.child("plugin"));
        let on =
            switch.filter(|switch| self.is_on(Some(switch))).and_then(|switch| self.chosen(head, switch));
        let mut seen = Vec::new();
        let mut blocks = Vec::new();
        for block in head.children("plugin") {
            let Some(name) = self.block_name(block) else { continue };
            if seen.contains(&name) {
                let message = format!("another block of the plugin `{}`; it is ignored", name.as_str());
                self.warning(&block.span, message, "only the first one counts");
                continue;
            }
            seen.push(name);
            self.severity = if on == Some(name) { Severity::Error } else { Severity::Warning };
            blocks.extend(self.block(name, block));
        }
        self.severity = Severity::Error;
        (on, blocks)
    }

    fn chosen(&mut self, head: &Element, switch: &Element) -> Option<PluginName> {
        let name =
            self.required(Some(switch), "name", &switch.span, "<plugin start=\"true\" name=\"socket\"/>")?;
        let Some(plugin) = PluginName::from_name(&name.value) else {
            self.error(&name.span, format!("there is no plugin `{}`", quote(&name.value)), NAMES);
            return None;
        };
        let is_block =
            |block: &Element| block.attribute("name").is_some_and(|it| it.value == plugin.as_str());
        if !head.children("plugin").any(is_block) {
            let message = format!("the plugin `{}` is on, but there is no block for it", plugin.as_str());
            let help = format!("write <plugin name=\"{}\"> below <head>", plugin.as_str());
            self.error(&name.span, message, &help);
        }
        Some(plugin)
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

    fn block(&mut self, name: PluginName, block: &Element) -> Option<PluginBlock> {
        match name {
            PluginName::Command => self.command(block).map(PluginBlock::Command),
            PluginName::Socket => self.socket(block).map(PluginBlock::Socket),
            PluginName::Http => self.http(block).map(PluginBlock::Http),
            PluginName::RefreshCdn => self.refresh_cdn(block).map(PluginBlock::RefreshCdn),
        }
    }

    fn command(&mut self, block: &Element) -> Option<CommandPlugin> {
        let param = block.child("param");
        let example = "<param prefix=\"/program\" suffix=\"\" ignoreError=\"true\"/>";
        let prefix =
            self.required(param, "prefix", &block.span, example).and_then(|prefix| self.words(prefix));
        let suffix = match param.and_then(|param| param.attribute("suffix")) {
            Some(suffix) => self.words(suffix),
            None => Some(String::new()),
        };
        let ignore_error = self.switch(param, "ignoreError").unwrap_or(false);
        let filter = block.child("filter");
        let is_filtered = self.is_on(filter);
        let mut include = Vec::new();
        for (bytes, span) in filter
            .filter(|_| is_filtered)
            .map(|filter| self.expressions(filter, "include"))
            .unwrap_or_default()
        {
            let expression = FilterExpression(bytes);
            if let Some(why) = bad_expression(&expression) {
                self.problem(&span, format!("this is no regular expression: {why}"), REGEX);
                return None;
            }
            include.push(expression);
        }
        Some(CommandPlugin { prefix: prefix?, suffix: suffix?, ignore_error, include })
    }

    /// Text that will be split into words like a shell does it.
    fn words(&mut self, attribute: &Attribute) -> Option<String> {
        let text = self.text(attribute)?;
        if shell_words::split(&text).is_err() {
            let help = "the value is split into words as a shell does it";
            self.problem(&attribute.span, "a quote is opened and never closed", help);
            return None;
        }
        Some(text)
    }

    fn socket(&mut self, block: &Element) -> Option<SocketPlugin> {
        let localpath = block.child("localpath");
        let target = localpath.and_then(|localpath| localpath.child("deshost"));
        let example = "<deshost ip=\"host\" port=\"8009\"/>";
        let watch = self.required(localpath, "watch", &block.span, WATCH);
        let host = self.required(target, "ip", &block.span, example).and_then(|host| self.host(host));
        let port = self.required(target, "port", &block.span, example).and_then(|port| self.port(port));
        Some(SocketPlugin { watch: self.watch(watch?), host: host?, port: port? })
    }

    fn http(&mut self, block: &Element) -> Option<HttpPlugin> {
        let localpath = block.child("localpath");
        let target = localpath.and_then(|localpath| localpath.child("deshost"));
        let example = "<deshost url=\"http://host/path\" port=\"80\"/>";
        let watch = self.required(localpath, "watch", &block.span, WATCH);
        let url = self.required(target, "url", &block.span, example).and_then(|url| self.text(url));
        let port = self.required(target, "port", &block.span, example).and_then(|port| self.port(port));
        Some(HttpPlugin { watch: self.watch(watch?), url: url?, port: port? })
    }

    fn refresh_cdn(&mut self, block: &Element) -> Option<RefreshCdnPlugin> {
        let localpath = block.child("localpath");
        let child = |name| localpath.and_then(|localpath| localpath.child(name));
        let info = child("cdninfo");
        let example = "<cdninfo domainname=\"host\" port=\"80\" username=\"…\" passwd=\"…\"/>";
        let base_example = "<sendurl base=\"http://host/path\"/>";
        let span = &block.span;
        let watch = self.required(localpath, "watch", span, WATCH);
        let domain = self.required(info, "domainname", span, example).and_then(|domain| self.host(domain));
        let port = self.required(info, "port", span, example).and_then(|port| self.port(port));
        let user = self.required(info, "username", span, example).and_then(|user| self.text(user));
        let password = self.required(info, "passwd", span, example).and_then(|password| self.text(password));
        let base =
            self.required(child("sendurl"), "base", span, base_example).and_then(|base| self.text(base));
        let pattern = match self.switch(child("regexurl"), "regex") {
            Some(true) => Some(self.url_pattern(block, child("regexurl"))?),
            Some(false) | None => None,
        };
        Some(RefreshCdnPlugin {
            watch: self.watch(watch?),
            domain: domain?,
            port: port?,
            user: user?,
            password: password?,
            base: base?,
            pattern,
        })
    }

    /// An expression that is searched for, and whose first group makes the URL.
    fn url_pattern(&mut self, block: &Element, regexurl: Option<&Element>) -> Option<FilterExpression> {
        let example = "<regexurl regex=\"true\" match=\"site([/a-z]*)\"/>";
        let attribute = self.required(regexurl, "match", &block.span, example)?;
        let text = self.text(attribute)?;
        let built = RegexBuilder::new(&text).size_limit(SIZE_LIMIT).dfa_size_limit(SIZE_LIMIT).build();
        match built {
            Ok(regex) if regex.captures_len() > 1 => return Some(FilterExpression(text.into_bytes())),
            Ok(_) => {
                let message = "the expression has no group; the first group makes the URL";
                self.problem(&attribute.span, message, &format!("write {example}"));
            }
            Err(error) => {
                let text = error.to_string();
                let why = text.lines().last().unwrap_or(&text).trim_start_matches("error: ");
                self.problem(&attribute.span, format!("this is no regular expression: {why}"), REGEX);
            }
        }
        None
    }
}

/// What people from Perl miss.
pub(super) const REGEX: &str = "regular expressions are those of the Rust crate `regex`: Perl's, without look-around and back-references";
