//! A remote that only does what it is told, and the operations that it has to follow.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::time::{Duration, Instant};

use common::event::{Change, Dirt};
use common::message::WatcherReport;
use nix::fcntl::{AT_FDCWD, RenameFlags, renameat2};

use super::Bench;
use crate::translate::bits;

/// What a remote would hold: directories, and files with their content.
pub(super) type Replica = BTreeMap<Vec<u8>, Option<Vec<u8>>>;

/// Brings `path` over as it is at this moment, as a transfer would.
pub(super) fn bring(replica: &mut Replica, root: &Path, path: &[u8], deep: bool) {
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
pub(super) struct Remote {
    root: std::path::PathBuf,
    pub(super) replica: Replica,
    /// What was last read as a whole, and when.
    deep: Vec<(Instant, Vec<u8>)>,
}

impl Remote {
    pub(super) fn of(bench: &Bench) -> Remote {
        let root = bench.at("");
        Remote { replica: source(&root), root, deep: Vec::new() }
    }

    pub(super) fn obey(&mut self, report: &WatcherReport) {
        match report {
            WatcherReport::Changes(_, changes) => changes.iter().for_each(|change| self.change(change)),
            WatcherReport::Rescan { path, .. } => self.bring(path.as_bytes(), true),
            // Says nothing of what is dirty.
            WatcherReport::Moved { .. } => {}
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

    pub(super) fn bring(&mut self, path: &[u8], deep: bool) {
        bring(&mut self.replica, &self.root, path, deep);
        if deep {
            self.deep.retain(|(at, _)| at.elapsed() < Duration::from_secs(1));
            self.deep.push((Instant::now(), path.to_vec()));
        }
    }

    pub(super) fn is_equal(&self) -> bool {
        self.replica == source(&self.root)
    }
}

pub(super) fn source(root: &Path) -> Replica {
    let mut replica = Replica::new();
    bring(&mut replica, root, b"", true);
    replica
}

pub(super) fn difference(replica: &Replica, source: &Replica) -> String {
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
pub(super) struct Random(pub(super) u64);

impl Random {
    pub(super) fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % limit
    }
}

pub(super) fn play(random: &mut Random, root: &Path, operations: u64) {
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
