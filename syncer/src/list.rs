//! Dirty paths into the lists that rsync gets: pure, over a function that says what stands at
//! a path now.
//!
//! rsync follows a symlink in the middle of a listed name, leaves a directory behind when only
//! what it held is listed, and fails where a stale child of a former directory is listed
//! (ARCHITECTURE.md, "lists"). So a name whose ancestor is missing, or no directory, is
//! replaced by that ancestor; what a deep entry covers is dropped; all is sorted and unique.

use std::collections::{BTreeMap, BTreeSet};

use common::event::Dirt;
use common::path::RelPath;

/// What stands at a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Nothing.
    Missing,
    /// A directory, no symlink to one.
    Directory,
    /// Anything else.
    Other,
    /// It could not be looked at; rsync will say why.
    Unknown,
}

/// The lists of one batch.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Lists {
    /// Entries that are sent, or removed, by themselves.
    pub(crate) shallow: BTreeSet<RelPath>,
    /// Directories that become equal with all below them.
    pub(crate) deep: BTreeSet<RelPath>,
    /// Directories that are sent with all below them; nothing is removed.
    pub(crate) sweep: BTreeSet<RelPath>,
    /// Directories that are gone. One that is there again after the shallow list has been sent
    /// goes deep: the remote may still hold what the old one held.
    pub(crate) gone: BTreeSet<RelPath>,
    /// The whole tree: with removals for a deep root, without for a swept one.
    pub(crate) whole: Option<Whole>,
}

/// How the whole tree is to be sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Whole {
    /// Nothing is removed.
    Sweep,
    /// The remote becomes equal.
    Mirror,
}

/// Sorts `paths` into lists. `look` is asked at most once for each path.
pub(crate) fn normalise(paths: &[(RelPath, Dirt)], mut look: impl FnMut(&[u8]) -> Kind) -> Lists {
    let mut cache = BTreeMap::new();
    let mut kind = |path: &[u8]| match cache.get(path) {
        Some(&kind) => kind,
        None => *cache.entry(path.to_vec()).or_insert_with(|| look(path)),
    };
    let mut lists = Lists::default();
    for (path, dirt) in paths {
        if path.is_root() {
            lists.whole = lists.whole.max(whole(*dirt));
        } else {
            place(&mut lists, path, *dirt, &mut kind);
        }
    }
    lists.prune();
    lists
}

impl Lists {
    /// Makes `path`, a directory, deep.
    pub(crate) fn deepen(&mut self, path: RelPath) {
        self.deep.insert(path);
        self.prune();
    }

    /// Drops what a deep entry covers, and sweeps below sweeps. Shallow entries below a sweep
    /// stay: they may remove, which a sweep never does.
    fn prune(&mut self) {
        let deep = std::mem::take(&mut self.deep);
        self.deep = deep.iter().filter(|path| !below_any(path, &deep)).cloned().collect();
        self.shallow.retain(|path| !self.deep.contains(path) && !below_any(path, &self.deep));
        let sweep = std::mem::take(&mut self.sweep);
        let covered = |path: &RelPath| {
            self.deep.contains(path) || below_any(path, &self.deep) || below_any(path, &sweep)
        };
        self.sweep = sweep.iter().filter(|path| !covered(path)).cloned().collect();
        self.gone.retain(|path| self.shallow.contains(path));
    }
}

fn place(lists: &mut Lists, path: &RelPath, dirt: Dirt, kind: &mut impl FnMut(&[u8]) -> Kind) {
    for ancestor in path.ancestors() {
        let found = kind(ancestor);
        match found {
            Kind::Directory => {}
            Kind::Unknown => break,
            Kind::Missing | Kind::Other => {
                // A prefix of a good path at a slash is a good path.
                let Ok(ancestor) = RelPath::new(ancestor) else { return };
                if found == Kind::Missing {
                    lists.gone.insert(ancestor.clone());
                }
                lists.shallow.insert(ancestor);
                return;
            }
        }
    }
    let found = match dirt {
        // Goes shallow whatever it is: no need to look.
        Dirt::Touched | Dirt::Removed => Kind::Other,
        Dirt::RemovedDir | Dirt::Deep | Dirt::Sweep => kind(path.as_bytes()),
    };
    let list = match (found, dirt) {
        (Kind::Directory, Dirt::RemovedDir | Dirt::Deep) => &mut lists.deep,
        (Kind::Directory, Dirt::Sweep) => &mut lists.sweep,
        (Kind::Directory, Dirt::Touched | Dirt::Removed)
        | (Kind::Missing | Kind::Other | Kind::Unknown, _) => {
            if found == Kind::Missing {
                lists.gone.insert(path.clone());
            }
            &mut lists.shallow
        }
    };
    list.insert(path.clone());
}

/// What a change of the root itself asks for. Its own attributes travel with any list.
fn whole(dirt: Dirt) -> Option<Whole> {
    match dirt {
        Dirt::Deep => Some(Whole::Mirror),
        Dirt::Sweep => Some(Whole::Sweep),
        Dirt::Touched | Dirt::Removed | Dirt::RemovedDir => None,
    }
}

fn below_any(path: &RelPath, directories: &BTreeSet<RelPath>) -> bool {
    path.ancestors().any(|ancestor| directories.contains(ancestor))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn path(text: &str) -> RelPath {
        RelPath::new(text).unwrap()
    }

    fn set(texts: &[&str]) -> BTreeSet<RelPath> {
        texts.iter().map(|text| path(text)).collect()
    }

    /// A tree: directories end in `/`, links in `@`, what cannot be looked at in `?`.
    fn lists(tree: &[&str], batch: &[(&str, Dirt)]) -> Lists {
        let batch: Vec<_> = batch.iter().map(|&(text, dirt)| (path(text), dirt)).collect();
        normalise(&batch, |asked| {
            let asked = std::str::from_utf8(asked).unwrap();
            let entry = tree.iter().find(|entry| entry.trim_end_matches(['/', '@', '?']) == asked);
            match entry {
                None => Kind::Missing,
                Some(entry) if entry.ends_with('/') => Kind::Directory,
                Some(entry) if entry.ends_with('?') => Kind::Unknown,
                Some(_) => Kind::Other,
            }
        })
    }

    #[test]
    fn the_red_cells() {
        use Dirt::{Deep, Removed, RemovedDir, Sweep, Touched};
        // A removed directory whose children were reported too: only the top.
        let found = lists(&[], &[("d/a", Removed), ("d/s/c", Removed), ("d", RemovedDir)]);
        assert_eq!((found.shallow, found.gone), (set(&["d"]), set(&["d"])));
        // Only a child of what is gone.
        assert_eq!(lists(&["p/"], &[("p/d/a", Removed)]).shallow, set(&["p/d"]));
        // A directory became a file, a link: stale children collapse into it.
        assert_eq!(lists(&["d"], &[("d/a", Removed), ("d", Touched)]).shallow, set(&["d"]));
        assert_eq!(lists(&["d/", "d/s@"], &[("d/s/c", Touched)]).shallow, set(&["d/s"]));
        // Deep covers what is below, and is shallow when it is none any more.
        let found = lists(&["d/", "d/e/"], &[("d", Deep), ("d/e", Deep), ("d/f", Removed), ("dd", Touched)]);
        assert_eq!((found.deep, found.shallow), (set(&["d"]), set(&["dd"])));
        assert_eq!(lists(&["d@"], &[("d", Deep)]).shallow, set(&["d"]));
        // A removed directory that is there again has leftovers on the remote.
        assert_eq!(lists(&["d/"], &[("d", RemovedDir)]).deep, set(&["d"]));
        // A sweep removes nothing, so what is listed below it stays listed.
        let found = lists(&["d/", "d/e/"], &[("d", Sweep), ("d/e", Sweep), ("d/f", Removed)]);
        assert_eq!((found.sweep, found.shallow), (set(&["d"]), set(&["d/f"])));
        // What cannot be looked at stays as it is; rsync reports it.
        assert_eq!(lists(&["d?"], &[("d/f", Touched)]).shallow, set(&["d/f"]));
    }

    #[test]
    fn the_root_is_never_an_entry() {
        use Dirt::{Deep, RemovedDir, Sweep, Touched};
        assert_eq!(lists(&[], &[("", Touched), ("", RemovedDir)]), Lists::default());
        assert_eq!(lists(&[], &[("", Sweep)]).whole, Some(Whole::Sweep));
        assert_eq!(lists(&[], &[("", Deep), ("", Sweep)]).whole, Some(Whole::Mirror));
    }

    #[test]
    fn many_files_of_one_directory_cost_one_look() {
        let batch: Vec<_> = (0..1500).map(|i| (path(&format!("d/{i}")), Dirt::Touched)).collect();
        let mut looks = 0;
        let found = normalise(&batch, |_| {
            looks += 1;
            Kind::Directory
        });
        assert_eq!((looks, found.shallow.len()), (1, 1500));
    }

    fn any_path() -> impl Strategy<Value = RelPath> {
        proptest::collection::vec("[abc]", 1..4).prop_map(|parts| path(&parts.join("/")))
    }

    fn any_dirt() -> impl Strategy<Value = Dirt> {
        prop_oneof![
            Just(Dirt::Touched),
            Just(Dirt::Removed),
            Just(Dirt::RemovedDir),
            Just(Dirt::Deep),
            Just(Dirt::Sweep)
        ]
    }

    /// A filesystem: every path has what it says only where all above it are directories.
    fn kind_in(tree: &BTreeMap<RelPath, bool>, asked: &RelPath) -> Kind {
        let is_directory = |path: &RelPath| tree.get(path).copied().unwrap_or(false);
        if asked.ancestors().any(|above| !is_directory(&RelPath::new(above).unwrap())) {
            return Kind::Missing;
        }
        match tree.get(asked) {
            None => Kind::Missing,
            Some(true) => Kind::Directory,
            Some(false) => Kind::Other,
        }
    }

    /// Where a path ends: the first thing on the way that is no directory, or itself.
    fn end_of(tree: &BTreeMap<RelPath, bool>, wanted: &RelPath) -> RelPath {
        let way = wanted.ancestors().map(|above| RelPath::new(above).unwrap());
        way.chain([wanted.clone()]).find(|p| kind_in(tree, p) != Kind::Directory).unwrap_or(wanted.clone())
    }

    proptest! {
        /// Against the naive reading of the rules, path by path.
        #[test]
        fn as_the_model(
            tree in proptest::collection::btree_map(any_path(), any::<bool>(), 0..20),
            batch in proptest::collection::vec((any_path(), any_dirt()), 0..20),
        ) {
            let found = normalise(&batch, |asked| kind_in(&tree, &RelPath::new(asked).unwrap()));
            let (mut shallow, mut deep, mut sweep) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
            for (wanted, dirt) in &batch {
                let end = end_of(&tree, wanted);
                match (kind_in(&tree, &end), dirt) {
                    (Kind::Directory, Dirt::Deep | Dirt::RemovedDir) => deep.insert(end),
                    (Kind::Directory, Dirt::Sweep) => sweep.insert(end),
                    _ => shallow.insert(end),
                };
            }
            let inside = |p: &RelPath, set: &BTreeSet<RelPath>| set.iter().any(|top| p.is_below(top));
            let deepened = |p: &RelPath| deep.contains(p) || inside(p, &deep);
            let wanted = Lists {
                shallow: shallow.iter().filter(|p| !deepened(p)).cloned().collect(),
                sweep: sweep.iter().filter(|p| !deepened(p) && !inside(p, &sweep)).cloned().collect(),
                deep: deep.iter().filter(|p| !inside(p, &deep)).cloned().collect(),
                gone: found.gone.clone(),
                whole: None,
            };
            prop_assert_eq!(&found, &wanted);
            // No list holds an entry below another that is missing or no directory.
            for entry in found.shallow.iter().chain(&found.deep).chain(&found.sweep) {
                prop_assert!(entry.ancestors().all(|above| kind_in(&tree, &RelPath::new(above).unwrap()) == Kind::Directory));
            }
            prop_assert!(found.gone.iter().all(|p| kind_in(&tree, p) == Kind::Missing && found.shallow.contains(p)));
        }
    }
}
