//! What the fuzzers feed (`fuzz/`): lists as they are made of dirty paths, and rsync's words as they are
//! read. A rule that is broken is told, and no process runs.

use std::collections::BTreeSet;

use common::event::Dirt;
use common::path::RelPath;

use crate::complaints::Complaints;
use crate::itemized;
use crate::list::{self, Kind, Lists};
use crate::tail::Stream;

/// Reads `bytes` as paths between NULs, each behind a byte that says what happened to it, and makes
/// lists of them. `Err` names a rule that does not hold.
pub fn lists(bytes: &[u8]) -> Result<(), String> {
    let (seed, rest) = bytes.split_first().unwrap_or((&0, &[]));
    let mut paths = Vec::new();
    for piece in rest.split(|&byte| byte == 0) {
        let Some((what, path)) = piece.split_first() else { continue };
        let dirt = match what % 5 {
            0 => Dirt::Touched,
            1 => Dirt::Removed,
            2 => Dirt::RemovedDir,
            3 => Dirt::Deep,
            _ => Dirt::Sweep,
        };
        paths.extend(RelPath::new(path).ok().map(|path| (path, dirt)));
    }
    let lists = list::normalise(&paths, |path| {
        let number = path.iter().fold(*seed, |number, &byte| number.wrapping_mul(31).wrapping_add(byte));
        match number % 7 {
            0 => Kind::Missing,
            1 => Kind::Other,
            2 => Kind::Unknown,
            _ => Kind::Directory,
        }
    });
    judge(&paths, &lists)
}

fn judge(paths: &[(RelPath, Dirt)], lists: &Lists) -> Result<(), String> {
    let below = |path: &RelPath, tops: &BTreeSet<RelPath>| tops.iter().any(|top| path.is_below(top));
    if let Some(path) = lists.deep.iter().find(|path| below(path, &lists.deep)) {
        return Err(format!("{path} is deep below what is deep"));
    }
    if let Some(path) =
        lists.shallow.iter().find(|path| lists.deep.contains(*path) || below(path, &lists.deep))
    {
        return Err(format!("{path} is shallow within what is deep"));
    }
    if let Some(path) = lists.gone.iter().find(|path| !lists.shallow.contains(*path)) {
        return Err(format!("{path} is gone and not listed"));
    }
    let all = [&lists.shallow, &lists.deep, &lists.sweep];
    // What happens to the root itself travels with any list.
    let is_covered = |path: &RelPath| {
        path.is_root()
            || lists.whole.is_some()
            || all.iter().any(|list| list.contains(path) || below(path, list))
    };
    match paths.iter().find(|(path, _)| !is_covered(path)) {
        Some((path, _)) => Err(format!("{path} is in no list")),
        None => Ok(()),
    }
}

/// Reads `bytes` as what an rsync says, line by line. `Err` names a rule that does not hold.
pub fn words(bytes: &[u8]) -> Result<(), String> {
    let mut complaints = Complaints::default();
    for line in bytes.split(|&byte| byte == b'\n') {
        if let Some(item) = itemized::item(line)
            && RelPath::new(item.path.as_bytes()).is_err()
        {
            return Err(format!("{} is no path", item.path));
        }
        complaints.push(Stream::Errors, line);
    }
    let prefixes = [b"m/".to_vec()];
    let named = complaints.named(&prefixes, &|path| Some(path.clone()));
    let _ = (complaints.is_read_only(), complaints.is_closed(&prefixes));
    match named.failed.iter().find(|path| !named.reasons.contains_key(*path)) {
        Some(path) => Err(format!("{path} failed without a line")),
        None => Ok(()),
    }
}
