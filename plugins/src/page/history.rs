//! The last hour of each remote, for the charts: a sample every ten seconds. It is kept here and nowhere
//! else, so it begins anew with the process. What it takes is bounded: some twelve bytes a sample.

use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;

use common::status::Snapshot;
use serde::Serialize;

/// Samples that are kept: an hour.
const MAX_SAMPLES: usize = 360;
/// Remotes that have a chart: those that come behind have none.
const MAX_SERIES: usize = 2000;

/// The last hour.
#[derive(Debug, Default)]
pub(super) struct History {
    /// When the samples were taken, in whole seconds since 1970.
    at: VecDeque<u64>,
    /// By tree and remote. Each is as long as `at`.
    series: BTreeMap<(String, String), VecDeque<Option<Sample>>>,
    /// As it was told last; `None` once it has grown.
    told: Option<Rc<[u8]>>,
}

#[derive(Debug, Clone, Copy, PartialEq)]
struct Sample {
    behind: f32,
    pending: u32,
}

#[derive(Serialize)]
struct Told<'a> {
    at: &'a VecDeque<u64>,
    remotes: Vec<Series<'a>>,
}

#[derive(Serialize)]
struct Series<'a> {
    tree: &'a str,
    name: &'a str,
    behind: Vec<Option<f32>>,
    pending: Vec<Option<u32>>,
}

impl History {
    /// A sample of all remotes.
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "whole seconds, and a chart")]
    pub(super) fn note(&mut self, snapshot: &Snapshot) {
        self.told = None;
        let before = self.at.len();
        self.at.push_back(snapshot.at.max(0.0) as u64);
        for remote in &snapshot.remotes {
            let key = (remote.tree.clone(), remote.name.clone());
            if !self.series.contains_key(&key) && self.series.len() >= MAX_SERIES {
                continue;
            }
            let series = self.series.entry(key).or_insert_with(|| VecDeque::from(vec![None; before]));
            // Of two that go by the same name the first one has the chart.
            if series.len() == before {
                let behind = remote.behind_seconds.map_or(0.0, |seconds| seconds as f32);
                let pending = u32::try_from(remote.pending).unwrap_or(u32::MAX);
                series.push_back(Some(Sample { behind, pending }));
            }
        }
        self.at.drain(..self.at.len().saturating_sub(MAX_SAMPLES));
        for series in self.series.values_mut() {
            series.resize(before.saturating_add(1), None);
            series.drain(..series.len().saturating_sub(MAX_SAMPLES));
        }
        self.series.retain(|_, series| series.iter().any(Option::is_some));
    }

    /// All of it.
    pub(super) fn json(&mut self) -> Rc<[u8]> {
        if let Some(told) = &self.told {
            return Rc::clone(told);
        }
        let remotes = self.series.iter().map(|((tree, name), series)| {
            let tenths = |sample: Sample| (sample.behind * 10.0).round() / 10.0;
            let behind = series.iter().map(|sample| sample.map(tenths)).collect();
            let pending = series.iter().map(|sample| sample.map(|sample| sample.pending)).collect();
            Series { tree, name, behind, pending }
        });
        let told = Told { at: &self.at, remotes: remotes.collect() };
        // Text and numbers always have a JSON form.
        let bytes = serde_json::to_vec(&told)
            .inspect_err(|error| log::error!("internal: history: {error}"))
            .unwrap_or_default();
        Rc::clone(self.told.insert(bytes.into()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::page::tests::example;
    use serde_json::Value;

    fn told(history: &mut History) -> Value {
        serde_json::from_slice(&history.json()).unwrap()
    }

    #[test]
    fn an_hour_and_no_more() {
        let (mut history, mut snapshot) = (History::default(), example());
        assert_eq!(told(&mut history), serde_json::json!({"at": [], "remotes": []}));
        for n in 0..1000_u32 {
            snapshot.at = f64::from(n * 10);
            snapshot.remotes[0].pending = n.into();
            snapshot.remotes[0].behind_seconds = (n % 2 == 0).then_some(f64::from(n) + 0.25);
            history.note(&snapshot);
        }
        let told = told(&mut history);
        assert_eq!(told["at"].as_array().unwrap().len(), MAX_SAMPLES);
        assert_eq!((&told["at"][0], &told["at"][359]), (&6400.into(), &9990.into()));
        let name = &snapshot.remotes[0].name;
        let one = told["remotes"].as_array().unwrap().iter().find(|it| it["name"] == **name).unwrap();
        assert_eq!((&one["pending"][359], &one["behind"][359]), (&999.into(), &0.0.into()));
        assert_eq!(one["behind"][358], serde_json::json!(998.3));
    }

    #[test]
    fn who_comes_and_goes() {
        let (mut history, mut snapshot) = (History::default(), example());
        let mut late = snapshot.remotes[0].clone();
        history.note(&snapshot);
        late.name = "late".to_owned();
        // Twice under one name.
        snapshot.remotes = vec![late.clone(), late];
        history.note(&snapshot);
        let told = told(&mut history);
        let late = told["remotes"].as_array().unwrap().iter().find(|it| it["name"] == "late").unwrap();
        assert_eq!(late["pending"], serde_json::json!([null, snapshot.remotes[0].pending]));
        assert!(
            told["remotes"].as_array().unwrap().iter().all(|it| it["behind"].as_array().unwrap().len() == 2)
        );
        for _ in 0..MAX_SAMPLES {
            history.note(&snapshot);
        }
        assert_eq!(history.series.len(), 1, "an hour after its end it is forgotten");
    }

    #[test]
    fn a_flood_of_names() {
        let (mut history, mut snapshot) = (History::default(), example());
        let one = snapshot.remotes[0].clone();
        for round in 0..3 {
            let name = |n: usize| format!("{round} {n}");
            snapshot.remotes =
                (0..MAX_SERIES).map(|n| common::status::Remote { name: name(n), ..one.clone() }).collect();
            history.note(&snapshot);
        }
        assert_eq!(history.series.len(), MAX_SERIES);
    }
}
