//! W8: three remotes, one of which is down. Only contenders that serve several remotes take part; the
//! limit is one plain rsync to one remote, after the workload and again for the third.

use std::fs;
use std::thread;
use std::time::{Duration, Instant};

use crate::compare::{wait_all_equal, wait_equal};
use crate::contender::{Contender, Plan, Running};
use crate::ground::{Ground, Rsyncd, free_port};
use crate::options::Options;
use crate::outcome::{Outcome, failed, real};
use crate::processes::Meter;
use crate::record::{Figures, Record};
use crate::run::{self, PARAMS};
use crate::workload::Workload;

/// Runs it once.
pub(crate) fn run(contender: Contender, ground: &Ground, options: &Options) -> Outcome<Record> {
    let mut figures = Figures::default();
    if contender == Contender::Ours {
        figures.set("single_s", single(ground, options)?);
    }
    ground.clear(3)?;
    Workload::Down.prepare(ground)?;
    let daemon = Rsyncd::start(ground, free_port()?, 3)?;
    let (source, part) = (ground.source(), Workload::Down.name());
    if contender == Contender::Limit {
        run::plain_rsync(&source, daemon.port, 0)?;
        Workload::Down.perform(ground)?;
        for (module, name) in [(0, "conv_s"), (2, "third_s")] {
            let start = Instant::now();
            run::plain_rsync(&source, daemon.port, module)?;
            figures.set(name, start.elapsed().as_secs_f64());
        }
        figures.set("both_s", both(ground, daemon.port)?);
        return Ok(figures.done(part, contender.name(), None));
    }
    let absent = free_port()?;
    let remotes = vec![(daemon.port, 0), (daemon.port, 1), (absent, 2)];
    let plan = Plan { ground, options, source: source.clone(), remotes, params: PARAMS };
    let mut running = Running::start(contender, &plan)?;
    run::await_ready(&mut running, ground)?;
    wait_equal(&source, &ground.replica(1), Instant::now(), Duration::from_secs(20));
    let (meter, cap) = (Meter::start(running.pid()), run::cap(contender, options));
    Workload::Down.perform(ground)?;
    let start = Instant::now();
    let up = wait_all_equal(&source, &[ground.replica(0), ground.replica(1)], start, cap);
    let [first, second] = up[..] else { return Err(failed("two replicas")) };
    run::note_wait(&mut figures, "conv_s", first);
    run::note_wait(&mut figures, "second_s", second);
    let back = Instant::now();
    let _third = Rsyncd::start(ground, absent, 3)?;
    let third = wait_equal(&source, &ground.replica(2), back, cap);
    run::note_wait(&mut figures, "third_s", third);
    figures.set("wrong", [first, second, third].iter().map(|wait| real(wait.wrong)).sum());
    figures.set("own_cpu_s", meter.cpu().as_secs_f64());
    running.check()?;
    let note = [first, second, third].into_iter().find_map(run::verdict);
    Ok(figures.done(part, contender.name(), note))
}

/// One plain rsync to each of two empty remotes at once, in seconds: what the machine's cores leave of it.
fn both(ground: &Ground, port: u16) -> Outcome<f64> {
    for module in [0, 1] {
        fs::remove_dir_all(ground.replica(module))?;
        fs::create_dir(ground.replica(module))?;
    }
    let (source, start) = (ground.source(), Instant::now());
    thread::scope(|scope| {
        let other = scope.spawn(|| run::plain_rsync(&source, port, 1));
        run::plain_rsync(&source, port, 0)?;
        other.join().map_err(|_| failed("the second rsync"))?
    })?;
    Ok(start.elapsed().as_secs_f64())
}

/// The same for one remote only, in seconds.
fn single(ground: &Ground, options: &Options) -> Outcome<f64> {
    ground.clear(1)?;
    Workload::Down.prepare(ground)?;
    let daemon = Rsyncd::start(ground, free_port()?, 1)?;
    let remotes = vec![(daemon.port, 0)];
    let plan = Plan { ground, options, source: ground.source(), remotes, params: PARAMS };
    let mut running = Running::start(Contender::Ours, &plan)?;
    run::await_ready(&mut running, ground)?;
    Workload::Down.perform(ground)?;
    let start = Instant::now();
    let wait = wait_equal(&ground.source(), &ground.replica(0), start, run::PATIENCE);
    running.check()?;
    Ok(wait.took.as_secs_f64())
}
