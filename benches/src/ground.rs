//! Where runs take place: a directory of our own for source and replicas, one for state, private
//! rsync daemons, free ports, and limits of the kernel that are put back afterwards.
//! All of it is gone when it is dropped.

use std::fs::{self, DirBuilder};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::outcome::{Outcome, failed};
use crate::{processes, undo};

/// Source, replicas, configs and logs of the run that is on.
#[derive(Debug)]
pub(crate) struct Ground {
    /// The directory of all of it.
    pub(crate) root: PathBuf,
    /// State files of supervisors.
    pub(crate) state: PathBuf,
    /// One more line for the rsync daemons.
    pub(crate) rsyncd: String,
}

impl Ground {
    /// Makes both directories, which may not exist yet.
    pub(crate) fn new(root: &Path, state: &Path, rsyncd: &str) -> Outcome<Ground> {
        for (directory, mode) in [(root, 0o755), (state, 0o700)] {
            let made = DirBuilder::new().mode(mode).create(directory);
            made.map_err(|error| failed(format!("{}: {error}", directory.display())))?;
        }
        let (root, state) = (root.canonicalize()?, state.canonicalize()?);
        Ok(Ground { root, state, rsyncd: rsyncd.to_owned() })
    }

    /// The watched directory.
    pub(crate) fn source(&self) -> PathBuf {
        self.root.join("src")
    }

    /// What the `n`-th module holds.
    pub(crate) fn replica(&self, n: usize) -> PathBuf {
        self.root.join(format!("dst{n}"))
    }

    /// An empty source, `replicas` empty replicas, and no state.
    pub(crate) fn clear(&self, replicas: usize) -> Outcome<()> {
        for entry in fs::read_dir(&self.root)? {
            let path = entry?.path();
            if path.file_name().is_some_and(|name| name == "cache") {
                continue;
            }
            if path.is_dir() { fs::remove_dir_all(path)? } else { fs::remove_file(path)? }
        }
        self.forget()?;
        fs::create_dir(self.source())?;
        (0..replicas).try_for_each(|n| fs::create_dir(self.replica(n)))
    }

    /// No state: the next supervisor's start is its first.
    pub(crate) fn forget(&self) -> Outcome<()> {
        fs::remove_dir_all(&self.state)?;
        DirBuilder::new().mode(0o700).create(&self.state)
    }

    /// What is made once for several runs.
    pub(crate) fn cache(&self) -> Outcome<PathBuf> {
        let cache = self.root.join("cache");
        fs::create_dir_all(&cache)?;
        Ok(cache)
    }
}

impl Drop for Ground {
    fn drop(&mut self) {
        // Both were made by `new`, so nothing of anybody else is in them.
        let _ = fs::remove_dir_all(&self.root);
        let _ = fs::remove_dir_all(&self.state);
    }
}

/// A port of the loopback that nobody listens on.
pub(crate) fn free_port() -> Outcome<u16> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}

/// A private rsync daemon.
#[derive(Debug)]
pub(crate) struct Rsyncd {
    /// Where it listens.
    pub(crate) port: u16,
    log: PathBuf,
    child: Child,
}

impl Rsyncd {
    /// Serves `replica(n)` of `ground` as the module `m<n>`, for each n below `modules`.
    pub(crate) fn start(ground: &Ground, port: u16, modules: usize) -> Outcome<Rsyncd> {
        undo::check()?;
        let log = ground.root.join(format!("rsyncd-{port}.log"));
        let config = ground.root.join(format!("rsyncd-{port}.conf"));
        let mut text = vec![format!(
            "uid = root\ngid = root\nuse chroot = no\nport = {port}\naddress = 127.0.0.1\nlog file = {}\n{}\n",
            log.display(),
            ground.rsyncd
        )];
        for n in 0..modules {
            let path = ground.replica(n);
            text.push(format!("[m{n}]\npath = {}\nread only = no\nmunge symlinks = no\n", path.display()));
        }
        fs::write(&config, text.concat())?;
        let child = Command::new("rsync")
            .args(["--daemon", "--no-detach", "--config"])
            .arg(config)
            .stdin(Stdio::null())
            .spawn()
            .map_err(|error| failed(format!("rsync: {error}")))?;
        let daemon = Rsyncd { port, log, child };
        let deadline = Instant::now() + Duration::from_secs(10);
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            if Instant::now() > deadline {
                return Err(failed("the rsync daemon does not listen"));
            }
            sleep(Duration::from_millis(5));
        }
        Ok(daemon)
    }

    /// Its pid.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Connections so far.
    pub(crate) fn connections(&self) -> usize {
        self.log().matches("connect from").count()
    }

    /// Bytes that transfers which are over sent and received, as the daemon counted them.
    pub(crate) fn bytes(&self) -> u64 {
        self.log().lines().filter_map(wire_bytes).sum()
    }

    fn log(&self) -> String {
        String::from_utf8_lossy(&fs::read(&self.log).unwrap_or_default()).into_owned()
    }
}

impl Drop for Rsyncd {
    fn drop(&mut self) {
        // What serves a connection, as that of an rsync that waits for the next change, would live on.
        for process in processes::family(self.child.id()) {
            let _ = kill(Pid::from_raw(process.pid.cast_signed()), Signal::SIGTERM);
        }
        let _ = self.child.wait();
    }
}

/// From a line `... sent 53 bytes  received 1,234 bytes  total size ...`.
fn wire_bytes(line: &str) -> Option<u64> {
    let (_, rest) = line.split_once("] sent ")?;
    let (sent, rest) = rest.split_once(" bytes  received ")?;
    let (received, _) = rest.split_once(" bytes  total size")?;
    let number = |text: &str| text.replace(',', "").parse::<u64>().ok();
    Some(number(sent)? + number(received)?)
}

/// A limit of the kernel that is higher until this is dropped.
#[derive(Debug)]
pub(crate) struct Raised;

impl Raised {
    /// Allows one user that many inotify watches at least.
    pub(crate) fn watches(least: usize) -> Outcome<Raised> {
        let file = "/proc/sys/fs/inotify/max_user_watches";
        undo::check()?;
        let before = fs::read_to_string(file)?.trim().to_owned();
        if before.parse::<usize>().is_ok_and(|before| before < least) {
            undo::remember(file, &before);
            let raised = fs::write(file, least.to_string());
            raised.map_err(|error| failed(format!("{file}: {error}; more watches need root")))?;
        }
        Ok(Raised)
    }
}

impl Drop for Raised {
    fn drop(&mut self) {
        undo::put_back();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_of_a_transfer_are_read_from_the_log() {
        let line = "2026/11/23 01:40:00 [17] sent 1,053 bytes  received 20 bytes  total size 5";
        assert_eq!(wire_bytes(line), Some(1073));
        assert_eq!(wire_bytes("2026/11/23 01:40:00 [17] connect from localhost"), None);
    }

    #[test]
    fn what_was_made_is_gone_afterwards() {
        let root = std::env::temp_dir().join(format!("bench-ground-{}", std::process::id()));
        let ground = Ground::new(&root.join("missing"), &root, "");
        assert!(ground.is_err());
        let state = root.with_extension("state");
        let ground = Ground::new(&root, &state, "").unwrap();
        ground.clear(2).unwrap();
        fs::write(ground.replica(1).join("a"), "a").unwrap();
        ground.clear(2).unwrap();
        assert_eq!(fs::read_dir(ground.replica(1)).unwrap().count(), 0);
        assert!(Ground::new(&root, &state, "").is_err());
        drop(ground);
        assert!(!root.exists() && !state.exists());
    }
}
