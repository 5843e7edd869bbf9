//! Escape suite: what was taken over gets nothing but what its role needs. Stand-ins for the
//! watcher, the keeper, the page, for each plugin, for a syncer, and for rsync, ssh and an operator's program run in
//! the product's own sandbox, started by the product's own supervisor, and try every attempt of
//! `common::confine::attempts` and more. What counts is what became of the victims.
//!
//! This test is its own supervisor, as `hostile.rs` is, and its own rsync. Only root can run it.

#![allow(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test that cannot go on fails"
)]

#[path = "escape/attack.rs"]
mod attack;
#[path = "escape/bombs.rs"]
mod bombs;
#[path = "escape/extras.rs"]
mod extras;
#[path = "escape/orphans.rs"]
mod orphans;
#[path = "escape/plan.rs"]
mod plan;
#[path = "escape/programs.rs"]
mod programs;
#[path = "escape/roles.rs"]
mod roles;
#[path = "escape/scene.rs"]
mod scene;
mod support;
#[path = "escape/victims.rs"]
mod victims;

use std::ffi::OsString;
use std::fs;
use std::panic::catch_unwind;
use std::process::ExitCode;
use std::time::Instant;

use support::is_root;

/// Name and test.
const TESTS: &[(&str, fn())] = &[
    ("no_role_escapes", || scene::roles(scene::Sandbox::On)),
    ("no_program_escapes", || scene::programs(scene::Sandbox::On)),
    ("without_the_sandbox_roles_are_noticed", || scene::roles(scene::Sandbox::Off)),
    ("without_the_sandbox_programs_are_noticed", || scene::programs(scene::Sandbox::Off)),
    ("bombs_in_the_place_of_rsync", bombs::in_the_place_of_rsync),
    ("bombs_in_the_place_of_a_hook", bombs::in_the_place_of_a_hook),
    ("nothing_outlives_the_supervisor", orphans::nothing_outlives_the_supervisor),
];

fn main() -> ExitCode {
    let arguments: Vec<OsString> = std::env::args_os().collect();
    let words: Vec<String> = arguments.iter().map(|word| word.to_string_lossy().into_owned()).collect();
    match words.get(1).map(String::as_str) {
        Some(attack::WORD) => return attack::attack(&words),
        Some(bombs::WORD) => return bombs::fragment(&words),
        Some(roles::WORD) => return roles::coordinate(words.get(2).map(String::as_str).unwrap_or_default()),
        Some("--list") => return ExitCode::SUCCESS,
        Some(_) | None => {}
    }
    if let Some(code) = programs::enter(&words) {
        return code;
    }
    let image = std::env::current_exe().unwrap_or_default();
    if let Ok(mode) = fs::read_to_string(image.with_file_name("mode")) {
        return roles::enter(&mode, arguments);
    }
    if !is_root() {
        eprintln!("skipped: the escape suite: only root can give each role a uid of its own");
        return ExitCode::SUCCESS;
    }
    let wanted = |name: &str| words.iter().skip(1).all(|word| word.starts_with('-') || name.contains(word));
    let mut failed = false;
    for (name, test) in TESTS.iter().filter(|(name, _)| wanted(name)) {
        let start = Instant::now();
        let good = catch_unwind(test).is_ok();
        println!("test {name} ... {} ({:.1?})", if good { "ok" } else { "FAILED" }, start.elapsed());
        failed |= !good;
    }
    if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}
