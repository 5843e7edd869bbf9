//! How long names wait for the keeper.

use super::*;

fn gone(name: &str) -> Vec<NameOp> {
    vec![NameOp::Gone(RelPath::new(name).unwrap())]
}

/// A keeper that is there, and takes names for the first tree.
fn live(now: Duration) -> Keeping {
    let mut keeping = Keeping::default();
    keeping.begin(now, true, &mut vec![]);
    keeping
}

fn ordered(keeping: &mut Keeping, now: Duration) -> Vec<Keep> {
    let mut out = vec![];
    keeping.pump(now, &mut out);
    let keep = |action| if let Action::Keep(keep) = action { keep } else { panic!("{action:?}") };
    out.into_iter().map(keep).collect()
}

#[test]
fn names_of_live_changes_wait_for_more() {
    let now = Duration::from_secs(5);
    let mut keeping = live(now);
    keeping.names(now, TreeId(0), gone("a"), true);
    assert_eq!(ordered(&mut keeping, now), []);
    let later = now + GATHERING;
    assert!(keeping.deadline(false).is_some_and(|at| at <= later));
    keeping.names(now, TreeId(0), gone("b"), true);
    assert_eq!(ordered(&mut keeping, later), [Keep::Names(TreeId(0), [gone("a"), gone("b")].concat())]);
    // Those of another tree do not wait with them.
    keeping.names(later, TreeId(0), gone("c"), true);
    keeping.names(later, TreeId(1), gone("d"), true);
    assert_eq!(ordered(&mut keeping, later), [Keep::Names(TreeId(0), gone("c"))]);
}

#[test]
fn a_commit_does_not_wait() {
    let now = Duration::from_secs(5);
    let mut keeping = live(now);
    keeping.names(now, TreeId(0), gone("a"), true);
    keeping.commit(now, Names::Partial, &mut vec![]);
    let ordered = ordered(&mut keeping, now);
    assert!(matches!(ordered[..], [Keep::Names(..), Keep::Commit { .. }]), "{ordered:?}");
}

#[test]
fn many_names_go_at_once() {
    let now = Duration::from_secs(5);
    let mut keeping = live(now);
    for n in 0..1000 {
        keeping.names(now, TreeId(0), gone(&format!("{n:0100}")), true);
    }
    let ordered = ordered(&mut keeping, now);
    let lengths: Vec<usize> = ordered
        .iter()
        .map(|keep| if let Keep::Names(_, ops) = keep { ops.len() } else { panic!("{keep:?}") })
        .collect();
    assert!(
        lengths.len() == KEEP_WINDOW && lengths.iter().all(|length| (100..500).contains(length)),
        "{lengths:?}"
    );
}
