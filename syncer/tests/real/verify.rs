//! Jobs that only compare: each difference is told once, nothing is changed on either side.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::time::{Duration, SystemTime};

use common::confine::Confined;
use common::event::RootId;
use common::message::DifferenceKind::{self, Attributes, Content, Extra, Missing};
use common::message::{Comparison, Deletions, Job, Load, Outcome, Terms, Work};
use common::path::RelPath;
use syncer::{JobEnd, Worker};

use crate::mirror::{Mirror, expressions, tree};

struct Verified {
    end: JobEnd,
    /// Path and kind, sorted.
    found: Vec<(String, DifferenceKind)>,
    frames: Vec<usize>,
}

fn verify(mirror: &Mirror, tops: &[&str], by: Comparison) -> Verified {
    let before = (tree(&mirror.source), tree(&mirror.replica));
    let root = RootId::from(&fs::metadata(&mirror.source).unwrap());
    let tops = tops.iter().map(|top| RelPath::new(*top).unwrap()).collect();
    let work = Work::Verify { tops, by };
    let job = Job {
        root,
        deletions: Deletions::Held,
        max_delete: None,
        terms: Terms::default(),
        by: Comparison::Times,
        load: Load::Any,
        work,
        moves: Vec::new(),
    };
    let mut worker = Worker::new(mirror.slice.clone(), Confined::not()).unwrap();
    let (mut found, mut frames) = (Vec::new(), Vec::new());
    let end = worker.run(&job, &mut |_| {}, &mut |differences| {
        frames.push(differences.iter().map(|one| one.path.as_bytes().len() + 8).sum());
        for one in differences {
            let slash = if one.directory { "/" } else { "" };
            found.push((String::from_utf8_lossy(one.path.as_bytes()).into_owned() + slash, one.kind));
        }
    });
    assert_eq!((tree(&mirror.source), tree(&mirror.replica)), before, "something was changed");
    found.sort_by(|a, b| a.0.cmp(&b.0));
    Verified { end, found, frames }
}

fn finds(mirror: &Mirror, tops: &[&str], by: Comparison, wanted: &[(&str, DifferenceKind)]) {
    let verified = verify(mirror, tops, by);
    assert_eq!(verified.end.outcome, Outcome::Done, "{:?}", verified.end);
    let wanted: Vec<_> = wanted.iter().map(|&(path, kind)| (path.to_owned(), kind)).collect();
    assert_eq!(verified.found, wanted, "{tops:?}");
}

/// One difference of each sort.
fn unequal() -> Mirror {
    let mirror = Mirror::with(&["same", "d/size", "d/mode", "d/hidden", "d/late", "gone/x", "e/f"]);
    symlink("same", mirror.source.join("link")).unwrap();
    symlink("other", mirror.replica.join("link")).unwrap();
    fs::write(mirror.source.join("d/size"), "longer than it was").unwrap();
    fs::set_permissions(mirror.source.join("d/mode"), fs::Permissions::from_mode(0o600)).unwrap();
    fs::set_permissions(mirror.source.join("e"), fs::Permissions::from_mode(0o700)).unwrap();
    let times = fs::metadata(mirror.source.join("d/hidden")).unwrap().modified().unwrap();
    let hidden = mirror.replica.join("d/hidden");
    let length = fs::read(&hidden).unwrap().len();
    fs::write(&hidden, vec![b'x'; length]).unwrap();
    fs::File::options().write(true).open(&hidden).unwrap().set_modified(times).unwrap();
    let late = fs::File::options().write(true).open(mirror.replica.join("d/late")).unwrap();
    late.set_modified(SystemTime::now() - Duration::from_hours(1)).unwrap();
    mirror.remove("gone");
    mirror.write("new/file");
    mirror
}

#[test]
fn equal_trees() {
    let mirror = Mirror::with(&["a", "d/b", "d/e/c"]);
    for by in [Comparison::Times, Comparison::Checksums] {
        finds(&mirror, &[""], by, &[]);
        finds(&mirror, &["d", "a"], by, &[]);
    }
}

#[test]
fn each_sort_of_difference() {
    let mirror = unequal();
    let mut wanted = vec![
        ("d/late", Content),
        ("d/mode", Attributes),
        ("d/size", Content),
        ("e/", Attributes),
        ("gone/", Extra),
        ("gone/x", Extra),
        ("link", Content),
        ("new/", Missing),
        ("new/file", Missing),
    ];
    finds(&mirror, &[""], Comparison::Times, &wanted);
    wanted[0] = ("d/late", Attributes);
    wanted.insert(0, ("d/hidden", Content));
    finds(&mirror, &[""], Comparison::Checksums, &wanted);
    // The root among others is the whole.
    finds(&mirror, &["d", ""], Comparison::Checksums, &wanted);
}

#[test]
fn parts_of_a_tree() {
    let mirror = unequal();
    let by = Comparison::Times;
    // Not the directories on the way, nor what lies beside.
    finds(&mirror, &["e/f", "same"], by, &[]);
    finds(&mirror, &["e", "new"], by, &[("e/", Attributes), ("new/", Missing), ("new/file", Missing)]);
    finds(&mirror, &["gone"], by, &[("gone/", Extra), ("gone/x", Extra)]);
    finds(
        &mirror,
        &["gone/x", "link/x", "nowhere"],
        by,
        &[("gone/", Extra), ("gone/x", Extra), ("link", Content)],
    );
}

#[test]
fn what_does_not_travel_does_not_differ() {
    let mut mirror = unequal();
    mirror.slice.filter = expressions(&["/new/.*", "/d/.*", "/gone/x", "e/", r"/old2/.*\.log"]);
    mirror.write("more/file");
    mirror.write_there("old/deep/file");
    let wanted =
        [("link", Content), ("more/", Missing), ("more/file", Missing), ("new/", Missing), ("old/", Extra)];
    finds(&mirror, &[""], Comparison::Times, &wanted);
    finds(
        &mirror,
        &["d", "new/file", "old"],
        Comparison::Times,
        &[("old/", Extra), ("old/deep/", Extra), ("old/deep/file", Extra)],
    );
    mirror.write_there("old2/file.log");
    finds(&mirror, &["old2"], Comparison::Times, &[("old2/", Extra)]);
    mirror.slice.filter.clear();
    mirror.slice.excludes = ["/new", "/d/*", "/gone", "/e", "/more", "/old", "/old2"].map(Into::into).into();
    finds(&mirror, &[""], Comparison::Times, &[("link", Content)]);
    finds(&mirror, &["new"], Comparison::Times, &[("new/", Missing), ("new/file", Missing)]);
}

/// The last slice of a round: the others begin at names of ours.
#[test]
fn what_the_root_has_beside_our_names() {
    let mut mirror = unequal();
    for path in ["top", "more dir/x/y", "d/beside"] {
        mirror.write_there(path);
    }
    let beside = [("more dir/", Extra), ("more dir/x/", Extra), ("more dir/x/y", Extra), ("top", Extra)];
    let all: Vec<_> = verify(&mirror, &[], Comparison::Times).found;
    for (path, kind) in beside {
        assert!(all.contains(&(path.to_owned(), kind)), "{all:?}");
    }
    assert!(all.iter().all(|(path, kind)| *kind == Extra && !path.starts_with("d/")), "{all:?}");
    mirror.slice.filter = expressions(&["^top"]);
    let filtered = verify(&mirror, &[], Comparison::Times).found;
    assert!(
        !filtered.iter().any(|(path, _)| path == "top") && filtered.len() + 1 == all.len(),
        "{filtered:?}"
    );
}

#[test]
fn where_nothing_is_deleted_nothing_is_extra() {
    let mut mirror = unequal();
    mirror.slice.delete = false;
    let verified = verify(&mirror, &[""], Comparison::Times);
    assert!(
        verified.found.iter().all(|(_, kind)| *kind != Extra) && verified.found.len() == 7,
        "{:?}",
        verified.found
    );
    mirror.slice.filter = expressions(&["never"]);
    assert_eq!(verify(&mirror, &["", "gone"], Comparison::Times).found.len(), 7);
    finds(&mirror, &["gone"], Comparison::Times, &[]);
}

#[test]
fn whatever_the_parameters() {
    for params in
        ["-artuz", "-aq", "-avvP --stats --info=all3", "-aI", "-a --max-delete=1 --itemize-changes", "-rlp"]
    {
        let mut mirror = unequal();
        mirror.slice.remote.rsync.params = params.split(' ').map(Into::into).collect();
        let by_contents = params == "-rlp";
        let count = 9 - usize::from(params == "-rlp");
        let found = verify(&mirror, &[""], Comparison::Times).found;
        assert_eq!(found.len(), count + usize::from(by_contents), "{params}: {found:?}");
    }
}

#[test]
fn an_empty_and_another_root() {
    let mirror = Mirror::with(&["a"]);
    mirror.remove("a");
    finds(&mirror, &[""], Comparison::Times, &[("a", Extra)]);
    let job = Job {
        root: RootId { device: 0, inode: 0, born: 0 },
        deletions: Deletions::Travel,
        max_delete: None,
        terms: Terms::default(),
        by: Comparison::Times,
        load: Load::Any,
        work: Work::Verify { tops: vec![RelPath::root()], by: Comparison::Times },
        moves: Vec::new(),
    };
    let mut worker = Worker::new(mirror.slice.clone(), Confined::not()).unwrap();
    let end = worker.run(&job, &mut |_| {}, &mut |found| panic!("{found:?}"));
    assert_eq!(end.outcome, Outcome::RootGone);
}

#[test]
fn many_differences_come_in_frames() {
    let mirror = Mirror::start();
    mirror.write("here");
    for number in 0..1500 {
        mirror.write_there(format!("{}{number}", "n".repeat(100)));
    }
    let verified = verify(&mirror, &[""], Comparison::Times);
    assert_eq!((verified.end.outcome, verified.found.len()), (Outcome::Done, 1501));
    assert!(
        verified.frames.len() > 3 && verified.frames.iter().all(|bytes| *bytes <= 60 << 10),
        "{:?}",
        verified.frames
    );
}

#[test]
fn a_remote_that_cannot_be_asked() {
    let mut mirror = unequal();
    mirror.slice.remote.module = "other".into();
    let verified = verify(&mirror, &[""], Comparison::Times);
    assert_eq!((verified.end.outcome, verified.found.len()), (Outcome::Refused, 0));
}
