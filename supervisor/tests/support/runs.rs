//! Several runs of the supervisor on one [`Mirror`]: it is stopped, killed alone or with all that
//! is its, started again with other flags, and asked by its subcommands.

use std::fs;
use std::process::{Command, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::random::Random;
use super::{Mirror, SOON, processes, supervisor, wait_until};

/// By when the names of a tree of any size that a test makes have been read.
const LEARNED: Duration = Duration::from_mins(2);

impl Mirror {
    /// Ends the run in order.
    pub fn stop(&mut self) {
        self.supervisor().signal(Signal::SIGTERM);
        let status = self.supervisor().wait_end(SOON);
        assert_eq!(status.code(), Some(0), "{}", self.log());
        self.forget_run();
    }

    /// Kills the supervisor alone, as the kernel does when memory runs out.
    pub fn kill(&mut self) {
        self.supervisor().signal(Signal::SIGKILL);
        self.supervisor().wait_end(SOON);
        self.forget_run();
    }

    /// Kills the supervisor and all that is below it, in any order, as a power cut does.
    pub fn kill_all(&mut self, random: &mut Random) {
        let supervisor = self.supervisor().pid();
        let mut pids: Vec<i32> = processes::descendants(supervisor).iter().map(|it| it.pid).collect();
        pids.push(supervisor);
        while !pids.is_empty() {
            let one = usize::try_from(random.below(pids.len().try_into().unwrap())).unwrap();
            let _ = kill(Pid::from_raw(pids.swap_remove(one)), Signal::SIGKILL);
        }
        self.supervisor().wait_end(SOON);
        self.forget_run();
    }

    /// Ends the run in order, and starts the next with these flags.
    pub fn restart(&mut self, flags: &[&'static str]) {
        self.stop();
        self.setup = self.setup.clone().flags(flags);
        self.run();
    }

    /// Makes every replica equal to its source, behind the back of everybody.
    pub fn copy(&self) {
        for (replica, &source) in self.replicas.iter().zip(&self.source_of) {
            let mut from = self.sources[source].clone().into_os_string();
            from.push("/");
            let status = Command::new("rsync")
                .args(["-aH", "--modify-window=-1", "--"])
                .arg(from)
                .arg(replica)
                .status();
            assert!(status.unwrap().success());
        }
    }

    /// Runs until the names of all sources are known on disk, and then on, without `-r`. Source and
    /// replicas are equal before.
    pub fn learn(&mut self) {
        if self.supervisor.is_some() {
            self.stop();
        }
        self.setup = self.setup.clone().flags(&[]);
        self.run();
        let trees = self.sources.len();
        loop {
            self.settle();
            self.restart(&[]);
            let unfinished = "its first listing was not finished";
            wait_until("what is known of the sources is told", LEARNED, || {
                self.logged("caught up tree=") + self.logged(unfinished) >= trees
            });
            if self.logged("caught up tree=") >= trees {
                return;
            }
            wait_until("the full syncs that take its place are over", LEARNED, || {
                self.logged("full sync done") > 0
            });
        }
    }

    /// The config file anew, of its setup and its port.
    pub fn reconfigure(&self) {
        fs::write(&self.config, self.setup.xml(&self.sources, self.port)).unwrap();
    }

    /// What a subcommand answers on the config: its exit status and all that it printed.
    pub fn ask(&self, words: &[&str]) -> (Option<i32>, String) {
        let mut command = supervisor::command(self);
        let output = command.args(words).arg("-o").arg(&self.config).stdin(Stdio::null()).output().unwrap();
        let text = [output.stdout, output.stderr].concat();
        (output.status.code(), String::from_utf8_lossy(&text).into_owned())
    }

    /// Waits until all that was done before is on its remotes and no job carries it any more: files that
    /// are equal may still be held by an rsync that has not ended.
    pub fn wait_done(&self) {
        self.wait_equal(SOON);
        let (code, said) = self.ask(&["wait", "--timeout", "20"]);
        assert_eq!(code, Some(0), "{said}\n{}", self.log());
    }

    fn forget_run(&mut self) {
        let log = self.log();
        self.check(&log);
        self.supervisor = None;
        let _ = fs::rename(self.dir.join("log"), self.dir.join("log.before"));
    }
}
