//! `<plugin name="socket">`: one connection a change, the absolute path, and the end of the
//! stream as its end. With `batch` one connection for all, each path with a NUL behind it.
//!
//! One after another, so that the listener hears of changes in their order.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use common::config::{Call, Format, SocketPlugin};
use common::log::escape;
use common::message::Verdict;

use crate::address::Place;
use crate::deliver::{Deliver, Failed, Told, Trace, one_by_one, timeout};
use crate::exchange::{End, Onward, Parting, Rules, exchange};
use crate::news::{News, json_lines, paths_with_nul};

/// How long a listener may take to close its side. A path that it has not read by then waits in
/// its kernel.
const PARTING: Duration = Duration::from_secs(1);

/// The plugin.
pub(crate) struct Sockets {
    place: Place,
    call: Call,
    trace: Trace,
}

impl Sockets {
    /// As configured.
    pub(crate) fn new(plugin: SocketPlugin, call: Call, trace: Trace) -> Sockets {
        Sockets { place: Place { host: plugin.host, port: plugin.port }, call, trace }
    }

    fn tell(
        &self,
        news: &[News<'_>],
        addresses: &[SocketAddr],
        parting: &mut Duration,
    ) -> Result<(), Failed> {
        self.trace.call(|| {
            let first = news.first().map_or_else(String::new, |one| escape(&one.path));
            format!("socket={} changes={} first={first:?}", self.place, news.len())
        });
        let rules =
            Rules { addresses, width: 1, patience: timeout(self.call), parting: Parting::Close(*parting) };
        let mut result = Ok(());
        exchange(rules, &mut [self.payload(news)].into_iter(), &mut |_, end| {
            match end {
                End::Over(_) => {}
                // It keeps connections open: once is enough to know in a delivery.
                End::Waiting(_) => *parting = Duration::ZERO,
                End::Broken { answer: _, reason } => {
                    result = Err(Failed::Refused(format!("unread {}: {reason}", self.place)));
                }
                End::Failed { step, reason } => {
                    result = Err(Failed::Unreachable(format!("{step} {}: {reason}", self.place)));
                }
            }
            Onward::More
        });
        result
    }

    fn payload(&self, news: &[News<'_>]) -> Vec<u8> {
        let all: Vec<_> = news.iter().collect();
        match self.call.format {
            Format::Json => json_lines(&all),
            Format::Original if self.call.batch => paths_with_nul(&all),
            Format::Original => news.iter().flat_map(|one| one.path.iter().copied()).collect(),
        }
    }
}

impl Deliver for Sockets {
    fn deliver(&mut self, news: &[News<'_>], until: Instant) -> Told {
        match self.place.addresses(timeout(self.call)) {
            Ok(addresses) => {
                let mut parting = PARTING;
                one_by_one(self.call, news, until, &mut |part| self.tell(part, &addresses, &mut parting))
            }
            Err(note) => Told { verdicts: news.iter().take(1).map(|_| Verdict::Unreachable).collect(), note },
        }
    }
}
