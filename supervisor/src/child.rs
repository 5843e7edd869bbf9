//! One child process as the supervisor holds it: its socket for reports, its pipe of log
//! lines, its channel for orders. Everything read here comes from a process that may have
//! been taken over, and is bounded.

use std::collections::VecDeque;
use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::sync::mpsc::Sender;
use std::thread;

use common::confine::{self, Confinement};
use common::event::TreeId;
use common::keep::{KeepSlice, KeeperOrder};
use common::log::split_level;
use common::message::{
    Job, PluginEvent, PluginOrder, PluginSlice, SyncSlice, SyncerOrder, WatchSlice, WatcherOrder,
};
use common::path::RelPath;
use common::wire::{Rendezvous, call_off, report_socket, ring};
use ipc_channel::ipc::IpcSender;
use log::{Level, log};
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::unistd::write;

use crate::cgroup::Leaf;
use crate::core::Role;
use crate::core::keeping::Keep;

/// Orders to a watcher that need no proof that they were read; and most of them without one. The
/// channel takes some hundred.
const PROVE_AFTER: u32 = 16;
const MAX_UNPROVEN: u32 = 64;
/// Longest line that a child may log, in bytes.
const MAX_LINE: usize = 4096;
/// Lines that a child may log between two ticks of [`Child::refill`], unless debugging.
const LINE_BUDGET: u32 = 100;
/// The same while debugging, when each event is a line.
const DEBUG_LINE_BUDGET: u32 = 100_000;

/// The way down to a child.
pub enum Orders {
    /// To the watcher.
    Watcher(IpcSender<WatcherOrder>),
    /// To a syncer.
    Syncer(IpcSender<SyncerOrder>),
    /// To a plugin.
    Plugin(IpcSender<PluginOrder>),
    /// To the keeper.
    Keeper(IpcSender<KeeperOrder>),
}

/// Said by the helper thread of a start: the child with this pid came to the rendezvous, or
/// nobody did.
pub struct Met {
    /// Which child.
    pub pid: i32,
    /// Its channel.
    pub orders: Option<Orders>,
}

/// How a keeper's answer has to look.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Awaited {
    /// Its order was carried out.
    Done,
    /// What was listed is compared.
    Compared(TreeId, RelPath),
    /// A commit.
    Committed,
}

/// What a keeper has told of what it kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kept {
    /// So much, and there may be more.
    Telling(usize),
    /// All.
    Told,
    /// All that it ever will: it has said that its file is of no use.
    Over,
}

/// Whether a child's reports count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// They do.
    Heard,
    /// Killed for what it said; nothing more of it is read.
    Condemned,
    /// It closed its socket, and is about to end.
    Silent,
    /// Killed as it wished: only a new one can go on.
    Outdated,
}

/// A child process.
pub struct Child {
    /// What it is.
    pub role: Role,
    /// Its pid.
    pub pid: i32,
    /// What it may keep, as it was told and as is checked from outside.
    pub confinement: Confinement,
    /// Whether its confinement was checked.
    pub ready: bool,
    /// Whether its reports count.
    pub standing: Standing,
    /// Reports that end in the log, since the last refill.
    pub loud: u32,
    /// The ticket of the order that it works on.
    pub ticket: Option<u64>,
    /// How many changes the delivery holds that it works on.
    pub events: usize,
    /// What a keeper was ordered and has not answered, the oldest first.
    pub keeps: VecDeque<(u64, Awaited)>,
    /// What a keeper has told: how many of what it kept, until it had told all.
    pub kept: Kept,
    /// Orders to a watcher since it last proved that it had read all of them.
    unproven: u32,
    /// The number that proves it.
    proof: Option<u64>,
    /// Under which number it was told of each flush that was asked for.
    flushes: VecDeque<(u64, u64)>,
    name: String,
    rendezvous: String,
    orders: Option<Orders>,
    reports: OwnedFd,
    log: Option<io::PipeReader>,
    line: Vec<u8>,
    leaf: Option<Leaf>,
    budget: u32,
    dropped: u64,
    debug: bool,
}

impl Child {
    /// Starts a role as a fresh image of this very executable. Its standard output is `output`,
    /// or joins its log. The channel for orders comes later, over the first end of `meeting`,
    /// after which the second is written to.
    pub fn start(
        role: Role,
        name: String,
        confinement: Confinement,
        debug: bool,
        output: Option<OwnedFd>,
        meeting: (Sender<Met>, OwnedFd),
    ) -> io::Result<Child> {
        let (met, wake) = meeting;
        let (reports, theirs) = report_socket()?;
        let (log, log_end) = io::pipe()?;
        set_nonblocking(&log)?;
        let word = match role {
            Role::Watcher => "watcher",
            Role::Syncer(..) => "syncer",
            Role::Plugin(_) => "plugin",
            Role::Keeper => "keeper",
        };
        let output = match output {
            Some(output) => Stdio::from(output),
            None => Stdio::from(log_end.try_clone()?),
        };
        let start = |rendezvous: &str| {
            let mut command = Command::new("/proc/self/exe");
            command.arg0(format!("sersync: {name}")).args(["role", word, rendezvous]).env_clear();
            command.env("RES_OPTIONS", confine::RESOLVER_OPTIONS);
            command.stdin(Stdio::from(theirs)).stdout(output).stderr(log_end);
            // Not waited for through std: the event loop reaps every child by its pid.
            command.spawn().map(|child| child.id().cast_signed())
        };
        let (pid, rendezvous) = match role {
            Role::Watcher => meet(start, Orders::Watcher, met, wake)?,
            Role::Syncer(..) => meet(start, Orders::Syncer, met, wake)?,
            Role::Plugin(_) => meet(start, Orders::Plugin, met, wake)?,
            Role::Keeper => meet(start, Orders::Keeper, met, wake)?,
        };
        Ok(Child {
            role,
            pid,
            confinement,
            ready: false,
            standing: Standing::Heard,
            loud: 0,
            ticket: None,
            events: 0,
            keeps: VecDeque::new(),
            kept: Kept::Telling(0),
            unproven: 0,
            proof: None,
            flushes: VecDeque::new(),
            name,
            rendezvous,
            orders: None,
            reports,
            log: Some(log),
            line: Vec::new(),
            leaf: None,
            budget: line_budget(debug),
            dropped: 0,
            debug,
        })
    }

    /// The socket for reports.
    pub fn reports(&self) -> BorrowedFd<'_> {
        self.reports.as_fd()
    }

    /// The socket for reports, while they count.
    pub fn heard(&self) -> Option<BorrowedFd<'_>> {
        (self.standing == Standing::Heard).then(|| self.reports())
    }

    /// The pipe of log lines, until it is closed.
    pub fn log(&self) -> Option<BorrowedFd<'_>> {
        self.log.as_ref().map(AsFd::as_fd)
    }

    /// The child came to the rendezvous: its first order.
    pub fn configure_watcher(&mut self, orders: IpcSender<WatcherOrder>, slice: WatchSlice) -> bool {
        let sent = orders.send(WatcherOrder::Configure(Box::new(slice))).is_ok();
        self.orders = Some(Orders::Watcher(orders));
        sent
    }

    /// The child came to the rendezvous: its first order.
    pub fn configure_syncer(&mut self, orders: IpcSender<SyncerOrder>, slice: SyncSlice) -> bool {
        let sent = orders.send(SyncerOrder::Configure(Box::new(slice))).is_ok();
        self.orders = Some(Orders::Syncer(orders));
        sent
    }

    /// The child came to the rendezvous: its first order.
    pub fn configure_plugin(&mut self, orders: IpcSender<PluginOrder>, slice: PluginSlice) -> bool {
        let sent = orders.send(PluginOrder::Configure(Box::new(slice))).is_ok();
        self.orders = Some(Orders::Plugin(orders));
        sent
    }

    /// The child came to the rendezvous: its first order.
    pub fn configure_keeper(&mut self, orders: IpcSender<KeeperOrder>, slice: KeepSlice) -> bool {
        let sent = orders.send(KeeperOrder::Configure(Box::new(slice))).is_ok();
        self.orders = Some(Orders::Keeper(orders));
        sent
    }

    /// Gives the keeper an order whose ticket it cannot guess. Does not block: few are unanswered.
    pub fn send_keep(&mut self, ticket: u64, keep: Keep) -> bool {
        let Some(Orders::Keeper(orders)) = &self.orders else { return false };
        let (order, awaited) = match keep {
            Keep::Names(tree, ops) => (KeeperOrder::Names(ticket, tree, ops), Awaited::Done),
            Keep::Listed(tree, path) => {
                (KeeperOrder::Listed(ticket, tree, path.clone()), Awaited::Compared(tree, path))
            }
            Keep::Edits(edits) => (KeeperOrder::Edits(ticket, edits), Awaited::Done),
            Keep::Commit { heard, last } => (KeeperOrder::Commit { ticket, heard, last }, Awaited::Committed),
        };
        self.keeps.push_back((ticket, awaited));
        orders.send(order).is_ok()
    }

    /// Gives the watcher an order, and rings. False when it reads none, or is gone. `number` cannot
    /// be guessed: what it repeats proves that it has read all before.
    pub fn send_watch(&mut self, order: WatcherOrder, number: u64) -> bool {
        let Some(Orders::Watcher(orders)) = &self.orders else { return false };
        self.unproven = self.unproven.saturating_add(1);
        let order = match order {
            WatcherOrder::Flush(asked) => {
                self.flushes.push_back((number, asked));
                WatcherOrder::Flush(number)
            }
            other @ (WatcherOrder::Configure(_)
            | WatcherOrder::Room(_)
            | WatcherOrder::List(_)
            | WatcherOrder::Prove(_)) => other,
        };
        let mut sent = self.unproven <= MAX_UNPROVEN && orders.send(order).is_ok();
        if sent && self.unproven >= PROVE_AFTER && self.proof.is_none() {
            let proof = number.rotate_left(17);
            self.proof = Some(proof);
            sent = orders.send(WatcherOrder::Prove(proof)).is_ok();
        }
        ring(self.reports());
        sent
    }

    /// It repeated a number, which proves that it has read all until then.
    pub fn proves(&mut self, number: u64) -> Result<(), String> {
        if self.proof.take() == Some(number) {
            self.unproven = 0;
            Ok(())
        } else {
            Err("a proof that it was not asked for".to_owned())
        }
    }

    /// It has reported all that happened before a flush; which one that is.
    pub fn flushed(&mut self, number: u64) -> Result<u64, String> {
        match self.flushes.pop_front() {
            Some((told, asked)) if told == number => Ok(asked),
            Some(_) | None => Err("a flush that it was not asked for".to_owned()),
        }
    }

    /// Gives a plugin something to tell; under a ticket, as [`Child::send_job`].
    pub fn send_delivery(&mut self, ticket: u64, events: Vec<PluginEvent>) -> bool {
        let Some(Orders::Plugin(orders)) = &self.orders else { return false };
        (self.ticket, self.events) = (Some(ticket), events.len());
        orders.send(PluginOrder::Deliver { ticket, events }).is_ok()
    }

    /// Gives a syncer a job under a ticket that it cannot guess. Does not block: the syncer
    /// has proved that it read every order before this one.
    pub fn send_job(&mut self, ticket: u64, job: Job) -> bool {
        let Some(Orders::Syncer(orders)) = &self.orders else { return false };
        self.ticket = Some(ticket);
        orders.send(SyncerOrder::Sync { ticket, job }).is_ok()
    }

    /// What the supervisor sees of the child's privileges.
    pub fn check(&self) -> Result<(), confine::ConfineError> {
        confine::check_from_outside(self.pid, &self.confinement)
    }

    /// Reads what the child logged, one buffer at a time; false at the end of the pipe.
    pub fn read_log(&mut self) {
        let mut buffer = [0; 16 << 10];
        let Some(log) = &mut self.log else { return };
        match log.read(&mut buffer) {
            Ok(0) => self.close_log(),
            Ok(length) => {
                for &byte in buffer.get(..length).unwrap_or_default() {
                    if byte == b'\n' {
                        self.finish_line();
                    } else if self.line.len() < MAX_LINE {
                        self.line.push(byte);
                    }
                }
            }
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => {}
            Err(_) => self.close_log(),
        }
    }

    /// Gives the child room to log again, and says what it was not allowed to.
    pub fn refill(&mut self) {
        self.budget = line_budget(self.debug);
        self.loud = 0;
        let dropped = std::mem::take(&mut self.dropped);
        if dropped > 0 {
            log!(Level::Warn, "{}: dropped lines={dropped}; it logs too much", self.name);
        }
    }

    /// True when lines of it were dropped and not yet accounted for.
    pub fn owes_lines(&self) -> bool {
        self.dropped > 0 || self.loud > 0 || self.budget < line_budget(self.debug)
    }

    /// Remembers where its limits are.
    pub fn put_in(&mut self, leaf: Option<Leaf>) {
        self.leaf = leaf;
    }

    /// Ends the helper thread that may still wait for it, and logs what is left in its pipe. Where
    /// its limits are.
    pub fn bury(mut self) -> Option<Leaf> {
        while self.log.is_some() {
            let before = self.budget;
            self.read_log();
            if self.budget == before {
                break;
            }
        }
        self.close_log();
        self.refill();
        if self.orders.is_none() {
            match self.role {
                Role::Watcher => call_off::<WatcherOrder>(&self.rendezvous),
                Role::Syncer(..) => call_off::<SyncerOrder>(&self.rendezvous),
                Role::Plugin(_) => call_off::<PluginOrder>(&self.rendezvous),
                Role::Keeper => call_off::<KeeperOrder>(&self.rendezvous),
            }
        }
        self.leaf
    }

    fn close_log(&mut self) {
        self.log = None;
        if !self.line.is_empty() {
            self.finish_line();
        }
    }

    fn finish_line(&mut self) {
        let line = std::mem::take(&mut self.line);
        let Some(left) = self.budget.checked_sub(1) else {
            self.dropped = self.dropped.saturating_add(1);
            return;
        };
        self.budget = left;
        let text = String::from_utf8_lossy(&line);
        let (level, text) = split_level(&text);
        let shown: String =
            text.chars().map(|ch| if ch.is_control() && ch != '\t' { '?' } else { ch }).collect();
        log!(level, "{}: {shown}", self.name);
    }
}

fn line_budget(debug: bool) -> u32 {
    if debug { DEBUG_LINE_BUDGET } else { LINE_BUDGET }
}

/// Opens a rendezvous, starts the child with its name and waits for it on a helper thread.
fn meet<O>(
    start: impl FnOnce(&str) -> io::Result<i32>,
    wrap: impl FnOnce(IpcSender<O>) -> Orders + Send + 'static,
    met: Sender<Met>,
    wake: OwnedFd,
) -> io::Result<(i32, String)>
where
    O: serde::Serialize + serde::de::DeserializeOwned + Send + 'static,
{
    let rendezvous = Rendezvous::<O>::open()?;
    let name = rendezvous.name().to_owned();
    let pid = start(&name)?;
    thread::Builder::new().name("rendezvous".to_owned()).spawn(move || {
        let orders = rendezvous.accept().map(wrap);
        // The loop may have ended meanwhile; then nobody is waiting.
        if met.send(Met { pid, orders }).is_ok() {
            let _ = write(&wake, &[1]);
        }
    })?;
    Ok((pid, name))
}

fn set_nonblocking(fd: impl AsFd) -> io::Result<()> {
    fcntl(fd, FcntlArg::F_SETFL(OFlag::O_NONBLOCK))?;
    Ok(())
}
