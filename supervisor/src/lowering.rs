//! What the supervisor gives up once it holds what it needs, and what it says about it: the
//! step between reading a config and starting the first role.

use std::ffi::OsString;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use common::config::{Config, PluginName, WatcherKind};
use common::confine::{self, ConfineError, Demand, Footing, Identity, Kernel, Lowering};
use common::event::TreeId;
use common::log::{Quoted, Shown};
use log::{info, warn};
use nix::unistd::{Gid, User, geteuid, getgroups};

use crate::cgroup::Found;
use crate::operator_file::{self, Owner};
use crate::plan::Plan;
use crate::privileges::Grounds;
use crate::runtime::Runtime;
use crate::{accounts, logging, namespace};

/// Where the answers of a CDN are recorded, as the event loop opens it.
pub(crate) const CDN_LOG: &str = "errorlog.txt";

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

/// Tries the mark that `<inotify watcher="fanotify">` takes for each root, as each watcher will set it.
/// `Err` holds a line for each that is refused: nothing is watched in another way than was asked for.
pub fn check_marks(plan: &Plan) -> Result<(), Vec<String>> {
    let config = plan.config();
    match config.watcher {
        WatcherKind::Inotify => return Ok(()),
        WatcherKind::Fanotify => {}
    }
    let refused = |tree| {
        let root = plan.watch(TreeId(tree));
        let error = confine::mark(root, config.switches).err()?;
        Some(format!(
            "watch={}: <inotify watcher=\"fanotify\"> cannot be had: {error}; watcher=\"inotify\" needs no mark",
            Quoted(root)
        ))
    };
    let lines: Vec<String> = (0_u16..).take(plan.trees()).filter_map(refused).collect();
    if lines.is_empty() { Ok(()) } else { Err(lines) }
}

/// Whether whom root becomes may start this program, as it does for each role: reading everything
/// is not executing it. `Err` says what to do.
pub fn check_program(identity: Option<Identity>) -> Result<(), String> {
    let (Some(identity), Ok(program)) = (identity, std::env::current_exe()) else { return Ok(()) };
    match Path::new("/proc/self/exe").metadata() {
        Ok(found) if !may_execute(found.mode(), (found.uid(), found.gid()), identity) => Err(format!(
            "{} cannot be executed by uid {}, which the supervisor becomes; chmod 755 {}",
            Shown(program.as_os_str()),
            identity.uid,
            Quoted(program.as_os_str())
        )),
        Ok(_) | Err(_) => Ok(()),
    }
}

/// As the kernel judges: the first of owner, group and others that fits.
fn may_execute(mode: u32, (owner, group): (u32, u32), who: Identity) -> bool {
    let bit = if who.uid == owner {
        0o100
    } else if who.gid == group {
        0o010
    } else {
        0o001
    };
    mode & bit != 0
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
                "root without CAP_SETUID, CAP_SETGID, CAP_SETPCAP and CAP_KILL, or without uids to give: all \
                 roles stay uid 0, and what root owns is theirs"
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

/// Sees to it that ssh finds an account for each uid of the block from `first_uid`, which the roles
/// get that may run it. Before any thread exists, and before [`lower`].
pub fn give_accounts(plan: &Plan, first_uid: Option<u32>, footing: Footing) {
    let wants_ssh =
        plan.config().trees.iter().flat_map(|tree| &tree.remotes).any(|remote| remote.rsync.ssh.is_some());
    let Some(first) = first_uid.filter(|_| wants_ssh) else { return };
    let roots = (0_u16..).take(plan.trees()).map(|tree| PathBuf::from(plan.watch(TreeId(tree))));
    let shows_etc = roots.into_iter().any(|root| shows_etc(&root));
    let see = |accounts: &[u8]| {
        if !footing.root {
            return Err(std::io::Error::other("only root can give them one for the supervisor alone"));
        }
        if shows_etc {
            // What is made up for ssh would be mirrored in place of the host's.
            return Err(std::io::Error::other("/etc is watched, and so nothing can be put in its place"));
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

/// Whether a root shows `/etc`, or a part of it.
fn shows_etc(root: &Path) -> bool {
    let real = |path: &Path| path.canonicalize().unwrap_or_else(|_| path.to_owned());
    let (root, etc) = (real(root), real(Path::new("/etc")));
    etc.starts_with(&root) || root.starts_with(&etc)
}

/// Gives up everything but what the supervisor needs, for good, and says what is in force.
pub fn lower(plan: &Plan, runtime: &Runtime, grounds: Grounds, cgroups: &Found) -> Result<(), ConfineError> {
    let (config, Grounds { footing, demand }) = (plan.config(), grounds);
    let writes = writes(plan, runtime, cgroups);
    confine::lower(&Lowering {
        footing,
        identity: runtime.identity,
        sees_processes: namespace::hidden_processes().filter(|_| footing.root),
        writes: writes.as_deref(),
        demand,
        syscalls: config.sandbox,
        watcher: config.watcher,
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
fn writes(plan: &Plan, runtime: &Runtime, cgroups: &Found) -> Option<Vec<OsString>> {
    let (config, has_remotes) = (plan.config(), plan.has_remotes());
    // An operator's program writes where it wants, and inherits the bound.
    if !config.sandbox || config.plugins_on.contains(&PluginName::Command) {
        return None;
    }
    let absolute = |path: &Path| std::path::absolute(path).ok();
    let fail_log = config.fail_log.path.as_ref().filter(|_| has_remotes);
    let fail_log = fail_log.and_then(|path| absolute(Path::new(path)));
    let fail_log = fail_log.and_then(|path| place_of(&path, runtime.owner()));
    // Whoever rotates it makes the new one, or leaves that to us.
    let log = logging::file(&config.log).and_then(|path| place_of(path, runtime.owner()));
    let cdn = config.plugins_on.contains(&PluginName::RefreshCdn);
    let cdn = cdn.then(|| absolute(Path::new(CDN_LOG))).flatten();
    // A rule needs a file that is there. What is wrong with it is said when the plugin starts.
    let cdn = cdn.filter(|path| operator_file::append(runtime.owner(), path).is_ok());
    let own = [runtime.directory.clone(), runtime.base.clone(), "/dev/null".into()];
    let cgroups = match cgroups {
        Found::Delegated(cgroups) => Some(cgroups.directory().to_owned()),
        Found::Unavailable(_) => None,
    };
    Some(own.into_iter().chain(log).chain(fail_log).chain(cdn).chain(cgroups).map(Into::into).collect())
}

/// Where the fail log at `path` may be written: its directory, so that it can be replaced; but never
/// everywhere.
fn place_of(path: &Path, owner: Owner) -> Option<PathBuf> {
    let directory = path.parent()?;
    let Ok(real) = directory.canonicalize() else {
        // That it is missing was said already; what follows from it was not.
        warn!(
            "directory={}: make it and start the supervisor anew, for the fail log",
            Shown(directory.as_os_str())
        );
        return None;
    };
    if real.parent().is_some() {
        return Some(real);
    }
    operator_file::append(owner, path).is_ok().then(|| path.to_owned())
}

/// How many capabilities are in force, as the kernel says.
fn capabilities() -> Option<u32> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let set = status.lines().find_map(|line| line.strip_prefix("CapEff:"))?;
    u64::from_str_radix(set.trim(), 16).ok().map(u64::count_ones)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_may_execute() {
        let who = Identity { uid: 7, gid: 8 };
        for (mode, owner, expected) in [
            (0o700, (0, 0), false),
            (0o755, (0, 0), true),
            (0o711, (0, 0), true),
            (0o750, (0, 8), true),
            (0o750, (0, 9), false),
            (0o701, (0, 8), false),
            (0o100, (7, 8), true),
            (0o011, (7, 8), false),
        ] {
            assert_eq!(may_execute(mode, owner, who), expected, "{mode:o} {owner:?}");
        }
    }

    #[test]
    fn roots_that_show_etc() {
        let directory = tempfile::tempdir().unwrap();
        let link = directory.path().join("link");
        std::os::unix::fs::symlink("/etc", &link).unwrap();
        for (root, expected) in [
            (Path::new("/"), true),
            (Path::new("/etc"), true),
            (Path::new("/etc/ssl/certs"), true),
            (&link, true),
            (Path::new("/etcetera"), false),
            (Path::new("/srv/www"), false),
            (directory.path(), false),
        ] {
            assert_eq!(shows_etc(root), expected, "{}", root.display());
        }
    }

    #[test]
    fn the_bound_is_never_everything() {
        let owner = Owner::new(None);
        let directory = tempfile::tempdir().unwrap();
        let log = directory.path().join("fail.sh");
        assert_eq!(place_of(&log, owner), directory.path().canonicalize().ok());
        assert_eq!(place_of(&directory.path().join("missing/fail.sh"), owner), None);
        let in_root = PathBuf::from(format!("/sersync-test-{}", std::process::id()));
        let place = place_of(&in_root, owner);
        assert_eq!(place, nix::unistd::geteuid().is_root().then(|| in_root.clone()));
        let _ = std::fs::remove_file(in_root);
    }
}
