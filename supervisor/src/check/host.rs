//! What a config names on this machine: directories, accounts, programs, secrets.
//!
//! Each is looked at by the function that looks at it when a supervisor starts; only here one that
//! is wrong does not hide the next.

use std::ffi::OsStr;
use std::fs::{self, Metadata};
use std::ops::Range;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use common::config::{Config, Plugin, PluginKind, Remote, Severity, WatcherKind};
use common::confine::mark;
use common::log::Shown;
use nix::unistd::geteuid;

use super::{Findings, own_keys};
use crate::accounts::find_program;
use crate::plan::{Error, machine};
use crate::privileges::Grounds;
use crate::{lowering, runtime, secrets};

/// Where the command plugin looks for programs.
const SEARCHED: &[&str] = &["/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"];

/// Looks at all of it.
pub(super) fn look(
    findings: &mut Findings,
    config: &Config,
    file: (&Path, &Metadata),
    (grounds, uids): (Grounds, Option<u32>),
) {
    roots(findings, config, grounds);
    same_remotes(findings, config);
    programs(findings, config, uids);
    plugins(findings, config, uids);
    privileges(findings, config, grounds);
    secret_files(findings, config, file, uids);
}

/// The place of a watched directory.
pub(super) fn watch_place(findings: &Findings, watch: &OsStr) -> Range<usize> {
    // The reader takes one slash off.
    let is_meant = |said: &OsStr| {
        said == watch || said.as_bytes().strip_suffix(b"/").is_some_and(|bare| bare == watch.as_bytes())
    };
    findings.places.attribute("localpath", "watch", is_meant)
}

fn roots(findings: &mut Findings, config: &Config, grounds: Grounds) {
    let on = plugins_on(config).filter_map(|plugin| plugin.kind.watch());
    let watches = config.trees.iter().map(|tree| &tree.watch);
    let mut seen: Vec<(PathBuf, PathBuf)> = Vec::new();
    let mut all: Vec<&OsStr> = Vec::new();
    for watch in watches.chain(on) {
        if !all.contains(&watch.as_os_str()) {
            all.push(watch);
        }
    }
    for watch in all {
        let place = watch_place(findings, watch);
        match machine::root(watch) {
            Err(error) => findings.error(place, error.to_string(), cure_of(&error)),
            Ok(root) => {
                readable(findings, &place, &root, config, grounds);
                within_another(findings, &place, &root, &mut seen);
                marked(findings, &place, &root, config);
            }
        }
    }
}

/// Whether the roles may read it.
fn readable(findings: &mut Findings, place: &Range<usize>, root: &Path, config: &Config, grounds: Grounds) {
    let footing = grounds.footing;
    if footing.reads_all && config.privileges.read_all {
        return;
    }
    if !footing.gives_uids {
        if let Err(error) = fs::read_dir(root) {
            let message = format!("the watched directory cannot be read by this user: {error}");
            let cure =
                "let this user read it (chmod, chown), or check as the user that the supervisor runs as";
            findings.warning(place.clone(), message, cure);
        }
        return;
    }
    let mode = |path: &Path| path.metadata().map_or(0, |found| found.mode());
    let closed = root.ancestors().skip(1).find(|above| mode(above) & 0o001 == 0);
    let closed = closed.or_else(|| (mode(root) & 0o005 != 0o005).then_some(root));
    if let Some(closed) = closed {
        let message = format!(
            "the watcher has a uid of its own, and may not read {} on the way into the watched directory",
            Shown(closed.as_os_str())
        );
        let cure = "write readAll=\"true\" into <privileges>, or let others read it: chmod o+rx";
        findings.error(place.clone(), message, cure);
    }
}

/// Names were compared when the file was read; links lead elsewhere.
fn within_another(
    findings: &mut Findings,
    place: &Range<usize>,
    root: &Path,
    seen: &mut Vec<(PathBuf, PathBuf)>,
) {
    let Ok(real) = root.canonicalize() else { return };
    let meets = |one: &Path, other: &Path| one.starts_with(other) || other.starts_with(one);
    let other = seen.iter().find(|(named, other)| meets(&real, other) && !meets(root, named));
    if let Some((named, _)) = other {
        let message = format!(
            "by a link this directory and {} lie in one another, or are the same",
            Shown(named.as_os_str())
        );
        findings.warning(place.clone(), message, "what changes in both is sent for both; watch one of them");
    }
    seen.push((root.to_owned(), real));
}

/// Whether the filesystem takes the mark of `watcher="fanotify"`.
fn marked(findings: &mut Findings, place: &Range<usize>, root: &Path, config: &Config) {
    match config.watcher {
        WatcherKind::Inotify => return,
        WatcherKind::Fanotify => {}
    }
    if !geteuid().is_root() {
        let shown = Shown(root.as_os_str());
        return findings
            .note(format!("not looked at: whether {shown} can be marked for fanotify; only root can"));
    }
    if let Err(error) = mark(root.as_os_str(), config.switches) {
        let message = format!("watcher=\"fanotify\" cannot be had for this directory: {error}");
        findings.error(place.clone(), message, "write watcher=\"inotify\", which needs no mark");
    }
}

/// Two ways to one place.
fn same_remotes(findings: &mut Findings, config: &Config) {
    let all = config.trees.iter().enumerate();
    let all: Vec<(usize, &Remote)> =
        all.flat_map(|(tree, it)| it.remotes.iter().map(move |remote| (tree, remote))).collect();
    let goes_to = |remote: &Remote| {
        (remote.host.to_lowercase(), syncer::port(remote), remote.rsync.ssh.is_some(), remote.module.clone())
    };
    for (n, (tree, remote)) in all.iter().enumerate() {
        let before = all.get(..n).unwrap_or_default();
        let Some((other, _)) = before.iter().find(|(_, it)| goes_to(it) == goes_to(remote)) else { continue };
        let written = |it: &&(usize, &Remote)| it.1.host == remote.host && it.1.module == remote.module;
        let skip = before.iter().filter(written).count();
        let place = findings.places.remote(&remote.host, &remote.module, skip, "ip");
        if other == tree {
            findings.warning(
                place,
                "this remote is given twice",
                "leave one out: each change is sent to both",
            );
        } else {
            let message = "two watched directories are mirrored into one place";
            let cure =
                "give each a module or a directory of its own: one removes and replaces what is the other's";
            findings.warning(place, message, cure);
        }
    }
}

fn programs(findings: &mut Findings, config: &Config, uids: Option<u32>) {
    if config.trees.is_empty() {
        return;
    }
    let place = findings.places.attribute("rsync", "program", |_| true);
    let rsync = match &config.rsync_program {
        // It has been said that this is none.
        Some(program) if !Path::new(program).is_absolute() => return,
        Some(program) => Ok(PathBuf::from(program)),
        None => find_program("rsync").ok_or(Error::NoRsync),
    };
    match &rsync {
        Err(error) => findings.error(place, error.to_string(), cure_of(error)),
        Ok(rsync) => {
            let mut lines = Vec::new();
            if let Err(error) = machine::check_version(rsync, uids, &mut lines) {
                findings.error(place.clone(), error.to_string(), cure_of(&error));
            } else {
                machine::check_program(rsync, config, &mut lines);
            }
            warn_all(findings, &place, &lines);
            lines.clear();
            machine::check_lookups(rsync, config, &mut lines);
            let place = findings.places.element("remote");
            warn_all(findings, &place, &lines);
        }
    }
    let mut lines = Vec::new();
    machine::check_params(config, &mut lines);
    let place = findings.places.anywhere("params", |_| true);
    warn_all(findings, &place, &lines);
    if machine::remotes(config).any(|remote| remote.rsync.ssh.is_some()) {
        let place = findings.places.anywhere("ssh", |said| said == "true");
        match find_program("ssh") {
            Some(ssh) => {
                let mut lines = Vec::new();
                machine::check_program(&ssh, config, &mut lines);
                warn_all(findings, &place, &lines);
            }
            None => findings.error(place, Error::NoSsh.to_string(), cure_of(&Error::NoSsh)),
        }
    }
}

fn warn_all(findings: &mut Findings, place: &Range<usize>, lines: &[String]) {
    for line in lines {
        findings.line(
            Severity::Warning,
            place.clone(),
            line,
            "start the supervisor as root, or leave `user` out",
        );
    }
}

fn plugins_on(config: &Config) -> impl Iterator<Item = &Plugin> {
    config.plugins.iter().filter(|plugin| config.plugins_on.contains(&plugin.kind.name()))
}

fn plugins(findings: &mut Findings, config: &Config, uids: Option<u32>) {
    for plugin in plugins_on(config) {
        let name = plugin.kind.name();
        // One at a time: an account that is missing does not hide the next.
        let alone = Config { plugins_on: vec![name], ..config.clone() };
        let user = plugin.user.as_deref().unwrap_or_default();
        let place = findings.places.attribute("plugin", "user", |said| said == user);
        let mut lines = Vec::new();
        if let Err(error) = machine::plugins(&alone, uids, &mut lines) {
            findings.error(place.clone(), error.to_string(), cure_of(&error));
        }
        warn_all(findings, &place, &lines);
        if let PluginKind::Command(command) = &plugin.kind {
            let program = command.prefix.first().map(String::as_str).unwrap_or_default();
            command_program(findings, Path::new(program));
        }
    }
}

/// A path is one from here; a name is looked for as the plugin's own PATH says.
fn command_program(findings: &mut Findings, program: &Path) {
    let place = findings.places.attribute("param", "prefix", |_| true);
    let shown = Shown(program.as_os_str());
    let is_executable = |path: &Path| {
        path.metadata().is_ok_and(|found| found.is_file() && found.permissions().mode() & 0o111 != 0)
    };
    if program.as_os_str().as_bytes().contains(&b'/') {
        if !program.exists() {
            findings.error(place, format!("there is no program {shown}"), "correct the path, or install it");
        } else if !is_executable(program) {
            findings.error(place, format!("{shown} cannot be executed"), "chmod +x, or name another program");
        }
    } else if !SEARCHED.iter().any(|directory| is_executable(&Path::new(directory).join(program))) {
        let message = format!("there is no program {shown} where the plugin looks for it");
        findings.error(place, message, format!("write its whole path; looked in {}", SEARCHED.join(":")));
    }
}

fn privileges(findings: &mut Findings, config: &Config, grounds: Grounds) {
    let place = findings.places.attribute("privileges", "sandbox", |_| true);
    if let Err(lines) = lowering::check(config, grounds) {
        let cure = "write <privileges sandbox=\"best-effort\"/> to start all the same";
        let missing = lines.iter().filter(|line| !line.starts_with("to start all the same"));
        missing.for_each(|line| findings.line(Severity::Error, place.clone(), line, cure));
    }
    if let (Some(first), true) = (config.privileges.first_uid, grounds.footing.gives_uids)
        && !runtime::is_mapped(first)
    {
        let place = findings.places.attribute("privileges", "firstUid", |_| true);
        let error = runtime::Error::NotMapped(first).to_string();
        findings.line(Severity::Error, place, &error, "");
    }
    if !grounds.footing.root && !grounds.footing.gives_uids {
        findings.note(format!(
            "checked as uid {}: what a supervisor that root starts would see may differ",
            geteuid()
        ));
    }
}

fn secret_files(
    findings: &mut Findings,
    config: &Config,
    (path, metadata): (&Path, &Metadata),
    uids: Option<u32>,
) {
    let own_keys = own_keys(config, uids);
    let found = secrets::check(path, metadata, config, &own_keys, geteuid());
    let with = |severity| move |line| (severity, line);
    let refusals = found.refusals.into_iter().map(with(Severity::Error));
    for (severity, line) in refusals.chain(found.warnings.into_iter().map(with(Severity::Warning))) {
        let place = match secrets::subject(&line, config, &own_keys) {
            // rsync opens a relative name from the watched directory.
            Some((what, path)) => findings.places.anywhere(what, |said| path.ends_with(said)),
            None => findings.places.element("head"),
        };
        findings.line(severity, place, &line, "see docs/security.md");
    }
}

/// What mends it.
fn cure_of(error: &Error) -> &'static str {
    match error {
        Error::Root { .. } => "make it, mount what is missing, or correct watch=\"…\"",
        Error::NoDirectory(_) => "watch the directory that holds it, and leave the rest out with <filter>",
        Error::NoRsync => "install it, or name it in <rsync program=\"/path/to/rsync\">",
        Error::UnknownRsync(..) => "name an rsync that can be run: <rsync program=\"/usr/bin/rsync\">",
        Error::OldRsync(..) => {
            "install a newer one beside it, and name that in <rsync program=\"/path/to/rsync\">"
        }
        Error::NoSsh => "install an ssh client, or write ssh=\"false\" and use an rsync daemon",
        Error::Filter(_) => "correct the expression, or leave it out",
        Error::Account { .. } => {
            "create the account (useradd -r), or leave `user` out: then it has a uid of its own"
        }
    }
}
