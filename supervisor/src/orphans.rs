//! What a dead child leaves behind becomes the supervisor's (it is a subreaper) and is ended
//! here: an rsync must not write beside the one that takes over its work.

use std::fs;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// Kills every child process of ours that is not `known`.
pub fn end(known: impl Fn(i32) -> bool) {
    // A thread that waits at a rendezvous starts no processes, so the main thread's list is all.
    let own = std::process::id();
    let Ok(list) = fs::read_to_string(format!("/proc/self/task/{own}/children")) else { return };
    for pid in list.split_whitespace().filter_map(|word| word.parse::<i32>().ok()) {
        if !known(pid) {
            let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
        }
    }
}
