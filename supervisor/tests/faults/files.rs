//! Files that change while rsync reads them: they vanish, grow, shrink, are written anew. Whatever
//! arrives at first, in the end it is what is here.

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::time::{Duration, SystemTime};

use crate::ground::{RECOVERED, exact};
use crate::support::{Mirror, SOON, exists, pause, wait_until, write};

/// Large enough for a second at the pace of these mirrors.
const SIZE: usize = 1_500_000;

fn slow() -> Mirror {
    Mirror::start(exact().params("-art --bwlimit=1500"))
}

/// The daemon has begun to receive the file.
fn wait_begun(mirror: &Mirror, name: &str) {
    let start = format!(".{name}.");
    wait_until("it is under way", SOON, || {
        let names = fs::read_dir(mirror.replica("")).unwrap().flatten().map(|entry| entry.file_name());
        names.into_iter().any(|name| name.as_encoded_bytes().starts_with(start.as_bytes()))
    });
}

#[test]
fn vanishing() {
    let mirror = slow();
    write(mirror.source("file"), vec![b'x'; SIZE]);
    wait_begun(&mirror, "file");
    fs::remove_file(mirror.source("file")).unwrap();
    write(mirror.source("neighbour"), "1");
    mirror.wait_equal(RECOVERED);
    assert!(!exists(mirror.replica("file")));
}

#[test]
fn growing() {
    let mirror = slow();
    write(mirror.source("file"), vec![b'x'; SIZE]);
    wait_begun(&mirror, "file");
    let mut file = OpenOptions::new().append(true).open(mirror.source("file")).unwrap();
    for _ in 0..20 {
        file.write_all(&[b'y'; 1000]).unwrap();
        pause(Duration::from_millis(20));
    }
    drop(file);
    mirror.wait_equal(RECOVERED);
}

#[test]
fn shrinking() {
    let mirror = slow();
    write(mirror.source("file"), vec![b'x'; SIZE]);
    wait_begun(&mirror, "file");
    OpenOptions::new().write(true).open(mirror.source("file")).unwrap().set_len(1000).unwrap();
    write(mirror.source("neighbour"), "1");
    mirror.wait_equal(RECOVERED);
}

/// Torn: one half of what arrives first is old, the other new.
#[test]
fn written_in_place() {
    let mirror = slow();
    write(mirror.source("file"), vec![b'x'; SIZE]);
    wait_begun(&mirror, "file");
    let file = File::options().write(true).open(mirror.source("file")).unwrap();
    for n in 0..100 {
        file.write_all_at(b"written while rsync reads", n * 15_000).unwrap();
        pause(Duration::from_millis(3));
    }
    drop(file);
    mirror.wait_equal(RECOVERED);
}

/// Replaced by another of the same size and time under the same name: only its inode differs.
#[test]
fn replaced_by_a_rename() {
    let mirror = slow();
    let time = SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000);
    let put = |name: &str, byte: u8| {
        write(mirror.source(name), vec![byte; SIZE]);
        File::open(mirror.source(name))
            .unwrap()
            .set_modified(time + Duration::from_secs(byte.into()))
            .unwrap();
    };
    put("file", b'x');
    wait_begun(&mirror, "file");
    put(".next", b'y');
    fs::rename(mirror.source(".next"), mirror.source("file")).unwrap();
    mirror.wait_equal(RECOVERED);
}

/// Its directory goes, and another stands there.
#[test]
fn moved_with_its_directory() {
    let mirror = slow();
    write(mirror.source("dir/file"), vec![b'x'; SIZE]);
    wait_until("it is under way", SOON, || exists(mirror.replica("dir")));
    fs::rename(mirror.source("dir"), mirror.source("moved")).unwrap();
    write(mirror.source("dir/other"), "2");
    mirror.wait_equal(RECOVERED);
}
