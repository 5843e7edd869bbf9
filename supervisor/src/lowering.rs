//! What the supervisor gives up once it holds what it needs, and what it says about it: the
//! step between reading a config and starting the first role.

use std::ffi::OsString;
use std::path::Path;

use common::config::{Config, PluginName};
use common::confine::{self, ConfineError, Demand, Footing, Kernel, Lowering};
use log::{info, warn};
use nix::unistd::{Gid, User, geteuid, getgroups};

use crate::cgroup::Found;
use crate::plan::Plan;
use crate::privileges::Grounds;
use crate::runtime::Runtime;
use crate::{accounts, namespace};

/// Says what the sandbox cannot do here. `Err` holds one line for each reason not to start.
pub fn check(config: &Config, grounds: Grounds) -> Result<(), Vec<String>> {
    if let (true, Some(group)) = (grounds.footing.gives_uids, namespace::hidden_processes()) {
        // Root joins the group.
        let is_in = || getgroups().is_ok_and(|groups| groups.contains(&Gid::from_raw(group)));
        if !grounds.footing.root && !is_in() {
            return Err(vec![format!(
                "/proc hides the processes of others (hidepid): the supervisor could not look at its roles; let \
                 it be in the group {group} that sees them, for systemd by SupplementaryGroups={group}"
            )]);
        }
    }
    if !config.sandbox {
        warn!(
            "sandbox=off: the supervisor, rsync and the roles are bounded by their uids and capabilities alone"
        );
        return Ok(());
    }
    let kernel = Kernel::probe();
    let missing = kernel.missing();
    match grounds.demand {
        Demand::Required if !missing.is_empty() => {
            let mut lines: Vec<String> =
                missing.iter().map(|what| format!("the kernel lacks {what}")).collect();
            lines.push("to start all the same: <privileges sandbox=\"best-effort\"/>".to_owned());
            return Err(lines);
        }
        Demand::Required | Demand::BestEffort => {
            for what in &missing {
                warn!("sandbox=best-effort: the kernel lacks {what}");
            }
        }
    }
    if let (true, Some(what)) = (missing.is_empty(), kernel.wanting()) {
        warn!("the kernel lacks {what}");
    }
    Ok(())
}

/// Says what follows from who started the supervisor.
pub fn say_footing(footing: Footing) {
    let uid = geteuid();
    match (footing.gives_uids, footing.reads_all) {
        (true, true) => {}
        (true, false) => {
            warn!("no CAP_DAC_READ_SEARCH: only what the uids of the roles may read is mirrored");
        }
        (false, _) if footing.root => {
            warn!(
                "root without CAP_SETUID, CAP_SETGID, CAP_SETPCAP and CAP_KILL: all roles stay uid 0, and \
                 what root owns is theirs"
            );
        }
        (false, true) => {
            warn!(
                "not started as root (uid={uid}): single uid with CAP_DAC_READ_SEARCH: roles share the uid"
            );
        }
        (false, false) => {
            warn!(
                "not started as root (uid={uid}): all roles share this user, and only what it may read is \
                 mirrored"
            );
        }
    }
}

/// Sees to it that ssh finds an account for the uid of each role that may run it. Before any
/// thread exists, and before [`lower`].
pub fn give_accounts(plan: &Plan, runtime: &Runtime, footing: Footing) {
    let wants_ssh =
        plan.config().trees.iter().flat_map(|tree| &tree.remotes).any(|remote| remote.rsync.ssh.is_some());
    let Some(first) = runtime.first_uid.filter(|_| wants_ssh) else { return };
    let see = |accounts: &[u8]| {
        if !footing.root {
            return Err(std::io::Error::other("only root can give them one for the supervisor alone"));
        }
        namespace::see_accounts(accounts)
    };
    let seen = match accounts::with_roles(first) {
        Ok(None) => return,
        Ok(Some(text)) => see(&text),
        Err(error) => Err(error),
    };
    match seen {
        Ok(namespace::Mounts::Seen) => {}
        Ok(namespace::Mounts::NotSeen) => warn!(
            "the mounts of this host are private: what is mounted or unmounted from now on is not seen, because \
             the accounts for ssh need a mount namespace; give the uids from {first} accounts \
             (packaging/sysusers.d/sersync-ssh.conf), or mount --make-rshared / first"
        ),
        Err(error) => warn!(
            "ssh will not run: the uids from {first} have no accounts: {error}; make them with \
             packaging/sysusers.d/sersync-ssh.conf, or let User= in the unit be an ordinary account without \
             capabilities"
        ),
    }
}

/// Gives up everything but what the supervisor needs, for good, and says what is in force.
pub fn lower(plan: &Plan, runtime: &Runtime, grounds: Grounds, cgroups: &Found) -> Result<(), ConfineError> {
    let (config, Grounds { footing, demand }) = (plan.config(), grounds);
    let writes = writes(config, runtime, cgroups);
    confine::lower(&Lowering {
        footing,
        identity: runtime.identity,
        sees_processes: namespace::hidden_processes().filter(|_| footing.root),
        writes: writes.as_deref(),
        demand,
        syscalls: config.sandbox,
    })?;
    let (uid, kernel) = (geteuid(), Kernel::probe());
    let user = User::from_uid(uid).ok().flatten().map_or_else(|| "-".to_owned(), |user| user.name);
    let sandbox = match (config.sandbox, demand) {
        (false, _) => "off",
        (true, Demand::Required) => "required",
        (true, Demand::BestEffort) => "best-effort",
    };
    info!(
        "privileges user={user} uid={uid} capabilities={} sandbox={sandbox} landlock={} seccomp={} roles={}",
        capabilities().map_or_else(|| "?".to_owned(), |count| count.to_string()),
        kernel.landlock,
        if kernel.seccomp { "yes" } else { "no" },
        if footing.gives_uids { "uids" } else { "one-uid" }
    );
    Ok(())
}

/// Where the supervisor, and so everybody, may write; `None` for no bound.
fn writes(config: &Config, runtime: &Runtime, cgroups: &Found) -> Option<Vec<OsString>> {
    // An operator's program writes where it wants, and inherits the bound.
    if !config.sandbox || config.plugins_on.contains(&PluginName::Command) {
        return None;
    }
    let absolute = |path: &Path| std::path::absolute(path).ok();
    let fail_log = config.fail_log.path.as_ref().and_then(|path| absolute(Path::new(path)));
    let fail_log = fail_log.and_then(|path| path.parent().map(Path::to_owned));
    let cdn = config.plugins_on.contains(&PluginName::RefreshCdn).then(|| absolute(Path::new("."))).flatten();
    let own = [runtime.directory.clone(), runtime.base.clone(), "/dev/null".into()];
    let cgroups = match cgroups {
        Found::Delegated(cgroups) => Some(cgroups.directory().to_owned()),
        Found::Unavailable(_) => None,
    };
    Some(own.into_iter().chain(fail_log).chain(cdn).chain(cgroups).map(Into::into).collect())
}

/// How many capabilities are in force, as the kernel says.
fn capabilities() -> Option<u32> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let set = status.lines().find_map(|line| line.strip_prefix("CapEff:"))?;
    u64::from_str_radix(set.trim(), 16).ok().map(u64::count_ones)
}
