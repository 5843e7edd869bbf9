//! Which numbers trees and remotes have in the file: they stay the same while the config changes
//! around them. What belongs to a tree or remote that is configured no more is forgotten.

use std::collections::BTreeMap;

use common::event::TreeId;
use common::keep::KeepSlice;
use redb::{ReadableTable, TableDefinition, WriteTransaction};

use super::fault::Fault;
use super::tables::{
    HELD, NAMES, PARKED, PENDING, REMOTE_RECORDS, REMOTES, RemoteRecord, TREE_RECORDS, TREES, TreeRecord,
    all, clear, decode,
};

/// A tree or remote of the slice: where it is in the file, and what is kept of it.
#[derive(Debug)]
pub(super) struct Slot<T> {
    pub(super) number: u16,
    pub(super) record: T,
    /// The record is not in the file as it is here.
    pub(super) changed: bool,
}

impl<T: Default> Slot<T> {
    fn new(number: u16, record: Option<T>) -> Slot<T> {
        Slot { number, changed: record.is_none(), record: record.unwrap_or_default() }
    }
}

/// The trees of the slice, in its order.
pub(super) fn trees(
    transaction: &WriteTransaction,
    slice: &KeepSlice,
    mut work: impl FnMut(),
) -> Result<Vec<Slot<TreeRecord>>, Fault> {
    let (numbers, left) = assign(transaction, TREES, &slice.trees)?;
    let mut records = transaction.open_table(TREE_RECORDS)?;
    let mut names = transaction.open_table(NAMES)?;
    let mut held = transaction.open_table(HELD)?;
    for number in left {
        records.remove(number)?;
        clear(&mut names, &all(number), &mut work)?;
        clear(&mut held, &all(number), &mut work)?;
    }
    let slot = |number| {
        let record = records.get(number)?.map(|record| decode(record.value())).transpose()?;
        Ok(Slot::new(number, record))
    };
    numbers.into_iter().map(slot).collect()
}

/// The remotes of the slice, in its order.
pub(super) fn remotes(
    transaction: &WriteTransaction,
    slice: &KeepSlice,
    mut work: impl FnMut(),
) -> Result<Vec<Slot<RemoteRecord>>, Fault> {
    let keys: Vec<_> = slice.remotes.iter().map(|(tree, name)| remote_key(slice, *tree, name)).collect();
    let (numbers, left) = assign(transaction, REMOTES, &keys)?;
    let mut records = transaction.open_table(REMOTE_RECORDS)?;
    let mut pending = transaction.open_table(PENDING)?;
    let mut parked = transaction.open_table(PARKED)?;
    for number in left {
        records.remove(number)?;
        clear(&mut pending, &all(number), &mut work)?;
        clear(&mut parked, &all(number), &mut work)?;
    }
    let slot = |number| {
        let record = records.get(number)?.map(|record| decode(record.value())).transpose()?;
        Ok(Slot::new(number, record))
    };
    numbers.into_iter().map(slot).collect()
}

/// What a remote is known by: its tree, in a form that says where it ends, and its name. Not the slot
/// of the tree, which another tree gets when this one is gone.
fn remote_key(slice: &KeepSlice, tree: TreeId, name: &[u8]) -> Vec<u8> {
    let tree = slice.trees.get(usize::from(tree.0)).map(Vec::as_slice).unwrap_or_default();
    [&tree.len().to_be_bytes(), tree, name].concat()
}

/// The slot of each key, in the order of `keys`, and the slots that are free now and were not.
fn assign(
    transaction: &WriteTransaction,
    definition: TableDefinition<'_, &'static [u8], u16>,
    keys: &[Vec<u8>],
) -> Result<(Vec<u16>, Vec<u16>), Fault> {
    let mut table = transaction.open_table(definition)?;
    let mut kept = BTreeMap::new();
    for row in table.iter()? {
        let (key, number) = row?;
        kept.insert(key.value().to_vec(), number.value());
    }
    let mut taken: Vec<u16> = Vec::new();
    for key in keys {
        taken.extend(kept.get(key));
    }
    taken.sort_unstable();
    let mut free = (0..=u16::MAX).filter(|number| taken.binary_search(number).is_err());
    let mut numbers = Vec::with_capacity(keys.len());
    for key in keys {
        if let Some(number) = kept.remove(key) {
            numbers.push(number);
            continue;
        }
        let number = free.next().ok_or_else(|| Fault::damaged("no slot is left"))?;
        table.insert(key.as_slice(), number)?;
        numbers.push(number);
    }
    for key in kept.keys() {
        table.remove(key.as_slice())?;
    }
    Ok((numbers, kept.into_values().collect()))
}
