//! `--pid-file`: which process it is, for init scripts. Whoever asks whether a supervisor runs had better
//! ask `status`: a number in a file may be somebody else's by now.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use nix::fcntl::OFlag;

use crate::operator_file::{self, Owner};

/// Everybody may read it.
const MODE: u32 = 0o644;

/// More than any such file holds, in bytes.
const MAX_NUMBER: u64 = 64;

/// The file. It goes, or is emptied, when this is dropped.
#[derive(Debug)]
pub struct PidFile {
    path: PathBuf,
    file: File,
    owner: Owner,
}

impl PidFile {
    /// Writes our number at `path`, as `owner`; to be called before the supervisor lowers itself, by the
    /// only one that runs on its config. What stands there is written over, but no symlink is followed.
    pub fn write(path: &Path, owner: Owner) -> io::Result<PidFile> {
        let path = std::path::absolute(path)?;
        let flags = (OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK).bits();
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false).mode(MODE).custom_flags(flags);
        let mut file = owner.work(|| options.open(&path))?;
        operator_file::harmless(owner, &file.metadata()?)?;
        let mut old = Vec::new();
        (&file).take(MAX_NUMBER).read_to_end(&mut old)?;
        if !old.iter().all(|byte| byte.is_ascii_digit() || byte.is_ascii_whitespace()) {
            return Err(io::Error::other("it holds something else than the number of a process"));
        }
        file.rewind()?;
        // The umask closed it to others.
        file.set_permissions(std::os::unix::fs::PermissionsExt::from_mode(MODE))?;
        file.set_len(0)?;
        file.write_all(format!("{}\n", std::process::id()).as_bytes())?;
        Ok(PidFile { path, file, owner })
    }
}

impl Drop for PidFile {
    fn drop(&mut self) {
        // Its directory may be closed to us by now; and another one may have taken the name.
        let _ = self.file.set_len(0);
        let _ = self.owner.work(|| {
            let (ours, found) = (self.file.metadata()?, self.path.symlink_metadata()?);
            if (ours.dev(), ours.ino()) == (found.dev(), found.ino()) {
                fs::remove_file(&self.path)
            } else {
                Ok(())
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{PermissionsExt, symlink};

    #[test]
    fn written_over_and_removed() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("pid");
        fs::write(&path, "123456789\n").unwrap();
        let file = PidFile::write(&path, Owner::default()).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), format!("{}\n", std::process::id()));
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, MODE);
        drop(file);
        assert!(!path.exists());
    }

    /// A slip of the hand must not cost the config.
    #[test]
    fn nothing_else_is_written_over_and_no_successors_removed() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("confxml.xml");
        fs::write(&path, "<head/>").unwrap();
        assert!(PidFile::write(&path, Owner::default()).is_err());
        assert_eq!(fs::read_to_string(&path).unwrap(), "<head/>");
        let path = directory.path().join("pid");
        let file = PidFile::write(&path, Owner::default()).unwrap();
        fs::rename(&path, directory.path().join("old")).unwrap();
        let next = PidFile::write(&path, Owner::default()).unwrap();
        drop(file);
        assert!(path.exists());
        drop(next);
        assert!(!path.exists());
    }

    #[test]
    fn never_through_a_symlink_nor_into_a_pipe() {
        let directory = tempfile::tempdir().unwrap();
        let (target, path) = (directory.path().join("target"), directory.path().join("pid"));
        fs::write(&target, "kept").unwrap();
        symlink(&target, &path).unwrap();
        assert!(PidFile::write(&path, Owner::default()).is_err());
        assert_eq!(fs::read_to_string(&target).unwrap(), "kept");
        let pipe = directory.path().join("pipe");
        nix::unistd::mkfifo(&pipe, nix::sys::stat::Mode::S_IRWXU).unwrap();
        assert!(PidFile::write(&pipe, Owner::default()).is_err());
    }
}
