//! What is told for the index, and when.

use std::fs;
use std::time::{Duration, Instant};

use common::config::Switches;
use common::event::{Dirt, TreeId};
use common::keep::{NameOp, Purpose, Stamp};
use common::message::{LossCause, WatcherOrder, WatcherReport};
use nix::sys::stat::lstat;

use super::keeper::{Indexed, ROOM, path};
use super::{PATIENCE, changes};
use crate::outbox::Outbox;
use crate::stamp::{UNPROVEN, file_mark_now, stamp};

fn is_listing(report: &WatcherReport) -> bool {
    matches!(report, WatcherReport::Names(_, ops) if ops.iter().any(|op| matches!(op, NameOp::Listing { .. })))
}

#[test]
fn everything_is_listed_once_and_then_nothing() {
    let mut indexed = Indexed::prepared(Switches::default(), &[], |bench| {
        for dir in ["a/b/c", "d", "e"] {
            bench.mkdir(dir);
        }
        bench.write("a/b/f");
        bench.write("top");
    });
    indexed.bench.order(WatcherOrder::Room(ROOM));
    indexed.until_listed("", 0);
    let watching = indexed.reports.iter().position(|r| matches!(r, WatcherReport::Watching { .. })).unwrap();
    assert!(indexed.reports.iter().position(is_listing).unwrap() > watching);
    // One frame is enough.
    assert_eq!(indexed.reports.iter().filter(|report| is_listing(report)).count(), 1);
    indexed.check();
    indexed.reports.clear();
    indexed.rest();
    assert_eq!(indexed.reports, []);
    // Idle, and nothing is held open.
    indexed.waits();
    let held = fs::read_dir("/proc/self/fd").unwrap().flatten();
    let held = held.filter_map(|fd| fs::read_link(fd.path()).ok());
    assert_eq!(held.filter(|at| at.starts_with(indexed.bench.temp.path())).count(), 0);
}

#[test]
fn without_room_only_live_changes_come() {
    let mut indexed = Indexed::prepared(Switches::default(), &[], |bench| bench.mkdir("a"));
    indexed.until(|indexed| indexed.reports.iter().any(|r| matches!(r, WatcherReport::Watching { .. })));
    indexed.bench.write("a/f");
    indexed.until(|indexed| changes(&indexed.reports, 0).any(|change| change == (b"a/f", Dirt::Touched)));
    indexed.flush(1);
    assert!(indexed.reports.iter().any(|report| matches!(report, WatcherReport::Names(..))));
    assert!(!indexed.reports.iter().any(is_listing));
    // It waits for room, and not by spinning.
    indexed.waits();
    indexed.bench.order(WatcherOrder::Room(1));
    indexed.until_listed("", 0);
    indexed.check();
}

/// One that takes many slices and frames, changed in front of and behind where they are told.
#[test]
fn a_huge_directory_that_changes_while_it_is_listed() {
    let mut indexed = Indexed::prepared(Switches::default(), &[], |bench| {
        for number in 0..12_000 {
            bench.write(format!("{number:05}{}", "x".repeat(40)));
        }
    });
    indexed.until(|indexed| indexed.reports.iter().any(|r| matches!(r, WatcherReport::Watching { .. })));
    indexed.bench.order(WatcherOrder::Room(1));
    let mut round = 0;
    while !indexed.reports.iter().any(|report| matches!(report, WatcherReport::Listed { .. })) {
        for number in [round * 7, 11_000 - round * 7, 20_000 + round] {
            indexed.bench.write(format!("{number:05}{}", "x".repeat(40)));
        }
        let _ = fs::remove_file(indexed.bench.at(format!("{:05}{}", 6000 + round, "x".repeat(40))));
        let _ = fs::remove_file(indexed.bench.at(format!("{:05}{}", 20_000 + round / 2, "x".repeat(40))));
        round += 1;
        indexed.turn();
    }
    let parts = indexed.listed.iter().filter(|(directory, _)| directory.is_root()).count();
    assert!(parts > 8 && round > 8, "{parts} {round}");
    indexed.rest();
    indexed.check();
    indexed.found.clear();
    indexed.bench.order(WatcherOrder::List(1));
    indexed.until_listed("", 1);
    assert_eq!(indexed.found, []);
}

#[test]
fn after_an_overflow_the_tree_is_listed() {
    let mut indexed = Indexed::listed(Switches::default(), &[], |bench| {
        bench.mkdir("renamed/sub");
        bench.write("gone");
    });
    let limit: usize =
        fs::read_to_string("/proc/sys/fs/inotify/max_queued_events").unwrap().trim().parse().unwrap();
    for number in 0..=limit / 2 {
        indexed.bench.write(format!("{number}"));
        fs::remove_file(indexed.bench.at(format!("{number}"))).unwrap();
    }
    fs::remove_file(indexed.bench.at("gone")).unwrap();
    indexed.bench.rename("renamed", "new_name");
    indexed.bench.write("new");
    indexed.until_listed("", 0);
    let rescan = WatcherReport::Rescan { tree: TreeId(0), path: path(""), cause: LossCause::Overflow };
    let at = |report: &WatcherReport| indexed.reports.iter().position(|other| other == report);
    let listed = WatcherReport::Listed { tree: TreeId(0), path: path(""), pass: 0 };
    assert!(at(&rescan).unwrap() < at(&listed).unwrap());
    for lost in ["gone", "renamed", "new_name", "new_name/sub", "new"] {
        assert!(indexed.found.contains(&path(lost)), "{lost}: {:?}", indexed.found);
    }
    indexed.check();
}

#[test]
fn what_had_no_watch_is_listed_when_it_was_looked_at() {
    let mut indexed = Indexed::prepared(Switches::default(), &[], |bench| {
        bench.mkdir("a/sub");
        bench.mkdir("b");
    });
    indexed.bench.order(WatcherOrder::Room(ROOM));
    indexed.bench.watcher.roots[0].drain(&mut [0; 4096], Instant::now(), &mut Outbox::new());
    indexed.bench.watcher.roots[0].live_mut().unwrap().kernel.budget = 2;
    indexed.until(|indexed| indexed.reports.iter().any(|r| matches!(r, WatcherReport::WatchLimit { .. })));
    indexed.until_listed("", 0);
    indexed.rest();
    indexed.reports.clear();
    for dir in ["a", "a/sub", "b"] {
        indexed.bench.write(format!("{dir}/f"));
    }
    let live = indexed.bench.watcher.roots[0].live_mut().unwrap();
    live.kernel.budget = usize::MAX;
    live.limit.make_due();
    let unwatched = |report: &WatcherReport| match report {
        WatcherReport::Rescan { path, cause: LossCause::Unwatched, .. } => Some(path.clone()),
        _ => None,
    };
    indexed.until(|indexed| indexed.reports.iter().any(|report| unwatched(report).is_some()));
    indexed.rest();
    let tops: Vec<_> = indexed.reports.iter().filter_map(unwatched).collect();
    for top in tops {
        let listed = WatcherReport::Listed { tree: TreeId(0), path: top, pass: 0 };
        assert!(indexed.reports.contains(&listed), "{:#?}", indexed.reports);
    }
    indexed.check();
}

#[test]
fn what_does_not_travel_is_not_told() {
    let filter = ["x.*", "(.*/)?d/"];
    let mut indexed = Indexed::listed(Switches::default(), &filter, |bench| {
        for dir in ["a/.hidden_dir", "d/sub"] {
            bench.mkdir(dir);
        }
        for file in ["a/f", "a/.hidden", "xf", "d/f", "a/.hidden_dir/f"] {
            bench.write(file);
        }
    });
    let out = ["xf", "d", "a/.hidden", "x2", ".h2", "a/d"];
    assert_eq!(indexed.index.names, indexed.there(&out));
    for file in ["x2", ".h2", "a/g"] {
        indexed.bench.write(file);
    }
    // A file at first, and then a directory that is filtered.
    indexed.bench.write("a/d");
    fs::remove_file(indexed.bench.at("a/d")).unwrap();
    indexed.bench.mkdir("a/d");
    indexed.rest();
    assert_eq!(indexed.index.names, indexed.there(&out));
    fs::remove_file(indexed.bench.at("xf")).unwrap();
    fs::remove_file(indexed.bench.at("a/.hidden")).unwrap();
    indexed.reports.clear();
    indexed.rest();
    assert_eq!(indexed.reports, []);
}

#[test]
fn removals_are_told_whatever_the_switches_say() {
    let switches = Switches { delete: false, move_from: false, ..Switches::default() };
    let mut indexed = Indexed::listed(switches, &[], |bench| {
        bench.mkdir("d/sub");
        bench.mkdir("moved/sub");
        for file in ["f", "d/f", "moved/f", "g"] {
            bench.write(file);
        }
    });
    fs::remove_file(indexed.bench.at("f")).unwrap();
    fs::remove_dir_all(indexed.bench.at("d")).unwrap();
    fs::rename(indexed.bench.at("moved"), indexed.bench.temp.path().join("out")).unwrap();
    indexed.bench.rename("g", "h");
    indexed.bench.write("f");
    indexed.rest();
    assert!(changes(&indexed.reports, 0).all(|(_, dirt)| dirt == Dirt::Touched), "{:?}", indexed.reports);
    indexed.check();
}

#[test]
fn a_directory_that_comes_is_taken_in_once_it_was_reported() {
    let mut indexed = Indexed::listed(Switches::default(), &[], |bench| bench.mkdir("a"));
    let outside = indexed.bench.temp.path().join("outside");
    fs::create_dir_all(outside.join("x/y")).unwrap();
    fs::write(outside.join("x/f"), "").unwrap();
    // What changes in the same tick as the report is only told by name.
    while file_mark_now() <= stamp(&lstat(&outside.join("x/f")).unwrap()).mark {}
    fs::rename(&outside, indexed.bench.at("a/in")).unwrap();
    indexed.rest();
    indexed.check();
    assert_eq!(indexed.found, []);
    let deep = |report: &WatcherReport| {
        changes(std::slice::from_ref(report), 0).any(|change| change == (b"a/in", Dirt::Deep))
    };
    let at = indexed.reports.iter().position(deep).unwrap();
    let WatcherReport::Names(_, ops) = &indexed.reports[at + 1] else { panic!("{:#?}", indexed.reports) };
    assert!(
        matches!(&ops[..], [NameOp::Gone(gone), NameOp::Entry(entry, _)] if gone == entry && *gone == path("a/in"))
    );
    let listed: Vec<_> = ["a/in", "a/in/x", "a/in/x/y"].map(|dir| (path(dir), Purpose::Learn)).into();
    assert_eq!(indexed.listed, listed);
}

#[test]
fn what_changed_since_its_directory_came_is_taken_in_by_name() {
    let mut indexed = Indexed::listed(Switches::default(), &[], |_| ());
    let outside = indexed.bench.temp.path().join("outside");
    fs::create_dir(&outside).unwrap();
    fs::write(outside.join("f"), "").unwrap();
    fs::rename(&outside, indexed.bench.at("in")).unwrap();
    // Open, so that nothing is said of it.
    let mut written = None;
    let deadline = Instant::now() + PATIENCE;
    while written.is_none() || indexed.bench.watcher.roots[0].wants_to_list(1) {
        assert!(Instant::now() < deadline);
        indexed.bench.watcher.turn(Duration::from_millis(5)).unwrap();
        if written.is_none() && indexed.bench.watcher.roots[0].wants_to_list(1) {
            use std::io::Write;
            let mut file = fs::File::create(indexed.bench.at("in/late")).unwrap();
            file.write_all(b"content").unwrap();
            written = Some(file);
        }
    }
    indexed.turn();
    assert!(indexed.index.names.contains_key(&path("in")));
    let late = || stamp(&lstat(&indexed.bench.at("in/late")).unwrap());
    assert_eq!(indexed.index.names[&path("in/late")], Stamp { mark: UNPROVEN, ..late() });
    let late = late();
    drop(written);
    indexed.rest();
    assert_eq!(indexed.index.names[&path("in/late")], late);
}

#[test]
fn a_directory_is_renamed() {
    let mut indexed = Indexed::listed(Switches::default(), &[], |bench| {
        bench.mkdir("a/b");
        bench.write("a/b/f");
    });
    while file_mark_now() <= indexed.index.names[&path("a/b/f")].mark {}
    indexed.bench.rename("a", "z");
    indexed.rest();
    indexed.check();
    indexed.bench.rename("z", "a");
    indexed.bench.rename("a", "zz");
    indexed.rest();
    indexed.check();
    assert_eq!(indexed.found, []);
}

/// No event spoke of it, or it was not understood.
#[test]
fn a_directory_that_nobody_knows() {
    let mut indexed = Indexed::listed(Switches::default(), &[], |bench| {
        bench.mkdir("a/b");
        bench.write("a/b/f");
    });
    while file_mark_now() <= indexed.index.names[&path("a/b/f")].mark {}
    let live = indexed.bench.watcher.roots[0].live_mut().unwrap();
    let node = live.tree.at(&path("a/b")).unwrap();
    live.drop_node(node);
    indexed.bench.order(WatcherOrder::List(5));
    indexed.until_listed("", 5);
    indexed.until(|indexed| changes(&indexed.reports, 0).any(|change| change == (b"a/b", Dirt::Deep)));
    indexed.bench.write("a/b/g");
    indexed.rest();
    indexed.check();
}

#[test]
fn a_root_that_is_back_is_listed_again() {
    let mut indexed = Indexed::listed(Switches::default(), &[], |bench| bench.write("f"));
    indexed.bench.order(WatcherOrder::List(3));
    indexed.until_listed("", 3);
    indexed.reports.clear();
    let aside = indexed.bench.temp.path().join("aside");
    fs::rename(indexed.bench.at(""), &aside).unwrap();
    indexed.until(|indexed| indexed.reports.iter().any(|r| matches!(r, WatcherReport::RootLost { .. })));
    fs::write(aside.join("unseen"), "").unwrap();
    fs::rename(&aside, indexed.bench.at("")).unwrap();
    indexed.until_listed("", 3);
    assert!(indexed.found.contains(&path("unseen")));
    indexed.check();
}

/// Who waits for all that happened waits for what has no watch as well.
#[test]
fn a_flush_looks_at_what_has_no_watch() {
    let mut indexed = Indexed::prepared(Switches::default(), &[], |bench| bench.mkdir("a/b"));
    indexed.bench.watcher.roots[0].drain(&mut [0; 4096], Instant::now(), &mut Outbox::new());
    indexed.bench.watcher.roots[0].live_mut().unwrap().kernel.budget = 2;
    indexed.bench.order(WatcherOrder::Room(ROOM));
    indexed.until_listed("", 0);
    indexed.reports.clear();
    indexed.bench.write("a/b/unseen");
    indexed.flush(1);
    let rescan = WatcherReport::Rescan { tree: TreeId(0), path: path("a/b"), cause: LossCause::Unwatched };
    assert!(indexed.reports.contains(&rescan), "{:#?}", indexed.reports);
    indexed.until_listed("a/b", 0);
    assert_eq!(indexed.found, [path("a/b/unseen")]);
    indexed.check();
}
