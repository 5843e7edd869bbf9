//! The fail log, written when something failed and it is time.

use std::time::Duration;

use super::EventLoop;
use crate::core::RemoteId;
use crate::fail_log::{MAX_RECORDS, Wrote};

/// Of the time, one part in so many goes into the fail log at most.
const RECORD_SHARE: u32 = 20;

impl EventLoop {
    pub(super) fn record_at(&self) -> Option<Duration> {
        self.fail_log.as_ref()?.deadline(self.core.failures())
    }

    pub(super) fn record(&mut self) {
        let now = self.now();
        let Some(fail_log) = &mut self.fail_log else { return };
        let (core, plan) = (&self.core, &self.plan);
        let remotes = (0_u16..).map(RemoteId).zip(core.remotes()).filter_map(|(id, remote)| {
            let (root, configured) = plan.remote(id)?;
            Some((root, configured, remote.failed(MAX_RECORDS)))
        });
        let wrote = fail_log.update(now, core.failures(), remotes);
        if wrote == Wrote::Yes {
            let took = self.start.elapsed().saturating_sub(now);
            fail_log.rest(now.saturating_add(took.saturating_mul(RECORD_SHARE)));
        }
    }
}
