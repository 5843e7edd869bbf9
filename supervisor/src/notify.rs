//! What systemd is told: that we are ready, how we are, that we are alive, that we stop
//! (`sd_notify(3)`). Where nobody asked to be told, every call does nothing.
//!
//! `sd-notify` knows the words; its sending is not used, since it waits when nobody reads, and
//! nothing that the event loop calls may wait.

use std::cell::Cell;
use std::ffi::OsStr;
use std::fmt::Write as _;
use std::time::Duration;

use common::log::{Shown, escape};
use log::warn;
use sd_notify::NotifyState;

use crate::datagram::Link;

/// Longest status, in bytes; the rest is cut off.
const MAX_STATUS: usize = 512;

/// The way to whoever wants to be told.
#[derive(Debug)]
pub struct Notify {
    link: Option<Link>,
    watchdog: Option<Duration>,
    warned: Cell<bool>,
}

impl Notify {
    /// Reads `NOTIFY_SOCKET`, `WATCHDOG_USEC` and `WATCHDOG_PID`, once, and connects; to be
    /// called by the process that stays, before it lowers itself. The variables stay in our
    /// environment: roles start with an empty one.
    pub fn from_env() -> Notify {
        Notify::new(std::env::var_os("NOTIFY_SOCKET").as_deref(), sd_notify::watchdog_enabled())
    }

    fn new(address: Option<&OsStr>, watchdog: Option<Duration>) -> Notify {
        let link = address.and_then(|address| {
            Link::open(address)
                .inspect_err(|error| warn!("notify: socket={} error=\"{error}\"", Shown(address)))
                .ok()
        });
        // Nobody hears a sign of life without a socket; and none is due every zero seconds.
        let watchdog = watchdog.filter(|interval| link.is_some() && !interval.is_zero());
        Notify { link, watchdog, warned: Cell::new(false) }
    }

    /// All roles are up.
    pub fn ready(&self) {
        self.tell(&[NotifyState::Ready, NotifyState::MainPid(std::process::id())]);
    }

    /// One line that `systemctl status` shows.
    pub fn status(&self, status: &str) {
        // A line break would begin the next message.
        let status = escape(status.as_bytes());
        self.tell(&[NotifyState::Status(
            status.get(..status.floor_char_boundary(MAX_STATUS)).unwrap_or_default(),
        )]);
    }

    /// The config is read again; [`Notify::ready`] says that this is over.
    pub fn reloading(&self) {
        if let Ok(now) = NotifyState::monotonic_usec_now() {
            self.tell(&[NotifyState::Reloading, now]);
        }
    }

    /// We are on our way out.
    pub fn stopping(&self) {
        self.tell(&[NotifyState::Stopping]);
    }

    /// How often [`Notify::alive`] is due: half of what systemd waits (`WatchdogSec=`). `None`
    /// when it does not watch us.
    pub fn watchdog_interval(&self) -> Option<Duration> {
        self.watchdog.map(|patience| patience / 2)
    }

    /// A sign of life, from the event loop itself.
    pub fn alive(&self) {
        self.tell(&[NotifyState::Watchdog]);
    }

    fn tell(&self, states: &[NotifyState<'_>]) {
        let Some(link) = &self.link else { return };
        let mut message = String::new();
        for state in states {
            let _ = writeln!(message, "{state}");
        }
        if let Err(error) = link.send(message.as_bytes())
            && !self.warned.replace(true)
        {
            warn!("notify: systemd does not hear us error=\"{error}\"");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::linux::net::SocketAddrExt;
    use std::os::unix::net::{SocketAddr, UnixDatagram};
    use std::path::PathBuf;
    use std::sync::mpsc;
    use std::thread;

    const PATIENCE: Duration = Duration::from_secs(10);

    fn listen() -> (tempfile::TempDir, PathBuf, UnixDatagram) {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("notify");
        let socket = UnixDatagram::bind(&path).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        (directory, path, socket)
    }

    fn heard(socket: &UnixDatagram) -> String {
        let mut buffer = [0; 4096];
        let length = socket.recv(&mut buffer).unwrap();
        String::from_utf8(buffer[..length].to_vec()).unwrap()
    }

    #[test]
    fn a_life() {
        let (_directory, path, socket) = listen();
        let notify = Notify::new(Some(path.as_os_str()), Some(Duration::from_secs(180)));
        assert_eq!(notify.watchdog_interval(), Some(Duration::from_secs(90)));
        notify.ready();
        assert_eq!(heard(&socket), format!("READY=1\nMAINPID={}\n", std::process::id()));
        notify.status("remotes=2 pending=0");
        assert_eq!(heard(&socket), "STATUS=remotes=2 pending=0\n");
        notify.alive();
        assert_eq!(heard(&socket), "WATCHDOG=1\n");
        notify.reloading();
        let said = heard(&socket);
        let since = said.strip_prefix("RELOADING=1\nMONOTONIC_USEC=").and_then(|it| it.strip_suffix('\n'));
        assert!(since.is_some_and(|since| since.parse::<u64>().is_ok_and(|since| since > 0)), "{said}");
        notify.stopping();
        assert_eq!(heard(&socket), "STOPPING=1\n");
    }

    #[test]
    fn a_status_is_one_short_line() {
        let (_directory, path, socket) = listen();
        let notify = Notify::new(Some(path.as_os_str()), None);
        notify.status("a\nSTOPPING=1");
        assert_eq!(heard(&socket), "STATUS=a\\nSTOPPING=1\n");
        notify.status(&"ü".repeat(MAX_STATUS));
        assert_eq!(heard(&socket), format!("STATUS={}\n", "ü".repeat(MAX_STATUS / 2)));
    }

    #[test]
    fn nobody_wants_to_know() {
        let notify = Notify::new(None, Some(Duration::from_secs(180)));
        assert_eq!(notify.watchdog_interval(), None);
        notify.ready();
        for nowhere in ["/nonexistent/notify", "relative", "vsock:2:1234", ""] {
            let notify = Notify::new(Some(OsStr::new(nowhere)), Some(PATIENCE));
            notify.ready();
            assert_eq!(notify.watchdog_interval(), None, "{nowhere}");
        }
        let (_directory, path, _socket) = listen();
        let notify = Notify::new(Some(path.as_os_str()), Some(Duration::ZERO));
        assert_eq!(notify.watchdog_interval(), None);
    }

    #[test]
    fn an_abstract_name() {
        let name = format!("sersync-notify-test-{}", std::process::id());
        let socket = UnixDatagram::bind_addr(&SocketAddr::from_abstract_name(&name).unwrap()).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        Notify::new(Some(OsStr::new(&format!("@{name}"))), None).stopping();
        assert_eq!(heard(&socket), "STOPPING=1\n");
    }

    #[test]
    fn a_listener_that_does_not_read_stops_nobody() {
        const SENT: usize = 100_000;
        let (_directory, path, socket) = listen();
        let (done, finished) = mpsc::channel();
        thread::spawn(move || {
            let notify = Notify::new(Some(path.as_os_str()), None);
            (0..SENT).for_each(|_| notify.alive());
            done.send(notify).unwrap();
        });
        let notify = finished.recv_timeout(PATIENCE).expect("it waited");
        assert!(notify.warned.get(), "the queue never filled");
        socket.set_nonblocking(true).unwrap();
        let mut buffer = [0; 64];
        while socket.recv(&mut buffer).is_ok() {}
        notify.stopping();
        assert_eq!(heard(&socket), "STOPPING=1\n");
    }

    #[test]
    fn a_listener_that_comes_back_is_found() {
        let (_directory, path, socket) = listen();
        let notify = Notify::new(Some(path.as_os_str()), None);
        drop(socket);
        std::fs::remove_file(&path).unwrap();
        notify.alive();
        notify.alive();
        assert!(notify.warned.get());
        let socket = UnixDatagram::bind(&path).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        notify.stopping();
        assert_eq!(heard(&socket), "STOPPING=1\n");
    }
}
