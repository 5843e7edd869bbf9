//! What is known of the time before, and of what the disk holds: of all runs, and of each tree.

use std::collections::BTreeSet;
use std::time::Duration;

use common::event::RootId;
use common::keep::{Knowledge, LastRun};

/// How long a start waits for what was kept: until then it is not known whether the root is the one
/// that it speaks of.
const PAST: Duration = Duration::from_secs(5);

/// What is known of the runs before this one.
#[derive(Debug, Default)]
pub(super) struct Past {
    /// How the last run ended, once that is known.
    pub(super) last: Option<LastRun>,
    /// Remotes that were mirrored to before.
    pub(super) known: BTreeSet<u16>,
    /// Those that were greeted in this run: a keeper that was started again need not know of it.
    pub(super) greeted: BTreeSet<u16>,
    /// What was kept was lost.
    pub(super) damaged: bool,
    /// Deaths in a row of a keeper that had not told all.
    pub(super) deaths: u32,
    /// The file cannot be written; said once.
    pub(super) unwritable: bool,
    /// So the keeper that said it will end.
    pub(super) excused: bool,
    /// Which keeper this is.
    pub(super) keeper: Keeper,
    /// When nobody waits for what was kept any more.
    pub(super) wait: Option<Duration>,
}

/// A keeper, by those before it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum Keeper {
    /// There was none: it is told what is new.
    #[default]
    First,
    /// One died: it is told all, since nothing was noted meanwhile.
    Another,
}

impl Past {
    /// A start waits for what was kept.
    pub(super) fn wait_until(&mut self, now: Duration) {
        self.wait = Some(now.saturating_add(PAST));
    }

    /// It does no more.
    pub(super) fn waited(&mut self) {
        self.wait = None;
    }

    /// How long.
    pub(super) fn until(&self) -> Option<Duration> {
        self.wait
    }
}

/// What becomes of changes that an earlier run had heard of and perhaps not written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Left {
    /// Not known yet.
    Wait,
    /// They happened again.
    Take,
    /// They are of another root.
    Drop,
}

/// Whether the time before this run was made up for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Before {
    #[default]
    Open,
    Settled,
    /// A keeper died before it had found all that nobody saw since.
    Interrupted,
}

/// What the disk knows of a tree.
#[derive(Debug, Default)]
pub(super) struct Memory {
    pub(super) root: Option<RootId>,
    /// `None` before the keeper has told.
    pub(super) knowledge: Option<Knowledge>,
    /// Since when what nobody saw is being found.
    pub(super) catching_up: Option<Duration>,
    /// Only since something may have.
    pub(super) silent: bool,
    /// Which of the tree's listings says that it was; and those that were told, and compared.
    pub(super) awaited: u64,
    pub(super) told: u64,
    pub(super) compared: u64,
    /// Parts of the tree that are being compared by themselves.
    pub(super) parts: u64,
    /// What was found since then: changed, gone.
    pub(super) found: (u64, u64),
    pub(super) before: Before,
    /// Another directory than before stands at the root.
    pub(super) moved: bool,
    /// The keeper knows all names that were reported.
    pub(super) listed: bool,
}

impl Memory {
    /// Something may have happened that nobody saw; it is spoken of if it has.
    pub(super) fn doubt(&mut self, now: Duration) {
        let silent = self.catching_up.is_none() || self.silent;
        self.catch_up(now);
        self.silent = silent;
    }

    /// Something happened that nobody saw.
    pub(super) fn catch_up(&mut self, now: Duration) {
        self.silent = false;
        self.catching_up.get_or_insert(now);
        self.awaited = self.told.saturating_add(1);
    }

    /// A part of it has to be looked at.
    pub(super) fn catch_up_part(&mut self) {
        self.parts = self.parts.saturating_add(1);
    }

    /// True while what nobody saw is being found.
    pub(super) fn is_catching_up(&self) -> bool {
        self.catching_up.is_some() || self.parts > 0
    }

    /// The keeper is gone: the next one says what is on disk, and all is listed again.
    pub(super) fn forget_disk(&mut self) {
        if self.is_catching_up() && self.before == Before::Settled {
            self.before = Before::Interrupted;
        }
        self.root = None;
        (self.told, self.compared, self.parts) = (0, 0, 0);
        self.awaited = u64::from(self.catching_up.is_some());
    }
}
