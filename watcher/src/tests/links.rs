//! Files with several names.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::time::{Duration, Instant};

use common::config::Switches;
use common::event::Dirt::Touched;
use common::event::TreeId;
use common::message::{LossCause, WatcherOrder, WatcherReport};
use common::path::RelPath;

use super::Bench;
use super::keeper::{Indexed, path};

#[test]
fn a_write_is_reported_under_every_name() {
    let mut bench = Bench::prepared(Switches::default(), &[".*\\.tmp"], |bench| {
        bench.mkdir("a/b");
        bench.write("a/one");
        for other in ["a/b/two", ".hidden", "not.tmp"] {
            fs::hard_link(bench.at("a/one"), bench.at(other)).unwrap();
        }
        fs::hard_link(bench.at("a/one"), bench.temp.path().join("outside")).unwrap();
    });
    bench.write("a/one");
    bench.until_dirty("a/b/two", Touched);
    bench.settle("1");
    let taken = bench.taken();
    assert!(taken.iter().all(|(path, _)| matches!(path.as_str(), "a/one" | "a/b/two")), "{taken:?}");
    // A name that came later, one that moved, one that went, one that is another file now.
    fs::hard_link(bench.at("a/one"), bench.at("three")).unwrap();
    bench.rename("a/b", "a/c");
    bench.settle("2");
    bench.taken();
    bench.write("three");
    bench.until_dirty("a/c/two", Touched);
    bench.until_dirty("a/one", Touched);
    fs::remove_file(bench.at("a/one")).unwrap();
    bench.write("new");
    bench.rename("new", "a/one");
    bench.settle("3");
    bench.taken();
    bench.write("a/c/two");
    bench.until_dirty("three", Touched);
    bench.settle("4");
    assert!(!bench.taken().contains(&("a/one".to_owned(), Touched)));
}

/// As in the original, where nobody asked for more: its contents count for all names, its mode does not.
#[test]
fn attributes_travel_name_by_name_unless_names_are_followed() {
    let attributes = Switches { attrib: true, ..Switches::default() };
    for followed in [true, false] {
        let mut bench = Bench::built(&["root"], attributes, &[], |slice| {
            (slice.index, slice.follow_links) = (!followed, followed);
        });
        bench.mkdir("");
        bench.until(|seen| seen.iter().any(|report| matches!(report, WatcherReport::Watching { .. })));
        bench.write("one");
        fs::hard_link(bench.at("one"), bench.at("two")).unwrap();
        bench.settle("1");
        bench.taken();
        fs::set_permissions(bench.at("one"), fs::Permissions::from_mode(0o600)).unwrap();
        bench.settle("2");
        assert_eq!(bench.taken().contains(&("two".to_owned(), Touched)), followed);
        bench.write("one");
        bench.until_dirty("two", Touched);
    }
}

#[test]
fn a_hidden_name_of_a_visible_file() {
    let mut bench = Bench::prepared(Switches::default(), &[], |bench| {
        bench.write("visible");
        fs::hard_link(bench.at("visible"), bench.at(".hidden")).unwrap();
    });
    bench.write(".hidden");
    bench.until_dirty("visible", Touched);
}

/// The walk that finds the other names comes after all other work; who waits waits for it too.
#[test]
fn a_flush_waits_for_names_that_are_still_to_be_found() {
    let mut bench = Bench::prepared(Switches::default(), &[], |bench| {
        bench.write("one");
        fs::hard_link(bench.at("one"), bench.at("two")).unwrap();
    });
    for number in 0..3000 {
        bench.mkdir(format!("{number}"));
    }
    bench.write("one");
    bench.order(WatcherOrder::Flush(1));
    bench.until(|seen| seen.contains(&WatcherReport::Flushed(1)));
    assert!(bench.taken().contains(&("two".to_owned(), Touched)));
}

/// The name that was written through was seen, and is gone when the other one is looked for: that
/// one is the only one by then.
#[test]
fn the_last_name_of_a_file_that_was_changed_through_another() {
    let mut bench = Bench::prepared(Switches::default(), &[], |bench| bench.write("file"));
    bench.settle("1");
    bench.taken();
    fs::hard_link(bench.at("file"), bench.at("other")).unwrap();
    bench.write("other");
    bench.until_dirty("other", Touched);
    fs::remove_file(bench.at("other")).unwrap();
    bench.order(WatcherOrder::Flush(1));
    bench.until(|seen| seen.contains(&WatcherReport::Flushed(1)));
    assert!(bench.taken().contains(&("file".to_owned(), Touched)));
}

fn is_doubted(report: &WatcherReport) -> bool {
    *report == WatcherReport::Rescan { tree: TreeId(0), path: RelPath::root(), cause: LossCause::Linked }
}

/// The kernel only speaks of the second name, which is gone when it is looked at.
#[test]
fn a_file_changed_through_a_name_that_was_gone_before_anybody_looked() {
    let mut indexed = Indexed::listed(Switches::default(), &[], |bench| {
        bench.mkdir("d");
        bench.write("file");
    });
    fs::hard_link(indexed.bench.at("file"), indexed.bench.at("d/other")).unwrap();
    fs::write(indexed.bench.at("d/other"), "through the other").unwrap();
    fs::remove_file(indexed.bench.at("d/other")).unwrap();
    // Who waits hears that something was missed before he hears that nothing is.
    indexed.flush(1);
    assert_eq!(indexed.reports.iter().filter(|report| is_doubted(report)).count(), 1);
    indexed.until_listed("", 0);
    assert_eq!(indexed.found, [path("file")]);
    indexed.check();
    // The next one has to wait, and not by spinning; but for who asks.
    indexed.reports.clear();
    fs::write(indexed.bench.at("gone"), "").unwrap();
    fs::remove_file(indexed.bench.at("gone")).unwrap();
    let (start, longest) = (Instant::now(), Duration::from_millis(300));
    while start.elapsed() < longest {
        indexed.turn();
    }
    assert!(!indexed.reports.iter().any(is_doubted));
    indexed.flush(2);
    assert!(indexed.reports.iter().any(is_doubted));
}

/// Files that come, change and go while somebody looks cost nothing.
#[test]
fn ordinary_changes_are_not_doubted() {
    let mut indexed = Indexed::listed(Switches::default(), &[], |bench| bench.write("file"));
    for round in 0..20 {
        indexed.bench.write("file");
        indexed.bench.write(format!("kept{round}"));
        indexed.flush(200 + round);
        // Saved as editors do.
        indexed.bench.write("new");
        indexed.bench.rename("new", "file");
        indexed.flush(round);
        fs::remove_file(indexed.bench.at(format!("kept{round}"))).unwrap();
        indexed.flush(100 + round);
    }
    assert!(!indexed.reports.iter().any(is_doubted), "{:#?}", indexed.reports);
    assert_eq!(indexed.found, []);
}
