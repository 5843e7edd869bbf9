//! The bandwidth that all transfers together may use, shared out as each of them begins.
//!
//! rsync is told its rate when it is started and cannot be told another. So what is under way keeps its
//! share until it is over, and nobody gets all of what is left while others may still come.

use std::collections::BTreeMap;

use common::config::Bandwidth;

use super::Role;

/// Where more transfers wait than may be at work, this part of the limit is kept for those that are let go
/// all the same, since the others are stuck.
const KEPT: u32 = 8;

/// Who gets how much.
#[derive(Debug, Default)]
pub struct Shares {
    limits: Bandwidth,
    /// Of the local clock, 0 to 23.
    hour: u8,
    /// What each transfer under way has, in KiB a second.
    given: BTreeMap<Role, u32>,
    /// What counted for all together when the last one got its share.
    total: Option<u32>,
}

/// How many want some of it. Each transfer is in one of these only.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Crowd {
    /// Transfers that the workers' bound lets go at once.
    pub slots: usize,
    /// At work.
    pub working: usize,
    /// Would go now; the one that asks is one of them.
    pub waiting: usize,
    /// Have nothing to do now and may have at any moment.
    pub idle: usize,
}

/// How pressing a transfer is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Urgency {
    /// Live changes: they get little rather than wait.
    Live,
    /// The whole tree: it waits until there is something worth having.
    Bulk,
}

/// What a transfer gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Share {
    /// There is no limit.
    All,
    /// KiB a second, at least 1.
    Rate(u32),
    /// Nothing now. Something is at work, and its end is the next moment to ask.
    Later,
}

impl Shares {
    /// Ready to share out.
    pub fn new(limits: Bandwidth) -> Shares {
        Shares { limits, ..Shares::default() }
    }

    /// Other limits count, for those that begin from now on.
    pub fn set(&mut self, limits: Bandwidth) {
        self.limits = limits;
    }

    /// So late is it, on the local clock.
    pub fn set_hour(&mut self, hour: u8) {
        self.hour = hour;
    }

    /// KiB a second for all together, at least 1; `None` without a limit.
    pub fn total(&self) -> Option<u32> {
        self.limits.at(self.hour).map(|total| total.max(1))
    }

    /// The sum of all shares of what is under way, in KiB a second.
    pub fn given(&self) -> u32 {
        self.given.values().fold(0, |sum, rate| sum.saturating_add(*rate))
    }

    /// Gives a transfer that is about to begin its share: of what is left, as much as each other that
    /// waits, once half of a fair share is put aside for each that may still come. All shares together
    /// are never more than the limit.
    pub fn take(&mut self, role: Role, crowd: Crowd, urgency: Urgency) -> Share {
        self.give_back(role);
        let Some(total) = self.total() else {
            self.total = None;
            return Share::All;
        };
        self.scale(total);
        let all = crowd.working.saturating_add(crowd.waiting).saturating_add(crowd.idle);
        let slots = count(crowd.slots.min(all));
        let kept = if all > crowd.slots { total / KEPT } else { 0 };
        let pool = total.saturating_sub(kept);
        let least = half(pool, slots);
        let open = slots.saturating_sub(u32::try_from(crowd.working).unwrap_or(u32::MAX)).max(1);
        let waiting = count(crowd.waiting).min(open);
        let idle = u32::try_from(crowd.idle).unwrap_or(u32::MAX).min(open.saturating_sub(waiting));
        let left = pool.saturating_sub(self.given());
        let little = (total / KEPT).checked_div(slots).unwrap_or(0).max(1);
        let share = if left >= least {
            let part = left.saturating_sub(idle.saturating_mul(least)).checked_div(waiting).unwrap_or(0);
            part.clamp(least, left)
        } else if urgency == Urgency::Live && total.saturating_sub(self.given()) >= little {
            little
        } else {
            return Share::Later;
        };
        self.given.insert(role, share);
        Share::Rate(share)
    }

    /// A transfer is over, or moves nothing any more: its share is free.
    pub fn give_back(&mut self, role: Role) {
        self.given.remove(&role);
    }

    /// Where less counts than did, what is under way must not keep the others waiting for hours: it goes
    /// on as it began, and counts for its part of the new limit.
    fn scale(&mut self, total: u32) {
        if let Some(before) = self.total.replace(total).filter(|before| *before > total) {
            for rate in self.given.values_mut() {
                let part = u64::from(*rate).saturating_mul(total.into()).checked_div(before.into());
                *rate = part.and_then(|part| u32::try_from(part).ok()).unwrap_or(0).max(1);
            }
        }
    }
}

/// Half of a fair share.
fn half(pool: u32, slots: u32) -> u32 {
    pool.checked_div(slots.saturating_mul(2)).unwrap_or(0).max(1)
}

/// At least one, since it is divided by.
fn count(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX).max(1)
}

#[cfg(test)]
mod tests;
