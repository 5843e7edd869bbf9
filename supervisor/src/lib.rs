//! The supervisor: forks the roles, routes changes from the watcher to the syncers, restarts
//! whatever dies. The only crate that knows all roles.
//!
//! | module | what it does |
//! |---|---|
//! | [`core`] | decides, purely |
//! | [`event_loop`] | waits, tells the core, performs |
//! | [`child`], [`cgroup`] | one process, and what it may use up |
//! | [`orphans`], [`guardian`] | what processes leave behind, and what the supervisor does |
//! | [`uids`], [`privileges`], [`domains`], [`accounts`] | who a role is and what it may |
//! | [`fail_log`], [`pid_file`], [`operator_file`] | what is written for the operator to read |
//! | [`plan`] | from a config to what each role is told |
//! | [`keeper`], [`state`], [`recent`] | what must survive, and its file |
//! | [`runtime`] | the lock, the private directory, the block of uids |
//! | [`lowering`], [`namespace`] | what the supervisor gives up, and the accounts that it sees |
//! | [`cli`], [`run`], `detach`, [`say`] | from a command line to an exit code |
//! | [`secrets`] | who else may read or write what the supervisor trusts |
//! | [`notify`], `datagram` | what systemd hears |
//! | [`logging`] | where the log goes, and in which form |
//! | [`control`] | the socket through which commands speak to a running supervisor |
//! | [`status`] | what a running supervisor tells of itself, and the screen that shows it |
//! | [`page`] | where the page is served |
//! | [`doctor`] | tries what must be refused |
//! | [`explain`] | which rule decides about a path, and how far it is |
//! | [`preview`] | what a full sync would do |
//! | [`check`] | finds what is wrong with a config before anything is started |
//! | `alone` | a role outside of a supervisor |
//! | [`demo`] | mirrors a small tree to a private rsync daemon |

pub mod accounts;
mod alone;
pub mod cgroup;
pub mod check;
pub mod child;
pub mod cli;
pub mod control;
pub mod core;
mod datagram;
pub mod demo;
mod detach;
pub mod doctor;
pub mod domains;
pub mod event_loop;
pub mod explain;
pub mod fail_log;
pub mod guardian;
pub mod keeper;
pub mod logging;
pub mod lowering;
pub mod namespace;
pub mod notify;
pub mod operator_file;
pub mod orphans;
pub mod page;
pub mod pid_file;
pub mod plan;
pub mod preview;
pub mod privileges;
pub mod recent;
pub mod run;
pub mod runtime;
pub mod say;
pub mod secrets;
pub mod state;
pub mod status;
pub mod uids;
