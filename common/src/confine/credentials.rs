//! Steps 5 to 7: who a process is and which capabilities it has, and that there is no way back.

use caps::{CapSet, Capability, CapsHashSet};
use nix::unistd::{Gid, Uid, getgroups, getresgid, getresuid, setgroups, setresgid, setresuid};

use super::spec::Identity;
use super::{ConfineError, at, failed, raw};

const STEP: &str = "12 proof";
/// An exec as uid 0 gains nothing; a change of uid gives and takes nothing; a change of uid
/// keeps nothing for later; and all this stays so.
const NO_ROOT: u32 = 0b1;
const NO_SETUID_FIXUP: u32 = 0b100;
const NO_AMBIENT_RAISE: u32 = 0b100_0000;
/// Locks of the two first and of keeping; of raising.
const LOCKS: u32 = 0b0010_1010;
const AMBIENT_LOCK: u32 = 0b1000_0000;
/// What the supervisor has, and each role until its own capabilities are raised.
const FOR_ROLES: u32 = NO_ROOT | NO_SETUID_FIXUP | LOCKS;
/// What a role ends with.
const FINAL: u32 = FOR_ROLES | NO_AMBIENT_RAISE | AMBIENT_LOCK;

/// Becomes `identity`, where there is one, with the capabilities that [`kept`] names.
pub(super) fn take_on(identity: Option<Identity>, read_all: bool) -> Result<(), ConfineError> {
    let keep = kept(read_all);
    if identity.is_none() {
        return give_up_all_but(&keep);
    }
    become_other(identity, None, &keep)?;
    at("7 securebits", raw::set_securebits(FINAL))?;
    at("7 capabilities", caps::set(None, CapSet::Effective, &keep))?;
    at("7 capabilities", caps::set(None, CapSet::Permitted, &keep))
}

/// The supervisor's part: who it becomes, if it is to become somebody, with those capabilities;
/// ambient, so that each role has them to begin with.
pub(super) fn lower(
    identity: Option<Identity>,
    group: Option<Gid>,
    keep: &CapsHashSet,
) -> Result<(), ConfineError> {
    become_other(identity, group, keep)?;
    at("7 capabilities", caps::set(None, CapSet::Effective, keep))?;
    at("7 capabilities", caps::set(None, CapSet::Permitted, keep))
}

fn become_other(
    identity: Option<Identity>,
    supplementary: Option<Gid>,
    keep: &CapsHashSet,
) -> Result<(), ConfineError> {
    at("5 bounding set", drop_bounding_set(keep))?;
    // Without the fixup the capabilities survive the change of uid; step 7 chooses among them.
    at("5 securebits", raw::set_securebits(FOR_ROLES))?;
    if let Some(Identity { uid, gid }) = identity {
        at("6 groups", setgroups(supplementary.as_slice()))?;
        let (user, group) = (Uid::from_raw(uid), Gid::from_raw(gid));
        at("6 gid", setresgid(group, group, group))?;
        at("6 uid", setresuid(user, user, user))?;
    }
    at("7 capabilities", caps::set(None, CapSet::Inheritable, keep))?;
    at("7 capabilities", caps::set(None, CapSet::Ambient, keep))
}

/// What is kept.
pub(super) fn kept(read_all: bool) -> CapsHashSet {
    read_all.then_some(Capability::CAP_DAC_READ_SEARCH).into_iter().collect()
}

/// For a process that stays who it is: root without the right to become somebody else, or a user
/// with more capabilities than it needs.
pub(super) fn give_up_all_but(keep: &CapsHashSet) -> Result<(), ConfineError> {
    at("7 capabilities", shrink(keep))
}

/// Gives up every capability but those. Needs no privilege.
fn shrink(keep: &CapsHashSet) -> Result<(), caps::errors::CapsError> {
    // Ambient is what is permitted and inheritable: by then it has to be both.
    caps::set(None, CapSet::Inheritable, keep)?;
    caps::set(None, CapSet::Ambient, keep)?;
    caps::set(None, CapSet::Effective, keep)?;
    caps::set(None, CapSet::Permitted, keep)
}

fn drop_bounding_set(keep: &CapsHashSet) -> Result<(), caps::errors::CapsError> {
    for capability in caps::read(None, CapSet::Bounding)? {
        if !keep.contains(&capability) {
            caps::drop(None, CapSet::Bounding, capability)?;
        }
    }
    Ok(())
}

/// A role is what it was to become.
pub(super) fn prove(identity: Option<Identity>, read_all: bool) -> Result<(), ConfineError> {
    let keep = kept(read_all);
    has_exactly(&keep)?;
    if identity.is_none() {
        return Ok(());
    }
    prove_lowered(identity, None, &keep)?;
    let root = Uid::from_raw(0);
    if setresuid(root, root, root).is_ok() {
        return Err(failed(STEP, "the way back to root is open"));
    }
    if at(STEP, raw::securebits())? != i64::from(FINAL) {
        return Err(failed(STEP, "the securebits are not locked"));
    }
    Ok(())
}

/// The supervisor is what it was to become.
pub(super) fn prove_lowered(
    identity: Option<Identity>,
    group: Option<Gid>,
    keep: &CapsHashSet,
) -> Result<(), ConfineError> {
    has_exactly(keep)?;
    if at(STEP, caps::read(None, CapSet::Bounding))? != *keep {
        return Err(failed(STEP, "the bounding set is not what was asked for"));
    }
    let Some(Identity { uid, gid }) = identity else { return Ok(()) };
    let (uids, gids) = (at(STEP, getresuid())?, at(STEP, getresgid())?);
    let wanted = (Uid::from_raw(uid), Gid::from_raw(gid));
    if [uids.real, uids.effective, uids.saved] != [wanted.0; 3]
        || [gids.real, gids.effective, gids.saved] != [wanted.1; 3]
    {
        return Err(failed(STEP, "uid or gid is not what was asked for"));
    }
    if at(STEP, getgroups())? != group.as_slice() {
        return Err(failed(STEP, "supplementary groups are not what was asked for"));
    }
    Ok(())
}

fn has_exactly(keep: &CapsHashSet) -> Result<(), ConfineError> {
    for set in [CapSet::Effective, CapSet::Permitted, CapSet::Ambient, CapSet::Inheritable] {
        if at(STEP, caps::read(None, set))? != *keep {
            return Err(failed(STEP, "capabilities are not what was asked for"));
        }
    }
    Ok(())
}
