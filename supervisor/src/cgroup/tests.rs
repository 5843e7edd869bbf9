//! Against fakes, and as root against the real hierarchy of this machine, wherever that has one.

use super::*;
use std::ffi::OsStr;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::MetadataExt;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use common::config::LimitsTable;

const ALL_OF_THEM: &str = "cpu io memory pids";

fn set(words: &str) -> BTreeSet<Controller> {
    Controller::ALL.into_iter().filter(|controller| words.contains(controller.word())).collect()
}

fn cgroups(directory: &Path, words: &str) -> Cgroups {
    let controllers = set(words);
    Cgroups { directory: directory.to_owned(), controllers, lingering: vec![], refused: BTreeSet::new() }
}

fn await_that(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !condition() {
        assert!(Instant::now() < deadline, "{what}");
        std::thread::yield_now();
    }
}

#[test]
fn which_file_says_what() {
    let plain = LimitsTable::default().watcher;
    let wanted = [("memory.max", "4294967296"), ("memory.oom.group", "1"), ("pids.max", "4")];
    let plainly: Vec<_> = settings(&plain, &set(ALL_OF_THEM));
    assert!(plainly.iter().map(|(file, value)| (*file, value.as_str())).eq(wanted), "{plainly:?}");
    let limits =
        RoleLimits { memory_high: Some(1 << 20), cpu_weight: Some(50), io_weight: Some(7), ..plain.clone() };
    let fully: BTreeSet<_> = settings(&limits, &set(ALL_OF_THEM)).into_iter().collect();
    for (file, value) in [("memory.high", "1048576"), ("cpu.weight", "50"), ("io.weight", "7")] {
        assert!(fully.contains(&(file, value.to_owned())), "{file}");
    }
    assert_eq!(settings(&limits, &set("cpu")), [("cpu.weight", "50".to_owned())]);
    assert_eq!(settings(&RoleLimits { memory: None, ..plain }, &set("memory")).len(), 1);
    assert!(settings(&limits, &set("")).is_empty());
}

#[test]
fn what_was_hit() {
    let directory = tempfile::tempdir().unwrap();
    let leaf = Leaf { directory: directory.path().to_owned(), refused: vec![] };
    assert_eq!(leaf.hit(), Hit::default());
    let write = |file: &str, text: &str| fs::write(directory.path().join(file), text).unwrap();
    // `max` counts each time that memory was reclaimed: not yet a limit that hurts.
    write("memory.events", "low 0\nhigh 9\nmax 31\noom 1\noom_kill 0\noom_group_kill 0\n");
    write("pids.events", "max 0\n");
    assert_eq!(leaf.hit(), Hit::default());
    write("memory.events", "low 0\nhigh 0\nmax 31\noom 1\noom_kill 2\noom_group_kill 1\n");
    assert_eq!(leaf.hit(), Hit { memory: true, pids: false });
    write("pids.events", "max 12\n");
    assert_eq!(leaf.hit(), Hit { memory: true, pids: true });
    write("memory.events", "oom_kill x\n");
    assert_eq!(leaf.hit(), Hit { memory: false, pids: true });
}

#[test]
fn the_line_for_the_log() {
    let line = |words| Found::Delegated(cgroups(Path::new("/sys/fs/cgroup/x"), words)).to_string();
    assert_eq!(
        line(ALL_OF_THEM),
        "limits: cgroup=/sys/fs/cgroup/x controllers=cpu,io,memory,pids rlimits=yes"
    );
    assert_eq!(
        line("memory pids"),
        "limits: cgroup=/sys/fs/cgroup/x controllers=memory,pids missing=cpu,io rlimits=yes"
    );
    assert_eq!(
        line(""),
        "limits: cgroup=/sys/fs/cgroup/x controllers=none missing=cpu,io,memory,pids rlimits=yes"
    );
    assert_eq!(
        Found::Unavailable("why not".to_owned()).to_string(),
        "limits: cgroup=unavailable reason=\"why not\" rlimits=yes"
    );
}

#[test]
fn names() {
    for good in ["watcher", "syncer0-full", "plugin-command"] {
        assert!(is_ours(good), "{good}");
    }
    for bad in ["", ".control", "..", "a/b", "init.scope", "Ä", "a b", &"x".repeat(65)] {
        assert!(!is_ours(bad), "{bad}");
    }
    let directory = tempfile::tempdir().unwrap();
    for bad in ["supervisor", "../x", ""] {
        let placed = cgroups(directory.path(), "").place(bad, 1, &LimitsTable::default().watcher);
        assert_eq!(placed.unwrap_err().kind(), ErrorKind::InvalidInput);
    }
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0);
}

/// In an ordinary directory no file appears by itself: each write fails, as the kernel refuses.
#[test]
fn what_the_kernel_refuses_leaves_nothing_behind() {
    let directory = tempfile::tempdir().unwrap();
    let mut cgroups = cgroups(directory.path(), ALL_OF_THEM);
    let placed = cgroups.place("watcher", 1, &LimitsTable::default().watcher);
    assert_eq!(placed.unwrap_err().kind(), ErrorKind::NotFound);
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0);
    assert_eq!(cgroups.sweep(), 0);
    assert!(cgroups.refused.iter().eq(&["memory.max", "memory.oom.group", "pids.max"]));
}

/// A cgroup of the test's own in the kernel's hierarchy; it and what is in it goes in the end.
struct Real {
    directory: PathBuf,
    mounts: Vec<u8>,
    own: Child,
}

impl Real {
    /// `None` for who may not make one, or where no cgroup2 is mounted.
    fn make(name: &str) -> Option<Real> {
        let mounts = fs::read("/proc/self/mountinfo").unwrap();
        let text = String::from_utf8(mounts.clone()).unwrap();
        let point = text.lines().find(|line| line.contains(" - cgroup2 "))?.split(' ').nth(4)?;
        if !nix::unistd::geteuid().is_root() {
            return None;
        }
        let directory = Path::new(point).join(format!("sersync-test-{name}-{}", std::process::id()));
        fs::create_dir(&directory).unwrap();
        xattr::set(&directory, "trusted.delegate", b"1").unwrap();
        // It stands for the supervisor.
        let own = sleeper();
        put(&directory.join("cgroup.procs"), &own.id().to_string()).unwrap();
        Some(Real { directory, mounts, own })
    }

    fn pid(&self) -> i32 {
        self.own.id().cast_signed()
    }

    fn find(&self, heir: Option<Identity>) -> Result<Cgroups, String> {
        let cgroup = format!("0::/{}\n", self.directory.file_name().unwrap().to_str().unwrap());
        let found = delegation::find_in(&self.mounts, cgroup.as_bytes(), self.pid())?;
        Cgroups::prepare(found, self.pid(), heir)
    }

    fn leaves(&self) -> Vec<String> {
        let entries = fs::read_dir(&self.directory).unwrap().map(Result::unwrap);
        let directories = entries.filter(|entry| entry.file_type().unwrap().is_dir());
        let mut names: Vec<_> = directories.map(|entry| entry.file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    fn procs(&self, leaf: &str) -> Vec<i32> {
        let text = fs::read_to_string(self.directory.join(leaf).join("cgroup.procs")).unwrap();
        text.lines().map(|pid| pid.parse().unwrap()).collect()
    }
}

impl Drop for Real {
    fn drop(&mut self) {
        let _ = put(&self.directory.join("cgroup.kill"), "1");
        let _ = self.own.wait();
        await_that("the test's cgroup is removed", || {
            for entry in fs::read_dir(&self.directory).into_iter().flatten().flatten() {
                let _ = fs::remove_dir(entry.path());
            }
            fs::remove_dir(&self.directory).is_ok()
        });
    }
}

fn sleeper() -> Child {
    Command::new("sleep").arg("600").stdin(Stdio::null()).spawn().unwrap()
}

/// A role that starts a program which hides from whoever started it, once it is told to.
struct Daemoniser {
    process: Child,
}

impl Daemoniser {
    fn start() -> Daemoniser {
        let script = "read go; (setsid sleep 600 >/dev/null 2>&1 </dev/null & echo $!); read go";
        let mut command = Command::new("sh");
        command.args(["-c", script]).stdin(Stdio::piped()).stdout(Stdio::piped());
        Daemoniser { process: command.spawn().unwrap() }
    }

    fn pid(&self) -> i32 {
        self.process.id().cast_signed()
    }

    /// The pid of what it started.
    fn go(&mut self) -> i32 {
        self.process.stdin.as_mut().unwrap().write_all(b"\n").unwrap();
        let mut line = String::new();
        BufReader::new(self.process.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
        line.trim().parse().unwrap()
    }

    fn die(mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }
}

/// Neither gone nor waiting to be reaped.
fn lives(pid: i32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit(')').next().is_some_and(|rest| !rest.is_empty() && !rest.trim_start().starts_with(['Z', 'X']))
}

#[test]
fn a_grandchild_that_hides_is_ended_with_its_role() {
    let Some(real) = Real::make("ends") else { return };
    let mut cgroups = real.find(None).unwrap();
    assert_eq!(real.procs(OWN_LEAF), [real.pid()]);
    let mut role = Daemoniser::start();
    let leaf = cgroups.place("syncer0", role.pid(), &LimitsTable::default().syncer).unwrap();
    let name = format!("syncer0-{}", role.pid());
    assert_eq!(real.leaves(), [OWN_LEAF, &name]);
    let hidden = role.go();
    assert!(real.procs(&name).contains(&hidden));
    role.die();
    assert!(lives(hidden), "it did not hide");
    assert_eq!(cgroups.end(leaf, Rest::Ends), Hit::default());
    await_that("it is killed", || !lives(hidden));
    await_that("its leaf is removed", || cgroups.sweep() == 0);
    assert_eq!(real.leaves(), [OWN_LEAF]);
    assert!(lives(real.pid()), "we were killed ourselves");
}

#[test]
fn what_an_operators_program_left_running_lives_on() {
    let Some(real) = Real::make("lives") else { return };
    let mut cgroups = real.find(None).unwrap();
    let mut role = Daemoniser::start();
    let leaf = cgroups.place("plugin-command", role.pid(), &LimitsTable::default().command).unwrap();
    let name = format!("plugin-command-{}", role.pid());
    let hidden = role.go();
    role.die();
    cgroups.end(leaf, Rest::LivesOn);
    assert_eq!(cgroups.sweep(), 1);
    // Whoever started it goes in its own time.
    await_that("it is alone", || real.procs(&name) == [hidden]);
    assert!(lives(hidden));
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(hidden), nix::sys::signal::SIGKILL).unwrap();
    await_that("its leaf is removed", || cgroups.sweep() == 0);
    assert_eq!(real.leaves(), [OWN_LEAF]);
}

#[test]
fn an_earlier_run_is_ended_but_nobody_else() {
    let Some(real) = Real::make("earlier") else { return };
    let mut strays = vec![];
    for leaf in ["syncer3-77", ".control", "init.scope"] {
        fs::create_dir(real.directory.join(leaf)).unwrap();
        let stray = sleeper();
        put(&real.directory.join(leaf).join("cgroup.procs"), &stray.id().to_string()).unwrap();
        strays.push(stray);
    }
    // The earlier one's own leaf is empty, as it is dead.
    fs::create_dir(real.directory.join(OWN_LEAF)).unwrap();
    let mut cgroups = real.find(None).unwrap();
    assert!(!strays[0].wait().unwrap().success());
    await_that("its leaf is removed", || cgroups.sweep() == 0);
    assert_eq!(real.leaves(), [".control", "init.scope", OWN_LEAF]);
    for mut stray in strays.into_iter().skip(1) {
        assert!(stray.try_wait().unwrap().is_none(), "a foreign process was ended");
        stray.kill().unwrap();
        stray.wait().unwrap();
    }
}

#[test]
fn another_supervisor_is_not_disturbed() {
    let Some(real) = Real::make("another") else { return };
    fs::create_dir(real.directory.join(OWN_LEAF)).unwrap();
    let mut other = sleeper();
    put(&real.directory.join(OWN_LEAF).join("cgroup.procs"), &other.id().to_string()).unwrap();
    let why = real.find(None).unwrap_err();
    assert!(why.ends_with("another supervisor is in it"), "{why}");
    assert!(other.try_wait().unwrap().is_none());
    assert_eq!(real.procs(""), [real.pid()]);
    other.kill().unwrap();
    other.wait().unwrap();
}

#[test]
fn the_heir_can_go_on() {
    let Some(real) = Real::make("heir") else { return };
    let heir = Identity { uid: 65534, gid: 65534 };
    let mut cgroups = real.find(Some(heir)).unwrap();
    let owner = |path: &Path| path.metadata().map(|found| (found.uid(), found.gid())).unwrap();
    assert_eq!(owner(cgroups.directory()), (65534, 65534));
    assert_eq!(owner(&real.directory.join("cgroup.subtree_control")), (0, 0));
    let role = Daemoniser::start();
    put(&real.directory.join(OWN_LEAF).join("cgroup.procs"), &role.pid().to_string()).unwrap();
    let place = || cgroups.place("watcher", role.pid(), &LimitsTable::default().watcher);
    // With root's uid for files go root's rights to them, so this is what a lowered supervisor may.
    let leaf = common::confine::with_files_of(Some(heir), place).unwrap();
    assert_eq!(owner(&leaf.directory), (65534, 65534));
    assert_eq!(real.procs(leaf.directory.file_name().and_then(OsStr::to_str).unwrap()), [role.pid()]);
    role.die();
    cgroups.end(leaf, Rest::Ends);
    await_that("its leaf is removed", || cgroups.sweep() == 0);
}
