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
const SHELL: &str =
    "use <ssh start=\"true\"/>; how ssh connects is said in the ssh_config of the user that it runs as";
const MOVES: &str = "it would delete the files of the watched directory";
const SERVER: &str = "rsync must run as a client";
const NOTHING_SENT: &str = "nothing would be sent, and it would look like success";
const BATCH: &str = "rsync would write or read files of its own instead of updating the remote";
const PATTERNS: &str = "write the patterns as --exclude=PATTERN or --include=PATTERN, or as <crontabfilter>";
const MERGE: &str = "patterns from files are not read; write them as --exclude=PATTERN or --include=PATTERN";
const MISSING: &str = "whether a path that is gone is deleted on the remote is ruled by <delete>";

/// Options that are always refused, and why.
const REFUSED: &[(&[&str], &str)] = &[
    (&["--files-from"], OURS),
    (&["-e", "--rsh"], SHELL),
    (&["--rsync-path", "-M", "--remote-option"], "what runs on the remote is said on the remote"),
    (&["--remove-source-files", "--remove-sent-files"], MOVES),
    (&["--daemon", "--server", "--sender", "--config", "--dparam"], SERVER),
    (&["-n", "--dry-run", "--list-only", "--help", "--version", "-V"], NOTHING_SENT),
    (&["--password-file"], "use <auth start=\"true\" passwordfile=\"…\"/>"),
    (&["--early-input", "--log-file", "--stdin"], "rsync must not be told to read or write other files"),
    (&["--write-batch", "--only-write-batch", "--read-batch"], BATCH),
    (&["--include-from", "--exclude-from"], PATTERNS),
    (&["-F"], MERGE),
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
        let is_merge =
            [".", ":", "merge", "dir-merge"].iter().any(|rule| value.trim_start().starts_with(rule));
        if matches!(option, "-f" | "--filter") && is_merge {
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
            "-zTe",
        ] {
            let wrong = refused(params, Deletions::On);
            assert!(wrong.is_empty(), "{params}: {wrong:?}");
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
