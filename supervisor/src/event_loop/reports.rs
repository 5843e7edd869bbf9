//! What children say: legal for this role, from a child that was checked, about things that
//! exist. Anything else is a violation, and ends the child.

use common::event::{Change, TreeId};
use common::keep::MAX_REASON;
use common::log::Shown;
use common::message::{MAX_TAIL, PluginReport, SyncerReport, WatcherReport, watches_wanted};
use log::{Level, log};

use super::EventLoop;
use super::status::News;
use crate::child::Standing;
use crate::core::dispatch::Left;
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
            WatcherReport::Changes(tree, changes) => {
                let number = self.plan.number(known(tree)?);
                if let Some(recent) = &mut self.recent {
                    recent.note(number, &changes);
                }
                self.tell(Input::Changes(tree, changes));
            }
            WatcherReport::Moved { tree, kind, from, to } => {
                self.tell(Input::Moved(known(tree)?, kind, from, to));
            }
            WatcherReport::Rescan { tree, path, cause } => {
                self.lookout.lost(cause);
                self.tell(Input::Rescan(known(tree)?, path, cause));
            }
            WatcherReport::RootLost { tree, cause } => {
                self.tell(Input::RootLost(known(tree)?, cause));
                self.settle(tree);
            }
            WatcherReport::WatchLimit { tree, unwatched, needed } => {
                self.watch_limit(known(tree)?, unwatched, needed);
            }
            WatcherReport::Names(_, ops) if ops.is_empty() => return Err("names without a name".to_owned()),
            WatcherReport::Names(tree, ops) => self.tell(Input::Names(known(tree)?, ops)),
            WatcherReport::Listed { tree, path, pass } => {
                self.tell(Input::Listed(known(tree)?, path, pass));
            }
            WatcherReport::NamesLost => self.tell(Input::NamesLost),
            WatcherReport::Flushed(number) => self.flushed(pid, number)?,
            WatcherReport::Looked { number, directories } => self.looked(pid, number, directories)?,
            WatcherReport::Proved(number) => {
                self.children.get_mut(&pid).ok_or("a child that does not exist")?.proves(number)?;
            }
            WatcherReport::Beat { busy } => {
                let pace = if busy { Pace::Busy } else { Pace::Idle };
                self.tell(Input::Alive(Role::Watcher, pace));
            }
        }
        Ok(())
    }

    fn watch_limit(&mut self, tree: TreeId, unwatched: u64, needed: u64) {
        self.core.unwatched(tree, unwatched);
        let tree = Shown(self.plan.watch(tree)).to_string();
        let limit = watches_wanted(needed);
        log!(
            if unwatched == 0 { Level::Info } else { Level::Error },
            "watch limit tree={tree} unwatched={unwatched} needed={needed}; the rest is rescanned each minute. \
             To cure: sysctl fs.inotify.max_user_watches={limit}"
        );
    }

    /// Reports that end in the log are few from an honest watcher.
    fn count_loud(&mut self, pid: i32, report: &WatcherReport) -> Result<(), String> {
        match report {
            WatcherReport::Ready
            | WatcherReport::Outdated
            | WatcherReport::Changes(..)
            | WatcherReport::Moved { .. }
            | WatcherReport::Names(..)
            | WatcherReport::Listed { .. }
            | WatcherReport::NamesLost
            | WatcherReport::Flushed(_)
            | WatcherReport::Looked { .. }
            | WatcherReport::Proved(_)
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
            SyncerReport::Differs { ticket, found } => {
                self.expect_ready(pid)?;
                let child = self.children.get_mut(&pid).ok_or("a child that does not exist")?;
                if child.ticket != Some(ticket) {
                    return Err("differences that it was not asked for".to_owned());
                }
                self.tell(Input::Differs(role, found));
            }
            SyncerReport::Advanced { ticket, advance } => {
                self.expect_ready(pid)?;
                let child = self.children.get_mut(&pid).ok_or("a child that does not exist")?;
                if child.ticket != Some(ticket) {
                    return Err("progress of a job that it was not given".to_owned());
                }
                child.advances(&advance)?;
                self.core.advanced(self.now(), role, advance);
                self.tell_progress(role, News::Further);
            }
            SyncerReport::Done { ticket, outcome, status, mut tail, mut failed, left, bytes } => {
                self.expect_ready(pid)?;
                let child = self.children.get_mut(&pid).ok_or("a child that does not exist")?;
                if child.ticket != Some(ticket) {
                    return Err("done with a job that it was not given".to_owned());
                }
                child.ticket = None;
                if let Role::Syncer(id, _) = role {
                    self.full_syncs.ended(id, ticket, outcome);
                }
                clean(&mut tail);
                self.core.moved_bytes(self.now(), role, bytes);
                for path in failed.iter_mut().flatten() {
                    path.reason = one_line(&path.reason, MAX_REASON);
                }
                self.tell(Input::Done(role, JobEnd { outcome, status, tail, failed, left }));
                self.tell_progress(role, News::Over);
            }
        }
        Ok(())
    }

    /// What an earlier run had heard of and perhaps not committed: it happened again.
    pub(super) fn take_left(&mut self) {
        let trees = u16::try_from(self.plan.trees()).unwrap_or(u16::MAX);
        for tree in (0..trees).map(TreeId).filter(|_| !self.left.is_empty()).collect::<Vec<_>>() {
            match self.core.left(tree) {
                Left::Wait => {}
                Left::Take => self.take_left_of(tree),
                Left::Drop => {
                    let number = self.plan.number(tree);
                    self.left.retain(|(owner, _, _)| *owner != number);
                }
            }
        }
    }

    fn take_left_of(&mut self, tree: TreeId) {
        let number = self.plan.number(tree);
        let of_tree = self.left.extract_if(.., |(owner, _, _)| *owner == number);
        let changes = of_tree.map(|(_, path, dirt)| Change { path, dirt, mask: 0 });
        // It may have been noted under another filter.
        let changes: Vec<Change> = changes.filter(|change| !self.core.excludes(&change.path)).collect();
        if !changes.is_empty() {
            self.tell(Input::Changes(tree, changes));
        }
    }

    fn flushed(&mut self, pid: i32, number: u64) -> Result<(), String> {
        let child = self.children.get_mut(&pid).ok_or("a child that does not exist")?;
        let asked = child.flushed(number)?;
        self.tell(Input::Flushed(asked));
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
    pub(super) fn ready(&mut self, pid: i32, role: Role) -> Result<(), String> {
        let child = self.children.get_mut(&pid).ok_or("a child that does not exist")?;
        if child.ready {
            return Err("ready twice".to_owned());
        }
        child.check().map_err(|error| error.to_string())?;
        child.ready = true;
        if role == Role::Watcher {
            self.lookout.new_watcher();
        }
        self.tell(Input::Ready(role));
        Ok(())
    }

    pub(super) fn expect_ready(&self, pid: i32) -> Result<(), String> {
        let ready = self.children.get(&pid).is_some_and(|child| child.ready);
        if ready { Ok(()) } else { Err("a report before it was ready".to_owned()) }
    }
}

/// A child's words in one line, at most so many bytes of them.
pub(super) fn one_line(words: &str, most: usize) -> String {
    let mut line: String = words.chars().map(|ch| if ch.is_control() { ' ' } else { ch }).collect();
    line.truncate(line.floor_char_boundary(most));
    line
}

/// A child's words: bounded, and without what would forge a line.
fn clean(words: &mut String) {
    words.retain(|ch| ch == '\n' || !ch.is_control());
    words.truncate(words.floor_char_boundary(MAX_TAIL));
}
