//! Whether anybody is there at all: asked before an rsync is started for a remote that could not be
//! reached before. So it may be asked often, and a remote that is back is served at once.

use std::net::{IpAddr, SocketAddr, TcpStream};
use std::time::Duration;

use common::config::Remote;
use common::message::{NOT_STARTED, Outcome};

use crate::argv::{port, sets};
use crate::job::JobEnd;

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(2);
/// Each time after so many tries an rsync is started all the same: it may know a way that we do not.
const TRIES: u32 = 10;

/// rsync's words when nobody listens there, and its exit status when nobody answers.
const NOBODY: (&str, i32) = ("failed to connect", 35);

/// What rsync's exit status would have been: its own for sockets, ssh's when that has no connection.
const SOCKET: i32 = 10;
const SSH: i32 = 255;

/// Whether a job did not even get a connection. Who hangs up is there, and is not knocked at.
pub(crate) fn was_nobody_there(end: &JobEnd) -> bool {
    end.outcome == Outcome::Unreachable && (end.tail.contains(NOBODY.0) || end.status == NOBODY.1)
}

/// Knocks at the remote's port. What went wrong; `None` when it is open, or cannot be asked: a name
/// would have to be looked up first, which may take long, and rsync does that itself. `failures`: how
/// often it could not be reached in a row.
pub(crate) fn knock(remote: &Remote, failures: u32) -> Option<String> {
    // A connection of rsync's may come from another address than ours.
    if failures.is_multiple_of(TRIES) || sets(&remote.rsync.params, "--address", None) {
        return None;
    }
    let host: IpAddr = remote.host.parse().ok()?;
    let address = SocketAddr::new(host, port(remote));
    TcpStream::connect_timeout(&address, PATIENCE).err().map(|error| format!("{address}: {error}"))
}

/// How a job ends whose remote did not open when it was knocked at. `error`: what went wrong. It is told as
/// rsync would have ended, since the fail log and whoever reads the status count on that.
pub(crate) fn not_started(remote: &Remote, error: &str) -> JobEnd {
    let status = if remote.rsync.ssh.is_some() { SSH } else { SOCKET };
    JobEnd { outcome: Outcome::Unreachable, status, tail: format!("{NOT_STARTED}{error}"), ..JobEnd::good() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::argv::tests::slice;
    use std::net::TcpListener;

    #[test]
    fn an_open_port_and_a_closed_one() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut remote = slice(&["-a"]).remote;
        remote.host = "127.0.0.1".to_owned();
        remote.rsync.port = Some(listener.local_addr().unwrap().port());
        assert_eq!(knock(&remote, 1), None);
        drop(listener);
        assert!(knock(&remote, 1).is_some_and(|error| error.contains("refused")));
        assert_eq!(knock(&remote, 10), None, "now and then rsync has a try");
        let end = not_started(&remote, &knock(&remote, 11).unwrap());
        assert_eq!((end.outcome, end.status), (Outcome::Unreachable, 10));
        assert!(end.tail.starts_with("no rsync was started: 127.0.0.1:"), "{end:?}");
        remote.rsync.ssh = Some(common::config::Ssh::default());
        assert_eq!(not_started(&remote, "").status, 255);
        remote.rsync.ssh = None;
        // Who has to be looked up is not asked.
        remote.host = "localhost".to_owned();
        assert_eq!(knock(&remote, 1), None);
    }
}
