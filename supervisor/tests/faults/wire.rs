//! Only what changed is sent: the bytes on the wire are counted between rsync and its daemon, and
//! how many files each transfer names is read from the daemon's log.

use std::fs;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use crate::ground::{RECOVERED, exact, sized};
use crate::support::frozen::Frozen;
use crate::support::proxy::Proxy;
use crate::support::{Mirror, wait_until, write};

/// Files in each directory.
pub const FILES: u64 = 20;
/// What each file holds, in bytes: the daemon tells the size of all that a transfer names.
const SIZE: u64 = 120;
/// By when a tree of any size that is used here is equal.
const READ: Duration = Duration::from_mins(3);

/// A mirror of many files, with its traffic counted.
pub struct Metered {
    /// Source and replica are equal at first, and all names known.
    pub mirror: Mirror,
    /// In front of the daemon.
    pub proxy: Proxy,
    /// What a full sync of the equal tree costs, in bytes.
    pub full: u64,
    /// How many files there are.
    pub files: u64,
    sent: u64,
    told: usize,
}

impl Metered {
    /// Of about so many files.
    pub fn new(files: u64) -> Metered {
        let mut mirror = Mirror::new(exact().params("-art").flags(&["-r"]));
        for n in 0..files {
            write(mirror.source(file(n)), content(n, 0));
        }
        mirror.copy();
        mirror.daemon.edit(|text| text + "log file = " + &format!("{}/rsyncd.log\n", mirror.dir.display()));
        let proxy = Proxy::new(mirror.port);
        mirror.port = proxy.port;
        mirror.reconfigure();
        mirror.run();
        wait_until("the full sync is over", READ, || mirror.logged("full sync done") == 1);
        let full = proxy.bytes();
        mirror.stop();
        mirror.learn();
        let mut metered = Metered { mirror, proxy, full, files, sent: 0, told: 0 };
        let whole = metered.transfers().iter().any(|&size| size == files * SIZE);
        assert!(whole, "the daemon tells how much a transfer names");
        metered.begin();
        metered
    }

    /// Counts from now on.
    pub fn begin(&mut self) {
        (self.sent, self.told) = (self.proxy.bytes(), self.transfers().len());
    }

    /// Fails unless what was sent since, beyond `contents`, is at most a tenth of a full sync, and
    /// no transfer named a third of the tree.
    pub fn expect_little(&self, what: &str, contents: u64) {
        let sent = self.proxy.bytes() - self.sent;
        let beyond = sent.saturating_sub(contents);
        let most = self.transfers()[self.told..].iter().copied().max().unwrap_or(0) / SIZE;
        let (full, files) = (self.full, self.files);
        let transfers = self.transfers().len() - self.told;
        eprintln!(
            "{what}: files={files} full={full} sent={sent} contents={contents} beyond={beyond} \
             ({:.1} %) transfers={transfers} named_at_most={most}",
            100.0 * as_f64(beyond) / as_f64(full)
        );
        assert!(beyond * 10 <= full, "{what}: {beyond} bytes beyond the contents, a full sync is {full}");
        assert!(most * 3 <= files, "{what}: a transfer named {most} of {files} files");
    }

    /// Sizes of all that each transfer named, in bytes.
    fn transfers(&self) -> Vec<u64> {
        let log = fs::read(self.mirror.dir.join("rsyncd.log")).unwrap_or_default();
        let log = String::from_utf8_lossy(&log).into_owned();
        let size = |line: &str| line.split_once("total size ")?.1.trim().parse().ok();
        log.lines().filter_map(size).collect()
    }
}

fn as_f64(n: u64) -> f64 {
    f64::from(u32::try_from(n).unwrap())
}

/// Where the nth file is.
pub fn file(n: u64) -> PathBuf {
    Path::new(&format!("project{:03}", n / FILES)).join(format!("document-{n:06}.txt"))
}

/// What it holds in its nth version.
pub fn content(n: u64, version: u64) -> Vec<u8> {
    let mut text = format!("document {n} in version {version} ").into_bytes();
    text.resize(usize::try_from(SIZE).unwrap(), b'.');
    text
}

/// More events than the kernel's queue holds, none of which anybody is sent for.
fn overflow(mirror: &Mirror) {
    let limit = fs::read_to_string("/proc/sys/fs/inotify/max_queued_events").unwrap();
    let (one, other) = (mirror.source(".noise"), mirror.source(".other"));
    write(&one, "noise");
    for _ in 0..limit.trim().parse::<u64>().unwrap() / 2 {
        fs::rename(&one, &other).unwrap();
        fs::rename(&other, &one).unwrap();
    }
    fs::remove_file(one).unwrap();
}

/// Loses the sight of what `change` does. Where no process can be frozen, by a burst of events
/// from two threads until the watcher cannot follow.
fn unseen(mirror: &mut Mirror, change: impl FnOnce(&Mirror)) {
    let full = "inotify queue overflow";
    let watcher = mirror.supervisor().child("watcher");
    let before = mirror.logged(full);
    if let Some(frozen) = Frozen::new(&[watcher]) {
        overflow(mirror);
        change(mirror);
        drop(frozen);
    } else {
        thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| {
                    let (one, other) = (tempfile_in(mirror), tempfile_in(mirror));
                    wait_until("the queue is full", READ, || {
                        write(&one, "noise");
                        for _ in 0..2000 {
                            fs::rename(&one, &other).unwrap();
                            fs::rename(&other, &one).unwrap();
                        }
                        mirror.logged(full) > before
                    });
                    fs::remove_file(&one).unwrap();
                });
            }
            change(mirror);
        });
    }
    wait_until("the overflow is noticed", READ, || mirror.logged(full) > before);
}

fn tempfile_in(mirror: &Mirror) -> PathBuf {
    tempfile::Builder::new()
        .prefix(".noise")
        .tempfile_in(mirror.source(""))
        .unwrap()
        .into_temp_path()
        .to_owned()
}

#[test]
fn after_an_overflow_only_what_changed_is_sent() {
    let files = sized("WIRE_FILES", 10_000, 50_000);
    let mut metered = Metered::new(files);
    let (changed, deleted) = (files / 500, files / 1000);
    for round in 1..=sized("WIRE_ROUNDS", 1, 3) {
        metered.begin();
        unseen(&mut metered.mirror, |mirror| {
            for n in 0..changed {
                let n = n * 487 % (files / 2);
                write(mirror.source(file(n)), content(n, round));
            }
            for n in 0..deleted {
                fs::remove_file(mirror.source(file(files - 1 - n * 97 - round))).unwrap();
            }
        });
        metered.mirror.wait_equal(RECOVERED);
        metered.mirror.settle();
        let what = format!("overflow, {changed} changed, {deleted} deleted");
        metered.expect_little(&what, changed * SIZE);
    }
}
