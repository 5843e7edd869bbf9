//! Where the page is served: the sockets are opened here, before the supervisor lowers itself, and kept for
//! all processes that serve it. Who comes while one of them is replaced waits for the next.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Read};
use std::net::{IpAddr, SocketAddr, TcpListener};
use std::os::fd::OwnedFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use common::config::{Host, PageConfig, PagePlace};
use common::confine::Identity;
use common::log::Shown;
use common::message::{MAX_TOKEN, MIN_TOKEN};
use log::{error, info};
use nix::errno::Errno;
use nix::fcntl::OFlag;
use thiserror::Error;

use crate::status::place::access;
use crate::status::server::{Place, listen};

/// What a page is served with.
#[derive(Debug)]
pub struct Gate {
    /// Who wants it connects there.
    pub listeners: Vec<OwnedFd>,
    /// What a request has to say.
    pub token: Option<Vec<u8>>,
    /// Names by which a browser may ask for it; none for any.
    pub hosts: Vec<String>,
    /// For how long a remote may be behind, in seconds.
    pub lag: u32,
}

/// Why no page can be served.
#[derive(Debug, Error)]
pub enum Error {
    /// The socket.
    #[error("socket {0}: {1}; free it, or name another in <host>")]
    Listen(String, io::Error),
    /// The file of the token.
    #[error("tokenFile {0}: {1}; write one with: (umask 077 && head -c 24 /dev/urandom | base64 > FILE)")]
    Token(String, io::Error),
}

/// Opens it, where it is on. Mirroring goes on without it.
pub fn open(owner: Option<Identity>, host: &Host) -> Option<Gate> {
    let page = host.page.as_ref()?;
    match gate(owner, host, page) {
        Ok(gate) => {
            info!("page at={}", place(&page.place));
            Some(gate)
        }
        Err(error) => {
            error!("page: {error}; it is not served");
            None
        }
    }
}

fn gate(owner: Option<Identity>, host: &Host, page: &PageConfig) -> Result<Gate, Error> {
    let token = page.token_file.as_deref().map(token).transpose()?;
    let (listeners, hosts) = match &page.place {
        PagePlace::Tcp { addresses, port } => (tcp(addresses, *port)?, hosts(&host.ip, &page.place)),
        PagePlace::Unix { path, mode, group } => {
            let made = access(*mode, group.as_deref())
                .and_then(|access| listen(Path::new(path), Place::Elsewhere, owner, access));
            let made = made.map_err(|error| Error::Listen(Shown(path).to_string(), error))?;
            (vec![made.into()], Vec::new())
        }
    };
    Ok(Gate { listeners, token, hosts, lag: page.lag })
}

/// Of the two addresses of this host the second may be missing.
fn tcp(addresses: &[IpAddr], port: u16) -> Result<Vec<OwnedFd>, Error> {
    let mut listeners = Vec::new();
    for &address in addresses {
        let address = SocketAddr::new(address, port);
        let made = TcpListener::bind(address).and_then(|made| made.set_nonblocking(true).map(|()| made));
        match made {
            Ok(made) => listeners.push(made.into()),
            // A machine may have no IPv6. Who has taken the other address could answer in our place.
            Err(error) if !listeners.is_empty() && is_absent(&error) => {}
            Err(error) => return Err(Error::Listen(address.to_string(), error)),
        }
    }
    Ok(listeners)
}

/// This machine has no such address.
fn is_absent(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error().map(Errno::from_raw),
        Some(Errno::EADDRNOTAVAIL | Errno::EAFNOSUPPORT | Errno::EPROTONOSUPPORT)
    )
}

/// A page for this machine answers to its own names alone: a browser that was told that another one leads
/// here would show what it reads to whoever told it.
fn hosts(ip: &str, place: &PagePlace) -> Vec<String> {
    if !place.is_local() {
        return Vec::new();
    }
    let mut hosts: Vec<String> = ["localhost", "127.0.0.1", "[::1]"].map(ToOwned::to_owned).to_vec();
    let own = match ip.parse() {
        Ok(IpAddr::V6(address)) => format!("[{address}]"),
        Ok(IpAddr::V4(_)) | Err(_) => ip.to_owned(),
    };
    if !own.is_empty() && !hosts.contains(&own) {
        hosts.push(own);
    }
    hosts
}

/// One word in the file's first line.
pub(crate) fn token(path: &OsStr) -> Result<Vec<u8>, Error> {
    let failed = |error: io::Error| Error::Token(Shown(path).to_string(), error);
    let most = u64::try_from(MAX_TOKEN).unwrap_or(u64::MAX).saturating_add(2);
    let mut text = Vec::new();
    // A pipe without a writer keeps nobody waiting.
    let file = File::options().read(true).custom_flags(OFlag::O_NONBLOCK.bits()).open(path);
    file.and_then(|file| file.take(most).read_to_end(&mut text)).map_err(failed)?;
    let token = text.trim_ascii();
    if !(MIN_TOKEN..=MAX_TOKEN).contains(&token.len()) || !token.iter().all(u8::is_ascii_graphic) {
        let words = format!("it has to hold one word of {MIN_TOKEN} to {MAX_TOKEN} letters and digits");
        return Err(failed(io::Error::new(io::ErrorKind::InvalidData, words)));
    }
    Ok(token.to_vec())
}

fn place(place: &PagePlace) -> String {
    match place {
        PagePlace::Tcp { addresses, port } => {
            let address = addresses.first().map(|&address| SocketAddr::new(address, *port));
            address.map_or_else(String::new, |address| format!("http://{address}/"))
        }
        PagePlace::Unix { path, .. } => Shown(path).to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tcp_place(address: &str) -> PagePlace {
        PagePlace::Tcp { addresses: vec![address.parse().unwrap()], port: 1 }
    }

    #[test]
    fn names_of_this_machine_only() {
        assert_eq!(hosts("localhost", &tcp_place("127.0.0.1")), ["localhost", "127.0.0.1", "[::1]"]);
        assert_eq!(hosts("127.0.0.9", &tcp_place("127.0.0.9")).last().unwrap(), "127.0.0.9");
        assert_eq!(hosts("::1", &tcp_place("::1")).len(), 3);
        assert!(hosts("0.0.0.0", &tcp_place("0.0.0.0")).is_empty());
    }

    #[test]
    fn tokens() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let read = |text: &str| {
            std::fs::write(&file, text).unwrap();
            token(file.path().as_os_str())
        };
        assert_eq!(read(" 0123456789abcdef\r\n").unwrap(), b"0123456789abcdef");
        assert_eq!(read(&"x".repeat(MAX_TOKEN)).unwrap().len(), MAX_TOKEN);
        for bad in ["", "0123456789abcde", "0123456789 abcdef", "0123456789abcdé", &"x".repeat(MAX_TOKEN + 1)]
        {
            assert!(read(bad).unwrap_err().to_string().contains("one word of 16 to 1024"), "{bad}");
        }
        assert!(token(OsStr::new("/no/such/file")).unwrap_err().to_string().contains("umask 077"));
    }

    #[test]
    fn a_port_that_is_taken() {
        let taken = TcpListener::bind("127.0.0.1:0").unwrap();
        let (port, error) = (taken.local_addr().unwrap().port(), "in use");
        let ip: IpAddr = "127.0.0.1".parse().unwrap();
        assert!(tcp(&[ip], port).unwrap_err().to_string().contains(error));
        drop(taken);
        assert_eq!(tcp(&[ip, "203.0.113.1".parse().unwrap()], port).unwrap().len(), 1);
        // Who has the second one could answer in our place.
        let second = "127.0.0.2";
        let squatter = TcpListener::bind((second, port)).unwrap();
        assert!(tcp(&[ip, second.parse().unwrap()], port).unwrap_err().to_string().contains(error));
        drop(squatter);
        assert_eq!(tcp(&[ip, second.parse().unwrap()], port).unwrap().len(), 2);
    }
}
