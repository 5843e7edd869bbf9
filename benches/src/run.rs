//! One run of one workload: the contender is started, its first sync and a probe are waited for, the
//! workload is done, and the clock runs until the replica equals the source.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use crate::compare::{self, Wait, wait_equal};
use crate::contender::{Contender, Plan, Running, url};
use crate::ground::{Ground, Rsyncd, free_port};
use crate::options::Options;
use crate::outcome::{Outcome, failed, real, real64};
use crate::processes::Meter;
use crate::record::{Figures, Record};
use crate::workload::{self, Workload};

/// What a config has where nothing else is said. Without the `-z` of the shipped one: neither the limit
/// nor the peers compress, and on the loopback that would be measured before all else.
pub(crate) const PARAMS: &str = "-art";
/// How long ours may take.
pub(crate) const PATIENCE: Duration = Duration::from_secs(120);

/// Runs `workload` once.
pub(crate) fn run(
    workload: Workload,
    contender: Contender,
    ground: &Ground,
    options: &Options,
) -> Outcome<Record> {
    ground.clear(1)?;
    workload.prepare(ground)?;
    let daemon = Rsyncd::start(ground, free_port()?, 1)?;
    match contender {
        Contender::Limit | Contender::Bare => limit(workload, ground, &daemon),
        Contender::Ours | Contender::Lsyncd | Contender::Clsync | Contender::Inotifywait => {
            live(workload, contender, &daemon, ground, options)
        }
    }
}

/// One plain rsync of the final state.
fn limit(workload: Workload, ground: &Ground, daemon: &Rsyncd) -> Outcome<Record> {
    copy(&ground.source(), &ground.replica(0))?;
    let start = Instant::now();
    if workload == Workload::Hot {
        // The state after two seconds is no other than after twenty.
        workload::rewrite(&ground.source().join("000"), Duration::from_secs(2))?;
    } else {
        workload.perform(ground)?;
    }
    let work = start.elapsed();
    let start = Instant::now();
    plain_rsync(&ground.source(), daemon.port, 0)?;
    let took = start.elapsed();
    let mut figures = Figures::default();
    figures.set("work_s", work.as_secs_f64());
    figures.set("conv_s", took.as_secs_f64());
    figures.set("wrong", real(compare::different(&ground.source(), &ground.replica(0))));
    figures.set("transfers", 1.0);
    figures.set("wire_bytes", real64(settled_bytes(daemon)));
    Ok(figures.done(workload.name(), Contender::Limit.name(), None))
}

/// Mirrors `source` to a module with one rsync, as fast as rsync can.
pub(crate) fn plain_rsync(source: &Path, port: u16, module: usize) -> Outcome<()> {
    let mut command = Command::new("rsync");
    command.args(["-a", "--modify-window=-1", "--sockopts=TCP_NODELAY", "--delete"]);
    command.arg(source.join("")).arg(url(port, module));
    crate::fixture::run(&mut command)
}

/// Makes two directories equal without a daemon.
fn copy(source: &Path, replica: &Path) -> Outcome<()> {
    let mut command = Command::new("rsync");
    crate::fixture::run(command.args(["-aW", "--delete"]).arg(source.join("")).arg(replica.join("")))
}

fn live(
    workload: Workload,
    contender: Contender,
    daemon: &Rsyncd,
    ground: &Ground,
    options: &Options,
) -> Outcome<Record> {
    let remotes = vec![(daemon.port, 0)];
    let plan = Plan { ground, options, source: ground.source(), remotes, params: PARAMS };
    let mut running = Running::start(contender, &plan)?;
    await_ready(&mut running, ground)?;
    let cap = cap(contender, options);
    let (connections, bytes) = (daemon.connections(), settled_bytes(daemon));
    let meter = Meter::start(running.pid());
    let start = Instant::now();
    workload.perform(ground)?;
    let work = start.elapsed();
    let start = Instant::now();
    let wait = wait_equal(&ground.source(), &ground.replica(0), start, cap);
    let mut figures = Figures::default();
    figures.set("work_s", work.as_secs_f64());
    note_wait(&mut figures, "conv_s", wait);
    figures.set("own_cpu_s", meter.cpu().as_secs_f64());
    figures.set("transfers", real(daemon.connections().saturating_sub(connections)));
    figures.set("wire_bytes", real64(settled_bytes(daemon).saturating_sub(bytes)));
    running.check()?;
    Ok(figures.done(workload.name(), contender.name(), verdict(wait)))
}

/// How long a contender may take to become equal.
pub(crate) fn cap(contender: Contender, options: &Options) -> Duration {
    match contender {
        Contender::Limit | Contender::Bare | Contender::Ours => PATIENCE,
        Contender::Lsyncd | Contender::Clsync | Contender::Inotifywait => Duration::from_secs(options.cap),
    }
}

/// Notes how a wait ended; the time only if the replica became equal.
pub(crate) fn note_wait(figures: &mut Figures, name: &str, wait: Wait) {
    if wait.is_equal() {
        figures.set(name, wait.took.as_secs_f64());
    }
    figures.set("wrong", real(wait.wrong));
}

/// What is to be said where the replica did not become equal.
pub(crate) fn verdict(wait: Wait) -> Option<String> {
    let late = || format!("not converged after {:.0} s: {} paths wrong", wait.took.as_secs_f64(), wait.wrong);
    (!wait.is_equal()).then(late)
}

/// Waits until the first sync is over and what happens now travels. Some peers lose what is written
/// between their first sync and their watches: that is written again, so that it counts for nothing.
pub(crate) fn await_ready(running: &mut Running, ground: &Ground) -> Outcome<()> {
    let (source, replica) = (ground.source(), ground.replica(0));
    wait_equal(&source, &replica, Instant::now(), Duration::from_secs(60));
    let deadline = Instant::now() + Duration::from_secs(100);
    let mut probes = 0_u32;
    loop {
        running.check()?;
        probes += 1;
        let name = format!("probe{probes}");
        fs::write(source.join(&name), &name)?;
        if appears(&replica.join(&name), Duration::from_secs(4)) {
            break;
        }
        if Instant::now() > deadline {
            return Err(failed("it mirrors nothing"));
        }
    }
    for n in 1..probes {
        let name = format!("probe{n}");
        fs::write(source.join(&name), format!("again {name}"))?;
    }
    let wait = wait_equal(&source, &replica, Instant::now(), Duration::from_secs(30));
    if let Some(verdict) = verdict(wait) {
        return Err(failed(format!("before the workload {verdict}")));
    }
    // Peers that collect for a second are then at rest.
    sleep(Duration::from_millis(1500));
    Ok(())
}

/// Whether something stands at `path` in time.
pub(crate) fn appears(path: &Path, cap: Duration) -> bool {
    let deadline = Instant::now() + cap;
    while path.symlink_metadata().is_err() {
        if Instant::now() > deadline {
            return false;
        }
        sleep(Duration::from_millis(1));
    }
    true
}

/// Bytes of the transfers that are over, once the daemon has written no more of them for a while:
/// its line comes after the last file is in place.
fn settled_bytes(daemon: &Rsyncd) -> u64 {
    let mut last = daemon.bytes();
    for _ in 0..20 {
        sleep(Duration::from_millis(250));
        let now = daemon.bytes();
        if now == last {
            return now;
        }
        last = now;
    }
    last
}

/// Starts `rsync` with its list on standard input, for an edit of one file.
pub(crate) fn rsync_of_one(
    contender: Contender,
    source: &Path,
    port: u16,
    path: &str,
) -> Outcome<std::process::Child> {
    use std::io::Write;
    let mut command = Command::new("rsync");
    command.args(["-a", "--modify-window=-1"]);
    if contender == Contender::Bare {
        let (directory, _) = path.rsplit_once('/').ok_or_else(|| failed("a file in a directory"))?;
        command.arg(source.join(path)).arg(format!("{}{directory}/", url(port, 0)));
        return command.stdin(Stdio::null()).spawn();
    }
    command.args(["--sockopts=TCP_NODELAY", "--files-from=-", "--from0"]);
    let mut child = command.arg(source.join("")).arg(url(port, 0)).stdin(Stdio::piped()).spawn()?;
    if let Some(mut list) = child.stdin.take() {
        list.write_all(format!("./{path}\0").as_bytes())?;
    }
    Ok(child)
}
