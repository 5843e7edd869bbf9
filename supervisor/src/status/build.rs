//! From what the core and the event loop know to a snapshot. Pure: times come in, and what is told of
//! processes.

use std::time::Duration;

use common::message::{Advance, Listing, Outcome, RootLoss};

use super::{
    Bucket, Flight, FullSync, Health, LastError, Moment, Outcomes, Progress, Quarantine, Quarantined, Remote,
    Role, SCHEMA, Snapshot, Stage, Supervisor, Transfers, Tree, TreeState, Watch, escaped,
};
use crate::core::notice::{cure, reason, word};
use crate::core::restart::State;
use crate::core::tally::{BUCKETS_MS, Tally};
use crate::core::view::{self, Errand, FlightView, RemoteView, RoleView, TreeView, View, Watched};

/// Most bytes of a path in quarantine that are told; the end of it says more than its beginning.
const MAX_PATH: usize = 512;
/// A look that the watcher has not answered for so long is no matter of being busy.
const BLIND: Duration = Duration::from_secs(5);

/// What the event loop knows beside the core.
#[derive(Debug)]
pub struct Facts {
    /// The time, since the supervisor's start.
    pub now: Duration,
    /// The time since 1970.
    pub today: Duration,
    /// Config, escaped.
    pub config: String,
    /// Whether all trees have been watched.
    pub ready: bool,
    /// `inotify` or `fanotify`.
    pub watcher: String,
    /// Whether each directory takes a watch.
    pub takes_watches: bool,
    /// All that happened before that moment was reported.
    pub seen: Option<Duration>,
    /// When the watcher was asked for that, and has not answered since.
    pub asked: Option<Duration>,
    /// Directories that were watched then, of each tree.
    pub directories: Vec<u64>,
    /// Most watches that a user may have.
    pub allowed: Option<u64>,
    /// How often the kernel's queue was full.
    pub overflows: u64,
    /// The path of each tree, escaped.
    pub paths: Vec<String>,
    /// The processes of the view's roles, in the same order.
    pub processes: Vec<Process>,
}

/// A role's process, where it has one.
#[derive(Debug, Default)]
pub struct Process {
    /// Its name.
    pub name: String,
    /// Its number.
    pub pid: Option<i32>,
    /// What the kernel tells of it.
    pub told: super::process::Told,
}

/// All in one.
pub fn snapshot(view: &View<'_>, facts: Facts) -> Snapshot {
    let clock = Clock { now: facts.now, today: facts.today };
    let trees: Vec<Tree> = view.trees.iter().map(|it| tree(it, &facts, clock)).collect();
    let is_blind = is_blind(&facts);
    let remotes: Vec<Remote> = view
        .remotes
        .iter()
        .map(|it| {
            let mut remote = remote(it, &facts, clock);
            if is_blind {
                remote.health = remote.health.max(Health::Unwatched);
            }
            remote
        })
        .collect();
    // Where only a plugin runs there are trees and no remotes.
    let worst = remotes.iter().map(|remote| remote.health).chain(trees.iter().map(of_tree)).max();
    let used = trees.iter().fold(0_u64, |sum, tree| sum.saturating_add(tree.directories));
    let roles = view.roles.iter().zip(facts.processes).map(|(it, process)| role(view, it, process)).collect();
    Snapshot {
        schema: SCHEMA,
        at: seconds(facts.today),
        health: worst.unwrap_or(Health::InSync),
        supervisor: Supervisor {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            pid: std::process::id(),
            started: clock.moment(Duration::ZERO),
            state: match (view.draining, facts.ready) {
                (true, _) => Stage::Stopping,
                (false, false) => Stage::Starting,
                (false, true) => Stage::Running,
            },
            config: facts.config,
        },
        watch: Watch {
            watcher: facts.watcher,
            seen: facts.seen.map(|seen| clock.moment(seen)),
            used: facts.takes_watches.then_some(used),
            allowed: facts.allowed.filter(|_| facts.takes_watches),
            overflows: facts.overflows,
        },
        trees,
        remotes,
        roles,
    }
}

/// What is in sync is so as far as the watcher has seen: one that has not answered for long says nothing.
fn is_blind(facts: &Facts) -> bool {
    facts.asked.is_some_and(|asked| facts.now.saturating_sub(asked) >= BLIND)
}

/// From the supervisor's time to everybody's.
#[derive(Clone, Copy)]
struct Clock {
    now: Duration,
    today: Duration,
}

impl Clock {
    fn moment(self, at: Duration) -> Moment {
        let past = self.now.saturating_sub(at);
        let to_come = at.saturating_sub(self.now);
        seconds(self.today.saturating_sub(past).saturating_add(to_come))
    }

    fn ago(self, at: Duration) -> f64 {
        seconds(self.now.saturating_sub(at))
    }
}

/// To the millisecond: what comes after is noise.
fn seconds(time: Duration) -> f64 {
    Duration::from_millis(u64::try_from(time.as_millis()).unwrap_or(u64::MAX)).as_secs_f64()
}

fn count(number: usize) -> u64 {
    u64::try_from(number).unwrap_or(u64::MAX)
}

fn tree(tree: &TreeView<'_>, facts: &Facts, clock: Clock) -> Tree {
    let place = usize::from(tree.id.0);
    let (state, reason) = match tree.watched {
        Watched::Yes if tree.unwatched > 0 => {
            let unwatched = tree.unwatched;
            let why = format!(
                "{unwatched} directories have no watch and are looked at once a minute; raise \
                 fs.inotify.max_user_watches, the log says to what"
            );
            (TreeState::Watched, Some(why))
        }
        Watched::Yes => (TreeState::Watched, None),
        Watched::NotYet => (TreeState::Starting, None),
        Watched::NoWatcher => (TreeState::Unwatched, Some("the watcher is being started again".to_owned())),
        Watched::Lost(loss) => (TreeState::Lost, Some(lost(loss).to_owned())),
        Watched::Replaced => {
            let why = "another directory stands in its place; deletions are held until the old one is back, or \
                       the supervisor is restarted";
            (TreeState::Replaced, Some(why.to_owned()))
        }
    };
    Tree {
        path: facts.paths.get(place).cloned().unwrap_or_default(),
        state,
        reason,
        since: clock.moment(tree.since),
        directories: facts.directories.get(place).copied().unwrap_or(tree.directories),
        held_deletions: tree.braked,
        comparing: tree.comparing,
    }
}

fn of_tree(tree: &Tree) -> Health {
    match tree.state {
        TreeState::Watched => Health::InSync,
        TreeState::Replaced => Health::Held,
        TreeState::Starting | TreeState::Lost | TreeState::Unwatched => Health::Unwatched,
    }
}

fn lost(loss: RootLoss) -> &'static str {
    match loss {
        RootLoss::Missing => "it is missing",
        RootLoss::Unreadable => "it may not be read",
        RootLoss::Replaced => "it was renamed or replaced",
        RootLoss::Unmounted => "it was unmounted",
    }
}

fn remote(remote: &RemoteView<'_>, facts: &Facts, clock: Clock) -> Remote {
    let tally = remote.tally;
    let (done, last_done) = tally.full_syncs();
    Remote {
        name: remote.label.to_owned(),
        tree: facts.paths.get(usize::from(remote.tree.0)).cloned().unwrap_or_default(),
        health: remote.health,
        standing: remote.standing.as_str().to_owned(),
        down_since: remote.down_since.map(|at| clock.moment(at)),
        retry_at: remote.retry_at.map(|at| clock.moment(at)),
        behind_seconds: remote.behind.map(seconds),
        pending: count(remote.pending),
        parked_deletions: count(remote.parked),
        rate: tally.rate(facts.now),
        bytes: tally.bytes(),
        in_flight: remote.flights.iter().map(|it| flight(it, clock)).collect(),
        full_sync: FullSync {
            owed_since: remote.full.owed_since.map(|at| clock.moment(at)),
            done,
            last_done: last_done.map(|at| clock.moment(at)),
            trouble: remote.full.trouble.map(|outcome| format!("{}; {}", reason(outcome), cure(outcome))),
            held: remote.full.braked,
        },
        last_error: remote.mishap.map(|it| LastError {
            at: clock.moment(it.at),
            outcome: word(it.outcome).to_owned(),
            words: reason(it.outcome).to_owned(),
            cure: cure(it.outcome).to_owned(),
            status: it.status,
            said: it.said.clone(),
            over: it.is_over,
        }),
        quarantine: Quarantine {
            paths: count(remote.quarantine),
            first: remote.quarantined.iter().map(quarantined).collect(),
        },
        transfers: transfers(tally),
    }
}

fn flight(flight: &FlightView, clock: Clock) -> Flight {
    let (work, paths) = match flight.work {
        Errand::Batch(paths) => ("batch", paths),
        Errand::Full => ("full", 0),
        Errand::Verify => ("verify", 0),
    };
    let took = clock.now.saturating_sub(flight.since);
    Flight {
        lane: flight.lane.as_str().to_owned(),
        work: work.to_owned(),
        paths: count(paths),
        seconds: clock.ago(flight.since),
        stalled: flight.stalled,
        progress: flight.advance.map(|advance| progress(advance, took)),
    }
}

/// How far a transfer has come after so long. A tree of which most is there already is gone through by
/// entries, one that is new by bytes: what says that more is done is nearer to the truth.
#[allow(clippy::cast_precision_loss, reason = "for people")]
pub fn progress(advance: Advance, took: Duration) -> Progress {
    let (left, entries) = advance.to_check.unwrap_or((0, 0));
    let checked = entries.saturating_sub(left);
    let listing = match advance.listing {
        Listing::Open => true,
        Listing::Complete => false,
    };
    let by_entries = if entries == 0 { 0.0 } else { checked as f64 / entries as f64 * 100.0 };
    let percent = (!listing && entries > 0).then_some(by_entries.max(f64::from(advance.percent.min(100))));
    let secs = seconds(took);
    let seconds_left = percent
        .filter(|&percent| percent >= 1.0 && secs >= 1.0)
        .map(|percent| secs * (100.0 - percent) / percent);
    let millis = u64::try_from(took.as_millis()).unwrap_or(u64::MAX).max(1);
    let rate = advance.bytes.saturating_mul(1000).checked_div(millis).unwrap_or(0);
    let tenths = |number: f64| (number * 10.0).round() / 10.0;
    Progress {
        files: advance.files,
        bytes: advance.bytes,
        rate,
        checked,
        entries,
        listing,
        percent: percent.map(tenths),
        seconds_left: seconds_left.map(tenths),
    }
}

fn quarantined(it: &view::Quarantined<'_>) -> Quarantined {
    let bytes = it.path.as_bytes();
    let from = bytes.len().saturating_sub(MAX_PATH);
    let end = escaped(bytes.get(from..).unwrap_or_default());
    Quarantined {
        path: if from > 0 { format!("…{end}") } else { end },
        attempts: it.attempts,
        reason: it.reason.to_owned(),
        waiting_seconds: seconds(it.waits),
    }
}

fn transfers(tally: &Tally) -> Transfers {
    let outcomes = Outcome::ALL.into_iter();
    let bounds = BUCKETS_MS.iter().map(|&most| Some(seconds(Duration::from_millis(most)))).chain([None]);
    Transfers {
        outcomes: outcomes
            .map(|it| Outcomes { outcome: word(it).to_owned(), count: tally.ended(it) })
            .collect(),
        seconds: seconds(tally.took()),
        buckets: bounds.zip(tally.buckets()).map(|(le, &count)| Bucket { le, count }).collect(),
    }
}

fn role(view: &View<'_>, it: &RoleView, process: Process) -> Role {
    let state = match it.state {
        State::Off | State::Backoff { .. } => "waiting",
        State::Starting { .. } => "starting",
        State::Ready { .. } => "ready",
        State::Stopping { .. } => "stopping",
    };
    let (remote, lane) = match it.role {
        crate::core::Role::Syncer(id, lane) => {
            let remote = view.remotes.iter().find(|remote| remote.id == id);
            (remote.map(|remote| remote.label.to_owned()), Some(lane.as_str().to_owned()))
        }
        crate::core::Role::Watcher
        | crate::core::Role::Plugin(_)
        | crate::core::Role::Keeper
        | crate::core::Role::Page => (None, None),
    };
    Role {
        name: process.name,
        remote,
        lane,
        state: state.to_owned(),
        pid: process.pid,
        uid: process.told.uid,
        restarts: it.restarts,
        memory: process.told.memory,
        sandbox: process.told.sandbox,
    }
}
