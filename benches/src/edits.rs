//! Single files that are edited, and the time until each edit is visible at the replica: W1, and what
//! `beside` measures while something large is on its way.

use std::fs;
use std::path::Path;
use std::thread::sleep;
use std::time::{Duration, Instant};

use crate::contender::{Contender, Plan, Running};
use crate::fixture::Chance;
use crate::ground::{Ground, Rsyncd, free_port};
use crate::options::Options;
use crate::outcome::{Outcome, failed, millis, percentile, real};
use crate::processes::Meter;
use crate::record::{Figures, Record};
use crate::run::{self, PARAMS};
use crate::workload::Workload;

/// How long one edit may take before it counts as lost.
const LOST: Duration = Duration::from_secs(25);

/// Which form of W1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    /// 100 edits of as many files.
    Plain,
    /// 500 edits, every other one of the same file.
    Hot,
}

impl Form {
    /// What results call it.
    pub(crate) fn part(self) -> &'static str {
        match self {
            Form::Plain => "W1",
            Form::Hot => "W1hot",
        }
    }

    fn edits(self) -> usize {
        match self {
            Form::Plain => 100,
            Form::Hot => 500,
        }
    }

    /// The file of the `n`-th edit.
    fn path(self, n: usize) -> String {
        match self {
            Form::Hot if n % 2 == 1 => "000/0".to_owned(),
            Form::Plain | Form::Hot => format!("{:03}/{}", n % 20, n % 50),
        }
    }
}

/// Runs W1 once. A peer is edited for no longer than half of its cap.
pub(crate) fn run(form: Form, contender: Contender, ground: &Ground, options: &Options) -> Outcome<Record> {
    ground.clear(1)?;
    Workload::Edits.prepare(ground)?;
    let daemon = Rsyncd::start(ground, free_port()?, 1)?;
    let mut figures = Figures::default();
    let times = if matches!(contender, Contender::Limit | Contender::Bare) {
        run::plain_rsync(&ground.source(), daemon.port, 0)?;
        by_hand(form, contender, ground, &daemon)?
    } else {
        let remotes = vec![(daemon.port, 0)];
        let plan = Plan { ground, options, source: ground.source(), remotes, params: PARAMS };
        let mut running = Running::start(contender, &plan)?;
        run::await_ready(&mut running, ground)?;
        let end = Instant::now() + run::cap(contender, options) / 2;
        let (meter, connections) = (Meter::start(running.pid()), daemon.connections());
        let mut chance = Chance::new(3);
        let mut times = Vec::new();
        for n in 0..form.edits() {
            times.push(edit(&ground.source(), &ground.replica(0), &form.path(n), &chance.bytes(400 + n))?);
            if Instant::now() > end {
                break;
            }
            sleep(Duration::from_millis(u64::try_from(30 + chance.below(50)).unwrap_or(50)));
        }
        figures.set("own_cpu_s", meter.cpu().as_secs_f64());
        figures.set("transfers", real(daemon.connections().saturating_sub(connections)));
        running.check()?;
        times
    };
    note(&mut figures, &times);
    Ok(figures.done(form.part(), contender.name(), None))
}

fn by_hand(form: Form, contender: Contender, ground: &Ground, daemon: &Rsyncd) -> Outcome<Vec<f64>> {
    let mut chance = Chance::new(3);
    let mut times = Vec::new();
    for n in 0..form.edits().min(100) {
        let (path, content) = (form.path(n), chance.bytes(400 + n));
        let start = Instant::now();
        fs::write(ground.source().join(&path), &content)?;
        let mut rsync = run::rsync_of_one(contender, &ground.source(), daemon.port, &path)?;
        times.push(visible(&ground.replica(0).join(&path), &content, start)?);
        rsync.wait()?;
    }
    Ok(times)
}

/// Writes `content` to a file in place; milliseconds until it is at the replica.
pub(crate) fn edit(source: &Path, replica: &Path, path: &str, content: &[u8]) -> Outcome<f64> {
    let start = Instant::now();
    fs::write(source.join(path), content)?;
    visible(&replica.join(path), content, start)
}

fn visible(file: &Path, content: &[u8], start: Instant) -> Outcome<f64> {
    while fs::read(file).map_or(true, |found| found != content) {
        if start.elapsed() > LOST {
            return Err(failed(format!("an edit was not visible after {} s", LOST.as_secs())));
        }
        sleep(Duration::from_micros(200));
    }
    Ok(millis(start.elapsed()))
}

/// Notes what is to be known of such times.
pub(crate) fn note(figures: &mut Figures, times: &[f64]) {
    figures.set("edits", real(times.len()));
    for (name, percent) in [("p50_ms", 50), ("p99_ms", 99), ("max_ms", 100)] {
        if let Some(time) = percentile(times, percent) {
            figures.set(name, time);
        }
    }
}
