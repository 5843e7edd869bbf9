//! How rsync reaches the remote: transport, timeouts, credentials, and the destination.
//!
//! With ssh, a path goes through three readers: rsync splits the value of `--rsh`, ssh reads
//! its options, and the remote shell reads the destination. Each has its own quoting.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};

use bstr::ByteSlice;
use common::config::Remote;
use common::message::{RsyncVersion, SshSlice, SyncSlice};

use super::{joined, sets, timeout};

/// Where daemons listen.
const RSYNC_PORT: u16 = 873;
const SSH_PORT: u16 = 22;
/// The first rsync that escapes a remote path for the remote's shell.
const ESCAPES: RsyncVersion = (3, 2, 4);
/// What ssh is told whatever the machine's own configuration says: no questions, no unknown
/// host, nothing run here, nothing forwarded, and an end when the remote falls silent.
const SSH: &[&str] = &[
    "-F",
    "none",
    "-a",
    "-x",
    "-T",
    "-o",
    "BatchMode=yes",
    "-o",
    "StrictHostKeyChecking=yes",
    "-o",
    "GlobalKnownHostsFile=/dev/null",
    "-o",
    "ConnectTimeout=10",
    "-o",
    "ServerAliveInterval=15",
    "-o",
    "ServerAliveCountMax=3",
    "-o",
    "ClearAllForwardings=yes",
    "-o",
    "PermitLocalCommand=no",
    "-o",
    "ProxyCommand=none",
];

/// Timeouts, transport and credentials.
pub(super) fn words(slice: &SyncSlice, clock: Clock) -> Vec<OsString> {
    let options = &slice.remote.rsync;
    let mut words: Vec<OsString> = Vec::new();
    if options.ssh.is_none() {
        // Without it each run stands still twice for 40 ms: Nagle against delayed ACK.
        if !sets(&options.params, "--sockopts", None) {
            words.push("--sockopts=TCP_NODELAY".into());
        }
        // rsync refuses it on any other transport.
        if !sets(&options.params, "--contimeout", None) {
            words.push("--contimeout=10".into());
        }
    }
    // As in the original, the element wins over the parameter.
    let in_params = sets(&options.params, "--timeout", None);
    if options.timeout.is_some() || (!in_params && clock == Clock::Rsyncs) {
        words.push(timeout_word(slice));
    }
    if options.ssh.is_some() {
        words.push(joined("--rsh=", &remote_shell(slice.ssh.as_ref(), options.port)));
        // Otherwise the path would be read by the remote's shell as it stands.
        let protect = escapes(slice) == Escapes::Nobody;
        words.extend(protect.then(|| "--protect-args".into()));
    } else {
        words.extend(options.port.map(|port| format!("--port={port}").into()));
        let file = options.auth.as_ref().and_then(|auth| auth.password_file.as_ref());
        words.extend(file.map(|file| joined("--password-file=", file)));
        words.push("--no-motd".into());
    }
    words
}

/// Who ends a run in which nothing moves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Clock {
    /// rsync, at both ends. The remote's answers a timeout with a message of its own, and then waits
    /// 40 ms for its receipt before it asks for the first file.
    Rsyncs,
    /// We, where something moves all the time.
    Ours,
}

/// rsync's I/O timeout.
pub(super) fn timeout_word(slice: &SyncSlice) -> OsString {
    format!("--timeout={}", timeout(slice)).into()
}

/// The TCP port that a run connects to.
pub fn port(remote: &Remote) -> u16 {
    let options = &remote.rsync;
    if options.ssh.is_some() {
        return options.port.unwrap_or(SSH_PORT);
    }
    options.port.or_else(|| port_of_params(&options.params)).unwrap_or(RSYNC_PORT)
}

/// The last `--port=N` or `--port N` counts.
fn port_of_params(params: &[OsString]) -> Option<u16> {
    let words = params.iter().map(|word| word.as_bytes());
    let values = words.clone().zip(words.skip(1).chain([&b""[..]])).filter_map(|(word, next)| {
        match word.strip_prefix(b"--port")? {
            [] => Some(next),
            [b'=', value @ ..] => Some(value),
            _ => None,
        }
    });
    std::str::from_utf8(values.last()?).ok()?.parse().ok()
}

/// `USER@HOST::MODULE/`, or with one colon where that is ssh.
pub(super) fn destination(slice: &SyncSlice) -> OsString {
    let options = &slice.remote.rsync;
    let mut word = OsString::new();
    let configured = options.auth.as_ref().and_then(|auth| auth.user.as_ref());
    let of_ssh = || slice.ssh.as_ref().filter(|_| options.ssh.is_some()).map(|ssh| &ssh.user);
    if let Some(user) = configured.or_else(of_ssh) {
        word.push(user);
        word.push("@");
    }
    let host = &slice.remote.host;
    if host.contains(':') && !host.starts_with('[') {
        word.push(format!("[{host}]"));
    } else {
        word.push(host);
    }
    let module = slice.remote.module.as_bytes();
    if options.ssh.is_none() {
        word.push("::");
        word.push(&slice.remote.module);
    } else {
        word.push(":");
        word.push(OsString::from_vec(match escapes(slice) {
            Escapes::Rsync => escaped(module, b"*?[]"),
            // A path without a wildcard is taken as it stands, backslashes too.
            Escapes::Nobody if module.find_byteset(b"*?[").is_some() => escaped(module, b"*?[\\"),
            Escapes::Nobody => module.to_vec(),
        }));
    }
    if !module.ends_with(b"/") {
        word.push("/");
    }
    word
}

/// Paths that ssh cannot be told of: they are left out.
pub(crate) fn unspeakable(ssh: &SshSlice) -> impl Iterator<Item = &OsString> {
    let keys = ssh.identities.iter().filter(|path| !is_plain(path));
    keys.chain(ssh.known_hosts.iter().filter(|path| quoted_for_ssh(path).is_none()))
}

/// Who sees to it that a shell reads the remote path as it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Escapes {
    /// Our rsync, which leaves only wildcards to the shell.
    Rsync,
    /// It is not given to a shell, but the remote rsync looks for wildcards.
    Nobody,
}

fn escapes(slice: &SyncSlice) -> Escapes {
    // No backslash makes a shell keep a line feed.
    let speakable = !slice.remote.module.as_bytes().contains(&b'\n');
    if speakable && slice.rsync_version >= ESCAPES { Escapes::Rsync } else { Escapes::Nobody }
}

fn escaped(path: &[u8], what: &[u8]) -> Vec<u8> {
    let mut escaped = Vec::with_capacity(path.len());
    for &byte in path {
        if what.contains(&byte) {
            escaped.push(b'\\');
        }
        escaped.push(byte);
    }
    escaped
}

/// The command that stands in for a connection.
fn remote_shell(ssh: Option<&SshSlice>, port: Option<u16>) -> OsString {
    let program = ssh.map_or(OsStr::new("ssh"), |ssh| ssh.program.as_os_str());
    let mut words: Vec<Vec<u8>> = vec![program.as_bytes().to_vec()];
    words.extend(SSH.iter().map(|word| word.as_bytes().to_vec()));
    let keys = ssh.map_or(&[][..], |ssh| &ssh.identities).iter().filter(|path| is_plain(path));
    let keys: Vec<_> = keys.flat_map(|path| [b"-i".to_vec(), path.as_bytes().to_vec()]).collect();
    if !keys.is_empty() {
        words.extend([b"-o".to_vec(), b"IdentitiesOnly=yes".to_vec()]);
    }
    words.extend(keys);
    let files = ssh.map_or(&[][..], |ssh| &ssh.known_hosts);
    let files: Vec<_> = files.iter().filter_map(|path| quoted_for_ssh(path)).collect();
    // Without any, no host is known. Left out, it would mean the user's own.
    let files = if files.is_empty() { b"/dev/null".to_vec() } else { bstr::join(" ", files) };
    words.extend([b"-o".to_vec(), [b"UserKnownHostsFile=", &files[..]].concat()]);
    words.extend(port.into_iter().flat_map(|port| [b"-p".to_vec(), port.to_string().into_bytes()]));
    OsString::from_vec(bstr::join(" ", words.iter().map(|word| quoted_for_rsync(word))))
}

/// rsync splits at blanks outside quotes; a doubled quote inside of its own kind is the quote.
fn quoted_for_rsync(word: &[u8]) -> Vec<u8> {
    if word.find_byteset(b" '\"").is_none() {
        return word.to_vec();
    }
    [b"'", &word.replace(b"'", b"''")[..], b"'"].concat()
}

/// ssh expands `%` and `${}` in the name of a key.
fn is_plain(path: &OsStr) -> bool {
    let bytes = path.as_bytes();
    !bytes.contains(&b'%') && !bytes.contains_str("${")
}

/// A path within a list of paths. `None` where no version of ssh would read it as meant.
fn quoted_for_ssh(path: &OsStr) -> Option<Vec<u8>> {
    let bytes = path.as_bytes();
    let readable = !bytes.contains_str("${")
        && !bytes.iter().any(|byte| byte.is_ascii_control() || b"\"\\".contains(byte));
    readable.then(|| [b"\"", &bytes.replace(b"%", b"%%")[..], b"\""].concat())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::abilities::Abilities;
    use crate::argv::tests::{sent, slice};
    use crate::argv::{Errand, Form, argv, shown};
    use common::config::{Auth, Ssh};
    use common::message::Deletions;

    #[test]
    fn ports() {
        let of = |params: &[&str], port, ssh: Option<Ssh>| {
            let mut remote = slice(params).remote;
            (remote.rsync.port, remote.rsync.ssh) = (port, ssh);
            super::port(&remote)
        };
        assert_eq!(of(&["-a"], None, None), 873);
        assert_eq!(of(&["--port=1", "--port", "874", "-a"], None, None), 874);
        assert_eq!(of(&["--port=1"], Some(875), None), 875);
        assert_eq!(of(&["--port"], None, None), 873);
        assert_eq!(of(&["--port=1"], None, Some(Ssh::default())), 22);
        assert_eq!(of(&[], Some(2222), Some(Ssh::default())), 2222);
    }

    #[test]
    fn over_ssh() {
        let mut slice = slice(&["-artz"]);
        slice.remote = Remote { host: "fe80::1".into(), module: "/srv/a b*/".into(), ..slice.remote };
        slice.remote.rsync.ssh = Some(Ssh::default());
        slice.remote.rsync.port = Some(2222);
        slice.remote.rsync.bwlimit = Some(500);
        slice.ssh = Some(SshSlice {
            program: "/opt/my ssh".into(),
            user: "root".into(),
            identities: vec!["/root/key".into(), "/root/a%b".into(), "/root/it's".into()],
            known_hosts: vec!["/root/known hosts".into(), "/a\"b".into(), "/etc/100%".into()],
        });
        insta::assert_snapshot!(sent(&slice, Form::Shallow, Deletions::Travel));
        let left_out: Vec<_> = unspeakable(slice.ssh.as_ref().unwrap()).collect();
        assert_eq!(left_out, ["/root/a%b", "/a\"b"]);
        slice.remote.rsync.auth = Some(Auth { user: Some("bob".into()), password_file: Some("/p".into()) });
        let ssh = slice.ssh.as_mut().unwrap();
        (ssh.identities, ssh.known_hosts) = (vec![], vec![]);
        slice.rsync_version = (3, 2, 3);
        insta::assert_snapshot!(shown(&argv(&slice, Errand::Erase, Abilities::default())));
    }
}
