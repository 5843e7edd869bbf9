//! `<plugin name="refreshCDN">`: tells a CDN which URLs are stale, with the original's
//! request, byte for byte for plain names.
//!
//! The CDN takes seconds for an answer, so several requests are under way at once. What it
//! answers is for people (`answers`); only that it is broken (5xx) or closes without a word
//! counts as a failure. That it refuses was never tried again: it is in the log, once.

use std::time::{Duration, Instant};

use bstr::ByteSlice;
use common::config::{Call, RefreshCdnPlugin};
use common::log::escape;
use common::message::{EventKind, Verdict};
use regex::bytes::Regex;

use crate::address::Place;
use crate::answers::{Answers, Standing};
use crate::deliver::{Deliver, Told, Trace, timeout};
use crate::exchange::{End, Onward, Parting, Rules, exchange};
use crate::expression::{BadExpression, search};
use crate::news::{News, credential, in_url};
use crate::secrets::{HIDDEN, Secrets};

/// Requests under way at once; the process has 64 descriptors.
const WIDTH: usize = 16;
/// Longest time for one request, whatever the config allows.
const PATIENCE: Duration = Duration::from_secs(10);
/// From this status on the CDN cannot do anything at the moment.
const BROKEN: u16 = 500;
/// Most URLs in one request of a batch.
const MAX_URLS: usize = 50;

/// The plugin.
pub(crate) struct Refreshes {
    site: Site,
    call: Call,
    trace: Trace,
    answers: Answers,
    standing: Standing,
}

/// The CDN, and what it is asked.
struct Site {
    place: Place,
    user: String,
    password: String,
    secrets: Secrets,
    base: String,
    pattern: Option<Regex>,
}

/// What one request asks for.
#[derive(Debug, PartialEq, Eq)]
struct Query {
    /// Which of the changes it is for.
    of: Vec<usize>,
    /// `urls=…&dirs=…`
    text: String,
}

/// What an exchange comes to.
struct Judged {
    /// Of the answer, when it has one.
    status: Option<u16>,
    verdict: Verdict,
    /// Why it failed; empty when it did not.
    why: String,
}

/// One stale URL.
#[derive(Debug, PartialEq, Eq)]
enum Stale {
    File(String),
    Directory(String),
}

impl Refreshes {
    /// As configured.
    pub(crate) fn new(
        plugin: RefreshCdnPlugin,
        call: Call,
        trace: Trace,
        answers: Answers,
    ) -> Result<Refreshes, BadExpression> {
        let pattern = plugin.pattern.as_ref().map(search).transpose()?;
        let RefreshCdnPlugin { domain, port, user, password, base, .. } = plugin;
        let place = Place { host: domain, port };
        let secrets = Secrets::new(&user, &password)?;
        let (user, password) = (credential(&user), credential(&password));
        let site = Site { place, user, password, secrets, base, pattern };
        Ok(Refreshes { site, call, trace, answers, standing: Standing::Accepts })
    }

    fn queries(&self, news: &[News<'_>]) -> Vec<Query> {
        let stale: Vec<_> =
            news.iter().enumerate().filter_map(|(i, one)| Some((i, self.site.stale(one)?))).collect();
        let size = if self.call.batch { MAX_URLS } else { 1 };
        stale.chunks(size).map(query).collect()
    }

    /// Sends all of `queries`, while there is time, and records their ends.
    fn ask(&mut self, queries: &[Query], until: Instant, ends: &mut Ends) {
        let Some(first) = queries.first() else { return };
        let patience = timeout(self.call).min(PATIENCE);
        let addresses = match self.site.place.addresses(patience) {
            Ok(addresses) => addresses,
            Err(why) => {
                ends.set(first, Verdict::Unreachable, why);
                return;
            }
        };
        let rules = Rules { addresses: &addresses, width: WIDTH, patience, parting: Parting::Answer };
        let (site, trace, answers) = (&self.site, self.trace, &mut self.answers);
        let mut requests = queries.iter().map_while(|query| {
            let is_time = Instant::now() < until;
            is_time.then(|| {
                trace.call(|| escape(site.shown(query).trim_end().as_bytes()));
                site.request(&site.user, &site.password, query).into_bytes()
            })
        });
        let mut highest = None;
        exchange(rules, &mut requests, &mut |number, end| {
            let Some(query) = queries.get(number) else { return Onward::Stop };
            let Judged { status, verdict, why } = site.judge(query, end, answers);
            highest = highest.max(status.filter(|status| *status < BROKEN));
            ends.set(query, verdict, why);
            match verdict {
                Verdict::Delivered | Verdict::Refused => Onward::More,
                Verdict::Unreachable => Onward::Stop,
            }
        });
        if let Some(status) = highest {
            self.standing.turn(status);
        }
    }
}

impl Deliver for Refreshes {
    fn deliver(&mut self, news: &[News<'_>], until: Instant) -> Told {
        let queries = self.queries(news);
        // What no request is for is not to be told of.
        let mut ends = Ends { verdicts: vec![Some(Verdict::Delivered); news.len()], note: String::new() };
        for index in queries.iter().flat_map(|query| &query.of) {
            ends.verdicts.get_mut(*index).map(Option::take);
        }
        self.ask(&queries, until, &mut ends);
        // Requests are begun in order, so those without a verdict are the last ones.
        Told { verdicts: ends.verdicts.into_iter().map_while(|verdict| verdict).collect(), note: ends.note }
    }
}

/// How each change fared; they end in any order.
struct Ends {
    verdicts: Vec<Option<Verdict>>,
    note: String,
}

impl Ends {
    fn set(&mut self, query: &Query, verdict: Verdict, why: String) {
        for index in &query.of {
            self.verdicts.get_mut(*index).map(|slot| slot.insert(verdict));
        }
        if verdict != Verdict::Delivered {
            self.note = why;
        }
    }
}

impl Site {
    /// `None` when the pattern does not know the path.
    fn stale(&self, news: &News<'_>) -> Option<Stale> {
        let mut url = self.base.clone();
        match &self.pattern {
            None => url.push_str(&in_url(&news.below())),
            Some(pattern) => {
                let groups = pattern.captures(&news.path)?;
                let end = groups.get(0).map_or(0, |whole| whole.end());
                url.push_str(&groups.get(1).map_or_else(String::new, |first| in_url(first.as_bytes())));
                url.push_str(&in_url(news.path.get(end..).unwrap_or_default()));
            }
        }
        if !news.event.directory && news.event.kind != EventKind::Rescanned {
            return Some(Stale::File(url));
        }
        if !url.ends_with('/') {
            url.push('/');
        }
        Some(Stale::Directory(url))
    }

    fn request(&self, user: &str, password: &str, query: &Query) -> String {
        let (host, query) = (&self.place.host, &query.text);
        format!("HEAD /index.jsp?user={user}&pswd={password}&ok=ok&{query} HTTP/1.0\r\nHost: {host}\r\n\r\n")
    }

    /// The request as people may see it.
    fn shown(&self, query: &Query) -> String {
        self.request(HIDDEN, HIDDEN, query)
    }

    /// Records the answer, and judges it.
    fn judge(&self, query: &Query, end: End, answers: &mut Answers) -> Judged {
        let (answer, unheard) = match end {
            End::Over(answer) | End::Broken { answer, .. } => {
                let unheard = answer.is_empty().then_some("closed without an answer");
                (answer, unheard)
            }
            // It may be at work on it, so it is not asked again.
            End::Waiting(answer) => (answer, None),
            End::Failed { step, reason } => {
                let why = format!("{step} {}: {reason}", self.place);
                return Judged { status: None, verdict: Verdict::Unreachable, why };
            }
        };
        answers.record(&self.secrets.hide(&answer), &self.shown(query));
        let status = status(&answer);
        let (verdict, why) = match (status, unheard) {
            (_, Some(why)) => (Verdict::Refused, why.to_owned()),
            (Some(status), None) if status >= BROKEN => (Verdict::Unreachable, format!("HTTP {status}")),
            (Some(_) | None, None) => (Verdict::Delivered, String::new()),
        };
        Judged { status, verdict, why }
    }
}

/// A batch joins URLs with CR LF, as the CDN's interface has it.
fn query(stale: &[(usize, Stale)]) -> Query {
    let (mut files, mut directories) = (Vec::new(), Vec::new());
    for (_, one) in stale {
        match one {
            Stale::File(url) => files.push(url.as_str()),
            Stale::Directory(url) => directories.push(url.as_str()),
        }
    }
    let named = [("urls", files), ("dirs", directories)];
    let parts = named.into_iter().filter(|(_, urls)| !urls.is_empty());
    let parts: Vec<_> = parts.map(|(name, urls)| format!("{name}={}", urls.join("%0D%0A"))).collect();
    Query { of: stale.iter().map(|(index, _)| *index).collect(), text: parts.join("&") }
}

/// The status of an HTTP answer.
fn status(answer: &[u8]) -> Option<u16> {
    let line = answer.strip_prefix(b"HTTP/1.")?.get(1..)?.strip_prefix(b" ")?.get(..3)?;
    line.to_str().ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::news::tests::event;
    use common::config::{FilterExpression, Format};
    use common::message::PluginEvent;
    use std::ffi::OsString;
    use std::fs::File;

    fn refreshes(pattern: Option<&str>, batch: bool) -> Refreshes {
        let plugin = RefreshCdnPlugin {
            watch: OsString::from("/data/cms.xoyo.com/site"),
            domain: "ccms.chinacache.com".into(),
            port: 80,
            user: "USR".into(),
            password: "PWD".into(),
            base: "http://pic.xoyo.com/cms".into(),
            pattern: pattern.map(|it| FilterExpression(it.into())),
        };
        let call = Call { batch, format: Format::Original, timeout: 5 };
        Refreshes::new(plugin, call, Trace::Off, Answers::new(File::open("/dev/null").unwrap())).unwrap()
    }

    fn queries(pattern: Option<&str>, batch: bool, events: &[PluginEvent]) -> Vec<Query> {
        let roots = [OsString::from("/data/cms.xoyo.com/site")];
        let remotes = [String::new()];
        let news: Vec<_> = events.iter().map(|event| News::new(event, &roots, &remotes).unwrap()).collect();
        refreshes(pattern, batch).queries(&news)
    }

    fn one(pattern: Option<&str>, event: PluginEvent) -> Option<String> {
        queries(pattern, false, &[event]).pop().map(|query| query.text)
    }

    fn directory(path: &str) -> PluginEvent {
        PluginEvent { directory: true, ..event(path) }
    }

    /// The project page of the original, as measured; its worked example has a typo.
    #[test]
    fn measured_rows_of_the_original() {
        let pattern = Some("cms.xoyo.com/site([/a-zA-Z0-9]*).xoyo.com/images");
        for (path, plain, matched) in [
            (
                "jx3.xoyo.com/images/a/123.txt",
                "urls=http://pic.xoyo.com/cms/jx3.xoyo.com/images/a/123.txt",
                Some("urls=http://pic.xoyo.com/cms/jx3/a/123.txt"),
            ),
            (
                "jx3.xoyo.com/image/a/123.txt",
                "urls=http://pic.xoyo.com/cms/jx3.xoyo.com/image/a/123.txt",
                None,
            ),
        ] {
            assert_eq!(one(None, event(path)).as_deref(), Some(plain));
            assert_eq!(one(pattern, event(path)).as_deref(), matched);
        }
        let made = one(pattern, directory("jx3.xoyo.com/images/b"));
        assert_eq!(made.as_deref(), Some("dirs=http://pic.xoyo.com/cms/jx3/b/"));
    }

    #[test]
    fn names_that_would_break_the_request() {
        let hostile = one(None, event(b"a b&dirs=/#%\r\nX: y\xff"));
        let wanted = "urls=http://pic.xoyo.com/cms/a%20b%26dirs%3D/%23%25%250D%250AX:%20y%FF";
        assert_eq!(hostile.as_deref(), Some(wanted));
        let captured = one(Some("site(.*)images"), event("a b&/images/c d"));
        assert_eq!(captured.as_deref(), Some("urls=http://pic.xoyo.com/cms/a%20b%26//c%20d"));
    }

    /// The CDN decodes the query, and reads a URL on each line.
    #[test]
    fn a_line_break_in_a_name_purges_no_other_url() {
        let base = "http://pic.xoyo.com/cms";
        let hostile = "x\r\npic.xoyo.com/cms/victim";
        let events = [event(hostile), event("y")];
        let text = queries(None, true, &events).remove(0).text;
        let decoded = percent_encoding::percent_decode_str(&text).decode_utf8().unwrap().into_owned();
        let urls: Vec<_> = decoded.strip_prefix("urls=").unwrap().split("\r\n").collect();
        assert_eq!(urls, [format!("{base}/x%0D%0Apic.xoyo.com/cms/victim"), format!("{base}/y")]);
    }

    #[test]
    fn the_root_itself() {
        for kind in [EventKind::Rescanned, EventKind::Changed] {
            let root = PluginEvent { kind, directory: true, ..event("") };
            assert_eq!(one(None, root).as_deref(), Some("dirs=http://pic.xoyo.com/cms/"));
        }
        let below = PluginEvent { kind: EventKind::Rescanned, directory: true, ..event("a/b") };
        assert_eq!(one(None, below).as_deref(), Some("dirs=http://pic.xoyo.com/cms/a/b/"));
    }

    #[test]
    fn the_whole_request() {
        let refreshes = refreshes(None, false);
        let query = Query { of: vec![0], text: "urls=U".into() };
        let request = refreshes.site.request(&refreshes.site.user, &refreshes.site.password, &query);
        assert_eq!(
            request,
            "HEAD /index.jsp?user=USR&pswd=PWD&ok=ok&urls=U HTTP/1.0\r\nHost: ccms.chinacache.com\r\n\r\n"
        );
        let shown = refreshes.site.shown(&query);
        assert!(shown.starts_with("HEAD /index.jsp?user=***&pswd=***&ok=ok&urls=U HTTP/1.0\r\n"), "{shown}");
    }

    #[test]
    fn batches() {
        let events = [event("a"), directory("d"), event("b"), directory("e")];
        let base = "http://pic.xoyo.com/cms";
        let text = format!("urls={base}/a%0D%0A{base}/b&dirs={base}/d/%0D%0A{base}/e/");
        assert_eq!(queries(None, true, &events), [Query { of: vec![0, 1, 2, 3], text }]);
        // Without a match no request; and no empty half.
        let some = queries(Some("site()/d"), true, &events);
        assert_eq!(some, [Query { of: vec![1], text: format!("dirs={base}/") }]);
        let many: Vec<_> = (0..101).map(|i| event(format!("f{i}"))).collect();
        let sizes: Vec<_> = queries(None, true, &many).iter().map(|query| query.of.len()).collect();
        assert_eq!(sizes, [50, 50, 1]);
    }

    #[test]
    fn statuses() {
        for (answer, wanted) in [
            (&b"HTTP/1.1 200 OK\r\n"[..], Some(200)),
            (b"HTTP/1.0 503", Some(503)),
            (b"HTTP/1.1 5", None),
            (b"whatsup: x", None),
            (b"", None),
        ] {
            assert_eq!(status(answer), wanted, "{:?}", answer.as_bstr());
        }
    }
}
