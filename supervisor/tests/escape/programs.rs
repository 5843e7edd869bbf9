//! What stands in the place of rsync, of ssh, and of an operator's program: all of them this image,
//! started by the product's own roles.

use std::fs;
use std::io::{self, Read};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, ExitCode};

use crate::plan::Plan;
use crate::{attack, bombs};

/// The names of the copies.
pub(crate) const RSYNC: &str = "rsync";
pub(crate) const SSH: &str = "ssh";
pub(crate) const HOOK: &str = "hook";
/// What the test writes into the root, last: the change that starts the transfer.
pub(crate) const PLAN: &str = "plan";
/// The same for a bomb.
pub(crate) const BOMB: &str = "bomb";

/// What a hook is told of and never ends at.
pub(crate) const HANG: &str = "hang";

/// Whoever was started under that name; `None` for the test itself.
pub(crate) fn enter(words: &[String]) -> Option<ExitCode> {
    let name = Path::new(words.first()?).file_name()?.to_str()?;
    let result = match name {
        RSYNC => rsync(words),
        SSH => by_plan(SSH, Path::new(PLAN)),
        HOOK => hook(words),
        _ => return None,
    };
    Some(match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("escape {name}: {error}");
            ExitCode::from(12)
        }
    })
}

/// In the root, with a list on standard input, as rsync.
fn rsync(words: &[String]) -> io::Result<()> {
    if words.iter().any(|word| word == "--version") {
        println!("rsync  version 3.5.0  protocol version 32");
        return Ok(());
    }
    let mut list = Vec::new();
    io::stdin().read_to_end(&mut list)?;
    let has = |wanted: &str| {
        list.split(|byte| *byte == 0)
            .any(|name| name.strip_prefix(b"./").unwrap_or(name) == wanted.as_bytes())
    };
    let shell = words.iter().find_map(|word| word.strip_prefix("--rsh="));
    match shell.and_then(|shell| shell.split_whitespace().next()) {
        // Becomes it, as rsync's child would.
        Some(ssh) if has(PLAN) => Err(Command::new(ssh).arg("host").exec()),
        None if has(PLAN) => by_plan(RSYNC, Path::new(PLAN)),
        None if has(BOMB) && words.last().is_some_and(|word| word.contains("::m0")) => {
            bombs::explode(RSYNC, &fs::read_to_string(BOMB)?)
        }
        Some(_) | None => Ok(()),
    }
}

fn hook(words: &[String]) -> io::Result<()> {
    let path = Path::new(words.get(1).map(String::as_str).unwrap_or_default());
    match path.file_name().and_then(|name| name.to_str()) {
        Some(PLAN) => by_plan("command", path),
        Some(HANG) => hang(),
        Some(BOMB) => bombs::explode("command", &fs::read_to_string(path)?),
        Some(_) | None => Ok(()),
    }
}

fn by_plan(subject: &str, path: &Path) -> io::Result<()> {
    let text = fs::read_to_string(path)?;
    let plan = Plan::read(&text).ok_or_else(|| io::Error::other("the plan is not complete"))?;
    let report = attack::coordinate(subject, &plan, None)?;
    attack::report(subject, plan.collector, &report)
}

fn hang() -> ! {
    loop {
        std::thread::park();
    }
}
