//! What a change says of the names: told right behind it, looked at right before it.
//!
//! The order matters. What the index holds of an entry must never be newer than what was
//! reported; a transfer reads the entry after it was reported, so what was looked at before that
//! is brought over.

use common::event::{Change, Dirt};
use common::keep::{NameOp, Stamp};
use common::path::RelPath;

use crate::live::Live;
use crate::outbox::FRAME_BYTES;
use crate::stamp::{file_mark_now, kind, stamp};
use crate::translate::is_silent;

/// Most bytes that an entry takes beside its path.
const OP_BYTES: usize = 28;

/// Frames of what is to be told.
#[derive(Default)]
struct Frames {
    frames: Vec<Vec<NameOp>>,
    bytes: usize,
}

impl Frames {
    fn push(&mut self, op: NameOp, path: &RelPath) {
        let bytes = path.as_bytes().len() + OP_BYTES;
        match self.frames.last_mut() {
            Some(frame) if self.bytes + bytes <= FRAME_BYTES => {
                frame.push(op);
                self.bytes += bytes;
            }
            _ => {
                self.frames.push(vec![op]);
                self.bytes = bytes;
            }
        }
    }
}

impl Live {
    /// What is to be told of the names, in frames, once `changes` were sent. Looks at what is
    /// there, so it is to be asked before they are; not where `seen` says, for each of them, what was
    /// found behind the event.
    pub(crate) fn names_of(&mut self, changes: &[Change], seen: &[Option<Stamp>]) -> Vec<Vec<NameOp>> {
        let mut frames = Frames::default();
        let seen = seen.iter().copied().chain(std::iter::repeat(None));
        for (Change { path, dirt, .. }, seen) in changes.iter().zip(seen) {
            let mut look = || self.looks.now(&self.path, self.root, path).map(|stat| stamp(&stat));
            let found = match dirt {
                // A file in its place is what a transfer finds; when the two traded names, nothing
                // more will be said of it. A directory is reported by itself.
                Dirt::Removed | Dirt::RemovedDir => {
                    frames.push(NameOp::Gone(path.clone()), path);
                    look().filter(|stamp| !stamp.directory)
                }
                Dirt::Deep => {
                    frames.push(NameOp::Gone(path.clone()), path);
                    let since = file_mark_now();
                    let found = look();
                    if let Some(node) = self.tree.at(path) {
                        self.names.learn(node, path, since);
                    }
                    found
                }
                // When it is not there any more, its removal is still to be reported.
                Dirt::Touched => seen.or_else(look),
                Dirt::Sweep => look(),
            };
            if let Some(stamp) = found.filter(|&stamp| !self.hides(path, stamp)) {
                frames.push(NameOp::Entry(path.clone(), stamp), path);
            }
        }
        frames.frames
    }

    /// Whether something else stands there by now, of which nothing is told.
    fn hides(&self, path: &RelPath, stamp: Stamp) -> bool {
        path.is_root() || is_silent(path, kind(stamp), self.rules.switches, &self.rules.filter)
    }
}
