//! `<status>`: where a running supervisor tells how it is, and to whom.
//!
//! Only what was written. Where the socket stands if nothing was is the supervisor's business.

use std::ffi::OsString;

/// Longest path of a socket, in bytes: what its address holds (`sun_path`), less the zero byte at its end.
pub const MAX_SOCKET: usize = 107;

/// `<status start socket mode group/>`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StatusConfig {
    /// `start`.
    pub start: bool,
    /// `socket`, absolute; `None` for the usual place, which only root and the supervisor's own user may
    /// enter.
    pub socket: Option<OsString>,
    /// `mode`: its permission bits, at most 0777. Whoever may write there may read the status.
    pub mode: u32,
    /// `group`: its group, by name or number; `None` for the supervisor's own.
    pub group: Option<String>,
}

impl Default for StatusConfig {
    fn default() -> StatusConfig {
        StatusConfig { start: true, socket: None, mode: 0o600, group: None }
    }
}
