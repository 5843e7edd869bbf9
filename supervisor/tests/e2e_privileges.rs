//! What the kernel says of the live roles: started as root, each has a uid of its own and one
//! capability.
#![allow(clippy::indexing_slicing, clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod support;

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use support::{LOCALHOST, Mirror, SOON, Setup, is_root, processes, wait_until, write};

/// `CAP_DAC_READ_SEARCH`.
const ONLY_READ: &str = "0000000000000004";

fn field(pid: i32, name: &str) -> String {
    processes::status(pid, name).unwrap()
}

/// The limit of open files: soft and hard.
fn max_files(pid: i32) -> Vec<u64> {
    let limits = fs::read_to_string(format!("/proc/{pid}/limits")).unwrap();
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files")).unwrap();
    line.split_whitespace().take(2).map(|word| word.parse().unwrap()).collect()
}

/// Everything that a role must not have; returns its uid.
fn check_role(pid: i32) -> u32 {
    let uid: u32 = field(pid, "Uid").split(' ').next().unwrap().parse().unwrap();
    assert!((2_000_000_000..2_000_262_144).contains(&uid), "{uid}");
    for ids in ["Uid", "Gid"] {
        assert_eq!(field(pid, ids), format!("{uid} {uid} {uid} {uid}"), "{ids}");
    }
    assert_eq!(field(pid, "Groups"), "");
    for set in ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"] {
        assert_eq!(field(pid, set), ONLY_READ, "{set}");
    }
    assert_eq!(field(pid, "NoNewPrivs"), "1");
    assert_eq!(field(pid, "SigBlk"), "0000000000000000");
    let limits = max_files(pid);
    assert!(limits[0] == limits[1] && limits[0] <= 512, "{limits:?}");
    assert_eq!(fs::read(format!("/proc/{pid}/environ")).unwrap(), b"");
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
    let mut mirror = Mirror::start(Setup::plain().remotes(&[LOCALHOST, LOCALHOST, LOCALHOST]));
    write(mirror.source("file"), "all of them have worked");
    mirror.wait_equal(SOON);
    let names = ["watcher", "syncer0", "syncer1", "syncer2"];
    let mut uids: Vec<u32> = names.iter().map(|name| check_role(mirror.supervisor().child(name))).collect();
    uids.sort_unstable();
    uids.dedup();
    assert_eq!(uids.len(), names.len(), "{uids:?}");
}

/// What the syncer starts is as powerless.
#[test]
fn rsync_is_powerless() {
    if not_root() {
        return;
    }
    let mut mirror = Mirror::start(Setup::plain().params("-artz --bwlimit=100"));
    let content: Vec<u8> =
        (0..4_000_000_u32).flat_map(|n| n.wrapping_mul(2_654_435_761).to_le_bytes()).collect();
    write(mirror.source("large"), content);
    let syncer = mirror.supervisor().child("syncer0");
    let mut rsync = 0;
    wait_until("rsync runs", SOON, || {
        let found =
            processes::descendants(syncer).into_iter().find(|found| found.command.contains("bwlimit"));
        rsync = found.map_or(0, |process| process.pid);
        rsync != 0
    });
    assert_eq!(field(rsync, "Uid"), field(syncer, "Uid"));
    for set in ["CapPrm", "CapEff", "CapBnd", "CapAmb"] {
        assert_eq!(field(rsync, set), ONLY_READ, "{set}");
    }
    assert_eq!(field(rsync, "NoNewPrivs"), "1");
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
