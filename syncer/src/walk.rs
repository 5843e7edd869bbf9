//! The entries of some subtrees that the filter lets through, as parts of a list for rsync:
//! made while rsync reads, so that a tree of millions never stands in memory.

use std::collections::BTreeSet;

use common::filter::{EntryKind, Filter};
use common::path::RelPath;
use nix::dir::{Dir, Entry, OwningIter, Type};
use nix::errno::Errno;
use nix::sys::stat::fstat;

use crate::list::Kind;
use crate::root::{Root, is_dot};
use crate::rsync::Feed;
use crate::transfers::append;

/// Entries looked at before rsync gets its turn.
const STEP: u32 = 512;

/// Whether directories on other filesystems are entered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mounts {
    /// They are.
    Enter,
    /// They are only named (rsync's `-x`).
    Stay,
}

/// A walk under way.
pub(crate) struct Walk<'a> {
    root: &'a Root,
    filter: &'a Filter,
    mounts: Mounts,
    /// Subtrees to walk, the next one last.
    tops: Vec<RelPath>,
    /// Directories to read in this subtree, the next one last.
    pending: Vec<RelPath>,
    open: Option<(RelPath, OwningIter)>,
    /// The filesystem of this subtree.
    device: Option<u64>,
    failures: u64,
    /// The subtree that is walked.
    top: RelPath,
    /// Subtrees of which something could not be read.
    unread: BTreeSet<RelPath>,
}

impl<'a> Walk<'a> {
    /// Walks `tops`, of which none lies below another.
    pub(crate) fn new(root: &'a Root, filter: &'a Filter, mounts: Mounts, tops: &[RelPath]) -> Walk<'a> {
        let tops = tops.iter().rev().cloned().collect();
        Walk {
            root,
            filter,
            mounts,
            tops,
            pending: Vec::new(),
            open: None,
            device: None,
            failures: 0,
            top: RelPath::root(),
            unread: BTreeSet::new(),
        }
    }

    /// Directories and names that could not be read.
    pub(crate) fn failures(&self) -> u64 {
        self.failures
    }

    /// The subtrees in which they are.
    pub(crate) fn into_unread(self) -> BTreeSet<RelPath> {
        self.unread
    }

    /// Appends the next entries; what cannot be read is counted and left out.
    pub(crate) fn feed(&mut self, buffer: &mut Vec<u8>) -> Feed {
        for _ in 0..STEP {
            if self.step(buffer) == Feed::End {
                return Feed::End;
            }
        }
        Feed::More
    }

    fn step(&mut self, buffer: &mut Vec<u8>) -> Feed {
        if let Some((directory, entries)) = &mut self.open {
            match entries.next() {
                Some(Ok(entry)) => {
                    let directory = directory.clone();
                    self.visit(&directory, &entry, buffer);
                    return Feed::More;
                }
                Some(Err(_)) => self.fail(),
                None => {}
            }
            self.open = None;
            return Feed::More;
        }
        if let Some(directory) = self.pending.pop() {
            self.enter(directory);
            return Feed::More;
        }
        let Some(top) = self.tops.pop() else { return Feed::End };
        self.top = top.clone();
        if !self.filter.excludes_within(&top, EntryKind::Directory) {
            if !top.is_root() {
                append(buffer, &top);
            }
            self.device = None;
            self.pending.push(top);
        }
        Feed::More
    }

    fn visit(&mut self, directory: &RelPath, entry: &Entry, buffer: &mut Vec<u8>) {
        let name = entry.file_name().to_bytes();
        if is_dot(name) {
            return;
        }
        let Ok(path) = directory.join(name) else { return self.fail() };
        let kind = match entry.file_type() {
            Some(Type::Directory) => Kind::Directory,
            Some(_) => Kind::Other,
            None => self.root.kind(path.as_bytes()),
        };
        let kind = if kind == Kind::Directory { EntryKind::Directory } else { EntryKind::File };
        if self.filter.excludes(&path, kind) {
            return;
        }
        append(buffer, &path);
        if kind == EntryKind::Directory {
            self.pending.push(path);
        }
    }

    fn enter(&mut self, directory: RelPath) {
        let opened =
            self.root.open_dir(&directory).and_then(|fd| Ok((fstat(&fd)?.st_dev, Dir::from_fd(fd)?)));
        match opened {
            Ok((device, entries)) => {
                if self.mounts == Mounts::Enter || device == *self.device.get_or_insert(device) {
                    self.open = Some((directory, entries.into_iter()));
                }
            }
            // Gone, or no directory any more: its own event comes.
            Err(Errno::ENOENT | Errno::ENOTDIR | Errno::ELOOP) => {}
            Err(_) => self.fail(),
        }
    }

    fn fail(&mut self) {
        self.failures = self.failures.saturating_add(1);
        if !self.unread.contains(&self.top) {
            self.unread.insert(self.top.clone());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use common::config::FilterExpression;
    use common::event::RootId;
    use std::fs;
    use std::os::unix::fs::symlink;
    use std::path::Path;

    fn walked(root: &Path, expression: &str, tops: &[&str]) -> BTreeSet<String> {
        let meta = fs::metadata(root).unwrap();
        let root = Root::open(root.as_os_str(), RootId::from(&meta)).unwrap();
        let filter = Filter::new(&[FilterExpression(expression.into())]).unwrap();
        let tops: Vec<_> = tops.iter().map(|top| RelPath::new(*top).unwrap()).collect();
        let mut walk = Walk::new(&root, &filter, Mounts::Stay, &tops);
        let mut buffer = Vec::new();
        while walk.feed(&mut buffer) == Feed::More {}
        assert_eq!(walk.failures(), 0);
        let text = String::from_utf8(buffer).unwrap();
        text.split_terminator('\0').map(|entry| entry.strip_prefix("./").unwrap().to_owned()).collect()
    }

    #[test]
    fn what_is_listed() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path();
        for path in ["a/b/c", "a/cache", "skip/x", "e"] {
            fs::create_dir_all(root.join(path)).unwrap();
        }
        for path in ["a/1", "a/b/2.tmp", "a/b/c/3", "a/cache/4", "skip/x/5"] {
            fs::write(root.join(path), "x").unwrap();
        }
        symlink("/", root.join("a/link")).unwrap();
        let all = walked(root, r".*\.tmp|skip/|.*/cache/", &[""]);
        let wanted = ["a", "a/1", "a/b", "a/b/c", "a/b/c/3", "a/link", "e"];
        assert_eq!(all.iter().map(String::as_str).collect::<Vec<_>>(), wanted);
        let some = walked(root, "/a/b", &["a/b", "e", "gone", "skip/x"]);
        assert_eq!(some.iter().map(String::as_str).collect::<Vec<_>>(), ["e", "gone", "skip/x", "skip/x/5"]);
    }

    #[test]
    fn more_than_one_step() {
        let dir = tempfile::tempdir().unwrap();
        for i in 0..1500 {
            fs::write(dir.path().join(i.to_string()), "").unwrap();
        }
        assert_eq!(walked(dir.path(), "7", &[""]).len(), 1499);
    }
}
