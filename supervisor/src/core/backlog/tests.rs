use super::bounds::{COMMON, LEVELS};
use super::cost::PATH_OVERHEAD;
use super::*;
use common::message::Deletions;
use proptest::prelude::*;

const T: Duration = Duration::from_secs(10);

fn insert(backlog: &mut Backlog, now: Duration, path: &str, dirt: Dirt) {
    let path = RelPath::new(path).unwrap();
    backlog.insert(now, &Change { path, dirt, mask: 0 }, Traffic::OneWay);
}

fn waiting(backlog: &Backlog) -> Vec<(String, Dirt)> {
    backlog.iter().map(|(p, e)| (String::from_utf8_lossy(p.as_bytes()).into_owned(), e.dirt)).collect()
}

/// Between two servers that mirror one another.
#[test]
fn what_an_rsync_brought_waits_until_it_is_no_echo() {
    let change = |mask| Change { path: RelPath::new("f").unwrap(), dirt: Dirt::Touched, mask };
    let (mut both, mut one) = (Backlog::default(), Backlog::default());
    both.insert(T, &change(RECEIVED), Traffic::BothWays);
    one.insert(T, &change(RECEIVED), Traffic::OneWay);
    let waits = |backlog: &Backlog, from: Duration| {
        let wait = backlog.next_ready().unwrap().checked_sub(from).unwrap();
        wait >= Duration::from_secs(2) && wait <= ECHO * 6 / 5
    };
    assert!(waits(&both, T));
    assert_eq!(one.next_ready(), Some(T));
    let later = T + ECHO / 2;
    both.insert(later, &change(RECEIVED), Traffic::BothWays);
    assert!(waits(&both, later), "brought anew");
    both.insert(later, &change(8), Traffic::BothWays);
    assert_eq!(both.next_ready(), Some(later), "an edit of our own");
    let mut never_rests = Backlog::default();
    for n in 0..120 {
        never_rests.insert(T + Duration::from_secs(n), &change(RECEIVED), Traffic::BothWays);
    }
    assert_eq!(never_rests.next_ready(), Some(T + ECHO_MOST));
}

#[test]
fn the_removal_of_a_file_is_held_and_cancelled_when_it_comes_back() {
    let mut backlog = Backlog::default();
    insert(&mut backlog, T, "page.php", Dirt::Removed);
    assert!(!backlog.has_ready(T + HOLD * 9 / 10));
    assert!(backlog.has_ready(T + HOLD));
    insert(&mut backlog, T + HOLD / 2, "page.php", Dirt::Touched);
    assert!(backlog.has_ready(T + HOLD / 2));
    assert_eq!(waiting(&backlog), [("page.php".to_owned(), Dirt::Touched)]);
}

#[test]
fn a_file_that_was_just_created_waits_for_its_close() {
    let mut backlog = Backlog::default();
    let path = RelPath::new("new").unwrap();
    backlog.insert(T, &Change { path: path.clone(), dirt: Dirt::Touched, mask: IN_CREATE }, Traffic::OneWay);
    assert!(!backlog.has_ready(T));
    assert!(backlog.has_ready(T + SETTLE));
    backlog.insert(T, &Change { path, dirt: Dirt::Touched, mask: 8 }, Traffic::OneWay);
    assert!(backlog.has_ready(T));
}

#[test]
fn directories_are_not_held_and_absorb_what_is_below() {
    let mut backlog = Backlog::default();
    for path in ["d/a", "d/b/c", "d-", "d0", "d"] {
        insert(&mut backlog, T, path, Dirt::Touched);
    }
    insert(&mut backlog, T, "d", Dirt::RemovedDir);
    assert_eq!(waiting(&backlog).len(), 3);
    assert!(backlog.has_ready(T));
    insert(&mut backlog, T, "d", Dirt::Touched);
    assert!(waiting(&backlog).contains(&("d".to_owned(), Dirt::Deep)), "leftovers of the old one must go");
    insert(&mut backlog, T, "d/new", Dirt::Touched);
    assert_eq!(backlog.len(), 3, "covered by the deep entry");
}

#[test]
fn a_sweep_does_not_swallow_a_deletion() {
    let mut backlog = Backlog::default();
    insert(&mut backlog, T, "d/gone", Dirt::Removed);
    insert(&mut backlog, T, "d/here", Dirt::Touched);
    insert(&mut backlog, T, "d", Dirt::Sweep);
    insert(&mut backlog, T, "d/gone2", Dirt::Removed);
    assert_eq!(
        waiting(&backlog).iter().map(|(p, _)| p.as_str()).collect::<Vec<_>>(),
        ["d", "d/gone", "d/gone2"]
    );
}

#[test]
fn first_come_first_served_within_the_bytes_given() {
    let mut backlog = Backlog::default();
    for path in ["z", "a", "m"] {
        insert(&mut backlog, T, path, Dirt::Touched);
    }
    insert(&mut backlog, T + HOLD, "z", Dirt::Touched);
    let taken = backlog.take(T, (1 + PATH_OVERHEAD) * 2, |_, _| false);
    assert_eq!(taken.iter().map(|(p, _)| p.as_bytes()).collect::<Vec<_>>(), [b"z", b"a"]);
    assert_eq!(backlog.take(T, 0, |_, _| false).len(), 1, "at least one");
}

#[test]
fn what_happens_meanwhile_comes_after_what_is_put_back() {
    let mut backlog = Backlog::default();
    insert(&mut backlog, T, "d", Dirt::RemovedDir);
    let taken = backlog.take(T, 100, |_, _| false);
    insert(&mut backlog, T, "d", Dirt::Touched);
    backlog.put_back(taken, None);
    assert_eq!(waiting(&backlog), [("d".to_owned(), Dirt::Deep)]);
}

#[test]
fn entries_of_another_backlog_do_not_push_out_ours() {
    let (mut one, mut other) = (Backlog::default(), Backlog::default());
    insert(&mut one, T, "a", Dirt::Touched);
    insert(&mut other, T, "b", Dirt::Touched);
    one.put_back(other.drain(), None);
    assert_eq!(one.take(T, usize::MAX, |_, _| false).len(), 2);
}

#[test]
fn too_many_paths_become_their_directory() {
    let mut backlog = Backlog::default();
    for n in 0..300 {
        insert(&mut backlog, T, &format!("big/sub/{n}"), Dirt::Touched);
        insert(&mut backlog, T, &format!("top{n}"), Dirt::Touched);
    }
    let collapsed = backlog.collapse(T, 400).unwrap();
    assert_eq!(collapsed, Collapsed::Into(RelPath::new("big/sub").unwrap(), Deletions::Held, 300));
    assert_eq!(backlog.len(), 301);
    assert_eq!(backlog.collapse(T, 400), None);
    assert_eq!(backlog.collapse(T, 100), Some(Collapsed::Whole(Deletions::Held)));
    assert!(backlog.is_empty());
}

/// What only the remote has must not go because very much changed here.
#[test]
fn removals_wait_on_when_the_rest_becomes_a_directory() {
    let mut backlog = Backlog::default();
    for n in 0..300 {
        insert(&mut backlog, T, &format!("big/{n}"), Dirt::Touched);
        insert(&mut backlog, T, &format!("big/gone{n}"), if n < 50 { Dirt::Removed } else { Dirt::Touched });
        insert(&mut backlog, T, &format!("top{n}"), if n < 50 { Dirt::Removed } else { Dirt::Touched });
    }
    assert_eq!(
        backlog.collapse(T, 600),
        Some(Collapsed::Into(RelPath::new("big").unwrap(), Deletions::Held, 550))
    );
    assert!(waiting(&backlog).contains(&("big".to_owned(), Dirt::Sweep)));
    assert_eq!(waiting(&backlog).iter().filter(|(_, dirt)| *dirt == Dirt::Removed).count(), 100);
    assert_eq!(backlog.collapse(T, 200), Some(Collapsed::Whole(Deletions::Held)));
    assert!(waiting(&backlog).iter().all(|(_, dirt)| *dirt == Dirt::Removed));
    assert_eq!(backlog.len(), 100);
    // Only when they are too many themselves.
    assert_eq!(
        backlog.collapse(T, 60),
        Some(Collapsed::Into(RelPath::new("big").unwrap(), Deletions::Travel, 50))
    );
    assert!(waiting(&backlog).contains(&("big".to_owned(), Dirt::Deep)));
    assert_eq!(backlog.collapse(T, 20), Some(Collapsed::Whole(Deletions::Travel)));
    assert!(backlog.is_empty());
}

/// A path that was put back may lie below a directory that stands for it by now: making room has to
/// make room all the same.
#[test]
fn what_lies_below_a_directory_that_waits_is_room_too() {
    let mut backlog = Backlog::default();
    for n in 0..100 {
        insert(&mut backlog, T, &format!("a/b/{n}"), Dirt::Touched);
    }
    let taken = backlog.drain();
    insert(&mut backlog, T, "a", Dirt::Deep);
    backlog.put_back(taken, None);
    assert!(matches!(backlog.collapse(T, 50), Some(Collapsed::Into(_, _, 100))));
    assert!(backlog.len() <= 2, "{:?}", waiting(&backlog));
}

/// A directory in which nothing was removed was made equal as a whole, since removals elsewhere were many.
#[test]
fn only_what_holds_removals_is_made_equal() {
    let mut backlog = Backlog::default();
    for n in 0..300 {
        insert(&mut backlog, T, &format!("thin{n}/gone"), Dirt::Removed);
        insert(&mut backlog, T, &format!("sent/{n}"), Dirt::Touched);
    }
    let into = |path: &str, count| Some(Collapsed::Into(RelPath::new(path).unwrap(), Deletions::Held, count));
    assert_eq!(backlog.collapse(T, 320), into("sent", 300));
    assert_eq!(backlog.collapse(T, 290), Some(Collapsed::Whole(Deletions::Travel)));
    assert!(backlog.is_empty());
}

/// Each level cost a look at all paths: one path of two thousand levels would have held up the loop.
#[test]
fn a_very_deep_directory_is_not_looked_for() {
    let (mut backlog, deep) = (Backlog::default(), "d/".repeat(40));
    for n in 0..100 {
        insert(&mut backlog, T, &format!("{deep}f{n}"), Dirt::Touched);
    }
    let Some(Collapsed::Into(directory, ..)) = backlog.collapse(T, 50) else { panic!() };
    assert_eq!(directory, RelPath::new(["d"; LEVELS].join("/")).unwrap());
}

/// A long path in a directory as long gives no room: this was tried for ever.
#[test]
fn each_collapse_makes_room() {
    let mut backlog = Backlog::default();
    for n in 0..9 {
        insert(&mut backlog, T, &format!("{}{n}/f", "d/".repeat(COMMON)), Dirt::Touched);
    }
    let mut tries = 0;
    while backlog.collapse(T, 1).is_some() {
        tries += 1;
        assert!(tries < 9);
    }
    assert!(backlog.weight() <= 1);
}

#[test]
fn long_paths_count_for_several() {
    let mut backlog = Backlog::default();
    let long = "d/".repeat(COMMON);
    for n in 0..100 {
        insert(&mut backlog, T, &format!("{long}{n}"), Dirt::Touched);
    }
    assert_eq!((backlog.len(), backlog.weight()), (100, 300));
    assert!(backlog.collapse(T, 299).is_some());
    assert_eq!(backlog.len(), 1);
    backlog.drain();
    assert_eq!(backlog.weight(), 0);
}

/// A million changes of 200,000 paths must not cost more than the paths.
#[test]
fn a_path_that_changes_again_keeps_the_bytes_of_the_first() {
    let mut backlog = Backlog::default();
    backlog.keep(0);
    insert(&mut backlog, T, "d/f", Dirt::Touched);
    let at = |backlog: &Backlog| backlog.iter().next().unwrap().0.as_bytes().as_ptr();
    let first = at(&backlog);
    for dirt in [Dirt::Removed, Dirt::Touched, Dirt::Touched] {
        insert(&mut backlog, T, "d/f", dirt);
        backlog.tell(9, |_, entry| entry.copied(), |_, _| ());
    }
    backlog.release(T);
    assert_eq!(at(&backlog), first);
}

fn names(taken: &[Taken]) -> Vec<(RelPath, Dirt)> {
    taken.iter().map(|(path, entry)| (path.clone(), entry.dirt)).collect()
}

fn dirt() -> impl Strategy<Value = Dirt> {
    prop_oneof![
        Just(Dirt::Touched),
        Just(Dirt::Removed),
        Just(Dirt::RemovedDir),
        Just(Dirt::Deep),
        Just(Dirt::Sweep)
    ]
}

proptest! {
    /// Whether others hold the same makes no difference to anybody.
    #[test]
    fn what_is_shared_is_as_if_it_were_not(
        steps in proptest::collection::vec((0..9_u8, 0..3_usize, "[ab](/[ab]){0,2}", dirt(), 0..3_u32), 0..80),
    ) {
        let mut shared: Vec<Backlog> = (0..3).map(Backlog::new).collect();
        let mut own: Vec<Backlog> = (0..3).map(Backlog::new).collect();
        shared.iter_mut().for_each(Backlog::share);
        shared.iter_mut().chain(&mut own).for_each(|backlog| backlog.keep(0));
        let (mut now, mut flying) = (T, vec![(vec![], vec![]); 3]);
        for (what, which, path, dirt, more) in steps {
            now += Duration::from_millis(100) * more;
            let change = Change { path: RelPath::new(path).unwrap(), dirt, mask: more };
            let mut copies = Copies::of_all(1, shared.iter().map(Backlog::sequence)).remove(0);
            let (one, other) = (&mut shared[which], &mut own[which]);
            match what {
                0..=3 => {
                    for backlog in &mut shared {
                        backlog.insert_copy(now, &change, Traffic::OneWay, &mut copies);
                    }
                    for backlog in &mut own {
                        backlog.insert(now, &change, Traffic::OneWay);
                    }
                }
                4 => {
                    let [taken, also] = [one, other].map(|backlog| backlog.take(now, 20, |_, _| false));
                    prop_assert_eq!(names(&taken), names(&also));
                    flying[which].0.extend(taken);
                    flying[which].1.extend(also);
                }
                5 | 6 => {
                    let retry = (what == 6).then_some((now, Duration::from_millis(300)));
                    // Each its own: their numbers differ.
                    let (taken, also) = std::mem::take(&mut flying[which]);
                    one.put_back(taken, retry);
                    other.put_back(also, retry);
                }
                7 => {
                    one.release(now);
                    other.release(now);
                }
                _ => {
                    let told = [one, other].map(|backlog| {
                        let mut told = vec![];
                        let look = |_: &RelPath, entry: Option<&Entry>| entry.map(|it| (it.dirt, it.at, it.attempts));
                        backlog.tell(9, look, |path, now| told.push((path, now)));
                        told
                    });
                    prop_assert_eq!(&told[0], &told[1]);
                }
            }
            for (shared, own) in shared.iter().zip(&own) {
                let all = |backlog: &Backlog| {
                    let it = |(path, entry): (&RelPath, &Entry)| {
                        (path.clone(), Entry { sequence: 0, ..*entry })
                    };
                    backlog.iter().map(it).collect::<Vec<_>>()
                };
                prop_assert_eq!(all(shared), all(own));
                prop_assert_eq!(shared.store.turns().count(), own.store.turns().count());
                prop_assert_eq!((shared.weight(), shared.next_ready()), (own.weight(), own.next_ready()));
            }
        }
    }

    /// Against the naive model "every changed path": each is in the backlog itself, or an
    /// ancestor stands for it; and the queue holds exactly the entries.
    #[test]
    fn nothing_is_forgotten(changes in proptest::collection::vec(("[ab](/[ab]){0,3}", dirt()), 0..60)) {
        let mut backlog = Backlog::default();
        let mut model: Vec<RelPath> = vec![];
        for (n, (path, dirt)) in changes.iter().enumerate() {
            insert(&mut backlog, T + Duration::from_millis(n as u64), path, *dirt);
            model.push(RelPath::new(path.clone()).unwrap());
        }
        for path in &model {
            let stands_for = |(p, e): (&RelPath, &Entry)| {
                p == path || (path.is_below(p) && matches!(e.dirt, Dirt::Deep | Dirt::RemovedDir | Dirt::Sweep))
            };
            prop_assert!(backlog.iter().any(stands_for), "{path}");
        }
        prop_assert_eq!(backlog.store.turns().count(), backlog.store.iter().count());
        prop_assert_eq!(backlog.store.len(), backlog.store.iter().count());
        let count = backlog.len();
        let taken = backlog.take(T + Duration::from_secs(60), usize::MAX, |_, _| false);
        prop_assert_eq!(taken.len(), count);
        prop_assert!(backlog.is_empty() && backlog.next_ready().is_none());
    }
}

/// A hundred remotes that all lack the same cost little more than one.
#[test]
fn what_all_lack_is_held_once() {
    let mut all: Vec<Backlog> = (0..100).map(Backlog::new).collect();
    all.iter_mut().for_each(Backlog::share);
    // One of them has heard of something else, and failed.
    insert(&mut all[7], T, "other", Dirt::Touched);
    let path = |n: usize| RelPath::new(format!("f{n}")).unwrap();
    for again in 0..2_u64 {
        for n in 0..100 {
            let now = T + Duration::from_millis(n as u64 + 1000 * again);
            let change = Change { path: path(n), dirt: Dirt::Touched, mask: 0 };
            let mut copies = Copies::of_all(1, all.iter().map(Backlog::sequence)).remove(0);
            for backlog in &mut all {
                backlog.insert_copy(now, &change, Traffic::OneWay, &mut copies);
            }
        }
    }
    let held = |backlog: &Backlog, n| std::ptr::from_ref(backlog.store.get(path(n).as_bytes()).unwrap());
    for n in 0..100 {
        assert!(all.iter().all(|backlog| held(backlog, n) == held(&all[0], n)), "{n}");
    }
    // Who is told another story tells nobody else.
    let taken = all[0].take(T + Duration::from_secs(9), usize::MAX, |_, _| false);
    all[0].put_back(taken, Some((T, Duration::from_secs(60))));
    assert!(all[0].has_failed() && !all.iter().skip(1).any(Backlog::has_failed));
}
