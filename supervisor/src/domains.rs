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
use nix::net::if_::if_nametoindex;

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
const CRYPTO: [&str; 4] = [
    "/etc/ssl/openssl.cnf",
    "/etc/pki/tls/openssl.cnf",
    "/etc/crypto-policies",
    // To which most of that leads.
    "/usr/share/crypto-policies",
];
/// Names are asked for over TCP: roles are started with `RES_OPTIONS=use-vc`.
const DNS: u16 = 53;
/// Longest name of a loader, in bytes.
const MAX_NAME: u64 = 4096;
/// Most libraries in strange places.
const MAX_LIBRARIES: usize = 256;

/// The watcher lists directories. It opens no file, and connects to nothing.
pub fn watcher(roots: &[PathBuf]) -> Domain {
    let files = roots.iter().map(|root| rule(root, Access::List)).collect();
    Domain { files, connect: Vec::new() }
}

/// The keeper opens nothing: its file was opened for it.
pub fn keeper() -> Domain {
    Domain { files: Vec::new(), connect: Vec::new() }
}

/// The page opens nothing and connects to nothing: who wants it comes to sockets that were opened for it.
pub fn page() -> Domain {
    Domain { files: Vec::new(), connect: Vec::new() }
}

/// A syncer reads the root and its own secrets, runs rsync (and ssh), and connects to one port.
/// `libraries` are those of the two that stand where nobody looks for them.
pub fn syncer(
    root: &OsStr,
    remote: &Remote,
    rsync: &Path,
    ssh: Option<&SshSlice>,
    libraries: &[PathBuf],
) -> Domain {
    let mut files = vec![rule(root, Access::ReadTree)];
    files.extend(program(rsync));
    files.extend(libraries.iter().map(|path| rule(path, Access::Read)));
    files.extend(LIBRARIES.into_iter().chain(ACCOUNTS).chain(CRYPTO).map(|path| rule(path, Access::Read)));
    if let Some(ssh) = ssh {
        files.extend(program(Path::new(&ssh.program)));
        files.extend(ssh.identities.iter().flat_map(key_files).map(|path| rule(path, Access::Read)));
        files.extend(ssh.known_hosts.iter().map(|path| rule(path, Access::Read)));
        // Its known hosts of the machine, and where it puts standard error.
        files.push(rule("/dev/null", Access::Use));
    } else if let Some(file) = remote.rsync.auth.as_ref().and_then(|auth| auth.password_file.as_ref()) {
        // rsync runs in the root, and opens a relative name from there.
        files.push(rule(Path::new(root).join(file), Access::Read));
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

/// A private key, and what ssh looks for beside it: its certificate and its public half.
fn key_files(key: &OsString) -> [OsString; 3] {
    ["", "-cert.pub", ".pub"].map(|end| {
        let mut name = key.clone();
        name.push(end);
        name
    })
}

/// Whether a host has to be looked up. An address may name the interface that it is reached by.
pub fn is_name(host: &str) -> bool {
    let address = host.trim_start_matches('[').trim_end_matches(']');
    let address = address.split_once('%').map_or(address, |(address, _)| address);
    address.parse::<IpAddr>().is_err()
}

/// `host` with the number of its interface in place of its name: finding it takes a socket that the
/// sandbox refuses. As it is where there is no such interface.
pub fn with_scope_number(host: &str) -> String {
    let Some((address, scope)) = host.split_once('%').filter(|_| !is_name(host)) else {
        return host.to_owned();
    };
    let (name, end) = scope.strip_suffix(']').map_or((scope, ""), |name| (name, "]"));
    match if_nametoindex(name) {
        Ok(number) => format!("{address}%{number}{end}"),
        Err(_) => host.to_owned(),
    }
}

/// What looking up a host takes, where it is a name.
fn allow_lookup(domain: &mut Domain, host: &str) {
    if !is_name(host) {
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

/// The libraries among the lines of a loader (`ld.so --list`) that stand elsewhere than libraries
/// do: by `RPATH`, by `ld.so.conf.d`, or where a link leads there.
pub fn elsewhere(listed: &str) -> Vec<PathBuf> {
    let usual: Vec<PathBuf> =
        LIBRARIES.into_iter().filter_map(|path| Path::new(path).canonicalize().ok()).collect();
    let is_elsewhere = |path: &PathBuf| {
        path.canonicalize().is_ok_and(|real| !usual.iter().any(|directory| real.starts_with(directory)))
    };
    let lines = listed.lines().map(str::trim).filter_map(|line| {
        let (named, _) = line.rsplit_once(" (0x")?;
        let path = named.split_once(" => ").map_or(named, |(_, path)| path);
        path.starts_with('/').then(|| PathBuf::from(path))
    });
    lines.filter(is_elsewhere).take(MAX_LIBRARIES).collect()
}

fn rule(path: impl Into<OsString>, access: Access) -> FileRule {
    FileRule { path: path.into(), access }
}

#[cfg(test)]
mod tests {
    use super::*;

    use common::config::{Auth, RsyncOptions, Ssh};

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
        for (host, wanted) in [
            ("10.0.0.1", false),
            ("::1", false),
            ("[fe80::1]", false),
            ("fe80::1%eth0", false),
            ("[fe80::1%eth0]", false),
            ("web.example", true),
            ("web%1", true),
        ] {
            let mut domain = Domain::default();
            allow_lookup(&mut domain, host);
            assert_eq!(domain.connect.contains(&DNS), wanted, "{host}");
            assert_eq!(domain.files.iter().any(|rule| rule.path == "/etc/hosts"), wanted, "{host}");
        }
    }

    /// rsync's own search for the number takes a socket that the sandbox refuses.
    #[test]
    fn interfaces_have_numbers() {
        let number = if_nametoindex("lo").unwrap();
        for (host, expected) in [
            ("fe80::1%lo", format!("fe80::1%{number}")),
            ("[fe80::1%lo]", format!("[fe80::1%{number}]")),
            ("fe80::1%no-such-one", "fe80::1%no-such-one".to_owned()),
            ("fe80::1%7", "fe80::1%7".to_owned()),
            ("fe80::1", "fe80::1".to_owned()),
            ("web.example", "web.example".to_owned()),
        ] {
            assert_eq!(with_scope_number(host), expected);
        }
    }

    #[test]
    fn libraries_in_strange_places() {
        let directory = tempfile::tempdir().unwrap();
        let place = |name: &str| directory.path().join(name);
        for name in ["libz.so.1", "lib with space.so", "loader.so"] {
            std::fs::write(place(name), "").unwrap();
        }
        let own = interpreter(&std::env::current_exe().unwrap()).unwrap().unwrap();
        let text = format!(
            "\tlinux-vdso.so.1 (0x00007ffd)\n\tlibz.so.1 => {} (0x00007f)\n\tlibc.so.6 => {} (0x00007f)\n\
             \tx => {} (0x1)\n\t{} (0x1)\n\tlibgone.so => not found\n\tliby => /nowhere/liby.so (0x1)\n(0x\n => (0x1)\n",
            place("libz.so.1").display(),
            own.display(),
            place("lib with space.so").display(),
            place("loader.so").display(),
        );
        assert_eq!(elsewhere(&text), [place("libz.so.1"), place("lib with space.so"), place("loader.so")]);
    }

    #[test]
    fn secrets_where_they_are_looked_for() {
        let remote = |auth, ssh| Remote {
            host: "127.0.0.1".into(),
            module: "m".into(),
            connections: 2,
            rsync: RsyncOptions { params: Vec::new(), auth, port: None, timeout: None, bwlimit: None, ssh },
        };
        let has = |domain: &Domain, path: &str| {
            domain.files.iter().any(|rule| rule.path == path && rule.access == Access::Read)
        };
        let rsync = Path::new("/usr/bin/rsync");
        let root = OsStr::new("/srv/www");
        for (file, wanted) in [("secret", "/srv/www/secret"), ("/etc/secret", "/etc/secret")] {
            let auth = Auth { user: None, password_file: Some(file.into()) };
            assert!(has(&syncer(root, &remote(Some(auth), None), rsync, None, &[]), wanted), "{file}");
        }
        let ssh = SshSlice {
            program: "/usr/bin/ssh".into(),
            user: "u".into(),
            identities: vec!["/key".into()],
            known_hosts: Vec::new(),
        };
        let far = PathBuf::from("/opt/lib.so");
        let domain = syncer(root, &remote(None, Some(Ssh::default())), rsync, Some(&ssh), &[far]);
        for path in ["/key", "/key-cert.pub", "/key.pub", "/opt/lib.so", "/usr/share/crypto-policies"] {
            assert!(has(&domain, path), "{path}");
        }
    }
}
