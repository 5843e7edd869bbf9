//! The command line: sersync's four flags and their bundling, long forms beside them, and the
//! few subcommands. What was typed becomes what is meant ([`Command`]).

use std::ffi::{OsStr, OsString};
use std::path::PathBuf;

use clap::error::ErrorKind;
use clap::{Args, CommandFactory, Parser};
use common::config::{PluginName, Repair};
use common::log::Shown;
use common::message::Comparison;

use crate::control::protocol::{DeletesWhat, MAX_TIMEOUT, Request};

/// Workers when `-n` is not given, or is 0 or no number, as ever.
pub const DEFAULT_WORKERS: usize = 10;
/// Most workers that `-n` may ask for.
pub const MAX_WORKERS: usize = 1024;
/// Config file when `-o` is not given, in the current directory.
pub const DEFAULT_CONFIG: &str = "confxml.xml";

const AFTER_HELP: &str = "\
Subcommands:
  demo    mirror a small tree to a private rsync daemon, to see it work
  doctor  try, as each role of the config, what it must not be able to do, and look for what is missing;
          exit status 0 only if all is refused
  verify [--repair] [--checksum] [--remote HOST::MODULE]
          compare remotes with the source and print what differs; with --repair, send that again
  wait [--remote HOST::MODULE] [--timeout SECONDS]
          end when all that was seen up to now is confirmed
  deletes list|approve|drop [--tree DIR]
          deletions that the brake holds: show them, carry them out, or leave the files on the remotes
The last three speak to the supervisor that runs on the config of -o. Exit status 0: equal, confirmed, done;
1: different, not confirmed in time, nothing held; 69: no supervisor runs on it.

Exit codes: 0 done, 1 the answer is no, 64 usage, 66 no such file or watched directory, 69 something needed is
missing, 70 internal, 71 system, 73 runtime or state directory, 75 already running on this config,
77 privileges, 78 config.

The config file is explained in confxml.xml and docs/configuration.md.";

/// What was typed.
#[derive(Debug, Parser)]
#[command(
    name = "sersync-supervisor",
    version,
    about = "Mirrors directories to many servers in real time, with rsync",
    after_help = AFTER_HELP,
    disable_help_subcommand = true,
    args_override_self = true
)]
struct Typed {
    /// Sync everything once at start, while live changes already flow
    #[arg(short = 'r', long = "full-sync")]
    full_sync: bool,
    /// Detach once all roles are up and every directory is watched
    #[arg(short = 'd', long = "daemon")]
    daemon: bool,
    /// Config file
    #[arg(short = 'o', long = "config", value_name = "FILE", default_value = DEFAULT_CONFIG)]
    config: OsString,
    /// Most transfers at work at once (default 10)
    #[arg(short = 'n', long = "workers", value_name = "N", allow_hyphen_values = true)]
    workers: Option<String>,
    /// Run only a plugin: refreshCDN, socket, http or command
    #[arg(short = 'm', long = "module", value_name = "NAME")]
    module: Option<String>,
    #[arg(hide = true)]
    words: Vec<OsString>,
    /// Where pending work and names are kept; otherwise as the config says
    #[arg(long = "state-dir", value_name = "DIR")]
    state_dir: Option<OsString>,
    #[command(flatten)]
    asked: Asked,
    /// Set by `-d` for the process that goes on
    #[arg(long = "detached", hide = true)]
    detached: bool,
}

/// What belongs to a command for a running supervisor.
#[derive(Debug, Default, PartialEq, Eq, Args)]
struct Asked {
    /// verify: send what differs again
    #[arg(long)]
    repair: bool,
    /// verify: compare what files hold, not size and time
    #[arg(long)]
    checksum: bool,
    /// verify, wait: only this remote, as the log names it
    #[arg(long, value_name = "HOST::MODULE")]
    remote: Option<String>,
    /// wait: give up after so long
    #[arg(long, value_name = "SECONDS")]
    timeout: Option<u64>,
    /// deletes: only this watched directory
    #[arg(long, value_name = "DIR")]
    tree: Option<OsString>,
}

/// What is meant.
#[derive(Debug, PartialEq, Eq)]
pub enum Command {
    /// Mirror, or run only a plugin.
    Run(Settings),
    /// `demo`.
    Demo,
    /// `doctor`, and the config file.
    Doctor(OsString),
    /// A command for the supervisor that runs on this config file.
    Control(OsString, Request),
    /// A role of ours, entered by exec: its name and where it meets the supervisor.
    Role(String, String),
}

/// How to mirror.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// The config file, as typed.
    pub config: OsString,
    /// `-r`.
    pub full_sync: bool,
    /// `-n`.
    pub workers: usize,
    /// `-m`: run only this plugin, and no rsync at all.
    pub plugin: Option<PluginName>,
    /// `--state-dir`, as typed.
    pub state_dir: Option<OsString>,
    /// `-d`, and which side of it this process is.
    pub detach: Detach,
    /// Things to tell the operator once logging works.
    pub warnings: Vec<String>,
}

/// Whether the process stays in the foreground.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Detach {
    /// It does.
    No,
    /// It starts the one that goes on, and waits until that is ready.
    Start,
    /// It is the one that goes on.
    Detached,
}

/// Reads the command line. The error prints itself; see [`clap::Error::use_stderr`] for
/// whether it is one (`--help` is not).
pub fn parse(args: impl IntoIterator<Item = OsString>) -> Result<Command, clap::Error> {
    let args: Vec<OsString> = args.into_iter().collect();
    // A role is entered only by the supervisor, with exactly these words.
    if let [_, role, name, channel] = &args[..]
        && role == "role"
        && let (Some(name), Some(channel)) = (name.to_str(), channel.to_str())
    {
        return Ok(Command::Role(name.to_owned(), channel.to_owned()));
    }
    let typed = Typed::try_parse_from(args)?;
    match typed.words.first().and_then(|word| word.to_str()) {
        Some(name @ ("verify" | "wait" | "deletes")) => return control(name, &typed),
        Some(name @ ("demo" | "doctor")) => {
            only(name, &typed, &[])?;
            return Ok(if name == "demo" { Command::Demo } else { Command::Doctor(typed.config) });
        }
        Some(_) | None => only("a mirror", &typed, &["--state-dir"])?,
    }
    let plugin = typed.module.as_deref().map(plugin).transpose()?;
    has_config(&typed)?;
    if typed.state_dir.as_ref().is_some_and(|directory| directory.is_empty()) {
        return Err(usage("--state-dir needs a directory, and got an empty name".to_owned()));
    }
    let mut warnings: Vec<String> = typed
        .words
        .iter()
        .map(|word| format!("command line: \"{}\" is ignored; it belongs to no option", Shown(word)))
        .collect();
    let workers = workers(typed.workers.as_deref(), &mut warnings)?;
    let detach = match (typed.daemon, typed.detached) {
        (_, true) => Detach::Detached,
        (true, false) => Detach::Start,
        (false, false) => Detach::No,
    };
    Ok(Command::Run(Settings {
        config: typed.config,
        full_sync: typed.full_sync,
        workers,
        plugin,
        state_dir: typed.state_dir,
        detach,
        warnings,
    }))
}

/// A command for a running supervisor. Unlike a mirror's, its words are not sersync's: what does
/// not belong to it is an error.
fn control(name: &str, typed: &Typed) -> Result<Command, clap::Error> {
    let asked = &typed.asked;
    let remote = || match asked.remote.as_deref() {
        Some("") => Err(usage("--remote needs the name of a remote, and got an empty one".to_owned())),
        remote => Ok(remote.map(ToOwned::to_owned)),
    };
    let (words, request) = match name {
        "verify" => {
            only(name, typed, &["--repair", "--checksum", "--remote"])?;
            let repair = if asked.repair { Repair::On } else { Repair::Off };
            let by = if asked.checksum { Comparison::Checksums } else { Comparison::Times };
            (1, Request::Verify { remote: remote()?, repair, by })
        }
        "wait" => {
            only(name, typed, &["--remote", "--timeout"])?;
            if asked.timeout.is_some_and(|seconds| seconds > MAX_TIMEOUT) {
                return Err(usage(format!("--timeout is at most {MAX_TIMEOUT} seconds")));
            }
            (1, Request::Wait { remote: remote()?, timeout: asked.timeout })
        }
        _ => {
            only(name, typed, &["--tree"])?;
            let what = match typed.words.get(1).and_then(|word| word.to_str()) {
                Some("list") => DeletesWhat::List,
                Some("approve") => DeletesWhat::Approve,
                Some("drop") => DeletesWhat::Drop,
                Some(_) | None => return Err(usage("deletes takes one of list, approve, drop".to_owned())),
            };
            (2, Request::Deletes { tree: asked.tree.as_deref().map(tree).transpose()?, what })
        }
    };
    if let Some(word) = typed.words.get(words) {
        return Err(usage(format!("{name} takes no \"{}\"", Shown(word))));
    }
    has_config(typed)?;
    Ok(Command::Control(typed.config.clone(), request))
}

/// Refuses options that were typed and are none of `allowed`. Demo and doctor go on ignoring
/// sersync's own flags.
fn only(name: &str, typed: &Typed, allowed: &[&str]) -> Result<(), clap::Error> {
    let (asked, alone) = (&typed.asked, !matches!(name, "verify" | "wait" | "deletes"));
    let given = [
        ("--repair", asked.repair),
        ("--checksum", asked.checksum),
        ("--remote", asked.remote.is_some()),
        ("--timeout", asked.timeout.is_some()),
        ("--tree", asked.tree.is_some()),
        ("--state-dir", typed.state_dir.is_some()),
        ("-r", typed.full_sync && !alone),
        ("-d", (typed.daemon || typed.detached) && !alone),
        ("-n", typed.workers.is_some() && !alone),
        ("-m", typed.module.is_some() && !alone),
    ];
    match given.iter().find(|(option, is_given)| *is_given && !allowed.contains(option)) {
        Some((option, _)) => Err(usage(format!("{option} does not belong to {name}"))),
        None => Ok(()),
    }
}

fn has_config(typed: &Typed) -> Result<(), clap::Error> {
    if typed.config.is_empty() {
        return Err(usage("-o needs the name of a config file, and got an empty one".to_owned()));
    }
    Ok(())
}

/// A watched directory as a supervisor knows it, which may have been started elsewhere.
fn tree(typed: &OsStr) -> Result<OsString, clap::Error> {
    let path = std::path::absolute(typed).map_err(|error| usage(format!("--tree: {error}")))?;
    Ok(path.components().collect::<PathBuf>().into())
}

fn plugin(name: &str) -> Result<PluginName, clap::Error> {
    PluginName::from_name(name).ok_or_else(|| {
        let names = PluginName::ALL.map(PluginName::as_str).join(", ");
        usage(format!("there is no plugin {name:?}; -m takes one of {names}"))
    })
}

/// `-n` as the original read it: what is no number, or 0, counts as 10. A negative number
/// left the original without workers; here it is an error.
fn workers(typed: Option<&str>, warnings: &mut Vec<String>) -> Result<usize, clap::Error> {
    let Some(text) = typed else { return Ok(DEFAULT_WORKERS) };
    match text.trim().parse::<i64>() {
        Ok(n) if n < 0 => Err(usage(format!("-n {n}: the number of workers cannot be negative"))),
        Ok(n) if n > 0 => {
            let most = usize::try_from(n).unwrap_or(MAX_WORKERS).min(MAX_WORKERS);
            if i64::try_from(most) != Ok(n) {
                warnings.push(format!("-n {n} is more than {MAX_WORKERS}, which is used instead"));
            }
            Ok(most)
        }
        Ok(_) | Err(_) => {
            warnings.push(format!("-n {text:?} is no number above 0; {DEFAULT_WORKERS} is used instead"));
            Ok(DEFAULT_WORKERS)
        }
    }
}

fn usage(message: String) -> clap::Error {
    Typed::command().error(ErrorKind::ValueValidation, message)
}

#[cfg(test)]
mod tests;
