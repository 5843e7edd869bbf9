//! Making the attempts: a coordinator starts attackers, one after the other, since what the
//! sandbox kills on is the end of a process; each goes on where the last one ended.

use std::io::{self, BufRead, BufReader, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::os::fd::AsFd;
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, ExitCode, Stdio};

use common::confine::attempts::{self, Verdict};
use common::confine::{self, Confinement};
use common::wire::{FrameReader, Received, Uplink, report_socket};
use nix::libc::{SIGSYS, SIGXFSZ};

use crate::extras;
use crate::plan::Plan;

/// The word with which an attacker is started.
pub(crate) const WORD: &str = "attack";

/// Lets `subject` try everything: in attackers that take on `confinement`, or where we are. One
/// line for each attempt: name, verdict, what was seen.
pub(crate) fn coordinate(
    subject: &str,
    plan: &Plan,
    confinement: Option<&Confinement>,
) -> io::Result<String> {
    let names = plan.trials(subject);
    let (mut lines, mut made) = (String::new(), 0);
    while made < names.len() {
        let mut command = Command::new("/proc/self/exe");
        command.args([WORD, subject, &made.to_string(), &plan.text()]).env_clear().stdout(Stdio::piped());
        if let Some(confinement) = confinement {
            let (ours, theirs) = report_socket()?;
            let supervisor = std::process::id().cast_signed();
            let order = Confinement { supervisor, ..confinement.clone() };
            Uplink::new(ours).send(&order).map_err(io::Error::other)?;
            command.arg("confine").stdin(theirs);
        }
        let mut child = command.spawn()?;
        drop(command);
        let before = made;
        for line in child.stdout.take().map(BufReader::new).into_iter().flat_map(BufRead::lines) {
            lines.push_str(&line?);
            lines.push('\n');
            made += 1;
        }
        let status = child.wait()?;
        if let (Some(signal), Some(name)) = (status.signal(), names.get(made)) {
            let word = if matches!(signal, SIGSYS | SIGXFSZ) { "refused" } else { "ALLOWED" };
            lines.extend([name, "\t", word, "\tsignal ", &signal.to_string(), "\n"]);
            made += 1;
        }
        if made == before {
            return Err(io::Error::other(format!("attacker {made} ended without a word: {status}")));
        }
    }
    Ok(lines)
}

/// An attacker: tries until something comes through, after which it may be another process than
/// it was.
pub(crate) fn attack(words: &[String]) -> ExitCode {
    let [_, _, subject, first, text, rest @ ..] = words else { return ExitCode::from(64) };
    let (Some(plan), Ok(first)) = (Plan::read(text), first.parse()) else { return ExitCode::from(64) };
    if !rest.is_empty()
        && let Err(why) = take_on()
    {
        eprintln!("escape: {why}");
        return ExitCode::from(77);
    }
    for name in plan.trials(subject).iter().skip(first) {
        let verdict = extras::run(name, &plan, subject).or_else(|| {
            let attempt = attempts::find(name)?;
            Some(attempts::run(attempt, &plan.targets(subject)))
        });
        let (word, seen) = match verdict {
            Some(Verdict::Refused(seen)) => ("refused", seen),
            Some(Verdict::Allowed(seen)) => ("ALLOWED", seen),
            // The test looks at them itself.
            Some(Verdict::SeeVictims) => ("refused", "see the victims".to_owned()),
            Some(Verdict::NotApplicable(seen)) => ("nothing", seen),
            None => ("ALLOWED", "there is no such attempt".to_owned()),
        };
        let mut out = io::stdout().lock();
        let told = writeln!(out, "{name}\t{word}\t{}", seen.escape_debug()).and_then(|()| out.flush());
        if told.is_err() || word == "ALLOWED" {
            break;
        }
    }
    ExitCode::SUCCESS
}

/// The role's own steps, with its own order.
fn take_on() -> Result<(), String> {
    confine::start_clean().map_err(|error| error.to_string())?;
    let mut frames = FrameReader::default();
    let Received::Frame(order) = frames.receive::<Confinement>(io::stdin().as_fd()) else {
        return Err("no order".to_owned());
    };
    confine::enter(&order).map(drop).map_err(|error| error.to_string())
}

/// Sends a report over the port that the stand-in may use.
pub(crate) fn report(subject: &str, plan_port: u16, text: &str) -> io::Result<()> {
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, plan_port))?;
    stream.write_all(format!("subject={subject}\n{text}").as_bytes())
}
