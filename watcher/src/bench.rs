//! The table of directories, for the benchmark beside the workspace (`benches/`): enough of
//! `tree` to fill it, ask it, and turn it over. No other crate has a use for it.

use common::path::RelPath;

use crate::tree::{NodeId, Tree};

/// A table, and the directories that were put into it.
pub struct Table {
    tree: Tree,
    nodes: Vec<NodeId>,
}

impl Default for Table {
    fn default() -> Table {
        let tree = Tree::new();
        let nodes = vec![tree.root()];
        Table { tree, nodes }
    }
}

impl Table {
    /// Adds the directory `name` to the `parent`-th that was added, where 0 is the root, with a watch
    /// of its own; false when there is no such parent.
    pub fn add(&mut self, parent: usize, name: &[u8]) -> bool {
        let node = self.nodes.get(parent).and_then(|&parent| self.tree.ensure(parent, name));
        let Some(node) = node else { return false };
        self.tree.set_wd(node, i32::try_from(self.nodes.len()).ok());
        self.nodes.push(node);
        true
    }

    /// Where the directory with the watch `wd` is: what every event of the kernel asks.
    pub fn path_of(&self, wd: i32, found: &mut Vec<RelPath>) {
        let mut nodes = Vec::new();
        self.tree.nodes_of(wd, &mut nodes);
        found.clear();
        found.extend(nodes.iter().filter_map(|&node| self.tree.path(node)));
    }

    /// Renames the `n`-th directory that was added, with all below it, to `name` in the root.
    pub fn rename(&mut self, n: usize, name: &[u8]) {
        if let Some(&node) = self.nodes.get(n) {
            self.tree.detach(node);
            self.tree.attach(node, self.tree.root(), name);
        }
    }

    /// Directories that it holds.
    pub fn directories(&self) -> u64 {
        self.tree.directories()
    }
}
