//! A private rsync daemon on a loopback address.

use std::fmt::Write;
use std::fs;
use std::io::Read;
use std::net::{TcpListener, TcpStream};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;

use super::{SOON, is_root, pause, wait_until};

/// Where the daemon of a mirror listens.
pub const LOCALHOST: &str = "127.0.0.1";
/// Another address of this machine: a remote there can be down while the first is up.
pub const OTHERHOST: &str = "127.0.0.2";

/// Keeps the ports of parallel tests apart.
static NEXT_PORT: AtomicU32 = AtomicU32::new(0);

/// A port that is free on both addresses, below those that outgoing connections get.
pub fn free_port() -> u16 {
    for _ in 0..1000 {
        let n = std::process::id().wrapping_mul(37).wrapping_add(NEXT_PORT.fetch_add(1, Ordering::Relaxed));
        let port = u16::try_from(20_000 + n % 10_000).unwrap();
        if [LOCALHOST, OTHERHOST].iter().all(|address| TcpListener::bind((*address, port)).is_ok()) {
            return port;
        }
    }
    panic!("no free port");
}

/// A running daemon; ended when dropped.
pub struct Daemon {
    /// Where it listens.
    pub port: u16,
    address: String,
    config: PathBuf,
    process: Child,
}

impl Daemon {
    /// Serves `modules` on a port of its own.
    pub fn on_free_port(config: &Path, modules: &[(String, PathBuf)]) -> Daemon {
        (0..20)
            .find_map(|_| Daemon::start(config, LOCALHOST, free_port(), modules))
            .expect("a port on which rsync can listen")
    }

    /// Serves `modules` at an address. `None` when somebody else got the port first.
    pub fn start(config: &Path, address: &str, port: u16, modules: &[(String, PathBuf)]) -> Option<Daemon> {
        let settings = "use chroot = no\nmunge symlinks = no\nread only = no\nmax connections = 0\n\
                        log file = /dev/null\nlist = yes\n";
        fs::write(config, format!("address = {address}\nport = {port}\n{settings}")).unwrap();
        add_modules(config, modules);
        let process = spawn(config);
        let mut daemon = Daemon { port, address: address.to_owned(), config: config.to_owned(), process };
        daemon.comes_up().then_some(daemon)
    }

    /// Which process listens.
    pub fn pid(&self) -> i32 {
        self.process.id().cast_signed()
    }

    /// Sends a signal to it and to all that serve a connection.
    pub fn signal(&self, signal: Signal) {
        let _ = killpg(Pid::from_raw(self.pid()), signal);
    }

    /// Ends it, and with it its port.
    pub fn end(&mut self, signal: Signal) {
        self.signal(signal);
        let _ = self.process.wait();
        wait_until("its port is closed", SOON, || !greets(&self.address, self.port));
    }

    /// Starts it again where it was.
    pub fn again(&mut self) {
        wait_until("the rsync daemon is there again", SOON, || {
            self.process = spawn(&self.config);
            self.comes_up()
        });
    }

    /// Changes its config, which counts from the next connection on.
    pub fn edit(&self, edit: impl FnOnce(String) -> String) {
        let text = edit(fs::read_to_string(&self.config).unwrap());
        // At once: a connection must not meet half of it.
        let new = self.config.with_extension("new");
        fs::write(&new, text).unwrap();
        fs::rename(new, &self.config).unwrap();
    }

    /// Serves more modules from the next connection on.
    pub fn add_modules(&self, modules: &[(String, PathBuf)]) {
        add_modules(&self.config, modules);
    }

    fn comes_up(&mut self) -> bool {
        let (address, port, process) = (&self.address, self.port, &mut self.process);
        let mut up = false;
        wait_until("the rsync daemon answers", SOON, || {
            up = greets(address, port);
            up || process.try_wait().unwrap().is_some()
        });
        // Somebody else's daemon may have greeted; then ours has ended.
        pause(Duration::from_millis(5));
        up && process.try_wait().unwrap().is_none()
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // It leads a group: one process for each connection.
        let _ = killpg(Pid::from_raw(self.process.id().cast_signed()), Signal::SIGKILL);
        let _ = self.process.wait();
    }
}

fn spawn(config: &Path) -> Child {
    let mut command = Command::new("rsync");
    command.args(["--daemon", "--no-detach"]).arg(format!("--config={}", config.display()));
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.current_dir("/").process_group(0).spawn().unwrap()
}

fn add_modules(config: &Path, modules: &[(String, PathBuf)]) {
    let owner = if is_root() { "uid = 0\ngid = 0\n" } else { "" };
    let mut text = fs::read_to_string(config).unwrap();
    for (name, path) in modules {
        writeln!(text, "[{name}]\npath = {}\n{owner}", path.display()).unwrap();
    }
    fs::write(config, text).unwrap();
}

fn greets(address: &str, port: u16) -> bool {
    let Ok(mut stream) = TcpStream::connect((address, port)) else { return false };
    stream.set_read_timeout(Some(SOON)).unwrap();
    let mut greeting = [0; 8];
    stream.read_exact(&mut greeting).is_ok() && greeting == *b"@RSYNCD:"
}
