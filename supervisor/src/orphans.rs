//! What a dead child leaves behind becomes the supervisor's (it is a subreaper) and is ended
//! here: an rsync must not write beside the one that takes over its work. What an operator's
//! program leaves running was meant to.

use std::collections::BTreeSet;
use std::fs;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// Kills every child process of ours that is not `known`, but those of the uids `spared`.
pub fn end(known: impl Fn(i32) -> bool, spared: &BTreeSet<u32>) {
    // A thread that waits at a rendezvous starts no processes, so the main thread's list is all.
    let own = std::process::id();
    let Ok(list) = fs::read_to_string(format!("/proc/self/task/{own}/children")) else { return };
    for pid in list.split_whitespace().filter_map(|word| word.parse::<i32>().ok()) {
        if !known(pid) && uid(pid).is_none_or(|uid| !spared.contains(&uid)) {
            let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
        }
    }
}

/// The real uid of a process that lives. Not the owner of `/proc/PID`, which is root for some.
pub fn uid(pid: i32) -> Option<u32> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    // One that is dead and waits for its parent to take notice runs under nobody's uid.
    if status.lines().any(|line| line.starts_with("State:\tZ")) {
        return None;
    }
    status.lines().find_map(|line| line.strip_prefix("Uid:")?.split_whitespace().next()?.parse().ok())
}
