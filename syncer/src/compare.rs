//! Dry runs: what a transfer would do is what differs. Nothing is changed anywhere.

use common::filter::EntryKind;
use common::message::{Comparison, Deletions, DifferenceKind, Outcome};
use common::path::RelPath;

use crate::argv::{self, Errand, Form};
use crate::itemized::{Item, item};
use crate::job::JobEnd;
use crate::listed::by_name;
use crate::rsync::Feed;
use crate::transfers::{Transfers, feed, goes_on};

impl Transfers<'_> {
    /// Tells what [`Errand::Send`] of the same form would do to `paths`, and how finding that out
    /// ended. Under a filter, what is extra on the remote is told by the topmost names that may go.
    pub(crate) fn compare(
        &mut self,
        form: Form,
        deletions: Deletions,
        by: Comparison,
        paths: &[RelPath],
        found: &mut dyn FnMut(Item),
    ) -> JobEnd {
        if form != Form::Shallow && !self.worker.filter.is_empty() {
            return self.compare_listed(form, deletions, by, paths, found);
        }
        let argv = argv::argv(&self.worker.slice, Errand::Compare(form, deletions, by), self.abilities);
        let mut names = paths.iter().filter(|_| form != Form::Whole);
        let mut output = |line: &[u8]| item(line).into_iter().for_each(&mut *found);
        self.run(None, &argv, &mut |buffer| feed(&mut names, buffer), &mut output)
    }

    fn compare_listed(
        &mut self,
        form: Form,
        deletions: Deletions,
        by: Comparison,
        tops: &[RelPath],
        found: &mut dyn FnMut(Item),
    ) -> JobEnd {
        let listed = by_name(form);
        let argv = argv::argv(&self.worker.slice, Errand::Compare(listed, deletions, by), self.abilities);
        let mut walk = self.walk(tops);
        let mut output = |line: &[u8]| item(line).into_iter().for_each(&mut *found);
        let mut end = self.run(None, &argv, &mut |buffer| walk.feed(buffer), &mut output);
        let failures = walk.failures();
        self.complaints.unread.extend(walk.into_unread());
        if failures > 0 && end.outcome == Outcome::Done {
            let tail = format!("{failures} directories or names could not be read");
            end = JobEnd { outcome: Outcome::Partial, tail, ..end };
        }
        let removes = argv::possible(&self.worker.slice, deletions, self.abilities) == Deletions::Travel;
        if !removes || !goes_on(end.outcome) {
            return end;
        }
        let (mut looked, removable) = self.look(listed, tops);
        for top in removable.tops {
            let directory = top.kind == EntryKind::Directory;
            found(Item { path: top.path, directory, kind: DifferenceKind::Extra });
        }
        if removable.complete == Feed::More && looked.outcome == Outcome::Done {
            let tail = "more is extra on the remote than one run can hold".to_owned();
            looked = JobEnd { outcome: Outcome::Partial, tail, ..looked };
        }
        if looked.outcome == Outcome::Done { end } else { looked }
    }
}
