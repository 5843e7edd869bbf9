//! What the supervisor and the role that serves the page say to each other. It is told once what to do; what
//! it shows it asks for, and reads from a socket of its own, where it cannot keep the supervisor waiting.

use serde::{Deserialize, Serialize};

use crate::confine::Confinement;

/// To the page.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum PageOrder {
    /// The only order.
    Configure(Box<PageSlice>),
}

/// The page's part of the config.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PageSlice {
    /// What each request has to say, at least [`MIN_TOKEN`] bytes; `None` where anybody may ask.
    pub token: Option<Vec<u8>>,
    /// Names by which a browser may ask for it, without a port; empty for any.
    pub hosts: Vec<String>,
    /// For how long a remote may be behind, in seconds.
    pub lag: u32,
    /// What the process may keep.
    pub confinement: Confinement,
}

/// Shortest token, in bytes: one that nobody tries out.
pub const MIN_TOKEN: usize = 16;
/// Longest token, in bytes: a request's head has room for it.
pub const MAX_TOKEN: usize = 1024;

/// From the page.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum PageReport {
    /// Confined; nothing untrusted has been read yet.
    Ready,
    /// It wants to know how all is. Answered on its socket by one snapshot, a line of JSON, unless one is
    /// under way already.
    Ask,
    /// A sign of life.
    Beat,
}
