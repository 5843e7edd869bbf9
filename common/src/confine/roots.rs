//! The way to a watched directory. A process that may read everything must not be led elsewhere
//! by whoever owns a directory above: a symlink counts if root made it, or if it leads to what
//! its owner owns. (The kernel's `protected_symlinks` asks the same in `/tmp`.)

use std::collections::VecDeque;
use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Component, Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, OFlag, OpenHow, ResolveFlag, openat, openat2};
use nix::sys::stat::Mode;

/// Most symlinks on the way, as the kernel has it.
const MAX_LINKS: usize = 40;
const ROOT: u32 = 0;

/// Opens what stands at `path`, as a place only (`O_PATH`).
pub(super) fn open(path: &Path) -> io::Result<File> {
    let way = follow(path)?;
    let file = without_links(&way.end)?;
    let owner = file.metadata()?.uid();
    match way.links.iter().find(|(_, maker)| *maker != ROOT && *maker != owner) {
        None => Ok(file),
        Some((link, maker)) => Err(io::Error::other(format!(
            "the symlink {} of uid {maker} leads to what belongs to uid {owner}; chown -h root it, or name the \
             directory itself",
            crate::log::Shown(link.as_os_str())
        ))),
    }
}

const PLACE: OFlag = OFlag::O_PATH.union(OFlag::O_CLOEXEC);

/// Nothing is followed any more: what was looked at may have been exchanged since.
fn without_links(path: &Path) -> io::Result<File> {
    let how = OpenHow::new().flags(PLACE).resolve(ResolveFlag::RESOLVE_NO_SYMLINKS);
    match openat2(AT_FDCWD, path, how) {
        // systemd answers so where a unit says RestrictSUIDSGID=, as ours do: it cannot see the mode
        // that the call may have.
        Err(Errno::ENOSYS | Errno::EPERM) => step_by_step(path),
        result => Ok(File::from(result?)),
    }
}

/// The same, one component at a time.
fn step_by_step(path: &Path) -> io::Result<File> {
    let mut place = File::from(openat(AT_FDCWD, "/", PLACE, Mode::empty())?);
    for word in words(path) {
        place = File::from(openat(&place, word.as_os_str(), PLACE | OFlag::O_NOFOLLOW, Mode::empty())?);
        // With these flags a symlink is opened itself.
        if place.metadata()?.is_symlink() {
            return Err(Errno::ELOOP.into());
        }
    }
    Ok(place)
}

struct Way {
    /// Without symlinks, as far as could be seen.
    end: PathBuf,
    /// Those that were followed, and who made them.
    links: Vec<(PathBuf, u32)>,
}

fn follow(path: &Path) -> io::Result<Way> {
    let mut way = Way { end: PathBuf::from("/"), links: Vec::new() };
    let mut ahead: VecDeque<OsString> = words(path).collect();
    while let Some(word) = ahead.pop_front() {
        if word == ".." {
            way.end.pop();
            continue;
        }
        let next = way.end.join(&word);
        let found = next.symlink_metadata()?;
        if !found.is_symlink() {
            way.end = next;
            continue;
        }
        if way.links.len() >= MAX_LINKS {
            return Err(io::Error::from(nix::errno::Errno::ELOOP));
        }
        let target = fs::read_link(&next)?;
        if target.is_absolute() {
            way.end = PathBuf::from("/");
        }
        for word in words(&target).collect::<Vec<_>>().into_iter().rev() {
            ahead.push_front(word);
        }
        way.links.push((next, found.uid()));
    }
    Ok(way)
}

/// The names of a path, `..` among them.
fn words(path: &Path) -> impl Iterator<Item = OsString> {
    path.components().filter_map(|component| match component {
        Component::Normal(name) => Some(name.to_owned()),
        Component::ParentDir => Some(OsStr::new("..").to_owned()),
        Component::RootDir | Component::CurDir | Component::Prefix(_) => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{chown, lchown, symlink};

    /// A unit with `RestrictSUIDSGID=` has no openat2: its watcher found no root at all.
    #[test]
    fn the_way_without_openat2() {
        let directory = tempfile::tempdir().unwrap();
        let base = directory.path().canonicalize().unwrap();
        let at = |name: &str| base.join(name);
        fs::create_dir_all(at("a/b")).unwrap();
        fs::write(at("file"), "").unwrap();
        symlink("a", at("link")).unwrap();
        for open in [without_links, step_by_step] {
            let inode = |path: &Path| open(path).map(|file| file.metadata().unwrap().ino());
            for path in [at("a/b"), at("file"), "/".into()] {
                assert_eq!(inode(&path).unwrap(), path.metadata().unwrap().ino(), "{}", path.display());
            }
            for (path, error) in [
                ("link", libc::ELOOP),
                ("link/b", libc::ELOOP),
                ("file/x", libc::ENOTDIR),
                ("none", libc::ENOENT),
            ] {
                assert_eq!(inode(&at(path)).unwrap_err().raw_os_error(), Some(error), "{path}");
            }
        }
    }

    #[test]
    fn a_way_that_somebody_else_bent() {
        if !nix::unistd::geteuid().is_root() {
            return eprintln!("skipped: needs root");
        }
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name);
        for name in ["ours", "theirs", "theirs/below"] {
            fs::create_dir(at(name)).unwrap();
        }
        chown(at("theirs"), Some(7), Some(7)).unwrap();
        chown(at("theirs/below"), Some(7), Some(7)).unwrap();
        symlink("../ours", at("theirs/to-ours")).unwrap();
        symlink("below/.", at("theirs/to-theirs")).unwrap();
        symlink(at("theirs/to-ours"), at("roots")).unwrap();
        symlink("loop", at("loop")).unwrap();
        assert!(open(&at("theirs/to-ours")).is_ok(), "made by root");
        for link in ["theirs/to-ours", "theirs/to-theirs"] {
            lchown(at(link), Some(7), Some(7)).unwrap();
        }
        let refused = open(&at("theirs/to-ours")).unwrap_err().to_string();
        assert!(refused.contains("of uid 7 leads to what belongs to uid 0"), "{refused}");
        assert!(open(&at("roots")).is_err(), "by a detour");
        let same = |path: &str, real: &str| {
            open(&at(path)).unwrap().metadata().unwrap().ino() == at(real).metadata().unwrap().ino()
        };
        assert!(same("theirs/to-theirs", "theirs/below"));
        assert!(same("theirs/below/../../ours", "ours"));
        assert!(open(&at("theirs/to-theirs/../../ours")).is_err(), "over a link of theirs");
        assert_eq!(open(&at("loop")).unwrap_err().raw_os_error(), Some(libc::ELOOP));
        assert!(open(&at("missing")).is_err());
    }
}
