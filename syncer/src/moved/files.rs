//! Files that were renamed: made on the remote out of what it has under the old name, so that what
//! they hold does not travel. Each in a run of its own, before anything else of the job, since the
//! rest may put another file at the old name, or remove it.
//!
//! That run is a transfer like any other, with one more file to compare with: in the same directory
//! rsync finds it by size and time (`--fuzzy`), elsewhere it is told where to look (`--copy-dest`, a
//! copy and no link, so that nothing is shared). What it finds there is never taken for the same by size
//! and time alone. Where the remote has a file under the new name already, or where it fails, the file is sent as if it were new.

use std::collections::BTreeSet;
use std::os::fd::AsFd;

use common::message::{Comparison, Deletions, Move, Outcome, WORTH_MOVING};
use common::path::RelPath;

use crate::abilities::Ability;
use crate::argv::{self, Errand, Form};
use crate::list::Lists;
use crate::rsync::Feed;
use crate::transfers::{Transfers, feed, goes_on};

/// What a module without chroot says of each file of the other directory: rsync takes the `../` off
/// their names there.
const NOT_FOUND: &str = "file has vanished: ";

impl Transfers<'_> {
    /// Brings over the files of `moves`, and takes them out of the list.
    pub(crate) fn moved_files(&mut self, lists: &mut Lists, moves: &[Move]) {
        let moves: Vec<&Move> = moves.iter().filter(|it| self.is_promising(lists, it)).collect();
        let elsewhere = moves.iter().filter(|it| !argv::are_neighbours(&it.from, &it.to));
        let places: BTreeSet<RelPath> = elsewhere.filter_map(|it| it.to.parent()).collect();
        // By their lists first: rsync follows a symlink at its destination, and none is left there then.
        let places = places.into_iter().filter(|place| !place.is_root()).collect();
        self.part(Form::Shallow, self.deletions, places);
        for it in moves {
            // Another one was to become the same.
            if !lists.shallow.contains(&it.to) {
                continue;
            }
            let outcome = if self.outcome() == Outcome::Done { self.copy(it) } else { return };
            if outcome == Outcome::Done {
                lists.shallow.remove(&it.to);
            } else if !goes_on(outcome) {
                return;
            }
        }
    }

    /// Whether it may be brought over like this, and where it pays.
    fn is_promising(&self, lists: &Lists, it: &Move) -> bool {
        let params = &self.worker.slice.remote.rsync.params;
        let sends_whole = argv::sets(params, "--whole-file", Some(b'W'));
        let is_known = self.by == Comparison::Times && argv::may_move(&self.worker.slice) && !sends_whole;
        let size = || self.root.size(it.to.as_bytes());
        is_known
            && lists.whole.is_none()
            && lists.shallow.contains(&it.to)
            && (argv::are_neighbours(&it.from, &it.to) || argv::are_plain(&it.from, &it.to))
            && (self.abilities.far_basis.is_there() || !argv::is_far(&it.from, &it.to))
            && size().is_some_and(|size| size >= WORTH_MOVING)
    }

    /// One of them. What comes of it is nobody's business but ours: if it fails, what follows tells.
    fn copy(&mut self, it: &Move) -> Outcome {
        let end = if argv::are_neighbours(&it.from, &it.to) {
            let mut argv = self.words(Errand::Send(Form::Shallow, Deletions::Held));
            argv::look_around(&mut argv);
            let mut paths = std::iter::once(&it.to);
            self.run(None, &argv, &mut |buffer| feed(&mut paths, buffer), &mut |_| {})
        } else {
            let place = it.to.parent().unwrap_or_else(RelPath::root);
            let Ok(place) = self.root.open_dir(&place) else { return Outcome::Partial };
            let argv = argv::copied(&self.worker.slice, self.abilities, &it.from, &it.to);
            self.run_in(place.as_fd(), None, &argv, &mut |_| Feed::End, &mut |_| {})
        };
        self.take_hint();
        if argv::is_far(&it.from, &it.to) && end.tail.contains(NOT_FOUND) {
            self.abilities.far_basis = Ability::Missing;
        }
        if end.outcome != Outcome::Done {
            let (from, to, status) = (&it.from, &it.to, end.status);
            log::debug!("renamed from={from} to={to} status={status}: sent as if it were new");
        }
        end.outcome
    }
}
