//! A root that is missing, unmounted, replaced or empty is never mirrored as "everything was
//! deleted". What was deleted one by one is.
#![allow(clippy::indexing_slicing, clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::support::{LOCALHOST, Mirror, SOON, Setup, exists, holds, is_root, wait_until, write};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

const NAMES: [&str; 4] = ["one", "two", "dir/three", "dir/deep/four"];

fn fill(root: &Path) {
    for name in NAMES {
        write(root.join(name), name);
    }
}

/// A mirror with files that have arrived, and with nothing left to do.
fn filled(setup: Setup) -> Mirror {
    filled_with(setup, &NAMES)
}

fn filled_with(setup: Setup, names: &[&str]) -> Mirror {
    let full_syncs = if setup.flags.contains(&"-r") { setup.trees[0].len() } else { 0 };
    let mut mirror = Mirror::new(setup);
    let fill = |mirror: &Mirror| names.iter().for_each(|name| write(mirror.source(name), name));
    if full_syncs > 0 {
        fill(&mirror);
    }
    mirror.run();
    wait_until("the full syncs are over", SOON, || mirror.logged("full sync done") == full_syncs);
    fill(&mirror);
    mirror.wait_equal(SOON);
    mirror.settle();
    mirror
}

fn expect_all(mirror: &Mirror, names: &[&str]) {
    for (replica, name) in
        mirror.replicas.iter().flat_map(|replica| names.iter().map(move |name| (replica, name)))
    {
        assert!(holds(replica.join(name), name), "{name} is gone from {}", replica.display());
    }
}

fn wait_arrived(mirror: &Mirror, name: &str) {
    wait_until(&format!("{name} arrives"), SOON, || {
        mirror.replicas.iter().all(|replica| holds(replica.join(name), name))
    });
}

fn send(mirror: &Mirror, name: &str) {
    write(mirror.source(name), name);
    wait_arrived(mirror, name);
}

/// With `-r` and without, one remote and two. The rsyncs that wait in the root keep its inode in being, and
/// of its removal the kernel says nothing until they have ended: a minute later.
fn setups() -> [Setup; 2] {
    [Setup::plain(), Setup::exact().remotes(&[LOCALHOST, LOCALHOST])]
}

#[test]
fn a_root_removed_and_made_again() {
    for setup in setups() {
        let mirror = filled_with(setup, &["one", "two"]);
        fs::remove_dir_all(mirror.source("")).unwrap();
        mirror.wait_logged("root lost");
        fs::create_dir(mirror.source("")).unwrap();
        send(&mirror, "new");
        send(&mirror, "dir/newer");
        fs::remove_file(mirror.source("new")).unwrap();
        // Held: by the time that something still later is there, it would have gone.
        send(&mirror, "later");
        send(&mirror, "latest");
        expect_all(&mirror, &["one", "two", "new"]);
    }
}

#[test]
fn a_root_renamed_away_and_replaced() {
    for setup in setups() {
        let mirror = filled(setup);
        fs::rename(mirror.source(""), mirror.dir.join("elsewhere")).unwrap();
        fs::create_dir(mirror.source("")).unwrap();
        mirror.wait_logged("root replaced");
        send(&mirror, "new");
        send(&mirror, "dir/newer");
        expect_all(&mirror, &NAMES);
        let (status, said) = mirror.ask(&["wait", "--timeout", "1"]);
        assert!(status == Some(1) && said.contains(" tree=replaced"), "{said}");
        // What happens at the old place is nobody's business.
        fs::remove_file(mirror.dir.join("elsewhere/one")).unwrap();
        write(mirror.dir.join("elsewhere/strange"), "strange");
        send(&mirror, "newest");
        expect_all(&mirror, &NAMES);
        assert!(!exists(mirror.replica("strange")));
    }
}

#[test]
fn a_root_renamed_away_and_brought_back() {
    for setup in setups() {
        let mirror = filled(setup);
        let elsewhere = mirror.dir.join("elsewhere");
        // Seen, but not sent before the root is gone.
        fs::remove_file(mirror.source("one")).unwrap();
        fs::rename(mirror.source(""), &elsewhere).unwrap();
        mirror.wait_logged("root lost");
        expect_all(&mirror, &NAMES);
        // Not seen.
        fs::remove_file(elsewhere.join("two")).unwrap();
        write(elsewhere.join("meanwhile"), "meanwhile");
        fs::rename(&elsewhere, mirror.source("")).unwrap();
        wait_arrived(&mirror, "meanwhile");
        wait_until("the deletion that was held travels", SOON, || !exists(mirror.replica("one")));
        wait_until("what nobody saw is found", SOON, || !exists(mirror.replica("two")));
        send(&mirror, "dir/deep/live");
        fs::remove_dir_all(mirror.source("dir")).unwrap();
        mirror.wait_equal(SOON);
    }
}

#[test]
fn a_full_sync_of_an_empty_root() {
    let mut mirror = Mirror::new(Setup::exact().remotes(&[LOCALHOST, LOCALHOST]));
    mirror.replicas.iter().for_each(|replica| fill(replica));
    mirror.run();
    wait_until("both syncs see it", SOON, || mirror.logged("root empty") == 2);
    expect_all(&mirror, &NAMES);
    send(&mirror, "new");
    mirror.settle();
    expect_all(&mirror, &NAMES);
}

#[test]
fn a_root_that_is_empty_when_its_watcher_dies() {
    let mut mirror = filled(Setup::exact());
    let watcher = mirror.supervisor().child("watcher");
    // Nobody sees how it is emptied.
    kill(Pid::from_raw(watcher), Signal::SIGKILL).unwrap();
    for entry in fs::read_dir(mirror.source("")).unwrap().flatten() {
        fs::rename(entry.path(), mirror.dir.join(entry.file_name())).unwrap();
    }
    mirror.wait_logged("root empty");
    expect_all(&mirror, &NAMES);
    send(&mirror, "new");
    expect_all(&mirror, &NAMES);
}

#[test]
fn everything_removed_one_by_one() {
    for setup in setups() {
        let mirror = filled(setup);
        for n in 0..300 {
            write(mirror.source(format!("many/{}/{n}", n % 10)), "one of many");
        }
        mirror.wait_equal(SOON);
        let rm =
            Command::new("sh").args(["-c", "rm -rf ./*"]).current_dir(mirror.source("")).status().unwrap();
        assert!(rm.success());
        mirror.wait_equal(SOON);
        for replica in &mirror.replicas {
            assert_eq!(fs::read_dir(replica).unwrap().count(), 0);
        }
        assert_eq!(mirror.logged("root lost"), 0);
    }
}

/// A tmpfs at the source, if this machine lets us.
struct Mounted(PathBuf);

impl Mounted {
    fn new(at: PathBuf) -> Option<Mounted> {
        let options = ["-t", "tmpfs", "-o", "mode=0755", "tmpfs"];
        let output = Command::new("mount").args(options).arg(&at).output().unwrap();
        if !output.status.success() {
            eprintln!("skipped: no tmpfs here: {}", String::from_utf8_lossy(&output.stderr));
            return None;
        }
        Some(Mounted(at))
    }

    /// As an administrator would: refused while somebody is in it.
    fn unmount(&self) -> bool {
        Command::new("umount").arg(&self.0).output().unwrap().status.success()
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("--lazy").arg(&self.0).output();
    }
}

fn unmounted_and_mounted_again(setup: Setup) {
    if !is_root() {
        eprintln!("skipped: only root can mount");
        return;
    }
    // An rsync that waits for the next change stands in the root.
    let setup = setup.edit("<sersync>", "<warm idle=\"1\"/><sersync>");
    let mut mirror = Mirror::new(setup);
    let Some(mounted) = Mounted::new(mirror.source("")) else { return };
    mirror.run();
    fill(&mirror.source(""));
    mirror.settle();
    mirror.wait_equal(SOON);
    wait_until("nothing of ours keeps it from being unmounted", SOON, || mounted.unmount());
    mirror.wait_logged("root lost");
    // The empty directory below is not the root.
    send(&mirror, "below");
    send(&mirror, "dir/below");
    expect_all(&mirror, &NAMES);
    let Some(_mounted) = Mounted::new(mirror.source("")) else { return };
    write(mirror.source("mounted again"), "mounted again");
    // Nothing tells of a mount: it is looked for at a sign of life at least a minute later.
    wait_until("it is seen", Duration::from_secs(130), || {
        holds(mirror.replica("mounted again"), "mounted again")
    });
    send(&mirror, "dir/and again");
    expect_all(&mirror, &NAMES);
    expect_all(&mirror, &["below", "dir/below"]);
}

#[test]
fn a_root_unmounted() {
    unmounted_and_mounted_again(Setup::plain());
}

#[test]
fn a_root_unmounted_with_mirror_semantics() {
    unmounted_and_mounted_again(Setup::exact().remotes(&[LOCALHOST, LOCALHOST]));
}
