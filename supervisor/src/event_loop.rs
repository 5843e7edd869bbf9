//! The one place where things happen: waits for signals, children and time, tells the core,
//! and performs what the core decides. One thread, one poll.

mod actions;
mod announce;
mod burial;
mod clients;
mod host;
mod hour;
mod keeper;
mod page;
mod record;
mod reload;
mod reports;
mod status;

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::hash::RandomState;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};

use common::event::{RootId, TreeId};
use common::keep::KeeperReport;
use common::message::{PageReport, PluginReport, SyncerReport, WatcherReport};
use common::wire::{FrameReader, Received};
use log::error;
use nix::errno::Errno;
use nix::fcntl::Flock;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, Signal, kill};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::unistd::Pid;

use crate::child::{Child, Met, Standing};
use crate::control::server::{Client, Control};
use crate::core::dispatch::Dispatcher;
use crate::core::{ClientId, Input, Pace, Role};
use crate::fail_log::FailLog;
use crate::guardian::Guardian;
use crate::logging;
use crate::operator_file::Owner;
use crate::plan::Plan;
use crate::privileges::Grounds;
use crate::recent::{Left, Recent};
use crate::runtime::Runtime;
use crate::say::FullSyncs;
use crate::uids::Uids;

use status::Lookout;
pub use status::Screen;

pub use host::Host;
pub use reload::Source;

/// Frames taken from one child before the others have their turn.
const FRAMES_A_TURN: usize = 32;
/// How long a child may live that has closed its socket for reports.
const LAST_BREATH: Duration = Duration::from_secs(1);
/// How often children get room to log again.
const REFILL: Duration = Duration::from_secs(1);

/// The running supervisor.
pub struct EventLoop {
    plan: Plan,
    core: Dispatcher,
    children: BTreeMap<i32, Child>,
    uids: Uids,
    grounds: Grounds,
    host: Host,
    start: Instant,
    signals: SignalFd,
    met: (Sender<Met>, Receiver<Met>),
    wake: (OwnedFd, OwnedFd),
    frames: FrameReader,
    tickets: (RandomState, u64),
    refill_at: Option<Duration>,
    /// When the core was last told of the time. What was not due then is still to come, however
    /// long the rest of the round took.
    ticked: Duration,
    /// Trees that were watched once.
    announced: BTreeSet<TreeId>,
    /// Trees of which it is known whether they can be watched.
    settled: BTreeSet<TreeId>,
    /// The first root of each tree.
    originals: BTreeMap<TreeId, RootId>,
    full_sync: bool,
    full_syncs: FullSyncs,
    /// Told once everything watches.
    on_ready: Option<Box<dyn FnOnce()>>,
    /// Uids under which operators' programs run. What they leave running is theirs.
    spared: BTreeSet<u32>,
    guardian: Option<Guardian>,
    stop: Stop,
    runtime: Option<Runtime>,
    /// Where the config is read again.
    source: Option<Source>,
    fail_log: Option<FailLog>,
    /// The file of what is kept.
    state: Option<Flock<File>>,
    /// It is damaged, and is emptied before the next keeper gets it.
    erase: bool,
    /// What was reported since it was last written.
    recent: Option<Recent>,
    /// What an earlier run left there.
    left: Left,
    /// Where operators' commands come in; who waits for an answer.
    control: Option<Control>,
    asking: BTreeMap<ClientId, Client>,
    /// Those whose answer was cut.
    cut: BTreeSet<ClientId>,
    clients: u64,
    /// The quarter of an hour, since 1970, of which the core was told the hour.
    quarter: Option<u64>,
    /// Who looks on.
    lookout: Lookout,
}

/// Who has something to say. Most rounds are a child's, and asking nobody else saves half of their
/// system calls.
struct Heard {
    children: Vec<i32>,
    /// The kernel, a thread of our own or an operator.
    others: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stop {
    No,
    Draining,
    Now,
}

impl EventLoop {
    /// Blocks the signals that it takes, so it is to be made before any thread is.
    pub fn new(
        plan: Plan,
        core: Dispatcher,
        (uids, grounds, host): (Uids, Grounds, Host),
        full_sync: bool,
    ) -> io::Result<EventLoop> {
        let mut mask = SigSet::empty();
        for signal in [Signal::SIGCHLD, Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP] {
            mask.add(signal);
        }
        mask.thread_block()?;
        let signals = SignalFd::with_flags(&mask, SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC)?;
        // What a dead child leaves behind becomes ours, to be ended.
        nix::sys::prctl::set_child_subreaper(true)?;
        Ok(EventLoop {
            plan,
            core,
            children: BTreeMap::new(),
            uids,
            grounds,
            host,
            start: Instant::now(),
            signals,
            met: channel(),
            wake: nix::unistd::pipe2(nix::fcntl::OFlag::O_CLOEXEC | nix::fcntl::OFlag::O_NONBLOCK)?,
            frames: FrameReader::default(),
            tickets: (RandomState::new(), 0),
            refill_at: None,
            ticked: Duration::ZERO,
            announced: BTreeSet::new(),
            settled: BTreeSet::new(),
            originals: BTreeMap::new(),
            full_sync,
            full_syncs: FullSyncs::default(),
            on_ready: None,
            spared: BTreeSet::new(),
            guardian: None,
            stop: Stop::No,
            runtime: None,
            source: None,
            fail_log: None,
            state: None,
            erase: false,
            recent: None,
            left: Vec::new(),
            control: None,
            asking: BTreeMap::new(),
            cut: BTreeSet::new(),
            clients: 0,
            quarter: None,
            lookout: Lookout::default(),
        })
    }

    /// Keeps the locks for as long as the loop runs.
    pub fn keep(&mut self, runtime: Runtime) {
        self.runtime = Some(runtime);
    }

    /// Writes what fails there.
    pub fn record_failures(&mut self, fail_log: FailLog) {
        self.fail_log = Some(fail_log);
    }

    /// Keeps there what must survive.
    pub fn keep_state(&mut self, state: Flock<File>, recent: Option<(Recent, Left)>) {
        self.state = Some(state);
        if let Some((recent, left)) = recent {
            (self.recent, self.left) = (Some(recent), left);
        }
    }

    /// Calls `ready` once every tree is watched.
    pub fn on_ready(&mut self, ready: impl FnOnce() + 'static) {
        self.on_ready = Some(Box::new(ready));
    }

    /// Runs until a signal ends it. Every child is gone when it returns.
    pub fn run(mut self) -> io::Result<()> {
        let mut actions = Vec::new();
        self.core.start(self.now(), &mut actions);
        self.perform(actions);
        self.guard();
        while self.stop != Stop::Now {
            let heard = self.wait()?;
            // What children said counts before they are found dead, or late.
            self.take_reports(&heard.children);
            if heard.others {
                self.take_signals();
                self.take_met();
            }
            self.take_left();
            self.serve(heard.others);
            self.show(heard.others);
            self.ticked = self.now();
            self.tell(Input::Tick);
            self.refill();
            self.record();
            self.host.tick(self.now());
            logging::settle();
        }
        if let Some(fail_log) = &mut self.fail_log {
            fail_log.hurry();
        }
        self.record();
        self.end_children();
        if let Some(recent) = self.recent.take() {
            recent.remove(self.runtime.as_ref().map_or_else(|| Owner::new(None), Runtime::owner));
        }
        Ok(())
    }

    fn now(&self) -> Duration {
        self.start.elapsed()
    }

    /// Sleeps until something can be read or a deadline has come.
    fn wait(&mut self) -> io::Result<Heard> {
        let now = self.now();
        let deadlines = [
            self.core.deadline(self.ticked),
            self.refill_at,
            self.record_at(),
            self.host.deadline(),
            self.control.as_ref().and_then(Control::deadline),
            self.lookout.deadline(),
            logging::deadline().map(|at| at.saturating_duration_since(self.start)),
        ];
        let timeout = match deadlines.into_iter().flatten().min() {
            None => PollTimeout::NONE,
            // Rounded up, or the last millisecond would be spent spinning.
            Some(at) => {
                let millis = at.saturating_sub(now).as_micros().div_ceil(1000);
                PollTimeout::from(u16::try_from(millis).unwrap_or(u16::MAX))
            }
        };
        let mut fds = vec![
            PollFd::new(self.signals.as_fd(), PollFlags::POLLIN),
            PollFd::new(self.wake.0.as_fd(), PollFlags::POLLIN),
        ];
        let control: Vec<_> = self.control.iter().flat_map(Control::fds).collect();
        fds.extend(control.into_iter().chain(self.lookout.fds()).map(|(fd, flags)| PollFd::new(fd, flags)));
        let others = fds.len();
        let mut owners = Vec::new();
        for (&pid, child) in &self.children {
            for fd in [child.heard(), child.log()].into_iter().flatten() {
                fds.push(PollFd::new(fd, PollFlags::POLLIN));
                owners.push(pid);
            }
        }
        match poll(&mut fds, timeout) {
            Ok(_) | Err(Errno::EINTR) => {}
            Err(error) => return Err(error.into()),
        }
        let (of_others, of_children) = fds.split_at_checked(others).unwrap_or_default();
        let is_ready = |fd: &PollFd<'_>| fd.any().unwrap_or(true);
        let mut children: Vec<i32> =
            of_children.iter().zip(owners).filter(|(fd, _)| is_ready(fd)).map(|(_, pid)| pid).collect();
        children.dedup();
        Ok(Heard { children, others: of_others.iter().any(is_ready) })
    }

    fn tell(&mut self, input: Input) {
        self.note_hour();
        let mut actions = Vec::new();
        self.core.on(self.now(), input, &mut actions);
        self.perform(actions);
    }

    fn take_signals(&mut self) {
        while let Ok(Some(signal)) = self.signals.read_signal() {
            match Signal::try_from(i32::try_from(signal.ssi_signo).unwrap_or(0)) {
                Ok(Signal::SIGCHLD) => self.reap(),
                Ok(Signal::SIGTERM | Signal::SIGINT) if self.stop == Stop::No => {
                    self.stop = Stop::Draining;
                    self.host.stopping();
                    self.tell(Input::Drain);
                }
                Ok(Signal::SIGTERM | Signal::SIGINT) => self.stop = Stop::Now,
                Ok(Signal::SIGHUP) => self.reload(),
                Ok(_) | Err(_) => {}
            }
        }
    }

    fn take_reports(&mut self, pids: &[i32]) {
        for &pid in pids {
            if let Some(child) = self.children.get_mut(&pid) {
                child.read_log();
                if child.owes_lines() && self.refill_at.is_none() {
                    self.refill_at = Some(self.start.elapsed().saturating_add(REFILL));
                }
            }
            for _ in 0..FRAMES_A_TURN {
                if !self.take_report(pid) {
                    break;
                }
            }
        }
    }

    /// Takes one frame of a child; false when there is no more for now.
    fn take_report(&mut self, pid: i32) -> bool {
        let Some(child) = self.children.get(&pid).filter(|child| child.standing == Standing::Heard) else {
            return false;
        };
        let role = child.role;
        let taken = match role {
            Role::Watcher => match self.frames.receive::<WatcherReport>(child.reports()) {
                Received::Frame(report) => self.watcher_says(pid, report),
                Received::Violation(violation) => Err(violation.to_string()),
                Received::Closed => return self.hung_up(pid),
                Received::Empty => return false,
            },
            Role::Keeper => match self.frames.receive::<KeeperReport>(child.reports()) {
                Received::Frame(report) => self.keeper_says(pid, report),
                Received::Violation(violation) => Err(violation.to_string()),
                Received::Closed => return self.hung_up(pid),
                Received::Empty => return false,
            },
            Role::Plugin(id) => match self.frames.receive::<PluginReport>(child.reports()) {
                Received::Frame(report) => self.plugin_says(pid, id, report),
                Received::Violation(violation) => Err(violation.to_string()),
                Received::Closed => return self.hung_up(pid),
                Received::Empty => return false,
            },
            Role::Page => match self.frames.receive::<PageReport>(child.reports()) {
                Received::Frame(report) => self.page_says(pid, &report),
                Received::Violation(violation) => Err(violation.to_string()),
                Received::Closed => return self.hung_up(pid),
                Received::Empty => return false,
            },
            Role::Syncer(..) => match self.frames.receive::<SyncerReport>(child.reports()) {
                Received::Frame(report) => self.syncer_says(pid, role, report),
                Received::Violation(violation) => Err(violation.to_string()),
                Received::Closed => return self.hung_up(pid),
                Received::Empty => return false,
            },
        };
        if let Err(what) = taken {
            error!("violation role={} what=\"{what}\"; killing it", self.plan.name(role));
            self.dismiss(pid, Standing::Condemned);
            return false;
        }
        true
    }

    /// A child that cannot report any more is of no use; most are on their way out anyway, and
    /// have yet to log why.
    fn hung_up(&mut self, pid: i32) -> bool {
        let Some(child) = self.children.get_mut(&pid) else { return false };
        child.standing = Standing::Silent;
        let role = child.role;
        self.tell(Input::Alive(role, Pace::Until(LAST_BREATH)));
        false
    }

    fn dismiss(&mut self, pid: i32, standing: Standing) {
        if let Some(child) = self.children.get_mut(&pid) {
            child.standing = standing;
        }
        send_kill(pid);
    }

    fn refill(&mut self) {
        if self.refill_at.is_some_and(|at| self.now() >= at) {
            self.refill_at = None;
            self.children.values_mut().for_each(Child::refill);
        }
    }
}

fn send_kill(pid: i32) {
    // It may be gone already; then the kernel will say so.
    let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
}
