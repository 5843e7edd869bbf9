use super::*;
use common::message::EventKind;
use proptest::prelude::*;

fn at(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

fn event(text: &str, seen: u64, mask: u32) -> Event {
    let path = RelPath::new(text).unwrap();
    let settled =
        Settled { path, kind: EventKind::Changed, directory: false, mask, seen: at(seen), remotes: vec![] };
    (TreeId(0), settled)
}

fn outlet() -> Outlet {
    Outlet::new("test".to_owned(), Duration::from_secs(1))
}

fn names(events: &[Event]) -> Vec<String> {
    events.iter().map(|(_, it)| String::from_utf8_lossy(it.path.as_bytes()).into_owned()).collect()
}

fn jitter() -> Jitter {
    Jitter::new(1)
}

#[test]
fn a_path_waits_once() {
    let mut outlet = outlet();
    outlet.push(at(0), event("a", 0, 1));
    outlet.push(at(0), event("b", 0, 1));
    outlet.push(at(5), event("a", 5, 2));
    let taken = outlet.take(at(5));
    assert_eq!(names(&taken), ["a", "b"]);
    assert_eq!((taken[0].1.mask, taken[0].1.seen), (3, at(0)));
    outlet.push(at(6), event("a", 6, 4));
    assert_eq!(names(&outlet.take(at(6))), [""; 0], "one delivery at a time");
    assert_eq!(
        outlet.done(at(7), &[Verdict::Delivered, Verdict::Delivered], "refused", &mut jitter()),
        Turn::None
    );
    assert_eq!(names(&outlet.take(at(7))), ["a"]);
}

#[test]
fn just_created_waits_to_be_written() {
    let mut outlet = outlet();
    outlet.push(at(0), event("a", 0, IN_CREATE));
    assert!(outlet.take(at(9)).is_empty());
    assert_eq!(outlet.deadline(), Some(at(10)));
    outlet.push(at(9), event("a", 9, 8));
    assert_eq!(outlet.take(at(10))[0].1.mask, IN_CREATE | 8);
}

#[test]
fn nobody_answers_for_a_minute() {
    let mut outlet = outlet();
    for name in ["a", "b", "c"] {
        outlet.push(at(0), event(name, 0, 1));
    }
    let (mut now, mut turns, mut jitter) = (at(0), vec![], jitter());
    while now < at(60_000) {
        now = outlet.deadline().unwrap().max(now);
        let mut all = names(&outlet.take(now));
        all.sort();
        assert_eq!(all, ["a", "b", "c"]);
        turns.push(outlet.done(now, &[Verdict::Unreachable], "refused", &mut jitter));
    }
    assert_eq!(turns[0], Turn::Down);
    assert!(turns[1..].iter().all(|turn| *turn == Turn::None) && turns.len() < 20, "{turns:?}");
    assert!(outlet.is_down());
    now = outlet.deadline().unwrap();
    assert_eq!(outlet.take(now).len(), 3);
    assert_eq!(outlet.done(now, &[Verdict::Delivered; 3], "refused", &mut jitter), Turn::Up);
    assert_eq!((outlet.pending(), outlet.take_dropped()), (0, 0));
}

#[test]
fn what_is_refused_lets_others_pass_and_is_given_up() {
    let mut outlet = outlet();
    outlet.push(at(0), event("bad", 0, 1));
    outlet.push(at(0), event("good", 0, 1));
    let (mut now, mut tries, mut jitter) = (at(0), 0, jitter());
    while outlet.pending() > 0 {
        now = outlet.deadline().unwrap().max(now);
        let verdicts: Vec<Verdict> = names(&outlet.take(now))
            .iter()
            .map(|name| if name == "bad" { Verdict::Refused } else { Verdict::Delivered })
            .collect();
        tries += 1;
        assert_eq!(outlet.done(now, &verdicts, "refused", &mut jitter), Turn::None);
        if tries == 1 {
            assert_eq!(outlet.pending(), 1);
        }
    }
    assert_eq!((tries, outlet.take_dropped(), outlet.take_dropped()), (MAX_TRIES, 1, 0));
    assert!(now > at(60_000), "{now:?}");
}

#[test]
fn what_kills_the_plugin_takes_no_other_along() {
    let mut outlet = outlet();
    for name in ["a", "killer", "z"] {
        outlet.push(at(0), event(name, 0, 1));
    }
    let (mut told, mut deaths) = (vec![], 0);
    while outlet.pending() > 0 {
        let taken = names(&outlet.take(at(1_000_000)));
        if taken.contains(&"killer".to_owned()) {
            deaths += 1;
            outlet.abandon(at(1_000_000), Blame::Work);
        } else {
            told.extend(taken.clone());
            outlet.done(at(1_000_000), &vec![Verdict::Delivered; taken.len()], "refused", &mut jitter());
        }
    }
    told.sort();
    assert_eq!(told, ["a", "z"]);
    assert!(deaths <= 2 * MAX_TRIES, "{deaths}");
    assert_eq!(outlet.take_dropped(), 1);
}

#[test]
fn one_change_that_nobody_answers_stops_no_other() {
    let mut outlet = outlet();
    for name in ["poison", "a", "b"] {
        outlet.push(at(0), event(name, 0, 1));
    }
    let (mut now, mut told, mut jitter) = (at(0), vec![], jitter());
    for _ in 0..20 {
        now = outlet.deadline().unwrap().max(now);
        let taken = names(&outlet.take(now));
        let good: Vec<String> = taken.into_iter().take_while(|name| name != "poison").collect();
        let mut verdicts = vec![Verdict::Delivered; good.len()];
        verdicts.push(Verdict::Unreachable);
        told.extend(good);
        outlet.done(now, &verdicts, "refused", &mut jitter);
    }
    assert_eq!(told, ["a", "b"]);
    assert!(now < at(60_000 * 10));
}

#[test]
fn a_fixed_page_waits_for_the_pause_of_the_broken_one() {
    let mut outlet = outlet();
    outlet.push(at(0), event("page", 0, 1));
    outlet.take(at(0));
    outlet.done(at(1), &[Verdict::Refused], "refused", &mut jitter());
    assert!(outlet.take(at(100)).is_empty());
    outlet.push(at(101), event("page", 101, 2));
    assert_eq!(outlet.take(at(101))[0].1.mask, 3);
}

#[test]
fn the_killer_makes_good_ones_be_told_again_and_again() {
    let mut outlet = outlet();
    for n in 0..100 {
        outlet.push(at(0), event(&format!("f{n:03}"), n, 1));
    }
    let (mut deaths, mut calls, mut now) = (0, 0, at(1000));
    while outlet.pending() > 0 {
        now += at(100_000);
        let taken = names(&outlet.take(now));
        if let Some(before) = taken.iter().position(|name| name == "f050") {
            (calls, deaths) = (calls + before, deaths + 1);
            outlet.abandon(now, Blame::Work);
        } else {
            calls += taken.len();
            outlet.done(now, &vec![Verdict::Delivered; taken.len()], "", &mut jitter());
        }
    }
    assert!(deaths <= MAX_TRIES + 1 && calls <= 200, "{deaths} deaths, {calls} calls");
}

#[test]
fn bounded() {
    let mut outlet = outlet();
    for n in 0..MAX_WAITING + 7 {
        outlet.push(at(0), event(&format!("f{n}"), 0, 1));
    }
    assert_eq!((outlet.pending(), outlet.take_dropped()), (MAX_WAITING, 7));
    assert_eq!(outlet.take(at(0)).len(), MAX_EVENTS);
    outlet.abandon(at(0), Blame::Work);
    assert_eq!(outlet.take(at(0)).len(), 1);
}

proptest! {
    /// Whatever the plugin says, every change is told, waits or was counted as dropped.
    #[test]
    fn nothing_vanishes(steps in proptest::collection::vec((0_u8..6, 0_usize..5, 0_u64..3000), 0..200)) {
        let (mut outlet, mut now, mut jitter) = (outlet(), at(0), jitter());
        let mut owed = std::collections::BTreeSet::new();
        let (mut flying, mut dropped) = (vec![], 0);
        for (step, n, pause) in steps {
            now += at(pause);
            match step {
                0 | 1 => {
                    let name = format!("f{n}");
                    outlet.push(now, event(&name, u64::try_from(now.as_millis()).unwrap(), 1));
                    owed.insert(name);
                }
                2 => if flying.is_empty() { flying = names(&outlet.take(now)); },
                3 | 4 => if !flying.is_empty() {
                    let verdicts = if step == 3 { vec![Verdict::Delivered; n.min(flying.len())] } else { vec![Verdict::Refused; n.min(flying.len())] };
                    outlet.done(now, &verdicts, "refused", &mut jitter);
                    if step == 3 {
                        for name in flying.iter().take(n) {
                            if !outlet.waits(name) { owed.remove(name); }
                        }
                    }
                    flying.clear();
                },
                _ => if !flying.is_empty() {
                    outlet.abandon(now, Blame::Work);
                    flying.clear();
                },
            }
            dropped += outlet.take_dropped();
            let lost = owed.iter().filter(|name| !outlet.waits(name) && !flying.contains(name)).count();
            prop_assert!(u64::try_from(lost).unwrap() <= dropped, "{owed:?}");
        }
    }
}

impl Outlet {
    fn waits(&self, name: &str) -> bool {
        self.places.contains_key(&(TreeId(0), RelPath::new(name).unwrap()))
    }
}
