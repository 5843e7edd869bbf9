//! What is told of a remote to those who look on.

use std::time::Duration;

use common::status::Health;

use super::{Remote, STALLED, lane_index};
use crate::core::backlog::{Entry, QUARANTINE, millis};
use crate::core::view::{Errand, FlightView, FullView, MAX_NAMED, Quarantined, RemoteView};
use crate::core::{Lane, RemoteId};

impl Remote {
    /// What is known of it, but for what its tree says. Takes as long as it has paths that wait.
    pub fn view(&self, now: Duration, id: RemoteId) -> RemoteView<'_> {
        let today = self.backlog.epoch().saturating_add(millis(now));
        let age = |entry: &Entry| Duration::from_millis(today.saturating_sub(entry.at));
        let (mut quarantine, mut quarantined) = (0_usize, Vec::new());
        let mut oldest = None;
        for (path, entry) in self.flights.iter().chain(self.backlog.iter()) {
            oldest = oldest.max(Some(age(entry)));
            if entry.attempts < QUARANTINE {
                continue;
            }
            quarantine = quarantine.saturating_add(1);
            if quarantined.len() < MAX_NAMED {
                let reason = self.reasons.get(path).map_or("", String::as_str);
                quarantined.push(Quarantined { path, attempts: entry.attempts, reason, waits: age(entry) });
            }
        }
        let owed_since = (!self.full_is_idle()).then_some(self.full.asked);
        let lags_since = owed_since.filter(|_| self.full.lags);
        let behind = oldest.max(lags_since.map(|since| now.saturating_sub(since)));
        let full = FullView { owed_since, trouble: self.full.trouble, braked: self.full.held };
        RemoteView {
            id,
            tree: self.tree,
            label: &self.label,
            health: self.health(quarantine),
            standing: self.standing(),
            down_since: self.tally.down_since(),
            retry_at: Some(self.not_before).filter(|&at| at > now),
            pending: self.pending(),
            behind,
            parked: self.parked.len(),
            flights: Lane::ALL.into_iter().filter_map(|lane| self.flight(now, lane)).collect(),
            full,
            quarantine,
            quarantined,
            tally: &self.tally,
            mishap: self.tally.mishap(),
        }
    }

    fn health(&self, quarantine: usize) -> Health {
        if self.is_known_down() {
            Health::Down
        } else if quarantine > 0 || self.full.has_failed() {
            Health::Failing
        } else if self.holds_full() || self.full.is_refused() || !self.parked.is_empty() {
            Health::Held
        } else if self.is_done() {
            Health::InSync
        } else {
            Health::Behind
        }
    }

    fn flight(&self, now: Duration, lane: Lane) -> Option<FlightView> {
        if !self.is_working(lane) {
            return None;
        }
        let work = match lane {
            Lane::Batch | Lane::Express => {
                // A job of nothing is no transfer.
                Errand::Batch(
                    self.flights.of(lane).map(|flight| flight.taken.len()).filter(|&paths| paths > 0)?,
                )
            }
            Lane::Full if self.audit.1 => Errand::Verify,
            Lane::Full => Errand::Full,
        };
        let since = self.tally.began(lane).unwrap_or(now);
        let stalled = self.stalls.get(lane_index(lane)).is_some_and(|&stalls| stalls >= STALLED);
        Some(FlightView { lane, work, since, advance: self.tally.advance_of(lane), stalled })
    }
}
