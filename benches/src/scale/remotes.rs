//! `remotes`: 10,000 files for 100 remotes, against 100 plain rsyncs that are run through as many slots
//! as `-n` has by default.

use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::compare::{Listing, wait_equal};
use crate::contender::{Contender, Plan, Running, url};
use crate::ground::{Ground, Rsyncd, free_port};
use crate::options::Options;
use crate::outcome::{Outcome, failed, real};
use crate::processes::{self, Meter};
use crate::record::{Figures, Record, Records};
use crate::run::{self, PARAMS};
use crate::workload;

/// How many remotes.
const REMOTES: usize = 100;
/// How many rsyncs run at once, what `-n` is by default.
const SLOTS: usize = 10;
/// How long all of it may take.
const CAP: Duration = Duration::from_secs(600);

/// Measures both once.
pub(crate) fn run(ground: &Ground, options: &Options, records: &mut Records) -> Outcome<()> {
    let directories = options.scaled(100);
    records.add(plain(directories, ground)?);
    records.add(ours(directories, ground, options)?);
    ground.clear(0)
}

fn plain(directories: usize, ground: &Ground) -> Outcome<Record> {
    ground.clear(REMOTES)?;
    let daemon = Rsyncd::start(ground, free_port()?, REMOTES)?;
    workload::burst(&ground.source(), directories, 100)?;
    // All of ours, the rsync daemon and each rsync among it, but for this process itself.
    let this = std::process::id();
    let cpu = || processes::all_cpu(this).saturating_sub(processes::cpu(this));
    let (before, start) = (cpu(), Instant::now());
    let mut running: Vec<Child> = Vec::new();
    for module in 0..REMOTES {
        if running.len() == SLOTS {
            wait_for_one(&mut running)?;
        }
        running.push(rsync(ground, daemon.port, module)?);
    }
    while !running.is_empty() {
        wait_for_one(&mut running)?;
    }
    let took = start.elapsed();
    let spent = cpu().saturating_sub(before);
    let mut figures = Figures::default();
    figures.set("conv_s", took.as_secs_f64());
    figures.set("cpu_s", spent.as_secs_f64());
    Ok(figures.done("remotes", Contender::Limit.name(), None))
}

fn rsync(ground: &Ground, port: u16, module: usize) -> Outcome<Child> {
    let mut command = Command::new("rsync");
    command.args(["-a", "--modify-window=-1", "--sockopts=TCP_NODELAY", "--delete"]);
    command.arg(ground.source().join("")).arg(url(port, module)).stdin(Stdio::null()).spawn()
}

fn wait_for_one(running: &mut Vec<Child>) -> Outcome<()> {
    loop {
        let before = running.len();
        for mut child in std::mem::take(running) {
            match child.try_wait()? {
                None => running.push(child),
                Some(status) if status.success() => {}
                Some(status) => return Err(failed(format!("rsync: {status}"))),
            }
        }
        if running.len() < before {
            return Ok(());
        }
        std::thread::sleep(Duration::from_millis(1));
    }
}

fn ours(directories: usize, ground: &Ground, options: &Options) -> Outcome<Record> {
    ground.clear(REMOTES)?;
    let daemon = Rsyncd::start(ground, free_port()?, REMOTES)?;
    let remotes = (0..REMOTES).map(|module| (daemon.port, module)).collect();
    let plan = Plan { ground, options, source: ground.source(), remotes, params: PARAMS };
    let mut running = Running::start(Contender::Ours, &plan)?;
    run::await_ready(&mut running, ground)?;
    all_equal(ground, Instant::now())?;
    let cpu = || processes::all_cpu(daemon.pid()) + processes::all_cpu(running.pid());
    let (before, meter, connections) = (cpu(), Meter::start(running.pid()), daemon.connections());
    workload::burst(&ground.source(), directories, 100)?;
    let start = Instant::now();
    let took = all_equal(ground, start)?;
    let mut figures = Figures::default();
    figures.set("conv_s", took.as_secs_f64());
    figures.set("cpu_s", cpu().saturating_sub(before).as_secs_f64());
    figures.set("own_cpu_s", meter.cpu().as_secs_f64());
    figures.set("transfers", real(daemon.connections().saturating_sub(connections)));
    let peaks = processes::by_role(&processes::own(running.pid()), processes::peak);
    if let Some(&kib) = peaks.get("supervisor") {
        figures.set("peak_supervisor_kib", crate::outcome::real64(kib));
    }
    running.check()?;
    Ok(figures.done("remotes", Contender::Ours.name(), None))
}

/// Waits for names and times everywhere first, since contents are read in the time of the contender.
fn all_equal(ground: &Ground, start: Instant) -> Outcome<Duration> {
    let source = ground.source();
    let wanted = Listing::of(&source);
    for module in 0..REMOTES {
        if !wanted.wait_for(&ground.replica(module), start, CAP) {
            return Err(failed(format!("remote {module} is not equal")));
        }
    }
    let took = start.elapsed();
    for module in 0..REMOTES {
        let wait = wait_equal(&source, &ground.replica(module), Instant::now(), Duration::from_secs(10));
        if let Some(verdict) = run::verdict(wait) {
            return Err(failed(format!("remote {module}: {verdict}")));
        }
    }
    Ok(took)
}
