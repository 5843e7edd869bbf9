//! Step 9: Landlock. What a process may open, connect to and signal, whatever its uid and its
//! capabilities allow.
//!
//! All rights that the kernel's version knows are handled, so what no rule gives is refused:
//! writing anything anywhere, binding any TCP port, signals and abstract sockets beyond the
//! domain. It does not know `stat`, UDP, MPTCP and much else: seccomp does.

use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;

use landlock::{
    ABI, Access as _, AccessFs, AccessNet, BitFlags, CompatLevel, Compatible, NetPort, PathBeneath, Ruleset,
    RulesetAttr, RulesetCreated, RulesetCreatedAttr, RulesetError, Scope,
};
use nix::fcntl::{OFlag, open};
use nix::sys::stat::Mode;

use super::confined::{Confined, Seen};
use super::kernel::{WITH_PORTS, WITH_SIGNALS};
use super::spec::{Access, Confinement, Demand, Domain};
use super::{ConfineError, Kernel, at, failed, raw, roots};
use crate::log::Shown;

const STEP: &str = "9 Landlock";

/// Enters the domain that `confinement` asks for.
pub(super) fn restrict(confinement: &Confinement, kernel: Kernel) -> Result<Confined, ConfineError> {
    let cpu = confinement.limits.transfer_cpu;
    let Some(domain) = &confinement.domain else { return Ok(Confined::new(None, Vec::new(), cpu)) };
    if kernel.landlock < WITH_PORTS && confinement.demand == Demand::Required {
        return Err(failed(STEP, kernel.missing().join("; ")));
    }
    if kernel.landlock == 0 {
        return Ok(Confined::new(None, Vec::new(), cpu));
    }
    // Looked at before the rules are made: if something is replaced in between, it shows as
    // outdated, never as unchanged.
    let mut seen: Vec<Seen> = domain.files.iter().map(|rule| Seen::of(&rule.path)).collect();
    let way = if confinement.read_all { Way::Looked } else { Way::Any };
    let ruleset = at(STEP, ruleset(domain, way, kernel))?;
    at(STEP, raw::restrict_self(raw::number(&ruleset)))?;
    seen.iter_mut().for_each(Seen::try_open);
    Ok(Confined::new(Some(ruleset), seen, cpu))
}

/// Whether it counts who made the symlinks on the way to a tree.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    /// It does: what the process may read is more than its uid may.
    Looked,
    /// Its uid bounds it anyhow.
    Any,
}

/// The rules, as the kernel keeps them.
fn ruleset(domain: &Domain, way: Way, kernel: Kernel) -> Result<OwnedFd, Failure> {
    let abi = ABI::from(i32::from(kernel.landlock.min(WITH_SIGNALS)));
    let mut wanted = Ruleset::default()
        .set_compatibility(CompatLevel::HardRequirement)
        .handle_access(AccessFs::from_all(abi))?;
    if kernel.landlock >= WITH_PORTS {
        wanted = wanted.handle_access(AccessNet::from_all(abi))?;
    }
    if kernel.landlock >= WITH_SIGNALS {
        wanted = wanted.scope(Scope::from_all(abi))?;
    }
    let mut made = wanted.create()?;
    for rule in &domain.files {
        let path = Path::new(&rule.path);
        let place = match (rule.access, way) {
            (Access::List | Access::ReadTree, Way::Looked) => roots::open(path),
            (Access::List | Access::ReadTree, Way::Any)
            | (Access::Read | Access::Execute | Access::Use, _) => place(path),
        };
        made = add(made, path, place, rights(rule.access))?;
    }
    if kernel.landlock >= WITH_PORTS {
        for &port in &domain.connect {
            made = made.add_rule(NetPort::new(port, AccessNet::ConnectTcp))?;
        }
    }
    Option::<OwnedFd>::from(made).ok_or(Failure::Nothing)
}

/// The supervisor's domain, and so everybody's: nothing is written but below `places`. Reading,
/// running and connecting are left to each role's own.
pub(super) fn write_only_below(places: &[OsString], kernel: Kernel) -> Result<(), ConfineError> {
    if kernel.landlock == 0 {
        return Ok(());
    }
    let ruleset = at(STEP, write_rules(places, kernel))?;
    at(STEP, raw::restrict_self(raw::number(&ruleset)))
}

fn write_rules(places: &[OsString], kernel: Kernel) -> Result<OwnedFd, Failure> {
    let abi = ABI::from(i32::from(kernel.landlock.min(WITH_SIGNALS)));
    // Devices have their own permissions; terminals are written to by whoever holds them.
    let all = AccessFs::from_write(abi) & !BitFlags::from(AccessFs::IoctlDev);
    let mut made =
        Ruleset::default().set_compatibility(CompatLevel::HardRequirement).handle_access(all)?.create()?;
    for path in places {
        let path = Path::new(path);
        made = add(made, path, place(path), all)?;
    }
    Option::<OwnedFd>::from(made).ok_or(Failure::Nothing)
}

/// Adds a rule for a path. What cannot be had gets none, and so stays closed, which is the safe
/// side: one bad path must not cost a role all the others.
fn add(
    made: RulesetCreated,
    path: &Path,
    place: io::Result<File>,
    mut rights: BitFlags<AccessFs>,
) -> Result<RulesetCreated, RulesetError> {
    let found = place.and_then(|place| Ok((place.metadata()?.is_dir(), place)));
    let (is_directory, place) = match found {
        Ok(found) => found,
        Err(error) => {
            if error.kind() != io::ErrorKind::NotFound && error.kind() != io::ErrorKind::NotADirectory {
                log::warn!("out of reach path={} reason=\"{error}\"", Shown(path.as_os_str()));
            }
            return Ok(made);
        }
    };
    if !is_directory {
        // Rights that only a directory can have are refused by the kernel for anything else.
        rights &= AccessFs::from_file(ABI::V6);
    }
    if rights.is_empty() {
        return Ok(made);
    }
    made.add_rule(PathBeneath::new(place, rights))
}

fn place(path: &Path) -> io::Result<File> {
    Ok(File::from(open(path, OFlag::O_PATH | OFlag::O_CLOEXEC, Mode::empty())?))
}

fn rights(access: Access) -> BitFlags<AccessFs> {
    match access {
        Access::List => AccessFs::ReadDir.into(),
        Access::Read => AccessFs::ReadFile.into(),
        Access::ReadTree => AccessFs::ReadDir | AccessFs::ReadFile,
        Access::Execute => AccessFs::Execute | AccessFs::ReadFile,
        Access::Use => AccessFs::ReadFile | AccessFs::WriteFile,
    }
}

/// What is in no domain must be closed.
pub(super) fn prove(confinement: &Confinement, kernel: Kernel) -> Result<(), ConfineError> {
    let Some(domain) = confinement.domain.as_ref().filter(|_| kernel.landlock > 0) else { return Ok(()) };
    // World-readable on every Linux; no table names it, but the operator may watch all there is.
    let probe = Path::new("/proc/version");
    if domain.files.iter().any(|rule| probe.starts_with(&rule.path)) {
        return Ok(());
    }
    match open(probe, OFlag::O_RDONLY | OFlag::O_CLOEXEC, Mode::empty()) {
        Ok(_) => Err(failed("12 proof", "a file outside the domain can be opened")),
        Err(_) => Ok(()),
    }
}

/// Why the rules cannot be made.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error(transparent)]
    Rules(#[from] RulesetError),
    #[error("the kernel made no ruleset")]
    Nothing,
}
