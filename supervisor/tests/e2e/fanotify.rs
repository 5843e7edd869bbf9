//! `<inotify watcher="fanotify">`: the same tests, as this program's own child, and what is different:
//! the supervisor keeps one capability more, no role does, and nothing takes its place where it cannot
//! be had.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::ffi::OsStr;
use std::fs;
use std::process::Command;

use common::config::Switches;

use crate::footing;
use crate::support::setup::WATCHER;
use crate::support::{Mirror, SOON, Setup, is_root, processes, write};

/// Tests that are run with it: all kinds of change, random ones, directories that are renamed, roots that
/// are lost, a dying watcher, and what the kernel says of each role.
const SAME: [&str; 10] = [
    "churn::any_change_arrives",
    "filter::what_is_excluded_is_neither_sent_nor_removed",
    "mirror::directories",
    "mirror::files_with_the_default_switches",
    "privileges::every_role_is_powerless",
    "renamed::a_directory_of_a_thousand_files",
    "renamed::while_the_remote_is_down_in_chains_and_in_circles",
    "root::a_root_removed_and_made_again",
    "root::a_root_renamed_away_and_replaced",
    "root::a_root_that_is_empty_when_its_watcher_dies",
];
/// The five that it always keeps, and `CAP_SYS_ADMIN`.
const SIX: &str = "00000000002001e4";

fn cannot() -> bool {
    let refused = common::confine::mark(OsStr::new("/tmp"), Switches::default()).err();
    if let Some(error) = refused.as_ref().filter(|_| is_root()) {
        eprintln!("skipped: {error}");
    }
    refused.is_some()
}

fn fanotify() -> Setup {
    Setup::plain().edit("<inotify>", "<inotify watcher=\"fanotify\">".to_owned())
}

#[test]
fn the_same_tests() {
    if cannot() {
        return;
    }
    let mut command = Command::new(std::env::current_exe().unwrap());
    let output = command.arg("--exact").args(SAME).env(WATCHER, "fanotify").output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}\n{}", String::from_utf8_lossy(&output.stderr));
    assert!(said.contains(&format!("test result: ok. {} passed", SAME.len())), "{said}");
}

#[test]
fn only_the_supervisor_keeps_the_capability() {
    if cannot() {
        return;
    }
    let mut mirror = Mirror::start(fanotify());
    write(mirror.source("dir/file"), "it works");
    mirror.wait_equal(SOON);
    let pid = mirror.supervisor().pid();
    let watcher = mirror.supervisor().child("watcher");
    for set in ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"] {
        assert_eq!(processes::status(pid, set).unwrap(), SIX, "{set}");
        assert_eq!(processes::status(watcher, set).unwrap(), "0000000000000004", "{set}");
    }
}

/// The capabilities of the shipped unit are not enough, and inotify does not take its place.
#[test]
fn without_the_capability_it_does_not_start() {
    if cannot() {
        return;
    }
    let mirror = Mirror::new(fanotify());
    let capabilities = format!("-all,{}", footing::FOR_UIDS);
    let mut command = footing::as_nobody(&mirror, &capabilities, "XDG_RUNTIME_DIR");
    assert_eq!(command.status().unwrap().code(), Some(77));
    let log = fs::read_to_string(mirror.dir.join("log")).unwrap();
    assert!(log.contains("<inotify watcher=\"fanotify\"> cannot be had: EPERM"), "{log}");
    assert!(log.contains("CAP_SYS_ADMIN") && !log.contains("watching"), "{log}");
}
