//! What counts as ours, on paper and in a directory that stands for the hierarchy.

use super::*;

const OURS: i32 = 4321;
const HYBRID: &str = "\
31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755
35 31 0:32 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory
41 31 0:38 / /sys/fs/cgroup/unified rw,relatime shared:9 master:2 - cgroup2 cgroup2 rw
";

/// A directory that stands for a mounted hierarchy, with one cgroup in it.
fn tree(procs: &str) -> (tempfile::TempDir, PathBuf) {
    let mounted = tempfile::tempdir().unwrap();
    let cgroup = mounted.path().join("a/b");
    fs::create_dir_all(&cgroup).unwrap();
    fs::write(cgroup.join("cgroup.procs"), procs).unwrap();
    fs::write(cgroup.join("cgroup.controllers"), "cpuset cpu io memory\n").unwrap();
    (mounted, cgroup)
}

fn mounted_at(point: &Path, options: &str) -> String {
    format!("9 1 0:1 / {} {options} - cgroup2 cgroup2 rw\n", point.display())
}

fn place(mounts: &str, cgroup: &str) -> Option<PathBuf> {
    shown(mounts.as_bytes(), cgroup.as_bytes()).map(|(directory, _)| directory)
}

#[test]
fn where_a_cgroup_can_be_seen() {
    let directory = |path: &str| Some(PathBuf::from(path));
    assert_eq!(place(HYBRID, "/a.slice/b"), directory("/sys/fs/cgroup/unified/a.slice/b"));
    assert_eq!(place(HYBRID, "/"), directory("/sys/fs/cgroup/unified"));
    let part = r"41 31 0:38 /a.slice/c\040d /mnt/my\040group rw - cgroup2 cgroup2 rw";
    assert_eq!(place(part, "/a.slice/c d/e"), directory("/mnt/my group/e"));
    assert_eq!(place(part, "/a.slice/other"), None);
    // Above what a namespace sees.
    assert_eq!(place(HYBRID, "/../sibling"), None);
    assert_eq!(place("31 23 0:28 / /sys/fs/cgroup rw - tmpfs tmpfs rw\n", "/"), None);
    for broken in ["", "\n\n", "1 2 3", "1 2 3 / /x rw - cgroup2", "- - - - - -"] {
        assert_eq!(place(broken, "/"), None, "{broken}");
    }
}

#[test]
fn the_mount_on_top_counts() {
    let (mounted, cgroup) = tree("4321\n");
    xattr::set(&cgroup, "user.delegate", b"1").unwrap();
    let elsewhere = mounted_at(Path::new("/elsewhere"), "rw");
    let writable = mounted_at(mounted.path(), "rw,nosuid");
    let covered = format!("{writable}{elsewhere}{}", mounted_at(mounted.path(), "ro,nosuid"));
    let why = find_in(covered.as_bytes(), b"0::/a/b\n", OURS).unwrap_err();
    assert!(why.ends_with("is delegated but mounted read-only (ProtectControlGroups=yes)"), "{why}");
    assert!(find_in(writable.as_bytes(), b"0::/a/b\n", OURS).is_ok());
}

#[test]
fn only_what_was_handed_over() {
    let (mounted, cgroup) = tree("4321\n");
    let mounts = mounted_at(mounted.path(), "rw");
    let find = || find_in(mounts.as_bytes(), b"9:name=systemd:/x\n0::/a/b\n", OURS);
    for mark in [None, Some("0"), Some("yes")] {
        if let Some(mark) = mark {
            xattr::set(&cgroup, "user.delegate", mark.as_bytes()).unwrap();
        }
        // A user without uid 0 made both directories: it is theirs, and so not handed over.
        assert_eq!(find().unwrap_err(), format!("{} is not delegated to us", cgroup.display()));
    }
    xattr::set(&cgroup, "user.delegate", b"1").unwrap();
    let found = find().unwrap();
    assert_eq!(found.directory, cgroup);
    assert!(found.controllers.iter().eq(["cpu", "cpuset", "io", "memory"]));
}

#[test]
fn somebody_else_in_it() {
    let (mounted, cgroup) = tree("17\n4321\n");
    xattr::set(&cgroup, "user.delegate", b"1").unwrap();
    let mounts = mounted_at(mounted.path(), "rw");
    let why = find_in(mounts.as_bytes(), b"0::/a/b\n", OURS).unwrap_err();
    assert!(why.ends_with("holds processes that are not ours"), "{why}");
}

#[test]
fn a_process_without_one() {
    let why = find_in(HYBRID.as_bytes(), b"4:memory:/\n1:cpu:/\n", OURS).unwrap_err();
    assert_eq!(why, "the kernel runs this process in no cgroup of version 2");
}

#[test]
fn where_it_starts_to_be_ours() {
    for (us, owner, above, wanted) in [
        (998, Some(998), Some(0), true),
        // A part of our own session.
        (998, Some(998), Some(998), false),
        (998, Some(0), Some(0), false),
        // Everything is root's.
        (0, Some(0), Some(0), false),
        (0, Some(0), Some(998), false),
        (998, None, Some(0), false),
        (998, Some(998), None, false),
    ] {
        assert_eq!(is_boundary(us, owner, above), wanted, "{us} {owner:?} {above:?}");
    }
}
