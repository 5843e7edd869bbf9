//! How a run of rsync ended, into what it means for the supervisor: one table.
//!
//! The exit status alone is not enough: 1, 5, 11, 12 and 23 each stand for things that pass
//! by themselves and for things that never will. `LC_ALL=C` makes the messages dependable.

use std::io;

use common::message::Outcome;

/// How a run ended.
#[derive(Debug)]
pub(crate) enum Ended {
    /// With an exit status.
    Exited(i32),
    /// By a signal that we did not send.
    Signalled(i32),
    /// Somebody stopped it; it was killed.
    Stopped,
    /// It took too long, or did nothing for too long; it was killed.
    TimedOut,
    /// It could not be started, or not be waited for.
    Failed(io::Error),
}

impl Ended {
    /// For [`common::message::SyncerReport::Done`]: the exit status, or minus the signal.
    pub(crate) fn status(&self) -> i32 {
        match self {
            Ended::Exited(status) => *status,
            Ended::Signalled(signal) => signal.saturating_neg(),
            Ended::Stopped | Ended::TimedOut => KILLED.saturating_neg(),
            Ended::Failed(_) => 0,
        }
    }

    /// The kernel ended it for a call that the sandbox forbids.
    pub(crate) fn is_suspicious(&self) -> bool {
        matches!(self, Ended::Signalled(SIGSYS))
    }
}

/// What it means, judged by the end of what rsync said.
pub(crate) fn outcome(ended: &Ended, said: &str) -> Outcome {
    match ended {
        Ended::Exited(status) => of_status(*status, said),
        Ended::Signalled(signal) if LIMITS.contains(signal) => Outcome::Limit,
        Ended::Signalled(_) | Ended::Stopped => Outcome::Broken,
        Ended::TimedOut => Outcome::TimedOut,
        Ended::Failed(error) => match error.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::PermissionDenied => Outcome::Misconfigured,
            // No more processes, no more memory.
            io::ErrorKind::WouldBlock | io::ErrorKind::OutOfMemory => Outcome::Limit,
            _ => Outcome::Broken,
        },
    }
}

const KILLED: i32 = 9;
const SIGSYS: i32 = 31;
/// SIGXCPU and SIGXFSZ: too much CPU time, too large a file.
const LIMITS: [i32; 2] = [24, 25];

/// What rsync says when it removes no more.
const MAX_DELETE: &str = "Deletions stopped due to --max-delete";

/// Exit status, words that must be among the messages, meaning. The first row that fits counts.
#[rustfmt::skip]
const TABLE: &[(i32, &str, Outcome)] = &[
    // It may say so with any status.
    (0, MAX_DELETE, Outcome::Partial),
    (24, MAX_DELETE, Outcome::Partial),
    (0, "", Outcome::Done),
    (1, "module is read only", Outcome::Refused),
    (1, "", Outcome::Misconfigured), // password file, unknown option, syntax
    // A parent directory vanished and came back while rsync made its list.
    (2, "invalid path", Outcome::Broken),
    // What no receiver of ours would ever ask for or say.
    (2, "File-list index", Outcome::Hostile),
    (2, "Invalid", Outcome::Hostile),
    (2, "Overflow in read_var", Outcome::Hostile),
    (2, "received request to transfer non-regular", Outcome::Hostile),
    (12, "unexpected tag", Outcome::Hostile),
    (12, "multiplexing overflow", Outcome::Hostile),
    (12, "invalid multi-message", Outcome::Hostile),
    (2, "", Outcome::Misconfigured), // the other end does not speak rsync
    (3, "", Outcome::Refused), // a directory there; whether ours is gone is not for rsync to say
    (4, "", Outcome::Misconfigured), // the server refuses an option
    (5, "max connections", Outcome::Unreachable),
    (5, "", Outcome::Refused), // module, password, host not allowed, module's directory missing
    (10, "unknown option", Outcome::Misconfigured), // a remote older than 3.1
    (10, "", Outcome::Unreachable),
    (11, "No space left", Outcome::NoSpace),
    (11, "quota exceeded", Outcome::NoSpace),
    (11, "mkdir", Outcome::Misconfigured), // the parent of the remote directory is missing
    (11, "", Outcome::Broken),
    (12, "unknown option", Outcome::Misconfigured),
    (12, "Host key verification failed", Outcome::UnknownHost),
    (12, "Permission denied (publickey", Outcome::Refused),
    (12, "command not found", Outcome::Misconfigured),
    (12, "No space left", Outcome::NoSpace),
    (12, "", Outcome::Unreachable),
    (20, "", Outcome::Unreachable), // the server was told to stop; our own kill is a KILL
    (22, "", Outcome::Limit), // no memory
    (23, "No space left", Outcome::NoSpace),
    (23, "quota exceeded", Outcome::NoSpace),
    (23, "", Outcome::Partial),
    (24, "", Outcome::Done), // vanished before it was sent: has its own event
    (25, "", Outcome::Partial), // --max-delete
    (30, "", Outcome::Unreachable),
    (35, "", Outcome::Unreachable),
    (126, "", Outcome::Misconfigured),
    (127, "", Outcome::Misconfigured),
    // ssh
    (255, "Host key verification failed", Outcome::UnknownHost),
    (255, "REMOTE HOST IDENTIFICATION HAS CHANGED", Outcome::UnknownHost),
    (255, "host key is known", Outcome::UnknownHost),
    (255, "Permission denied (", Outcome::Refused),
    (255, "Bad configuration option", Outcome::Misconfigured),
    (255, "No user exists for uid", Outcome::Misconfigured),
    (255, "", Outcome::Unreachable),
];

fn of_status(status: i32, said: &str) -> Outcome {
    let row = TABLE.iter().find(|&&(code, words, _)| code == status && said.contains(words));
    row.map_or(Outcome::Broken, |&(_, _, outcome)| outcome)
}

#[cfg(test)]
mod tests {
    use super::*;

    use Outcome::{
        Broken, Done, Hostile, Limit, Misconfigured, NoSpace, Partial, Refused, UnknownHost, Unreachable,
    };

    /// The messages as real remotes said them.
    #[rustfmt::skip]
    const MEASURED: &[(i32, &str, Outcome)] = &[
        (0, "", Done),
        (24, "file has vanished: \"/d/f\"", Done),
        (24, "WARNING: parent dir is absent in the file list: d", Done),
        (23, "read errors mapping \"/d/f\": failed verification -- update discarded (will try again)", Partial),
        (23, "rsync: [sender] send_files failed to open \"/d/f\": Permission denied (13)", Partial),
        (23, "rsync: [receiver] rename \"d/.f00.x\" (in m) -> \"d/f00\": Operation not permitted (1)", Partial),
        (23, "recv_generator: mkdir \"d\" (in rofs) failed: Read-only file system (30)", Partial),
        (23, "recv_generator: mkdir \"d\" (in small) failed: No space left on device (28)", NoSpace),
        (0, "Deletions stopped due to --max-delete limit (6 skipped)", Partial),
        (25, "Deletions stopped due to --max-delete limit (15 skipped)", Partial),
        (11, "rsync: [receiver] write failed on \"d/f04\" (in small): No space left on device (28)", NoSpace),
        (11, "rsync: [receiver] write failed on \"f\" (in m): Disk quota exceeded (122)", NoSpace),
        (11, "rsync: [Receiver] mkdir \"x/y/z\" failed: No such file or directory (2)", Misconfigured),
        (11, "write failed on \"f\": Input/output error (5)", Broken),
        (1, "ERROR: module is read only", Refused),
        (5, "@ERROR: Unknown module 'x'", Refused),
        (5, "@ERROR: access denied to m from localhost (127.0.0.1)", Refused),
        (5, "@ERROR: auth failed on module m", Refused),
        (5, "@ERROR: chdir failed", Refused),
        (5, "@ERROR: max connections (1) reached -- try again later", Unreachable),
        (5, "rsync: server sent \"HTTP/1.1 400 Bad Request\" rather than greeting", Refused),
        (1, "rsync: could not open password file /p: No such file or directory (2)", Misconfigured),
        (1, "ERROR: password file must not be other-accessible", Misconfigured),
        (1, "rsync: --x: unknown option", Misconfigured),
        (4, "The server is configured to refuse --delete", Misconfigured),
        (10, "rsync: on remote machine: --delete-missing-args: unknown option", Misconfigured),
        (12, "rsync: on remote machine: -@-1: unknown option", Misconfigured),
        (2, "protocol version mismatch -- is your shell clean?", Misconfigured),
        (12, "unexpected tag 83 [sender]", Hostile),
        (12, "multiplexing overflow 2:70000 [sender]", Hostile),
        (2, "File-list index 239 not in -1 - 0 (read_ndx_and_attrs) [sender]", Hostile),
        (2, "Invalid checksum count -1 [sender]", Hostile),
        (3, "rsync: [sender] change_dir \"/srv\" failed: No such file or directory (2)", Refused),
        (3, "rsync: [Receiver] change_dir#1 \"/x\" (in m) failed: No such file or directory (2)", Refused),
        (10, "rsync: failed to connect to 10.0.0.2: Connection refused (111)", Unreachable),
        (10, "rsync: getaddrinfo: x 873: Name or service not known", Unreachable),
        (35, "rsync: timeout waiting for daemon connection", Unreachable),
        (30, "[sender] io timeout after 2 seconds -- exiting", Unreachable),
        (12, "rsync: connection unexpectedly closed (8 bytes received so far) [sender]", Unreachable),
        (20, "rsync error: received SIGINT, SIGTERM, or SIGHUP (code 20) [generator=3.5.0]", Unreachable),
        (255, "ssh: connect to host x port 22: Connection refused", Unreachable),
        (255, "No ED25519 host key is known for x and you have requested strict checking.", UnknownHost),
        (255, "Host key verification failed.", UnknownHost),
        (255, "root@127.0.0.1: Permission denied (publickey).", Refused),
        (255, "No user exists for uid 2000000001", Misconfigured),
        (127, "sh: rsync: not found", Misconfigured),
        (12, "rsync: remote command not found", Misconfigured),
        (22, "ERROR: out of memory", Limit),
        (99, "", Broken),
    ];

    #[test]
    fn measured_messages() {
        for &(status, said, wanted) in MEASURED {
            assert_eq!(outcome(&Ended::Exited(status), said), wanted, "{status} {said}");
        }
    }

    #[test]
    fn without_an_exit_status() {
        for (ended, wanted, status) in [
            (Ended::Signalled(11), Outcome::Broken, -11),
            (Ended::Stopped, Outcome::Broken, -9),
            (Ended::TimedOut, Outcome::TimedOut, -9),
            (Ended::Failed(io::ErrorKind::NotFound.into()), Outcome::Misconfigured, 0),
            (Ended::Failed(io::ErrorKind::OutOfMemory.into()), Outcome::Limit, 0),
            (Ended::Failed(io::ErrorKind::WouldBlock.into()), Outcome::Limit, 0),
            (Ended::Failed(io::ErrorKind::Interrupted.into()), Outcome::Broken, 0),
            (Ended::Signalled(24), Outcome::Limit, -24),
        ] {
            assert_eq!((outcome(&ended, ""), ended.status()), (wanted, status), "{ended:?}");
        }
    }

    /// A row behind a catch-all of the same status would never be reached.
    #[test]
    fn every_row_can_be_reached() {
        for (i, (status, words, _)) in TABLE.iter().enumerate() {
            let hidden = TABLE[..i].iter().any(|(earlier, all, _)| earlier == status && words.contains(all));
            assert!(!hidden, "{status} {words:?}");
        }
    }
}
