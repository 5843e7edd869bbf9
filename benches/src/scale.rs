//! What is measured beyond the workloads: large trees, many remotes, growth, rest, and single files
//! beside large ones. Only ours and what it is compared with take part.

pub(crate) mod beside;
pub(crate) mod growth;
pub(crate) mod idle;
pub(crate) mod remotes;
pub(crate) mod start;
mod walk;
