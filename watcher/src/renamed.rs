//! Directories that are reported under both of their names: the supervisor is told which new name
//! is which old one, so that what they hold need not travel.

use std::collections::VecDeque;

use common::event::Dirt;
use common::path::RelPath;

use crate::live::Live;
use crate::outbox::Outbox;
use crate::translate::{Meaning, Step, bits};

/// Most renames that are remembered between their two events, which the kernel queues together.
const MAX_RENAMES: usize = 64;

/// Renames of which only the first event has come.
#[derive(Default)]
pub(crate) struct Renamed(VecDeque<(u32, RelPath)>);

impl Renamed {
    /// A directory lost this name in the rename `cookie`.
    fn left(&mut self, cookie: u32, path: RelPath) {
        if self.0.len() >= MAX_RENAMES {
            self.0.pop_front();
        }
        self.0.push_back((cookie, path));
    }

    /// What the directory was called that got its name in the rename `cookie`.
    fn came(&mut self, cookie: u32) -> Option<RelPath> {
        let at = self.0.iter().position(|(begun, _)| *begun == cookie)?;
        self.0.remove(at).map(|(_, path)| path)
    }
}

impl Live {
    /// An event may be half of a rename. Under a filter no directory is sent as a whole, and so
    /// it says nothing.
    pub(crate) fn note_rename(
        &mut self,
        path: &RelPath,
        meaning: Meaning,
        (mask, cookie): (u32, u32),
        out: &mut Outbox,
    ) {
        if !self.rules.filter.is_empty() {
            return;
        }
        if mask & bits::MOVED_FROM != 0 && meaning.dirt == Some(Dirt::RemovedDir) {
            self.renamed.left(cookie, path.clone());
        } else if meaning.step == Step::Arrived
            && let Some(from) = self.renamed.came(cookie)
        {
            out.moved(self.id, from, path.clone());
        }
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
        assert_eq!(renames.0.len(), MAX_RENAMES);
        assert_eq!(renames.came(999), Some(RelPath::new("d999").unwrap()));
        assert_eq!((renames.came(999), renames.came(1)), (None, None));
    }
}
