//! When a replica equals its source. The source rests by then, so its entries are looked at in order
//! and the wait stands still at the first that is not yet right: that costs the contender nearly no
//! CPU, and the moment is exact to about a millisecond. Then all of it is compared, contents too.

use std::collections::BTreeMap;
use std::fs::{self, File, Metadata};
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::{Duration, Instant};

use crate::outcome::Outcome;

/// What stands at a path, as far as a mirror has to be like it. Times count in whole seconds, since
/// some peers carry no more.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Entry {
    Directory,
    File { size: u64, seconds: i64 },
    Link(PathBuf),
}

/// A tree: each path below its top.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Listing(BTreeMap<PathBuf, Entry>);

impl Listing {
    /// Lists what is below `top`.
    pub(crate) fn of(top: &Path) -> Listing {
        let mut found = BTreeMap::new();
        let mut open = vec![PathBuf::new()];
        while let Some(directory) = open.pop() {
            for entry in fs::read_dir(top.join(&directory)).into_iter().flatten().flatten() {
                let path = directory.join(entry.file_name());
                let Some(what) = entry.metadata().ok().and_then(|data| look(&entry.path(), &data)) else {
                    continue;
                };
                if what == Entry::Directory {
                    open.push(path.clone());
                }
                found.insert(path, what);
            }
        }
        Listing(found)
    }

    /// Waits until each entry in turn is in `replica`, then for each to go that was too many; contents are
    /// not looked at. False when `cap` has passed since `since`.
    pub(crate) fn wait_for(&self, replica: &Path, since: Instant, cap: Duration) -> bool {
        let extra = Listing::of(replica).0.into_keys().filter(|path| !self.0.contains_key(path));
        let wanted = self.0.iter().map(|(path, entry)| (path.clone(), Some(entry)));
        wanted.chain(extra.map(|path| (path, None))).all(|(path, entry)| {
            let path = replica.join(path);
            while at(&path).as_ref() != entry {
                if since.elapsed() > cap {
                    return false;
                }
                sleep(Duration::from_millis(1));
            }
            true
        })
    }
}

fn look(path: &Path, data: &Metadata) -> Option<Entry> {
    if data.is_dir() {
        Some(Entry::Directory)
    } else if data.is_symlink() {
        fs::read_link(path).ok().map(Entry::Link)
    } else {
        Some(Entry::File { size: data.size(), seconds: data.mtime() })
    }
}

fn at(path: &Path) -> Option<Entry> {
    path.symlink_metadata().ok().and_then(|data| look(path, &data))
}

/// How a wait ended.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Wait {
    /// When the replica was equal, or the wait was given up.
    pub(crate) took: Duration,
    /// Paths that are still missing, wrong or too many.
    pub(crate) wrong: usize,
}

impl Wait {
    /// Whether it became equal.
    pub(crate) fn is_equal(&self) -> bool {
        self.wrong == 0
    }
}

/// The same for several: when each was equal as far as can be seen without reading, one after the other,
/// and what is wrong once they all are. To read one takes time in which the next is not looked at.
pub(crate) fn wait_all_equal(
    source: &Path,
    replicas: &[PathBuf],
    since: Instant,
    cap: Duration,
) -> Vec<Wait> {
    let wanted = Listing::of(source);
    let took: Vec<Duration> = replicas
        .iter()
        .map(|replica| {
            wanted.wait_for(replica, since, cap);
            since.elapsed()
        })
        .collect();
    let wrong = |replica: &PathBuf| differences(&wanted, source, replica);
    replicas.iter().zip(took).map(|(replica, took)| Wait { took, wrong: wrong(replica) }).collect()
}

/// Waits until `replica` equals `source`, which rests, or `cap` has passed since `since`.
pub(crate) fn wait_equal(source: &Path, replica: &Path, since: Instant, cap: Duration) -> Wait {
    let wanted = Listing::of(source);
    loop {
        let reached = wanted.wait_for(replica, since, cap);
        let took = since.elapsed();
        let wrong = if reached { differences(&wanted, source, replica) } else { usize::MAX };
        if wrong == 0 {
            return Wait { took, wrong };
        }
        if since.elapsed() > cap {
            let wrong = differences(&wanted, source, replica);
            return Wait { took: since.elapsed(), wrong };
        }
        sleep(Duration::from_millis(10));
    }
}

/// Paths that differ.
fn differences(wanted: &Listing, source: &Path, replica: &Path) -> usize {
    let found = Listing::of(replica);
    let extra = found.0.keys().filter(|path| !wanted.0.contains_key(*path)).count();
    let wrong = wanted.0.iter().filter(|(path, entry)| {
        found.0.get(*path) != Some(*entry)
            || (matches!(entry, Entry::File { .. })
                && !same(&source.join(path), &replica.join(path)).unwrap_or(false))
    });
    extra + wrong.count()
}

/// Paths in which two trees differ.
pub(crate) fn different(source: &Path, replica: &Path) -> usize {
    differences(&Listing::of(source), source, replica)
}

fn same(one: &Path, other: &Path) -> Outcome<bool> {
    let (mut one, mut other) = (File::open(one)?, File::open(other)?);
    let (mut left, mut right) = (vec![0; 1 << 18], vec![0; 1 << 18]);
    loop {
        let (here, there) = (fill(&mut one, &mut left)?, fill(&mut other, &mut right)?);
        if left.get(..here) != right.get(..there) {
            return Ok(false);
        }
        if here == 0 {
            return Ok(true);
        }
    }
}

fn fill(file: &mut File, buffer: &mut [u8]) -> Outcome<usize> {
    let mut filled = 0;
    while let Some(rest) = buffer.get_mut(filled..).filter(|rest| !rest.is_empty()) {
        match file.read(rest)? {
            0 => break,
            more => filled += more,
        }
    }
    Ok(filled)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_equal_trees_are_equal() {
        let top = std::env::temp_dir().join(format!("bench-compare-{}", std::process::id()));
        let (one, other) = (top.join("one"), top.join("other"));
        fs::create_dir_all(one.join("d")).unwrap();
        fs::create_dir_all(other.join("d")).unwrap();
        let wait = || wait_equal(&one, &other, Instant::now(), Duration::from_millis(20));
        assert!(wait().is_equal());
        fs::write(one.join("d/f"), "abc").unwrap();
        assert_eq!(wait().wrong, 1);
        fs::write(other.join("d/f"), "abd").unwrap();
        let written = File::open(one.join("d/f")).unwrap().metadata().unwrap().modified().unwrap();
        File::options().write(true).open(other.join("d/f")).unwrap().set_modified(written).unwrap();
        assert!(Listing::of(&one) == Listing::of(&other));
        assert_eq!(different(&one, &other), 1);
        assert_eq!(wait().wrong, 1, "same size and time, other contents");
        fs::write(other.join("extra"), "").unwrap();
        assert_eq!(wait().wrong, 2);
        fs::remove_dir_all(top).unwrap();
    }
}
