//! What `/proc` tells about processes.

use std::fs;
use std::time::Duration;

/// A process, as far as the tests care.
#[derive(Debug, Clone)]
pub struct Process {
    pub pid: i32,
    pub parent: i32,
    pub command: String,
}

/// Every process that has not ended.
pub fn all() -> Vec<Process> {
    let entries = fs::read_dir("/proc").unwrap().flatten();
    entries.filter_map(|entry| read(entry.file_name().to_str()?.parse().ok()?)).collect()
}

fn read(pid: i32) -> Option<Process> {
    let stat = fs::read(format!("/proc/{pid}/stat")).ok()?;
    let stat = String::from_utf8_lossy(&stat);
    let (_, rest) = stat.rsplit_once(')')?;
    let mut words = rest.split_whitespace();
    let (state, parent) = (words.next()?, words.next()?.parse().ok()?);
    if matches!(state, "Z" | "X") {
        return None;
    }
    let command = fs::read(format!("/proc/{pid}/cmdline")).ok()?;
    Some(Process { pid, parent, command: String::from_utf8_lossy(&command).replace('\0', " ") })
}

/// Whether a process has not ended.
pub fn lives(pid: i32) -> bool {
    read(pid).is_some()
}

/// The command of a process, words divided by blanks; empty when it has ended.
pub fn command(pid: i32) -> String {
    read(pid).map(|process| process.command).unwrap_or_default()
}

/// All processes below `ancestor`.
pub fn descendants(ancestor: i32) -> Vec<Process> {
    let all = all();
    let mut found: Vec<Process> = Vec::new();
    let mut parents = vec![ancestor];
    while let Some(parent) = parents.pop() {
        let children = all.iter().filter(|process| process.parent == parent);
        parents.extend(children.clone().map(|process| process.pid));
        found.extend(children.cloned());
    }
    found
}

/// The children of a supervisor whose role has this name; all roles for an empty one.
pub fn roles(supervisor: i32, name: &str) -> Vec<i32> {
    let start = if name.is_empty() { "sersync: ".to_owned() } else { format!("sersync: {name} ") };
    let is_one = |process: &Process| process.parent == supervisor && process.command.starts_with(&start);
    all().into_iter().filter(is_one).map(|process| process.pid).collect()
}

/// A field of `/proc/PID/status`, blanks made single.
pub fn status(pid: i32, field: &str) -> Option<String> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'))?;
    Some(line.split_whitespace().collect::<Vec<_>>().join(" "))
}

/// What a process has used so far, in steps of 10 ms.
pub fn cpu_time(pid: i32) -> Duration {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let (_, rest) = stat.rsplit_once(')').unwrap_or_default();
    let ticks = rest.split_whitespace().skip(11).take(2).filter_map(|word| word.parse::<u64>().ok());
    Duration::from_millis(10 * ticks.sum::<u64>())
}
