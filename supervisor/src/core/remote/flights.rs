//! The two lanes for batches: what each of them has under way, and that neither takes what the
//! other one carries. Two rsyncs at work on one name may leave there what the slower one read first.

use std::cell::OnceCell;
use std::collections::BTreeMap;
use std::ops::Bound;
use std::time::Duration;

use common::message::Move;
use common::path::RelPath;

use crate::core::Lane;
use crate::core::backlog::{Entry, Taken, below};

/// A batch under way.
#[derive(Debug)]
pub(super) struct Flight {
    pub(super) taken: Vec<Taken>,
    /// What of it is made out of what has another name there.
    pub(super) moves: Vec<Move>,
    pub(super) since: Duration,
    /// Nothing but large files.
    pub(super) heavy: bool,
    /// It never carried anything.
    pub(super) is_nothing: bool,
    /// Where each path is in `taken`, once that was asked.
    paths: OnceCell<BTreeMap<RelPath, usize>>,
}

impl Flight {
    /// It begins.
    pub(super) fn new(taken: Vec<Taken>, moves: Vec<Move>, since: Duration) -> Flight {
        let heavy = !taken.is_empty() && taken.iter().all(|(_, entry)| entry.heavy);
        Flight { taken, moves, since, heavy, is_nothing: false, paths: OnceCell::new() }
    }

    /// Nothing: a syncer gets ready.
    pub(super) fn of_nothing(since: Duration) -> Flight {
        Flight { is_nothing: true, ..Flight::new(Vec::new(), Vec::new(), since) }
    }

    fn paths(&self) -> &BTreeMap<RelPath, usize> {
        let all = || self.taken.iter().zip(0..).map(|((path, _), at)| (path.clone(), at)).collect();
        self.paths.get_or_init(all)
    }

    /// What it carries at `path`.
    fn get(&self, path: &RelPath) -> Option<&Entry> {
        let at = *self.paths().get(path)?;
        self.taken.get(at).map(|(_, entry)| entry)
    }

    /// Whether it carries `path`, what is above it or what is below it.
    fn touches(&self, path: &RelPath) -> bool {
        let paths = self.paths();
        let (from, to) = below(path);
        let mut above = path.ancestors().chain([path.as_bytes(), b""]);
        above.any(|path| paths.contains_key(path))
            || paths.range::<[u8], _>((Bound::Included(&from[..]), Bound::Excluded(&to[..]))).next().is_some()
    }
}

/// What both lanes have under way.
#[derive(Debug, Default)]
pub(super) struct Flights {
    batch: Option<Flight>,
    express: Option<Flight>,
    /// When something last went in the express lane.
    express_at: Option<Duration>,
}

impl Flights {
    /// When something last went in the express lane.
    pub(super) fn express_at(&self) -> Option<Duration> {
        self.express_at
    }

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
            Lane::Express => {
                self.express_at = flight.as_ref().map(|flight| flight.since).or(self.express_at);
                std::mem::replace(&mut self.express, flight)
            }
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

    /// What is under way at `path`.
    pub(super) fn get(&self, path: &RelPath) -> Option<&Entry> {
        [&self.batch, &self.express].into_iter().flatten().find_map(|flight| flight.get(path))
    }

    /// Whether the other lane's batch makes something out of what the remote has at `path`.
    pub(super) fn needs(&self, lane: Lane, path: &RelPath) -> bool {
        let other = match lane {
            Lane::Batch => &self.express,
            Lane::Express => &self.batch,
            Lane::Full => &None,
        };
        other.as_ref().is_some_and(|flight| flight.moves.iter().any(|it| it.from == *path))
    }

    /// All that is under way.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&RelPath, &Entry)> {
        let flights = [&self.batch, &self.express].into_iter().flatten();
        flights.flat_map(|flight| &flight.taken).map(|(path, entry)| (path, entry))
    }

    /// True when nothing is.
    pub(super) fn is_empty(&self) -> bool {
        [&self.batch, &self.express].into_iter().flatten().all(|flight| flight.is_nothing)
    }

    /// Leaves out what no longer counts, and hands it over.
    pub(super) fn drop_if(&mut self, out: impl Fn(&Taken) -> bool) -> Vec<Taken> {
        let mut dropped = Vec::new();
        for flight in [&mut self.batch, &mut self.express].into_iter().flatten() {
            let all = std::mem::take(&mut flight.taken);
            let (gone, kept): (Vec<Taken>, Vec<Taken>) = all.into_iter().partition(&out);
            (flight.taken, flight.paths) = (kept, OnceCell::new());
            dropped.extend(gone);
        }
        dropped
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use common::event::{Change, Dirt};

    use crate::core::backlog::{Backlog, Traffic};

    /// What is under way was found by its place in the batch, also after some of that had been left out.
    #[test]
    fn each_path_finds_its_entry() {
        let path = |n: u32| RelPath::new(format!("f{n}")).unwrap();
        let mut backlog = Backlog::default();
        for n in 0..9 {
            let change = Change { path: path(n), dirt: Dirt::Touched, mask: n };
            backlog.insert(Duration::ZERO, &change, Traffic::OneWay);
        }
        let taken = backlog.take(Duration::ZERO, usize::MAX, |_, _| false);
        let mut flights = Flights::default();
        flights.replace(Lane::Batch, Some(Flight::new(taken, Vec::new(), Duration::ZERO)));
        let masks = |flights: &Flights| -> Vec<Option<u32>> {
            (0..9).map(|n| flights.get(&path(n)).map(|entry| entry.mask)).collect()
        };
        assert_eq!(masks(&flights), (0..9).map(Some).collect::<Vec<_>>());
        flights.drop_if(|(_, entry)| entry.mask < 4);
        assert_eq!(masks(&flights), (0..9).map(|n| Some(n).filter(|n| *n >= 4)).collect::<Vec<_>>());
    }
}
