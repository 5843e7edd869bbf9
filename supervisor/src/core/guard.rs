//! Is the root still the root? A root that is missing, unmounted, replaced or empty must never
//! be mirrored as "everything was deleted".
//!
//! Deletions are held from the moment a root is lost until the same directory (device and
//! inode) is back, or the operator starts anew. What is created in a root that was made anew
//! still travels.

use common::event::RootId;
use common::message::Deletions;

/// What is known of one root.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Guard {
    /// Not seen yet: nothing is transferred.
    #[default]
    Unseen,
    /// There, and the one we started with.
    Present {
        /// Which.
        root: RootId,
    },
    /// Lost: nothing is transferred.
    Lost {
        /// The one we started with, if it was ever there.
        original: Option<RootId>,
    },
    /// Another directory stands in its place: deletions are held.
    Replaced {
        /// The one we started with.
        original: RootId,
        /// The one that is there now.
        root: RootId,
    },
}

/// What a root that is (again) watched means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Seen {
    /// For the first time.
    First,
    /// The same as before; deletions that were held may go.
    Same,
    /// Another one: deletions are held.
    Other,
}

impl Guard {
    /// The watcher watches `root`.
    pub fn seen(&mut self, root: RootId) -> Seen {
        let original = match *self {
            Guard::Unseen | Guard::Lost { original: None } => {
                *self = Guard::Present { root };
                return Seen::First;
            }
            Guard::Present { root: original }
            | Guard::Lost { original: Some(original) }
            | Guard::Replaced { original, .. } => original,
        };
        if original == root {
            *self = Guard::Present { root };
            Seen::Same
        } else {
            *self = Guard::Replaced { original, root };
            Seen::Other
        }
    }

    /// The watcher lost the root.
    pub fn lost(&mut self) {
        let original = match *self {
            Guard::Unseen => None,
            Guard::Present { root } => Some(root),
            Guard::Lost { original } => original,
            Guard::Replaced { original, .. } => Some(original),
        };
        *self = Guard::Lost { original };
    }

    /// True while the root is there, and is the one we started with.
    pub fn is_original(&self) -> bool {
        match *self {
            Guard::Present { .. } => true,
            Guard::Unseen | Guard::Lost { .. } | Guard::Replaced { .. } => false,
        }
    }

    /// The root that jobs may work on, and whether they may delete. `None`: no jobs.
    pub fn permits(&self) -> Option<(RootId, Deletions)> {
        match *self {
            Guard::Unseen | Guard::Lost { .. } => None,
            Guard::Present { root } => Some((root, Deletions::Travel)),
            Guard::Replaced { root, .. } => Some((root, Deletions::Held)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: RootId = RootId { device: 1, inode: 2, born: 0 };
    const B: RootId = RootId { device: 1, inode: 3, born: 0 };

    #[test]
    fn a_life_of_losses() {
        let mut guard = Guard::default();
        assert_eq!(guard.permits(), None);
        assert_eq!(guard.seen(A), Seen::First);
        assert_eq!(guard.permits(), Some((A, Deletions::Travel)));
        guard.lost();
        assert_eq!(guard.permits(), None);
        assert_eq!(guard.seen(B), Seen::Other);
        assert_eq!(guard.permits(), Some((B, Deletions::Held)));
        guard.lost();
        assert_eq!(guard.seen(A), Seen::Same);
        assert_eq!(guard.permits(), Some((A, Deletions::Travel)));
        assert_eq!(guard.seen(A), Seen::Same, "a watcher that was restarted sees the same root");
    }

    #[test]
    fn a_root_that_was_never_there_holds_nothing_against_its_first_sight() {
        let mut guard = Guard::default();
        guard.lost();
        assert_eq!(guard.seen(A), Seen::First);
    }
}
