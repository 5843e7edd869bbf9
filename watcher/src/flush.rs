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
    /// The same for who only looks; the last one counts.
    looking: Option<(u64, Instant)>,
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

    /// This number is to be answered, and nothing is hurried for it.
    pub(crate) fn look(&mut self, number: u64, now: Instant) {
        self.looking = Some((number, now));
    }

    /// Answers, behind all that was reported, those for whom everything was.
    pub(crate) fn answer(&mut self, roots: &[Root], out: &mut Outbox) {
        let is_settled = |moment| roots.iter().filter_map(Root::live).all(|live| live.is_settled(moment));
        while let Some((number, _)) = self.waiting.pop_front_if(|&mut (_, moment)| is_settled(moment)) {
            out.report(WatcherReport::Flushed(number));
        }
        let is_drained = |moment| roots.iter().filter_map(Root::live).all(|live| live.is_drained(moment));
        if let Some((number, _)) = self.looking.take_if(|&mut (_, moment)| is_drained(moment)) {
            let watched =
                |root: &Root| root.live().map_or(0, |live| live.tree.directories() - live.tree.unwatched());
            let directories = roots.iter().map(watched).collect();
            out.report(WatcherReport::Looked { number, directories });
        }
    }
}
