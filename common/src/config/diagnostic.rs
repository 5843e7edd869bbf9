//! What is wrong with a config file, and how it is shown: file, line and column, the line
//! itself, and a caret under the place.
//!
//! Config files, their names and our messages about them end up on terminals: nothing that
//! could steer one gets through.

use std::ops::Range;

use annotate_snippets::{AnnotationKind, Level, Origin, Renderer, Snippet};

use super::read::Parsed;

/// Most diagnostics shown; errors go before warnings.
const MAX_SHOWN: usize = 100;
/// Most characters of a value that a message repeats.
const MAX_QUOTED: usize = 60;

/// Whether the config can be used all the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Severity {
    /// It cannot.
    Error,
    /// It can; something in it is probably not what was meant.
    Warning,
}

/// One thing that is wrong with a config file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Diagnostic {
    /// Whether the config can be used all the same.
    pub severity: Severity,
    /// The place, in bytes of [`Parsed::text`].
    pub span: Range<usize>,
    /// What is wrong, in one sentence.
    pub message: String,
    /// What to do about it.
    pub help: Option<String>,
}

impl Diagnostic {
    /// Something that makes the config unusable.
    pub fn error(span: Range<usize>, message: impl Into<String>) -> Diagnostic {
        Diagnostic { severity: Severity::Error, span, message: message.into(), help: None }
    }

    /// Something that does not.
    pub fn warning(span: Range<usize>, message: impl Into<String>) -> Diagnostic {
        Diagnostic { severity: Severity::Warning, span, message: message.into(), help: None }
    }

    /// The same, with advice.
    #[must_use]
    pub fn with_help(self, help: impl Into<String>) -> Diagnostic {
        Diagnostic { help: Some(help.into()), ..self }
    }
}

/// All diagnostics of `parsed` as text for people, in the order of the file; empty when there
/// are none.
pub fn render(parsed: &Parsed, file_name: &str) -> String {
    render_all(&parsed.diagnostics, &parsed.text, file_name)
}

/// The same for any diagnostics of a file with this text.
pub fn render_all(diagnostics: &[Diagnostic], text: &str, file_name: &str) -> String {
    let file_name = clean(file_name);
    let shown = select(diagnostics);
    let mut out = String::new();
    for diagnostic in &shown {
        out.push_str(&draw(diagnostic, text, &file_name));
        out.push_str("\n\n");
    }
    let hidden = diagnostics.len().saturating_sub(shown.len());
    if hidden > 0 {
        out.push_str(&hidden.to_string());
        out.push_str(" more problems are not shown\n");
    }
    out
}

/// `value` as a message repeats it: cut when it is long.
pub(super) fn quote(value: &str) -> String {
    match value.char_indices().nth(MAX_QUOTED) {
        Some((end, _)) => format!("{}…", value.get(..end).unwrap_or_default()),
        None => value.to_owned(),
    }
}

fn select(all: &[Diagnostic]) -> Vec<&Diagnostic> {
    let of = |severity| all.iter().filter(move |diagnostic| diagnostic.severity == severity);
    let mut shown: Vec<_> = of(Severity::Error).chain(of(Severity::Warning)).take(MAX_SHOWN).collect();
    shown.sort_by_key(|diagnostic| diagnostic.span.start);
    shown
}

fn draw(diagnostic: &Diagnostic, text: &str, file_name: &str) -> String {
    let level = match diagnostic.severity {
        Severity::Error => Level::ERROR,
        Severity::Warning => Level::WARNING,
    };
    let mut group = level.primary_title(clean(&diagnostic.message)).elements(Vec::<Origin<'_>>::new());
    group = if text.is_empty() {
        // Nothing of it was read: its beginning.
        group.element(Origin::path(file_name).line(1).char_column(1))
    } else {
        let line = Line::of(text, &diagnostic.span);
        group.element(
            Snippet::source(line.text)
                .line_start(line.number)
                .path(file_name)
                .annotation(AnnotationKind::Primary.span(line.span)),
        )
    };
    if let Some(help) = &diagnostic.help {
        group = group.element(Level::HELP.message(clean(help)));
    }
    Renderer::plain().render(&[group])
}

/// The line in which a place begins, made harmless.
struct Line {
    number: usize,
    text: String,
    span: Range<usize>,
}

impl Line {
    fn of(text: &str, span: &Range<usize>) -> Line {
        let start = text.floor_char_boundary(span.start);
        let (before, after) = text.split_at_checked(start).unwrap_or((text, ""));
        let line_start = before.rfind('\n').map_or(0, |at| at.saturating_add(1));
        let head = clean(before.get(line_start..).unwrap_or_default());
        let rest = after.split(['\n', '\r']).next().unwrap_or_default();
        let length = rest.ceil_char_boundary(span.end.saturating_sub(start));
        let (marked, tail) = rest.split_at_checked(length).unwrap_or((rest, ""));
        let marked = clean(marked);
        let span = head.len()..head.len().saturating_add(marked.len());
        let number = before.bytes().filter(|&byte| byte == b'\n').count().saturating_add(1);
        Line { number, text: format!("{head}{marked}{}", clean(tail)), span }
    }
}

/// `text` without anything that a terminal obeys: control characters (also those of
/// ISO 8859-1, which GBK text is full of when it is read byte by byte) and characters that
/// change the direction of text.
fn clean(text: &str) -> String {
    let steers = |c: char| {
        (c.is_control() && c != '\t')
            || matches!(c, '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
    };
    text.chars().map(|c| if steers(c) { char::REPLACEMENT_CHARACTER } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str, diagnostics: Vec<Diagnostic>) -> Parsed {
        Parsed { config: None, draft: None, diagnostics, text: text.to_owned() }
    }

    #[test]
    fn nothing_steers_the_terminal() {
        let text = "a\u{1b}[31m\r\nb \u{9b}31m \u{202e}x\t\u{7}y\r\n";
        let diagnostic = Diagnostic::error(8..30, "bad \u{1b}]0;\u{7}").with_help("not \u{8}\n");
        let shown = render(&parsed(text, vec![diagnostic]), "f\u{1b}c\n.xml");
        assert!(shown.chars().all(|c| c == '\n' || !c.is_control()), "{shown:?}");
        assert!(shown.contains("f\u{fffd}c\u{fffd}.xml:2:1"), "{shown}");
    }

    #[test]
    fn places_outside_of_the_text_do_no_harm() {
        for text in ["", "图", "a\nb\n"] {
            for span in [0..0, 1..2, 3..3, Range { start: 2, end: 1 }, 9..usize::MAX] {
                assert!(
                    render(&parsed(text, vec![Diagnostic::warning(span, "w")]), "f").contains("warning: w")
                );
            }
        }
    }

    #[test]
    fn many_problems() {
        let mut all = vec![Diagnostic::warning(0..1, "w"); 200];
        all.push(Diagnostic::error(0..1, "here"));
        let shown = render(&parsed("x", all), "f");
        assert!(shown.contains("error: here"), "{shown}");
        assert!(shown.ends_with("101 more problems are not shown\n"), "{shown}");
    }
}
