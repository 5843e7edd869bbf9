//! Limits for a role and all that it starts together: a cgroup for each child, where systemd, or
//! whoever stands in for it, delegated one to us. Nothing is touched that was not delegated.
//!
//! The resource limits of `common::confine` hold in any case; this adds what they cannot:
//! memory that counts once for all processes of a role, weights, and an end that no fork
//! escapes. So nothing here stops the product: what fails is said, and the rest goes on.

mod delegation;

use std::collections::BTreeSet;
use std::fmt::{self, Write as _};
use std::fs::{self, OpenOptions};
use std::io::{self, ErrorKind, Write as _};
use std::path::{Path, PathBuf};

use common::config::RoleLimits;
use common::confine::Identity;
use common::log::Shown;

use delegation::Delegation;

/// Where the supervisor itself is: a cgroup with controllers for its children may hold no
/// process of its own.
const OWN_LEAF: &str = "supervisor";
/// Longest name of a leaf, in bytes.
const MAX_NAME: usize = 64;

/// Whether children can have cgroups.
#[derive(Debug)]
pub enum Found {
    /// They can.
    Delegated(Cgroups),
    /// They cannot; why, for people.
    Unavailable(String),
}

/// The cgroup that was delegated to us.
#[derive(Debug)]
pub struct Cgroups {
    directory: PathBuf,
    controllers: BTreeSet<Controller>,
    /// Leaves that could not be removed yet.
    lingering: Vec<PathBuf>,
    /// Limits that the kernel refused before.
    refused: BTreeSet<&'static str>,
}

/// The cgroup of one child.
#[derive(Debug)]
pub struct Leaf {
    directory: PathBuf,
    /// Limits that the kernel did not take, by file name; each is named once in our life.
    pub refused: Vec<&'static str>,
}

/// Limits that a child ran into, ever.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Hit {
    /// It was killed for the memory it took.
    pub memory: bool,
    /// It was refused a process or thread.
    pub pids: bool,
}

/// What becomes of processes that are still there when the child is not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rest {
    /// They are killed.
    Ends,
    /// They may live on, under the same limits: what an operator's program left running.
    LivesOn,
}

/// What the kernel can divide among cgroups.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Controller {
    Cpu,
    Io,
    Memory,
    Pids,
}

impl Cgroups {
    /// Finds out, and prepares: a leaf for ourselves, the controllers for the others. To be
    /// called once, before the supervisor lowers itself and before the first role is started.
    ///
    /// `heir` is who the supervisor becomes; what it needs then is made over to it. `None` if it
    /// stays who it is.
    pub fn find(heir: Option<Identity>) -> Found {
        let own = std::process::id().cast_signed();
        let found = delegation::find(own).and_then(|delegation| Cgroups::prepare(delegation, own, heir));
        match found {
            Ok(cgroups) => Found::Delegated(cgroups),
            Err(reason) => Found::Unavailable(reason),
        }
    }

    fn prepare(delegation: Delegation, own: i32, heir: Option<Identity>) -> Result<Cgroups, String> {
        let directory = delegation.directory;
        let mut cgroups = Cgroups {
            controllers: BTreeSet::new(),
            lingering: vec![],
            refused: BTreeSet::new(),
            directory: directory.clone(),
        };
        cgroups.enter_own_leaf(own).map_err(|error| format!("{}: {error}", Shown(directory.as_os_str())))?;
        cgroups.end_earlier().map_err(|error| format!("cannot remove what an earlier run left: {error}"))?;
        let subtree = directory.join("cgroup.subtree_control");
        cgroups.controllers = Controller::ALL
            .into_iter()
            .filter(|controller| delegation.controllers.contains(controller.word()))
            // One by one: the kernel takes all of a line or nothing.
            .filter(|controller| put(&subtree, &format!("+{}", controller.word())).is_ok())
            .collect();
        if let Some(Identity { uid, gid }) = heir {
            for path in [directory.clone(), directory.join("cgroup.procs")] {
                std::os::unix::fs::lchown(&path, Some(uid), Some(gid))
                    .map_err(|error| format!("{}: {error}", Shown(path.as_os_str())))?;
            }
        }
        Ok(cgroups)
    }

    /// The delegated directory. Below it the supervisor makes and removes directories and
    /// writes files: it must be able to once it is lowered.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Puts the process `pid`, a child that has started nothing yet, into a leaf of its own
    /// under these limits. `name` is of small letters, digits and `-`, at most 64 bytes.
    pub fn place(&mut self, name: &str, pid: i32, limits: &RoleLimits) -> io::Result<Leaf> {
        if !is_ours(name) || name == OWN_LEAF {
            return Err(io::Error::new(ErrorKind::InvalidInput, "not the name of a leaf"));
        }
        // With the pid no two are the same, though one of that name may linger.
        let directory = self.directory.join(format!("{name}-{pid}"));
        fs::create_dir(&directory)?;
        let mut refused = vec![];
        for (file, value) in settings(limits, &self.controllers) {
            // Kernels differ in what they have; what one has not is no reason to do without the rest.
            if put(&directory.join(file), &value).is_err() && self.refused.insert(file) {
                refused.push(file);
            }
        }
        let leaf = Leaf { directory, refused };
        if let Err(error) = put(&leaf.directory.join("cgroup.procs"), &pid.to_string()) {
            self.remove(leaf.directory);
            return Err(error);
        }
        Ok(leaf)
    }

    /// The child is dead: which limits it hit. Its leaf is removed, now or in a later
    /// [`Cgroups::sweep`].
    pub fn end(&mut self, leaf: Leaf, rest: Rest) -> Hit {
        let hit = leaf.hit();
        match rest {
            // Linux 5.14. Before, only those end that the supervisor inherits.
            Rest::Ends => drop(put(&leaf.directory.join("cgroup.kill"), "1")),
            Rest::LivesOn => {}
        }
        self.remove(leaf.directory);
        hit
    }

    /// Removes leaves whose last processes are gone. How many still linger.
    pub fn sweep(&mut self) -> usize {
        for directory in std::mem::take(&mut self.lingering) {
            self.remove(directory);
        }
        self.lingering.len()
    }

    fn remove(&mut self, leaf: PathBuf) {
        match fs::remove_dir(&leaf) {
            Ok(()) => {}
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            // The kernel ends processes in its own time.
            Err(_) => self.lingering.push(leaf),
        }
    }

    fn enter_own_leaf(&self, own: i32) -> io::Result<()> {
        let leaf = self.directory.join(OWN_LEAF);
        match fs::create_dir(&leaf) {
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {
                // Somebody who took this cgroup for theirs: its children are not ours to end.
                if !fs::read_to_string(leaf.join("cgroup.procs"))?.is_empty() {
                    return Err(io::Error::other("another supervisor is in it"));
                }
            }
            result => result?,
        }
        let entered = put(&leaf.join("cgroup.procs"), &own.to_string());
        if entered.is_err() {
            let _ = fs::remove_dir(&leaf);
        }
        entered
    }

    /// Ends what an earlier run left behind.
    fn end_earlier(&mut self) -> io::Result<()> {
        for entry in fs::read_dir(&self.directory)? {
            let entry = entry?;
            // systemd keeps one of its own here, `.control`.
            let ours = entry.file_name().to_str().is_some_and(|name| is_ours(name) && name != OWN_LEAF);
            if ours && entry.file_type()?.is_dir() {
                let _ = put(&entry.path().join("cgroup.kill"), "1");
                self.remove(entry.path());
            }
        }
        Ok(())
    }
}

impl Leaf {
    /// Limits that it ran into so far.
    pub fn hit(&self) -> Hit {
        let count = |file: &str, key: &str| {
            let text = fs::read_to_string(self.directory.join(file)).unwrap_or_default();
            let line = text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(' '));
            line.and_then(|count| count.parse::<u64>().ok()).unwrap_or(0)
        };
        Hit { memory: count("memory.events", "oom_kill") > 0, pids: count("pids.events", "max") > 0 }
    }
}

/// The line for the log.
impl fmt::Display for Found {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Found::Delegated(cgroups) => {
                let (in_force, missing): (Vec<_>, Vec<_>) = Controller::ALL
                    .into_iter()
                    .partition(|controller| cgroups.controllers.contains(controller));
                write!(f, "limits: cgroup={} controllers=", Shown(cgroups.directory.as_os_str()))?;
                f.write_str(&words(&in_force))?;
                if !missing.is_empty() {
                    write!(f, " missing={}", words(&missing))?;
                }
            }
            Found::Unavailable(reason) => write!(f, "limits: cgroup=unavailable reason=\"{reason}\"")?,
        }
        f.write_str(" rlimits=yes")
    }
}

impl Controller {
    const ALL: [Controller; 4] = [Controller::Cpu, Controller::Io, Controller::Memory, Controller::Pids];

    fn word(self) -> &'static str {
        match self {
            Controller::Cpu => "cpu",
            Controller::Io => "io",
            Controller::Memory => "memory",
            Controller::Pids => "pids",
        }
    }
}

fn words(controllers: &[Controller]) -> String {
    if controllers.is_empty() {
        return "none".to_owned();
    }
    let mut words = String::new();
    for controller in controllers {
        let comma = if words.is_empty() { "" } else { "," };
        let _ = write!(words, "{comma}{}", controller.word());
    }
    words
}

/// Which files of a leaf say what.
fn settings(limits: &RoleLimits, controllers: &BTreeSet<Controller>) -> Vec<(&'static str, String)> {
    let bytes = |limit: Option<u64>| limit.map(|limit| limit.to_string());
    let weight = |weight: Option<u16>| weight.map(|weight| weight.to_string());
    let table = [
        (Controller::Memory, "memory.max", bytes(limits.memory)),
        (Controller::Memory, "memory.high", bytes(limits.memory_high)),
        // A syncer without its rsync, or the other way round, is of no use.
        (Controller::Memory, "memory.oom.group", Some("1".to_owned())),
        (Controller::Pids, "pids.max", Some(limits.pids.to_string())),
        (Controller::Cpu, "cpu.weight", weight(limits.cpu_weight)),
        (Controller::Io, "io.weight", weight(limits.io_weight)),
    ];
    let in_force = table.into_iter().filter(|(controller, ..)| controllers.contains(controller));
    in_force.filter_map(|(_, file, value)| Some((file, value?))).collect()
}

/// A name that only we give.
fn is_ours(name: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    !name.is_empty() && name.len() <= MAX_NAME && name.bytes().all(plain)
}

/// Writes to a file of the kernel, which exists or else is not to be made.
fn put(file: &Path, value: &str) -> io::Result<()> {
    OpenOptions::new().write(true).open(file)?.write_all(value.as_bytes())
}

#[cfg(test)]
mod tests;
