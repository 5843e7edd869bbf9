//! What all roles share: the vocabulary, the policy that needs no system call, and the two
//! boundary modules.
//!
//! | module | what it holds |
//! |---|---|
//! | [`config`] | the typed model of `confxml.xml`, its reader and its diagnostics |
//! | [`path`], [`event`], [`filter`] | dirty paths, and which of them travel |
//! | [`keep`] | what is kept on disk, and the words for it |
//! | [`message`] | orders down, reports up: one enum per role and direction |
//! | [`wire`] | boundary: capped frames upwards, typed channels downwards |
//! | [`confine`] | boundary: the numbered list that makes a process powerless |
//! | [`handover`] | boundary: descriptors that were opened for a role |
//! | [`log`] | how a role and the supervisor log |
//! | [`status`] | what a running supervisor tells of itself |
//! | [`exit`] | exit codes |
//!
//! Nothing here knows a role.

pub mod config;
pub mod confine;
pub mod event;
pub mod exit;
pub mod filter;
pub mod handover;
pub mod keep;
pub mod log;
pub mod message;
pub mod path;
pub mod status;
pub mod wire;
