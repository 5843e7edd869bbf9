//! The index against a naive one, under random operations and kills.

use super::*;

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

/// Names that sort before, at and after the separators in keys.
const NAMES: [&str; 8] = ["a", "a\u{1}", "a-", "a.b", "a0", "ab", "b", "\u{7f}"];

type Model = BTreeMap<RelPath, Stamp>;

#[derive(Debug, Clone)]
enum Step {
    Names(u16, NameOp),
    Listed(u16),
    Root(u16, u64),
    Commit,
    Kill,
    /// The process ends by itself, without a commit.
    Leave,
}

/// What the keeper should have.
#[derive(Debug, Clone, Default, PartialEq)]
struct Tree {
    names: Model,
    root: Option<u64>,
    whole: bool,
}

fn below(model: &Model, path: &RelPath) -> Vec<RelPath> {
    model.keys().filter(|other| other.is_below(path)).cloned().collect()
}

fn forget(model: &mut Model, paths: &[RelPath]) {
    for path in paths {
        model.remove(path);
    }
}

impl Tree {
    fn take(&mut self, op: &NameOp) -> Vec<Find> {
        match op {
            NameOp::Entry(path, stamp) => {
                let kept = self.names.get(path);
                if !kept.is_some_and(|kept| kept.directory && (!stamp.directory || kept.inode != stamp.inode))
                {
                    self.put(path, *stamp);
                }
                vec![]
            }
            NameOp::Listing { directory, entries, purpose: Purpose::Learn, .. } => {
                for (name, stamp) in entries {
                    self.names.entry(directory.join(name).unwrap()).or_insert(*stamp);
                }
                vec![]
            }
            NameOp::Gone(path) => {
                let below = below(&self.names, path);
                forget(&mut self.names, &below);
                self.names.remove(path);
                vec![]
            }
            NameOp::Listing { directory, after, upto, entries, purpose: Purpose::Compare } => {
                let seen: BTreeMap<&[u8], Stamp> =
                    entries.iter().map(|(name, stamp)| (name.as_slice(), *stamp)).collect();
                let inside = |name: &[u8]| {
                    after.as_deref().is_none_or(|after| name > after)
                        && upto.as_deref().is_none_or(|upto| name <= upto)
                };
                let held = self.names.keys().filter(|path| path.parent().as_ref() == Some(directory));
                let held = held.map(|path| path.name().to_vec()).filter(|name| inside(name));
                let all: BTreeSet<Vec<u8>> = held.chain(seen.keys().map(|name| name.to_vec())).collect();
                let mut finds = vec![];
                for name in all {
                    let path = directory.join(&name).unwrap();
                    let kind = if let Some(stamp) = seen.get(name.as_slice()) {
                        self.put(&path, *stamp)
                    } else {
                        let gone = below(&self.names, &path);
                        forget(&mut self.names, &gone);
                        let itself = self.names.remove(&path).unwrap();
                        let names = gone.len() as u64 + 1;
                        Some(FindKind::Gone { directory: itself.directory, names })
                    };
                    finds.extend(kind.map(|kind| Find { path, kind }));
                }
                let told = self.whole && self.root.is_some();
                if told { finds } else { vec![] }
            }
        }
    }

    fn put(&mut self, path: &RelPath, stamp: Stamp) -> Option<FindKind> {
        let old = self.names.insert(path.clone(), stamp);
        if old == Some(stamp) {
            return None;
        }
        let was_directory = old.is_some_and(|old| old.directory);
        let same = old.is_some_and(|old| old.directory && stamp.directory && old.inode == stamp.inode);
        if was_directory && !same && !stamp.directory {
            let below = below(&self.names, path);
            forget(&mut self.names, &below);
        }
        Some(FindKind::Changed)
    }
}

fn name() -> impl Strategy<Value = &'static str> {
    prop::sample::select(&NAMES[..])
}

fn paths(depth: impl Into<prop::collection::SizeRange>) -> impl Strategy<Value = RelPath> {
    prop::collection::vec(name(), depth).prop_map(|parts| path(&parts.join("/")))
}

fn stamps() -> impl Strategy<Value = Stamp> {
    (any::<bool>(), 1..4_u64, 1..3_u64).prop_map(|(directory, inode, mark)| Stamp { directory, inode, mark })
}

fn listings() -> impl Strategy<Value = NameOp> {
    let bound = || prop::option::weighted(0.3, name());
    let entries = prop::collection::btree_map(name(), stamps(), 0..6);
    (paths(0..3), bound(), bound(), entries, any::<bool>()).prop_map(
        |(directory, after, upto, entries, compare)| {
            let bytes = |name: &str| name.as_bytes().to_vec();
            let (after, upto) = (after.map(bytes), upto.map(bytes));
            let upto = upto.filter(|upto| after.as_ref().is_none_or(|after| after <= upto));
            let entries = entries.into_iter().map(|(name, stamp)| (bytes(name), stamp));
            let inside = entries.filter(|(name, _)| {
                after.as_ref().is_none_or(|after| name > after)
                    && upto.as_ref().is_none_or(|upto| name <= upto)
            });
            let purpose = if compare { Purpose::Compare } else { Purpose::Learn };
            NameOp::Listing { directory, entries: inside.collect(), after, upto, purpose }
        },
    )
}

fn steps() -> impl Strategy<Value = Step> {
    let tree = || 0..2_u16;
    prop_oneof![
        8 => (tree(), listings()).prop_map(|(tree, op)| Step::Names(tree, op)),
        6 => (tree(), paths(1..4), stamps()).prop_map(|(tree, path, stamp)| Step::Names(tree, NameOp::Entry(path, stamp))),
        2 => (tree(), paths(1..4)).prop_map(|(tree, path)| Step::Names(tree, NameOp::Gone(path))),
        2 => tree().prop_map(Step::Listed),
        1 => (tree(), prop::sample::select(&[1, 1, 1, 2][..])).prop_map(|(tree, root)| Step::Root(tree, root)),
        2 => Just(Step::Commit),
        1 => Just(Step::Kill),
        1 => Just(Step::Leave),
    ]
}

fn knows(tree: &Tree) -> Knowledge {
    match (tree.root, tree.whole) {
        (None, _) => Knowledge::None,
        (Some(_), false) => Knowledge::Partial,
        (Some(_), true) => Knowledge::Whole,
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn as_the_naive_one(steps in prop::collection::vec(steps(), 1..60)) {
        let mut bench = Bench::new(slice(&["/a", "/b"], &[]));
        let mut now = [Tree::default(), Tree::default()];
        let mut durable = now.clone();
        for step in steps {
            match step {
                Step::Names(tree, op) => {
                    let wanted = now[usize::from(tree)].take(&op);
                    prop_assert_eq!(bench.names(tree, &[op]), wanted);
                }
                Step::Listed(tree) => {
                    let told = bench.store().listed(TreeId(tree), &RelPath::root());
                    let model = &mut now[usize::from(tree)];
                    model.whole = true;
                    prop_assert_eq!(told, model.names.len() as u64);
                }
                Step::Root(tree, inode) => {
                    bench.edit(&[Edit::Root(TreeId(tree), root(inode))]);
                    let model = &mut now[usize::from(tree)];
                    if model.root.is_some_and(|kept| kept != inode) {
                        *model = Tree::default();
                    }
                    model.root = Some(inode);
                }
                Step::Commit => {
                    bench.commit();
                    durable = now.clone();
                }
                Step::Kill | Step::Leave => {
                    let told = if matches!(step, Step::Kill) {
                        bench.kill()
                    } else {
                        bench.store = None;
                        bench.open().unwrap();
                        bench.said()
                    };
                    now = durable.clone();
                    let Some(KeeperReport::Loaded { trees, .. }) = told.last() else { panic!("{told:?}") };
                    prop_assert_eq!(trees, &now.each_ref().map(knows));
                }
            }
            for tree in 0..2 {
                let wanted: Vec<_> = now[usize::from(tree)].names.clone().into_iter().collect();
                prop_assert_eq!(bench.index(tree), wanted);
                let count = bench.store().trees[usize::from(tree)].record.names;
                prop_assert_eq!(count, now[usize::from(tree)].names.len() as u64);
            }
        }
    }
}
