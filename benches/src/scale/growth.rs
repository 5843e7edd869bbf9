//! `growth`: how time and memory grow with the number of paths, from 1,000 to 1,000,000: a burst of so
//! many new files, and so many changes while the only remote is down; and what the same files take where
//! one plain rsync is started behind the last of them.

use std::fs;
use std::thread::sleep;
use std::time::{Duration, Instant};

use crate::compare::wait_equal;
use crate::contender::{Contender, Plan, Running};
use crate::ground::{Ground, Rsyncd, free_port};
use crate::options::Options;
use crate::outcome::{Outcome, real, real64};
use crate::processes::{self, Meter};
use crate::record::{Figures, Record, Records};
use crate::run::{self, PARAMS};

/// How long anything here may take.
const CAP: Duration = Duration::from_secs(900);
/// Files in each directory.
const FILES: usize = 100;

/// How many paths.
const SIZES: [usize; 4] = [1_000, 10_000, 100_000, 1_000_000];

/// Measures each size once.
pub(crate) fn run(ground: &Ground, options: &Options, records: &mut Records) -> Outcome<()> {
    for size in SIZES {
        let directories = options.scaled(size).max(FILES) / FILES;
        ground.clear(1)?;
        records.add(plain(directories, ground)?);
        ground.clear(1)?;
        fs::write(ground.source().join("seed"), "s")?;
        burst_and_down(directories, ground, options, records)?;
    }
    ground.clear(1)
}

fn plain(directories: usize, ground: &Ground) -> Outcome<Record> {
    let (port, start) = (free_port()?, Instant::now());
    write(ground, directories, "first")?;
    let work = start.elapsed();
    let daemon = Rsyncd::start(ground, port, 1)?;
    let start = Instant::now();
    run::plain_rsync(&ground.source(), port, 0)?;
    let took = start.elapsed();
    drop(daemon);
    let mut figures = Figures::default();
    figures.set("paths", real(directories * FILES));
    figures.set("work_s", work.as_secs_f64());
    figures.set("conv_s", (work + took).as_secs_f64());
    figures.set("rsync_s", took.as_secs_f64());
    Ok(figures.done("growth", Contender::Limit.name(), None))
}

fn burst_and_down(
    directories: usize,
    ground: &Ground,
    options: &Options,
    records: &mut Records,
) -> Outcome<()> {
    let (source, replica, port) = (ground.source(), ground.replica(0), free_port()?);
    let daemon = Rsyncd::start(ground, port, 1)?;
    let remotes = vec![(port, 0)];
    let plan = Plan { ground, options, source: source.clone(), remotes, params: PARAMS };
    let mut running = Running::start(Contender::Ours, &plan)?;
    run::await_ready(&mut running, ground)?;
    let (meter, connections, start) = (Meter::start(running.pid()), daemon.connections(), Instant::now());
    write(ground, directories, "first")?;
    let work = start.elapsed();
    let wait = wait_equal(&source, &replica, start, CAP);
    let mut figures = measured(directories, &running, &meter);
    figures.set("transfers", real(daemon.connections().saturating_sub(connections)));
    figures.set("work_s", work.as_secs_f64());
    run::note_wait(&mut figures, "conv_s", wait);
    records.add(figures.done("growth", "burst", run::verdict(wait)));
    drop(daemon);
    let meter = Meter::start(running.pid());
    write(ground, directories, "other")?;
    rest(&meter);
    let back = Instant::now();
    let _daemon = Rsyncd::start(ground, port, 1)?;
    let wait = wait_equal(&source, &replica, back, CAP);
    let mut figures = measured(directories, &running, &meter);
    run::note_wait(&mut figures, "conv_s", wait);
    records.add(figures.done("growth", "down", run::verdict(wait)));
    running.check()
}

fn measured(directories: usize, running: &Running, meter: &Meter) -> Figures {
    let own = processes::own(running.pid());
    let mut figures = Figures::default();
    figures.set("paths", real(directories * FILES));
    figures.set("own_cpu_s", meter.cpu().as_secs_f64());
    figures.set("peak_kib", own.iter().map(|process| real64(processes::peak(process.pid))).sum());
    for (role, kib) in processes::by_role(&own, processes::peak) {
        figures.set(&format!("peak_{role}_kib"), real64(kib));
    }
    figures
}

/// Waits until nearly no CPU is taken: all that happened has been seen and noted.
fn rest(meter: &Meter) {
    let mut last = meter.cpu();
    loop {
        sleep(Duration::from_secs(1));
        let now = meter.cpu();
        if now.saturating_sub(last) < Duration::from_millis(50) {
            return;
        }
        last = now;
    }
}

/// Writes every file anew, 20 bytes each.
fn write(ground: &Ground, directories: usize, word: &str) -> Outcome<()> {
    for n in 0..directories {
        let directory = ground.source().join(format!("{:03}", n / 100)).join(n.to_string());
        fs::create_dir_all(&directory)?;
        for file in 0..FILES {
            fs::write(directory.join(format!("file{file}")), format!("{word}{file:015}"))?;
        }
    }
    Ok(())
}
