//! `-d`: the process that was started waits for the one that goes on, and ends as that one begins.

use std::ffi::{CString, OsString};
use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command as Process, Stdio};

use common::confine;
use common::exit::Exit;
use common::log::Shown;
use nix::unistd::{dup, setsid};

use crate::cli::{Detach, Settings};
use crate::run::complain;
use crate::say::say;

/// `-d`: starts the process that goes on and waits until it watches, or has failed.
pub(crate) fn start(settings: &Settings, args: &[OsString]) -> Exit {
    let started = || -> io::Result<Exit> {
        let (mut ready, theirs) = io::pipe()?;
        say("option: -d \trun as a daemon");
        let mut process = Process::new("/proc/self/exe");
        // Watchdogs look for what was typed.
        args.first().map(|typed| process.arg0(typed));
        process.args(args.get(1..).unwrap_or_default()).arg("--detached");
        let started = process.stdin(Stdio::from(OwnedFd::from(theirs))).spawn();
        // Else this process holds the other end, and never hears that it is closed.
        drop(process);
        let mut child = started?;
        let mut byte = [0];
        if ready.read(&mut byte)? == 1 {
            return Ok(Exit::Ok);
        }
        let code = child.wait()?.code().unwrap_or(i32::from(Exit::Software.code()));
        Ok(Exit::from_code(code))
    };
    started().unwrap_or_else(|error| {
        complain(&format!("cannot detach with {}: {error}", Shown(&settings.config)));
        Exit::OsError
    })
}

/// The detached process is called what was typed, as one in the foreground is: for the kernel, and so for `pidof`
/// and `killall`, it was `exe`.
pub(crate) fn keep_name(args: &[OsString]) {
    let name = args.first().and_then(|typed| Path::new(typed).file_name());
    if let Some(name) = name.and_then(|name| CString::new(name.as_bytes()).ok()) {
        // The kernel takes the first 15 bytes.
        let _ = nix::sys::prctl::set_name(&name);
    }
}

/// The detached process: its standard input is the pipe on which it says that it is ready.
pub(crate) fn ready_pipe(detach: Detach) -> io::Result<Option<OwnedFd>> {
    if detach != Detach::Detached {
        return Ok(None);
    }
    let pipe = dup(io::stdin())?;
    confine::set_close_on_exec(&pipe)?;
    confine::null_stdin()?;
    // Fails only for a process that leads its group already, as under a shell's job control.
    let _ = setsid();
    Ok(Some(pipe))
}

/// Whoever detached us may be gone.
pub(crate) fn say_ready(pipe: &OwnedFd) {
    let _ = nix::unistd::write(pipe, b"1");
}
