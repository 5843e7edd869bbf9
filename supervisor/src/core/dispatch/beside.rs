//! Express lanes that get ready while a long batch begins. The first change that has to go beside it
//! would else wait for a process to be started and confined, and for an rsync to connect.

use std::time::Duration;

use common::message::Job;

use super::Dispatcher;
use crate::core::{Action, Lane, Pace, RemoteId, Role};

impl Dispatcher {
    /// Has express lanes get ready, where that takes nothing from anybody.
    pub(super) fn get_ready(&mut self, now: Duration, out: &mut Vec<Action>) {
        for id in self.remote_ids() {
            let role = Role::Syncer(id, Lane::Express);
            if self.ready_beside_at(id).is_none_or(|at| at > now) || !self.has_room(now, role) {
                continue;
            }
            if !self.pool.is_ready(role) {
                self.pool.want_syncer(now, role, |_| None::<()>, out);
                continue;
            }
            let Some((root, deletions)) = self.tree_of(role).and_then(|tree| self.permits(tree)) else {
                continue;
            };
            let Some(terms) = self.terms(now, role) else { continue };
            let Some(remote) = self.remotes.get_mut(usize::from(id.0)) else { continue };
            let job = Job { terms, ..remote.start_nothing(now, root, deletions) };
            self.pool.pace(now, role, Pace::Busy, out);
            out.push(Action::Send(role, job));
        }
    }

    /// When a remote's express lane is to get ready; `None` while workers or bandwidth are
    /// scarce, and before the end.
    pub(super) fn ready_beside_at(&self, id: RemoteId) -> Option<Duration> {
        let most = self.remotes.len().saturating_mul(Lane::ALL.len());
        let is_rich = most <= self.pool.max_syncers() && self.working() < self.slots.most();
        let remote = self.remotes.get(usize::from(id.0))?;
        self.permits(remote.tree)?;
        let is_rich = is_rich && self.shares.total().is_none() && self.draining.is_none();
        remote.ready_beside_at().filter(|_| is_rich)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::backlog::Traffic;
    use crate::core::dispatch::Setup;
    use crate::core::{Input, JobEnd};
    use common::event::{Change, Dirt, RootId, TreeId};
    use common::message::{Outcome, Work};
    use common::path::RelPath;

    const BATCH: Role = Role::Syncer(RemoteId(0), Lane::Batch);
    const BESIDE: Role = Role::Syncer(RemoteId(0), Lane::Express);

    /// A core with one remote whose batch lane is at work on `paths` paths; what it did 6 ms later.
    fn busy_with(paths: usize, max_syncers: usize) -> (Dispatcher, Vec<Action>) {
        let labels = vec![("remote".to_owned(), Traffic::OneWay)];
        let trees = vec![("/t".to_owned(), labels)];
        let mut core = Dispatcher::new(Setup { trees, max_syncers, workers: 4, ..Setup::default() });
        let change = |n| Change { path: RelPath::new(format!("{n}")).unwrap(), dirt: Dirt::Touched, mask: 8 };
        let root = RootId { device: 1, inode: 1, born: 0 };
        let at = Duration::from_millis;
        let mut out = vec![];
        core.start(at(900), &mut out);
        core.on(at(900), Input::Watching(TreeId(0), root, 1), &mut out);
        core.on(at(1000), Input::Changes(TreeId(0), (0..paths).map(change).collect()), &mut out);
        assert!(out.contains(&Action::Spawn(BATCH)));
        core.on(at(1000), Input::Ready(BATCH), &mut out);
        assert!(
            out.iter().any(|act| matches!(act, Action::Send(BATCH, _)))
                && !out.contains(&Action::Spawn(BESIDE))
        );
        let ready = core.ready_beside_at(RemoteId(0));
        assert!(ready.is_none_or(|at| core.deadline(Duration::from_secs(1)).is_some_and(|due| due <= at)));
        out.clear();
        core.on(at(1006), Input::Tick, &mut out);
        (core, out)
    }

    #[test]
    fn a_long_batch_has_the_express_lane_get_ready() {
        let (mut core, mut out) = busy_with(1000, 20);
        assert_eq!(out, [Action::Spawn(BESIDE)]);
        out.clear();
        core.on(Duration::from_millis(1010), Input::Ready(BESIDE), &mut out);
        let [Action::Send(BESIDE, job)] = &out[..] else { panic!("{out:?}") };
        assert_eq!(job.work, Work::Batch(vec![]));
        let end =
            JobEnd { outcome: Outcome::Done, status: 0, tail: String::new(), failed: None, left: vec![] };
        out.clear();
        core.on(Duration::from_millis(1011), Input::Done(BESIDE, end), &mut out);
        // Once does for a while.
        core.on(Duration::from_millis(1020), Input::Tick, &mut out);
        assert_eq!((out, core.ready_beside_at(RemoteId(0))), (vec![], None));
    }

    #[test]
    fn one_that_died_getting_ready_halves_no_batch() {
        let (mut core, mut out) = busy_with(1000, 20);
        core.on(Duration::from_millis(1010), Input::Ready(BESIDE), &mut out);
        core.on(Duration::from_millis(1011), Input::Exited(BESIDE, "signal SIGSEGV".to_owned()), &mut out);
        let end =
            JobEnd { outcome: Outcome::Done, status: 0, tail: String::new(), failed: None, left: vec![] };
        core.on(Duration::from_millis(1100), Input::Done(BATCH, end), &mut out);
        out.clear();
        let change =
            |n| Change { path: RelPath::new(format!("x{n}")).unwrap(), dirt: Dirt::Touched, mask: 8 };
        core.on(
            Duration::from_millis(1200),
            Input::Changes(TreeId(0), (0..300).map(change).collect()),
            &mut out,
        );
        let sent = out.iter().find_map(|act| match act {
            Action::Send(BATCH, Job { work: Work::Batch(paths), .. }) => Some(paths.len()),
            _ => None,
        });
        assert_eq!(sent, Some(300));
    }

    #[test]
    fn short_batches_and_few_places_start_nobody() {
        for (paths, max_syncers) in [(10, 20), (1000, 2)] {
            assert_eq!(busy_with(paths, max_syncers).1, [], "{paths} {max_syncers}");
        }
    }
}
