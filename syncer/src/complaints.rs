//! What rsync complained of in one part of a job, and which listed paths it names: pure.
//!
//! Only a hint: whether a path is as it should be, a dry run tells (`apart`). The words are
//! needed for what a dry run does not show: what cannot be read here, why something failed, and
//! whether the remote as a whole cannot be written.

use std::collections::{BTreeMap, BTreeSet};

use bstr::ByteSlice;
use common::keep::MAX_REASON;
use common::log::escape;
use common::path::RelPath;

use crate::itemized::unescape;
use crate::tail::Stream;

/// Most bytes of complaints that are kept.
const MAX_BYTES: usize = 2 << 20;
/// Most places in a line at which a name may begin or end.
const MAX_MARKS: usize = 16;
/// rsync says so on either output once it could not read a directory: from then on it removes
/// nothing, wherever that would be.
const NO_DELETIONS: &[u8] = b"IO error encountered -- skipping file deletion";
/// Lines that only sum up, or follow from another.
const SUMMARIES: &[&[u8]] = &[b"rsync error:", b"***", b"rsync warning:"];
/// Lines that do not make a failure of what they name: what vanished has its own event, and
/// times of directories are set again with all that comes into them.
const HARMLESS: &[&str] = &["has vanished", "failed to set times on", "WARNING:"];
/// What a receiver does to make an entry, or to remove one.
const MAKING: &[&str] = &["mkstemp", "mkdir", "symlink", "mknod", "unlink", "rmdir", "hard link"];

/// The complaints of one part of a job.
#[derive(Debug, Default)]
pub(crate) struct Complaints {
    lines: Vec<Vec<u8>>,
    bytes: usize,
    /// Something went wrong of which nobody can say where.
    pub(crate) unclear: bool,
    /// Some of what was listed failed.
    pub(crate) partial: bool,
    /// rsync removed nothing since it could not read everything.
    pub(crate) deletions_skipped: bool,
    /// Listed directories that we could not read all of ourselves.
    pub(crate) unread: BTreeSet<RelPath>,
}

/// What lines say of listed paths.
#[derive(Debug, Default)]
pub(crate) struct Named {
    /// The last line that names each, escaped and cut.
    pub(crate) reasons: BTreeMap<RelPath, String>,
    /// Those of which a line alone proves that they failed.
    pub(crate) failed: BTreeSet<RelPath>,
    /// The first line that tells of a failure and names none; may be empty.
    pub(crate) general: String,
}

impl Complaints {
    /// Takes a line.
    pub(crate) fn push(&mut self, stream: Stream, line: &[u8]) {
        if line.starts_with(NO_DELETIONS) {
            self.deletions_skipped = true;
            return;
        }
        if stream == Stream::Output || SUMMARIES.iter().any(|words| line.starts_with(words)) {
            return;
        }
        self.bytes = self.bytes.saturating_add(line.len());
        if self.bytes > MAX_BYTES {
            self.unclear = true;
        } else {
            self.lines.push(line.to_vec());
        }
    }

    /// Which paths are named. `owner` knows the listed path that a name belongs to; `prefixes`
    /// may stand in front of names.
    pub(crate) fn named(&self, prefixes: &[Vec<u8>], owner: &dyn Fn(&RelPath) -> Option<RelPath>) -> Named {
        let mut named = Named::default();
        for line in &self.lines {
            let owners = owners(line, prefixes, owner);
            let proves = !HARMLESS.iter().any(|words| line.contains_str(words));
            if proves && owners.is_empty() && named.general.is_empty() {
                named.general = reason(line);
            }
            for path in owners {
                if proves {
                    named.failed.insert(path.clone());
                }
                named.reasons.insert(path, reason(line));
            }
        }
        for path in &self.unread {
            named.failed.insert(path.clone());
            named.reasons.entry(path.clone()).or_insert_with(|| "cannot be read here".to_owned());
        }
        named
    }

    /// Whether all that went wrong is that the remote's filesystem is read-only.
    pub(crate) fn is_read_only(&self) -> bool {
        let is_so = |line: &Vec<u8>| {
            line.contains_str("Read-only file system (30)") && !line.contains_str("[sender]")
        };
        // Directories that were not made room for, and so on, follow from it.
        self.lines.iter().any(is_so)
            && self.lines.iter().all(|line| is_so(line) || !line.contains_str("failed"))
    }

    /// Whether a read-only filesystem begins at the remote's own directory.
    pub(crate) fn is_read_only_at_the_top(&self, prefixes: &[Vec<u8>]) -> bool {
        let mut lines = self.lines.iter().filter(|line| line.contains_str("failed to set times on"));
        lines.any(|line| quoted(line).next().is_some_and(|name| below(name, prefixes) == b"."))
    }

    /// Whether all that went wrong is that nothing may be made on the remote, neither in its own
    /// directory nor in two others. One directory alone may be closed for a reason of its own.
    pub(crate) fn is_closed(&self, prefixes: &[Vec<u8>]) -> bool {
        let mut places = BTreeSet::new();
        for line in &self.lines {
            let says = |words: &&str| line.contains_str(words);
            if MAKING.iter().any(says) {
                if !line.contains_str("Permission denied (13)") || line.contains_str("[sender]") {
                    return false;
                }
                let Some(name) = quoted(line).next().map(|name| below(name, prefixes)) else { return false };
                places
                    .insert(name.rfind_byte(b'/').map_or(&b""[..], |at| name.get(..at).unwrap_or_default()));
            } else if line.contains_str("failed") && !says(&"Operation not permitted (1)") {
                return false;
            }
        }
        places.len() > 1 || places.contains(&b""[..])
    }
}

/// The name without what stands before it.
fn below<'a>(name: &'a [u8], prefixes: &[Vec<u8>]) -> &'a [u8] {
    let mut found = prefixes.iter().filter_map(|prefix| name.strip_prefix(&prefix[..])?.strip_prefix(b"/"));
    found.next().unwrap_or(name)
}

/// What stands between two quotes.
fn quoted(line: &[u8]) -> impl Iterator<Item = &[u8]> {
    line.split_str("\"").skip(1).step_by(2)
}

fn reason(line: &[u8]) -> String {
    let mut text = escape(line.get(..MAX_REASON).unwrap_or(line));
    text.truncate(text.floor_char_boundary(MAX_REASON));
    text
}

/// The listed paths that a line names. Names stand in quotes, in brackets, or at the end, and may
/// hold any of these themselves; so each piece is tried.
fn owners(
    line: &[u8],
    prefixes: &[Vec<u8>],
    owner: &dyn Fn(&RelPath) -> Option<RelPath>,
) -> BTreeSet<RelPath> {
    let marks = line.iter().enumerate().filter(|(_, byte)| b"\"(),".contains(byte)).map(|(at, _)| at);
    let marks: Vec<usize> = marks.take(MAX_MARKS).collect();
    let mut pieces: Vec<&[u8]> = Vec::new();
    for (number, &from) in marks.iter().enumerate() {
        let ends = marks.iter().skip(number.saturating_add(1));
        pieces.extend(ends.filter_map(|&to| line.get(from.saturating_add(1)..to)));
    }
    pieces.extend(line.find(b": ").and_then(|at| line.get(at.saturating_add(2)..)));
    pieces
        .extend(line.strip_prefix(b"ERROR: ").and_then(|rest| Some(rest.split_once_str(" failed verif")?.0)));
    pieces
        .into_iter()
        .flat_map(|piece| names(&unescape(piece), prefixes))
        .filter_map(|name| owner(&name))
        .collect()
}

/// What a name in a line may stand for: a temporary file for what it would have become.
fn names(piece: &[u8], prefixes: &[Vec<u8>]) -> Vec<RelPath> {
    let without = prefixes.iter().filter_map(|prefix| piece.strip_prefix(&prefix[..])?.strip_prefix(b"/"));
    let mut names = Vec::new();
    for name in without.chain([piece]) {
        names.extend(permanent(name).and_then(|name| RelPath::new(name).ok()));
        names.extend(RelPath::new(name).ok());
    }
    names
}

/// `d/NAME` for `d/.NAME.XXXXXX`.
fn permanent(name: &[u8]) -> Option<Vec<u8>> {
    let start = name.rfind_byte(b'/').map_or(0, |at| at.saturating_add(1));
    let (directory, name) = name.split_at_checked(start)?;
    let (name, random) = name.strip_prefix(b".")?.rsplit_once_str(".")?;
    let is_random = random.len() == 6 && random.iter().all(u8::is_ascii_alphanumeric);
    is_random.then(|| [directory, name].concat())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(text: &str) -> RelPath {
        RelPath::new(text).unwrap()
    }

    fn complaints(lines: &[&str]) -> Complaints {
        let mut complaints = Complaints::default();
        for line in lines {
            complaints.push(Stream::Errors, line.as_bytes());
        }
        complaints
    }

    /// Lines as rsync 3.5.0 wrote them, what they name, and whether that alone proves a failure.
    const MEASURED: &[(&str, &str, bool)] = &[
        (
            r#"rsync: [receiver] rename ".imm.yIoeMo" (in root) -> "imm": Operation not permitted (1)"#,
            "imm",
            true,
        ),
        (r#"rsync: [receiver] mkstemp "d/.new.BEp40J" (in m) failed: Permission denied (13)"#, "d/new", true),
        (
            "rsync: [generator] delete_file: unlink(dg/x/im) failed: Operation not permitted (1)",
            "dg/x/im",
            true,
        ),
        ("cannot delete non-empty directory: dg", "dg", true),
        ("could not make way for new regular file: d f", "d f", true),
        (
            r#"rsync: [generator] failed to set permissions on "a" (in m): Operation not permitted (1)"#,
            "a",
            true,
        ),
        (
            r#"rsync: [generator] failed to set times on "dd" (in m): Operation not permitted (1)"#,
            "dd",
            false,
        ),
        (r#"rsync: [generator] symlink "l" (in m) -> "x" failed: Permission denied (13)"#, "l", true),
        (
            r#"rsync: [generator] recv_generator: mkdir "nd" (in m) failed: Read-only file system (30)"#,
            "nd",
            true,
        ),
        (
            r#"rsync: [sender] send_files failed to open "/srv/u/secret": Permission denied (13)"#,
            "u/secret",
            true,
        ),
        (r#"rsync: [sender] link_stat "/srv/u/x" failed: Permission denied (13)"#, "u/x", true),
        (r#"rsync: [sender] read errors mapping "/srv/big": No data available (61)"#, "big", true),
        ("ERROR: d/big failed verification -- update discarded.", "d/big", true),
        ("WARNING: d/big failed verification -- update discarded (will try again).", "d/big", false),
        (r#"file has vanished: "/srv/v""#, "v", false),
        ("rsync: set_acl: sys_acl_set_file(d/f, ACL_TYPE_ACCESS): Operation not supported (95)", "d/f", true),
        (
            r#"rsync: [receiver] rsync_xal_set: lsetxattr("d/f","user.x") failed: No space left (28)"#,
            "d/f",
            true,
        ),
        (
            r#"rsync: [receiver] mkstemp ".q"x (y), z.ulomGu" (in m) failed: Permission denied (13)"#,
            r#"q"x (y), z"#,
            true,
        ),
        (
            r#"rsync: [receiver] mkstemp ".n\#012w.0sGaLL" (in m) failed: Permission denied (13)"#,
            "n\nw",
            true,
        ),
    ];

    #[test]
    fn measured_lines() {
        for &(line, named, fails) in MEASURED {
            let owner = |found: &RelPath| (*found == path(named)).then(|| found.clone());
            let found = complaints(&[line]).named(&[b"/srv".to_vec()], &owner);
            // A warning says its name only where nothing follows that matters.
            let is_known = found.reasons.contains_key(&path(named)) || line.starts_with("WARNING");
            assert!(is_known, "{line}");
            assert_eq!(found.failed.contains(&path(named)), fails, "{line}");
        }
    }

    #[test]
    fn the_last_line_counts_and_is_short() {
        let long = format!("rsync: \"a\" {}", "x".repeat(900));
        let said = complaints(&["rsync: \"a\" first", "rsync: of nothing", &long, "rsync error: all"]);
        let named = said.named(&[], &|found| (*found == path("a")).then(|| found.clone()));
        assert_eq!(named.reasons[&path("a")], long[..MAX_REASON]);
        assert_eq!(named.general, "rsync: of nothing");
    }

    #[test]
    fn bounded() {
        let line = "x".repeat(20_000);
        let mut said = complaints(&[&line]);
        assert!(!said.unclear);
        (0..200).for_each(|_| said.push(Stream::Errors, line.as_bytes()));
        assert!(said.unclear && said.lines.len() < 150);
    }

    #[test]
    fn remotes_that_cannot_be_written() {
        let closed = |lines: &[&str]| {
            (complaints(lines).is_read_only(), complaints(lines).is_closed(&[b"/srv".to_vec()]))
        };
        let times = r#"rsync: [generator] failed to set times on "." (in m): Operation not permitted (1)"#;
        let top = r#"rsync: [receiver] mkstemp ".a.X12345" (in m) failed: Permission denied (13)"#;
        let below = r#"rsync: [receiver] mkstemp "d/.a.X12345" (in m) failed: Permission denied (13)"#;
        let beside = r#"rsync: recv_generator: mkdir "e/x" (in m) failed: Permission denied (13)"#;
        let skipping = "*** Skipping any contents from this failed directory ***";
        assert_eq!(closed(&[times, top]), (false, true));
        // Over ssh.
        let absolute = r#"rsync: [receiver] mkstemp "/srv/.a.X12345" failed: Permission denied (13)"#;
        assert_eq!(closed(&[absolute]), (false, true));
        let at_the_top = |line: &str| complaints(&[line]).is_read_only_at_the_top(&[b"/srv".to_vec()]);
        assert!(at_the_top(times) && !at_the_top(top));
        assert!(at_the_top(
            r#"rsync: [generator] failed to set times on "/srv/.": Read-only file system (30)"#
        ));
        assert_eq!(closed(&[below, times]), (false, false));
        assert_eq!(closed(&[below, below]), (false, false));
        assert_eq!(closed(&[below, beside, skipping]), (false, true));
        let other = r#"rsync: [sender] send_files failed to open "/srv/u": Permission denied (13)"#;
        assert_eq!(closed(&[below, beside, other]), (false, false));
        assert_eq!(closed(&[times]), (false, false));
        let read_only = r#"rsync: [generator] symlink "l" (in m) -> "x" failed: Read-only file system (30)"#;
        assert_eq!(closed(&[read_only, "cannot delete non-empty directory: d"]), (true, false));
        assert_eq!(closed(&[read_only, top]), (false, false));
        assert_eq!(closed(&[]), (false, false));
    }
}
