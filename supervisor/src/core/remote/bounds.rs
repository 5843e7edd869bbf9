//! What a remote may make the supervisor remember, and what becomes of what is beyond.

use std::time::Duration;

use super::Remote;
use crate::core::backlog::Collapsed;

impl Remote {
    /// For how many paths of common length it remembers.
    pub fn weight(&self) -> usize {
        [&self.backlog, &self.parked, &self.full.replay]
            .iter()
            .map(|backlog| backlog.weight())
            .fold(0, usize::saturating_add)
    }

    /// Makes what it remembers small, so that there is room for all remotes.
    pub fn shrink(&mut self, now: Duration, limit: usize) -> Vec<Collapsed> {
        self.bound_parked(now, limit);
        self.bound_replay(now, limit);
        std::iter::from_fn(|| self.collapse(now, limit)).collect()
    }

    pub(super) fn collapse(&mut self, now: Duration, limit: usize) -> Option<Collapsed> {
        // To look at all of them takes long.
        if self.backlog.weight() <= limit {
            return None;
        }
        let oldest = self.backlog.oldest();
        let collapsed = self.backlog.collapse(now, limit)?;
        if let Collapsed::Whole(deletions) = collapsed {
            self.want_full(now, deletions);
            self.full.asked = oldest.unwrap_or(now).min(self.full.asked);
        }
        Some(collapsed)
    }

    /// Too much happened during a full sync: another one follows.
    pub(super) fn bound_replay(&mut self, now: Duration, limit: usize) {
        if let Some(Collapsed::Whole(deletions)) = self.full.replay.collapse(now, limit) {
            self.want_full(now, deletions);
        }
    }

    /// Too many removals to remember: the whole tree is compared once the root is back.
    pub(super) fn bound_parked(&mut self, now: Duration, limit: usize) {
        if let Some(Collapsed::Whole(deletions)) = self.parked.collapse(now, limit) {
            self.want_full(now, deletions);
        }
    }
}
