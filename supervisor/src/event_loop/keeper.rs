//! What the keeper says: what it kept, once and first; then what it was asked for, and finds. It
//! may have been taken over, and its file may have been written by whoever was.

use common::event::{Change, TreeId};
use common::keep::{Edit, Find, KeeperReport, MAX_REASON};

use super::EventLoop;
use super::reports::one_line;
use crate::child::{Awaited, Kept};
use crate::core::backlog::MAX_PATHS;
use crate::core::{Input, Pace, Role};

/// Longest text about its file that is shown, in bytes.
const MAX_TEXT: usize = 500;

impl EventLoop {
    pub(super) fn keeper_says(&mut self, pid: i32, mut report: KeeperReport) -> Result<(), String> {
        if report == KeeperReport::Ready {
            return self.ready(pid, Role::Keeper);
        }
        self.expect_ready(pid)?;
        self.expect_in_phase(pid, &report)?;
        self.expect_answer(pid, &report)?;
        match &mut report {
            KeeperReport::Kept(edits) => edits.iter_mut().for_each(shorten),
            KeeperReport::Trouble(_, text) => *text = one_line(text, MAX_TEXT),
            KeeperReport::Found(tree, finds) => self.note_finds(*tree, finds)?,
            KeeperReport::Ready
            | KeeperReport::Loaded { .. }
            | KeeperReport::Done(_)
            | KeeperReport::Compared(..)
            | KeeperReport::Committed(..)
            | KeeperReport::Beat => {}
        }
        self.tell(Input::Alive(Role::Keeper, Pace::Idle));
        self.tell(Input::Keeper(report));
        Ok(())
    }

    /// What was kept comes first, and is no more than could have been; the rest comes after, and
    /// nothing behind a complaint about the file.
    fn expect_in_phase(&mut self, pid: i32, report: &KeeperReport) -> Result<(), String> {
        let sets = self.core.remotes().len().saturating_add(self.plan.trees()).saturating_mul(2);
        let most = sets.saturating_mul(MAX_PATHS.saturating_add(1));
        let child = self.children.get_mut(&pid).ok_or("a child that does not exist")?;
        match (report, child.kept) {
            (_, Kept::Over) => Err("a report after its last".to_owned()),
            (KeeperReport::Trouble(..), Kept::Telling(_) | Kept::Told) => {
                child.kept = Kept::Over;
                Ok(())
            }
            (KeeperReport::Kept(edits), Kept::Telling(told)) => {
                let told = told.saturating_add(edits.len());
                child.kept = Kept::Telling(told);
                if told > most { Err("it kept more than it was given".to_owned()) } else { Ok(()) }
            }
            (KeeperReport::Loaded { .. }, Kept::Telling(_)) => {
                child.kept = Kept::Told;
                Ok(())
            }
            (KeeperReport::Kept(_) | KeeperReport::Loaded { .. }, Kept::Told) => {
                Err("it told twice what it kept".to_owned())
            }
            (KeeperReport::Found(..), Kept::Telling(_)) => Err("a find before all was told".to_owned()),
            (
                KeeperReport::Found(..)
                | KeeperReport::Ready
                | KeeperReport::Done(_)
                | KeeperReport::Compared(..)
                | KeeperReport::Committed(..)
                | KeeperReport::Beat,
                Kept::Telling(_) | Kept::Told,
            ) => Ok(()),
        }
    }

    /// Answers come in the order of what was asked.
    fn expect_answer(&mut self, pid: i32, report: &KeeperReport) -> Result<(), String> {
        let child = self.children.get_mut(&pid).ok_or("a child that does not exist")?;
        let first = child.keeps.front();
        let answers = match report {
            KeeperReport::Done(ticket) => first == Some(&(*ticket, Awaited::Done)),
            KeeperReport::Committed(ticket, _) => first == Some(&(*ticket, Awaited::Committed)),
            KeeperReport::Compared(tree, path, _) => {
                first.is_some_and(|(_, awaited)| *awaited == Awaited::Compared(*tree, path.clone()))
            }
            KeeperReport::Found(..)
            | KeeperReport::Ready
            | KeeperReport::Kept(_)
            | KeeperReport::Loaded { .. }
            | KeeperReport::Beat
            | KeeperReport::Trouble(..) => return Ok(()),
        };
        if !answers {
            return Err("an answer to what it was not asked".to_owned());
        }
        child.keeps.pop_front();
        Ok(())
    }

    /// Finds are changes like others, until they are committed.
    fn note_finds(&mut self, tree: TreeId, finds: &[Find]) -> Result<(), String> {
        if usize::from(tree.0) >= self.plan.trees() || finds.iter().any(|find| find.path.is_root()) {
            return Err("a find that cannot be".to_owned());
        }
        if let Some(recent) = &mut self.recent {
            let changes: Vec<Change> = finds.iter().filter_map(Find::change).collect();
            recent.note(self.plan.number(tree), &changes);
        }
        Ok(())
    }
}

fn shorten(edit: &mut Edit) {
    match edit {
        Edit::Pending(_, _, Some(pending)) | Edit::Parked(_, _, Some(pending)) => {
            pending.reason = one_line(&pending.reason, MAX_REASON);
        }
        Edit::Pending(..)
        | Edit::Parked(..)
        | Edit::Full(..)
        | Edit::Known(_)
        | Edit::Held(..)
        | Edit::Root(..)
        | Edit::Complete(..) => {}
    }
}
