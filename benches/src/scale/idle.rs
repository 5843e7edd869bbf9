//! `idle`: a minute on a tree of 1,000 directories in which nothing happens: CPU time, wakeups and
//! memory of each process.

use std::thread::sleep;
use std::time::{Duration, Instant};

use crate::contender::{Contender, Plan, Running};
use crate::fixture;
use crate::ground::{Ground, Rsyncd, free_port};
use crate::options::Options;
use crate::outcome::{Outcome, failed, millis, real64};
use crate::processes;
use crate::record::{Figures, Records};
use crate::run::{self, PARAMS};

/// How long nothing happens.
const REST: Duration = Duration::from_secs(60);
/// By when an rsync that waits for the next change has to be gone.
const RETIRED: Duration = Duration::from_secs(150);

/// Measures it once; a run for each role.
pub(crate) fn run(ground: &Ground, options: &Options, records: &mut Records) -> Outcome<()> {
    ground.clear(1)?;
    fixture::wide_tree(&ground.source(), 1000, 10, 100)?;
    let daemon = Rsyncd::start(ground, free_port()?, 1)?;
    let remotes = vec![(daemon.port, 0)];
    let plan = Plan { ground, options, source: ground.source(), remotes, params: PARAMS };
    let mut running = Running::start(Contender::Ours, &plan)?;
    run::await_ready(&mut running, ground)?;
    let deadline = Instant::now() + RETIRED;
    while processes::family(running.pid()).iter().any(processes::Process::is_rsync) {
        if Instant::now() > deadline {
            return Err(failed("an rsync waits on, though nothing happens"));
        }
        sleep(Duration::from_millis(200));
    }
    // What comes after a retirement is over too.
    sleep(Duration::from_secs(3));
    let before: Vec<_> = processes::own(running.pid())
        .into_iter()
        .map(|process| (processes::cpu(process.pid), processes::wakeups(process.pid), process))
        .collect();
    sleep(REST);
    running.check()?;
    for (cpu, wakeups, process) in before {
        let mut figures = Figures::default();
        figures.set("cpu_ms", millis(processes::cpu(process.pid).saturating_sub(cpu)));
        figures.set("wakeups", real64(processes::wakeups(process.pid).saturating_sub(wakeups)));
        figures.set("pss_kib", real64(processes::pss(process.pid)));
        records.add(figures.done("idle", &process.role, None));
    }
    Ok(())
}
