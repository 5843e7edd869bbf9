//! The corpus of the fuzzers, replayed on stable Rust: nothing of it panics. `fuzz/` has what looks
//! for more of it.
#![allow(clippy::panic, clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::fs;
use std::path::{Path, PathBuf};

#[path = "../../fuzz/src/lib.rs"]
mod bodies;

fn files(directory: &str) -> Vec<PathBuf> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().join(directory);
    let entries = fs::read_dir(&directory).unwrap_or_else(|error| panic!("{}: {error}", directory.display()));
    entries.map(|entry| entry.unwrap().path()).collect()
}

fn replay(directory: &str, least: usize, body: fn(&[u8])) {
    let files = files(directory);
    assert!(files.len() >= least, "{directory}: {} files", files.len());
    for file in files {
        // A panic tells of the file, too.
        eprintln!("{}", file.display());
        body(&fs::read(file).unwrap());
    }
}

#[test]
fn configs() {
    replay("fuzz/corpus/config", 20, bodies::config);
    replay("supervisor/tests/broken", 40, bodies::config);
}

#[test]
fn frames() {
    replay("fuzz/corpus/frames", 20, bodies::frame);
}

#[test]
fn lists() {
    replay("fuzz/corpus/lists", 20, bodies::lists);
}
