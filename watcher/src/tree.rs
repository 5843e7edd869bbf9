//! The directories of one tree, and which kernel watch (`wd`) belongs to which.
//!
//! Pure book-keeping: an arena of nodes that know their parent and their name, so that renaming
//! a directory costs the same whatever it holds, and two hash tables over the arena. A watch may
//! belong to several nodes: a bind mount shows one directory under two names.

use std::hash::BuildHasher;

use common::path::RelPath;
use hashbrown::{DefaultHashBuilder, HashTable};

use crate::arena::{Arena, NONE};

pub(crate) use crate::arena::NodeId;

/// The directories of one tree. The root is always there.
pub(crate) struct Tree {
    arena: Arena,
    by_name: HashTable<u32>,
    by_wd: HashTable<u32>,
    hasher: DefaultHashBuilder,
    clock: u64,
    unwatched: u64,
}

impl Tree {
    /// A tree with a root that has no watch yet.
    pub(crate) fn new() -> Tree {
        Tree {
            arena: Arena::with_root(),
            by_name: HashTable::new(),
            by_wd: HashTable::new(),
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
        let found = self.by_wd.iter_hash(self.hasher.hash_one(wd));
        nodes.extend(
            found
                .filter(|&&index| self.arena.get(index).is_some_and(|node| node.wd == Some(wd)))
                .map(|&index| self.arena.id(index)),
        );
    }

    /// Whether `wd` belongs to any node.
    pub(crate) fn has_wd(&self, wd: i32) -> bool {
        let mut found = self.by_wd.iter_hash(self.hasher.hash_one(wd));
        found.any(|&index| self.arena.get(index).is_some_and(|node| node.wd == Some(wd)))
    }

    /// The watch of `node`.
    #[cfg(test)]
    pub(crate) fn wd(&self, node: NodeId) -> Option<i32> {
        self.arena.get(self.arena.index(node)?)?.wd
    }

    /// Gives `node` its watch, or says that the kernel refused one. Returns the watch that
    /// belongs to no node any more.
    pub(crate) fn set_wd(&mut self, node: NodeId, wd: Option<i32>) -> Option<i32> {
        let index = self.arena.index(node)?;
        let entry = self.arena.get_mut(index)?;
        let (was_unwatched, old) = (entry.unwatched, entry.wd);
        entry.unwatched = wd.is_none();
        self.unwatched = self.unwatched - u64::from(was_unwatched) + u64::from(wd.is_none());
        if old == wd {
            return None;
        }
        let freed = self.forget_wd(index);
        let Some(wd) = wd else { return freed };
        if let Some(entry) = self.arena.get_mut(index) {
            entry.wd = Some(wd);
        }
        let (arena, hasher) = (&self.arena, &self.hasher);
        self.by_wd.insert_unique(hasher.hash_one(wd), index, |&i| {
            hasher.hash_one(arena.get(i).and_then(|node| node.wd).unwrap_or_default())
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

    /// Removes `node` and all below it; the watches that belong to no node any more are added
    /// to `freed`. The root stays.
    pub(crate) fn remove(&mut self, node: NodeId, freed: &mut Vec<i32>) {
        let Some(top) = self.arena.index(node) else { return };
        if top == crate::arena::ROOT {
            return;
        }
        self.unlink(top);
        let mut doomed = vec![top];
        while let Some(index) = doomed.pop() {
            while let Some(child) = self.arena.first_child(index) {
                self.unlink(child);
                doomed.push(child);
            }
            freed.extend(self.forget_wd(index));
            if self.arena.get(index).is_some_and(|node| node.unwatched) {
                self.unwatched -= 1;
            }
            self.arena.free(index);
        }
    }

    /// Starts the reading of a directory: what [`Tree::ensure`] meets from now on is younger
    /// than what it met before.
    pub(crate) fn tick(&mut self) -> u64 {
        self.clock += 1;
        self.clock
    }

    /// Ends the reading of `node` that began at `since`: what it no longer holds is removed.
    pub(crate) fn sweep(&mut self, node: NodeId, since: u64, freed: &mut Vec<i32>) {
        let Some(index) = self.arena.index(node) else { return };
        let stale = |&child: &u32| self.arena.get(child).is_some_and(|node| node.seen < since);
        let gone: Vec<NodeId> =
            self.arena.children(index).filter(stale).map(|child| self.arena.id(child)).collect();
        for child in gone {
            self.remove(child, freed);
        }
    }

    /// Notes that everything in `node` was, or is about to be, reported. Returns whether that
    /// was noted before.
    pub(crate) fn announce(&mut self, node: NodeId) -> bool {
        let index = self.arena.index(node);
        index
            .and_then(|index| self.arena.get_mut(index))
            .is_some_and(|node| std::mem::replace(&mut node.announced, true))
    }

    /// The directories without watch that do not lie in another of them; `None` when these are
    /// more than `limit`.
    pub(crate) fn topmost_unwatched(&self, limit: usize) -> Option<Vec<NodeId>> {
        let mut found = Vec::new();
        let mut open = vec![crate::arena::ROOT];
        while let Some(index) = open.pop() {
            if self.arena.get(index).is_some_and(|node| node.unwatched) {
                if found.len() == limit {
                    return None;
                }
                found.push(self.arena.id(index));
            } else {
                open.extend(self.arena.children(index));
            }
        }
        Some(found)
    }

    fn find(&self, parent: u32, name: &[u8]) -> Option<u32> {
        let is_it = |&index: &u32| {
            self.arena.get(index).is_some_and(|node| node.parent == parent && *node.name == *name)
        };
        self.by_name.find(self.hasher.hash_one((parent, name)), is_it).copied()
    }

    fn link(&mut self, index: u32, parent: u32) {
        self.arena.link(index, parent);
        let (arena, hasher) = (&self.arena, &self.hasher);
        let hash =
            |&index: &u32| arena.get(index).map_or(0, |node| hasher.hash_one((node.parent, &*node.name)));
        self.by_name.insert_unique(hash(&index), index, hash);
    }

    fn unlink(&mut self, index: u32) {
        let Some(node) = self.arena.get(index) else { return };
        if node.parent == NONE {
            return;
        }
        let hash = self.hasher.hash_one((node.parent, &*node.name));
        if let Ok(entry) = self.by_name.find_entry(hash, |&i| i == index) {
            entry.remove();
        }
        self.arena.unlink(index);
    }

    fn forget_wd(&mut self, index: u32) -> Option<i32> {
        let wd = self.arena.get_mut(index)?.wd.take()?;
        let hash = self.hasher.hash_one(wd);
        if let Ok(entry) = self.by_wd.find_entry(hash, |&i| i == index) {
            entry.remove();
        }
        let shared =
            self.by_wd.iter_hash(hash).any(|&i| self.arena.get(i).is_some_and(|node| node.wd == Some(wd)));
        (!shared).then_some(wd)
    }
}
