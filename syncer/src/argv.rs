//! Argument vectors for rsync: pure. Why each option is there was measured case by case
//! (ARCHITECTURE.md tells what happens without it).
//!
//! The user's own parameters come first and stay as they are, so that ours win where both
//! speak of the same thing, but for those that [`sets`] lets the user decide. No shell is
//! involved; [`shown`] only quotes for people.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;

use bstr::ByteSlice;
use common::message::{Deletions, SyncSlice};

use crate::tail::escape;

/// I/O timeout when neither the config nor the parameters name one, in seconds.
const DEFAULT_TIMEOUT: u32 = 60;
/// Short options that take a value, in the same word or the next.
const SHORT_WITH_VALUE: &[u8] = b"efBMT@";
/// Options that delete. They are left out where nothing may be deleted.
const DELETING: [&str; 7] = [
    "--delete",
    "--del",
    "--delete-before",
    "--delete-during",
    "--delete-delay",
    "--delete-after",
    "--delete-excluded",
];

/// What one run of rsync is to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    /// Each listed entry by itself.
    Shallow,
    /// Each listed entry with all below it.
    Deep,
    /// The whole tree, without a list.
    Whole,
    /// The whole tree, of which we make the list ourselves.
    WholeListed,
}

/// The command of a full sync without filters, program first, as it runs in the root.
pub fn full_sync_argv(slice: &SyncSlice, deletions: Deletions) -> Vec<OsString> {
    argv(slice, Form::Whole, deletions)
}

/// Whether this job deletes on the remote.
pub(crate) fn effective(slice: &SyncSlice, deletions: Deletions) -> Deletions {
    if slice.delete { deletions } else { Deletions::Held }
}

/// The command that transfers.
pub(crate) fn argv(slice: &SyncSlice, form: Form, deletions: Deletions) -> Vec<OsString> {
    let deletions = effective(slice, deletions);
    let mut words = vec![slice.rsync_program.clone()];
    words.extend(params(slice, deletions).cloned());
    words.extend(reach(form, deletions).iter().map(OsString::from));
    let debug = slice.debug && !sets(&slice.rsync.params, "--out-format", None);
    words.extend(debug.then(|| "--out-format=%i %n%L".into()));
    words.extend(rest(slice, form));
    words
}

/// The command that only tells what [`argv`] of the same form would delete as extraneous.
pub(crate) fn look_argv(slice: &SyncSlice, form: Form) -> Vec<OsString> {
    let deletions = effective(slice, Deletions::Travel);
    let mut words = vec![slice.rsync_program.clone()];
    // A quiet rsync would print nothing, and nothing would ever be removed.
    words.extend(params(slice, deletions).map(|word| without_quiet(word)));
    words.extend(reach(form, deletions).iter().map(OsString::from));
    let look = ["--dry-run", "--existing", "--ignore-existing", "--info=none", "--out-format=%i %n"];
    words.extend(look.map(OsString::from));
    words.extend(rest(slice, form));
    words
}

/// rsync's I/O timeout in seconds as it will be; 0 for none.
pub(crate) fn timeout(slice: &SyncSlice) -> u32 {
    let of_params = || value_of(&slice.rsync.params, "--timeout")?.to_str()?.parse().ok();
    slice.rsync.timeout.or_else(of_params).unwrap_or(DEFAULT_TIMEOUT)
}

/// True when `params` hold the option, as a long word or among bundled letters.
pub(crate) fn sets(params: &[OsString], long: &str, short: Option<u8>) -> bool {
    params.iter().any(|word| {
        let word = word.as_bytes();
        match word.strip_prefix(b"--") {
            Some(_) => word.strip_prefix(long.as_bytes()).is_some_and(|rest| matches!(rest, [] | [b'=', ..])),
            None => short.is_some_and(|short| letters(word).contains(&short)),
        }
    })
}

/// The command for people: quoted as a shell would want it, nothing unprintable.
pub(crate) fn shown(argv: &[OsString]) -> String {
    let words: Vec<String> = argv.iter().map(|word| quoted(word.as_bytes())).collect();
    words.join(" ")
}

/// The user's words, less those that may not act in this job.
fn params(slice: &SyncSlice, deletions: Deletions) -> impl Iterator<Item = &OsString> {
    let may_stay = move |word: &&OsString| match deletions {
        Deletions::Travel => true,
        Deletions::Held => !DELETING.iter().any(|name| *word == *name),
    };
    slice.rsync.params.iter().filter(may_stay)
}

/// How far the run reaches, and what it may remove.
fn reach(form: Form, deletions: Deletions) -> &'static [&'static str] {
    match (form, deletions) {
        // --delete without -r deletes nothing extra: it makes rsync send the user's excludes,
        // which protect what is on the remote. --force is what turns a directory into a file.
        (Form::Shallow | Form::WholeListed, Deletions::Travel) => {
            &["--no-recursive", "--delete", "--force", "--delete-missing-args"]
        }
        (Form::Deep, Deletions::Travel) => &["--recursive", "--delete", "--force", "--delete-missing-args"],
        (Form::Whole, Deletions::Travel) => &["--recursive", "--delete", "--force"],
        (Form::Shallow | Form::WholeListed, Deletions::Held) => &["--no-recursive", "--ignore-missing-args"],
        (Form::Deep, Deletions::Held) => &["--recursive", "--ignore-missing-args"],
        (Form::Whole, Deletions::Held) => &["--recursive"],
    }
}

/// List, comparison, connection, excludes, source and destination.
fn rest(slice: &SyncSlice, form: Form) -> Vec<OsString> {
    let mut words: Vec<OsString> = Vec::new();
    let (listed, whole) = match form {
        Form::Shallow | Form::Deep => (true, false),
        Form::Whole => (false, true),
        Form::WholeListed => (true, true),
    };
    if listed {
        words.extend(["--files-from=-", "--from0"].map(OsString::from));
        // Both are the default with a list. As with the original's -R, a --no-relative among the
        // parameters does not count: it would put all files into one directory.
        words.extend(["--relative", "--implied-dirs"].map(OsString::from));
    }
    // rsync compares whole seconds by default: a second write of the same size within one
    // second would never arrive.
    if !sets(&slice.rsync.params, "--modify-window", Some(b'@')) {
        words.push("--modify-window=-1".into());
    }
    words.extend(connection(slice));
    if whole {
        words.extend(slice.excludes.iter().map(|pattern| joined("--exclude=", pattern)));
    }
    words.extend(["--".into(), "./".into(), destination(slice)]);
    words
}

fn connection(slice: &SyncSlice) -> Vec<OsString> {
    let options = &slice.rsync;
    let mut words: Vec<OsString> = Vec::new();
    if !options.ssh {
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
    if options.timeout.is_some() || !sets(&options.params, "--timeout", None) {
        words.push(format!("--timeout={}", timeout(slice)).into());
    }
    words.extend(options.port.map(|port| format!("--port={port}").into()));
    if options.ssh {
        let ssh = slice.ssh_program.as_deref().unwrap_or(OsStr::new("ssh"));
        words.push(remote_shell(ssh));
    } else {
        let file = options.auth.as_ref().and_then(|auth| auth.password_file.as_ref());
        words.extend(file.map(|file| joined("--password-file=", file)));
        words.push("--no-motd".into());
    }
    words
}

/// rsync splits this value at blanks, and knows double quotes.
fn remote_shell(ssh: &OsStr) -> OsString {
    let mut word = OsString::from("--rsh=");
    let quote = if ssh.as_bytes().contains(&b' ') { "\"" } else { "" };
    word.push(quote);
    word.push(ssh);
    word.push(quote);
    word.push(" -o BatchMode=yes");
    word
}

fn destination(slice: &SyncSlice) -> OsString {
    let mut word = OsString::new();
    if let Some(user) = slice.rsync.auth.as_ref().and_then(|auth| auth.user.as_ref()) {
        word.push(user);
        word.push("@");
    }
    let host = &slice.remote.host;
    if host.contains(':') && !host.starts_with('[') {
        word.push(format!("[{host}]"));
    } else {
        word.push(host);
    }
    word.push(if slice.rsync.ssh { ":" } else { "::" });
    word.push(&slice.remote.module);
    if !slice.remote.module.as_bytes().ends_with(b"/") {
        word.push("/");
    }
    word
}

fn joined(option: &str, value: &OsStr) -> OsString {
    let mut word = OsString::from(option);
    word.push(value);
    word
}

/// The value of a long option, in the same word or the next; the last one counts.
fn value_of<'a>(params: &'a [OsString], long: &str) -> Option<&'a OsStr> {
    let pairs = params.iter().zip(params.iter().skip(1).map(Some).chain([None]));
    let values = pairs.filter_map(|(word, next)| match word.as_bytes().strip_prefix(long.as_bytes())? {
        [] => next.map(OsString::as_os_str),
        [b'=', value @ ..] => Some(OsStr::from_bytes(value)),
        _ => None,
    });
    values.last()
}

/// The letters of a bundle such as `-artuz`, up to and with the first that takes a value.
fn letters(word: &[u8]) -> &[u8] {
    let Some(letters) = word.strip_prefix(b"-").filter(|rest| !rest.starts_with(b"-")) else { return &[] };
    let end = letters.find_byteset(SHORT_WITH_VALUE).map_or(letters.len(), |at| at.saturating_add(1));
    letters.get(..end).unwrap_or(letters)
}

/// The word without `-q`; an emptied one becomes a harmless option.
fn without_quiet(word: &OsStr) -> OsString {
    let bytes = word.as_bytes();
    if bytes == b"--quiet" || bytes == b"-q" {
        return "--no-motd".into();
    }
    let bundle = letters(bytes);
    let value = bytes.get(bundle.len().saturating_add(1)..).unwrap_or_default();
    if !bundle.contains(&b'q') {
        return word.to_owned();
    }
    let kept: Vec<u8> = bundle.iter().copied().filter(|&letter| letter != b'q').collect();
    OsStr::from_bytes(&[b"-", &kept[..], value].concat()).to_owned()
}

fn quoted(word: &[u8]) -> String {
    let is_plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_=+,./:@%^".contains(byte);
    let text = escape(word);
    if text.as_bytes() != word {
        return format!("$'{}'", text.replace('\'', "\\'"));
    }
    if !word.is_empty() && word.iter().all(is_plain) {
        return text;
    }
    format!("'{}'", text.replace('\'', r"'\''"))
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use common::config::{Auth, Remote, RsyncOptions};
    use common::confine::Confinement;
    use std::os::unix::ffi::OsStringExt;

    pub(crate) fn slice(params: &[&str]) -> SyncSlice {
        SyncSlice {
            root: "/srv/www".into(),
            remote: Remote { host: "10.0.0.2".into(), module: "web".into() },
            rsync: RsyncOptions {
                params: params.iter().map(OsString::from).collect(),
                auth: None,
                port: None,
                timeout: None,
                ssh: false,
                program: None,
            },
            rsync_program: "/usr/bin/rsync".into(),
            ssh_program: None,
            delete: true,
            filter: vec![],
            excludes: vec!["*.php".into(), "info/*".into()],
            warm: false,
            debug: false,
            confinement: Confinement {
                uid: None,
                read_all: false,
                max_files: 64,
                max_processes: 8,
                supervisor: 1,
            },
        }
    }

    #[test]
    fn every_form() {
        use Deletions::{Held, Travel};
        let slice = slice(&["-artuz", "--bwlimit=500"]);
        let mut lines = Vec::new();
        for form in [Form::Shallow, Form::Deep, Form::Whole, Form::WholeListed] {
            for deletions in [Travel, Held] {
                lines.push(format!("{form:?} {deletions:?}: {}", shown(&argv(&slice, form, deletions))));
            }
        }
        for form in [Form::Deep, Form::Whole] {
            lines.push(format!("look {form:?}: {}", shown(&look_argv(&slice, form))));
        }
        insta::assert_snapshot!(lines.join("\n"));
    }

    #[test]
    fn auth_port_timeout_and_ipv6() {
        let mut slice = slice(&["-artz"]);
        slice.rsync.auth = Some(Auth { user: Some("bob".into()), password_file: Some("/etc/my pas".into()) });
        slice.rsync.port = Some(874);
        slice.rsync.timeout = Some(100);
        slice.remote.host = "fe80::1".into();
        slice.debug = true;
        insta::assert_snapshot!(shown(&argv(&slice, Form::Shallow, Deletions::Travel)), @r#"/usr/bin/rsync -artz --no-recursive --delete --force --delete-missing-args '--out-format=%i %n%L' --files-from=- --from0 --relative --implied-dirs --modify-window=-1 --sockopts=TCP_NODELAY --contimeout=10 --timeout=100 --port=874 '--password-file=/etc/my pas' --no-motd -- ./ 'bob@[fe80::1]::web/'"#);
        slice.rsync.ssh = true;
        slice.ssh_program = Some("/opt/my ssh".into());
        slice.remote.module = "/srv/x/".into();
        insta::assert_snapshot!(shown(&argv(&slice, Form::Shallow, Deletions::Travel)), @r#"/usr/bin/rsync -artz --no-recursive --delete --force --delete-missing-args '--out-format=%i %n%L' --files-from=- --from0 --relative --implied-dirs --modify-window=-1 --timeout=100 --port=874 '--rsh="/opt/my ssh" -o BatchMode=yes' -- ./ 'bob@[fe80::1]:/srv/x/'"#);
    }

    #[test]
    fn what_the_user_sets_is_left_to_the_user() {
        let params = ["-art@-1", "--timeout", "5", "--contimeout=3", "--sockopts=SO_SNDBUF=9", "--delete"];
        let slice = slice(&params);
        let words = shown(&full_sync_argv(&slice, Deletions::Held));
        insta::assert_snapshot!(words, @r#"/usr/bin/rsync -art@-1 --timeout 5 --contimeout=3 --sockopts=SO_SNDBUF=9 --recursive --no-motd '--exclude=*.php' '--exclude=info/*' -- ./ 10.0.0.2::web/"#);
        assert_eq!(timeout(&slice), 5);
    }

    #[test]
    fn delete_off_holds_deletions_whatever_the_job_says() {
        let mut slice = slice(&["-a"]);
        slice.delete = false;
        assert_eq!(full_sync_argv(&slice, Deletions::Travel), full_sync_argv(&slice, Deletions::Held));
    }

    #[test]
    fn bundled_letters() {
        let given = |params: &[&str]| {
            sets(&params.iter().map(OsString::from).collect::<Vec<_>>(), "--modify-window", Some(b'@'))
        };
        assert!(given(&["-a@1"]) && given(&["--modify-window=2"]) && given(&["--modify-window", "2"]));
        assert!(!given(&["-aT@1"]) && !given(&["--modify-windows=1"]) && !given(&["a@b"]));
        for (word, kept) in [
            ("-aqz", "-az"),
            ("-q", "--no-motd"),
            ("-aTq", "-aTq"),
            ("-qTq", "-Tq"),
            ("--bwlimit=q", "--bwlimit=q"),
        ] {
            assert_eq!(without_quiet(OsStr::new(word)), kept, "{word}");
        }
    }

    #[test]
    fn quoting_for_people() {
        let argv = [OsString::from("a b"), "it's".into(), "".into(), OsString::from_vec(b"\xff\n'".to_vec())];
        assert_eq!(shown(&argv), r"'a b' 'it'\''s' '' $'\xff\n\''");
    }
}
