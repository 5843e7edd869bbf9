//! Words that belong to no option. The original ignored them; a misspelt command, which would start a mirror, is
//! none of them.

use std::ffi::{OsStr, OsString};

use clap::error::{ContextKind, ErrorKind};
use common::config::closest;
use common::log::Shown;

use super::usage;

/// All commands: the first word, where there is one.
const COMMANDS: [&str; 9] =
    ["demo", "doctor", "check", "plan", "explain", "verify", "wait", "status", "deletes"];

/// What is said of the words that a mirror ignores; refuses them if the first is like a command.
pub(super) fn warnings(words: &[OsString]) -> Result<Vec<String>, clap::Error> {
    if let Some((word, meant)) = words.first().and_then(|word| command_meant(word).map(|meant| (word, meant)))
    {
        return Err(usage(format!("there is no command \"{}\"; did you mean `{meant}`?", Shown(word))));
    }
    let ignored =
        |word: &OsString| format!("command line: \"{}\" is ignored; it belongs to no option", Shown(word));
    Ok(words.iter().map(ignored).collect())
}

/// The command that was probably meant: one that is like it, or has its letters in another order.
fn command_meant(word: &OsStr) -> Option<&'static str> {
    let word = word.to_str()?;
    let letters = |word: &str| {
        let mut letters: Vec<char> = word.to_lowercase().chars().collect();
        letters.sort_unstable();
        letters
    };
    let is_mixed_up = |command: &&str| command.len() == word.len() && letters(command) == letters(word);
    closest(word, COMMANDS.into_iter()).or_else(|| COMMANDS.into_iter().find(is_mixed_up))
}

/// Without clap's advice to write an unknown option behind `--`: it would be ignored there.
pub(super) fn without_advice(mut error: clap::Error) -> clap::Error {
    if error.kind() == ErrorKind::UnknownArgument {
        error.remove(ContextKind::Suggested);
    }
    error
}
