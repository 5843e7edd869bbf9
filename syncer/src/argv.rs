//! Argument vectors for rsync: pure. Why each option is there was measured case by case
//! (ARCHITECTURE.md tells what happens without it).
//!
//! The user's own parameters come first and stay as they are, so that ours win where both
//! speak of the same thing, but for those that [`sets`] lets the user decide. No shell is
//! involved; [`shown`] only quotes for people.

mod connection;
mod linked;
mod shown;
mod words;

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;

use common::message::{Comparison, Deletions, SyncSlice};

use crate::abilities::{Abilities, Ability};

use connection::Clock;
pub use connection::port;
pub(crate) use connection::unspeakable;
pub(crate) use linked::{are_plain, linked, may_link};
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
        Errand::Send(Form::Shallow, _) if abilities.nanoseconds.is_there() => Clock::Ours,
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
    // The last one counts, and behind it come `--`, the source and the destination.
    words.insert(words.len().saturating_sub(3), format!("--bwlimit={rate}").into());
}

/// Lets rsync compare what files hold, whatever their times say.
pub(crate) fn by_checksums(words: &mut Vec<OsString>, slice: &SyncSlice) {
    let timeout = (!has_timeout(words)).then(|| connection::timeout_word(slice));
    let first = words.len().min(1);
    words.splice(first..first, ["--checksum".into()].into_iter().chain(timeout));
}

/// Whether rsync itself ends a run in which nothing moves.
pub(crate) fn has_timeout(words: &[OsString]) -> bool {
    words.iter().any(|word| word.as_bytes().starts_with(b"--timeout"))
}

/// Lets rsync write each file anew, the same ones too.
pub(crate) fn anew(words: &mut Vec<OsString>) {
    words.insert(words.len().min(1), "--ignore-times".into());
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
pub(crate) mod tests {
    use super::*;
    use common::config::{Auth, Remote, RsyncOptions};
    use common::confine::Confinement;
    use std::os::unix::ffi::OsStrExt;

    pub(crate) fn slice(params: &[&str]) -> SyncSlice {
        let rsync = RsyncOptions {
            params: params.iter().map(OsString::from).collect(),
            auth: None,
            port: None,
            timeout: None,
            bwlimit: None,
            ssh: None,
        };
        SyncSlice {
            root: "/srv/www".into(),
            remote: Remote { host: "10.0.0.2".into(), module: "web".into(), connections: 2, rsync },
            rsync_program: "/usr/bin/rsync".into(),
            rsync_version: (3, 5, 0),
            ssh: None,
            delete: true,
            filter: vec![],
            excludes: vec!["*.php".into(), "info/*".into()],
            warm: None,
            debug: false,
            confinement: Confinement::none(),
        }
    }

    pub(crate) fn sent(slice: &SyncSlice, form: Form, deletions: Deletions) -> String {
        shown(&argv(slice, Errand::Send(form, deletions), Abilities::default()))
    }

    #[test]
    fn every_form() {
        use Deletions::{Held, Travel};
        let slice = slice(&["-artuz", "--bwlimit=500"]);
        let mut lines = Vec::new();
        for form in [Form::Shallow, Form::Deep, Form::Whole, Form::WholeListed] {
            for deletions in [Travel, Held] {
                lines.push(format!("{form:?} {deletions:?}: {}", sent(&slice, form, deletions)));
            }
        }
        for form in [Form::Deep, Form::Whole] {
            lines.push(format!(
                "look {form:?}: {}",
                shown(&argv(&slice, Errand::Look(form), Abilities::default()))
            ));
        }
        for (form, by) in [(Form::Shallow, Comparison::Times), (Form::Whole, Comparison::Checksums)] {
            let words = argv(&slice, Errand::Compare(form, Travel, by), Abilities::default());
            lines.push(format!("compare {form:?}: {}", shown(&words)));
        }
        insta::assert_snapshot!(lines.join("\n"));
    }

    #[test]
    fn auth_port_timeout_and_ipv6() {
        let mut slice = slice(&["-artz"]);
        slice.remote.rsync.auth =
            Some(Auth { user: Some("bob".into()), password_file: Some("/etc/my pas".into()) });
        slice.remote.rsync.port = Some(874);
        slice.remote.rsync.timeout = Some(100);
        slice.remote.host = "fe80::1".into();
        slice.debug = true;
        insta::assert_snapshot!(sent(&slice, Form::Shallow, Deletions::Travel), @r#"/usr/bin/rsync -artz --no-recursive --delete --force --delete-missing-args '--out-format=%i %n%L' --files-from=- --from0 --relative --implied-dirs --modify-window=-1 --sockopts=TCP_NODELAY --contimeout=10 --timeout=100 --port=874 '--password-file=/etc/my pas' --no-motd -- ./ 'bob@[fe80::1]::web/'"#);
    }

    /// What an old or strict remote is not asked for.
    #[test]
    fn less_able_remotes() {
        let slice = slice(&["-a", "--delete", "--delete-excluded"]);
        let (all, missing) = (Abilities::default(), Ability::Missing);
        let mut lines = Vec::new();
        for abilities in [
            Abilities { missing_args: missing, ..all },
            Abilities { nanoseconds: missing, ..all },
            Abilities { missing_args: missing, delete: missing, ..all },
        ] {
            for form in [Form::Shallow, Form::Deep, Form::Whole, Form::WholeListed] {
                let errand = Errand::Send(form, Deletions::Travel);
                lines.push(format!("{form:?}: {}", shown(&argv(&slice, errand, abilities))));
            }
            lines.push(format!("look: {}", shown(&argv(&slice, Errand::Look(Form::Deep), abilities))));
        }
        lines.push(format!("erase: {}", shown(&argv(&slice, Errand::Erase, all))));
        insta::assert_snapshot!(lines.join("\n"));
    }

    #[test]
    fn what_the_user_sets_is_left_to_the_user() {
        let params = ["-art@-1", "--timeout", "5", "--contimeout=3", "--sockopts=SO_SNDBUF=9", "--delete"];
        let slice = slice(&params);
        let words = shown(&full_sync_argv(&slice, Deletions::Held));
        insta::assert_snapshot!(words, @r#"/usr/bin/rsync -art@-1 --timeout 5 --contimeout=3 --sockopts=SO_SNDBUF=9 --recursive --no-motd '--exclude=*.php' '--exclude=info/*' -- ./ 10.0.0.2::web/"#);
        assert_eq!(timeout(&slice), 5);
    }

    /// The part of a transfer never lets it send more than the user does.
    #[test]
    fn a_part_of_the_bandwidth() {
        for (params, own, rate, expected) in [
            (&["-a"][..], None, Some(100), Some("--bwlimit=100")),
            (&["-a", "--bwlimit=50"], None, Some(100), Some("--bwlimit=50")),
            (&["-a", "--bwlimit=1m"], None, Some(100), Some("--bwlimit=100")),
            (&["-a", "--bwlimit=50"], Some(70), Some(100), Some("--bwlimit=70")),
            (&["-a"], Some(70), None, Some("--bwlimit=70")),
            (&["-a"], None, None, None),
        ] {
            let mut slice = slice(params);
            slice.remote.rsync.bwlimit = own;
            let mut words = full_sync_argv(&slice, Deletions::Travel);
            slow_down(&mut words, &slice, rate);
            let last = words.iter().rfind(|word| word.as_bytes().starts_with(b"--bwlimit"));
            assert_eq!(last.and_then(|word| word.to_str()), expected, "{params:?} {own:?} {rate:?}");
            assert_eq!(words[words.len() - 3..], ["--", "./", "10.0.0.2::web/"]);
        }
    }

    #[test]
    fn delete_off_holds_deletions_whatever_the_job_says() {
        let mut slice = slice(&["-a"]);
        slice.delete = false;
        assert_eq!(full_sync_argv(&slice, Deletions::Travel), full_sync_argv(&slice, Deletions::Held));
    }
}
