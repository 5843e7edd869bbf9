//! Whatever a remote shows for a moment, it ends as the source is, in whichever order things
//! happened.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::Duration;

use nix::fcntl::{AT_FDCWD, RenameFlags, renameat2};

use crate::ground::{RECOVERED, content, exact, known, sized, some};
use crate::support::random::{Random, seed};
use crate::support::{Mirror, SOON, pause, wait_until, write};

fn swap(mirror: &Mirror, one: &str, other: &str) {
    let (one, other) = (mirror.source(one), mirror.source(other));
    renameat2(AT_FDCWD, &one, AT_FDCWD, &other, RenameFlags::RENAME_EXCHANGE).unwrap();
}

#[test]
fn changing_places_again_and_again() {
    let seed = seed();
    let mut random = Random(seed);
    let mirror = known(exact(), some);
    write(mirror.source("file"), "a file");
    for round in 0..sized("ORDER_ROUNDS", 60, 2000) {
        let round = usize::try_from(100 + round).unwrap();
        match random.below(6) {
            0 => swap(&mirror, "dir0", "dir1"),
            1 => swap(&mirror, "file", "dir2"),
            2 => {
                // There and back.
                fs::rename(mirror.source("dir3"), mirror.source("away")).unwrap();
                pause(Duration::from_millis(random.below(30)));
                fs::rename(mirror.source("away"), mirror.source("dir3")).unwrap();
            }
            3 => {
                let path = mirror.source("kind");
                let _ = if path.is_dir() { fs::remove_dir_all(&path) } else { fs::remove_file(&path) };
                let inside = if random.once_in(2) { path } else { path.join("dir/inside") };
                write(inside, content(round));
            }
            4 => write(mirror.source(format!("dir{}/file in a moving one", random.below(2))), content(round)),
            _ => {
                let name = |n| mirror.source(format!("dir3/file{n}"));
                fs::rename(name(3), name(7)).unwrap();
                fs::rename(name(11), name(3)).unwrap();
                write(name(11), content(round));
            }
        }
        if random.once_in(4) {
            pause(Duration::from_millis(random.below(60)));
        }
    }
    mirror.wait_equal(RECOVERED);
}

fn inode(path: &Path) -> u64 {
    path.symlink_metadata().map_or(0, |found| found.ino())
}

/// One changed through one of its names arrives under all of them, also when nobody saw it.
#[test]
fn a_file_of_several_names() {
    let mut mirror = known(exact().params("-artzH"), |root| {
        some(root);
        write(root.join("name0"), "of several names");
        for n in 1..4 {
            fs::hard_link(root.join("name0"), root.join(format!("dir{n}/name{n}"))).unwrap();
        }
    });
    let names = ["name0", "dir1/name1", "dir2/name2", "dir3/name3"];
    fs::hard_link(mirror.source("name0"), mirror.source("dir0/fifth")).unwrap();
    mirror.wait_equal(RECOVERED);
    for way in ["live", "down"] {
        if way == "down" {
            mirror.stop();
        }
        let mut text = fs::read(mirror.source("dir2/name2")).unwrap();
        text.extend_from_slice(way.as_bytes());
        // In place: truncated and written, the inode stays.
        fs::write(mirror.source("dir2/name2"), &text).unwrap();
        fs::remove_file(mirror.source("dir0/fifth")).unwrap();
        fs::hard_link(mirror.source("dir3/name3"), mirror.source("dir0/fifth")).unwrap();
        if way == "down" {
            mirror.run();
        }
        mirror.wait_equal(RECOVERED);
        for name in names {
            assert_eq!(fs::read(mirror.replica(name)).unwrap(), text, "{way}: {name}");
        }
    }
    // Their being one file is a matter of full syncs.
    mirror.restart(&["-r"]);
    wait_until("they are one file there too", SOON, || {
        names.iter().all(|name| inode(&mirror.replica(name)) == inode(&mirror.replica("name0")))
    });
}

/// No event speaks of the name that stays; and neither `-r` nor `-H` is said.
#[test]
fn a_file_changed_through_a_name_that_is_gone() {
    let mirror = known(exact(), some);
    let (stays, goes) = (mirror.source("dir1/file1"), mirror.source("dir2/other"));
    for round in 0..sized("LINK_ROUNDS", 10, 200) {
        fs::hard_link(&stays, &goes).unwrap();
        let text = format!("round {round}{}", ".".repeat(usize::try_from(round).unwrap()));
        fs::write(&goes, &text).unwrap();
        fs::remove_file(&goes).unwrap();
        let (code, said) = mirror.ask(&["wait", "--timeout", "60"]);
        assert_eq!(code, Some(0), "{said}");
        // At this moment, not soon.
        assert_eq!(fs::read_to_string(mirror.replica("dir1/file1")).unwrap(), text);
    }
    mirror.wait_equal(SOON);
}

/// One that is written while rsync reads it is sent again.
#[test]
fn a_file_that_never_rests() {
    let mirror = Mirror::start(exact());
    for n in 0..200_u32 {
        write(mirror.source("log"), format!("line {n}\n").repeat(usize::try_from(n % 7).unwrap() * 400 + 1));
        pause(Duration::from_millis(u64::from(n % 5)));
    }
    mirror.wait_equal(RECOVERED);
}
