//! Trees that grow and change at full speed while they are watched. A replica that only does
//! what it is told must end up equal: that is what all the care is for.

use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use common::config::Switches;

use super::replica::{Random, Remote, difference, play, source};
use super::{Bench, PATIENCE};

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

pub(super) fn seeds() -> u64 {
    std::env::var("WATCHER_TEST_SEEDS").ok().and_then(|seeds| seeds.parse().ok()).unwrap_or(12)
}
