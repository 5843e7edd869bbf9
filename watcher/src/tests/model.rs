//! The tree against a map of paths that does everything the slow way.

use std::collections::BTreeMap;

use proptest::prelude::*;

use crate::tree::{Left, NodeId, Tree};

#[derive(Debug, Clone)]
enum Operation {
    Make(Vec<u8>),
    Rename(Vec<u8>, Vec<u8>),
    Remove(Vec<u8>),
    /// A directory was read and held only these.
    Sweep(Vec<u8>, Vec<u8>),
    /// The same directory under a second name.
    Share(Vec<u8>, Vec<u8>),
}

fn a_path() -> impl Strategy<Value = Vec<u8>> {
    proptest::collection::vec(0_u8..3, 1..4)
}

fn operation() -> impl Strategy<Value = Operation> {
    prop_oneof![
        3 => a_path().prop_map(Operation::Make),
        2 => (a_path(), a_path()).prop_map(|(from, to)| Operation::Rename(from, to)),
        1 => a_path().prop_map(Operation::Remove),
        1 => (a_path(), proptest::collection::vec(0_u8..3, 0..3)).prop_map(|(dir, kept)| Operation::Sweep(dir, kept)),
        1 => (a_path(), a_path()).prop_map(|(one, other)| Operation::Share(one, other)),
    ]
}

/// The model: each directory's path, a byte per name, and its watch.
#[derive(Default)]
struct Model {
    dirs: BTreeMap<Vec<u8>, i32>,
}

impl Model {
    fn holds(&self, parent: &[u8]) -> bool {
        parent.is_empty() || self.dirs.contains_key(parent)
    }

    fn remove(&mut self, path: &[u8]) {
        self.dirs.retain(|dir, _| !dir.starts_with(path));
    }
}

fn node(tree: &Tree, path: &[u8]) -> Option<NodeId> {
    path.iter().try_fold(tree.root(), |node, &name| tree.child(node, &[b'a' + name]))
}

fn parts(path: &[u8]) -> (&[u8], [u8; 1]) {
    let (last, parent) = path.split_last().unwrap();
    (parent, [b'a' + last])
}

struct Both {
    tree: Tree,
    model: Model,
    next_wd: i32,
    freed: Vec<i32>,
}

impl Both {
    fn make(&mut self, path: &[u8]) {
        let (parent, name) = parts(path);
        if !self.model.holds(parent) || self.model.dirs.contains_key(path) {
            return;
        }
        self.next_wd += 1;
        self.model.dirs.insert(path.to_vec(), self.next_wd);
        let parent = node(&self.tree, parent).unwrap();
        let new = self.tree.ensure(parent, &name).unwrap();
        assert_eq!(self.tree.set_wd(new, Some(self.next_wd)), None);
    }

    fn rename(&mut self, from: &[u8], to: &[u8]) {
        let (parent, name) = parts(to);
        if !self.model.dirs.contains_key(from)
            || !self.model.holds(parent)
            || to.starts_with(from)
            || from.starts_with(to)
        {
            return;
        }
        let moved = node(&self.tree, from).unwrap();
        self.tree.detach(moved);
        assert_eq!(self.tree.path(moved), None);
        if let Some(stale) = node(&self.tree, to) {
            self.remove(stale);
        }
        self.tree.attach(moved, node(&self.tree, parent).unwrap(), &name);
        self.model.remove(to);
        let moving: Vec<_> = self.model.dirs.extract_if(.., |dir, _| dir.starts_with(from)).collect();
        self.model.dirs.extend(moving.into_iter().map(|(dir, wd)| ([to, &dir[from.len()..]].concat(), wd)));
    }

    fn remove(&mut self, node: NodeId) {
        while self.tree.remove(node, 2, &mut self.freed) == Left::Something {
            assert_eq!(self.tree.path(node), None);
        }
        assert!(!self.tree.is_live(node));
    }

    fn sweep(&mut self, dir: &[u8], kept: &[u8]) {
        let Some(parent) = node(&self.tree, dir) else { return };
        let since = self.tree.tick();
        for &name in kept {
            self.make(&[dir, &[name]].concat());
            self.tree.ensure(parent, &[b'a' + name]).unwrap();
        }
        let (mut gone, mut from) = (Vec::new(), None);
        loop {
            from = self.tree.sweep(parent, since, (from, 2), &mut gone);
            for gone in gone.drain(..) {
                self.remove(gone);
            }
            if from.is_none() {
                break;
            }
        }
        for name in (0..3).filter(|name| !kept.contains(name)) {
            self.model.remove(&[dir, &[name]].concat());
        }
    }

    fn share(&mut self, one: &[u8], other: &[u8]) {
        let (Some(first), Some(second)) = (node(&self.tree, one), node(&self.tree, other)) else { return };
        let wd = self.tree.wd(first);
        self.freed.extend(self.tree.set_wd(second, wd));
        let Some(wd) = wd else { return };
        self.model.dirs.insert(other.to_vec(), wd);
    }

    fn check(&self) {
        assert_eq!(self.tree.directories(), self.model.dirs.len() as u64 + 1);
        let mut nodes = Vec::new();
        for (path, &wd) in &self.model.dirs {
            let names: Vec<[u8; 1]> = path.iter().map(|name| [b'a' + name]).collect();
            let expected = names.join(&b'/');
            self.tree.nodes_of(wd, &mut nodes);
            assert!(
                nodes.iter().any(|&node| self.tree.path(node).unwrap().as_bytes() == expected),
                "{path:?}"
            );
            let sharing = self.model.dirs.values().filter(|&&other| other == wd).count();
            assert_eq!(nodes.len(), sharing);
            assert!(!self.freed.contains(&wd), "{wd} is in use");
        }
        // Every watch is in use or was given back, once.
        let mut ended = self.freed.clone();
        ended.sort_unstable();
        ended.dedup();
        assert_eq!(ended.len(), self.freed.len());
        for wd in 1..=self.next_wd {
            assert_ne!(self.tree.has_wd(wd), ended.contains(&wd), "{wd}");
        }
    }
}

proptest! {
    #[test]
    fn tree_is_a_map_of_paths(operations in proptest::collection::vec(operation(), 0..60)) {
        let mut both = Both { tree: Tree::new(), model: Model::default(), next_wd: 0, freed: Vec::new() };
        for operation in operations {
            match operation {
                Operation::Make(path) => both.make(&path),
                Operation::Rename(from, to) => both.rename(&from, &to),
                Operation::Remove(path) => {
                    if let Some(node) = node(&both.tree, &path) {
                        both.remove(node);
                    }
                    both.model.remove(&path);
                }
                Operation::Sweep(dir, kept) => both.sweep(&dir, &kept),
                Operation::Share(one, other) => both.share(&one, &other),
            }
            both.check();
        }
    }
}

#[test]
fn unwatched_directories_are_counted_and_found() {
    let mut tree = Tree::new();
    let root = tree.root();
    tree.set_wd(root, Some(1));
    let a = tree.ensure(root, b"a").unwrap();
    let below = tree.ensure(a, b"b").unwrap();
    let other = tree.ensure(root, b"o").unwrap();
    for node in [a, below, other] {
        tree.set_wd(node, None);
        tree.set_wd(node, None);
    }
    assert_eq!(tree.unwatched(), 3);
    for most in 1..5 {
        let (mut tops, mut from) = (Vec::new(), Some(root));
        while let Some(next) = from {
            from = tree.topmost_unwatched((next, most), &mut tops);
        }
        tops.sort_by_key(|&node| tree.path(node));
        assert_eq!(tops, [a, other], "{most}");
    }
    tree.set_wd(other, Some(2));
    assert_eq!(tree.unwatched(), 2);
    tree.remove(a, 2, &mut Vec::new());
    assert_eq!(tree.unwatched(), 0);
}
