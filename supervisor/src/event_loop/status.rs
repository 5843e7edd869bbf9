//! Those who look on: a snapshot is made when somebody asks for one, and not otherwise.

use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::rc::Rc;
use std::time::{Duration, SystemTime};

use common::config::WatcherKind;
use common::confine::Kernel;
use common::event::TreeId;
use common::message::{LossCause, WatcherOrder};
use log::error;

use super::EventLoop;
use super::page::Page;
use crate::core::view::View;
use crate::core::{Lane, Role};
use crate::logging::{draw, undraw};
use crate::page::Gate;
use crate::status::build::{Facts, Process, progress, snapshot};
use crate::status::progress::{Running, line};
use crate::status::screen::{clean, width_of};
use crate::status::server::StatusSocket;
use crate::status::{Snapshot, escaped, process};

/// How often progress is told at most.
const TELL: Duration = Duration::from_secs(1);
/// Columns of a terminal that does not say how many it has.
const WIDTH: usize = 80;
const ALLOWED: &str = "/proc/sys/fs/inotify/max_user_watches";

/// What is kept for those who look on.
#[derive(Debug, Default)]
pub(super) struct Lookout {
    pub(super) socket: Option<StatusSocket>,
    /// The page, where there is one.
    pub(super) page: Option<Page>,
    config: String,
    /// When the watcher was asked for what it has not answered.
    asked: Option<Duration>,
    /// All that happened before that moment was reported.
    seen: Option<Duration>,
    /// Directories that were watched then, of each tree.
    directories: Vec<u64>,
    overflows: u64,
    /// Where full syncs are drawn, if anywhere.
    screen: Option<Screen>,
    /// When progress may be told again.
    tell_at: Duration,
}

/// A terminal that shows how full syncs get on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Screen {
    /// Standard error.
    Errors,
}

/// What is new of a full sync.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum News {
    /// It has come further.
    Further,
    /// It is over.
    Over,
}

impl Lookout {
    /// What to poll, as [`StatusSocket::fds`].
    pub(super) fn fds(&self) -> impl Iterator<Item = (std::os::fd::BorrowedFd<'_>, nix::poll::PollFlags)> {
        self.socket.iter().flat_map(StatusSocket::fds)
    }

    /// When [`EventLoop::show`] is due.
    pub(super) fn deadline(&self) -> Option<Duration> {
        self.socket.as_ref().and_then(StatusSocket::deadline)
    }

    /// Sight of a subtree was lost.
    pub(super) fn lost(&mut self, cause: LossCause) {
        self.overflows = self.overflows.saturating_add(u64::from(cause == LossCause::Overflow));
    }

    /// A new watcher knows nothing of what its predecessor was asked.
    pub(super) fn new_watcher(&mut self) {
        self.asked = None;
    }
}

impl EventLoop {
    /// Tells there how all is, and on a page. `config` is what snapshots call the config file.
    pub fn show_at(&mut self, socket: Option<StatusSocket>, page: Option<Gate>, config: &std::path::Path) {
        let config = std::path::absolute(config).unwrap_or_else(|_| config.to_owned());
        self.lookout.socket = socket;
        self.lookout.config = escaped(config.as_os_str().as_bytes());
        self.serve_page(page);
    }

    /// Draws there how full syncs get on.
    pub fn draw_on(&mut self, screen: Option<Screen>) {
        self.lookout.screen = screen;
    }

    /// Tells systemd, and whoever sits there, how full syncs get on.
    pub(super) fn tell_progress(&mut self, role: Role, news: News) {
        let now = self.now();
        let is_full = matches!(role, Role::Syncer(_, Lane::Full));
        if !is_full || (news == News::Further && now < self.lookout.tell_at) {
            return;
        }
        self.lookout.tell_at = now.saturating_add(TELL);
        let running = self.core.full_syncs().map(|(remote, since, advance)| {
            let took = now.saturating_sub(since);
            let progress = advance.map(|advance| progress(advance, took));
            Running { remote, seconds: took.as_secs_f64(), progress }
        });
        let line = line(&running.collect::<Vec<_>>());
        self.host.progress(now, line.as_deref());
        if self.lookout.screen == Some(Screen::Errors) {
            match line {
                Some(line) => draw(&fitting(&line)),
                None => undraw(),
            }
        }
    }

    /// Takes who came, if anybody did or is waited for, and gives them what there is to see.
    pub(super) fn show(&mut self, heard: bool) {
        let now = self.now();
        if !heard && self.lookout.deadline().is_none_or(|at| now < at) {
            return;
        }
        let seen = self.lookout.seen;
        let Some(socket) = &mut self.lookout.socket else { return };
        socket.serve(now, seen);
        if socket.is_due(now) {
            let bytes = encode(&self.snapshot());
            let took = self.now().saturating_sub(now);
            self.lookout.socket.iter_mut().for_each(|socket| socket.give(now, &bytes, took));
        }
        let lacks_proof = self.lookout.socket.as_ref().is_some_and(|socket| socket.lacks_proof(now));
        if lacks_proof && self.lookout.asked.is_none() {
            self.look(now);
        }
    }

    /// Has the watcher report all that happened until now.
    fn look(&mut self, now: Duration) {
        if self.children.values().any(|child| child.role == Role::Watcher && child.ready) {
            self.lookout.asked = Some(now);
            self.send_watch(WatcherOrder::Look(0));
        }
    }

    /// It has.
    pub(super) fn looked(&mut self, pid: i32, number: u64, directories: Vec<u64>) -> Result<(), String> {
        let child = self.children.get_mut(&pid).ok_or("a child that does not exist")?;
        child.looked(number)?;
        if directories.len() != self.plan.trees() {
            return Err("a look at trees that do not exist".to_owned());
        }
        self.lookout.seen = self.lookout.asked.take().or(self.lookout.seen);
        self.lookout.directories = directories;
        self.show(true);
        Ok(())
    }

    /// How all is.
    fn snapshot(&self) -> Snapshot {
        let view = self.core.view(self.now());
        let inotify = match self.plan.config().watcher {
            WatcherKind::Inotify => true,
            WatcherKind::Fanotify => false,
        };
        let allowed = fs::read_to_string(ALLOWED).ok().and_then(|text| text.trim().parse().ok());
        let trees = u16::try_from(self.plan.trees()).unwrap_or(u16::MAX);
        let facts = Facts {
            now: self.now(),
            today: SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default(),
            config: self.lookout.config.clone(),
            ready: self.settled.len() == self.plan.trees(),
            watcher: if inotify { "inotify" } else { "fanotify" }.to_owned(),
            takes_watches: inotify,
            seen: self.lookout.seen,
            asked: self.lookout.asked,
            directories: self.lookout.directories.clone(),
            allowed,
            overflows: self.lookout.overflows,
            paths: (0..trees).map(|tree| escaped(self.plan.watch(TreeId(tree)).as_bytes())).collect(),
            processes: self.processes(&view),
        };
        snapshot(&view, facts)
    }

    fn processes(&self, view: &View<'_>) -> Vec<Process> {
        let landlock = Kernel::probe().landlock;
        let process = |role: Role| {
            let child = self.children.values().find(|child| child.role == role);
            let mut told = child.map(|child| process::read(child.pid)).unwrap_or_default();
            let bounded = child.is_some_and(|child| child.ready && child.confinement.domain.is_some());
            if let Some(sandbox) = &mut told.sandbox {
                sandbox.landlock = bounded && landlock > 0;
            }
            Process { name: self.plan.name(role), pid: child.map(|child| child.pid), told }
        };
        view.roles.iter().map(|it| process(it.role)).collect()
    }
}

/// As much of it as there are columns, but for the last one: behind that the terminal would begin a line.
fn fitting(line: &str) -> String {
    let columns = rustix::termios::tcgetwinsize(std::io::stderr()).map_or(WIDTH, |size| size.ws_col.into());
    let mut room = columns.saturating_sub(1);
    let fits = |ch: &char| {
        let fits = width_of(*ch) <= room;
        room = room.saturating_sub(width_of(*ch));
        fits
    };
    clean(line).chars().take_while(fits).collect()
}

/// One document of JSON, with a line break.
fn encode(snapshot: &Snapshot) -> Rc<[u8]> {
    // Text and numbers always have a JSON form.
    let mut bytes = serde_json::to_vec(snapshot)
        .inspect_err(|error| error!("internal: status: {error}"))
        .unwrap_or_default();
    bytes.push(b'\n');
    bytes.into()
}
