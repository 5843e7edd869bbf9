//! The supervisor: forks the roles, routes changes from the watcher to the syncers, restarts
//! whatever dies. The only crate that knows all roles.
//!
//! | module | what it does |
//! |---|---|
//! | [`core`] | decides, purely |
//! | [`event_loop`] | waits, tells the core, performs |
//! | [`child`], [`orphans`] | one process, and what it leaves behind |
//! | [`uids`], [`privileges`], [`accounts`] | who a role is and what it may |
//! | [`fail_log`], [`operator_file`] | what is written for the operator to read |
//! | [`plan`] | from a config to what each role is told |
//! | [`runtime`] | the lock, the private directory, the block of uids |
//! | [`cli`], [`run`], [`say`] | from a command line to an exit code |
//! | [`demo`] | mirrors a small tree to a private rsync daemon |

pub mod accounts;
pub mod child;
pub mod cli;
pub mod core;
pub mod demo;
pub mod event_loop;
pub mod fail_log;
pub mod operator_file;
pub mod orphans;
pub mod plan;
pub mod privileges;
pub mod run;
pub mod runtime;
pub mod say;
pub mod uids;
