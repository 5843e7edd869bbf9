//! The keeper's session as the core sees it: what waits for it, in order, in bounded memory; how
//! much the watcher may tell of names; and when what was ordered is made durable.

mod costs;

use std::collections::VecDeque;
use std::time::Duration;

use common::event::TreeId;
use common::keep::{Durable, Edit, KEEP_WINDOW, NAMES_WINDOW, NameOp};
use common::message::WatcherOrder;
use common::path::RelPath;

use super::{Action, earliest};
use costs::{OVERHEAD, cost, edit_cost, is_listing, takes_more};

/// From one commit to the next.
const PAUSE: Duration = Duration::from_secs(1);
/// Most bytes of names that wait for the keeper. Beyond, they are dropped, and listed again later.
const MAX_BYTES: usize = 8 << 20;
/// Most bytes of edits in one order, and of names that were gathered for one: it fits one message of the
/// channel.
const MAX_EDITS: usize = 40 << 10;
/// Most paths that are told at once. The rest is told when the keeper has those: they never stand in
/// one place, however many there are.
const PORTION: usize = if cfg!(test) { 3 } else { 4096 };
/// Portions before a commit. Beyond, all that is left is told at once, or there might never be one.
const MAX_PORTIONS: usize = 1000;
/// How long names of live changes wait for more of them: each order wakes two processes.
const GATHERING: Duration = Duration::from_millis(50);
/// From one order to list everything again to the next.
const LIST_PAUSE: Duration = Duration::from_secs(10);

/// What the keeper is to do; the event loop puts the ticket on it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Keep {
    /// As [`common::keep::KeeperOrder::Names`].
    Names(TreeId, Vec<NameOp>),
    /// As [`common::keep::KeeperOrder::Listed`].
    Listed(TreeId, RelPath),
    /// As [`common::keep::KeeperOrder::Edits`].
    Edits(Vec<Edit>),
    /// As [`common::keep::KeeperOrder::Commit`].
    Commit {
        /// Reports of finds heard.
        heard: u64,
        /// The last one of an orderly end.
        last: bool,
    },
}

/// Whether the keeper knows all names that were reported.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Names {
    /// It does.
    Whole,
    /// Some were dropped, and are to be listed again.
    Partial,
}

/// Whether there is a keeper to talk to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Session {
    /// None, or it has not told all that it kept.
    Away,
    /// It has.
    Live,
}

/// Whether this is an orderly end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    /// It is not.
    No,
    /// All is to be made durable.
    Asked,
    /// All is that can be.
    Done,
}

/// An order under way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sent {
    /// Names of a listing: when they are done, the watcher may tell more.
    Listing,
    /// Anything else.
    Other,
}

/// The session, and all sessions before it.
#[derive(Debug)]
pub struct Keeping {
    session: Session,
    queue: VecDeque<Keep>,
    bytes: usize,
    /// Orders in the queue with what was told beside names.
    edits: usize,
    /// How often some of it was told since the last commit.
    portions: usize,
    sent: VecDeque<Sent>,
    /// Until when names that wait by themselves may wait for more.
    gathering: Duration,
    /// Reports of finds in this session.
    heard: u64,
    /// Something was ordered since the last commit.
    dirty: bool,
    committing: bool,
    /// The commit under way, or the one before, was ordered for an orderly end.
    closing: bool,
    names: Names,
    commit_at: Duration,
    end: End,
    /// Frames of listings that the watcher may still send; `None` while there is no watcher.
    room: Option<u32>,
    /// Of the watcher's listings.
    pass: u32,
    /// Names were dropped: when everything may be listed again.
    relist_at: Option<Duration>,
}

impl Default for Keeping {
    fn default() -> Keeping {
        Keeping {
            session: Session::Away,
            queue: VecDeque::new(),
            bytes: 0,
            edits: 0,
            portions: 0,
            sent: VecDeque::new(),
            gathering: Duration::ZERO,
            heard: 0,
            dirty: false,
            committing: false,
            closing: false,
            names: Names::Partial,
            commit_at: Duration::ZERO,
            end: End::No,
            room: None,
            pass: 0,
            relist_at: None,
        }
    }
}

impl Keeping {
    /// True while names were lost that are to be listed again.
    pub fn relists(&self) -> bool {
        self.is_live() && self.relist_at.is_some()
    }

    /// True while the keeper takes orders.
    pub fn is_live(&self) -> bool {
        self.session == Session::Live
    }

    /// The keeper has told all that it kept. A watcher that listed for an earlier one starts anew.
    pub fn begin(&mut self, now: Duration, first: bool, out: &mut Vec<Action>) {
        self.session = Session::Live;
        if !first {
            self.list_again(now, out);
        }
        self.make_room(out);
    }

    /// The keeper is gone, with all that was not committed.
    pub fn end(&mut self) {
        self.session = Session::Away;
        self.queue.clear();
        self.sent.clear();
        (self.bytes, self.heard, self.committing) = (0, 0, false);
        (self.edits, self.portions) = (0, 0);
        self.relist_at = None;
        // Nothing more can be done for an orderly end.
        if self.end == End::Asked {
            self.end = End::Done;
        }
    }

    /// A new watcher: it lists everything, once there is room.
    pub fn watcher_started(&mut self, out: &mut Vec<Action>) {
        (self.room, self.pass, self.relist_at) = (Some(0), 0, None);
        if self.is_live() {
            self.make_room(out);
        }
    }

    /// The watcher is gone.
    pub fn watcher_ended(&mut self) {
        self.room = None;
    }

    /// The watcher told names. True when there was no room for them.
    pub fn names(&mut self, now: Duration, tree: TreeId, ops: Vec<NameOp>, wanted: bool) -> bool {
        let listing = ops.iter().any(is_listing);
        if let (true, Some(room)) = (listing, &mut self.room) {
            *room = room.saturating_sub(1);
        }
        if !self.is_live() || !wanted {
            return false;
        }
        let bytes = ops.iter().map(cost).fold(0, usize::saturating_add);
        if self.bytes.saturating_add(bytes) > MAX_BYTES {
            self.lost(now);
            return true;
        }
        self.bytes = self.bytes.saturating_add(bytes);
        self.dirty = true;
        match self.queue.back_mut() {
            Some(Keep::Names(other, waiting)) if *other == tree && !listing && takes_more(waiting, bytes) => {
                waiting.extend(ops);
            }
            Some(_) => self.queue.push_back(Keep::Names(tree, ops)),
            None => {
                self.gathering = now.saturating_add(GATHERING);
                self.queue.push_back(Keep::Names(tree, ops));
            }
        }
        false
    }

    /// True while all that waits are names of live changes that may wait for more.
    fn gathers(&self) -> bool {
        match self.queue.front() {
            Some(Keep::Names(_, ops)) => self.queue.len() == 1 && takes_more(ops, 0),
            Some(Keep::Listed(..) | Keep::Edits(_) | Keep::Commit { .. }) | None => false,
        }
    }

    /// Names were dropped, here or by the watcher.
    pub fn lost(&mut self, now: Duration) {
        self.relist_at.get_or_insert(now.saturating_add(LIST_PAUSE));
    }

    /// The watcher has listed all at and below a path. False when that says nothing: more was
    /// lost since, or it is an old pass.
    pub fn listed(&mut self, tree: TreeId, path: RelPath, pass: u32) -> bool {
        let cost = path.as_bytes().len().saturating_add(OVERHEAD);
        let room = self.bytes.saturating_add(cost) <= MAX_BYTES;
        let counts = self.is_live() && pass == self.pass && self.relist_at.is_none() && room;
        if counts {
            self.dirty = true;
            self.bytes = self.bytes.saturating_add(cost);
            self.queue.push_back(Keep::Listed(tree, path));
        }
        counts
    }

    /// Tells the keeper something beside names, without waiting for a commit.
    pub fn edit(&mut self, edits: impl IntoIterator<Item = Edit>) {
        self.edits(|tell| edits.into_iter().for_each(tell));
    }

    /// The same, for many that `source` tells one by one.
    pub fn edits(&mut self, source: impl FnOnce(&mut dyn FnMut(Edit))) {
        if !self.is_live() {
            return;
        }
        let (mut order, mut bytes) = (Vec::new(), 0_usize);
        let (queue, dirty, orders) = (&mut self.queue, &mut self.dirty, &mut self.edits);
        let mut push = |order: Vec<Edit>| {
            *orders = orders.saturating_add(1);
            queue.push_back(Keep::Edits(order));
        };
        source(&mut |edit| {
            *dirty = true;
            let cost = edit_cost(&edit);
            if bytes.saturating_add(cost) > MAX_EDITS && !order.is_empty() {
                let mut full = std::mem::take(&mut order);
                full.shrink_to_fit();
                push(full);
                bytes = 0;
            }
            bytes = bytes.saturating_add(cost);
            order.push(edit);
        });
        if !order.is_empty() {
            push(order);
        }
    }

    /// How many paths may be told now; 0 while the keeper has yet to get those before.
    pub fn portion(&mut self) -> usize {
        if self.edits > 0 {
            return 0;
        }
        self.portions = self.portions.saturating_add(1);
        if self.portions > MAX_PORTIONS { usize::MAX } else { PORTION }
    }

    /// Finds were reported.
    pub fn heard(&mut self) {
        self.heard = self.heard.saturating_add(1);
    }

    /// An order is done.
    pub fn done(&mut self, out: &mut Vec<Action>) {
        if self.sent.pop_front() == Some(Sent::Listing) {
            self.make_room(out);
        }
    }

    /// A commit is done.
    pub fn committed(&mut self, durable: Durable, out: &mut Vec<Action>) {
        if (durable, self.names) == (Durable::Yes, Names::Whole) {
            out.push(Action::Settle);
        }
        self.sent.pop_front();
        self.committing = false;
        match durable {
            Durable::Yes if self.closing && self.queue.is_empty() => self.end = End::Done,
            Durable::Yes => {}
            Durable::NotYet => self.dirty = true,
        }
    }

    /// Whether it is time for a commit; `edits` says whether there is anything to tell beside names.
    pub fn is_due(&self, now: Duration, edits: bool) -> bool {
        let ending = self.end == End::Asked;
        let wants = self.dirty || edits || ending;
        self.is_live() && wants && !self.committing && (ending || now >= self.commit_at)
    }

    /// Orders a commit, behind everything that waits.
    /// `names` says whether all names that were reported are among it.
    pub fn commit(&mut self, now: Duration, names: Names, out: &mut Vec<Action>) {
        self.names = names;
        if names == Names::Whole {
            out.push(Action::Rotate);
        }
        (self.dirty, self.committing, self.portions) = (false, true, 0);
        self.commit_at = now.saturating_add(PAUSE);
        self.closing = self.end != End::No;
        self.queue.push_back(Keep::Commit { heard: self.heard, last: self.closing });
    }

    /// This is an orderly end: commits follow each other until all is durable.
    pub fn finish(&mut self) {
        self.end = if self.is_live() { End::Asked } else { End::Done };
    }

    /// True when all that could be made durable is.
    pub fn has_ended(&self) -> bool {
        self.end == End::Done
    }

    /// Gives the keeper what it may have, and the watcher its orders.
    pub fn pump(&mut self, now: Duration, out: &mut Vec<Action>) {
        if self.is_live() && self.relist_at.is_some_and(|at| now >= at) {
            self.list_again(now, out);
        }
        while self.sent.len() < KEEP_WINDOW
            && (now >= self.gathering || !self.gathers())
            && let Some(mut keep) = self.queue.pop_front()
        {
            let sent = match &mut keep {
                Keep::Names(_, ops) => {
                    let bytes = ops.iter().map(cost).fold(0, usize::saturating_add);
                    self.bytes = self.bytes.saturating_sub(bytes);
                    if ops.iter().any(is_listing) { Sent::Listing } else { Sent::Other }
                }
                Keep::Listed(_, path) => {
                    let cost = path.as_bytes().len().saturating_add(OVERHEAD);
                    self.bytes = self.bytes.saturating_sub(cost);
                    Sent::Other
                }
                Keep::Edits(_) => {
                    self.edits = self.edits.saturating_sub(1);
                    Sent::Other
                }
                Keep::Commit { .. } => Sent::Other,
            };
            self.sent.push_back(sent);
            out.push(Action::Keep(keep));
        }
    }

    /// When time alone changes something; `edits` as for [`Keeping::is_due`].
    pub fn deadline(&self, edits: bool) -> Option<Duration> {
        let wants = self.is_live() && !self.committing && (self.dirty || edits);
        let gathered = self.gathers().then_some(self.gathering);
        let relist = self.relist_at.filter(|_| self.is_live());
        [wants.then_some(self.commit_at), gathered, relist].into_iter().fold(None, earliest)
    }

    #[cfg(test)]
    pub(super) fn pass(&self) -> u32 {
        self.pass
    }

    fn list_again(&mut self, now: Duration, out: &mut Vec<Action>) {
        self.relist_at = None;
        if self.room.is_some() {
            self.pass = self.pass.saturating_add(1);
            out.push(Action::Watch(WatcherOrder::List(self.pass)));
        }
        self.commit_at = self.commit_at.max(now);
    }

    /// As much as the keeper has room for.
    fn make_room(&mut self, out: &mut Vec<Action>) {
        let waiting = self
            .queue
            .iter()
            .filter(|keep| matches!(keep, Keep::Names(_, ops) if ops.iter().any(is_listing)));
        let waiting = u32::try_from(waiting.count()).unwrap_or(u32::MAX);
        if let Some(room) = &mut self.room {
            let more = NAMES_WINDOW.saturating_sub(waiting).saturating_sub(*room);
            if more > 0 {
                *room = room.saturating_add(more);
                out.push(Action::Watch(WatcherOrder::Room(more)));
            }
        }
    }
}

#[cfg(test)]
mod tests;
