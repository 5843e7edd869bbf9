//! A role that makes attempts: what it is told, what it does, and how the doctor starts it.
//!
//! It is started, cleaned and confined by the same steps as the role in whose place it is. Where
//! rsync is meant it starts itself once more, as the syncer starts rsync: with the same
//! [`Confined::prepare`], and so in the domain below.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use common::confine::attempts::{self, EVERYBODY, Verdict};
use common::confine::{self, Confined};
use common::exit::Exit;
use common::log::{Shown, escape};
use common::wire::{self, FrameReader, Received, Uplink, report_socket};
use nix::sys::signal::{SigSet, SigmaskHow, Signal, sigprocmask};
use nix::unistd::dup;

use super::order::{Enter, Needs, Place, ProbeOrder, ProbeReport, Trial};
use crate::alone::Alone;
use crate::runtime;

/// How long one probe may take, whatever it tries.
const PATIENCE: Duration = Duration::from_secs(10);
/// Probes use uids above all blocks of supervisors, by the doctor's pid.
const FIRST_UID: u32 = 2_000_262_144;
/// Uids of one doctor.
pub const UIDS: u32 = 16;
/// Longest reason that a probe gives, in characters, and what a program may say of its version, in
/// bytes.
const MAX_WHY: usize = 500;
const MAX_VERSION: u64 = 64 << 10;
/// What a shell adds to the signal that ended a program.
const SIGNALLED: i32 = 128;

/// Both ends of the socket on which a program is told what to try.
type Down = (OwnedFd, OwnedFd);

/// The role `probe`.
pub fn run(channel: &str) -> Exit {
    let entered = confine::start_clean().map_err(|error| error.to_string()).and_then(|()| enter(channel));
    match entered {
        Ok(exit) => exit,
        Err(why) => {
            let _ = writeln!(io::stderr(), "{why}");
            Exit::NoPermission
        }
    }
}

fn enter(channel: &str) -> Result<Exit, String> {
    let text = |error: &dyn std::fmt::Display| error.to_string();
    let uplink = Uplink::from_stdin().map_err(|error| text(&error))?;
    let orders = wire::meet::<ProbeOrder>(channel).map_err(|error| text(&error))?;
    let Ok(ProbeOrder::Enter(order)) = orders.recv() else { return Err("no order came".to_owned()) };
    if order.place == Place::Victim {
        // Blocked, it stays pending, and /proc shows it.
        let mask: SigSet = Signal::try_from(EVERYBODY).into_iter().collect();
        sigprocmask(SigmaskHow::SIG_BLOCK, Some(&mask), None).map_err(|error| text(&error))?;
    }
    // Made now, as long as it can be.
    let down = report_socket().map_err(|error| text(&error))?;
    let confined = confine::enter(&order.confinement).map_err(|error| text(&error))?;
    uplink.send(&ProbeReport::Confined).map_err(|error| text(&error))?;
    // A victim is never told to go, and ends with its channel.
    let Ok(ProbeOrder::Go) = orders.recv() else { return Ok(Exit::Ok) };
    match order.place {
        Place::Role => make(&order.trial, &uplink),
        Place::Program => start_program(&order.trial, &confined, down, &uplink).map_err(|error| text(&error)),
        Place::Work => work(&order.needs, &confined, &uplink).map_err(|error| text(&error)),
        Place::Victim => Ok(Exit::Ok),
    }
}

/// Says what of its needs it cannot have.
fn work(needs: &Needs, confined: &Confined, uplink: &Uplink) -> Result<Exit, wire::SendError> {
    let lacks = |name: &OsString, why: &dyn std::fmt::Display| {
        let why: String = why.to_string().chars().take(MAX_WHY).collect();
        uplink.send(&ProbeReport::Lacks(format!("{}: {why}", Shown(name))))
    };
    for directory in &needs.directories {
        // The first entry counts too: opened is not yet listed.
        let listed = fs::read_dir(directory).and_then(|mut entries| entries.next().transpose());
        listed.map(drop).or_else(|error| lacks(directory, &error))?;
    }
    for file in &needs.files {
        let read = File::open(file).and_then(|mut file| file.read(&mut [0]));
        read.map(drop).or_else(|error| lacks(file, &error))?;
    }
    if let Some(program) = &needs.program {
        let ran = run_below(program, needs.directories.first(), confined);
        ran.or_else(|error| lacks(program, &error))?;
    }
    Ok(Exit::Ok)
}

/// Asks a program for its version where the syncer runs it: in the directory, and in the domain below.
fn run_below(program: &OsString, directory: Option<&OsString>, confined: &Confined) -> io::Result<()> {
    let (output, theirs) = io::pipe()?;
    let mut command = Command::new(program);
    command.arg("--version").env_clear().env("LC_ALL", "C").stdin(Stdio::piped());
    command.stdout(theirs.try_clone()?).stderr(theirs);
    directory.map(|directory| command.current_dir(directory));
    confined.prepare(&mut command);
    let mut child = command.spawn()?;
    // Else this process holds the other end, and never hears that it is closed.
    drop(command);
    let mut said = Vec::new();
    output.take(MAX_VERSION).read_to_end(&mut said)?;
    let status = child.wait()?;
    if status.success() {
        return Ok(());
    }
    let line = said.split(|&byte| byte == b'\n').next().unwrap_or_default();
    Err(io::Error::other(format!("{status}: {}", escape(line))))
}

/// Makes attempts until one comes through: the process may be another then.
fn make(trial: &Trial, uplink: &Uplink) -> Result<Exit, String> {
    for name in &trial.attempts {
        let attempt = attempts::find(name).ok_or_else(|| format!("there is no attempt {name}"))?;
        let verdict = attempts::run(attempt, &trial.targets);
        let through = matches!(verdict, Verdict::Allowed(_));
        if uplink.send(&ProbeReport::Tried(verdict)).is_err() || through {
            break;
        }
    }
    Ok(Exit::Ok)
}

/// Starts this image in rsync's place, and ends as it ends.
fn start_program(trial: &Trial, confined: &Confined, down: Down, uplink: &Uplink) -> io::Result<Exit> {
    // The socket holds it until the program asks for it.
    Uplink::new(down.0).send(trial).map_err(io::Error::other)?;
    let mut command = Command::new("/proc/self/exe");
    command.args(["role", "probed", "-"]).env_clear().stdin(down.1).stdout(dup(uplink.as_fd())?);
    confined.prepare(&mut command);
    let failed = |error| io::Error::other(format!("nothing can be started in rsync's place: {error}"));
    let status = command.status().map_err(failed)?;
    match status.signal() {
        // As a shell would say it.
        Some(signal) => std::process::exit(SIGNALLED.saturating_add(signal)),
        None => Ok(Exit::from_code(status.code().unwrap_or_default())),
    }
}

/// The role `probed`: a program below the role's process.
pub fn run_program() -> Exit {
    let mut frames = FrameReader::default();
    let uplink = dup(io::stdout()).map(Uplink::new);
    let (Ok(uplink), Received::Frame(trial)) = (uplink, frames.receive::<Trial>(io::stdin().as_fd())) else {
        return Exit::Usage;
    };
    match make(&trial, &uplink) {
        Ok(exit) => exit,
        Err(_) => Exit::Software,
    }
}

/// The first of the uids that this doctor's probes have: never those of a supervisor, which may be
/// running. `None` where there are none to be had.
pub fn first_uid() -> Option<u32> {
    runtime::for_probes(FIRST_UID.saturating_add(std::process::id().saturating_mul(UIDS)))
}

/// How a probe ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// By itself.
    Done,
    /// By this signal.
    Signal(i32),
}

/// A probe that is confined and waits for the word. Killed when dropped.
pub struct Probe {
    role: Alone<ProbeOrder>,
    deadline: Instant,
}

impl Probe {
    /// Starts one, and looks from outside whether it is confined.
    pub fn start(enter: Enter) -> io::Result<Probe> {
        let deadline = Instant::now().checked_add(PATIENCE).ok_or(io::ErrorKind::InvalidInput)?;
        let role = Alone::start("probe", deadline)?;
        let confinement = enter.confinement.clone();
        role.orders.send(ProbeOrder::Enter(Box::new(enter))).map_err(io::Error::other)?;
        let mut probe = Probe { role, deadline };
        match probe.hear()? {
            Some(ProbeReport::Confined) => {}
            Some(ProbeReport::Tried(_) | ProbeReport::Lacks(_)) => {
                return Err(io::Error::other("it made attempts before it was confined"));
            }
            None => return Err(probe.role.complaint()),
        }
        confine::check_from_outside(probe.pid(), &confinement).map_err(io::Error::other)?;
        Ok(probe)
    }

    /// Its pid.
    pub fn pid(&self) -> i32 {
        self.role.pid()
    }

    /// Lets it make its attempts: how they went, in order, and how it ended. There are fewer
    /// verdicts than attempts where one came through, or ended it.
    pub fn go(mut self) -> io::Result<(Vec<Verdict>, End)> {
        self.role.orders.send(ProbeOrder::Go).map_err(io::Error::other)?;
        let mut verdicts = Vec::new();
        while let Some(report) = self.hear()? {
            match report {
                ProbeReport::Tried(verdict) => verdicts.push(verdict),
                ProbeReport::Confined | ProbeReport::Lacks(_) => {
                    return Err(io::Error::other("it reports what it was not asked for"));
                }
            }
        }
        Ok((verdicts, self.end()?))
    }

    /// Lets it look for what it needs: what it has not.
    pub fn needs(mut self) -> io::Result<Vec<String>> {
        self.role.orders.send(ProbeOrder::Go).map_err(io::Error::other)?;
        let mut lacks = Vec::new();
        while let Some(report) = self.hear()? {
            match report {
                ProbeReport::Lacks(what) => lacks.push(what),
                ProbeReport::Confined | ProbeReport::Tried(_) => {
                    return Err(io::Error::other("it reports what it was not asked for"));
                }
            }
        }
        match self.end()? {
            End::Done => Ok(lacks),
            End::Signal(signal) => Err(io::Error::other(format!("it died of signal {signal}"))),
        }
    }

    /// How it ended.
    fn end(&mut self) -> io::Result<End> {
        let status = self.role.wait()?;
        let code = status.code().unwrap_or_default();
        let signal =
            status.signal().or_else(|| Some(code.saturating_sub(SIGNALLED)).filter(|&signal| signal > 0));
        match signal {
            Some(signal) => Ok(End::Signal(signal)),
            None if status.success() => Ok(End::Done),
            None => Err(self.role.complaint()),
        }
    }

    /// The next report; `None` at the end.
    fn hear(&mut self) -> io::Result<Option<ProbeReport>> {
        self.role.hear(self.deadline)
    }
}
