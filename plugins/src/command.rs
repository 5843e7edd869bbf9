//! `<plugin name="command">`: runs a program with the path as one argument between the
//! configured ones, and without a shell, so that a name is never more than a name. With `batch`
//! the paths come on standard input.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::time::Instant;

use common::config::{Call, CommandPlugin, Format};
use common::log::escape;
use nix::sys::signal::{SigSet, Signal};
use regex::bytes::RegexSet;

use crate::child::{Child, Ended, Stream};
use crate::deliver::{Deliver, Failed, Told, Trace, after, one_by_one, timeout};
use crate::expression::{BadExpression, entire};
use crate::news::{News, json_lines, paths_with_nul};

/// Most lines of one call that are logged.
const MAX_LINES: u64 = 100;

/// The plugin.
pub(crate) struct Commands {
    prefix: Vec<String>,
    suffix: Vec<String>,
    said: Words,
    /// `None` to run it for everything.
    include: Option<RegexSet>,
    call: Call,
    trace: Trace,
}

/// What becomes of what the program says, and of how it ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Words {
    /// It is logged; the status counts.
    Count,
    /// Nothing: `ignoreError`.
    Ignored,
}

impl Commands {
    /// As configured.
    pub(crate) fn new(plugin: CommandPlugin, call: Call, trace: Trace) -> Result<Commands, BadExpression> {
        // A program that closes its input early must not end us. Children get a clean mask from
        // std. It fails for a signal that there is not, which this is not.
        let _ = SigSet::from(Signal::SIGPIPE).thread_block();
        let include = (!plugin.include.is_empty()).then(|| entire(&plugin.include)).transpose()?;
        let said = if plugin.ignore_error { Words::Ignored } else { Words::Count };
        Ok(Commands { prefix: plugin.prefix, suffix: plugin.suffix, said, include, call, trace })
    }

    fn run(&self, news: &[News<'_>]) -> Result<(), Failed> {
        let is_included = |one: &&News<'_>| self.include.as_ref().is_none_or(|set| set.is_match(&one.path));
        let news: Vec<_> = news.iter().filter(is_included).collect();
        let Some(first) = news.first() else { return Ok(()) };
        let argv = self.argv(first);
        self.trace.call(|| {
            let words = argv.iter().map(|word| format!("\"{}\"", escape(word.as_bytes())));
            format!("argv=[{}] changes={}", words.collect::<Vec<_>>().join(" "), news.len())
        });
        let child = Child {
            argv: &argv,
            variables: &self.variables(first),
            input: self.input(&news),
            deadline: after(Instant::now(), timeout(self.call)),
        };
        self.judge(match self.said {
            Words::Ignored => child.finish_unheard(),
            Words::Count => {
                let mut said = Said::default();
                let ended = child.finish(&mut |stream, line| {
                    if let Some(line) = said.line(stream, line) {
                        log::info!("{line}");
                    }
                });
                if let Some(line) = said.last() {
                    log::info!("{line}");
                }
                ended
            }
        })
    }

    fn argv(&self, news: &News<'_>) -> Vec<OsString> {
        let path = (!self.call.batch).then(|| OsStr::from_bytes(&news.path).to_owned());
        let words = |words: &[String]| words.iter().map(OsString::from).collect::<Vec<_>>();
        [words(&self.prefix), path.into_iter().collect(), words(&self.suffix)].concat()
    }

    fn variables(&self, news: &News<'_>) -> Vec<(&'static str, String)> {
        if self.call.batch {
            return Vec::new();
        }
        vec![
            ("SERSYNC_KIND", news.kind().to_owned()),
            ("SERSYNC_DIRECTORY", news.directory_digit().to_owned()),
            ("SERSYNC_MASK", news.event.mask.to_string()),
        ]
    }

    /// `None` for `/dev/null`.
    fn input(&self, news: &[&News<'_>]) -> Option<Vec<u8>> {
        match self.call.format {
            Format::Json => Some(json_lines(news)),
            Format::Original => self.call.batch.then(|| paths_with_nul(news)),
        }
    }

    fn judge(&self, ended: Ended) -> Result<(), Failed> {
        match (ended, self.said) {
            (Ended::NotStarted(error), _) => {
                let program = self.prefix.first().map_or("", String::as_str);
                Err(Failed::Unreachable(format!("start {program}: {error}")))
            }
            (Ended::TimedOut, _) => Err(Failed::Refused(format!("timed out after {} s", self.call.timeout))),
            (Ended::Exited(0), _) | (Ended::Exited(_) | Ended::Signalled(_), Words::Ignored) => Ok(()),
            (Ended::Exited(status), Words::Count) => Err(Failed::Refused(format!("exit status {status}"))),
            (Ended::Signalled(signal), Words::Count) => Err(Failed::Refused(format!("signal {signal}"))),
        }
    }
}

impl Deliver for Commands {
    fn deliver(&mut self, news: &[News<'_>], until: Instant) -> Told {
        one_by_one(self.call, news, until, &mut |part| self.run(part))
    }
}

/// What one call says, as far as it is logged.
#[derive(Debug, Default)]
pub(crate) struct Said {
    lines: u64,
}

impl Said {
    /// The line as it is logged; `None` when there were enough of them.
    pub(crate) fn line(&mut self, stream: Stream, line: &[u8]) -> Option<String> {
        self.lines = self.lines.saturating_add(1);
        let prefix = match stream {
            Stream::Output => "out",
            Stream::Errors => "err",
        };
        (self.lines <= MAX_LINES).then(|| format!("{prefix}: {}", escape(line)))
    }

    /// How many were left out, if any were.
    pub(crate) fn last(&self) -> Option<String> {
        let dropped = self.lines.saturating_sub(MAX_LINES);
        (dropped > 0).then(|| format!("out: lines_left_out={dropped}"))
    }
}
