//! Files that change again and again while they are sent. To send them without a pause would keep both
//! machines busy with states that nobody will see; so there is a short one, in which they change on. What
//! is alone does not wait for it: the express lane takes that.

use std::collections::HashSet;
use std::time::Duration;

use common::path::RelPath;

use super::Remote;
use super::flights::Flight;

/// Most paths of a batch that are remembered until the next one.
const MOST: usize = 4096;
/// How many times as long as the batch took.
const TIMES: u32 = 5;
/// The longest pause. What else changes among them waits as long, and shall not be seen to.
const LONGEST: Duration = Duration::from_millis(60);

/// What changes again and again.
#[derive(Debug, Default)]
pub(super) struct Hot {
    /// The paths of the last batch, unless there were many.
    last: HashSet<RelPath>,
    /// No batch begins before.
    pub(super) rests_until: Duration,
}

impl Remote {
    /// A batch was sent. Where a quarter of it was in the one before as well, and has changed again by now,
    /// [`TIMES`] the time that it took goes by before the next.
    pub(super) fn cool_down(&mut self, now: Duration, flight: &Flight) {
        let again = |path: &&RelPath| self.hot.last.contains(*path) && self.backlog.holds(path);
        let paths = || flight.taken.iter().map(|(path, _)| path);
        let count = paths().filter(again).count();
        if count > 0 && count.saturating_mul(4) >= flight.taken.len() {
            let pause = now.saturating_sub(flight.since).saturating_mul(TIMES).min(LONGEST);
            self.hot.rests_until = now.saturating_add(pause);
        }
        self.hot.last = if flight.taken.len() > MOST { HashSet::new() } else { paths().cloned().collect() };
        if now < self.hot.rests_until {
            self.lonely.leave(&self.hot.last);
        }
    }

    /// Whether the next batch is waited for with this one.
    pub(super) fn is_hot(&self, now: Duration, path: &RelPath) -> bool {
        now < self.hot.rests_until && self.hot.last.contains(path)
    }
}

#[cfg(test)]
mod tests {
    use common::event::{Change, Dirt, RootId, TreeId};
    use common::message::{Deletions, Outcome, Work};

    use super::*;
    use crate::core::backlog::Traffic;
    use crate::core::retry::Jitter;
    use crate::core::{JobEnd, Lane};

    fn at(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    fn change(remote: &mut Remote, now: u64, names: &[&str]) {
        let change =
            |name: &&str| Change { path: RelPath::new(*name).unwrap(), dirt: Dirt::Touched, mask: 8 };
        remote.insert(at(now), &names.iter().map(change).collect::<Vec<_>>());
    }

    /// A batch from `now` on, during which `names` change; when the next one may begin.
    fn batch(remote: &mut Remote, now: u64, took: u64, names: &[&str]) -> Option<Duration> {
        let root = RootId { device: 1, inode: 2, born: 3 };
        remote.start(at(now), Lane::Batch, root, Deletions::Travel).unwrap();
        change(remote, now + 1, names);
        let end =
            JobEnd { outcome: Outcome::Done, status: 0, tail: String::new(), failed: None, left: vec![] };
        remote.finish(at(now + took), Lane::Batch, &end, &mut Jitter::new(1));
        (now + took..now + took + 100).map(at).find(|&at| remote.waiting_since(at, Lane::Batch).is_some())
    }

    #[test]
    fn what_never_rests_is_sent_with_pauses() {
        let mut remote = Remote::new(TreeId(0), "r".to_owned(), Traffic::OneWay, 7);
        change(&mut remote, 1000, &["a", "b", "c", "d"]);
        assert_eq!(batch(&mut remote, 1000, 10, &["a", "x"]), Some(at(1010)), "once is not again");
        assert_eq!(batch(&mut remote, 1010, 10, &["a", "y"]), Some(at(1070)));
        assert_eq!(batch(&mut remote, 1070, 500, &["a"]), Some(at(1630)), "never for long");
        assert_eq!(batch(&mut remote, 1630, 10, &["b", "c"]), Some(at(1640)), "others");
        assert_eq!(batch(&mut remote, 1640, 10, &[]), None);
    }

    #[test]
    fn what_is_alone_does_not_wait_for_what_never_rests() {
        let mut remote = Remote::new(TreeId(0), "r".to_owned(), Traffic::OneWay, 7);
        change(&mut remote, 1000, &["hot/a"]);
        batch(&mut remote, 1000, 10, &["hot/a"]);
        assert_eq!(batch(&mut remote, 1010, 10, &["hot/a"]), Some(at(1070)));
        change(&mut remote, 1025, &["cold/x"]);
        let since = |now, lane| remote.waiting_since(at(now), lane);
        assert_eq!((since(1029, Lane::Express), since(1030, Lane::Express)), (None, Some(at(1030))));
        assert_eq!((since(1069, Lane::Batch), remote.deadline(at(1026))), (None, Some(at(1030))));
        let root = RootId { device: 1, inode: 2, born: 3 };
        let job = remote.start(at(1030), Lane::Express, root, Deletions::Travel).unwrap();
        assert_eq!(job.work, Work::Batch(vec![(RelPath::new("cold/x").unwrap(), Dirt::Touched)]));
        assert_eq!(remote.waiting_since(at(1070), Lane::Batch), Some(at(1011)));
    }

    #[test]
    fn a_burst_of_new_files_goes_on() {
        let mut remote = Remote::new(TreeId(0), "r".to_owned(), Traffic::OneWay, 7);
        let names: Vec<String> = (0..40).map(|n| n.to_string()).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        change(&mut remote, 1000, &names[..10]);
        for (number, now) in [1000, 1010, 1020].into_iter().enumerate() {
            let from = (number + 1) * 10 - 2;
            assert_eq!(batch(&mut remote, now, 10, &names[from..from + 12]), Some(at(now + 10)), "{number}");
        }
    }
}
