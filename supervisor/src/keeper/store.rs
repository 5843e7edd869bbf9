//! The state file: opened, loaded, changed in one open transaction, committed when ordered.
//!
//! What the open transaction takes: half of the cache at most for pages that were changed, the
//! rest of which is written to unused places of the file; and some bytes in memory for each page
//! that it took or left. That is bounded by how often the supervisor commits.

use std::fs::File;

use common::event::TreeId;
use common::keep::{Edit, KeepSlice, KeeperReport, Knowledge, LastRun, NameOp};
use common::path::RelPath;
use redb::backends::FileBackend;
use redb::{Database, ReadableTable, WriteTransaction};

use super::Failure;
use super::edits;
use super::fault::Fault;
use super::names::Index;
use super::slots::{self, Slot};
use super::tables::{FORMAT, META, NAMES, REMOTE_RECORDS, RemoteRecord, TREE_RECORDS, TreeRecord, encode};
use super::voice::Voice;

/// Memory for pages of the file, in bytes.
const CACHE: usize = 16 << 20;
/// Length of a file that was damaged and was emptied, in bytes: its trees are not new.
pub(crate) const LOST: u64 = 1;
/// Key of [`FORMAT`].
const FORMAT_KEY: &str = "format";
/// Key of the mark that tells how the last run ended, and its values.
const MARK_KEY: &str = "last run";
const CLEAN: u64 = 1;
const UNCLEAN: u64 = 2;

/// What a file comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Origin {
    /// Itself, or it is new.
    File,
    /// One that was damaged.
    Lost,
}

/// The open file.
pub(super) struct Store {
    /// What is not durable yet. Before the database, since it has to go first.
    open: Option<WriteTransaction>,
    database: Database,
    pub(super) trees: Vec<Slot<TreeRecord>>,
    pub(super) remotes: Vec<Slot<RemoteRecord>>,
    /// The mark in the file.
    mark: LastRun,
    /// There is more in the transaction than in the file, beside the records.
    changed: bool,
}

impl Store {
    /// Opens the file, which may be empty, and tells what is kept for the trees and remotes of
    /// `slice`. What is kept of others is forgotten with the first commit.
    pub(super) fn open(file: File, slice: &KeepSlice, voice: &mut Voice) -> Result<Store, Failure> {
        let metadata = file.metadata().map_err(Fault::from)?;
        if !metadata.is_file() {
            return Err(Fault::damaged("it is no regular file").into());
        }
        if metadata.len() != LOST {
            return Store::load(file, slice, voice, Origin::File);
        }
        let marked = file.try_clone().map_err(Fault::from)?;
        file.set_len(0).map_err(Fault::from)?;
        Store::load(file, slice, voice, Origin::Lost).inspect_err(|_| {
            // Whoever comes next is to know it too.
            let _ = marked.set_len(0).and_then(|()| marked.set_len(LOST));
        })
    }

    fn load(file: File, slice: &KeepSlice, voice: &mut Voice, origin: Origin) -> Result<Store, Failure> {
        let beat = voice.beat();
        let database = Database::builder()
            .set_cache_size(CACHE)
            // What somebody else wrote there is found here, and not by a panic later.
            .set_check_integrity_on_open(true)
            .set_repair_callback(move |_| beat())
            .create_with_backend(FileBackend::new(file)?)?;
        let transaction = database.begin_write()?;
        let last = last_run(&transaction)?;
        let trees = slots::trees(&transaction, slice, || voice.work())?;
        let remotes = slots::remotes(&transaction, slice, || voice.work())?;
        let mut store = Store {
            open: Some(transaction),
            database,
            trees,
            remotes,
            mark: last,
            changed: last == LastRun::None,
        };
        for tree in store.trees.iter_mut().filter(|_| origin == Origin::Lost) {
            (tree.record.lost, tree.changed) = (true, true);
        }
        store.tell(voice)?;
        if origin == Origin::Lost {
            // At once, or a kill would make a first start of the next one.
            store.commit(LastRun::Unclean)?;
        }
        Ok(store)
    }

    fn tell(&mut self, voice: &mut Voice) -> Result<(), Failure> {
        let transaction = self.open.as_ref().ok_or_else(closed)?;
        let mut kept = voice.kept();
        edits::tell(transaction, &self.trees, &self.remotes, &mut kept)?;
        kept.flush()?;
        let trees = self.trees.iter().map(|tree| knowledge(&tree.record)).collect();
        let names = self.trees.iter().map(|tree| tree.record.names).collect();
        Ok(voice.say(&KeeperReport::Loaded { last: self.mark, trees, names })?)
    }

    /// Takes in what was seen of the names of a tree, and tells what nobody has reported.
    pub(super) fn names(&mut self, tree: TreeId, ops: &[NameOp], voice: &mut Voice) -> Result<(), Failure> {
        self.begin()?;
        let transaction = self.open.as_ref().ok_or_else(closed)?;
        let Some(slot) = self.trees.get_mut(usize::from(tree.0)) else {
            log::error!("names of no tree tree={}", tree.0);
            return Ok(());
        };
        let known = knowledge(&slot.record);
        let names = transaction.open_table(NAMES)?;
        let mut index = Index::new(names, slot.number, voice.finds(tree));
        let result = ops.iter().try_for_each(|op| index.apply(op, known));
        let tally = index.end()?;
        slot.record.names = slot.record.names.saturating_add(tally.come).saturating_sub(tally.gone);
        slot.changed |= tally.changed;
        result
    }

    /// All at and below `path` was listed. How many names the tree has now; none for no tree.
    pub(super) fn listed(&mut self, tree: TreeId, path: &RelPath) -> u64 {
        let Some(slot) = self.trees.get_mut(usize::from(tree.0)) else {
            log::error!("a listing of no tree tree={}", tree.0);
            return 0;
        };
        if path.is_root() && !slot.record.whole {
            slot.record.whole = true;
            slot.record.lost = false;
            slot.changed = true;
        }
        slot.record.names
    }

    /// Takes in changes beside the names.
    pub(super) fn edit(&mut self, edits: &[Edit], voice: &mut Voice) -> Result<(), Failure> {
        self.begin()?;
        let transaction = self.open.as_ref().ok_or_else(closed)?;
        let mut editor = edits::Editor::new(transaction, &mut self.trees, &mut self.remotes)?;
        for edit in edits {
            editor.apply(edit, || voice.work())?;
        }
        self.changed |= !edits.is_empty();
        Ok(())
    }

    /// Makes durable all that came before, with this mark. Cheap if there is nothing new.
    pub(super) fn commit(&mut self, mark: LastRun) -> Result<(), Fault> {
        let records =
            self.trees.iter().any(|tree| tree.changed) || self.remotes.iter().any(|remote| remote.changed);
        if !records && !self.changed && self.mark == mark {
            return Ok(());
        }
        self.begin()?;
        let Some(transaction) = self.open.take() else { return Err(closed()) };
        save(&transaction, mark, &mut self.trees, &mut self.remotes)?;
        transaction.commit()?;
        (self.mark, self.changed) = (mark, false);
        Ok(())
    }

    /// Begins a transaction where none is open.
    fn begin(&mut self) -> Result<(), Fault> {
        if self.open.is_none() {
            self.open = Some(self.database.begin_write()?);
        }
        Ok(())
    }
}

#[cfg(test)]
impl Store {
    /// What is not durable yet.
    pub(super) fn transaction(&mut self) -> Result<&WriteTransaction, Fault> {
        self.begin()?;
        self.open.as_ref().ok_or_else(closed)
    }
}

/// Looks whose file this is, and makes a new one ours.
fn last_run(transaction: &WriteTransaction) -> Result<LastRun, Fault> {
    let is_new = transaction.list_tables()?.next().is_none();
    let mut meta = transaction.open_table(META)?;
    if is_new {
        meta.insert(FORMAT_KEY, FORMAT)?;
        return Ok(LastRun::None);
    }
    let found = meta.get(FORMAT_KEY)?.map(|found| found.value());
    if found != Some(FORMAT) {
        return Err(Fault::damaged(format!("it is of format {found:?}, not {FORMAT}")));
    }
    match meta.get(MARK_KEY)?.map(|mark| mark.value()) {
        Some(CLEAN) => Ok(LastRun::Clean),
        Some(UNCLEAN) => Ok(LastRun::Unclean),
        mark => Err(Fault::damaged(format!("it has the mark {mark:?}"))),
    }
}

fn save(
    transaction: &WriteTransaction,
    mark: LastRun,
    trees: &mut [Slot<TreeRecord>],
    remotes: &mut [Slot<RemoteRecord>],
) -> Result<(), Fault> {
    let mut table = transaction.open_table(TREE_RECORDS)?;
    for tree in trees.iter_mut().filter(|tree| tree.changed) {
        table.insert(tree.number, encode(&tree.record)?.as_slice())?;
        tree.changed = false;
    }
    let mut table = transaction.open_table(REMOTE_RECORDS)?;
    for remote in remotes.iter_mut().filter(|remote| remote.changed) {
        table.insert(remote.number, encode(&remote.record)?.as_slice())?;
        remote.changed = false;
    }
    let mark = match mark {
        LastRun::Clean => CLEAN,
        LastRun::Unclean | LastRun::None => UNCLEAN,
    };
    transaction.open_table(META)?.insert(MARK_KEY, mark)?;
    Ok(())
}

fn knowledge(record: &TreeRecord) -> Knowledge {
    match (record.root, record.whole) {
        (None, _) if record.lost => Knowledge::Partial,
        (None, _) => Knowledge::None,
        (Some(_), false) => Knowledge::Partial,
        (Some(_), true) => Knowledge::Whole,
    }
}

/// Cannot be: each order begins a transaction first.
fn closed() -> Fault {
    Fault::damaged("no transaction is open")
}
