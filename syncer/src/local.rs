//! What our own rsync can do, asked once and only where it matters.

use std::ffi::OsStr;
use std::process::{Command, Stdio};

use common::confine;

use crate::abilities::Ability;

/// The first version that escapes a remote path for the remote's shell.
const ESCAPES: (u32, u32, u32) = (3, 2, 4);

/// Whether `program` escapes remote paths. One that does not say its version is not trusted to.
pub(crate) fn escaping(program: &OsStr) -> Ability {
    let mut command = Command::new(program);
    command.arg("--version").env_clear().env("LC_ALL", "C").current_dir("/").stdin(Stdio::null());
    confine::die_with_parent(&mut command);
    let text = command.output().map(|output| output.stdout).unwrap_or_default();
    match version(&String::from_utf8_lossy(&text)) {
        Some(version) if version >= ESCAPES => Ability::Proven,
        Some(_) | None => Ability::Missing,
    }
}

/// `rsync  version 3.5.0  protocol version 32` → `(3, 5, 0)`.
fn version(text: &str) -> Option<(u32, u32, u32)> {
    let word = text.lines().next()?.split_once("version")?.1.split_whitespace().next()?;
    let mut numbers = word.trim_start_matches('v').split('.').map(|part| {
        let digits: String = part.chars().take_while(char::is_ascii_digit).collect();
        digits.parse::<u32>().ok()
    });
    Some((numbers.next()??, numbers.next()??, numbers.next().flatten().unwrap_or(0)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions() {
        assert_eq!(version("rsync  version 3.2.7  protocol version 31\nx"), Some((3, 2, 7)));
        assert_eq!(version("rsync version v3.4.1 protocol"), Some((3, 4, 1)));
        assert_eq!(version("openrsync: protocol version 29"), None);
        assert_eq!(escaping(OsStr::new("/usr/bin/rsync")), Ability::Proven);
        assert_eq!(escaping(OsStr::new("/bin/false")), Ability::Missing);
    }
}
