//! The inotifywait loop that is found in every blog: one rsync of the whole tree for each line that
//! `inotifywait -m` prints. It is entered by exec, so that it is a process like any other contender.

use std::ffi::OsString;
use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

use crate::outcome::{Outcome, failed};

/// The first word of the command line that enters it.
pub(crate) const WORD: &str = "inotifywait-loop";

/// Mirrors the directory `words[0]` to the URL `words[1]`, for ever.
pub(crate) fn run(mut words: impl Iterator<Item = OsString>) -> Outcome<()> {
    let (Some(mut source), Some(url)) = (words.next(), words.next()) else {
        return Err(failed("inotifywait-loop SOURCE URL"));
    };
    let mut waiting = Command::new("inotifywait")
        .args(["-mrq", "-e", "close_write,create,delete,move,attrib", "--format", "%w%f"])
        .arg(&source)
        .stdout(Stdio::piped())
        .spawn()?;
    let lines = waiting.stdout.take().ok_or_else(|| failed("inotifywait has no output"))?;
    source.push("/");
    let mirror = || Command::new("rsync").args(["-a", "--delete"]).arg(&source).arg(&url).status();
    mirror()?;
    let mut lines = BufReader::new(lines);
    let mut line = Vec::new();
    while lines.read_until(b'\n', &mut line)? > 0 {
        mirror()?;
        line.clear();
    }
    waiting.wait()?;
    Ok(())
}
