//! What a changed config makes of a remote: it is new, described anew, or gone; and what it was to
//! get may be excluded now.

use std::time::Duration;

use common::event::{Dirt, IN_ISDIR, TreeId};
use common::filter::{EntryKind, Filter};
use common::message::Deletions;

use super::Remote;
use crate::core::Lane;
use crate::core::backlog::{Taken, Traffic};

/// The tree of a remote that is configured no more. There is no such tree, so it gets nothing.
const NOWHERE: TreeId = TreeId(u16::MAX);

/// Whether a remote has had the whole tree. Until then it goes after all others.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Age {
    #[default]
    Known,
    New,
}

impl Remote {
    /// What stands in the place of one that is configured no more, so that the others keep their ids.
    pub fn gone(label: String) -> Remote {
        Remote::new(NOWHERE, label, Traffic::OneWay, 0)
    }

    /// True for [`Remote::gone`].
    pub fn is_gone(&self) -> bool {
        self.tree == NOWHERE
    }

    /// It is reached otherwise from now on.
    pub fn describe(&mut self, label: String, traffic: Traffic) {
        (self.label, self.traffic) = (label, traffic);
    }

    /// It is new, and gets the whole tree, after all others. Nothing is deleted there.
    pub fn seed(&mut self, now: Duration) {
        (self.full.age, self.full.not_before) = (Age::New, now);
        self.want_full(now, Deletions::Held);
    }

    /// Whether a full sync waits that deletes.
    pub fn wants_mirror(&self) -> bool {
        self.full.wanted == Some(Deletions::Travel)
    }

    /// True while the lane has to bring, or brings, the whole tree to a new remote.
    pub fn is_seeding(&self, lane: Lane) -> bool {
        let waits = self.full.wanted.is_some() && !self.audit.1;
        lane == Lane::Full && self.full.age == Age::New && (waits || self.full.running.is_some())
    }

    /// Forgets what it lacks that does not travel any more. What of it is under way is not tried again.
    pub fn forget_excluded(&mut self, filter: &Filter) {
        self.moves.clear();
        let is_wanted = |(path, entry): &Taken| !excludes(filter, path, entry.dirt, entry.mask);
        for backlog in [&mut self.backlog, &mut self.parked, &mut self.full.replay] {
            let all = backlog.drain();
            backlog.put_back(all.into_iter().filter(is_wanted).collect(), None);
        }
        for (path, _) in self.flights.drop_if(|taken| !is_wanted(taken)) {
            self.backlog.settled(&path);
        }
        self.reasons.retain(|path, _| !filter.excludes_within(path, EntryKind::File));
    }
}

/// Whether a change is of a name that does not travel. A name of which nobody knows whether it is a
/// directory counts as a file.
pub fn excludes(filter: &Filter, path: &common::path::RelPath, dirt: Dirt, mask: u32) -> bool {
    let kind = match dirt {
        Dirt::Deep | Dirt::Sweep | Dirt::RemovedDir => EntryKind::Directory,
        Dirt::Touched | Dirt::Removed if mask & IN_ISDIR != 0 => EntryKind::Directory,
        Dirt::Touched | Dirt::Removed => EntryKind::File,
    };
    filter.excludes_within(path, kind)
}
