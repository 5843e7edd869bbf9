//! Which keys of a set differ from what the disk holds: those touched since it was last told, and
//! those that it holds. Pure book-keeping; what is at a key is its owner's business.

use std::collections::BTreeSet;

use common::path::RelPath;

/// The keys of one set.
#[derive(Debug, Default)]
pub struct Kept {
    touched: BTreeSet<RelPath>,
    saved: BTreeSet<RelPath>,
    /// There is nobody to tell, and whoever comes is told all: nothing is noted until then.
    away: bool,
}

impl Kept {
    /// What is at `path` may be another than was told.
    pub fn touch(&mut self, path: &RelPath) {
        if !self.away {
            self.touched.insert(path.clone());
        }
    }

    /// Nothing is at `path` any more. What the disk never held need not be told: else a disk that stalls
    /// would make us remember each path that came and went meanwhile.
    pub fn gone(&mut self, path: &RelPath) {
        if self.saved.contains(path) {
            self.touch(path);
        } else {
            self.touched.remove(path);
        }
    }

    /// The disk holds something at `path`.
    pub fn is_saved_at(&mut self, path: RelPath) {
        self.saved.insert(path);
    }

    /// Nothing is known of what the disk holds but what [`Kept::is_saved_at`] says from now on, and
    /// nothing is noted before [`Kept::touch_all`].
    pub fn forget(&mut self) {
        self.saved.clear();
        self.touched.clear();
        self.away = true;
    }

    /// True when there is nothing to tell.
    pub fn is_told(&self) -> bool {
        self.touched.is_empty()
    }

    /// What has to be told, `most` keys of it at most, with what is at each now as `look` says;
    /// afterwards the disk is taken to hold that. A key that came and went in between is not spoken of.
    /// How many were looked at.
    pub fn tell<T>(
        &mut self,
        most: usize,
        look: impl Fn(&RelPath) -> Option<T>,
        mut tell: impl FnMut(RelPath, Option<T>),
    ) -> usize {
        let mut count = 0_usize;
        while count < most
            && let Some(path) = self.next_touched()
        {
            count = count.saturating_add(1);
            match look(&path) {
                Some(now) => {
                    self.saved.insert(path.clone());
                    tell(path, Some(now));
                }
                None if self.was_saved_at(&path) => tell(path, None),
                None => {}
            }
        }
        count
    }

    /// A key that has to be told; it counts as told now.
    pub fn next_touched(&mut self) -> Option<RelPath> {
        self.touched.pop_first()
    }

    /// Whether the disk holds something at `path`; from now on somebody else remembers.
    pub fn was_saved_at(&mut self, path: &RelPath) -> bool {
        self.saved.remove(path)
    }

    /// The disk is to be told everything again: all that it holds, and all of `now`.
    pub fn touch_all<'a>(&mut self, now: impl Iterator<Item = &'a RelPath>) {
        self.away = false;
        self.touched.extend(self.saved.iter().cloned());
        self.touched.extend(now.cloned());
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Whatever happens in between, the disk holds what there is once it was told.
        #[test]
        fn the_disk_follows(steps in proptest::collection::vec((0..5_u8, 0..6_u8, 0..3_u8), 0..60)) {
            let path = |n: u8| RelPath::new(format!("f{n}")).unwrap();
            let (mut kept, mut there, mut disk) = (Kept::default(), BTreeMap::new(), BTreeMap::new());
            let mut tell = |kept: &mut Kept, there: &BTreeMap<RelPath, u8>| {
                if kept.away {
                    for path in disk.keys() {
                        kept.is_saved_at(RelPath::clone(path));
                    }
                    kept.touch_all(there.keys());
                }
                kept.tell(usize::MAX, |path| there.get(path).copied(), |path, value| match value {
                    Some(value) => drop(disk.insert(path, value)),
                    None => assert!(disk.remove(&path).is_some(), "a key that the disk does not hold"),
                });
                assert_eq!(&disk, there);
                assert!(kept.is_told());
            };
            for (what, n, value) in steps {
                match what {
                    0 => drop(there.insert(path(n), value)),
                    1 if value == 0 => {
                        there.remove(&path(n));
                        kept.gone(&path(n));
                        continue;
                    }
                    1 => drop(there.remove(&path(n))),
                    2 => {
                        tell(&mut kept, &there);
                        continue;
                    }
                    3 => {
                        kept.forget();
                        continue;
                    }
                    _ if kept.away => continue,
                    _ => {
                        kept.touch_all(there.keys());
                        continue;
                    }
                }
                kept.touch(&path(n));
            }
            tell(&mut kept, &there);
        }
    }

    /// It grew by every path that changed, for as long as no keeper could be had.
    #[test]
    fn without_a_keeper_nothing_piles_up() {
        let mut kept = Kept::default();
        kept.forget();
        for n in 0..1000 {
            kept.touch(&RelPath::new(format!("f{n}")).unwrap());
        }
        assert!(kept.touched.is_empty());
    }
}
