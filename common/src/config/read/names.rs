//! Every element and attribute name that the reader knows, and the warnings about others.
//!
//! The original ignored what it did not know, and so do we, but not silently: a misspelt
//! element is otherwise a default that nobody asked for.

use super::super::diagnostic::{Diagnostic, quote};
use super::super::xml::{Element, Span, Tree};

/// How often an element may stand in its parent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Times {
    /// Only the first counts.
    Once,
    /// Each counts.
    Many,
}

/// An element the reader knows.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Known {
    pub(crate) name: &'static str,
    pub(crate) times: Times,
    pub(crate) attributes: &'static [&'static str],
    pub(crate) children: &'static [Known],
}

const fn once(name: &'static str, attributes: &'static [&'static str]) -> Known {
    Known { name, times: Times::Once, attributes, children: &[] }
}

const fn many(name: &'static str, attributes: &'static [&'static str]) -> Known {
    Known { times: Times::Many, ..once(name, attributes) }
}

const fn with(parent: Known, children: &'static [Known]) -> Known {
    Known { children, ..parent }
}

const START: &[&str] = &["start"];
/// Where to, and what counts otherwise than `<rsync>` says.
const REMOTE: &[&str] = &[
    "ip",
    "name",
    "port",
    "user",
    "passwordfile",
    "params",
    "ssh",
    "identity",
    "knownhosts",
    "bwlimit",
    "timeout",
    "connections",
];

/// Whose limits, and what they are.
const LIMITS: &[&str] =
    &["role", "memory", "memoryHigh", "pids", "files", "cpu", "cpuWeight", "ioWeight", "nice", "ionice"];

/// The root element with all that it may hold.
pub(crate) static HEAD: Known = with(
    once("head", &["version"]),
    &[
        once("host", &["hostip", "port", "start", "tokenFile", "socket", "mode", "group", "lag"]),
        once("debug", START),
        once("fileSystem", &["xfs"]),
        with(once("filter", START), &[many("exclude", &["expression"])]),
        with(
            once("inotify", &["watcher"]),
            &[
                once("delete", &["start", "guard", "maxDelete", "maxDeletePercent"]),
                once("createFolder", START),
                once("createFile", START),
                once("closeWrite", START),
                once("moveFrom", START),
                once("moveTo", START),
                once("attrib", START),
                once("modify", START),
                once("hiddenFile", START),
            ],
        ),
        with(
            once("sersync", &[]),
            &[
                with(many("localpath", &["watch"]), &[many("remote", REMOTE)]),
                with(
                    once("rsync", &["program"]),
                    &[
                        once("commonParams", &["params"]),
                        once("auth", &["start", "users", "passwordfile"]),
                        once("userDefinedPort", &["start", "port"]),
                        once("timeout", &["start", "time"]),
                        once("ssh", &["start", "identity", "knownhosts"]),
                    ],
                ),
                once("failLog", &["path", "timeToExecute"]),
                with(
                    once("crontab", &["start", "schedule"]),
                    &[with(once("crontabfilter", START), &[many("exclude", &["expression"])])],
                ),
                once("verify", &["start", "schedule", "repair", "checksum", "budget"]),
                once("plugin", &["start", "name"]),
            ],
        ),
        with(
            many("plugin", &["name", "user", "batch", "format", "timeout", "allowShell"]),
            &[
                once("param", &["prefix", "suffix", "ignoreError"]),
                with(once("filter", START), &[many("include", &["expression"])]),
                with(
                    once("localpath", &["watch"]),
                    &[
                        once("deshost", &["ip", "port", "url", "ca"]),
                        once("cdninfo", &["domainname", "port", "username", "passwd"]),
                        once("sendurl", &["base"]),
                        once("regexurl", &["regex", "match"]),
                    ],
                ),
            ],
        ),
        once("privileges", &["firstUid", "readAll", "sandbox"]),
        many("limits", LIMITS),
        once("sandbox", START),
        once("warm", &["start", "idle"]),
        once("connections", &["perHost"]),
        with(once("bandwidth", &["limit"]), &[many("hours", &["from", "to", "limit"])]),
        once("state", &["start", "path"]),
        once("status", &["start", "socket", "mode", "group"]),
        once("log", &["to", "path", "format", "files"]),
    ],
);

/// Warnings about all that has no meaning in `tree`, whose root is `head`.
pub(super) fn check(tree: &Tree, problems: &mut Vec<Diagnostic>) {
    for span in &tree.stray {
        let warning = Diagnostic::warning(span.clone(), "text between the elements has no meaning");
        problems.push(warning.with_help("values are written as attributes: name=\"value\""));
    }
    check_element(&tree.root, &HEAD, problems);
}

fn check_element(element: &Element, known: &Known, problems: &mut Vec<Diagnostic>) {
    for attribute in &element.attributes {
        if !known.attributes.contains(&attribute.name.as_str()) {
            let message =
                format!("`<{}>` has no attribute `{}`; it is ignored", known.name, quote(&attribute.name));
            let close = closest(&attribute.name, known.attributes.iter().copied());
            problems.push(unknown(attribute.name_span.clone(), message, close.map(ToOwned::to_owned)));
        }
    }
    for (position, child) in element.children.iter().enumerate() {
        let Some(known_child) = known.children.iter().find(|known| known.name == child.name) else {
            let message =
                format!("`<{}>` holds no element `<{}>`; it is ignored", known.name, quote(&child.name));
            let problem = if let Some(help) = home(&child.name, known) {
                Diagnostic::warning(child.span.clone(), message).with_help(help)
            } else {
                let close = closest(&child.name, known.children.iter().map(|known| known.name));
                unknown(child.span.clone(), message, close.map(|name| format!("<{name}>")))
            };
            problems.push(problem);
            continue;
        };
        let earlier = element.children.iter().take(position).any(|other| other.name == child.name);
        if known_child.times == Times::Once && earlier {
            let message = format!("another `<{}>` in `<{}>`; it is ignored", known_child.name, known.name);
            problems.push(
                Diagnostic::warning(child.span.clone(), message).with_help("only the first one counts"),
            );
        } else {
            check_element(child, known_child, problems);
        }
    }
}

fn unknown(span: Span, message: String, close: Option<String>) -> Diagnostic {
    let warning = Diagnostic::warning(span, message);
    match close {
        Some(name) => warning.with_help(format!("did you mean `{name}`?")),
        None => warning.with_help("leave it out; docs/configuration.md has all names"),
    }
}

/// Where an element of this very name belongs that stands in `wrong`, if it belongs anywhere: who is told
/// to leave it out, or of another name that is like it, loses a switch.
fn home(name: &str, wrong: &Known) -> Option<String> {
    let mut homes = Vec::new();
    let mut left = vec![(&HEAD, None::<&Known>)];
    while let Some((known, above)) = left.pop() {
        if known.children.iter().any(|child| child.name == name) {
            // Where it stands has the same name.
            let above = above.filter(|_| known.name == wrong.name);
            let of = above.map_or_else(String::new, |above| format!(" of `<{}>`", above.name));
            homes.push(format!("`<{}>`{of}", known.name));
        }
        left.extend(known.children.iter().rev().map(|child| (child, Some(known))));
    }
    (!homes.is_empty()).then(|| format!("move it into {}", homes.join(" or ")))
}

/// The name that `written` was probably meant to be.
pub fn closest(written: &str, names: impl Iterator<Item = &'static str>) -> Option<&'static str> {
    // Longer than any name with two letters too many: not worth a table.
    if written.len() > 32 {
        return None;
    }
    names
        .map(|name| (distance(&written.to_lowercase(), &name.to_lowercase()), name))
        .filter(|&(distance, name)| distance <= 2 && distance.saturating_mul(2) < name.len())
        .min_by_key(|&(distance, _)| distance)
        .map(|(_, name)| name)
}

/// How many characters must be changed, added or left out to get from `a` to `b`.
fn distance(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.chars().count()).collect();
    for (i, from) in a.chars().enumerate() {
        let mut left = i.saturating_add(1);
        let mut above = row.iter().copied();
        let mut diagonal = above.next().unwrap_or_default();
        let mut next = vec![left];
        for (to, up) in b.chars().zip(above) {
            let changed = diagonal.saturating_add(usize::from(from != to));
            left = changed.min(up.saturating_add(1)).min(left.saturating_add(1));
            diagonal = up;
            next.push(left);
        }
        row = next;
    }
    row.last().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn project_file(name: &str) -> String {
        std::fs::read_to_string(format!("{}/../{name}", env!("CARGO_MANIFEST_DIR"))).unwrap()
    }

    /// `path` and every attribute of the element there, then the same for its children.
    fn visit(known: &Known, path: &str, see: &mut impl FnMut(&str, &str)) {
        for attribute in known.attributes {
            see(path, attribute);
        }
        for child in known.children {
            visit(child, format!("{path}/{}", child.name).trim_start_matches('/'), see);
        }
    }

    #[test]
    fn every_name_is_documented() {
        let docs = project_file("docs/configuration.md");
        let default = project_file("confxml.xml");
        visit(&HEAD, "", &mut |path, attribute| {
            let path = if path.is_empty() { "head" } else { path };
            let row = format!("| `{path}` | `{attribute}` |");
            assert!(docs.contains(&row), "docs/configuration.md has no row {row}");
            let element = path.rsplit('/').next().unwrap();
            assert!(default.contains(&format!("<{element}")), "confxml.xml does not show <{element}>");
            assert!(default.contains(&format!(" {attribute}=\"")), "confxml.xml does not show {attribute}=");
        });
    }

    /// A reader who comes with an old file, or finds a new name in ours, finds it there.
    #[test]
    fn every_name_is_in_the_migration_guide() {
        let guide = project_file("docs/migrating-from-sersync.md");
        let line_with =
            |parts: &[String]| guide.lines().any(|line| parts.iter().all(|part| line.contains(part)));
        visit(&HEAD, "", &mut |path, attribute| {
            let element = path.rsplit('/').next().filter(|name| !name.is_empty()).unwrap_or("head");
            let parts = [format!("`<{element}>`"), format!("`{attribute}`")];
            assert!(line_with(&parts), "docs/migrating-from-sersync.md has no line with {parts:?}");
        });
        for flag in ["-h", "-d", "-r", "-o", "-n", "-m"] {
            let row = format!("| `{flag}");
            assert!(guide.contains(&row), "docs/migrating-from-sersync.md has no row {row}");
        }
    }

    /// Whoever did as it was said lost a switch: it was to be left out, or taken for another.
    #[test]
    fn a_known_element_in_the_wrong_place_is_told_where_it_belongs() {
        let text = r#"<head><sersync><localpath watch="/w"><remote ip="h" name="m"/><rsync/></localpath>
            <filter start="true"/><state/><crontabfilter/><inotify/><deshost/></sersync>
            <delete start="false"/><rsync/><exclude expression="x"/><failLgo/>
            <plugin name="socket"><localpath watch="/w"><remote/></localpath></plugin></head>"#;
        let parsed = super::super::parse(text.as_bytes());
        assert!(parsed.config.is_some(), "{:?}", parsed.diagnostics);
        let told = |message: &str| {
            let mut all = parsed.diagnostics.iter().filter(|it| it.message.contains(message));
            let told = all.next().unwrap_or_else(|| panic!("{message}: {:?}", parsed.diagnostics));
            told.help.clone().unwrap_or_default()
        };
        for (message, help) in [
            ("`<localpath>` holds no element `<rsync>`", "move it into `<sersync>`"),
            ("`<sersync>` holds no element `<filter>`", "move it into `<head>` or `<plugin>`"),
            ("`<sersync>` holds no element `<state>`", "move it into `<head>`"),
            ("`<sersync>` holds no element `<crontabfilter>`", "move it into `<crontab>`"),
            ("`<sersync>` holds no element `<inotify>`", "move it into `<head>`"),
            ("`<sersync>` holds no element `<deshost>`", "move it into `<localpath>`"),
            ("`<head>` holds no element `<delete>`", "move it into `<inotify>`"),
            ("`<head>` holds no element `<rsync>`", "move it into `<sersync>`"),
            ("`<head>` holds no element `<exclude>`", "move it into `<filter>` or `<crontabfilter>`"),
            ("`<head>` holds no element `<failLgo>`", "leave it out; docs/configuration.md has all names"),
            ("`<localpath>` holds no element `<remote>`", "move it into `<localpath>` of `<sersync>`"),
        ] {
            assert_eq!(told(message), help, "{message}");
        }
    }

    #[test]
    fn what_was_meant() {
        let closest =
            |written| closest(written, ["createFile", "createFolder", "ip", "port", "start"].into_iter());
        assert_eq!(closest("createfile"), Some("createFile"));
        assert_eq!(closest("creatFoldr"), Some("createFolder"));
        assert_eq!(closest("prot"), None);
        assert_eq!(closest("strat"), Some("start"));
        assert_eq!(closest("xy"), None);
        assert_eq!(distance("", "abc"), 3);
        assert_eq!(distance("kitten", "sitting"), 3);
    }
}
