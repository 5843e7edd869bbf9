//! The brake on deletions: what is more than the operator finds likely is held until somebody
//! decides, whether it was seen or not; creations keep flowing.

use std::fs;
use std::path::Path;

use crate::ground::{RECOVERED, exact, known};
use crate::support::random::Random;
use crate::support::{LOCALHOST, Mirror, SOON, Setup, exists, holds, wait_until, write};

/// Files in a tree.
const FILES: u64 = 300;

fn many(root: &Path) {
    for n in 0..FILES {
        write(root.join(format!("dir{}/file{n}", n % 10)), format!("file {n}"));
    }
}

/// Bounds that this tree exceeds.
fn braked(guard: &str) -> Setup {
    let element =
        format!("<delete start=\"true\" guard=\"{guard}\" maxDelete=\"100\" maxDeletePercent=\"50\"/>");
    exact().edit("<delete start=\"true\"/>", element)
}

fn empty(root: &Path) {
    for entry in fs::read_dir(root).unwrap().flatten() {
        fs::remove_dir_all(entry.path()).unwrap();
    }
}

fn present(replica: &Path) -> u64 {
    (0..FILES).map(|n| u64::from(exists(replica.join(format!("dir{}/file{n}", n % 10))))).sum()
}

fn expect_new_arrives(mirror: &Mirror, name: &str) {
    write(mirror.source(name), name);
    wait_until("creations flow", SOON, || mirror.replicas.iter().all(|it| holds(it.join(name), name)));
}

#[test]
fn seen_one_by_one_and_held() {
    let mut mirror = known(braked("all").remotes(&[LOCALHOST, LOCALHOST]), many);
    empty(&mirror.source(""));
    mirror.wait_logged("deletions held tree=");
    expect_new_arrives(&mirror, "new");
    let left = present(&mirror.replica(""));
    // Some had gone before it was too much.
    assert!(left >= FILES - 150, "{left}");
    assert_eq!(mirror.logged("deletions held tree="), 1, "{}", mirror.log());
    let (code, text) = mirror.ask(&["deletes", "list"]);
    assert_eq!(code, Some(0), "{text}");
    assert!(text.lines().count() >= 100, "{text}");
    assert!(text.contains("path=\"dir"), "{text}");
    // Not forgotten with a restart, nor with a death.
    mirror.restart(&[]);
    mirror.kill_all(&mut Random(1));
    mirror.run();
    expect_new_arrives(&mirror, "newer");
    assert_eq!(present(&mirror.replica("")), left);
    let (code, again) = mirror.ask(&["deletes", "list"]);
    assert_eq!((code, again), (Some(0), text));
    let (code, said) = mirror.ask(&["deletes", "approve"]);
    assert_eq!(code, Some(0), "{said}");
    mirror.wait_equal(RECOVERED);
    assert_eq!(mirror.ask(&["deletes", "list"]).0, Some(1));
}

#[test]
fn with_the_brake_off_everything_goes() {
    for guard in ["off", "unseen"] {
        let mirror = known(braked(guard).remotes(&[LOCALHOST, LOCALHOST]), many);
        empty(&mirror.source(""));
        mirror.wait_equal(RECOVERED);
        assert_eq!(present(&mirror.replica("")), 0);
    }
}

/// Deleted while nobody watched.
fn unseen(guard: &str) -> Mirror {
    let mut mirror = known(braked(guard).remotes(&[LOCALHOST, LOCALHOST]), many);
    mirror.stop();
    for n in 0..8 {
        fs::remove_dir_all(mirror.source(format!("dir{n}"))).unwrap();
    }
    write(mirror.source("dir8/file8"), "changed");
    mirror.run();
    mirror
}

#[test]
fn unseen_and_held_and_approved() {
    let mut mirror = unseen("unseen");
    mirror.wait_logged("deletions held tree=");
    wait_until("what changed arrives", SOON, || holds(mirror.replica("dir8/file8"), "changed"));
    expect_new_arrives(&mirror, "new");
    assert_eq!(present(&mirror.replica("")), FILES);
    mirror.kill_all(&mut Random(2));
    mirror.run();
    expect_new_arrives(&mirror, "newer");
    assert_eq!(present(&mirror.replica("")), FILES);
    // What comes back is not deleted later.
    write(mirror.source("dir1/file1"), "file 1");
    expect_new_arrives(&mirror, "newest");
    let (code, text) = mirror.ask(&["deletes", "approve"]);
    assert_eq!(code, Some(0), "{text}");
    mirror.wait_equal(RECOVERED);
}

#[test]
fn unseen_and_held_and_dropped() {
    let mut mirror = unseen("unseen");
    mirror.wait_logged("deletions held tree=");
    let (code, text) = mirror.ask(&["deletes", "drop"]);
    assert_eq!(code, Some(0), "{text}");
    assert_eq!(mirror.ask(&["deletes", "list"]).0, Some(1));
    mirror.restart(&[]);
    mirror.settle();
    for replica in &mirror.replicas {
        assert_eq!(present(replica), FILES);
    }
    // Only the operator's word differs from the source, and a full sync heals it.
    assert!(mirror.difference(0).iter().all(|line| line.starts_with("*deleting   dir")));
    // They were taken leave of: no full sync of this size lets them go either.
    mirror.setup = mirror.setup.clone().edit("guard=\"unseen\"", "guard=\"off\"");
    mirror.reconfigure();
    mirror.restart(&["-r"]);
    mirror.wait_equal(RECOVERED);
}

#[test]
fn unseen_with_the_brake_off() {
    unseen("off").wait_equal(RECOVERED);
}
