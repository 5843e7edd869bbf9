//! A simulation of what survives: changes, transfers and a keeper that commits, with kills of
//! everything at any moment. Whatever happened, once it is quiet the remote is as the source is.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use common::event::{Change, Dirt, RootId, TreeId};
use common::keep::{
    Durable, Edit, Find, FindKind, HeldDelete, KeeperReport, Knowledge, LastRun, NameOp, Pending, Purpose,
    Stamp,
};
use common::message::{Deletions, Job, Outcome, Work};
use common::path::RelPath;
use proptest::prelude::*;

use super::backlog::Traffic;
use super::dispatch::{Dispatcher, Fate, Reload, Rules, Setup};
use super::keeping::Keep;
use super::{Action, Input, JobEnd, Lane, RemoteId, Role};

const TREE: TreeId = TreeId(0);
const ROOT: RootId = RootId { device: 1, inode: 2, born: 3 };
const BATCH: Role = Role::Syncer(RemoteId(0), Lane::Batch);
const EXPRESS: Role = Role::Syncer(RemoteId(0), Lane::Express);
const FULL: Role = Role::Syncer(RemoteId(0), Lane::Full);

/// What the file holds.
#[derive(Debug, Clone, Default)]
struct Disk {
    names: BTreeMap<RelPath, u64>,
    pending: BTreeMap<RelPath, Pending>,
    held: BTreeMap<RelPath, HeldDelete>,
    full: Option<Deletions>,
    root: Option<RootId>,
    whole: bool,
    known: bool,
}

/// A keeper, and the file.
#[derive(Debug, Default)]
struct Keeper {
    committed: Disk,
    open: Disk,
    orders: VecDeque<Keep>,
    found: u64,
}

struct World {
    /// What the remote lacks is held as where there are many.
    shared: bool,
    core: Dispatcher,
    now: Duration,
    out: Vec<Action>,
    source: BTreeMap<RelPath, u64>,
    remote: BTreeMap<RelPath, u64>,
    versions: u64,
    watcher: VecDeque<Input>,
    keeper: Keeper,
    jobs: BTreeMap<Role, Job>,
    /// What the two files on the tmpfs hold, and which is written.
    recent: [Vec<Change>; 2],
    current: usize,
    /// What of that happened again.
    recalled: VecDeque<Input>,
}

fn path(n: u8) -> RelPath {
    RelPath::new(format!("f{}", n % 6)).unwrap()
}

fn core(shared: bool) -> Dispatcher {
    let mut core = Dispatcher::new(Setup {
        trees: vec![("/t".to_owned(), vec![("r".to_owned(), Traffic::OneWay)])],
        keep: true,
        epoch: 1,
        ..Setup::default()
    });
    if shared {
        core.share_all();
    }
    core
}

impl World {
    fn new(shared: bool) -> World {
        let mut world = World {
            shared,
            core: core(shared),
            now: Duration::ZERO,
            out: Vec::new(),
            source: BTreeMap::new(),
            remote: BTreeMap::new(),
            versions: 0,
            watcher: VecDeque::new(),
            keeper: Keeper::default(),
            jobs: BTreeMap::new(),
            recent: Default::default(),
            current: 0,
            recalled: VecDeque::new(),
        };
        world.start(LastRun::None);
        world
    }

    fn start(&mut self, last: LastRun) {
        self.core.start(self.now, &mut Vec::new());
        for role in [Role::Watcher, Role::Keeper, BATCH] {
            self.tell(Input::Ready(role));
        }
        self.tell(Input::Watching(TREE, ROOT, 1));
        let left: Vec<Change> = self.recent.iter().flatten().cloned().collect();
        self.recent = [left.clone(), Vec::new()];
        self.current = 1;
        self.tell(Input::Changes(TREE, left));
        let disk = self.keeper.committed.clone();
        let mut edits = Vec::new();
        edits.extend(disk.pending.into_iter().map(|(path, pending)| Edit::Pending(0, path, Some(pending))));
        edits.extend(disk.held.into_iter().map(|(path, held)| Edit::Held(TREE, path, Some(held))));
        edits.extend(disk.full.map(|deletions| Edit::Full(0, Some(deletions))));
        edits.extend(disk.root.map(|root| Edit::Root(TREE, root)));
        edits.extend(disk.known.then_some(Edit::Known(0)));
        self.tell(Input::Keeper(KeeperReport::Kept(edits)));
        let knowledge = match (disk.root, disk.whole) {
            (None, _) => Knowledge::None,
            (Some(_), false) => Knowledge::Partial,
            (Some(_), true) => Knowledge::Whole,
        };
        self.tell(Input::Keeper(KeeperReport::Loaded { last, trees: vec![knowledge], names: vec![0] }));
        self.list();
    }

    /// The watcher lists the tree as it is now.
    fn list(&mut self) {
        let stamp = |version: &u64| Stamp { directory: false, inode: 1, mark: *version };
        let entries = self.source.iter().map(|(path, version)| (path.as_bytes().to_vec(), stamp(version)));
        let listing = NameOp::Listing {
            directory: RelPath::root(),
            after: None,
            upto: None,
            entries: entries.collect(),
            purpose: Purpose::Compare,
        };
        self.watcher.push_back(Input::Names(TREE, vec![listing]));
        self.watcher.push_back(Input::Listed(TREE, RelPath::root(), 0));
    }

    fn tell(&mut self, input: Input) {
        self.core.on(self.now, input, &mut self.out);
        for action in std::mem::take(&mut self.out) {
            match action {
                Action::Keep(keep) => self.keeper.orders.push_back(keep),
                Action::Send(role, job) => drop(self.jobs.insert(role, job)),
                Action::Spawn(role) => self.tell(Input::Ready(role)),
                Action::Rotate if self.recent[1 - self.current].is_empty() => self.current = 1 - self.current,
                Action::Settle => self.recent[1 - self.current].clear(),
                Action::Recall => {
                    let again = self.recent.iter().flatten().cloned().collect();
                    self.recalled.push_back(Input::Changes(TREE, again));
                }
                _ => {}
            }
        }
    }

    fn write(&mut self, n: u8) {
        self.versions += 1;
        self.source.insert(path(n), self.versions);
        let stamp = Stamp { directory: false, inode: 1, mark: self.versions };
        self.report(path(n), Dirt::Touched, NameOp::Entry(path(n), stamp));
    }

    fn remove(&mut self, n: u8) {
        if self.source.remove(&path(n)).is_some() {
            self.report(path(n), Dirt::Removed, NameOp::Gone(path(n)));
        }
    }

    fn report(&mut self, path: RelPath, dirt: Dirt, op: NameOp) {
        self.watcher.push_back(Input::Changes(TREE, vec![Change { path, dirt, mask: 8 }]));
        self.watcher.push_back(Input::Names(TREE, vec![op]));
    }

    fn hear_watcher(&mut self) {
        while let Some(again) = self.recalled.pop_front() {
            self.tell(again);
        }
        if let Some(input) = self.watcher.pop_front() {
            if let Input::Changes(_, changes) = &input {
                self.recent[self.current].extend(changes.iter().cloned());
            }
            self.tell(input);
        }
    }

    fn finish(&mut self, role: Role, outcome: Outcome) {
        let Some(job) = self.jobs.remove(&role) else { return };
        if outcome == Outcome::Done {
            self.transfer(&job);
        }
        self.tell(Input::Done(
            role,
            JobEnd { outcome, status: 0, tail: String::new(), failed: None, left: vec![] },
        ));
    }

    fn transfer(&mut self, job: &Job) {
        match &job.work {
            Work::Batch(paths) => {
                for (path, _) in paths {
                    match self.source.get(path) {
                        Some(&version) => drop(self.remote.insert(path.clone(), version)),
                        None => drop(self.remote.remove(path)),
                    }
                }
            }
            Work::Full => self.remote.extend(self.source.clone()),
            Work::Verify { .. } => {}
        }
    }

    fn hear_keeper(&mut self) {
        let Some(order) = self.keeper.orders.pop_front() else { return };
        let mut finds = Vec::new();
        let answer = match order {
            Keep::Names(_, ops) => {
                for op in ops {
                    self.keeper.open.take(op, &mut finds);
                }
                KeeperReport::Done(0)
            }
            Keep::Listed(_, top) => {
                self.keeper.open.whole = true;
                KeeperReport::Compared(TREE, top, self.keeper.open.names.len() as u64)
            }
            Keep::Edits(edits) => {
                for edit in edits {
                    self.keeper.open.edit(edit);
                }
                KeeperReport::Done(0)
            }
            Keep::Commit { heard, .. } if heard < self.keeper.found => {
                KeeperReport::Committed(0, Durable::NotYet)
            }
            Keep::Commit { .. } => {
                self.keeper.committed = self.keeper.open.clone();
                KeeperReport::Committed(0, Durable::Yes)
            }
        };
        if !finds.is_empty() {
            self.keeper.found += 1;
            self.recent[self.current].extend(finds.iter().filter_map(Find::change));
            self.tell(Input::Keeper(KeeperReport::Found(TREE, finds)));
        }
        self.tell(Input::Keeper(answer));
    }

    /// Everything is killed, and started again. What was under way may have arrived.
    fn crash(&mut self, arrived: bool) {
        for job in std::mem::take(&mut self.jobs).into_values().filter(|_| arrived) {
            self.transfer(&job);
        }
        self.watcher.clear();
        self.recalled.clear();
        let committed = self.keeper.committed.clone();
        self.keeper = Keeper { open: committed.clone(), committed, ..Keeper::default() };
        self.core = core(self.shared);
        self.start(LastRun::Unclean);
    }

    /// Only the keeper is killed.
    fn kill_keeper(&mut self) {
        let committed = self.keeper.committed.clone();
        self.keeper = Keeper { open: committed.clone(), committed, ..Keeper::default() };
        self.tell(Input::Exited(Role::Keeper, "killed".to_owned()));
        let disk = self.keeper.committed.clone();
        let mut edits: Vec<Edit> =
            disk.pending.into_iter().map(|(path, pending)| Edit::Pending(0, path, Some(pending))).collect();
        edits.extend(disk.held.into_iter().map(|(path, held)| Edit::Held(TREE, path, Some(held))));
        edits.extend(disk.full.map(|deletions| Edit::Full(0, Some(deletions))));
        edits.extend(disk.root.map(|root| Edit::Root(TREE, root)));
        edits.extend(disk.known.then_some(Edit::Known(0)));
        self.tell(Input::Keeper(KeeperReport::Kept(edits)));
        let knowledge = match (disk.root, disk.whole) {
            (None, _) => Knowledge::None,
            (Some(_), false) => Knowledge::Partial,
            (Some(_), true) => Knowledge::Whole,
        };
        self.tell(Input::Keeper(KeeperReport::Loaded {
            last: LastRun::Unclean,
            trees: vec![knowledge],
            names: vec![0],
        }));
        // The watcher was told to list again, in a pass of its own.
        let pass = self.passes();
        self.list();
        if let Some(Input::Listed(_, _, number)) = self.watcher.back_mut() {
            *number = pass;
        }
    }

    /// The config changes, and with it what this role is told.
    fn reload(&mut self, role: Role) {
        let setup = Setup::default();
        let rules = Rules {
            filter: None,
            delete: setup.delete,
            mirror: setup.mirror,
            crontab: None,
            sweep: setup.sweep,
            brake: setup.brake,
            audit: None,
            sharing: setup.sharing,
            warm: setup.warm,
        };
        let remotes = vec![Fate::Kept];
        let reload = Reload { rules, remotes, added: vec![], timeouts: vec![], replaced: vec![role] };
        self.tell(Input::Reload(Box::new(reload)));
        if role == Role::Keeper {
            self.kill_keeper();
            return;
        }
        // What it had not reported yet nobody will.
        self.watcher.clear();
        self.tell(Input::Exited(Role::Watcher, "killed".to_owned()));
        self.tell(Input::Watching(TREE, ROOT, 1));
        self.list();
    }

    fn passes(&self) -> u32 {
        self.core.pass().unwrap_or(0)
    }

    fn settle(&mut self) {
        for _ in 0..400 {
            self.hear_watcher();
            self.hear_keeper();
            for role in [BATCH, EXPRESS, FULL] {
                self.finish(role, Outcome::Done);
            }
            self.now += Duration::from_millis(300);
            self.tell(Input::Tick);
        }
    }
}

impl Disk {
    fn take(&mut self, op: NameOp, finds: &mut Vec<Find>) {
        match op {
            NameOp::Entry(path, stamp) => drop(self.names.insert(path, stamp.mark)),
            NameOp::Gone(path) => drop(self.names.remove(&path)),
            NameOp::Listing { entries, .. } => {
                let new: BTreeMap<RelPath, u64> = entries
                    .into_iter()
                    .map(|(name, stamp)| (RelPath::new(name).unwrap(), stamp.mark))
                    .collect();
                if self.whole {
                    let changed = new.iter().filter(|(path, mark)| self.names.get(*path) != Some(mark));
                    finds.extend(
                        changed.map(|(path, _)| Find { path: path.clone(), kind: FindKind::Changed }),
                    );
                    let gone = self.names.keys().filter(|path| !new.contains_key(*path));
                    let kind = FindKind::Gone { directory: false, names: 1 };
                    finds.extend(gone.map(|path| Find { path: path.clone(), kind }));
                }
                self.names = new;
            }
        }
    }

    fn edit(&mut self, edit: Edit) {
        match edit {
            Edit::Pending(_, path, Some(pending)) => drop(self.pending.insert(path, pending)),
            Edit::Pending(_, path, None) => {
                assert!(self.pending.remove(&path).is_some(), "{path}: not there");
            }
            Edit::Held(_, path, Some(held)) => drop(self.held.insert(path, held)),
            Edit::Held(_, path, None) => drop(self.held.remove(&path)),
            Edit::Full(_, full) => self.full = full,
            Edit::Root(_, root) if self.root != Some(root) => {
                self.names.clear();
                (self.root, self.whole) = (Some(root), false);
            }
            Edit::Known(_) => self.known = true,
            Edit::Root(..) | Edit::Parked(..) | Edit::Complete(..) => {}
        }
    }
}

proptest! {
    #[test]
    fn nothing_is_lost(
        shared: bool,
        steps in proptest::collection::vec((0..18_u8, any::<u8>()), 0..120),
    ) {
        let mut world = World::new(shared);
        // A first start has nothing to make up for: what was there before is nobody's business.
        world.settle();
        for (what, n) in steps {
            match what {
                0..=3 => world.write(n),
                4 | 5 => world.remove(n),
                6..=8 => world.hear_watcher(),
                9 | 10 => world.hear_keeper(),
                11 => world.finish(if n % 3 == 0 { EXPRESS } else { BATCH }, Outcome::Done),
                12 => world.finish(if n % 2 == 0 { BATCH } else { FULL }, Outcome::Unreachable),
                13 => {
                    world.now += Duration::from_millis(u64::from(n) * 8);
                    world.tell(Input::Tick);
                }
                14 => world.crash(n % 2 == 0),
                15 => world.reload(Role::Keeper),
                16 => world.reload(Role::Watcher),
                _ => world.kill_keeper(),
            }
        }
        world.settle();
        prop_assert_eq!(&world.remote, &world.source);
    }
}
