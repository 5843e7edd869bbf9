//! The directories of one tree, and which kernel watch (`wd`) belongs to which.
//!
//! Pure book-keeping: an arena of nodes that know their parent and their name, so that renaming
//! a directory costs the same whatever it holds, and two hash tables over the arena. A watch may
//! belong to several nodes: a bind mount shows one directory under two names. What may be as much as
//! the tree is done in parts, of which the caller says how large they are.

use std::hash::BuildHasher;

use common::path::RelPath;
use hashbrown::DefaultHashBuilder;

use crate::arena::{Arena, NONE, Node};
use crate::shards::Shards;

pub(crate) use crate::arena::NodeId;

/// What [`Tree::remove`] leaves for the next time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Left {
    /// All is done.
    Nothing,
    /// There is more.
    Something,
}

/// The directories of one tree. The root is always there.
pub(crate) struct Tree {
    arena: Arena,
    by_name: Shards<u32>,
    by_wd: Shards<u32>,
    hasher: DefaultHashBuilder,
    clock: u64,
    unwatched: u64,
}

impl Tree {
    /// A tree with a root that has no watch yet.
    pub(crate) fn new() -> Tree {
        Tree {
            arena: Arena::with_root(),
            by_name: Shards::new(),
            by_wd: Shards::new(),
            hasher: DefaultHashBuilder::default(),
            clock: 0,
            unwatched: 0,
        }
    }

    /// The root.
    pub(crate) fn root(&self) -> NodeId {
        self.arena.id(crate::arena::ROOT)
    }

    /// Directories that are there, watched or not.
    pub(crate) fn directories(&self) -> u64 {
        self.arena.live()
    }

    /// Directories that the kernel refused a watch.
    pub(crate) fn unwatched(&self) -> u64 {
        self.unwatched
    }

    /// False once `node` was removed.
    pub(crate) fn is_live(&self, node: NodeId) -> bool {
        self.arena.index(node).is_some()
    }

    /// The directory `name` in `parent`.
    pub(crate) fn child(&self, parent: NodeId, name: &[u8]) -> Option<NodeId> {
        let parent = self.arena.index(parent)?;
        self.find(parent, name).map(|index| self.arena.id(index))
    }

    /// The directory at `path`.
    pub(crate) fn at(&self, path: &RelPath) -> Option<NodeId> {
        let mut names = path.as_bytes().split(|&b| b == b'/').filter(|name| !name.is_empty());
        names.try_fold(self.root(), |node, name| self.child(node, name))
    }

    /// The directory `name` in `parent`, made if it is new. Counts as seen now.
    pub(crate) fn ensure(&mut self, parent: NodeId, name: &[u8]) -> Option<NodeId> {
        let parent_index = self.arena.index(parent)?;
        let index = if let Some(index) = self.find(parent_index, name) {
            index
        } else {
            let index = self.arena.add(name.into());
            self.link(index, parent_index);
            index
        };
        let clock = self.clock;
        if let Some(node) = self.arena.get_mut(index) {
            node.seen = clock;
        }
        Some(self.arena.id(index))
    }

    /// The directory that holds `node`, and its name there; `None` for the root and what is detached.
    pub(crate) fn place(&self, node: NodeId) -> Option<(NodeId, Box<[u8]>)> {
        let node = self.arena.get(self.arena.index(node)?)?;
        let parent = self.arena.get(node.parent).map(|_| self.arena.id(node.parent))?;
        Some((parent, node.name.clone()))
    }

    /// Where `node` is; `None` when it was removed or detached, or lies too deep for a path.
    pub(crate) fn path(&self, node: NodeId) -> Option<RelPath> {
        let mut names = Vec::new();
        let mut length = 0_usize;
        let mut index = self.arena.index(node)?;
        while index != crate::arena::ROOT {
            // A detached subtree ends in a node without parent that is not the root.
            let node = self.arena.get(index)?;
            length += node.name.len() + 1;
            names.push(&*node.name);
            index = node.parent;
        }
        let mut bytes = Vec::with_capacity(length);
        for name in names.iter().rev() {
            if !bytes.is_empty() {
                bytes.push(b'/');
            }
            bytes.extend_from_slice(name);
        }
        RelPath::new(bytes).ok()
    }

    /// Puts every node that `wd` belongs to into `nodes`.
    pub(crate) fn nodes_of(&self, wd: i32, nodes: &mut Vec<NodeId>) {
        nodes.clear();
        nodes.extend(self.watched_by(wd).map(|index| self.arena.id(index)));
    }

    /// Whether `wd` belongs to any node.
    pub(crate) fn has_wd(&self, wd: i32) -> bool {
        self.watched_by(wd).next().is_some()
    }

    /// The watch of `node`.
    #[cfg(test)]
    pub(crate) fn wd(&self, node: NodeId) -> Option<i32> {
        self.arena.get(self.arena.index(node)?)?.wd()
    }

    /// Gives `node` its watch, or says that the kernel refused one. Returns the watch that
    /// belongs to no node any more.
    pub(crate) fn set_wd(&mut self, node: NodeId, wd: Option<i32>) -> Option<i32> {
        let index = self.arena.index(node)?;
        let entry = self.arena.get_mut(index)?;
        let (was_unwatched, old) = (entry.unwatched, entry.wd());
        entry.unwatched = wd.is_none();
        self.unwatched = self.unwatched - u64::from(was_unwatched) + u64::from(wd.is_none());
        if old == wd {
            return None;
        }
        let freed = self.forget_wd(index);
        let Some(wd) = wd else { return freed };
        if let Some(entry) = self.arena.get_mut(index) {
            entry.set_wd(wd);
        }
        let (arena, hasher) = (&self.arena, &self.hasher);
        self.by_wd.add(hasher.hash_one(wd), index, |index| {
            hasher.hash_one(arena.get(index).and_then(Node::wd).unwrap_or_default())
        });
        freed
    }

    /// The kernel ended the watch of `node`.
    pub(crate) fn clear_wd(&mut self, node: NodeId) {
        if let Some(index) = self.arena.index(node) {
            self.forget_wd(index);
        }
    }

    /// Takes `node` with all below it out of the tree, watches kept, until [`Tree::attach`] or
    /// [`Tree::remove`].
    pub(crate) fn detach(&mut self, node: NodeId) {
        if let Some(index) = self.arena.index(node)
            && index != crate::arena::ROOT
        {
            self.unlink(index);
        }
    }

    /// Puts a detached `node` into `parent` as `name`, where nothing may be at the moment.
    /// Counts as seen now.
    pub(crate) fn attach(&mut self, node: NodeId, parent: NodeId, name: &[u8]) {
        let (Some(index), Some(parent)) = (self.arena.index(node), self.arena.index(parent)) else { return };
        let clock = self.clock;
        if let Some(node) = self.arena.get_mut(index) {
            node.name = name.into();
            node.seen = clock;
        }
        self.link(index, parent);
    }

    /// Removes `node` and all below it, `most` directories this time; the watches that belong to no
    /// node any more are added to `freed`. From the first time on nothing of it is in the tree, and
    /// it is to be asked until nothing is left. The root stays.
    pub(crate) fn remove(&mut self, node: NodeId, most: usize, freed: &mut Vec<i32>) -> Left {
        let Some(top) = self.arena.index(node).filter(|&index| index != crate::arena::ROOT) else {
            return Left::Nothing;
        };
        self.unlink(top);
        let mut index = top;
        for _ in 0..most {
            while let Some(child) = self.arena.first_child(index) {
                index = child;
            }
            let parent = self.arena.get(index).map_or(NONE, |node| node.parent);
            self.bury(index, freed);
            if index == top {
                return Left::Nothing;
            }
            index = parent;
        }
        Left::Something
    }

    /// Starts the reading of a directory: what [`Tree::ensure`] meets from now on is younger
    /// than what it met before.
    pub(crate) fn tick(&mut self) -> u64 {
        self.clock += 1;
        self.clock
    }

    /// What `node` no longer holds after a reading that began at `since`: goes through `most`
    /// children, beginning with `from`, adds those to `gone`, and returns where to go on.
    pub(crate) fn sweep(
        &self,
        node: NodeId,
        since: u64,
        (from, most): (Option<NodeId>, usize),
        gone: &mut Vec<NodeId>,
    ) -> Option<NodeId> {
        let parent = self.arena.index(node)?;
        // Where it went on may be another place by now.
        let from = from.and_then(|from| self.arena.index(from));
        let from = from.filter(|&index| self.arena.get(index).is_some_and(|node| node.parent == parent));
        let first = from.or_else(|| self.arena.first_child(parent))?;
        let mut children = self.arena.siblings(first);
        let stale = |&child: &u32| self.arena.get(child).is_some_and(|node| node.seen < since);
        gone.extend(children.by_ref().take(most).filter(stale).map(|child| self.arena.id(child)));
        children.next().map(|child| self.arena.id(child))
    }

    /// Notes that everything in `node` was, or is about to be, reported. Returns whether that
    /// was noted before.
    pub(crate) fn announce(&mut self, node: NodeId) -> bool {
        let index = self.arena.index(node);
        index
            .and_then(|index| self.arena.get_mut(index))
            .is_some_and(|node| std::mem::replace(&mut node.announced, true))
    }

    /// Looks for directories without watch that do not lie in another of them: goes through `most`
    /// directories, beginning with `from`, adds what it finds to `found`, and returns where to go on.
    /// A directory that moves meanwhile may be missed: it is looked at for that.
    pub(crate) fn topmost_unwatched(
        &self,
        (from, most): (NodeId, usize),
        found: &mut Vec<NodeId>,
    ) -> Option<NodeId> {
        // Gone, or between two names: from the beginning.
        let index = self.arena.index(from).filter(|&index| self.is_attached(index));
        let mut index = index.unwrap_or_else(|| {
            found.clear();
            crate::arena::ROOT
        });
        for _ in 0..most {
            let is_unwatched = self.arena.get(index).is_some_and(|node| node.unwatched);
            if is_unwatched {
                found.push(self.arena.id(index));
            }
            let below = self.arena.first_child(index).filter(|_| !is_unwatched);
            index = below.or_else(|| self.beside(index))?;
        }
        Some(self.arena.id(index))
    }

    /// The next directory that does not lie in `index`, in the order of a walk.
    fn beside(&self, mut index: u32) -> Option<u32> {
        while index != crate::arena::ROOT {
            if let Some(next) = self.arena.siblings(index).nth(1) {
                return Some(next);
            }
            index = self.arena.get(index)?.parent;
        }
        None
    }

    fn is_attached(&self, index: u32) -> bool {
        let above = |&index: &u32| self.arena.get(index).map(|node| node.parent);
        std::iter::successors(Some(index), above).any(|index| index == crate::arena::ROOT)
    }

    fn watched_by(&self, wd: i32) -> impl Iterator<Item = u32> {
        let found = self.by_wd.all(self.hasher.hash_one(wd));
        found.filter(move |&index| self.arena.get(index).is_some_and(|node| node.wd() == Some(wd)))
    }

    /// Frees a node without children.
    fn bury(&mut self, index: u32, freed: &mut Vec<i32>) {
        self.unlink(index);
        freed.extend(self.forget_wd(index));
        if self.arena.get(index).is_some_and(|node| node.unwatched) {
            self.unwatched -= 1;
        }
        self.arena.free(index);
    }

    fn find(&self, parent: u32, name: &[u8]) -> Option<u32> {
        let is_it =
            |index| self.arena.get(index).is_some_and(|node| node.parent == parent && *node.name == *name);
        self.by_name.find(self.hasher.hash_one((parent, name)), is_it)
    }

    fn link(&mut self, index: u32, parent: u32) {
        self.arena.link(index, parent);
        let (arena, hasher) = (&self.arena, &self.hasher);
        let hash =
            |index: u32| arena.get(index).map_or(0, |node| hasher.hash_one((node.parent, &*node.name)));
        self.by_name.add(hash(index), index, hash);
    }

    fn unlink(&mut self, index: u32) {
        let Some(node) = self.arena.get(index) else { return };
        if node.parent == NONE {
            return;
        }
        let hash = self.hasher.hash_one((node.parent, &*node.name));
        self.by_name.remove(hash, index);
        self.arena.unlink(index);
    }

    fn forget_wd(&mut self, index: u32) -> Option<i32> {
        let wd = self.arena.get_mut(index)?.take_wd()?;
        self.by_wd.remove(self.hasher.hash_one(wd), index);
        (!self.has_wd(wd)).then_some(wd)
    }
}
