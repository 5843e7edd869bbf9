//! What the keeper says to the supervisor: reports, finds and kept edits in frames, and signs of
//! life while one order takes long.

use std::rc::Rc;
use std::time::{Duration, Instant};

use common::event::TreeId;
use common::keep::{Edit, Find, KeeperReport, Pending};
use common::message::BUSY_BEAT_SECS;
use common::wire::{SendError, Uplink};

/// Most bytes of finds or edits in one frame, by [`find_size`] and [`edit_size`].
const MAX_BYTES: usize = 60 << 10;
/// What an encoding takes beside its path and its text, at most, in bytes.
const OVERHEAD: usize = 64;

/// The way up.
pub(super) struct Voice {
    uplink: Rc<Uplink>,
    /// Frames of finds said so far.
    told: u64,
    said_at: Instant,
}

impl Voice {
    pub(super) fn new(uplink: Uplink) -> Voice {
        Voice { uplink: Rc::new(uplink), told: 0, said_at: Instant::now() }
    }

    /// Waits until there is room: the keeper has nothing better to do.
    pub(super) fn say(&mut self, report: &KeeperReport) -> Result<(), SendError> {
        self.said_at = Instant::now();
        self.uplink.send(report)
    }

    /// To be called all the time while there is much to do: says so every now and then.
    pub(super) fn work(&mut self) {
        if self.said_at.elapsed() >= Duration::from_secs(BUSY_BEAT_SECS) {
            self.said_at = Instant::now();
            // Unread reports are signs of life too; and when nobody hears it, the next report tells.
            let _ = self.uplink.try_send(&KeeperReport::Beat);
        }
    }

    /// The same for whoever outlives this borrow.
    pub(super) fn beat(&self) -> impl Fn() + 'static {
        let uplink = Rc::clone(&self.uplink);
        move || {
            let _ = uplink.try_send(&KeeperReport::Beat);
        }
    }

    /// How many frames of finds were said.
    pub(super) fn told(&self) -> u64 {
        self.told
    }

    /// For finds of a tree.
    pub(super) fn finds(&mut self, tree: TreeId) -> Finds<'_> {
        Finds { voice: self, tree, batch: Vec::new(), bytes: 0 }
    }

    /// For what was kept.
    pub(super) fn kept(&mut self) -> Kept<'_> {
        Kept { voice: self, batch: Vec::new(), bytes: 0 }
    }
}

/// Finds on their way into frames.
pub(super) struct Finds<'a> {
    voice: &'a mut Voice,
    tree: TreeId,
    batch: Vec<Find>,
    bytes: usize,
}

impl Finds<'_> {
    pub(super) fn tell(&mut self, find: Find) -> Result<(), SendError> {
        let bytes = find_size(&find);
        if self.bytes.saturating_add(bytes) > MAX_BYTES {
            self.flush()?;
        }
        self.bytes = self.bytes.saturating_add(bytes);
        self.batch.push(find);
        Ok(())
    }

    /// Says the rest; without it, that is lost.
    pub(super) fn flush(&mut self) -> Result<(), SendError> {
        self.bytes = 0;
        let batch = std::mem::take(&mut self.batch);
        if batch.is_empty() {
            return Ok(());
        }
        self.voice.told = self.voice.told.saturating_add(1);
        self.voice.say(&KeeperReport::Found(self.tree, batch))
    }

    /// As [`Voice::work`].
    pub(super) fn work(&mut self) {
        self.voice.work();
    }
}

/// Kept edits on their way into frames.
pub(super) struct Kept<'a> {
    voice: &'a mut Voice,
    batch: Vec<Edit>,
    bytes: usize,
}

impl Kept<'_> {
    pub(super) fn tell(&mut self, edit: Edit) -> Result<(), SendError> {
        let bytes = edit_size(&edit);
        if self.bytes.saturating_add(bytes) > MAX_BYTES {
            self.flush()?;
        }
        self.bytes = self.bytes.saturating_add(bytes);
        self.batch.push(edit);
        Ok(())
    }

    /// Says the rest; without it, that is lost.
    pub(super) fn flush(&mut self) -> Result<(), SendError> {
        self.bytes = 0;
        let batch = std::mem::take(&mut self.batch);
        if batch.is_empty() { Ok(()) } else { self.voice.say(&KeeperReport::Kept(batch)) }
    }
}

fn find_size(find: &Find) -> usize {
    find.path.as_bytes().len().saturating_add(OVERHEAD)
}

fn edit_size(edit: &Edit) -> usize {
    let entry = |path: usize, pending: Option<&Pending>| {
        path.saturating_add(pending.map_or(0, |pending| pending.reason.len()))
    };
    let bytes = match edit {
        Edit::Pending(_, path, pending) | Edit::Parked(_, path, pending) => {
            entry(path.as_bytes().len(), pending.as_ref())
        }
        Edit::Held(_, path, _) => path.as_bytes().len(),
        Edit::Full(..) | Edit::Known(_) | Edit::Root(..) | Edit::Complete(..) => 0,
    };
    bytes.saturating_add(OVERHEAD)
}
