//! What the kernel tells of a role: whose it is, what holds it, how much memory it has. One read of
//! `/proc/PID/status`, which anybody may read; only when somebody asks.

use std::fs;

use super::Sandbox;

/// What is told there.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Told {
    /// Effective uid.
    pub uid: Option<u32>,
    /// Resident memory, in bytes.
    pub memory: Option<u64>,
    /// Without what Landlock does: it does not show there.
    pub sandbox: Option<Sandbox>,
}

/// Reads it. Nothing is known of a process that is gone.
pub fn read(pid: i32) -> Told {
    fs::read_to_string(format!("/proc/{pid}/status")).map_or_else(|_| Told::default(), |text| parse(&text))
}

fn parse(status: &str) -> Told {
    let field = |name: &str| {
        status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).map(str::trim)
    };
    let kibibytes = field("VmRSS").and_then(|text| text.strip_suffix(" kB")?.trim().parse::<u64>().ok());
    let sandbox = field("CapEff").map(|capabilities| Sandbox {
        no_new_privs: field("NoNewPrivs") == Some("1"),
        seccomp: field("Seccomp") == Some("2"),
        landlock: false,
        capabilities: capabilities.to_owned(),
    });
    Told {
        uid: field("Uid").and_then(|uids| uids.split_whitespace().nth(1)?.parse().ok()),
        memory: kibibytes.and_then(|kibibytes| kibibytes.checked_mul(1024)),
        sandbox,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_own() {
        let told = read(std::process::id().cast_signed());
        assert_eq!(told.uid, Some(nix::unistd::geteuid().as_raw()));
        assert!(told.memory.is_some_and(|bytes| bytes > 100_000), "{told:?}");
        assert!(told.sandbox.is_some());
        assert_eq!(read(0), Told::default());
    }

    #[test]
    fn one_that_is_confined() {
        let status = "Name:\tsersync-syncer\nUid:\t7\t8\t9\t10\nVmRSS:\t    4096 kB\nCapEff:\t0000000000000004\n\
                      NoNewPrivs:\t1\nSeccomp:\t2\n";
        let capabilities = "0000000000000004".to_owned();
        let sandbox = Some(Sandbox { no_new_privs: true, seccomp: true, landlock: false, capabilities });
        assert_eq!(parse(status), Told { uid: Some(8), memory: Some(4096 * 1024), sandbox });
        assert_eq!(parse("Uid:\nVmRSS:\t18446744073709551615 kB\n"), Told::default());
    }
}
