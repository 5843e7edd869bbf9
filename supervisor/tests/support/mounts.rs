//! Small file systems that a test fills, or takes away. They need root, and come off again when
//! dropped; the directory that they are mounted on has to live longer.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::is_root;

/// Something mounted.
pub struct Mount(PathBuf);

impl Mount {
    /// A tmpfs. `None` where nothing can be mounted, with a word about it.
    pub fn tmpfs(at: &Path, options: &str) -> Option<Mount> {
        Mount::with(&["-t", "tmpfs", "-o", options, "tmpfs"], at)
    }

    /// The directory `from` once more.
    pub fn bind(from: &Path, at: &Path) -> Option<Mount> {
        Mount::with(&["--bind", from.to_str().unwrap()], at)
    }

    /// The file system in the file `image`.
    pub fn image(image: &Path, at: &Path) -> Option<Mount> {
        Mount::with(&["-o", "loop", image.to_str().unwrap()], at)
    }

    fn with(arguments: &[&str], at: &Path) -> Option<Mount> {
        if !is_root() {
            eprintln!("skipped: only root can mount");
            return None;
        }
        let output = Command::new("mount").args(arguments).arg(at).output().unwrap();
        if !output.status.success() {
            eprintln!("skipped: no mount here: {}", String::from_utf8_lossy(&output.stderr));
            return None;
        }
        Some(Mount(at.to_owned()))
    }

    /// Other options from now on.
    pub fn remount(&self, options: &str) {
        let options = format!("remount,{options}");
        assert!(Command::new("mount").args(["-o", &options]).arg(&self.0).status().unwrap().success());
    }

    /// As an administrator would: refused while somebody is in it.
    pub fn unmount(&self) -> bool {
        Command::new("umount").arg(&self.0).output().unwrap().status.success()
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("--lazy").arg(&self.0).output();
    }
}

/// Takes all room that is left in a directory's file system, with this file.
pub fn fill(file: &Path) {
    let mut filler = File::create(file).unwrap();
    for size in [64 << 10, 4 << 10, 1] {
        while filler.write_all(&vec![b'f'; size]).and_then(|()| filler.sync_data()).is_ok() {}
    }
}

/// Gives it back.
pub fn empty(file: &Path) {
    fs::remove_file(file).unwrap();
}
