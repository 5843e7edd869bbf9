//! The machine's syslog, by its socket. Nothing waits for it: a line that it does not take is lost, and
//! that is said once.

use std::ffi::OsStr;
use std::io;

use log::Level;

use crate::datagram::Link;

/// Where syslog listens.
const SOCKET: &str = "/dev/log";
/// The facility `daemon`, shifted to its place.
const DAEMON: u8 = 3 << 3;
/// Longest line, in bytes; the rest is cut off. Daemons take 1 KiB at least, and 8 KiB as a rule.
const MAX_LINE: usize = 8000;

/// Of the form of RFC 3164, without a time, which the daemon adds.
#[derive(Debug)]
pub(super) struct Syslog(Link);

impl Syslog {
    /// Connects, which the supervisor may not do any more once it is lowered.
    pub(super) fn open() -> io::Result<Syslog> {
        Link::open(OsStr::new(SOCKET))
            .map(Syslog)
            .map_err(|error| io::Error::new(error.kind(), format!("{SOCKET}: {error}")))
    }

    /// Does not wait.
    pub(super) fn send(&self, level: Level, line: &str) -> io::Result<()> {
        let line = line.get(..line.floor_char_boundary(MAX_LINE)).unwrap_or_default();
        let priority = DAEMON | severity(level);
        self.0.send(format!("<{priority}>sersync-supervisor[{}]: {line}", std::process::id()).as_bytes())
    }
}

/// As syslog and the journal number it.
pub(super) fn severity(level: Level) -> u8 {
    match level {
        Level::Error => 3,
        Level::Warn => 4,
        Level::Info => 6,
        Level::Debug | Level::Trace => 7,
    }
}
