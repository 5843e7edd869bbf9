//! When the kernel gives no more watches: say so, say the cure, and look again at the
//! directories without a watch from time to time.

use std::time::{Duration, Instant};

use common::message::{WatcherReport, watches_wanted};

use crate::live::Live;
use crate::outbox::Outbox;
use crate::scan::{Then, Voice, Work};
use crate::tree::{NodeId, Tree};

/// How often directories without a watch are looked at, in seconds.
pub(crate) const UNWATCHED_RESCAN_SECS: u64 = 60;
/// Most paths of them that are reported; beyond, the whole tree is.
const MAX_PATHS: usize = 256;
/// Directories that are gone through in one step to find them.
const DIRECTORIES_AT_ONCE: usize = 5000;
/// How often the number of them may be reported.
const REPORT_PAUSE: Duration = Duration::from_secs(10);

/// What was said, and when to act again.
#[derive(Default)]
pub(crate) struct Limit {
    said: u64,
    said_at: Option<Instant>,
    retried_at: Option<Instant>,
    /// Somebody waits for the next look.
    hurried: bool,
}

impl Limit {
    /// Somebody waits until all that happened before now was reported: what has no watch is looked
    /// at for him.
    pub(crate) fn hurry(&mut self, tree: &Tree) {
        self.hurried = tree.unwatched() > 0;
    }

    /// True before that look has begun.
    pub(crate) fn is_hurried(&self) -> bool {
        self.hurried
    }

    /// When the next look is due.
    pub(crate) fn deadline(&self, tree: &Tree) -> Option<Instant> {
        if self.hurried {
            return Some(Instant::now());
        }
        let pause = Duration::from_secs(UNWATCHED_RESCAN_SECS);
        self.retried_at.filter(|_| tree.unwatched() > 0).map(|at| at + pause)
    }

    /// Makes the next look, and the next word about it, due now.
    #[cfg(test)]
    pub(crate) fn make_due(&mut self) {
        let pause = Duration::from_secs(UNWATCHED_RESCAN_SECS);
        self.retried_at = self.retried_at.and_then(|at| at.checked_sub(pause));
        self.said_at = None;
    }

    /// Whether a tenth more or less than what was said, or the end of it, is to be said.
    fn is_news(&self, unwatched: u64, now: Instant) -> bool {
        let changed = unwatched.abs_diff(self.said) > self.said / 10;
        let ended = unwatched == 0 && self.said > 0;
        (changed || ended) && self.said_at.is_none_or(|at| now >= at + REPORT_PAUSE)
    }
}

impl Live {
    /// Reports how many directories have no watch, if that is news. `all_needed` counts the
    /// directories of all trees: they share one limit.
    pub(crate) fn tell_limit(&mut self, now: Instant, all_needed: u64, out: &mut Outbox) {
        let (unwatched, needed) = (self.tree.unwatched(), self.tree.directories());
        if self.scan.is_busy() || !self.limit.is_news(unwatched, now) {
            return;
        }
        if unwatched == 0 {
            log::info!("watch limit over: every directory is watched directories={needed}");
        } else {
            log::error!(
                "watch limit reached unwatched={unwatched} needed={all_needed}: these directories are only looked at \
                 every {UNWATCHED_RESCAN_SECS} s; cure: sysctl fs.inotify.max_user_watches={}",
                watches_wanted(all_needed)
            );
        }
        self.limit.said = unwatched;
        self.limit.said_at = Some(now);
        self.limit.retried_at.get_or_insert(now);
        out.report(WatcherReport::WatchLimit { tree: self.id, unwatched, needed });
    }

    /// When it is time, tries again to watch what is not watched. Whether that works or not,
    /// it is then reported: what happened there meanwhile was not seen.
    pub(crate) fn retry_unwatched(&mut self, now: Instant) {
        if self.limit.deadline(&self.tree).is_none_or(|deadline| Instant::now() < deadline) {
            return;
        }
        self.limit.retried_at = Some(now);
        self.limit.hurried = false;
        self.scan.push(Work::Seek(self.tree.root(), Vec::new()));
    }

    /// Goes on looking for directories without a watch, from here; these are found. Once all are
    /// they are read, or the whole tree, where they are too many.
    pub(crate) fn seek(&mut self, from: NodeId, mut found: Vec<NodeId>) {
        let root = self.tree.root();
        let next = self.tree.topmost_unwatched((from, DIRECTORIES_AT_ONCE), &mut found);
        if found.len() > MAX_PATHS {
            found = vec![root];
        } else if let Some(next) = next {
            self.scan.push(Work::Seek(next, found));
            return;
        }
        self.scan.push(Work::Done(root, Then::Retried(found.clone())));
        for node in found {
            self.scan.push(Work::Read(node, Voice::Quiet));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_news() {
        let now = Instant::now();
        let said = |said, ago| Limit {
            said,
            said_at: now.checked_sub(Duration::from_secs(ago)),
            retried_at: None,
            hurried: false,
        };
        for (limit, unwatched, news) in [
            (Limit::default(), 0, false),
            (Limit::default(), 1, true),
            (said(100, 11), 105, false),
            (said(100, 11), 111, true),
            (said(100, 11), 89, true),
            (said(100, 9), 200, false),
            (said(1, 11), 0, true),
        ] {
            assert_eq!(limit.is_news(unwatched, now), news, "{} {unwatched}", limit.said);
        }
    }

    #[test]
    fn reserve_rounds_up() {
        assert_eq!(watches_wanted(11), 14);
        assert_eq!(watches_wanted(0), 0);
    }
}
