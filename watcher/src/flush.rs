//! Who waits until all that happened before a moment was reported.

use std::collections::VecDeque;
use std::time::Instant;

use common::message::WatcherReport;

use crate::outbox::Outbox;
use crate::root::Root;

/// Numbers that are to be answered, and when they came, oldest first.
#[derive(Default)]
pub(crate) struct Flushes {
    waiting: VecDeque<(u64, Instant)>,
}

impl Flushes {
    /// This number is to be answered. `now` must not be later than the next look into the kernel's
    /// queue.
    pub(crate) fn add(&mut self, number: u64, roots: &mut [Root], now: Instant) {
        self.waiting.push_back((number, now));
        for live in roots.iter_mut().filter_map(Root::live_mut) {
            // A file was changed under one of its names: the others are to be found now.
            live.links.hurry();
            live.limit.hurry(&live.tree);
        }
    }

    /// Answers, behind all that was reported, those for whom everything was.
    pub(crate) fn answer(&mut self, roots: &[Root], out: &mut Outbox) {
        let is_settled = |moment| roots.iter().filter_map(Root::live).all(|live| live.is_settled(moment));
        while let Some((number, _)) = self.waiting.pop_front_if(|&mut (_, moment)| is_settled(moment)) {
            out.report(WatcherReport::Flushed(number));
        }
    }
}
