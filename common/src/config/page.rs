//! `<host start="true">`: the page and its metrics, where they are served, and to whom.
//!
//! Only what was written. Listening there is the supervisor's business, answering the page's role's.

use std::ffi::OsString;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// `<host start="true" …>`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PageConfig {
    /// Where it listens.
    pub place: PagePlace,
    /// `tokenFile`: the file of the word that each request has to say; absolute.
    pub token_file: Option<OsString>,
    /// `lag`: for how long a remote may be behind before `/healthz` complains, in seconds, 1 or more.
    pub lag: u32,
}

/// Where the page listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PagePlace {
    /// `hostip` and `port`.
    Tcp {
        /// Addresses of this machine. Of `localhost` there are two, of which the second may be missing here.
        addresses: Vec<IpAddr>,
        /// 1 or more.
        port: u16,
    },
    /// `socket`, absolute, with its `mode` and `group` as `<status>` has them.
    Unix {
        /// Its path, at most 107 bytes.
        path: OsString,
        /// Its permission bits, at most 0777. Whoever may write there may read the page.
        mode: u32,
        /// Its group, by name or number; `None` for the supervisor's own.
        group: Option<String>,
    },
}

impl PagePlace {
    /// What `localhost` is.
    pub const LOCALHOST: [IpAddr; 2] = [IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)];

    /// Whether only this machine can come there.
    pub fn is_local(&self) -> bool {
        match self {
            PagePlace::Tcp { addresses, .. } => addresses.iter().all(IpAddr::is_loopback),
            PagePlace::Unix { .. } => true,
        }
    }
}
