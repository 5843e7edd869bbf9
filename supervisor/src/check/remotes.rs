//! Each remote, tried as its syncer would try it: by a syncer, confined, with the arguments that it
//! has, in a dry run of what lies in the root itself. And whether anybody listens where plugins speak to.

use std::io;
use std::net::{TcpStream, ToSocketAddrs};
use std::ops::Range;
use std::thread;
use std::time::Duration;

use common::config::{Plugin, PluginKind, Remote};
use common::message::{Comparison, Outcome, Work};

use super::Findings;
use crate::alone::{self, Ended};
use crate::core::{PluginId, RemoteId};
use crate::lowering;
use crate::plan::{Plan, label};
use crate::privileges::Grounds;

/// How many are tried at a time. Each has a uid of its own.
const AT_ONCE: usize = 8;
/// How long a remote may say nothing.
const SILENCE: Duration = Duration::from_secs(30);
/// How long a plugin's peer may take to accept a connection.
const CONNECT: Duration = Duration::from_secs(5);
/// Longest piece of rsync's words in a message, in characters.
const MAX_SAID: usize = 200;

/// Tries all of them.
pub(super) fn look(findings: &mut Findings, plan: &Plan, grounds: Grounds, uids: Option<u32>) {
    let private = match tempfile::Builder::new().prefix("sersync-check-").tempdir() {
        Ok(private) => private,
        Err(error) => return findings.note(format!("not looked at: the remotes, since {error}")),
    };
    // The sockets of the rendezvous go there.
    let _ = tempfile::env::override_temp_dir(private.path());
    // Before any thread exists.
    lowering::give_accounts(plan, uids, grounds.footing);
    let ids: Vec<RemoteId> =
        (0..u16::MAX).map(RemoteId).take_while(|&id| plan.remote(id).is_some()).collect();
    for some in ids.chunks(AT_ONCE) {
        let tried = tried(plan, some, grounds, uids);
        for (&id, tried) in some.iter().zip(tried) {
            let Some((_, remote)) = plan.remote(id) else { continue };
            say(findings, (remote, skip(plan, id)), tried);
        }
    }
    let plugins = (0_u8..).map(PluginId).map_while(|id| plan.plugin(id));
    plugins.for_each(|(plugin, _)| peer(findings, plugin));
}

/// A thread each, which waits for a process of its own: whoever starts a role has to outlive it.
fn tried(plan: &Plan, ids: &[RemoteId], grounds: Grounds, uids: Option<u32>) -> Vec<io::Result<Ended>> {
    thread::scope(|scope| {
        let started: Vec<_> = (0_u32..)
            .zip(ids)
            .map(|(slot, &id)| {
                let uid = uids.map(|first| first.saturating_add(slot));
                let work = Work::Verify { tops: Vec::new(), by: Comparison::Times };
                scope.spawn(move || alone::compare(plan, id, (uid, grounds), work, SILENCE, &mut |_| {}))
            })
            .collect();
        let failed = |_| Err(io::Error::other("it could not be tried"));
        started.into_iter().map(|thread| thread.join().unwrap_or_else(failed)).collect()
    })
}

/// How many remotes before this one are written alike.
fn skip(plan: &Plan, id: RemoteId) -> usize {
    let Some((_, remote)) = plan.remote(id) else { return 0 };
    let before = (0..id.0).map(RemoteId).filter_map(|id| plan.remote(id));
    before.filter(|(_, it)| it.host == remote.host && it.module == remote.module).count()
}

fn say(findings: &mut Findings, (remote, skip): (&Remote, usize), tried: io::Result<Ended>) {
    let label = label(remote);
    let ended = match tried {
        Ok(ended) => ended,
        Err(error) => {
            let place = findings.places.remote(&remote.host, &remote.module, skip, "ip");
            let message = format!("the syncer for this remote could not be run: {error}");
            return findings.error(place, message, "`sersync-supervisor doctor` looks at what it needs");
        }
    };
    if ended.outcome == Outcome::Done {
        return findings.note(format!("remote {label} answers, and takes what is sent"));
    }
    let verdict = verdict(remote, &ended);
    let place: Range<usize> = findings.places.remote(&remote.host, &remote.module, skip, verdict.attribute);
    findings.error(place, verdict.message, verdict.cure);
}

/// What a remote's answer means.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Verdict {
    /// The attribute of `<remote>` that is probably wrong.
    attribute: &'static str,
    pub(crate) message: String,
    pub(crate) cure: String,
}

/// In the words of an operator. What rsync said is repeated, since it may know more.
pub(crate) fn verdict(remote: &Remote, ended: &Ended) -> Verdict {
    let said = said(&ended.tail);
    let name = label(remote);
    let words = [&said, &ended.tail].map(|text| text.to_lowercase()).concat();
    let row = ROWS
        .iter()
        .find(|row| row.outcome.is_none_or(|outcome| outcome == ended.outcome) && words.contains(row.said));
    let Some(row) = row else {
        let message = format!("remote {name} cannot be used: {said}");
        return Verdict {
            attribute: "ip",
            message,
            cure: "see docs/operations.md for what rsync said".to_owned(),
        };
    };
    let host = &remote.host;
    let port = syncer::port(remote);
    let cure = row.cure.replace("HOST", host).replace("PORT", &port.to_string());
    Verdict { attribute: row.attribute, message: format!("remote {name} {}: {said}", row.message), cure }
}

struct Row {
    outcome: Option<Outcome>,
    /// Lower case; what must be among its words.
    said: &'static str,
    attribute: &'static str,
    message: &'static str,
    cure: &'static str,
}

const fn row(
    outcome: Option<Outcome>,
    said: &'static str,
    attribute: &'static str,
    message: &'static str,
    cure: &'static str,
) -> Row {
    Row { outcome, said, attribute, message, cure }
}

const NAME: &str = "compare HOST with what was meant, see /etc/hosts and /etc/resolv.conf, or write the address into ip=\"…\"";
const ANOTHER: &str =
    "something else than rsync --daemon has port PORT of HOST: see what, and correct port=\"…\"";

/// The first row that fits counts.
#[rustfmt::skip]
const ROWS: &[Row] = &[
    row(None, "unknown module", "name", "has no such module",
        "correct name=\"…\"; `rsync rsync://HOST:PORT/` lists the modules there"),
    row(None, "auth failed", "passwordfile", "refuses the user or the password",
        "compare user=\"…\" and the password file with `auth users` and `secrets file` there"),
    row(None, "password file must", "passwordfile", "was not asked, since rsync refuses the password file",
        "chmod 600 the password file, and give it to the user that starts the supervisor"),
    row(None, "password file", "passwordfile", "was not asked, since the password file cannot be read",
        "correct passwordfile=\"…\", and make the file with mode 600"),
    row(None, "read only", "name", "has the module, but read only",
        "write `read only = no` into the module's section of rsyncd.conf there"),
    row(None, "access denied", "ip", "does not let this machine in",
        "add this machine's address to `hosts allow` of the module there"),
    row(None, "max connections", "ip", "has no connection left",
        "raise `max connections` there, or write connections=\"1\" into this <remote>"),
    row(None, "chdir failed", "name", "lacks the directory of the module",
        "make the directory that `path` of the module names there"),
    row(None, "connection refused", "ip", "has nobody listening on that port",
        "start rsync --daemon (or sshd) on HOST, or correct port=\"…\": PORT was tried"),
    row(None, "refuse", "params", "refuses an option",
        "take the option out of params=\"…\", or out of `refuse options` there"),
    row(None, "unknown option", "params", "does not know an option",
        "take the option out of params=\"…\", or install a newer rsync there"),
    row(Some(Outcome::UnknownHost), "", "knownhosts", "has a host key that is not known here",
        "compare it, then `ssh-keyscan -p PORT HOST >> FILE`, and name the file in knownhosts=\"…\""),
    row(None, "permission denied (", "identity", "does not accept the key",
        "add the public half of identity=\"…\" to ~/.ssh/authorized_keys of that user there"),
    row(None, "did not see server greeting", "port", "does not speak rsync as rsync does", ANOTHER),
    row(None, "rather than greeting", "port", "does not speak rsync as rsync does", ANOTHER),
    row(None, "name or service not known", "ip", "has a name that cannot be looked up", NAME),
    row(None, "failure in name resolution", "ip", "has a name that cannot be looked up", NAME),
    row(None, "no address associated", "ip", "has a name that cannot be looked up", NAME),
    row(None, "name does not resolve", "ip", "has a name that cannot be looked up", NAME),
    row(None, "could not resolve hostname", "ip", "has a name that cannot be looked up", NAME),
    row(None, "failed to lookup", "ip", "has a name that cannot be looked up", NAME),
    row(None, "not found", "ip", "has no rsync",
        "install rsync there"),
    row(None, "change_dir", "name", "lacks the directory",
        "make the directory there, or correct name=\"…\""),
    row(Some(Outcome::TimedOut), "", "ip", "does not answer in time",
        "see whether HOST is up, and whether a firewall drops port PORT"),
    row(Some(Outcome::Unreachable), "", "ip", "cannot be reached",
        "see whether HOST is up, and whether a firewall drops port PORT"),
    row(Some(Outcome::RootGone), "", "ip", "was not asked, since the watched directory cannot be opened",
        "let the roles read it: readAll=\"true\" in <privileges>, or chmod o+rx"),
    row(Some(Outcome::Hostile), "", "ip", "does not speak rsync as rsync does",
        "see what listens on port PORT of HOST"),
    row(Some(Outcome::Misconfigured), "", "params", "is not understood, or does not understand",
        "see what rsync said, and compare params=\"…\" with what both rsyncs know"),
    row(Some(Outcome::Refused), "", "name", "refuses",
        "see what rsync said, and rsyncd.conf or the account there"),
];

/// The line of rsync that says most.
fn said(tail: &str) -> String {
    let lines = || tail.lines().map(str::trim).filter(|line| !line.is_empty());
    let telling =
        |line: &&str| !line.starts_with("rsync error:") && !line.starts_with("rsync: connection unexp");
    let line = lines().find(|line| line.contains("@ERROR")).or_else(|| lines().find(telling));
    let line = line.or_else(|| lines().next()).unwrap_or("it gave no reason");
    line.chars().take(MAX_SAID).collect()
}

/// Whether anybody listens where a plugin speaks to.
fn peer(findings: &mut Findings, plugin: &Plugin) {
    let (element, attribute, target) = match &plugin.kind {
        PluginKind::Command(_) => return,
        PluginKind::Socket(socket) => ("deshost", "ip", Some((socket.host.clone(), socket.port))),
        PluginKind::Http(http) => ("deshost", "url", plugins::destination(&http.url)),
        PluginKind::RefreshCdn(cdn) => ("cdninfo", "domainname", Some((cdn.domain.clone(), cdn.port))),
    };
    let Some((host, port)) = target else { return };
    let name = plugin.kind.name().as_str();
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    if let Err(error) = knock(bare, port) {
        let place = findings.places.attribute(element, attribute, |_| true);
        let message = format!("plugin {name}: {host} port {port} does not answer: {error}");
        findings.warning(
            place,
            message,
            "start what listens there, or correct the address; what is to be told waits",
        );
    }
}

fn knock(host: &str, port: u16) -> io::Result<()> {
    let mut last = io::Error::other("it has no address");
    for address in (host, port).to_socket_addrs()? {
        match TcpStream::connect_timeout(&address, CONNECT) {
            Ok(_) => return Ok(()),
            Err(error) => last = error,
        }
    }
    Err(last)
}

#[cfg(test)]
mod tests {
    use common::config::RsyncOptions;

    use super::*;

    fn judged(outcome: Outcome, tail: &str) -> Verdict {
        let rsync = RsyncOptions {
            params: Vec::new(),
            auth: None,
            port: None,
            timeout: None,
            bwlimit: None,
            ssh: None,
        };
        let remote = Remote { host: "wwww".to_owned(), module: "m".into(), connections: 1, rsync };
        verdict(&remote, &Ended { outcome, tail: tail.to_owned() })
    }

    /// The cure was one for a firewall.
    #[test]
    fn a_name_that_cannot_be_looked_up_is_called_so() {
        for said in [
            "rsync: getaddrinfo: wwww 873: Temporary failure in name resolution",
            "rsync: [sender] failed to connect: wwww: Name or service not known",
            "rsync: getaddrinfo: wwww 873: No address associated with hostname",
            "rsync: getaddrinfo: wwww 873: Name does not resolve",
            "ssh: Could not resolve hostname wwww: Temporary failure in name resolution",
        ] {
            let tail = format!("{said}\nrsync error: error in socket IO (code 10) at clientserver.c(139)\n");
            let judged = judged(Outcome::Unreachable, &tail);
            assert_eq!(judged.message, format!("remote wwww::m has a name that cannot be looked up: {said}"));
            assert!(judged.cure.starts_with("compare wwww with what was meant"), "{}", judged.cure);
        }
        let down = judged(Outcome::Unreachable, "rsync: failed to connect to wwww: No route to host (113)");
        assert!(down.cure.contains("firewall"), "{}", down.cure);
    }
}
