//! In sync is said of a remote only when nothing at all speaks against it.

use common::config::{DeleteGuard, GuardScope};
use common::event::{Change, Dirt, RootId};
use common::message::{FailedPath, Job, Listing, Outcome};
use common::path::RelPath;

use super::*;
use crate::core::backlog::Traffic;
use crate::core::dispatch::Setup;
use crate::core::remote::Standing;
use crate::core::restart::State;
use crate::core::view::{Errand, MAX_NAMED};
use crate::core::{Action, Input, JobEnd};

const TREE: TreeId = TreeId(0);
const ROOT: RootId = RootId { device: 1, inode: 1, born: 0 };
const OTHER: RootId = RootId { device: 1, inode: 2, born: 0 };
const BATCH: Role = Role::Syncer(RemoteId(0), Lane::Batch);
const FULL: Role = Role::Syncer(RemoteId(0), Lane::Full);

/// A core with one remote, whose children are ready as soon as they are started.
struct Fixture {
    core: Dispatcher,
    now: Duration,
    jobs: Vec<(Role, Job)>,
    log: Vec<String>,
}

impl Fixture {
    fn new(full_sync: bool) -> Fixture {
        let labels = vec![("remote".to_owned(), Traffic::OneWay)];
        let brake = DeleteGuard { scope: GuardScope::All, names: 2, percent: 0 };
        let trees = vec![("/t".to_owned(), labels)];
        let setup = Setup { trees, max_syncers: 20, workers: 4, full_sync, brake, ..Setup::default() };
        let (core, now) = (Dispatcher::new(setup), Duration::from_secs(1));
        let mut fixture = Fixture { core, now, jobs: vec![], log: vec![] };
        let mut out = vec![];
        fixture.core.start(fixture.now, &mut out);
        fixture.perform(out);
        fixture
    }

    fn tell(&mut self, input: Input) {
        let mut out = vec![];
        self.core.on(self.now, input, &mut out);
        self.perform(out);
    }

    fn perform(&mut self, out: Vec<Action>) {
        for action in out {
            match action {
                Action::Spawn(role) => self.tell(Input::Ready(role)),
                Action::Send(role, job) => self.jobs.push((role, job)),
                Action::Log(_, line) => self.log.push(line),
                _ => {}
            }
        }
    }

    fn after(&mut self, seconds: u64) {
        self.now += Duration::from_secs(seconds);
        self.tell(Input::Tick);
    }

    /// Until something is tried again; all live meanwhile.
    fn until_busy(&mut self) {
        while self.jobs.is_empty() {
            self.after(10);
            for role in [BATCH, FULL, Role::Watcher] {
                self.tell(Input::Alive(role, crate::core::Pace::Idle));
            }
        }
    }

    fn change(&mut self, name: &str, dirt: Dirt) {
        let change = Change { path: RelPath::new(name).unwrap(), dirt, mask: 8 };
        self.tell(Input::Changes(TREE, vec![change]));
    }

    fn end(&mut self, role: Role, outcome: Outcome, failed: &[&str]) {
        self.jobs.retain(|(other, _)| *other != role);
        let path = |path: &&str| FailedPath { path: RelPath::new(*path).unwrap(), reason: "no".to_owned() };
        let failed = (!failed.is_empty()).then(|| failed.iter().map(path).collect());
        let end = JobEnd { outcome, status: 5, tail: "it said so".to_owned(), failed, left: vec![] };
        self.tell(Input::Done(role, end));
    }

    fn health(&self) -> Health {
        self.core.view(self.now).remotes[0].health
    }
}

fn watched() -> Fixture {
    let mut fixture = Fixture::new(false);
    assert_eq!(fixture.health(), Health::Unwatched);
    fixture.tell(Input::Watching(TREE, ROOT, 7));
    assert_eq!(fixture.health(), Health::InSync);
    fixture
}

#[test]
fn behind_until_it_is_done() {
    let mut fixture = watched();
    fixture.change("a", Dirt::Touched);
    fixture.after(3);
    let now = fixture.now;
    let view = fixture.core.view(now);
    let remote = &view.remotes[0];
    assert_eq!(
        (remote.health, remote.pending, remote.behind),
        (Health::Behind, 1, Some(Duration::from_secs(3)))
    );
    let flight = remote.flights[0];
    assert_eq!(
        (flight.work, flight.since, flight.stalled),
        (Errand::Batch(1), now.saturating_sub(Duration::from_secs(3)), false)
    );
    fixture.end(BATCH, Outcome::Done, &[]);
    let view = fixture.core.view(now);
    let remote = &view.remotes[0];
    assert_eq!((remote.health, remote.pending, remote.behind), (Health::InSync, 0, None));
    assert!(remote.flights.is_empty() && remote.mishap.is_none() && remote.tally.ended(Outcome::Done) == 1);
}

#[test]
fn down_with_words_until_it_is_up_again() {
    let mut fixture = watched();
    fixture.change("a", Dirt::Touched);
    fixture.end(BATCH, Outcome::Unreachable, &[]);
    let (now, since) = (fixture.now, fixture.now);
    let view = fixture.core.view(now);
    let remote = &view.remotes[0];
    assert_eq!((remote.health, remote.standing), (Health::Down, Standing::Unreachable));
    assert!(remote.down_since == Some(since) && remote.retry_at.is_some_and(|at| at > now));
    let mishap = remote.mishap.unwrap();
    assert_eq!(
        (mishap.outcome, mishap.said.as_str(), mishap.is_over),
        (Outcome::Unreachable, "it said so", false)
    );
    fixture.after(100);
    assert_eq!(fixture.core.view(fixture.now).remotes[0].down_since, Some(since));
    fixture.end(BATCH, Outcome::Done, &[]);
    let view = fixture.core.view(fixture.now);
    let remote = &view.remotes[0];
    assert_eq!((remote.health, remote.down_since), (Health::InSync, None));
    assert!(remote.mishap.is_some_and(|mishap| mishap.is_over));
}

/// It was up with each batch of which some got through, and down with the next: a hundred lines in two
/// minutes.
#[test]
fn a_remote_without_space_does_not_flap() {
    let mut fixture = watched();
    fixture.log.clear();
    for _ in 0..20 {
        fixture.change("large", Dirt::Touched);
        fixture.change("small", Dirt::Touched);
        fixture.until_busy();
        fixture.end(BATCH, Outcome::NoSpace, &[]);
        fixture.until_busy();
        fixture.end(BATCH, Outcome::Partial, &["large"]);
        assert_eq!(fixture.health(), Health::Down);
    }
    let count = |fixture: &Fixture, words| fixture.log.iter().filter(|line| line.contains(words)).count();
    assert_eq!((count(&fixture, "remote down"), count(&fixture, "remote up")), (1, 0), "{:?}", fixture.log);
    // There is room again, and something else keeps a path from going.
    fixture.after(61);
    fixture.until_busy();
    fixture.end(BATCH, Outcome::Partial, &["large"]);
    assert_eq!((count(&fixture, "remote up"), fixture.health()), (1, Health::Failing));
}

#[test]
fn one_that_moves_nothing_is_down() {
    let mut fixture = watched();
    fixture.change("a", Dirt::Touched);
    for _ in 0..4 {
        assert_eq!(fixture.health(), Health::Behind);
        fixture.tell(Input::Stalled(BATCH));
    }
    let view = fixture.core.view(fixture.now);
    assert!(view.remotes[0].health == Health::Down && view.remotes[0].flights[0].stalled);
}

#[test]
fn paths_in_quarantine_fail_the_remote_and_are_named() {
    let mut fixture = watched();
    let names: Vec<String> = (0..MAX_NAMED + 5).map(|n| format!("f{n:02}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let change = |name: &&str| Change { path: RelPath::new(*name).unwrap(), dirt: Dirt::Touched, mask: 8 };
    fixture.tell(Input::Changes(TREE, names.iter().map(change).collect()));
    let began = fixture.now;
    assert_eq!(fixture.health(), Health::Behind);
    // Each path is tried again by its own clock.
    for _ in 0..1000 {
        if fixture.core.view(fixture.now).remotes[0].quarantine == names.len() {
            break;
        }
        fixture.until_busy();
        fixture.end(BATCH, Outcome::Partial, &names);
    }
    // Under way or not.
    fixture.until_busy();
    let view = fixture.core.view(fixture.now);
    let remote = &view.remotes[0];
    assert_eq!(remote.health, Health::Failing);
    assert_eq!((remote.quarantine, remote.quarantined.len()), (MAX_NAMED + 5, MAX_NAMED));
    assert_eq!(remote.flights.len(), 1);
    let first = remote.quarantined[0];
    assert!(first.attempts >= 3 && first.reason == "no", "{first:?}");
    assert_eq!(first.waits, fixture.now.saturating_sub(began));
}

#[test]
fn held_deletions_are_no_sync() {
    let mut fixture = watched();
    for name in ["a", "b", "c", "d"] {
        fixture.change(name, Dirt::Removed);
    }
    fixture.after(1);
    while fixture.jobs.iter().any(|(role, _)| *role == BATCH) {
        fixture.end(BATCH, Outcome::Done, &[]);
    }
    fixture.after(1);
    let view = fixture.core.view(fixture.now);
    assert!(view.trees[0].braked > 0);
    assert_eq!(view.remotes[0].health, Health::Held);
}

#[test]
fn a_full_sync_that_is_owed_is_no_sync() {
    let mut fixture = Fixture::new(true);
    fixture.tell(Input::Watching(TREE, ROOT, 7));
    assert_eq!(fixture.jobs.len(), 1);
    let advance =
        Advance { bytes: 10_000, files: 3, percent: 50, to_check: Some((5, 10)), listing: Listing::Complete };
    fixture.after(2);
    fixture.core.advanced(fixture.now, FULL, advance);
    // Of a job that it has not.
    fixture.core.advanced(fixture.now, BATCH, advance);
    let view = fixture.core.view(fixture.now);
    let remote = &view.remotes[0];
    assert_eq!((remote.health, remote.behind), (Health::Behind, Some(Duration::from_secs(2))));
    assert_eq!(remote.flights.len(), 1);
    assert_eq!((remote.flights[0].work, remote.flights[0].advance), (Errand::Full, Some(advance)));
    assert_eq!((remote.tally.bytes(), remote.tally.rate(fixture.now)), (10_000, 1000));
    drop(view);
    fixture.end(FULL, Outcome::Refused, &[]);
    let view = fixture.core.view(fixture.now);
    assert_eq!(
        (view.remotes[0].health, view.remotes[0].full.trouble),
        (Health::Failing, Some(Outcome::Refused))
    );
    drop(view);
    fixture.until_busy();
    fixture.end(FULL, Outcome::Done, &[]);
    let view = fixture.core.view(fixture.now);
    assert_eq!(
        (view.remotes[0].health, view.remotes[0].tally.full_syncs()),
        (Health::InSync, (1, Some(fixture.now)))
    );
}

#[test]
fn bytes_of_a_job_are_told_with_its_end() {
    let mut fixture = watched();
    fixture.change("a", Dirt::Touched);
    fixture.core.moved_bytes(fixture.now, BATCH, 300);
    fixture.core.moved_bytes(fixture.now, BATCH, 200);
    fixture.end(BATCH, Outcome::Done, &[]);
    fixture.core.moved_bytes(fixture.now, BATCH, 1 << 60);
    assert_eq!(fixture.core.view(fixture.now).remotes[0].tally.bytes(), 300);
}

/// It was in sync, though what happens there is seen a minute later.
#[test]
fn directories_without_a_watch_are_no_sync() {
    let mut fixture = watched();
    fixture.core.unwatched(TREE, 7);
    assert_eq!(fixture.health(), Health::Behind);
    assert_eq!(fixture.core.view(fixture.now).trees[0].unwatched, 7);
    fixture.core.unwatched(TREE, 0);
    assert_eq!(fixture.health(), Health::InSync);
}

/// It was in sync, though nothing had been done.
#[test]
fn a_full_sync_that_met_an_empty_root_is_no_sync() {
    let mut fixture = Fixture::new(true);
    fixture.tell(Input::Watching(TREE, ROOT, 1));
    fixture.end(FULL, Outcome::RootEmpty, &[]);
    let view = fixture.core.view(fixture.now);
    assert_eq!(
        (view.remotes[0].health, view.remotes[0].full.trouble),
        (Health::Held, Some(Outcome::RootEmpty))
    );
}

/// Each night it was as far behind as its full sync took.
#[test]
fn a_full_sync_that_comes_round_by_itself_is_no_lag() {
    let mut fixture = watched();
    fixture.core.remotes[0].want_routine(fixture.now);
    fixture.after(1);
    let behind = |fixture: &Fixture| fixture.core.view(fixture.now).remotes[0].behind;
    assert_eq!((fixture.health(), behind(&fixture)), (Health::Behind, None));
    fixture.core.remotes[0].want_full(fixture.now, common::message::Deletions::Held);
    assert!(behind(&fixture).is_some());
}

/// A batch that was done hid why the full sync had failed.
#[test]
fn why_a_full_sync_failed_is_told_until_one_is_done() {
    let mut fixture = Fixture::new(true);
    fixture.tell(Input::Watching(TREE, ROOT, 1));
    fixture.end(FULL, Outcome::Partial, &["a"]);
    fixture.change("b", Dirt::Touched);
    fixture.until_busy();
    fixture.end(BATCH, Outcome::Done, &[]);
    let view = fixture.core.view(fixture.now);
    let mishap = view.remotes[0].mishap.unwrap();
    assert!(view.remotes[0].health == Health::Failing && !mishap.is_over, "{mishap:?}");
}

#[test]
fn trees_that_nobody_watches() {
    let mut fixture = watched();
    let seen = |fixture: &Fixture| {
        let view = fixture.core.view(fixture.now);
        (view.trees[0].watched, view.trees[0].since, view.remotes[0].health)
    };
    fixture.after(5);
    fixture.tell(Input::RootLost(TREE, RootLoss::Unmounted));
    let lost = fixture.now;
    fixture.after(5);
    assert_eq!(seen(&fixture), (Watched::Lost(RootLoss::Unmounted), lost, Health::Unwatched));
    fixture.tell(Input::Watching(TREE, OTHER, 1));
    assert_eq!(seen(&fixture), (Watched::Replaced, fixture.now, Health::Held));
    fixture.tell(Input::Watching(TREE, ROOT, 9));
    assert_eq!(seen(&fixture).0, Watched::Yes);
    assert_eq!(fixture.core.view(fixture.now).trees[0].directories, 9);
    fixture.tell(Input::Exited(Role::Watcher, "signal".to_owned()));
    assert_eq!(seen(&fixture), (Watched::NoWatcher, fixture.now, Health::Unwatched));
    let view = fixture.core.view(fixture.now);
    let watcher = view.roles.iter().find(|it| it.role == Role::Watcher).unwrap();
    assert!(matches!(watcher.state, State::Backoff { .. }) && watcher.restarts == 0);
    drop(view);
    fixture.after(1);
    let view = fixture.core.view(fixture.now);
    let watcher = view.roles.iter().find(|it| it.role == Role::Watcher).unwrap();
    assert!(matches!(watcher.state, State::Ready { .. }) && watcher.restarts == 1);
}

#[test]
fn one_that_is_configured_no_more_is_left_out() {
    let mut fixture = watched();
    fixture.core.remotes[0] = crate::core::remote::Remote::gone("remote".to_owned());
    assert!(fixture.core.view(fixture.now).remotes.is_empty());
}
