//! What rsync said: cut into lines, escaped, and bounded to its end. Whatever a hostile remote
//! makes rsync print, this takes a few kilobytes.

use std::collections::VecDeque;

use bstr::ByteSlice;
use common::log::escape;
use common::message::MAX_TAIL;

/// Longest line that is kept whole: a path with every byte escaped as four, and some words.
const MAX_LINE: usize = 24 << 10;
/// Longest line in a tail, in bytes.
const MAX_SHOWN: usize = 1 << 10;
/// Room for the note that something is missing.
const NOTE: usize = 48;

/// Which of rsync's two outputs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stream {
    /// Standard output.
    Output,
    /// Standard error.
    Errors,
}

/// Bytes into lines.
#[derive(Debug, Default)]
pub(crate) struct Lines {
    partial: Vec<u8>,
}

impl Lines {
    /// Takes `bytes` and hands out each line that they end; progress bars end theirs with CR.
    pub(crate) fn push(&mut self, bytes: &[u8], line: &mut dyn FnMut(&[u8])) {
        let mut rest = bytes;
        while let Some(end) = rest.find_byteset(b"\n\r") {
            let (head, tail) = rest.split_at(end);
            self.keep(head);
            self.finish(line);
            rest = tail.get(1..).unwrap_or_default();
        }
        self.keep(rest);
    }

    /// Hands out what is left without an end of line.
    pub(crate) fn finish(&mut self, line: &mut dyn FnMut(&[u8])) {
        if !self.partial.is_empty() {
            line(&self.partial);
        }
        self.partial.clear();
    }

    fn keep(&mut self, bytes: &[u8]) {
        let room = MAX_LINE.saturating_sub(self.partial.len());
        self.partial.extend_from_slice(bytes.get(..room).unwrap_or(bytes));
    }
}

/// The last lines of both outputs.
#[derive(Debug, Default)]
pub(crate) struct Said {
    errors: Tail,
    output: Tail,
}

impl Said {
    /// Takes one line.
    pub(crate) fn push(&mut self, stream: Stream, line: &[u8]) {
        match stream {
            Stream::Output => self.output.push(line),
            Stream::Errors => self.errors.push(line),
        }
    }

    /// The last line of standard output does not count.
    pub(crate) fn forget_last_output(&mut self) {
        if let Some(line) = self.output.lines.pop_back() {
            self.output.bytes = self.output.bytes.saturating_sub(line.len());
        }
    }

    /// The end of it, at most [`MAX_TAIL`] bytes: complaints before chatter when room is short.
    pub(crate) fn text(&self) -> String {
        let mut room = MAX_TAIL.saturating_sub(NOTE);
        let mut kept = VecDeque::new();
        let mut dropped = self.errors.dropped.saturating_add(self.output.dropped);
        for line in self.errors.lines.iter().rev().chain(self.output.lines.iter().rev()) {
            room = room.saturating_sub(line.len().saturating_add(1));
            if room > 0 {
                kept.push_front(line.as_str());
            } else {
                dropped = dropped.saturating_add(count(line.len()));
            }
        }
        let note = (dropped > 0).then(|| format!("[{dropped} bytes left out]"));
        let lines: Vec<&str> = note.as_deref().into_iter().chain(kept).collect();
        lines.join("\n")
    }
}

/// The last lines of one output.
#[derive(Debug, Default)]
struct Tail {
    lines: VecDeque<String>,
    bytes: usize,
    dropped: u64,
}

impl Tail {
    fn push(&mut self, line: &[u8]) {
        let shown = line.get(..MAX_SHOWN).unwrap_or(line);
        let mut text = escape(shown);
        self.dropped = self.dropped.saturating_add(count(line.len().saturating_sub(shown.len())));
        // Escaping may have made four bytes of one.
        text.truncate(text.floor_char_boundary(MAX_SHOWN));
        self.bytes = self.bytes.saturating_add(text.len());
        self.lines.push_back(text);
        while self.bytes > MAX_TAIL {
            let Some(oldest) = self.lines.pop_front() else { break };
            self.bytes = self.bytes.saturating_sub(oldest.len());
            self.dropped = self.dropped.saturating_add(count(oldest.len()));
        }
    }
}

fn count(bytes: usize) -> u64 {
    u64::try_from(bytes).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn lines(chunks: &[&[u8]]) -> Vec<Vec<u8>> {
        let (mut splitter, mut found) = (Lines::default(), Vec::new());
        for chunk in chunks {
            splitter.push(chunk, &mut |line| found.push(line.to_vec()));
        }
        splitter.finish(&mut |line| found.push(line.to_vec()));
        found
    }

    #[test]
    fn bytes_into_lines() {
        assert_eq!(lines(&[b"a", b"b\nc\r\n\nd"]), [&b"ab"[..], b"c", b"d"]);
        assert_eq!(lines(&[&vec![b'x'; 100_000], b"\ny"]), [vec![b'x'; MAX_LINE], b"y".to_vec()]);
    }

    #[test]
    fn control_and_invalid_bytes() {
        assert_eq!(escape(b"a\x1b[2J\xff \xe5\x9b\xbe"), "a\\u{1b}[2J\\xff \u{56fe}");
    }

    #[test]
    fn complaints_come_before_chatter() {
        let mut said = Said::default();
        said.push(Stream::Errors, b"rsync error: bad luck");
        for i in 0..10_000 {
            said.push(Stream::Output, format!("file {i}").as_bytes());
        }
        let text = said.text();
        assert!(text.ends_with("file 9999\nrsync error: bad luck"), "{text}");
        assert!(text.starts_with('['), "{text}");
    }

    proptest! {
        #[test]
        fn bounded(lines in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..3000), 0..20)) {
            let mut said = Said::default();
            for (i, line) in lines.iter().enumerate() {
                said.push(if i % 2 == 0 { Stream::Errors } else { Stream::Output }, line);
            }
            prop_assert!(said.text().len() <= MAX_TAIL);
        }
    }
}
