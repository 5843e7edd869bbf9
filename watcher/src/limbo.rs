//! Directories between two names: the kernel tells of a rename in two events, the first when
//! the old name goes, the second, if the new name is in this tree, when it comes.
//!
//! Pure. Nothing waits here for longer than [`PATIENCE`].

use std::collections::{HashMap, VecDeque};
use std::time::{Duration, Instant};

use crate::tree::NodeId;

/// How long the second event may be late. The kernel queues both in one call.
pub(crate) const PATIENCE: Duration = Duration::from_millis(50);

/// Directories between two names.
#[derive(Default)]
pub(crate) struct Limbo {
    by_cookie: HashMap<u32, NodeId>,
    /// In the order of their deadlines.
    deadlines: VecDeque<(Instant, u32)>,
}

impl Limbo {
    /// `node` lost its name in the rename `cookie`. Returns another that did: one directory
    /// that was known under two names.
    #[must_use]
    pub(crate) fn put(&mut self, cookie: u32, node: NodeId, now: Instant) -> Option<NodeId> {
        self.deadlines.push_back((now + PATIENCE, cookie));
        self.by_cookie.insert(cookie, node)
    }

    /// The directory that the rename `cookie` gives its new name.
    pub(crate) fn take(&mut self, cookie: u32) -> Option<NodeId> {
        self.by_cookie.remove(&cookie)
    }

    /// The next directory whose new name did not come in time.
    pub(crate) fn expired(&mut self, now: Instant) -> Option<NodeId> {
        while let Some((_, cookie)) = self.deadlines.pop_front_if(|(deadline, _)| *deadline <= now) {
            if let Some(node) = self.by_cookie.remove(&cookie) {
                return Some(node);
            }
        }
        None
    }

    /// When to ask next.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.deadlines.front().map(|&(deadline, _)| deadline)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::Tree;

    #[test]
    fn what_is_not_taken_in_time_expires() {
        let (mut limbo, mut tree, now) = (Limbo::default(), Tree::new(), Instant::now());
        let [a, b] = [b"a", b"b"].map(|name| tree.ensure(tree.root(), name).unwrap());
        assert_eq!(limbo.put(1, b, now), None);
        assert_eq!(limbo.put(1, a, now), Some(b));
        assert_eq!(limbo.put(2, b, now), None);
        assert_eq!(limbo.take(2), Some(b));
        assert_eq!(limbo.take(2), None);
        assert_eq!(limbo.expired(now), None);
        assert_eq!(limbo.deadline(), Some(now + PATIENCE));
        assert_eq!(limbo.expired(now + PATIENCE), Some(a));
        assert_eq!(limbo.expired(now + PATIENCE), None);
        assert_eq!(limbo.deadline(), None);
    }
}
