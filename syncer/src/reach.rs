//! Whether anybody is there at all: asked before an rsync is started for a remote that could not be
//! reached before. So it may be asked often, and a remote that is back is served at once.

use std::net::{IpAddr, SocketAddr, TcpStream};
use std::time::Duration;

use common::config::Remote;
use common::message::Outcome;

use crate::argv::{port, sets};
use crate::job::JobEnd;

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(2);
/// Each time after so many tries an rsync is started all the same: it may know a way that we do not.
const TRIES: u32 = 10;

/// rsync's words when nobody listens there, and its exit status when nobody answers.
const NOBODY: (&str, i32) = ("failed to connect", 35);

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
        // Who has to be looked up is not asked.
        remote.host = "localhost".to_owned();
        assert_eq!(knock(&remote, 1), None);
    }
}
