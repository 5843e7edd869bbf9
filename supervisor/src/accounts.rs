//! Accounts: who started us, who a plugin runs as, and the text in which ssh finds an account
//! for each role's own uid.

use std::ffi::OsStr;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use common::config::Ssh;
use common::confine::Identity;
use common::message::SshSlice;
use nix::unistd::{Uid, User, getuid};

use crate::runtime::ROLE_UIDS;

/// Where the host keeps its accounts.
const PASSWD: &str = "/etc/passwd";
/// Private keys that ssh tries by itself, below the home directory.
const KEYS: [&str; 3] = [".ssh/id_ed25519", ".ssh/id_ecdsa", ".ssh/id_rsa"];
/// Host keys that all users of the machine know.
const KNOWN_TO_ALL: &str = "/etc/ssh/ssh_known_hosts";

/// The user that started the supervisor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Starter {
    /// Name, or the uid in digits where it has none.
    pub name: String,
    /// Home directory.
    pub home: PathBuf,
}

impl Starter {
    /// Asks the system.
    pub fn find() -> Starter {
        let uid = getuid();
        match User::from_uid(uid) {
            Ok(Some(user)) => Starter { name: user.name, home: user.dir },
            Ok(None) | Err(_) => Starter { name: uid.to_string(), home: PathBuf::from("/") },
        }
    }

    /// How ssh is called for a remote: what the config leaves open is this user's own.
    pub fn ssh(&self, program: &Path, configured: &Ssh, user: Option<&String>) -> SshSlice {
        let own = |name: &str| Some(self.home.join(name)).filter(|path| path.is_file());
        let identities = match &configured.identity {
            Some(identity) => vec![identity.clone()],
            None => KEYS.into_iter().filter_map(own).map(PathBuf::into_os_string).collect(),
        };
        let known_hosts = if let Some(file) = &configured.known_hosts {
            vec![file.clone()]
        } else {
            // The user's own is named even if it is not there: that is where a key is missing.
            let all = Some(PathBuf::from(KNOWN_TO_ALL)).filter(|path| path.is_file());
            let own = self.home.join(".ssh/known_hosts");
            [Some(own), all].into_iter().flatten().map(PathBuf::into_os_string).collect()
        };
        let user = user.unwrap_or(&self.name).clone();
        SshSlice { program: program.as_os_str().to_owned(), user, identities, known_hosts }
    }
}

/// The account of that name.
pub fn identity(name: &str) -> io::Result<Identity> {
    match User::from_name(name) {
        Ok(Some(user)) if user.uid.is_root() => Err(io::Error::other("it is root")),
        Ok(Some(user)) => Ok(Identity { uid: user.uid.as_raw(), gid: user.gid.as_raw() }),
        Ok(None) => Err(io::Error::other("there is no such account")),
        Err(error) => Err(error.into()),
    }
}

/// The host's accounts, and one for each uid that roles of the block from `first` may get and
/// that has none. `None` when all have one.
pub fn with_roles(first: u32) -> io::Result<Option<Vec<u8>>> {
    let mut added = String::new();
    for uid in first..first.saturating_add(ROLE_UIDS) {
        if User::from_uid(Uid::from_raw(uid))?.is_none() {
            added.push_str(&entry(uid));
        }
    }
    if added.is_empty() {
        return Ok(None);
    }
    let mut text = fs::read(PASSWD)?;
    if !text.ends_with(b"\n") && !text.is_empty() {
        text.push(b'\n');
    }
    text.extend_from_slice(added.as_bytes());
    Ok(Some(text))
}

fn entry(uid: u32) -> String {
    format!("sersync-{uid}:x:{uid}:{uid}:sersync role:/nonexistent:/usr/sbin/nologin\n")
}

/// The first executable file of that name in PATH, which is looked at once.
pub fn find_program(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_else(|| "/usr/local/bin:/usr/bin:/bin".into());
    let is_executable = |path: &PathBuf| {
        path.metadata().is_ok_and(|found| found.is_file() && found.permissions().mode() & 0o111 != 0)
    };
    std::env::split_paths(&path)
        .filter(|directory| directory.is_absolute())
        .map(|directory| directory.join(name))
        .find(is_executable)
}

/// `watch` as an absolute path, without the slashes at its end.
pub fn absolute(watch: &OsStr) -> io::Result<PathBuf> {
    let path = std::path::absolute(watch)?;
    let bytes = path.as_os_str().as_bytes();
    let kept = bytes.iter().rposition(|&byte| byte != b'/').map_or(1, |last| last.saturating_add(1));
    Ok(PathBuf::from(OsStr::from_bytes(bytes.get(..kept).unwrap_or(bytes))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_account_for_each_uid_of_a_role() {
        let text = String::from_utf8(with_roles(2_000_262_016).unwrap().unwrap()).unwrap();
        let added = text.strip_prefix(&fs::read_to_string(PASSWD).unwrap()).unwrap();
        let lines: Vec<&str> = added.lines().collect();
        assert_eq!(lines.len(), 63);
        assert_eq!(
            lines[62],
            "sersync-2000262078:x:2000262078:2000262078:sersync role:/nonexistent:/usr/sbin/nologin"
        );
        // root has one already.
        let text = String::from_utf8(with_roles(0).unwrap().unwrap()).unwrap();
        assert!(!text.contains("sersync-0:"));
    }

    #[test]
    fn keys_and_hosts_of_the_starter() {
        let home = tempfile::tempdir().unwrap();
        fs::create_dir(home.path().join(".ssh")).unwrap();
        fs::write(home.path().join(".ssh/id_rsa"), "").unwrap();
        let starter = Starter { name: "op".into(), home: home.path().to_owned() };
        let slice = starter.ssh(Path::new("/usr/bin/ssh"), &Ssh::default(), None);
        assert_eq!(slice.user, "op");
        assert_eq!(slice.identities, [home.path().join(".ssh/id_rsa")]);
        assert_eq!(slice.known_hosts[0], home.path().join(".ssh/known_hosts"));
        let pinned = Ssh { identity: Some("/k".into()), known_hosts: Some("/h".into()) };
        let slice = starter.ssh(Path::new("/usr/bin/ssh"), &pinned, Some(&"web".to_owned()));
        assert_eq!(
            (slice.user.as_str(), slice.identities, slice.known_hosts),
            ("web", vec!["/k".into()], vec!["/h".into()])
        );
    }

    #[test]
    fn slashes_at_the_end() {
        for (given, wanted) in [("/a//", "/a"), ("/", "/"), ("/a/b", "/a/b")] {
            assert_eq!(absolute(OsStr::new(given)).unwrap(), Path::new(wanted));
        }
    }

    #[test]
    fn names() {
        assert!(identity("root").is_err());
        assert!(identity("no-such-account-here").is_err());
    }
}
