//! The command line as a document sees it. Its help text names the subcommands and the exit codes, and
//! the help of an option says whose it is; out of these, and nothing else, comes a [`clap::Command`] with
//! real subcommands for manual page and completions. A subcommand that is added to the help is in both.

use std::collections::BTreeSet;

use clap::builder::PossibleValuesParser;
use clap::{Arg, ArgAction, Command, ValueHint};
use common::config::PluginName;

/// A subcommand as the help text shows it.
pub struct Subcommand {
    /// Its first word.
    pub name: String,
    /// What may follow, as in the help.
    pub usage: String,
    /// What it does.
    pub about: String,
}

/// What the help text says below the options.
pub struct Help {
    /// In the order of the help.
    pub subcommands: Vec<Subcommand>,
    /// What is said of them together.
    pub remark: String,
    /// Exit code and meaning.
    pub exits: Vec<(String, String)>,
}

/// Reads the text below the options. It panics where that does not have its shape: subcommands with two
/// blanks before them, their description in the same line after two blanks or in the next ones.
pub fn help() -> Help {
    let text = supervisor::cli::command().get_after_help().expect("the help has more").to_string();
    let mut paragraphs = text.split("\n\n");
    let mut lines = paragraphs.next().unwrap().lines();
    assert_eq!(lines.next(), Some("Subcommands:"));
    let (mut subcommands, mut remark) = (Vec::<Subcommand>::new(), Vec::new());
    for line in lines {
        let depth = line.len() - line.trim_start().len();
        let (words, about) = line.trim().split_once("  ").unwrap_or((line.trim(), ""));
        let last = subcommands.last_mut();
        match (depth, last) {
            (2, _) => {
                let (name, usage) = words.split_once(' ').unwrap_or((words, ""));
                let [name, usage, about] = [name, usage, about.trim()].map(str::to_owned);
                subcommands.push(Subcommand { name, usage, about });
            }
            (0, _) => remark.push(line.to_owned()),
            (_, Some(last)) => {
                let gap = if last.about.is_empty() { "" } else { " " };
                last.about.extend([gap, line.trim()]);
            }
            (_, None) => panic!("belongs to no subcommand: {line:?}"),
        }
    }
    let exits = paragraphs.find_map(|paragraph| paragraph.strip_prefix("Exit codes: ")).expect("exit codes");
    let exits = exits.replace('\n', " ");
    let exits = exits.trim_end_matches('.').split(", ").map(|exit| {
        let (code, meaning) = exit.split_once(' ').unwrap();
        assert!(code.parse::<u8>().is_ok(), "no exit code: {exit}");
        (code.to_owned(), meaning.to_owned())
    });
    Help { subcommands, remark: remark.join(" "), exits: exits.collect() }
}

/// A name as clap wants it here, where it is built to take only names that stay.
fn fixed(name: &str) -> &'static str {
    name.to_owned().leak()
}

/// The subcommands that an option's help begins with, and the rest of it.
fn owners<'a>(arg: &Arg, subcommands: &'a [Subcommand]) -> (BTreeSet<&'a str>, String) {
    let help = arg.get_help().map(ToString::to_string).unwrap_or_default();
    if let Some((owners, rest)) = help.split_once(": ") {
        let find = |owner: &str| subcommands.iter().find(|known| known.name == owner);
        let found: Option<BTreeSet<_>> =
            owners.split(", ").map(|owner| Some(find(owner)?.name.as_str())).collect();
        if let Some(found) = found {
            return (found, rest.to_owned());
        }
    }
    (BTreeSet::new(), help)
}

/// What a shell may offer for a value.
fn hint(arg: Arg) -> Arg {
    let name = arg.get_value_names().and_then(|names| names.first()).map(ToString::to_string);
    if !matches!(arg.get_action(), ArgAction::Set | ArgAction::Append) {
        return arg;
    }
    match (arg.get_id().as_str(), name.as_deref()) {
        ("module", _) => {
            let names = PluginName::ALL.map(PluginName::as_str);
            arg.value_parser(PossibleValuesParser::new(names)).hide_possible_values(true)
        }
        (_, Some("FILE")) => arg.value_hint(ValueHint::FilePath),
        (_, Some("DIR")) => arg.value_hint(ValueHint::DirPath),
        (_, Some("PATH")) => arg.value_hint(ValueHint::AnyPath),
        _ => arg.value_hint(ValueHint::Other),
    }
}

/// What may follow a subcommand, out of its usage: `--option`, `--option VALUE`, `one|of|these` and `VALUE`,
/// each in brackets where it may be left out.
fn arguments(subcommand: &Subcommand, typed: &Command) -> Vec<Arg> {
    let mut arguments = Vec::new();
    let mut words = subcommand.usage.split_whitespace().peekable();
    while let Some(word) = words.next() {
        let bare = word.trim_matches(|c| "[].".contains(c));
        if let Some(option) = bare.strip_prefix("--") {
            let find = |arg: &&Arg| arg.get_long() == Some(option);
            let arg =
                typed.get_arguments().find(find).unwrap_or_else(|| panic!("no option --{option}")).clone();
            if matches!(arg.get_action(), ArgAction::Set) {
                let value = words.next().unwrap_or_default().trim_matches(|c| "[].".contains(c));
                let named = arg.get_value_names().is_some_and(|names| names.iter().any(|name| name == value));
                assert!(named, "{}: --{option} {value}: not as the option has it", subcommand.name);
            }
            arguments.push(arg);
        } else if bare.contains('|') {
            let values = PossibleValuesParser::new(bare.split('|').map(fixed));
            arguments.push(Arg::new("what").value_parser(values).required(!word.starts_with('[')));
        } else {
            assert!(bare.chars().all(char::is_uppercase), "{}: what is {word:?}?", subcommand.name);
            let arg = Arg::new(fixed(&bare.to_lowercase())).value_name(fixed(bare));
            arguments.push(arg.required(!word.starts_with('[')));
        }
    }
    arguments
}

/// The whole command line, with subcommands that clap knows.
pub fn documented() -> Command {
    let typed = supervisor::cli::command();
    let subcommands = help().subcommands;
    let mut whole = Command::new("sersync-supervisor")
        .version(env!("CARGO_PKG_VERSION"))
        .about(typed.get_about().expect("it says what it is").clone())
        .subcommand_value_name("command")
        .disable_help_subcommand(true);
    let listed: Vec<_> = subcommands.iter().map(|known| arguments(known, &typed)).collect();
    for arg in typed.get_arguments().filter(|arg| !arg.is_hide_set()) {
        let takes = |arguments: &Vec<Arg>| arguments.iter().any(|listed| listed.get_id() == arg.get_id());
        let entries = subcommands.iter().zip(&listed).filter(|(_, list)| takes(list));
        let wanted: BTreeSet<_> = entries.map(|(known, _)| known.name.as_str()).collect();
        let (owners, _) = owners(arg, &subcommands);
        assert_eq!(owners, wanted, "{}: whose it is, by its help and by theirs", arg.get_id());
        if owners.is_empty() {
            // The config file may be named anywhere.
            whole = whole.arg(hint(arg.clone()).global(arg.get_id() == "config"));
        }
    }
    for (subcommand, arguments) in subcommands.iter().zip(listed) {
        let arguments = arguments.into_iter().map(|arg| {
            let (_, help) = owners(&arg, &subcommands);
            hint(if help.is_empty() { arg } else { arg.help(help) })
        });
        whole = whole.subcommand(
            Command::new(fixed(&subcommand.name)).about(subcommand.about.clone()).args(arguments),
        );
    }
    whole
}
