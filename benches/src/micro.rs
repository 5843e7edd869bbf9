//! `micro`: the two data structures that every change goes through, without a kernel or rsync: the
//! core, which makes changes into jobs, and the watcher's table of directories. Nanoseconds for each
//! path, and how much this process grew.

use std::ffi::OsStr;
use std::fs;
use std::hint::black_box;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use common::event::{Change, Dirt, RootId, TreeId};
use common::message::{Outcome as JobOutcome, Work};
use common::path::RelPath;
use supervisor::core::backlog::Traffic;
use supervisor::core::dispatch::{Dispatcher, Setup};
use supervisor::core::{Action, Input, JobEnd, Lane, RemoteId, Role};
use watcher::bench::Table;

use crate::outcome::{Outcome, failed, real, real64};
use crate::record::{Figures, Records};

/// Paths and directories.
const COUNT: usize = 1_000_000;
/// Paths in one report of the watcher.
const FRAME: usize = 1000;
/// As many as one remote's backlog holds by name.
const HELD: usize = 240_000;

/// The first word of the command line that measures one of them.
pub(crate) const WORD: &str = "micro-one";

/// Measures all of it, each in a process of its own, so that its growth is its own.
pub(crate) fn run(records: &mut Records) -> Outcome<()> {
    for who in ["core-240k", "core-1M", "table"] {
        let mut command = Command::new(std::env::current_exe()?);
        let output = command.arg(WORD).arg(who).stderr(Stdio::inherit()).stdin(Stdio::null()).output()?;
        if !output.status.success() {
            return Err(failed(format!("{who}: {}", output.status)));
        }
        records.add(serde_json::from_slice(&output.stdout)?);
    }
    Ok(())
}

/// Measures one, and prints what was found.
pub(crate) fn print(who: Option<&OsStr>) -> Outcome<()> {
    let figures = match who.and_then(OsStr::to_str) {
        Some("core-240k") => core(HELD)?,
        Some("core-1M") => core(COUNT)?,
        Some("table") => table()?,
        Some(_) | None => return Err(failed("micro-one core-240k|core-1M|table")),
    };
    let who = who.unwrap_or_default().to_string_lossy();
    println!("{}", serde_json::to_string(&figures.done("micro", &who, None))?);
    Ok(())
}

/// A core, the time in it, and what it said last.
struct World {
    core: Dispatcher,
    now: Duration,
    out: Vec<Action>,
}

impl World {
    fn new() -> World {
        let remotes = vec![("remote".to_owned(), Traffic::OneWay)];
        let setup = Setup { trees: vec![("tree".to_owned(), remotes)], workers: 4, ..Setup::default() };
        let mut world = World { core: Dispatcher::new(setup), now: Duration::ZERO, out: Vec::new() };
        world.core.start(world.now, &mut world.out);
        let root = RootId { device: 1, inode: 1, born: 0 };
        world.tell(Input::Ready(Role::Watcher));
        world.tell(Input::Ready(SYNCER));
        world.tell(Input::Watching(TreeId(0), root, 1));
        world
    }

    fn tell(&mut self, input: Input) {
        self.now += Duration::from_micros(10);
        self.core.on(self.now, input, &mut self.out);
    }

    /// The job that was given out, if any.
    fn job(&mut self) -> Option<Work> {
        let mut last = None;
        for action in self.out.drain(..) {
            if let Action::Send(_, job) = action {
                last = Some(job.work);
            }
        }
        last
    }
}

/// What serves the only remote.
const SYNCER: Role = Role::Syncer(RemoteId(0), Lane::Batch);

fn changes(from: usize, to: usize) -> Outcome<Vec<Change>> {
    let change = |n: usize| {
        let path = RelPath::new(format!("{:03}/{:03}/file{n:07}", n / 10_000, n / 100 % 100));
        Ok(Change { path: path.map_err(|error| failed(error.to_string()))?, dirt: Dirt::Touched, mask: 0 })
    };
    (from..to).map(change).collect()
}

/// So many paths change twice while the remote is busy, and are then given out until none is left.
fn core(paths: usize) -> Outcome<Figures> {
    let mut world = World::new();
    world.tell(Input::Changes(TreeId(0), changes(paths, paths + 1)?));
    world.job().ok_or_else(|| failed("the first change is not sent at once"))?;
    let before = memory();
    let (mut first, mut again) = (Duration::ZERO, Duration::ZERO);
    for spent in [&mut first, &mut again] {
        for from in (0..paths).step_by(FRAME) {
            let frame = changes(from, paths.min(from + FRAME))?;
            let start = Instant::now();
            world.tell(Input::Changes(TreeId(0), frame));
            *spent += start.elapsed();
        }
    }
    let grown = memory().saturating_sub(before);
    let (start, mut jobs, mut given) = (Instant::now(), 0_usize, 0_usize);
    loop {
        world.tell(Input::Done(SYNCER, done()));
        // What is held for a moment is due after it.
        let job = world.job().or_else(|| {
            world.now += Duration::from_secs(5);
            world.tell(Input::Tick);
            world.job()
        });
        let Some(Work::Batch(batch)) = job else { break };
        given += batch.len();
        jobs += 1;
    }
    let dispatching = start.elapsed();
    let mut figures = Figures::default();
    figures.set("paths", real(paths));
    figures.set("insert_ns", nanos(first, paths));
    figures.set("again_ns", nanos(again, paths));
    figures.set("dispatch_ns", nanos(dispatching, paths));
    figures.set("bytes", real64(grown) / real(paths));
    figures.set("jobs", real(jobs));
    figures.set("given", real(given));
    Ok(figures)
}

fn done() -> JobEnd {
    JobEnd { outcome: JobOutcome::Done, status: 0, tail: String::new(), failed: None, left: Vec::new() }
}

/// A million directories, a thousand in each of a thousand.
fn table() -> Outcome<Figures> {
    let names: Vec<String> = (0..COUNT).map(|n| format!("directory{n:07}")).collect();
    let bytes: usize = names.iter().map(String::len).sum();
    let before = memory();
    let (mut table, start) = (Table::default(), Instant::now());
    for (n, name) in names.iter().enumerate() {
        let parent = if n < 1000 { 0 } else { n % 1000 + 1 };
        if !table.add(parent, name.as_bytes()) {
            return Err(failed("a directory without its parent"));
        }
    }
    let adding = start.elapsed();
    let grown = memory().saturating_sub(before);
    let (mut found, start) = (Vec::new(), Instant::now());
    for wd in 1..=COUNT {
        // Not in the order in which they came.
        let wd = i32::try_from(wd.wrapping_mul(7919) % COUNT + 1).unwrap_or(1);
        table.path_of(wd, &mut found);
        if found.is_empty() {
            return Err(failed("a watch without its directory"));
        }
        black_box(&found);
    }
    let asking = start.elapsed();
    let start = Instant::now();
    for n in 1..=1000 {
        table.rename(n, format!("renamed{n}").as_bytes());
    }
    let renaming = start.elapsed();
    let mut figures = Figures::default();
    figures.set("directories", real64(table.directories()));
    figures.set("add_ns", nanos(adding, COUNT));
    figures.set("event_ns", nanos(asking, COUNT));
    figures.set("rename_ns", nanos(renaming, 1000));
    figures.set("bytes", (real64(grown) - real(bytes)) / real(COUNT));
    figures.set("bytes_with_name", real64(grown) / real(COUNT));
    Ok(figures)
}

fn nanos(time: Duration, count: usize) -> f64 {
    time.as_secs_f64() * 1e9 / real(count)
}

/// Bytes of memory that this process has now.
fn memory() -> u64 {
    let text = fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages = text.split_whitespace().nth(1).and_then(|pages| pages.parse::<u64>().ok());
    pages.unwrap_or(0) * 4096
}
