//! `bench` measures a release build of sersync-supervisor from outside, beside plain rsync and its
//! peers, and writes the tables and plots of `docs/performance.md`. `make bench` runs it; no part of
//! the product depends on it.

#![forbid(unsafe_code)]

mod compare;
mod contender;
mod edits;
mod fixture;
mod ground;
mod inotifywait;
mod measure;
mod micro;
mod options;
mod outcome;
mod processes;
mod record;
mod report;
mod run;
mod scale;
mod several;
mod undo;
mod workload;

use std::process::ExitCode;

use options::Task;
use outcome::Outcome;

fn main() -> ExitCode {
    match enter() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench: {error}");
            ExitCode::FAILURE
        }
    }
}

/// What is entered by exec has a word of its own in front.
fn enter() -> Outcome<()> {
    let mut words = std::env::args_os().skip(1).peekable();
    let first = words.peek().and_then(|word| word.to_str()).unwrap_or_default().to_owned();
    match first.as_str() {
        inotifywait::WORD => inotifywait::run(words.skip(1)),
        micro::WORD => micro::print(words.nth(1).as_deref()),
        undo::WORD => {
            words.next();
            let options = options::parse(words.map(|word| word.to_string_lossy().into_owned()))?;
            undo::when_alone(&options)?;
            measure::measure(&options)
        }
        _ => {
            let options = options::parse(words.map(|word| word.to_string_lossy().into_owned()))?;
            match options.task {
                Task::Help => print!("{}", options::HELP),
                Task::List => println!("{}", measure::parts().join(" ")),
                Task::Draw => report::draw(&options)?,
                Task::Measure => undo::run_guarded(&options)?,
            }
            Ok(())
        }
    }
}
