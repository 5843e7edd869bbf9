//! `sersync-supervisor`: from a command line to an exit code.

use std::process::ExitCode;

fn main() -> ExitCode {
    supervisor::run::main(std::env::args_os()).into()
}
