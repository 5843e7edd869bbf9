//! After a batch of which something failed: which of its paths those are, so that the rest is done.
//!
//! rsync prints what it would do before it does it, and its complaints are made for people. So
//! each list that had a failure is compared once more, in a dry run: what still differs failed.
//! Where that cannot be found out the batch as a whole failed, which only costs work.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::ffi::{OsStrExt, OsStringExt};

use bstr::ByteSlice;
use common::confine;
use common::event::Dirt;
use common::message::{Comparison, Deletions, DifferenceKind, FailedPath, Outcome};
use common::path::RelPath;
use std::os::fd::AsFd;

use crate::argv::Form;
use crate::complaints::Complaints;
use crate::list::{self, Kind};
use crate::transfers::{Transfers, goes_on};

/// Most bytes of failed paths with their reasons: with the tail and what was left out they fit a frame.
const MAX_REPORT: usize = 46 << 10;
/// More than what one takes beside its path and its reason.
const BESIDE: usize = 8;

/// A list of which something failed.
#[derive(Debug)]
pub(crate) struct Part {
    pub(crate) form: Form,
    pub(crate) deletions: Deletions,
    pub(crate) paths: Vec<RelPath>,
    pub(crate) complaints: Complaints,
}

/// Listed paths that failed, with what rsync said of each.
type Failed = BTreeMap<RelPath, String>;

impl Transfers<'_> {
    /// Finds out which paths of `batch` failed.
    pub(crate) fn take_apart(&mut self, batch: &[(RelPath, Dirt)]) {
        let parts = std::mem::take(&mut self.parts);
        let prefixes = self.prefixes();
        let clues = Clues {
            read_only: parts.iter().all(|part| part.complaints.is_read_only()),
            at_the_top: parts.iter().any(|part| part.complaints.is_read_only_at_the_top(&prefixes)),
            closed: parts.iter().all(|part| part.complaints.is_closed(&prefixes)),
        };
        let mut failed = Failed::new();
        for part in parts {
            let Some(found) = self.failed_of(part) else { return };
            failed.extend(found);
        }
        // A list that was sent once more may have met worse.
        if self.end.outcome != Outcome::Partial {
            return;
        }
        let lists = list::normalise(batch, |path| self.root.kind(path));
        let mut listed: BTreeSet<RelPath> =
            [lists.shallow, lists.deep, lists.sweep].into_iter().flatten().collect();
        listed.extend(lists.whole.map(|_| RelPath::root()));
        if self.is_unwritable(&clues, &listed, &failed) {
            self.end.outcome = Outcome::ReadOnly;
            return;
        }
        self.end.failed = told(batch, &listed, &failed, MAX_REPORT.saturating_sub(self.end.tail.len()));
    }

    /// Whether it is the remote and not the paths: all that is here has failed, for one reason.
    fn is_unwritable(&self, clues: &Clues, listed: &BTreeSet<RelPath>, failed: &Failed) -> bool {
        let all_failed = || {
            listed
                .iter()
                .all(|path| failed.contains_key(path) || self.root.kind(path.as_bytes()) == Kind::Missing)
        };
        !failed.is_empty()
            && ((clues.read_only && (clues.at_the_top || all_failed())) || (clues.closed && all_failed()))
    }

    /// `None` when it cannot be known.
    fn failed_of(&mut self, part: Part) -> Option<Failed> {
        let Part { form, deletions, paths, complaints } = part;
        self.complaints = complaints;
        if form == Form::Whole {
            let reason = self.complaints.named(&[], &|_| None).general;
            return Some(Failed::from([(RelPath::root(), reason)]));
        }
        let (mut failed, named) = self.differing(form, deletions, &paths)?;
        if form == Form::Shallow || !self.complaints.deletions_skipped {
            return Some(failed);
        }
        // One directory that cannot be read has kept rsync from removing anything in any of them.
        let (bad, rest): (Vec<_>, Vec<_>) = paths.into_iter().partition(|path| named.contains(path));
        if bad.is_empty() {
            return None;
        }
        failed.retain(|path, _| bad.contains(path));
        if rest.is_empty() {
            return Some(failed);
        }
        self.complaints = Complaints::default();
        self.trees(form, deletions, &rest);
        if self.complaints.partial {
            failed.extend(self.differing(form, deletions, &rest)?.0);
        }
        (goes_on(self.end.outcome) && !self.complaints.deletions_skipped).then_some(failed)
    }

    /// Listed paths that are not as they are here, and those that rsync names as failed.
    fn differing(
        &mut self,
        form: Form,
        deletions: Deletions,
        paths: &[RelPath],
    ) -> Option<(Failed, BTreeSet<RelPath>)> {
        let listed: BTreeSet<RelPath> = paths.iter().cloned().collect();
        let root = self.root;
        let owner = |path: &RelPath| {
            let found = nearest(&listed, path)?;
            let reaches =
                form != Form::Shallow || found == path || root.kind(found.as_bytes()) != Kind::Directory;
            reaches.then(|| found.clone())
        };
        let (mut sure, mut perhaps) = (BTreeSet::new(), BTreeSet::new());
        let end = self.compare(form, deletions, Comparison::Times, paths, &mut |item| {
            // Directories on the way to a listed path have no owner: they are not this batch's.
            let Some(path) = owner(&item.path) else { return };
            match item.kind {
                // A filesystem may never take them, and then each path would show up.
                DifferenceKind::Attributes => perhaps.insert(path),
                DifferenceKind::Missing | DifferenceKind::Extra | DifferenceKind::Content => {
                    sure.insert(path)
                }
            };
        });
        if !goes_on(end.outcome) || self.complaints.unclear {
            return None;
        }
        let named = self.complaints.named(&self.prefixes(), &owner);
        // It went wrong somewhere once more, and nobody knows where.
        if end.outcome == Outcome::Partial && sure.is_empty() && named.failed.is_empty() {
            return None;
        }
        let perhaps = perhaps.into_iter().filter(|path| named.reasons.contains_key(path));
        let all = sure.into_iter().chain(perhaps).chain(named.failed.iter().cloned());
        let reason = |path: &RelPath| named.reasons.get(path).unwrap_or(&named.general).clone();
        let failed = all.map(|path| (path.clone(), reason(&path))).collect();
        Some((failed, named.failed))
    }

    /// What stands before a path in rsync's complaints: ours are absolute, and so are those of
    /// a remote over ssh; a daemon's begin in the module.
    fn prefixes(&self) -> Vec<Vec<u8>> {
        let slice = &self.worker.slice;
        let mut prefixes = vec![slice.root.as_bytes().to_vec()];
        // As rsync sees it, which starts in the directory itself.
        let real = fs::read_link(confine::fd_path(self.root.as_fd()));
        prefixes.extend(real.map(|path| path.into_os_string().into_vec()));
        let module = slice.remote.module.as_bytes();
        let there = if slice.remote.rsync.ssh.is_some() {
            Some(module)
        } else {
            module.split_once_str("/").map(|(_, below)| below)
        };
        prefixes.extend(there.map(<[u8]>::to_vec));
        for prefix in &mut prefixes {
            let kept = prefix.trim_end_with(|c| c == '/').len();
            prefix.truncate(kept);
        }
        prefixes
    }
}

/// What the complaints of all parts say of the remote.
struct Clues {
    read_only: bool,
    at_the_top: bool,
    closed: bool,
}

/// The listed path that `path` is, or lies below.
fn nearest<'a>(listed: &'a BTreeSet<RelPath>, path: &RelPath) -> Option<&'a RelPath> {
    listed
        .get(path)
        .or_else(|| path.ancestors().filter_map(|above| listed.get(above)).last())
        .or_else(|| listed.get(&RelPath::root()))
}

/// The paths of the batch that went into a list as one that failed; `None` when they are too many.
/// Reasons are left out where there is no room for all.
fn told(
    batch: &[(RelPath, Dirt)],
    listed: &BTreeSet<RelPath>,
    failed: &Failed,
    room: usize,
) -> Option<Vec<FailedPath>> {
    let mut told: Vec<FailedPath> = Vec::new();
    let mut room = room;
    for (path, _) in batch {
        if let Some(reason) = nearest(listed, path).and_then(|listed| failed.get(listed)) {
            room = room.checked_sub(path.as_bytes().len().saturating_add(BESIDE))?;
            told.push(FailedPath { path: path.clone(), reason: reason.clone() });
        }
    }
    for one in &mut told {
        match room.checked_sub(one.reason.len()) {
            Some(rest) => room = rest,
            None => one.reason.clear(),
        }
    }
    Some(told)
}
