//! What a remote's jobs read recursively, now or a moment ago. Such a job may have met a new
//! directory before that was watched, and with it a file that was gone by then; so a directory
//! that turns up there is compared as a whole.

use std::time::Duration;

use common::event::{Change, Dirt, IN_CREATE, IN_ISDIR};
use common::path::RelPath;

use super::Lane;

/// How long after a job a directory may still turn up that it has read.
const JUST_NOW: Duration = Duration::from_secs(1);
/// Most subtrees that are remembered.
const MAX_SUBTREES: usize = 256;

/// The subtrees.
#[derive(Debug, Default)]
pub struct Recursive(Vec<Subtree>);

#[derive(Debug)]
struct Subtree {
    lane: Lane,
    path: RelPath,
    /// When the job was over; `None` while it runs.
    over: Option<Duration>,
}

impl Subtree {
    fn counts(&self, now: Duration) -> bool {
        self.over.is_none_or(|over| now <= over.saturating_add(JUST_NOW))
    }
}

impl Recursive {
    /// A job begins that reads `paths` recursively and may delete below them.
    pub fn begin(&mut self, now: Duration, lane: Lane, paths: impl Iterator<Item = RelPath>) {
        self.0.retain(|subtree| subtree.counts(now));
        self.0.extend(paths.map(|path| Subtree { lane, path, over: None }));
        if self.0.len() > MAX_SUBTREES {
            self.0.retain(|subtree| subtree.lane != lane);
            self.0.push(Subtree { lane, path: RelPath::root(), over: None });
        }
    }

    /// The lane's job is over.
    pub fn end(&mut self, now: Duration, lane: Lane) {
        for subtree in self.0.iter_mut().filter(|subtree| subtree.lane == lane) {
            subtree.over.get_or_insert(now);
        }
    }

    /// The change as it is to be taken: deep if it is a new directory that may have been read.
    pub fn deepened(&self, now: Duration, change: &Change) -> Change {
        let new = IN_CREATE | IN_ISDIR;
        let new_directory = change.dirt == Dirt::Touched && change.mask & new == new;
        let read = |subtree: &Subtree| subtree.counts(now) && change.path.is_below(&subtree.path);
        let deep = new_directory && self.0.iter().any(read);
        Change { dirt: if deep { Dirt::Deep } else { change.dirt }, ..change.clone() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_made_below_a_deep_job_is_compared_as_a_whole() {
        let at = Duration::from_millis;
        let path = |text: &str| RelPath::new(text).unwrap();
        let new = |text: &str| Change { path: path(text), dirt: Dirt::Touched, mask: IN_CREATE | IN_ISDIR };
        let mut recursive = Recursive::default();
        recursive.begin(at(0), Lane::Batch, [path("p")].into_iter());
        assert_eq!(recursive.deepened(at(5), &new("p/d")).dirt, Dirt::Deep);
        assert_eq!(recursive.deepened(at(5), &new("q")).dirt, Dirt::Touched);
        let file = Change { mask: IN_CREATE, ..new("p/f") };
        assert_eq!(recursive.deepened(at(5), &file).dirt, Dirt::Touched);
        recursive.end(at(10), Lane::Batch);
        assert_eq!(recursive.deepened(at(500), &new("p/d")).dirt, Dirt::Deep);
        assert_eq!(recursive.deepened(at(2000), &new("p/d")).dirt, Dirt::Touched);
    }
}
