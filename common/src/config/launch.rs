//! Whether the command plugin would execute the changed file itself: pure.
//!
//! The plugin runs `prefix path suffix`. Where the prefix is a shell, an interpreter or a
//! launcher without a program of its own, the path is that program, and whoever may write into
//! the watched directory runs what he likes. An option that is not known of a known one counts
//! as dangerous; a program that is not known at all is taken for the operator's own.

/// True when the word after `prefix` would be executed, or interpreted as a script.
pub(super) fn runs_what_changed(prefix: &[String]) -> bool {
    let mut words = prefix;
    // Each round takes at least one word away.
    while let Some((program, rest)) = words.split_first() {
        if program.is_empty() || program.starts_with('-') {
            return true;
        }
        let Some(row) = row(program) else { return false };
        match row.kind {
            Kind::Always => return true,
            Kind::Interpreter { code } => return !has_program(&row, code, rest),
            Kind::Launcher { operands } => match launched(&row, operands, rest) {
                Some(inner) => words = inner,
                None => return true,
            },
        }
    }
    true
}

/// What a program does with its arguments.
#[derive(Debug, Clone, Copy)]
enum Kind {
    /// Runs the words after its own options and so many operands.
    Launcher { operands: usize },
    /// Runs its first operand as a script. With one of the options `code`, the value of that
    /// is the program, and operands are its data.
    Interpreter { code: &'static str },
    /// Runs a path in a way that no table describes, or hands it to a shell.
    Always,
}

/// Programs that treat their arguments alike, and the options that are known of them.
#[derive(Debug, Clone, Copy)]
struct Row {
    names: &'static str,
    kind: Kind,
    /// Short options without a value.
    flags: &'static str,
    /// Short options with a value, in the same word or the next.
    valued: &'static str,
    /// Long options without a value.
    long: &'static str,
    /// Long options with a value.
    long_valued: &'static str,
}

const fn launcher(names: &'static str, operands: usize) -> Row {
    Row { names, kind: Kind::Launcher { operands }, flags: "", valued: "", long: "", long_valued: "" }
}

const fn interpreter(names: &'static str, code: &'static str) -> Row {
    Row { kind: Kind::Interpreter { code }, ..launcher(names, 0) }
}

const fn always(names: &'static str) -> Row {
    Row { kind: Kind::Always, ..launcher(names, 0) }
}

const fn short(row: Row, flags: &'static str, valued: &'static str) -> Row {
    Row { flags, valued, ..row }
}

const fn long(row: Row, long: &'static str, long_valued: &'static str) -> Row {
    Row { long, long_valued, ..row }
}

/// What is known. Numbers at the end of a name do not count.
#[rustfmt::skip]
static ROWS: &[Row] = &[
    long(short(interpreter("sh bash dash ash zsh ksh mksh lksh oksh pdksh yash posh rbash rksh fish", "c"),
        "aehilmnruvx", ""), "login norc noprofile posix", ""),
    short(interpreter("csh tcsh", "c"), "efnvVxX", ""),
    short(interpreter("python pypy", "c"), "bBdEhIOPqRsSuvV", "WX"),
    short(interpreter("perl", "eE"), "nplawWtTX", "I"),
    short(interpreter("ruby", "e"), "nplaw", "rI"),
    short(interpreter("php php-cgi", "fr"), "nqC", "dc"),
    short(interpreter("node nodejs", "ep"), "", "r"),
    // With -e they run the script that follows all the same.
    short(interpreter("lua luajit", ""), "iEW", "el"),
    short(interpreter("awk gawk mawk nawk original-awk", "f"), "", "Fv"),
    short(interpreter("sed gsed", "ef"), "nrEsuzi", "l"),
    interpreter("make gmake", "f"),
    interpreter("tclsh wish expect java groovy scala julia elixir escript guile racket octave Rscript pwsh nu \
        raku jruby micropython gjs qjs jimsh ts-node", ""),
    launcher("busybox toybox nohup command", 0),
    long(short(launcher("env", 0), "i0v", "uC"), "ignore-environment null debug", "unset chdir"),
    long(short(launcher("nice", 0), "0123456789", "n"), "", "adjustment"),
    long(short(launcher("setsid", 0), "cfw", ""), "ctty fork wait", ""),
    long(short(launcher("sudo", 0), "AbEHknNPS", "CDgprRtTUu"),
        "background non-interactive set-home preserve-env reset-timestamp stdin askpass",
        "user group chdir chroot prompt close-from role type other-user command-timeout"),
    short(launcher("doas", 0), "n", "ua"),
    long(short(launcher("runuser", 0), "", "ugG"), "", "user group supp-group"),
    long(short(launcher("timeout", 1), "fpv", "ks"), "foreground preserve-status verbose", "kill-after signal"),
    short(launcher("xargs", 0), "0rtx", "adEILnPs"),
    long(short(launcher("ionice", 0), "t", "cn"), "ignore", "class classdata"),
    long(launcher("chroot", 1), "skip-chdir", "userspec groups"),
    long(short(launcher("stdbuf", 0), "", "ioe"), "", "input output error"),
    long(short(launcher("time", 0), "apqv", "fo"), "portability verbose append quiet", "format output"),
    short(launcher("strace", 0), "fqtTvxyCcFkrwdiD", "eoasuEPXIO"),
    short(launcher("exec", 0), "cl", "a"),
    long(short(launcher("taskset", 1), "ac", ""), "all-tasks cpu-list", ""),
    short(launcher("chrt", 1), "abfior", ""),
    long(short(launcher("flock", 1), "sexnuoFv", "wE"),
        "shared exclusive nonblock unlock close no-fork verbose", "timeout wait conflict-exit-code"),
    short(launcher("unshare", 0), "imnpuUCTfrc", "RSGw"),
    short(launcher("nsenter", 0), "amuinpCUTFZrw", "tSG"),
    long(launcher("setpriv", 0), "clear-groups keep-groups init-groups no-new-privs nnp",
        "reuid regid groups inh-caps ambient-caps bounding-set pdeathsig"),
    // Each limit may have its value in the same word only.
    long(launcher("prlimit", 0), "core data nice fsize sigpending memlock rss nofile msgqueue rtprio stack \
        cpu nproc as locks rttime verbose", ""),
    launcher("gosu su-exec setuidgid envuidgid", 1),
    short(launcher("tini", 0), "svwgl", "pe"),
    long(short(launcher("dumb-init", 0), "cv", "r"), "single-child verbose", "rewrite"),
    long(short(launcher("choom", 0), "", "n"), "", "adjust"),
    short(launcher("chronic", 0), "ev", ""),
    launcher("eatmydata unbuffer", 0),
    // They hand the words to a shell or to somebody who runs them later or elsewhere, run each
    // operand, or have a word before the script.
    always(". source eval su sg script ssh watch parallel find systemd-run crontab at batch start-stop-daemon"),
    always("go deno bun npx uv dotnet jshell kotlin emacs gdb gdb-multiarch m4 gnuplot R sbcl clisp ipython xonsh"),
    // Launchers of whose many forms one or the other runs what follows.
    always("setarch linux32 linux64 uname26 i386 i486 i586 i686 x86_64 aarch64 ppc ppc32 ppc64 s390 s390x \
        numactl fakeroot fakechroot chpst softlimit envdir setlock pgrphack pkexec bwrap firejail nsjail \
        valgrind perf ltrace capsh runcon catchsegv proot faketime torsocks torify tsocks proxychains \
        proxychains4 uidmap newgrp schroot systemd-inhibit systemd-nspawn dbus-run-session dbus-launch \
        xvfb-run daemonize daemon cgexec"),
];

/// The row of a program, found by the last part of its path.
fn row(program: &str) -> Option<Row> {
    let name = program.rsplit('/').next().unwrap_or_default();
    // The dynamic linker runs what it is given.
    if name.is_empty() || ["ld-linux", "ld-musl", "ld.so"].iter().any(|linker| name.starts_with(linker)) {
        return Some(always(""));
    }
    let bare = name.strip_suffix("-static").unwrap_or(name);
    let bare = bare.trim_end_matches(|c: char| c.is_ascii_digit() || ".-".contains(c));
    let find = |name| ROWS.iter().find(|row| has_word(row.names, name)).copied();
    // `perl5.36-x86_64-linux-gnu`, `python3-dbg`: interpreters are installed under many names.
    let leading = name.split(|c: char| c.is_ascii_digit() || c == '-').next().unwrap_or_default();
    let is_interpreter = |row: &Row| matches!(row.kind, Kind::Interpreter { .. });
    find(name).or_else(|| find(bare)).or_else(|| find(leading).filter(is_interpreter))
}

fn has_word(words: &str, word: &str) -> bool {
    words.split(' ').any(|known| known == word)
}

/// Whether `rest` holds the program of an interpreter already, so that the path is data.
fn has_program(row: &Row, code: &str, rest: &[String]) -> bool {
    match options(row, code, rest) {
        Some(Options::Code) => true,
        Some(Options::End(operands)) => !operands.is_empty(),
        None => false,
    }
}

/// The words that a launcher runs; `None` when that cannot be told.
fn launched<'a>(row: &Row, operands: usize, words: &'a [String]) -> Option<&'a [String]> {
    let Some(Options::End(rest)) = options(row, "", words) else { return None };
    let said = words.get(..words.len().saturating_sub(rest.len())).unwrap_or_default();
    // The one form of runuser that does not go through a shell.
    let names_user = |word: &String| word.starts_with("-u") || word.starts_with("--user");
    if row.names == "runuser" && !said.iter().any(names_user) {
        return None;
    }
    let assignments = match row.names {
        "env" | "sudo" => rest.iter().take_while(|word| word.contains('=')).count(),
        _ => 0,
    };
    rest.get(assignments.saturating_add(operands)..)
}

/// Where the options of a program end.
enum Options<'a> {
    /// One of them is the program.
    Code,
    /// There the operands begin.
    End(&'a [String]),
}

/// Goes over the options of a program. `None` when one of them is not known, or its value is
/// missing: then the path may be anything.
fn options<'a>(row: &Row, code: &str, mut rest: &'a [String]) -> Option<Options<'a>> {
    while let Some((word, after)) = rest.split_first() {
        let takes_next = if word == "--" {
            return Some(Options::End(after));
        } else if let Some(name) = word.strip_prefix("--") {
            long_option(row, name)?
        } else if let Some(letters) = word.strip_prefix('-') {
            match short_options(row, code, letters)? {
                Short::Flags => Value::InWord,
                Short::Valued(value) => value,
                Short::Code(Value::InWord) => return Some(Options::Code),
                Short::Code(Value::Next) => {
                    // `sh -c -x PATH`: options may go on, and the path is the command.
                    let code = after.first().filter(|code| !code.starts_with(['-', '+']));
                    return code.map(|_| Options::Code);
                }
            }
        } else if word.starts_with('+') {
            return None;
        } else {
            return Some(Options::End(rest));
        };
        rest = match takes_next {
            Value::InWord => after,
            Value::Next => after.get(1..)?,
        };
    }
    Some(Options::End(rest))
}

/// Where the value of an option is, if it has one.
enum Value {
    InWord,
    Next,
}

enum Short {
    Flags,
    Valued(Value),
    Code(Value),
}

fn long_option(row: &Row, name: &str) -> Option<Value> {
    let (name, value) = name.split_once('=').map_or((name, Value::Next), |(name, _)| (name, Value::InWord));
    match value {
        _ if has_word(row.long, name) => Some(Value::InWord),
        value if has_word(row.long_valued, name) => Some(value),
        // Of an interpreter: whatever it sets, a script must still follow.
        Value::InWord if matches!(row.kind, Kind::Interpreter { .. }) => Some(Value::InWord),
        Value::InWord | Value::Next => None,
    }
}

fn short_options(row: &Row, code: &str, letters: &str) -> Option<Short> {
    let mut rest = letters.chars();
    while let Some(letter) = rest.next() {
        let more = rest.as_str();
        let value = if more.is_empty() { Value::Next } else { Value::InWord };
        if code.contains(letter) {
            return match value {
                Value::InWord if "eEfr".contains(letter) => Some(Short::Code(Value::InWord)),
                // `sh -cx COMMAND`: more flags may follow, but none that takes a word itself.
                Value::InWord | Value::Next => {
                    more.chars().all(|flag| row.flags.contains(flag)).then_some(Short::Code(Value::Next))
                }
            };
        }
        if row.valued.contains(letter) {
            return Some(Short::Valued(value));
        }
        if !row.flags.contains(letter) {
            return None;
        }
    }
    // A lone `-` is standard input, or an option of old.
    (!letters.is_empty()).then_some(Short::Flags)
}

#[cfg(test)]
mod tests;
