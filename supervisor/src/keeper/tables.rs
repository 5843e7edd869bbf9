//! The layout of the state file: its tables, and how their keys are made.
//!
//! A key of a name is the slot of its tree, the path of its directory, NUL, its own name. So what
//! a directory holds stands together, and so does all that is deeper below it.

use std::ops::Bound;

use common::event::RootId;
use common::keep::Stamp;
use common::message::Deletions;
use common::path::RelPath;
use redb::{ReadableTable, Table, TableDefinition};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::fault::Fault;

/// Of this layout. A file of another one is damaged to us: it costs a reconcile.
pub(super) const FORMAT: u64 = 1;

/// [`FORMAT`], and how the last run ended.
pub(super) const META: TableDefinition<'_, &str, u64> = TableDefinition::new("sersync");
/// Slot of each tree, by what it is known by.
pub(super) const TREES: TableDefinition<'_, &[u8], u16> = TableDefinition::new("trees");
/// [`TreeRecord`] of each slot.
pub(super) const TREE_RECORDS: TableDefinition<'_, u16, &[u8]> = TableDefinition::new("tree records");
/// Slot of each remote, by what its tree is known by and its name.
pub(super) const REMOTES: TableDefinition<'_, &[u8], u16> = TableDefinition::new("remotes");
/// [`RemoteRecord`] of each slot.
pub(super) const REMOTE_RECORDS: TableDefinition<'_, u16, &[u8]> = TableDefinition::new("remote records");
/// Each name of each tree.
pub(super) const NAMES: TableDefinition<'_, &[u8], Row> = TableDefinition::new("names");
/// By the slot of a remote and a path.
pub(super) const PENDING: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("pending");
/// By the slot of a remote and a path.
pub(super) const PARKED: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("parked");
/// By the slot of a tree and a path.
pub(super) const HELD: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("held");

/// A [`Stamp`]: 1 for a directory, inode, mark.
pub(super) type Row = (u8, u64, u64);
/// A part of a table.
pub(super) type Span = (Bound<Vec<u8>>, Bound<Vec<u8>>);

/// What is kept of a tree beside its names.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(super) struct TreeRecord {
    pub(super) root: Option<RootId>,
    pub(super) complete: Option<u64>,
    /// All of it was listed once.
    pub(super) whole: bool,
    /// More was kept of it in a file that was damaged.
    pub(super) lost: bool,
    /// How many names there are.
    pub(super) names: u64,
}

/// What is kept of a remote beside its paths.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(super) struct RemoteRecord {
    pub(super) known: bool,
    pub(super) full: Option<Deletions>,
}

/// Key of a path under a slot.
pub(super) fn path_key(slot: u16, path: &[u8]) -> Vec<u8> {
    key(slot, path, &[])
}

/// Key of the entry `name` in `directory`.
pub(super) fn name_key(slot: u16, directory: &[u8], name: &[u8]) -> Vec<u8> {
    let mut key = key(slot, directory, &[0]);
    key.extend_from_slice(name);
    key
}

/// The name in such a key.
pub(super) fn name_in(key: &[u8]) -> &[u8] {
    key.rsplit(|&byte| byte == 0).next().unwrap_or_default()
}

/// All keys of a slot.
pub(super) fn all(slot: u16) -> Span {
    let end = slot.checked_add(1).map_or(Bound::Unbounded, |next| Bound::Excluded(key(next, &[], &[])));
    (Bound::Included(key(slot, &[], &[])), end)
}

/// The entries of `directory` whose names lie after `after` and up to `upto`.
pub(super) fn entries(slot: u16, directory: &[u8], after: Option<&[u8]>, upto: Option<&[u8]>) -> Span {
    let start = match after {
        Some(name) => Bound::Excluded(name_key(slot, directory, name)),
        None => Bound::Included(key(slot, directory, &[0])),
    };
    let end = match upto {
        Some(name) => Bound::Included(name_key(slot, directory, name)),
        None => Bound::Excluded(key(slot, directory, &[1])),
    };
    (start, end)
}

/// All that lies deeper below `directory` than its entries; it is not the root.
pub(super) fn deeper(slot: u16, directory: &[u8]) -> Span {
    let after_slash = b'/'.saturating_add(1);
    (Bound::Included(key(slot, directory, b"/")), Bound::Excluded(key(slot, directory, &[after_slash])))
}

/// For the library, which wants slices.
pub(super) fn borrowed(span: &Span) -> (Bound<&[u8]>, Bound<&[u8]>) {
    (span.0.as_ref().map(Vec::as_slice), span.1.as_ref().map(Vec::as_slice))
}

fn key(slot: u16, path: &[u8], end: &[u8]) -> Vec<u8> {
    [&slot.to_be_bytes(), path, end].concat()
}

/// A stamp as it is kept.
pub(super) fn row(stamp: Stamp) -> Row {
    (u8::from(stamp.directory), stamp.inode, stamp.mark)
}

/// The other way.
pub(super) fn stamp((kind, inode, mark): Row) -> Result<Stamp, Fault> {
    let directory = match kind {
        0 => false,
        1 => true,
        _ => return Err(Fault::damaged("a name of an unknown kind")),
    };
    Ok(Stamp { directory, inode, mark })
}

/// A record as bytes.
pub(super) fn encode<T: Serialize>(record: &T) -> Result<Vec<u8>, Fault> {
    postcard::to_stdvec(record).map_err(|error| Fault::damaged(format!("cannot be encoded: {error}")))
}

/// The other way.
pub(super) fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Fault> {
    postcard::from_bytes(bytes).map_err(|error| Fault::damaged(format!("a record does not decode: {error}")))
}

/// The slot and the path in such a key.
pub(super) fn path_in(key: &[u8]) -> Result<RelPath, Fault> {
    let (_, path) = key.split_first_chunk::<2>().ok_or_else(|| Fault::damaged("a key without a slot"))?;
    RelPath::new(path).map_err(|error| Fault::damaged(format!("a key is no path: {error}")))
}

/// Removes a part of a table, and says how much that was. `work` is called for each.
pub(super) fn clear<V: redb::Value + 'static>(
    table: &mut Table<'_, &'static [u8], V>,
    span: &Span,
    mut work: impl FnMut(),
) -> Result<u64, Fault> {
    let mut gone = 0_u64;
    // Most parts are empty, and then nothing is to be written.
    if table.range::<&[u8]>(borrowed(span))?.next().is_none() {
        return Ok(gone);
    }
    table.retain_in::<&[u8], _>(borrowed(span), |_, _| {
        gone = gone.saturating_add(1);
        work();
        false
    })?;
    Ok(gone)
}
