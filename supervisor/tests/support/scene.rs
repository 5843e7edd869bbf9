//! What is done to the source of a [`Mirror`], said shortly; and what a tree holds, said exactly.

use std::cell::RefCell;
use std::fs::{self, File, FileTimes, OpenOptions, Permissions};
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use nix::sys::stat::Mode;
use nix::unistd::mkfifo;

use super::{Mirror, walk, write};

/// Modes that no umask brings about: a listing shows them, and no others.
const TOLD_MODES: [u32; 2] = [0o604, 0o705];

/// The first source of a mirror, its surroundings, and those who change them. Paths are those
/// below the source.
pub struct Scene {
    /// Where it plays.
    pub mirror: Mirror,
    held: RefCell<Vec<File>>,
}

impl Scene {
    /// Of this mirror.
    pub fn new(mirror: Mirror) -> Scene {
        Scene { mirror, held: RefCell::default() }
    }

    /// A path below the source.
    pub fn at(&self, path: impl AsRef<Path>) -> PathBuf {
        self.mirror.sources[0].join(path)
    }

    /// A path on the same file system that is not watched.
    pub fn outside(&self, path: impl AsRef<Path>) -> PathBuf {
        self.mirror.dir.join("outside").join(path)
    }

    /// Writes a file, making the directories above it.
    pub fn write(&self, path: impl AsRef<Path>, content: impl AsRef<[u8]>) -> &Self {
        write(self.at(path), content);
        self
    }

    /// Writes a file outside.
    pub fn write_outside(&self, path: impl AsRef<Path>, content: impl AsRef<[u8]>) -> &Self {
        write(self.outside(path), content);
        self
    }

    /// Writes a file on every remote, behind the back of everybody.
    pub fn write_there(&self, path: impl AsRef<Path>, content: impl AsRef<[u8]>) -> &Self {
        for replica in &self.mirror.replicas {
            write(replica.join(path.as_ref()), content.as_ref());
        }
        self
    }

    /// Does what [`Mirror`] has no short word for.
    pub fn act(&self, act: impl FnOnce(&Mirror)) -> &Self {
        act(&self.mirror);
        self
    }

    /// Adds to the end of a file.
    pub fn append(&self, path: impl AsRef<Path>, content: &str) -> &Self {
        let mut file = OpenOptions::new().append(true).open(self.at(path)).unwrap();
        file.write_all(content.as_bytes()).unwrap();
        self
    }

    /// Shortens a file.
    pub fn truncate(&self, path: impl AsRef<Path>, size: u64) -> &Self {
        OpenOptions::new().write(true).open(self.at(path)).unwrap().set_len(size).unwrap();
        self
    }

    /// Writes to a file that stays open until [`Scene::close`].
    pub fn write_held(&self, path: impl AsRef<Path>, content: &str) -> &Self {
        let mut file = OpenOptions::new().create(true).append(true).open(self.at(path)).unwrap();
        file.write_all(content.as_bytes()).unwrap();
        self.held.borrow_mut().push(file);
        self
    }

    /// Closes what is held open.
    pub fn close(&self) -> &Self {
        self.held.borrow_mut().clear();
        self
    }

    /// Makes a directory and those above it.
    pub fn mkdir(&self, path: impl AsRef<Path>) -> &Self {
        fs::create_dir_all(self.at(path)).unwrap();
        self
    }

    /// Removes a file, or a directory with all it holds.
    pub fn remove(&self, path: impl AsRef<Path>) -> &Self {
        let path = self.at(path);
        let is_dir = path.symlink_metadata().unwrap().is_dir();
        if is_dir { fs::remove_dir_all(path) } else { fs::remove_file(path) }.unwrap();
        self
    }

    /// Renames.
    pub fn rename(&self, from: impl AsRef<Path>, to: impl AsRef<Path>) -> &Self {
        fs::rename(self.at(from), self.at(to)).unwrap();
        self
    }

    /// Moves what has this name outside into the source.
    pub fn move_in(&self, name: impl AsRef<Path>) -> &Self {
        fs::rename(self.outside(name.as_ref()), self.at(name)).unwrap();
        self
    }

    /// Moves something in the source's root outside.
    pub fn move_out(&self, name: impl AsRef<Path>) -> &Self {
        fs::create_dir_all(self.outside("")).unwrap();
        fs::rename(self.at(name.as_ref()), self.outside(name)).unwrap();
        self
    }

    /// Makes a symbolic link.
    pub fn symlink(&self, target: impl AsRef<Path>, path: impl AsRef<Path>) -> &Self {
        symlink(target, self.at(path)).unwrap();
        self
    }

    /// Gives a file another name.
    pub fn link(&self, from: impl AsRef<Path>, to: impl AsRef<Path>) -> &Self {
        fs::hard_link(self.at(from), self.at(to)).unwrap();
        self
    }

    /// Makes a named pipe.
    pub fn fifo(&self, path: impl AsRef<Path>) -> &Self {
        mkfifo(&self.at(path), Mode::from_bits_truncate(0o644)).unwrap();
        self
    }

    /// Changes a mode, to one of those that listings show.
    pub fn chmod(&self, path: impl AsRef<Path>, mode: u32) -> &Self {
        assert!(TOLD_MODES.contains(&mode), "no listing shows {mode:o}");
        fs::set_permissions(self.at(path), Permissions::from_mode(mode)).unwrap();
        self
    }

    /// Makes a file in the source, or of another absolute path, old.
    pub fn make_old(&self, path: impl AsRef<Path>) -> &Self {
        let time = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000_000);
        let times = FileTimes::new().set_modified(time).set_accessed(time);
        File::open(self.at(path)).unwrap().set_times(times).unwrap();
        self
    }
}

/// One line for everything below `top`, sorted: `directory/`, `file=content`, `link -> target`,
/// `pipe|`, and behind it the mode where it is one of [`TOLD_MODES`]. Unprintable bytes, quotes
/// and backslashes are escaped as in Rust; of a long content only the size is told.
pub fn listing(top: &Path) -> Vec<String> {
    let mut lines: Vec<String> = walk(top).iter().filter_map(|path| line(top, path)).collect();
    lines.sort();
    lines
}

/// The line of a file with this content.
pub fn file(name: impl AsRef<Path>, content: &str) -> String {
    format!("{}={}", shown(name.as_ref()), content.as_bytes().escape_ascii())
}

/// The line of a directory.
pub fn directory(name: impl AsRef<Path>) -> String {
    format!("{}/", shown(name.as_ref()))
}

/// `None` for what has gone meanwhile.
fn line(top: &Path, path: &Path) -> Option<String> {
    let metadata = path.symlink_metadata().ok()?;
    let (name, kind) = (shown(path.strip_prefix(top).ok()?), metadata.file_type());
    let mode = metadata.permissions().mode() & 0o7777;
    let mode = if TOLD_MODES.contains(&mode) { format!(" {mode:o}") } else { String::new() };
    Some(if kind.is_dir() {
        format!("{name}/{mode}")
    } else if kind.is_symlink() {
        format!("{name} -> {}", shown(&fs::read_link(path).ok()?))
    } else if kind.is_fifo() {
        format!("{name}|{mode}")
    } else {
        let content = fs::read(path).ok()?;
        let short = (content.len() <= 100).then(|| content.escape_ascii().to_string());
        format!("{name}={}{mode}", short.unwrap_or_else(|| format!("<{} bytes>", content.len())))
    })
}

fn shown(path: &Path) -> String {
    path.as_os_str().as_bytes().escape_ascii().to_string()
}
