//! What paths cost in an order, in bytes: an order is bounded by that, and names of each path only what
//! it has not in common with the one before.

use common::message::batch::shared;
use common::path::RelPath;

use super::Taken;

/// What a path costs in an order beside its bytes.
pub(super) const PATH_OVERHEAD: usize = 8;

/// What a path costs in an order behind another one, in bytes.
pub(super) fn cost(before: &RelPath, path: &RelPath) -> usize {
    let (before, path) = (before.as_bytes(), path.as_bytes());
    path.len().saturating_sub(shared(before, path)).saturating_add(PATH_OVERHEAD)
}

/// What they cost in an order, in bytes.
pub(in crate::core) fn cost_of(taken: &[Taken]) -> usize {
    let mut before = &RelPath::root();
    let costs = taken.iter().map(|(path, _)| cost(std::mem::replace(&mut before, path), path));
    costs.fold(0, usize::saturating_add)
}
