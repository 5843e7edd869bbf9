//! A way to a Unix datagram socket of the host (systemd's, syslog's) that never waits.

use std::ffi::OsStr;
use std::io::{self, ErrorKind};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};

/// The way.
#[derive(Debug)]
pub(crate) struct Link {
    address: SocketAddr,
    socket: UnixDatagram,
}

impl Link {
    /// `@` stands for the zero byte of an abstract name.
    pub(crate) fn open(address: &OsStr) -> io::Result<Link> {
        let address = match address.as_bytes() {
            [b'@', name @ ..] => SocketAddr::from_abstract_name(name)?,
            [b'/', ..] => SocketAddr::from_pathname(address)?,
            _ => return Err(io::Error::new(ErrorKind::Unsupported, "neither a path nor an abstract name")),
        };
        let socket = UnixDatagram::unbound()?;
        socket.set_nonblocking(true)?;
        // Connected now: later our Landlock domain refuses abstract sockets.
        socket.connect_addr(&address)?;
        Ok(Link { address, socket })
    }

    /// Does not wait: a full queue is an error.
    pub(crate) fn send(&self, message: &[u8]) -> io::Result<()> {
        let sent = self.socket.send(message).or_else(|error| match error.kind() {
            // Another socket may have taken its place.
            ErrorKind::ConnectionRefused | ErrorKind::NotConnected => {
                self.socket.connect_addr(&self.address)?;
                self.socket.send(message)
            }
            _ => Err(error),
        });
        sent.map(drop)
    }
}
