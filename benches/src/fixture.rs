//! What the workloads are made of: files, trees, a tar archive and a git repository, the same on
//! every machine and in every run. Contents look like text, so that compression has some work.

use std::fs::{self, File, FileTimes};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, SystemTime};

use crate::outcome::{Outcome, failed};

/// Numbers that look like chance (splitmix64), the same for the same seed.
#[derive(Debug)]
pub(crate) struct Chance(u64);

impl Chance {
    /// From this seed on.
    pub(crate) fn new(seed: u64) -> Chance {
        Chance(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `end`, which is above 0.
    pub(crate) fn below(&mut self, end: usize) -> usize {
        let end = u64::try_from(end.max(1)).unwrap_or(u64::MAX);
        usize::try_from(self.next() % end).unwrap_or(0)
    }

    /// Bytes that cannot be compressed.
    pub(crate) fn bytes(&mut self, length: usize) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(length + 8);
        while bytes.len() < length {
            bytes.extend_from_slice(&self.next().to_le_bytes());
        }
        bytes.truncate(length);
        bytes
    }

    /// Bytes that compress like those of a text: words out of 512.
    pub(crate) fn text(&mut self, length: usize) -> Vec<u8> {
        let mut text = Vec::with_capacity(length + 24);
        while text.len() < length {
            let word = self.next();
            let _ = write!(text, "{:x}", (word % 512).wrapping_mul(0x9e37_79b1) & 0xff_ffff);
            text.push(if word & 0xf00_0000 == 0 { b'\n' } else { b' ' });
        }
        text.truncate(length);
        text
    }
}

/// `directories` directories with `files` files of about `size` bytes each, as `DDD/F`.
pub(crate) fn tree(top: &Path, directories: usize, files: usize, size: usize) -> Outcome<()> {
    for n in 0..directories {
        let directory = top.join(format!("{n:03}"));
        fs::create_dir_all(&directory)?;
        for file in 0..files {
            let content = format!("{n} {file} ").repeat(size / 8);
            fs::write(directory.join(file.to_string()), content)?;
        }
    }
    Ok(())
}

/// `directories` directories in two levels with `files` files each, of `size` bytes and with one
/// fixed time, so that two such trees are equal.
pub(crate) fn wide_tree(top: &Path, directories: usize, files: usize, size: usize) -> Outcome<()> {
    let times = FileTimes::new().set_modified(SystemTime::UNIX_EPOCH + Duration::from_secs(1_600_000_000));
    let content = vec![b'x'; size];
    for n in 0..directories {
        let directory = top.join(format!("{:04}", n / 1000)).join(format!("{n:07}"));
        fs::create_dir_all(&directory)?;
        for file in 0..files {
            let mut file = File::create(directory.join(format!("file{file}")))?;
            file.write_all(&content)?;
            file.set_times(times)?;
        }
    }
    Ok(())
}

/// A tar archive of 24,000 files with 200 MB in 2,400 directories, made once.
pub(crate) fn archive(cache: &Path) -> Outcome<PathBuf> {
    let archive = cache.join("tree.tar");
    if archive.exists() {
        return Ok(archive);
    }
    let top = cache.join("tree");
    let mut chance = Chance::new(3);
    for n in 0..24_000_usize {
        let directory = top.join(format!("{:02}/{:02}/{}", n / 1000, n / 100 % 10, n / 10 % 10));
        fs::create_dir_all(&directory)?;
        // From 64 bytes to 48 KiB, small ones more often.
        let size = 64 << chance.below(10);
        let size = size + chance.below(size / 2);
        fs::write(directory.join(format!("file{n}.txt")), chance.text(size))?;
    }
    run(Command::new("tar").arg("-cf").arg(&archive).arg("-C").arg(&top).arg("."))?;
    fs::remove_dir_all(top)?;
    Ok(archive)
}

/// Takes that archive apart into `top`.
pub(crate) fn untar(archive: &Path, top: &Path) -> Outcome<()> {
    run(Command::new("tar").arg("-xf").arg(archive).arg("-C").arg(top))
}

/// A git repository with the states `A` and `B`, some 3,500 files apart, made once.
pub(crate) fn repository(cache: &Path) -> Outcome<PathBuf> {
    let repository = cache.join("w9.git");
    if repository.exists() {
        return Ok(repository);
    }
    let top = cache.join("w9");
    run(Command::new("git").args(["init", "-q", "--bare"]).arg(&repository))?;
    let commit = |state: &str| {
        git(&repository, &top, &["add", "-A"])?;
        git(&repository, &top, &["commit", "-q", "-m", state])?;
        git(&repository, &top, &["branch", state])
    };
    tree(&top, 100, 50, 2000)?;
    git(&repository, &top, &["config", "core.bare", "false"])?;
    commit("A")?;
    for directory in 0..50_usize {
        for file in 0..50_usize {
            let content = format!("B{file} {directory} ").repeat(300);
            fs::write(top.join(format!("{directory:03}/{file}")), content)?;
        }
    }
    for directory in 90..100_usize {
        fs::remove_dir_all(top.join(format!("{directory:03}")))?;
    }
    tree(&top.join("newB"), 20, 50, 1500)?;
    commit("B")?;
    fs::remove_dir_all(top)?;
    Ok(repository)
}

/// Makes `top` that state of the repository.
pub(crate) fn check_out(repository: &Path, top: &Path, state: &str) -> Outcome<()> {
    git(repository, top, &["checkout", "-q", "-f", state])
}

fn git(repository: &Path, top: &Path, words: &[&str]) -> Outcome<()> {
    let mut command = Command::new("git");
    command.arg("--git-dir").arg(repository).arg("--work-tree").arg(top);
    // As it is everywhere, whatever the user has configured.
    command.env("GIT_CONFIG_GLOBAL", "/dev/null").env("GIT_CONFIG_SYSTEM", "/dev/null");
    command.args(["-c", "user.name=bench", "-c", "user.email=bench@localhost", "-c", "gc.auto=0"]);
    run(command.args(words))
}

/// Runs a program to its end, which has to be a good one.
pub(crate) fn run(command: &mut Command) -> Outcome<()> {
    crate::undo::check()?;
    let name = command.get_program().to_string_lossy().into_owned();
    let status = command.stdin(Stdio::null()).status().map_err(|error| failed(format!("{name}: {error}")))?;
    if status.success() { Ok(()) } else { Err(failed(format!("{name}: {status}"))) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chance_repeats_itself() {
        let (mut one, mut other) = (Chance::new(1), Chance::new(1));
        assert_eq!((one.bytes(1000), one.below(7)), (other.bytes(1000), other.below(7)));
        assert_eq!(one.text(1001).len(), 1001);
        assert_ne!(one.bytes(16), Chance::new(2).bytes(16));
    }
}
