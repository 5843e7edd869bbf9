//! From figures to `docs/performance.md`: tables between marker comments, so that the prose around
//! them stays, and two plots. Everything is drawn from `performance.json` alone.

mod plot;
mod svg;
mod tables;

use std::fs;
use std::path::Path;

use crate::options::Options;
use crate::outcome::{Outcome, failed};
use crate::record::Records;

/// Reads what was measured before.
pub(crate) fn load(options: &Options) -> Outcome<Records> {
    options.docs.as_ref().map_or_else(|| Ok(Records::default()), |docs| Records::load(&docs.join(FILE)))
}

const FILE: &str = "performance.json";

/// Writes what was measured.
pub(crate) fn save(records: &Records, options: &Options) -> Outcome<()> {
    options.docs.as_ref().map_or(Ok(()), |docs| records.save(&docs.join(FILE)))
}

/// Draws tables and plots again.
pub(crate) fn draw(options: &Options) -> Outcome<()> {
    let Some(docs) = &options.docs else { return Ok(()) };
    let records = Records::load(&docs.join(FILE))?;
    fs::write(docs.join("performance.svg"), plot::ratios(&records))?;
    fs::write(docs.join("performance-growth.svg"), plot::growth(&records))?;
    put(&docs.join("performance.md"), &records)
}

/// Replaces what is between the markers of each table.
fn put(file: &Path, records: &Records) -> Outcome<()> {
    let text = fs::read_to_string(file).map_err(|error| failed(format!("{}: {error}", file.display())))?;
    let filled = tables::ALL.iter().try_fold(text, |text, (name, table)| {
        between(&text, name, &table(records))
            .ok_or_else(|| failed(format!("{}: no markers for the table {name}", file.display())))
    })?;
    fs::write(file, filled)
}

/// `text` with `table` between the markers `name`.
fn between(text: &str, name: &str, table: &str) -> Option<String> {
    let (begin, end) = (format!("<!-- bench:begin {name} -->"), format!("<!-- bench:end {name} -->"));
    let (before, rest) = text.split_once(&begin)?;
    let (_, after) = rest.split_once(&end)?;
    Some(format!("{before}{begin}\n\n{}\n\n{end}{after}", table.trim()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prose_around_a_table_stays() {
        let text = "before\n<!-- bench:begin a -->\nold\n<!-- bench:end a -->\nafter\n";
        let filled = between(text, "a", "| new |\n").unwrap();
        assert_eq!(filled, "before\n<!-- bench:begin a -->\n\n| new |\n\n<!-- bench:end a -->\nafter\n");
        assert_eq!(between(&filled, "a", "| new |\n").unwrap(), filled);
        assert_eq!(between(text, "b", "x"), None);
    }

    /// The document has a place for every table.
    #[test]
    fn the_document_has_all_markers() {
        let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs");
        let text = fs::read_to_string(docs.join("performance.md")).unwrap();
        let records = Records::load(&docs.join(FILE)).unwrap();
        for (name, table) in tables::ALL {
            assert!(between(&text, name, &table(&records)).is_some(), "{name}");
        }
    }
}
