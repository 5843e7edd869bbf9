//! Trees that grow and change at full speed while they are watched. A replica that only does
//! what it is told must end up equal: that is what all the care is for.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use common::config::Switches;
use common::event::{Change, Dirt};
use common::message::WatcherReport;
use nix::fcntl::{AT_FDCWD, RenameFlags, renameat2};

use super::{Bench, PATIENCE};
use crate::translate::bits;

/// What a remote would hold: directories, and files with their content.
type Replica = BTreeMap<Vec<u8>, Option<Vec<u8>>>;

/// Brings `path` over as it is at this moment, as a transfer would.
fn bring(replica: &mut Replica, root: &Path, path: &[u8], deep: bool) {
    let at = root.join(std::ffi::OsStr::from_bytes(path));
    let stat = fs::symlink_metadata(&at).ok().filter(|stat| stat.is_dir() || stat.is_file());
    let is_dir = stat.as_ref().is_some_and(fs::Metadata::is_dir);
    if deep || !is_dir {
        let mut below = path.to_vec();
        below.push(b'/');
        replica.retain(|known, _| known != path && !known.starts_with(&below));
    }
    let Some(stat) = stat else { return };
    for (slash, _) in path.iter().enumerate().filter(|&(_, &b)| b == b'/') {
        replica.entry(path[..slash].to_vec()).or_insert(None);
    }
    if stat.is_file() {
        replica.insert(path.to_vec(), fs::read(&at).ok());
        return;
    }
    if !path.is_empty() {
        replica.insert(path.to_vec(), None);
    }
    if deep {
        for entry in fs::read_dir(&at).into_iter().flatten().flatten() {
            let name = entry.file_name();
            let below = if path.is_empty() {
                name.as_bytes().to_vec()
            } else {
                [path, b"/", name.as_bytes()].concat()
            };
            bring(replica, root, &below, true);
        }
    }
}

/// The other side: what a supervisor and its transfers make of the reports.
struct Remote {
    root: std::path::PathBuf,
    replica: Replica,
    /// What was last read as a whole, and when.
    deep: Vec<(Instant, Vec<u8>)>,
}

impl Remote {
    fn of(bench: &Bench) -> Remote {
        let root = bench.at("");
        Remote { replica: source(&root), root, deep: Vec::new() }
    }

    fn obey(&mut self, report: &WatcherReport) {
        match report {
            WatcherReport::Changes(_, changes) => changes.iter().for_each(|change| self.change(change)),
            WatcherReport::Rescan { path, .. } => self.bring(path.as_bytes(), true),
            other => panic!("{other:?}"),
        }
    }

    fn change(&mut self, change: &Change) {
        let path = change.path.as_bytes();
        let deep = match change.dirt {
            // A whole directory may have been read, and with it a new one below it that was not
            // watched yet: once the new one is reported it must be looked at again.
            Dirt::Touched => change.mask == bits::CREATE | bits::ISDIR && self.was_just_read(path),
            Dirt::Removed => false,
            Dirt::RemovedDir | Dirt::Deep | Dirt::Sweep => true,
        };
        self.bring(path, deep);
    }

    fn was_just_read(&self, path: &[u8]) -> bool {
        let covers = |dir: &[u8]| {
            dir.is_empty() || path.strip_prefix(dir).is_some_and(|rest| matches!(rest, [] | [b'/', ..]))
        };
        self.deep.iter().any(|(_, dir)| covers(dir))
    }

    fn bring(&mut self, path: &[u8], deep: bool) {
        bring(&mut self.replica, &self.root, path, deep);
        if deep {
            self.deep.retain(|(at, _)| at.elapsed() < Duration::from_secs(1));
            self.deep.push((Instant::now(), path.to_vec()));
        }
    }

    fn is_equal(&self) -> bool {
        self.replica == source(&self.root)
    }
}

fn source(root: &Path) -> Replica {
    let mut replica = Replica::new();
    bring(&mut replica, root, b"", true);
    replica
}

/// Lets `work` loose on the root in another thread, obeys every report, and waits for the
/// replica to be equal.
fn mirrored(bench: &mut Bench, work: impl FnOnce(&Path) + Send) {
    let root = bench.at("");
    let mut remote = Remote::of(bench);
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            work(&root);
            over.store(true, Ordering::Release);
        });
        let mut deadline = None;
        loop {
            let was_over = over.load(Ordering::Acquire);
            bench.turn();
            for report in std::mem::take(&mut bench.seen) {
                remote.obey(&report);
            }
            if was_over && remote.is_equal() {
                return;
            }
            let deadline = was_over.then(|| *deadline.get_or_insert_with(|| Instant::now() + PATIENCE));
            assert!(
                deadline.is_none_or(|at| Instant::now() < at),
                "{}",
                difference(&remote.replica, &source(&root))
            );
        }
    });
}

fn difference(replica: &Replica, source: &Replica) -> String {
    let show = |path: &[u8]| String::from_utf8_lossy(path).into_owned();
    let missing: Vec<_> =
        source.keys().filter(|path| !replica.contains_key(*path)).map(|path| show(path)).collect();
    let extra: Vec<_> =
        replica.keys().filter(|path| !source.contains_key(*path)).map(|path| show(path)).collect();
    let differ =
        replica.iter().filter(|(path, content)| source.get(*path).is_some_and(|other| other != *content));
    format!(
        "missing {missing:?}, extra {extra:?}, different {:?}",
        differ.map(|(path, _)| show(path)).collect::<Vec<_>>()
    )
}

/// The same sequence for the same seed.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % limit
    }
}

#[test]
fn mkdir_p_with_files_at_full_speed() {
    let mut bench = Bench::watching(Switches::default());
    mirrored(&mut bench, |root| {
        for tree in 0..300 {
            let dir = root.join(format!("t{tree}/a/b/c/d"));
            fs::create_dir_all(&dir).unwrap();
            for (depth, dir) in dir.ancestors().take(5).enumerate() {
                fs::write(dir.join(format!("f{depth}")), format!("{tree}")).unwrap();
            }
        }
    });
}

#[test]
fn copies_and_removals_of_whole_trees() {
    let mut bench = Bench::watching(Switches::default());
    let copy = |from: &Path, to: &Path| {
        let status = std::process::Command::new("cp").arg("-r").arg(from).arg(to).status().unwrap();
        assert!(status.success());
    };
    mirrored(&mut bench, |root| {
        let first = root.join("first");
        for dir in 0..20 {
            fs::create_dir_all(first.join(format!("{dir}/x/y"))).unwrap();
            fs::write(first.join(format!("{dir}/x/y/f")), "content").unwrap();
        }
        std::thread::scope(|scope| {
            for number in 0..8 {
                let (first, to) = (&first, root.join(format!("copy{number}")));
                scope.spawn(move || copy(first, &to));
            }
        });
        for number in 0..4 {
            fs::remove_dir_all(root.join(format!("copy{number}"))).unwrap();
        }
        copy(&first, &root.join("copy0"));
    });
}

/// Writes into every directory: each of them must be watched, and none must be known that is
/// not there.
fn probe(bench: &mut Bench) {
    let dirs: Vec<Vec<u8>> =
        source(&bench.at("")).into_iter().filter(|(_, f)| f.is_none()).map(|(d, _)| d).collect();
    mirrored(bench, |root| {
        for dir in &dirs {
            fs::write(root.join(std::ffi::OsStr::from_bytes(dir)).join("probe"), "").unwrap();
        }
    });
    bench.settle("probe");
    let deadline = Instant::now() + PATIENCE;
    while bench.watcher.roots[0].needed() != dirs.len() as u64 + 1 {
        assert!(Instant::now() < deadline, "{} for {}", bench.watcher.roots[0].needed(), dirs.len() + 1);
        bench.turn();
    }
}

fn small_tree() -> Bench {
    Bench::prepared(Switches::default(), &[], |bench| {
        bench.mkdir("0/1/2");
        bench.write("0/1/2/3");
    })
}

/// Everything at once, in a small space so that names are used again and again.
#[test]
fn any_sequence_of_operations() {
    for seed in 0..seeds() {
        let mut bench = small_tree();
        mirrored(&mut bench, |root| play(&mut Random(seed), root, 3000));
        probe(&mut bench);
    }
}

/// The same, but the watcher only sees what many operations have left behind.
#[test]
fn any_sequence_seen_late() {
    for seed in 0..seeds() {
        let (mut bench, mut random) = (small_tree(), Random(seed));
        let root = bench.at("");
        let mut remote = Remote::of(&bench);
        for _ in 0..60 {
            let operations = random.below(60);
            play(&mut random, &root, operations);
            for _ in 0..random.below(4) {
                bench.turn();
            }
            for report in std::mem::take(&mut bench.seen) {
                remote.obey(&report);
            }
        }
        let deadline = Instant::now() + PATIENCE;
        while !remote.is_equal() {
            assert!(
                Instant::now() < deadline,
                "seed {seed}: {}",
                difference(&remote.replica, &source(&root))
            );
            bench.turn();
            for report in std::mem::take(&mut bench.seen) {
                remote.obey(&report);
            }
        }
        probe(&mut bench);
    }
}

fn seeds() -> u64 {
    std::env::var("WATCHER_TEST_SEEDS").ok().and_then(|seeds| seeds.parse().ok()).unwrap_or(12)
}

fn play(random: &mut Random, root: &Path, operations: u64) {
    for number in 0..operations {
        let mut path = || {
            let mut path = root.to_path_buf();
            for _ in 0..=random.below(3) {
                path.push(format!("{}", random.below(4)));
            }
            path
        };
        let (one, other) = (path(), path());
        // Most fail, and that is as good as any.
        let _ = match random.below(12) {
            0..=2 => fs::create_dir_all(&one),
            3..=5 => fs::write(&one, format!("{number}")),
            6 | 7 => fs::rename(&one, &other),
            8 => fs::remove_file(&one),
            9 if random.below(4) == 0 => fs::remove_dir_all(&one),
            9 => fs::remove_dir(&one),
            10 => {
                renameat2(AT_FDCWD, &one, AT_FDCWD, &other, RenameFlags::RENAME_EXCHANGE).map_err(Into::into)
            }
            _ => fs::rename(&one, root.with_file_name("elsewhere"))
                .and_then(|()| fs::rename(root.with_file_name("elsewhere"), &other)),
        };
    }
}
