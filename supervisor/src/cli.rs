//! The command line: sersync's four flags and their bundling, long forms beside them, and the
//! few subcommands. What was typed becomes what is meant ([`Command`]).

mod strays;

use std::ffi::{OsStr, OsString};
use std::path::PathBuf;

use clap::error::ErrorKind;
use clap::{Args, CommandFactory, Parser};
use common::config::{PluginName, Repair};
use common::log::Shown;
use common::message::Comparison;

use crate::check::Wants;
use crate::control::protocol::{DeletesWhat, MAX_TIMEOUT, Request};
use crate::status::client::{Form, Times, Wish};

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
  check [--remotes] [--dump] [--strict]
          say everything that is wrong with the config of -o, with its place and its cure, and start nothing;
          exit status 78 where a supervisor would not start or a remote cannot be used
  plan [--remote HOST::MODULE]
          what a full sync would do now, deletions first, and nothing is done; exit status 0: nothing, 1: something,
          69: a remote could not be compared
  explain PATH
          whether the path is mirrored and watched, which rule decides, and where it waits; exit status 1 if not
  verify [--repair] [--checksum] [--remote HOST::MODULE]
          compare remotes with the source and print what differs; with --repair, send that again
  wait [--remote HOST::MODULE] [--timeout SECONDS]
          end when all that was seen up to now is confirmed
  status [--watch] [--json] [--socket FILE]
          how all is: which remote lags, since when, why, and what to do; docs/status.md explains the JSON
  deletes list|approve|drop [--tree DIR]
          deletions that the brake holds: show them, carry them out, or leave the files on the remotes
The last four speak to the supervisor that runs on the config of -o. Exit status 0: equal, confirmed, all in sync,
done; 1: different, not confirmed in time, something behind or failed, nothing held; 69: no supervisor runs on it.

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
    /// Write the number of the process there, for init scripts; it goes at the end
    #[arg(long = "pid-file", value_name = "FILE")]
    pid_file: Option<OsString>,
    #[command(flatten)]
    asked: Asked,
    #[command(flatten)]
    checked: Checked,
    /// Set by `-d` for the process that goes on
    #[arg(long = "detached", hide = true)]
    detached: bool,
}

/// What belongs to a command for a running supervisor.
#[derive(Debug, Default, PartialEq, Eq, Args)]
#[allow(clippy::struct_excessive_bools, reason = "each is a flag that may be typed")]
struct Asked {
    /// verify: send what differs again
    #[arg(long)]
    repair: bool,
    /// verify: compare what files hold, not size and time
    #[arg(long)]
    checksum: bool,
    /// verify, wait, plan: only this remote, as the log names it
    #[arg(long, value_name = "HOST::MODULE")]
    remote: Option<String>,
    /// wait: give up after so long
    #[arg(long, value_name = "SECONDS")]
    timeout: Option<u64>,
    /// deletes: only this watched directory
    #[arg(long, value_name = "DIR")]
    tree: Option<OsString>,
    /// status: draw it again each second, until Ctrl-C
    #[arg(long)]
    watch: bool,
    /// status: a line of JSON
    #[arg(long)]
    json: bool,
    /// status: the socket to read, without a look at the config
    #[arg(long, value_name = "FILE")]
    socket: Option<OsString>,
}

/// What belongs to `check`.
#[derive(Debug, Default, PartialEq, Eq, Args)]
struct Checked {
    /// check: try each remote, as its syncer would
    #[arg(long)]
    remotes: bool,
    /// check: write the config that is in force to standard output
    #[arg(long)]
    dump: bool,
    /// check: a warning counts like an error
    #[arg(long)]
    strict: bool,
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
    /// `status`.
    Status(Wish),
    /// `check`, and the config file.
    Check(OsString, Wants),
    /// `plan`, the config file, and the only remote that counts.
    Plan(OsString, Option<String>),
    /// `explain`, the config file, and the path as typed.
    Explain(OsString, OsString),
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
    /// `--pid-file`, as typed.
    pub pid_file: Option<OsString>,
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

/// What may be typed, as clap knows it: manual page and completions are made of it.
pub fn command() -> clap::Command {
    Typed::command()
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
    let typed = Typed::try_parse_from(args).map_err(strays::without_advice)?;
    match typed.words.first().and_then(|word| word.to_str()) {
        Some(name @ ("verify" | "wait" | "deletes")) => return control(name, &typed),
        Some("status") => return status(typed),
        Some(name @ ("demo" | "doctor")) => {
            only(name, &typed, &[])?;
            return Ok(if name == "demo" { Command::Demo } else { Command::Doctor(typed.config) });
        }
        Some("check") => return check(&typed),
        Some("plan") => {
            only("plan", &typed, &["--remote"])?;
            no_more("plan", &typed, 1)?;
            has_config(&typed)?;
            return Ok(Command::Plan(typed.config, typed.asked.remote));
        }
        Some("explain") => return explain(&typed),
        Some(_) | None => {}
    }
    let mut warnings = strays::warnings(&typed.words)?;
    only("a mirror", &typed, &["--state-dir", "--pid-file"])?;
    let plugin = typed.module.as_deref().map(plugin).transpose()?;
    has_config(&typed)?;
    if typed.state_dir.as_ref().is_some_and(|directory| directory.is_empty()) {
        return Err(usage("--state-dir needs a directory, and got an empty name".to_owned()));
    }
    if typed.pid_file.as_ref().is_some_and(|file| file.is_empty()) {
        return Err(usage("--pid-file needs a file, and got an empty name".to_owned()));
    }
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
        pid_file: typed.pid_file,
        detach,
        warnings,
    }))
}

/// `status`.
fn status(typed: Typed) -> Result<Command, clap::Error> {
    only("status", &typed, &["--watch", "--json", "--socket"])?;
    no_more("status", &typed, 1)?;
    has_config(&typed)?;
    let asked = typed.asked;
    Ok(Command::Status(Wish {
        config: typed.config,
        socket: asked.socket,
        form: if asked.json { Form::Json } else { Form::Screen },
        times: if asked.watch { Times::Watch } else { Times::Once },
    }))
}

/// `check`, which takes no word more.
fn check(typed: &Typed) -> Result<Command, clap::Error> {
    only("check", typed, &["--remotes", "--dump", "--strict"])?;
    no_more("check", typed, 1)?;
    has_config(typed)?;
    let Checked { remotes, dump, strict } = typed.checked;
    Ok(Command::Check(typed.config.clone(), Wants { remotes, dump, strict }))
}

/// `explain`, which takes one path.
fn explain(typed: &Typed) -> Result<Command, clap::Error> {
    only("explain", typed, &[])?;
    no_more("explain", typed, 2)?;
    has_config(typed)?;
    let path = typed.words.get(1).filter(|path| !path.is_empty());
    let path = path.ok_or_else(|| usage("explain needs a path".to_owned()))?;
    Ok(Command::Explain(typed.config.clone(), path.clone()))
}

/// Refuses what was typed behind the words that count.
fn no_more(name: &str, typed: &Typed, words: usize) -> Result<(), clap::Error> {
    match typed.words.get(words) {
        Some(word) => Err(usage(format!("{name} takes no \"{}\"", Shown(word)))),
        None => Ok(()),
    }
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
    no_more(name, typed, words)?;
    has_config(typed)?;
    Ok(Command::Control(typed.config.clone(), request))
}

/// Refuses options that were typed and are none of `allowed`. Demo and doctor go on ignoring
/// sersync's own flags.
fn only(name: &str, typed: &Typed, allowed: &[&str]) -> Result<(), clap::Error> {
    let (asked, checked) = (&typed.asked, &typed.checked);
    let alone = matches!(name, "a mirror" | "demo" | "doctor");
    let given = [
        ("--repair", asked.repair),
        ("--checksum", asked.checksum),
        ("--remote", asked.remote.is_some()),
        ("--timeout", asked.timeout.is_some()),
        ("--tree", asked.tree.is_some()),
        ("--watch", asked.watch),
        ("--json", asked.json),
        ("--socket", asked.socket.is_some()),
        ("--remotes", checked.remotes),
        ("--dump", checked.dump),
        ("--strict", checked.strict),
        ("--state-dir", typed.state_dir.is_some()),
        ("--pid-file", typed.pid_file.is_some()),
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
