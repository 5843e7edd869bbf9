//! `demo`: the main job, live, on this machine: a small tree, a private rsync daemon on a free
//! loopback port, a supervisor between them, and changes that are watched arriving. Leaves
//! nothing behind.

use std::fs;
use std::io;
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use common::exit::Exit;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, Signal, kill};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::unistd::{Pid, geteuid};
use std::os::fd::AsFd;
use tempfile::TempDir;

use crate::say::say;

/// How long a change may take before the demo says that it did not arrive.
const PATIENCE: Duration = Duration::from_secs(10);
/// Pause between two changes.
const PAUSE: Duration = Duration::from_millis(900);

/// Runs until Ctrl-C.
pub fn run() -> Exit {
    match Demo::start().and_then(|mut demo| demo.show()) {
        Ok(()) => Exit::Ok,
        Err(error) => {
            say(&format!("demo: {error}"));
            Exit::Unavailable
        }
    }
}

/// A change: what it is, how it is made, and how one sees that it arrived.
type Step<'a> = (&'a str, &'a dyn Fn(&Path) -> io::Result<()>, &'a dyn Fn(&Path) -> bool);

/// A process that ends with its owner.
struct Owned(Child);

impl Drop for Owned {
    fn drop(&mut self) {
        let _ = kill(Pid::from_raw(self.0.id().cast_signed()), Signal::SIGTERM);
        let _ = self.0.wait();
    }
}

/// Fields are dropped in this order: first the supervisor, then the daemon, then the files.
struct Demo {
    _supervisor: Owned,
    _daemon: Owned,
    stop: SignalFd,
    source: PathBuf,
    replica: PathBuf,
    _directory: TempDir,
}

impl Demo {
    fn start() -> io::Result<Demo> {
        let mut mask = SigSet::empty();
        mask.add(Signal::SIGINT);
        mask.add(Signal::SIGTERM);
        mask.thread_block()?;
        let stop = SignalFd::with_flags(&mask, SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC)?;
        let directory = tempfile::Builder::new().prefix("sersync-demo-").tempdir()?;
        let (source, replica) = (directory.path().join("source"), directory.path().join("replica"));
        fs::create_dir_all(source.join("pages"))?;
        fs::create_dir(&replica)?;
        fs::write(source.join("pages/index.html"), "<h1>hello</h1>\n")?;
        let (daemon, port) = start_daemon(directory.path(), &replica)?;
        let config = directory.path().join("confxml.xml");
        fs::write(&config, config_text(&source, port))?;
        say(&format!("source   {}\nreplica  rsync://127.0.0.1:{port}/demo", source.display()));
        let mut supervisor = Command::new("/proc/self/exe");
        supervisor.arg("-r").arg("-o").arg(&config).stdin(Stdio::null());
        // Elsewhere it would stay.
        supervisor.arg("--state-dir").arg(directory.path().join("state"));
        let supervisor = supervisor.spawn()?;
        Ok(Demo {
            _supervisor: Owned(supervisor),
            _daemon: daemon,
            stop,
            source,
            replica,
            _directory: directory,
        })
    }

    /// Makes changes and shows each arriving.
    fn show(&mut self) -> io::Result<()> {
        self.report("full sync of what was there", Instant::now(), |replica| {
            replica.join("pages/index.html").exists()
        });
        for round in 1_u32.. {
            let page = format!("pages/page-{round}.html");
            let renamed = format!("pages/renamed-{round}.html");
            let album = format!("album-{round}");
            let steps: [Step<'_>; 5] = [
                ("a new file", &|source| fs::write(source.join(&page), "one\n"), &|replica| {
                    has(replica, &page, "one\n")
                }),
                ("the file edited", &|source| fs::write(source.join(&page), "two!\n"), &|replica| {
                    has(replica, &page, "two!\n")
                }),
                (
                    "the file renamed",
                    &|source| fs::rename(source.join(&page), source.join(&renamed)),
                    &|replica| has(replica, &renamed, "two!\n"),
                ),
                ("a directory with 200 files", &|source| many(&source.join(&album), 200), &|replica| {
                    fs::read_dir(replica.join(&album)).is_ok_and(|entries| entries.count() == 200)
                }),
                ("the directory removed", &|source| fs::remove_dir_all(source.join(&album)), &|replica| {
                    !replica.join(&album).exists()
                }),
            ];
            for (name, act, arrived) in steps {
                if self.pause(PAUSE)? {
                    say("demo: ended, nothing is left behind");
                    return Ok(());
                }
                act(&self.source)?;
                self.report(name, Instant::now(), arrived);
            }
        }
        Ok(())
    }

    /// Waits for a change to arrive and prints how long it took.
    fn report(&self, name: &str, since: Instant, arrived: impl Fn(&Path) -> bool) {
        while !arrived(&self.replica) {
            if since.elapsed() > PATIENCE {
                say(&format!("{name:28} did not arrive within {} s", PATIENCE.as_secs()));
                return;
            }
            if self.pause(Duration::from_millis(1)).unwrap_or(true)
                && since.elapsed() > Duration::from_secs(1)
            {
                return;
            }
        }
        let micros = since.elapsed().as_micros();
        say(&format!("{name:28} on the remote after {:4}.{} ms", micros / 1000, micros % 1000 / 100));
    }

    /// Sleeps; true when the demo is to end.
    fn pause(&self, pause: Duration) -> io::Result<bool> {
        let mut fds = [PollFd::new(self.stop.as_fd(), PollFlags::POLLIN)];
        let timeout = PollTimeout::try_from(pause).unwrap_or(PollTimeout::ZERO);
        Ok(poll(&mut fds, timeout)? > 0)
    }
}

fn has(replica: &Path, name: &str, text: &str) -> bool {
    fs::read_to_string(replica.join(name)).is_ok_and(|found| found == text)
}

fn many(directory: &Path, count: u32) -> io::Result<()> {
    fs::create_dir(directory)?;
    (0..count).try_for_each(|n| fs::write(directory.join(format!("{n}.txt")), format!("{n}\n")))
}

/// A private rsync daemon on a free loopback port, with one module.
fn start_daemon(directory: &Path, replica: &Path) -> io::Result<(Owned, u16)> {
    let config = directory.join("rsyncd.conf");
    for _ in 0..20 {
        let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port();
        let ids = if geteuid().is_root() { "uid = 0\ngid = 0\n" } else { "" };
        let text = format!(
            "address = 127.0.0.1\nport = {port}\nuse chroot = no\nread only = no\n{ids}[demo]\npath = {}\n",
            replica.display()
        );
        fs::write(&config, text)?;
        let daemon = Command::new("rsync")
            .args(["--daemon", "--no-detach"])
            .arg(format!("--config={}", config.display()))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .map_err(|error| io::Error::other(format!("rsync cannot be started: {error}")))?;
        let mut daemon = Owned(daemon);
        let deadline = Instant::now() + PATIENCE;
        while Instant::now() < deadline && daemon.0.try_wait()?.is_none() {
            if TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_ok() {
                return Ok((daemon, port));
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }
    Err(io::Error::other("the rsync daemon did not start"))
}

fn config_text(source: &Path, port: u16) -> String {
    format!(
        "<head>\n  <inotify><createFile start=\"true\"/><attrib start=\"true\"/></inotify>\n  <sersync>\n    \
         <localpath watch=\"{}\"><remote ip=\"127.0.0.1\" name=\"demo\"/></localpath>\n    \
         <rsync><commonParams params=\"-artz\"/><userDefinedPort start=\"true\" port=\"{port}\"/></rsync>\n    \
         <failLog path=\"\"/>\n  </sersync>\n</head>\n",
        source.display()
    )
}
