//! Many remotes through few places: nobody starves, no host has too many, and all shares together are
//! never more than there is.

use std::collections::BTreeMap;

use common::config::{Bandwidth, HOURS};
use common::event::{Change, Dirt, RootId, TreeId};
use common::message::Job;
use common::path::RelPath;
use proptest::prelude::*;

use super::*;
use crate::core::backlog::Traffic;
use crate::core::dispatch::{Fate, Reload, Rules, Setup};
use crate::core::{Action, Input, JobEnd, Pace};

const TREE: TreeId = TreeId(0);
const ROOT: RootId = RootId { device: 1, inode: 2, born: 3 };

/// A core whose syncers are ready as soon as they are started, and what they work on.
struct Scene {
    core: Dispatcher,
    now: Duration,
    hosts: Vec<String>,
    work: BTreeMap<Role, Job>,
    /// How many jobs each remote got.
    served: BTreeMap<u16, usize>,
    kills: usize,
    per_host: Option<u16>,
}

impl Scene {
    fn new(remotes: u16, hosts: u16, workers: usize, max_syncers: usize, sharing: Sharing) -> Scene {
        let labels = (0..remotes).map(|n| (n.to_string(), Traffic::OneWay)).collect();
        let hosts: Vec<String> = (0..remotes).map(|n| format!("host{}", n % hosts)).collect();
        let core = Dispatcher::new(Setup {
            trees: vec![("/t".to_owned(), labels)],
            hosts: hosts.clone(),
            workers,
            max_syncers,
            sharing,
            ..Setup::default()
        });
        let (now, per_host) = (Duration::from_secs(1), sharing.per_host);
        let (work, served) = (BTreeMap::new(), BTreeMap::new());
        let mut scene = Scene { core, now, hosts, work, served, kills: 0, per_host };
        let mut out = vec![];
        scene.core.start(now, &mut out);
        scene.perform(out);
        scene.tell(Input::Watching(TREE, ROOT, 1));
        scene
    }

    fn tell(&mut self, input: Input) {
        let mut out = vec![];
        self.core.on(self.now, input, &mut out);
        self.perform(out);
        self.check();
    }

    fn perform(&mut self, actions: Vec<Action>) {
        for action in actions {
            match action {
                Action::Spawn(role) => self.tell(Input::Ready(role)),
                Action::Kill(role) => {
                    self.kills += 1;
                    self.work.remove(&role);
                    self.tell(Input::Exited(role, "killed".to_owned()));
                }
                Action::Send(role, job) => {
                    if let Role::Syncer(id, _) = role {
                        *self.served.entry(id.0).or_default() += 1;
                    }
                    assert!(self.work.insert(role, job).is_none(), "{role:?} works already");
                }
                _ => {}
            }
        }
    }

    /// What holds at every moment.
    fn check(&self) {
        let mut at: BTreeMap<&str, usize> = BTreeMap::new();
        for role in self.work.keys() {
            let Role::Syncer(id, _) = role else { panic!("{role:?}") };
            *at.entry(&self.hosts[usize::from(id.0)]).or_default() += 1;
        }
        if let Some(most) = self.per_host {
            assert!(at.values().all(|&n| n <= usize::from(most)), "{at:?}");
        }
        if let Some(total) = self.core.shares.total() {
            assert!(self.rates() <= total, "{} of {total}: {:?}", self.rates(), self.work);
        }
    }

    fn rates(&self) -> u32 {
        self.work.values().map(|job| job.terms.rate.unwrap()).sum()
    }

    fn changes(&mut self, names: &[&str]) {
        let change =
            |name: &&str| Change { path: RelPath::new(*name).unwrap(), dirt: Dirt::Touched, mask: 0 };
        self.tell(Input::Changes(TREE, names.iter().map(change).collect()));
    }

    fn finish(&mut self, role: Role, outcome: Outcome) {
        if self.work.remove(&role).is_some() {
            let end = JobEnd { outcome, status: 0, tail: String::new(), failed: None, left: vec![] };
            self.tell(Input::Done(role, end));
        }
    }

    fn wait(&mut self, millis: u64) {
        self.now += Duration::from_millis(millis);
        // All that work say that they live.
        for role in self.work.keys().copied().collect::<Vec<_>>() {
            self.tell(Input::Alive(role, Pace::Busy));
        }
        self.tell(Input::Tick);
    }

    fn reload(&mut self, sharing: Sharing) {
        let setup = Setup::default();
        let rules = Rules {
            filter: None,
            delete: setup.delete,
            mirror: setup.mirror,
            crontab: None,
            sweep: setup.sweep,
            brake: setup.brake,
            audit: None,
            sharing,
            warm: setup.warm,
        };
        let remotes = vec![Fate::Kept; self.hosts.len()];
        let reload = Reload { rules, remotes, added: vec![], timeouts: vec![], replaced: vec![] };
        self.per_host = sharing.per_host;
        self.tell(Input::Reload(Box::new(reload)));
    }
}

fn batch(id: u16) -> Role {
    Role::Syncer(RemoteId(id), Lane::Batch)
}

fn per_host(most: u16) -> Sharing {
    Sharing { per_host: Some(most), ..Sharing::default() }
}

fn total(total: u32) -> Sharing {
    Sharing { bandwidth: Bandwidth { by_hour: [Some(total); HOURS] }, ..Sharing::default() }
}

/// Thirty remotes on ten hosts, with fewer workers and fewer syncers than remotes, and one transfer that
/// never ends: its host has no room for anybody else, and all others are served alike.
#[test]
fn nobody_starves_beside_a_host_that_hangs() {
    let mut scene = Scene::new(30, 10, 4, 12, per_host(1));
    for round in 0..400 {
        scene.changes(&[["a", "b", "c"][round % 3]]);
        scene.wait(20);
        let done: Vec<Role> = scene.work.keys().copied().filter(|&role| role != batch(0)).collect();
        for role in done {
            scene.finish(role, Outcome::Done);
        }
        // Long enough for the workers' bound to be lifted, again and again.
        scene.wait(if round % 20 == 0 { 600 } else { 20 });
    }
    assert_eq!(scene.served[&0], 1);
    assert_eq!([10, 20].map(|id| scene.served.get(&id).copied()), [None, None], "same host");
    let others: Vec<usize> = (0..30).filter(|id| id % 10 != 0).map(|id| scene.served[&id]).collect();
    let (least, most) = (others.iter().min().unwrap(), others.iter().max().unwrap());
    assert!(*least >= 20 && most - least <= 3, "{others:?}");
}

/// Whoever waits for room at a host does not turn out the syncers of others meanwhile.
#[test]
fn no_syncer_makes_room_for_one_whose_host_has_none() {
    let mut scene = Scene::new(6, 1, 4, 3, per_host(1));
    scene.changes(&["a"]);
    let kills = scene.kills;
    for _ in 0..10 {
        scene.wait(1000);
    }
    assert_eq!((scene.work.len(), scene.kills), (1, kills));
}

#[test]
fn a_batch_gets_its_share_of_what_counts_in_this_hour() {
    let mut bandwidth = Bandwidth::default();
    (bandwidth.by_hour[8], bandwidth.by_hour[9]) = (Some(1000), Some(100));
    let mut scene = Scene::new(2, 2, 4, 8, Sharing { bandwidth, per_host: None });
    for (hour, expected) in [(7, None), (8, Some(500)), (9, Some(50)), (10, None)] {
        scene.core.set_hour(hour);
        scene.changes(&["a"]);
        let rates: Vec<_> = [0, 1].map(|id| scene.work[&batch(id)].terms.rate).into();
        assert_eq!(rates, [expected, expected], "{hour} o'clock");
        scene.finish(batch(0), Outcome::Done);
        scene.finish(batch(1), Outcome::Done);
    }
}

/// Neither a syncer that died nor a remote that failed keeps a share for ever.
#[test]
fn a_share_comes_back_however_the_job_ends() {
    let mut scene = Scene::new(1, 1, 4, 8, total(1000));
    for outcome in [Some(Outcome::Done), Some(Outcome::Unreachable), Some(Outcome::Partial), None] {
        scene.changes(&["a"]);
        while scene.work.is_empty() {
            scene.wait(1000);
        }
        assert_eq!(scene.rates(), 1000, "{outcome:?}");
        if let Some(outcome) = outcome {
            scene.finish(batch(0), outcome);
        } else {
            scene.work.clear();
            scene.tell(Input::Exited(batch(0), "died".to_owned()));
        }
    }
    while scene.work.is_empty() {
        scene.wait(1000);
    }
    assert_eq!(scene.rates(), 1000);
}

/// One that has not moved a byte for four signs of life holds up nobody's share.
#[test]
fn a_transfer_that_stands_still_lends_its_share() {
    let mut scene = Scene::new(2, 2, 4, 8, total(1000));
    scene.changes(&["a"]);
    scene.finish(batch(1), Outcome::Done);
    for _ in 0..4 {
        scene.tell(Input::Stalled(batch(0)));
    }
    assert_eq!(scene.core.shares.given(), 0);
    scene.finish(batch(0), Outcome::TimedOut);
    assert_eq!(scene.core.shares.given(), 0);
}

/// SIGHUP changes both limits while everything goes on.
#[test]
fn a_reload_counts_for_the_next_job_and_restarts_nobody() {
    let mut scene = Scene::new(2, 1, 4, 8, total(1000));
    scene.changes(&["a"]);
    assert_eq!(scene.rates(), 1000);
    scene.per_host = None;
    let kills = scene.kills;
    scene.finish(batch(0), Outcome::Done);
    scene.finish(batch(1), Outcome::Done);
    scene.reload(Sharing { per_host: Some(1), ..total(100) });
    scene.changes(&["b"]);
    // Two rsyncs wait there by the old limit. They end by themselves, and that is when somebody looks.
    assert!(scene.work.is_empty());
    let until = scene.core.deadline(scene.now).unwrap();
    assert!(until <= scene.now + Duration::from_secs(11), "{until:?}");
    scene.now = until;
    scene.tell(Input::Tick);
    assert_eq!((scene.work.len(), scene.kills), (1, kills));
    assert!(scene.rates() <= 100);
    scene.finish(batch(0), Outcome::Done);
    assert_eq!(scene.work.keys().copied().collect::<Vec<_>>(), [batch(1)], "its turn");
    scene.reload(Sharing::default());
    scene.changes(&["c"]);
    assert_eq!(scene.work[&batch(0)].terms.rate, None);
}

/// 100 remotes have no more rsyncs that wait than there are workers.
#[test]
fn a_hundred_remotes_keep_ten_connections() {
    let mut scene = Scene::new(100, 100, 10, 200, Sharing::default());
    for round in 0..5 {
        scene.changes(&[["a", "b"][round % 2]]);
        let mut waiting = 0;
        while let Some((&role, job)) = scene.work.first_key_value() {
            waiting += usize::from(job.terms.ahead != Ahead::Ends);
            scene.finish(role, Outcome::Done);
        }
        assert_eq!(waiting, 10, "round {round}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    /// Whatever begins, ends, fails, dies and waits: see [`Scene::check`].
    #[test]
    fn limits_hold_whatever_happens(
        remotes in 1_u16..14,
        hosts in 1_u16..4,
        workers in 1_usize..5,
        most in 1_u16..4,
        rate in 1_u32..3000,
        steps in proptest::collection::vec((0_u8..7, any::<prop::sample::Index>(), 1_u64..3000), 1..120),
    ) {
        let sharing = Sharing { per_host: Some(most), ..total(rate) };
        let mut scene = Scene::new(remotes, hosts, workers, 6, sharing);
        for (step, which, pause) in steps {
            let running: Vec<Role> = scene.work.keys().copied().collect();
            let role = (!running.is_empty()).then(|| running[which.index(running.len())]);
            match (step, role) {
                (0, _) => scene.changes(&["a", "b"]),
                (1, _) => scene.core.remotes[which.index(remotes.into())].want_full(scene.now, common::message::Deletions::Held),
                (2, Some(role)) => {
                    scene.work.remove(&role);
                    scene.tell(Input::Exited(role, "died".to_owned()));
                }
                (3, Some(role)) => scene.finish(role, Outcome::Unreachable),
                (4 | 5, Some(role)) => scene.finish(role, Outcome::Done),
                _ => scene.wait(pause),
            }
        }
        // From now on everything works, and everything arrives.
        for _ in 0..2000 {
            scene.wait(1000);
            let running: Vec<Role> = scene.work.keys().copied().collect();
            for role in running {
                scene.finish(role, Outcome::Done);
            }
        }
        prop_assert!(scene.core.remotes.iter().all(crate::core::remote::Remote::is_done));
        prop_assert_eq!(scene.core.shares.given(), 0);
    }
}
