//! What a reload asks of the children, and what becomes of what they had to do.

use common::config::FilterExpression;
use common::config::GuardScope;
use common::event::{Dirt, RootId};
use common::message::{Deletions, Job, Outcome, Verdict, Work};
use log::Level;

use super::*;
use crate::core::dispatch::Setup;
use crate::core::{Ask, ClientId, Input, JobEnd, PluginId};

const TREE: TreeId = TreeId(0);
const ROOT: RootId = RootId { device: 1, inode: 1, born: 0 };

fn batch(id: u16) -> Role {
    Role::Syncer(RemoteId(id), Lane::Batch)
}

fn full(id: u16) -> Role {
    Role::Syncer(RemoteId(id), Lane::Full)
}

fn described(label: &str) -> Described {
    Described { label: label.to_owned(), traffic: Traffic::OneWay, connections: 3 }
}

fn rules(filter: Option<&str>) -> Rules {
    let filter = filter.map(|it| Filter::new(&[FilterExpression(it.as_bytes().to_vec())]).unwrap());
    Rules {
        filter,
        delete: true,
        mirror: false,
        crontab: None,
        sweep: Duration::from_secs(3600),
        brake: DeleteGuard { scope: GuardScope::Unseen, names: 1000, percent: 50 },
        audit: None,
        sharing: Sharing::default(),
        warm: Some(Duration::from_secs(10)),
    }
}

/// A core whose children are ready as soon as they are started; what it asked for besides.
struct Fixture {
    core: Dispatcher,
    now: Duration,
    out: Vec<Action>,
    jobs: Vec<(Role, Job)>,
}

impl Fixture {
    fn new(remotes: usize, workers: usize) -> Fixture {
        let labels = (0..remotes).map(|n| (n.to_string(), Traffic::OneWay)).collect();
        let core = Dispatcher::new(Setup {
            trees: vec![("/t".to_owned(), labels)],
            plugins: vec![("plugin".to_owned(), Duration::from_secs(1))],
            max_syncers: 20,
            workers,
            ..Setup::default()
        });
        let mut it = Fixture { core, now: Duration::from_secs(1), out: vec![], jobs: vec![] };
        let mut out = vec![];
        it.core.start(it.now, &mut out);
        it.perform(out);
        it.on(Input::Watching(TREE, ROOT, 1));
        it.out.clear();
        it
    }

    fn on(&mut self, input: Input) {
        let mut out = vec![];
        self.core.on(self.now, input, &mut out);
        self.perform(out);
    }

    fn perform(&mut self, actions: Vec<Action>) {
        for action in actions {
            self.out.push(action.clone());
            match action {
                Action::Spawn(role) => self.on(Input::Ready(role)),
                Action::Send(role, job) => self.jobs.push((role, job)),
                _ => {}
            }
        }
    }

    fn reload(&mut self, rules: Rules, remotes: Vec<Fate>, added: &[&str], replaced: &[Role]) {
        let added = added
            .iter()
            .map(|label| Added { tree: TREE, host: String::new(), remote: described(label) })
            .collect();
        let timeouts = vec![Duration::from_secs(9)];
        let reload = Reload { rules, remotes, added, timeouts, replaced: replaced.to_vec() };
        self.on(Input::Reload(Box::new(reload)));
    }

    fn change(&mut self, path: &str) {
        let path = RelPath::new(path).unwrap();
        self.on(Input::Changes(TREE, vec![Change { path, dirt: Dirt::Touched, mask: 8 }]));
    }

    fn done(&mut self, role: Role, outcome: Outcome) {
        let place = self.jobs.iter().position(|(other, _)| *other == role).expect("it works");
        self.jobs.remove(place);
        self.on(Input::Done(
            role,
            JobEnd { outcome, status: 0, tail: String::new(), failed: None, left: vec![] },
        ));
    }

    fn exited(&mut self, role: Role) {
        self.jobs.retain(|(other, _)| *other != role);
        self.on(Input::Exited(role, "signal SIGKILL".to_owned()));
    }

    fn working(&self) -> Vec<Role> {
        self.jobs.iter().map(|(role, _)| *role).collect()
    }

    /// Whom it killed and started since this was last asked, and what it logged.
    fn acts(&mut self) -> (Vec<Role>, Vec<Role>, Vec<(Level, String)>) {
        let (mut killed, mut spawned, mut logged) = (vec![], vec![], vec![]);
        for action in std::mem::take(&mut self.out) {
            match action {
                Action::Kill(role) => killed.push(role),
                Action::Spawn(role) => spawned.push(role),
                Action::Log(level, text) => logged.push((level, text)),
                _ => {}
            }
        }
        (killed, spawned, logged)
    }
}

#[test]
fn who_idles_is_replaced_at_once_and_the_others_are_not_touched() {
    let mut it = Fixture::new(2, 4);
    it.reload(rules(None), vec![Fate::Kept, Fate::Changed(described("new name"))], &[], &[]);
    assert_eq!(it.acts(), (vec![batch(1)], vec![], vec![]));
    it.change("a");
    assert_eq!(it.working(), [batch(0)], "one that is being killed gets nothing");
    it.exited(batch(1));
    let (killed, spawned, logged) = it.acts();
    assert_eq!((killed, spawned, logged), (vec![], vec![batch(1)], vec![]), "it was ordered");
    assert_eq!(it.working(), [batch(0), batch(1)]);
    assert_eq!(it.core.remotes()[1].label, "new name");
}

#[test]
fn who_works_is_replaced_when_it_is_done() {
    let mut it = Fixture::new(1, 4);
    it.change("a");
    it.reload(rules(None), vec![Fate::Changed(described("0"))], &[], &[]);
    assert_eq!(it.acts().0, []);
    it.change("b");
    it.done(batch(0), Outcome::Done);
    assert_eq!(it.acts().0, [batch(0)]);
    assert_eq!(it.working(), [], "not one job more by the old config");
    it.exited(batch(0));
    assert_eq!(it.working(), [batch(0)]);
    // It is no longer stale.
    it.done(batch(0), Outcome::Done);
    assert_eq!(it.acts().0, []);
}

#[test]
fn a_changed_remote_that_was_down_is_tried_at_once() {
    let mut it = Fixture::new(2, 4);
    it.change("a");
    it.done(batch(0), Outcome::Refused);
    it.done(batch(1), Outcome::Refused);
    it.on(Input::Tick);
    assert_eq!(it.working(), []);
    // So is one whose password file the operator may have mended.
    it.reload(rules(None), vec![Fate::Changed(described("0")), Fate::Kept], &[], &[]);
    assert_eq!(it.working(), [batch(1)]);
    it.exited(batch(0));
    assert_eq!(it.working(), [batch(1), batch(0)]);
}

#[test]
fn a_removed_remote_gets_nothing_and_nobody_waits_for_it() {
    let mut it = Fixture::new(2, 4);
    it.change("a");
    let (one, all) = (ClientId(1), ClientId(2));
    it.on(Input::Asked(one, Ask::Wait { remote: Some("1".to_owned()), timeout: None }));
    it.on(Input::Asked(all, Ask::Wait { remote: None, timeout: None }));
    it.out.clear();
    it.reload(rules(None), vec![Fate::Kept, Fate::Removed], &[], &[]);
    assert!(it.out.contains(&Action::End(one, 64)));
    let (killed, _, logged) = it.acts();
    assert_eq!(killed, [batch(1)], "in the middle of its job");
    assert_eq!(logged.len(), 1, "{logged:?}");
    // Its last words come after, and say nothing.
    it.done(batch(1), Outcome::Unreachable);
    it.exited(batch(1));
    it.change("b");
    it.now += Duration::from_secs(5);
    it.on(Input::Tick);
    let beside = Role::Syncer(RemoteId(0), Lane::Express);
    assert_eq!(it.working(), [batch(0), beside]);
    it.done(batch(0), Outcome::Done);
    it.done(beside, Outcome::Done);
    it.on(Input::Flushed(2));
    assert!(it.out.contains(&Action::End(all, 0)));
    assert!(it.out.iter().any(|act| matches!(act, Action::Deliver(..))), "plugins do not wait for it either");
    let (_, spawned, logged) = it.acts();
    assert_eq!((spawned, logged), (vec![beside], vec![]), "b goes beside a");
    it.on(Input::Asked(one, Ask::Wait { remote: Some("1".to_owned()), timeout: None }));
    assert!(it.out.contains(&Action::End(one, 64)));
    for _ in 0..2 {
        it.on(Input::Told(PluginId(0), vec![Verdict::Delivered], String::new()));
    }
    it.on(Input::Drain);
    it.now += Duration::from_secs(1);
    it.on(Input::Tick);
    assert!(it.out.contains(&Action::Drained));
    assert!(it.acts().2.iter().all(|(_, line)| !line.starts_with("not sent")));
}

#[test]
fn a_new_remote_gets_everything_and_nothing_is_deleted_there() {
    let mut it = Fixture::new(1, 4);
    it.reload(rules(None), vec![Fate::Kept], &["new"], &[]);
    it.change("a");
    assert_eq!(it.working(), [full(1), batch(0), batch(1)]);
    let (_, job) = &it.jobs[0];
    assert_eq!((&job.work, job.deletions), (&Work::Full, Deletions::Held));
    let logged = it.acts().2;
    assert!(logged.len() == 1 && logged[0].1.ends_with("; nothing is deleted there"), "{logged:?}");
    it.done(full(1), Outcome::Done);
    assert!(it.core.remotes()[1].waiting_since(it.now, Lane::Full).is_none());
}

#[test]
fn new_remotes_take_no_worker_away() {
    let mut it = Fixture::new(2, 1);
    it.change("a");
    assert_eq!(it.working(), [batch(0)]);
    it.reload(rules(None), vec![Fate::Kept, Fate::Kept], &["new", "newer"], &[]);
    assert_eq!(it.working(), [batch(0)], "there is no worker");
    it.done(batch(0), Outcome::Done);
    assert_eq!(it.working(), [batch(1)], "who was there before goes first");
    it.done(batch(1), Outcome::Done);
    assert_eq!(it.working(), [full(2)]);
    // While it is seeded the only worker is there for the others.
    it.change("b");
    for _ in 0..4 {
        assert_eq!((it.working()[0], it.working().len()), (full(2), 2));
        assert!(!it.working().contains(&full(3)));
        let other = it.working()[1];
        it.done(other, Outcome::Done);
    }
    assert_eq!(it.working(), [full(2)], "one after the other");
    it.done(full(2), Outcome::Done);
    assert_eq!(it.working(), [batch(2)], "once more what changed meanwhile");
    it.done(batch(2), Outcome::Done);
    assert_eq!(it.working(), [full(3)]);
}

#[test]
fn a_watcher_that_was_replaced_is_no_trouble() {
    let mut it = Fixture::new(1, 4);
    it.reload(rules(Some("tmp(/.*)?")), vec![Fate::Changed(described("0"))], &[], &[Role::Watcher]);
    assert_eq!(it.acts().0, [batch(0), Role::Watcher]);
    it.exited(batch(0));
    // It has not heard of it yet.
    it.change("tmp/a");
    assert_eq!(it.core.remotes()[0].pending(), 0);
    it.change("b");
    assert_eq!(it.core.remotes()[0].pending(), 1);
    it.acts();
    it.exited(Role::Watcher);
    it.on(Input::Watching(TREE, ROOT, 1));
    let (_, spawned, logged) = it.acts();
    assert_eq!(spawned[0], Role::Watcher);
    assert!(logged.iter().all(|(level, _)| *level == Level::Info), "{logged:?}");
    assert!(logged.iter().any(|(_, line)| line.contains("cause=\"the config has changed\"")), "{logged:?}");
}

#[test]
fn what_is_excluded_now_is_not_sent() {
    let mut it = Fixture::new(1, 4);
    it.change("tmp/flying");
    it.change("tmp/waiting");
    it.change("kept");
    it.reload(rules(Some("tmp/.*")), vec![Fate::Changed(described("0"))], &[], &[Role::Watcher]);
    assert_eq!(it.core.remotes()[0].pending(), 1);
    // What was under way is not tried again.
    it.done(batch(0), Outcome::Unreachable);
    it.exited(batch(0));
    it.now += Duration::from_secs(20);
    it.on(Input::Tick);
    let Work::Batch(paths) = &it.jobs[0].1.work else { panic!("no batch") };
    assert_eq!(paths[..], [(RelPath::new("kept").unwrap(), Dirt::Touched)]);
    it.done(batch(0), Outcome::Done);
    let told: Vec<String> = it
        .out
        .iter()
        .filter_map(|act| if let Action::Deliver(_, events) = act { Some(events) } else { None })
        .flatten()
        .map(|(_, event)| event.path.to_string())
        .collect();
    assert_eq!(told.len(), 1, "{told:?}");
}

#[test]
fn a_plugin_finishes_what_it_tells() {
    let mut it = Fixture::new(1, 4);
    it.change("a");
    it.done(batch(0), Outcome::Done);
    let role = Role::Plugin(PluginId(0));
    it.reload(rules(None), vec![Fate::Kept], &[], &[role]);
    assert_eq!(it.acts().0, []);
    it.on(Input::Told(PluginId(0), vec![Verdict::Delivered], String::new()));
    assert_eq!(it.acts().0, [role]);
    it.exited(role);
    assert_eq!(it.acts(), (vec![], vec![role], vec![]));
}

#[test]
fn clocks_go_on_where_their_pause_is_the_same() {
    let mut it = Fixture::new(1, 4);
    it.now = Duration::from_secs(3000);
    it.reload(rules(None), vec![Fate::Kept], &[], &[]);
    assert_eq!(it.core.sweep.deadline(), Duration::from_secs(3600));
    let crontab = Some(Duration::from_secs(60));
    it.reload(Rules { crontab, mirror: true, ..rules(None) }, vec![Fate::Removed], &["new"], &[]);
    it.exited(batch(0));
    it.done(full(1), Outcome::Done);
    it.now += Duration::from_secs(61);
    it.on(Input::Tick);
    assert_eq!(it.working(), [full(1)], "the one that is gone gets no full sync");
    assert_eq!(it.jobs[0].1.deletions, Deletions::Travel);
}
