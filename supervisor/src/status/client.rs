//! `sersync-supervisor status`: reads a snapshot, draws it, and ends as it is. What comes from the socket is
//! bounded and checked, whoever it is that writes there.

mod terminal;

use std::ffi::OsString;
use std::fmt::Write as _;
use std::fs;
use std::io::{self, ErrorKind, IsTerminal, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use common::exit::Exit;
use common::log::Shown;
use thiserror::Error;

use super::screen::{Colour, draw};
use super::{Health, SCHEMA, Snapshot, place};
use crate::{control, run, runtime};

use terminal::{Pause, Terminal};

/// Longest snapshot, in bytes: more than ten thousand remotes take.
const MAX_SNAPSHOT: usize = 64 << 20;
/// How long the supervisor may take for one.
const PATIENCE: Duration = Duration::from_secs(5);
/// How often it is asked with `--watch`.
const AGAIN: Duration = Duration::from_secs(1);
/// Columns where nobody says how many there are.
const WIDTH: usize = 80;

/// What was asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wish {
    /// The config file.
    pub config: OsString,
    /// The socket, where it is named; then the config is not read.
    pub socket: Option<OsString>,
    /// What is printed.
    pub form: Form,
    /// How often.
    pub times: Times,
}

/// What is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// A screen, for people.
    Screen,
    /// The snapshot as it came, a line of JSON.
    Json,
}

/// How often.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Times {
    /// Once.
    Once,
    /// Each second, until a signal comes.
    Watch,
}

/// Why there is no snapshot.
#[derive(Debug, Error)]
enum Error {
    #[error("config file {0}: {1}")]
    Config(String, io::Error),
    #[error(transparent)]
    Connect(#[from] control::client::Error),
    #[error("the supervisor does not answer")]
    Silent,
    #[error("what it says is no status: {0}")]
    Nonsense(String),
    #[error(
        "its status is of version {0}, and this program knows {SCHEMA}; after an upgrade restart the supervisor"
    )]
    Version(u64),
    #[error("cannot hear the supervisor: {0}")]
    Socket(io::Error),
}

impl Error {
    fn exit(&self) -> Exit {
        match self {
            Error::Config(..) => Exit::NoInput,
            Error::Connect(error) => error.exit(),
            Error::Silent => Exit::Unavailable,
            Error::Nonsense(_) | Error::Version(_) => Exit::Software,
            Error::Socket(_) => Exit::OsError,
        }
    }
}

/// Does it. 0: all is in sync; 1: something is not; else there is no telling.
pub fn run(wish: &Wish) -> Exit {
    match wish.times {
        Times::Once => once(wish),
        Times::Watch => watch(wish),
    }
}

fn once(wish: &Wish) -> Exit {
    match ask(wish) {
        Ok((snapshot, text)) => {
            let shown = match wish.form {
                Form::Json => text,
                Form::Screen => draw(&snapshot, width(), colour()),
            };
            if let Err(error) = io::stdout().lock().write_all(shown.as_bytes()) {
                return exit_of_output(&error);
            }
            exit_of(&snapshot)
        }
        Err(error) => {
            let _ = writeln!(io::stderr(), "{error}");
            error.exit()
        }
    }
}

fn watch(wish: &Wish) -> Exit {
    let terminal = Terminal::open();
    let Ok(mut terminal) = terminal else { return Exit::OsError };
    let mut away = None;
    loop {
        let (shown, exit) = match ask(wish) {
            Ok((snapshot, text)) => {
                away = None;
                let shown = match wish.form {
                    Form::Json => text,
                    Form::Screen => draw(&snapshot, terminal.width().unwrap_or_else(width), colour()),
                };
                (shown, exit_of(&snapshot))
            }
            Err(error) => {
                let since = *away.get_or_insert_with(Instant::now);
                let ago = super::screen::time(since.elapsed().as_secs_f64());
                let shown = match wish.form {
                    Form::Json => {
                        let _ = writeln!(io::stderr(), "{error}");
                        String::new()
                    }
                    Form::Screen => format!("{error}\nfor {ago}; asked again each second\n"),
                };
                (shown, error.exit())
            }
        };
        if let Err(error) = terminal.show(&shown) {
            return exit_of_output(&error);
        }
        match terminal.pause(AGAIN) {
            Pause::Over => {}
            Pause::End => return exit,
        }
    }
}

/// A pipe that nobody reads any more is no failure.
fn exit_of_output(error: &io::Error) -> Exit {
    if error.kind() == ErrorKind::BrokenPipe { Exit::Ok } else { Exit::OsError }
}

fn exit_of(snapshot: &Snapshot) -> Exit {
    match snapshot.health {
        Health::InSync => Exit::Ok,
        Health::Behind | Health::Held | Health::Failing | Health::Unwatched | Health::Down => Exit::No,
    }
}

/// Colours are for terminals, and for those who want them (no-color.org).
fn colour() -> Colour {
    let refused = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    let dumb = std::env::var_os("TERM").is_none_or(|term| term == "dumb");
    if io::stdout().is_terminal() && !refused && !dumb { Colour::Ansi } else { Colour::None }
}

fn width() -> usize {
    let of_terminal = terminal::size().map(|(columns, _)| columns);
    let told = || std::env::var("COLUMNS").ok()?.parse().ok();
    of_terminal.or_else(told).unwrap_or(WIDTH)
}

/// A snapshot, and the line that it came in.
fn ask(wish: &Wish) -> Result<(Snapshot, String), Error> {
    let stream = control::client::connect(&sockets(wish)?)?;
    hear(&stream)
}

/// Where the socket may be.
fn sockets(wish: &Wish) -> Result<Vec<PathBuf>, Error> {
    if let Some(socket) = &wish.socket {
        return Ok(vec![PathBuf::from(socket)]);
    }
    let path = Path::new(&wish.config);
    let unread = |error| Error::Config(Shown(path.as_os_str()).to_string(), error);
    let metadata = fs::metadata(path).map_err(unread)?;
    let mut sockets = runtime::status_sockets(path, &metadata);
    // What is wrong with it is `check`'s business, and it may be one that was started with another one.
    if let (Ok((config, _)), _) = run::load_config(path, None)
        && let Some(named) = place::named(&config.status)
    {
        sockets.insert(0, named.to_owned());
    }
    Ok(sockets)
}

fn hear(stream: &UnixStream) -> Result<(Snapshot, String), Error> {
    let deadline = Instant::now().checked_add(PATIENCE);
    let mut bytes = Vec::new();
    let mut buffer = vec![0; 64 << 10];
    loop {
        let left = deadline.map_or(PATIENCE, |deadline| deadline.saturating_duration_since(Instant::now()));
        if left.is_zero() {
            return Err(Error::Silent);
        }
        stream.set_read_timeout(Some(left)).map_err(Error::Socket)?;
        match (&mut &*stream).read(&mut buffer) {
            Ok(0) => break,
            Ok(length) => bytes.extend_from_slice(buffer.get(..length).unwrap_or_default()),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                return Err(Error::Silent);
            }
            Err(error) => return Err(Error::Socket(error)),
        }
        if bytes.len() > MAX_SNAPSHOT {
            return Err(Error::Nonsense("it does not end".to_owned()));
        }
    }
    if bytes.is_empty() {
        return Err(Error::Silent);
    }
    read(bytes)
}

/// Reads one line of JSON. Fields that are not known are somebody else's.
fn read(bytes: Vec<u8>) -> Result<(Snapshot, String), Error> {
    let text = String::from_utf8(bytes).map_err(|_| Error::Nonsense("it is no text".to_owned()))?;
    let nonsense = |error: serde_json::Error| Error::Nonsense(super::screen::clean(&error.to_string()));
    let value: serde_json::Value = serde_json::from_str(&text).map_err(nonsense)?;
    match value.get("schema").and_then(serde_json::Value::as_u64) {
        Some(schema) if schema == u64::from(SCHEMA) => {}
        Some(schema) => return Err(Error::Version(schema)),
        None => return Err(Error::Nonsense("it has no version".to_owned())),
    }
    let snapshot = serde_json::from_value(value).map_err(nonsense)?;
    let line = text.trim_end();
    if line.contains(['\n', '\r', '\t']) {
        return Err(Error::Nonsense("it is more than one line".to_owned()));
    }
    let mut shown = String::with_capacity(line.len().saturating_add(1));
    for ch in line.chars() {
        // These stand in strings only, where JSON has another way to write them.
        if ch == super::screen::clean(ch.encode_utf8(&mut [0; 4])).chars().next().unwrap_or(ch) {
            shown.push(ch);
        } else {
            for unit in ch.encode_utf16(&mut [0; 2]) {
                let _ = write!(shown, "\\u{unit:04x}");
            }
        }
    }
    shown.push('\n');
    Ok((snapshot, shown))
}

#[cfg(test)]
mod tests;
