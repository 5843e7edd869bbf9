//! A store on a file of its own, and what it says.

use super::*;

use std::fs::{self, OpenOptions};
use std::os::fd::OwnedFd;

use common::confine::Confinement;
use common::event::{Dirt, RootId, TreeId};
use common::keep::{Edit, Find, FindKind, HeldDelete, Knowledge, NameOp, Pending, Purpose, Stamp, Trouble};
use common::message::Deletions;
use common::path::RelPath;
use common::wire::{FrameReader, Received, report_socket};
use redb::ReadableTable;
use tempfile::TempDir;

mod confined;
mod damage;
mod full;
mod kept;
mod model;
mod obeyed;
mod size;

/// A keeper without its process.
struct Bench {
    directory: TempDir,
    slice: KeepSlice,
    store: Option<Store>,
    voice: Voice,
    ours: OwnedFd,
    reader: FrameReader,
    /// How many names each tree had when that was told last.
    counted: Vec<u64>,
}

fn slice(trees: &[&str], remotes: &[(u16, &str)]) -> KeepSlice {
    KeepSlice {
        trees: trees.iter().map(|key| key.as_bytes().to_vec()).collect(),
        remotes: remotes.iter().map(|(tree, name)| (TreeId(*tree), name.as_bytes().to_vec())).collect(),
        confinement: Confinement::none(),
    }
}

fn path(text: &str) -> RelPath {
    RelPath::new(text).unwrap()
}

fn file(inode: u64, mark: u64) -> Stamp {
    Stamp { directory: false, inode, mark }
}

fn directory(inode: u64) -> Stamp {
    Stamp { directory: true, inode, mark: 0 }
}

fn root(inode: u64) -> RootId {
    RootId { device: 1, inode, born: 3 }
}

fn listing(at: &str, entries: &[(&str, Stamp)], purpose: Purpose) -> NameOp {
    let entries = entries.iter().map(|(name, stamp)| (name.as_bytes().to_vec(), *stamp)).collect();
    NameOp::Listing { directory: path(at), after: None, upto: None, entries, purpose }
}

fn pending(reason: &str) -> Pending {
    Pending { dirt: Dirt::Touched, since: 5, attempts: 1, reason: reason.to_owned() }
}

fn found(at: &str, kind: FindKind) -> Find {
    Find { path: path(at), kind }
}

impl Bench {
    fn new(slice: KeepSlice) -> Bench {
        Bench::new_in(slice, &std::env::temp_dir())
    }

    fn new_in(slice: KeepSlice, place: &std::path::Path) -> Bench {
        let (ours, theirs) = report_socket().unwrap();
        let directory = tempfile::tempdir_in(place).unwrap();
        let (voice, reader) = (Voice::new(Uplink::new(theirs)), FrameReader::default());
        let mut bench = Bench { directory, slice, store: None, voice, ours, reader, counted: Vec::new() };
        bench.open().unwrap();
        bench.said();
        bench
    }

    /// One tree, whose names are known to be none, and a remote.
    fn whole() -> Bench {
        Bench::whole_in(&std::env::temp_dir())
    }

    fn whole_in(place: &std::path::Path) -> Bench {
        let mut bench = Bench::new_in(slice(&["/t"], &[(0, "r")]), place);
        bench.edit(&[Edit::Root(TreeId(0), root(1))]);
        bench.store().listed(TreeId(0), &RelPath::root());
        bench.commit();
        bench
    }

    /// As the supervisor empties a file that is damaged.
    fn erase(&mut self) {
        self.store = None;
        let file = OpenOptions::new().write(true).open(self.at()).unwrap();
        file.set_len(0).and_then(|()| file.set_len(LOST)).unwrap();
    }

    fn at(&self) -> std::path::PathBuf {
        self.directory.path().join("state")
    }

    fn open(&mut self) -> Result<(), Failure> {
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(self.at());
        self.store = Some(Store::open(file.unwrap(), &self.slice, &mut self.voice)?);
        Ok(())
    }

    fn store(&mut self) -> &mut Store {
        self.store.as_mut().unwrap()
    }

    /// All that was said since it was asked last, but for signs of life: those come when they like.
    fn said(&mut self) -> Vec<KeeperReport> {
        std::iter::from_fn(|| match self.reader.receive(self.ours.as_fd()) {
            Received::Frame(KeeperReport::Loaded { last, trees, names }) => {
                self.counted = names;
                Some(loaded(last, &trees))
            }
            Received::Frame(report) => Some(report),
            Received::Empty => None,
            other => panic!("{other:?}"),
        })
        .filter(|report| *report != KeeperReport::Beat)
        .collect()
    }

    fn names(&mut self, tree: u16, ops: &[NameOp]) -> Vec<Find> {
        self.store.as_mut().unwrap().names(TreeId(tree), ops, &mut self.voice).unwrap();
        let finds = self.said().into_iter().flat_map(|report| match report {
            KeeperReport::Found(TreeId(of), finds) if of == tree => finds,
            other => panic!("{other:?}"),
        });
        finds.collect()
    }

    fn edit(&mut self, edits: &[Edit]) {
        self.store.as_mut().unwrap().edit(edits, &mut self.voice).unwrap();
        assert_eq!(self.said(), []);
    }

    fn commit(&mut self) {
        self.store().commit(LastRun::Unclean).unwrap();
    }

    /// As after a kill: what is in the file now is all there is.
    fn kill(&mut self) -> Vec<KeeperReport> {
        let left = self.directory.path().join("left");
        fs::copy(self.at(), &left).unwrap();
        self.store = None;
        fs::rename(&left, self.at()).unwrap();
        self.open().unwrap();
        self.said()
    }

    /// Every name that is kept.
    fn index(&mut self, tree: u16) -> Vec<(RelPath, Stamp)> {
        let store = self.store();
        let number = store.trees[usize::from(tree)].number;
        let table = store.transaction().unwrap().open_table(tables::NAMES).unwrap();
        let span = tables::all(number);
        let row =
            |row: Result<(redb::AccessGuard<'_, &'static [u8]>, redb::AccessGuard<'_, tables::Row>), _>| {
                let (key, value) = row.unwrap();
                let parent = key.value()[2..].split(|&byte| byte == 0).next().unwrap();
                let parent = RelPath::new(parent).unwrap();
                let path = parent.join(tables::name_in(key.value())).unwrap();
                (path, tables::stamp(value.value()).unwrap())
            };
        let mut all: Vec<_> = table.range::<&[u8]>(tables::borrowed(&span)).unwrap().map(row).collect();
        all.sort_by(|one, other| one.0.cmp(&other.0));
        all
    }
}

fn loaded(last: LastRun, trees: &[Knowledge]) -> KeeperReport {
    KeeperReport::Loaded { last, trees: trees.to_vec(), names: Vec::new() }
}

#[test]
fn how_the_last_run_ended() {
    let mut bench = Bench::new(slice(&["/t"], &[]));
    assert_eq!(bench.kill(), [loaded(LastRun::None, &[Knowledge::None])]);
    bench.edit(&[Edit::Root(TreeId(0), root(1))]);
    bench.commit();
    let kept = KeeperReport::Kept(vec![Edit::Root(TreeId(0), root(1))]);
    assert_eq!(bench.kill(), [kept.clone(), loaded(LastRun::Unclean, &[Knowledge::Partial])]);
    bench.store().listed(TreeId(0), &path("a"));
    bench.store().commit(LastRun::Clean).unwrap();
    assert_eq!(bench.kill(), [kept.clone(), loaded(LastRun::Clean, &[Knowledge::Partial])]);
    // Without a commit the run has left no trace.
    assert_eq!(bench.store().listed(TreeId(0), &RelPath::root()), 0);
    assert_eq!(bench.kill(), [kept.clone(), loaded(LastRun::Clean, &[Knowledge::Partial])]);
    bench.store().listed(TreeId(0), &RelPath::root());
    bench.commit();
    assert_eq!(bench.kill(), [kept, loaded(LastRun::Unclean, &[Knowledge::Whole])]);
}

/// Killed before its first commit, it is not taken for one that was never there.
#[test]
fn a_file_that_was_lost_is_no_first_start() {
    let mut bench = Bench::whole();
    bench.erase();
    bench.open().unwrap();
    assert_eq!(bench.said(), [loaded(LastRun::None, &[Knowledge::Partial])]);
    assert_eq!(bench.kill(), [loaded(LastRun::Unclean, &[Knowledge::Partial])]);
    bench.edit(&[Edit::Root(TreeId(0), root(1))]);
    bench.store().listed(TreeId(0), &RelPath::root());
    bench.commit();
    assert_eq!(bench.kill().last(), Some(&loaded(LastRun::Unclean, &[Knowledge::Whole])));
}

#[test]
fn how_many_names_are_kept_is_told() {
    let mut bench = Bench::whole();
    bench.names(0, &[listing("", &[("a", file(1, 1)), ("d", directory(2))], Purpose::Learn)]);
    bench.commit();
    bench.kill();
    assert_eq!(bench.counted, [2]);
}

#[test]
fn nothing_is_told_while_the_tree_is_learned() {
    let mut bench = Bench::new(slice(&["/t"], &[]));
    let entries = [("a", file(1, 1)), ("d", directory(2))];
    assert_eq!(bench.names(0, &[listing("", &entries, Purpose::Compare)]), []);
    bench.edit(&[Edit::Root(TreeId(0), root(1))]);
    assert_eq!(bench.names(0, &[listing("", &[("a", file(1, 2))], Purpose::Compare)]), []);
    assert_eq!(bench.store().listed(TreeId(0), &RelPath::root()), 1);
    let told = bench.names(0, &[listing("", &[("a", file(1, 3))], Purpose::Compare)]);
    assert_eq!(told, [found("a", FindKind::Changed)]);
    // What was told since may be newer than what is learned.
    let learned = [("a", file(1, 4)), ("b", file(2, 1))];
    assert_eq!(bench.names(0, &[listing("", &learned, Purpose::Learn)]), []);
    let told = bench.names(0, &[listing("", &learned, Purpose::Compare)]);
    assert_eq!(told, [found("a", FindKind::Changed)]);
}

/// What a directory held is forgotten once its removal is told, or found.
#[test]
fn an_entry_does_not_take_the_place_of_a_directory() {
    let mut bench = Bench::whole();
    let before = [NameOp::Entry(path("d"), directory(1)), NameOp::Entry(path("d/x"), file(2, 1))];
    bench.names(0, &before);
    bench.names(0, &[NameOp::Entry(path("d"), directory(9)), NameOp::Entry(path("d"), file(3, 1))]);
    assert_eq!(bench.index(0).len(), 2);
    let told = bench.names(0, &[listing("", &[("d", file(3, 1))], Purpose::Compare)]);
    assert_eq!(told, [found("d", FindKind::Changed)]);
    assert_eq!(bench.index(0).len(), 1);
}

#[test]
fn what_a_listing_finds() {
    let mut bench = Bench::whole();
    let before = [
        listing(
            "",
            &[
                ("a", file(1, 1)),
                ("b", file(2, 1)),
                ("d", directory(3)),
                ("e", directory(4)),
                ("f", directory(5)),
            ],
            Purpose::Learn,
        ),
        listing("d", &[("x", file(6, 1)), ("y", directory(7))], Purpose::Learn),
        listing("d/y", &[("z", file(8, 1))], Purpose::Learn),
        listing("e", &[("x", file(9, 1))], Purpose::Learn),
        listing("f", &[("x", file(10, 1))], Purpose::Learn),
        NameOp::Entry(path("d.txt"), file(11, 1)),
    ];
    assert_eq!(bench.names(0, &before), []);
    // d is gone, e is another directory, f is a file now, g is new; a has changed.
    let now = [
        ("a", file(1, 2)),
        ("b", file(2, 1)),
        ("d.txt", file(11, 1)),
        ("e", directory(40)),
        ("f", file(50, 1)),
        ("g", directory(60)),
    ];
    assert_eq!(
        bench.names(0, &[listing("", &now, Purpose::Compare)]),
        [
            found("a", FindKind::Changed),
            found("d", FindKind::Gone { directory: true, names: 4 }),
            found("e", FindKind::Changed),
            found("f", FindKind::Changed),
            found("g", FindKind::Changed),
        ]
    );
    // What the other directory lacks is found when it is listed.
    assert_eq!(
        bench.names(0, &[listing("e", &[], Purpose::Compare)]),
        [found("e/x", FindKind::Gone { directory: false, names: 1 })]
    );
    let left: Vec<_> = bench.index(0);
    assert_eq!(left, now.map(|(name, stamp)| (path(name), stamp)));
    assert_eq!(bench.store().listed(TreeId(0), &RelPath::root()), 6);
}

/// A directory that takes several frames: each says which part of it is meant.
#[test]
fn parts_of_a_directory() {
    let mut bench = Bench::whole();
    let part = |after: Option<&str>, upto: Option<&str>, names: &[&str]| NameOp::Listing {
        directory: RelPath::root(),
        after: after.map(Into::into),
        upto: upto.map(Into::into),
        entries: names.iter().map(|name| (name.as_bytes().to_vec(), file(1, 1))).collect(),
        purpose: Purpose::Compare,
    };
    bench.names(0, &[part(None, None, &["a", "b", "c", "d", "e"])]);
    assert_eq!(bench.names(0, &[part(Some("b"), Some("d"), &["c", "d"])]), []);
    let gone = |at| found(at, FindKind::Gone { directory: false, names: 1 });
    assert_eq!(bench.names(0, &[part(Some("b"), Some("d"), &[])]), [gone("c"), gone("d")]);
    assert_eq!(bench.names(0, &[part(None, Some("a"), &[])]), [gone("a")]);
    assert_eq!(bench.names(0, &[part(Some("b"), None, &["f"])]), [gone("e"), found("f", FindKind::Changed)]);
    assert_eq!(bench.index(0).len(), 2);
}

#[test]
fn what_makes_no_sense_changes_nothing() {
    let mut bench = Bench::whole();
    bench.names(0, &[listing("", &[("a", file(1, 1))], Purpose::Learn)]);
    let bounds = |after: &str, upto: &str, name: &str| NameOp::Listing {
        directory: RelPath::root(),
        after: Some(after.into()),
        upto: Some(upto.into()),
        entries: vec![(name.into(), file(2, 2))],
        purpose: Purpose::Compare,
    };
    let one = |name: &str| listing("", &[(name, file(2, 2))], Purpose::Compare);
    let mut bad: Vec<_> = ["", ".", "..", "a/b", "a\0b"].map(one).to_vec();
    bad.push(listing("", &[("b", file(2, 2)), ("a", file(2, 2))], Purpose::Compare));
    bad.push(listing("", &[("b", file(2, 2)), ("b", file(2, 2))], Purpose::Compare));
    bad.extend([bounds("b", "d", "b"), bounds("b", "d", "e"), bounds("d", "b", "c")]);
    bad.extend([NameOp::Entry(RelPath::root(), directory(9)), NameOp::Gone(RelPath::root())]);
    assert_eq!(bench.names(0, &bad), []);
    assert_eq!(bench.names(7, &[NameOp::Gone(path("a"))]), []);
    assert_eq!(bench.index(0), [(path("a"), file(1, 1))]);
    bench.edit(&[Edit::Known(7), Edit::Pending(7, path("a"), None), Edit::Complete(TreeId(7), 1)]);
}

fn some_of_each() -> Vec<Edit> {
    let held = HeldDelete { directory: true, names: 7, since: 8 };
    vec![
        Edit::Root(TreeId(0), root(1)),
        Edit::Complete(TreeId(0), 77),
        Edit::Held(TreeId(0), path("h"), Some(held)),
        Edit::Known(0),
        Edit::Full(0, Some(Deletions::Held)),
        Edit::Pending(0, path("a"), Some(pending("no"))),
        Edit::Pending(0, RelPath::root(), Some(pending(""))),
        Edit::Parked(0, path("a"), Some(pending(""))),
    ]
}
