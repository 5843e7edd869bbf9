//! Processes that get no time for a while and are not told: a frozen cgroup. Unlike a stopped
//! process, nobody hears of a frozen one.

use std::fs;
use std::path::{Path, PathBuf};

use super::{SOON, wait_until};

/// Frozen processes; they go on when it is dropped.
pub struct Frozen {
    group: PathBuf,
    state: PathBuf,
    thawed: &'static str,
    /// Where each of them was before.
    before: Vec<(i32, PathBuf)>,
}

impl Frozen {
    /// Freezes them. `None` where this machine has no cgroup for us, with a word about it.
    pub fn new(pids: &[i32]) -> Option<Frozen> {
        let found = Frozen::of_version_1(pids).or_else(|| Frozen::of_version_2(pids));
        if found.is_none() {
            eprintln!("no cgroup can be frozen here");
        }
        found
    }

    fn of_version_1(pids: &[i32]) -> Option<Frozen> {
        let top = Path::new("/sys/fs/cgroup/freezer");
        Frozen::within(top, pids, "freezer.state", ["FROZEN", "THAWED"], ":freezer:")
    }

    fn of_version_2(pids: &[i32]) -> Option<Frozen> {
        ["/sys/fs/cgroup", "/sys/fs/cgroup/unified"]
            .iter()
            .find_map(|top| Frozen::within(Path::new(top), pids, "cgroup.freeze", ["1", "0"], "0::"))
    }

    fn within(
        top: &Path,
        pids: &[i32],
        state: &str,
        [frozen, thawed]: [&'static str; 2],
        line: &str,
    ) -> Option<Frozen> {
        let group = top.join(format!("sersync-test-{}-{}", std::process::id(), pids.first()?));
        fs::create_dir(&group).ok()?;
        let state = group.join(state);
        let before = pids.iter().filter_map(|&pid| Some((pid, place(top, pid, line)?))).collect();
        let made = Frozen { group, state, thawed, before };
        if !made.state.exists() {
            return None;
        }
        for pid in pids {
            fs::write(made.group.join("cgroup.procs"), pid.to_string()).ok()?;
        }
        fs::write(&made.state, frozen).ok()?;
        wait_until("they are frozen", SOON, || match frozen {
            "1" => fs::read_to_string(made.group.join("cgroup.events")).unwrap().contains("frozen 1"),
            _ => fs::read_to_string(&made.state).unwrap().trim() == frozen,
        });
        Some(made)
    }
}

impl Drop for Frozen {
    fn drop(&mut self) {
        let _ = fs::write(&self.state, self.thawed);
        for (pid, place) in &self.before {
            let _ = fs::write(place.join("cgroup.procs"), pid.to_string());
        }
        let _ = fs::remove_dir(&self.group);
    }
}

/// In which group a process is.
fn place(top: &Path, pid: i32, line: &str) -> Option<PathBuf> {
    let groups = fs::read_to_string(format!("/proc/{pid}/cgroup")).ok()?;
    let path = groups.lines().find_map(|text| text.split_once(line))?.1;
    Some(top.join(path.trim_start_matches('/')))
}
