//! `beside`: single files that are edited while a large file, or a burst of 50,000 files, goes to the
//! same remote. Where memory does not hold the large file twice, the source is on a disk.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, sleep};
use std::time::{Duration, Instant};

use crate::compare::wait_equal;
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
    let (size, last) = place(load, source, options)?;
    let (over, start) = (AtomicBool::new(false), Instant::now());
    let (times, arrived) = thread::scope(|scope| {
        let wait = scope.spawn(|| {
            let arrived = run::appears(&replica.join(&last), CAP).then(|| start.elapsed());
            over.store(true, Ordering::Relaxed);
            arrived
        });
        let times = edit_until(source, &replica, &over);
        (times, wait.join().ok().flatten())
    });
    let mut figures = Figures::default();
    edits::note(&mut figures, &times?);
    figures.set("size", size);
    if let Some(arrived) = arrived {
        figures.set("transfer_s", arrived.as_secs_f64());
    }
    running.check()?;
    let wait = wait_equal(source, &replica, Instant::now(), CAP);
    figures.set("wrong", real(wait.wrong));
    let on_disk = (source != ground.source()).then(|| "source on /var/tmp".to_owned());
    let who = match load {
        Load::Large => "large",
        Load::Burst => "burst",
    };
    records.add(figures.done("beside", who, run::verdict(wait).or(on_disk)));
    Ok(())
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

fn edit_until(source: &Path, replica: &Path, over: &AtomicBool) -> Outcome<Vec<f64>> {
    let mut chance = Chance::new(9);
    let mut times = Vec::new();
    while !over.load(Ordering::Relaxed) {
        let path = format!("{:03}/{}", times.len() % 10, times.len() % 100);
        times.push(edit(source, replica, &path, &chance.bytes(300 + times.len() % 100))?);
        sleep(Duration::from_millis(u64::try_from(20 + chance.below(30)).unwrap_or(30)));
    }
    Ok(times)
}
