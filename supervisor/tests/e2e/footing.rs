//! On what footing the supervisor stands: who it is when root, systemd or an ordinary user
//! started it, what it keeps, and what it still can do then.
#![allow(clippy::indexing_slicing, clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::fs::{self, File, Permissions};
use std::io::Write;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use nix::sys::signal::Signal;

use crate::support::setup::STATE;
use crate::support::{
    LOCALHOST, Mirror, SOON, Setup, Supervisor, exists, is_root, processes, wait_until, write,
};

/// `CAP_KILL`, `CAP_SETGID`, `CAP_SETUID`, `CAP_SETPCAP` and `CAP_DAC_READ_SEARCH`.
const FIVE: &str = "00000000000001e4";
const ONLY_READ: &str = "0000000000000004";
const NONE: &str = "0000000000000000";
const NOBODY: u32 = 65534;
/// Nobody listens there.
const DOWN: &str = "127.0.0.3";

fn not_root() -> bool {
    if !is_root() {
        eprintln!("skipped: only root can start it on every footing");
    }
    !is_root()
}

fn field(pid: i32, name: &str) -> String {
    processes::status(pid, name).unwrap()
}

fn uid(pid: i32) -> u32 {
    let uids = field(pid, "Uid");
    let uids: Vec<&str> = uids.split(' ').collect();
    assert_eq!(uids, [uids[0]; 4]);
    uids[0].parse().unwrap()
}

/// Waits until there are roles and each is who it is to be: one that has just been started is not.
fn wait_for_roles(supervisor: i32, is_right: impl Fn(u32) -> bool) {
    wait_until("each role has its uid", SOON, || {
        // One that ends meanwhile has none.
        let uid = |pid| processes::status(pid, "Uid")?.split(' ').next()?.parse::<u32>().ok();
        // The guardian is the supervisor's own.
        let guardians = processes::roles(supervisor, "guardian");
        let roles = processes::roles(supervisor, "").into_iter().filter(|pid| !guardians.contains(pid));
        let roles: Vec<u32> = roles.filter_map(uid).collect();
        roles.len() >= 2 && roles.into_iter().all(&is_right)
    });
}

fn check(pid: i32, capabilities: &str) {
    for set in ["CapInh", "CapPrm", "CapEff", "CapAmb"] {
        assert_eq!(field(pid, set), capabilities, "{set}");
    }
    assert_eq!(field(pid, "NoNewPrivs"), "1");
    assert_eq!(field(pid, "Seccomp"), "2");
    assert_eq!(field(pid, "Groups"), "");
    // Nothing of a process that may not be dumped belongs to its user.
    assert_eq!(fs::metadata(format!("/proc/{pid}/environ")).unwrap().uid(), 0);
}

/// The directory of a config below `base`, and its lock.
fn places(base: &Path, config: &Path) -> [PathBuf; 2] {
    let found = fs::metadata(config).unwrap();
    let name = format!("{:x}-{}", found.dev(), found.ino());
    [base.join(&name), base.join(format!("{name}.lock"))]
}

fn system(mirror: &Mirror) -> [PathBuf; 2] {
    places(Path::new("/run/sersync"), &mirror.config)
}

fn with_fail_log(path: &str) -> Setup {
    Setup::plain()
        .remotes(&[LOCALHOST, DOWN])
        .edit("<failLog path=\"\" ", format!("<failLog path=\"{path}\" "))
}

/// A directory of the mirror, of that owner and mode.
fn directory(mirror: &Mirror, name: &str, owner: u32, mode: u32) -> PathBuf {
    let path = mirror.dir.join(name);
    fs::create_dir_all(&path).unwrap();
    fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
    chown(&path, Some(owner), Some(owner)).unwrap();
    path
}

/// Started as systemd does it: as nobody, with these capabilities (`all but` those in setpriv's
/// words), and with a private directory that this variable names.
pub fn as_nobody(mirror: &Mirror, capabilities: &str, variable: &str) -> Command {
    let run = directory(mirror, "run", NOBODY, 0o700);
    directory(mirror, STATE, NOBODY, 0o700);
    let output = File::create(mirror.dir.join("log")).unwrap();
    let mut command = Command::new("setpriv");
    command
        .args([&format!("--reuid={NOBODY}"), &format!("--regid={NOBODY}"), "--clear-groups"])
        .args([format!("--inh-caps={capabilities}"), format!("--ambient-caps={capabilities}")])
        .arg(&mirror.setup.program)
        .args(mirror.setup.arguments(&mirror.config))
        .env_clear()
        .env("PATH", "/usr/bin:/bin")
        .env(variable, run)
        .current_dir(mirror.dir.join("cwd"))
        .stdin(Stdio::null())
        .stdout(output.try_clone().unwrap())
        .stderr(output);
    command
}

/// The roles that read the tree: all but the keeper.
fn readers(supervisor: i32) -> Vec<i32> {
    let keepers = processes::roles(supervisor, "keeper");
    processes::roles(supervisor, "").into_iter().filter(|pid| !keepers.contains(pid)).collect()
}

fn start(mirror: &mut Mirror, command: &mut Command) -> i32 {
    let mut supervisor = Supervisor::of(command.spawn().unwrap(), &mirror.dir.join("log"));
    supervisor.wait_watching(mirror.sources.len());
    let pid = supervisor.pid();
    mirror.adopt(supervisor);
    pid
}

pub const FOR_UIDS: &str = "+setuid,+setgid,+setpcap,+kill,+dac_read_search";

/// It is root no more, and of nobody else's uid; what root gave it to do it does.
#[test]
fn root_becomes_somebody_else() {
    if not_root() {
        return;
    }
    let mut mirror = Mirror::new(with_fail_log("@DIR@/private/fail.sh"));
    let private = directory(&mirror, "private", 0, 0o700);
    mirror.run();
    let pid = mirror.supervisor().pid();
    check(pid, FIVE);
    assert_eq!(field(pid, "CapBnd"), FIVE);
    let own = uid(pid);
    match nix::unistd::User::from_name("sersync").unwrap() {
        Some(account) => assert_eq!(own, account.uid.as_raw()),
        // The last one of a block.
        None => assert_eq!((own - 2_000_000_000) % 64, 63),
    }
    mirror.wait_logged(&format!(" uid={own} capabilities=5 sandbox=required landlock="));
    wait_for_roles(pid, |uid| uid != own && uid != 0);
    let [directory, lock] = system(&mirror);
    assert_eq!(fs::metadata(&directory).unwrap().uid(), own);
    assert_eq!(fs::metadata(&lock).unwrap().uid(), 0);

    write(mirror.source("file"), "1");
    let log = private.join("fail.sh");
    wait_until("what failed is recorded", SOON, || {
        fs::read_to_string(&log).is_ok_and(|text| text.contains("./file 127.0.0.3"))
    });
    let found = fs::metadata(&log).unwrap();
    assert_eq!((found.uid(), found.gid(), found.mode() & 0o7777), (0, 0, 0o600));
    assert_eq!(fs::read_dir(&private).unwrap().count(), 1);

    let mut second = crate::support::supervisor::command(&mirror);
    let second = second.args(mirror.setup.arguments(&mirror.config)).output().unwrap();
    assert_eq!(second.status.code(), Some(75), "{}", String::from_utf8_lossy(&second.stderr));
    assert!(exists(&lock));
    mirror.supervisor().signal(Signal::SIGTERM);
    mirror.supervisor().signal(Signal::SIGTERM);
    mirror.supervisor().wait_end(SOON);
    for path in [directory, lock] {
        assert!(!exists(&path), "{}", path.display());
    }
}

/// Whoever an earlier run had become: what it left is in nobody's way.
#[test]
fn what_a_killed_run_left_behind() {
    if not_root() {
        return;
    }
    let mut mirror = Mirror::start(Setup::plain());
    let [directory, lock] = system(&mirror);
    mirror.supervisor().signal(Signal::SIGKILL);
    mirror.supervisor().wait_end(SOON);
    assert!(exists(&directory) && exists(&lock));
    chown(&directory, Some(2_000_000_127), Some(2_000_000_127)).unwrap();
    write(directory.join("left/file"), "");
    mirror.run();
    assert!(!exists(directory.join("left")));
    assert_eq!(fs::metadata(&directory).unwrap().uid(), uid(mirror.supervisor().pid()));
    write(mirror.source("file"), "mirrored");
    mirror.wait_equal(SOON);
}

/// Of root's power over other users' directories nothing is left, and the complaint says so.
#[test]
fn a_fail_log_where_root_needs_privilege() {
    if not_root() {
        return;
    }
    let mut mirror = Mirror::new(with_fail_log("@DIR@/theirs/fail.sh"));
    let theirs = directory(&mirror, "theirs", NOBODY, 0o755);
    mirror.run();
    write(mirror.source("file"), "1");
    mirror.wait_logged("the supervisor is root no more");
    wait_until("the other remote has it", SOON, || exists(mirror.replica("file")));
    assert_eq!(fs::read_dir(theirs).unwrap().count(), 0);
}

/// The sandbox of the supervisor: it writes where it was started to, and not in what takes that
/// place, whoever it belongs to.
#[test]
fn nothing_else_is_written() {
    if not_root() {
        return;
    }
    let mut mirror = Mirror::new(with_fail_log("@DIR@/place/fail.sh"));
    let place = directory(&mirror, "place", 0, 0o777);
    mirror.run();
    fs::rename(&place, mirror.dir.join("elsewhere")).unwrap();
    directory(&mirror, "place", 0, 0o777);
    write(mirror.source("file"), "1");
    mirror.wait_logged("fail log path=");
    assert_eq!(fs::read_dir(place).unwrap().count(), 0);
}

#[test]
fn a_sandbox_that_is_off_is_told() {
    if not_root() {
        return;
    }
    let mut mirror = Mirror::start(Setup::plain().edit("<sersync>", "<sandbox start=\"false\"/>\n<sersync>"));
    let pid = mirror.supervisor().pid();
    assert_eq!(mirror.logged("sandbox=off: "), 1);
    mirror.wait_logged(" capabilities=5 sandbox=off ");
    assert_eq!((field(pid, "Seccomp"), field(pid, "CapEff")), ("0".to_owned(), FIVE.to_owned()));
}

/// `User=` and `AmbientCapabilities=`: the same work as root's.
#[test]
fn a_user_with_the_five_capabilities() {
    if not_root() {
        return;
    }
    for variable in ["RUNTIME_DIRECTORY", "XDG_RUNTIME_DIR"] {
        let mut mirror = Mirror::new(Setup::exact());
        write(mirror.source("secret"), "for root only");
        fs::set_permissions(mirror.source("secret"), Permissions::from_mode(0o600)).unwrap();
        let mut command = as_nobody(&mirror, &format!("-all,{FOR_UIDS}"), variable);
        let pid = start(&mut mirror, &mut command);
        check(pid, FIVE);
        assert_eq!(field(pid, "CapBnd"), FIVE);
        assert_eq!(uid(pid), NOBODY);
        mirror.wait_logged(&format!(" uid={NOBODY} capabilities=5 sandbox=required "));
        mirror.wait_equal(SOON);
        wait_for_roles(pid, |uid| uid >= 2_000_000_000);
        let base = mirror.dir.join(if variable == "RUNTIME_DIRECTORY" { "run" } else { "run/sersync" });
        assert!(places(&base, &mirror.config).iter().all(exists));
        mirror.supervisor().signal(Signal::SIGTERM);
        assert_eq!(mirror.supervisor().wait_end(SOON).code(), Some(0));
        assert_eq!(fs::read_dir(base).unwrap().count(), 0);
    }
}

/// A plugin of the supervisor's own account could end it.
#[test]
fn a_plugin_with_the_supervisors_account() {
    if not_root() {
        return;
    }
    let block = "<plugin name=\"command\" user=\"nobody\"><param prefix=\"/bin/true\"/></plugin>";
    let mirror = Mirror::new(Setup::plain().plugin("command", block));
    let mut command = as_nobody(&mirror, &format!("-all,{FOR_UIDS}"), "XDG_RUNTIME_DIR");
    assert_eq!(command.status().unwrap().code(), Some(78));
    let log = fs::read_to_string(mirror.dir.join("log")).unwrap();
    assert!(log.contains("plugin command: user: uid 65534 is the supervisor's own"), "{log}");
}

/// `AmbientCapabilities=CAP_DAC_READ_SEARCH` alone: one uid for all, which reads everything.
#[test]
fn a_user_who_reads_everything() {
    if not_root() {
        return;
    }
    let mut mirror = Mirror::new(Setup::exact());
    write(mirror.source("secret"), "for root only");
    fs::set_permissions(mirror.source("secret"), Permissions::from_mode(0o600)).unwrap();
    let mut command = as_nobody(&mirror, "-all,+dac_read_search", "XDG_RUNTIME_DIR");
    let pid = start(&mut mirror, &mut command);
    check(pid, ONLY_READ);
    mirror.wait_logged("single uid with CAP_DAC_READ_SEARCH: roles share the uid");
    mirror.wait_logged(" capabilities=1 sandbox=required ");
    mirror.wait_equal(SOON);
    for role in readers(pid) {
        assert_eq!((uid(role), field(role, "CapEff").as_str()), (NOBODY, ONLY_READ));
    }
}

/// As in a container that takes `CAP_SETUID` away: nothing of root's power but reading is kept.
#[test]
fn root_that_cannot_become_anybody() {
    if not_root() {
        return;
    }
    let mut mirror = Mirror::new(Setup::exact());
    let output = File::create(mirror.dir.join("log")).unwrap();
    let mut command = Command::new("setpriv");
    command.arg("--bounding-set=-setuid").arg(&mirror.setup.program);
    command.args(mirror.setup.arguments(&mirror.config)).current_dir(mirror.dir.join("cwd"));
    command.stdin(Stdio::null()).stdout(output.try_clone().unwrap()).stderr(output);
    let pid = start(&mut mirror, &mut command);
    check(pid, ONLY_READ);
    mirror.wait_logged("root without CAP_SETUID");
    write(mirror.source("file"), "mirrored");
    mirror.wait_equal(SOON);
    for role in readers(pid) {
        assert_eq!((uid(role), field(role, "CapEff").as_str()), (0, ONLY_READ));
    }
}

#[test]
fn an_ordinary_user() {
    if not_root() {
        return;
    }
    let mut mirror = Mirror::new(Setup::plain());
    let mut command = as_nobody(&mirror, "-all", "XDG_RUNTIME_DIR");
    let pid = start(&mut mirror, &mut command);
    check(pid, NONE);
    mirror.wait_logged("not started as root (uid=65534): all roles share this user");
    mirror.wait_logged(" capabilities=0 sandbox=best-effort ");
    write(mirror.source("file"), "for everybody");
    mirror.wait_equal(SOON);
    for role in processes::roles(pid, "") {
        assert_eq!((uid(role), field(role, "CapEff").as_str()), (NOBODY, NONE));
    }
}

/// The program may be read by all who are root, and executed by nobody else: roles would never start.
#[test]
fn a_program_that_only_root_may_execute() {
    if not_root() {
        return;
    }
    let mut mirror = Mirror::new(Setup::plain());
    let program = mirror.dir.join("program");
    fs::copy(&mirror.setup.program, &program).unwrap();
    fs::set_permissions(&program, Permissions::from_mode(0o700)).unwrap();
    mirror.setup.program.clone_from(&program);
    let mut command = crate::support::supervisor::command(&mirror);
    let output = command.args(mirror.setup.arguments(&mirror.config)).output().unwrap();
    let text = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(77), "{text}");
    assert!(text.contains(&format!("chmod 755 {}", program.display())), "{text}");
    assert!(system(&mirror).iter().all(|path| !exists(path)));
}

/// A user namespace in which nobody but root exists: there are no uids to give.
#[test]
fn root_of_a_user_namespace() {
    if not_root() {
        return;
    }
    let mut mirror = Mirror::new(Setup::exact());
    let output = File::create(mirror.dir.join("log")).unwrap();
    let mut command = Command::new("unshare");
    command.arg("--map-root-user").arg(&mirror.setup.program);
    command.args(mirror.setup.arguments(&mirror.config)).current_dir(mirror.dir.join("cwd"));
    command.stdin(Stdio::null()).stdout(output.try_clone().unwrap()).stderr(output);
    start(&mut mirror, &mut command);
    mirror.wait_logged("user namespace: no block of 64 uids");
    mirror.wait_logged(" roles=one-uid");
    write(mirror.source("file"), "mirrored");
    mirror.wait_equal(SOON);
}

/// As in a container without privileges: some uids exist, those from two thousand millions do not.
#[test]
fn a_user_namespace_with_some_uids() {
    if not_root() {
        return;
    }
    let mut mirror = Mirror::new(Setup::exact());
    let output = File::create(mirror.dir.join("log")).unwrap();
    let mut command = Command::new("unshare");
    command.args(["--user", "sh", "-c", "read go; exec \"$@\"", "-"]).arg(&mirror.setup.program);
    command.args(mirror.setup.arguments(&mirror.config)).current_dir(mirror.dir.join("cwd"));
    command.stdin(Stdio::piped()).stdout(output.try_clone().unwrap()).stderr(output);
    let mut child = command.spawn().unwrap();
    let place = PathBuf::from(format!("/proc/{}", child.id()));
    let ours = fs::read_link("/proc/self/ns/user").unwrap();
    wait_until("it is in its namespace", SOON, || {
        fs::read_link(place.join("ns/user")).is_ok_and(|its| its != ours)
    });
    // Inside and outside alike, so that the files keep their owners.
    for map in ["uid_map", "gid_map"] {
        fs::write(place.join(map), "0 0 65536\n").unwrap();
    }
    child.stdin.take().unwrap().write_all(b"\n").unwrap();
    let mut supervisor = Supervisor::of(child, &mirror.dir.join("log"));
    supervisor.wait_watching(mirror.sources.len());
    let pid = supervisor.pid();
    mirror.adopt(supervisor);
    mirror.wait_logged(" roles=uids");
    wait_for_roles(pid, |uid| (32_768..65_534).contains(&uid));
    write(mirror.source("file"), "mirrored");
    mirror.wait_equal(SOON);
}

/// Whoever starts it may have closed what it makes to itself.
#[test]
fn a_umask_that_forbids_everything() {
    let mut mirror = Mirror::new(Setup::plain());
    let output = File::create(mirror.dir.join("log")).unwrap();
    let mut command = Command::new("sh");
    command.args(["-c", "umask 777; exec \"$@\"", "-"]).arg(&mirror.setup.program);
    command.args(mirror.setup.arguments(&mirror.config)).current_dir(mirror.dir.join("cwd"));
    command.stdin(Stdio::null()).stdout(output.try_clone().unwrap()).stderr(output);
    start(&mut mirror, &mut command);
    write(mirror.source("file"), "mirrored");
    mirror.wait_equal(SOON);
}
