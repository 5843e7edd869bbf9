//! Whether each remote answers, and what it says of itself before anybody logs in. What it says
//! is bounded, and shown escaped.

use std::collections::BTreeSet;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::os::unix::ffi::OsStrExt;
use std::time::Duration;

use common::config::Remote;
use common::log::{Shown, escape};

use super::Report;
use crate::core::RemoteId;
use crate::plan::Plan;

/// How long a remote may take to answer, and again for each line.
const PATIENCE: Duration = Duration::from_secs(5);
/// Everything that a remote may say, in bytes, and how many lines: a message of the day among it.
const MAX_SAID: u64 = 16 << 10;
const MAX_LINES: usize = 200;
/// Longest word of a remote that is shown, in bytes.
const MAX_SHOWN: usize = 120;
/// What we say that we speak.
const GREETING: &[u8] = b"@RSYNCD: 31.0\n";

/// Asks each of them once.
pub(super) fn look(report: &mut Report, plan: &Plan) {
    report.section("remotes");
    let mut seen = BTreeSet::new();
    for (_, remote) in (0_u16..).map(RemoteId).map_while(|id| plan.remote(id)) {
        let port = syncer::port(remote);
        let between = if remote.rsync.ssh.is_some() { ":" } else { "::" };
        let name = format!("{}{between}{} port {port}", remote.host, Shown(&remote.module));
        if !seen.insert(name.clone()) {
            continue;
        }
        // Another machine that does not answer is no fault of this one.
        match ask(remote, port) {
            Ok(answer) => report.good(&format!("{name}: {answer}")),
            Err(error) => report.warn(&format!("{name}: {error}")),
        }
    }
}

fn ask(remote: &Remote, port: u16) -> io::Result<String> {
    let host = remote.host.trim_start_matches('[').trim_end_matches(']');
    let mut last = io::Error::other("it has no address");
    for address in (host, port).to_socket_addrs()? {
        match TcpStream::connect_timeout(&address, PATIENCE) {
            Ok(stream) => {
                stream.set_read_timeout(Some(PATIENCE))?;
                stream.set_write_timeout(Some(PATIENCE))?;
                return if remote.rsync.ssh.is_some() { of_ssh(&stream) } else { of_daemon(&stream, remote) };
            }
            Err(error) => last = error,
        }
    }
    Err(last)
}

/// `SSH-2.0-OpenSSH_9.2p1`. Lines before it are allowed.
fn of_ssh(stream: &TcpStream) -> io::Result<String> {
    let mut reader = BufReader::new(stream.take(MAX_SAID));
    for _ in 0..MAX_LINES {
        let line = line(&mut reader)?;
        if line.starts_with(b"SSH-") {
            return Ok(shown(&line));
        }
    }
    Err(io::Error::other("it is no ssh server"))
}

/// `@RSYNCD: 31.0 sha512 …`, and what it says to the name of the module.
fn of_daemon(stream: &TcpStream, remote: &Remote) -> io::Result<String> {
    let mut reader = BufReader::new(stream.take(MAX_SAID));
    let greeting = line(&mut reader)?;
    let version = greeting.strip_prefix(b"@RSYNCD: ").ok_or_else(|| {
        io::Error::other(format!("it is no rsync daemon: it says \"{}\"", shown(&greeting)))
    })?;
    let version = shown(version.split(|&byte| byte == b' ').next().unwrap_or_default());
    let module = remote.module.as_bytes().split(|&byte| byte == b'/').next().unwrap_or_default();
    let mut out = stream;
    out.write_all(&[GREETING, module, b"\n"].concat())?;
    for _ in 0..MAX_LINES {
        let line = line(&mut reader)?;
        if let Some(error) = line.strip_prefix(b"@ERROR") {
            let error = error.strip_prefix(b": ").unwrap_or(error);
            return Err(io::Error::other(format!("protocol {version}; it refuses: {}", shown(error))));
        }
        let has_password = remote.rsync.auth.as_ref().is_some_and(|auth| auth.password_file.is_some());
        match line.strip_prefix(b"@RSYNCD: ").map(|said| said.starts_with(b"AUTHREQD")) {
            Some(true) if has_password => {
                return Ok(format!("protocol {version}, the module asks for the password"));
            }
            Some(true) => {
                let why = "the module asks for a password, and <auth> names no passwordfile";
                return Err(io::Error::other(format!("protocol {version}; {why}")));
            }
            Some(false) => return Ok(format!("protocol {version}, the module is open to this machine")),
            None => {}
        }
    }
    Err(io::Error::other(format!("protocol {version}; it talks without end")))
}

/// The next line, without its end.
fn line(reader: &mut impl BufRead) -> io::Result<Vec<u8>> {
    let mut line = Vec::new();
    if reader.read_until(b'\n', &mut line)? == 0 {
        return Err(io::Error::other("it hung up"));
    }
    let end =
        line.iter().rposition(|byte| !byte.is_ascii_whitespace()).map_or(0, |last| last.saturating_add(1));
    line.truncate(end);
    Ok(line)
}

fn shown(bytes: &[u8]) -> String {
    escape(bytes.get(..MAX_SHOWN).unwrap_or(bytes))
}
