//! A job that changes nothing: it tells how the remote differs from the source.
//!
//! What the filter or, for the whole tree, an exclude keeps from travelling never differs; where
//! nothing is deleted, what only the remote has does not either. An empty root is compared like any.

use std::collections::BTreeSet;

use common::event::Dirt;
use common::filter::EntryKind;
use common::message::{Comparison, Deletions, Difference, DifferenceKind};
use common::path::RelPath;

use crate::argv::Form;
use crate::itemized::Item;
use crate::list;
use crate::transfers::{Transfers, goes_on};

/// Most bytes of paths in one report: it fits a frame.
const MAX_REPORT: usize = 48 << 10;
/// More than what one difference takes beside its path.
const BESIDE: usize = 8;

impl Transfers<'_> {
    /// Compares `tops` with all below them, or the whole tree if the root is among them; without any,
    /// finds what the remote's root has beside the names in ours.
    pub(crate) fn verify(&mut self, tops: &[RelPath], by: Comparison, tell: &mut dyn FnMut(Vec<Difference>)) {
        let deep: Vec<_> = tops.iter().map(|top| (top.clone(), Dirt::Deep)).collect();
        let lists = list::normalise(&deep, |path| self.root.kind(path));
        let mut report = Report { found: Vec::new(), bytes: 0, tell };
        if tops.is_empty() {
            // rsync lists what is in a root that it is given by name, and no deeper.
            self.verify_part(Form::Shallow, by, &BTreeSet::from([RelPath::root()]), &mut report);
        } else if lists.whole.is_some() {
            self.verify_part(Form::Whole, by, &BTreeSet::from([RelPath::root()]), &mut report);
        } else {
            self.verify_part(Form::Shallow, by, &lists.shallow, &mut report);
            self.verify_part(Form::Deep, by, &lists.deep, &mut report);
        }
        report.send();
    }

    fn verify_part(&mut self, form: Form, by: Comparison, tops: &BTreeSet<RelPath>, report: &mut Report<'_>) {
        if tops.is_empty() || !goes_on(self.outcome()) {
            return;
        }
        let list: Vec<RelPath> = tops.iter().cloned().collect();
        let filter = &self.worker.filter;
        // Nothing is deleted, so there is nothing to hold.
        let end = self.compare(form, Deletions::Travel, by, &list, &mut |item| {
            // rsync looks at the directories on the way, too.
            let is_within = form == Form::Whole
                || tops.contains(&item.path)
                // What the root has beside them is in slices of its own.
                || (tops.contains(&RelPath::root()) && item.kind == DifferenceKind::Extra)
                || item.path.ancestors().any(|above| tops.contains(above));
            let kind = if item.directory { EntryKind::Directory } else { EntryKind::File };
            if is_within && !filter.excludes_within(&item.path, kind) {
                report.push(item);
            }
        });
        self.worst_of(end.outcome, end.status, end.tail);
    }
}

/// Differences on their way.
struct Report<'a> {
    found: Vec<Difference>,
    bytes: usize,
    tell: &'a mut dyn FnMut(Vec<Difference>),
}

impl Report<'_> {
    fn push(&mut self, item: Item) {
        let bytes = item.path.as_bytes().len().saturating_add(BESIDE);
        if self.bytes.saturating_add(bytes) > MAX_REPORT {
            self.send();
        }
        self.bytes = self.bytes.saturating_add(bytes);
        self.found.push(Difference { path: item.path, kind: item.kind, directory: item.directory });
    }

    fn send(&mut self) {
        self.bytes = 0;
        let found = std::mem::take(&mut self.found);
        if !found.is_empty() {
            (self.tell)(found);
        }
    }
}
