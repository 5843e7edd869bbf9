//! What is kept beside the names, and whose it is.

use super::*;

#[test]
fn what_is_kept_is_told() {
    let mut bench = Bench::new(slice(&["/t"], &[(0, "r")]));
    let mut edits = some_of_each();
    bench.edit(&edits);
    bench.commit();
    let told = |reports: Vec<KeeperReport>| -> Vec<Edit> {
        let edits = reports.into_iter().filter_map(|report| match report {
            KeeperReport::Kept(edits) => Some(edits),
            KeeperReport::Loaded { .. } => None,
            other => panic!("{other:?}"),
        });
        edits.flatten().collect()
    };
    // The root comes before what is below it.
    edits.swap(5, 6);
    assert_eq!(told(bench.kill()), edits);
    bench.edit(&[Edit::Pending(0, path("a"), None), Edit::Full(0, None), Edit::Parked(0, path("b"), None)]);
    bench.edit(&[Edit::Held(TreeId(0), path("h"), None)]);
    assert_eq!(told(bench.kill()), edits, "nothing was committed");
    bench.edit(&[Edit::Pending(0, path("a"), None), Edit::Full(0, None)]);
    bench.edit(&[
        Edit::Held(TreeId(0), path("h"), None),
        Edit::Pending(0, RelPath::root(), Some(pending("x"))),
    ]);
    bench.commit();
    let left = told(bench.kill());
    assert_eq!(left.len(), 5);
    assert!(left.contains(&Edit::Pending(0, RelPath::root(), Some(pending("x")))));
}

#[test]
fn a_reason_is_cut_and_frames_fit() {
    let mut bench = Bench::new(slice(&["/t"], &[(0, "r")]));
    let reason = "é".repeat(200);
    let edits: Vec<_> =
        (0..300).map(|n| Edit::Pending(0, path(&format!("{n:0200}")), Some(pending(&reason)))).collect();
    bench.edit(&edits);
    bench.commit();
    bench.store = None;
    bench.open().unwrap();
    let reports = bench.said();
    assert!(reports.len() > 2);
    let mut count = 0;
    for report in &reports[..reports.len() - 1] {
        let KeeperReport::Kept(edits) = report else { panic!("{report:?}") };
        count += edits.len();
        for edit in edits {
            let Edit::Pending(0, _, Some(pending)) = edit else { panic!("{edit:?}") };
            assert_eq!(pending.reason, "é".repeat(100));
        }
    }
    assert_eq!(count, 300);
}

/// Places in the config change; what is kept stays with what it was kept for.
#[test]
fn other_trees_and_remotes() {
    let mut bench = Bench::new(slice(&["/a", "/b"], &[(0, "r"), (1, "r"), (1, "s")]));
    bench.edit(&[Edit::Root(TreeId(0), root(1)), Edit::Root(TreeId(1), root(2))]);
    for remote in 0..3 {
        bench.edit(&[
            Edit::Known(remote),
            Edit::Pending(remote, path(&format!("p{remote}")), Some(pending(""))),
        ]);
    }
    bench.edit(&[Edit::Held(
        TreeId(0),
        path("h"),
        Some(HeldDelete { directory: false, names: 1, since: 1 }),
    )]);
    bench.names(0, &[listing("", &[("a", file(1, 1)), ("d", directory(2))], Purpose::Learn)]);
    bench.names(1, &[listing("", &[("b", file(1, 1))], Purpose::Learn)]);
    bench.store().listed(TreeId(1), &RelPath::root());
    bench.commit();
    bench.slice = slice(&["/c", "/b"], &[(1, "s"), (0, "r"), (1, "new")]);
    let kept = KeeperReport::Kept(vec![
        Edit::Root(TreeId(1), root(2)),
        Edit::Known(0),
        Edit::Pending(0, path("p2"), Some(pending(""))),
    ]);
    let told = [kept, loaded(LastRun::Unclean, &[Knowledge::None, Knowledge::Whole])];
    assert_eq!(bench.kill(), told);
    assert_eq!((bench.index(0), bench.index(1)), (vec![], vec![(path("b"), file(1, 1))]));
    // The old slots are used again, and nothing of the others is left in them.
    bench.commit();
    bench.edit(&[Edit::Known(1)]);
    bench.commit();
    bench.slice = slice(&["/a", "/b"], &[(0, "r"), (1, "s")]);
    let KeeperReport::Kept(kept) = &bench.kill()[0] else { panic!() };
    assert_eq!(kept.len(), 3);
    assert_eq!(bench.index(0), []);
}

#[test]
fn another_root_has_other_names() {
    let mut bench = Bench::whole();
    bench.names(0, &[listing("", &[("a", file(1, 1)), ("d", directory(2))], Purpose::Learn)]);
    bench.edit(&[Edit::Root(TreeId(0), root(1))]);
    assert_eq!(bench.store().listed(TreeId(0), &path("d")), 2);
    bench.edit(&[Edit::Root(TreeId(0), root(2))]);
    assert_eq!(bench.store().listed(TreeId(0), &path("d")), 0);
    assert_eq!(bench.index(0), []);
    assert_eq!(bench.names(0, &[listing("", &[("a", file(1, 2))], Purpose::Compare)]), []);
    bench.commit();
    let told = bench.kill();
    assert_eq!(told.last(), Some(&loaded(LastRun::Unclean, &[Knowledge::Partial])));
}

/// The number of a device may change with a reboot.
#[test]
fn the_same_root_on_a_device_with_another_number() {
    let mut bench = Bench::whole();
    bench.names(0, &[listing("", &[("a", file(1, 1))], Purpose::Learn)]);
    bench.edit(&[Edit::Root(TreeId(0), common::event::RootId { device: 9, ..root(1) })]);
    assert_eq!(bench.index(0), [(path("a"), file(1, 1))]);
    assert_eq!(bench.store().listed(TreeId(0), &RelPath::root()), 1);
}
