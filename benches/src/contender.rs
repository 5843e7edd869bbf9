//! Who takes part: ours and the peers, each started as its manual says for live mirroring to an
//! rsync daemon. A contender's output goes to a file; it is ended when it is dropped.

use std::fs::{self, File};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill, killpg};
use nix::unistd::Pid;

use crate::ground::Ground;
use crate::options::Options;
use crate::outcome::{Outcome, failed};
use crate::{processes, undo};

/// Who mirrors.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Contender {
    /// Nobody: one plain rsync of the final state.
    Limit,
    /// One rsync by hand for each edit, without `TCP_NODELAY`.
    Bare,
    /// The program that is measured.
    Ours,
    /// lsyncd with a delay of one second; its default is fifteen.
    Lsyncd,
    /// clsync with its delays at one second.
    Clsync,
    /// One rsync of the tree for each line of inotifywait.
    Inotifywait,
}

/// Those that are not ours.
pub(crate) const PEERS: [Contender; 3] = [Contender::Lsyncd, Contender::Clsync, Contender::Inotifywait];

impl Contender {
    /// What results call it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Contender::Limit => "limit",
            Contender::Bare => "bare",
            Contender::Ours => "ours",
            Contender::Lsyncd => "lsyncd",
            Contender::Clsync => "clsync",
            Contender::Inotifywait => "inotifywait",
        }
    }

    /// Whether its program is in the path; `rsync` is taken for granted.
    pub(crate) fn is_installed(self) -> bool {
        let name = match self {
            Contender::Limit | Contender::Bare | Contender::Ours => return true,
            Contender::Lsyncd | Contender::Clsync | Contender::Inotifywait => self.name(),
        };
        let path = std::env::var_os("PATH").unwrap_or_default();
        std::env::split_paths(&path).any(|directory| directory.join(name).is_file())
    }
}

/// Where it mirrors to, and how.
#[derive(Debug)]
pub(crate) struct Plan<'a> {
    /// Where source and configs are.
    pub(crate) ground: &'a Ground,
    /// What is to be measured.
    pub(crate) options: &'a Options,
    /// The watched directory.
    pub(crate) source: PathBuf,
    /// Ports of rsync daemons on the loopback, and the numbers of their modules.
    pub(crate) remotes: Vec<(u16, usize)>,
    /// Ours: rsync's parameters, as `<commonParams>` has them.
    pub(crate) params: &'static str,
}

impl Plan<'_> {
    fn url(&self) -> Outcome<String> {
        let (port, module) = self.remotes.first().ok_or_else(|| failed("no remote"))?;
        Ok(url(*port, *module))
    }
}

/// What rsync calls a module.
pub(crate) fn url(port: u16, module: usize) -> String {
    format!("rsync://127.0.0.1:{port}/m{module}/")
}

/// A contender at work.
#[derive(Debug)]
pub(crate) struct Running {
    child: Child,
    log: PathBuf,
}

impl Running {
    /// Starts `contender`.
    pub(crate) fn start(contender: Contender, plan: &Plan<'_>) -> Outcome<Running> {
        undo::check()?;
        let log = plan.ground.root.join("contender.log");
        let output = File::create(&log)?;
        let mut command = match contender {
            Contender::Limit | Contender::Bare => return Err(failed("a limit is no daemon")),
            Contender::Ours => ours(plan)?,
            Contender::Lsyncd => lsyncd(plan)?,
            Contender::Clsync => clsync(plan)?,
            Contender::Inotifywait => inotifywait(plan)?,
        };
        let child = command
            .current_dir(&plan.ground.root)
            .stdin(Stdio::null())
            .stdout(output.try_clone()?)
            .stderr(output)
            // So that whatever it leaves behind can be ended with it.
            .process_group(0)
            .spawn()
            .map_err(|error| failed(format!("{}: {error}", contender.name())))?;
        Ok(Running { child, log })
    }

    /// Its pid.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// What it has said.
    pub(crate) fn log(&self) -> String {
        String::from_utf8_lossy(&fs::read(&self.log).unwrap_or_default()).into_owned()
    }

    /// Fails when it has ended.
    pub(crate) fn check(&mut self) -> Outcome<()> {
        let Some(status) = self.child.try_wait()? else { return Ok(()) };
        let log = self.log();
        let last: String = log.lines().last().unwrap_or_default().chars().take(200).collect();
        Err(failed(format!("it ended ({status}): {last}")))
    }

    /// Waits until it has said `text`; how long after `since` that was.
    pub(crate) fn wait_said(&mut self, text: &str, since: Instant, cap: Duration) -> Outcome<Duration> {
        loop {
            let now = since.elapsed();
            if self.log().contains(text) {
                return Ok(now);
            }
            self.check()?;
            if now > cap {
                return Err(failed(format!("it did not say {text:?} within {} s", cap.as_secs())));
            }
            sleep(Duration::from_millis(1));
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let pid = Pid::from_raw(self.child.id().cast_signed());
        let roles = processes::own(self.child.id()).len();
        let _ = kill(pid, Signal::SIGTERM);
        let deadline = Instant::now() + Duration::from_secs(10);
        while self.child.try_wait().is_ok_and(|status| status.is_none()) {
            if Instant::now() > deadline {
                let _ = self.child.kill();
                let _ = self.child.wait();
                break;
            }
            sleep(Duration::from_millis(10));
        }
        // Peers leave rsyncs behind, in their group; ours has a guardian, and roles in groups of their own.
        if roles > 0 {
            let _ = killpg(pid, Signal::SIGKILL);
        }
    }
}

fn ours(plan: &Plan<'_>) -> Outcome<Command> {
    let config = plan.ground.root.join("confxml.xml");
    let remote = |(port, module): &(u16, usize)| {
        format!("<remote ip=\"127.0.0.1\" name=\"m{module}\" port=\"{port}\"/>\n")
    };
    let remotes: Vec<String> = plan.remotes.iter().map(remote).collect();
    let remotes = remotes.concat();
    let (source, log) = (plan.source.display(), plan.ground.root.join("fail_log"));
    // What is not said has the value of the file that is shipped: all events that it has, sandbox, warm
    // rsync and state on.
    let text = format!(
        "<head version=\"2.5\">\n<sersync>\n<localpath watch=\"{source}\">\n{remotes}</localpath>\n\
         <rsync><commonParams params=\"{}\"/></rsync>\n<failLog path=\"{}\" timeToExecute=\"60\"/>\n\
         </sersync>\n</head>\n",
        plan.params,
        log.display()
    );
    fs::write(&config, text)?;
    let mut command = Command::new(&plan.options.program);
    command.arg("-r").arg("-o").arg(config).arg("--state-dir").arg(&plan.ground.state);
    Ok(command)
}

fn lsyncd(plan: &Plan<'_>) -> Outcome<Command> {
    let config = plan.ground.root.join("lsyncd.lua");
    let mut text = vec!["settings { nodaemon = true, insist = true, statusInterval = 3600 }\n".to_owned()];
    for (port, module) in &plan.remotes {
        text.push(format!(
            "sync {{ default.rsync, source = \"{}\", target = \"{}\", delay = 1, \
             rsync = {{ archive = true, binary = \"{}\" }} }}\n",
            plan.source.display(),
            url(*port, *module),
            rsync()?.display(),
        ));
    }
    fs::write(&config, text.concat())?;
    let mut command = Command::new("lsyncd");
    command.arg(config);
    Ok(command)
}

fn clsync(plan: &Plan<'_>) -> Outcome<Command> {
    use std::os::unix::fs::PermissionsExt;
    let lists = plan.ground.root.join("lists");
    fs::create_dir_all(&lists)?;
    fs::set_permissions(&lists, fs::Permissions::from_mode(0o700))?;
    let mut command = Command::new("clsync");
    command.args(["-M", "rsyncdirect", "-S"]).arg(rsync()?).arg("-W").arg(&plan.source).arg("-L").arg(lists);
    command.arg("-D").arg(plan.url()?).args(["-x", "23", "-x", "24", "--uid", "0", "--gid", "0"]);
    command.args(["--sync-handler-uid", "0", "--sync-handler-gid", "0", "-w1", "-t1", "-T1"]);
    Ok(command)
}

/// The loop that is found in every blog is ours to run, see [`crate::inotifywait`]: no shell is needed.
fn inotifywait(plan: &Plan<'_>) -> Outcome<Command> {
    let mut command = Command::new(std::env::current_exe()?);
    command.arg(crate::inotifywait::WORD).arg(&plan.source).arg(plan.url()?);
    Ok(command)
}

fn rsync() -> Outcome<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut all = std::env::split_paths(&path).map(|directory| directory.join("rsync"));
    all.find(|file: &PathBuf| Path::is_file(file)).ok_or_else(|| failed("there is no rsync"))
}
