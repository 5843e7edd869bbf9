//! `<remote>`: where a tree goes, and what `<rsync>` says that counts otherwise there.

use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt, OsStringExt};

use super::super::diagnostic::quote;
use super::super::xml::{Attribute, Element, Span};
use super::super::{Auth, MAX_CONNECTIONS, MAX_REMOTES, Remote, RsyncOptions, Ssh};
use super::rsync::{Block, Transport};
use super::values::Reader;

const REMOTE: &str = "<remote ip=\"host\" name=\"module\"/>";
/// KiB a second: ten gigabytes are beyond any wire.
const MAX_BWLIMIT: u32 = 10_000_000;
/// rsync's own word for it.
const CONNECT_TIMEOUT: &[u8] = b"--contimeout";

impl Reader {
    /// The remotes of one tree.
    pub(super) fn remotes(&mut self, localpath: &Element, block: &Block) -> Vec<Remote> {
        let mut remotes = Vec::new();
        for (count, remote) in localpath.children("remote").enumerate() {
            if count == MAX_REMOTES {
                let message = format!("more than {MAX_REMOTES} remotes");
                self.error(&remote.span, message, "split the config in two");
                break;
            }
            remotes.extend(self.remote(remote, block));
        }
        if localpath.child("remote").is_none() {
            let message = "nothing says where this directory is sent to";
            self.error(&localpath.span, message, &format!("write {REMOTE} into this <localpath>"));
        }
        remotes
    }

    fn remote(&mut self, remote: &Element, block: &Block) -> Option<Remote> {
        let transport = self.transport(Some(remote), "ssh").unwrap_or(block.transport);
        let host = self.required(Some(remote), "ip", &remote.span, REMOTE);
        let module = self.required(Some(remote), "name", &remote.span, REMOTE);
        let host = host.and_then(|host| self.host(host));
        let module = module.and_then(|module| self.module(module, transport));
        let rsync = self.options(remote, block, transport);
        let connections = self.connections(remote);
        Some(Remote { host: host?, module: module?, rsync, connections })
    }

    /// All that there can be, unless fewer are asked for.
    fn connections(&mut self, remote: &Element) -> u8 {
        let given = remote.attribute("connections");
        let given = given.and_then(|most| self.number(most, &(1..=u32::from(MAX_CONNECTIONS))));
        given.and_then(|most| u8::try_from(most).ok()).unwrap_or(MAX_CONNECTIONS)
    }

    /// A module, or with ssh a path, that rsync takes for nothing else. Blanks at its end were dropped by the
    /// original's shell, and rsyncd.conf drops those around a module's name.
    fn module(&mut self, attribute: &Attribute, transport: Transport) -> Option<OsString> {
        let value = attribute.value.trim_matches([' ', '\t']);
        if value.contains(['\n', '\r']) {
            let message = "a module name cannot hold a line break";
            self.error(&attribute.span, message, &format!("write {REMOTE}"));
            return None;
        }
        let wrong = match transport {
            Transport::Ssh if value.starts_with(':') => Some("after `host:` it would mean an rsync daemon"),
            Transport::Ssh if value.starts_with('-') => Some("it would be taken for an option there"),
            Transport::Daemon if value.starts_with('/') => {
                Some("a path can stand here only with ssh=\"true\"; otherwise it is the name of a module")
            }
            // A daemon answers `#list` with its modules, and rsync calls that a success.
            Transport::Daemon if value.starts_with(['-', ':', '#']) => {
                Some("a module name begins with a letter, a digit or `_`")
            }
            Transport::Ssh | Transport::Daemon => None,
        };
        if let Some(help) = wrong {
            let first: String = value.chars().take(1).collect();
            self.error(&attribute.span, format!("the name of a remote cannot begin with `{first}`"), help);
            return None;
        }
        if value.is_empty() {
            let message = format!("`{}` is empty", attribute.name);
            self.error(&attribute.place(), message, &format!("write {REMOTE}"));
            return None;
        }
        if value.len() < attribute.value.len() {
            let message = "the name of a remote begins or ends with a blank, which does not count";
            self.warning(&attribute.place(), message, &format!("write name=\"{}\"", quote(value)));
        }
        Some(OsString::from_vec(self.encoding.bytes(value)))
    }

    /// What `<rsync>` says, unless the remote says otherwise.
    fn options(&mut self, remote: &Element, block: &Block, transport: Transport) -> RsyncOptions {
        let params = match remote.attribute("params") {
            Some(params) => self.params(params, block.deletions),
            None => block.params.clone(),
        };
        let own_port = remote.attribute("port").and_then(|port| self.port(port));
        let no_limit = "leave it out; there is no limit with <timeout start=\"false\"/> in <rsync>";
        let own_timeout = remote.attribute("timeout").and_then(|timeout| self.timeout(timeout, no_limit));
        let bwlimit = remote.attribute("bwlimit");
        let options = RsyncOptions {
            auth: self.auth(remote, block, transport),
            port: own_port.or(block.port.filter(|_| transport == Transport::Daemon)),
            timeout: own_timeout.or(block.timeout),
            bwlimit: bwlimit.and_then(|limit| self.number(limit, &(1..=MAX_BWLIMIT))),
            ssh: self.keys(remote, block, transport),
            params,
        };
        let limits_connect = options.params.iter().any(|word| word.as_bytes().starts_with(CONNECT_TIMEOUT));
        if transport == Transport::Ssh && limits_connect {
            let place = remote.attribute("params").map_or_else(|| remote.span.clone(), Attribute::place);
            let help =
                "rsync refuses it on any way but to a daemon; leave it out of the parameters of this remote";
            self.error(&place, "`--contimeout` cannot be used with ssh", help);
        }
        options
    }

    fn auth(&mut self, remote: &Element, block: &Block, transport: Transport) -> Option<Auth> {
        let user = match remote.attribute("user") {
            Some(user) if user.value.is_empty() => None,
            Some(user) => self.user(user),
            None => block.auth.user.clone(),
        };
        let own_file = remote.attribute("passwordfile");
        let password_file = match own_file {
            Some(file) => Some(self.os(file)).filter(|file| !file.is_empty()),
            None => block.auth.password_file.clone(),
        };
        let password_file = match transport {
            Transport::Daemon => password_file,
            Transport::Ssh => {
                // Said for the daemons, it is no mistake that one remote has ssh instead.
                let meant = match own_file {
                    Some(file) => password_file.is_some().then(|| file.place()),
                    None => block.password_place.clone().filter(|_| block.transport == Transport::Ssh),
                };
                if let Some(place) = meant {
                    self.no_password(&place);
                }
                None
            }
        };
        (user.is_some() || password_file.is_some()).then_some(Auth { user, password_file })
    }

    fn no_password(&mut self, place: &Span) {
        if self.problems.iter().all(|problem| problem.span != *place) {
            let help = "ssh logs in with a key; see identity=\"…\"";
            self.warning(place, "with ssh the password file does not count", help);
        }
    }

    fn keys(&mut self, remote: &Element, block: &Block, transport: Transport) -> Option<Ssh> {
        let identity = self.key(remote, "identity", block.keys.identity.as_ref(), transport);
        let known_hosts = self.key(remote, "knownhosts", block.keys.known_hosts.as_ref(), transport);
        (transport == Transport::Ssh).then_some(Ssh { identity, known_hosts })
    }

    fn key(
        &mut self,
        remote: &Element,
        name: &str,
        default: Option<&OsString>,
        transport: Transport,
    ) -> Option<OsString> {
        let Some(attribute) = remote.attribute(name) else { return default.cloned() };
        if transport == Transport::Daemon {
            let message = format!("`{name}` counts only with ssh");
            self.warning(&attribute.name_span, message, "write ssh=\"true\", or leave it out");
        }
        if attribute.value.is_empty() { None } else { self.absolute(attribute) }
    }
}
