//! Renamed directories and files on their way to a remote.

use std::time::Duration;

use common::event::Change;
use common::filter::EntryKind;
use common::message::Move;
use common::path::RelPath;

use super::Remote;
use crate::core::backlog::Traffic;
use crate::core::moves::{Copy, Turn};

impl Remote {
    /// A directory or file was renamed here; both changes follow.
    pub fn moved(&mut self, now: Duration, kind: EntryKind, from: &RelPath, to: &RelPath) {
        // Links made over there would come back as changes that nobody takes for echoes.
        if self.traffic == Traffic::BothWays || self.held {
            return;
        }
        let is_full = self.full.wanted.is_some() || self.full.running.is_some();
        let waits = self.backlog.meets(from) || self.parked.meets(from);
        let settled = !is_full && !waits && !self.in_flight().any(|path| path.overlaps(from));
        let copy = if settled { Copy::Settled } else { Copy::Unsettled };
        let turns = self.moves.note(now, kind, (from, to), copy);
        self.turn(now, turns);
    }

    /// The removal of an old name waits for the new one, so that one job carries both.
    pub(super) fn pair_up(&mut self, now: Duration, change: &Change) {
        let turns = self.moves.changed(now, change);
        self.turn(now, turns);
    }

    /// A job left these large files out.
    pub(super) fn move_later(&mut self, now: Duration, moves: Vec<Move>, left: &[RelPath]) {
        self.moves.again(now, moves.into_iter().filter(|it| left.contains(&it.to)));
    }

    fn turn(&mut self, now: Duration, turns: Vec<Turn>) {
        for turn in turns {
            match turn {
                Turn::Hold(path, until) => self.backlog.hold_removal(&path, until),
                Turn::Release(path) => self.backlog.hold_removal(&path, now),
            }
        }
    }
}
