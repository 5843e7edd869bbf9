//! One change as the formats write it: a path, a form line, a JSON object. Pure.
//!
//! Paths are bytes. Where a format has no place for bytes that are no text, it says so: JSON
//! carries them once more in base64, queries and forms carry them percent-encoded.

use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use common::message::{EventKind, PluginEvent, RemoteOutcome};
use percent_encoding::{AsciiSet, CONTROLS, NON_ALPHANUMERIC, percent_encode};
use serde::Serialize;

/// What stands for itself in any value: RFC 3986's unreserved bytes, and the slash of paths.
const FORM: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~').remove(b'/');
/// In a URL that is itself the value of a query, what RFC 3986 lets stand in a path besides, and
/// no server takes for the end of a value: names like `logo@2x.png` go out as they always did.
const URL: &AsciiSet = &FORM
    .remove(b':')
    .remove(b'@')
    .remove(b'!')
    .remove(b'$')
    .remove(b'(')
    .remove(b')')
    .remove(b'*')
    .remove(b',');
/// User and password go out as written, but for what would end the value or the request line.
const CREDENTIAL: &AsciiSet = &CONTROLS.add(b' ').add(b'&').add(b'#');

/// One change, with what its numbers stand for.
pub(crate) struct News<'a> {
    /// The change.
    pub(crate) event: &'a PluginEvent,
    /// The watched root.
    pub(crate) root: &'a [u8],
    /// Absolute path.
    pub(crate) path: Vec<u8>,
    remotes: Vec<JsonRemote<'a>>,
}

impl<'a> News<'a> {
    /// `None` when the event names a root or a remote that there is not.
    pub(crate) fn new(
        event: &'a PluginEvent,
        roots: &'a [OsString],
        remotes: &'a [String],
    ) -> Option<News<'a>> {
        let root = roots.get(usize::from(event.tree.0))?.as_bytes();
        let remotes = event.remotes.iter().map(|(number, outcome)| {
            let remote = remotes.get(usize::from(*number))?;
            Some(JsonRemote { remote, outcome: outcome_word(*outcome) })
        });
        let remotes = remotes.collect::<Option<Vec<_>>>()?;
        let mut news = News { event, root, path: Vec::new(), remotes };
        news.path = [root.strip_suffix(b"/").unwrap_or(root), &news.below()].concat();
        if news.path.is_empty() {
            news.path.push(b'/');
        }
        Some(news)
    }

    /// The path without its root: empty for the root itself, else with a leading slash.
    pub(crate) fn below(&self) -> Vec<u8> {
        let path = &self.event.path;
        if path.is_root() { Vec::new() } else { [b"/", path.as_bytes()].concat() }
    }

    /// What happened, in a word.
    pub(crate) fn kind(&self) -> &'static str {
        match self.event.kind {
            EventKind::Changed => "changed",
            EventKind::Removed => "removed",
            EventKind::Rescanned => "rescanned",
        }
    }

    /// `1` for a directory, `0` for anything else.
    pub(crate) fn directory_digit(&self) -> &'static str {
        if self.event.directory { "1" } else { "0" }
    }

    /// The original's form: `watchroot=W&isdir=0&inotifyPath=PATH&mask=8`.
    pub(crate) fn form(&self) -> String {
        let value = |bytes| percent_encode(bytes, FORM);
        let (root, path) = (value(self.root), value(&self.path));
        let (directory, mask) = (self.directory_digit(), self.event.mask);
        format!("watchroot={root}&isdir={directory}&inotifyPath={path}&mask={mask}")
    }

    /// One JSON object, without an end of line.
    pub(crate) fn json(&self) -> String {
        // Strings and numbers only: nothing that could fail.
        serde_json::to_string(&self.object()).unwrap_or_default()
    }

    fn object(&self) -> JsonNews<'_> {
        let path = String::from_utf8_lossy(&self.path);
        let is_text = matches!(path, std::borrow::Cow::Borrowed(_));
        JsonNews {
            path_base64: (!is_text).then(|| BASE64_STANDARD.encode(&self.path)),
            path: path.into_owned(),
            kind: self.kind(),
            dir: self.event.directory,
            mask: self.event.mask,
            time: self.event.time,
            remotes: &self.remotes,
        }
    }
}

/// A JSON object and an end of line for each change.
pub(crate) fn json_lines(news: &[&News<'_>]) -> Vec<u8> {
    news.iter().flat_map(|one| (one.json() + "\n").into_bytes()).collect()
}

/// A JSON array of all changes.
pub(crate) fn json_array(news: &[News<'_>]) -> String {
    let objects: Vec<_> = news.iter().map(News::object).collect();
    serde_json::to_string(&objects).unwrap_or_default()
}

/// Each path with a NUL behind it.
pub(crate) fn paths_with_nul(news: &[&News<'_>]) -> Vec<u8> {
    news.iter().flat_map(|one| one.path.iter().copied().chain([0])).collect()
}

/// Part of a path inside a URL that is the value of a query.
///
/// The CDN decodes a query once, and splits what it has then at CR LF. So these two are encoded
/// twice, or the rest of a name would be a URL of its own. All other bytes are encoded once, as
/// they always were.
pub(crate) fn in_url(path: &[u8]) -> String {
    percent_encode(path, URL).to_string().replace("%0D", "%250D").replace("%0A", "%250A")
}

/// A user or a password as the value of a query.
pub(crate) fn credential(text: &str) -> String {
    percent_encode(text.as_bytes(), CREDENTIAL).to_string()
}

/// The keys are in the order in which they are written.
#[derive(Serialize)]
struct JsonNews<'a> {
    path: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    path_base64: Option<String>,
    kind: &'static str,
    dir: bool,
    mask: u32,
    time: u64,
    remotes: &'a [JsonRemote<'a>],
}

#[derive(Serialize)]
struct JsonRemote<'a> {
    remote: &'a str,
    outcome: &'static str,
}

fn outcome_word(outcome: RemoteOutcome) -> &'static str {
    match outcome {
        RemoteOutcome::Done => "done",
        RemoteOutcome::Failed => "failed",
        RemoteOutcome::Down => "down",
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use common::event::{IN_ISDIR, TreeId};
    use common::path::RelPath;
    use std::sync::LazyLock;

    static ROOTS: LazyLock<Vec<OsString>> = LazyLock::new(|| ["/w", "/"].map(OsString::from).to_vec());
    static REMOTES: LazyLock<Vec<String>> =
        LazyLock::new(|| ["10.0.0.2::web", "10.0.0.3::\"q\""].map(String::from).to_vec());

    pub(crate) fn event(path: impl AsRef<[u8]>) -> PluginEvent {
        PluginEvent {
            tree: TreeId(0),
            path: RelPath::new(path.as_ref()).unwrap(),
            kind: EventKind::Changed,
            directory: false,
            mask: 8,
            time: 1_700_000_000_123,
            remotes: vec![(0, RemoteOutcome::Done)],
        }
    }

    pub(crate) fn news_of(events: &[PluginEvent]) -> Vec<News<'_>> {
        events.iter().map(|event| News::new(event, &ROOTS, &REMOTES).unwrap()).collect()
    }

    fn path_of(tree: u16, path: &str) -> Vec<u8> {
        let event = PluginEvent { tree: TreeId(tree), ..event(path) };
        News::new(&event, &ROOTS, &REMOTES).unwrap().path
    }

    #[test]
    fn absolute_paths() {
        for (tree, path, absolute) in [(0, "a/b", "/w/a/b"), (0, "", "/w"), (1, "a", "/a"), (1, "", "/")] {
            assert_eq!(path_of(tree, path), absolute.as_bytes(), "{tree} {path}");
        }
        // A root that was written with a slash at its end.
        let roots = [OsString::from("/w/")];
        for (path, absolute) in [("a", "/w/a"), ("", "/w")] {
            assert_eq!(News::new(&event(path), &roots, &REMOTES).unwrap().path, absolute.as_bytes());
        }
        let stranger = PluginEvent { tree: TreeId(2), ..event("a") };
        assert!(News::new(&stranger, &ROOTS, &REMOTES).is_none());
        let stranger = PluginEvent { remotes: vec![(2, RemoteOutcome::Done)], ..event("a") };
        assert!(News::new(&stranger, &ROOTS, &REMOTES).is_none());
    }

    #[test]
    fn forms() {
        let events = [
            event("a/b.txt"),
            PluginEvent { directory: true, mask: IN_ISDIR | 0x100, ..event("a b&mask=1%\n\u{56fe}") },
            event(b"\xff+'"),
        ];
        let forms: Vec<_> = news_of(&events).iter().map(News::form).collect();
        assert_eq!(
            forms,
            [
                "watchroot=/w&isdir=0&inotifyPath=/w/a/b.txt&mask=8",
                "watchroot=/w&isdir=1&inotifyPath=/w/a%20b%26mask%3D1%25%0A%E5%9B%BE&mask=1073742080",
                "watchroot=/w&isdir=0&inotifyPath=/w/%FF%2B%27&mask=8",
            ]
        );
    }

    #[test]
    fn json_objects() {
        let remotes = vec![(0, RemoteOutcome::Failed), (1, RemoteOutcome::Down)];
        let events = [
            event("a\"b"),
            PluginEvent { kind: EventKind::Removed, remotes, ..event(b"\xff\n") },
            PluginEvent {
                kind: EventKind::Rescanned,
                directory: true,
                mask: 0,
                remotes: vec![],
                ..event("")
            },
        ];
        let news = news_of(&events);
        let wanted = [
            r#"{"path":"/w/a\"b","kind":"changed","dir":false,"mask":8,"time":1700000000123,"remotes":[{"remote":"10.0.0.2::web","outcome":"done"}]}"#,
            r#"{"path":"/w/�\n","path_base64":"L3cv/wo=","kind":"removed","dir":false,"mask":8,"time":1700000000123,"remotes":[{"remote":"10.0.0.2::web","outcome":"failed"},{"remote":"10.0.0.3::\"q\"","outcome":"down"}]}"#,
            r#"{"path":"/w","kind":"rescanned","dir":true,"mask":0,"time":1700000000123,"remotes":[]}"#,
        ];
        assert_eq!(news.iter().map(News::json).collect::<Vec<_>>(), wanted);
        assert_eq!(json_array(&news), format!("[{}]", wanted.join(",")));
        let all: Vec<_> = news.iter().collect();
        assert_eq!(json_lines(&all), (wanted.join("\n") + "\n").into_bytes());
        assert_eq!(paths_with_nul(&all), b"/w/a\"b\0/w/\xff\n\0/w\0");
    }

    #[test]
    fn what_stands_raw_in_a_url() {
        assert_eq!(in_url(b"/a-1._~/logo@2x(1),b!$*:c"), "/a-1._~/logo@2x(1),b!$*:c");
        assert_eq!(
            in_url(b" &#%+?\"'<>\\;=|^`\r\n\x7f\xff"),
            "%20%26%23%25%2B%3F%22%27%3C%3E%5C%3B%3D%7C%5E%60%250D%250A%7F%FF"
        );
        // Only the bytes, not what looks like them.
        assert_eq!(in_url(b"%0D%0a\xe0\xa0"), "%250D%250a%E0%A0");
    }

    #[test]
    fn what_stands_raw_in_a_credential() {
        assert_eq!(credential("p%4+s=w?d/'"), "p%4+s=w?d/'");
        assert_eq!(credential("a b&c#d\r\n\u{e9}"), "a%20b%26c%23d%0D%0A%C3%A9");
    }
}
