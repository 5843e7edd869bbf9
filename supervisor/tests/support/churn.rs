//! Random changes to a tree, everything that a file system lets an ordinary program do.
//!
//! Whenever a file's content changes, its size becomes one that no file had before: two files
//! that share size and time but not content are beyond any rsync without checksums.

use std::ffi::OsString;
use std::fs::{self, FileTimes, OpenOptions, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use nix::fcntl::{AT_FDCWD, RenameFlags, renameat2};

use super::random::Random;
use super::{is_root, names};

/// Deepest directory below the root.
const DEPTH: usize = 5;
/// Above this many entries in one directory, more is removed than made.
const CROWDED: usize = 24;
/// Sizes after a write; those after a truncation lie below.
const FIRST_SIZE: u64 = 6_000;

type Change = fn(&mut Churn) -> io::Result<()>;

/// What may happen, and how often.
const CHANGES: [(u64, Change); 24] = [
    (10, Churn::create),
    (8, Churn::overwrite),
    (8, Churn::append),
    (5, Churn::truncate),
    (6, Churn::save_as_editor),
    (5, Churn::chmod_file),
    (4, Churn::chmod_directory),
    (4, Churn::touch),
    (2, Churn::chown),
    (8, Churn::rename_within),
    (8, Churn::rename_across),
    (5, Churn::rename_directory),
    (5, Churn::rename_over),
    (4, Churn::swap_directories),
    (4, Churn::swap_anything),
    (5, Churn::directory_for_file),
    (5, Churn::file_for_directory),
    (5, Churn::link_symbolically),
    (6, Churn::link_hard),
    (6, Churn::write_through_link),
    (6, Churn::make_directories),
    (4, Churn::copy_tree),
    (9, Churn::remove),
    (4, Churn::remove_tree),
];

/// The one who churns.
pub struct Churn {
    root: PathBuf,
    random: Random,
    names: Vec<OsString>,
    written: u64,
    truncated: u64,
    /// Files that got a second name.
    linked: Vec<PathBuf>,
}

impl Churn {
    /// Will change what is below `root`.
    pub fn new(root: &Path, seed: u64) -> Churn {
        let plain = ["a", "b", "c", "d", "e.txt", "f~", ".g", ".h.swp", "4913", "i.tmp"];
        let names = plain.iter().map(OsString::from).chain(names::hostile()).collect();
        let root = root.to_owned();
        Churn { root, random: Random(seed), names, written: 0, truncated: 0, linked: Vec::new() }
    }

    /// Makes so many changes, calling `between` after each.
    pub fn run(&mut self, changes: u64, mut between: impl FnMut(&mut Random)) {
        for _ in 0..changes {
            self.change();
            between(&mut self.random);
        }
    }

    /// Makes one change. One that cannot be made, like writing to a read-only file, is none;
    /// chance takes another way then.
    fn change(&mut self) {
        let total = CHANGES.iter().map(|change| change.0).sum();
        for _ in 0..20 {
            let mut n = self.random.below(total);
            let chosen = CHANGES.iter().find(|change| match n.checked_sub(change.0) {
                Some(left) => {
                    n = left;
                    false
                }
                None => true,
            });
            if chosen.is_some_and(|change| change.1(self).is_ok()) {
                return;
            }
        }
    }

    fn create(&mut self) -> io::Result<()> {
        let path = self.free()?;
        let content = self.content();
        let mut file = OpenOptions::new().write(true).create_new(true).open(path)?;
        file.write_all(&content)
    }

    fn overwrite(&mut self) -> io::Result<()> {
        let path = self.file()?;
        fs::write(path, self.content())
    }

    fn append(&mut self) -> io::Result<()> {
        let path = self.file()?;
        self.extend(&path)
    }

    fn truncate(&mut self) -> io::Result<()> {
        let path = self.file()?;
        self.truncated += 1;
        OpenOptions::new().write(true).open(path)?.set_len(self.truncated % FIRST_SIZE)
    }

    fn save_as_editor(&mut self) -> io::Result<()> {
        let path = self.file()?;
        let backup = sibling(&path, "~");
        if self.random.once_in(2) {
            fs::rename(&path, &backup)?;
            fs::write(path, self.content())
        } else {
            fs::write(&backup, self.content())?;
            fs::rename(backup, path)
        }
    }

    fn chmod_file(&mut self) -> io::Result<()> {
        let path = self.single()?;
        let mode = *self.random.of(&[0o600, 0o644, 0o640, 0o755, 0o444, 0o400, 0o666]).unwrap_or(&0o600);
        fs::set_permissions(path, Permissions::from_mode(mode))
    }

    fn chmod_directory(&mut self) -> io::Result<()> {
        let path = self.directory()?;
        let mode = *self.random.of(&[0o700, 0o755, 0o750, 0o777]).unwrap_or(&0o700);
        fs::set_permissions(path, Permissions::from_mode(mode))
    }

    fn touch(&mut self) -> io::Result<()> {
        let path = self.single()?;
        let time =
            SystemTime::UNIX_EPOCH + Duration::from_nanos(self.random.below(2_000_000_000_000_000_000));
        // Both, as utimes(2) does: one alone is IN_MODIFY to inotify, not IN_ATTRIB.
        fs::File::open(path)?.set_times(FileTimes::new().set_modified(time).set_accessed(time))
    }

    fn chown(&mut self) -> io::Result<()> {
        let owner = is_root().then(|| 1000 + u32::try_from(self.random.below(5)).unwrap());
        let path = self.find(|path| is_directory(path) || has_one_name(path))?;
        std::os::unix::fs::lchown(path, owner, owner)
    }

    fn rename_within(&mut self) -> io::Result<()> {
        let path = self.any()?;
        let name = self.name();
        fs::rename(&path, path.with_file_name(name))
    }

    fn rename_across(&mut self) -> io::Result<()> {
        let (from, to) = (self.any()?, self.free()?);
        fs::rename(from, to)
    }

    fn rename_directory(&mut self) -> io::Result<()> {
        let (from, to) = (self.directory()?, self.free()?);
        fs::rename(from, to)
    }

    fn rename_over(&mut self) -> io::Result<()> {
        let (from, to) = (self.file()?, self.file()?);
        fs::rename(from, to)
    }

    fn swap_directories(&mut self) -> io::Result<()> {
        let (one, other) = (self.directory()?, self.directory()?);
        if self.random.once_in(2) {
            return exchange(&one, &other);
        }
        let aside = sibling(&one, ".aside");
        fs::rename(&one, &aside)?;
        // Where one is within the other, the first goes back.
        let other = fs::rename(&other, &one).map(|()| other).unwrap_or(one);
        fs::rename(aside, other)
    }

    fn swap_anything(&mut self) -> io::Result<()> {
        let (one, other) = (self.any()?, self.any()?);
        exchange(&one, &other)
    }

    fn directory_for_file(&mut self) -> io::Result<()> {
        let path = self.file()?;
        fs::remove_file(&path)?;
        fs::create_dir(&path)?;
        let name = self.name();
        fs::write(path.join(name), self.content())
    }

    fn file_for_directory(&mut self) -> io::Result<()> {
        let path = self.directory()?;
        fs::remove_dir_all(&path)?;
        fs::write(path, self.content())
    }

    fn link_symbolically(&mut self) -> io::Result<()> {
        let path = self.free()?;
        // A daemon that is not in a chroot changes the targets of links that lead out of its tree.
        let target = match self.random.below(3) {
            0 => PathBuf::from("."),
            1 => Path::new(&self.name()).join(self.name()),
            _ => self.name().into(),
        };
        symlink(target, path)
    }

    fn link_hard(&mut self) -> io::Result<()> {
        let (from, to) = (self.file()?, self.free()?);
        fs::hard_link(&from, &to)?;
        self.linked.extend([from, to]);
        Ok(())
    }

    fn write_through_link(&mut self) -> io::Result<()> {
        let path = self.random.of(&self.linked).cloned().ok_or(io::ErrorKind::NotFound)?;
        // By now it may be a directory, or a link out of the tree.
        if !path.symlink_metadata()?.is_file() {
            return Err(io::ErrorKind::NotFound.into());
        }
        self.extend(&path)
    }

    fn make_directories(&mut self) -> io::Result<()> {
        let mut path = self.free()?;
        for _ in 0..self.random.below(3) {
            path.push(self.name());
        }
        if path.components().count() > self.root.components().count() + DEPTH {
            return Err(io::ErrorKind::InvalidFilename.into());
        }
        fs::create_dir_all(&path)?;
        let name = self.name();
        fs::write(path.join(name), self.content())
    }

    fn copy_tree(&mut self) -> io::Result<()> {
        let (from, to) = (self.directory()?, self.free()?);
        if to.starts_with(&from) {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        fs::create_dir(&to)?;
        for entry in sorted(&from)? {
            let target = to.join(entry.file_name().unwrap_or_default());
            if entry.symlink_metadata()?.is_file() {
                fs::write(target, self.content())?;
            } else {
                fs::create_dir(&target)?;
                fs::write(target.join("inner"), self.content())?;
            }
        }
        Ok(())
    }

    fn remove(&mut self) -> io::Result<()> {
        let path = self.any()?;
        if path.symlink_metadata()?.is_dir() { fs::remove_dir(path) } else { fs::remove_file(path) }
    }

    fn remove_tree(&mut self) -> io::Result<()> {
        fs::remove_dir_all(self.directory()?)
    }

    fn extend(&mut self, path: &Path) -> io::Result<()> {
        let size = path.symlink_metadata()?.len();
        self.written += 1;
        let content = vec![b'+'; usize::try_from((FIRST_SIZE + self.written).saturating_sub(size)).unwrap()];
        OpenOptions::new().append(true).open(path)?.write_all(&content)
    }

    /// Of a size that no content had before.
    fn content(&mut self) -> Vec<u8> {
        self.written += 1;
        let byte = u8::try_from(self.random.below(256)).unwrap();
        vec![byte; usize::try_from(FIRST_SIZE + self.written).unwrap()]
    }

    fn name(&mut self) -> OsString {
        self.random.of(&self.names).cloned().unwrap_or_default()
    }

    /// An entry that is there, of any kind.
    fn any(&mut self) -> io::Result<PathBuf> {
        self.find(|_| true)
    }

    fn file(&mut self) -> io::Result<PathBuf> {
        self.find(|path| path.symlink_metadata().is_ok_and(|found| found.is_file()))
    }

    /// A file whose attributes are no other name's: without `-r` and `-H` each has them by its own
    /// events.
    fn single(&mut self) -> io::Result<PathBuf> {
        self.find(|path| path.symlink_metadata().is_ok_and(|found| found.is_file()) && has_one_name(path))
    }

    fn directory(&mut self) -> io::Result<PathBuf> {
        self.find(|path| path.symlink_metadata().is_ok_and(|found| found.is_dir()))
    }

    /// A name that is not taken, in a directory that is not crowded.
    fn free(&mut self) -> io::Result<PathBuf> {
        let parent = if self.random.once_in(3) { self.root.clone() } else { self.directory()? };
        let depth = parent.components().count() - self.root.components().count();
        let path = parent.join(self.name());
        let usable = depth < DEPTH && sorted(&parent)?.len() < CROWDED && path.symlink_metadata().is_err();
        if usable { Ok(path) } else { Err(io::ErrorKind::AlreadyExists.into()) }
    }

    /// Goes down from the root by chance, and stops by chance at something `wanted`.
    fn find(&mut self, wanted: impl Fn(&Path) -> bool) -> io::Result<PathBuf> {
        let mut at = self.root.clone();
        loop {
            let entries = sorted(&at)?;
            let fitting: Vec<PathBuf> = entries.iter().filter(|path| wanted(path)).cloned().collect();
            let deeper: Vec<PathBuf> = entries.into_iter().filter(|path| is_directory(path)).collect();
            let stop = deeper.is_empty() || (!fitting.is_empty() && self.random.once_in(2));
            let next = if stop { self.random.of(&fitting) } else { self.random.of(&deeper) };
            at = next.cloned().ok_or(io::ErrorKind::NotFound)?;
            if stop {
                return Ok(at);
            }
        }
    }
}

fn has_one_name(path: &Path) -> bool {
    path.symlink_metadata().is_ok_and(|found| found.nlink() == 1)
}

fn is_directory(path: &Path) -> bool {
    path.symlink_metadata().is_ok_and(|found| found.is_dir())
}

/// What a directory holds, in an order that the seed alone decides.
fn sorted(directory: &Path) -> io::Result<Vec<PathBuf>> {
    let mut entries: Vec<PathBuf> = fs::read_dir(directory)?.flatten().map(|entry| entry.path()).collect();
    entries.sort();
    Ok(entries)
}

fn sibling(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

fn exchange(one: &Path, other: &Path) -> io::Result<()> {
    Ok(renameat2(AT_FDCWD, one, AT_FDCWD, other, RenameFlags::RENAME_EXCHANGE)?)
}
