//! What the end-to-end tests share: a [`Mirror`] is a source, its replicas, a private rsync
//! daemon and the real supervisor between them.
//!
//! Nothing here sleeps in order to synchronise: [`wait_until`] polls what is to become true.
//! `E2E_KEEP=1` keeps the directories of a run, `E2E_DEBUG=1` lets the supervisor tell everything.
#![allow(
    dead_code,
    unreachable_pub,
    unused_imports,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::must_use_candidate,
    clippy::panic,
    clippy::unwrap_used,
    reason = "each test crate uses a part of it, and a test that cannot go on fails"
)]

pub mod churn;
pub mod daemon;
pub mod frozen;
pub mod listener;
pub mod mounts;
pub mod names;
pub mod processes;
pub mod proxy;
pub mod random;
pub mod runs;
pub mod scene;
pub mod setup;
pub mod supervisor;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use tempfile::TempDir;

pub use daemon::{Daemon, LOCALHOST};
pub use listener::{Listener, Manner};
pub use setup::Setup;
pub use supervisor::Supervisor;

/// By when anything that is to happen has happened, however busy the machine is.
pub const SOON: Duration = Duration::from_secs(30);

/// Waits until `met` returns true; fails the test when it has not by the deadline.
pub fn wait_until(what: &str, deadline: Duration, mut met: impl FnMut() -> bool) {
    let end = Instant::now() + deadline;
    while !met() {
        assert!(Instant::now() < end, "not within {deadline:?}: {what}");
        pause(Duration::from_millis(10));
    }
}

/// Paces a test. Never what a test relies on to synchronise.
pub fn pause(duration: Duration) {
    thread::park_timeout(duration);
}

/// Tells a thread to end when it is dropped, so also when the test has failed.
pub struct Over<'a>(pub &'a AtomicBool);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Whether the tests run as root, with uids and capabilities to give away.
pub fn is_root() -> bool {
    nix::unistd::geteuid().is_root()
}

/// A number from the environment, to run a test longer than the suite does.
pub fn scale(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |text| text.parse().unwrap_or_else(|_| panic!("{name}={text:?}")))
}

/// Whether anything stands at `path`, a dangling link included.
pub fn exists(path: impl AsRef<Path>) -> bool {
    path.as_ref().symlink_metadata().is_ok()
}

/// Writes a file, making the directories above it.
pub fn write(path: impl AsRef<Path>, content: impl AsRef<[u8]>) {
    fs::create_dir_all(path.as_ref().parent().unwrap()).unwrap();
    fs::write(path, content).unwrap();
}

/// Whether the file at `path` holds exactly `content`.
pub fn holds(path: impl AsRef<Path>, content: impl AsRef<[u8]>) -> bool {
    fs::read(path).is_ok_and(|found| found == content.as_ref())
}

/// Everything below `top`, deepest first.
pub fn walk(top: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(top).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            found.extend(walk(&entry.path()));
        }
        found.push(entry.path());
    }
    found
}

/// A source, its replicas, and what runs between them.
pub struct Mirror {
    /// Holds everything else.
    pub dir: PathBuf,
    /// The watched directories.
    pub sources: Vec<PathBuf>,
    /// Where the remotes' modules `m0`, `m1`… lie, counted through all sources.
    pub replicas: Vec<PathBuf>,
    /// Which source each replica mirrors.
    pub source_of: Vec<usize>,
    /// The config file.
    pub config: PathBuf,
    /// Port of every remote.
    pub port: u16,
    /// How it was set up.
    pub setup: Setup,
    /// Serves the remotes on [`LOCALHOST`].
    pub daemon: Daemon,
    supervisor: Option<Supervisor>,
    settled: u32,
    _temp: TempDir,
}

impl Mirror {
    /// Directories, config and daemon; the supervisor waits for [`Mirror::start`].
    pub fn new(setup: Setup) -> Mirror {
        let mode = fs::Permissions::from_mode(0o755);
        let mut temp = tempfile::Builder::new().prefix("sersync-e2e-").permissions(mode).tempdir().unwrap();
        temp.disable_cleanup(std::env::var_os("E2E_KEEP").is_some());
        let dir = temp.path().to_owned();
        let sources: Vec<PathBuf> = (0..setup.trees.len()).map(|n| dir.join(format!("source{n}"))).collect();
        let source_of: Vec<usize> =
            setup.trees.iter().enumerate().flat_map(|(n, hosts)| vec![n; hosts.len()]).collect();
        let replicas: Vec<PathBuf> = (0..source_of.len()).map(|n| dir.join(format!("replica{n}"))).collect();
        for path in sources.iter().chain(&replicas).chain([&dir.join("cwd"), &dir.join("run")]) {
            fs::create_dir(path).unwrap();
        }
        fs::set_permissions(dir.join("run"), fs::Permissions::from_mode(0o700)).unwrap();
        let modules: Vec<(String, PathBuf)> =
            replicas.iter().enumerate().map(|(n, path)| (format!("m{n}"), path.clone())).collect();
        let daemon = Daemon::on_free_port(&dir.join("rsyncd.conf"), &modules);
        let port = daemon.port;
        let config = dir.join("confxml.xml");
        fs::write(&config, setup.xml(&sources, port)).unwrap();
        Mirror {
            dir,
            sources,
            replicas,
            source_of,
            config,
            port,
            setup,
            daemon,
            supervisor: None,
            settled: 0,
            _temp: temp,
        }
    }

    /// [`Mirror::new`] with a supervisor that watches.
    pub fn start(setup: Setup) -> Mirror {
        let mut mirror = Mirror::new(setup);
        mirror.run();
        mirror
    }

    /// Starts the supervisor and waits until it watches everything.
    pub fn run(&mut self) {
        let started = Supervisor::start(self);
        self.supervisor.insert(started).wait_watching(self.sources.len());
    }

    /// Starts the supervisor without waiting for anything.
    pub fn launch(&mut self) {
        self.supervisor = Some(Supervisor::start(self));
    }

    /// Takes over a supervisor that was started otherwise.
    pub fn adopt(&mut self, supervisor: Supervisor) {
        self.supervisor = Some(supervisor);
    }

    /// The running supervisor.
    pub fn supervisor(&mut self) -> &mut Supervisor {
        self.supervisor.as_mut().expect("the supervisor was started")
    }

    /// What it has said so far.
    pub fn log(&self) -> String {
        self.supervisor.as_ref().map(Supervisor::log).unwrap_or_default()
    }

    /// How many lines of it hold `text`.
    pub fn logged(&self, text: &str) -> usize {
        self.log().lines().filter(|line| line.contains(text)).count()
    }

    /// Waits until the log holds `text`.
    pub fn wait_logged(&self, text: &str) {
        wait_until(&format!("{text:?} in the log"), SOON, || self.log().contains(text));
    }

    /// Fails when a log holds what none may.
    fn check(&self, log: &str) {
        for word in ["panicked at", "internal: ", "violation role="] {
            assert!(!log.contains(word) || self.setup.expects_violations, "{word:?} in the log:\n{log}");
        }
    }

    /// A path in the first source.
    pub fn source(&self, path: impl AsRef<Path>) -> PathBuf {
        self.sources[0].join(path)
    }

    /// The same path in the first replica.
    pub fn replica(&self, path: impl AsRef<Path>) -> PathBuf {
        self.replicas[0].join(path)
    }

    /// What rsync would still do to make a replica equal to its source. Times of directories
    /// do not count.
    pub fn difference(&self, replica: usize) -> Vec<String> {
        let mut source = self.sources[self.source_of[replica]].clone().into_os_string();
        source.push("/");
        let mut command = Command::new("rsync");
        command.env("LC_ALL", "C").args(["-rlptgoDnic", "--delete", "--"]).arg(source);
        let output = command.arg(&self.replicas[replica]).output().unwrap();
        let text = [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
        let is_dir_time = |line: &&str| line.starts_with(".d..t......");
        text.iter()
            .flat_map(|text| text.lines())
            .filter(|line| !is_dir_time(line))
            .map(str::to_owned)
            .collect()
    }

    /// Waits until every replica is equal to its source.
    pub fn wait_equal(&self, deadline: Duration) {
        for replica in 0..self.replicas.len() {
            self.wait_difference(replica, &[], deadline);
        }
    }

    /// Waits until a replica differs from its source by exactly these lines of rsync.
    pub fn wait_difference(&self, replica: usize, expected: &[&str], deadline: Duration) {
        let end = Instant::now() + deadline;
        loop {
            let found = self.difference(replica);
            if found == expected {
                return;
            }
            let shown = found.iter().take(40).cloned().collect::<Vec<_>>().join("\n");
            assert!(
                Instant::now() < end,
                "replica{replica} after {deadline:?}: {} differences, expected {expected:?}\n{shown}",
                found.len()
            );
            pause(Duration::from_millis(30));
        }
    }

    /// Waits until everything done before has been dealt with: a file made now has arrived
    /// everywhere, and (where deletions travel) has gone again everywhere.
    pub fn settle(&mut self) {
        self.settled += 1;
        let name = format!("settle-{}", self.settled);
        for source in &self.sources {
            write(source.join(&name), &name);
        }
        let all = |there: bool| self.replicas.iter().all(|replica| exists(replica.join(&name)) == there);
        wait_until("a file made now arrives", SOON, || all(true));
        for source in &self.sources {
            fs::remove_file(source.join(&name)).unwrap();
        }
        if self.setup.is_on("delete") {
            wait_until("a file removed now is gone", SOON, || all(false));
        }
    }
}

impl Drop for Mirror {
    fn drop(&mut self) {
        let log = self.log();
        drop(self.supervisor.take());
        if thread::panicking() {
            let lines: Vec<&str> = log.lines().collect();
            let last = &lines[lines.len().saturating_sub(60)..];
            eprintln!("---- end of the log of {} ----\n{}\n----", self.dir.display(), last.join("\n"));
            return;
        }
        self.check(&log);
    }
}
