//! Who else may read or write what the supervisor trusts: the config, password files, keys, known
//! hosts and certificates. Looked at once, at start, by their permissions; nothing is opened.
//!
//! What others may write is refused, since they would say what is mirrored, where to and as whom.
//! Each line names the command that cures it.

use std::ffi::OsString;
use std::fs::{self, Metadata};
use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use common::config::{Config, PluginKind};
use common::log::{Quoted, Shown};
use nix::unistd::Uid;

const GROUP_READS: u32 = 0o040;
const GROUP_WRITES: u32 = 0o020;
const OTHERS_READ: u32 = 0o004;
const OTHERS_WRITE: u32 = 0o002;
const OTHERS_SEARCH: u32 = 0o001;
/// In a directory: what is there is removed and renamed by its owner only.
const STICKY: u32 = 0o1000;
const HARDLINKS: &str = "/proc/sys/fs/protected_hardlinks";

/// What was found. Each line is for people: foreign bytes are escaped.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Reasons not to start.
    pub refusals: Vec<String>,
    /// What should be mended.
    pub warnings: Vec<String>,
}

/// Looks at every file that `config` names and that must be nobody else's.
///
/// `path` and `metadata` are those of the config file, the latter of the file that was read.
/// `own_keys` are ssh keys that the config does not name (those of the starter's home), and
/// `starter` is who starts the supervisor: beside root the only one who may own the config.
pub fn check(
    path: &Path,
    metadata: &Metadata,
    config: &Config,
    own_keys: &[OsString],
    starter: Uid,
) -> Report {
    let mut check = Check { report: Report::default(), starter };
    check.config_file(path, metadata);
    check.config_directories(path);
    if holds_password(config) {
        check.password_in_config(path, metadata);
    }
    for file in files(config, own_keys) {
        check.file(&file);
    }
    let hardlinks = fs::read_to_string(HARDLINKS).unwrap_or_default();
    check.report.warnings.extend(hardlink_warning(&hardlinks));
    check.report
}

/// The element or attribute that names the file of which a line of the [`Report`] speaks, and its path.
pub fn subject(line: &str, config: &Config, own_keys: &[OsString]) -> Option<(&'static str, PathBuf)> {
    let speaks = |file: &File| line.starts_with(&format!("{} {} ", file.what, Shown(file.path.as_os_str())));
    files(config, own_keys).into_iter().find(speaks).map(|file| (file.what, file.path))
}

/// What a file is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// Whoever reads it can log in.
    Secret,
    /// The same, and nobody named it.
    OwnSecret,
    /// Whoever writes it says whom we trust.
    Trust,
}

/// A file to look at.
#[derive(Debug, PartialEq, Eq)]
struct File {
    path: PathBuf,
    /// The element or attribute that names it.
    what: &'static str,
    kind: Kind,
}

/// Each file that the config names, and then the keys that it does not, each once.
fn files(config: &Config, own_keys: &[OsString]) -> Vec<File> {
    let mut files: Vec<File> = Vec::new();
    let mut add = |path: PathBuf, what, kind| {
        if !files.iter().any(|file| file.path == path) {
            files.push(File { path, what, kind });
        }
    };
    for tree in &config.trees {
        // rsync runs in the watched directory, and opens a relative name from there.
        let root = absolute(Path::new(&tree.watch));
        for options in tree.remotes.iter().map(|remote| &remote.rsync) {
            if let Some(file) = options.auth.as_ref().and_then(|auth| auth.password_file.as_ref()) {
                add(root.join(file), "passwordfile", Kind::Secret);
            }
            let Some(ssh) = &options.ssh else { continue };
            if let Some(file) = &ssh.identity {
                add(PathBuf::from(file), "identity", Kind::Secret);
            }
            if let Some(file) = &ssh.known_hosts {
                add(PathBuf::from(file), "knownhosts", Kind::Trust);
            }
        }
    }
    if let Some(file) = config.host.page.as_ref().and_then(|page| page.token_file.as_ref()) {
        add(PathBuf::from(file), "tokenFile", Kind::Secret);
    }
    for plugin in config.plugins.iter().filter(|plugin| config.plugins_on.contains(&plugin.kind.name())) {
        match &plugin.kind {
            PluginKind::Http(http) => {
                if let Some(file) = &http.ca {
                    add(PathBuf::from(file), "ca", Kind::Trust);
                }
            }
            PluginKind::Command(_) | PluginKind::Socket(_) | PluginKind::RefreshCdn(_) => {}
        }
    }
    for key in own_keys {
        add(PathBuf::from(key), "ssh key", Kind::OwnSecret);
    }
    files
}

/// Whether the config file holds a password that is used.
fn holds_password(config: &Config) -> bool {
    let on = config.plugins.iter().filter(|plugin| config.plugins_on.contains(&plugin.kind.name()));
    let mut kinds = on.map(|plugin| &plugin.kind);
    kinds.any(|kind| match kind {
        PluginKind::RefreshCdn(cdn) => !cdn.password.is_empty(),
        PluginKind::Command(_) | PluginKind::Socket(_) | PluginKind::Http(_) => false,
    })
}

struct Check {
    report: Report,
    starter: Uid,
}

impl Check {
    fn config_file(&mut self, path: &Path, metadata: &Metadata) {
        let (shown, path) = (Shown(path.as_os_str()), absolute(path));
        let path = Quoted(path.as_os_str());
        if let Some(who) = writers(metadata) {
            self.refuse(format!("config file {shown} may be written by {who}; chmod go-w {path}"));
        }
        if self.is_strange(metadata) {
            let (uid, owner) = (metadata.uid(), self.starter);
            self.refuse(format!(
                "config file {shown} belongs to uid={uid}, who says with it what is mirrored; chown {owner} {path}"
            ));
        }
    }

    /// Who may write a directory may put another file in the place of this one. Where the config is
    /// a symlink, both directories count.
    fn config_directories(&mut self, path: &Path) {
        let (named, real) = (absolute(path), path.canonicalize().ok());
        let real = real.as_deref().and_then(Path::parent);
        let named = named.parent();
        for directory in named.into_iter().chain(real.filter(|real| Some(*real) != named)) {
            self.config_directory(directory);
        }
    }

    fn config_directory(&mut self, directory: &Path) {
        let Ok(metadata) = directory.metadata() else { return };
        let (shown, quoted) = (Shown(directory.as_os_str()), Quoted(directory.as_os_str()));
        if let Some(who) = writers(&metadata).filter(|_| metadata.mode() & STICKY == 0) {
            self.warn(format!(
                "directory {shown} may be written by {who}, so that the config file can be exchanged; \
                 chmod go-w {quoted}"
            ));
        }
        if self.is_strange(&metadata) {
            let (uid, owner) = (metadata.uid(), self.starter);
            self.warn(format!(
                "directory {shown} belongs to uid={uid}, who can exchange the config file; chown {owner} {quoted}"
            ));
        }
    }

    /// No refusal: config files of the original are mostly readable by all, and go on working.
    fn password_in_config(&mut self, path: &Path, metadata: &Metadata) {
        if metadata.mode() & OTHERS_READ == 0 || !others_get_to(path) {
            return;
        }
        let (shown, path) = (Shown(path.as_os_str()), absolute(path));
        let path = Quoted(path.as_os_str());
        self.warn(format!(
            "config file {shown} holds the password of refreshCDN and may be read by others; chmod o-r {path}"
        ));
    }

    fn file(&mut self, file: &File) {
        let (what, shown) = (file.what, Shown(file.path.as_os_str()));
        let quoted = Quoted(file.path.as_os_str());
        let metadata = match file.path.metadata() {
            Ok(metadata) => metadata,
            Err(error) if error.kind() == ErrorKind::NotFound => {
                return self.warn(format!(
                    "{what} {shown} does not exist, and what needs it fails; make it, or correct the path"
                ));
            }
            Err(error) => {
                return self.warn(format!(
                    "{what} {shown} cannot be looked at: {error}; check the directories above it"
                ));
            }
        };
        if !metadata.is_file() {
            return self.blame(file.kind, format!("{what} {shown} is not a plain file; name another"));
        }
        let is_secret = match file.kind {
            Kind::Secret | Kind::OwnSecret => true,
            Kind::Trust => false,
        };
        let cure = if is_secret { "go-rwx" } else { "go-w" };
        if let Some(who) = writers(&metadata) {
            self.blame(file.kind, format!("{what} {shown} may be written by {who}; chmod {cure} {quoted}"));
        } else if is_secret && metadata.mode() & OTHERS_READ != 0 {
            self.blame(file.kind, format!("{what} {shown} may be read by others; chmod {cure} {quoted}"));
        } else if is_secret && metadata.mode() & GROUP_READS != 0 {
            let gid = metadata.gid();
            self.warn(format!("{what} {shown} may be read by its group gid={gid}; chmod {cure} {quoted}"));
        }
        if self.is_strange(&metadata) {
            let (uid, owner) = (metadata.uid(), self.starter);
            self.warn(format!(
                "{what} {shown} belongs to uid={uid}, who can change it; chown {owner} {quoted}"
            ));
        }
    }

    /// Owned by somebody who is neither root nor who starts the supervisor.
    fn is_strange(&self, metadata: &Metadata) -> bool {
        let owner = Uid::from_raw(metadata.uid());
        !owner.is_root() && owner != self.starter
    }

    /// A refusal, but not for what nobody named: another program's business.
    fn blame(&mut self, kind: Kind, line: String) {
        match kind {
            Kind::Secret | Kind::Trust => self.refuse(line),
            Kind::OwnSecret => self.warn(line),
        }
    }

    fn refuse(&mut self, line: String) {
        self.report.refusals.push(line);
    }

    fn warn(&mut self, line: String) {
        self.report.warnings.push(line);
    }
}

/// Who beside the owner may write it. An ACL shows in the bits of the group.
fn writers(metadata: &Metadata) -> Option<&'static str> {
    match (metadata.mode() & GROUP_WRITES != 0, metadata.mode() & OTHERS_WRITE != 0) {
        (_, true) => Some("others"),
        (true, false) => Some("its group"),
        (false, false) => None,
    }
}

/// Whether others can get to the file at `path`: every directory above it lets them through.
fn others_get_to(path: &Path) -> bool {
    let real = path.canonicalize().unwrap_or_else(|_| absolute(path));
    let lets_through =
        |directory: &Path| directory.metadata().is_ok_and(|metadata| metadata.mode() & OTHERS_SEARCH != 0);
    real.ancestors().skip(1).all(lets_through)
}

/// `setting` is what the kernel says of `fs.protected_hardlinks`; empty where it does not.
fn hardlink_warning(setting: &str) -> Option<String> {
    (setting.trim() == "0").then(|| {
        "fs.protected_hardlinks=0: a local user can give another's file a second name in a watched \
         directory, and have it mirrored; sysctl -w fs.protected_hardlinks=1"
            .to_owned()
    })
}

/// As a command can name it, wherever it is typed.
fn absolute(path: &Path) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| Path::new("/").join(path))
}

#[cfg(test)]
mod tests;
