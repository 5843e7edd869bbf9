//! Accounts for the roles' uids, without touching the host's: ssh does not run for a uid that
//! has none. The supervisor and all that it starts see an `/etc` of their own, made while it is
//! still root.
//!
//! A file mounted over `/etc/passwd` would not do: the kernel takes it off when the host puts a
//! new file in that place, as every change of an account does. So `/etc` itself is covered, by a
//! directory in which every name but that one leads to what the host has there at that moment.

use std::ffi::OsStr;
use std::fs;
use std::io;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;

use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, unshare};

/// What is covered.
const ETC: &str = "/etc";
/// Where the new one is put together: covered meanwhile, for us alone.
const STAGE: &str = "/run";
/// The accounts in it.
const PASSWD: &str = "passwd";
/// The host's `/etc`, in ours.
const HOST: &str = ".host";

/// How the mounts of the host travel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mounts {
    /// What is mounted or unmounted outside later is seen.
    Seen,
    /// It is not: the root's mount is private.
    NotSeen,
}

/// Gives this process, and what it starts, `accounts` in place of `/etc/passwd`. Needs
/// `CAP_SYS_ADMIN`, and to be called before any thread exists: a namespace is one thread's.
pub fn see_accounts(accounts: &[u8]) -> io::Result<Mounts> {
    let mounts = mounts(&fs::read_to_string("/proc/self/mountinfo")?);
    unshare(CloneFlags::CLONE_NEWNS)?;
    let no = None::<&OsStr>;
    // Nothing of ours goes back. What the host mounts later comes only by its shared mounts.
    mount(no, "/", no, MsFlags::MS_REC | MsFlags::MS_SLAVE, no)?;
    let harmless = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
    mount(Some("tmpfs"), STAGE, Some("tmpfs"), harmless, Some("mode=0755,size=16m"))?;
    let read_only = MsFlags::MS_BIND | MsFlags::MS_REMOUNT | MsFlags::MS_RDONLY;
    let made = fill(accounts, Path::new(STAGE))
        .and_then(|()| Ok(mount(no, STAGE, no, read_only | harmless, no)?))
        .and_then(|()| Ok(mount(Some(STAGE), ETC, no, MsFlags::MS_MOVE, no)?));
    if made.is_err() {
        let _ = umount2(STAGE, MntFlags::MNT_DETACH);
    }
    made.map(|()| mounts)
}

/// Directories are mounted and links copied, so that what leads upwards from them leads where
/// it did. Files are found through the host's directory, by name: what replaces them counts.
fn fill(accounts: &[u8], stage: &Path) -> io::Result<()> {
    let host = stage.join(HOST);
    fs::create_dir(&host)?;
    bind(Path::new(ETC), &host)?;
    for entry in fs::read_dir(ETC)? {
        let (entry, kind) = entry.and_then(|entry| entry.file_type().map(|kind| (entry, kind)))?;
        let (name, here) = (entry.file_name(), stage.join(entry.file_name()));
        if name == PASSWD || name == HOST {
            continue;
        }
        if kind.is_symlink() {
            symlink(fs::read_link(entry.path())?, here)?;
        } else if kind.is_dir() {
            fs::create_dir(&here)?;
            bind(&entry.path(), &here)?;
        } else {
            symlink(Path::new(HOST).join(name), here)?;
        }
    }
    let passwd = stage.join(PASSWD);
    fs::write(&passwd, accounts)?;
    fs::set_permissions(&passwd, fs::Permissions::from_mode(0o644))
}

/// With what is mounted below it: a container's `resolv.conf` is.
fn bind(from: &Path, to: &Path) -> io::Result<()> {
    let no = None::<&OsStr>;
    mount(Some(from), to, no, MsFlags::MS_BIND | MsFlags::MS_REC, no)?;
    Ok(())
}

/// By the line of the root's mount in a `mountinfo`: shared, or itself somebody's slave.
fn mounts(mountinfo: &str) -> Mounts {
    let tags = |tag: &str| tag.starts_with("shared:") || tag.starts_with("master:");
    let travels = mounted_at(mountinfo, "/")
        .is_some_and(|line| line.split(' ').skip(6).take_while(|&word| word != "-").any(tags));
    if travels { Mounts::Seen } else { Mounts::NotSeen }
}

/// The group that sees the processes of other users all the same, where `/proc` hides them.
pub fn hidden_processes() -> Option<u32> {
    hidden(&fs::read_to_string("/proc/self/mountinfo").ok()?)
}

fn hidden(mountinfo: &str) -> Option<u32> {
    let options = mounted_at(mountinfo, "/proc")?.rsplit(' ').next()?;
    let value = |name: &str| options.split(',').find_map(|option| option.strip_prefix(name));
    let hides = !["0", "off"].contains(&value("hidepid=")?);
    // Root's, unless another one is named.
    hides.then(|| value("gid=").and_then(|gid| gid.parse().ok()).unwrap_or(0))
}

/// The line of what is seen at a mount point: the last one.
fn mounted_at<'a>(mountinfo: &'a str, point: &str) -> Option<&'a str> {
    mountinfo.lines().rev().find(|line| line.split(' ').nth(4) == Some(point))
}

#[cfg(test)]
mod tests;
