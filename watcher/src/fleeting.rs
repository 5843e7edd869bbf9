//! Names that went before anybody could look at what was written through them: each may have been
//! one more name of a file that is still there under another, of which no event speaks.
//!
//! Pure. The kernel says of a hard link what it says of a new file, and nothing to the directories
//! of the file's other names. What cannot be ruled out is doubted, and the tree is compared with the
//! index for it; not often, since what lives this short is mostly just a temporary file.

use std::time::{Duration, Instant};

use common::path::RelPath;
use hashbrown::HashMap;

use crate::links::Inode;

/// Most names that are kept in mind; beyond, there is doubt.
const MAX_NAMES: usize = 20_000;
/// Least time from one comparison to the next,
const PAUSE: Duration = Duration::from_secs(2);
/// and how many times as long as the last one took.
const SHARE: u32 = 20;

/// What stood at a name when it was looked at, after it was changed.
type Look = Option<Inode>;

/// Changes whose names were not proved, since the kernel's queue was empty last.
#[derive(Default)]
pub(crate) struct Fleeting {
    changed: HashMap<RelPath, Look>,
    /// Between two names, by the cookie of the rename.
    moving: HashMap<u32, Look>,
    doubt: bool,
    /// Somebody waits for the answer.
    hurried: bool,
    compared_at: Option<Instant>,
    not_before: Option<Instant>,
}

impl Fleeting {
    /// A file was changed through `path`, where `look` was found then.
    pub(crate) fn changed(&mut self, path: &RelPath, look: Look) {
        if self.changed.len() >= MAX_NAMES || self.moving.len() >= MAX_NAMES {
            self.doubt_all();
        }
        self.changed.insert(path.clone(), look);
    }

    /// The file at `path` was removed, or renamed with this cookie.
    pub(crate) fn left(&mut self, path: &RelPath, cookie: u32) {
        match self.changed.remove(path) {
            Some(look) if cookie != 0 => drop(self.moving.insert(cookie, look)),
            // What was found is what was removed: whatever took its place would have come later.
            Some(look) => self.doubt |= look.is_none(),
            None => {}
        }
    }

    /// A file came to `path`, where `look` was found then.
    pub(crate) fn came(&mut self, path: &RelPath, cookie: u32, look: Look) {
        if let Some(before) = self.changed.remove(path) {
            // What was found before may have been this one already.
            self.doubt |= before.is_none() || before == look;
        }
        if let Some(before) = self.moving.remove(&cookie) {
            let proved = before.is_none() || before == look;
            self.changed(path, look.filter(|_| proved));
        }
    }

    /// A directory was renamed: what was found below it may be something else.
    pub(crate) fn paths_changed(&mut self) {
        if !self.changed.is_empty() || !self.moving.is_empty() {
            self.doubt_all();
        }
    }

    /// The kernel's queue is empty: all that was found and is not spoken of any more is proved.
    pub(crate) fn drained(&mut self) {
        self.doubt |= self.changed.values().chain(self.moving.values()).any(Option::is_none);
        self.forget();
        self.hurried &= self.doubt;
    }

    /// Somebody waits until all that happened before now was reported.
    pub(crate) fn hurry(&mut self) {
        self.hurried = true;
    }

    /// True when somebody waits, and it is not known whether all was reported.
    pub(crate) fn is_hurried(&self) -> bool {
        self.hurried && self.doubt
    }

    /// When a comparison is due; `None` without doubt.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        let at = self.not_before.filter(|_| !self.hurried).unwrap_or_else(Instant::now);
        self.doubt.then_some(at)
    }

    /// All of the tree is compared from now on, for whatever reason.
    pub(crate) fn comparing(&mut self, now: Instant) {
        (self.doubt, self.hurried) = (false, false);
        self.compared_at = Some(now);
    }

    /// It is over.
    pub(crate) fn compared(&mut self, now: Instant) {
        if let Some(since) = self.compared_at.take() {
            self.not_before = Some(now + (now.saturating_duration_since(since) * SHARE).max(PAUSE));
        }
    }

    fn doubt_all(&mut self) {
        self.doubt = true;
        self.forget();
    }

    fn forget(&mut self) {
        self.changed.clear();
        self.moving.clear();
        // Whatever a burst needed is given back.
        self.changed.shrink_to(1024);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What happens to the files `a` and `b`; `None` for a look that finds nothing.
    enum Event {
        Changed(&'static str, Option<u64>),
        Removed(&'static str),
        Left(&'static str),
        Came(&'static str, Option<u64>),
        Arrived(&'static str, Option<u64>),
        Directory,
    }

    fn doubts(events: &[Event]) -> bool {
        let mut fleeting = Fleeting::default();
        let path = |name: &str| RelPath::new(name).unwrap();
        let look = |found: &Option<u64>| found.map(|inode| Inode(1, inode));
        for event in events {
            match event {
                Event::Changed(name, found) => fleeting.changed(&path(name), look(found)),
                Event::Removed(name) => fleeting.left(&path(name), 0),
                Event::Left(name) => fleeting.left(&path(name), 7),
                Event::Came(name, found) => fleeting.came(&path(name), 0, look(found)),
                Event::Arrived(name, found) => fleeting.came(&path(name), 7, look(found)),
                Event::Directory => fleeting.paths_changed(),
            }
        }
        fleeting.drained();
        fleeting.deadline().is_some()
    }

    #[test]
    fn what_is_doubted() {
        use Event::{Arrived, Came, Changed, Directory, Left, Removed};
        for (doubt, events) in [
            // An ordinary file, also one that is removed later.
            (false, &[Came("a", Some(1)), Changed("a", Some(1))][..]),
            (false, &[Came("a", Some(1)), Changed("a", Some(1)), Removed("a")]),
            // Gone before the look.
            (true, &[Came("a", None), Changed("a", None), Removed("a")]),
            (true, &[Changed("a", None)]),
            (false, &[Came("a", None), Removed("a")]),
            // Saved under another name, as editors do, with the look before and behind the rename.
            (false, &[Changed("b", Some(1)), Left("b"), Arrived("a", Some(1))]),
            (false, &[Changed("b", None), Left("b"), Arrived("a", Some(1))]),
            (true, &[Changed("b", None), Left("b"), Arrived("a", None)]),
            (true, &[Changed("b", Some(2)), Left("b"), Arrived("a", Some(1))]),
            (true, &[Changed("b", None), Left("b")]),
            (false, &[Changed("b", Some(1)), Left("b")]),
            // Another takes its place: what was found was the first one, or it was not.
            (false, &[Changed("a", Some(1)), Came("a", Some(2))]),
            (true, &[Changed("a", Some(2)), Came("a", Some(2))]),
            (true, &[Changed("a", None), Came("a", Some(2))]),
            (true, &[Changed("a", Some(1)), Directory]),
            (false, &[Directory, Changed("a", Some(1))]),
        ] {
            assert_eq!(doubts(events), doubt);
        }
    }

    #[test]
    fn comparisons_are_rare() {
        let (mut fleeting, start) = (Fleeting::default(), Instant::now());
        let doubt = |fleeting: &mut Fleeting| {
            fleeting.changed(&RelPath::new("a").unwrap(), None);
            fleeting.drained();
        };
        doubt(&mut fleeting);
        assert!(fleeting.deadline().unwrap() <= Instant::now());
        fleeting.comparing(start);
        assert_eq!(fleeting.deadline(), None);
        fleeting.compared(start + Duration::from_secs(3));
        doubt(&mut fleeting);
        assert_eq!(fleeting.deadline(), Some(start + Duration::from_mins(1) + Duration::from_secs(3)));
        assert!(!fleeting.is_hurried());
        fleeting.hurry();
        assert!(fleeting.is_hurried() && fleeting.deadline().unwrap() <= Instant::now());
        // Who hurries when all is proved does not hurry what comes later.
        fleeting.comparing(start);
        fleeting.hurry();
        fleeting.drained();
        doubt(&mut fleeting);
        assert!(!fleeting.is_hurried());
    }

    #[test]
    fn too_many_names() {
        let mut fleeting = Fleeting::default();
        for number in 0..=MAX_NAMES {
            fleeting.changed(&RelPath::new(format!("{number}")).unwrap(), Some(Inode(1, 1)));
        }
        fleeting.drained();
        assert!(fleeting.deadline().is_some());
    }
}
