//! Text in so many columns: words wrapped, foreign characters escaped, and colours where they mean
//! something.

use std::fmt::Write as _;

use unicode_width::UnicodeWidthChar;

use super::Colour;

/// Narrower than this nothing is drawn.
const LEAST: usize = 20;
/// Wider than this no line gets.
const MOST: usize = 200;
/// Columns of a label, where there is room for labels of their own.
const LABEL: usize = 9;
/// From this width on there is.
const ROOMY: usize = 60;

/// How something is meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Tone {
    Plain,
    Good,
    Odd,
    Bad,
}

/// What is drawn so far.
pub(super) struct Page {
    width: usize,
    colour: Colour,
    text: String,
}

impl Page {
    pub(super) fn new(width: usize, colour: Colour) -> Page {
        Page { width: width.clamp(LEAST, MOST), colour, text: String::new() }
    }

    pub(super) fn width(&self) -> usize {
        self.width
    }

    /// An empty line.
    pub(super) fn gap(&mut self) {
        self.text.push('\n');
    }

    /// Words from the left margin.
    pub(super) fn text(&mut self, words: &str) {
        self.styled(Tone::Plain, words);
    }

    /// The same, meant like that.
    pub(super) fn styled(&mut self, tone: Tone, words: &str) {
        for line in wrapped(&clean(words), self.width, self.width) {
            self.put(tone, &line);
            self.gap();
        }
    }

    /// A label, and what it is about. A remote's name and its figures are to stand in one line.
    pub(super) fn entry(&mut self, tone: Tone, label: &str, words: &str) {
        let indent = self.indent();
        let label = if label.len() < LABEL { format!("{label:<LABEL$}") } else { format!("{label} ") };
        let first = self.width.saturating_sub(label.len());
        self.put(tone, &label);
        for (number, line) in
            wrapped(&clean(words), first, self.width.saturating_sub(indent)).iter().enumerate()
        {
            if number > 0 {
                self.spaces(indent);
            }
            self.text.push_str(line);
            self.gap();
        }
    }

    /// What belongs to the entry above.
    pub(super) fn note(&mut self, words: &str) {
        let indent = self.indent();
        let room = self.width.saturating_sub(indent);
        for (number, line) in wrapped(&clean(words), room, room.saturating_sub(2)).iter().enumerate() {
            self.spaces(if number == 0 { indent } else { indent.saturating_add(2) });
            self.text.push_str(line);
            self.gap();
        }
    }

    /// A line whose columns stay where they are; what does not fit is cut off.
    pub(super) fn row(&mut self, tone: Tone, words: &str) {
        let words = clean(words);
        let mut room = self.width;
        let fits = |ch: &char| {
            let fits = width_of(*ch) <= room;
            room = room.saturating_sub(width_of(*ch));
            fits
        };
        let line: String = words.chars().take_while(fits).collect();
        self.put(tone, line.trim_end());
        self.gap();
    }

    pub(super) fn finish(self) -> String {
        self.text
    }

    fn indent(&self) -> usize {
        if self.width >= ROOMY { LABEL } else { 2 }
    }

    fn spaces(&mut self, count: usize) {
        self.text.extend(std::iter::repeat_n(' ', count));
    }

    fn put(&mut self, tone: Tone, text: &str) {
        let code = match (self.colour, tone) {
            (Colour::None, _) | (_, Tone::Plain) => "",
            (Colour::Ansi, Tone::Good) => "32",
            (Colour::Ansi, Tone::Odd) => "33",
            (Colour::Ansi, Tone::Bad) => "1;31",
        };
        if code.is_empty() {
            self.text.push_str(text);
        } else {
            let words = text.trim_end();
            // Writing into a string cannot fail.
            let _ = write!(self.text, "\u{1b}[{code}m{words}\u{1b}[0m");
            self.spaces(text.len().saturating_sub(words.len()));
        }
    }
}

/// Without what could steer a terminal, or make text look like another: control characters, and those that
/// have no width or turn the direction of writing.
pub fn clean(text: &str) -> String {
    let mut clean = String::with_capacity(text.len());
    for ch in text.chars() {
        if ch.is_control() || is_invisible(ch) { clean.extend(ch.escape_unicode()) } else { clean.push(ch) }
    }
    clean
}

fn is_invisible(ch: char) -> bool {
    matches!(ch, '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
        | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e0fff}')
}

/// Columns that a character takes.
pub fn width_of(ch: char) -> usize {
    ch.width().unwrap_or(1)
}

/// Lines of at most so many columns, the first one and the others. Words that are longer are broken.
/// Blanks that break no line become plain ones.
fn wrapped(text: &str, first: usize, others: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    let (mut room, mut is_fresh) = (first, true);
    let others = others.max(2);
    for word in text.split(' ') {
        let width: usize = word.chars().map(width_of).sum();
        let Some(line) = lines.last_mut() else { continue };
        if is_fresh && width <= room {
            line.push_str(word);
        } else if !is_fresh && width < room {
            line.push(' ');
            line.push_str(word);
            room = room.saturating_sub(1);
        } else {
            if !is_fresh {
                // A long one begins where it is if it has to be broken anyway.
                lines.push(String::new());
                room = others;
            }
            room = broken(&mut lines, word, room, others);
            is_fresh = false;
            continue;
        }
        room = room.saturating_sub(width);
        is_fresh = false;
    }
    lines.into_iter().map(|line| line.trim_end().replace('\u{a0}', " ")).collect()
}

/// Puts a word there, in as many lines as it takes; what room is left in the last one.
fn broken(lines: &mut Vec<String>, word: &str, mut room: usize, others: usize) -> usize {
    for ch in word.chars() {
        let width = width_of(ch);
        if width > room {
            lines.push(String::new());
            room = others;
        }
        if let Some(line) = lines.last_mut() {
            line.push(ch);
        }
        room = room.saturating_sub(width);
    }
    room
}
