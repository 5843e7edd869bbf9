//! The workloads that end in a state: what is there before, and what is done. W1 and W8, which are
//! measured otherwise, prepare here too.

use std::fs::{self, File, OpenOptions};
use std::io::{Seek, SeekFrom, Write};
use std::path::Path;
use std::process::Command;
use std::thread::sleep;
use std::time::{Duration, Instant};

use crate::fixture::{self, Chance};
use crate::ground::Ground;
use crate::outcome::Outcome;

/// One of the workloads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Workload {
    /// Files are edited one by one.
    Edits,
    /// 10,000 files of 4 KiB in 100 directories.
    Burst,
    /// 24,000 files out of an archive.
    Untar,
    /// `rm -rf` of these.
    Remove,
    /// A directory with 5,000 files gets another name.
    Rename,
    /// 100 files are rewritten at random for 20 seconds, 5,000 times a second.
    Hot,
    /// 1 GiB is changed in 64 places and gets 16 MiB longer.
    Large,
    /// 5,000 files for three remotes, one of which is down.
    Down,
    /// `git checkout` with 3,500 changes.
    Checkout,
    /// 50 files are rewritten with the same size as soon as they have arrived.
    SameSecond,
}

impl Workload {
    /// All of them, in their order.
    pub(crate) const ALL: [Workload; 10] = [
        Workload::Edits,
        Workload::Burst,
        Workload::Untar,
        Workload::Remove,
        Workload::Rename,
        Workload::Hot,
        Workload::Large,
        Workload::Down,
        Workload::Checkout,
        Workload::SameSecond,
    ];

    /// What results call it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Workload::Edits => "W1",
            Workload::Burst => "W2",
            Workload::Untar => "W3",
            Workload::Remove => "W4",
            Workload::Rename => "W5",
            Workload::Hot => "W6",
            Workload::Large => "W7",
            Workload::Down => "W8",
            Workload::Checkout => "W9",
            Workload::SameSecond => "W11",
        }
    }

    /// What tables say of it.
    pub(crate) fn title(self) -> &'static str {
        match self {
            Workload::Edits => "edit to visible",
            Workload::Burst => "10,000 files",
            Workload::Untar => "untar of 24,000 files",
            Workload::Remove => "rm -rf of 24,000 files",
            Workload::Rename => "rename of a directory with 5,000 files",
            Workload::Hot => "100 files rewritten for 20 s",
            Workload::Large => "1 GiB in place and appended",
            Workload::Down => "5,000 files, three remotes, one down",
            Workload::Checkout => "git checkout, 3,500 changes",
            Workload::SameSecond => "same size in the same second",
        }
    }

    /// Makes what is in the source before the contender starts.
    pub(crate) fn prepare(self, ground: &Ground) -> Outcome<()> {
        let source = ground.source();
        match self {
            Workload::Edits => fixture::tree(&source, 20, 50, 200),
            Workload::Remove => fixture::untar(&fixture::archive(&ground.cache()?)?, &source),
            Workload::Rename => fixture::tree(&source.join("big"), 50, 100, 2000),
            Workload::Hot => fixture::tree(&source, 1, 100, 1000),
            Workload::SameSecond => fixture::tree(&source, 1, 50, 1000),
            Workload::Large => large(&source.join("big"), 256),
            Workload::Checkout => fixture::check_out(&fixture::repository(&ground.cache()?)?, &source, "A"),
            Workload::Untar => {
                fixture::archive(&ground.cache()?)?;
                fs::write(source.join("seed"), "s")
            }
            Workload::Burst | Workload::Down => fs::write(source.join("seed"), "s"),
        }
    }

    /// Does it, as a contender meets it.
    pub(crate) fn perform(self, ground: &Ground) -> Outcome<()> {
        let source = ground.source();
        match self {
            Workload::Edits => Ok(()),
            Workload::Burst => burst(&source, 100, 100),
            Workload::Untar => fixture::untar(&fixture::archive(&ground.cache()?)?, &source),
            Workload::Remove => remove_all(&source),
            Workload::Rename => fs::rename(source.join("big"), source.join("renamed")),
            Workload::Hot => rewrite(&source.join("000"), Duration::from_secs(20)),
            Workload::Large => change(&source.join("big")),
            Workload::Down => fixture::tree(&source.join("n"), 50, 100, 1000),
            Workload::Checkout => fixture::check_out(&fixture::repository(&ground.cache()?)?, &source, "B"),
            Workload::SameSecond => same_second(&source.join("000"), &ground.replica(0).join("000")),
        }
    }
}

/// Files of 4 KiB as fast as one thread can make them, as `bDDD/fFF`.
pub(crate) fn burst(top: &Path, directories: usize, files: usize) -> Outcome<()> {
    let content = Chance::new(2).bytes(4096);
    for n in 0..directories {
        fs::create_dir(top.join(format!("b{n:03}")))?;
    }
    for n in 0..directories {
        let directory = top.join(format!("b{n:03}"));
        for file in 0..files {
            fs::write(directory.join(format!("f{file:02}")), &content)?;
        }
    }
    Ok(())
}

/// `mib` times 4 MiB that cannot be compressed, no two of them alike.
pub(crate) fn large(file: &Path, blocks: usize) -> Outcome<()> {
    let mut block = Chance::new(7).bytes(4 << 20);
    let mut file = File::create(file)?;
    for _ in 0..blocks {
        block.rotate_left(4099);
        file.write_all(&block)?;
    }
    Ok(())
}

fn remove_all(source: &Path) -> Outcome<()> {
    let entries: Outcome<Vec<_>> = fs::read_dir(source)?.map(|entry| Ok(entry?.path())).collect();
    fixture::run(Command::new("rm").arg("-rf").arg("--").args(entries?))
}

/// Rewrites 100 files at random, 5,000 times a second.
pub(crate) fn rewrite(directory: &Path, long: Duration) -> Outcome<()> {
    let mut chance = Chance::new(6);
    let mut content = chance.bytes(1000);
    let start = Instant::now();
    for round in 0_u32..2000 {
        for n in 0..50_u8 {
            if let Some(last) = content.last_mut() {
                *last = n;
            }
            content.rotate_left(1);
            fs::write(directory.join(chance.below(100).to_string()), &content)?;
        }
        let elapsed = start.elapsed();
        if elapsed > long {
            break;
        }
        sleep((Duration::from_millis(10) * (round + 1)).saturating_sub(elapsed));
    }
    Ok(())
}

fn change(file: &Path) -> Outcome<()> {
    let mut chance = Chance::new(77);
    let mut file = OpenOptions::new().write(true).open(file)?;
    for _ in 0..64 {
        let place = chance.below(1 << 30);
        file.seek(SeekFrom::Start(u64::try_from(place).unwrap_or(0)))?;
        file.write_all(&chance.bytes(65536))?;
    }
    file.seek(SeekFrom::End(0))?;
    file.write_all(&chance.bytes(16 << 20))
}

fn same_second(source: &Path, replica: &Path) -> Outcome<()> {
    let (first, second) = ("v1".repeat(50), "v2".repeat(50));
    for n in 0..50_u32 {
        let name = n.to_string();
        fs::write(source.join(&name), &first)?;
        let deadline = Instant::now() + Duration::from_secs(5);
        while fs::read(replica.join(&name)).is_ok_and(|content| content != first.as_bytes()) {
            if Instant::now() > deadline {
                break;
            }
            sleep(Duration::from_millis(1));
        }
        fs::write(source.join(&name), &second)?;
    }
    Ok(())
}
