//! The memory of [`crate::tree`]: nodes in one vector, linked by index, slots used again.
//!
//! No hashing and no paths here. A [`NodeId`] tells the directory it was given for from a later
//! one in the same slot.

use std::num::NonZeroI32;

/// Where the root is.
pub(crate) const ROOT: u32 = 0;
/// No node.
pub(crate) const NONE: u32 = u32::MAX;

/// One directory, for as long as it stays in the tree.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct NodeId {
    index: u32,
    version: u32,
}

/// A directory. 56 bytes, and its name.
pub(crate) struct Node {
    /// The last component; empty for the root.
    pub(crate) name: Box<[u8]>,
    /// The clock when a scan or an event last showed that it is there.
    pub(crate) seen: u64,
    /// The directory that holds it; [`NONE`] for the root and for what is detached.
    pub(crate) parent: u32,
    /// The kernel's watch; it counts them from 1.
    wd: Option<NonZeroI32>,
    /// The kernel refused a watch.
    pub(crate) unwatched: bool,
    /// All that it holds was reported by name, or is about to be.
    pub(crate) announced: bool,
    live: bool,
    version: u32,
    first_child: u32,
    next: u32,
    previous: u32,
}

impl Node {
    /// The kernel's watch.
    pub(crate) fn wd(&self) -> Option<i32> {
        self.wd.map(NonZeroI32::get)
    }

    /// Gives it a watch.
    pub(crate) fn set_wd(&mut self, wd: i32) {
        self.wd = NonZeroI32::new(wd);
    }

    /// Takes its watch.
    pub(crate) fn take_wd(&mut self) -> Option<i32> {
        self.wd.take().map(NonZeroI32::get)
    }
}

/// The nodes of one tree.
pub(crate) struct Arena {
    nodes: Vec<Node>,
    /// First unused slot; the others follow by `next`.
    unused: u32,
    live: u64,
}

impl Arena {
    /// An arena that holds the root.
    pub(crate) fn with_root() -> Arena {
        let mut arena = Arena { nodes: Vec::new(), unused: NONE, live: 0 };
        arena.add(Box::default());
        arena
    }

    /// How many nodes there are.
    pub(crate) fn live(&self) -> u64 {
        self.live
    }

    /// The node in slot `index`.
    pub(crate) fn get(&self, index: u32) -> Option<&Node> {
        self.nodes.get(index as usize)
    }

    /// The node in slot `index`.
    pub(crate) fn get_mut(&mut self, index: u32) -> Option<&mut Node> {
        self.nodes.get_mut(index as usize)
    }

    /// What to call the node in slot `index` from outside.
    pub(crate) fn id(&self, index: u32) -> NodeId {
        NodeId { index, version: self.get(index).map_or(0, |node| node.version) }
    }

    /// The slot of `id`, unless it was removed.
    pub(crate) fn index(&self, id: NodeId) -> Option<u32> {
        let node = self.get(id.index)?;
        (node.live && node.version == id.version).then_some(id.index)
    }

    /// A new node, in no directory yet.
    pub(crate) fn add(&mut self, name: Box<[u8]>) -> u32 {
        self.live += 1;
        let mut node = Node {
            name,
            seen: 0,
            parent: NONE,
            wd: None,
            unwatched: false,
            announced: false,
            live: true,
            version: 0,
            first_child: NONE,
            next: NONE,
            previous: NONE,
        };
        let index = self.unused;
        if let Some(slot) = self.nodes.get_mut(index as usize) {
            node.version = slot.version;
            self.unused = slot.next;
            *slot = node;
            return index;
        }
        if self.nodes.len() == self.nodes.capacity() {
            // Grows by a quarter, not by half: a million directories are a few of these steps.
            self.nodes.reserve_exact(64.max(self.nodes.len() / 4));
        }
        let index = u32::try_from(self.nodes.len()).unwrap_or(NONE);
        self.nodes.push(node);
        index
    }

    /// Gives the slot of an unlinked node without children back.
    pub(crate) fn free(&mut self, index: u32) {
        let unused = self.unused;
        let Some(node) = self.get_mut(index) else { return };
        node.live = false;
        node.unwatched = false;
        node.version = node.version.wrapping_add(1);
        node.name = Box::default();
        node.next = unused;
        self.unused = index;
        self.live -= 1;
    }

    /// Puts `index` among the children of `parent`.
    pub(crate) fn link(&mut self, index: u32, parent: u32) {
        let Some(above) = self.get_mut(parent) else { return };
        let next = std::mem::replace(&mut above.first_child, index);
        if let Some(sibling) = self.get_mut(next) {
            sibling.previous = index;
        }
        if let Some(node) = self.get_mut(index) {
            (node.parent, node.next, node.previous) = (parent, next, NONE);
        }
    }

    /// Takes `index` from among the children of its parent.
    pub(crate) fn unlink(&mut self, index: u32) {
        let Some(node) = self.get_mut(index) else { return };
        let (parent, next, previous) = (node.parent, node.next, node.previous);
        (node.parent, node.next, node.previous) = (NONE, NONE, NONE);
        if let Some(sibling) = self.get_mut(next) {
            sibling.previous = previous;
        }
        if let Some(sibling) = self.get_mut(previous) {
            sibling.next = next;
        } else if let Some(above) = self.get_mut(parent) {
            above.first_child = next;
        }
    }

    /// One of the children of `index`.
    pub(crate) fn first_child(&self, index: u32) -> Option<u32> {
        self.get(index).map(|node| node.first_child).filter(|&child| child != NONE)
    }

    /// `index`, and the children of its parent that come behind it.
    pub(crate) fn siblings(&self, index: u32) -> impl Iterator<Item = u32> {
        std::iter::successors(Some(index), |&child| {
            self.get(child).map(|node| node.next).filter(|&next| next != NONE)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_costs_56_bytes_and_two_table_slots() {
        assert!(size_of::<Node>() <= 56, "{}", size_of::<Node>());
    }

    #[test]
    fn an_id_does_not_outlive_its_node() {
        let mut arena = Arena::with_root();
        let first = arena.add(b"a"[..].into());
        let id = arena.id(first);
        arena.free(first);
        assert_eq!(arena.index(id), None);
        assert_eq!(arena.add(b"b"[..].into()), first);
        assert_eq!(arena.index(id), None);
        assert!(arena.index(arena.id(first)).is_some());
    }
}
