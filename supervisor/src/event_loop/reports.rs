//! What children say: legal for this role, from a child that was checked, about things that
//! exist. Anything else is a violation, and ends the child.

use common::event::TreeId;
use common::log::Shown;
use common::message::{MAX_TAIL, PluginReport, SyncerReport, WatcherReport};
use log::{Level, log};

use super::EventLoop;
use crate::child::Standing;
use crate::core::{Input, JobEnd, Pace, PluginId, Role};

/// Most reports that end in the log, of one child in a second: the watcher's own bound of
/// rescans at once, for each of several trees.
const MAX_LOUD: u32 = 1000;

impl EventLoop {
    pub(super) fn watcher_says(&mut self, pid: i32, report: WatcherReport) -> Result<(), String> {
        if report == WatcherReport::Ready {
            return self.ready(pid, Role::Watcher);
        }
        self.expect_ready(pid)?;
        self.count_loud(pid, &report)?;
        let trees = self.plan.trees();
        let known = |tree: TreeId| {
            if usize::from(tree.0) < trees { Ok(tree) } else { Err("a tree that does not exist".to_owned()) }
        };
        match report {
            WatcherReport::Ready => {}
            WatcherReport::Outdated => self.dismiss(pid, Standing::Outdated),
            WatcherReport::Watching { tree, root, directories } => {
                self.tell(Input::Watching(known(tree)?, root, directories));
                self.announce(tree, root);
            }
            WatcherReport::Changes(tree, changes) => self.tell(Input::Changes(known(tree)?, changes)),
            WatcherReport::Rescan { tree, path, cause } => {
                self.tell(Input::Rescan(known(tree)?, path, cause));
            }
            WatcherReport::RootLost { tree, cause } => {
                self.tell(Input::RootLost(known(tree)?, cause));
                self.settle(tree);
            }
            WatcherReport::WatchLimit { tree, unwatched, needed } => {
                let tree = Shown(self.plan.watch(known(tree)?)).to_string();
                let limit = needed.saturating_add(needed / 5);
                log!(
                    if unwatched == 0 { Level::Info } else { Level::Error },
                    "watch limit tree={tree} unwatched={unwatched} needed={needed}; the rest is rescanned each minute. \
                     To cure: sysctl fs.inotify.max_user_watches={limit}"
                );
            }
            WatcherReport::Beat { busy } => {
                let pace = if busy { Pace::Busy } else { Pace::Idle };
                self.tell(Input::Alive(Role::Watcher, pace));
            }
        }
        Ok(())
    }

    /// Reports that end in the log are few from an honest watcher.
    fn count_loud(&mut self, pid: i32, report: &WatcherReport) -> Result<(), String> {
        match report {
            WatcherReport::Ready
            | WatcherReport::Outdated
            | WatcherReport::Changes(..)
            | WatcherReport::Beat { .. } => Ok(()),
            WatcherReport::Watching { .. }
            | WatcherReport::Rescan { .. }
            | WatcherReport::RootLost { .. }
            | WatcherReport::WatchLimit { .. } => {
                let child = self.children.get_mut(&pid).ok_or("a child that does not exist")?;
                child.loud = child.loud.saturating_add(1);
                if child.loud > MAX_LOUD { Err("too many reports of losses".to_owned()) } else { Ok(()) }
            }
        }
    }

    pub(super) fn syncer_says(&mut self, pid: i32, role: Role, report: SyncerReport) -> Result<(), String> {
        match report {
            SyncerReport::Ready => return self.ready(pid, role),
            SyncerReport::Outdated => {
                self.expect_ready(pid)?;
                self.dismiss(pid, Standing::Outdated);
            }
            SyncerReport::Beat { stalled } => {
                self.expect_ready(pid)?;
                let working = self.children.get(&pid).is_some_and(|child| child.ticket.is_some());
                self.tell(match (working, stalled) {
                    (true, true) => Input::Stalled(role),
                    (true, false) => Input::Alive(role, Pace::Busy),
                    (false, _) => Input::Alive(role, Pace::Idle),
                });
            }
            SyncerReport::Done { ticket, outcome, status, mut tail } => {
                self.expect_ready(pid)?;
                let child = self.children.get_mut(&pid).ok_or("a child that does not exist")?;
                if child.ticket != Some(ticket) {
                    return Err("done with a job that it was not given".to_owned());
                }
                child.ticket = None;
                clean(&mut tail);
                self.tell(Input::Done(role, JobEnd { outcome, status, tail }));
            }
        }
        Ok(())
    }

    pub(super) fn plugin_says(&mut self, pid: i32, id: PluginId, report: PluginReport) -> Result<(), String> {
        let role = Role::Plugin(id);
        match report {
            PluginReport::Ready => return self.ready(pid, role),
            PluginReport::Outdated => {
                self.expect_ready(pid)?;
                self.dismiss(pid, Standing::Outdated);
            }
            PluginReport::Beat => {
                self.expect_ready(pid)?;
                let working = self.children.get(&pid).is_some_and(|child| child.ticket.is_some());
                // While it delivers only the end of that counts.
                if !working {
                    self.tell(Input::Alive(role, Pace::Idle));
                }
            }
            PluginReport::Done { ticket, verdicts, mut note } => {
                self.expect_ready(pid)?;
                let child = self.children.get_mut(&pid).ok_or("a child that does not exist")?;
                if child.ticket != Some(ticket) || verdicts.len() > child.events {
                    return Err("done with a delivery that it was not given".to_owned());
                }
                child.ticket = None;
                clean(&mut note);
                self.tell(Input::Told(id, verdicts, note));
            }
        }
        Ok(())
    }

    /// A child says that it is confined; that is looked at from outside before it gets work.
    fn ready(&mut self, pid: i32, role: Role) -> Result<(), String> {
        let child = self.children.get_mut(&pid).ok_or("a child that does not exist")?;
        if child.ready {
            return Err("ready twice".to_owned());
        }
        child.check().map_err(|error| error.to_string())?;
        child.ready = true;
        self.tell(Input::Ready(role));
        Ok(())
    }

    fn expect_ready(&self, pid: i32) -> Result<(), String> {
        let ready = self.children.get(&pid).is_some_and(|child| child.ready);
        if ready { Ok(()) } else { Err("a report before it was ready".to_owned()) }
    }
}

/// A child's words: bounded, and without what would forge a line.
fn clean(words: &mut String) {
    words.retain(|ch| ch == '\n' || !ch.is_control());
    words.truncate(words.floor_char_boundary(MAX_TAIL));
}
