//! The two lanes for batches: what each of them has under way, and that neither takes what the
//! other one carries. Two rsyncs at work on one name may leave there what the slower one read first.

use std::cell::OnceCell;
use std::collections::BTreeSet;
use std::ops::Bound;
use std::time::Duration;

use common::path::RelPath;

use crate::core::Lane;
use crate::core::backlog::{Entry, Taken, below};

/// A batch under way.
#[derive(Debug)]
pub(super) struct Flight {
    pub(super) taken: Vec<Taken>,
    pub(super) since: Duration,
    /// Nothing but large files.
    pub(super) heavy: bool,
    paths: OnceCell<BTreeSet<RelPath>>,
}

impl Flight {
    /// It begins.
    pub(super) fn new(taken: Vec<Taken>, since: Duration) -> Flight {
        let heavy = !taken.is_empty() && taken.iter().all(|(_, entry)| entry.heavy);
        Flight { taken, since, heavy, paths: OnceCell::new() }
    }

    /// Whether it carries `path`, what is above it or what is below it.
    fn touches(&self, path: &RelPath) -> bool {
        let paths = self.paths.get_or_init(|| self.taken.iter().map(|(path, _)| path.clone()).collect());
        let (from, to) = below(path);
        let mut above = path.ancestors().chain([path.as_bytes(), b""]);
        above.any(|path| paths.contains(path))
            || paths.range::<[u8], _>((Bound::Included(&from[..]), Bound::Excluded(&to[..]))).next().is_some()
    }
}

/// What both lanes have under way.
#[derive(Debug, Default)]
pub(super) struct Flights {
    batch: Option<Flight>,
    express: Option<Flight>,
}

impl Flights {
    /// What the lane has under way.
    pub(super) fn of(&self, lane: Lane) -> Option<&Flight> {
        match lane {
            Lane::Batch => self.batch.as_ref(),
            Lane::Express => self.express.as_ref(),
            Lane::Full => None,
        }
    }

    /// A batch begins, or with `None` ends; what the lane had under way.
    pub(super) fn replace(&mut self, lane: Lane, flight: Option<Flight>) -> Option<Flight> {
        match lane {
            Lane::Batch => std::mem::replace(&mut self.batch, flight),
            Lane::Express => std::mem::replace(&mut self.express, flight),
            Lane::Full => None,
        }
    }

    /// Whether the other lane's batch stands in the way of `path`.
    pub(super) fn blocks(&self, lane: Lane, path: &RelPath) -> bool {
        let other = match lane {
            Lane::Batch => &self.express,
            Lane::Express => &self.batch,
            Lane::Full => &None,
        };
        other.as_ref().is_some_and(|flight| flight.touches(path))
    }

    /// All that is under way.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&RelPath, &Entry)> {
        let flights = [&self.batch, &self.express].into_iter().flatten();
        flights.flat_map(|flight| &flight.taken).map(|(path, entry)| (path, entry))
    }

    /// True when nothing is.
    pub(super) fn is_empty(&self) -> bool {
        self.batch.is_none() && self.express.is_none()
    }

    /// Leaves out what no longer counts, and hands it over.
    pub(super) fn drop_if(&mut self, out: impl Fn(&Taken) -> bool) -> Vec<Taken> {
        let mut dropped = Vec::new();
        for flight in [&mut self.batch, &mut self.express].into_iter().flatten() {
            let all = std::mem::take(&mut flight.taken);
            let (gone, kept): (Vec<Taken>, Vec<Taken>) = all.into_iter().partition(&out);
            flight.taken = kept;
            dropped.extend(gone);
        }
        dropped
    }
}
