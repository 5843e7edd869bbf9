//! `docs/messages.md` has every text with which the program refuses or warns of something that an
//! operator can mend, and no other: the sources are read for the texts, the document for its rows.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use regex::Regex;

/// Where such texts stand, and behind what.
const SOURCES: &[(&[&str], &str)] = &[
    (
        &["common/src/config/xml.rs", "common/src/config/params.rs", "common/src/config/read"],
        r"(?:message =|=> \(at,|\b(?:error|warning|problem)\(ARG,|\.object\(ARG,|at\.saturating_add\(1\),|value\.clone\(\),|saturating_add\(1\),)",
    ),
    (
        &["supervisor/src/check", "supervisor/src/secrets.rs"],
        r#"(?:message =|\b(?:error|warning)\(ARG,|\.(?:refuse|warn)\(|then\(\|\| \{|\bblame\(file\.kind,|row\((?:None|Some\([\w:]+\)), "[^"]*", "[^"]*",)"#,
    ),
    (
        &[
            "supervisor/src/plan.rs",
            "supervisor/src/state.rs",
            "supervisor/src/page.rs",
            "supervisor/src/runtime.rs",
            "supervisor/src/control/client.rs",
        ],
        r"#\[error\(",
    ),
    (&["supervisor/src/plan/machine.rs"], r"\.push\("),
    (&["supervisor/src/lowering.rs"], r"(?:Err\(vec!\[|Err\(|\|what\||[^!]\bSome\()"),
];

fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

/// A file, or all production sources below a directory and beside it.
fn files(name: &str) -> Vec<PathBuf> {
    let path = workspace().join(name);
    if path.is_file() {
        return vec![path];
    }
    let mut left = vec![path.clone()];
    let mut found = vec![path.with_extension("rs")];
    while let Some(directory) = left.pop() {
        for entry in fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            let is_test = path.file_name().unwrap().to_str().unwrap().starts_with("tests");
            if path.is_dir() {
                left.push(path);
            } else if !is_test {
                found.push(path);
            }
        }
    }
    found
}

/// `{…}` is `…`; escapes are what they stand for.
fn shown(literal: &str) -> String {
    let joined = Regex::new(r"\\\n\s*").unwrap().replace_all(literal, "");
    let plain = joined.replace("\\\"", "\"").replace("\\\\", "\\");
    Regex::new(r"\{[^{}]*\}").unwrap().replace_all(&plain, "…").into_owned()
}

fn texts() -> BTreeSet<String> {
    let literal = Regex::new(r#""((?:[^"\\]|\\(?s:.))*)""#).unwrap();
    let comment = Regex::new(r"(?m)^\s*//.*$").unwrap();
    let space = Regex::new(r"\s+").unwrap();
    let argument = r#"(?:[^()",]|\([^()"]*\))*"#;
    let mut found = BTreeSet::new();
    for (names, before) in SOURCES {
        let before = Regex::new(&format!("{}$", before.replace("ARG", argument))).unwrap();
        for path in names.iter().flat_map(|name| files(name)) {
            let text = fs::read_to_string(&path).unwrap();
            let text = text.split("#[cfg(test)]").next().unwrap();
            let text = comment.replace_all(text, "");
            for literal in literal.captures_iter(&text) {
                let start = literal.get(0).unwrap().start();
                let ahead = text[text.floor_char_boundary(start.saturating_sub(300))..start].to_owned();
                let ahead = space.replace_all(&ahead, " ");
                let ahead = ahead.trim_end().trim_end_matches("format!(").trim_end();
                let said = shown(&literal[1]);
                if before.is_match(ahead) && said.chars().any(char::is_alphabetic) {
                    found.insert(said);
                }
            }
        }
    }
    found
}

/// The first column of every table.
fn rows() -> BTreeSet<String> {
    let document = fs::read_to_string(workspace().join("docs/messages.md")).unwrap();
    let row = Regex::new(r"^\| `` (.*?) `` \| .+ \| .+ \|$").unwrap();
    let mut found = BTreeSet::new();
    for line in document.lines().filter(|line| line.starts_with("| ``")) {
        let text = &row.captures(line).unwrap_or_else(|| panic!("no row: {line}"))[1];
        assert!(found.insert(text.replace("\\|", "|")), "twice: {text}");
    }
    found
}

#[test]
fn the_table_and_the_code_say_the_same() {
    let (texts, rows) = (texts(), rows());
    assert!(texts.len() > 120, "only {} texts were found", texts.len());
    let missing: Vec<&String> = texts.difference(&rows).collect();
    let extra: Vec<&String> = rows.difference(&texts).collect();
    assert!(missing.is_empty(), "docs/messages.md has no row for:\n{missing:#?}");
    assert!(extra.is_empty(), "no source says:\n{extra:#?}");
}

/// What is said of the broken configs is in the table, whatever the config said.
#[test]
fn what_is_said_of_the_broken_configs_is_in_the_table() {
    let snapshot = fs::read_to_string(workspace().join("supervisor/tests/snapshots/broken.snap")).unwrap();
    let patterns: Vec<Regex> = rows()
        .iter()
        // What stands behind the last semicolon is told as the cure.
        .flat_map(|text| {
            [text.clone(), text.rsplit_once("; ").map_or_else(|| text.clone(), |(text, _)| text.to_owned())]
        })
        .map(|text| {
            Regex::new(&format!("^(?:error|warning): {}$", regex::escape(&text).replace('…', ".*"))).unwrap()
        })
        .collect();
    let titles: Vec<&str> = snapshot
        .lines()
        .filter(|line| line.starts_with("error: ") || line.starts_with("warning: "))
        .collect();
    assert!(titles.len() >= 100, "{}", titles.len());
    for title in titles {
        assert!(
            patterns.iter().any(|pattern| pattern.is_match(title)),
            "docs/messages.md does not know: {title}"
        );
    }
}
