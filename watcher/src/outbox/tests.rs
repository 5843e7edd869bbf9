//! What merges, what keeps its place, and what becomes of too much.

use super::*;
use proptest::prelude::*;
use std::collections::BTreeMap;

const TREE: TreeId = TreeId(0);

fn path(s: &str) -> RelPath {
    RelPath::new(s).unwrap()
}

fn drain(outbox: &mut Outbox) -> Vec<WatcherReport> {
    std::iter::from_fn(|| outbox.next()).collect()
}

#[test]
fn one_path_is_one_change() {
    let mut outbox = Outbox::new();
    outbox.change(TREE, path("a"), Dirt::Touched, 1);
    outbox.change(TREE, path("b"), Dirt::Touched, 2);
    outbox.change(TREE, path("a"), Dirt::Removed, 4);
    outbox.change(TreeId(1), path("a"), Dirt::Touched, 8);
    let a = Change { path: path("a"), dirt: Dirt::Removed, mask: 5 };
    let b = Change { path: path("b"), dirt: Dirt::Touched, mask: 2 };
    let other = Change { path: path("a"), dirt: Dirt::Touched, mask: 8 };
    let frames = [WatcherReport::Changes(TREE, vec![a, b]), WatcherReport::Changes(TreeId(1), vec![other])];
    assert_eq!(drain(&mut outbox), frames);
    assert!(outbox.is_empty());
}

#[test]
fn reports_keep_their_place() {
    let mut outbox = Outbox::new();
    let lost = WatcherReport::Rescan { tree: TREE, path: RelPath::root(), cause: LossCause::Overflow };
    outbox.change(TREE, path("a"), Dirt::Touched, 1);
    outbox.report(lost.clone());
    outbox.report(lost.clone());
    outbox.change(TREE, path("a"), Dirt::Touched, 2);
    let a = |mask| WatcherReport::Changes(TREE, vec![Change { path: path("a"), dirt: Dirt::Touched, mask }]);
    assert_eq!(drain(&mut outbox), [a(1), lost, a(2)]);
}

#[test]
fn frames_fit_the_wire() {
    let mut outbox = Outbox::new();
    for i in 0..1000 {
        outbox.change(TREE, path(&format!("{i}{}", "x".repeat(300))), Dirt::Touched, u32::MAX);
        outbox.change(TREE, path(&format!("{i}")), Dirt::Touched, u32::MAX);
    }
    let (ours, theirs) = common::wire::report_socket().unwrap();
    let uplink = common::wire::Uplink::new(theirs);
    let mut reader = common::wire::FrameReader::default();
    let mut changes = 0;
    for report in drain(&mut outbox) {
        uplink.try_send(&report).unwrap();
        match reader.receive(std::os::fd::AsFd::as_fd(&ours)) {
            common::wire::Received::Frame(WatcherReport::Changes(_, frame)) => changes += frame.len(),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(changes, 2000);
}

#[test]
fn too_much_becomes_a_rescan() {
    let mut outbox = Outbox::bounded(10);
    for i in 0..11 {
        outbox.change(TreeId(i % 2), path(&format!("{i}")), Dirt::Touched, 1);
    }
    outbox.change(TREE, path("after"), Dirt::Touched, 1);
    let rescan = |tree| WatcherReport::Rescan { tree, path: RelPath::root(), cause: LossCause::Backlog };
    let after = Change { path: path("after"), dirt: Dirt::Touched, mask: 1 };
    let expected = [rescan(TreeId(0)), rescan(TreeId(1)), WatcherReport::Changes(TREE, vec![after])];
    assert_eq!(drain(&mut outbox), expected);
}

#[test]
fn names_are_lost_with_their_changes() {
    let mut outbox = Outbox { max_changes: 2, ..Outbox::with_names() };
    outbox.gone(TREE, path("x"), EntryKind::File);
    outbox.change(TREE, path("a"), Dirt::Touched, 1);
    outbox.gone(TREE, path("y"), EntryKind::Directory);
    let rescan = WatcherReport::Rescan { tree: TREE, path: RelPath::root(), cause: LossCause::Backlog };
    assert_eq!(drain(&mut outbox), [WatcherReport::NamesLost, rescan]);
    // Nobody but the index was to hear of these.
    for name in ["x", "y", "z"] {
        outbox.gone(TREE, path(name), EntryKind::File);
    }
    assert_eq!(drain(&mut outbox), [WatcherReport::NamesLost]);
}

/// Neither a flush nor a listing that was over before may make up for what was dropped.
#[test]
fn a_loss_overtakes_what_says_that_nothing_is_missing() {
    let mut outbox = Outbox { max_changes: 2, ..Outbox::with_names() };
    let listed = WatcherReport::Listed { tree: TREE, path: RelPath::root(), pass: 0 };
    let flushed = WatcherReport::Flushed(7);
    outbox.change(TREE, path("a"), Dirt::Touched, 1);
    outbox.report(listed.clone());
    outbox.change(TREE, path("b"), Dirt::Touched, 1);
    outbox.report(flushed.clone());
    outbox.change(TREE, path("c"), Dirt::Touched, 1);
    let rescan = WatcherReport::Rescan { tree: TREE, path: RelPath::root(), cause: LossCause::Backlog };
    assert_eq!(drain(&mut outbox), [WatcherReport::NamesLost, rescan, listed, flushed]);
}

#[test]
fn what_is_gone_for_the_index_keeps_its_place() {
    let mut outbox = Outbox::with_names();
    outbox.change(TREE, path("d/f"), Dirt::Touched, 1);
    outbox.change(TREE, path("g"), Dirt::Touched, 1);
    outbox.gone(TREE, path("g"), EntryKind::File);
    outbox.gone(TREE, path("h"), EntryKind::File);
    outbox.change(TREE, path("g"), Dirt::Touched, 2);
    outbox.change(TREE, path("d/f"), Dirt::Touched, 2);
    outbox.gone(TREE, path("d"), EntryKind::Directory);
    outbox.change(TREE, path("d/f"), Dirt::Touched, 4);
    let touched = |name, mask| Change { path: path(name), dirt: Dirt::Touched, mask };
    let gone = |name| NameOp::Gone(path(name));
    let expected = [
        WatcherReport::Changes(TREE, vec![touched("d/f", 3), touched("g", 1)]),
        WatcherReport::Names(TREE, vec![gone("g"), gone("h")]),
        WatcherReport::Changes(TREE, vec![touched("g", 2)]),
        WatcherReport::Names(TREE, vec![gone("d")]),
        WatcherReport::Changes(TREE, vec![touched("d/f", 4)]),
    ];
    assert_eq!(drain(&mut outbox), expected);
    assert!(outbox.is_empty());
}

proptest! {
    /// Whatever is taken out in between: per path, what left adds up to what came in.
    #[test]
    fn adds_up(steps in proptest::collection::vec((0_u8..6, 0_u8..5, any::<bool>()), 0..100)) {
        let dirts = [Dirt::Touched, Dirt::Removed, Dirt::RemovedDir, Dirt::Deep, Dirt::Sweep];
        let mut came = BTreeMap::new();
        let mut outbox = Outbox::new();
        let take = |outbox: &mut Outbox, pending: &mut BTreeMap<Vec<u8>, Dirt>| {
            for report in std::iter::from_fn(|| outbox.next()) {
                let WatcherReport::Changes(_, changes) = report else { continue };
                for change in changes {
                    let expected = pending.remove(change.path.as_bytes());
                    assert_eq!(expected, Some(change.dirt));
                }
            }
            assert!(pending.is_empty());
        };
        for (name, dirt, now) in steps {
            let name = format!("{name}");
            let dirt = dirts[usize::from(dirt)];
            outbox.change(TREE, path(&name), dirt, 1);
            came.entry(name.into_bytes()).and_modify(|d: &mut Dirt| *d = d.then(dirt)).or_insert(dirt);
            if now {
                take(&mut outbox, &mut came);
            }
        }
        take(&mut outbox, &mut came);
    }
}
