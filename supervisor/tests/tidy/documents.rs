//! Documents that would fall behind without anybody noticing: docs/log.md beside the lines of the log, and
//! the README beside the Chinese one.

use std::fs;

use pulldown_cmark::{CodeBlockKind, Event, HeadingLevel, Options, Parser, Tag, TagEnd};
use regex::Regex;

use super::{ALL, sources, workspace};

/// So many words of a line are looked for.
const WORDS: usize = 4;
/// Longest line of prose, in characters.
const WIDTH: usize = 124;
/// What is looked at as a whole.
const DOCUMENTS: [&str; 8] = [
    "README.md",
    "README.zh.md",
    "docs/README.md",
    "docs/operations.md",
    "docs/log.md",
    "docs/peers.md",
    "docs/tutorial.md",
    "docs/tutorial-ssh.md",
];

fn document(name: &str) -> String {
    fs::read_to_string(workspace().join(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// What a line of the log begins with, before its first fact: nothing where it begins with one.
fn first_words(literal: &str) -> String {
    let joined = Regex::new(r"\\\n\s*").unwrap().replace_all(literal, "");
    let plain = joined.replace("\\\"", "\"").replace("\\t", " ");
    let text = plain.split(['{', ';']).next().unwrap_or_default();
    let text = match text.split_once('=') {
        Some((before, _)) => before.rsplit_once(' ').map_or("", |(words, _)| words),
        None => text,
    };
    let words: Vec<&str> = text.split_whitespace().take(WORDS).collect();
    words.join(" ").trim_end_matches(':').to_owned()
}

/// The first words of all lines that the program logs itself.
fn log_lines() -> Vec<String> {
    let said = Regex::new(r#"\b(?:info|warn|error)!\(\s*"((?:[^"\\]|\\(?s:.))*)""#).unwrap();
    let fact = Regex::new(r#""((?:[^"\\]|\\(?s:.))*=\{(?:[^"\\]|\\(?s:.))*)""#).unwrap();
    let mut found = vec![];
    for (path, text) in ALL.iter().flat_map(|name| sources(name)) {
        found.extend(said.captures_iter(&text).map(|literal| first_words(&literal[1])));
        if path.ends_with("core/notice.rs") {
            found.extend(fact.captures_iter(&text).map(|literal| first_words(&literal[1])));
        }
    }
    found.retain(|words| !words.is_empty());
    found.sort();
    found.dedup();
    found
}

#[test]
fn words_before_the_first_fact() {
    assert_eq!(first_words("remote down remote={label} state={}"), "remote down");
    assert_eq!(first_words("guardian: {error}"), "guardian");
    assert_eq!(first_words("state: the last run did not end; it is known"), "state: the last run");
    assert_eq!(first_words(" first={path}"), "");
}

#[test]
fn every_line_of_the_log_has_its_cure() {
    let log = document("docs/log.md");
    let rows: Vec<&str> = log.lines().filter(|line| line.starts_with("| `")).collect();
    let lines = log_lines();
    assert!(lines.len() > 80, "only {} lines were found", lines.len());
    let missing: Vec<&String> =
        lines.iter().filter(|words| !rows.iter().any(|row| row.contains(&format!("`{words}")))).collect();
    assert!(missing.is_empty(), "docs/log.md has no row for:\n{missing:#?}");
}

/// What two documents in two languages have in common.
#[derive(Debug, Default, PartialEq, Eq)]
struct Shape {
    headings: Vec<HeadingLevel>,
    /// With their language in front.
    code: Vec<String>,
    /// Rows and columns of each table.
    tables: Vec<(usize, usize)>,
    /// Targets of links and pictures; but not of those from one document to the other.
    targets: Vec<String>,
    /// How many items each list has.
    lists: Vec<usize>,
}

fn shape(text: &str) -> Shape {
    let mut shape = Shape::default();
    let mut is_code = false;
    for event in Parser::new_ext(text, Options::ENABLE_TABLES) {
        match event {
            Event::Start(Tag::Heading { level, .. }) => shape.headings.push(level),
            Event::Start(Tag::CodeBlock(kind)) => {
                is_code = true;
                shape.code.push(match kind {
                    CodeBlockKind::Fenced(language) => format!("{language}\n"),
                    CodeBlockKind::Indented => String::new(),
                });
            }
            Event::End(TagEnd::CodeBlock) => is_code = false,
            Event::Text(text) if is_code => shape.code.last_mut().unwrap().push_str(&text),
            Event::Start(Tag::Table(columns)) => shape.tables.push((0, columns.len())),
            Event::Start(Tag::TableRow) => shape.tables.last_mut().unwrap().0 += 1,
            Event::Start(Tag::Link { dest_url, .. } | Tag::Image { dest_url, .. })
                if !dest_url.starts_with("README") =>
            {
                shape.targets.push(dest_url.into_string());
            }
            Event::Start(Tag::List(_)) => shape.lists.push(0),
            Event::Start(Tag::Item) => *shape.lists.last_mut().unwrap() += 1,
            _ => {}
        }
    }
    // One language may have another order within a sentence.
    shape.targets.sort();
    shape
}

#[test]
fn a_shape_is_seen() {
    let one = "# a\n\n[b](c.md)\n\n```sh\nd\n```\n\n| e | f |\n|---|---|\n| g | h |\n\n- i\n- j\n";
    let all = shape(one);
    assert_eq!(all.headings, [HeadingLevel::H1]);
    assert_eq!((all.code.as_slice(), all.tables.as_slice()), (&["sh\nd\n".to_owned()][..], &[(1, 2)][..]));
    assert_eq!((all.targets.as_slice(), all.lists.as_slice()), (&["c.md".to_owned()][..], &[2][..]));
    for (part, other) in
        [("# a", "## a"), ("\nd\n", "\nD\n"), ("| g | h |\n", ""), ("c.md", "d.md"), ("- j\n", "")]
    {
        assert_ne!(shape(&one.replace(part, other)), all, "{part:?}");
    }
}

#[test]
fn the_chinese_readme_is_in_step() {
    let (english, chinese) = (document("README.md"), document("README.zh.md"));
    assert_eq!(shape(&english), shape(&chinese));
    assert!(english.contains("](README.zh.md)") && chinese.contains("](README.md)"));
    let is_chinese = |line: &str| line.chars().any(|ch| ('\u{4e00}'..='\u{9fff}').contains(&ch));
    let headings = |text: &str| text.lines().filter(|line| line.starts_with("## ")).all(is_chinese);
    assert!(headings(&chinese), "a heading is not translated");
}

/// What the overview and its documents lead to is there.
#[test]
fn no_link_leads_nowhere() {
    let mut dead = vec![];
    for name in DOCUMENTS {
        let from = workspace().join(name);
        for target in shape(&document(name)).targets {
            let (file, anchor) = target.split_once('#').unwrap_or((&target, ""));
            let to = if file.is_empty() { from.clone() } else { from.with_file_name(file) };
            let has_anchor = || anchors(&fs::read_to_string(&to).unwrap()).iter().any(|it| it == anchor);
            let is_there = target.contains("://") || (to.exists() && (anchor.is_empty() || has_anchor()));
            if !is_there {
                dead.push(format!("{name}: {target}"));
            }
        }
    }
    assert!(dead.is_empty(), "{dead:#?}");
}

/// What can be linked to: headings, in small letters, with `-` for blanks and without other signs.
fn anchors(text: &str) -> Vec<String> {
    let headings = text.lines().filter(|line| line.starts_with('#'));
    let plain = headings.map(|line| line.trim_start_matches('#').trim().to_lowercase().replace(' ', "-"));
    plain.map(|line| line.chars().filter(|ch| ch.is_alphanumeric() || "-_".contains(*ch)).collect()).collect()
}

#[test]
fn lines_of_prose_fit_on_a_screen() {
    for name in DOCUMENTS {
        for (number, line) in document(name).lines().enumerate() {
            let is_row = line.starts_with('|');
            assert!(is_row || line.chars().count() <= WIDTH, "{name}:{}: {line}", number + 1);
        }
    }
}
