//! Runs the parts that were asked for, one after the other; in each, all contenders in turn, run by
//! run, so that whatever else the machine does befalls all of them.

use std::process::Command;
use std::time::Instant;

use crate::contender::{Contender, PEERS};
use crate::edits::{self, Form};
use crate::ground::Ground;
use crate::options::Options;
use crate::outcome::{Outcome, failed};
use crate::record::{Figures, Record, Records};
use crate::report;
use crate::scale::start::Size;
use crate::scale::{beside, growth, idle, remotes, start};
use crate::workload::Workload;
use crate::{micro, run, several};

/// 100,000 directories with 1,000,000 files.
const START: Size = Size { part: "start", directories: 100_000, files: 10, starts: 3 };
/// 1,000,000 directories.
const MILLION: Size = Size { part: "million", directories: 1_000_000, files: 0, starts: 1 };
/// What is no workload, in its order.
const BEYOND: [&str; 7] = ["idle", "micro", "beside", "remotes", "start", "million", "growth"];

/// The names of all parts.
pub(crate) fn parts() -> Vec<&'static str> {
    let mut parts = vec![Form::Plain.part(), Form::Hot.part()];
    parts.extend(Workload::ALL.iter().map(|workload| workload.name()).filter(|name| *name != "W1"));
    parts.extend(BEYOND);
    parts
}

/// Measures, and draws what came out.
pub(crate) fn measure(options: &Options) -> Outcome<()> {
    if let Some(name) =
        options.only.iter().find(|name| !parts().iter().any(|it| it.eq_ignore_ascii_case(name)))
    {
        return Err(failed(format!("{name} is no part; there are: {}", parts().join(" "))));
    }
    let ground = Ground::new(&options.root, &options.state, &options.rsyncd)?;
    let mut records = report::load(options)?;
    let (taken, mut failures) = (taken(options), Vec::new());
    let peers = peers(options);
    for part in parts().into_iter().filter(|part| options.wants(part)) {
        records.begin(part, &taken);
        let start = Instant::now();
        if let Err(error) = one(part, &peers, &ground, options, &mut records) {
            eprintln!("{part}: {error}");
            records.add(Figures::default().done(part, Contender::Ours.name(), Some(error.to_string())));
            failures.push(part);
        }
        println!("{part} done after {:.0} s", start.elapsed().as_secs_f64());
        report::save(&records, options)?;
    }
    report::draw(options)?;
    if failures.is_empty() { Ok(()) } else { Err(failed(format!("failed: {}", failures.join(" ")))) }
}

fn one(
    part: &str,
    peers: &[Contender],
    ground: &Ground,
    options: &Options,
    records: &mut Records,
) -> Outcome<()> {
    match part {
        "idle" => idle::run(ground, options, records),
        "micro" => micro::run(records),
        "beside" => beside::run(ground, options, records),
        "remotes" => remotes::run(ground, options, records),
        "start" => start::run(START, ground, options, records),
        "million" => start::run(MILLION, ground, options, records),
        "growth" => growth::run(ground, options, records),
        "W1hot" => turns((part, &[Contender::Limit, Contender::Ours]), options, records, |contender| {
            edits::run(Form::Hot, contender, ground, options)
        }),
        "W1" => {
            let edits = |contender| edits::run(Form::Plain, contender, ground, options);
            turns((part, &with(&[Contender::Limit, Contender::Bare], peers)), options, records, edits)
        }
        "W8" => {
            // The others serve one remote each.
            let peers: Vec<Contender> = peers.iter().copied().filter(|it| *it == Contender::Lsyncd).collect();
            let several = |contender| several::run(contender, ground, options);
            turns((part, &with(&[Contender::Limit], &peers)), options, records, several)
        }
        "W11" => {
            // Nothing to compare with: it waits for each first version to arrive.
            let run = |contender| run::run(Workload::SameSecond, contender, ground, options);
            turns((part, &with(&[], peers)), options, records, run)
        }
        _ => {
            let workload = Workload::ALL.into_iter().find(|workload| workload.name() == part);
            let workload = workload.ok_or_else(|| failed(format!("{part} is no part")))?;
            let run = |contender| run::run(workload, contender, ground, options);
            turns((part, &with(&[Contender::Limit], peers)), options, records, run)
        }
    }
}

fn with(limits: &[Contender], peers: &[Contender]) -> Vec<Contender> {
    [limits, &[Contender::Ours], peers].concat()
}

/// All contenders, run by run. A failure of ours or of a limit ends it; one of a peer is noted, and
/// the peer takes no further part, nor does one that did not converge.
fn turns(
    (part, contenders): (&str, &[Contender]),
    options: &Options,
    records: &mut Records,
    run: impl Fn(Contender) -> Outcome<Record>,
) -> Outcome<()> {
    let mut out = Vec::new();
    for rep in 0..options.reps {
        for &contender in contenders {
            let is_peer = PEERS.contains(&contender);
            if is_peer && (rep >= options.peer_reps || out.contains(&contender)) {
                continue;
            }
            match run(contender) {
                Ok(record) => {
                    if is_peer && record.note.is_some() {
                        out.push(contender);
                    }
                    records.add(record);
                }
                Err(error) if is_peer => {
                    out.push(contender);
                    records.add(Figures::default().done(part, contender.name(), Some(error.to_string())));
                }
                Err(error) => return Err(failed(format!("{}: {error}", contender.name()))),
            }
        }
    }
    Ok(())
}

/// The peers that take part; those that are missing are said.
fn peers(options: &Options) -> Vec<Contender> {
    let wanted = |peer: &Contender| {
        options.peers.as_ref().is_none_or(|names| names.iter().any(|name| name == peer.name()))
    };
    let (here, missing): (Vec<_>, Vec<_>) =
        PEERS.into_iter().filter(wanted).partition(|peer| peer.is_installed());
    for peer in missing {
        println!("{} is not installed, and is left out", peer.name());
    }
    here
}

/// The machine, the programs and the day.
fn taken(options: &Options) -> String {
    let said = |program: &str, words: &[&str]| {
        let output = Command::new(program).args(words).output().ok();
        let text = output.map(|output| String::from_utf8_lossy(&output.stdout).into_owned());
        text.and_then(|text| text.lines().next().map(|line| line.trim().to_owned())).unwrap_or_default()
    };
    let cores = std::thread::available_parallelism().map_or(0, std::num::NonZero::get);
    let model = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = model.lines().find_map(|line| line.strip_prefix("model name"));
    let model = model.unwrap_or_default().trim_start_matches([' ', '\t', ':']);
    let rsync = said("rsync", &["--version"]);
    let rsync = rsync.split("protocol").next().unwrap_or_default().trim();
    format!(
        "{}, {cores} cores ({model}), Linux {}, {rsync}, {}, commit {}",
        said("date", &["-u", "+%Y-%m-%d"]),
        said("uname", &["-r"]),
        said(&options.program.to_string_lossy(), &["--version"]),
        said("git", &["rev-parse", "--short", "HEAD"]),
    )
}
