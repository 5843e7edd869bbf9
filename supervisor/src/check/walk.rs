//! The watched trees: which patterns match nothing or everything, and how many watches it takes.
//! A walk is bounded in time and names; one that was cut says so, and is not judged by.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use common::config::{Config, FilterExpression, WatcherKind};
use common::filter::{EntryKind, Filter};
use common::message::watches_wanted;
use common::path::RelPath;

use super::Findings;
use super::host::watch_place;
use crate::plan::machine;

/// How long all trees together are walked.
const PATIENCE: Duration = Duration::from_secs(10);
/// Most names that are looked at.
const MOST_NAMES: u64 = 5_000_000;

/// What was seen of trees.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Seen {
    /// Directories that are to be watched, the roots among them.
    pub(crate) directories: u64,
    /// Names below the roots, and how many of them the filter excludes.
    pub(crate) names: u64,
    excluded: u64,
    /// Which expression, by its place in the filter, matched a name.
    matched: Vec<bool>,
    /// Whether it took too long, and there is more that was not looked at.
    is_cut: bool,
    /// Directories that could not be read.
    unread: u64,
}

impl Seen {
    /// Whether there is nothing that was not looked at.
    fn is_whole(&self) -> bool {
        !self.is_cut && self.unread == 0
    }
}

/// Walks all trees, and judges.
pub(super) fn look(findings: &mut Findings, config: &Config) {
    let roots: Vec<PathBuf> =
        config.trees.iter().filter_map(|tree| machine::root(&tree.watch).ok()).collect();
    let Some(first) = config.trees.first() else { return };
    let place = watch_place(findings, &first.watch);
    let seen = walk(&roots, &config.filter, PATIENCE);
    if seen.is_cut {
        findings.note(format!(
            "not looked at: all of the watched directories; after {} s there were {} names and {} directories, and \
             more to come",
            PATIENCE.as_secs(),
            seen.names,
            seen.directories
        ));
    }
    if seen.unread > 0 {
        findings.note(format!(
            "not looked at: what is in {} directories that this user cannot read; \
             check as the user that the supervisor runs as, or as root",
            seen.unread
        ));
    }
    patterns(findings, config, &seen);
    match (config.watcher, limit()) {
        (WatcherKind::Fanotify, _) => {}
        (WatcherKind::Inotify, None) => {
            let message = "this kernel has no inotify";
            findings.error(place, message, "write <inotify watcher=\"fanotify\">, or take another kernel");
        }
        (WatcherKind::Inotify, Some(most)) => {
            if let Some((message, cure)) = judge(&seen, most) {
                findings.warning(place, message, cure);
            }
        }
    }
}

/// Expressions of no use. What was not looked at might hold what they are meant for.
fn patterns(findings: &mut Findings, config: &Config, seen: &Seen) {
    if seen.names == 0 || !seen.is_whole() {
        return;
    }
    for (FilterExpression(expression), matched) in config.filter.iter().zip(&seen.matched) {
        if !matched {
            let place = findings.places.filter_expression(expression);
            let message = format!("this expression matches no name that is watched (names={})", seen.names);
            let cure = "it has to match the whole path below the watched directory, as `.*\\.gz` does; or leave it out";
            findings.warning(place, message, cure);
        }
    }
    if seen.excluded == seen.names {
        let message = format!("the filter excludes every name that is watched (names={})", seen.names);
        let place = findings.places.element("filter");
        findings.warning(
            place,
            message,
            "nothing would be mirrored; leave out the expression that matches all",
        );
    }
}

/// Whether there are watches enough; the kernel counts them for each user. With too few the supervisor
/// starts all the same.
fn judge(seen: &Seen, most: u64) -> Option<(String, String)> {
    let name = "fs.inotify.max_user_watches";
    let count = seen.directories;
    let wanted = watches_wanted(count);
    let cure =
        format!("sysctl -w {name}={wanted}, and write {name} = {wanted} into /etc/sysctl.d/60-sersync.conf");
    if count > most {
        let message = format!(
            "there are {count} directories to watch, and {name} allows {most}: the rest is looked at once a minute"
        );
        return Some((message, cure));
    }
    let message =
        format!("there are {count} directories to watch, and {name}={most} leaves little to grow into");
    (wanted > most).then_some((message, cure))
}

/// `fs.inotify.max_user_watches`, if this kernel has it.
pub(crate) fn limit() -> Option<u64> {
    fs::read_to_string("/proc/sys/fs/inotify/max_user_watches").ok()?.trim().parse().ok()
}

/// Looks at everything below `roots`, for so long.
pub(crate) fn walk(roots: &[PathBuf], filter: &[FilterExpression], patience: Duration) -> Seen {
    let each: Vec<Option<Filter>> =
        filter.iter().map(|it| Filter::new(std::slice::from_ref(it)).ok()).collect();
    let mut seen = Seen { matched: vec![false; each.len()], ..Seen::default() };
    let until = Instant::now().checked_add(patience);
    let is_over = |seen: &Seen| seen.names >= MOST_NAMES || until.is_none_or(|until| Instant::now() >= until);
    for root in roots {
        seen.directories = seen.directories.saturating_add(1);
        let mut left = vec![(RelPath::root(), false)];
        while let Some((above, within)) = left.pop() {
            if is_over(&seen) {
                seen.is_cut = true;
                return seen;
            }
            let Ok(entries) = fs::read_dir(at(root, &above)) else {
                seen.unread = seen.unread.saturating_add(1);
                continue;
            };
            for entry in entries.flatten() {
                let is_directory = entry.file_type().is_ok_and(|kind| kind.is_dir());
                let Some(path) = below(&above, &entry.file_name()) else { continue };
                let kind = if is_directory { EntryKind::Directory } else { EntryKind::File };
                let excluded = matches(&each, &mut seen.matched, &path, kind) || within;
                seen.names = seen.names.saturating_add(1);
                seen.excluded = seen.excluded.saturating_add(u64::from(excluded));
                if is_directory {
                    seen.directories = seen.directories.saturating_add(u64::from(!excluded));
                    left.push((path, excluded));
                }
            }
        }
    }
    seen
}

/// Whether one of the expressions excludes it; notes which do.
fn matches(each: &[Option<Filter>], matched: &mut [bool], path: &RelPath, kind: EntryKind) -> bool {
    let mut any = false;
    for (filter, matched) in each.iter().zip(matched) {
        let hit = filter.as_ref().is_some_and(|filter| filter.excludes(path, kind));
        *matched |= hit;
        any |= hit;
    }
    any
}

fn at(root: &Path, path: &RelPath) -> PathBuf {
    root.join(OsStr::from_bytes(path.as_bytes()))
}

fn below(above: &RelPath, name: &OsStr) -> Option<RelPath> {
    let slash: &[u8] = if above.is_root() { b"" } else { b"/" };
    RelPath::new([above.as_bytes(), slash, name.as_bytes()].concat()).ok()
}

/// For people: how many, and whether there are more.
pub(crate) fn shown(seen: &Seen) -> String {
    if seen.is_whole() { seen.directories.to_string() } else { format!("at least {}", seen.directories) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree() -> tempfile::TempDir {
        let temp = tempfile::tempdir().unwrap();
        fs::create_dir_all(temp.path().join("a/b")).unwrap();
        fs::create_dir_all(temp.path().join(".svn/x")).unwrap();
        fs::write(temp.path().join("a/f.gz"), "").unwrap();
        temp
    }

    fn walked(filter: &[&str], patience: Duration) -> Seen {
        let filter: Vec<_> = filter.iter().map(|it| FilterExpression(it.as_bytes().to_vec())).collect();
        walk(&[tree().path().to_owned()], &filter, patience)
    }

    #[test]
    fn what_is_counted() {
        let seen = walked(&[r".*\.gz", r"(.*)\.svn", "gz"], PATIENCE);
        assert_eq!((seen.directories, seen.names, seen.excluded), (3, 5, 3));
        assert_eq!((seen.matched, seen.is_cut), (vec![true, true, false], false));
        let seen = walked(&[".*"], PATIENCE);
        assert_eq!((seen.directories, seen.names, seen.excluded), (1, 5, 5));
        assert!(walked(&[], Duration::ZERO).is_cut);
    }

    #[test]
    fn watches() {
        let seen = Seen { directories: 1000, ..Seen::default() };
        assert_eq!(judge(&seen, 1200), None);
        let (message, cure) = judge(&seen, 1199).unwrap();
        assert!(
            message.contains("leaves little") && cure.contains("sysctl -w fs.inotify.max_user_watches=1200")
        );
        assert!(judge(&seen, 999).unwrap().0.ends_with("allows 999: the rest is looked at once a minute"));
    }

    /// Directories that could not be read were left out in silence: too few watches were counted, and expressions
    /// that are meant for what is in them were said to match nothing.
    #[test]
    fn what_cannot_be_read_is_not_judged_by() {
        let temp = tree();
        // Nobody can read what is not there, root neither.
        let roots = [temp.path().to_owned(), temp.path().join("gone")];
        let expressions = [FilterExpression(b"only-there".to_vec())];
        let seen = walk(&roots, &expressions, PATIENCE);
        assert_eq!((seen.unread, seen.is_cut, shown(&seen).as_str()), (1, false, "at least 6"));
        let config =
            Config { filter: expressions.to_vec(), ..common::config::parse(b"<head/>").draft.unwrap() };
        let told = |seen: &Seen| {
            let mut findings =
                Findings { places: common::config::Places::new(b""), found: Vec::new(), notes: Vec::new() };
            patterns(&mut findings, &config, seen);
            findings.found.len()
        };
        assert_eq!((told(&seen), told(&Seen { unread: 0, ..seen.clone() })), (0, 1));
    }
}
