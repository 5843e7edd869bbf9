//! The hour of the local clock, for a bandwidth that depends on it. Looked at when something happens:
//! only what begins needs to know, so nobody is woken up for it.

use std::time::SystemTime;

use common::confine::local_hour;

use super::EventLoop;

/// All zones of the world differ by whole ones of these.
const QUARTER: u64 = 15 * 60;

impl EventLoop {
    /// Tells the core how late it is, where that matters and may have changed. The clock may have been
    /// set, forwards or back.
    pub(super) fn note_hour(&mut self) {
        if !self.plan.config().sharing.bandwidth.depends_on_hour() {
            return;
        }
        let seconds = SystemTime::UNIX_EPOCH.elapsed().map_or(0, |since| since.as_secs());
        let quarter = seconds.checked_div(QUARTER);
        if self.quarter == quarter {
            return;
        }
        self.quarter = quarter;
        if let Some(hour) = i64::try_from(seconds).ok().and_then(local_hour) {
            self.core.set_hour(hour);
        }
    }
}
