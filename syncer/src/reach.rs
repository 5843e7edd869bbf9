//! Whether anybody is there at all: asked before an rsync is started for a remote that could not be
//! reached before. So it may be asked often, and a remote that is back is served at once.

use std::net::{IpAddr, SocketAddr, TcpStream};
use std::time::Duration;

use common::config::Remote;

use crate::argv::port;

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(1);

/// Knocks at the remote's port. What went wrong; `None` when it is open, or cannot be asked: a name
/// would have to be looked up first, which may take long, and rsync does that itself.
pub(crate) fn knock(remote: &Remote) -> Option<String> {
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
        assert_eq!(knock(&remote), None);
        drop(listener);
        assert!(knock(&remote).is_some_and(|error| error.contains("refused")));
        // Who has to be looked up is not asked.
        remote.host = "localhost".to_owned();
        assert_eq!(knock(&remote), None);
    }
}
