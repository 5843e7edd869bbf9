//! What is kept beside the names: what each remote lacks, what is held, which directory a root is.

use common::event::TreeId;
use common::keep::{Edit, MAX_REASON, Pending};
use common::path::RelPath;
use redb::{ReadableTable, Table, WriteTransaction};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::Failure;
use super::fault::Fault;
use super::slots::Slot;
use super::tables::{
    HELD, NAMES, PARKED, PENDING, RemoteRecord, Row, TreeRecord, all, borrowed, clear, decode, encode,
    path_in, path_key,
};
use super::voice::Kept;

/// By slot and path.
type Paths<'a> = Table<'a, &'static [u8], &'static [u8]>;

/// Tells all that is kept.
pub(super) fn tell(
    transaction: &WriteTransaction,
    trees: &[Slot<TreeRecord>],
    remotes: &[Slot<RemoteRecord>],
    kept: &mut Kept<'_>,
) -> Result<(), Failure> {
    let held = transaction.open_table(HELD)?;
    for (tree, Slot { number, record, .. }) in (0..=u16::MAX).map(TreeId).zip(trees) {
        record.root.map_or(Ok(()), |root| kept.tell(Edit::Root(tree, root)))?;
        record.complete.map_or(Ok(()), |until| kept.tell(Edit::Complete(tree, until)))?;
        each(&held, *number, |path, value| Ok(kept.tell(Edit::Held(tree, path, Some(value)))?))?;
    }
    let (pending, parked) = (transaction.open_table(PENDING)?, transaction.open_table(PARKED)?);
    for (remote, Slot { number, record, .. }) in (0..=u16::MAX).zip(remotes) {
        if record.known {
            kept.tell(Edit::Known(remote))?;
        }
        record.full.map_or(Ok(()), |deletions| kept.tell(Edit::Full(remote, Some(deletions))))?;
        each(&pending, *number, |path, value| {
            Ok(kept.tell(Edit::Pending(remote, path, Some(checked(value)?)))?)
        })?;
        each(&parked, *number, |path, value| {
            Ok(kept.tell(Edit::Parked(remote, path, Some(checked(value)?)))?)
        })?;
    }
    Ok(())
}

fn each<T: DeserializeOwned>(
    table: &Paths<'_>,
    slot: u16,
    mut tell: impl FnMut(RelPath, T) -> Result<(), Failure>,
) -> Result<(), Failure> {
    for row in table.range::<&[u8]>(borrowed(&all(slot)))? {
        let (key, value) = row?;
        tell(path_in(key.value())?, decode(value.value())?)?;
    }
    Ok(())
}

fn checked(pending: Pending) -> Result<Pending, Fault> {
    if pending.reason.len() > MAX_REASON {
        return Err(Fault::damaged("a reason is too long"));
    }
    Ok(pending)
}

/// Takes edits in, for as long as one order is carried out.
pub(super) struct Editor<'a> {
    names: Table<'a, &'static [u8], Row>,
    held: Paths<'a>,
    pending: Paths<'a>,
    parked: Paths<'a>,
    trees: &'a mut [Slot<TreeRecord>],
    remotes: &'a mut [Slot<RemoteRecord>],
}

impl<'a> Editor<'a> {
    pub(super) fn new(
        transaction: &'a WriteTransaction,
        trees: &'a mut [Slot<TreeRecord>],
        remotes: &'a mut [Slot<RemoteRecord>],
    ) -> Result<Editor<'a>, Fault> {
        Ok(Editor {
            names: transaction.open_table(NAMES)?,
            held: transaction.open_table(HELD)?,
            pending: transaction.open_table(PENDING)?,
            parked: transaction.open_table(PARKED)?,
            trees,
            remotes,
        })
    }

    /// Takes one in. One of a tree or remote that is not in the slice is left out. `work` is called
    /// for each name that it removes.
    pub(super) fn apply(&mut self, edit: &Edit, work: impl FnMut()) -> Result<(), Fault> {
        let in_slice = match edit {
            Edit::Pending(remote, path, value) => match self.remotes.get(usize::from(*remote)) {
                Some(slot) => Some(set(&mut self.pending, slot.number, path, value.clone().map(bounded))?),
                None => None,
            },
            Edit::Parked(remote, path, value) => match self.remotes.get(usize::from(*remote)) {
                Some(slot) => Some(set(&mut self.parked, slot.number, path, value.clone().map(bounded))?),
                None => None,
            },
            Edit::Held(tree, path, value) => match self.trees.get(usize::from(tree.0)) {
                Some(slot) => Some(set(&mut self.held, slot.number, path, *value)?),
                None => None,
            },
            Edit::Full(remote, full) => self.remotes.get_mut(usize::from(*remote)).map(|slot| {
                slot.record.full = *full;
                slot.changed = true;
            }),
            Edit::Known(remote) => self.remotes.get_mut(usize::from(*remote)).map(|slot| {
                slot.record.known = true;
                slot.changed = true;
            }),
            Edit::Complete(tree, until) => self.trees.get_mut(usize::from(tree.0)).map(|slot| {
                slot.record.complete = Some(*until);
                slot.changed = true;
            }),
            Edit::Root(tree, root) => match self.trees.get_mut(usize::from(tree.0)) {
                Some(slot) => {
                    // Inode numbers of another root say nothing about this one's names.
                    if slot.record.root.is_some_and(|kept| !kept.is_still(*root)) {
                        clear(&mut self.names, &all(slot.number), work)?;
                        (slot.record.names, slot.record.whole) = (0, false);
                    }
                    slot.record.root = Some(*root);
                    slot.changed = true;
                    Some(())
                }
                None => None,
            },
        };
        if in_slice.is_none() {
            log::error!("an edit of no tree or remote edit={edit:?}");
        }
        Ok(())
    }
}

fn set<T: Serialize>(
    table: &mut Paths<'_>,
    slot: u16,
    path: &RelPath,
    value: Option<T>,
) -> Result<(), Fault> {
    let key = path_key(slot, path.as_bytes());
    match value {
        Some(value) => table.insert(key.as_slice(), encode(&value)?.as_slice())?,
        None => table.remove(key.as_slice())?,
    };
    Ok(())
}

fn bounded(mut pending: Pending) -> Pending {
    pending.reason.truncate(pending.reason.floor_char_boundary(MAX_REASON));
    pending
}
