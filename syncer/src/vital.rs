//! Whether a process does anything: its CPU time and its I/O counters, from `/proc`.

use nix::unistd::Pid;

/// Two equal signs, some time apart: nothing was done in between.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Signs {
    cpu: u64,
    /// Bytes read and written; not everybody may see them.
    bytes: Option<u64>,
}

/// The signs of `pid` now; `None` when they cannot be read.
pub(crate) fn signs(pid: Pid) -> Option<Signs> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let io = std::fs::read_to_string(format!("/proc/{pid}/io")).ok();
    Some(Signs { cpu: cpu_ticks(&stat)?, bytes: io.as_deref().and_then(bytes) })
}

/// Fields 14 and 15. The second one, the name, may hold blanks and parentheses.
fn cpu_ticks(stat: &str) -> Option<u64> {
    let (_, rest) = stat.rsplit_once(')')?;
    let mut fields = rest.split_ascii_whitespace().skip(11);
    let user: u64 = fields.next()?.parse().ok()?;
    let system: u64 = fields.next()?.parse().ok()?;
    user.checked_add(system)
}

fn bytes(io: &str) -> Option<u64> {
    let field = |name: &str| io.lines().find_map(|line| line.strip_prefix(name)?.trim().parse::<u64>().ok());
    field("rchar:")?.checked_add(field("wchar:")?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_parentheses() {
        let stat = "7 (a) b (c) S 1 7 7 0 -1 4194560 1 0 0 0 30 12 0 0 20 0 1 0 100 5000 10";
        assert_eq!(cpu_ticks(stat), Some(42));
        assert_eq!(cpu_ticks("7 (a"), None);
        assert_eq!(bytes("rchar: 5\nwchar: 6\nsyscr: 1\n"), Some(11));
    }

    #[test]
    fn our_own() {
        let before = signs(Pid::this()).unwrap();
        let again = std::fs::read_to_string("/proc/self/status").unwrap();
        assert!(!again.is_empty());
        assert_ne!(signs(Pid::this()), Some(before));
    }
}
