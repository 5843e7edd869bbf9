//! The commands that rename what a directory holds on the remote, where it still is under its old name.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;

use bstr::ByteSlice;
use common::message::{Deletions, SyncSlice};
use common::path::RelPath;

use super::connection::Clock;
use super::words::keep_times;
use super::{Errand, Form, MISSING_ARGS, NANOSECONDS, argv, connection, joined, params, sets};
use crate::abilities::Abilities;

/// Longest pair of names. rsync and the systems it meets take paths of 4096 bytes.
const MAX_NAMES: usize = 1800;
/// Letters of options that get on with renaming and with another directory as the top. Not `u`, which
/// guards edits that are on their way back; not `H`, which links by itself.
const LETTERS: &[u8] = b"aArlptgoDvzXSWPsh";
/// Long options that do, up to their value.
#[rustfmt::skip]
const OPTIONS: &[&str] = &[
    "--archive", "--recursive", "--links", "--perms", "--times", "--group", "--owner", "--devices",
    "--specials", "--acls", "--xattrs", "--numeric-ids", "--omit-dir-times", "--chmod", "--chown",
    "--verbose", "--stats", "--human-readable", "--progress", "--no-motd", "--outbuf", "--out-format",
    "--compress", "--compress-choice", "--compress-level", "--zc", "--zl", "--skip-compress", "--no-compress",
    "--whole-file", "--no-whole-file", "--sparse", "--bwlimit", "--block-size",
    "--timeout", "--contimeout", "--sockopts", "--port", "--address", "--ipv4", "--ipv6", "--protocol",
    "--delete", "--del", "--delete-before", "--delete-during", "--delete-delay", "--delete-after", "--force",
];

/// Whether the user's options let the remote's own files be used, where they are the same by size and time.
pub(crate) fn may_move(slice: &SyncSlice) -> bool {
    let is_known = |word: &OsString| match word.as_bytes() {
        [b'-', b'-', ..] => OPTIONS.contains(&name_of(word)),
        [b'-', letters @ ..] => letters.iter().all(|letter| LETTERS.contains(letter)),
        _ => false,
    };
    let params = &slice.remote.rsync.params;
    params.iter().all(is_known) && keep_times(params) && is_clear(slice)
}

/// Whether the way to the remote says which directory it is: `..` may lead anywhere. Old daemons take the
/// backslashes for part of a name that rsync puts before what a shell would understand.
fn is_clear(slice: &SyncSlice) -> bool {
    let is_clear = |name: &[u8]| {
        name != b".." && (slice.remote.rsync.ssh.is_some() || name.iter().copied().all(is_plain))
    };
    below_module(slice).split_str("/").all(is_clear)
}

/// The directory in the module that the remote is; empty for the module itself.
fn below_module(slice: &SyncSlice) -> &[u8] {
    slice.remote.module.as_bytes().split_once_str("/").map_or(&b""[..], |(_, below)| below)
}

/// Whether nobody takes it for anything but itself.
fn is_plain(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"._-+@=,%/".contains(&byte)
}

/// Whether nothing in between can take these names for anything else: no shell, no pattern, no
/// option, no list of paths.
pub(crate) fn are_plain(from: &RelPath, to: &RelPath) -> bool {
    let (from, to) = (from.as_bytes(), to.as_bytes());
    let is_name = |name: &[u8]| !name.starts_with(b"-") && name.iter().copied().all(is_plain);
    let short = from.len().saturating_add(to.len()) <= MAX_NAMES;
    short && [from, to].into_iter().all(|path| !path.is_empty() && path.split_str("/").all(is_name))
}

/// The command that has the remote put all that `from` holds into `to`, as it runs in any directory: for
/// rsync all of it is too many there, and goes where it keeps what it removes (`--backup-dir`), by rename.
/// Directories that hold nothing stay.
pub(crate) fn moved(slice: &SyncSlice, abilities: Abilities, from: &RelPath, to: &RelPath) -> Vec<OsString> {
    let mut words = vec![slice.rsync_program.clone()];
    words.extend(params(slice, Deletions::Travel, abilities).cloned());
    words.extend(
        ["--recursive", "--delete", "--delete-excluded", "--force", "--no-relative"].map(OsString::from),
    );
    words.extend(["--exclude=*", "--backup"].map(OsString::from));
    words.push(if slice.remote.rsync.ssh.is_some() {
        joined("--backup-dir=", &way(from, to))
    } else {
        // A daemon takes `../` off, and its top is that of the module: the remote may be a directory in it.
        joined("--backup-dir=/", OsStr::from_bytes(&[below_module(slice), b"/", to.as_bytes()].concat()))
    });
    // The old directory gets what the new one is like.
    let source = [b"./", to.as_bytes(), b"/"].concat();
    words.extend(addressed(slice, Clock::Ours, OsStr::from_bytes(&source), from));
    words
}

/// The command that sends listed names by themselves, and removes those that are missing here, but for
/// directories that hold something: of these it says so.
pub(crate) fn probing(slice: &SyncSlice, abilities: Abilities) -> Vec<OsString> {
    let mut words = argv(slice, Errand::Send(Form::Shallow, Deletions::Held), abilities);
    // With --force it would remove what they hold.
    words.retain(|word| word != "--force");
    if let Some(word) = words.iter_mut().find(|word| *word == "--ignore-missing-args") {
        *word = MISSING_ARGS.into();
    }
    words
}

/// What that command says of a directory that was to be removed and holds something.
pub(crate) fn holds_something(line: &[u8]) -> Option<&[u8]> {
    line.strip_prefix(b"cannot delete non-empty directory: ")
}

/// What to tell, and how to compare.
pub(super) fn compared(slice: &SyncSlice, abilities: Abilities) -> impl Iterator<Item = OsString> {
    let told = slice.debug && !sets(&slice.remote.rsync.params, "--out-format", None);
    let by = if abilities.nanoseconds.is_there() { NANOSECONDS } else { "--checksum" };
    told.then_some("--out-format=%i %n%L").into_iter().chain([by]).map(OsString::from)
}

/// The way from the directory `top` to `path`.
pub(super) fn way(top: &RelPath, path: &RelPath) -> OsString {
    let depth = if top.is_root() { 0 } else { top.ancestors().count().saturating_add(1) };
    let mut way = OsString::from("../".repeat(depth));
    way.push(OsStr::from_bytes(path.as_bytes()));
    way
}

/// The end of a command that brings `source` into the remote's directory `place`.
pub(super) fn addressed(
    slice: &SyncSlice,
    clock: Clock,
    source: impl Into<OsString>,
    place: &RelPath,
) -> Vec<OsString> {
    let mut words: Vec<OsString> = Vec::new();
    words.extend(slice.remote.rsync.bwlimit.map(|rate| format!("--bwlimit={rate}").into()));
    words.extend(connection::words(slice, clock));
    let mut destination = connection::destination(slice);
    if !place.is_root() {
        destination.push(OsStr::from_bytes(place.as_bytes()));
        destination.push("/");
    }
    words.extend(["--".into(), source.into(), destination]);
    words
}

/// A long option without its value.
fn name_of(word: &OsStr) -> &str {
    std::str::from_utf8(word.as_bytes().split(|&byte| byte == b'=').next().unwrap_or_default())
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::argv::shown;
    use crate::argv::tests::slice;

    fn path(text: &str) -> RelPath {
        RelPath::new(text).unwrap()
    }

    #[test]
    fn the_command() {
        let words = moved(&slice(&["-artz"]), Abilities::default(), &path("a/old"), &path("p/q/new"));
        insta::assert_snapshot!(shown(&words), @"/usr/bin/rsync -artz --recursive --delete --delete-excluded --force --no-relative '--exclude=*' --backup --backup-dir=//p/q/new --sockopts=TCP_NODELAY --contimeout=10 --no-motd -- ./p/q/new/ 10.0.0.2::web/a/old/");
        insta::assert_snapshot!(shown(&probing(&slice(&["-artz"]), Abilities::default())), @"/usr/bin/rsync -artz --no-recursive --delete-missing-args --files-from=- --from0 --relative --implied-dirs --modify-window=-1 --sockopts=TCP_NODELAY --contimeout=10 --no-motd -- ./ 10.0.0.2::web/");
    }

    #[test]
    fn options_that_moves_do_not_get_on_with() {
        for (params, goes) in [
            (&["-artz"][..], true),
            (&["-aAXz", "--bwlimit=9", "--delete", "--chmod=D755"], true),
            (&["-rlt"], true),
            // Times are not kept: nothing would be the same.
            (&["-rl"], false),
            (&["-artuz"], false),
            (&["-a", "--update"], false),
            (&["-aH"], false),
            (&["-a", "--inplace"], false),
            (&["-a", "--append-verify"], false),
            (&["-a", "--exclude=/x"], false),
            (&["-a", "-f", "- x"], false),
            (&["-a", "--temp-dir=t"], false),
            (&["-aT/t"], false),
            (&["-ab"], false),
            (&["-a", "--backup"], false),
            (&["-a", "--max-delete=3"], false),
            (&["-a", "--size-only"], false),
            (&["-a", "--modify-window=2"], false),
            (&["-a@2"], false),
            (&["-aI"], false),
            (&["-aK"], false),
            (&["-a", "--existing"], false),
            (&["-a", "--link-dest=/x"], false),
            (&["-a", "--iconv=utf8,latin1"], false),
            (&["-a", "--timeout", "5"], false),
        ] {
            assert_eq!(may_move(&slice(params)), goes, "{params:?}");
        }
    }

    #[test]
    fn remotes_whose_directory_is_not_clear() {
        for (module, goes) in
            [("m", true), ("m/a/b.c", true), ("m/../a", false), ("m/a b", false), ("m/$a", false)]
        {
            let mut slice = slice(&["-a"]);
            slice.remote.module = module.into();
            assert_eq!(may_move(&slice), goes, "{module}");
        }
    }

    #[test]
    fn the_first_run_removes_nothing_that_a_directory_holds() {
        let words = probing(&slice(&["-a", "--delete", "--force", "--delete-during"]), Abilities::default());
        assert!(words.iter().any(|word| word == "--delete-missing-args"));
        for word in ["--delete", "--force", "--delete-during", "--ignore-missing-args", "--recursive"] {
            assert!(!words.iter().any(|it| it == word), "{word}");
        }
        assert_eq!(holds_something(b"cannot delete non-empty directory: a/b c"), Some(&b"a/b c"[..]));
        assert_eq!(holds_something(b"deleting a/b"), None);
    }

    #[test]
    fn names_that_could_be_taken_for_something_else() {
        for (name, plain) in [
            ("a/b.c-d_e+f@g=h,i%j", true),
            ("-a", false),
            ("a/-b", false),
            ("a b", false),
            ("a*", false),
            ("a:b", false),
            ("$a", false),
            ("~a", false),
            ("a\\b", false),
            ("a\nb", false),
            ("\u{e4}", false),
            ("", false),
        ] {
            assert_eq!(are_plain(&path(name), &path("x")), plain, "{name:?}");
            assert_eq!(are_plain(&path("x"), &path(name)), plain, "{name:?}");
        }
        assert!(!are_plain(&path(&"n".repeat(1000)), &path(&"m".repeat(1000))));
    }
}
