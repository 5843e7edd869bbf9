//! docs/security.md claims nothing without a proof that exists: each `file.rs::test` that it
//! names is one of this tree, each `doctor:name` an attempt of the doctor, and what the doctor
//! knows to be possible is told there.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test")]

use std::fs;
use std::path::{Path, PathBuf};

use common::confine::attempts::{self, Area, Expected, Uid};

/// Fewer would mean that they are no longer found.
const FEWEST: usize = 40;

fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

fn document() -> String {
    fs::read_to_string(workspace().join("docs/security.md")).unwrap()
}

/// Every Rust file of the workspace's crates, with its text.
fn sources() -> Vec<(PathBuf, String)> {
    let mut found = vec![];
    let crates = ["common", "watcher", "syncer", "plugins", "supervisor"];
    let mut directories: Vec<PathBuf> = crates.map(|name| workspace().join(name)).to_vec();
    while let Some(directory) = directories.pop() {
        for entry in fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                directories.push(path);
            } else if path.extension().is_some_and(|ending| ending == "rs") {
                let text = fs::read_to_string(&path).unwrap();
                found.push((path, text));
            }
        }
    }
    found
}

/// What stands between backticks.
fn quoted(text: &str) -> impl Iterator<Item = &str> {
    text.split('`').skip(1).step_by(2)
}

/// Whether that file has that test. One with a main of its own decides by itself what it runs: by
/// name in a table, or by a function that it calls.
fn is_test(text: &str, name: &str) -> bool {
    let function = text.split_once(&format!("fn {name}("));
    if text.contains("\nfn main()") {
        let is_called = text.matches(&format!("{name}(")).count() > 1;
        return text.contains(&format!("(\"{name}\", ")) || (function.is_some() && is_called);
    }
    let Some((before, _)) = function else { return false };
    let is_attribute = |line: &&str| line.trim_start().starts_with("#[");
    let mut attributes = before.trim_end_matches(' ').lines().rev().take_while(is_attribute);
    attributes.any(|line| line.trim() == "#[test]")
}

/// The tests that a text names and that do not exist; and how many it names.
fn missing(text: &str, sources: &[(PathBuf, String)]) -> (Vec<String>, usize) {
    let cited = || quoted(text).filter_map(|words| words.split_once(".rs::"));
    let exists = |&(file, function): &(&str, &str)| {
        let file = format!("{file}.rs");
        sources.iter().any(|(path, text)| path.ends_with(&file) && is_test(text, function))
    };
    let missing = cited().filter(|it| !exists(it)).map(|(file, function)| format!("{file}.rs::{function}"));
    (missing.collect(), cited().count())
}

#[test]
fn every_claim_has_its_test() {
    let (missing, cited) = missing(&document(), &sources());
    assert_eq!(missing, Vec::<String>::new());
    assert!(cited >= FEWEST, "only {cited} tests are named");
}

#[test]
fn what_is_missing_is_found() {
    let sources = sources();
    let here = "`security_doc.rs::what_is_missing_is_found` and `hostile.rs::survive`";
    assert_eq!(missing(here, &sources), (vec![], 2));
    for wrong in [
        "security_doc.rs::nobody",
        "nowhere.rs::main",
        "security_doc.rs::missing",
        "doc.rs::quoted",
        "hostile.rs::main",
    ] {
        assert_eq!(missing(&format!("| `{wrong}` |"), &sources), (vec![wrong.to_owned()], 1));
    }
}

#[test]
fn what_is_known_to_be_possible_is_told() {
    let document = document();
    let told: Vec<&str> = quoted(&document).filter_map(|words| words.strip_prefix("doctor:")).collect();
    for name in &told {
        assert!(attempts::find(name).is_some(), "there is no attempt {name}");
    }
    let areas =
        [Area::Watcher, Area::Keeper, Area::Page, Area::Syncer, Area::Program, Area::Plugin, Area::Command];
    for attempt in attempts::all() {
        let expected = |area| [Uid::Own, Uid::Shared].map(|uid| attempt.expected(area, uid));
        if areas.into_iter().flat_map(expected).any(|expected| expected == Expected::Residual) {
            assert!(told.contains(&attempt.name), "{} is a residual risk, and not told", attempt.name);
        }
    }
}
