//! What of a backlog is kept on disk: which paths are to be told, and what is at them. Whether the
//! disk holds a path stands beside the path while it waits, and in [`Kept`] while it does not.

use std::time::Duration;

use common::keep::Pending;
use common::path::RelPath;

use super::{Backlog, Entry};
use crate::core::kept::Kept;

impl Backlog {
    /// What waits here is kept on disk from now on. `epoch` is the supervisor's start.
    pub fn keep(&mut self, epoch: u64) {
        self.epoch = epoch;
        self.kept = Some(Kept::default());
    }

    /// What is at `path` for the disk may be another than was told.
    pub fn touch(&mut self, path: &RelPath) {
        if let Some(kept) = &mut self.kept {
            kept.touch(path);
        }
    }

    /// A path was dealt with; unless it waits again, nothing is left of it.
    pub fn settled(&mut self, path: &RelPath) {
        let waits = self.store.get(path.as_bytes()).is_some();
        match &mut self.kept {
            Some(kept) if waits => kept.touch(path),
            Some(kept) => kept.gone(path),
            None => {}
        }
    }

    /// The disk holds this path.
    pub fn is_saved_at(&mut self, path: RelPath) {
        match (self.store.find(path.as_bytes()), &mut self.kept) {
            (Some(number), Some(_)) => self.store.is_saved(number),
            (None, Some(kept)) => kept.is_saved_at(path),
            (_, None) => {}
        }
    }

    /// Nothing is known of what the disk holds.
    pub fn forget_saved(&mut self) {
        if let Some(kept) = &mut self.kept {
            kept.forget();
            self.store.forget_all_saved();
        }
    }

    /// True when the disk knows all.
    pub fn is_told(&self) -> bool {
        self.kept.as_ref().is_none_or(Kept::is_told)
    }

    /// The disk is to be told all again.
    pub fn tell_again(&mut self) {
        if let Some(kept) = &mut self.kept {
            kept.touch_all(self.store.iter().map(|(path, _)| path));
        }
    }

    /// Tells what has changed, `most` paths of it at most; `look` makes of a path and what waits there
    /// what is told. How many were looked at.
    pub fn tell<T>(
        &mut self,
        most: usize,
        look: impl Fn(&RelPath, Option<&Entry>) -> Option<T>,
        mut tell: impl FnMut(RelPath, Option<T>),
    ) -> usize {
        let (Some(kept), store) = (&mut self.kept, &mut self.store) else { return 0 };
        let mut count = 0_usize;
        while count < most
            && let Some(path) = kept.next_touched()
        {
            count = count.saturating_add(1);
            let number = store.find(path.as_bytes());
            let waiting = number.and_then(|number| store.at(number)).map(|(_, entry)| entry);
            match (look(&path, waiting), number) {
                (Some(now), Some(number)) => {
                    store.is_saved(number);
                    tell(path, Some(now));
                }
                (Some(now), None) => {
                    kept.is_saved_at(path.clone());
                    tell(path, Some(now));
                }
                (None, number) => {
                    let saved = match number {
                        Some(number) => store.forget_saved(number),
                        None => kept.was_saved_at(&path),
                    };
                    if saved {
                        tell(path, None);
                    }
                }
            }
        }
        count
    }

    /// A path that waited when the last run ended.
    pub fn restore(&mut self, now: Duration, path: &RelPath, pending: &Pending) {
        self.is_saved_at(path.clone());
        let Pending { dirt, since: at, attempts, .. } = *pending;
        let entry = match self.store.get(path.as_bytes()) {
            Some(&newer) => Entry { dirt: dirt.then(newer.dirt), at, ..newer },
            None => Entry { dirt, mask: 0, ready: now, at, attempts, sequence: 0, heavy: false },
        };
        self.link(path, entry);
    }
}
