//! What an operator can prove: `wait` returns when all has arrived, and not before; `verify` finds
//! every difference, and `--repair` heals it.

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, symlink};

use nix::sys::signal::Signal;

use crate::ground::{exact, known, sized, some};
use crate::support::{LOCALHOST, Mirror, SOON, exists, holds, write};

#[test]
fn what_was_written_before_a_wait_is_there_after_it() {
    let mut mirror = known(exact().remotes(&[LOCALHOST, LOCALHOST]), some);
    for round in 0..sized("WAIT_ROUNDS", 4, 200) {
        let text = format!("round {round}");
        for n in 0..10 {
            write(mirror.source(format!("new{round}/file{n}")), &text);
        }
        fs::rename(mirror.source(format!("new{round}/file3")), mirror.source(format!("moved{round}")))
            .unwrap();
        let (code, said) = mirror.ask(&["wait", "--timeout", "30"]);
        assert_eq!(code, Some(0), "{said}");
        // At this moment, not soon.
        for replica in &mirror.replicas {
            for n in [0, 1, 2, 4, 5, 6, 7, 8, 9] {
                assert!(holds(replica.join(format!("new{round}/file{n}")), &text), "{round} {n}");
            }
            assert!(holds(replica.join(format!("moved{round}")), &text));
            assert!(!exists(replica.join(format!("new{round}/file3"))));
        }
    }
    mirror.daemon.end(Signal::SIGTERM);
    write(mirror.source("top"), "while it is down");
    let (code, said) = mirror.ask(&["wait", "--timeout", "2"]);
    assert_eq!(code, Some(1), "{said}");
    assert_eq!(said.matches("not confirmed remote=").count(), 2, "{said}");
    mirror.daemon.again();
    let (code, said) = mirror.ask(&["wait", "--timeout", "30"]);
    assert_eq!(code, Some(0), "{said}");
    assert!(holds(mirror.replica("top"), "while it is down"));
    // One remote by its name, and one that there is not.
    let name = format!("{LOCALHOST}::m1");
    assert_eq!(mirror.ask(&["wait", "--remote", &name, "--timeout", "30"]).0, Some(0));
    assert_eq!(mirror.ask(&["wait", "--remote", "nobody::m9", "--timeout", "5"]).0, Some(64));
}

#[test]
fn nobody_answers_when_nobody_runs() {
    let mut mirror = Mirror::start(exact());
    mirror.stop();
    let (code, said) = mirror.ask(&["wait", "--timeout", "5"]);
    assert_eq!(code, Some(69), "{said}");
}

/// Changes a replica behind everybody's back; what `verify` has to say about it.
fn spoil(mirror: &Mirror) -> Vec<&'static str> {
    write(mirror.replica("dir1/file1"), "changed by hand");
    fs::remove_file(mirror.replica("dir1/file5")).unwrap();
    fs::remove_dir_all(mirror.replica("dir2")).unwrap();
    write(mirror.replica("dir3/extra"), "only there");
    fs::set_permissions(mirror.replica("dir3/file3"), Permissions::from_mode(0o604)).unwrap();
    fs::remove_file(mirror.replica("link")).unwrap();
    symlink("elsewhere", mirror.replica("link")).unwrap();
    vec!["dir1/file1", "dir1/file5", "dir2", "dir3/extra", "dir3/file3", "link"]
}

#[test]
fn differences_are_found_and_healed() {
    let mirror = known(exact().remotes(&[LOCALHOST, LOCALHOST]), some);
    let (code, said) = mirror.ask(&["verify"]);
    assert_eq!(code, Some(0), "{said}");
    let spoiled = spoil(&mirror);
    let (code, said) = mirror.ask(&["verify"]);
    assert_eq!(code, Some(1), "{said}");
    for path in &spoiled {
        assert!(said.lines().any(|line| line.contains(path)), "{path} is not in:\n{said}");
    }
    // Only looked at.
    assert!(holds(mirror.replica("dir1/file1"), "changed by hand"));
    // The other remote is as it should be.
    let (code, said) = mirror.ask(&["verify", "--remote", &format!("{LOCALHOST}::m1")]);
    assert_eq!(code, Some(0), "{said}");
    let (code, said) = mirror.ask(&["verify", "--repair"]);
    assert_eq!(code, Some(1), "{said}");
    mirror.wait_equal(SOON);
    let (code, said) = mirror.ask(&["verify"]);
    assert_eq!(code, Some(0), "{said}");
}

/// Same size, same time, another content: only checksums find it.
#[test]
fn what_times_do_not_show() {
    let mirror = known(exact(), some);
    let path = mirror.replica("dir1/file1");
    let time = path.metadata().unwrap().modified().unwrap();
    let other: Vec<u8> = fs::read(&path).unwrap().iter().map(|byte| byte ^ 1).collect();
    fs::write(&path, other).unwrap();
    fs::File::open(&path).unwrap().set_modified(time).unwrap();
    assert_eq!(mirror.ask(&["verify"]).0, Some(0));
    let (code, said) = mirror.ask(&["verify", "--checksum"]);
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("dir1/file1"), "{said}");
    let (code, said) = mirror.ask(&["verify", "--checksum", "--repair"]);
    assert_eq!(code, Some(1), "{said}");
    mirror.wait_equal(SOON);
}
