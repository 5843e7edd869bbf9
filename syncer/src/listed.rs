//! Subtrees under a filter of regular expressions, which rsync does not know: here the list is
//! made by us, entry by entry, and so is the list of what has to go on the remote.
//!
//! What the filter excludes neither travels nor is deleted. A dry run tells what a plain
//! `--delete` would remove; of that, excluded paths and the directories that hold them stay.

use std::collections::BTreeSet;

use common::filter::{EntryKind, Filter};
use common::message::{Deletions, Outcome};
use common::path::RelPath;

use crate::argv::{self, Errand, Form};
use crate::job::{Transfers, feed, goes_on};
use crate::list::Kind;
use crate::rsync::Feed;
use crate::walk::{Mounts, Walk};

/// rsync's `%i`, eleven characters wide, where something would be deleted, and the blank after it.
const DELETING: &[u8] = b"*deleting   ";
/// Most bytes of names to be removed that are kept from one dry run.
const MAX_BYTES: usize = 32 << 20;

impl Transfers<'_> {
    /// Brings `tops`, directories or the root, over; removes on the remote what is missing here.
    pub(crate) fn listed(&mut self, form: Form, deletions: Deletions, tops: &[RelPath]) {
        let form = match form {
            Form::Whole | Form::WholeListed => Form::WholeListed,
            Form::Deep | Form::Shallow => Form::Shallow,
        };
        let slice = &self.worker.slice;
        let stay = argv::sets(&slice.remote.rsync.params, "--one-file-system", Some(b'x'));
        let mounts = if stay { Mounts::Stay } else { Mounts::Enter };
        let mut walk = Walk::new(self.root, &self.worker.filter, mounts, tops);
        let outcome = self.transfer(Errand::Send(form, deletions), &mut |buffer| walk.feed(buffer));
        if walk.failures() > 0 {
            let tail = format!("{} directories or names could not be read", walk.failures());
            self.worst_of(Outcome::Partial, 0, tail);
        }
        // A full remote may need nothing but the room that removing makes.
        let removes = argv::possible(slice, deletions, self.abilities) == Deletions::Travel;
        if removes && (goes_on(outcome) || outcome == Outcome::NoSpace) {
            self.remove(form, tops);
        }
    }

    fn remove(&mut self, form: Form, tops: &[RelPath]) {
        let filter = &self.worker.filter;
        let mut extra = Extra::default();
        let look = match form {
            Form::Whole | Form::WholeListed => Form::Whole,
            Form::Deep | Form::Shallow => Form::Deep,
        };
        let mut names = tops.iter().filter(|_| look == Form::Deep);
        let outcome =
            self.transfer_with(Errand::Look(look), &mut |buffer| feed(&mut names, buffer), &mut |line| {
                extra.push(line, filter);
            });
        if !goes_on(outcome) {
            return;
        }
        let (paths, complete) = extra.removable();
        let missing: Vec<RelPath> =
            paths.into_iter().filter(|path| self.root.kind(path.as_bytes()) == Kind::Missing).collect();
        if self.erases(Deletions::Travel) {
            self.erase(&missing);
        } else if !missing.is_empty() {
            let mut paths = missing.iter();
            self.transfer(Errand::Send(form, Deletions::Travel), &mut |buffer| feed(&mut paths, buffer));
        }
        if complete == Feed::More {
            self.worst_of(Outcome::Partial, 0, "more is to be removed than one run can hold".to_owned());
        }
    }
}

/// What the remote has and we have not, as a dry run tells it.
#[derive(Debug, Default)]
struct Extra {
    files: BTreeSet<RelPath>,
    directories: BTreeSet<RelPath>,
    /// Directories that hold something excluded.
    holders: BTreeSet<RelPath>,
    bytes: usize,
    overflow: bool,
}

impl Extra {
    fn push(&mut self, line: &[u8], filter: &Filter) {
        let Some(name) = line.strip_prefix(DELETING) else { return };
        let name = unescape(name);
        let (name, kind) = match name.strip_suffix(b"/") {
            Some(directory) => (directory.to_vec(), EntryKind::Directory),
            None => (name, EntryKind::File),
        };
        let Ok(path) = RelPath::new(name) else { return };
        let excluded = filter.excludes_within(&path, kind);
        self.bytes = self.bytes.saturating_add(path.as_bytes().len());
        if self.bytes > MAX_BYTES {
            self.overflow = true;
        } else if excluded {
            self.holders.extend(path.ancestors().filter_map(|above| RelPath::new(above).ok()));
        } else {
            match kind {
                EntryKind::Directory => self.directories.insert(path),
                EntryKind::File => self.files.insert(path),
            };
        }
    }

    /// The topmost paths whose removal removes nothing that is excluded, and whether they are
    /// all. Where not all is known, no directory is removed: what it holds may be excluded.
    fn removable(self) -> (Vec<RelPath>, Feed) {
        let (holders, overflow) = (self.holders, self.overflow);
        let directories: BTreeSet<RelPath> =
            self.directories.into_iter().filter(|path| !overflow && !holders.contains(path)).collect();
        let is_top = |path: &RelPath| !path.ancestors().any(|above| directories.contains(above));
        let all = directories.iter().chain(&self.files);
        let tops = all.filter(|path| is_top(path)).cloned().collect();
        (tops, if overflow { Feed::More } else { Feed::End })
    }
}

/// rsync writes a byte that it does not like to print as `\#ooo`.
fn unescape(name: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(name.len());
    let mut rest = name;
    while let [first, after @ ..] = rest {
        if let [b'\\', b'#', a @ b'0'..=b'3', b @ b'0'..=b'7', c @ b'0'..=b'7', after @ ..] = rest {
            let digit = |byte: &u8| byte.saturating_sub(b'0');
            bytes.push(digit(a) << 6 | digit(b) << 3 | digit(c));
            rest = after;
        } else {
            bytes.push(*first);
            rest = after;
        }
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;
    use common::config::FilterExpression;

    fn removable(lines: &[&str], expression: &str) -> Vec<String> {
        let filter = Filter::new(&[FilterExpression(expression.into())]).unwrap();
        let mut extra = Extra::default();
        for line in lines {
            extra.push(line.as_bytes(), &filter);
        }
        extra.removable().0.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn what_may_go() {
        let lines = [
            "*deleting   x/sub/deep/1",
            "*deleting   x/sub/deep/",
            "*deleting   x/sub/",
            "*deleting   x/keep.log",
            "*deleting   x/other",
            "*deleting   x/",
            "*deleting   cache/a",
            "*deleting   cache/",
            "*deleting   y/1",
            "*deleting   y/",
            "*deleting   ../../etc/passwd",
            "*deleting   /etc/passwd",
            ".d..t...... ./",
            "cannot delete non-empty directory: z",
        ];
        assert_eq!(removable(&lines, r".*\.log|cache/"), ["\"x/sub\"", "\"y\"", "\"x/other\""]);
    }

    #[test]
    fn too_much_for_one_run() {
        let filter = Filter::new(&[FilterExpression(b"z.*".to_vec())]).unwrap();
        let mut extra = Extra { bytes: MAX_BYTES - 3, ..Extra::default() };
        for line in ["*deleting   d/", "*deleting   f", "*deleting   d/zz"] {
            extra.push(line.as_bytes(), &filter);
        }
        assert_eq!(extra.removable(), (vec![RelPath::new("f").unwrap()], Feed::More));
    }

    #[test]
    fn escapes() {
        assert_eq!(unescape(br"a\#012b\#377\#134#012\#9\x\"), b"a\nb\xff\\#012\\#9\\x\\");
    }
}
