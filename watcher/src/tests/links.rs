//! Files with several names.

use std::fs;

use common::config::Switches;
use common::event::Dirt::Touched;

use super::Bench;

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

#[test]
fn a_hidden_name_of_a_visible_file() {
    let mut bench = Bench::prepared(Switches::default(), &[], |bench| {
        bench.write("visible");
        fs::hard_link(bench.at("visible"), bench.at(".hidden")).unwrap();
    });
    bench.write(".hidden");
    bench.until_dirty("visible", Touched);
}
