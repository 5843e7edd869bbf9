//! Directories that were renamed: the remote renames what it has under the old name, so that what they
//! hold does not travel.
//!
//! First the new name is sent by itself, and with it what is above both: rsync follows a symlink at its
//! destination, and none is left there then. Nor may one stand at the old name: that is looked at. Then what
//! is there is moved, in a run of its own. All that follows is as without it: the old name is removed, and
//! the new one sent with all below it, which is little where all of it is there already. So nothing of this
//! has to succeed, and no file ever has two names, which would share owner, mode and time.

mod files;

use common::message::{Comparison, Deletions, MAX_MOVES, Move, Outcome};
use common::path::RelPath;
use nix::dir::Dir;

use crate::argv::{self, Form};
use crate::list::{Kind, Lists};
use crate::root::{Root, is_dot};
use crate::rsync::Feed;
use crate::transfers::Transfers;

/// A run of its own costs as much as some forty small files.
const MANY: u32 = 100;
/// Or as much as this, in bytes.
const MUCH: u64 = 1 << 20;

impl Transfers<'_> {
    /// Has the remote move what `moves` say. The lists stay as they are, but for what is sent before that.
    pub(crate) fn moved(&mut self, lists: &mut Lists, moves: &[Move]) {
        let moves = self.promising(lists, moves);
        if moves.is_empty() {
            return;
        }
        let is_old = |path: &RelPath| moves.iter().any(|it| it.from == *path || it.from.is_below(path));
        let (old, mut first) = std::mem::take(&mut lists.shallow).into_iter().partition(is_old);
        lists.shallow = old;
        first.extend(moves.iter().map(|it| it.to.clone()));
        first.extend(moves.iter().filter_map(|it| it.from.parent()).filter(|above| !above.is_root()));
        self.part(Form::Shallow, self.deletions, first.into_iter().collect());
        for it in moves {
            if self.outcome() == Outcome::Done && self.is_directory(&it.from) {
                self.rename(it);
            }
        }
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

    /// Whether a directory, and no symlink to one, stands there on the remote.
    fn is_directory(&mut self, path: &RelPath) -> bool {
        let (mut lines, mut directories) = (0_u32, 0_u32);
        let mut output = |line: &[u8]| {
            lines = lines.saturating_add(1);
            directories = directories.saturating_add(u32::from(line.starts_with(b"d")));
        };
        let argv = argv::standing(&self.worker.slice, path);
        let end = self.run(None, &argv, &mut |_| Feed::End, &mut output);
        self.take_hint();
        end.outcome == Outcome::Done && (lines, directories) == (1, 1)
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
