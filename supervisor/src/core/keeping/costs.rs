//! What names and edits take while they wait for the keeper, and in an order.

use common::keep::{Edit, NameOp, Stamp};

/// What an edit costs in an order beside its path, in bytes.
pub(super) const OVERHEAD: usize = 48;
/// What a name costs in memory beside its bytes, and one of a listing.
const NAME: usize = size_of::<NameOp>() + 32;
const LISTED: usize = size_of::<(Vec<u8>, Stamp)>() + 16;

/// Whether it is of a listing.
pub(super) fn is_listing(op: &NameOp) -> bool {
    match op {
        NameOp::Listing { .. } => true,
        NameOp::Entry(..) | NameOp::Gone(_) => false,
    }
}

/// What it takes in memory, in bytes.
pub(super) fn cost(op: &NameOp) -> usize {
    let names = match op {
        NameOp::Listing { directory, entries, .. } => entries
            .iter()
            .map(|(name, _)| name.len().saturating_add(LISTED))
            .fold(directory.as_bytes().len(), usize::saturating_add),
        NameOp::Entry(path, _) | NameOp::Gone(path) => path.as_bytes().len(),
    };
    names.saturating_add(NAME)
}

/// What it takes in an order, in bytes.
pub(super) fn edit_cost(edit: &Edit) -> usize {
    let (path, reason) = match edit {
        Edit::Pending(_, path, pending) | Edit::Parked(_, path, pending) => {
            (path.as_bytes().len(), pending.as_ref().map_or(0, |pending| pending.reason.len()))
        }
        Edit::Held(_, path, _) => (path.as_bytes().len(), 0),
        Edit::Full(..) | Edit::Known(_) | Edit::Root(..) | Edit::Complete(..) => (0, 0),
    };
    path.saturating_add(reason).saturating_add(OVERHEAD)
}

/// Whether names that wait may take so many bytes more, in memory: in an order they take less. Those
/// of a listing are counted by the watcher, and stay apart.
pub(super) fn takes_more(waiting: &[NameOp], bytes: usize) -> bool {
    let all = waiting.iter().map(cost).fold(bytes, usize::saturating_add);
    all <= super::MAX_EDITS && !waiting.iter().any(is_listing)
}
