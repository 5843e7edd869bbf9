//! What stands in the `<plugin>` blocks: one function for each kind of plugin.

use regex::bytes::RegexBuilder;

use super::super::super::diagnostic::quote;
use super::super::super::xml::{Attribute, Element};
use super::super::super::{CommandPlugin, FilterExpression, HttpPlugin, RefreshCdnPlugin, SocketPlugin};
use super::super::trees::LOCALPATH;
use super::super::url::{self, Scheme};
use super::super::values::{Reader, bad_expression};
use super::REGEX;

const DESHOST: &str = "<deshost url=\"http://host/path\"/>";
/// Memory that a compiled expression may take, in bytes.
const SIZE_LIMIT: usize = 1 << 20;
/// Longest user name and password of a CDN, in bytes.
const MAX_SECRET: usize = 256;

impl Reader {
    pub(super) fn command(&mut self, block: &Element) -> Option<CommandPlugin> {
        let param = block.child("param");
        let example = "<param prefix=\"/program\" suffix=\"\" ignoreError=\"true\"/>";
        let prefix = self.required(param, "prefix", &block.span, example);
        let prefix = prefix.and_then(|prefix| self.prefix(prefix, example));
        let suffix = match param.and_then(|param| param.attribute("suffix")) {
            Some(suffix) => self.words(suffix),
            None => Some(Vec::new()),
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
        let allow_shell = self.switch(Some(block), "allowShell").unwrap_or(false);
        Some(CommandPlugin { prefix: prefix?, suffix: suffix?, ignore_error, include, allow_shell })
    }

    /// Text that will be split into words like a shell does it.
    fn words(&mut self, attribute: &Attribute) -> Option<Vec<String>> {
        let text = self.text(attribute)?;
        let Ok(words) = shell_words::split(&text) else {
            let help = "the value is split into words as a shell does it";
            self.problem(&attribute.span, "a quote is opened and never closed", help);
            return None;
        };
        Some(words)
    }

    /// The words of a prefix, the first of which is a program.
    fn prefix(&mut self, attribute: &Attribute, example: &str) -> Option<Vec<String>> {
        let words = self.words(attribute)?;
        if words.first().is_none_or(String::is_empty) {
            self.problem(&attribute.span, "`prefix` names no program", &format!("write {example}"));
            return None;
        }
        Some(words)
    }

    pub(super) fn socket(&mut self, block: &Element) -> Option<SocketPlugin> {
        let localpath = block.child("localpath");
        let target = localpath.and_then(|localpath| localpath.child("deshost"));
        let example = "<deshost ip=\"host\" port=\"8009\"/>";
        let watch = self.required(localpath, "watch", &block.span, LOCALPATH);
        let host = self.required(target, "ip", &block.span, example).and_then(|host| self.host(host));
        let port = self.required(target, "port", &block.span, example).and_then(|port| self.port(port));
        Some(SocketPlugin { watch: self.watch(watch?), host: host?, port: port? })
    }

    pub(super) fn http(&mut self, block: &Element) -> Option<HttpPlugin> {
        let localpath = block.child("localpath");
        let target = localpath.and_then(|localpath| localpath.child("deshost"));
        let watch = self.required(localpath, "watch", &block.span, LOCALPATH);
        let url = self.required(target, "url", &block.span, DESHOST);
        let port = target.and_then(|target| target.attribute("port"));
        let url = url.and_then(|url| self.url(url, port));
        let ca = target.and_then(|target| target.attribute("ca"));
        if let (Some(ca), Some((Scheme::Http, _))) = (ca, &url) {
            self.warning(&ca.name_span, "`ca` counts only with https", "write url=\"https://…\"");
        }
        let ca = ca.map(|ca| self.absolute(ca).ok_or(())).transpose();
        Some(HttpPlugin { watch: self.watch(watch?), url: url?.1, ca: ca.ok()? })
    }

    /// `url` with `port`: whole.
    fn url(&mut self, attribute: &Attribute, port: Option<&Attribute>) -> Option<(Scheme, String)> {
        // Both are looked at before either is given up.
        let own_port = port.map(|port| self.port(port).ok_or(())).transpose();
        let url = match url::split(&attribute.value) {
            Ok(url) => url,
            Err(why) => {
                let message = format!("`{}` is no address of a web service", quote(&attribute.value));
                self.problem(&attribute.span, message, why);
                return None;
            }
        };
        let own_port = own_port.ok()?;
        if let (Some(place), Some(own), Some(other)) = (port, own_port, url.port)
            && own != other
        {
            let message = format!("the port of the URL, {other}, counts");
            self.warning(&place.span, message, "leave one of the two out");
        }
        Some((url.scheme, url.whole(own_port)))
    }

    /// Text that is looked for in whatever the CDN answers, so that it is never recorded.
    fn secret(&mut self, attribute: &Attribute) -> Option<String> {
        if attribute.value.len() > MAX_SECRET {
            let message = format!("`{}` is longer than {MAX_SECRET} bytes", attribute.name);
            self.problem(&attribute.span, message, "no CDN has such names and passwords");
            return None;
        }
        self.text(attribute)
    }

    pub(super) fn refresh_cdn(&mut self, block: &Element) -> Option<RefreshCdnPlugin> {
        let localpath = block.child("localpath");
        let child = |name| localpath.and_then(|localpath| localpath.child(name));
        let info = child("cdninfo");
        let example = "<cdninfo domainname=\"host\" port=\"80\" username=\"…\" passwd=\"…\"/>";
        let base_example = "<sendurl base=\"http://host/path\"/>";
        let span = &block.span;
        let watch = self.required(localpath, "watch", span, LOCALPATH);
        let domain = self.required(info, "domainname", span, example).and_then(|domain| self.host(domain));
        let port = self.required(info, "port", span, example).and_then(|port| self.port(port));
        let user = self.required(info, "username", span, example).and_then(|user| self.secret(user));
        let password =
            self.required(info, "passwd", span, example).and_then(|password| self.secret(password));
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
