//! How far a job has come, by what rsync says of it: the line of `--info=progress2`. It is rsync's own
//! display, and nothing of it is ever sent to the remote, whatever that one's version.
//!
//! Few files are told of by that option. It costs a system call for each file, so where there may be many an
//! rsync (3.2 and later) is asked by a signal for the same line, once a second; an older one ignores it.

use std::cell::Cell;
use std::ffi::OsString;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use bstr::ByteSlice;
use common::confine;
use common::message::{ADVANCE_MILLIS, Advance, Listing};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::rsync::after;
use crate::tail::Said;

/// What makes rsync say it, in plain numbers.
const WORDS: [&str; 2] = ["--info=progress2", "--no-human-readable"];
/// What asks an rsync, and how often.
const ASKS: Signal = Signal::SIGVTALRM;
const PAUSE: Duration = Duration::from_secs(1);
/// rsync's words when a system call of its own was ended by a signal.
const EINTR: &str = "Interrupted system call";
/// That an rsync of this process said so.
static INTERRUPTED: AtomicBool = AtomicBool::new(false);
/// Longest such line, in bytes.
const MAX_LINE: usize = 160;

/// Lets rsync say how far it has come. The user's own words come before.
pub(crate) fn metered(words: &mut Vec<OsString>) {
    let end = words.iter().position(|word| word == "--").unwrap_or(words.len());
    words.splice(end..end, WORDS.map(OsString::from));
}

/// Lets it do so only when it is asked.
pub(crate) fn unmetered(words: &mut Vec<OsString>) {
    let end = words.iter().position(|word| word == "--").unwrap_or(words.len());
    let at = end.saturating_sub(WORDS.len());
    if words.get(at..end).is_some_and(|found| found.iter().eq(&WORDS)) {
        words.remove(at);
    }
}

/// Lets an rsync that does not yet, or never, handle the signal live on.
pub(crate) fn prepare() {
    if let Err(error) = confine::ignore(ASKS) {
        log::error!("an rsync that is asked for its progress too early ends: {error}");
    }
}

/// What a job has come to, over all its runs.
#[derive(Debug)]
pub(crate) struct Meter {
    /// Bytes and files of the runs that are over.
    before: Cell<(u64, u64)>,
    run: Cell<Advance>,
    /// There is something that was not told, which is due then.
    is_fresh: Cell<bool>,
    due: Cell<Instant>,
    /// When the run under way is to be asked, if it is.
    ask_at: Cell<Option<Instant>>,
}

impl Meter {
    /// Nothing was sent yet.
    pub(crate) fn new() -> Meter {
        let due = after(Instant::now(), Duration::from_millis(ADVANCE_MILLIS));
        Meter {
            before: Cell::default(),
            run: Cell::default(),
            is_fresh: Cell::new(false),
            due: Cell::new(due),
            ask_at: Cell::new(None),
        }
    }

    /// Takes a line of rsync's, if it is one of these. One that was asked for comes behind the name of the
    /// file that rsync was at, which is no chatter either.
    pub(crate) fn takes(&self, line: &[u8], said: &mut Said) -> bool {
        let Some(advance) = parse(line) else { return false };
        self.run.set(advance);
        self.is_fresh.set(true);
        if self.ask_at.get().is_some() {
            said.forget_last_output();
        }
        true
    }

    /// The next run is to be asked, unless that has done harm.
    pub(crate) fn ask(&self) {
        if INTERRUPTED.load(Ordering::Relaxed) {
            return;
        }
        self.ask_at.set(Some(after(Instant::now(), PAUSE)));
    }

    /// When.
    pub(crate) fn ask_at(&self) -> Option<Instant> {
        self.ask_at.get()
    }

    /// Asks an rsync that is not yet reaped, if it is time.
    pub(crate) fn ask_if_due(&self, pid: Pid, now: Instant) {
        if self.ask_at.get().is_some_and(|at| now >= at) {
            self.ask_at.set(Some(after(now, PAUSE)));
            // It may have ended already.
            let _ = kill(pid, ASKS);
        }
    }

    /// A run is over, and said that. Where a signal ends what a filesystem was about (FUSE), nobody is asked
    /// again.
    pub(crate) fn end_run(&self, said: &str) {
        if self.ask_at.get().is_some() && said.contains(EINTR) {
            INTERRUPTED.store(true, Ordering::Relaxed);
        }
        let Advance { bytes, files, .. } = self.total();
        self.before.set((bytes, files));
        self.run.set(Advance::default());
        self.ask_at.set(None);
    }

    /// What all runs have come to.
    pub(crate) fn total(&self) -> Advance {
        let ((bytes, files), run) = (self.before.get(), self.run.get());
        Advance { bytes: bytes.saturating_add(run.bytes), files: files.saturating_add(run.files), ..run }
    }

    /// What is to be told now, at most twice a second.
    pub(crate) fn due(&self, now: Instant) -> Option<Advance> {
        if now < self.due.get() || !self.is_fresh.take() {
            return None;
        }
        self.due.set(after(now, Duration::from_millis(ADVANCE_MILLIS)));
        Some(self.total())
    }
}

/// `     30000000  99%    9.97MB/s    0:00:02 (xfr#1, to-chk=31/33)`; the bracket comes after each file.
fn parse(line: &[u8]) -> Option<Advance> {
    let line = line.to_str().ok().filter(|line| line.len() <= MAX_LINE)?;
    let (figures, bracket) = match line.trim().split_once(" (xfr#") {
        Some((figures, bracket)) => (figures, Some(bracket.strip_suffix(')')?)),
        None => (line.trim(), None),
    };
    let mut words = figures.split_ascii_whitespace();
    let bytes = number(words.next()?)?;
    let percent = words.next()?.strip_suffix('%')?.parse::<u8>().ok()?;
    let is_rate = words.next()?.ends_with("B/s");
    let is_time =
        words.next()?.split(':').filter(|part| part.bytes().all(|byte| byte.is_ascii_digit())).count() == 3;
    if !is_rate || !is_time || words.next().is_some() {
        return None;
    }
    let told = Advance { bytes, percent: percent.min(100), ..Advance::default() };
    let Some(bracket) = bracket else { return Some(told) };
    let (files, rest) = bracket.split_once(", ")?;
    let (listing, rest) = match rest.split_once("-chk=")? {
        ("to", rest) => (Listing::Complete, rest),
        ("ir", rest) => (Listing::Open, rest),
        _ => return None,
    };
    let (left, all) = rest.split_once('/')?;
    let (left, all) = (number(left)?, number(all)?);
    Some(Advance { files: number(files)?, to_check: Some((left.min(all), all)), listing, ..told })
}

fn number(digits: &str) -> Option<u64> {
    digits.replace(',', "").parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tail::Stream;

    #[test]
    fn what_rsync_draws() {
        let first = parse(b"          32768   0%    0.00kB/s    0:00:00  ").unwrap();
        assert_eq!(first, Advance { bytes: 32768, ..Advance::default() });
        let file = parse(b"     30,000,000  99%    9.97MB/s    0:00:02 (xfr#1, to-chk=31/33)").unwrap();
        let wanted = Advance {
            bytes: 30_000_000,
            files: 1,
            percent: 99,
            to_check: Some((31, 33)),
            listing: Listing::Complete,
        };
        assert_eq!(file, wanted);
        let listing = parse(b"1 100% 1.00kB/s 100:00:00 (xfr#12, ir-chk=9/7)").unwrap();
        assert_eq!((listing.files, listing.to_check, listing.listing), (12, Some((7, 7)), Listing::Open));
    }

    #[test]
    fn what_is_none() {
        for line in [
            &b""[..],
            b"12",
            b"a/file of 12 100%",
            b"-1 5% 1.00kB/s 0:00:00",
            b"1 256% 1.00kB/s 0:00:00",
            b"1 5% 1.00kB 0:00:00",
            b"1 5% 1.00kB/s 0:00",
            b"1 5% 1.00kB/s 0:00:00 more",
            b"1 5% 1.00kB/s 0:00:00 (xfr#1, to-chk=1/2",
            b"1 5% 1.00kB/s 0:00:00 (xfr#1, so-chk=1/2)",
            b"1 5% 1.00kB/s 0:00:00 (xfr#x, to-chk=1/2)",
            b"99999999999999999999999 5% 1.00kB/s 0:00:00",
            b"1 5% \xff 0:00:00",
            &[b' '; 200],
        ] {
            assert_eq!(parse(line), None, "{}", line.escape_ascii());
        }
    }

    #[test]
    fn runs_add_up_and_are_told_seldom() {
        let (meter, said) = (Meter::new(), &mut Said::default());
        let start = Instant::now();
        assert!(
            meter.takes(b"100 5% 1.00kB/s 0:00:00 (xfr#1, to-chk=1/2)", said)
                && !meter.takes(b"a/name", said)
        );
        assert_eq!(meter.due(start), None, "a short job tells nothing");
        let late = start + Duration::from_secs(1);
        assert_eq!(meter.due(late).map(|it| (it.bytes, it.files)), Some((100, 1)));
        assert_eq!(meter.due(late), None);
        meter.end_run("");
        assert!(meter.takes(b"7 5% 1.00kB/s 0:00:00 (xfr#2, to-chk=1/2)", said));
        assert_eq!(meter.due(late), None, "too early");
        assert_eq!(meter.due(late + Duration::from_secs(1)).map(|it| (it.bytes, it.files)), Some((107, 3)));
        assert_eq!(meter.due(late + Duration::from_secs(9)), None, "nothing new");
    }

    #[test]
    fn what_was_asked_for_is_no_chatter() {
        let (meter, mut said) = (Meter::new(), Said::default());
        for line in ["a line", "dir/name"] {
            said.push(Stream::Output, line.as_bytes());
        }
        meter.ask();
        let soon = meter.ask_at().unwrap();
        assert!(soon > Instant::now());
        assert!(meter.takes(b"100 5% 1.00kB/s 0:00:00 (xfr#1, to-chk=1/2)", &mut said));
        assert_eq!(said.text(), "a line");
        meter.end_run("");
        assert_eq!(meter.ask_at(), None);
    }

    #[test]
    fn before_the_names() {
        let mut words = ["rsync", "-a", "--", "./", "x"].map(OsString::from).to_vec();
        metered(&mut words);
        assert_eq!(words.join(" ".as_ref()), "rsync -a --info=progress2 --no-human-readable -- ./ x");
        for _ in 0..2 {
            unmetered(&mut words);
            assert_eq!(words.join(" ".as_ref()), "rsync -a --no-human-readable -- ./ x");
        }
    }
}
