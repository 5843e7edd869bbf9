//! What the kernel says of the supervisor and its live roles: started as root, each has a uid of
//! its own and one capability, two filters of system calls, and the limits of the config.
#![allow(clippy::indexing_slicing, clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use crate::support::daemon::free_port;
use crate::support::{LOCALHOST, Mirror, SOON, Setup, is_root, processes, wait_until, write};

/// `CAP_DAC_READ_SEARCH`.
const ONLY_READ: &str = "0000000000000004";
/// No capability at all.
const NONE: &str = "0000000000000000";
/// `CAP_KILL`, `CAP_SETGID`, `CAP_SETUID`, `CAP_SETPCAP` and the same.
const OF_SUPERVISOR: &str = "00000000000001e4";

fn field(pid: i32, name: &str) -> String {
    processes::status(pid, name).unwrap()
}

/// A line of `/proc/PID/limits`: soft and hard.
fn limits(pid: i32, name: &str) -> Vec<String> {
    let limits = fs::read_to_string(format!("/proc/{pid}/limits")).unwrap();
    let line = limits.lines().find_map(|line| line.strip_prefix(name)).unwrap();
    line.split_whitespace().take(2).map(str::to_owned).collect()
}

/// Both are this number.
fn has_limit(pid: i32, name: &str, wanted: u64) {
    let wanted = wanted.to_string();
    assert_eq!(limits(pid, name), [wanted.clone(), wanted], "{name}");
}

/// No core dump: one byte would fit. With 0 the kernel would still hand it to a program.
fn no_core(pid: i32) {
    let most = limits(pid, "Max core file size");
    assert!(most.iter().all(|limit| limit == "0" || limit == "1"), "{most:?}");
}

/// The nice value, from `/proc/PID/stat`.
fn nice(pid: i32) -> i32 {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    stat.rsplit_once(')').unwrap().1.split_whitespace().nth(16).unwrap().parse().unwrap()
}

/// The I/O priority, as `ionice(1)` says it.
fn io_priority(pid: i32) -> String {
    let output = Command::new("ionice").args(["-p", &pid.to_string()]).output().unwrap();
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

/// A role has two filters; what it starts has them too.
fn check_filters(pid: i32) {
    assert_eq!(field(pid, "Seccomp"), "2");
    // The supervisor's own are below them.
    assert!(field(pid, "Seccomp_filters").parse::<u32>().unwrap() >= 4, "{pid}");
}

/// Everything that a role must not have; returns its uid.
fn check_role(pid: i32) -> u32 {
    let uid: u32 = field(pid, "Uid").split(' ').next().unwrap().parse().unwrap();
    assert!((2_000_000_000..2_000_262_144).contains(&uid), "{uid}");
    for ids in ["Uid", "Gid"] {
        assert_eq!(field(pid, ids), format!("{uid} {uid} {uid} {uid}"), "{ids}");
    }
    assert_eq!(field(pid, "Groups"), "");
    let kept = if processes::command(pid).contains("sersync: page") { NONE } else { ONLY_READ };
    for set in ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"] {
        assert_eq!(field(pid, set), kept, "{set}");
    }
    assert_eq!(field(pid, "NoNewPrivs"), "1");
    assert_eq!(field(pid, "SigBlk"), "0000000000000000");
    check_filters(pid);
    let files: Vec<u64> = limits(pid, "Max open files").iter().map(|limit| limit.parse().unwrap()).collect();
    assert!(files[0] == files[1] && files[0] <= 512, "{files:?}");
    no_core(pid);
    has_limit(pid, "Max file size", 0);
    assert_eq!(fs::read(format!("/proc/{pid}/environ")).unwrap(), b"RES_OPTIONS=use-vc\0");
    assert_eq!(fs::read_link(format!("/proc/{pid}/cwd")).unwrap(), Path::new("/"));
    // Descriptors: its channels, and nothing that the supervisor holds open.
    for entry in fs::read_dir(format!("/proc/{pid}/fd")).unwrap().flatten() {
        let target = fs::read_link(entry.path()).unwrap_or_default().display().to_string();
        let known = ["socket:", "pipe:", "anon_inode:", "/dev/null"];
        assert!(known.iter().any(|start| target.starts_with(start)), "descriptor {target}");
    }
    uid
}

fn not_root() -> bool {
    if !is_root() {
        eprintln!("skipped: only root can give away uids and capabilities");
    }
    !is_root()
}

#[test]
fn every_role_is_powerless() {
    if not_root() {
        return;
    }
    let host = format!("<host hostip=\"127.0.0.1\" port=\"{}\" start=\"true\"/></head>", free_port());
    let setup = Setup::plain().remotes(&[LOCALHOST, LOCALHOST, LOCALHOST]).edit("</head>", host);
    let mut mirror = Mirror::start(setup);
    write(mirror.source("file"), "all of them have worked");
    mirror.wait_equal(SOON);
    let names = ["watcher", "syncer0", "syncer1", "syncer2", "page"];
    let mut uids: Vec<u32> = names.iter().map(|name| check_role(mirror.supervisor().child(name))).collect();
    uids.sort_unstable();
    uids.dedup();
    assert_eq!(uids.len(), names.len(), "{uids:?}");
    let page = mirror.supervisor().child("page");
    has_limit(page, "Max processes", 1);
    has_limit(page, "Max open files", 320);
    assert_eq!(nice(page), 10);
}

/// Started as root, it is root no longer.
#[test]
fn the_supervisor_keeps_five_capabilities() {
    if not_root() {
        return;
    }
    let mut mirror = Mirror::start(Setup::plain());
    let pid = mirror.supervisor().pid();
    let role = check_role(mirror.supervisor().child("watcher"));
    let uid = field(pid, "Uid").split(' ').next().unwrap().to_owned();
    assert!(uid != "0" && uid != role.to_string(), "{uid}");
    for ids in ["Uid", "Gid"] {
        let ids = field(pid, ids);
        assert!(ids.split(' ').all(|id| id != "0") && ids.split(' ').count() == 4, "{ids}");
    }
    assert!(field(pid, "Groups").split(' ').all(|group| group != "0"));
    // KILL, SETGID, SETUID, SETPCAP and DAC_READ_SEARCH; to hand on, too.
    for set in ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"] {
        assert_eq!(field(pid, set), OF_SUPERVISOR, "{set}");
    }
    assert_eq!((field(pid, "NoNewPrivs"), field(pid, "Seccomp")), ("1".to_owned(), "2".to_owned()));
    assert!(field(pid, "Seccomp_filters").parse::<u32>().unwrap() >= 2);
    no_core(pid);
}

/// `<limits>` hold for each role, and for what it starts.
#[test]
fn limits_of_the_config() {
    if not_root() {
        return;
    }
    let edit = "<limits role=\"watcher\" memory=\"512M\" pids=\"7\" files=\"123\" nice=\"3\"/>\
        <limits role=\"syncer\" memory=\"1G\" pids=\"21\" files=\"99\" cpu=\"600\" nice=\"11\" ionice=\"be:6\"/></head>";
    let mut mirror = Mirror::start(Setup::plain().params("-artz --bwlimit=100").edit("</head>", edit));
    let (rsync, syncer) = slow_rsync(&mut mirror);
    let watcher = mirror.supervisor().child("watcher");
    for (pid, memory, processes, files) in
        [(watcher, 512, 7, 123), (syncer, 1024, 21, 99), (rsync, 1024, 21, 99)]
    {
        has_limit(pid, "Max address space", memory << 20);
        has_limit(pid, "Max processes", processes);
        has_limit(pid, "Max open files", files);
        has_limit(pid, "Max file size", 0);
        no_core(pid);
    }
    // One transfer, not the life of a role. The signal that tells comes before the one that ends.
    assert_eq!(limits(rsync, "Max cpu time"), ["600", "605"]);
    assert_eq!(limits(syncer, "Max cpu time"), ["unlimited", "unlimited"]);
    assert_eq!([nice(watcher), nice(syncer), nice(rsync)], [3, 11, 11]);
    assert_eq!(nice(mirror.supervisor().pid()), 0);
    for pid in [syncer, rsync] {
        assert_eq!(io_priority(pid), "best-effort: prio 6");
    }
}

/// What the syncer starts is as powerless.
#[test]
fn rsync_is_powerless() {
    if not_root() {
        return;
    }
    let mut mirror = Mirror::start(Setup::plain().params("-artz --bwlimit=100"));
    let (rsync, syncer) = slow_rsync(&mut mirror);
    assert_eq!(field(rsync, "Uid"), field(syncer, "Uid"));
    for set in ["CapPrm", "CapEff", "CapBnd", "CapAmb"] {
        assert_eq!(field(rsync, set), ONLY_READ, "{set}");
    }
    assert_eq!(field(rsync, "NoNewPrivs"), "1");
    check_filters(rsync);
}

/// An rsync in the middle of a transfer, and its syncer.
fn slow_rsync(mirror: &mut Mirror) -> (i32, i32) {
    let content: Vec<u8> =
        (0..4_000_000_u32).flat_map(|n| n.wrapping_mul(2_654_435_761).to_le_bytes()).collect();
    write(mirror.source("large"), content);
    let syncer = mirror.supervisor().child("syncer0");
    let mut rsync = 0;
    wait_until("rsync runs", SOON, || {
        let found =
            processes::descendants(syncer).into_iter().find(|found| found.command.contains("bin/rsync "));
        rsync = found.map_or(0, |process| process.pid);
        rsync != 0
    });
    (rsync, syncer)
}

/// The one capability is there to read what only root may read.
#[test]
fn what_only_root_may_read_travels() {
    if not_root() {
        return;
    }
    let mirror = Mirror::start(Setup::exact());
    write(mirror.source("private/secret"), "for root only");
    fs::set_permissions(mirror.source("private/secret"), Permissions::from_mode(0o600)).unwrap();
    fs::set_permissions(mirror.source("private"), Permissions::from_mode(0o700)).unwrap();
    mirror.wait_equal(SOON);
    write(mirror.source("private/deeper/file"), "in what was closed already");
    write(mirror.source("private/none"), "not even for its owner");
    fs::set_permissions(mirror.source("private/none"), Permissions::from_mode(0o0)).unwrap();
    mirror.wait_equal(SOON);
    assert_eq!(fs::metadata(mirror.replica("private/secret")).unwrap().permissions().mode() & 0o777, 0o600);
}

/// An ordinary user's roles are his own, and he is told what that means.
#[test]
fn an_ordinary_user_is_told() {
    if is_root() {
        eprintln!("skipped: root");
        return;
    }
    let mirror = Mirror::start(Setup::plain());
    assert!(mirror.log().contains("not started as root"), "{}", mirror.log());
}
