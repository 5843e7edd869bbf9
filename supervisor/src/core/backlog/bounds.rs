//! The bounds of what is remembered, and what takes the place of what is beyond: a directory that
//! is sent as a whole, while removals wait on. Only where those are too many too it is made equal as a
//! whole: that also removes what only the remote has there, which single changes never do.

use std::collections::HashMap;
use std::time::Duration;

use common::event::{Change, Dirt};
use common::message::Deletions;
use common::path::RelPath;

use super::{Backlog, Traffic, absorbs};

/// Most paths that wait for one remote, see [`weight`].
pub const MAX_PATHS: usize = 250_000;
/// Most paths that wait for all remotes together.
pub const MAX_ALL: usize = 500_000;
/// Up to so many bytes a path counts for one.
pub(super) const COMMON: usize = 128;

/// Levels below the root at which such a directory is looked for: each costs a look at all paths, and
/// a path may have two thousand.
pub(super) const LEVELS: usize = 16;

/// What had to be given up to stay within bounds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Collapsed {
    /// A directory that is sent, or made equal, and how many waiting paths it now stands for.
    Into(RelPath, Deletions, usize),
    /// No directory but the root holds enough: the whole tree has to be synced. Where that may delete
    /// nothing, the removals still wait.
    Whole(Deletions),
}

impl Backlog {
    /// For how many paths of common length they count.
    pub fn weight(&self) -> usize {
        self.store.weight()
    }

    /// Keeps the bound of `limit`, in paths of common length. To be called after each insertion of many.
    pub fn collapse(&mut self, now: Duration, limit: usize) -> Option<Collapsed> {
        if self.store.weight() <= limit {
            return None;
        }
        let removals = self.store.iter().filter(|(_, entry)| !absorbs(Dirt::Sweep, entry.dirt));
        let removals = removals.map(|(path, _)| weight(path)).fold(0, usize::saturating_add);
        // Only where the removals themselves are too many does what only the remote has go with them.
        let dirt = if removals > limit / 2 { Dirt::Deep } else { Dirt::Sweep };
        let deletions = if dirt == Dirt::Deep { Deletions::Travel } else { Deletions::Held };
        let before = self.len().saturating_add(1);
        let Some(directory) = self.heaviest(limit, dirt) else {
            self.drain_if(|entry| absorbs(dirt, entry.dirt));
            return Some(Collapsed::Whole(deletions));
        };
        self.take_in(now, &Change { path: directory.clone(), dirt, mask: 0 }, Traffic::OneWay);
        Some(Collapsed::Into(directory, deletions, before.saturating_sub(self.len())))
    }

    /// The deepest directory that holds a good part of what a change of this kind stands for.
    fn heaviest(&self, limit: usize, dirt: Dirt) -> Option<RelPath> {
        let enough = (limit / 16).max(2);
        let paths = || self.store.iter().filter(|(_, entry)| absorbs(dirt, entry.dirt)).map(|(path, _)| path);
        let deepest = paths().map(|path| path.ancestors().take(LEVELS).count()).max().unwrap_or(0);
        for depth in (1..=deepest).rev() {
            let mut weights: HashMap<&[u8], usize> = HashMap::new();
            for path in paths() {
                if let Some(directory) = path.ancestors().nth(depth.saturating_sub(1)) {
                    let sum = weights.entry(directory).or_default();
                    *sum = sum.saturating_add(weight(path));
                }
            }
            let best =
                weights.into_iter().max_by_key(|&(directory, sum)| (sum, std::cmp::Reverse(directory)));
            if let Some((directory, sum)) = best
                && let Ok(directory) = RelPath::new(directory)
                && sum >= enough.saturating_add(weight(&directory))
            {
                return Some(directory);
            }
        }
        None
    }
}

/// For how many a path counts: a long one for several.
pub(super) fn weight(path: &RelPath) -> usize {
    path.as_bytes().len().saturating_div(COMMON).saturating_add(1)
}
