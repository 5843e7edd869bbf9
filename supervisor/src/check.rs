//! `check`: everything about a config that can be found before anything is started, all at once, each
//! with its place in the file and its cure. It claims nothing and changes nothing, so it can be run
//! beside a supervisor, and by anybody; what it could not look at it says.
//!
//! | module | what it looks at |
//! |---|---|
//! | `host` | directories, accounts, programs, secrets |
//! | `kept` | the state and the fail log |
//! | `served` | the sockets of the status and the page, and the token |
//! | `walk` | the watched trees: patterns, and how many watches they take |
//! | `remotes` | each remote, tried by a syncer |

mod host;
mod kept;
pub(crate) mod remotes;
mod served;
pub(crate) mod walk;

use std::ffi::OsString;
use std::io::{Write, stderr, stdout};
use std::ops::Range;
use std::path::Path;

use common::config::{Config, Diagnostic, Places, Severity, dump, parse, render_all};
use common::exit::Exit;
use common::log::Shown;
use log::LevelFilter;

use crate::plan::Plan;
use crate::privileges::Grounds;
use crate::run::read_file;
use crate::{doctor, runtime};

/// What is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Wants {
    /// `--remotes`: each remote is tried.
    pub remotes: bool,
    /// `--dump`: the config that is in force is written to standard output.
    pub dump: bool,
    /// `--strict`: a warning counts like an error.
    pub strict: bool,
}

/// What was found so far.
#[derive(Debug)]
pub(crate) struct Findings {
    pub(crate) places: Places,
    found: Vec<Diagnostic>,
    /// What is worth knowing, and what was not looked at.
    notes: Vec<String>,
}

impl Findings {
    /// With it the supervisor does not start, or something in it never works.
    pub(crate) fn error(&mut self, place: Range<usize>, message: impl Into<String>, cure: impl Into<String>) {
        self.found.push(Diagnostic::error(place, message).with_help(cure));
    }

    /// Probably not what was meant.
    pub(crate) fn warning(
        &mut self,
        place: Range<usize>,
        message: impl Into<String>,
        cure: impl Into<String>,
    ) {
        self.found.push(Diagnostic::warning(place, message).with_help(cure));
    }

    /// One of the two.
    pub(crate) fn say(
        &mut self,
        severity: Severity,
        place: Range<usize>,
        message: impl Into<String>,
        cure: impl Into<String>,
    ) {
        match severity {
            Severity::Error => self.error(place, message, cure),
            Severity::Warning => self.warning(place, message, cure),
        }
    }

    /// A line of ours that ends with its cure, behind the last semicolon.
    pub(crate) fn line(&mut self, severity: Severity, place: Range<usize>, line: &str, cure: &str) {
        let (message, cure) = line.rsplit_once("; ").unwrap_or((line, cure));
        self.say(severity, place, message, cure);
    }

    pub(crate) fn note(&mut self, text: String) {
        self.notes.push(text);
    }

    fn count(&self, severity: Severity) -> usize {
        self.found.iter().filter(|diagnostic| diagnostic.severity == severity).count()
    }
}

/// Checks the config at `path`.
pub fn run(path: &Path, wants: Wants) -> Exit {
    // What is found is said here, and nowhere else.
    log::set_max_level(LevelFilter::Off);
    let name = Shown(path.as_os_str()).to_string();
    let (bytes, metadata) = match read_file(path) {
        Ok(read) => read,
        Err(error) => {
            say(&mut stderr(), &format!("config file {name}: {error}\n"));
            return Exit::NoInput;
        }
    };
    let parsed = parse(&bytes);
    let mut findings =
        Findings { places: Places::new(&bytes), found: parsed.diagnostics.clone(), notes: Vec::new() };
    let footing = runtime::footing(|_| {});
    // Whoever is asked for a version, or tries a remote, has none of our rights.
    let uids = if footing.gives_uids { doctor::probe::first_uid() } else { None };
    match &parsed.draft {
        Some(config) => {
            let grounds = Grounds::new(footing, config);
            host::look(&mut findings, config, (path, &metadata), (grounds, uids));
            kept::look(&mut findings, config, grounds);
            served::look(&mut findings, config);
            walk::look(&mut findings, config);
        }
        None => {
            findings.note("not looked at: this machine, since nothing of the file could be read".to_owned());
        }
    }
    if wants.remotes {
        try_remotes(&mut findings, parsed.config.clone(), footing, uids);
    } else {
        findings.note("not looked at: the remotes and the hosts of plugins; see --remotes".to_owned());
    }
    match (&parsed.config, wants.dump) {
        (Some(config), true) => {
            let _ = stdout().write_all(&dump(config));
            tell(&mut stderr(), &findings, &parsed.text, &name);
        }
        (None, true) => tell(&mut stderr(), &findings, &parsed.text, &name),
        (_, false) => tell(&mut stdout(), &findings, &parsed.text, &name),
    }
    let is_bad = findings.count(Severity::Error) > 0 || (wants.strict && !findings.found.is_empty());
    if is_bad { Exit::Config } else { Exit::Ok }
}

fn try_remotes(
    findings: &mut Findings,
    config: Option<Config>,
    footing: common::confine::Footing,
    uids: Option<u32>,
) {
    let grounds = config.as_ref().map(|config| Grounds::new(footing, config));
    let plan = config.map(|config| Plan::new(config, uids));
    match (plan, grounds) {
        (Some(Ok(plan)), Some(grounds)) => remotes::look(findings, &plan, grounds, uids),
        // What is wrong has been said.
        (Some(Ok(_) | Err(_)) | None, _) => {
            findings.note("not looked at: the remotes, since no syncer could be started for them".to_owned());
        }
    }
}

/// Errors, then warnings, then what is no fault of the config, then how many there were.
fn tell(out: &mut dyn Write, findings: &Findings, text: &str, name: &str) {
    let of = |severity| -> Vec<Diagnostic> {
        findings.found.iter().filter(|diagnostic| diagnostic.severity == severity).cloned().collect()
    };
    let (errors, warnings) = (of(Severity::Error), of(Severity::Warning));
    let shown = [render_all(&errors, text, name), render_all(&warnings, text, name)].concat();
    let notes =
        findings.notes.iter().map(|note| ["note: ", note, "\n"].concat()).collect::<Vec<_>>().concat();
    let counts = format!("{name}: errors={} warnings={}\n", errors.len(), warnings.len());
    say(out, &[shown, notes, counts].concat());
}

/// Nobody may be listening: the exit status says it too.
fn say(out: &mut dyn Write, text: &str) {
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}

/// Keys that the config does not name and ssh tries all the same.
fn own_keys(config: &Config, uids: Option<u32>) -> Vec<OsString> {
    let wants_ssh = config.trees.iter().flat_map(|tree| &tree.remotes).any(|it| it.rsync.ssh.is_some());
    let plan = wants_ssh.then(|| Plan::new(config.clone(), uids));
    plan.and_then(Result::ok).map(|plan| plan.identities().collect()).unwrap_or_default()
}
