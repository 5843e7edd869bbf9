//! The control socket: `verify`, `wait` and `deletes` talk to the supervisor that runs on the same
//! config.
//!
//! One bounded command a connection. The supervisor's side never waits, whatever a client does or
//! leaves undone, and listens only to root, to whoever started it, and to itself.
//!
//! | module | what it holds |
//! |---|---|
//! | [`protocol`] | the words |
//! | [`server`] | the supervisor's side, for the event loop |
//! | [`client`] | the command's side |

pub mod client;
pub mod protocol;
pub mod server;
