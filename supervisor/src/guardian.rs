//! The guardian: a process that outlives the supervisor by a moment, and ends what it left behind.
//!
//! Roles and what they start die with their parents, but what a program starts in its turn (the
//! ssh of an rsync) does not. While the supervisor lives it inherits such processes and ends them;
//! when it is killed, the guardian sees the end of a pipe and ends whatever runs under the uids of
//! the roles. Where roles have no uids of their own there is none.

use std::collections::BTreeSet;
use std::fs;
use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use common::confine;
use common::exit::Exit;
use common::log as role_log;
use log::{error, warn};
use nix::poll::{PollTimeout, poll};
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::waitpid;
use nix::unistd::{Pid, setsid};

use crate::runtime::ROLE_UIDS;

/// How long processes may take to go.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long one must have lived.
const SETTLED: Duration = Duration::from_secs(1);
/// Pause between two looks.
const PAUSE: u8 = 5;

/// A running guardian; it ends by itself once this is dropped.
#[derive(Debug)]
pub struct Guardian {
    pid: i32,
    since: Instant,
    /// Open as long as the supervisor lives.
    alive: io::PipeWriter,
}

impl Guardian {
    /// Starts one for the block of uids from `first`, but for those of operators' programs. It
    /// holds `lock`, if there is one, so that nobody else's roles get these uids before it is done.
    pub fn start(first: u32, spared: &BTreeSet<u32>, lock: Option<OwnedFd>) -> io::Result<Guardian> {
        let (end, alive) = io::pipe()?;
        let mut command = Command::new("/proc/self/exe");
        let spared: Vec<String> = spared.iter().map(u32::to_string).collect();
        command.arg0("sersync: guardian").args(["role", "guardian"]);
        command.arg(format!("{first}:{}", spared.join(","))).env_clear();
        command.stdin(Stdio::from(OwnedFd::from(end)));
        // Nothing is said there; it is only a place that an exec keeps.
        command.stdout(lock.map_or_else(Stdio::null, Stdio::from));
        let pid = command.spawn()?.id().cast_signed();
        Ok(Guardian { pid, since: Instant::now(), alive })
    }

    /// Its pid.
    pub fn pid(&self) -> i32 {
        self.pid
    }

    /// True when it has lived long enough to be started again should it die: one that cannot live
    /// would be started without end.
    pub fn has_settled(&self) -> bool {
        self.since.elapsed() >= SETTLED
    }

    /// Lets it end, and waits for that: it has nothing to do when all roles are gone.
    pub fn dismiss(self) {
        let Guardian { pid, since: _, alive } = self;
        drop(alive);
        let _ = waitpid(Pid::from_raw(pid), None);
    }
}

/// The guardian's life. `whom` is what [`Guardian::start`] says.
pub fn run(whom: &str) -> Exit {
    let parsed = whom.split_once(':').and_then(|(first, spared)| Some((first.parse().ok()?, spared)));
    let Some((first, spared)) = parsed else { return Exit::Usage };
    let spared: BTreeSet<u32> = spared.split(',').filter_map(|uid| uid.parse().ok()).collect();
    if let Err(error) = confine::start_clean().and_then(|()| confine::keep_only_kill()) {
        error!("guardian: {error}");
        return Exit::NoPermission;
    }
    role_log::start_role();
    // Keys typed at the supervisor are not meant for us. Fails for who leads a session already.
    let _ = setsid();
    // Nothing is ever written to it: it ends with the supervisor.
    let _ = io::stdin().read_to_end(&mut Vec::new());
    end_all(first, &spared);
    Exit::Ok
}

fn end_all(first: u32, spared: &BTreeSet<u32>) {
    let (start, mut ended) = (Instant::now(), BTreeSet::new());
    loop {
        let left: Vec<i32> =
            under(first).filter(|(_, uid)| !spared.contains(uid)).map(|(pid, _)| pid).collect();
        if left.is_empty() {
            break;
        }
        for &pid in &left {
            let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
            ended.insert(pid);
        }
        if start.elapsed() > PATIENCE {
            error!("guardian: processes={} do not end", left.len());
            break;
        }
        let _ = poll(&mut [], PollTimeout::from(PAUSE));
    }
    if !ended.is_empty() {
        warn!("guardian: the supervisor is gone; ended processes={}", ended.len());
    }
}

/// Every process under the uids of a block of roles, and its uid.
pub fn under(first: u32) -> impl Iterator<Item = (i32, u32)> {
    let pids = fs::read_dir("/proc").into_iter().flatten().flatten();
    pids.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok()).filter_map(move |pid| {
        let uid = crate::orphans::uid(pid)?;
        (first..first.saturating_add(ROLE_UIDS)).contains(&uid).then_some((pid, uid))
    })
}
