//! Argument vectors for rsync: pure. Why each option is there was measured case by case
//! (ARCHITECTURE.md tells what happens without it).
//!
//! The user's own parameters come first and stay as they are, so that ours win where both
//! speak of the same thing, but for those that [`sets`] lets the user decide. No shell is
//! involved; [`shown`] only quotes for people.

mod connection;
mod copied;
mod moved;
mod shown;
mod words;

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;

use common::message::{Comparison, Deletions, SyncSlice};

use crate::abilities::{Abilities, Ability};

use connection::Clock;
pub use connection::port;
pub(crate) use connection::unspeakable;
pub(crate) use copied::{are_neighbours, copied, is_far, look_around};
pub(crate) use moved::{are_plain, holds_something, may_move, moved, probing};
pub(crate) use shown::shown;
pub use words::sets;
use words::{for_dry_run, value_of};

/// I/O timeout when neither the config nor the parameters name one, in seconds.
const DEFAULT_TIMEOUT: u32 = 60;
/// Options that delete. They are left out where nothing may be deleted.
const DELETING: [&str; 7] = [
    "--delete",
    "--del",
    "--delete-before",
    "--delete-during",
    "--delete-delay",
    "--delete-after",
    "--delete-excluded",
];

/// Removes listed names that are missing here; rsync 3.1 and later.
pub(crate) const MISSING_ARGS: &str = "--delete-missing-args";
/// The list comes on standard input, with a NUL behind each entry.
const LIST: [&str; 2] = ["--files-from=-", "--from0"];
/// Compares nanoseconds; rsync 3.1.3 and later.
pub(crate) const NANOSECONDS: &str = "--modify-window=-1";
/// A dry run tells of all that would go, not only of what one run may remove.
const UNBOUNDED: &str = "--max-delete=2147483647";
/// Would remove whatever no rule names.
const UNNAMED: &str = "--delete-excluded";
/// Removes what the rules on standard input let through, and sends nothing of it: a directory
/// that is back by now may hold what the filter excludes. A pruned one would be taken for
/// missing.
const ERASING: [&str; 9] = [
    "--recursive",
    "--delete",
    "--force",
    "--existing",
    "--ignore-existing",
    "--no-prune-empty-dirs",
    "--from0",
    "--include-from=-",
    "--exclude=*",
];

/// How far one run of rsync reaches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    /// Each listed entry by itself.
    Shallow,
    /// Each listed entry with all below it.
    Deep,
    /// The whole tree, without a list.
    Whole,
    /// The whole tree, of which we make the list ourselves.
    WholeListed,
}

/// What a run is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Errand {
    /// Transfers.
    Send(Form, Deletions),
    /// Only tells what [`Errand::Send`] of the same form would delete as extraneous.
    Look(Form),
    /// Tells, as [`crate::itemized`] reads it, what [`Errand::Send`] of the same form would do.
    Compare(Form, Deletions, Comparison),
    /// Removes what is named in rules, where the remote knows no `--delete-missing-args`.
    Erase,
}

/// The command of a full sync without filters, program first, as it runs in the root.
pub fn full_sync_argv(slice: &SyncSlice, deletions: Deletions) -> Vec<OsString> {
    argv(slice, Errand::Send(Form::Whole, deletions), Abilities::default())
}

/// Whether this job deletes on the remote.
pub(crate) fn effective(slice: &SyncSlice, deletions: Deletions) -> Deletions {
    if slice.delete { deletions } else { Deletions::Held }
}

/// The command for an errand, asking for no more than the remote can do.
pub(crate) fn argv(slice: &SyncSlice, errand: Errand, abilities: Abilities) -> Vec<OsString> {
    let mut words = vec![slice.rsync_program.clone()];
    let debug = slice.debug && !sets(&slice.remote.rsync.params, "--out-format", None);
    let told = debug.then(|| OsString::from("--out-format=%i %n%L"));
    match errand {
        Errand::Send(form, deletions) => {
            let deletions = possible(slice, deletions, abilities);
            words.extend(params(slice, deletions, abilities).cloned());
            words.extend(reach(form, deletions, abilities).iter().map(OsString::from));
            words.extend(told);
            words.extend(extent(slice, form, abilities));
        }
        Errand::Look(form) => {
            let deletions = possible(slice, Deletions::Travel, abilities);
            // A quiet rsync would print nothing, and nothing would ever be removed.
            words.extend(params(slice, deletions, abilities).map(|word| for_dry_run(word)));
            words.extend(reach(form, deletions, abilities).iter().map(OsString::from));
            words.extend(["--dry-run", "--existing", "--ignore-existing"].map(OsString::from));
            // As old as --delete-missing-args, and sent to the remote too.
            words.extend(abilities.missing_args.is_there().then(|| "--info=none".into()));
            words.push("--out-format=%i %n".into());
            words.extend(extent(slice, form, abilities));
        }
        Errand::Compare(form, deletions, by) => {
            let deletions = possible(slice, deletions, abilities);
            // What the user's -u keeps from being sent is not told either.
            words.extend(params(slice, deletions, abilities).map(|word| for_dry_run(word)));
            words.extend(reach(form, deletions, abilities).iter().map(OsString::from));
            words.push("--dry-run".into());
            words.extend(sets(&slice.remote.rsync.params, "--max-delete", None).then(|| UNBOUNDED.into()));
            words.extend(abilities.missing_args.is_there().then(|| "--info=none".into()));
            words.push("--out-format=%i %n".into());
            let blind = by == Comparison::Checksums || !words::keep_times(&slice.remote.rsync.params);
            words.extend(blind.then(|| "--checksum".into()));
            words.extend(extent(slice, form, abilities));
        }
        Errand::Erase => {
            words
                .extend(params(slice, Deletions::Travel, abilities).filter(|word| *word != UNNAMED).cloned());
            words.extend(ERASING.map(OsString::from));
            words.extend(told);
        }
    }
    words.extend(slice.remote.rsync.bwlimit.map(|rate| format!("--bwlimit={rate}").into()));
    // A list is gone through name by name; a tree, or what a file holds, may be compared in silence.
    let clock = match errand {
        Errand::Send(Form::Shallow, _) if abilities.nanoseconds.is_there() && !is_silent(slice) => {
            Clock::Ours
        }
        Errand::Send(..) | Errand::Look(_) | Errand::Compare(..) | Errand::Erase => Clock::Rsyncs,
    };
    words.extend(connection::words(slice, clock));
    if let Errand::Send(Form::Whole | Form::WholeListed, _)
    | Errand::Compare(Form::Whole | Form::WholeListed, ..)
    | Errand::Look(Form::Whole | Form::WholeListed) = errand
    {
        words.extend(slice.excludes.iter().map(|pattern| joined("--exclude=", pattern)));
    }
    words.extend(["--".into(), "./".into(), connection::destination(slice)]);
    words
}

/// The same command with names in place of the list: rsync reads a list byte by byte, two system
/// calls each, and opens every directory above each entry anew. Measured with 26,000 files in
/// directories eight levels deep: 1.3 s, and 5.3 s with a list.
pub(crate) fn named(mut words: Vec<OsString>, names: impl Iterator<Item = OsString>) -> Vec<OsString> {
    if let Some(at) = words.iter().position(|word| *word == LIST[0]) {
        words.splice(at..at.saturating_add(LIST.len()), ["--dirs".into()]);
    }
    // The source, where the list would be looked for.
    let source = words.len().saturating_sub(2);
    words.splice(source..source.saturating_add(1), names);
    words
}

/// Whether the user's options may make the remote work for long without a word.
fn is_silent(slice: &SyncSlice) -> bool {
    let params = &slice.remote.rsync.params;
    sets(params, "--checksum", Some(b'c'))
        || sets(params, "--fsync", None)
        || sets(params, "--delay-updates", None)
}

/// Lets a full sync remove at most `most` names. It comes first: a bound of the user's wins.
pub(crate) fn bound(words: &mut Vec<OsString>, most: u32) {
    // rsync counts in an int.
    let most = most.min(i32::MAX.unsigned_abs());
    words.insert(words.len().min(1), format!("--max-delete={most}").into());
}

/// Lets rsync send no more than `rate` KiB a second, nor more than the user lets it.
pub(crate) fn slow_down(words: &mut Vec<OsString>, slice: &SyncSlice, rate: Option<u32>) {
    let Some(rate) = rate else { return };
    let of_user = slice.remote.rsync.bwlimit.or_else(|| words::rate_of(&slice.remote.rsync.params));
    let rate = of_user.map_or(rate, |of_user| rate.min(of_user));
    // The last one counts, and behind `--` come names.
    let end = words.iter().position(|word| word == "--").unwrap_or(words.len());
    words.insert(end, format!("--bwlimit={rate}").into());
}

/// Lets rsync compare what files hold, whatever their times say.
pub(crate) fn by_checksums(words: &mut Vec<OsString>, slice: &SyncSlice) {
    words.insert(words.len().min(1), "--checksum".into());
    with_timeout(words, slice);
}

/// Lets rsync itself end a run in which nothing moves.
pub(crate) fn with_timeout(words: &mut Vec<OsString>, slice: &SyncSlice) {
    if !has_timeout(words) {
        words.insert(words.len().min(1), connection::timeout_word(slice));
    }
}

/// Whether rsync itself ends a run in which nothing moves.
pub(crate) fn has_timeout(words: &[OsString]) -> bool {
    words.iter().any(|word| word.as_bytes().starts_with(b"--timeout"))
}

/// Whether this job deletes on a remote of these abilities.
pub(crate) fn possible(slice: &SyncSlice, deletions: Deletions, abilities: Abilities) -> Deletions {
    if abilities.delete.is_there() { effective(slice, deletions) } else { Deletions::Held }
}

/// rsync's I/O timeout in seconds as it will be; 0 for none.
pub(crate) fn timeout(slice: &SyncSlice) -> u32 {
    let of_params = || value_of(&slice.remote.rsync.params, "--timeout")?.to_str()?.parse().ok();
    slice.remote.rsync.timeout.or_else(of_params).unwrap_or(DEFAULT_TIMEOUT)
}

/// The user's words, less those that may not act in this job, or not on this remote.
fn params(slice: &SyncSlice, deletions: Deletions, abilities: Abilities) -> impl Iterator<Item = &OsString> {
    let missing_args = abilities.missing_args;
    let may_stay = move |word: &&OsString| match (deletions, missing_args) {
        (Deletions::Travel, Ability::Assumed | Ability::Proven) => true,
        (Deletions::Travel, Ability::Missing | Ability::Guessed) => *word != MISSING_ARGS,
        (Deletions::Held, _) => *word != MISSING_ARGS && !DELETING.iter().any(|name| *word == *name),
    };
    slice.remote.rsync.params.iter().filter(may_stay)
}

/// How far the run reaches, and what it may remove.
fn reach(form: Form, deletions: Deletions, abilities: Abilities) -> &'static [&'static str] {
    match (form, deletions, abilities.missing_args) {
        // --delete without -r deletes nothing extra: it makes rsync send the user's excludes,
        // which protect what is on the remote. --force is what turns a directory into a file.
        (Form::Shallow | Form::WholeListed, Deletions::Travel, Ability::Assumed | Ability::Proven) => {
            &["--no-recursive", "--delete", "--force", MISSING_ARGS]
        }
        (Form::Deep, Deletions::Travel, Ability::Assumed | Ability::Proven) => {
            &["--recursive", "--delete", "--force", MISSING_ARGS]
        }
        // What is missing goes in a run of its own.
        (Form::Shallow | Form::WholeListed, Deletions::Travel, Ability::Missing | Ability::Guessed) => {
            &["--no-recursive", "--force", "--ignore-missing-args"]
        }
        (Form::Deep, Deletions::Travel, Ability::Missing | Ability::Guessed) => {
            &["--recursive", "--delete", "--force", "--ignore-missing-args"]
        }
        (Form::Whole, Deletions::Travel, _) => &["--recursive", "--delete", "--force"],
        (Form::Shallow | Form::WholeListed, Deletions::Held, _) => {
            &["--no-recursive", "--ignore-missing-args"]
        }
        (Form::Deep, Deletions::Held, _) => &["--recursive", "--ignore-missing-args"],
        (Form::Whole, Deletions::Held, _) => &["--recursive"],
    }
}

/// List and comparison.
fn extent(slice: &SyncSlice, form: Form, abilities: Abilities) -> Vec<OsString> {
    let mut words: Vec<OsString> = Vec::new();
    let (listed, whole) = match form {
        Form::Shallow | Form::Deep => (true, false),
        Form::Whole => (false, true),
        Form::WholeListed => (true, true),
    };
    if listed {
        words.extend(LIST.map(OsString::from));
        // Both are the default with a list. As with the original's -R, a --no-relative among the
        // parameters does not count: it would put all files into one directory.
        words.extend(["--relative", "--implied-dirs"].map(OsString::from));
    }
    // rsync compares whole seconds by default: a second write of the same size within one
    // second would never arrive.
    if !abilities.nanoseconds.is_there() {
        // Not --ignore-times: it rewrites equal files, each of which is a new event over there.
        words.extend((!whole).then(|| "--checksum".into()));
    } else if !sets(&slice.remote.rsync.params, "--modify-window", Some(b'@')) {
        words.push(NANOSECONDS.into());
    }
    words
}

fn joined(option: &str, value: &OsStr) -> OsString {
    let mut word = OsString::from(option);
    word.push(value);
    word
}

#[cfg(test)]
pub(crate) mod tests;
