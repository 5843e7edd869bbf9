//! The fail log: a readable record of what each remote still lacks after it failed, in the
//! original's form of two lines and an empty one. It is written for people and never executed;
//! what decides about retries is the core.

use std::ffi::{OsStr, OsString};
use std::fmt::Write;
use std::io;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::PathBuf;
use std::time::Duration;

use common::config::{Remote, Ssh};
use common::event::Dirt;
use common::log::{Quoted, Shown};
use common::message::Deletions;
use common::path::RelPath;
use log::{error, info, warn};

use crate::core::remote::Failed;
use crate::operator_file::{self, Owner};

/// Shortest pause between two writes.
const PAUSE: Duration = Duration::from_secs(1);
/// So much of a file shows whether it is a record: an earlier one may begin with a whole command.
const BEGINNING: u64 = 64 << 10;
/// Most records in the file.
pub const MAX_RECORDS: usize = 10_000;

/// Whether the file was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wrote {
    /// It was, or it was tried.
    Yes,
    /// It was not time, or there was nothing to write.
    No,
}

/// The file, and what is known of it.
#[derive(Debug)]
pub struct FailLog {
    path: PathBuf,
    owner: Owner,
    /// The core's count of failures that the file tells of.
    written: u64,
    /// Not before this.
    next: Duration,
    /// Whether there is anything in it.
    empty: bool,
    /// What was last said about it.
    complaint: Option<String>,
}

impl FailLog {
    /// For the file at `path`, absolute, which is `owner`'s. Says at once what is wrong with it.
    pub fn new(path: PathBuf, owner: Owner) -> FailLog {
        let mut log = FailLog { path, owner, written: 0, next: Duration::ZERO, empty: true, complaint: None };
        match log.look() {
            Ok(0) => {}
            Ok(bytes) => warn!(
                "fail log path={} bytes={bytes}: it holds records of an earlier run, which are not executed; a full \
                 sync (-r) brings the remotes up to date",
                Shown(log.path.as_os_str())
            ),
            Err(error) => log.complain(&error),
        }
        log
    }

    /// When it has to be written; `None` while it is up to date.
    pub fn deadline(&self, failures: u64) -> Option<Duration> {
        (failures != self.written).then_some(self.next)
    }

    /// Writes the records of all remotes, if it is time. `failures` is the core's count.
    pub fn update<'a>(
        &mut self,
        now: Duration,
        failures: u64,
        remotes: impl Iterator<Item = (&'a OsStr, &'a Remote, Failed<'a>)>,
    ) -> Wrote {
        if self.deadline(failures).is_none_or(|at| now < at) {
            return Wrote::No;
        }
        (self.written, self.next) = (failures, now.saturating_add(PAUSE));
        let text = render(remotes);
        if text.is_empty() && self.empty {
            return Wrote::No;
        }
        // Somebody may have put something there since.
        let put = |_| operator_file::replace(self.owner, &self.path, text.as_bytes());
        match self.look().and_then(put) {
            Ok(()) => {
                self.empty = text.is_empty();
                if self.complaint.take().is_some() {
                    info!("fail log path={}: it can be written again", Shown(self.path.as_os_str()));
                }
            }
            Err(error) => self.complain(&error),
        }
        Wrote::Yes
    }

    /// Not again before `until`: who writes much writes seldom.
    pub fn rest(&mut self, until: Duration) {
        self.next = self.next.max(until);
    }

    /// The last chance: what is known now is written without a pause.
    pub fn hurry(&mut self) {
        self.next = Duration::ZERO;
    }

    /// How long what stands there is, if it may be written over: a record of failures.
    fn look(&self) -> io::Result<u64> {
        let bytes = operator_file::checked(self.owner, &self.path)?;
        if is_record(&operator_file::beginning(self.owner, &self.path, BEGINNING)?) {
            return Ok(bytes);
        }
        Err(io::Error::other("it holds something else than records of failures, and is left as it is"))
    }

    /// Once for each reason.
    fn complain(&mut self, reason: &io::Error) {
        let reason = reason.to_string();
        if self.complaint.as_ref() != Some(&reason) {
            error!(
                "fail log path={} reason=\"{reason}\": it is not written; what fails is retried all the same",
                Shown(self.path.as_os_str())
            );
            self.complaint = Some(reason);
        }
    }
}

/// Whether a file that begins so is a record: one of ours, or of the original, which left the first line out
/// where very much had failed. An empty one is, too.
fn is_record(beginning: &[u8]) -> bool {
    let line = beginning.split(|&byte| byte == b'\n').next().unwrap_or_default();
    let is_command = line.starts_with(b"cd ") && line.windows(9).any(|part| part == b"&& rsync ");
    beginning.is_empty() || line.starts_with(b"#errno ") || line.starts_with(b"# and ") || is_command
}

/// The whole file.
fn render<'a>(remotes: impl Iterator<Item = (&'a OsStr, &'a Remote, Failed<'a>)>) -> String {
    let (mut text, mut room, mut more) = (String::new(), MAX_RECORDS, 0_usize);
    for (root, remote, failed) in remotes {
        let mut record = |words: &[OsString]| {
            // Writing to a string does not fail.
            let _ = write!(text, "#errno {}\ncd {} &&", wait_status(failed.status), Quoted(root));
            for word in words {
                let _ = write!(text, " {}", Quoted(word));
            }
            text.push_str("\n\n");
        };
        if let Some(deletions) = failed.full {
            record(&full(remote, deletions));
        }
        for (path, dirt) in failed.paths.iter().take(room) {
            record(&command(remote, path, *dirt));
        }
        let left_out = failed.paths.len().saturating_sub(room);
        more = more.saturating_add(failed.more).saturating_add(left_out);
        room = room.saturating_sub(failed.paths.len());
    }
    if more > 0 {
        let _ = writeln!(text, "# and {more} more");
    }
    text
}

/// As `wait` would tell it, which is what the original wrote.
fn wait_status(status: i32) -> i32 {
    if status < 0 { status.saturating_neg() } else { status.saturating_mul(256) }
}

/// The original's command for one path, as somebody could type it.
fn command(remote: &Remote, path: &RelPath, dirt: Dirt) -> Vec<OsString> {
    let (mut words, target) = frame(remote);
    match dirt {
        Dirt::Touched | Dirt::Deep | Dirt::Sweep => words.push(dotted(path.as_bytes())),
        Dirt::Removed | Dirt::RemovedDir => {
            words.extend(["--delete", "./"].map(OsString::from));
            let mut parents: Vec<&[u8]> = path.ancestors().filter(|above| !above.is_empty()).collect();
            parents.reverse();
            words.extend(parents.into_iter().map(|above| include(above, "/")));
            words.push(include(path.as_bytes(), ""));
            if dirt == Dirt::RemovedDir {
                words.push(include(path.as_bytes(), "/***"));
            }
            words.push("--exclude=*".into());
        }
    }
    words.extend(target);
    words
}

fn full(remote: &Remote, deletions: Deletions) -> Vec<OsString> {
    let (mut words, target) = frame(remote);
    if deletions == Deletions::Travel {
        words.push("--delete".into());
    }
    words.push("./".into());
    words.extend(target);
    words
}

/// What stands before the paths, and what behind them.
fn frame(remote: &Remote) -> (Vec<OsString>, Vec<OsString>) {
    let options = &remote.rsync;
    let mut words = vec![OsString::from("rsync")];
    words.extend(options.params.iter().cloned());
    words.push("-R".into());
    match &options.ssh {
        Some(ssh) => words.extend(["-e".into(), shell(ssh, options.port)]),
        None => words.extend(options.port.map(|port| format!("--port={port}").into())),
    }
    words.extend(options.bwlimit.map(|limit| format!("--bwlimit={limit}").into()));
    words.extend(options.timeout.map(|timeout| format!("--timeout={timeout}").into()));
    let mut target = OsString::new();
    if let Some(user) = options.auth.as_ref().and_then(|auth| auth.user.as_ref()) {
        target.push(format!("{user}@"));
    }
    target.push(&remote.host);
    target.push(if options.ssh.is_some() { ":" } else { "::" });
    target.push(&remote.module);
    let mut behind = vec![target];
    let file = options.auth.as_ref().and_then(|auth| auth.password_file.as_ref());
    if let Some(file) = file.filter(|_| options.ssh.is_none()) {
        let mut word = OsString::from("--password-file=");
        word.push(file);
        behind.push(word);
    }
    (words, behind)
}

fn shell(ssh: &Ssh, port: Option<u16>) -> OsString {
    let mut words = OsString::from("ssh");
    if let Some(port) = port {
        words.push(format!(" -p {port}"));
    }
    if let Some(identity) = &ssh.identity {
        words.push(" -i ");
        words.push(identity);
    }
    if let Some(file) = &ssh.known_hosts {
        words.push(" -o UserKnownHostsFile=");
        words.push(file);
    }
    words
}

fn dotted(path: &[u8]) -> OsString {
    OsString::from_vec([b"./", path].concat())
}

/// An `--include` that matches this very name: anchored, wildcards escaped.
fn include(path: &[u8], behind: &str) -> OsString {
    let mut word = b"--include=/".to_vec();
    for &byte in path {
        if b"\\*?[".contains(&byte) {
            word.push(b'\\');
        }
        word.push(byte);
    }
    word.extend_from_slice(behind.as_bytes());
    OsStr::from_bytes(&word).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use common::config::{Auth, RsyncOptions};

    fn remote() -> Remote {
        let rsync = RsyncOptions {
            params: vec!["-artuz".into()],
            auth: None,
            port: None,
            timeout: None,
            bwlimit: None,
            ssh: None,
        };
        Remote { host: "127.0.0.1".into(), module: "tongbu1".into(), connections: 2, rsync }
    }

    fn text(remote: &Remote, status: i32, full: Option<Deletions>, paths: &[(&str, Dirt)]) -> String {
        let paths: Vec<_> = paths.iter().map(|(path, dirt)| (RelPath::new(*path).unwrap(), *dirt)).collect();
        let failed =
            Failed { status, full, paths: paths.iter().map(|(path, dirt)| (path, *dirt)).collect(), more: 0 };
        render(std::iter::once((OsStr::new("/srv/www"), remote, failed)))
    }

    #[test]
    fn as_the_original_wrote_it() {
        let text = text(
            &remote(),
            10,
            Some(Deletions::Travel),
            &[("a/b/f", Dirt::Touched), ("a/q*", Dirt::Removed), ("it's\n", Dirt::RemovedDir)],
        );
        insta::assert_snapshot!(text, @r"
        #errno 2560
        cd /srv/www && rsync -artuz -R --delete ./ 127.0.0.1::tongbu1

        #errno 2560
        cd /srv/www && rsync -artuz -R ./a/b/f 127.0.0.1::tongbu1

        #errno 2560
        cd /srv/www && rsync -artuz -R --delete ./ --include=/a/ '--include=/a/q\*' '--exclude=*' 127.0.0.1::tongbu1

        #errno 2560
        cd /srv/www && rsync -artuz -R --delete ./ $'--include=/it\'s\n' $'--include=/it\'s\n/***' '--exclude=*' 127.0.0.1::tongbu1

        ");
    }

    #[test]
    fn what_is_a_record() {
        let ours = text(&remote(), 10, None, &[("f", Dirt::Touched)]);
        for begins in [
            "",
            &ours,
            "# and 5 more\n",
            "#errno -1\ncd /srv/www && rsync -artuz -R \"./f1\" 127.0.0.1::tongbu1 >/dev/null 2>&1 \n\n",
            "cd /srv/www && rsync -artuz -R \"./f1\" 127.0.0.1::tongbu1 >/dev/null 2>&1 \n\n",
        ] {
            assert!(is_record(begins.as_bytes()), "{begins}");
        }
        for begins in
            ["\n", "root:x:0:0:root:/root:/bin/bash\n", "#!/bin/sh\n#errno 1\n", "cd /\nx && rsync y\n"]
        {
            assert!(!is_record(begins.as_bytes()), "{begins}");
        }
    }

    #[test]
    fn auth_port_and_ssh() {
        let mut remote = remote();
        remote.rsync.auth = Some(Auth { user: Some("u".into()), password_file: Some("/etc/p".into()) });
        remote.rsync.port = Some(874);
        remote.rsync.timeout = Some(100);
        let first = text(&remote, -9, None, &[("f", Dirt::Deep)]);
        remote.rsync.ssh = Some(Ssh::default());
        insta::assert_snapshot!(first + &text(&remote, 255, None, &[("f", Dirt::Deep)]), @r"
        #errno 9
        cd /srv/www && rsync -artuz -R --port=874 --timeout=100 ./f u@127.0.0.1::tongbu1 --password-file=/etc/p

        #errno 65280
        cd /srv/www && rsync -artuz -R -e 'ssh -p 874' --timeout=100 ./f u@127.0.0.1:tongbu1

        ");
    }

    #[test]
    fn bounded() {
        let many: Vec<String> = (0..MAX_RECORDS + 5).map(|n| format!("f{n}")).collect();
        let paths: Vec<(&str, Dirt)> = many.iter().map(|path| (path.as_str(), Dirt::Touched)).collect();
        let text = text(&remote(), 10, None, &paths);
        assert_eq!(text.matches("#errno").count(), MAX_RECORDS);
        assert!(text.ends_with("\n# and 5 more\n"));
    }
}
