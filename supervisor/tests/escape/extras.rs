//! What is tried beside the library's attempts: what needs the real roots, the real secrets and
//! the real processes of a running supervisor.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read};
use std::path::Path;
use std::time::{Duration, Instant};

use common::confine::attempts::{Area, Verdict};
use nix::errno::Errno;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::plan::Plan;
use crate::victims::OTHER_TEXT;

/// How long the race for a directory that is swapped goes on.
const RACE: Duration = Duration::from_millis(500);
/// What a process shows of itself, and of what it may.
const SHOWN: [&str; 11] =
    ["environ", "mem", "maps", "fd", "fd/0", "fd/1", "fd/2", "cwd", "root/etc/shadow", "exe", "auxv"];

/// What is tried in such a place: an operator's program may read what everybody may.
pub(crate) fn names(area: Area) -> impl Iterator<Item = &'static str> {
    let everywhere =
        ["shadow-through-link", "password-file", "state-file", "processes-from-proc", "end-others"];
    let sandboxed = ["other-root-through-dots", "other-root-by-race"];
    let sandboxed = sandboxed.into_iter().filter(move |_| area != Area::Command);
    everywhere.into_iter().chain(sandboxed)
}

/// Makes one; `None` when there is none of that name.
pub(crate) fn run(name: &str, plan: &Plan, subject: &str) -> Option<Verdict> {
    let own = plan.own_root(subject);
    Some(match name {
        "shadow-through-link" => of_read(own.join("shadow")),
        "password-file" => of_read(&plan.secret),
        // The keeper has it open, and no way to it either.
        "state-file" => of_each([
            ("read".to_owned(), of_read(&plan.state)),
            ("write".to_owned(), of_error(OpenOptions::new().write(true).open(&plan.state).map(drop))),
        ]),
        "processes-from-proc" => of_each(everybody(plan, subject).into_iter().flat_map(|pid| {
            SHOWN.map(|what| (format!("{pid}/{what}"), of_read(format!("/proc/{pid}/{what}"))))
        })),
        "end-others" => of_each(everybody(plan, subject).into_iter().flat_map(|pid| {
            let signals = [Signal::SIGSTOP, Signal::SIGTERM, Signal::SIGKILL];
            signals.map(|signal| (format!("{signal} to {pid}"), of_kill(pid, signal)))
        })),
        "other-root-through-dots" => {
            let other = plan.other_root.file_name().unwrap_or_default();
            of_read(own.join("../..").join(other).join("file"))
        }
        "other-root-by-race" => race(&own.join(".racing/file")),
        _ => return None,
    })
}

/// The supervisor and its roles.
fn everybody(plan: &Plan, subject: &str) -> Vec<i32> {
    plan.others(subject).into_iter().chain([plan.supervisor]).collect()
}

/// The first that came through; refused when none did.
fn of_each(verdicts: impl IntoIterator<Item = (String, Verdict)>) -> Verdict {
    let mut last = Verdict::NotApplicable("there is nobody".to_owned());
    for (what, verdict) in verdicts {
        if let Verdict::Allowed(seen) = verdict {
            return Verdict::Allowed(format!("{what}: {seen}"));
        }
        last = verdict;
    }
    last
}

/// Opening counts, whatever comes of reading: a directory opens too.
fn of_read(path: impl AsRef<Path>) -> Verdict {
    of_error(File::open(path).map(drop))
}

fn of_kill(pid: i32, signal: Signal) -> Verdict {
    of_error(kill(Pid::from_raw(pid), signal).map_err(io::Error::from))
}

fn of_error(result: io::Result<()>) -> Verdict {
    match result {
        Ok(()) => Verdict::Allowed("it was done".to_owned()),
        Err(error) => match error.raw_os_error().map(Errno::from_raw) {
            Some(refused @ (Errno::EACCES | Errno::EPERM | Errno::ENOSYS)) => {
                Verdict::Refused(format!("{refused:?}"))
            }
            _ => Verdict::Allowed(format!("not refused, but {error}")),
        },
    }
}

/// Reads again and again, while somebody swaps the directory for a link to another root.
fn race(path: &Path) -> Verdict {
    let (end, mut reads) = (Instant::now() + RACE, 0_u64);
    while Instant::now() < end {
        let mut text = String::new();
        if File::open(path).and_then(|mut file| file.read_to_string(&mut text)).is_ok() {
            reads += 1;
            if text == OTHER_TEXT {
                return Verdict::Allowed(format!("read number {reads}"));
            }
        }
        // The other way round, too: the directory first, then what is in it.
        if path.parent().is_some_and(|parent| fs::read_dir(parent).is_ok()) {
            reads += 1;
        }
    }
    Verdict::Refused(format!("{reads} reads of the own one"))
}
