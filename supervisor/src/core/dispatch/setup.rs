//! What the core is told before anything happens.

use std::collections::BTreeMap;
use std::time::Duration;

use common::config::{DeleteGuard, Sharing};
use common::filter::Filter;

use super::audit::AuditPlan;
use crate::core::RemoteId;
use crate::core::backlog::Traffic;

/// What the dispatcher is told at start.
#[derive(Debug)]
#[allow(clippy::struct_excessive_bools, reason = "these are the operator's own switches")]
pub struct Setup {
    /// Each tree: how to name it, and its remotes with their names.
    pub trees: Vec<(String, Vec<(String, Traffic)>)>,
    /// Sync everything once each tree is watched (`-r`).
    pub full_sync: bool,
    /// The operator asked for mirror semantics: a rescan may delete.
    pub mirror: bool,
    /// The plugins that are on: how to name each, and how long one call may take.
    pub plugins: Vec<(String, Duration)>,
    /// Pause between two full syncs (`<crontab>`).
    pub crontab: Option<Duration>,
    /// Pause between two sweeps that try everything again that failed (`<failLog>`).
    pub sweep: Duration,
    /// Most transfers at work at once (`-n`).
    pub workers: usize,
    /// The host of each remote, in the order of their ids.
    pub hosts: Vec<String>,
    /// What all remotes together may take of a host, and of the line.
    pub sharing: Sharing,
    /// How long an rsync may wait for the next batch; `None` where none does.
    pub warm: Option<Duration>,
    /// Most syncers alive at once.
    pub max_syncers: usize,
    /// Chance.
    pub seed: u64,
    /// Whether names and pending work are kept on disk.
    pub keep: bool,
    /// Whether a page is served.
    pub page: bool,
    /// The supervisor's start, in milliseconds since 1970.
    pub epoch: u64,
    /// The brake on deletions.
    pub brake: DeleteGuard,
    /// Which names do not travel: what it excludes now may have travelled before.
    pub filter: Filter,
    /// Whether deletions travel at all.
    pub delete: bool,
    /// Comparisons that come round by themselves.
    pub audit: Option<AuditPlan>,
    /// Remotes that take fewer jobs at a time than there are lanes, and how many.
    pub connections: BTreeMap<RemoteId, u8>,
    /// Whether each path that has arrived is spoken of.
    pub files: bool,
}

/// One that keeps nothing and mirrors nothing: for tests and benchmarks.
impl Default for Setup {
    fn default() -> Setup {
        Setup {
            trees: Vec::new(),
            full_sync: false,
            mirror: false,
            plugins: Vec::new(),
            crontab: None,
            sweep: Duration::from_secs(3600),
            workers: 4,
            hosts: Vec::new(),
            sharing: Sharing::default(),
            warm: Some(Duration::from_secs(10)),
            max_syncers: 4,
            seed: 7,
            keep: false,
            page: false,
            epoch: 0,
            brake: DeleteGuard { scope: common::config::GuardScope::Unseen, names: 1000, percent: 50 },
            filter: Filter::default(),
            delete: true,
            audit: None,
            connections: BTreeMap::new(),
            files: false,
        }
    }
}
