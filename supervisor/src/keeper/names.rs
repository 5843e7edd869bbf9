//! The index of the names of one tree: what is listed is merged into it, and what differs told.

use std::cmp::Ordering;
use std::collections::VecDeque;
use std::ops::Bound;

use common::keep::{Find, FindKind, Knowledge, NameOp, Purpose, Stamp};
use common::path::RelPath;
use redb::{ReadableTable, Table};

use super::Failure;
use super::fault::Fault;
use super::tables::{Row, Span, borrowed, clear, deeper, entries, name_in, name_key, row, stamp};
use super::voice::Finds;

/// Entries of a directory that are read ahead.
const AHEAD: usize = 256;

/// What became of the index.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Tally {
    /// Names that it did not have.
    pub(super) come: u64,
    /// Names that it has no more.
    pub(super) gone: u64,
    /// Whether anything was written.
    pub(super) changed: bool,
}

/// The index of a tree, for as long as one order is carried out.
pub(super) struct Index<'a> {
    names: Table<'a, &'static [u8], Row>,
    slot: u16,
    finds: Finds<'a>,
    tally: Tally,
}

impl<'a> Index<'a> {
    pub(super) fn new(names: Table<'a, &'static [u8], Row>, slot: u16, finds: Finds<'a>) -> Index<'a> {
        Index { names, slot, finds, tally: Tally::default() }
    }

    /// Takes one operation in. One that makes no sense is left out.
    pub(super) fn apply(&mut self, op: &NameOp, known: Knowledge) -> Result<(), Failure> {
        match op {
            NameOp::Listing { directory, after, upto, entries, purpose } => {
                let bounds = (after.as_deref(), upto.as_deref());
                let merge = Merge::of(*purpose, known);
                let Some(listing) = Listing::new(directory, bounds, entries, merge) else {
                    log::error!("a listing that makes no sense directory={directory}");
                    return Ok(());
                };
                self.merge(&listing)
            }
            NameOp::Entry(path, stamp) => {
                let Some(parent) = path.parent() else { return Ok(()) };
                let kept = self.get(&parent, path.name())?;
                let is_other =
                    |kept: Stamp| kept.directory && (!stamp.directory || kept.inode != stamp.inode);
                // The removal of what was there is told by itself, or found by comparing.
                if kept != Some(*stamp) && !kept.is_some_and(is_other) {
                    self.put(&parent, path.name(), *stamp)?;
                }
                Ok(())
            }
            NameOp::Gone(path) => {
                if let Some(parent) = path.parent() {
                    self.remove(&parent, path)?;
                }
                Ok(())
            }
        }
    }

    /// Tells the last finds, and what all of it came to.
    pub(super) fn end(mut self) -> Result<Tally, Failure> {
        self.finds.flush()?;
        Ok(self.tally)
    }

    /// Both sides are sorted, so one pass over them finds all that differs.
    fn merge(&mut self, listing: &Listing<'_>) -> Result<(), Failure> {
        let mut kept =
            Ahead::new(entries(self.slot, listing.directory.as_bytes(), listing.after, listing.upto));
        let mut seen = listing.entries.iter().peekable();
        loop {
            self.finds.work();
            let order = match (kept.first(&self.names)?, seen.peek()) {
                (None, None) => return Ok(()),
                (Some(_), None) => Ordering::Less,
                (None, Some(_)) => Ordering::Greater,
                (Some((kept, _)), Some((seen, _))) => kept.cmp(seen),
            };
            let old = if order.is_le() { kept.next() } else { None };
            let new = if order.is_ge() { seen.next() } else { None };
            self.settle(listing, old, new)?;
        }
    }

    /// What is kept of one name and what was seen of it.
    fn settle(
        &mut self,
        listing: &Listing<'_>,
        old: Option<(Vec<u8>, Stamp)>,
        new: Option<&(Vec<u8>, Stamp)>,
    ) -> Result<(), Failure> {
        if listing.merge == Merge::Add && old.is_some() {
            return Ok(());
        }
        let Some((name, seen)) = new else {
            let Some((name, kept)) = old else { return Ok(()) };
            let path = listing.join(&name)?;
            let names = self.remove(listing.directory, &path)?;
            return self.tell(listing, path, FindKind::Gone { directory: kept.directory, names });
        };
        let kept = old.map(|(_, kept)| kept);
        if kept == Some(*seen) {
            return Ok(());
        }
        let path = listing.join(name)?;
        self.take_over(&path, kept, *seen)?;
        self.put(listing.directory, name, *seen)?;
        self.tell(listing, path, FindKind::Changed)
    }

    fn tell(&mut self, listing: &Listing<'_>, path: RelPath, kind: FindKind) -> Result<(), Failure> {
        match listing.merge {
            Merge::Tell => Ok(self.finds.tell(Find { path, kind })?),
            Merge::Quiet | Merge::Add => Ok(()),
        }
    }

    /// `seen` stands where `kept` stood. A directory that is none any more takes all that it held
    /// along.
    fn take_over(&mut self, path: &RelPath, kept: Option<Stamp>, seen: Stamp) -> Result<(), Fault> {
        // Another directory in its place is listed too, and what it lacks is found name by name.
        if kept.is_some_and(|kept| kept.directory) && !seen.directory {
            self.forget_below(path)?;
        }
        Ok(())
    }

    fn get(&self, parent: &RelPath, name: &[u8]) -> Result<Option<Stamp>, Fault> {
        let key = name_key(self.slot, parent.as_bytes(), name);
        self.names.get(key.as_slice())?.map(|kept| stamp(kept.value())).transpose()
    }

    fn put(&mut self, parent: &RelPath, name: &[u8], seen: Stamp) -> Result<(), Fault> {
        let key = name_key(self.slot, parent.as_bytes(), name);
        let is_new = self.names.insert(key.as_slice(), row(seen))?.is_none();
        self.tally.changed = true;
        self.tally.come = self.tally.come.saturating_add(u64::from(is_new));
        Ok(())
    }

    /// Removes a name with all below it. How many names went.
    fn remove(&mut self, parent: &RelPath, path: &RelPath) -> Result<u64, Fault> {
        let key = name_key(self.slot, parent.as_bytes(), path.name());
        let itself = u64::from(self.names.remove(key.as_slice())?.is_some());
        self.count_gone(itself);
        Ok(self.forget_below(path)?.saturating_add(itself))
    }

    /// Removes all names below `path`, which is not the root. How many names went.
    fn forget_below(&mut self, path: &RelPath) -> Result<u64, Fault> {
        let path = path.as_bytes();
        let mut gone = 0_u64;
        for span in [entries(self.slot, path, None, None), deeper(self.slot, path)] {
            gone = gone.saturating_add(clear(&mut self.names, &span, || self.finds.work())?);
        }
        self.count_gone(gone);
        Ok(gone)
    }

    fn count_gone(&mut self, names: u64) {
        self.tally.changed |= names > 0;
        self.tally.gone = self.tally.gone.saturating_add(names);
    }
}

/// A listing that makes sense.
struct Listing<'a> {
    directory: &'a RelPath,
    after: Option<&'a [u8]>,
    upto: Option<&'a [u8]>,
    entries: &'a [(Vec<u8>, Stamp)],
    merge: Merge,
}

/// What a listing does to the index.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Merge {
    /// The index becomes as listed, and what differed is told.
    Tell,
    /// The same, without a word: the first listing of a tree.
    Quiet,
    /// Names that the index does not have come in. The others were told since, and may be newer.
    Add,
}

impl Merge {
    fn of(purpose: Purpose, known: Knowledge) -> Merge {
        match (purpose, known) {
            (Purpose::Learn, _) => Merge::Add,
            (Purpose::Compare, Knowledge::Whole) => Merge::Tell,
            (Purpose::Compare, Knowledge::None | Knowledge::Partial) => Merge::Quiet,
        }
    }
}

impl<'a> Listing<'a> {
    /// `None` unless the names are names, sorted, and within the bounds.
    fn new(
        directory: &'a RelPath,
        (after, upto): (Option<&'a [u8]>, Option<&'a [u8]>),
        entries: &'a [(Vec<u8>, Stamp)],
        merge: Merge,
    ) -> Option<Listing<'a>> {
        let mut last = after;
        for (name, _) in entries {
            let in_order = last.is_none_or(|last| last < name.as_slice());
            if name.is_empty() || !in_order || directory.join(name).is_err() {
                return None;
            }
            last = Some(name);
        }
        let in_bounds = upto.is_none_or(|upto| last.is_none_or(|last| last <= upto));
        in_bounds.then_some(Listing { directory, after, upto, entries, merge })
    }

    /// Fails for a name out of the file that is none.
    fn join(&self, name: &[u8]) -> Result<RelPath, Fault> {
        self.directory.join(name).map_err(|error| Fault::damaged(format!("a name is no name: {error}")))
    }
}

/// What is kept of a part of a directory, read some entries ahead: the table changes meanwhile, but
/// nowhere in what is left of this part.
struct Ahead {
    rest: Option<Span>,
    read: VecDeque<(Vec<u8>, Stamp)>,
}

impl Ahead {
    fn new(span: Span) -> Ahead {
        Ahead { rest: Some(span), read: VecDeque::new() }
    }

    fn first(&mut self, names: &Table<'_, &'static [u8], Row>) -> Result<Option<&(Vec<u8>, Stamp)>, Fault> {
        if self.read.is_empty() {
            self.read_on(names)?;
        }
        Ok(self.read.front())
    }

    fn next(&mut self) -> Option<(Vec<u8>, Stamp)> {
        self.read.pop_front()
    }

    fn read_on(&mut self, names: &Table<'_, &'static [u8], Row>) -> Result<(), Fault> {
        let Some(span) = self.rest.take() else { return Ok(()) };
        let mut last = None;
        for kept in names.range::<&[u8]>(borrowed(&span))?.take(AHEAD) {
            let (key, value) = kept?;
            self.read.push_back((name_in(key.value()).to_vec(), stamp(value.value())?));
            last = Some(key.value().to_vec());
        }
        // A short read was the last one.
        if self.read.len() == AHEAD {
            self.rest = last.map(|last| (Bound::Excluded(last), span.1));
        }
        Ok(())
    }
}
