//! Which cgroup is ours to divide. Somebody else's is left alone: systemd moves and removes what
//! it did not hand over, and what is in it may not be ours.

use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::MetadataExt;
use std::path::{Component, Path, PathBuf};

use common::log::Shown;
use nix::unistd::geteuid;

/// How systemd marks what it hands over: the first for its own eyes and root's, the second for
/// everybody's.
const MARKS: [&str; 2] = ["trusted.delegate", "user.delegate"];

/// A cgroup that is ours.
#[derive(Debug)]
pub(super) struct Delegation {
    /// Absolute.
    pub(super) directory: PathBuf,
    /// What it can divide, in the kernel's words.
    pub(super) controllers: BTreeSet<String>,
}

/// The cgroup of the process `own`, which is us; or why there is none to divide.
pub(super) fn find(own: i32) -> Result<Delegation, String> {
    let read = |path: &str| fs::read(path).map_err(|error| format!("{path}: {error}"));
    find_in(&read("/proc/self/mountinfo")?, &read("/proc/self/cgroup")?, own)
}

/// The same, with the text of `/proc/self/mountinfo` and `/proc/self/cgroup`.
pub(super) fn find_in(mounts: &[u8], cgroup: &[u8], own: i32) -> Result<Delegation, String> {
    let ours = lines(cgroup)
        .find_map(|line| line.strip_prefix(b"0::"))
        .ok_or("the kernel runs this process in no cgroup of version 2")?;
    let (directory, mount) =
        shown(mounts, ours).ok_or("no mount of cgroup2 shows the cgroup of this process")?;
    let name = Shown(directory.as_os_str());
    if !is_delegated(&directory) {
        return Err(format!("{name} is not delegated to us"));
    }
    if mount.read_only {
        return Err(format!("{name} is delegated but mounted read-only (ProtectControlGroups=yes)"));
    }
    let read = |file: &str| {
        fs::read_to_string(directory.join(file)).map_err(|error| format!("{name}/{file}: {error}"))
    };
    // Whoever else is here has not asked to be moved, or is about to do the same.
    if read("cgroup.procs")?.lines().any(|pid| pid != own.to_string()) {
        return Err(format!("{name} holds processes that are not ours"));
    }
    let controllers = read("cgroup.controllers")?.split_whitespace().map(str::to_owned).collect();
    Ok(Delegation { directory, controllers })
}

/// Where the cgroup can be seen, and through which mount. Of mounts at one point the last lies on
/// top: systemd covers a writable one with one that is not.
fn shown(mounts: &[u8], cgroup: &[u8]) -> Option<(PathBuf, Mount)> {
    let mut all =
        lines(mounts).filter_map(Mount::parse).filter_map(|mount| Some((mount.place(cgroup)?, mount)));
    let first = all.next()?;
    let point = first.1.point.clone();
    all.filter(|(_, mount)| mount.point == point).last().or(Some(first))
}

/// One mount of cgroup2.
#[derive(Debug, PartialEq, Eq)]
struct Mount {
    /// The cgroup that it shows at its top.
    root: PathBuf,
    point: PathBuf,
    read_only: bool,
}

impl Mount {
    /// A line of mountinfo (`proc_pid_mountinfo(5)`); `None` for anything but cgroup2.
    fn parse(line: &[u8]) -> Option<Mount> {
        let mut fields = line.split(|&byte| byte == b' ');
        // Id, parent, device; optional fields end with a dash.
        let root = fields.nth(3)?;
        let point = fields.next()?;
        let options = fields.next()?;
        fields.find(|field| *field == b"-")?;
        let kind = fields.next()?;
        let of_the_whole = fields.nth(1)?;
        let has_ro = |options: &[u8]| options.split(|&byte| byte == b',').any(|option| option == b"ro");
        (kind == b"cgroup2").then(|| Mount {
            root: unescape(root),
            point: unescape(point),
            read_only: has_ro(options) || has_ro(of_the_whole),
        })
    }

    /// Where the mount shows the cgroup.
    fn place(&self, cgroup: &[u8]) -> Option<PathBuf> {
        let below = Path::new(OsStr::from_bytes(cgroup)).strip_prefix(&self.root).ok()?;
        // With `..` it lies above what this namespace sees.
        let plain = below.components().all(|part| matches!(part, Component::Normal(_)));
        plain.then(|| self.point.join(below).components().collect())
    }
}

fn is_delegated(directory: &Path) -> bool {
    let marked = |mark| xattr::get(directory, mark).is_ok_and(|value| value.as_deref() == Some(b"1"));
    MARKS.into_iter().any(marked) || starts_to_be_ours(directory)
}

/// Before version 251 systemd gave an ordinary user no mark that it can read. But it gave it the
/// directory; and where the one above belongs to somebody else, this is where they handed over.
/// Where that is ours as well, the systemd of our session owns this one.
fn starts_to_be_ours(directory: &Path) -> bool {
    let owner = |path: &Path| path.symlink_metadata().ok().map(|found| found.uid());
    let above = directory.parent().and_then(owner);
    is_boundary(geteuid().as_raw(), owner(directory), above)
}

fn is_boundary(us: u32, owner: Option<u32>, above: Option<u32>) -> bool {
    us != 0 && owner == Some(us) && above.is_some_and(|above| above != us)
}

fn lines(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    text.split(|&byte| byte == b'\n')
}

/// Undoes the kernel's `\040` for a blank and the like.
fn unescape(field: &[u8]) -> PathBuf {
    let mut bytes = Vec::with_capacity(field.len());
    let mut rest = field;
    while let [first, tail @ ..] = rest {
        let code = tail.get(..3).and_then(|code| u8::from_str_radix(std::str::from_utf8(code).ok()?, 8).ok());
        let (byte, used) = code.filter(|_| *first == b'\\').map_or((*first, 0), |byte| (byte, 3));
        bytes.push(byte);
        rest = tail.get(used..).unwrap_or_default();
    }
    PathBuf::from(OsString::from_vec(bytes))
}

#[cfg(test)]
mod tests;
