//! The program from outside: real rsyncs, real signals, real uids. One program for all of it, so that
//! what waits in one test leaves its time to the others.
#![allow(unreachable_pub, reason = "a test has no outside")]

mod support;

#[path = "e2e/churn.rs"]
mod churn;
#[path = "e2e/cli.rs"]
mod cli;
#[path = "e2e/crash.rs"]
mod crash;
#[path = "e2e/debug.rs"]
mod debug;
#[path = "e2e/doctor.rs"]
mod doctor;
#[path = "e2e/fail_log.rs"]
mod fail_log;
#[path = "e2e/fanotify.rs"]
mod fanotify;
#[path = "e2e/filter.rs"]
mod filter;
#[path = "e2e/footing.rs"]
mod footing;
#[path = "e2e/full_sync.rs"]
mod full_sync;
#[path = "e2e/limits.rs"]
mod limits;
#[path = "e2e/logs.rs"]
mod logs;
#[path = "e2e/many.rs"]
mod many;
#[path = "e2e/mirror.rs"]
mod mirror;
#[path = "e2e/page.rs"]
mod page;
#[path = "e2e/pair.rs"]
mod pair;
#[path = "e2e/plugins.rs"]
mod plugins;
#[path = "e2e/privileges.rs"]
mod privileges;
#[path = "e2e/reload.rs"]
mod reload;
#[path = "e2e/remotes.rs"]
mod remotes;
#[path = "e2e/renamed.rs"]
mod renamed;
#[path = "e2e/root.rs"]
mod root;
#[path = "e2e/sandbox.rs"]
mod sandbox;
#[path = "e2e/ssh.rs"]
mod ssh;
#[path = "e2e/status.rs"]
mod status;
