//! `start`: 100,000 directories with 1,000,000 files, and `million`: 1,000,000 directories. How soon
//! all of it is watched, whether a change travels while the first sync still runs, and how much memory
//! that takes. The replica is equal before: rsync has everything to compare and nothing to send.

use std::fs;
use std::thread::sleep;
use std::time::{Duration, Instant};

use crate::contender::{Contender, Plan, Running};
use crate::fixture;
use crate::ground::{Ground, Raised, Rsyncd, free_port};
use crate::options::Options;
use crate::outcome::{Outcome, failed, real, real64};
use crate::processes::{self, Meter};
use crate::record::{Figures, Record, Records};
use crate::run::{self, PARAMS};
use crate::scale::walk;

/// How long anything here may take.
const CAP: Duration = Duration::from_secs(600);

/// A tree to start on.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Size {
    /// What results call it.
    pub(crate) part: &'static str,
    /// Directories.
    pub(crate) directories: usize,
    /// Files in each.
    pub(crate) files: usize,
    /// Starts that are measured.
    pub(crate) starts: u32,
}

/// Measures starts on a tree of that size, each after a bare walk.
pub(crate) fn run(size: Size, ground: &Ground, options: &Options, records: &mut Records) -> Outcome<()> {
    let directories = options.scaled(size.directories);
    let _raised = Raised::watches(directories * 5 / 4 + 10_000)?;
    ground.clear(1)?;
    println!("{}: making {directories} directories with {} files each", size.part, size.files);
    for top in [ground.source(), ground.replica(0)] {
        fixture::wide_tree(&top, directories, size.files, 0)?;
    }
    for _ in 0..size.starts {
        let (took, watched) = walk::walk(&ground.source())?;
        let mut figures = Figures::default();
        figures.set("watching_s", took.as_secs_f64());
        figures.set("directories", real(watched));
        records.add(figures.done(size.part, "walk", None));
        ground.forget()?;
        records.add(start(size.part, ground, options)?);
    }
    ground.clear(1)
}

fn start(part: &str, ground: &Ground, options: &Options) -> Outcome<Record> {
    let daemon = Rsyncd::start(ground, free_port()?, 1)?;
    let remotes = vec![(daemon.port, 0)];
    let plan = Plan { ground, options, source: ground.source(), remotes, params: PARAMS };
    let begun = Instant::now();
    let mut running = Running::start(Contender::Ours, &plan)?;
    let meter = Meter::start(running.pid());
    let mut figures = Figures::default();
    let watching = running.wait_said("watching tree=", begun, CAP)?;
    figures.set("watching_s", watching.as_secs_f64());
    let probe = format!("probe{}", daemon.port);
    fs::write(ground.source().join(&probe), "live")?;
    let written = Instant::now();
    if !run::appears(&ground.replica(0).join(&probe), CAP) {
        return Err(failed("the probe did not arrive"));
    }
    figures.set("live_ms", written.elapsed().as_secs_f64() * 1000.0);
    let early = !running.log().contains("full sync done");
    figures.set("live_during_sync", if early { 1.0 } else { 0.0 });
    let mut most = 0.0_f64;
    while !running.log().contains("full sync done") {
        running.check()?;
        if begun.elapsed() > CAP {
            return Err(failed("the full sync did not end"));
        }
        most = most.max(watcher_and_supervisor(running.pid()));
        sleep(Duration::from_millis(100));
    }
    figures.set("synced_s", begun.elapsed().as_secs_f64());
    most = most.max(watcher_and_supervisor(running.pid()));
    figures.set("watcher_and_supervisor_kib", most);
    for (role, kib) in processes::by_role(&processes::own(running.pid()), processes::pss) {
        figures.set(&format!("pss_{role}_kib"), real64(kib));
    }
    for (role, kib) in processes::by_role(&processes::own(running.pid()), processes::peak) {
        figures.set(&format!("peak_{role}_kib"), real64(kib));
    }
    figures.set("own_cpu_s", meter.cpu().as_secs_f64());
    Ok(figures.done(part, Contender::Ours.name(), None))
}

fn watcher_and_supervisor(root: u32) -> f64 {
    let own = processes::own(root);
    let counted = own.iter().filter(|process| process.role == "watcher" || process.role == "supervisor");
    counted.map(|process| real64(processes::pss(process.pid))).sum()
}
