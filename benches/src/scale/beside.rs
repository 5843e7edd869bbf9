//! `beside`: single files that are edited while a large file, or a burst of 50,000 files, goes to the
//! same remote. Where memory does not hold the large file twice, the source is on a disk.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, sleep};
use std::time::{Duration, Instant};

use crate::compare::{Wait, wait_equal};
use crate::contender::{Contender, Plan, Running};
use crate::edits::{self, edit};
use crate::fixture::{self, Chance};
use crate::ground::{Ground, Rsyncd, free_port};
use crate::options::Options;
use crate::outcome::{Outcome, real, real64};
use crate::processes;
use crate::record::{Figures, Records};
use crate::run::{self, PARAMS};
use crate::workload;

/// So many bursts, one after the other: beside a single one there is time for a few dozen edits only, of
/// which the last hundredth says nothing.
const BURSTS: usize = 8;
/// How long a transfer may take.
const CAP: Duration = Duration::from_secs(900);

/// What goes to the remote beside the edits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Load {
    /// One file.
    Large,
    /// 50,000 files.
    Burst,
}

/// A directory that is gone when this is dropped.
struct Scratch(PathBuf);

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Measures both loads once.
pub(crate) fn run(ground: &Ground, options: &Options, records: &mut Records) -> Outcome<()> {
    for load in [Load::Large, Load::Burst] {
        ground.clear(1)?;
        let twice = 2 * options.large * 1024 * 1024 + 4 * 1024 * 1024;
        let fits = load == Load::Burst || processes::available() > twice;
        let scratch = PathBuf::from(format!("/var/tmp/sersync-bench-large.{}", std::process::id()));
        let (source, _scratch) = if fits {
            (ground.source(), None)
        } else {
            fs::create_dir(&scratch)?;
            (scratch.clone(), Some(Scratch(scratch)))
        };
        one(load, &source, ground, options, records)?;
    }
    ground.clear(1)
}

fn one(load: Load, source: &Path, ground: &Ground, options: &Options, records: &mut Records) -> Outcome<()> {
    fixture::tree(source, 10, 100, 200)?;
    let daemon = Rsyncd::start(ground, free_port()?, 1)?;
    let remotes = vec![(daemon.port, 0)];
    let plan = Plan { ground, options, source: source.to_owned(), remotes, params: PARAMS };
    let mut running = Running::start(Contender::Ours, &plan)?;
    let replica = ground.replica(0);
    wait_equal(source, &replica, Instant::now(), Duration::from_secs(60));
    // The first transfer after a start has its own costs, which are not what is asked here.
    for n in 0..5_usize {
        edit(source, &replica, &format!("000/{n}"), format!("warm {n}").as_bytes())?;
        sleep(Duration::from_millis(100));
    }
    let rounds = if load == Load::Burst { BURSTS } else { 1 };
    let mut figures = Figures::default();
    let (mut times, mut transfers) = (Vec::new(), 0.0);
    let mut wait = None;
    for round in 0..rounds {
        if round > 0 {
            remove(load, source, options)?;
            wait_equal(source, &replica, Instant::now(), CAP);
        }
        let (size, arrived) = beside(load, source, &replica, options, &mut times)?;
        figures.set("size", size);
        transfers += arrived.unwrap_or(CAP).as_secs_f64();
        running.check()?;
        let found = wait_equal(source, &replica, Instant::now(), CAP);
        wait = wait.filter(|worst: &Wait| worst.wrong > found.wrong).or(Some(found));
    }
    edits::note(&mut figures, &times);
    figures.set("transfer_s", transfers);
    let Some(wait) = wait else { return Ok(()) };
    figures.set("wrong", real(wait.wrong));
    let on_disk = (source != ground.source()).then(|| "source on /var/tmp".to_owned());
    let who = match load {
        Load::Large => "large",
        Load::Burst => "burst",
    };
    records.add(figures.done("beside", who, run::verdict(wait).or(on_disk)));
    Ok(())
}

/// One transfer with edits beside it, whose times go to `times`; how large it was, and how long it took.
fn beside(
    load: Load,
    source: &Path,
    replica: &Path,
    options: &Options,
    times: &mut Vec<f64>,
) -> Outcome<(f64, Option<Duration>)> {
    let (size, last) = place(load, source, options)?;
    let (over, start) = (AtomicBool::new(false), Instant::now());
    let (found, arrived) = thread::scope(|scope| {
        let wait = scope.spawn(|| {
            let arrived = run::appears(&replica.join(&last), CAP).then(|| start.elapsed());
            over.store(true, Ordering::Relaxed);
            arrived
        });
        let found = edit_until(source, replica, &over, 9 + times.len());
        (found, wait.join().ok().flatten())
    });
    times.extend(found?);
    Ok((size, arrived))
}

/// Takes the load out of the source again.
fn remove(load: Load, source: &Path, options: &Options) -> Outcome<()> {
    match load {
        Load::Large => fs::remove_file(source.join("large")),
        Load::Burst => (0..options.scaled(500))
            .try_for_each(|directory| fs::remove_dir_all(source.join(format!("b{directory:03}")))),
    }
}

/// Puts the load into the source; its size, in bytes or files, and which path of it arrives last.
fn place(load: Load, source: &Path, options: &Options) -> Outcome<(f64, PathBuf)> {
    match load {
        Load::Large => {
            let blocks = usize::try_from(options.large).unwrap_or(1) * 256;
            // It counts as a change once it is closed, and travels from then on.
            workload::large(&source.join("large"), blocks)?;
            Ok((real64(options.large) * 1024.0 * 1024.0 * 1024.0, PathBuf::from("large")))
        }
        Load::Burst => {
            let directories = options.scaled(500);
            workload::burst(source, directories, 100)?;
            Ok((real(directories * 100), PathBuf::from(format!("b{:03}/f99", directories - 1))))
        }
    }
}

fn edit_until(source: &Path, replica: &Path, over: &AtomicBool, seed: usize) -> Outcome<Vec<f64>> {
    let mut chance = Chance::new(u64::try_from(seed).unwrap_or(9));
    let mut times = Vec::new();
    while !over.load(Ordering::Relaxed) {
        let path = format!("{:03}/{}", times.len() % 10, times.len() % 100);
        times.push(edit(source, replica, &path, &chance.bytes(300 + times.len() % 100))?);
        sleep(Duration::from_millis(u64::try_from(20 + chance.below(30)).unwrap_or(30)));
    }
    Ok(times)
}
