//! On what footing the supervisor stands: who it is when root, systemd or an ordinary user
//! started it, what it keeps, and what it still can do then.
#![allow(clippy::indexing_slicing, clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod support;

use std::fs::{self, File, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use nix::sys::signal::Signal;

use support::{LOCALHOST, Mirror, SOON, Setup, Supervisor, exists, is_root, processes, wait_until, write};

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
fn as_nobody(mirror: &Mirror, capabilities: &str, variable: &str) -> Command {
    let run = directory(mirror, "run", NOBODY, 0o700);
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

fn start(mirror: &mut Mirror, command: &mut Command) -> i32 {
    let mut supervisor = Supervisor::of(command.spawn().unwrap(), &mirror.dir.join("log"));
    supervisor.wait_watching(mirror.sources.len());
    let pid = supervisor.pid();
    mirror.adopt(supervisor);
    pid
}

const FOR_UIDS: &str = "+setuid,+setgid,+setpcap,+kill,+dac_read_search";

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
    let roles: Vec<u32> = processes::roles(pid, "").into_iter().map(uid).collect();
    assert!(roles.len() >= 2 && !roles.contains(&own) && !roles.contains(&0), "{own}: {roles:?}");
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

    let mut second = support::supervisor::command(&mirror);
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
        let roles: Vec<u32> = processes::roles(pid, "").into_iter().map(uid).collect();
        assert!(roles.len() >= 2 && roles.iter().all(|uid| *uid >= 2_000_000_000), "{roles:?}");
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
    for role in processes::roles(pid, "") {
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
    for role in processes::roles(pid, "") {
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
