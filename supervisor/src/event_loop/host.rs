//! What the host does for the supervisor: a cgroup that bounds each child, and systemd, which
//! hears how we are.

use std::time::Duration;

use common::config::RoleLimits;
use log::{info, warn};

use crate::cgroup::{Cgroups, Found, Leaf, Rest};
use crate::notify::Notify;

/// How often systemd hears of full syncs at most.
const SAID: Duration = Duration::from_secs(3);
/// How often leaves are looked after that had something left in them.
const SWEEP: Duration = Duration::from_secs(5);

/// The host, as the event loop knows it.
#[derive(Debug)]
pub struct Host {
    cgroups: Option<Cgroups>,
    notify: Notify,
    /// When systemd's watchdog is to hear of us next.
    alive_at: Option<Duration>,
    /// When lingering leaves are to be removed.
    sweep_at: Option<Duration>,
    /// systemd was told that everything is watched.
    is_ready: bool,
    /// How we are when no full sync runs.
    status: String,
    /// What was said last of full syncs, and when more may be said.
    progress: (Option<String>, Duration),
}

impl Host {
    /// Says which limits are in force.
    pub fn new(cgroups: Found, notify: Notify) -> Host {
        info!("{cgroups}");
        let cgroups = match cgroups {
            Found::Delegated(cgroups) => Some(cgroups),
            Found::Unavailable(_) => None,
        };
        let alive_at = notify.watchdog_interval().map(|_| Duration::ZERO);
        let (status, progress) = (String::new(), (None, Duration::ZERO));
        Host { cgroups, notify, alive_at, sweep_at: None, is_ready: false, status, progress }
    }

    /// Puts a child that has not yet been told anything under its limits.
    pub(super) fn place(&mut self, name: &str, pid: i32, limits: &RoleLimits) -> Option<Leaf> {
        let name = name.to_ascii_lowercase();
        match self.cgroups.as_mut()?.place(&name, pid, limits) {
            Ok(leaf) => {
                if !leaf.refused.is_empty() {
                    warn!(
                        "limits role={name} refused={}: the kernel does not take them",
                        leaf.refused.join(",")
                    );
                }
                Some(leaf)
            }
            Err(error) => {
                warn!("limits role={name} error=\"{error}\": it runs without a cgroup");
                None
            }
        }
    }

    /// The child is dead. What it hit, for people; empty if nothing.
    pub(super) fn end(&mut self, now: Duration, leaf: Option<Leaf>, rest: Rest) -> &'static str {
        let Some((cgroups, leaf)) = self.cgroups.as_mut().zip(leaf) else { return "" };
        let hit = cgroups.end(leaf, rest);
        self.sweep(now);
        match (hit.memory, hit.pids) {
            (true, true) => "; it hit its limits of memory and of processes (<limits>)",
            (true, false) => "; it hit its memory limit (<limits>)",
            (false, true) => "; it hit its limit of processes (<limits>)",
            (false, false) => "",
        }
    }

    /// Everything is watched.
    pub(super) fn ready(&mut self, status: &str) {
        self.is_ready = true;
        self.notify.ready();
        self.notify.status(status);
        status.clone_into(&mut self.status);
    }

    /// How full syncs get on, or that none runs. Said when it has changed, and seldom while they run.
    pub(super) fn progress(&mut self, now: Duration, line: Option<&str>) {
        let (before, at) = &self.progress;
        if before.as_deref() == line || (line.is_some() && now < *at) {
            return;
        }
        self.notify.status(line.unwrap_or(&self.status));
        self.progress = (line.map(ToOwned::to_owned), now.saturating_add(SAID));
    }

    /// The config is read again. Who still waits for the first word is not told.
    pub(super) fn reloading(&self) {
        if self.is_ready {
            self.notify.reloading();
        }
    }

    /// That is over, however it ended.
    pub(super) fn reloaded(&self) {
        if self.is_ready {
            self.notify.ready();
        }
    }

    /// The supervisor ends.
    pub(super) fn stopping(&self) {
        self.notify.stopping();
    }

    /// Does what is due.
    pub(super) fn tick(&mut self, now: Duration) {
        if self.alive_at.is_some_and(|at| now >= at) {
            self.notify.alive();
            self.alive_at = self.notify.watchdog_interval().map(|interval| now.saturating_add(interval));
        }
        if self.sweep_at.is_some_and(|at| now >= at) {
            self.sweep(now);
        }
    }

    /// When something is due.
    pub(super) fn deadline(&self) -> Option<Duration> {
        [self.alive_at, self.sweep_at].into_iter().flatten().min()
    }

    fn sweep(&mut self, now: Duration) {
        let lingering = self.cgroups.as_mut().map_or(0, Cgroups::sweep);
        self.sweep_at = (lingering > 0).then(|| now.saturating_add(SWEEP));
    }
}
