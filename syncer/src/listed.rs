//! Subtrees under a filter of regular expressions, which rsync does not know: here the list is
//! made by us, entry by entry, and so is the list of what has to go on the remote.
//!
//! What the filter excludes neither travels nor is deleted. A dry run tells what a plain
//! `--delete` would remove; of that, excluded paths and the directories that hold them stay.

use std::collections::{BTreeMap, BTreeSet};

use common::filter::{EntryKind, Filter};
use common::message::{Deletions, DifferenceKind, Outcome};
use common::path::RelPath;

use crate::argv::{self, Errand, Form};
use crate::itemized::item;
use crate::job::{JobEnd, Worker};
use crate::list::Kind;
use crate::root::Root;
use crate::rsync::Feed;
use crate::transfers::{Transfers, feed, goes_on};
use crate::walk::{Mounts, Walk};

/// Most bytes of names to be removed that are kept from one dry run.
const MAX_BYTES: usize = 32 << 20;

impl<'a> Transfers<'a> {
    /// Brings `tops`, directories or the root, over; removes on the remote what is missing here.
    pub(crate) fn listed(&mut self, form: Form, deletions: Deletions, tops: &[RelPath]) {
        let listed = by_name(form);
        let mut walk = self.walk(tops);
        let outcome = self.transfer(Errand::Send(listed, deletions), &mut |buffer| walk.feed(buffer));
        if walk.failures() > 0 {
            let tail = format!("{} directories or names could not be read", walk.failures());
            self.worst_of(Outcome::Partial, 0, tail);
        }
        self.complaints.unread.extend(walk.into_unread());
        // A full remote may need nothing but the room that removing makes.
        let removes = argv::possible(&self.worker.slice, deletions, self.abilities) == Deletions::Travel;
        if removes && (goes_on(outcome) || outcome == Outcome::NoSpace) {
            self.remove(listed, tops);
        }
    }

    /// The entries of `tops` that the filter lets through.
    pub(crate) fn walk(&self, tops: &[RelPath]) -> Walk<'a> {
        let (root, worker): (&'a Root, &'a Worker) = (self.root, self.worker);
        let stay = argv::sets(&worker.slice.remote.rsync.params, "--one-file-system", Some(b'x'));
        let mounts = if stay { Mounts::Stay } else { Mounts::Enter };
        Walk::new(root, &worker.filter, mounts, tops)
    }

    fn remove(&mut self, listed: Form, tops: &[RelPath]) {
        let (end, removable) = self.look(listed, tops);
        let outcome = end.outcome;
        self.worst_of(outcome, end.status, end.tail);
        if !goes_on(outcome) {
            return;
        }
        let most = self.max_delete.filter(|_| listed == Form::WholeListed);
        let (missing, skipped) = bounded(removable.tops, most.map(u64::from));
        if self.erases(Deletions::Travel) {
            self.erase(&missing);
        } else if !missing.is_empty() {
            let mut paths = missing.iter();
            let errand = Errand::Send(listed, Deletions::Travel);
            self.transfer(errand, &mut |buffer| feed(&mut paths, buffer));
        }
        if skipped > 0 {
            let tail = format!("Deletions stopped due to --max-delete limit ({skipped} skipped)");
            self.worst_of(Outcome::Partial, 0, tail);
        }
        if removable.complete == Feed::More {
            self.complaints.unclear = true;
            self.worst_of(Outcome::Partial, 0, "more is to be removed than one run can hold".to_owned());
        }
    }

    /// What the remote has below `tops` and we have not, as far as the filter lets it go.
    pub(crate) fn look(&mut self, listed: Form, tops: &[RelPath]) -> (JobEnd, Removable) {
        let (filter, mut extra) = (&self.worker.filter, Extra::default());
        let form = match listed {
            Form::Whole | Form::WholeListed => Form::Whole,
            Form::Deep | Form::Shallow => Form::Deep,
        };
        let mut names = tops.iter().filter(|_| form == Form::Deep);
        let argv = argv::argv(&self.worker.slice, Errand::Look(form), self.abilities);
        let mut output = |line: &[u8]| extra.push(line, filter);
        let end = self.run(None, &argv, &mut |buffer| feed(&mut names, buffer), &mut output);
        let mut removable = extra.removable();
        removable.tops.retain(|top| self.root.kind(top.path.as_bytes()) == Kind::Missing);
        (end, removable)
    }
}

/// The form of a list that we make ourselves.
pub(crate) fn by_name(form: Form) -> Form {
    match form {
        Form::Whole | Form::WholeListed => Form::WholeListed,
        Form::Deep | Form::Shallow => Form::Shallow,
    }
}

/// As many of `tops` as hold no more than `most` names, and how many names that leaves.
fn bounded(tops: Vec<Top>, most: Option<u64>) -> (Vec<RelPath>, u64) {
    let (mut left, mut skipped) = (most.unwrap_or(u64::MAX), 0_u64);
    let mut paths = Vec::new();
    for top in tops {
        if let Some(rest) = left.checked_sub(top.names) {
            left = rest;
            paths.push(top.path);
        } else {
            skipped = skipped.saturating_add(top.names);
        }
    }
    (paths, skipped)
}

/// What may go on the remote.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Removable {
    pub(crate) tops: Vec<Top>,
    /// Whether these are all.
    pub(crate) complete: Feed,
}

/// A file, or a directory with all below it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Top {
    pub(crate) path: RelPath,
    pub(crate) kind: EntryKind,
    /// How many names go with it, itself included.
    pub(crate) names: u64,
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
        let Some(item) = item(line).filter(|item| item.kind == DifferenceKind::Extra) else { return };
        let (path, kind) = (item.path, if item.directory { EntryKind::Directory } else { EntryKind::File });
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
    fn removable(self) -> Removable {
        let (holders, overflow) = (self.holders, self.overflow);
        let directories: BTreeSet<RelPath> =
            self.directories.into_iter().filter(|path| !overflow && !holders.contains(path)).collect();
        let top_of = |path: &RelPath| {
            let above = path.ancestors().find_map(|above| directories.get(above));
            above.unwrap_or(path).clone()
        };
        let (mut tops, kinds) = (BTreeMap::new(), [EntryKind::Directory, EntryKind::File]);
        for (paths, kind) in [&directories, &self.files].into_iter().zip(kinds) {
            for path in paths {
                // The outermost of directories comes before what it holds.
                let (_, names) = tops.entry(top_of(path)).or_insert((kind, 0_u64));
                *names = names.saturating_add(1);
            }
        }
        let tops = tops.into_iter().map(|(path, (kind, names))| Top { path, kind, names }).collect();
        Removable { tops, complete: if overflow { Feed::More } else { Feed::End } }
    }
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
        extra.removable().tops.iter().map(|top| format!("{} {}", top.path, top.names)).collect()
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
        assert_eq!(removable(&lines, r".*\.log|cache/"), ["\"x/other\" 1", "\"x/sub\" 3", "\"y\" 2"]);
    }

    #[test]
    fn no_more_than_allowed() {
        let top = |path, names| Top { path: RelPath::new(path).unwrap(), kind: EntryKind::File, names };
        let tops = || vec![top("a", 3), top("b", 9), top("c", 2)];
        let shown = |most| {
            let (paths, skipped) = bounded(tops(), most);
            (paths.iter().map(ToString::to_string).collect::<String>(), skipped)
        };
        assert_eq!(shown(None), ("\"a\"\"b\"\"c\"".to_owned(), 0));
        assert_eq!(shown(Some(5)), ("\"a\"\"c\"".to_owned(), 9));
        assert_eq!(shown(Some(0)), (String::new(), 14));
    }

    #[test]
    fn too_much_for_one_run() {
        let filter = Filter::new(&[FilterExpression(b"z.*".to_vec())]).unwrap();
        let mut extra = Extra { bytes: MAX_BYTES - 3, ..Extra::default() };
        for line in ["*deleting   d/", "*deleting   f", "*deleting   d/zz"] {
            extra.push(line.as_bytes(), &filter);
        }
        let f = Top { path: RelPath::new("f").unwrap(), kind: EntryKind::File, names: 1 };
        assert_eq!(extra.removable(), Removable { tops: vec![f], complete: Feed::More });
    }
}
