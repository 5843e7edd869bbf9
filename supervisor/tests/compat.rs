//! The compatibility contract with sersync 2.5.4, as a table: a change to the config that was
//! shipped with it, what is done to the watched directory, and the tree that the remote then has.
//!
//! Where this program departs from the original on purpose, the case says so. Plugins, ssh, the
//! failLog and the timer of crontab have tests of their own. `CASE=word` runs the cases whose
//! name holds the word.
#![allow(
    unreachable_pub,
    clippy::indexing_slicing,
    clippy::must_use_candidate,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test that cannot go on fails"
)]

mod support;

mod compat {
    pub mod case;
    pub mod config;
    pub mod events;
    pub mod filters;
    pub mod full_syncs;
    pub mod names;
    pub mod original;
    pub mod remotes;
    pub mod switches;
}

use compat::case::run;
use compat::{config, events, filters, full_syncs, names, remotes, switches};

#[test]
fn what_arrives() {
    run([events::files(), events::directories(), events::links(), events::replacements(), events::hidden()]);
}

#[test]
fn switches_of_inotify() {
    run([switches::files(), switches::directories(), switches::deletions()]);
}

#[test]
fn excluded_by_the_filter() {
    run([filters::measured(), filters::moves()]);
}

#[test]
fn names_of_every_kind() {
    run([names::files(), names::directories()]);
}

#[test]
fn full_syncs_at_start() {
    run([full_syncs::mirrors(), full_syncs::excluding()]);
}

#[test]
fn where_it_goes_and_how() {
    run([remotes::reached(), remotes::parameters(), remotes::roots()]);
}

#[test]
fn config_files_old_and_odd() {
    run([config::missing(), config::odd(), config::flags()]);
}
