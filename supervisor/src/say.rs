//! The lines on standard output that the original printed and that scripts look for. They
//! stay as they were; everything else goes to the log.

use std::collections::BTreeMap;
use std::io::{Write, stdout};

use common::log::Quoted;
use common::message::{Deletions, Outcome, SyncSlice};

use crate::core::RemoteId;
use crate::logging::undraw;

/// Prints a line. Nobody may be listening: that is no reason to fail.
pub fn say(line: &str) {
    undraw();
    let mut out = stdout().lock();
    let _ = writeln!(out, "{line}").and_then(|()| out.flush());
}

/// The commands of full syncs: printed when one begins, and not again with each try of the same.
#[derive(Debug, Default)]
pub struct FullSyncs(BTreeMap<RemoteId, (String, u64)>);

impl FullSyncs {
    /// One begins, under that ticket: prints its command, unless it is one more try.
    pub fn begins(&mut self, remote: RemoteId, ticket: u64, slice: &SyncSlice, deletions: Deletions) {
        let words = syncer::full_sync_argv(slice, deletions);
        let words: Vec<String> = words.iter().map(|word| Quoted(word).to_string()).collect();
        let line = format!("execute command: {}", words.join(" "));
        if self.is_new(remote, ticket, &line) {
            say(&line);
        }
    }

    /// The job under that ticket is over. What went through the tree was no try, whatever of it failed.
    pub fn ended(&mut self, remote: RemoteId, ticket: u64, outcome: Outcome) {
        let was_done = matches!(outcome, Outcome::Done | Outcome::Partial | Outcome::RootEmpty);
        if was_done && self.0.get(&remote).is_some_and(|(_, begun)| *begun == ticket) {
            self.0.remove(&remote);
        }
    }

    fn is_new(&mut self, remote: RemoteId, ticket: u64, line: &str) -> bool {
        let before = self.0.insert(remote, (line.to_owned(), ticket));
        before.is_none_or(|(said, _)| said != line)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One that was tried every second was said every second.
    #[test]
    fn a_try_is_no_other_full_sync() {
        let (mut said, it) = (FullSyncs::default(), RemoteId(0));
        assert!(said.is_new(it, 1, "a") && said.is_new(RemoteId(1), 2, "a"));
        said.ended(it, 1, Outcome::Unreachable);
        assert!(!said.is_new(it, 3, "a"));
        assert!(said.is_new(it, 4, "b"), "after a reload");
        // Another job of that remote says nothing about it.
        said.ended(it, 3, Outcome::Done);
        assert!(!said.is_new(it, 5, "b"));
        for outcome in [Outcome::Done, Outcome::Partial] {
            said.ended(it, 5, outcome);
            assert!(said.is_new(it, 5, "b"), "{outcome:?}");
        }
    }
}
