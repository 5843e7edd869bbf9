//! The watcher against the real kernel: stepped in process, without fork and confinement, its
//! reports read from a real socket. Tests wait for conditions, never for a time.

mod backends;
mod cost;
mod crash;
mod events;
mod keeper;
mod large;
mod links;
mod loss;
mod model;
mod mounts;
mod names;
mod orders;
mod races;
mod replica;

use std::ffi::OsStr;
use std::fs;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use common::config::{FilterExpression, Switches, WatcherKind};
use common::confine::{Confined, Confinement};
use common::event::{Dirt, TreeId};
use common::message::{WatchSlice, WatchTree, WatcherOrder, WatcherReport};
use common::wire::{FrameReader, Received, Uplink, report_socket, ring};
use ipc_channel::ipc::{self, IpcSender};
use tempfile::TempDir;

use crate::root::means;
use crate::start;
use crate::watcher::{End, Watcher};

const PATIENCE: Duration = Duration::from_secs(30);

/// A watcher, what it reports on, and what takes orders to it.
fn started(slice: &WatchSlice) -> (Watcher, OwnedFd, IpcSender<WatcherOrder>) {
    let (socket, theirs) = report_socket().unwrap();
    let (orders, receiver) = ipc::channel().unwrap();
    let watcher = start(slice, means(slice), (Uplink::new(theirs), receiver), Confined::not()).unwrap();
    (watcher, socket, orders)
}

/// What the tests are run with: see `backends`.
fn backend() -> WatcherKind {
    match std::env::var("WATCHER_TESTS_WITH").as_deref() {
        Ok("fanotify") => WatcherKind::Fanotify,
        _ => WatcherKind::Inotify,
    }
}

/// A watcher and the directory that its trees are in.
struct Bench {
    temp: TempDir,
    watcher: Watcher,
    socket: OwnedFd,
    reader: FrameReader,
    orders: IpcSender<WatcherOrder>,
    slice: WatchSlice,
    /// It had no turn yet: the roots may be newer than it is.
    is_new: bool,
    /// Everything that was reported and not yet forgotten.
    seen: Vec<WatcherReport>,
}

impl Bench {
    /// A watcher of `temp/root`, which is made, with everything in it watched.
    fn watching(switches: Switches) -> Bench {
        Bench::prepared(switches, &[], |_| ())
    }

    /// The same with a filter, and a root that is not empty.
    fn prepared(switches: Switches, filter: &[&str], prepare: impl FnOnce(&Bench)) -> Bench {
        let mut bench = Bench::of(&["root"], switches, filter);
        fs::create_dir(bench.at("")).unwrap();
        prepare(&bench);
        bench.until(|seen| seen.iter().any(|report| matches!(report, WatcherReport::Watching { .. })));
        bench.seen.clear();
        bench
    }

    /// A watcher of these directories of `temp`, not started.
    fn of(roots: &[&str], switches: Switches, filter: &[&str]) -> Bench {
        Bench::built(roots, switches, filter, |_| ())
    }

    /// The same, with something else in its part of the config.
    fn built(
        roots: &[&str],
        switches: Switches,
        filter: &[&str],
        change: impl FnOnce(&mut WatchSlice),
    ) -> Bench {
        let temp = tempfile::tempdir().unwrap();
        let tree = |(id, root): (u16, &&str)| WatchTree {
            id: TreeId(id),
            root: temp.path().join(root).into(),
            original: None,
        };
        let mut slice = WatchSlice {
            trees: (0..).zip(roots).map(tree).collect(),
            watcher: backend(),
            switches,
            filter: filter
                .iter()
                .map(|expression| FilterExpression(expression.as_bytes().to_vec()))
                .collect(),
            follow_links: true,
            debug: false,
            index: false,
            confinement: Confinement::none(),
        };
        change(&mut slice);
        let (watcher, socket, orders) = started(&slice);
        let reader = FrameReader::default();
        let mut bench =
            Bench { temp, watcher, socket, reader, orders, slice, is_new: true, seen: Vec::new() };
        bench.receive();
        assert_eq!(bench.seen, [WatcherReport::Ready]);
        bench
    }

    /// Sends an order, and rings.
    fn order(&self, order: WatcherOrder) {
        self.orders.send(order).unwrap();
        ring(self.socket.as_fd());
    }

    /// An entry of the root.
    fn at(&self, path: impl AsRef<[u8]>) -> PathBuf {
        self.temp.path().join("root").join(OsStr::from_bytes(path.as_ref()))
    }

    fn write(&self, path: impl AsRef<[u8]>) {
        fs::write(self.at(path), "content").unwrap();
    }

    fn mkdir(&self, path: impl AsRef<[u8]>) {
        fs::create_dir_all(self.at(path)).unwrap();
    }

    fn rename(&self, from: &str, to: &str) {
        fs::rename(self.at(from), self.at(to)).unwrap();
    }

    /// One turn of the watcher, and whatever it reports.
    fn turn(&mut self) {
        self.turn_for(Duration::from_millis(5));
    }

    /// The same, which may wait as long as that.
    fn turn_for(&mut self, longest: Duration) {
        if std::mem::take(&mut self.is_new) {
            let means = means(&self.slice);
            self.watcher.roots.iter_mut().zip(means).for_each(|(root, means)| root.means = means);
        }
        match self.watcher.turn(longest) {
            Ok(()) => self.receive(),
            Err(End::Outdated) => self.start_anew(),
            Err(end) => panic!("{end}"),
        }
    }

    /// As the supervisor does when a watcher says that another one has to take over: marks are set
    /// before a watcher does anything else.
    fn start_anew(&mut self) {
        assert_eq!(self.slice.watcher, WatcherKind::Fanotify);
        self.receive();
        assert_eq!(self.seen.pop(), Some(WatcherReport::Outdated));
        for report in &self.seen {
            if let WatcherReport::Watching { tree, root, .. } = report {
                self.slice.trees[usize::from(tree.0)].original.get_or_insert(*root);
            }
        }
        (self.watcher, self.socket, self.orders) = started(&self.slice);
        self.reader = FrameReader::default();
        self.receive();
        assert_eq!(self.seen.pop(), Some(WatcherReport::Ready));
    }

    fn receive(&mut self) {
        loop {
            match self.reader.receive(self.socket.as_fd()) {
                Received::Frame(WatcherReport::Beat { .. }) => {}
                Received::Frame(report) => self.seen.push(report),
                Received::Empty => return,
                other => panic!("{other:?}"),
            }
        }
    }

    /// Turns until what was seen satisfies `done`.
    fn until(&mut self, done: impl Fn(&[WatcherReport]) -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while !done(&self.seen) {
            assert!(Instant::now() < deadline, "not in {:#?}", self.seen);
            self.turn();
        }
    }

    /// Turns until `path` is reported as `dirt` in the first tree.
    fn until_dirty(&mut self, path: impl AsRef<[u8]>, dirt: Dirt) {
        let path = path.as_ref();
        self.until(|seen| changes(seen, 0).any(|(p, d)| p == path && d == dirt));
    }

    /// Makes a file of this name, waits until it is reported, and forgets that. Whatever went
    /// before has been dealt with by then.
    fn settle(&mut self, name: &str) {
        self.write(name);
        self.until_dirty(name, Dirt::Touched);
        let deadline = Instant::now() + PATIENCE;
        while self.watcher.roots.iter().any(crate::root::Root::is_busy) {
            assert!(Instant::now() < deadline);
            self.turn();
        }
        for report in &mut self.seen {
            if let WatcherReport::Changes(_, changes) = report {
                changes.retain(|change| change.path.as_bytes() != name.as_bytes());
            }
        }
    }

    /// What was reported of the first tree and is forgotten now, each path and why.
    fn taken(&mut self) -> Vec<(String, Dirt)> {
        let seen = std::mem::take(&mut self.seen);
        changes(&seen, 0).map(|(path, dirt)| (String::from_utf8_lossy(path).into_owned(), dirt)).collect()
    }
}

/// The changes of a tree among reports.
fn changes(seen: &[WatcherReport], tree: u16) -> impl Iterator<Item = (&[u8], Dirt)> {
    let of_tree = move |report| match report {
        &WatcherReport::Changes(TreeId(id), ref changes) if id == tree => Some(changes),
        _ => None,
    };
    seen.iter().filter_map(of_tree).flatten().map(|change| (change.path.as_bytes(), change.dirt))
}
