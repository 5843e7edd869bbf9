//! What is remembered while events are dealt with: where a directory is, and what stood at a name
//! when it was looked at.
//!
//! Events come several of a directory, and mostly two of a file: made, and closed. A look is later
//! than every event that was read before it, so one look does for all of these. Nothing is held
//! open from one turn to the next.

use std::ffi::OsStr;

use common::event::RootId;
use common::message::RootLoss;
use common::path::RelPath;
use nix::sys::stat::FileStat;

use crate::stamp::Looker;
use crate::tree::{NodeId, Tree};

/// Where events happen, and what is there.
#[derive(Default)]
pub(crate) struct Looks {
    /// The directory of the last event.
    place: Option<(NodeId, RelPath)>,
    /// The last entry that was looked at since events were read.
    last: Option<(RelPath, Option<FileStat>)>,
    /// Open for a turn, unless the root is not there, or another.
    looker: Option<Result<Looker, RootLoss>>,
}

impl Looks {
    /// More events were read: what was seen before may be older than they are.
    pub(crate) fn events_came(&mut self) {
        self.forget_places();
        self.last = None;
    }

    /// Something happened to a directory: it may be elsewhere now.
    pub(crate) fn forget_places(&mut self) {
        self.place = None;
        if let Some(Ok(looker)) = &mut self.looker {
            looker.forget();
        }
    }

    /// Lets go of everything.
    pub(crate) fn rest(&mut self) {
        *self = Looks::default();
    }

    /// Where `node` is in `tree`.
    pub(crate) fn path(&mut self, tree: &Tree, node: NodeId) -> Option<RelPath> {
        if let Some((known, path)) = &self.place
            && *known == node
        {
            return Some(path.clone());
        }
        let path = tree.path(node)?;
        self.place = Some((node, path.clone()));
        Some(path)
    }

    /// What stands at the path of an event, below the root `at` if that is the `known` one.
    pub(crate) fn event(&mut self, at: &OsStr, known: RootId, path: &RelPath) -> Option<FileStat> {
        if let Some((last, found)) = &self.last
            && last == path
        {
            return *found;
        }
        let found = self.now(at, known, path);
        self.last = Some((path.clone(), found));
        found
    }

    /// What stands at `path` now, below the root `at` if that is the `known` one.
    pub(crate) fn now(&mut self, at: &OsStr, known: RootId, path: &RelPath) -> Option<FileStat> {
        let looker = self.looker.get_or_insert_with(|| Looker::open(at, known));
        looker.as_mut().ok()?.stat(path).ok()
    }
}
