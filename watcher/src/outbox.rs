//! What waits for the supervisor: changes, each path once, and other reports in between.
//!
//! Pure. While the report socket takes what it is given, things pass through here within one
//! turn; when it does not, changes of one path merge ([`Dirt::then`]), and when even that grows
//! beyond bounds the changes become one rescan.

use std::collections::VecDeque;
use std::hash::BuildHasher;

use common::event::{Change, Dirt, TreeId, merged};
use common::filter::EntryKind;
use common::keep::{NameOp, Stamp};
use common::message::{LossCause, WatcherReport};
use common::path::RelPath;
use hashbrown::DefaultHashBuilder;

use crate::shards::Shards;

/// Most changes that may wait.
const MAX_CHANGES: usize = 200_000;
/// Most bytes that their paths may take.
const MAX_BYTES: usize = 64 << 20;
/// Bytes of one frame; the limit of the wire less what surrounds the changes.
pub(crate) const FRAME_BYTES: usize = 60 << 10;
/// Most renames that may wait. What is beyond travels as something new.
const MAX_MOVES: usize = 256;
/// Most bytes that a change takes beside its path: length, dirt and mask.
const CHANGE_BYTES: usize = 12;

enum Entry {
    /// With what was found there behind the event, if that was looked at.
    Change(TreeId, Change, Option<Stamp>),
    /// A name is gone, and only the index is to know.
    Gone(TreeId, RelPath),
    Report(WatcherReport),
}

/// What waits for the supervisor, oldest first.
pub(crate) struct Outbox {
    queue: VecDeque<Entry>,
    /// Renames, which go first: each says what changes that follow it have in common.
    moves: VecDeque<WatcherReport>,
    /// How many entries have left the queue: numbers in `index` count from the first ever.
    left: u64,
    /// Numbers of the changes that a later change of the same path may merge with.
    index: Shards<u64>,
    hasher: DefaultHashBuilder,
    changes: usize,
    bytes: usize,
    max_changes: usize,
    /// What was found behind each change of the last frame.
    stamps: Vec<Option<Stamp>>,
    /// Names are told with the changes, and lost with them.
    tells_names: bool,
}

impl Outbox {
    /// Nothing waits.
    pub(crate) fn new() -> Outbox {
        Outbox::bounded(MAX_CHANGES)
    }

    fn bounded(max_changes: usize) -> Outbox {
        Outbox {
            queue: VecDeque::new(),
            moves: VecDeque::new(),
            left: 0,
            index: Shards::new(),
            hasher: DefaultHashBuilder::default(),
            changes: 0,
            bytes: 0,
            max_changes,
            stamps: Vec::new(),
            tells_names: false,
        }
    }

    /// The same, for changes whose names are told.
    pub(crate) fn with_names() -> Outbox {
        Outbox { tells_names: true, ..Outbox::new() }
    }

    /// True when nothing waits.
    pub(crate) fn is_empty(&self) -> bool {
        self.queue.is_empty() && self.moves.is_empty()
    }

    /// Adds a change.
    pub(crate) fn change(&mut self, tree: TreeId, path: RelPath, dirt: Dirt, mask: u32) {
        self.seen(tree, path, (dirt, mask), None);
    }

    /// The same, with what was found there behind the event.
    pub(crate) fn seen(
        &mut self,
        tree: TreeId,
        path: RelPath,
        (dirt, mask): (Dirt, u32),
        stamp: Option<Stamp>,
    ) {
        let hash = self.hasher.hash_one((tree, path.as_bytes()));
        let (queue, left) = (&mut self.queue, self.left);
        let same = |number| matches!(entry(queue, left, number), Some(Entry::Change(t, c, _)) if *t == tree && c.path == path);
        if let Some(number) = self.index.find(hash, same) {
            if let Some(Entry::Change(_, change, seen)) = entry_mut(queue, left, number) {
                change.dirt = change.dirt.then(dirt);
                change.mask = merged(change.mask, mask);
                *seen = stamp;
            }
            return;
        }
        self.changes += 1;
        self.bytes += path.as_bytes().len();
        let number = self.left + self.queue.len() as u64;
        self.queue.push_back(Entry::Change(tree, Change { path, dirt, mask }, stamp));
        let (queue, hasher) = (&self.queue, &self.hasher);
        self.index.add(hash, number, |number| match entry(queue, left, number) {
            Some(Entry::Change(tree, change, _)) => hasher.hash_one((*tree, change.path.as_bytes())),
            Some(Entry::Gone(..) | Entry::Report(_)) | None => 0,
        });
        self.bound();
    }

    /// Adds a name that is gone, for the index alone. What comes after it does not merge with what
    /// came before.
    pub(crate) fn gone(&mut self, tree: TreeId, path: RelPath, kind: EntryKind) {
        match kind {
            // With all below it.
            EntryKind::Directory => self.index.clear(),
            EntryKind::File => {
                let hash = self.hasher.hash_one((tree, path.as_bytes()));
                let (queue, left) = (&self.queue, self.left);
                let same = |number| matches!(entry(queue, left, number), Some(Entry::Change(t, c, _)) if *t == tree && c.path == path);
                if let Some(number) = self.index.find(hash, same) {
                    self.index.remove(hash, number);
                }
            }
        }
        self.changes += 1;
        self.bytes += path.as_bytes().len();
        self.queue.push_back(Entry::Gone(tree, path));
        self.bound();
    }

    /// Says that one directory or file had and has these names.
    pub(crate) fn moved(&mut self, tree: TreeId, kind: EntryKind, from: RelPath, to: RelPath) {
        if self.moves.len() < MAX_MOVES {
            self.moves.push_back(WatcherReport::Moved { tree, kind, from, to });
        }
    }

    fn bound(&mut self) {
        if self.changes > self.max_changes || self.bytes > MAX_BYTES {
            self.give_up();
        }
    }

    /// Adds a report that keeps its place among the changes: what comes after it does not merge
    /// with what came before.
    pub(crate) fn report(&mut self, report: WatcherReport) {
        self.index.clear();
        if let (Some(Entry::Report(last)), WatcherReport::Rescan { .. }) = (self.queue.back(), &report)
            && *last == report
        {
            return;
        }
        self.queue.push_back(Entry::Report(report));
    }

    /// Takes the next report: one of those in between, or a frame of changes of one tree.
    pub(crate) fn next(&mut self) -> Option<WatcherReport> {
        if let Some(moved) = self.moves.pop_front() {
            return Some(moved);
        }
        let tree = match self.pop()? {
            Entry::Report(report) => return Some(report),
            Entry::Gone(tree, path) => return Some(self.names(tree, path)),
            Entry::Change(tree, change, stamp) => {
                let mut bytes = size(&change);
                let mut frame = vec![change];
                self.stamps.clear();
                self.stamps.push(stamp);
                while let Some(Entry::Change(next_tree, next, _)) = self.queue.front()
                    && *next_tree == tree
                    && bytes + size(next) <= FRAME_BYTES
                {
                    bytes += size(next);
                    if let Some(Entry::Change(_, next, stamp)) = self.pop() {
                        frame.push(next);
                        self.stamps.push(stamp);
                    }
                }
                (tree, frame)
            }
        };
        Some(WatcherReport::Changes(tree.0, tree.1))
    }

    /// For each change of the frame that came last, what was found behind its event.
    pub(crate) fn stamps(&self) -> &[Option<Stamp>] {
        &self.stamps
    }

    /// A frame of names that are gone, beginning with this one.
    fn names(&mut self, tree: TreeId, first: RelPath) -> WatcherReport {
        let mut bytes = first.as_bytes().len() + CHANGE_BYTES;
        let mut frame = vec![NameOp::Gone(first)];
        while let Some(Entry::Gone(next_tree, next)) = self.queue.front()
            && *next_tree == tree
            && bytes + next.as_bytes().len() + CHANGE_BYTES <= FRAME_BYTES
        {
            bytes += next.as_bytes().len() + CHANGE_BYTES;
            if let Some(Entry::Gone(_, next)) = self.pop() {
                frame.push(NameOp::Gone(next));
            }
        }
        WatcherReport::Names(tree, frame)
    }

    fn pop(&mut self) -> Option<Entry> {
        let entry = self.queue.pop_front()?;
        if let Entry::Change(_, Change { path, .. }, _) | Entry::Gone(_, path) = &entry {
            self.changes -= 1;
            self.bytes -= path.as_bytes().len();
        }
        if let Entry::Change(tree, change, _) = &entry {
            let (hash, number) = (self.hasher.hash_one((*tree, change.path.as_bytes())), self.left);
            self.index.remove(hash, number);
        }
        self.left += 1;
        if self.queue.is_empty() {
            // Whatever a burst needed is given back.
            self.queue.shrink_to(1024);
            self.stamps.shrink_to(1024);
            self.index.clear();
        }
        Some(entry)
    }

    /// Puts one rescan of the root in place of the changes of each tree.
    fn give_up(&mut self) {
        log::warn!(
            "watcher backlog changes={}: the supervisor is behind; the trees are rescanned",
            self.changes
        );
        self.index.clear();
        self.moves.clear();
        (self.changes, self.bytes) = (0, 0);
        let mut lost: Vec<TreeId> = Vec::new();
        let mut kept = VecDeque::new();
        for entry in self.queue.drain(..) {
            match entry {
                Entry::Report(report) => kept.push_back(Entry::Report(report)),
                // The index is listed anew.
                Entry::Gone(..) => {}
                Entry::Change(tree, ..) if lost.contains(&tree) => {}
                Entry::Change(tree, ..) => lost.push(tree),
            }
        }
        self.queue = kept;
        // Before what waits there: nobody is to be told that all was reported. What a rescan finds is
        // looked at once it has arrived, so it is newer than all that it replaces.
        for tree in lost.into_iter().rev() {
            let rescan = WatcherReport::Rescan { tree, path: RelPath::root(), cause: LossCause::Backlog };
            self.queue.push_front(Entry::Report(rescan));
        }
        // Before these too: no listing that was over by now is to count as theirs.
        if self.tells_names {
            self.queue.push_front(Entry::Report(WatcherReport::NamesLost));
        }
    }
}

fn entry(queue: &VecDeque<Entry>, left: u64, number: u64) -> Option<&Entry> {
    queue.get(usize::try_from(number.checked_sub(left)?).ok()?)
}

fn entry_mut(queue: &mut VecDeque<Entry>, left: u64, number: u64) -> Option<&mut Entry> {
    queue.get_mut(usize::try_from(number.checked_sub(left)?).ok()?)
}

fn size(change: &Change) -> usize {
    change.path.as_bytes().len() + CHANGE_BYTES
}

#[cfg(test)]
mod tests;
