//! This machine: what its kernel can refuse, settings that matter, users, and programs.

use std::fs;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use common::config::WatcherKind;
use common::confine::{Confinement, Demand, Footing, Kernel, mark, without_capabilities};
use common::event::TreeId;
use common::log::{Shown, escape};
use common::message::{RsyncVersion, SyncSlice, watches_wanted};
use nix::unistd::{Uid, User, geteuid};

use super::Report;
use crate::accounts;
use crate::check::walk;
use crate::core::{Lane, RemoteId, Role};
use crate::plan::Plan;
use crate::privileges::{self, Grounds};
use crate::runtime::{self, ROLE_UIDS};

/// How long directories are counted; there is a supervisor to do it properly.
const PATIENCE: Duration = Duration::from_secs(10);
/// rsyncs before this one lack the fixes of 2026.
const FIXED_RSYNC: RsyncVersion = (3, 5, 0);
/// And before this one a malicious server reads and writes a client's files: CVE-2026-43618,
/// CVE-2026-43620, CVE-2026-45232.
const SAFE_RSYNC: RsyncVersion = (3, 4, 3);
/// Longest version that is shown, in bytes.
const MAX_VERSION: usize = 120;

/// What the kernel can refuse.
pub(super) fn kernel(report: &mut Report, kernel: Kernel, grounds: Grounds) {
    report.section("kernel");
    if kernel.landlock > 0 {
        report.good(&format!("Landlock version {}", kernel.landlock));
    }
    if kernel.seccomp {
        report.good("seccomp filters");
    }
    for missing in kernel.missing() {
        match grounds.demand {
            Demand::Required => report.fail(&format!("missing: {missing}")),
            Demand::BestEffort => report.warn(&format!("missing: {missing}")),
        }
    }
    kernel.wanting().into_iter().for_each(|wanting| report.warn(&format!("wanting: {wanting}")));
    match setting("kernel/yama/ptrace_scope") {
        Some(scope) => report.good(&format!("Yama, kernel.yama.ptrace_scope={scope}")),
        None => report.note("no Yama; roles have uids, Landlock and seccomp in its place"),
    }
}

/// Settings of the kernel.
pub(super) fn settings(report: &mut Report, plan: &Plan) {
    report.section("settings");
    for (name, why) in [
        (
            "fs/protected_hardlinks",
            "whoever writes in a watched root can link any file of its file system there",
        ),
        ("fs/protected_symlinks", "links in world-writable directories lead anywhere"),
    ] {
        let dotted = name.replace('/', ".");
        match setting(name).as_deref() {
            None | Some("0") => report.warn(&format!("{dotted}=0: {why}; sysctl -w {dotted}=1")),
            Some(value) => report.good(&format!("{dotted}={value}")),
        }
    }
    for name in ["kernel/unprivileged_userns_clone", "kernel/io_uring_disabled"] {
        if let Some(value) = setting(name) {
            report.note(&format!("{}={value}: the roles use neither", name.replace('/', ".")));
        }
    }
    watches(report, plan);
}

/// Whether each root can have its mark.
fn marks(report: &mut Report, plan: &Plan) {
    for root in (0_u16..).take(plan.trees()).map(|tree| plan.watch(TreeId(tree))) {
        match mark(root, plan.config().switches) {
            Ok(_) => report.good(&format!("{}: its filesystem can be marked for fanotify", Shown(root))),
            Err(error) => report.fail(&format!("{}: fanotify: {error}", Shown(root))),
        }
    }
}

/// Whether every directory can have its watch.
fn watches(report: &mut Report, plan: &Plan) {
    match plan.config().watcher {
        WatcherKind::Inotify => {}
        WatcherKind::Fanotify => return marks(report, plan),
    }
    let name = "fs.inotify.max_user_watches";
    let Some(most) = walk::limit() else {
        return report.fail("fs.inotify: this kernel has no inotify");
    };
    let roots: Vec<PathBuf> =
        (0_u16..).take(plan.trees()).map(|tree| PathBuf::from(plan.watch(TreeId(tree)))).collect();
    let seen = walk::walk(&roots, &[], PATIENCE);
    let count = seen.directories;
    let text = format!("{name}={most}, directories below the roots: {}", walk::shown(&seen));
    let wanted = watches_wanted(count);
    if wanted <= most {
        report.good(&text);
    } else {
        report.warn(&format!("{text}; sysctl -w {name}={wanted}"));
    }
}

/// Who we are, and who the roles become.
pub(super) fn users(report: &mut Report, plan: &Plan, footing: Footing, uids: Option<u32>) {
    report.section("users");
    let us = geteuid();
    match (footing.root, footing.gives_uids, footing.reads_all) {
        (_, true, true) => report.good(&format!("started as uid {us}: each role gets a uid of its own")),
        (_, true, false) => report
            .warn(&format!("started as uid {us} without CAP_DAC_READ_SEARCH: only what the roles' uids may read is mirrored")),
        (_, false, true) => report.warn(&format!("started as uid {us} with CAP_DAC_READ_SEARCH only: all roles share it")),
        (_, false, false) => report.warn(&format!(
            "started as uid {us} without privileges: all roles share it, and what is tried here is what holds so"
        )),
    }
    match accounts::identity("sersync") {
        Ok(identity) => report.good(&format!("account sersync, uid {}", identity.uid)),
        Err(_) if footing.root => {
            report.note("no account sersync: the supervisor takes the last uid of its block");
        }
        Err(_) => report.note("no account sersync"),
    }
    if uids.is_none() {
        return;
    }
    let configured = plan.config().privileges.first_uid;
    match configured {
        Some(first) if !runtime::is_mapped(first) => {
            report.fail(&format!("uids of the roles: 64 from {first} are not mapped in this user namespace"));
        }
        Some(first) => report.good(&format!("uids of the roles: 64 from {first}, as configured")),
        None => report.good("uids of the roles: a free block of 64 from 2000000000 on"),
    }
    let first = configured.unwrap_or_else(runtime::usual_uid);
    let block = first..first.saturating_add(ROLE_UIDS);
    let nameless = block.filter(|&uid| !matches!(User::from_uid(Uid::from_raw(uid)), Ok(Some(_))));
    if plan.runs_ssh() && nameless.count() > 0 {
        let text = "ssh needs accounts for the uids of the roles";
        if footing.root {
            report.note(&format!("{text}: the supervisor shows them some in a mount namespace of its own"));
        } else {
            report.warn(&format!("{text}, and only root can make them up: see packaging/sysusers.d"));
        }
    }
}

/// rsync and ssh.
pub(super) fn programs(report: &mut Report, plan: &Plan, grounds: Grounds) {
    report.section("programs");
    let slices = (0_u16..).map(RemoteId).map_while(|id| slice(plan, id, grounds)).collect::<Vec<_>>();
    let Some(slice) = slices.first() else { return report.note("no remotes, and so no rsync") };
    let (major, minor, patch) = slice.rsync_version;
    let text = format!("{}: rsync {major}.{minor}.{patch}", Shown(&slice.rsync_program));
    if slice.rsync_version < SAFE_RSYNC {
        report.warn(&format!(
            "{text}, in which a hostile server reads and writes files of a client (CVE-2026-43618, CVE-2026-43620, \
             CVE-2026-45232): the sandbox bounds this; 3.4.3 or later is advised"
        ));
    } else if slice.rsync_version < FIXED_RSYNC {
        report.warn(&format!("{text}; 3.5.0 fixes 33 holes that were found in 2026"));
    } else {
        report.good(&text);
    }
    if let Some(ssh) = slices.iter().find_map(|slice| slice.ssh.as_ref()) {
        match ssh_version(Path::new(&ssh.program), grounds.footing) {
            Ok(version) => report.good(&format!("{}: {version}", Shown(&ssh.program))),
            Err(error) => report.fail(&format!("{}: {error}", Shown(&ssh.program))),
        }
    }
}

/// What a syncer would be told.
fn slice(plan: &Plan, id: RemoteId, grounds: Grounds) -> Option<SyncSlice> {
    let role = Role::Syncer(id, Lane::Batch);
    let confinement: Confinement =
        privileges::confinement(plan.subject(role)?, None, plan.domain(role), plan.config(), grounds);
    plan.sync_slice(id, confinement)
}

/// Asked without our privileges, by a user with an account: without one ssh does not even say this.
fn ssh_version(program: &Path, footing: Footing) -> std::io::Result<String> {
    let mut command = Command::new(program);
    command.arg("-V").env_clear().stdin(Stdio::null()).current_dir("/");
    if let (true, Ok(nobody)) = (footing.gives_uids, accounts::identity("nobody")) {
        command.uid(nobody.uid).gid(nobody.gid);
    }
    without_capabilities(&mut command);
    let said = command.output()?.stderr;
    let line = said.split(|&byte| byte == b'\n').next().unwrap_or_default();
    Ok(escape(line.get(..MAX_VERSION).unwrap_or(line).trim_ascii_end()))
}

fn setting(name: &str) -> Option<String> {
    let text = fs::read_to_string(Path::new("/proc/sys").join(name)).ok()?;
    Some(text.trim().to_owned())
}
