//! The log of the whole program: to standard error, which may be the journal or a terminal, to a file, or
//! to syslog; as text or as JSON. `simplelog` makes lines; here they get where they belong, and what is
//! said again and again is counted instead (`fold`).

mod fold;
mod json;
mod syslog;

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use common::config::{LogConfig, LogForm, LogTarget};
use common::log::split_level;
use log::{Level, LevelFilter};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::stat::fstat;
use simplelog::{ConfigBuilder, WriteLogger};

use crate::operator_file::{self, Owner};
use fold::Fold;
use syslog::Syslog;

/// Longest line, in bytes; what is longer comes in parts.
const MAX_LINE: usize = 64 << 10;

/// Lines that say how something is now, each time that it changes: the last one has to be the truth.
const STATES: [&str; 6] =
    ["arrived ", "remote up ", "remote down ", "remote stalled ", "plugin up ", "plugin down "];

/// Where the log goes. Everything is said by the one thread of the event loop; a lock is what a static
/// takes.
static LOG: Mutex<Option<Log>> = Mutex::new(None);

#[derive(Debug)]
struct Log {
    start: Instant,
    to: Target,
    form: LogForm,
    fold: Fold,
    /// The start of a line that is not complete.
    rest: Vec<u8>,
    /// Whether what could not be written was spoken of.
    complained: bool,
}

#[derive(Debug)]
enum Target {
    /// Standard error.
    Errors,
    /// Standard error, which is the journal: priorities before each line, and no time.
    Journal,
    File {
        file: File,
        path: PathBuf,
        owner: Owner,
    },
    Syslog(Syslog),
}

/// Starts logging, to standard error.
pub fn start() {
    let to = if stderr_is_journal() { Target::Journal } else { Target::Errors };
    let mut config = ConfigBuilder::new();
    config
        .set_thread_level(LevelFilter::Off)
        .set_target_level(LevelFilter::Off)
        .set_location_level(LevelFilter::Off)
        .set_max_level(LevelFilter::Error)
        .set_time_format_rfc3339();
    *log() = Some(Log {
        start: Instant::now(),
        to,
        form: LogForm::Text,
        fold: Fold::default(),
        rest: Vec::new(),
        complained: false,
    });
    // A second logger in one process is refused; the first one stays.
    let _ = WriteLogger::init(LevelFilter::Info, config.build(), Lines);
}

/// Goes on where the config says; to be called before the supervisor lowers itself. The file is `owner`'s.
pub fn direct(config: &LogConfig, owner: Owner) -> io::Result<()> {
    let to = match &config.to {
        LogTarget::Errors => None,
        LogTarget::Syslog => Some(Target::Syslog(Syslog::open()?)),
        LogTarget::File(path) => {
            let path = PathBuf::from(path);
            Some(Target::File { file: operator_file::append(owner, &path)?, path, owner })
        }
    };
    if let Some(log) = log().as_mut() {
        log.form = config.form;
        if let Some(to) = to {
            log.to = to;
        }
    }
    Ok(())
}

/// Where a file is written, if one is.
pub fn file(config: &LogConfig) -> Option<&Path> {
    match &config.to {
        LogTarget::File(path) => Some(Path::new(path)),
        LogTarget::Errors | LogTarget::Syslog => None,
    }
}

/// Opens the file again: it may have been renamed. Where that fails the old one goes on, and the error
/// says so.
pub fn reopen() -> Result<(), String> {
    let mut log = log();
    let Some(Log { to: Target::File { file, path, owner }, complained, .. }) = log.as_mut() else {
        return Ok(());
    };
    *file = operator_file::append(*owner, path)
        .map_err(|error| format!("log path={}: {error}; the old file is written on", path.display()))?;
    *complained = false;
    Ok(())
}

/// When [`settle`] is due.
pub fn deadline() -> Option<Instant> {
    let log = log();
    let log = log.as_ref()?;
    log.start.checked_add(log.fold.deadline()?)
}

/// Says how often lines came again whose minute is over.
pub fn settle() {
    if let Some(log) = log().as_mut() {
        let due = log.fold.settle(log.start.elapsed());
        for (level, text) in due {
            log.put(level, None, &text);
        }
    }
}

/// Says that of all lines, at the end.
pub fn finish() {
    if let Some(log) = log().as_mut() {
        let left = log.fold.settle(Duration::MAX);
        for (level, text) in left {
            log.put(level, None, &text);
        }
    }
}

/// Whether a line stands on the terminal that is drawn over again and again.
static DRAWN: AtomicBool = AtomicBool::new(false);

/// Draws a line on standard error, over the last one. It is to be shorter than the terminal is wide, and
/// goes as soon as anything else is written.
pub fn draw(line: &str) {
    let errors = io::stderr();
    let mut fd = [PollFd::new(errors.as_fd(), PollFlags::POLLOUT)];
    // Whoever holds the terminal (Ctrl-S) does not hold us.
    if poll(&mut fd, PollTimeout::ZERO) != Ok(1) {
        return;
    }
    DRAWN.store(true, Ordering::Relaxed);
    // Whoever looks on may be gone; that is no reason to fail.
    let _ = write!(io::stderr().lock(), "\r{line}\x1b[K");
}

/// Takes the drawn line away, if there is one.
pub fn undraw() {
    if DRAWN.swap(false, Ordering::Relaxed) {
        let _ = io::stderr().write_all(b"\r\x1b[K");
    }
}

/// What `simplelog` writes to: pieces of lines, each with its time and level.
struct Lines;

impl Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if let Some(log) = log().as_mut() {
            log.take(bytes);
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Log {
    fn take(&mut self, bytes: &[u8]) {
        self.rest.extend_from_slice(bytes);
        let is_long = |rest: &[u8]| (rest.len() > MAX_LINE).then_some(MAX_LINE);
        while let Some(end) = self.rest.iter().position(|&byte| byte == b'\n').or(is_long(&self.rest)) {
            let rest = self.rest.split_off(end.saturating_add(1).min(self.rest.len()));
            let line = std::mem::replace(&mut self.rest, rest);
            self.line(String::from_utf8_lossy(&line).trim_end());
        }
    }

    /// A whole line: time, level, text.
    fn line(&mut self, line: &str) {
        let (time, rest) = line.split_once(' ').unwrap_or(("", line));
        let (level, text) = split_level(rest);
        let now = self.start.elapsed();
        for (level, text) in self.fold.settle(now) {
            self.put(level, Some(time), &text);
        }
        if STATES.iter().any(|word| text.starts_with(word)) || self.fold.is_new(now, level, text) {
            self.put(level, Some(time), text);
        }
    }

    /// Writes it. Nobody may be listening, and a disk may be full: that is no reason to fail.
    fn put(&mut self, level: Level, time: Option<&str>, text: &str) {
        let time = time.map_or_else(json::now, ToOwned::to_owned);
        let line = match (self.form, &self.to) {
            (LogForm::Json, _) => json::line(&time, level, text),
            (LogForm::Text, Target::Errors | Target::File { .. }) => format!("{time} [{level}] {text}"),
            (LogForm::Text, Target::Journal | Target::Syslog(_)) => text.to_owned(),
        };
        let written = match &mut self.to {
            Target::Errors => {
                undraw();
                writeln!(io::stderr().lock(), "{line}")
            }
            Target::Journal => writeln!(io::stderr().lock(), "<{}>{line}", syslog::severity(level)),
            Target::File { file, .. } => file.write_all(format!("{line}\n").as_bytes()),
            Target::Syslog(syslog) => syslog.send(level, &line),
        };
        if let Err(error) = written
            && !std::mem::replace(&mut self.complained, true)
        {
            let _ =
                writeln!(io::stderr().lock(), "the log cannot be written: {error}; this was lost: {line}");
        }
    }
}

fn log() -> MutexGuard<'static, Option<Log>> {
    LOG.lock().unwrap_or_else(PoisonError::into_inner)
}

/// systemd says in `JOURNAL_STREAM` which device and inode the journal is.
fn stderr_is_journal() -> bool {
    let Ok(stream) = std::env::var("JOURNAL_STREAM") else { return false };
    fstat(io::stderr()).is_ok_and(|stat| stream == format!("{}:{}", stat.st_dev, stat.st_ino))
}
