//! Files that the supervisor writes for the operator, in directories that others may write too
//! (`/tmp`): the fail log and the CDN's log. Never through a symlink, never into what is not a
//! plain file of the owner's, and readable by the owner alone. A supervisor that root started is
//! root no more when it writes: see [`Owner`].

use std::ffi::{OsStr, OsString};
use std::fs::{self, File, Metadata, OpenOptions};
use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;

use common::confine::{Identity, with_files_of};
use nix::fcntl::OFlag;
use nix::unistd::geteuid;

/// Mode of the files.
const MODE: u32 = 0o600;

/// Whose files they are: whoever started the supervisor, whatever it has become since.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Owner(Option<Identity>);

impl Owner {
    /// For a supervisor that `starter` started and that becomes somebody else; `None` for one
    /// that stays who it is.
    pub fn new(starter: Option<Identity>) -> Owner {
        Owner(starter)
    }

    /// Works on files as the owner. What others may not write stays closed to it: of root's
    /// rights over everybody's files nothing is left.
    pub fn work<T>(self, work: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
        with_files_of(self.0, work).map_err(|error| self.explained(error))
    }

    fn uid(self) -> u32 {
        self.0.map_or_else(|| geteuid().as_raw(), |starter| starter.uid)
    }

    fn explained(self, error: io::Error) -> io::Error {
        if self.0.is_none() || error.kind() != ErrorKind::PermissionDenied {
            return error;
        }
        let cure = "the supervisor is root no more and writes only where root needs no privilege to; \
                    let its directory belong to root";
        io::Error::new(ErrorKind::PermissionDenied, format!("{error}: {cure}"))
    }
}

/// Opens `path` to append to it; makes it where it does not exist.
pub fn append(owner: Owner, path: &Path) -> io::Result<File> {
    owner.work(|| {
        look_at(owner, path)?;
        let file =
            OpenOptions::new().append(true).create(true).mode(MODE).custom_flags(flags()).open(path)?;
        // What was looked at before may have been exchanged since.
        harmless(owner, &file.metadata()?)?;
        Ok(file)
    })
}

/// Puts `contents` at `path`: readers see the old or the new, never a half. Where the directory
/// takes no new file, the old one is written over.
pub fn replace(owner: Owner, path: &Path, contents: &[u8]) -> io::Result<()> {
    owner.work(|| put(owner, path, contents))
}

fn put(owner: Owner, path: &Path, contents: &[u8]) -> io::Result<()> {
    look_at(owner, path)?;
    let temporary = path.with_file_name(temporary_name(path));
    let made =
        OpenOptions::new().write(true).create_new(true).mode(MODE).custom_flags(flags()).open(&temporary);
    match made {
        Ok(mut file) => {
            let written = file.write_all(contents).and_then(|()| fs::rename(&temporary, path));
            if written.is_err() {
                let _ = fs::remove_file(&temporary);
            }
            written
        }
        Err(error) if matches!(error.kind(), ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem) => {
            write_over(owner, path, contents)
                .map_err(|second| if second.kind() == ErrorKind::NotFound { error } else { second })
        }
        Err(error) => Err(error),
    }
}

fn write_over(owner: Owner, path: &Path, contents: &[u8]) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).custom_flags(flags()).open(path)?;
    harmless(owner, &file.metadata()?)?;
    file.set_permissions(fs::Permissions::from_mode(MODE))?;
    file.set_len(0)?;
    file.write_all(contents)
}

/// Whether what stands at `path`, if anything, may be written. Its size in bytes.
pub fn checked(owner: Owner, path: &Path) -> io::Result<u64> {
    owner.work(|| look_at(owner, path))
}

/// The first `most` bytes of what stands at `path`; none where nothing does.
pub fn beginning(owner: Owner, path: &Path, most: u64) -> io::Result<Vec<u8>> {
    owner.work(|| {
        let mut bytes = Vec::new();
        if look_at(owner, path)? > 0 {
            let file = OpenOptions::new().read(true).custom_flags(flags()).open(path)?;
            harmless(owner, &file.metadata()?)?;
            file.take(most).read_to_end(&mut bytes)?;
        }
        Ok(bytes)
    })
}

fn look_at(owner: Owner, path: &Path) -> io::Result<u64> {
    match path.symlink_metadata() {
        Ok(found) => harmless(owner, &found).map(|()| found.len()),
        Err(error) if error.kind() == ErrorKind::NotFound => {
            let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty());
            match directory.map(Path::metadata) {
                Some(Err(error)) => Err(io::Error::new(error.kind(), format!("its directory: {error}"))),
                Some(Ok(_)) | None => Ok(0),
            }
        }
        Err(error) => Err(error),
    }
}

/// A plain file of the owner's without a second name.
pub(crate) fn harmless(owner: Owner, found: &Metadata) -> io::Result<()> {
    let kind = found.file_type();
    let why = if kind.is_symlink() {
        "it is a symlink"
    } else if !kind.is_file() {
        "it is not a plain file"
    } else if found.uid() != owner.uid() {
        "it belongs to another user"
    } else if found.nlink() > 1 {
        "it has a second name (hard link)"
    } else {
        return Ok(());
    };
    Err(io::Error::other(why))
}

/// `O_NONBLOCK` so that a fifo does not wait for its other end.
fn flags() -> i32 {
    (OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC).bits()
}

/// Cannot be foreseen: nobody is to make it first.
fn temporary_name(path: &Path) -> OsString {
    use std::hash::BuildHasher;
    let random = std::hash::RandomState::new().hash_one(path);
    let mut name = OsString::from(".");
    name.push(path.file_name().unwrap_or(OsStr::new("sersync")));
    name.push(format!(".{random:016x}"));
    name
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    const OURS: Owner = Owner(None);

    fn names(directory: &Path) -> Vec<OsString> {
        let mut names: Vec<_> =
            fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        names.sort();
        names
    }

    #[test]
    fn made_private_and_replaced() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("log");
        for contents in [&b"one"[..], b"", b"three"] {
            replace(OURS, &path, contents).unwrap();
            assert_eq!(fs::read(&path).unwrap(), contents);
            assert_eq!(path.metadata().unwrap().mode() & 0o7777, MODE);
        }
        append(OURS, &path).unwrap().write_all(b" four").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"three four");
        assert_eq!(names(directory.path()), ["log"]);
    }

    #[test]
    fn an_open_reader_keeps_the_old_one() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("log");
        fs::write(&path, "old").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o777)).unwrap();
        let mut reader = File::open(&path).unwrap();
        replace(OURS, &path, b"new").unwrap();
        assert_eq!(io::read_to_string(&mut reader).unwrap(), "old");
        assert_eq!(path.metadata().unwrap().mode() & 0o7777, MODE);
    }

    #[test]
    fn nothing_foreign_is_touched() {
        let directory = tempfile::tempdir().unwrap();
        let place = |name: &str| directory.path().join(name);
        fs::write(place("victim"), "untouched").unwrap();
        symlink(place("victim"), place("link")).unwrap();
        symlink(place("nothing"), place("dangling")).unwrap();
        nix::unistd::mkfifo(&place("fifo"), nix::sys::stat::Mode::S_IRWXU).unwrap();
        fs::hard_link(place("victim"), place("second")).unwrap();
        fs::create_dir(place("directory")).unwrap();
        let before = names(directory.path());
        for name in ["link", "dangling", "fifo", "second", "directory", "missing/log"] {
            assert!(replace(OURS, &place(name), b"x").is_err(), "{name}");
            assert!(append(OURS, &place(name)).is_err(), "{name}");
        }
        assert_eq!(fs::read(place("victim")).unwrap(), b"untouched");
        assert_eq!(names(directory.path()), before);
    }

    #[test]
    fn another_users_file_is_left_alone() {
        if !geteuid().is_root() {
            return;
        }
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("log");
        fs::write(&path, "theirs").unwrap();
        std::os::unix::fs::chown(&path, Some(65534), None).unwrap();
        let why = replace(OURS, &path, b"x").unwrap_err().to_string();
        assert_eq!(why, "it belongs to another user");
        assert_eq!(fs::read(&path).unwrap(), b"theirs");
    }

    #[test]
    fn the_owner_decides_whose_file_it_is() {
        if !geteuid().is_root() {
            return;
        }
        let directory = tempfile::tempdir().unwrap();
        fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o777)).unwrap();
        let nobody = Owner::new(Some(Identity { uid: 65534, gid: 65534 }));
        let path = directory.path().join("log");
        for contents in ["one", "two"] {
            replace(nobody, &path, contents.as_bytes()).unwrap();
        }
        append(nobody, &path).unwrap().write_all(b" three").unwrap();
        let found = path.metadata().unwrap();
        assert_eq!((found.uid(), found.gid(), found.mode() & 0o7777), (65534, 65534, MODE));
        assert_eq!(fs::read(&path).unwrap(), b"two three");
        assert_eq!(replace(OURS, &path, b"x").unwrap_err().to_string(), "it belongs to another user");
    }

    #[test]
    fn a_refusal_is_explained_to_who_is_root_no_more() {
        if !geteuid().is_root() {
            return;
        }
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("log");
        let nobody = Owner::new(Some(Identity { uid: 65534, gid: 65534 }));
        for error in [replace(nobody, &path, b"x").unwrap_err(), append(nobody, &path).unwrap_err()] {
            assert_eq!(error.kind(), ErrorKind::PermissionDenied);
            assert!(error.to_string().contains("root no more"), "{error}");
        }
        assert!(names(directory.path()).is_empty());
    }
}
