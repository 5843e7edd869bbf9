//! `doctor`: looks at this machine with the eyes of a config, and lets every role try what it
//! must not be able to do.
//!
//! A one-shot program beside a supervisor that may be running: it claims nothing that a
//! supervisor holds, waits for everything with a deadline, and changes nothing but a directory
//! of its own. Exit 0 means: nothing needed is missing and every attempt was refused.
//!
//! | module | what it looks at |
//! |---|---|
//! | `host` | the kernel, its settings, users, rsync, ssh |
//! | `remotes` | whether each remote answers, and what it says of itself |
//! | `scene` | whom and what the attempts are aimed at |
//! | `probe` | a role that makes attempts: both sides of it |
//! | `table` | all roles, all attempts |

mod host;
pub mod order;
pub mod probe;
mod remotes;
mod scene;
mod table;

use std::ffi::OsString;
use std::fs::Metadata;
use std::io::{Stdout, Write, stdout};
use std::path::Path;

use common::confine::Kernel;
use common::exit::Exit;
use log::LevelFilter;
use nix::unistd::geteuid;

use crate::plan::Plan;
use crate::privileges::Grounds;
use crate::run::read_config;
use crate::status::screen::plural;
use crate::{runtime, secrets};

/// What was found, said as it is found.
#[derive(Debug)]
struct Report {
    out: Stdout,
    failures: u32,
    warnings: u32,
}

impl Report {
    fn new() -> Report {
        Report { out: stdout(), failures: 0, warnings: 0 }
    }

    fn section(&mut self, name: &str) {
        self.line(&format!("\n{name}"));
    }

    fn good(&mut self, text: &str) {
        self.line(&format!("  ok    {text}"));
    }

    /// Worth knowing, and nothing that could be better.
    fn note(&mut self, text: &str) {
        self.line(&format!("  note  {text}"));
    }

    fn warn(&mut self, text: &str) {
        self.warnings = self.warnings.saturating_add(1);
        self.line(&format!("  warn  {text}"));
    }

    fn fail(&mut self, text: &str) {
        self.failures = self.failures.saturating_add(1);
        self.line(&format!("  FAIL  {text}"));
    }

    /// Nobody may be listening: the exit code says it too.
    fn line(&mut self, text: &str) {
        let _ = writeln!(self.out, "{text}");
    }
}

/// Examines everything that the config names.
pub fn run(config: &Path) -> Exit {
    crate::logging::start();
    // What the supervisor keeps from its roles, the doctor keeps from its probes.
    let _ = nix::sys::prctl::set_dumpable(false);
    let footing = runtime::footing(|line| Report::new().warn(line));
    let path = config;
    let (config, metadata) = match read_config(path, None) {
        Ok(read) => read,
        Err(exit) => return exit,
    };
    // rsync and ssh are asked for their versions without our privileges.
    let uids = if footing.gives_uids { probe::first_uid() } else { None };
    let grounds = Grounds::new(footing, &config);
    let plan = match Plan::new(config, uids) {
        Ok(plan) => plan,
        Err(error) => {
            Report::new().fail(&error.to_string());
            return error.exit();
        }
    };
    // From here on what is found is said here, and nowhere else.
    log::set_max_level(LevelFilter::Off);
    let mut report = Report::new();
    plan.warnings.iter().for_each(|warning| report.warn(warning));
    host::kernel(&mut report, Kernel::probe(), grounds);
    host::settings(&mut report, &plan);
    host::users(&mut report, &plan, footing, uids);
    host::programs(&mut report, &plan, grounds);
    files(&mut report, &plan, path, &metadata);
    remotes::look(&mut report, &plan);
    table::show(&mut report, &plan, grounds, uids);
    let count = |many: u32, what| plural(u64::from(many), what);
    let counts = format!("\n{}, {}", count(report.failures, "failure"), count(report.warnings, "warning"));
    report.line(&counts);
    if report.failures == 0 { Exit::Ok } else { Exit::NoPermission }
}

/// The config, and the secrets that it names.
fn files(report: &mut Report, plan: &Plan, path: &Path, metadata: &Metadata) {
    report.section("files and secrets");
    let own_keys: Vec<OsString> = plan.identities().collect();
    let found = secrets::check(path, metadata, plan.config(), &own_keys, geteuid());
    found.refusals.iter().for_each(|refusal| report.fail(refusal));
    found.warnings.iter().for_each(|warning| report.warn(warning));
    if geteuid().is_root() && plan.runs_ssh() {
        report.note(
            "keys and known hosts that the config does not name are root's own here; a supervisor that systemd \
             starts as User=sersync takes that account's: name them with identity= and knownhosts=",
        );
    }
    if found.refusals.is_empty() && found.warnings.is_empty() {
        report.good("nobody else may write what is trusted, or read what is secret");
    }
}
