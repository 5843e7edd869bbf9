//! A config as a file again: every element with the value in force, so that people see what was
//! made of theirs. Reading it gives the same config, but for passwords, which are never written.

mod looking;

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;

use super::read::{Parsed, parse};
use super::{
    Bandwidth, Config, FilterExpression, Format, GuardScope, HOURS, LimitsTable, Plugin, PluginKind, Remote,
    Repair, RoleLimits, RsyncOptions, Switches, WatcherKind,
};
use crate::confine::{Demand, IoPriority};
use crate::message::Comparison;

/// What stands in place of a password.
const HIDDEN: &str = "***";
/// Of this config every line is a default.
const BARE: &[u8] =
    b"<head><sersync><localpath watch=\"/\"><remote ip=\"-\" name=\"-\"/></localpath></sersync></head>";
const DEFAULT: &[u8] = b" <!-- default -->";

/// The text, in the encoding that the config had. Lines that say what counts anyhow are marked.
pub fn dump(config: &Config) -> Vec<u8> {
    let Parsed { draft, .. } = parse(BARE);
    let usual = draft.map(|usual| lines(&usual)).unwrap_or_default();
    let mut out = b"<?xml version=\"1.0\"?>\n".to_vec();
    for line in lines(config) {
        let is_usual = usual.contains(&line) && line.contains(&b'=');
        out.extend_from_slice(&line);
        out.extend_from_slice(if is_usual { DEFAULT } else { b"" });
        out.push(b'\n');
    }
    out
}

/// The elements, one a line.
fn lines(config: &Config) -> Vec<Vec<u8>> {
    let mut page = Page { lines: Vec::new(), open: Vec::new() };
    page.open(Tag::new("head").text("version", "2.5"));
    general(&mut page, config);
    page.open(Tag::new("sersync"));
    sersync(&mut page, config);
    page.close();
    config.plugins.iter().for_each(|it| plugin(&mut page, it));
    ours(&mut page, config);
    page.close();
    page.lines
}

fn general(page: &mut Page, config: &Config) {
    page.put(looking::host(&config.host));
    page.put(Tag::new("debug").switch("start", config.debug));
    page.put(Tag::new("fileSystem").switch("xfs", config.xfs));
    page.open(Tag::new("filter").switch("start", !config.filter.is_empty()));
    expressions(page, "exclude", config.filter.iter().map(|FilterExpression(it)| it.as_slice()));
    page.close();
    let watcher = match config.watcher {
        WatcherKind::Inotify => "inotify",
        WatcherKind::Fanotify => "fanotify",
    };
    page.open(Tag::new("inotify").text("watcher", watcher));
    let guard = config.delete_guard;
    let scope = match guard.scope {
        GuardScope::Off => "off",
        GuardScope::Unseen => "unseen",
        GuardScope::All => "all",
    };
    let Switches {
        delete,
        create_folder,
        create_file,
        close_write,
        move_from,
        move_to,
        attrib,
        modify,
        hidden_file,
    } = config.switches;
    let brake = Tag::new("delete").switch("start", delete).text("guard", scope);
    let brake = brake.text("maxDelete", &guard.names.to_string());
    page.put(brake.text("maxDeletePercent", &guard.percent.to_string()));
    for (name, value) in [
        ("createFolder", create_folder),
        ("createFile", create_file),
        ("closeWrite", close_write),
        ("moveFrom", move_from),
        ("moveTo", move_to),
        ("attrib", attrib),
        ("modify", modify),
        ("hiddenFile", hidden_file),
    ] {
        page.put(Tag::new(name).switch("start", value));
    }
    page.close();
}

fn sersync(page: &mut Page, config: &Config) {
    for tree in &config.trees {
        page.open(localpath(&tree.watch));
        tree.remotes.iter().for_each(|it| page.put(remote(it)));
        page.close();
    }
    page.lines.push(b"        <!-- What <rsync> says stands in each <remote>. -->".to_vec());
    let program = config.rsync_program.as_ref();
    page.put(Tag::new("rsync").bytes_if("program", program.map(OsString::as_os_str)));
    let path = config.fail_log.path.as_ref().map_or(&b""[..], |path| path.as_bytes());
    let minutes = config.fail_log.minutes.to_string();
    page.put(Tag::new("failLog").bytes("path", path).text("timeToExecute", &minutes));
    let schedule = config.crontab.as_ref().map(|crontab| crontab.minutes.to_string());
    page.open(
        Tag::new("crontab").switch("start", schedule.is_some()).text_if("schedule", schedule.as_deref()),
    );
    page.open(Tag::new("crontabfilter").switch("start", !config.sync_excludes.is_empty()));
    expressions(page, "exclude", config.sync_excludes.iter().map(|it| it.as_bytes()));
    page.close();
    page.close();
    let verify = Tag::new("verify").switch("start", config.verify.is_some());
    page.put(match config.verify {
        Some(it) => verify
            .text("schedule", &it.minutes.to_string())
            .switch("repair", it.repair == Repair::On)
            .switch("checksum", it.by == Comparison::Checksums)
            .text("budget", &it.budget.to_string()),
        None => verify,
    });
    let names: Vec<&str> = config.plugins_on.iter().map(|name| name.as_str()).collect();
    page.put(Tag::new("plugin").switch("start", !names.is_empty()).text("name", &names.join(",")));
}

/// A root, with the one slash that the reader takes off.
fn localpath(watch: &OsStr) -> Tag {
    let ends = watch.as_bytes().ends_with(b"/") && watch.len() > 1;
    let slash: &[u8] = if ends { b"/" } else { b"" };
    Tag::new("localpath").bytes("watch", &[watch.as_bytes(), slash].concat())
}

fn remote(remote: &Remote) -> Tag {
    let RsyncOptions { params, auth, port, timeout, bwlimit, ssh } = &remote.rsync;
    let user = auth.as_ref().and_then(|auth| auth.user.as_deref()).unwrap_or_default();
    let file = auth.as_ref().and_then(|auth| auth.password_file.as_deref()).unwrap_or_default();
    let number = |number: &Option<u32>| number.map(|number| number.to_string());
    let port = port.map(|port| port.to_string());
    Tag::new("remote")
        .text("ip", &remote.host)
        .bytes("name", remote.module.as_bytes())
        .text_if("port", port.as_deref())
        .text("user", user)
        .bytes("passwordfile", file.as_bytes())
        .bytes("params", &words(params.iter().map(|word| word.as_bytes())))
        .switch("ssh", ssh.is_some())
        .bytes_if("identity", ssh.as_ref().and_then(|ssh| ssh.identity.as_deref()))
        .bytes_if("knownhosts", ssh.as_ref().and_then(|ssh| ssh.known_hosts.as_deref()))
        .text_if("bwlimit", number(bwlimit).as_deref())
        .text_if("timeout", number(timeout).as_deref())
        .text("connections", &remote.connections.to_string())
}

fn plugin(page: &mut Page, plugin: &Plugin) {
    let format = match plugin.call.format {
        Format::Original => "text",
        Format::Json => "json",
    };
    let tag = Tag::new("plugin").text("name", plugin.kind.name().as_str());
    let tag = tag.text_if("user", plugin.user.as_deref()).switch("batch", plugin.call.batch);
    let tag = tag.text("format", format).text("timeout", &plugin.call.timeout.to_string());
    match &plugin.kind {
        PluginKind::Command(command) => {
            page.open(tag.switch("allowShell", command.allow_shell));
            let [prefix, suffix] = [&command.prefix, &command.suffix].map(shell_words::join);
            let param = Tag::new("param").text("prefix", &prefix).text("suffix", &suffix);
            page.put(param.switch("ignoreError", command.ignore_error));
            page.open(Tag::new("filter").switch("start", !command.include.is_empty()));
            expressions(page, "include", command.include.iter().map(|FilterExpression(it)| it.as_slice()));
        }
        PluginKind::Socket(socket) => {
            page.open(tag);
            page.open(localpath(&socket.watch));
            let port = socket.port.to_string();
            page.put(Tag::new("deshost").text("ip", &socket.host).text("port", &port));
        }
        PluginKind::Http(http) => {
            page.open(tag);
            page.open(localpath(&http.watch));
            page.put(Tag::new("deshost").text("url", &http.url).bytes_if("ca", http.ca.as_deref()));
        }
        PluginKind::RefreshCdn(cdn) => {
            page.open(tag);
            page.open(localpath(&cdn.watch));
            let access =
                Tag::new("cdninfo").text("domainname", &cdn.domain).text("port", &cdn.port.to_string());
            page.put(access.text("username", &cdn.user).text("passwd", HIDDEN));
            page.put(Tag::new("sendurl").text("base", &cdn.base));
            let pattern = cdn.pattern.as_ref().map(|FilterExpression(it)| OsStr::from_bytes(it));
            page.put(Tag::new("regexurl").switch("regex", pattern.is_some()).bytes_if("match", pattern));
        }
    }
    page.close();
    page.close();
}

/// What the original did not know.
fn ours(page: &mut Page, config: &Config) {
    let first = config.privileges.first_uid.map(|uid| uid.to_string());
    let demand = config.privileges.sandbox.map(|demand| match demand {
        Demand::Required => "required",
        Demand::BestEffort => "best-effort",
    });
    let privileges = Tag::new("privileges").text_if("firstUid", first.as_deref());
    page.put(privileges.switch("readAll", config.privileges.read_all).text_if("sandbox", demand));
    let LimitsTable { watcher, syncer, plugin, command } = &config.limits;
    for (role, limits) in [("watcher", watcher), ("syncer", syncer), ("plugin", plugin), ("command", command)]
    {
        page.put(limits_of(role, limits));
    }
    page.put(Tag::new("sandbox").switch("start", config.sandbox));
    let idle = config.warm.map(|seconds| seconds.to_string());
    page.put(Tag::new("warm").switch("start", idle.is_some()).text_if("idle", idle.as_deref()));
    let per_host = config.sharing.per_host.map(|most| most.to_string());
    page.put(Tag::new("connections").text_if("perHost", per_host.as_deref()));
    bandwidth(page, config.sharing.bandwidth);
    let path = config.state.path.as_ref().map_or(&b""[..], |path| path.as_bytes());
    page.put(Tag::new("state").switch("start", config.state.start).bytes("path", path));
    page.put(looking::status(&config.status));
    page.put(looking::log(&config.log));
}

fn limits_of(role: &str, limits: &RoleLimits) -> Tag {
    let size = |bytes: Option<u64>| bytes.map_or_else(|| "none".to_owned(), |bytes| bytes.to_string());
    let weight = |weight: Option<u16>| weight.map(|weight| weight.to_string());
    let ionice = limits.ionice.map(|priority| match priority {
        IoPriority::BestEffort(place) => format!("be:{place}"),
        IoPriority::Idle => "idle".to_owned(),
    });
    let tag = Tag::new("limits").text("role", role).text("memory", &size(limits.memory));
    let tag = tag.text("memoryHigh", &size(limits.memory_high)).text("pids", &limits.pids.to_string());
    let tag = tag.text("files", &limits.files.to_string());
    // It counts for no other role.
    let cpu = (role == "syncer").then(|| size(limits.cpu.map(u64::from)));
    tag.text_if("cpu", cpu.as_deref())
        .text_if("cpuWeight", weight(limits.cpu_weight).as_deref())
        .text_if("ioWeight", weight(limits.io_weight).as_deref())
        .text("nice", &limits.nice.to_string())
        .text_if("ionice", ionice.as_deref())
}

/// Each run of hours with the same limit.
fn bandwidth(page: &mut Page, bandwidth: Bandwidth) {
    let rate = |limit: Option<u32>| limit.map_or_else(|| "none".to_owned(), |rate| rate.to_string());
    let usual = bandwidth.by_hour.first().copied().flatten();
    let tag = Tag::new("bandwidth").text("limit", &rate(usual));
    if !bandwidth.depends_on_hour() {
        return page.put(tag);
    }
    page.open(tag);
    let mut from = 0_usize;
    for run in bandwidth.by_hour.chunk_by(|a, b| a == b) {
        let to = from.saturating_add(run.len()).min(HOURS);
        let hours = Tag::new("hours").text("from", &from.to_string()).text("to", &to.to_string());
        page.put(hours.text("limit", &rate(run.first().copied().flatten())));
        from = to;
    }
    page.close();
}

fn expressions<'a>(page: &mut Page, name: &'static str, all: impl Iterator<Item = &'a [u8]>) {
    all.for_each(|it| page.put(Tag::new(name).bytes("expression", it)));
}

/// Words as a shell splits them.
fn words<'a>(all: impl Iterator<Item = &'a [u8]>) -> Vec<u8> {
    let is_plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_=+,./:@%".contains(byte);
    let quoted = all.map(|word| {
        if !word.is_empty() && word.iter().all(is_plain) {
            return word.to_vec();
        }
        let inner = word.split(|&byte| byte == b'\'').collect::<Vec<_>>().join(&br"'\''"[..]);
        [b"'", inner.as_slice(), b"'"].concat()
    });
    quoted.collect::<Vec<_>>().join(&b' ')
}

/// A start tag that is being written.
struct Tag {
    name: &'static str,
    bytes: Vec<u8>,
}

impl Tag {
    fn new(name: &'static str) -> Tag {
        Tag { name, bytes: format!("<{name}").into_bytes() }
    }

    /// Bytes as they were in the file.
    fn bytes(mut self, name: &str, value: &[u8]) -> Tag {
        self.bytes.extend_from_slice(format!(" {name}=\"").as_bytes());
        for &byte in value {
            self.escaped(byte);
        }
        self.bytes.push(b'"');
        self
    }

    /// Text; what is beyond ASCII by its number, which is the same in any encoding.
    fn text(mut self, name: &str, value: &str) -> Tag {
        self.bytes.extend_from_slice(format!(" {name}=\"").as_bytes());
        for c in value.chars() {
            match u8::try_from(c) {
                Ok(byte) if byte.is_ascii() => self.escaped(byte),
                Ok(_) | Err(_) => self.bytes.extend_from_slice(format!("&#{};", u32::from(c)).as_bytes()),
            }
        }
        self.bytes.push(b'"');
        self
    }

    fn escaped(&mut self, byte: u8) {
        match byte {
            b'&' => self.bytes.extend_from_slice(b"&amp;"),
            b'<' => self.bytes.extend_from_slice(b"&lt;"),
            b'>' => self.bytes.extend_from_slice(b"&gt;"),
            b'"' => self.bytes.extend_from_slice(b"&quot;"),
            0..=31 | 127 => self.bytes.extend_from_slice(format!("&#{byte};").as_bytes()),
            _ => self.bytes.push(byte),
        }
    }

    fn text_if(self, name: &str, value: Option<&str>) -> Tag {
        match value {
            Some(value) => self.text(name, value),
            None => self,
        }
    }

    fn bytes_if(self, name: &str, value: Option<&OsStr>) -> Tag {
        match value {
            Some(value) => self.bytes(name, value.as_bytes()),
            None => self,
        }
    }

    fn switch(self, name: &str, is_on: bool) -> Tag {
        self.text(name, if is_on { "true" } else { "false" })
    }
}

/// Lines, and what is still open.
struct Page {
    lines: Vec<Vec<u8>>,
    open: Vec<&'static str>,
}

impl Page {
    fn put(&mut self, tag: Tag) {
        let Tag { bytes, .. } = tag;
        self.line(&[bytes.as_slice(), b"/>"].concat());
    }

    fn open(&mut self, tag: Tag) {
        let Tag { name, bytes } = tag;
        self.line(&[bytes.as_slice(), b">"].concat());
        self.open.push(name);
    }

    fn close(&mut self) {
        if let Some(name) = self.open.pop() {
            self.line(format!("</{name}>").as_bytes());
        }
    }

    fn line(&mut self, text: &[u8]) {
        let indent = vec![b' '; self.open.len().saturating_mul(4)];
        self.lines.push([&indent, text].concat());
    }
}

#[cfg(test)]
mod tests;
