//! What a job that is over has read, and brought over.

use std::time::Duration;

use common::event::Dirt;
use common::message::{Deletions, Outcome};
use common::path::RelPath;

use super::Remote;
use crate::core::Lane;
use crate::core::unproven::may_hide;

/// What it was, and when the job began.
#[derive(Debug)]
pub enum Carried {
    /// Paths, of those under which something may be that nobody reported.
    Paths(Duration, Vec<(RelPath, Dirt)>),
    /// The whole tree, with deletions.
    All(Duration),
}

impl Remote {
    /// What the lane's job has carried that ends like this; `None` where all of it goes again anyway.
    pub fn carried(&self, lane: Lane, outcome: Outcome) -> Option<Carried> {
        if !matches!(outcome, Outcome::Done | Outcome::Partial) || self.is_auditing(lane) {
            return None;
        }
        match lane {
            Lane::Batch | Lane::Express => {
                let flight = self.flights.of(lane).filter(|flight| !flight.is_nothing)?;
                let paths = flight.taken.iter().filter(|(_, entry)| may_hide(entry.dirt));
                let paths = paths.map(|(path, entry)| (path.clone(), entry.dirt));
                Some(Carried::Paths(flight.since, paths.collect()))
            }
            Lane::Full => {
                let deletes = self.full.running == Some(Deletions::Travel);
                deletes.then(|| self.tally.began(lane)).flatten().map(Carried::All)
            }
        }
    }
}
