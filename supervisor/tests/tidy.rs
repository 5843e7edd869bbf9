//! The house rules that a compiler does not see.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test that cannot go on fails"
)]

#[path = "tidy/documents.rs"]
mod documents;

use std::fs;
use std::path::{Path, PathBuf};

fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

/// Every production source file of a crate, with its text cut at the first inline test.
fn sources(crate_name: &str) -> Vec<(PathBuf, String)> {
    let mut found = vec![];
    let mut directories = vec![workspace().join(crate_name).join("src")];
    while let Some(directory) = directories.pop() {
        for entry in fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            if path.is_dir() {
                if name != "tests" {
                    directories.push(path);
                }
            } else if path.extension().is_some_and(|ending| ending == "rs")
                && !name.starts_with("tests")
                && name != "simulation.rs"
            {
                let text = fs::read_to_string(&path).unwrap();
                let text = text.split("#[cfg(test)]\nmod tests").next().unwrap().to_owned();
                found.push((path, text));
            }
        }
    }
    assert!(!found.is_empty());
    found
}

fn none_of(crates: &[&str], words: &[&str], why: &str) {
    for name in crates {
        for (path, text) in sources(name) {
            for (number, line) in text.lines().enumerate() {
                let code = line.split("//").next().unwrap_or_default();
                let word = words.iter().find(|word| code.contains(**word));
                assert!(word.is_none(), "{}:{}: {why}: {}", path.display(), number + 1, line.trim());
            }
        }
    }
}

const ALL: [&str; 5] = ["common", "watcher", "syncer", "plugins", "supervisor"];

/// What is no part of the product, and may import all of it.
const BESIDE: [&str; 1] = ["benches"];

#[test]
fn the_core_is_pure() {
    for (path, text) in sources("supervisor") {
        if path.components().any(|part| part.as_os_str() == "core") {
            for word in [
                "std::fs",
                "std::net",
                "std::process",
                "std::thread",
                "Instant",
                "nix::",
                "std::io",
                "std::env",
            ] {
                assert!(!text.contains(word), "{}: the core must not know {word}", path.display());
            }
        }
    }
}

#[test]
fn unsafe_stands_in_one_module() {
    for name in ALL.into_iter().chain(BESIDE) {
        for (path, text) in sources(name) {
            let code: String = text.lines().map(|line| line.split("//").next().unwrap_or_default()).collect();
            let allowed = path.ends_with("common/src/confine/raw.rs");
            assert!(allowed || !code.contains("unsafe "), "{}: unsafe", path.display());
        }
    }
}

#[test]
fn no_shell() {
    let all: Vec<&str> = ALL.into_iter().chain(BESIDE).collect();
    none_of(&all, &["\"sh\"", "\"/bin/sh\"", "\"bash\"", "libc::system"], "a shell");
}

#[test]
fn roles_do_not_know_each_other() {
    for (role, others) in [
        ("common", &ALL[1..]),
        ("watcher", &ALL[2..]),
        ("syncer", &["watcher", "plugins", "supervisor"][..]),
        ("plugins", &["watcher", "syncer", "supervisor"][..]),
    ] {
        let manifest = fs::read_to_string(workspace().join(role).join("Cargo.toml")).unwrap();
        for other in others {
            assert!(!manifest.contains(&format!("\n{other}.workspace")), "{role} imports {other}");
        }
    }
    for name in ALL {
        let manifest = fs::read_to_string(workspace().join(name).join("Cargo.toml")).unwrap();
        assert!(
            !manifest.contains("\nbench.workspace") && !manifest.contains("../benches"),
            "{name} imports benches"
        );
    }
}

#[test]
fn files_fit_in_a_head() {
    for name in ALL.into_iter().chain(BESIDE) {
        for (path, text) in sources(name) {
            assert!(text.lines().count() <= 420, "{}: {} lines", path.display(), text.lines().count());
            assert!(text.starts_with("//!"), "{}: says nothing about itself", path.display());
        }
    }
}

#[test]
fn every_exit_code_is_in_the_help() {
    let help = fs::read_to_string(workspace().join("supervisor/src/cli.rs")).unwrap();
    for exit in common::exit::Exit::ALL {
        assert!(help.contains(&format!("{} ", exit.code())), "{exit:?}");
    }
}

#[test]
fn the_shipped_config_is_clean() {
    let parsed = common::config::parse(&fs::read(workspace().join("confxml.xml")).unwrap());
    assert_eq!(common::config::render(&parsed, "confxml.xml"), "");
    assert!(parsed.config.is_some());
}
