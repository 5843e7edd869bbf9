//! What was measured: figures by part, contender and run, kept in `performance.json` beside the
//! tables that are made from it. A run of some parts replaces these and leaves the others.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::outcome::{Outcome, failed, median};

/// One run.
#[derive(Debug, Clone, Serialize, Deserialize, PartialEq)]
pub(crate) struct Record {
    /// The part: `W2`, `start`…
    pub(crate) part: String,
    /// Who: `ours`, `limit`…
    pub(crate) who: String,
    /// Figures by name; the name ends in the unit: `_s`, `_ms`, `_kib`, `_ns`.
    pub(crate) figures: BTreeMap<String, f64>,
    /// What else is to be said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) note: Option<String>,
}

/// Everything that was measured.
#[derive(Debug, Default, Serialize, Deserialize, PartialEq)]
pub(crate) struct Records {
    /// The machine and the programs, and when, by part.
    pub(crate) taken: BTreeMap<String, String>,
    /// All runs.
    pub(crate) runs: Vec<Record>,
}

impl Records {
    /// Reads them; none where there is no file.
    pub(crate) fn load(file: &Path) -> Outcome<Records> {
        if !file.exists() {
            return Ok(Records::default());
        }
        serde_json::from_slice(&fs::read(file)?)
            .map_err(|error| failed(format!("{}: {error}", file.display())))
    }

    /// Writes them, one run a line.
    pub(crate) fn save(&self, file: &Path) -> Outcome<()> {
        let line = |run: &Record| serde_json::to_string(run).map_err(std::io::Error::from);
        let runs: Outcome<Vec<String>> = self.runs.iter().map(line).collect();
        let taken = serde_json::to_string_pretty(&self.taken).map_err(std::io::Error::from)?;
        fs::write(file, format!("{{\"taken\": {taken},\n\"runs\": [\n{}\n]}}\n", runs?.join(",\n")))
    }

    /// Forgets a part, which is measured anew.
    pub(crate) fn begin(&mut self, part: &str, taken: &str) {
        self.runs.retain(|run| run.part != part);
        self.taken.insert(part.to_owned(), taken.to_owned());
    }

    /// Adds a run, and prints it.
    pub(crate) fn add(&mut self, run: Record) {
        let figures: Vec<String> =
            run.figures.iter().map(|(name, figure)| format!("{name}={figure:.3}")).collect();
        let note = run.note.as_ref().map_or_else(String::new, |note| format!(" note=\"{note}\""));
        println!("{} {} {}{note}", run.part, run.who, figures.join(" "));
        self.runs.push(run);
    }

    /// The runs of `who` in `part`.
    pub(crate) fn of<'a>(&'a self, part: &'a str, who: &'a str) -> impl Iterator<Item = &'a Record> {
        self.runs.iter().filter(move |run| run.part == part && run.who == who)
    }

    /// All values of a figure.
    pub(crate) fn values(&self, part: &str, who: &str, figure: &str) -> Vec<f64> {
        self.of(part, who).filter_map(|run| run.figures.get(figure)).copied().collect()
    }

    /// Its median.
    pub(crate) fn median(&self, part: &str, who: &str, figure: &str) -> Option<f64> {
        median(&self.values(part, who, figure))
    }
}

/// A run in the making.
#[derive(Debug, Default)]
pub(crate) struct Figures(BTreeMap<String, f64>);

impl Figures {
    /// Notes one.
    pub(crate) fn set(&mut self, name: &str, figure: f64) {
        self.0.insert(name.to_owned(), figure);
    }

    /// The run, once all is noted.
    pub(crate) fn done(self, part: &str, who: &str, note: Option<String>) -> Record {
        Record { part: part.to_owned(), who: who.to_owned(), figures: self.0, note }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_is_replaced_and_the_rest_stays() {
        let mut records = Records::default();
        for (part, seconds) in [("W2", 1.0), ("W2", 3.0), ("W3", 5.0)] {
            let mut figures = Figures::default();
            figures.set("conv_s", seconds);
            records.add(figures.done(part, "ours", None));
        }
        assert_eq!(records.median("W2", "ours", "conv_s"), Some(2.0));
        records.begin("W2", "here");
        assert_eq!(records.median("W2", "ours", "conv_s"), None);
        assert_eq!(records.median("W3", "ours", "conv_s"), Some(5.0));
        let file = std::env::temp_dir().join(format!("bench-records-{}", std::process::id()));
        records.save(&file).unwrap();
        assert_eq!(Records::load(&file).unwrap(), records);
        fs::remove_file(file).unwrap();
    }
}
