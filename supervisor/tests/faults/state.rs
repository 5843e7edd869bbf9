//! What is kept on disk is damaged, lost, or cannot be written: mirroring goes on, and what cannot
//! be known is found by a full sync, or said.

use std::fs::{self, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use crate::ground::{RECOVERED, exact, is_long, known, sized, some};
use crate::support::mounts::{Mount, empty, fill};
use crate::support::random::{Random, seed};
use crate::support::setup::STATE;
use crate::support::{LOCALHOST, Mirror, SOON, exists, holds, pause, wait_until, write};

/// By when all that was seen is committed, or could not be.
const COMMITTED: Duration = Duration::from_secs(3);

/// The one file of what is kept.
fn file(mirror: &Mirror) -> PathBuf {
    let mut found = fs::read_dir(mirror.dir.join(STATE)).unwrap().flatten().map(|entry| entry.path());
    let file = found.next().unwrap();
    assert!(found.next().is_none(), "one file");
    file
}

fn overwrite(file: &Path, random: &mut Random, count: u64) {
    let opened = OpenOptions::new().write(true).open(file).unwrap();
    let length = opened.metadata().unwrap().len();
    for _ in 0..count {
        let junk: Vec<u8> = (0..=random.below(40)).map(|_| random.next().to_le_bytes()[0]).collect();
        opened.write_all_at(&junk, random.below(length)).unwrap();
    }
}

#[test]
fn damaged_at_random_places() {
    let seed = seed();
    let mut random = Random(seed);
    let mut mirror = known(exact(), some);
    let mut told = 0;
    for round in 0..sized("STATE_ROUNDS", 6, 100) {
        mirror.stop();
        let file = file(&mirror);
        match round % 6 {
            0 => overwrite(&file, &mut random, 400),
            1 => {
                let length = file.metadata().unwrap().len();
                let cut = 1 + random.below(length - 1);
                OpenOptions::new().write(true).open(&file).unwrap().set_len(cut).unwrap();
            }
            2 => fs::write(&file, "this is no file of ours").unwrap(),
            // The head, where it says what it is.
            3 => OpenOptions::new().write(true).open(&file).unwrap().write_all_at(&[0xff; 500], 0).unwrap(),
            _ => overwrite(&file, &mut random, 20),
        }
        write(mirror.source("dir1/file1"), format!("round {round}"));
        write(mirror.source(format!("dir2/new{round}")), "new");
        mirror.run();
        mirror.wait_equal(RECOVERED);
        if mirror.logged("state file damaged") > 0 {
            told += 1;
            mirror.wait_logged("a full sync takes the place of a comparison");
        }
        mirror.settle();
        mirror.wait_equal(RECOVERED);
    }
    assert!(told >= 3, "{told} of them were told of");
}

#[test]
fn none_at_all_is_a_first_start() {
    let mut mirror = known(exact(), some);
    mirror.stop();
    fs::remove_file(file(&mirror)).unwrap();
    write(mirror.source("unseen"), "nobody is told of it");
    fs::remove_file(mirror.source("dir1/file1")).unwrap();
    mirror.run();
    mirror.settle();
    write(mirror.source("seen"), "2");
    wait_until("what is seen arrives", SOON, || exists(mirror.replica("seen")));
    mirror.settle();
    assert!(!exists(mirror.replica("unseen")));
    assert!(exists(mirror.replica("dir1/file1")));
    mirror.restart(&["-r"]);
    mirror.wait_equal(RECOVERED);
}

/// A remote that is new to the config gets the whole tree; one that was known does not.
#[test]
fn a_remote_that_is_new() {
    let mut mirror = known(exact().remotes(&[LOCALHOST, LOCALHOST]), some);
    mirror.stop();
    fs::remove_dir_all(mirror.replica("dir1")).unwrap();
    let plain = mirror.setup.clone();
    mirror.setup = plain.clone().remotes(&[LOCALHOST]);
    mirror.reconfigure();
    mirror.run();
    write(mirror.source("dir3/file3"), "while there was one remote");
    wait_until("it arrives", SOON, || holds(mirror.replica("dir3/file3"), "while there was one remote"));
    mirror.stop();
    fs::remove_dir_all(mirror.replicas[1].join("dir2")).unwrap();
    mirror.setup = plain;
    mirror.reconfigure();
    mirror.run();
    mirror.wait_logged("remote new remote=");
    mirror.wait_difference(1, &[], RECOVERED);
    // Nobody was told of this.
    assert!(!exists(mirror.replica("dir1/file1")));
    mirror.restart(&["-r"]);
    mirror.wait_equal(RECOVERED);
}

/// While it cannot be written, nothing stops; and it is written again when it can be.
fn unwritable(mirror: &mut Mirror, filler: &Path) {
    mirror.learn();
    fill(filler);
    // What fits where there was something before fails nowhere: more and more, until it does.
    for round in 0..20 {
        for n in 0..2000 {
            write(mirror.source(format!("many{}/file {round} with a name of some length {n}", n % 20)), "1");
        }
        mirror.wait_equal(RECOVERED);
        let end = Instant::now() + COMMITTED;
        while mirror.logged("state cannot be written") == 0 && Instant::now() < end {
            pause(Duration::from_millis(20));
        }
        if mirror.logged("state cannot be written") > 0 {
            break;
        }
    }
    mirror.wait_logged("state cannot be written");
    fs::remove_file(mirror.source("dir1/file1")).unwrap();
    mirror.wait_equal(RECOVERED);
    assert_eq!(mirror.logged("state cannot be written"), 1, "{}", mirror.log());
    // A start meets the same.
    mirror.kill_all(&mut Random(3));
    write(mirror.source("dir2/file2"), "while it was down");
    mirror.run();
    write(mirror.source("dir2/seen"), "2");
    wait_until("what is seen arrives", SOON, || exists(mirror.replica("dir2/seen")));
    empty(filler);
    mirror.wait_equal(RECOVERED);
    // Afterwards it is as good as ever.
    mirror.learn();
    mirror.stop();
    fs::remove_dir_all(mirror.source("many3")).unwrap();
    write(mirror.source("dir3/file3"), "and found");
    mirror.run();
    mirror.wait_equal(RECOVERED);
    assert_eq!(mirror.logged("full sync"), 0, "{}", mirror.log());
}

fn prepared() -> (Mirror, PathBuf) {
    let mirror = Mirror::new(exact());
    some(&mirror.source(""));
    mirror.copy();
    let state = mirror.dir.join(STATE);
    fs::create_dir(&state).unwrap();
    (mirror, state)
}

#[test]
fn a_disk_without_space() {
    let (mut mirror, state) = prepared();
    let Some(_disk) = Mount::tmpfs(&state, "size=3m,mode=700") else { return };
    unwritable(&mut mirror, &state.join("filler"));
    drop(mirror);
}

/// A disk that is larger than what it stands on: writing fails when that is full, as with a thinly
/// provisioned volume, or a broken one.
#[test]
fn a_disk_with_errors() {
    if !is_long() {
        return eprintln!("skipped: how much fits where something was before is chance; FAULTS=long");
    }
    let (mut mirror, state) = prepared();
    let below = mirror.dir.join("below");
    fs::create_dir(&below).unwrap();
    let Some(_below) = Mount::tmpfs(&below, "size=5m") else { return };
    let image = below.join("image");
    fs::File::create(&image).unwrap().set_len(64 << 20).unwrap();
    let made =
        Command::new("mkfs.ext4").args(["-q", "-O", "^has_journal", "-E", "nodiscard"]).arg(&image).status();
    if !made.is_ok_and(|status| status.success()) {
        return eprintln!("skipped: no mkfs.ext4 here");
    }
    let Some(_disk) = Mount::image(&image, &state) else { return };
    fs::remove_dir(state.join("lost+found")).unwrap();
    fs::set_permissions(&state, std::os::unix::fs::PermissionsExt::from_mode(0o700)).unwrap();
    unwritable(&mut mirror, &below.join("filler"));
    drop(mirror);
}
