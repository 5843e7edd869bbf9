//! A screen that is drawn over the last one, where standard output is a terminal. A signal ends it, and
//! leaves the terminal as it was.

use std::fmt::Write as _;
use std::io::{self, IsTerminal, Write, stdout};
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};

/// How a pause ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Pause {
    /// It is over.
    Over,
    /// A signal says that all is.
    End,
}

/// Standard output.
pub(super) struct Terminal {
    signals: SignalFd,
    /// Whether it is a terminal.
    draws: bool,
    /// Lines of the last screen, and the columns that it was drawn in.
    drawn: (usize, Option<(usize, usize)>),
}

impl Terminal {
    pub(super) fn open() -> io::Result<Terminal> {
        let mut mask = SigSet::empty();
        for signal in [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP, Signal::SIGWINCH] {
            mask.add(signal);
        }
        mask.thread_block()?;
        let signals = SignalFd::with_flags(&mask, SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC)?;
        let draws = stdout().is_terminal();
        if draws {
            print(HIDE)?;
        }
        Ok(Terminal { signals, draws, drawn: (0, None) })
    }

    /// Columns, where it is a terminal.
    pub(super) fn width(&self) -> Option<usize> {
        size().filter(|_| self.draws).map(|(columns, _)| columns)
    }

    /// Draws `text` over what was drawn last, as much of it as there is room for.
    pub(super) fn show(&mut self, text: &str) -> io::Result<()> {
        if !self.draws {
            return print(text);
        }
        let size = size();
        let (lines, before) = self.drawn;
        let frame =
            frame(text, size.map_or(24, |(_, rows)| rows), if before == size { Some(lines) } else { None });
        print(&frame.0)?;
        self.drawn = (frame.1, size);
        Ok(())
    }

    /// Waits. Another size of the terminal ends it, too.
    pub(super) fn pause(&self, time: Duration) -> Pause {
        let end = Instant::now().checked_add(time);
        loop {
            let left = end.map_or(time, |end| end.saturating_duration_since(Instant::now()));
            let timeout = PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX);
            let _ = poll(&mut [PollFd::new(self.signals.as_fd(), PollFlags::POLLIN)], timeout);
            if let Ok(Some(signal)) = self.signals.read_signal() {
                let is_resized =
                    i32::try_from(signal.ssi_signo).is_ok_and(|it| it == Signal::SIGWINCH as i32);
                return if is_resized { Pause::Over } else { Pause::End };
            }
            if left.is_zero() {
                return Pause::Over;
            }
        }
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        if self.draws {
            let _ = print(SHOW);
        }
    }
}

const HIDE: &str = "\u{1b}[?25l";
const SHOW: &str = "\u{1b}[?25h";

/// What draws `text` over `before` lines, and how many lines it has. On a screen whose size has changed
/// lines are not where they were: then all of it is cleared.
fn frame(text: &str, rows: usize, before: Option<usize>) -> (String, usize) {
    let mut out = match before {
        None => "\u{1b}[H\u{1b}[2J".to_owned(),
        Some(0) => "\r".to_owned(),
        Some(lines) => format!("\r\u{1b}[{lines}A"),
    };
    // The last row stays free: a line break there would scroll.
    let room = rows.saturating_sub(1).max(1);
    let all = text.lines().count();
    let shown = if all > room { room.saturating_sub(1) } else { all };
    for line in text.lines().take(shown) {
        out.push_str(line);
        out.push_str("\u{1b}[K\r\n");
    }
    if all > shown {
        // Writing into a string cannot fail.
        let _ = write!(out, "({} more lines)\u{1b}[K\r\n", all.saturating_sub(shown));
    }
    out.push_str("\u{1b}[J");
    (out, shown.saturating_add(usize::from(all > shown)))
}

/// Columns and rows of the terminal.
pub(super) fn size() -> Option<(usize, usize)> {
    let size = rustix::termios::tcgetwinsize(stdout()).ok()?;
    Some((size.ws_col.into(), size.ws_row.into())).filter(|&(columns, rows)| columns > 0 && rows > 0)
}

fn print(text: &str) -> io::Result<()> {
    let mut out = stdout().lock();
    out.write_all(text.as_bytes())?;
    out.flush()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn drawn_over_the_last_one() {
        let (first, lines) = frame("a\nb\n", 24, Some(0));
        assert_eq!((first.as_str(), lines), ("\ra\u{1b}[K\r\nb\u{1b}[K\r\n\u{1b}[J", 2));
        let (second, lines) = frame("c\n", 24, Some(2));
        assert_eq!((second.as_str(), lines), ("\r\u{1b}[2Ac\u{1b}[K\r\n\u{1b}[J", 1));
        let (resized, _) = frame("c\n", 24, None);
        assert!(resized.starts_with("\u{1b}[H\u{1b}[2J"));
    }

    #[test]
    fn what_has_no_room_is_counted() {
        let (drawn, lines) = frame("1\n2\n3\n4\n5\n", 4, Some(0));
        assert_eq!((lines, drawn.matches('\n').count()), (3, 3));
        assert!(
            drawn.contains("2\u{1b}[K") && !drawn.contains("3\u{1b}[K") && drawn.contains("(3 more lines)")
        );
        let (all, lines) = frame("1\n2\n3\n", 4, Some(0));
        assert!(lines == 3 && all.contains("3\u{1b}[K"));
    }
}
