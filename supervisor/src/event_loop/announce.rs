//! Who is told that everything is watched: scripts that read standard output, whoever started us, and
//! systemd.

use common::event::{RootId, TreeId};

use super::EventLoop;
use crate::say::say;

impl EventLoop {
    /// The lines that scripts wait for, once a tree is watched for the first time.
    pub(super) fn announce(&mut self, tree: TreeId, root: RootId) {
        self.originals.entry(tree).or_insert(root);
        if !self.announced.insert(tree) {
            return;
        }
        say("run the sersync: ");
        say(&format!("watch path is: {}", common::log::Shown(self.plan.watch(tree))));
        if self.announced.len() == self.plan.trees()
            && let Some(ready) = self.on_ready.take()
        {
            ready();
        }
        self.settle(tree);
    }

    /// A tree is watched, or is not there to be: systemd does not wait for the second kind, or
    /// one bad disk would stop the mirror of all.
    pub(super) fn settle(&mut self, tree: TreeId) {
        let trees = self.plan.trees();
        if self.settled.insert(tree) && self.settled.len() == trees {
            let (watched, remotes) = (self.announced.len(), self.core.remotes().len());
            self.host.ready(&format!("watching trees={watched}/{trees} remotes={remotes}"));
        }
    }
}
