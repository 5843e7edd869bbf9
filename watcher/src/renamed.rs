//! Directories and larger files that are reported under both of their names: the supervisor is told
//! which new name is which old one, so that what they hold need not travel.

use std::collections::VecDeque;

use common::filter::EntryKind;
use common::message::WORTH_MOVING;
use common::path::RelPath;
use nix::sys::stat::{FileStat, SFlag};

use crate::live::Live;
use crate::outbox::Outbox;
use crate::translate::{Meaning, Step, bits};

/// Most renames that are remembered between their two events, which the kernel queues together.
const MAX_RENAMES: usize = 64;

/// Most names that are remembered until the kernel's queue is empty. Past that no rename is told.
const MAX_NAMES: usize = 256;

/// Renames of directories and files.
#[derive(Default)]
pub(crate) struct Renamed {
    /// Those of which only the first event has come.
    begun: VecDeque<(u32, RelPath)>,
    /// Names that came or went since the kernel's queue was empty, where it merges.
    names: Vec<RelPath>,
}

impl Renamed {
    /// Something lost this name in the rename `cookie`.
    fn left(&mut self, cookie: u32, path: RelPath) {
        if self.begun.len() >= MAX_RENAMES {
            self.begun.pop_front();
        }
        self.begun.push_back((cookie, path));
    }

    /// What it was called that got its name in the rename `cookie`.
    fn came(&mut self, cookie: u32) -> Option<RelPath> {
        let at = self.begun.iter().position(|(begun, _)| *begun == cookie)?;
        self.begun.remove(at).map(|(_, path)| path)
    }

    /// Whether this is the first rename since the queue was empty that these names are in. Where the
    /// kernel merges, a later one may be told with an earlier, and then something else has the name.
    fn is_first(&mut self, from: &RelPath, to: &RelPath) -> bool {
        let known = self.names.contains(from) || self.names.contains(to);
        let room = self.names.len() < MAX_NAMES;
        if room {
            self.names.extend([from.clone(), to.clone()]);
        }
        room && !known
    }

    /// The kernel's queue is empty: nothing is merged with what was in it.
    pub(crate) fn drained(&mut self) {
        self.names.clear();
    }
}

impl Live {
    /// An event may be half of a rename. Under a filter no directory is sent as a whole, and so
    /// it says nothing of those; nor of files whose rename costs as much as what they hold.
    pub(crate) fn note_rename(
        &mut self,
        path: &RelPath,
        meaning: Meaning,
        (mask, cookie): (u32, u32),
        out: &mut Outbox,
    ) {
        let kind = if mask & bits::ISDIR == 0 { EntryKind::File } else { EntryKind::Directory };
        if kind == EntryKind::Directory && !self.rules.filter.is_empty() {
            return;
        }
        if mask & bits::MOVED_FROM != 0 && meaning.dirt.is_some() {
            self.renamed.left(cookie, path.clone());
        } else if mask & bits::MOVED_TO != 0
            && let Some(from) = self.renamed.came(cookie)
            && match kind {
                // By links, and so no other one may be taken for it.
                EntryKind::Directory => {
                    meaning.step == Step::Arrived
                        && (!self.kernel.merges() || self.renamed.is_first(&from, path))
                }
                EntryKind::File => meaning.dirt.is_some() && self.is_worth_it(path),
            }
        {
            out.moved(self.id, kind, from, path.clone());
        }
    }

    fn is_worth_it(&mut self, path: &RelPath) -> bool {
        let found = self.looks.event(&self.path, self.root, path);
        let is_file =
            |stat: &FileStat| SFlag::from_bits_truncate(stat.st_mode) & SFlag::S_IFMT == SFlag::S_IFREG;
        let size = found.filter(is_file).and_then(|stat| u64::try_from(stat.st_size).ok());
        size.is_some_and(|size| size >= WORTH_MOVING)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounded_and_told_once() {
        let mut renames = Renamed::default();
        for cookie in 0..1000 {
            renames.left(cookie, RelPath::new(format!("d{cookie}")).unwrap());
        }
        assert_eq!(renames.begun.len(), MAX_RENAMES);
        assert_eq!(renames.came(999), Some(RelPath::new("d999").unwrap()));
        assert_eq!((renames.came(999), renames.came(1)), (None, None));
    }
    #[test]
    fn names_that_come_and_go_at_once_are_not_told() {
        let [a, b, c] = ["a", "b", "c"].map(|name| RelPath::new(name).unwrap());
        let mut renames = Renamed::default();
        assert!(renames.is_first(&a, &b));
        assert!(!renames.is_first(&b, &c));
        assert!(!renames.is_first(&c, &a));
        renames.drained();
        assert!(renames.is_first(&a, &b));
        for number in 0..1000 {
            let [from, to] = ["from", "to"].map(|name| RelPath::new(format!("{name}{number}")).unwrap());
            assert_eq!(renames.is_first(&from, &to), number < (MAX_NAMES - 2) / 2, "{number}");
        }
        assert_eq!(renames.names.len(), MAX_NAMES);
    }
}
