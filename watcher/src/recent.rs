//! Names of directories that something happened to a moment ago. Pure, and bounded: what is
//! kept here only helps in a race, and is let go when there is too much of it.

use std::collections::{HashSet, VecDeque};
use std::rc::Rc;
use std::time::{Duration, Instant};

use crate::tree::NodeId;

/// Most names that are kept.
const MAX_NAMES: usize = 10_000;

type Name = (NodeId, Rc<[u8]>);

/// Names, each for a while.
pub(crate) struct Recent {
    keep: Duration,
    names: HashSet<Name>,
    /// In the order of their deadlines.
    order: VecDeque<(Instant, Name)>,
}

impl Recent {
    /// Keeps each name for this long.
    pub(crate) fn new(keep: Duration) -> Recent {
        Recent { keep, names: HashSet::new(), order: VecDeque::new() }
    }

    /// It happened to `name` in `parent`.
    pub(crate) fn note(&mut self, parent: NodeId, name: &[u8], now: Instant) {
        self.expire(now);
        if self.order.len() == MAX_NAMES
            && let Some((_, oldest)) = self.order.pop_front()
        {
            self.names.remove(&oldest);
        }
        let name = (parent, Rc::from(name));
        self.order.push_back((now + self.keep, name.clone()));
        self.names.insert(name);
    }

    /// Whether it happened to `name` in `parent` a moment ago; asked once.
    pub(crate) fn take(&mut self, parent: NodeId, name: &[u8], now: Instant) -> bool {
        self.expire(now);
        !self.names.is_empty() && self.names.remove(&(parent, Rc::from(name)))
    }

    fn expire(&mut self, now: Instant) {
        while let Some((_, name)) = self.order.pop_front_if(|(deadline, _)| *deadline <= now) {
            self.names.remove(&name);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::Tree;

    #[test]
    fn a_name_is_kept_for_a_while_and_taken_once() {
        let (root, now, keep) = (Tree::new().root(), Instant::now(), Duration::from_secs(1));
        let mut recent = Recent::new(keep);
        recent.note(root, b"a", now);
        recent.note(root, b"b", now);
        assert!(!recent.take(root, b"c", now));
        assert!(recent.take(root, b"a", now));
        assert!(!recent.take(root, b"a", now));
        assert!(!recent.take(root, b"b", now + keep));
    }

    #[test]
    fn too_many_names() {
        let (root, now) = (Tree::new().root(), Instant::now());
        let mut recent = Recent::new(Duration::from_secs(1));
        for number in 0..=MAX_NAMES {
            recent.note(root, &number.to_ne_bytes(), now);
        }
        assert!(!recent.take(root, &0_usize.to_ne_bytes(), now));
        assert!(recent.take(root, &1_usize.to_ne_bytes(), now));
    }
}
