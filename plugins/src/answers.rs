//! What becomes of what the CDN says: `errorlog.txt` has it for each request, as the original
//! wrote it, but without user and password; the log has only that it began or ceased to refuse.
//! Both are for people and their scripts; that the file cannot be written is no failure.

use std::fs::File;
use std::io::{self, Write};

use bstr::ByteSlice;

use crate::exchange::MAX_ANSWER;

/// The original emptied the file after so many entries.
const MAX_ENTRIES: u32 = 1000;
/// It is emptied too when it is this long, in bytes: entries of earlier processes are in it.
const MAX_BYTES: u64 = 16 << 20;
/// From this status on the CDN has not done what it was asked for.
const REFUSAL: u16 = 300;

/// The file.
pub(crate) struct Answers {
    file: File,
    entries: u32,
    complaint: Complaint,
}

/// Whether it was said that the file cannot be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Complaint {
    Due,
    Made,
}

/// What the CDN made of the last delivery that it answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Standing {
    /// It did what it was asked for.
    Accepts,
    /// Not all of it.
    Refuses,
}

impl Answers {
    /// `file` should append.
    pub(crate) fn new(file: File) -> Answers {
        Answers { file, entries: 0, complaint: Complaint::Due }
    }

    /// Writes one entry: what was answered, and to which request.
    pub(crate) fn record(&mut self, answer: &[u8], request: &str) {
        match self.write(&entry(answer, request)) {
            Ok(()) => {}
            Err(error) if self.complaint == Complaint::Due => {
                self.complaint = Complaint::Made;
                log::warn!("errorlog.txt cannot be written error={error}");
            }
            Err(_) => {}
        }
    }

    fn write(&mut self, entry: &[u8]) -> io::Result<()> {
        let status = self.file.metadata()?;
        if status.is_file() && (self.entries >= MAX_ENTRIES || status.len() > MAX_BYTES) {
            self.file.set_len(0)?;
            self.entries = 0;
        }
        self.entries = self.entries.saturating_add(1);
        self.file.write_all(entry)
    }
}

impl Standing {
    /// Says what has changed. `status` is the highest of a delivery, so that a CDN that refuses
    /// some of its URLs is not said to accept them again in between.
    pub(crate) fn turn(&mut self, status: u16) {
        let now = if status >= REFUSAL { Standing::Refuses } else { Standing::Accepts };
        match (*self, now) {
            (Standing::Accepts, Standing::Refuses) => log::warn!("cdn refuses status={status}"),
            (Standing::Refuses, Standing::Accepts) => log::info!("cdn accepts again status={status}"),
            (Standing::Accepts, Standing::Accepts) | (Standing::Refuses, Standing::Refuses) => {}
        }
        *self = now;
    }
}

fn entry(answer: &[u8], request: &str) -> Vec<u8> {
    let kept = answer.get(..MAX_ANSWER).unwrap_or(answer);
    let said = match kept.find(b"whatsup") {
        Some(at) => kept.get(at..).unwrap_or_default().split(|b| matches!(b, b'\r' | b'\n')).next(),
        None if kept.is_empty() => Some(&b"no answer"[..]),
        None => Some(kept),
    };
    // A terminal that shows the file must not obey it.
    let printable = said.unwrap_or_default().iter().map(|byte| match byte {
        b'\r' | b'\n' | b'\t' => *byte,
        byte if byte.is_ascii_control() => b'?',
        byte => *byte,
    });
    let mut entry: Vec<u8> = printable.collect();
    entry.push(b' ');
    entry.extend_from_slice(request.as_bytes());
    entry.push(b'\n');
    entry
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn entries() {
        for (answer, wanted) in [
            (
                &b"HTTP/1.1 200 OK\r\nServer: x\r\nwhatsup: content=\"succeed\"\r\nA: b\r\n\r\n"[..],
                &b"whatsup: content=\"succeed\" R\n"[..],
            ),
            (b"whatsup: to the end", b"whatsup: to the end R\n"),
            (b"HTTP/1.0 404 No\r\n\r\n", b"HTTP/1.0 404 No\r\n\r\n R\n"),
            (b"\x1b[2J\0\x7f\xff\t", b"?[2J??\xff\t R\n"),
            (b"", b"no answer R\n"),
        ] {
            assert_eq!(entry(answer, "R").as_bstr(), wanted.as_bstr());
        }
        assert_eq!(entry(&[b'x'; 10_000], "R").len(), MAX_ANSWER + 3);
    }

    #[test]
    fn emptied_after_a_thousand() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("errorlog.txt");
        let mut answers = Answers::new(File::options().append(true).create(true).open(&path).unwrap());
        let lines = || fs::read_to_string(&path).unwrap().lines().count();
        for _ in 0..MAX_ENTRIES {
            answers.record(b"", "R");
        }
        assert_eq!(lines(), 1000);
        answers.record(b"", "last");
        assert_eq!(fs::read_to_string(&path).unwrap(), "no answer last\n");
    }

    /// What earlier processes wrote counts too.
    #[test]
    fn emptied_when_it_is_long() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("errorlog.txt");
        let file = File::options().append(true).create(true).open(&path).unwrap();
        file.set_len(MAX_BYTES + 1).unwrap();
        Answers::new(file).record(b"", "R");
        assert_eq!(fs::read_to_string(&path).unwrap(), "no answer R\n");
    }

    #[test]
    fn a_full_disk_is_no_failure() {
        let mut answers = Answers::new(File::options().append(true).open("/dev/full").unwrap());
        answers.record(b"", "R");
        answers.record(b"", "R");
        assert_eq!(answers.complaint, Complaint::Made);
    }
}
