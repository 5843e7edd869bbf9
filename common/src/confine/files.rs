//! Step 9: Landlock. What a process may open, connect to and signal, whatever its uid and its
//! capabilities allow.
//!
//! All rights that the kernel's version knows are handled, so what no rule gives is refused:
//! writing anything anywhere, binding any TCP port, signals and abstract sockets beyond the
//! domain. It does not know `stat`, UDP, MPTCP and much else: seccomp does.

use std::ffi::{OsStr, OsString};
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

use super::confined::{Confined, identity_of};
use super::kernel::{WITH_PORTS, WITH_SIGNALS};
use super::spec::{Access, Confinement, Demand, Domain};
use super::{ConfineError, Kernel, at, failed, raw};

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
    let seen = domain.files.iter().map(|rule| (rule.path.clone(), identity_of(&rule.path))).collect();
    let ruleset = at(STEP, ruleset(domain, kernel))?;
    at(STEP, raw::restrict_self(raw::number(&ruleset)))?;
    Ok(Confined::new(Some(ruleset), seen, cpu))
}

/// The rules, as the kernel keeps them.
fn ruleset(domain: &Domain, kernel: Kernel) -> Result<OwnedFd, Failure> {
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
        made = add(made, &rule.path, rights(rule.access))?;
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
    for place in places {
        made = add(made, place, all)?;
    }
    Option::<OwnedFd>::from(made).ok_or(Failure::Nothing)
}

/// Adds a rule for a path that exists.
fn add(
    made: RulesetCreated,
    path: &OsStr,
    mut rights: BitFlags<AccessFs>,
) -> Result<RulesetCreated, Failure> {
    let path = Path::new(path);
    let file = match open(path, OFlag::O_PATH | OFlag::O_CLOEXEC, Mode::empty()) {
        Ok(file) => File::from(file),
        Err(nix::errno::Errno::ENOENT | nix::errno::Errno::ENOTDIR) => return Ok(made),
        Err(error) => return Err(Failure::Path(path.display().to_string(), error.into())),
    };
    let is_directory =
        file.metadata().map_err(|error| Failure::Path(path.display().to_string(), error))?.is_dir();
    if !is_directory {
        // Rights that only a directory can have are refused by the kernel for anything else.
        rights &= AccessFs::from_file(ABI::V6);
    }
    if rights.is_empty() {
        return Ok(made);
    }
    Ok(made.add_rule(PathBeneath::new(file, rights))?)
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
    if confinement.domain.is_none() || kernel.landlock == 0 {
        return Ok(());
    }
    // World-readable on every Linux, and named by no table.
    match open("/proc/version", OFlag::O_RDONLY | OFlag::O_CLOEXEC, Mode::empty()) {
        Ok(_) => Err(failed("12 proof", "a file outside the domain can be opened")),
        Err(_) => Ok(()),
    }
}

/// Why the rules cannot be made.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error("{0}: {1}")]
    Path(String, io::Error),
    #[error(transparent)]
    Rules(#[from] RulesetError),
    #[error("the kernel made no ruleset")]
    Nothing,
}
