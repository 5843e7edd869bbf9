//! The command line: sersync's four flags and their bundling, long forms beside them, and the
//! few subcommands. What was typed becomes what is meant ([`Command`]).

use std::ffi::OsString;

use clap::error::ErrorKind;
use clap::{CommandFactory, Parser};
use common::config::PluginName;
use common::log::Shown;

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

Exit codes: 0 done, 64 usage, 66 no such file or watched directory, 69 something needed is
missing, 70 internal, 71 system, 73 runtime directory, 75 already running on this config,
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
    /// Set by `-d` for the process that goes on
    #[arg(long = "detached", hide = true)]
    detached: bool,
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
    if typed.words.first().is_some_and(|word| word == "demo") {
        return Ok(Command::Demo);
    }
    if typed.words.first().is_some_and(|word| word == "doctor") {
        return Ok(Command::Doctor(typed.config));
    }
    let plugin = typed.module.as_deref().map(plugin).transpose()?;
    if typed.config.is_empty() {
        return Err(usage("-o needs the name of a config file, and got an empty one".to_owned()));
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
        detach,
        warnings,
    }))
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
mod tests {
    use super::*;

    fn run(line: &str) -> Result<Settings, ErrorKind> {
        let args = std::iter::once("sersync-supervisor").chain(line.split_whitespace()).map(OsString::from);
        match parse(args) {
            Ok(Command::Run(settings)) => Ok(settings),
            Ok(other) => panic!("{line}: {other:?}"),
            Err(error) => Err(error.kind()),
        }
    }

    #[test]
    fn bundles_and_long_forms() {
        for line in
            ["-rdo x.xml -n 3", "-r -d -ox.xml -n3", "--full-sync --daemon --config x.xml --workers=3"]
        {
            let settings = run(line).unwrap();
            assert_eq!(
                (settings.config.to_str(), settings.full_sync, settings.detach, settings.workers),
                (Some("x.xml"), true, Detach::Start, 3),
                "{line}"
            );
        }
        assert_eq!(run("").unwrap().config, DEFAULT_CONFIG);
    }

    #[test]
    fn workers_as_the_original_read_them() {
        for (line, workers, warned) in [
            ("", 10, false),
            ("-n 5", 5, false),
            ("-n 0", 10, true),
            ("-n abc", 10, true),
            ("-n 99999", 1024, true),
        ] {
            let settings = run(line).unwrap();
            assert_eq!((settings.workers, !settings.warnings.is_empty()), (workers, warned), "{line}");
        }
        assert!(run("-n -3").is_err());
    }

    #[test]
    fn stray_words_warn_and_errors_are_errors() {
        let settings = run("foo -n 4 bar").unwrap();
        assert_eq!((settings.workers, settings.warnings.len()), (4, 2));
        assert_eq!(run("-h").unwrap_err(), ErrorKind::DisplayHelp);
        assert_eq!(run("--version").unwrap_err(), ErrorKind::DisplayVersion);
        for line in ["-x", "-o", "-m", "-m bogus", "-m sersync", "--no-such"] {
            assert!(!matches!(run(line).unwrap_err(), ErrorKind::DisplayHelp), "{line}");
        }
        let empty = parse(["x", "-o", ""].map(OsString::from)).unwrap_err();
        assert_eq!(empty.kind(), ErrorKind::ValueValidation);
    }

    #[test]
    fn help_names_every_flag() {
        let help = Typed::command().render_long_help().to_string();
        for flag in ["-h", "-r", "-d", "-n", "-o", "-m"] {
            assert!(help.contains(flag), "{flag}");
        }
    }
}
