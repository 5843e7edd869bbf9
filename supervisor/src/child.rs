//! One child process as the supervisor holds it: its socket for reports, its pipe of log
//! lines, its channel for orders. Everything read here comes from a process that may have
//! been taken over, and is bounded.

mod orders;

use std::collections::VecDeque;
use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::sync::mpsc::Sender;
use std::thread;

use common::confine::{self, Confinement};
use common::keep::KeeperOrder;
use common::log::split_level;
use common::message::{Advance, PageOrder, PluginOrder, SyncerOrder, WatcherOrder};
use common::wire::{Rendezvous, call_off, report_socket};
use ipc_channel::ipc::IpcSender;
use log::{Level, log};
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::unistd::write;

use crate::cgroup::Leaf;
use crate::core::Role;

pub use orders::{Awaited, Orders};

/// Longest line that a child may log, in bytes.
const MAX_LINE: usize = 4096;
/// Lines that a child may log between two ticks of [`Child::refill`], unless debugging.
const LINE_BUDGET: u32 = 100;
/// The same while debugging, when each event is a line.
const DEBUG_LINE_BUDGET: u32 = 100_000;

/// Most reports of progress of a child between two refills, a second apart or more: one that was stopped for a
/// while says several at once.
const MAX_ADVANCES: u32 = 1000;
/// Most questions of a page in that time.
const MAX_ASKS: u32 = 20;

/// Said by the helper thread of a start: the child with this pid came to the rendezvous, or
/// nobody did.
pub struct Met {
    /// Which child.
    pub pid: i32,
    /// Its channel.
    pub orders: Option<Orders>,
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
    /// The number under which it was told to look, until it has.
    look: Option<u64>,
    /// Reports of progress since the last refill.
    advances: u32,
    /// Questions of a page since the last refill.
    asks: u32,
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
            Role::Page => "page",
        };
        let output = match output {
            Some(output) => Stdio::from(output),
            None => Stdio::from(log_end.try_clone()?),
        };
        let start = |rendezvous: &str| {
            let mut command = Command::new("/proc/self/exe");
            command.arg0(format!("sersync: {name}")).args(["role", word, rendezvous]).env_clear();
            command.env("RES_OPTIONS", confine::RESOLVER_OPTIONS);
            // Keys typed at the supervisor, and what ends its whole group (`timeout`, say), are not meant for
            // a role: it is needed until all is sent, and the supervisor ends it by itself.
            command.process_group(0);
            command.stdin(Stdio::from(theirs)).stdout(output).stderr(log_end);
            // Not waited for through std: the event loop reaps every child by its pid.
            command.spawn().map(|child| child.id().cast_signed())
        };
        let (pid, rendezvous) = match role {
            Role::Watcher => meet(start, Orders::Watcher, met, wake)?,
            Role::Syncer(..) => meet(start, Orders::Syncer, met, wake)?,
            Role::Plugin(_) => meet(start, Orders::Plugin, met, wake)?,
            Role::Keeper => meet(start, Orders::Keeper, met, wake)?,
            Role::Page => meet(start, Orders::Page, met, wake)?,
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
            look: None,
            advances: 0,
            asks: 0,
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
        (self.loud, self.advances, self.asks) = (0, 0, 0);
        let dropped = std::mem::take(&mut self.dropped);
        if dropped > 0 {
            log!(Level::Warn, "{}: dropped lines={dropped}; it logs too much", self.name);
        }
    }

    /// It has come so far, it says. An honest one says so twice a second at most; while we are held up, as many
    /// gather as its socket takes, some hundred.
    pub fn advances(&mut self, advance: &Advance) -> Result<(), String> {
        self.advances = self.advances.saturating_add(1);
        let is_whole = advance.percent <= 100 && advance.to_check.is_none_or(|(left, all)| left <= all);
        if is_whole && self.advances <= MAX_ADVANCES {
            Ok(())
        } else {
            Err("progress that makes no sense".to_owned())
        }
    }

    /// It wants to know how all is, it says. An honest one says so twice a second at most.
    pub fn asks(&mut self) -> Result<(), String> {
        self.asks = self.asks.saturating_add(1);
        if self.asks <= MAX_ASKS { Ok(()) } else { Err("more questions than a page has".to_owned()) }
    }

    /// True when lines of it were dropped and not yet accounted for.
    pub fn owes_lines(&self) -> bool {
        let counted = [self.loud, self.advances, self.asks].into_iter().any(|count| count > 0);
        counted || self.dropped > 0 || self.budget < line_budget(self.debug)
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
                Role::Page => call_off::<PageOrder>(&self.rendezvous),
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
