//! What each role may reach: files and ports (Landlock), and why each of them.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use common::config::{Plugin, PluginKind, Remote};
use common::confine::{Access, Domain, FileRule};
use common::message::SshSlice;
use elf::ElfStream;
use elf::abi::PT_INTERP;
use elf::endian::AnyEndian;

/// Where libraries are. Read, not executed: mapping them needs no more.
const LIBRARIES: [&str; 7] =
    ["/lib", "/lib64", "/lib32", "/usr/lib", "/usr/lib64", "/usr/local/lib", "/etc/ld.so.cache"];
/// Names for uids and gids, which rsync sends along; and the account without which ssh does not
/// run.
const ACCOUNTS: [&str; 3] = ["/etc/passwd", "/etc/group", "/etc/nsswitch.conf"];
/// What the C library reads to look up a host.
const RESOLVER: [&str; 5] =
    ["/etc/hosts", "/etc/resolv.conf", "/etc/nsswitch.conf", "/etc/host.conf", "/etc/gai.conf"];
/// What a distribution says to libraries about ciphers.
const CRYPTO: [&str; 3] = ["/etc/ssl/openssl.cnf", "/etc/pki/tls/openssl.cnf", "/etc/crypto-policies"];
/// Names are asked for over TCP: roles are started with `RES_OPTIONS=use-vc`.
const DNS: u16 = 53;
/// Longest name of a loader, in bytes.
const MAX_NAME: u64 = 4096;

/// The watcher lists directories. It opens no file, and connects to nothing.
pub fn watcher(roots: &[PathBuf]) -> Domain {
    let files = roots.iter().map(|root| rule(root, Access::List)).collect();
    Domain { files, connect: Vec::new() }
}

/// A syncer reads the root and its own secrets, runs rsync (and ssh), and connects to one port.
pub fn syncer(root: &OsStr, remote: &Remote, rsync: &Path, ssh: Option<&SshSlice>) -> Domain {
    let mut files = vec![rule(root, Access::ReadTree)];
    files.extend(program(rsync));
    files.extend(LIBRARIES.into_iter().chain(ACCOUNTS).chain(CRYPTO).map(|path| rule(path, Access::Read)));
    if let Some(ssh) = ssh {
        files.extend(program(Path::new(&ssh.program)));
        files.extend(ssh.identities.iter().chain(&ssh.known_hosts).map(|path| rule(path, Access::Read)));
        // Its known hosts of the machine, and where it puts standard error.
        files.push(rule("/dev/null", Access::Use));
    } else if let Some(file) = remote.rsync.auth.as_ref().and_then(|auth| auth.password_file.as_ref()) {
        files.push(rule(file, Access::Read));
    }
    let mut domain = Domain { files, connect: vec![syncer::port(remote)] };
    allow_lookup(&mut domain, &remote.host);
    domain
}

/// A plugin connects to one port and reads what TLS believes. `None` for a command: what an
/// operator's program may reach is the operator's business, by the account that it has.
pub fn plugin(plugin: &Plugin) -> Option<Domain> {
    let (host, port) = match &plugin.kind {
        PluginKind::Command(_) => return None,
        PluginKind::Socket(socket) => (socket.host.clone(), socket.port),
        PluginKind::RefreshCdn(cdn) => (cdn.domain.clone(), cdn.port),
        PluginKind::Http(http) => plugins::destination(&http.url)?,
    };
    let mut domain = Domain { files: Vec::new(), connect: vec![port] };
    if let PluginKind::Http(http) = &plugin.kind {
        let ca = http.ca.iter().map(OsString::as_os_str);
        domain.files.extend(
            ca.chain(plugins::SYSTEM_CERTIFICATES.iter().map(OsStr::new))
                .map(|path| rule(path, Access::Read)),
        );
    }
    allow_lookup(&mut domain, &host);
    Some(domain)
}

/// What looking up a host takes, where it is a name.
fn allow_lookup(domain: &mut Domain, host: &str) {
    if host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>().is_ok() {
        return;
    }
    // The C library loads further libraries for it.
    let files = RESOLVER.into_iter().chain(LIBRARIES).map(|path| rule(path, Access::Read));
    domain.files.extend(files);
    domain.connect.push(DNS);
}

/// The program and its loader.
fn program(path: &Path) -> impl Iterator<Item = FileRule> {
    let loader = interpreter(path).ok().flatten();
    [Some(path.to_owned()), loader].into_iter().flatten().map(|path| rule(path, Access::Execute))
}

/// The loader that the kernel starts for a program; `None` for one without. An error for what is
/// no program, a script for example: the sandbox cannot run it.
pub fn interpreter(program: &Path) -> io::Result<Option<PathBuf>> {
    use std::os::unix::ffi::OsStrExt;
    let mut elf = ElfStream::<AnyEndian, _>::open_stream(File::open(program)?).map_err(io::Error::other)?;
    let Some(segment) = elf.segments().iter().find(|segment| segment.p_type == PT_INTERP).copied() else {
        return Ok(None);
    };
    if segment.p_filesz > MAX_NAME {
        return Err(io::Error::other("the name of its loader is too long"));
    }
    let name = elf.segment_data(&segment).map_err(io::Error::other)?;
    let name = name.strip_suffix(b"\0").unwrap_or(name);
    Ok(Some(PathBuf::from(OsStr::from_bytes(name))))
}

fn rule(path: impl Into<OsString>, access: Access) -> FileRule {
    FileRule { path: path.into(), access }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loaders() {
        let own = interpreter(&std::env::current_exe().unwrap()).unwrap();
        assert!(own.is_some_and(|loader| loader.is_file()));
        let directory = tempfile::tempdir().unwrap();
        let script = directory.path().join("script");
        for text in [&b"#!/usr/bin/env python3\n"[..], b"", b"\x7fELF", &[0x7f; 200]] {
            std::fs::write(&script, text).unwrap();
            assert!(interpreter(&script).is_err(), "{text:?}");
        }
        assert!(interpreter(&directory.path().join("missing")).is_err());
    }

    #[test]
    fn lookups_only_for_names() {
        for (host, wanted) in
            [("10.0.0.1", false), ("::1", false), ("[fe80::1]", false), ("web.example", true)]
        {
            let mut domain = Domain::default();
            allow_lookup(&mut domain, host);
            assert_eq!(domain.connect.contains(&DNS), wanted, "{host}");
            assert_eq!(domain.files.iter().any(|rule| rule.path == "/etc/hosts"), wanted, "{host}");
        }
    }
}
