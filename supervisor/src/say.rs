//! The lines on standard output that the original printed and that scripts look for. They
//! stay as they were; everything else goes to the log.

use std::io::{Write, stdout};

use common::log::Shown;
use common::message::{Deletions, SyncSlice};

use crate::logging::undraw;

/// Prints a line. Nobody may be listening: that is no reason to fail.
pub fn say(line: &str) {
    undraw();
    let mut out = stdout().lock();
    let _ = writeln!(out, "{line}").and_then(|()| out.flush());
}

/// Prints the command of a full sync.
pub fn say_full_sync(slice: &SyncSlice, deletions: Deletions) {
    let words = syncer::full_sync_argv(slice, deletions);
    let command: Vec<String> = words.iter().map(|word| Shown(word).to_string()).collect();
    say(&format!("execute command: {}", command.join(" ")));
}
