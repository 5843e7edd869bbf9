//! Removing names on a remote without `--delete-missing-args`.
//!
//! Such a removal is a recursive run with `--delete` that sees nothing but what is to go: a rule
//! for each name and for the directories on the way to it, all else excluded and so protected.

use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;

use bstr::ByteSlice;
use common::message::{Deletions, Outcome};
use common::path::RelPath;

use crate::argv::{self, Errand, Form};
use crate::list::Kind;
use crate::rsync::Feed;
use crate::transfers::{Transfers, feed, goes_on};

/// Most names that one run removes: rsync compares each entry with each rule.
const NAMES_A_RUN: usize = 1000;
/// Longest rule that every rsync reads, in bytes.
const MAX_RULE: usize = 4096;

impl Transfers<'_> {
    /// Removes names of this batch that are missing here, where that takes a run of its own.
    pub(crate) fn erase(&mut self, gone: &[RelPath]) {
        if !can_erase(&self.worker.slice.remote.rsync.params) {
            return;
        }
        if self.clear_the_way(gone) != Outcome::Done {
            self.complaints.unclear = true;
            return;
        }
        for names in gone.chunks(NAMES_A_RUN) {
            let Rules { text, unspoken } = rules(names);
            let mut text = Some(text);
            let outcome = self.transfer(Errand::Erase, &mut |buffer| {
                buffer.extend_from_slice(&text.take().unwrap_or_default());
                Feed::End
            });
            // A dry run of the list says nothing of what is missing here.
            self.complaints.unclear |= outcome == Outcome::Partial || unspoken > 0;
            if unspoken > 0 {
                let tail = format!(
                    "{unspoken} names are too long to be removed on a remote without --delete-missing-args"
                );
                self.worst_of(Outcome::Partial, 0, tail);
            }
            if !goes_on(self.outcome()) {
                return;
            }
        }
    }

    /// Has each directory in which a name is missing be a directory over there. Where a symlink is in its
    /// place, the run that removes would follow it, and remove what somebody else has behind it.
    fn clear_the_way(&mut self, gone: &[RelPath]) -> Outcome {
        let is_here = |path: &&[u8]| self.root.kind(path) == Kind::Directory;
        let nearest = |name: &RelPath| RelPath::new(name.ancestors().filter(is_here).last()?).ok();
        let ways: BTreeSet<RelPath> = gone.iter().filter_map(nearest).collect();
        if ways.is_empty() {
            return Outcome::Done;
        }
        let (errand, mut ways) = (Errand::Send(Form::Shallow, Deletions::Held), ways.iter());
        self.transfer(errand, &mut |buffer| feed(&mut ways, buffer))
    }
}

/// Rules for one run, and how many names are too long for one.
struct Rules {
    text: Vec<u8>,
    unspoken: usize,
}

fn rules(names: &[RelPath]) -> Rules {
    let mut rules = Rules { text: Vec::new(), unspoken: 0 };
    let mut on_the_way = BTreeSet::new();
    for name in names {
        let whole = rule(name.as_bytes(), Reach::All);
        if whole.len() > MAX_RULE {
            rules.unspoken = rules.unspoken.saturating_add(1);
            continue;
        }
        for above in name.ancestors().filter(|above| !above.is_empty()) {
            if on_the_way.insert(above) {
                rules.push(rule(above, Reach::Directory));
            }
        }
        rules.push(rule(name.as_bytes(), Reach::Itself));
        rules.push(whole);
    }
    rules
}

impl Rules {
    fn push(&mut self, rule: Vec<u8>) {
        self.text.extend(rule);
        self.text.push(0);
    }
}

/// What a rule lets through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reach {
    /// A directory, not what it holds.
    Directory,
    /// Whatever has that name.
    Itself,
    /// A directory and all below it.
    All,
}

/// A backslash escapes only in a pattern that holds a wildcard; elsewhere it is itself.
fn rule(path: &[u8], reach: Reach) -> Vec<u8> {
    let wild = reach == Reach::All || path.find_byteset(b"*?[").is_some();
    let mut rule = b"/".to_vec();
    for &byte in path {
        if wild && b"*?[\\".contains(&byte) {
            rule.push(b'\\');
        }
        rule.push(byte);
    }
    rule.extend_from_slice(match reach {
        Reach::Directory => b"/",
        Reach::Itself => b"",
        Reach::All => b"/***",
    });
    rule
}

/// False when the user's own rules, which come before ours, may let more through: then `--delete`
/// would reach it. A plain exclude only protects.
pub(crate) fn can_erase(params: &[OsString]) -> bool {
    let wide = ["--include", "--include-from", "--filter", "--exclude-from", "--cvs-exclude"];
    let follows = params.iter().map(Some).skip(1).chain([None]);
    !wide.iter().any(|option| argv::sets(params, option, None))
        && !b"fFC".iter().any(|&letter| argv::sets(params, "--filter", Some(letter)))
        && params.iter().zip(follows).all(|(word, next)| match word.as_bytes().strip_prefix(b"--exclude") {
            Some([]) => next.is_none_or(|pattern| is_plain(pattern)),
            Some([b'=', pattern @ ..]) => is_plain(OsStr::from_bytes(pattern)),
            Some(_) | None => true,
        })
}

/// rsync reads a sign in front of a pattern, and `!` as "forget all rules".
fn is_plain(pattern: &OsStr) -> bool {
    !pattern.as_bytes().starts_with(b"+") && !pattern.as_bytes().starts_with(b"!")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(names: &[&str]) -> String {
        let names: Vec<_> = names.iter().map(|name| RelPath::new(*name).unwrap()).collect();
        String::from_utf8(rules(&names).text).unwrap().replace('\0', " ")
    }

    #[test]
    fn rules_name_the_way_and_the_end_of_it() {
        assert_eq!(of(&["a/b/c", "a/b/d", "e"]), "/a/ /a/b/ /a/b/c /a/b/c/*** /a/b/d /a/b/d/*** /e /e/*** ");
        // A backslash is one as long as there is no wildcard beside it.
        assert_eq!(of(&["x\\/*/[y]"]), "/x\\/ /x\\\\/\\*/ /x\\\\/\\*/\\[y] /x\\\\/\\*/\\[y]/*** ");
        let long = rules(&[RelPath::new("\\/".repeat(1500) + "x").unwrap(), RelPath::new("y").unwrap()]);
        assert_eq!((long.text.as_slice(), long.unspoken), (&b"/y\0/y/***\0"[..], 1));
    }

    #[test]
    fn which_of_the_users_rules_are_harmless() {
        let may = |params: &[&str]| can_erase(&params.iter().map(OsString::from).collect::<Vec<_>>());
        for harmless in [&["-artz"][..], &["--exclude=a", "--exclude", "- b"], &["--force"]] {
            assert!(may(harmless), "{harmless:?}");
        }
        let wide = [
            &["--include=a"][..],
            &["--include", "a"],
            &["--exclude=+ a"],
            &["--exclude", "!"],
            &["--exclude-from=/f"],
            &["-F"],
            &["-aC"],
            &["-f", "+ a"],
            &["-af+ a"],
            &["--filter=. f"],
        ];
        for params in wide {
            assert!(!may(params), "{params:?}");
        }
    }
}
