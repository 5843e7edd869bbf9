//! What a config names, looked for on this machine: roots, accounts, programs.

use std::ffi::{OsStr, OsString};
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use common::config::{Config, Plugin, PluginKind, Remote};
use common::confine::{self, Identity};
use common::log::Shown;
use common::message::RsyncVersion;
use nix::unistd::getuid;

use super::Error;
use crate::accounts::{self, absolute};
use crate::domains;

/// Oldest rsync that compares nanoseconds and removes missing arguments.
const OLDEST_RSYNC: RsyncVersion = (3, 1, 3);
/// Most that a loader may say of a program's libraries, in bytes.
const MAX_LIST: u64 = 64 << 10;
/// rsyncs before this one have known holes in the client.
const SAFE_RSYNC: RsyncVersion = (3, 4, 3);

/// The plugins that are on. One that only root could give its account runs as we do.
pub(crate) fn plugins(
    config: &Config,
    probe_uid: Option<u32>,
    warnings: &mut Vec<String>,
) -> Result<Vec<(Plugin, Option<Identity>)>, Error> {
    let mut plugins = Vec::new();
    for name in &config.plugins_on {
        let Some(plugin) = config.plugins.iter().find(|plugin| plugin.kind.name() == *name) else { continue };
        let account = match &plugin.user {
            None => None,
            Some(user) => {
                let failed = |source| Error::Account { plugin: name.as_str(), user: user.clone(), source };
                let account = accounts::identity(user).map_err(failed)?;
                if probe_uid.is_none() && account.uid != getuid().as_raw() {
                    let name = name.as_str();
                    warnings
                        .push(format!("plugin {name}: user={user:?} needs a supervisor that root started"));
                }
                Some(account)
            }
        };
        plugins.push((from_here(plugin), account));
    }
    Ok(plugins)
}

/// With the program of a command as it is called from here, as in the original: the plugin stands in `/`.
fn from_here(plugin: &Plugin) -> Plugin {
    let mut plugin = plugin.clone();
    if let PluginKind::Command(command) = &mut plugin.kind
        && let Some(program) = command.prefix.first_mut().filter(|program| program.contains('/'))
        && let Ok(path) = std::path::absolute(&*program)
        && let Ok(path) = path.into_os_string().into_string()
    {
        *program = path;
    }
    plugin
}

/// The roots, which have to be there.
pub(crate) fn roots(config: &Config, plugins: &[(Plugin, Option<Identity>)]) -> Result<Vec<PathBuf>, Error> {
    watches(config, plugins).into_iter().map(root).collect()
}

/// The roots as they are written. As in the original, a plugin's own watch takes the place of the
/// first one.
pub(crate) fn watches<'a>(config: &'a Config, plugins: &'a [(Plugin, Option<Identity>)]) -> Vec<&'a OsStr> {
    let mut watches: Vec<&OsStr> = config.trees.iter().map(|tree| tree.watch.as_os_str()).collect();
    let configured: Vec<PathBuf> = watches.iter().filter_map(|watch| absolute(watch).ok()).collect();
    let other = |watch: &&OsString| absolute(watch).is_ok_and(|path| !configured.contains(&path));
    let own = plugins.iter().filter_map(|(plugin, _)| plugin.kind.watch()).find(other);
    if let (Some(own), Some(first)) = (own, watches.first_mut()) {
        *first = own;
    }
    watches
}

pub(crate) fn remotes(config: &Config) -> impl Iterator<Item = &Remote> {
    config.trees.iter().flat_map(|tree| &tree.remotes)
}

/// One of them, which has to be a directory.
pub(crate) fn root(watch: &OsStr) -> Result<PathBuf, Error> {
    let failed = |source| Error::Root { path: watch.to_owned(), source };
    let path = absolute(watch).map_err(failed)?;
    if path.metadata().map_err(failed)?.is_dir() {
        Ok(path)
    } else {
        Err(Error::NoDirectory(watch.to_owned()))
    }
}

/// Asks rsync for its version, without the supervisor's privileges.
pub(crate) fn check_version(
    rsync: &Path,
    uid: Option<u32>,
    warnings: &mut Vec<String>,
) -> Result<RsyncVersion, Error> {
    let mut command = Command::new(rsync);
    command.arg("--version").env_clear().env("LC_ALL", "C").env("PATH", "/usr/bin:/bin").stdin(Stdio::null());
    if let Some(uid) = uid {
        command.uid(uid).gid(uid);
        confine::without_capabilities(&mut command);
    }
    let unknown = |why: String| Error::UnknownRsync(rsync.to_owned(), why);
    let output = command.current_dir("/").output().map_err(|error| unknown(error.to_string()))?;
    let text = String::from_utf8_lossy(&output.stdout);
    let first: String = text.lines().next().unwrap_or_default().chars().take(120).collect();
    let version = version(&first).ok_or_else(|| unknown(first.escape_debug().to_string()))?;
    let shown = format!("{}.{}.{}", version.0, version.1, version.2);
    if version < OLDEST_RSYNC {
        return Err(Error::OldRsync(rsync.to_owned(), shown));
    }
    if version < SAFE_RSYNC {
        warnings
            .push(format!("rsync {shown} has known security holes as a client; 3.4.3 or later is advised"));
    }
    Ok(version)
}

/// Says in time that the sandbox will not run what is no program.
pub(crate) fn check_program(program: &Path, config: &Config, warnings: &mut Vec<String>) {
    if config.sandbox && domains::interpreter(program).is_err() {
        warnings.push(format!(
            "{} is no ELF program: the sandbox does not run scripts in place of rsync or ssh; name the program \
             itself, or switch it off with <sandbox start=\"false\"/>",
            Shown(program.as_os_str())
        ));
    }
}

/// Says in time what of rsync's parameters the sandbox does not let through.
pub(crate) fn check_params(config: &Config, warnings: &mut Vec<String>) {
    let binds = |remote: &Remote| syncer::sets(&remote.rsync.params, "--address", None);
    if config.sandbox && remotes(config).any(binds) {
        warnings.push(
            "--address cannot be used in the sandbox: rsync would have to bind an address; leave it out, or switch \
             the sandbox off with <sandbox start=\"false\"/>"
                .to_owned(),
        );
    }
    let follows = |remote: &Remote| {
        let links =
            [("--copy-links", Some(b'L')), ("--copy-unsafe-links", None), ("--copy-dirlinks", Some(b'k'))];
        links.into_iter().any(|(long, short)| syncer::sets(&remote.rsync.params, long, short))
    };
    if config.sandbox && remotes(config).any(follows) {
        warnings.push(
            "-L, -k and --copy-unsafe-links follow links within the watched directory only: what lies outside of it \
             is refused in the sandbox; watch it too, or switch the sandbox off with <sandbox start=\"false\"/>"
                .to_owned(),
        );
    }
}

/// Says in time that names cannot be looked up: musl asks over UDP, and TCP only for what is long.
pub(crate) fn check_lookups(rsync: &Path, config: &Config, warnings: &mut Vec<String>) {
    let named = remotes(config).find(|remote| domains::is_name(&remote.host));
    let (Some(remote), true, Ok(Some(loader))) = (named, config.sandbox, domains::interpreter(rsync)) else {
        return;
    };
    if is_musl(&loader) {
        warnings.push(format!(
            "remote {}: {} uses musl, whose lookups take UDP, which the sandbox refuses; give the address in place of \
             the name, or put it into /etc/hosts",
            Shown(OsStr::new(&remote.host)),
            Shown(rsync.as_os_str())
        ));
    }
}

fn is_musl(loader: &Path) -> bool {
    loader.file_name().is_some_and(|name| name.as_bytes().starts_with(b"ld-musl"))
}

/// Libraries of a program that stand elsewhere than libraries do; none where its loader does not
/// say. Asked without the supervisor's privileges.
pub(crate) fn libraries(program: &Path, uid: Option<u32>) -> Vec<PathBuf> {
    let Ok(Some(loader)) = domains::interpreter(program) else { return Vec::new() };
    let mut command = Command::new(loader);
    command.arg("--list").arg(program).env_clear().current_dir("/");
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
    if let Some(uid) = uid {
        command.uid(uid).gid(uid);
        confine::without_capabilities(&mut command);
    }
    let Ok(mut child) = command.spawn() else { return Vec::new() };
    let mut said = Vec::new();
    let output = child.stdout.take().map(|output| output.take(MAX_LIST));
    let _ = output.map(|mut output| output.read_to_end(&mut said));
    // It may have more to say than anybody wants to hear.
    let _ = child.kill();
    let _ = child.wait();
    domains::elsewhere(&String::from_utf8_lossy(&said))
}

/// `rsync  version 3.5.0  protocol version 32` → `(3, 5, 0)`.
fn version(line: &str) -> Option<RsyncVersion> {
    let word = line.strip_prefix("rsync")?.trim_start().strip_prefix("version")?.split_whitespace().next()?;
    let mut numbers = word.trim_start_matches('v').split('.').map(|part| {
        let digits: String = part.chars().take_while(char::is_ascii_digit).collect();
        digits.parse::<u32>().ok()
    });
    Some((numbers.next()??, numbers.next()??, numbers.next().flatten().unwrap_or(0)))
}

#[cfg(test)]
mod tests {
    use super::*;

    use common::config::parse;

    /// The shipped config, with these parameters of rsync and this host.
    fn config(params: &str, host: &str) -> Config {
        let text = format!(
            "<head version=\"2.5\"><sersync><localpath watch=\"/tmp\"><remote ip=\"{host}\" name=\"m\"/></localpath>\
             <rsync><commonParams params=\"{params}\"/></rsync></sersync></head>"
        );
        let parsed = parse(text.as_bytes());
        parsed.config.unwrap_or_else(|| panic!("{:?}", parsed.diagnostics))
    }

    #[test]
    fn links_that_lead_out_are_told_of() {
        for (params, expected) in [
            ("-artuz", 0),
            ("-aL", 1),
            ("-ak", 1),
            ("-a --copy-links", 1),
            ("-a --copy-unsafe-links", 1),
            ("-al", 0),
        ] {
            let mut warnings = Vec::new();
            check_params(&config(params, "127.0.0.1"), &mut warnings);
            assert_eq!(warnings.len(), expected, "{params}: {warnings:?}");
        }
    }

    #[test]
    fn loaders_of_musl() {
        assert!(is_musl(Path::new("/lib/ld-musl-x86_64.so.1")));
        assert!(!is_musl(Path::new("/lib64/ld-linux-x86-64.so.2")));
        // This machine's is none, so nothing is said.
        let mut warnings = Vec::new();
        check_lookups(&std::env::current_exe().unwrap(), &config("-a", "web.example"), &mut warnings);
        assert!(
            warnings.is_empty()
                || is_musl(&domains::interpreter(&std::env::current_exe().unwrap()).unwrap().unwrap())
        );
    }

    #[test]
    fn libraries_of_what_is_here() {
        // Nothing of this machine's own stands elsewhere; what is no program has none.
        assert_eq!(libraries(Path::new("/bin/true"), None), Vec::<PathBuf>::new());
        assert_eq!(libraries(Path::new("/etc/passwd"), None), Vec::<PathBuf>::new());
    }

    #[test]
    fn versions_of_rsync() {
        for (line, expected) in [
            ("rsync  version 3.5.0  protocol version 32", Some((3, 5, 0))),
            ("rsync  version 3.2.7pre1  protocol version 31", Some((3, 2, 7))),
            ("rsync version v3.4.1 protocol", Some((3, 4, 1))),
            ("openrsync: protocol version 29", None),
            ("", None),
        ] {
            assert_eq!(version(line), expected, "{line}");
        }
    }
}
