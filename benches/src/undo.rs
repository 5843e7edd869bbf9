//! What is put back however a measurement ends. The measuring process is a child that holds the end
//! of a pipe: when the one that was started is no more, by Ctrl-C or a kill, the child ends what it
//! started, puts limits back, removes its directories, and ends.

use std::fs;
use std::io::Read;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, sleep};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::options::Options;
use crate::outcome::{Outcome, failed};
use crate::processes;

/// The first word of the child's command line.
pub(crate) const WORD: &str = "guarded";

/// Limits to put back: file and former text.
static LIMITS: Mutex<Vec<(&str, String)>> = Mutex::new(Vec::new());

/// Nothing may be started any more.
static STOPPED: AtomicBool = AtomicBool::new(false);

/// Measures in a child.
pub(crate) fn run_guarded(options: &Options) -> Outcome<()> {
    // The same root and state for both, whose defaults have a pid in them.
    let mut child = Command::new(std::env::current_exe()?)
        .arg(WORD)
        .args(std::env::args_os().skip(1))
        .arg("--root")
        .arg(&options.root)
        .arg("--state")
        .arg(&options.state)
        .stdin(Stdio::piped())
        // Ctrl-C is for the one that was started.
        .process_group(0)
        .spawn()?;
    // Its standard input stays open until this process ends. wait() would close it.
    let input = child.stdin.take();
    let status = child.wait()?;
    drop(input);
    if status.success() { Ok(()) } else { Err(failed("not everything was measured")) }
}

/// Watches the pipe from now on.
pub(crate) fn when_alone(options: &Options) -> Outcome<()> {
    let directories = [options.root.clone(), options.state.clone()];
    thread::Builder::new().name("undo".to_owned()).spawn(move || {
        // It ends when the other end is closed; nothing is ever written there.
        let _ = std::io::stdin().read(&mut [0]);
        eprintln!("bench: stopped; cleaning up");
        end_all();
        put_back();
        // exec ends the thread that measures, which may be making files at this moment.
        let error = Command::new("rm").args(["-rf", "--"]).args(directories).exec();
        eprintln!("bench: rm: {error}");
        std::process::exit(130);
    })?;
    Ok(())
}

/// Fails once this measurement is being stopped: nothing is started any more.
pub(crate) fn check() -> Outcome<()> {
    if STOPPED.load(Ordering::Acquire) { Err(failed("stopped")) } else { Ok(()) }
}

/// Ends every child of this process: politely, so that each ends its own.
fn end_all() {
    STOPPED.store(true, Ordering::Release);
    let this = std::process::id();
    let deadline = Instant::now() + Duration::from_secs(8);
    while Instant::now() < deadline {
        let others: Vec<_> = processes::family(this).into_iter().filter(|it| it.pid != this).collect();
        if others.is_empty() {
            return;
        }
        for child in others.iter().filter(|it| processes::parent(it.pid) == Some(this)) {
            let _ = kill(Pid::from_raw(child.pid.cast_signed()), Signal::SIGTERM);
        }
        sleep(Duration::from_millis(500));
    }
    for child in processes::family(this).into_iter().filter(|it| it.pid != this) {
        let _ = kill(Pid::from_raw(child.pid.cast_signed()), Signal::SIGKILL);
    }
}

/// Remembers what a limit was.
pub(crate) fn remember(file: &'static str, before: &str) {
    if let Ok(mut limits) = LIMITS.lock() {
        limits.push((file, before.to_owned()));
    }
}

/// Puts all limits back.
pub(crate) fn put_back() {
    let Ok(mut limits) = LIMITS.lock() else { return };
    for (file, before) in limits.drain(..).rev() {
        if let Err(error) = fs::write(file, &before) {
            eprintln!("{file} was {before}, and cannot be put back: {error}");
        }
    }
}
