//! The command's side of the control socket: says one command to the supervisor that runs on a
//! config, prints what it answers, and ends as it says.

use std::fs;
use std::io::{self, BufRead, BufReader, ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use common::exit::Exit;
use common::log::{Shown, escape};
use thiserror::Error;

use super::protocol::{MAX_REPLY, Malformed, Reply, Request};
use crate::runtime;

/// How much longer than it was told to wait the supervisor may take.
const GRACE: Duration = Duration::from_secs(10);
/// How long it may take for what it knows by heart.
const AT_ONCE: Duration = Duration::from_secs(60);

/// Why there is no answer.
#[derive(Debug, Error)]
pub enum Error {
    /// Nobody listens.
    #[error("no supervisor runs on this config")]
    NotRunning,
    /// Somebody does, but not to this user.
    #[error("a supervisor runs on this config, and listens only to root and to its own user")]
    NotPermitted,
    /// The command cannot be said.
    #[error("{0}")]
    Command(Malformed),
    /// It ended, or was killed.
    #[error("the supervisor ended before it had answered")]
    Ended,
    /// It is stopped, or stuck.
    #[error("the supervisor does not answer")]
    Silent,
    /// It says what is no answer.
    #[error("the answer is {0}")]
    Nonsense(Malformed),
    /// Nobody wants to see the answer any more.
    #[error("the answer cannot be written: {0}")]
    Output(io::Error),
    /// Something else.
    #[error("cannot speak to the supervisor: {0}")]
    Socket(io::Error),
}

impl Error {
    /// How the program ends on it.
    pub fn exit(&self) -> Exit {
        match self {
            Error::NotRunning | Error::Ended | Error::Silent => Exit::Unavailable,
            Error::NotPermitted => Exit::NoPermission,
            Error::Command(_) => Exit::Usage,
            Error::Nonsense(_) => Exit::Software,
            Error::Output(_) | Error::Socket(_) => Exit::OsError,
        }
    }
}

/// Says `request` to the supervisor that runs on the config file at `config`.
pub fn run(config: &Path, request: &Request) -> Exit {
    let shown = Shown(config.as_os_str());
    let sockets = match fs::metadata(config) {
        Ok(metadata) => runtime::control_sockets(config, &metadata),
        Err(error) => {
            complain(&format!("config file {shown}: {error}"));
            return Exit::NoInput;
        }
    };
    match connect(&sockets).and_then(|stream| ask(&stream, request, &mut io::stdout())) {
        Ok(code) => Exit::from_code(code.into()),
        Err(error) => {
            complain(&format!("config file {shown}: {error}"));
            error.exit()
        }
    }
}

/// Connects to the first of `sockets` where somebody listens.
pub fn connect(sockets: &[PathBuf]) -> Result<UnixStream, Error> {
    let mut why = Error::NotRunning;
    for path in sockets {
        match UnixStream::connect(path) {
            Ok(stream) => return Ok(stream),
            // What a killed supervisor left refuses.
            Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::ConnectionRefused) => {}
            Err(error) if error.kind() == ErrorKind::PermissionDenied => why = Error::NotPermitted,
            Err(error) => return Err(Error::Socket(error)),
        }
    }
    Err(why)
}

/// Says `request`, and writes the lines of the answer to `out` as they come. The exit status that
/// the supervisor says at last.
pub fn ask(stream: &UnixStream, request: &Request, out: &mut dyn Write) -> Result<u8, Error> {
    let line = request.encode().map_err(Error::Command)?;
    let deadline = patience(request).map(|patience| Instant::now() + patience);
    match (&mut &*stream).write_all(&line) {
        Ok(()) => {}
        // It did not want to hear it, and may have said why.
        Err(error) if matches!(error.kind(), ErrorKind::BrokenPipe | ErrorKind::ConnectionReset) => {}
        Err(error) => return Err(Error::Socket(error)),
    }
    let mut answer = BufReader::new(stream);
    loop {
        wait_until(stream, deadline)?;
        match read_reply(&mut answer)? {
            // Escaped by honest supervisors; others must not steer a terminal either.
            Reply::Line(text) => {
                writeln!(out, "{}", escape(text.as_bytes()))
                    .and_then(|()| out.flush())
                    .map_err(Error::Output)?;
            }
            Reply::End { exit } => return Ok(exit),
        }
    }
}

fn read_reply(answer: &mut impl BufRead) -> Result<Reply, Error> {
    let mut line = Vec::new();
    let most = u64::try_from(MAX_REPLY).unwrap_or(u64::MAX);
    match answer.take(most).read_until(b'\n', &mut line) {
        Ok(_) => {}
        Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
            return Err(Error::Silent);
        }
        Err(error) if error.kind() == ErrorKind::ConnectionReset => return Err(Error::Ended),
        Err(error) => return Err(Error::Socket(error)),
    }
    match line.strip_suffix(b"\n") {
        Some(line) => Reply::decode(line).map_err(Error::Nonsense),
        None if line.len() >= MAX_REPLY => Err(Error::Nonsense(Malformed::TooLong)),
        None => Err(Error::Ended),
    }
}

/// How long the whole answer may take; `None` for as long as it takes.
fn patience(request: &Request) -> Option<Duration> {
    match request {
        Request::Wait { timeout, .. } => {
            timeout.map(|seconds| Duration::from_secs(seconds).saturating_add(GRACE))
        }
        Request::Verify { .. } => None,
        Request::Deletes { .. } | Request::Explain { .. } => Some(AT_ONCE),
    }
}

fn wait_until(stream: &UnixStream, deadline: Option<Instant>) -> Result<(), Error> {
    let Some(deadline) = deadline else { return Ok(()) };
    let left = deadline.saturating_duration_since(Instant::now());
    if left.is_zero() {
        return Err(Error::Silent);
    }
    stream.set_read_timeout(Some(left)).map_err(Error::Socket)
}

fn complain(message: &str) {
    let _ = writeln!(io::stderr(), "{message}");
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::UnixListener;
    use std::thread;

    fn wait(timeout: Option<u64>) -> Request {
        Request::Wait { remote: None, timeout }
    }

    #[test]
    fn nobody_there() {
        let directory = tempfile::tempdir().unwrap();
        let [missing, stale, path] = ["missing", "stale", "live"].map(|name| directory.path().join(name));
        let _live = UnixListener::bind(&path).unwrap();
        drop(UnixListener::bind(&stale).unwrap());
        let none = connect(&[missing.clone(), stale.clone()]).unwrap_err();
        assert!(matches!(none, Error::NotRunning));
        assert_eq!(none.exit(), Exit::Unavailable);
        assert!(connect(&[missing, stale, path]).is_ok());
    }

    #[test]
    fn a_supervisor_that_ends_or_lies() {
        let ask = |said: Vec<u8>| {
            let (ours, mut theirs) = UnixStream::pair().unwrap();
            let lying = thread::spawn(move || {
                let _ = theirs.write_all(&said);
            });
            let mut out = Vec::new();
            let result = super::ask(&ours, &wait(None), &mut out);
            lying.join().unwrap();
            (result, String::from_utf8(out).unwrap())
        };
        let (result, out) = ask(b"{\"line\":\"half\\u001b\"}\n{\"line\":\"no end".to_vec());
        assert!(matches!(result, Err(Error::Ended)), "{result:?}");
        assert_eq!(out, "half\\u{1b}\n");
        for lie in [
            &b"{}\n"[..],
            b"HTTP/1.0 200 OK\n",
            b"{\"end\":{\"exit\":256}}\n",
            b"\xff\n",
            &vec![b'x'; MAX_REPLY + 1],
        ] {
            let (result, _) = ask(lie.to_vec());
            assert!(matches!(result, Err(Error::Nonsense(_))), "{}: {result:?}", lie[..4].escape_ascii());
        }
        let (result, _) = ask(b"{\"end\":{\"exit\":255}}\n".to_vec());
        assert_eq!(result.unwrap(), 255);
        // One that does not answer is not waited for beyond what was asked.
        let (ours, _theirs) = UnixStream::pair().unwrap();
        ours.set_nonblocking(true).unwrap();
        let result = super::ask(&ours, &wait(Some(0)), &mut Vec::new());
        assert!(matches!(result, Err(Error::Silent)), "{result:?}");
    }
}
