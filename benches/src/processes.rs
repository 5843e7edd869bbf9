//! What `/proc` says of the processes of a contender: who they are, what CPU and memory they took,
//! how often they woke. rsync's own processes are told apart from the contender's.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::time::Duration;

/// One process.
#[derive(Debug, Clone)]
pub(crate) struct Process {
    /// Its pid.
    pub(crate) pid: u32,
    /// `watcher`, `syncer0`…; `supervisor` or `guardian` for ours without a role; for others what the
    /// kernel calls it.
    pub(crate) role: String,
}

impl Process {
    /// Whether it is rsync, not the contender itself.
    pub(crate) fn is_rsync(&self) -> bool {
        self.role == "rsync" || self.role == "ssh"
    }
}

/// The process `root` and all that descends from it.
pub(crate) fn family(root: u32) -> Vec<Process> {
    let mut children: HashMap<u32, Vec<u32>> = HashMap::new();
    for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let pid = entry.file_name().to_str().and_then(|name| name.parse::<u32>().ok());
        if let Some((pid, parent)) = pid.and_then(|pid| Some((pid, stat(pid)?.parent))) {
            children.entry(parent).or_default().push(pid);
        }
    }
    let mut found = vec![root];
    let mut next = 0;
    while let Some(pid) = found.get(next) {
        found.extend(children.remove(pid).unwrap_or_default());
        next += 1;
    }
    found.into_iter().filter_map(|pid| Some(Process { pid, role: role(pid)? })).collect()
}

/// The contender's own processes in the family of `root`.
pub(crate) fn own(root: u32) -> Vec<Process> {
    family(root).into_iter().filter(|process| !process.is_rsync()).collect()
}

fn role(pid: u32) -> Option<String> {
    let comm = fs::read_to_string(format!("/proc/{pid}/comm")).ok()?.trim().to_owned();
    // Ours starts itself anew by /proc/self/exe.
    if !comm.starts_with("sersync") && comm != "exe" {
        return Some(comm);
    }
    let line = fs::read(format!("/proc/{pid}/cmdline")).ok()?;
    let mut words = line.split(|&byte| byte == 0).map(String::from_utf8_lossy).skip(1);
    let role = (words.next()? == "role").then(|| words.next()).flatten();
    Some(role.map_or_else(|| "supervisor".to_owned(), std::borrow::Cow::into_owned))
}

struct Stat {
    parent: u32,
    /// Of it and of the children that it has waited for.
    ticks: u64,
}

fn stat(pid: u32) -> Option<Stat> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, rest) = text.rsplit_once(')')?;
    let fields: Vec<&str> = rest.split_whitespace().collect();
    let ticks = fields.get(11..15)?.iter().map(|field| field.parse::<u64>().unwrap_or(0)).sum();
    Some(Stat { parent: fields.get(1)?.parse().ok()?, ticks })
}

/// Whose child a process is.
pub(crate) fn parent(pid: u32) -> Option<u32> {
    stat(pid).map(|stat| stat.parent)
}

/// CPU time of one process without its children.
pub(crate) fn cpu(pid: u32) -> Duration {
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    let nanos = tasks.filter_map(|task| {
        let text = fs::read_to_string(task.path().join("schedstat")).ok()?;
        text.split_whitespace().next()?.parse::<u64>().ok()
    });
    Duration::from_nanos(nanos.sum())
}

/// What a contender's own processes have taken until now.
#[derive(Debug)]
pub(crate) struct Meter {
    root: u32,
    before: HashMap<u32, Duration>,
}

impl Meter {
    /// Starts counting.
    pub(crate) fn start(root: u32) -> Meter {
        let before = own(root).into_iter().map(|process| (process.pid, cpu(process.pid))).collect();
        Meter { root, before }
    }

    /// CPU time since the start, rsync's not counted; what has died since is not counted either.
    pub(crate) fn cpu(&self) -> Duration {
        let spent = own(self.root).into_iter().map(|process| {
            let before = self.before.get(&process.pid).copied().unwrap_or_default();
            cpu(process.pid).saturating_sub(before)
        });
        spent.sum()
    }
}

/// CPU time of `root` and all its descendants, dead ones that were waited for included, in steps of 10 ms
/// a process.
pub(crate) fn all_cpu(root: u32) -> Duration {
    let ticks: u64 = family(root).iter().filter_map(|process| Some(stat(process.pid)?.ticks)).sum();
    Duration::from_millis(ticks * 10)
}

/// Times that a process gave up the CPU because it had nothing to do.
pub(crate) fn wakeups(pid: u32) -> u64 {
    field(&format!("/proc/{pid}/status"), "voluntary_ctxt_switches:").unwrap_or(0)
}

/// KiB of memory, what it shares counted in parts; needs root for others' processes.
pub(crate) fn pss(pid: u32) -> u64 {
    field(&format!("/proc/{pid}/smaps_rollup"), "Pss:").unwrap_or(0)
}

/// KiB of memory that it had at most, what it shares counted in full.
pub(crate) fn peak(pid: u32) -> u64 {
    field(&format!("/proc/{pid}/status"), "VmHWM:").unwrap_or(0)
}

fn field(file: &str, key: &str) -> Option<u64> {
    let text = fs::read_to_string(file).ok()?;
    let rest = text.lines().find_map(|line| line.strip_prefix(key))?;
    rest.split_whitespace().next()?.parse().ok()
}

/// The sum of `figure` for each role; several syncers are one role.
pub(crate) fn by_role(processes: &[Process], figure: impl Fn(u32) -> u64) -> BTreeMap<String, u64> {
    let mut sums = BTreeMap::new();
    for process in processes {
        let role = process.role.trim_end_matches(|c: char| c.is_ascii_digit());
        *sums.entry(role.to_owned()).or_default() += figure(process.pid);
    }
    sums
}

/// KiB of memory that all processes may still take.
pub(crate) fn available() -> u64 {
    field("/proc/meminfo", "MemAvailable:").unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_is_known() {
        let pid = std::process::id();
        assert!(family(pid).iter().any(|process| process.pid == pid));
        assert!(pss(pid) > 0 && peak(pid) >= pss(pid) && available() > 0);
        let meter = Meter::start(pid);
        while meter.cpu().is_zero() {
            std::hint::black_box(family(pid));
        }
        assert!(all_cpu(1) > Duration::ZERO);
    }
}
