//! Directories that were renamed: the remote renames what it has under the old name, so that what they
//! hold does not travel.
//!
//! First the new name is sent by itself, and with it what is above both: rsync follows a symlink at its
//! destination, and none is left there then, unless one stood here meanwhile, which is looked at. Nor may one
//! stand at the old name: that run removes what does, unless it is a directory that holds something, and says
//! so. Then what it holds is moved, in a run of its own. All that follows is as without it: the old name is
//! removed, and the new one sent with all below it, which is little where all of it is there already. So
//! nothing of this has to succeed, and no file ever has two names, which would share owner, mode and time.

mod files;

use std::collections::BTreeSet;

use common::message::{Comparison, Deletions, MAX_MOVES, Move, Outcome};
use common::path::RelPath;
use nix::dir::Dir;

use crate::argv;
use crate::list::{Kind, Lists};
use crate::root::{Mark, Root, is_dot};
use crate::rsync::Feed;
use crate::transfers::{Transfers, feed};

/// A run of its own costs as much as some forty small files.
const MANY: u32 = 100;
/// Or as much as this, in bytes.
const MUCH: u64 = 1 << 20;

impl Transfers<'_> {
    /// Has the remote move what `moves` say. The lists stay as they are.
    pub(crate) fn moved(&mut self, lists: &Lists, moves: &[Move]) {
        let moves = self.promising(lists, moves);
        if moves.is_empty() || self.outcome() != Outcome::Done {
            return;
        }
        let marks: Vec<Option<Mark>> = moves.iter().map(|it| self.root.mark(&it.to)).collect();
        let full = self.prepared(&moves);
        for (it, mark) in moves.iter().zip(marks).filter(|(it, _)| full.contains(&it.from)) {
            // What was sent must have been the directory: a symlink that stood there meanwhile stands there on
            // the remote now, which would put all into what it leads to.
            if mark.is_some() && mark == self.root.mark(&it.to) {
                self.rename(it);
            }
        }
    }

    /// Sends the new names and what is above the old ones. Gives the old ones that hold something there.
    fn prepared(&mut self, moves: &[&Move]) -> BTreeSet<RelPath> {
        let above = moves.iter().filter_map(|it| it.from.parent()).filter(|above| !above.is_root());
        let both = moves.iter().flat_map(|it| [it.from.clone(), it.to.clone()]);
        let listed: BTreeSet<RelPath> = above.chain(both).collect();
        let argv = argv::probing(&self.worker.slice, self.abilities);
        let (mut listed, mut full) = (listed.iter(), BTreeSet::new());
        let mut output = |line: &[u8]| {
            let path = argv::holds_something(line).and_then(|name| RelPath::new(name).ok());
            full.extend(path.filter(|path| moves.iter().any(|it| it.from == *path)));
        };
        let end = self.run(None, &argv, &mut |buffer| feed(&mut listed, buffer), &mut output);
        self.take_hint();
        if end.outcome == Outcome::Done { full } else { BTreeSet::new() }
    }

    /// Those that may be brought over like this, and where it pays.
    fn promising<'m>(&self, lists: &Lists, moves: &'m [Move]) -> Vec<&'m Move> {
        let slice = &self.worker.slice;
        let deletes = argv::possible(slice, self.deletions, self.abilities) == Deletions::Travel;
        // An old rsync follows symlinks where it keeps what it removes.
        let is_careful = self.abilities.missing_args.is_there();
        let by_times = self.by == Comparison::Times && argv::may_move(slice);
        if !deletes || !is_careful || !by_times || !self.worker.filter.is_empty() || lists.whole.is_some() {
            return Vec::new();
        }
        // What is above it has to be here, so that it can be sent.
        let goes = |from: &RelPath| lists.gone.contains(from) && lists.shallow.contains(from);
        moves
            .iter()
            .take(MAX_MOVES)
            .filter(|it| argv::are_plain(&it.from, &it.to) && goes(&it.from))
            .filter(|it| lists.deep.contains(&it.to) && holds_much(self.root, &it.to))
            .collect()
    }

    /// One of them. What comes of it is nobody's business but ours: if it fails, what follows tells.
    fn rename(&mut self, it: &Move) {
        let argv = argv::moved(&self.worker.slice, self.abilities, &it.from, &it.to);
        let end = self.run(None, &argv, &mut |_| Feed::End, &mut |_| {});
        self.take_hint();
        if end.outcome != Outcome::Done {
            let (from, to, status) = (&it.from, &it.to, end.status);
            log::debug!("renamed from={from} to={to} status={status}: sent as if it were new");
        }
    }
}

/// Whether a directory holds so much that a run of its own pays.
fn holds_much(root: &Root, top: &RelPath) -> bool {
    let (mut names, mut bytes) = (0_u32, 0_u64);
    let mut pending = vec![top.clone()];
    while let Some(path) = pending.pop() {
        let Ok(mut directory) = root.open_dir(&path).and_then(Dir::from_fd) else { continue };
        for entry in directory.iter().flatten().filter(|entry| !is_dot(entry.file_name().to_bytes())) {
            let Ok(path) = path.join(entry.file_name().to_bytes()) else { continue };
            names = names.saturating_add(1);
            match root.kind(path.as_bytes()) {
                Kind::Directory => pending.push(path),
                Kind::Missing | Kind::Other | Kind::Unknown => {
                    bytes = bytes.saturating_add(root.size(path.as_bytes()).unwrap_or(0));
                }
            }
            if names >= MANY || bytes >= MUCH {
                return true;
            }
        }
    }
    false
}
