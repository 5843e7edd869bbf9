//! The supervisor under test, as a process.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::{Mirror, SOON, is_root, pause, processes, wait_until};

/// A running supervisor; ended when dropped.
pub struct Supervisor {
    log: PathBuf,
    process: Child,
    ended: Option<ExitStatus>,
}

impl Supervisor {
    /// Starts it on the config of `mirror`, in the directory `cwd`, output into a file.
    pub fn start(mirror: &Mirror) -> Supervisor {
        let log = mirror.dir.join("log");
        let output = File::create(&log).unwrap();
        let process = command(mirror)
            .args(mirror.setup.arguments(&mirror.config))
            .stdin(Stdio::null())
            .stdout(output.try_clone().unwrap())
            .stderr(output)
            .spawn()
            .unwrap();
        Supervisor { log, process, ended: None }
    }

    /// One that was started otherwise, and writes its log into this file.
    pub fn of(process: Child, log: &Path) -> Supervisor {
        Supervisor { log: log.to_owned(), process, ended: None }
    }

    /// Its pid.
    pub fn pid(&self) -> i32 {
        self.process.id().cast_signed()
    }

    /// What it has said.
    pub fn log(&self) -> String {
        String::from_utf8_lossy(&fs::read(&self.log).unwrap_or_default()).into_owned()
    }

    /// Waits until it watches all its trees.
    pub fn wait_watching(&mut self, trees: usize) {
        wait_until("\"watch path is: \" for every tree", SOON, || {
            assert!(self.ended().is_none(), "the supervisor ended: {:?}", self.ended);
            self.log().matches("watch path is: ").count() >= trees
        });
    }

    /// The pids of its live children of this name: `watcher`, `syncer0`…
    pub fn children(&self, name: &str) -> Vec<i32> {
        processes::roles(self.pid(), name)
    }

    /// The one child of this name, once it is there.
    pub fn child(&self, name: &str) -> i32 {
        let mut found = None;
        wait_until(&format!("{name} is there"), SOON, || {
            found = self.children(name).first().copied();
            found.is_some()
        });
        found.unwrap()
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.pid()), signal).unwrap();
    }

    /// How it ended, if it did.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        if self.ended.is_none() {
            self.ended = self.process.try_wait().unwrap();
        }
        self.ended
    }

    /// Waits for its end.
    pub fn wait_end(&mut self, deadline: Duration) -> ExitStatus {
        wait_until("the supervisor ends", deadline, || self.ended().is_some());
        self.ended.unwrap()
    }
}

impl Drop for Supervisor {
    fn drop(&mut self) {
        let patience = Instant::now() + Duration::from_secs(3);
        // The second one ends it at once, if the first has not.
        for _ in 0..2 {
            if self.ended().is_none() {
                let _ = kill(Pid::from_raw(self.pid()), Signal::SIGTERM);
                let end = (Instant::now() + Duration::from_secs(1)).min(patience);
                while self.ended().is_none() && Instant::now() < end {
                    pause(Duration::from_millis(5));
                }
            }
        }
        if self.ended().is_none() {
            let _ = self.process.kill();
            let _ = self.process.wait();
        }
    }
}

/// The supervisor's program where the tests of `mirror` run it, without arguments.
pub fn command(mirror: &Mirror) -> Command {
    let mut command = Command::new(&mirror.setup.program);
    command.current_dir(mirror.dir.join("cwd"));
    if !is_root() {
        command.env("XDG_RUNTIME_DIR", mirror.dir.join("run"));
    }
    command
}
