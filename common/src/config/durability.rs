//! What the config says about never losing a change: `<state>`, the brake of `<delete>`, and
//! `<verify>`. All ours: the original ignores them.
//!
//! Only what was written. What is made of it is the supervisor's business.

use std::ffi::OsString;

use serde::{Deserialize, Serialize};

use crate::message::Comparison;

/// `<state start path/>`: what is pending, and the names of each tree, outlive the supervisor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StateConfig {
    /// `start`: whether they do.
    pub start: bool,
    /// `path`: the directory, absolute; `None` for the usual place.
    pub path: Option<OsString>,
}

impl Default for StateConfig {
    fn default() -> StateConfig {
        StateConfig { start: true, path: None }
    }
}

/// The brake, `<delete guard maxDelete maxDeletePercent/>`: which deletions are held until the
/// operator decides. More than `names` at once, and more than `percent` of the names of the tree.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DeleteGuard {
    /// `guard`: which deletions it looks at.
    pub scope: GuardScope,
    /// `maxDelete`: so many names may go at once, whatever part of the tree they are.
    pub names: u64,
    /// `maxDeletePercent`: such a part of a tree's names may go at once, however many they are.
    /// 0 to 100.
    pub percent: u8,
}

impl Default for DeleteGuard {
    fn default() -> DeleteGuard {
        DeleteGuard { scope: GuardScope::Unseen, names: 1000, percent: 50 }
    }
}

/// Which deletions the brake looks at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GuardScope {
    /// `off`: none.
    Off,
    /// `unseen`: those that nobody saw happen, since the supervisor was down or sight was lost.
    Unseen,
    /// `all`: those that were seen event by event too.
    All,
}

/// `<verify start="true" schedule repair checksum budget/>`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Verify {
    /// `schedule`: minutes between the beginnings of two comparisons.
    pub minutes: u32,
    /// `repair`.
    pub repair: Repair,
    /// `checksum`: how files are compared.
    pub by: Comparison,
    /// `budget`: percent of the time that comparing may take, 1 to 100.
    pub budget: u8,
}

/// What becomes of a difference between a remote and the source.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Repair {
    /// It is sent again.
    On,
    /// It is only told.
    Off,
}
