//! What this kernel can refuse.

use super::raw;

/// The sandbox's means, as far as this kernel has them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Kernel {
    /// Version of Landlock; 0 for none. Files from 1, TCP ports from 4, signals from 6.
    pub landlock: u8,
    /// seccomp filters that can kill and answer with an error.
    pub seccomp: bool,
}

/// Version of Landlock that knows TCP ports (Linux 6.7).
pub(super) const WITH_PORTS: u8 = 4;
/// Version of Landlock that keeps signals inside (Linux 6.12).
pub(super) const WITH_SIGNALS: u8 = 6;

impl Kernel {
    /// Asks the kernel.
    pub fn probe() -> Kernel {
        let landlock = raw::landlock_version().map_or(0, |version| u8::try_from(version).unwrap_or(u8::MAX));
        let actions = [libc::SECCOMP_RET_KILL_PROCESS, libc::SECCOMP_RET_ERRNO];
        Kernel { landlock, seccomp: actions.into_iter().all(raw::seccomp_action_available) }
    }

    /// What `sandbox="required"` cannot do without and this kernel has not; for people.
    pub fn missing(self) -> Vec<&'static str> {
        let files = (self.landlock == 0).then_some(
            "Landlock (Linux 5.13, CONFIG_SECURITY_LANDLOCK, and landlock in the boot parameter lsm=): files are not confined",
        );
        let ports = ((1..WITH_PORTS).contains(&self.landlock))
            .then_some("Landlock for TCP ports (Linux 6.7): any port can be connected to");
        let seccomp =
            (!self.seccomp).then_some("seccomp filters (CONFIG_SECCOMP_FILTER): any system call can be made");
        [files, ports, seccomp].into_iter().flatten().collect()
    }

    /// What it would be better to have; for people.
    pub fn wanting(self) -> Option<&'static str> {
        (self.landlock < WITH_SIGNALS)
            .then_some("Landlock for signals (Linux 6.12): rsync could signal its own syncer")
    }
}
