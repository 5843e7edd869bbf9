//! The bounds of what is remembered, and what takes the place of what is beyond: a directory that
//! is sent as a whole, while removals wait on. Only where those are too many too it is made equal as a
//! whole: that also removes what only the remote has there, which single changes never do.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::time::Duration;

use common::event::{Change, Dirt};
use common::message::Deletions;
use common::path::RelPath;

use super::{Backlog, Copies, Traffic, absorbs};

/// Most paths that wait for one remote; a long one counts for several.
pub const MAX_PATHS: usize = 250_000;
/// Most paths that wait for all remotes together: ten thousand for each of a hundred, and some, for which
/// 116 MB of the supervisor's memory were measured, with what the disk has to be told.
pub const MAX_ALL: usize = 1_250_000;
/// Up to so many bytes a path counts for one.
pub(super) const COMMON: usize = 128;

/// A directory stands for what waits in it where that is this part of the bound.
const SHARE: usize = 16;
/// Levels below the root at which such a directory is looked for: each costs a look at all paths, and
/// a path may have two thousand.
pub(super) const LEVELS: usize = 16;

/// What had to be given up to stay within bounds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Collapsed {
    /// A directory that is sent, or made equal, the first of perhaps several; and how many waiting paths
    /// they now stand for.
    Into(RelPath, Deletions, usize),
    /// No directory but the root holds enough: the whole tree has to be synced. Where that may delete
    /// nothing, the removals still wait.
    Whole(Deletions),
}

impl Backlog {
    /// The supervisor's start, in milliseconds since 1970; 0 where nothing is kept.
    pub fn epoch(&self) -> u64 {
        self.epoch
    }

    /// For how many paths of common length they count.
    pub fn weight(&self) -> usize {
        self.store.weight()
    }

    /// Keeps the bound of `limit`, in paths of common length. To be called after each insertion of many.
    pub fn collapse(&mut self, now: Duration, limit: usize) -> Option<Collapsed> {
        if self.store.weight() <= limit {
            return None;
        }
        let removals = self.store.iter().filter(|(_, entry)| removes(entry.dirt));
        let removals = removals.map(|(path, _)| weight(path)).fold(0, usize::saturating_add);
        // Only where the removals are too many by themselves does what only the remote has go with them.
        let rest = self.store.weight().saturating_sub(removals);
        let dirt = if rest > limit / SHARE { Dirt::Sweep } else { Dirt::Deep };
        let deletions = if dirt == Dirt::Deep { Deletions::Travel } else { Deletions::Held };
        let (before, directories) = (self.len(), self.heavy(limit, dirt));
        let Some(first) = directories.first().cloned() else {
            self.drain_if(|entry| absorbs(dirt, entry.dirt));
            return Some(Collapsed::Whole(deletions));
        };
        let mut count = 0_usize;
        for path in directories {
            self.take_in(now, &Change { path, dirt, mask: 0 }, Traffic::OneWay, &mut Copies::default());
            count = count.saturating_add(1);
            if self.store.weight() <= limit {
                break;
            }
        }
        Some(Collapsed::Into(first, deletions, before.saturating_add(count).saturating_sub(self.len())))
    }

    /// The deepest directories that each hold a good part of what a change of this kind is to stand for,
    /// those with the most first.
    fn heavy(&self, limit: usize, dirt: Dirt) -> Vec<RelPath> {
        let enough = (limit / SHARE).max(2);
        let counts = |kind: Dirt| if dirt == Dirt::Deep { removes(kind) } else { absorbs(dirt, kind) };
        let paths = || self.store.iter().filter(|(_, entry)| counts(entry.dirt)).map(|(path, _)| path);
        let deepest = paths().map(|path| path.ancestors().take(LEVELS).count()).max().unwrap_or(0);
        for depth in (1..=deepest).rev() {
            let mut weights: HashMap<&[u8], usize> = HashMap::new();
            for path in paths() {
                if let Some(directory) = path.ancestors().nth(depth.saturating_sub(1)) {
                    let sum = weights.entry(directory).or_default();
                    *sum = sum.saturating_add(weight(path));
                }
            }
            let heavy = weights.into_iter().filter_map(|(directory, sum)| {
                let directory = RelPath::new(directory).ok()?;
                (sum >= enough.saturating_add(weight(&directory))).then_some((Reverse(sum), directory))
            });
            let mut heavy: Vec<_> = heavy.collect();
            heavy.sort_unstable();
            if !heavy.is_empty() {
                return heavy.into_iter().map(|(_, directory)| directory).collect();
            }
        }
        Vec::new()
    }
}

/// Whether what waits like this removes something, so that no sweep may stand for it.
fn removes(dirt: Dirt) -> bool {
    !absorbs(Dirt::Sweep, dirt)
}

/// For how many a path counts: a long one for several.
pub(super) fn weight(path: &RelPath) -> usize {
    path.as_bytes().len().saturating_div(COMMON).saturating_add(1)
}
