//! Which rsync options `commonParams` may hold.
//!
//! The words of `params` come before the options that we add. What would break the protocol
//! between us and rsync, delete behind the back of `<delete>`, run programs or read and write
//! files by name is refused here, as data: name and reason.

/// Whether `<delete>` is on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Deletions {
    /// Deletions travel.
    On,
    /// Nothing is deleted on a remote.
    Off,
}

/// A word that is refused.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Objection {
    /// The word.
    pub(super) word: String,
    /// What is wrong with it.
    pub(super) message: String,
    /// Why, or what to write instead.
    pub(super) help: &'static str,
}

/// What [`examine`] found.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Findings {
    /// The refused words, in order.
    pub(super) objections: Vec<Objection>,
    /// The word that says `-u`.
    pub(super) update: Option<String>,
}

/// Short options that take a value, in the same word or the next.
const SHORT_WITH_VALUE: &str = "efBMT@";

/// Long options that take a value, after `=` or as the next word.
#[rustfmt::skip]
const LONG_WITH_VALUE: &[&str] = &[
    "address", "backup-dir", "block-size", "bwlimit", "cc", "checksum-choice", "checksum-seed", "chmod", "chown",
    "compare-dest", "compress-choice", "compress-level", "compress-threads", "config", "confine-root", "contimeout",
    "copy-as", "copy-dest", "debug", "dparam", "early-input", "exclude", "exclude-from", "files-from", "filter",
    "groupmap", "iconv", "include", "include-from", "info", "link-dest", "log-file", "log-file-format", "log-format",
    "max-alloc", "max-delete", "max-size", "min-size", "modify-window", "only-write-batch", "out-format", "outbuf",
    "partial-dir", "password-file", "port", "protocol", "read-batch", "remote-option", "rsh", "rsync-path",
    "skip-compress", "sockopts", "stderr", "stop-after", "stop-at", "suffix", "temp-dir", "time-limit", "timeout",
    "usermap", "write-batch", "zc", "zl", "zt",
];

const OURS: &str = "the list of paths for rsync is made here";
const SHELL: &str = "use <ssh start=\"true\"/>; port, user, key and known hosts are attributes of <remote>";
const ELSEWHERE: &str = "what runs on the remote is said on the remote";
const MOVES: &str = "it would delete the files of the watched directory";
const SERVER: &str = "rsync must run as a client";
const NOTHING_SENT: &str = "nothing would be sent, and it would look like success";
const BATCH: &str = "rsync would write or read files of its own instead of updating the remote";
const FILES: &str = "rsync must not be told to read or write other files";
const PATTERNS: &str = "write the patterns as --exclude=PATTERN or --include=PATTERN, or as <crontabfilter>";
const MERGE: &str = "patterns from files are not read; write them as --exclude=PATTERN or --include=PATTERN";
const MISSING: &str = "whether a path that is gone is deleted on the remote is ruled by <delete>";
const PATHS: &str = "the paths below the root would be lost";
const DIRECTORIES: &str = "directories that are named in a list would not be sent";
const PEEK: &str = "to old servers it says to leave out all that lies two levels deep";
const ESCAPES: &str = "the shell of the remote would interpret the path there";
const LINKS: &str = "rsync would follow symlinks that others have planted";
const CONFINES: &str = "what may be sent is said by <localpath> and <filter>";
const BECOMES: &str = "rsync runs under a user id of its own already, and cannot change it";

/// Options that are always refused, and why. All others of rsync 3.5 may be used.
#[rustfmt::skip]
const REFUSED: &[(&[&str], &str)] = &[
    (&["--files-from", "--no-from0"], OURS),
    (&["--no-R", "--no-relative", "--no-i-d", "--no-implied-dirs"], PATHS),
    (&["--no-d", "--no-dirs"], DIRECTORIES),
    (&["--old-d", "--old-dirs"], PEEK),
    (&["-e", "--rsh"], SHELL),
    (&["--old-args"], ESCAPES),
    (&["--rsync-path", "-M", "--remote-option"], ELSEWHERE),
    (&["--copy-as"], BECOMES),
    (&["--insecure-links"], LINKS),
    (&["--confine-root"], CONFINES),
    (&["--remove-source-files", "--remove-sent-files"], MOVES),
    (&["--daemon", "--server", "--sender", "--config", "--dparam", "--detach", "--no-detach"], SERVER),
    (&["-n", "--dry-run", "--list-only", "--help", "--version", "-V"], NOTHING_SENT),
    (&["--password-file"], "use <auth start=\"true\" passwordfile=\"…\"/>, or passwordfile of <remote>"),
    (&["--early-input", "--log-file", "--stdin"], FILES),
    (&["--write-batch", "--only-write-batch", "--read-batch"], BATCH),
    (&["--include-from", "--exclude-from"], PATTERNS),
    (&["-F", "-C", "--cvs-exclude"], MERGE),
    (&["--delete-missing-args", "--ignore-missing-args"], MISSING),
    (&["--delete-excluded"], "what is excluded is none of our business, on the remote too"),
];

/// Options that delete: fine when `<delete>` is on, refused when it is off.
#[rustfmt::skip]
const DELETING: &[&str] = &[
    "--delete", "--del", "--delete-before", "--delete-during", "--delete-delay", "--delete-after", "--force",
];

/// Examines the words of `params`.
pub(super) fn examine(words: &[String], deletions: Deletions) -> Findings {
    let mut examiner = Examiner { deletions, findings: Findings::default() };
    let mut rest = words.iter();
    while let Some(word) = rest.next() {
        if let Some(long) = word.strip_prefix("--") {
            examiner.long(word, long, &mut rest);
        } else if let Some(letters) = word.strip_prefix('-').filter(|letters| !letters.is_empty()) {
            examiner.short(word, letters, &mut rest);
        } else {
            let help = "only options can stand here; what is sent, and where to, is said by <localpath> and <remote>";
            examiner.object(word, format!("`{}` is no option", super::diagnostic::quote(word)), help);
        }
    }
    examiner.findings
}

struct Examiner {
    deletions: Deletions,
    findings: Findings,
}

impl Examiner {
    fn long<'a>(&mut self, word: &str, long: &str, rest: &mut impl Iterator<Item = &'a String>) {
        if long.is_empty() {
            return self.object(
                word,
                "`--` ends the options".to_owned(),
                "more options follow yours; leave it out",
            );
        }
        let (name, value) = match long.split_once('=') {
            Some((name, value)) => (name, Some(value)),
            None if LONG_WITH_VALUE.contains(&long) => (long, rest.next().map(String::as_str)),
            None => (long, Some("")),
        };
        self.option(word, &format!("--{name}"), value);
    }

    fn short<'a>(&mut self, word: &str, letters: &str, rest: &mut impl Iterator<Item = &'a String>) {
        let mut letters = letters.chars();
        while let Some(letter) = letters.next() {
            let option = format!("-{letter}");
            if !SHORT_WITH_VALUE.contains(letter) {
                self.option(word, &option, Some(""));
                continue;
            }
            let value = match letters.as_str() {
                "" => rest.next().map(String::as_str),
                same_word => Some(same_word.strip_prefix('=').unwrap_or(same_word)),
            };
            return self.option(word, &option, value);
        }
    }

    /// `value` is `None` when a value is missing.
    fn option(&mut self, word: &str, option: &str, value: Option<&str>) {
        if matches!(option, "-u" | "--update") {
            self.findings.update.get_or_insert_with(|| word.to_owned());
        }
        let refused = REFUSED.iter().find(|(names, _)| names.contains(&option)).map(|&(_, why)| why);
        if let Some(why) = refused {
            return self.object(word, format!("`{option}` cannot be used here"), why);
        }
        if DELETING.contains(&option) && self.deletions == Deletions::Off {
            let message = format!("`{option}` deletes, but <delete start=\"false\"/> forbids it");
            return self.object(word, message, "deletions are ruled by <delete>");
        }
        let Some(value) = value else {
            // rsync would take the next option, which is ours, for the value.
            return self.object(
                word,
                format!("the value of `{option}` is missing"),
                "write it as --option=value",
            );
        };
        if matches!(option, "-f" | "--filter") && reads_files(value) {
            self.object(word, format!("`{option}` with a rule that reads files cannot be used here"), MERGE);
        }
        let asks_help = value.split(',').any(|flag| flag.eq_ignore_ascii_case("help"));
        if matches!(option, "--info" | "--debug") && asks_help {
            self.object(word, format!("`{option}=help` cannot be used here"), NOTHING_SENT);
        }
    }

    fn object(&mut self, word: &str, message: String, help: &'static str) {
        self.findings.objections.push(Objection { word: word.to_owned(), message, help });
    }
}

/// Whether a rule of `--filter` takes patterns from files.
fn reads_files(rule: &str) -> bool {
    let rule = rule.trim_start();
    let kind = rule.split([' ', '_']).next().unwrap_or_default();
    // The modifier C of an exclude adds what is in ~/.cvsignore.
    let is_cvs = (kind.starts_with('-') || kind.starts_with("exclude")) && kind.contains('C');
    is_cvs || [".", ":", "merge", "dir-merge"].iter().any(|merge| rule.starts_with(merge))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(params: &str, deletions: Deletions) -> Vec<String> {
        let words = shell_words::split(params).unwrap();
        examine(&words, deletions).objections.into_iter().map(|objection| objection.message).collect()
    }

    #[test]
    fn what_passes() {
        for params in [
            "",
            "-artuz",
            "-avzhP --bwlimit=500 --partial-dir=.p --no-perms --chmod=D755,F644",
            "-a -T /tmp/x -B 4096 -B4096 -@ -1 --timeout 30 --exclude 'a b' --exclude=*.tmp -f '- *.o' -f'P x'",
            "--delete --delete-after --force --max-delete=10 --delay-updates",
            "--address=1.2.3.4 --sockopts=TCP_NODELAY --contimeout=5 --port=874 -s --secluded-args -q -v --progress --stats",
            "-0 --from0 --link-dest=/x --info=progress2",
            "-zTe -f '- Cache' --filter=exclude_C -f '!'",
        ] {
            let wrong = refused(params, Deletions::On);
            assert!(wrong.is_empty(), "{params}: {wrong:?}");
        }
    }

    /// The long options of `rsync --help`, version 3.5.0, that may be used. Together with the
    /// tables above these are all of them.
    #[rustfmt::skip]
    const PASSING: &[&str] = &[
        "verbose", "info", "debug", "stderr", "quiet", "no-motd", "checksum", "archive", "recursive", "no-recursive",
        "inc-recursive", "i-r", "no-inc-recursive", "no-i-r", "relative", "backup", "backup-dir", "suffix", "update",
        "inplace", "append", "append-verify", "dirs", "mkpath", "links", "copy-links", "copy-unsafe-links",
        "safe-links", "munge-links", "copy-dirlinks", "keep-dirlinks", "hard-links", "perms", "executability",
        "chmod", "acls", "xattrs", "owner", "group", "devices", "copy-devices", "write-devices", "specials", "drop-D",
        "times", "atimes", "open-noatime", "crtimes", "omit-dir-times", "omit-link-times", "super", "fake-super",
        "sparse", "preallocate", "whole-file", "no-whole-file", "no-W", "checksum-choice", "cc", "one-file-system",
        "block-size", "existing", "ignore-non-existing", "ignore-existing", "ignore-errors", "max-delete", "max-size",
        "min-size", "max-alloc", "partial", "partial-dir", "delay-updates", "prune-empty-dirs", "numeric-ids",
        "usermap", "groupmap", "chown", "timeout", "contimeout", "ignore-times", "size-only", "modify-window",
        "temp-dir", "fuzzy", "compare-dest", "copy-dest", "link-dest", "compress", "compress-choice", "zc",
        "compress-level", "zl", "compress-threads", "zt", "skip-compress", "filter", "exclude", "include", "from0",
        "secluded-args", "trust-sender", "address", "port", "sockopts", "blocking-io", "outbuf", "stats",
        "8-bit-output", "human-readable", "progress", "itemize-changes", "out-format", "log-file-format", "bwlimit",
        "stop-after", "stop-at", "fsync", "protocol", "iconv", "checksum-seed", "ipv4", "ipv6",
    ];

    #[test]
    fn each_option_is_decided() {
        for name in PASSING {
            let value = if LONG_WITH_VALUE.contains(name) { "=1" } else { "" };
            let params = format!("--{name}{value}");
            assert_eq!(refused(&params, Deletions::On), [""; 0], "{params}");
        }
        // Where the rsync here is of that version, its own list is the one that counts.
        let Ok(help) = std::process::Command::new("rsync").arg("--help").output() else { return };
        let help = String::from_utf8_lossy(&help.stdout).into_owned();
        if !help.contains("version 3.5.") {
            return;
        }
        for line in help.lines().filter(|line| line.starts_with('-')) {
            for word in line.split_whitespace().take_while(|word| word.starts_with('-')) {
                let option = word.trim_end_matches(',');
                let (option, has_value) =
                    option.split_once('=').map_or((option, false), |(name, _)| (name, true));
                let Some(name) = option.strip_prefix("--").filter(|name| *name != "no-OPTION") else {
                    continue;
                };
                let is_refused = REFUSED.iter().any(|(names, _)| names.contains(&option));
                let is_known = is_refused || DELETING.contains(&option) || PASSING.contains(&name);
                assert!(is_known, "{option} is not decided");
                assert!(!has_value || LONG_WITH_VALUE.contains(&name), "{option} has a value");
            }
        }
    }

    #[test]
    fn every_refused_name_is_refused_in_every_form() {
        for option in REFUSED.iter().flat_map(|(names, _)| names.iter()) {
            for form in [format!("{option} x"), format!("{option}=x"), format!("-a {option}")] {
                assert_eq!(
                    refused(&form, Deletions::On).first().map(String::as_str),
                    Some(&*format!("`{option}` cannot be used here")),
                    "{form}"
                );
            }
        }
        for option in DELETING {
            assert!(refused(option, Deletions::Off)[0].contains("<delete"), "{option}");
        }
    }

    #[test]
    fn bundles_values_and_operands() {
        for (params, wrong) in [
            ("-aze 'ssh -p 22'", "`-e` cannot be used here"),
            ("-azessh", "`-e` cannot be used here"),
            ("-ran", "`-n` cannot be used here"),
            ("-a /etc/passwd", "`/etc/passwd` is no option"),
            ("-a -", "`-` is no option"),
            ("-a ''", "`` is no option"),
            ("-a --", "`--` ends the options"),
            ("--bwlimit", "the value of `--bwlimit` is missing"),
            ("-aT", "the value of `-T` is missing"),
            ("--filter='. /etc/passwd'", "`--filter` with a rule that reads files cannot be used here"),
            ("-f ':- x'", "`-f` with a rule that reads files cannot be used here"),
            ("-avf 'dir-merge,- .x'", "`-f` with a rule that reads files cannot be used here"),
            ("-f=merge,x", "`-f` with a rule that reads files cannot be used here"),
            ("-f '-C'", "`-f` with a rule that reads files cannot be used here"),
            ("--filter=exclude,C", "`--filter` with a rule that reads files cannot be used here"),
            ("-aC", "`-C` cannot be used here"),
            ("-a --no-R --exclude x", "`--no-R` cannot be used here"),
            ("--copy-as web", "`--copy-as` cannot be used here"),
            ("--info=name,HELP", "`--info=help` cannot be used here"),
        ] {
            assert_eq!(refused(params, Deletions::On), [wrong], "{params}");
        }
    }

    #[test]
    fn update_is_found() {
        let update = |params: &str| examine(&shell_words::split(params).unwrap(), Deletions::On).update;
        assert_eq!(update("-v -artuz"), Some("-artuz".to_owned()));
        assert_eq!(update("-a --update"), Some("--update".to_owned()));
        assert_eq!(update("-aTu --exclude -u"), None);
    }
}
