//! Defects that the core once had, each with a test of its name.

use std::time::Duration;

use common::event::{Change, Dirt, RECEIVED, RootId, TreeId};
use common::keep::{Durable, Edit, KeeperReport, Knowledge, LastRun, Pending};
use common::message::{Job, LossCause, Outcome, RootLoss, Verdict, Work};
use common::path::RelPath;

use super::backlog::{Backlog, ECHO, MAX_ALL, MAX_PATHS, Traffic};
use super::dispatch::{Dispatcher, Setup};
use super::keeping::{Keep, Keeping, Names};
use super::remote::Remote;
use super::{Action, Input, JobEnd, Lane, Pace, PluginId, RemoteId, Role};

const ROOT: RootId = RootId { device: 1, inode: 1, born: 0 };
const BATCH: Role = Role::Syncer(RemoteId(0), Lane::Batch);
const FULL: Role = Role::Syncer(RemoteId(0), Lane::Full);
const PLUGIN: PluginId = PluginId(0);

fn end(outcome: Outcome) -> JobEnd {
    JobEnd { outcome, status: 23, tail: String::new(), failed: None, left: vec![] }
}

fn at(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

fn change(path: &str, dirt: Dirt) -> Change {
    Change { path: RelPath::new(path).unwrap(), dirt, mask: 8 }
}

/// A core whose children are ready, and what it asked for since.
struct Fixture {
    core: Dispatcher,
    out: Vec<Action>,
}

impl Fixture {
    fn new(remotes: u16) -> Fixture {
        let labels = (0..remotes).map(|n| (n.to_string(), Traffic::OneWay)).collect();
        let core = Dispatcher::new(Setup {
            trees: vec![("/t".to_owned(), labels)],
            full_sync: false,
            mirror: false,
            plugins: vec![("plugin".to_owned(), Duration::from_secs(1))],
            crontab: None,
            sweep: Duration::from_secs(3600),
            workers: 4,
            max_syncers: 4,
            seed: 7,
            ..Setup::default()
        });
        let mut it = Fixture { core, out: vec![] };
        it.core.start(at(0), &mut it.out);
        for n in 0..remotes {
            it.on(1, Input::Ready(Role::Syncer(RemoteId(n), Lane::Batch)));
        }
        it.on(1, Input::Ready(Role::Plugin(PLUGIN)));
        it.on(2, Input::Watching(TreeId(0), ROOT, 1));
        it.out.clear();
        it
    }

    fn on(&mut self, millis: u64, input: Input) {
        self.core.on(at(millis), input, &mut self.out);
    }

    fn change(&mut self, millis: u64, path: &str) {
        self.on(millis, Input::Changes(TreeId(0), vec![change(path, Dirt::Touched)]));
    }

    fn done(&mut self, millis: u64, role: Role, outcome: Outcome) {
        self.on(millis, Input::Done(role, end(outcome)));
    }

    /// What plugins were given to tell since this was last asked.
    fn told(&mut self) -> Vec<String> {
        let mut told = vec![];
        for action in std::mem::take(&mut self.out) {
            if let Action::Deliver(_, events) = action {
                told.extend(events.iter().map(|(_, it)| it.path.to_string()));
            }
        }
        told
    }
}

#[test]
fn the_fail_log_keeps_records_of_what_is_done() {
    let mut it = Fixture::new(1);
    it.change(10, "a");
    it.done(20, BATCH, Outcome::Partial);
    assert_eq!(it.core.remotes()[0].failed(9).paths.len(), 1);
    let recorded = it.core.failures();
    it.on(5000, Input::Tick);
    it.done(5010, BATCH, Outcome::Done);
    assert!(it.core.remotes()[0].failed(9).paths.is_empty());
    assert_ne!(it.core.failures(), recorded);
}

/// It was half of what a batch may be at most: a small one had to fail ten times.
#[test]
fn a_small_batch_is_not_split() {
    let mut it = Fixture::new(1);
    let changes = (0..16).map(|n| change(&format!("file{n:02}"), Dirt::Touched)).collect();
    it.on(10, Input::Changes(TreeId(0), changes));
    let mut sizes = vec![];
    for n in 1..4 {
        let sent = std::mem::take(&mut it.out).into_iter().find_map(|action| match action {
            Action::Send(BATCH, Job { work: Work::Batch(paths), .. }) => Some(paths.len()),
            _ => None,
        });
        sizes.extend(sent);
        it.done(n * 60_000, BATCH, Outcome::Limit);
        it.on(n * 60_000 + 59_000, Input::Tick);
    }
    // By bytes: what names have in common counts once.
    assert!(matches!(sizes[..], [16, 7..=8, 3..=4]), "{sizes:?}");
}

#[test]
fn a_full_sync_that_always_fails_is_tried_twice_a_second() {
    let mut it = Fixture::new(1);
    it.on(10, Input::Rescan(TreeId(0), RelPath::root(), LossCause::Overflow));
    it.on(11, Input::Ready(FULL));
    let (mut fulls, mut lines) = (0, 0);
    for now in (20..600_000).step_by(100) {
        it.change(now, "a");
        for role in [BATCH, FULL, Role::Plugin(PLUGIN)] {
            it.on(now, Input::Alive(role, Pace::Idle));
        }
        let actions = std::mem::take(&mut it.out);
        for action in actions {
            match action {
                Action::Send(FULL, _) => {
                    fulls += 1;
                    it.done(now + 1, FULL, Outcome::Broken);
                }
                Action::Send(role, _) => it.done(now + 2, role, Outcome::Done),
                Action::Log(..) => lines += 1,
                Action::Deliver(id, events) => {
                    it.on(now + 3, Input::Told(id, vec![Verdict::Delivered; events.len()], String::new()));
                }
                Action::Keep(_)
                | Action::Watch(_)
                | Action::Rotate
                | Action::Settle
                | Action::Recall
                | Action::EraseKept
                | Action::Say(..)
                | Action::End(..) => {}
                Action::Spawn(_) | Action::Kill(_) | Action::Drained => {}
            }
        }
    }
    assert!((2..60).contains(&fulls), "{fulls}");
    assert!(lines < 10, "{lines}");
}

#[test]
fn plugins_are_not_told_of_the_loss_of_a_whole_tree() {
    let mut alone = Fixture::new(0);
    alone.on(10, Input::Rescan(TreeId(0), RelPath::root(), LossCause::Overflow));
    assert_eq!(alone.told(), [RelPath::root().to_string()]);
    let mut it = Fixture::new(1);
    it.on(10, Input::Rescan(TreeId(0), RelPath::root(), LossCause::Overflow));
    it.on(11, Input::Ready(FULL));
    assert_eq!(it.told(), [""; 0]);
    it.done(20, FULL, Outcome::Done);
    assert_eq!(it.told(), [RelPath::root().to_string()]);
}

#[test]
fn a_stop_waits_for_what_is_refused() {
    let mut it = Fixture::new(0);
    it.change(10, "a");
    it.on(20, Input::Told(PLUGIN, vec![Verdict::Refused], "HTTP 404".to_owned()));
    it.on(100, Input::Drain);
    let mut now = 100;
    while !it.out.contains(&Action::Drained) {
        if !it.told().is_empty() {
            it.on(now, Input::Told(PLUGIN, vec![Verdict::Refused], "HTTP 404".to_owned()));
        }
        now += 10;
        it.on(now, Input::Tick);
        assert!(now < 2_000);
    }
}

#[test]
fn plugins_are_told_in_the_order_of_names() {
    let mut it = Fixture::new(0);
    let changes = ["z", "a", "m"].map(|path| change(path, Dirt::Removed));
    it.on(10, Input::Changes(TreeId(0), changes.into()));
    assert_eq!(it.told(), ["\"z\"", "\"a\"", "\"m\""]);
}

#[test]
fn a_sweep_lets_echoes_and_held_removals_go() {
    let mut backlog = Backlog::default();
    let received = Change { mask: RECEIVED, ..change("f", Dirt::Touched) };
    backlog.insert(at(0), &received, Traffic::BothWays);
    backlog.insert(at(0), &change("g", Dirt::Removed), Traffic::BothWays);
    let held = backlog.next_ready();
    backlog.retry(at(10));
    assert_eq!(backlog.next_ready(), held);
    backlog.release(at(10));
    assert_eq!(backlog.take(at(10), 1000, |_, _| false).len(), 1, "a stop lets removals go, and no echo");
    assert!(backlog.next_ready().is_some_and(|at| at >= ECHO * 4 / 5));
}

/// Two servers swapped their edits of one file at the same moment. Had both waited equally long,
/// they would have swapped them again, and for ever.
#[test]
fn two_servers_do_not_wait_alike_for_an_echo() {
    let received = Change { mask: RECEIVED, ..change("f", Dirt::Touched) };
    let waits = [1, 2].map(|seed| {
        let mut backlog = Backlog::new(seed);
        (0..10)
            .map(|n| {
                backlog.insert(at(n), &received, Traffic::BothWays);
                backlog.next_ready().unwrap()
            })
            .collect::<Vec<_>>()
    });
    let apart = |(a, b): (&Duration, &Duration)| a.abs_diff(*b) > Duration::from_millis(100);
    assert!(waits[0].iter().zip(&waits[1]).filter(|&pair| apart(pair)).count() > 5, "{waits:?}");
}

/// The root is lost: syncers with a copy of the host's mounts are replaced.
#[test]
fn an_ssh_syncer_keeps_the_mounts_of_its_start() {
    let mut it = Fixture::new(1);
    it.on(10, Input::RootLost(TreeId(0), common::message::RootLoss::Unmounted));
    assert!(it.out.contains(&Action::Kill(BATCH)));
    it.on(20, Input::Exited(BATCH, "killed".to_owned()));
    it.on(30, Input::Watching(TreeId(0), ROOT, 1));
    it.change(40, "a");
    assert!(it.out.contains(&Action::Spawn(BATCH)), "{:?}", it.out);
}

/// Each remote that was down had its own bound: a hundred of them would have been a hundred times that.
#[test]
fn many_remotes_that_are_down_remember_no_more_than_a_few() {
    let mut core = Dispatcher::new(Setup {
        trees: vec![("/t".to_owned(), (0..50_u16).map(|n| (n.to_string(), Traffic::OneWay)).collect())],
        ..Setup::default()
    });
    let (mut out, mut most) = (vec![], 0);
    for frame in 0..110 {
        let paths = (0..250).map(|n| change(&format!("d{frame}/f{n}"), Dirt::Touched));
        let removed = change(&format!("d{frame}/gone"), Dirt::Removed);
        core.on(at(frame), Input::Changes(TreeId(0), paths.chain([removed]).collect()), &mut out);
        let waiting: usize = core.remotes().iter().map(Remote::pending).sum();
        assert!(waiting <= MAX_ALL, "{waiting}");
        most = most.max(waiting);
    }
    assert!(most > MAX_ALL / 2, "{most}");
    let removals = |remote: &Remote| {
        let waiting = remote.failed(usize::MAX).paths;
        waiting.iter().filter(|(_, dirt)| *dirt == Dirt::Removed).count()
    };
    let refused = end(Outcome::Refused);
    core.on(at(200), Input::Done(BATCH, refused), &mut out);
    assert!(core.remotes().iter().all(|remote| remote.pending() >= 110));
    assert_eq!(removals(&core.remotes()[0]), 110);
}

/// A stop came while a commit was under way. That one counted for the last, and what had changed since
/// was not written.
#[test]
fn a_stop_waits_for_a_commit_of_its_own() {
    let (mut keeping, mut out) = (Keeping::default(), vec![]);
    keeping.begin(at(0), true, &mut out);
    keeping.commit(at(0), Names::Whole, &mut out);
    keeping.pump(at(0), &mut out);
    keeping.finish();
    keeping.committed(Durable::Yes, &mut out);
    assert!(!keeping.has_ended() && keeping.is_due(at(1), false));
    keeping.commit(at(1), Names::Whole, &mut out);
    keeping.pump(at(1), &mut out);
    keeping.committed(Durable::Yes, &mut out);
    assert!(keeping.has_ended());
}

/// What the disk is told stood in one place as a whole: with very many paths that was most of the memory.
#[test]
fn very_much_is_told_in_portions_and_then_committed() {
    let mut core = Dispatcher::new(Setup {
        trees: vec![("/t".to_owned(), vec![("r".to_owned(), Traffic::OneWay)])],
        keep: true,
        ..Setup::default()
    });
    let mut out = vec![];
    core.start(at(0), &mut out);
    let loaded = KeeperReport::Loaded { last: LastRun::Clean, trees: vec![Knowledge::Whole], names: vec![0] };
    for input in [Input::Ready(Role::Keeper), Input::Keeper(loaded)] {
        core.on(at(0), input, &mut out);
    }
    let paths = 100;
    let changes = (0..paths).map(|n| change(&format!("f{n}"), Dirt::Touched)).collect();
    core.on(at(5000), Input::Changes(TreeId(0), changes), &mut out);
    let mut told = 0;
    // Each order is answered once the keeper has it.
    loop {
        let keeps: Vec<Keep> = std::mem::take(&mut out)
            .into_iter()
            .filter_map(|action| if let Action::Keep(keep) = action { Some(keep) } else { None })
            .collect();
        let answer = |core: &mut Dispatcher, report, out: &mut Vec<Action>| {
            core.on(at(5001), Input::Keeper(report), out);
        };
        assert!(!keeps.is_empty(), "it stopped after {told}");
        for keep in keeps {
            match keep {
                Keep::Edits(edits) => {
                    let pending =
                        edits.iter().filter(|edit| matches!(edit, Edit::Pending(_, _, Some(_)))).count();
                    assert!(edits.len() <= 8, "{} at once", edits.len());
                    told += pending;
                    answer(&mut core, KeeperReport::Done(0), &mut out);
                }
                Keep::Names(..) | Keep::Listed(..) => answer(&mut core, KeeperReport::Done(0), &mut out),
                Keep::Commit { .. } if told == 0 => {
                    answer(&mut core, KeeperReport::Committed(0, Durable::Yes), &mut out);
                    core.on(at(8000), Input::Tick, &mut out);
                }
                Keep::Commit { .. } => {
                    assert_eq!(told, paths, "committed before all was told");
                    return;
                }
            }
        }
    }
}

/// A keeper that was taken over told what it "kept" without end, in session after session: all of it was
/// taken in.
#[test]
fn what_a_keeper_makes_up_is_bounded() {
    let labels = vec![("0".to_owned(), Traffic::OneWay)];
    let trees = vec![("/t".to_owned(), labels)];
    let mut core =
        Dispatcher::new(Setup { trees, keep: true, workers: 1, max_syncers: 1, ..Setup::default() });
    let (mut out, pending) = (vec![], |reason: &str| {
        let (dirt, reason) = (Dirt::Touched, reason.to_owned());
        Some(Pending { dirt, since: 1, attempts: 3, reason })
    });
    core.start(at(0), &mut out);
    for session in 0..3 {
        for frame in 0..100 {
            let path = |n: usize| RelPath::new(format!("{session}-{frame}-{n}")).unwrap();
            let edits = (0..1000).map(|n| Edit::Pending(0, path(n), pending("a reason")));
            let parked = (0..1000).map(|n| Edit::Parked(0, path(n), pending("")));
            let kept = KeeperReport::Kept(edits.chain(parked).collect());
            core.on(at(1), Input::Keeper(kept), &mut out);
            assert!(core.remotes()[0].pending() <= MAX_PATHS);
        }
        core.on(at(2), Input::Exited(Role::Keeper, "killed".to_owned()), &mut out);
    }
    assert!(core.remotes()[0].quarantined().filter(|(_, _, reason)| !reason.is_empty()).count() <= 10_000);
}

/// A root that was missing when the watcher first looked held deletions for ever.
#[test]
fn deletions_go_when_a_root_that_was_missing_at_first_comes() {
    let mut core = Dispatcher::new(Setup {
        trees: vec![("/t".to_owned(), vec![("r".to_owned(), Traffic::OneWay)])],
        ..Setup::default()
    });
    let mut out = vec![];
    core.start(at(0), &mut out);
    core.on(at(1), Input::RootLost(TreeId(0), RootLoss::Unreadable), &mut out);
    core.on(at(2), Input::Watching(TreeId(0), ROOT, 1), &mut out);
    core.on(at(3), Input::Ready(BATCH), &mut out);
    core.on(at(4), Input::Changes(TreeId(0), vec![change("a", Dirt::Removed)]), &mut out);
    assert_eq!((core.remotes()[0].parked(), core.remotes()[0].pending()), (0, 1));
}

/// Whether the first full sync had a bound hung on whether the tree was counted before it began; and an
/// approval was used up by one that failed.
#[test]
fn what_is_approved_stays_so_until_it_is_done() {
    let mut core = Dispatcher::new(Setup {
        trees: vec![("/t".to_owned(), vec![("r".to_owned(), Traffic::OneWay)])],
        keep: true,
        full_sync: true,
        ..Setup::default()
    });
    let mut out = vec![];
    core.start(at(0), &mut out);
    let full = Role::Syncer(RemoteId(0), Lane::Full);
    let loaded = KeeperReport::Loaded { last: LastRun::None, trees: vec![Knowledge::None], names: vec![0] };
    for input in [
        Input::Ready(Role::Keeper),
        Input::Ready(BATCH),
        Input::Keeper(loaded),
        Input::Watching(TreeId(0), ROOT, 1),
        Input::Listed(TreeId(0), RelPath::root(), 1),
        Input::Keeper(KeeperReport::Compared(TreeId(0), RelPath::root(), 10)),
        Input::Ready(full),
    ] {
        core.on(at(0), input, &mut out);
    }
    let mut bounds = vec![];
    for (n, outcome) in [Outcome::Unreachable, Outcome::Done, Outcome::Done].into_iter().enumerate() {
        bounds.extend(std::mem::take(&mut out).iter().filter_map(|action| match action {
            Action::Send(_, Job { work: Work::Full, max_delete, .. }) => Some(*max_delete),
            _ => None,
        }));
        let later = at(100_000 * (n as u64 + 1));
        core.on(later, Input::Done(full, end(outcome)), &mut out);
        core.on(later, Input::Rescan(TreeId(0), RelPath::root(), LossCause::Overflow), &mut out);
        core.on(later * 2, Input::Tick, &mut out);
    }
    assert_eq!(bounds.get(..2), Some(&[None, None][..]), "{bounds:?}");
}
