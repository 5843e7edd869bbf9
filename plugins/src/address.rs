//! Where a plugin connects to: a host, a port, and the addresses that the name stands for at
//! the moment.

use std::fmt;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

/// Most addresses of one name that are tried; ureq has room for 16.
const MAX_ADDRESSES: usize = 8;

/// A host and a port, as configured.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Place {
    /// Name or address.
    pub(crate) host: String,
    /// Port.
    pub(crate) port: u16,
}

impl Place {
    /// Its addresses, at least one; or the reason why there is none.
    pub(crate) fn addresses(&self, patience: Duration) -> Result<Vec<SocketAddr>, String> {
        let literal = self.host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
        if let Ok(address) = literal {
            return Ok(vec![SocketAddr::new(address, self.port)]);
        }
        self.look_up(patience).map_err(|reason| format!("connect {self}: {reason}"))
    }

    /// The system's resolver can neither be polled nor called off, so it gets a thread. A late
    /// one ends by itself; its answer is dropped.
    fn look_up(&self, patience: Duration) -> Result<Vec<SocketAddr>, String> {
        let (sender, answer) = mpsc::sync_channel(1);
        let (host, port) = (self.host.clone(), self.port);
        let ask = move || {
            let found = (host.as_str(), port).to_socket_addrs().map(|all| all.take(MAX_ADDRESSES).collect());
            // Nobody waits for a late one.
            drop(sender.send(found));
        };
        thread::Builder::new().spawn(ask).map_err(|error| error.to_string())?;
        let found: Vec<_> = answer
            .recv_timeout(patience)
            .map_err(|_| "the name server does not answer".to_owned())?
            .map_err(|error| error.to_string())?;
        if found.is_empty() { Err("the name has no address".to_owned()) } else { Ok(found) }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.host, self.port)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addresses(host: &str) -> Result<Vec<SocketAddr>, String> {
        Place { host: host.to_owned(), port: 80 }.addresses(Duration::from_secs(20))
    }

    #[test]
    fn names_and_addresses() {
        assert_eq!(addresses("10.0.0.2").unwrap(), ["10.0.0.2:80".parse().unwrap()]);
        assert_eq!(addresses("::1").unwrap(), ["[::1]:80".parse().unwrap()]);
        assert_eq!(addresses("[::1]").unwrap(), ["[::1]:80".parse().unwrap()]);
        assert!(addresses("localhost").unwrap().iter().all(|address| address.ip().is_loopback()));
        let reason = addresses("no-such-host.invalid").unwrap_err();
        assert!(reason.starts_with("connect no-such-host.invalid:80: "), "{reason}");
    }
}
