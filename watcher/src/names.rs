//! What is still to be told of the names of a tree: passes that compare it with the index, and
//! subtrees that the index only takes in.
//!
//! Pure book-keeping; [`crate::pass`] does the work.

use std::collections::VecDeque;
use std::fs::File;

use common::keep::Purpose;
use common::path::RelPath;
use nix::dir::OwningIter;

use crate::listing::Listing;
use crate::tree::NodeId;

/// Most subtrees that wait to be compared; beyond, the whole tree is.
const MAX_WAITING: usize = 1000;
/// Most directories without a node that are kept in mind; the next pass meets the others again.
const MAX_STRANGERS: usize = 1000;

/// What a directory is listed for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Aim {
    /// What differs from the index is to be found.
    Compare,
    /// All of it was reported at this moment, given as the mark of a file that changed then. Of a
    /// file that changed since only its name is told: nobody promised that it is brought over as it
    /// is now. Its own event tells the rest, or the next pass finds it.
    Learn(u64),
}

impl Aim {
    /// As the index is told.
    pub(crate) fn purpose(self) -> Purpose {
        match self {
            Aim::Compare => Purpose::Compare,
            Aim::Learn(_) => Purpose::Learn,
        }
    }
}

/// The directory that is being listed.
pub(crate) struct Reading {
    pub(crate) node: NodeId,
    pub(crate) path: RelPath,
    pub(crate) aim: Aim,
    /// Until all of it is read. Not kept open after that, however long the telling takes.
    pub(crate) source: Option<(File, OwningIter)>,
    pub(crate) listing: Listing,
}

/// What is still to be told of the names of a tree.
#[derive(Default)]
pub(crate) struct Names {
    /// The pass that counts: the last one that was ordered.
    pub(crate) pass: u32,
    /// Subtrees to be compared, each in a pass of its own.
    waiting: VecDeque<RelPath>,
    /// What is being compared.
    running: Option<RelPath>,
    /// The directories of it that are still to be listed, next one last.
    open: Vec<NodeId>,
    /// Directories to be taken in, next one last, and since when all of them is reported.
    learning: Vec<(NodeId, u64)>,
    reading: Option<Box<Reading>>,
    /// Directories that a pass met and nobody knows.
    strangers: Vec<(NodeId, Box<[u8]>)>,
    /// The kernel's queue was empty after the last look at any entry.
    drained: bool,
}

/// What is to be done next.
pub(crate) enum Next {
    /// Go on with this directory.
    Go(Box<Reading>),
    /// List this directory.
    Begin(NodeId, Aim),
    /// All of this subtree has been listed, and what happened before that was reported.
    Over(RelPath),
    /// Start with this subtree.
    Start(RelPath),
    /// Nothing, at the moment.
    Rest,
}

impl Names {
    /// Nothing is to be told yet.
    pub(crate) fn new(pass: u32) -> Names {
        Names { pass, ..Names::default() }
    }

    /// The whole tree is to be compared, from its beginning.
    pub(crate) fn whole(&mut self) {
        self.waiting.clear();
        self.waiting.push_back(RelPath::root());
        self.running = None;
        self.open.clear();
        if self.reading.as_ref().is_some_and(|reading| reading.aim == Aim::Compare) {
            self.reading = None;
        }
    }

    /// A subtree is to be compared; as often as that is asked for, since each time somebody waits
    /// for the end of it.
    pub(crate) fn subtree(&mut self, path: RelPath) {
        if self.waiting.iter().any(RelPath::is_root) {
            return;
        }
        if path.is_root() || self.waiting.len() >= MAX_WAITING {
            self.waiting.clear();
            self.waiting.push_back(RelPath::root());
        } else {
            self.waiting.push_back(path);
        }
    }

    /// All of the directory `node`, at `path`, is about to be reported; `since` is the mark of a
    /// file that changes now.
    pub(crate) fn learn(&mut self, node: NodeId, path: &RelPath, since: u64) {
        self.learning.push((node, since));
        // What was read there is forgotten with what stood there before.
        if let Some(reading) = &self.reading
            && (reading.path == *path || reading.path.is_below(path))
        {
            self.reading = None;
        }
    }

    /// Something happened to `name` in `parent`.
    pub(crate) fn note(&mut self, parent: NodeId, name: &[u8]) {
        if let Some(reading) = self.reading.as_mut().filter(|reading| reading.node == parent)
            && !reading.listing.note(name)
        {
            let aim = reading.aim;
            self.reading = None;
            self.add(parent, aim);
        }
    }

    /// A directory is to be listed as part of what is under way.
    pub(crate) fn add(&mut self, node: NodeId, aim: Aim) {
        match aim {
            Aim::Compare => self.open.push(node),
            Aim::Learn(since) => self.learning.push((node, since)),
        }
    }

    /// A pass met a directory that nobody knows. Its event may still be in the kernel's queue.
    pub(crate) fn meet(&mut self, parent: NodeId, name: &[u8]) {
        if self.strangers.len() < MAX_STRANGERS {
            self.strangers.push((parent, name.into()));
        }
    }

    /// The kernel's queue is empty. Returns the directories that had no event.
    pub(crate) fn drained(&mut self) -> Vec<(NodeId, Box<[u8]>)> {
        self.drained = true;
        std::mem::take(&mut self.strangers)
    }

    /// Something is looked at: what the kernel's queue holds may be older.
    pub(crate) fn looked(&mut self) {
        self.drained = false;
    }

    /// Goes on with this directory the next time.
    pub(crate) fn keep(&mut self, reading: Box<Reading>) {
        self.reading = Some(reading);
    }

    /// Whether there is something to do, with room for that many frames. What was begun to be
    /// read is read to its end without any: it is held open.
    pub(crate) fn wants(&self, room: u32) -> bool {
        match &self.reading {
            Some(reading) => reading.source.is_some() || room > 0,
            None if self.learning.is_empty() && self.open.is_empty() => {
                self.running.is_some() || !self.waiting.is_empty()
            }
            None => room > 0,
        }
    }

    /// True while anything is compared, or waits for it.
    pub(crate) fn is_comparing(&self) -> bool {
        self.running.is_some() || !self.waiting.is_empty()
    }

    /// What is to be done next.
    pub(crate) fn next(&mut self) -> Next {
        if let Some(reading) = self.reading.take() {
            Next::Go(reading)
        } else if let Some((node, since)) = self.learning.pop() {
            Next::Begin(node, Aim::Learn(since))
        } else if let Some(node) = self.open.pop() {
            Next::Begin(node, Aim::Compare)
        } else if self.running.is_some() && !self.drained {
            Next::Rest
        } else if let Some(path) = self.running.take() {
            Next::Over(path)
        } else if let Some(path) = self.waiting.pop_front() {
            self.running = Some(path.clone());
            Next::Start(path)
        } else {
            // Whatever a huge tree needed is given back.
            self.learning.shrink_to(1024);
            self.open.shrink_to(1024);
            Next::Rest
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::Tree;

    fn path(path: &str) -> RelPath {
        RelPath::new(path).unwrap()
    }

    fn started(names: &mut Names) -> Vec<RelPath> {
        let mut found = Vec::new();
        names.drained();
        loop {
            match names.next() {
                Next::Start(path) => found.push(path),
                Next::Over(_) | Next::Begin(..) | Next::Go(_) => {}
                Next::Rest => return found,
            }
        }
    }

    #[test]
    fn subtrees_wait_each_and_the_whole_tree_covers_them() {
        let mut names = Names::new(0);
        for waiting in ["a", "b", "a"] {
            names.subtree(path(waiting));
        }
        assert_eq!(started(&mut names), [path("a"), path("b"), path("a")]);
        names.subtree(path("a"));
        names.whole();
        names.subtree(path("b"));
        assert_eq!(started(&mut names), [RelPath::root()]);
        for number in 0..=MAX_WAITING {
            names.subtree(path(&format!("{number}")));
        }
        assert_eq!(started(&mut names), [RelPath::root()]);
    }

    #[test]
    fn what_was_reported_is_taken_in_before_anything_is_compared() {
        let (mut names, mut tree) = (Names::new(0), Tree::new());
        let [a, b] = [b"a", b"b"].map(|name| tree.ensure(tree.root(), name).unwrap());
        names.whole();
        assert!(names.wants(0) && matches!(names.next(), Next::Start(root) if root.is_root()));
        names.add(a, Aim::Compare);
        names.learn(b, &path("b"), 7);
        assert!(!names.wants(0) && names.wants(1));
        assert!(matches!(names.next(), Next::Begin(node, Aim::Learn(7)) if node == b));
        assert!(matches!(names.next(), Next::Begin(node, Aim::Compare) if node == a));
        // Over only when what the kernel had to say before is said.
        assert!(matches!(names.next(), Next::Rest));
        names.meet(a, b"new");
        assert_eq!(names.drained().len(), 1);
        assert!(matches!(names.next(), Next::Over(root) if root.is_root()));
        assert!(!names.wants(8));
    }
}
