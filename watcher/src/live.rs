//! A tree whose root is there: what its events do to the watches, and what they are reported as.

use std::ffi::{OsStr, OsString};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::rc::Rc;
use std::time::{Duration, Instant};

use common::config::Switches;
use common::event::{Dirt, RootId, TreeId};
use common::filter::{EntryKind, Filter};
use common::log::Shown;
use common::message::RootLoss;
use common::path::RelPath;

use crate::kernel::{Event, Kernel};
use crate::limbo::{Limbo, PATIENCE};
use crate::limit::Limit;
use crate::links::{Follow, Links};
use crate::looks::Looks;
use crate::names::Names;
use crate::outbox::Outbox;
use crate::received::Received;
use crate::recent::Recent;
use crate::renamed::Renamed;
use crate::scan::{Scan, Then, Voice, Work};
use crate::translate::{Step, bits, is_silent, meaning};
use crate::tree::{NodeId, Tree};

/// Buffers of events that are read before anything else is done.
const READS_AT_ONCE: usize = 8;

/// How long a directory that was reported as removed is kept in mind.
const DEPARTURES: Duration = Duration::from_secs(2);

/// What holds for all trees.
pub(crate) struct Rules {
    /// Which kinds of change travel.
    pub(crate) switches: Switches,
    /// Which names do not.
    pub(crate) filter: Filter,
    /// When a file is reported under all of its names.
    pub(crate) follow: Follow,
    /// Print each watch and each event.
    pub(crate) debug: bool,
    /// Tell names, for the index on disk.
    pub(crate) index: bool,
}

/// Whether lost events are being made up for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Repair {
    /// No events were lost.
    None,
    /// The walk waits for the work before it.
    Waiting,
    /// The walk is under way.
    Running,
    /// More events were lost meanwhile.
    Again,
}

/// A tree whose root is there.
pub(crate) struct Live {
    pub(crate) id: TreeId,
    pub(crate) path: Rc<OsStr>,
    pub(crate) root: RootId,
    pub(crate) rules: Rc<Rules>,
    pub(crate) kernel: Kernel,
    pub(crate) tree: Tree,
    pub(crate) scan: Scan,
    pub(crate) links: Links,
    pub(crate) limit: Limit,
    pub(crate) names: Names,
    pub(crate) looks: Looks,
    /// On its way from the tree to the scan; empty in between.
    pub(crate) ended: Vec<i32>,
    /// Every directory was watched once.
    pub(crate) watching: bool,
    limbo: Limbo,
    /// Where directories came to: when two trade names, the kernel says that one comes to a
    /// name before it says that the other leaves it.
    arrivals: Recent,
    received: Received,
    pub(crate) renamed: Renamed,
    /// Where directories were reported as removed.
    departures: Recent,
    repair: Repair,
    nodes: Vec<NodeId>,
    /// When the kernel's queue was empty last.
    drained_at: Option<Instant>,
}

impl Live {
    /// Begins with a root that was just opened: all of it is to be watched.
    pub(crate) fn begin_with(
        id: TreeId,
        path: Rc<OsStr>,
        rules: Rc<Rules>,
        kernel: Kernel,
        root: (OwnedFd, RootId),
        pass: u32,
    ) -> Live {
        let (tree, mut scan) = (Tree::new(), Scan::of(root.0));
        let follow = rules.follow;
        scan.push(Work::Done(tree.root(), Then::Watching));
        scan.push(Work::Read(tree.root(), Voice::Quiet));
        Live {
            id,
            path,
            root: root.1,
            rules,
            kernel,
            tree,
            scan,
            links: Links::new(follow),
            limit: Limit::default(),
            names: Names::new(pass),
            looks: Looks::default(),
            ended: Vec::new(),
            watching: false,
            limbo: Limbo::default(),
            arrivals: Recent::new(PATIENCE),
            received: Received::default(),
            renamed: Renamed::default(),
            departures: Recent::new(DEPARTURES),
            repair: Repair::None,
            nodes: Vec::new(),
            drained_at: None,
        }
    }

    /// Reads and deals with what waits in the kernel's queue, and says whether that was anything; or how
    /// the root was lost, if that is among it.
    pub(crate) fn drain(
        &mut self,
        buffer: &mut [u8],
        now: Instant,
        out: &mut Outbox,
    ) -> Result<bool, RootLoss> {
        let mut any = false;
        for _ in 0..READS_AT_ONCE {
            self.looks.events_came();
            let events = self.kernel.read(buffer).map_err(|error| {
                log::error!("{} cannot be read reason={error}", self.kernel.name());
                RootLoss::Missing
            })?;
            let Some(events) = events else {
                self.drained(now);
                break;
            };
            for event in events {
                any = true;
                self.event(&event, now, out)?;
            }
        }
        Ok(any)
    }

    /// The kernel's queue is empty: a directory that a pass met, and that still nobody knows, had
    /// no event.
    fn drained(&mut self, now: Instant) {
        self.drained_at = Some(now);
        self.links.fleeting.drained();
        self.renamed.drained();
        for (parent, name) in self.names.drained() {
            self.scan.push(Work::Look(parent, name));
        }
    }

    /// Whether all that happened before `moment` is in the outbox. Nothing is held back: what is in
    /// limbo was reported under its old name, and the kernel tells both in one call.
    pub(crate) fn is_settled(&self, moment: Instant) -> bool {
        let looked = self.links_are_proved() && !self.limit.is_hurried();
        looked && self.is_drained(moment)
    }

    /// Whether all that the kernel had queued at `moment` is in the outbox.
    pub(crate) fn is_drained(&self, moment: Instant) -> bool {
        !self.scan.is_busy() && self.drained_at.is_some_and(|at| at >= moment)
    }

    /// Does what is due.
    pub(crate) fn tick(&mut self, now: Instant, out: &mut Outbox) {
        while let Some(node) = self.limbo.expired(now) {
            self.drop_node(node);
        }
        if !self.scan.is_busy() {
            self.retry_unwatched(now);
            self.recount(now);
            self.compare_doubted(now, out);
        }
    }

    /// When something is due next.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        let links = [self.links.deadline(), self.compare_deadline()];
        let waiting = [self.limbo.deadline(), self.limit.deadline(&self.tree)];
        waiting.into_iter().chain(links).flatten().min()
    }

    /// The walk that makes up for lost events starts.
    pub(crate) fn repair(&mut self) {
        self.repair = Repair::Running;
        self.scan.push(Work::Done(self.tree.root(), Then::Repaired));
        self.scan.push(Work::Read(self.tree.root(), Voice::Quiet));
    }

    /// It is over. What was lost meanwhile needs one more.
    pub(crate) fn repaired(&mut self) {
        match self.repair {
            Repair::Again => {
                self.repair = Repair::Waiting;
                self.scan.push_last(Work::Repair);
            }
            Repair::None | Repair::Waiting | Repair::Running => self.repair = Repair::None,
        }
    }

    fn event(&mut self, event: &Event<'_>, now: Instant, out: &mut Outbox) -> Result<(), RootLoss> {
        let (Some(wd), mask) = (self.kernel.number(event.of), event.mask) else { return Ok(()) };
        if self.rules.debug {
            log::info!("inotify wd:{wd}\tname:{}\tmask:{mask}", Shown(event.name.unwrap_or_default()));
        }
        if mask & bits::Q_OVERFLOW != 0 {
            self.overflow();
            return Ok(());
        }
        let mut nodes = std::mem::take(&mut self.nodes);
        self.tree.nodes_of(wd, &mut nodes);
        let of_itself = bits::IGNORED | bits::UNMOUNT | bits::DELETE_SELF | bits::MOVE_SELF;
        if mask & (of_itself | bits::ISDIR) != 0 {
            self.looks.forget_places();
        }
        let result = if mask & of_itself != 0 {
            self.own_event(wd, mask, &nodes)
        } else if event.name.is_some_and(|name| name == ".") {
            self.of_itself(&nodes, (mask, event.cookie), now, out);
            Ok(())
        } else {
            // One watch, several nodes: a bind mount within the tree.
            for &node in &nodes {
                // No path: between two names. All of it will be sent once it has one.
                if let (Some(dir), Some(name)) = (self.looks.path(&self.tree, node), event.name) {
                    self.entry_event(node, &dir, name.as_bytes(), (mask, event.cookie), now, out);
                }
            }
            Ok(())
        };
        self.nodes = nodes;
        result
    }

    /// Something happened to the watched directory itself. Renames are told by its parent.
    fn own_event(&mut self, wd: i32, mask: u32, nodes: &[NodeId]) -> Result<(), RootLoss> {
        if nodes.contains(&self.tree.root()) {
            return Err(match mask {
                _ if mask & bits::MOVE_SELF != 0 => RootLoss::Replaced,
                _ if mask & bits::UNMOUNT != 0 => RootLoss::Unmounted,
                _ => RootLoss::Missing,
            });
        }
        if mask & bits::IGNORED == 0 {
            return Ok(());
        }
        self.kernel.forget(wd);
        for &node in nodes {
            // Not dropped: this may be old news of another directory that had this name. If it
            // is gone, its parent says so, or the scan finds out; if it was unmounted, the
            // directory below is there to be watched.
            self.tree.clear_wd(node);
            self.scan.push(Work::Read(node, Voice::Quiet));
        }
        Ok(())
    }

    pub(crate) fn entry_event(
        &mut self,
        parent: NodeId,
        dir: &RelPath,
        name: &[u8],
        (mask, cookie): (u32, u32),
        now: Instant,
        out: &mut Outbox,
    ) {
        let Ok(path) = dir.join(name) else {
            self.scan.too_long(dir);
            return;
        };
        self.names.note(parent, name);
        let seen = self.follow_links(&path, (mask, cookie), out);
        let meaning = meaning(mask, &path, self.rules.switches, &self.rules.filter);
        self.note_rename(&path, meaning, (mask, cookie), out);
        match meaning.step {
            Step::Keep => {}
            Step::Appeared => self.appeared(parent, name, now),
            Step::Arrived => self.arrived(parent, name, cookie, now),
            Step::Left => self.left(parent, name, cookie, now),
            Step::Gone => self.gone(parent, name),
            Step::Unwanted => {
                if let Some(moved) = self.limbo.take(cookie) {
                    self.drop_node(moved);
                }
                self.gone(parent, name);
            }
        }
        let mask = mask | self.received.bit(mask, cookie, name);
        if let Some(dirt) = meaning.dirt {
            if dirt == Dirt::RemovedDir {
                self.departures.note(parent, name, now);
            }
            out.seen(self.id, path, (dirt, mask), seen);
        } else if self.rules.index && mask & (bits::DELETE | bits::MOVED_FROM) != 0 {
            self.gone_unsaid(path, mask, out);
        }
    }

    /// The index follows the source, whatever the switches leave out.
    fn gone_unsaid(&self, path: RelPath, mask: u32, out: &mut Outbox) {
        let kind = if mask & bits::ISDIR == 0 { EntryKind::File } else { EntryKind::Directory };
        if !is_silent(&path, kind, self.rules.switches, &self.rules.filter) {
            out.gone(self.id, path, kind);
        }
    }

    fn appeared(&mut self, parent: NodeId, name: &[u8], now: Instant) {
        let Some(node) = self.tree.ensure(parent, name) else { return };
        if self.departures.take(parent, name, now) {
            // Whoever removes the old one may find the new one and bring it over before it is
            // watched: it needs one more look once it is.
            self.send_all(node);
        } else if !self.tree.announce(node) {
            // The scan of its parent may have met it before: then its content is on its way.
            self.scan.push(Work::Read(node, Voice::Named));
        }
    }

    /// Watches all of a directory, and then reports all of it.
    fn send_all(&mut self, node: NodeId) {
        self.scan.push(Work::Done(node, Then::Deep));
        self.scan.push(Work::Read(node, Voice::Quiet));
    }

    fn arrived(&mut self, parent: NodeId, name: &[u8], cookie: u32, now: Instant) {
        let moved = self.limbo.take(cookie).filter(|&node| self.tree.is_live(node));
        if let Some(stale) = self.tree.child(parent, name) {
            self.drop_node(stale);
        }
        self.arrivals.note(parent, name, now);
        let node = if let Some(node) = moved {
            self.tree.attach(node, parent, name);
            Some(node)
        } else {
            self.tree.ensure(parent, name)
        };
        // Read all of it in any case: it may hold what had no watch yet, or what has another
        // standing with the filter under its new name.
        if let Some(node) = node {
            self.send_all(node);
        }
    }

    fn left(&mut self, parent: NodeId, name: &[u8], cookie: u32, now: Instant) {
        if let Some(node) = self.tree.child(parent, name) {
            self.tree.detach(node);
            if let Some(twin) = self.limbo.put(cookie, node, now) {
                self.drop_node(twin);
            }
        }
        if self.arrivals.take(parent, name, now) || self.is_doubtful() {
            // Two directories may be trading names: then it was the other one that left, and
            // the one that came is still here.
            self.scan.push(Work::Look(parent, name.into()));
        }
    }

    fn gone(&mut self, parent: NodeId, name: &[u8]) {
        if let Some(node) = self.tree.child(parent, name) {
            self.drop_node(node);
        }
        self.look_if_doubtful(parent, name);
    }

    fn overflow(&mut self) {
        match self.repair {
            Repair::None => {
                let (name, root) = (self.kernel.name(), Shown(&self.path));
                log::warn!("{name} queue overflow root={root}: the tree is rescanned");
                self.repair = Repair::Waiting;
                self.scan.push_last(Work::Repair);
            }
            Repair::Running => self.repair = Repair::Again,
            Repair::Waiting | Repair::Again => {}
        }
    }
}

/// The absolute path of an entry.
pub(crate) fn absolute(root: &OsStr, path: &RelPath) -> OsString {
    let mut full = root.to_owned();
    full.push("/");
    full.push(OsStr::from_bytes(path.as_bytes()));
    full
}
