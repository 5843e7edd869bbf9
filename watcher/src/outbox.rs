//! What waits for the supervisor: changes, each path once, and other reports in between.
//!
//! Pure. While the report socket takes what it is given, things pass through here within one
//! turn; when it does not, changes of one path merge ([`Dirt::then`]), and when even that grows
//! beyond bounds the changes become one rescan.

use std::collections::VecDeque;
use std::hash::BuildHasher;

use common::event::{Change, Dirt, TreeId, merged};
use common::message::{LossCause, WatcherReport};
use common::path::RelPath;
use hashbrown::{DefaultHashBuilder, HashTable};

/// Most changes that may wait.
const MAX_CHANGES: usize = 200_000;
/// Most bytes that their paths may take.
const MAX_BYTES: usize = 64 << 20;
/// Bytes of one frame; the limit of the wire less what surrounds the changes.
const FRAME_BYTES: usize = 60 << 10;
/// Most bytes that a change takes beside its path: length, dirt and mask.
const CHANGE_BYTES: usize = 12;

enum Entry {
    Change(TreeId, Change),
    Report(WatcherReport),
}

/// What waits for the supervisor, oldest first.
pub(crate) struct Outbox {
    queue: VecDeque<Entry>,
    /// How many entries have left the queue: numbers in `index` count from the first ever.
    left: u64,
    /// Numbers of the changes that a later change of the same path may merge with.
    index: HashTable<u64>,
    hasher: DefaultHashBuilder,
    changes: usize,
    bytes: usize,
    max_changes: usize,
}

impl Outbox {
    /// Nothing waits.
    pub(crate) fn new() -> Outbox {
        Outbox::bounded(MAX_CHANGES)
    }

    fn bounded(max_changes: usize) -> Outbox {
        Outbox {
            queue: VecDeque::new(),
            left: 0,
            index: HashTable::new(),
            hasher: DefaultHashBuilder::default(),
            changes: 0,
            bytes: 0,
            max_changes,
        }
    }

    /// True when nothing waits.
    pub(crate) fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    /// Adds a change.
    pub(crate) fn change(&mut self, tree: TreeId, path: RelPath, dirt: Dirt, mask: u32) {
        let hash = self.hasher.hash_one((tree, path.as_bytes()));
        let (queue, left) = (&mut self.queue, self.left);
        let same = |&number: &u64| matches!(entry(queue, left, number), Some(Entry::Change(t, c)) if *t == tree && c.path == path);
        if let Some(&number) = self.index.find(hash, same) {
            if let Some(Entry::Change(_, change)) = entry_mut(queue, left, number) {
                change.dirt = change.dirt.then(dirt);
                change.mask = merged(change.mask, mask);
            }
            return;
        }
        self.changes += 1;
        self.bytes += path.as_bytes().len();
        let number = self.left + self.queue.len() as u64;
        self.queue.push_back(Entry::Change(tree, Change { path, dirt, mask }));
        let (queue, hasher) = (&self.queue, &self.hasher);
        self.index.insert_unique(hash, number, |&number| match entry(queue, left, number) {
            Some(Entry::Change(tree, change)) => hasher.hash_one((*tree, change.path.as_bytes())),
            Some(Entry::Report(_)) | None => 0,
        });
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
        let tree = match self.pop()? {
            Entry::Report(report) => return Some(report),
            Entry::Change(tree, change) => {
                let mut bytes = size(&change);
                let mut frame = vec![change];
                while let Some(Entry::Change(next_tree, next)) = self.queue.front()
                    && *next_tree == tree
                    && bytes + size(next) <= FRAME_BYTES
                {
                    bytes += size(next);
                    if let Some(Entry::Change(_, next)) = self.pop() {
                        frame.push(next);
                    }
                }
                (tree, frame)
            }
        };
        Some(WatcherReport::Changes(tree.0, tree.1))
    }

    fn pop(&mut self) -> Option<Entry> {
        let entry = self.queue.pop_front()?;
        if let Entry::Change(tree, change) = &entry {
            self.changes -= 1;
            self.bytes -= change.path.as_bytes().len();
            let (hash, number) = (self.hasher.hash_one((*tree, change.path.as_bytes())), self.left);
            if let Ok(slot) = self.index.find_entry(hash, |&other| other == number) {
                slot.remove();
            }
        }
        self.left += 1;
        if self.queue.is_empty() {
            // Whatever a burst needed is given back.
            self.queue.shrink_to(1024);
            self.index.shrink_to(1024, |_| 0);
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
        (self.changes, self.bytes) = (0, 0);
        let mut lost: Vec<TreeId> = Vec::new();
        let mut kept = VecDeque::new();
        for entry in self.queue.drain(..) {
            match entry {
                Entry::Report(report) => kept.push_back(Entry::Report(report)),
                Entry::Change(tree, _) if lost.contains(&tree) => {}
                Entry::Change(tree, _) => lost.push(tree),
            }
        }
        self.queue = kept;
        for tree in lost {
            let rescan = WatcherReport::Rescan { tree, path: RelPath::root(), cause: LossCause::Backlog };
            self.queue.push_back(Entry::Report(rescan));
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
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    const TREE: TreeId = TreeId(0);

    fn path(s: &str) -> RelPath {
        RelPath::new(s).unwrap()
    }

    fn drain(outbox: &mut Outbox) -> Vec<WatcherReport> {
        std::iter::from_fn(|| outbox.next()).collect()
    }

    #[test]
    fn one_path_is_one_change() {
        let mut outbox = Outbox::new();
        outbox.change(TREE, path("a"), Dirt::Touched, 1);
        outbox.change(TREE, path("b"), Dirt::Touched, 2);
        outbox.change(TREE, path("a"), Dirt::Removed, 4);
        outbox.change(TreeId(1), path("a"), Dirt::Touched, 8);
        let a = Change { path: path("a"), dirt: Dirt::Removed, mask: 5 };
        let b = Change { path: path("b"), dirt: Dirt::Touched, mask: 2 };
        let other = Change { path: path("a"), dirt: Dirt::Touched, mask: 8 };
        let frames =
            [WatcherReport::Changes(TREE, vec![a, b]), WatcherReport::Changes(TreeId(1), vec![other])];
        assert_eq!(drain(&mut outbox), frames);
        assert!(outbox.is_empty());
    }

    #[test]
    fn reports_keep_their_place() {
        let mut outbox = Outbox::new();
        let lost = WatcherReport::Rescan { tree: TREE, path: RelPath::root(), cause: LossCause::Overflow };
        outbox.change(TREE, path("a"), Dirt::Touched, 1);
        outbox.report(lost.clone());
        outbox.report(lost.clone());
        outbox.change(TREE, path("a"), Dirt::Touched, 2);
        let a =
            |mask| WatcherReport::Changes(TREE, vec![Change { path: path("a"), dirt: Dirt::Touched, mask }]);
        assert_eq!(drain(&mut outbox), [a(1), lost, a(2)]);
    }

    #[test]
    fn frames_fit_the_wire() {
        let mut outbox = Outbox::new();
        for i in 0..1000 {
            outbox.change(TREE, path(&format!("{i}{}", "x".repeat(300))), Dirt::Touched, u32::MAX);
            outbox.change(TREE, path(&format!("{i}")), Dirt::Touched, u32::MAX);
        }
        let (ours, theirs) = common::wire::report_socket().unwrap();
        let uplink = common::wire::Uplink::new(theirs);
        let mut reader = common::wire::FrameReader::default();
        let mut changes = 0;
        for report in drain(&mut outbox) {
            uplink.try_send(&report).unwrap();
            match reader.receive(std::os::fd::AsFd::as_fd(&ours)) {
                common::wire::Received::Frame(WatcherReport::Changes(_, frame)) => changes += frame.len(),
                other => panic!("{other:?}"),
            }
        }
        assert_eq!(changes, 2000);
    }

    #[test]
    fn too_much_becomes_a_rescan() {
        let mut outbox = Outbox::bounded(10);
        for i in 0..11 {
            outbox.change(TreeId(i % 2), path(&format!("{i}")), Dirt::Touched, 1);
        }
        outbox.change(TREE, path("after"), Dirt::Touched, 1);
        let rescan = |tree| WatcherReport::Rescan { tree, path: RelPath::root(), cause: LossCause::Backlog };
        let after = Change { path: path("after"), dirt: Dirt::Touched, mask: 1 };
        let expected = [rescan(TreeId(0)), rescan(TreeId(1)), WatcherReport::Changes(TREE, vec![after])];
        assert_eq!(drain(&mut outbox), expected);
    }

    proptest! {
        /// Whatever is taken out in between: per path, what left adds up to what came in.
        #[test]
        fn adds_up(steps in proptest::collection::vec((0_u8..6, 0_u8..5, any::<bool>()), 0..100)) {
            let dirts = [Dirt::Touched, Dirt::Removed, Dirt::RemovedDir, Dirt::Deep, Dirt::Sweep];
            let mut came = BTreeMap::new();
            let mut outbox = Outbox::new();
            let take = |outbox: &mut Outbox, pending: &mut BTreeMap<Vec<u8>, Dirt>| {
                for report in std::iter::from_fn(|| outbox.next()) {
                    let WatcherReport::Changes(_, changes) = report else { continue };
                    for change in changes {
                        let expected = pending.remove(change.path.as_bytes());
                        assert_eq!(expected, Some(change.dirt));
                    }
                }
                assert!(pending.is_empty());
            };
            for (name, dirt, now) in steps {
                let name = format!("{name}");
                let dirt = dirts[usize::from(dirt)];
                outbox.change(TREE, path(&name), dirt, 1);
                came.entry(name.into_bytes()).and_modify(|d: &mut Dirt| *d = d.then(dirt)).or_insert(dirt);
                if now {
                    take(&mut outbox, &mut came);
                }
            }
            take(&mut outbox, &mut came);
        }
    }
}
