//! The commands that make a file on the remote out of one that is still there under its old name:
//! by looking around in its own directory, or in another that is named.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;

use common::message::{Deletions, SyncSlice};
use common::path::RelPath;

use super::connection::Clock;
use super::moved::{addressed, compared, way};
use super::{joined, params};
use crate::abilities::Abilities;

/// Whether both names are in one directory.
pub(crate) fn are_neighbours(from: &RelPath, to: &RelPath) -> bool {
    from.parent() == to.parent()
}

/// Lets rsync look in the directory of a file that is missing there for one of its size and time.
pub(crate) fn look_around(words: &mut Vec<OsString>) {
    words.insert(words.len().min(1), "--fuzzy".into());
}

/// Whether the remote has to look around in another directory.
pub(crate) fn is_far(from: &RelPath, to: &RelPath) -> bool {
    !are_neighbours(from, to) && from.name() != to.name()
}

/// The command for a file that was in another directory, as it runs in the one where it is now.
pub(crate) fn copied(slice: &SyncSlice, abilities: Abilities, from: &RelPath, to: &RelPath) -> Vec<OsString> {
    let place = to.parent().unwrap_or_else(RelPath::root);
    let mut words = vec![slice.rsync_program.clone()];
    words.extend(params(slice, Deletions::Held, abilities).cloned());
    // Where size and time are the same, rsync would take the file there for this one without looking.
    words.extend(["--no-recursive", "--no-relative", "--ignore-times"].map(OsString::from));
    if is_far(from, to) {
        words.extend(["--fuzzy", "--fuzzy"].map(OsString::from));
    }
    words.extend(compared(slice, abilities));
    words.push(joined("--copy-dest=", &way(&place, &from.parent().unwrap_or_else(RelPath::root))));
    words.extend(addressed(slice, Clock::Rsyncs, joined("./", OsStr::from_bytes(to.name())), &place));
    words
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
    fn the_commands() {
        let (slice, all) = (slice(&["-artz", "--delete"]), Abilities::default());
        let words = copied(&slice, all, &path("a/old"), &path("p/q/new"));
        insta::assert_snapshot!(shown(&words), @"/usr/bin/rsync -artz --no-recursive --no-relative --ignore-times --fuzzy --fuzzy --modify-window=-1 --copy-dest=../../a --sockopts=TCP_NODELAY --contimeout=10 --timeout=60 --no-motd -- ./new 10.0.0.2::web/p/q/");
        let words = copied(&slice, all, &path("a/old"), &path("old"));
        insta::assert_snapshot!(shown(&words), @"/usr/bin/rsync -artz --no-recursive --no-relative --ignore-times --modify-window=-1 --copy-dest=a --sockopts=TCP_NODELAY --contimeout=10 --timeout=60 --no-motd -- ./old 10.0.0.2::web/");
        let words = copied(&slice, all, &path("old"), &path("p/new"));
        insta::assert_snapshot!(shown(&words), @"/usr/bin/rsync -artz --no-recursive --no-relative --ignore-times --fuzzy --fuzzy --modify-window=-1 --copy-dest=../ --sockopts=TCP_NODELAY --contimeout=10 --timeout=60 --no-motd -- ./new 10.0.0.2::web/p/");
    }
}
