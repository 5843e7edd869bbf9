//! Manual pages and completions are made from the code and kept in the project. `make man` writes them;
//! otherwise they are compared.

use std::fs;
use std::process::Command;

use clap_complete::Shell;
use common::exit::Exit;

use crate::commands::documented;
use crate::{pages, project};

const NAME: &str = "sersync-supervisor";

fn completion(shell: Shell) -> String {
    let mut text = Vec::new();
    clap_complete::generate(shell, &mut documented(), NAME, &mut text);
    // clap_complete 4.6 spells a program with a hyphen in two ways, and bash finds no subcommand.
    String::from_utf8(text).unwrap().replace("sersync__subcmd__supervisor", "sersync__supervisor")
}

/// Each file and what should be in it.
fn all() -> [(&'static str, String); 5] {
    [
        ("packaging/man/sersync-supervisor.8", pages::program()),
        ("packaging/man/confxml.xml.5", pages::config()),
        ("packaging/completions/sersync-supervisor.bash", completion(Shell::Bash)),
        ("packaging/completions/_sersync-supervisor", completion(Shell::Zsh)),
        ("packaging/completions/sersync-supervisor.fish", completion(Shell::Fish)),
    ]
}

#[test]
fn pages_and_completions_are_current() {
    for (name, text) in all() {
        if std::env::var_os("WRITE_MAN").is_some() {
            fs::write(project(name), text).unwrap();
        } else {
            let kept = fs::read_to_string(project(name)).unwrap_or_default();
            assert!(kept == text, "{name} is stale: make man");
        }
    }
}

#[test]
fn the_page_names_every_exit_code_and_every_option() {
    let page = pages::program();
    for exit in Exit::ALL {
        assert!(page.contains(&format!(".TP\n\\fB{}\\fR\n", exit.code())), "{exit:?}");
    }
    for arg in supervisor::cli::command().get_arguments().filter(|arg| !arg.is_hide_set()) {
        if let Some(long) = arg.get_long() {
            let bold = format!("\\fB--{long}\\fR").replace('-', "\\-");
            assert!(page.contains(&bold), "{long}");
        }
    }
}

#[test]
fn the_page_names_every_element_of_the_config() {
    let page = pages::config();
    // A test of `common` holds these rows to the names that the reader knows.
    let docs = fs::read_to_string(project("docs/configuration.md")).unwrap();
    let mut rows = 0;
    for row in docs.lines().filter(|line| line.starts_with("| `")) {
        let mut cells = row.split('|').map(str::trim).skip(1);
        let (element, attribute) = (cells.next().unwrap(), cells.next().unwrap());
        // Another table, of options or of roles.
        if cells.count() != 5 || !attribute.starts_with('`') {
            continue;
        }
        rows += 1;
        let bold = |cell: &str| format!("\\fB{}\\fR", cell.trim_matches('`'));
        let wanted = format!(".TP\n{} {}\n", bold(element), bold(attribute));
        assert!(page.contains(&wanted), "{wanted}");
    }
    assert!(rows > 80, "{rows}");
}

/// What bash offers after `line`.
fn offered(line: &[&str]) -> Vec<String> {
    let file = project("packaging/completions/sersync-supervisor.bash");
    let script = "source \"$1\"; shift; COMP_WORDS=(\"$@\"); COMP_CWORD=$(($# - 1)); \
                  _sersync__supervisor \"$1\" \"${@: -1}\" \"${@: -2:1}\"; printf '%s\\n' \"${COMPREPLY[@]}\"";
    let output =
        Command::new("bash").args(["-c", script, "bash"]).arg(file).arg(NAME).args(line).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect()
}

#[test]
fn bash_completes_subcommands_their_options_and_words() {
    assert_eq!(offered(&["ver"]), ["verify"]);
    assert_eq!(offered(&["verify", "--re"]), ["--repair", "--remote"]);
    assert_eq!(offered(&["wait", "--time"]), ["--timeout"]);
    assert_eq!(offered(&["deletes", "a"]), ["approve"]);
    assert!(offered(&["wait", "--rep"]).concat().is_empty());
    assert_eq!(offered(&["-m", "ref"]), ["refreshCDN"]);
}
