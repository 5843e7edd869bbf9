//! Paths that were reported since the last commit, in two files on a tmpfs: a file that is made, sent
//! and removed again within that second, before everything is killed, would stay on the remotes for
//! ever, since nobody would know its name. Writing them costs microseconds and waits for no disk;
//! what a loss of power takes with it is what a commit had not written either.

use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::FileExt;
use std::path::PathBuf;

use common::event::{Change, Dirt};
use common::path::RelPath;
use log::warn;

use crate::operator_file::Owner;

/// Most bytes in one of the files.
const MAX_BYTES: u64 = 16 << 20;
/// What stands before a path: the number of its tree, its dirt, its length.
const HEAD: usize = 8 + 1 + 2;

/// The two files.
#[derive(Debug)]
pub struct Recent {
    files: [File; 2],
    paths: [PathBuf; 2],
    lengths: [u64; 2],
    current: usize,
    broken: bool,
}

/// What an earlier run left: each path with the number of its tree.
pub type Left = Vec<(u64, RelPath, Dirt)>;

impl Recent {
    /// Takes over both files, and what is in them. It stays there until the first commit.
    pub fn open(opened: [(PathBuf, File); 2]) -> io::Result<(Recent, Left)> {
        let [(first, one), (second, other)] = opened;
        let (paths, mut files) = ([first, second], [one, other]);
        let mut left = Vec::new();
        for file in &mut files {
            let mut bytes = Vec::new();
            file.seek(SeekFrom::Start(0))?;
            file.take(MAX_BYTES).read_to_end(&mut bytes)?;
            parse(&bytes, &mut left);
        }
        let [first, second] = &mut files;
        // All of it into the first, so that the second is free for what comes.
        second.set_len(0)?;
        second.seek(SeekFrom::Start(0))?;
        first.set_len(0)?;
        first.seek(SeekFrom::Start(0))?;
        // What was cut off must not spoil what comes after it.
        let mut all = Vec::new();
        for (tree, path, dirt) in &left {
            encode(&mut all, *tree, path, *dirt);
        }
        first.write_all(&all)?;
        let length = u64::try_from(all.len()).unwrap_or(u64::MAX);
        Ok((Recent { files, paths, lengths: [length, 0], current: 1, broken: false }, left))
    }

    /// Notes changes of the tree with that number.
    pub fn note(&mut self, tree: u64, changes: &[Change]) {
        let mut bytes = Vec::with_capacity(changes.len().saturating_mul(64));
        for change in changes {
            encode(&mut bytes, tree, &change.path, change.dirt);
        }
        let (Some(file), Some(length)) =
            (self.files.get_mut(self.current), self.lengths.get_mut(self.current))
        else {
            return;
        };
        let longer = length.saturating_add(u64::try_from(bytes.len()).unwrap_or(u64::MAX));
        let written = if longer > MAX_BYTES {
            Err(io::Error::other("too many changes since the last commit"))
        } else {
            file.write_all(&bytes).inspect_err(|_| {
                // The half that was written would be in the way of what follows.
                let _ = file.set_len(*length).and_then(|()| file.seek(SeekFrom::Start(*length)));
            })
        };
        match written {
            Ok(()) => *length = longer,
            Err(error) if !std::mem::replace(&mut self.broken, true) => warn!(
                "recent changes cannot be noted: {error}; what is made and removed again just before everything is \
                 killed may stay on the remotes"
            ),
            Err(_) => {}
        }
    }

    /// All that is in them: what was reported and is not committed, and perhaps more.
    pub fn recall(&self) -> Left {
        let mut left = Vec::new();
        for (file, length) in self.files.iter().zip(self.lengths) {
            let mut bytes = vec![0; usize::try_from(length.min(MAX_BYTES)).unwrap_or(0)];
            if file.read_exact_at(&mut bytes, 0).is_ok() {
                parse(&bytes, &mut left);
            }
        }
        left
    }

    /// After an orderly end: removes the files, unless something is in them.
    pub fn remove(self, owner: Owner) {
        for path in self.paths.iter().filter(|_| self.lengths == [0, 0]) {
            let _ = fs::remove_file(path).or_else(|_| owner.work(|| fs::remove_file(path)));
        }
    }

    /// A commit of all that happened until now begins.
    pub fn rotate(&mut self) {
        let other = 1_usize.saturating_sub(self.current);
        if self.lengths.get(other) == Some(&0) {
            self.current = other;
        }
    }

    /// It is done.
    pub fn settle(&mut self) {
        let other = 1_usize.saturating_sub(self.current);
        let (Some(file), Some(length)) = (self.files.get_mut(other), self.lengths.get_mut(other)) else {
            return;
        };
        if *length > 0 && file.set_len(0).and_then(|()| file.seek(SeekFrom::Start(0))).is_ok() {
            *length = 0;
            self.broken = false;
        }
    }
}

fn encode(bytes: &mut Vec<u8>, tree: u64, path: &RelPath, dirt: Dirt) {
    let path = path.as_bytes();
    // A path has at most 4095 bytes.
    let length = u16::try_from(path.len()).unwrap_or(u16::MAX);
    bytes.extend_from_slice(&tree.to_le_bytes());
    bytes.push(dirt.number());
    bytes.extend_from_slice(&length.to_le_bytes());
    bytes.extend_from_slice(path);
}

/// What was written whole; the end may have been cut off.
fn parse(mut bytes: &[u8], left: &mut Left) {
    while let Some((head, rest)) = bytes.split_at_checked(HEAD)
        && let Some((tree, &[code, low, high])) = head.split_first_chunk::<8>()
        && let Some((path, rest)) = rest.split_at_checked(usize::from(u16::from_le_bytes([low, high])))
    {
        bytes = rest;
        if let (Ok(path), Some(dirt)) = (RelPath::new(path), Dirt::of_number(code)) {
            left.push((u64::from_le_bytes(*tree), path, dirt));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn change(path: &str, dirt: Dirt) -> Change {
        Change { path: RelPath::new(path).unwrap(), dirt, mask: 0 }
    }

    fn files() -> [File; 2] {
        [(); 2].map(|()| tempfile::tempfile().unwrap())
    }

    fn clones(files: &[File; 2]) -> [(PathBuf, File); 2] {
        [0, 1].map(|n: usize| (PathBuf::new(), files[n].try_clone().unwrap()))
    }

    fn left(files: &[File; 2]) -> Vec<String> {
        let (_, left) = Recent::open(clones(files)).unwrap();
        left.into_iter().map(|(tree, path, dirt)| format!("{tree} {path} {dirt:?}")).collect()
    }

    #[test]
    fn what_is_not_committed_is_left() {
        let files = files();
        let (mut recent, before) = Recent::open(clones(&files)).unwrap();
        assert!(before.is_empty());
        recent.note(7, &[change("a", Dirt::Touched), change("b/c", Dirt::Deep)]);
        recent.rotate();
        recent.note(8, &[change("z", Dirt::Sweep)]);
        recent.settle();
        assert_eq!(left(&files), ["8 \"z\" Sweep"]);
    }

    #[test]
    fn a_commit_that_fails_forgets_nothing() {
        let files = files();
        let (mut recent, _) = Recent::open(clones(&files)).unwrap();
        for name in ["a", "b", "c"] {
            recent.note(1, &[change(name, Dirt::Removed)]);
            recent.rotate();
        }
        recent.settle();
        recent.rotate();
        recent.note(1, &[change("d", Dirt::Touched)]);
        recent.settle();
        assert_eq!(left(&files).len(), 1, "{:?}", left(&files));
    }

    #[test]
    fn rubbish_is_passed_over() {
        for bytes in [&b"x"[..], &[0; 200], &[255; 4000], b"12345678\x00\x05\x00a/../b"] {
            let mut found = Vec::new();
            parse(bytes, &mut found);
            assert!(found.iter().all(|(_, path, _)| path.is_root()), "{found:?}");
        }
    }
}
