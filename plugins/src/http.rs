//! `<plugin name="http">`: a POST for each change, with the original's form or JSON as its body.
//!
//! Redirects are not followed, and no proxy of the environment is used: the config says whom to
//! tell. What the server answers besides its status is thrown away.

use std::io::{self, Read};
use std::time::{Duration, Instant};

use common::config::{Call, Format, HttpPlugin};
use ureq::config::Config;
use ureq::http::Uri;
use ureq::tls::TlsConfig;
use ureq::unversioned::resolver::{ResolvedSocketAddrs, Resolver};
use ureq::unversioned::transport::{DefaultConnector, NextTimeout};
use ureq::{Agent, Error};

use crate::address::Place;
use crate::deliver::{Deliver, Failed, Told, Trace, one_by_one, timeout};
use crate::news::{News, json_array};
use crate::plugin::BadPlugin;
use crate::trust;

/// Longest time for a connection, and for the name before it.
const PATIENCE: Duration = Duration::from_secs(10);
/// Most bytes of an answer that are read; a longer one costs its connection.
const MAX_ANSWER: u64 = 64 << 10;
/// How long they may take to come, once the status is there; a slower one costs its connection.
const REST: Duration = Duration::from_secs(1);
/// Statuses that speak of the moment, not of the change.
const PASSING: [u16; 6] = [408, 425, 429, 502, 503, 504];

/// The plugin.
pub(crate) struct Posts {
    agent: Agent,
    url: String,
    call: Call,
    trace: Trace,
}

impl Posts {
    /// As configured. Reads the certificates to trust.
    pub(crate) fn new(plugin: HttpPlugin, call: Call, trace: Trace) -> Result<Posts, BadPlugin> {
        let roots = trust::roots(&plugin.url, plugin.ca.as_ref())?;
        let whole = timeout(call);
        let config = Agent::config_builder()
            .tls_config(TlsConfig::builder().root_certs(roots).build())
            .http_status_as_error(false)
            .proxy(None)
            .max_redirects(0)
            .max_redirects_will_error(false)
            .user_agent("sersync-supervisor")
            .timeout_global(Some(whole))
            .timeout_resolve(Some(whole.min(PATIENCE)))
            .timeout_connect(Some(whole.min(PATIENCE)))
            .timeout_recv_body(Some(whole.min(REST)))
            .build();
        let agent = Agent::with_parts(config, DefaultConnector::default(), Names);
        Ok(Posts { agent, url: plugin.url, call, trace })
    }

    fn post(&self, news: &[News<'_>]) -> Result<(), Failed> {
        self.trace.call(|| format!("post={} changes={}", self.shown(), news.len()));
        let (kind, body) = self.body(news);
        let request = self.agent.post(&self.url).header("Content-Type", kind);
        let mut response = request
            .send(body.as_bytes())
            .map_err(|error| Failed::Unreachable(format!("post {}: {}", self.shown(), explained(&error))))?;
        let status = response.status().as_u16();
        // Read to its end, the connection serves again. The next call waits for that, so it is
        // bounded; how it ends changes no verdict.
        let _ = io::copy(&mut response.body_mut().as_reader().take(MAX_ANSWER), &mut io::sink());
        match status {
            200..300 => Ok(()),
            status if PASSING.contains(&status) => Err(Failed::Unreachable(format!("HTTP {status}"))),
            status => Err(Failed::Refused(format!("HTTP {status}"))),
        }
    }

    /// The URL as people may see it: a query is the place for keys.
    fn shown(&self) -> &str {
        self.url.split('?').next().unwrap_or_default()
    }

    /// The type of the body, and the body.
    fn body(&self, news: &[News<'_>]) -> (&'static str, String) {
        match (self.call.format, self.call.batch) {
            (Format::Json, true) => ("application/json", json_array(news)),
            (Format::Json, false) => ("application/json", news.iter().map(News::json).collect()),
            (Format::Original, true) => {
                ("text/plain", news.iter().map(News::form).collect::<Vec<_>>().join("\n"))
            }
            (Format::Original, false) => {
                ("application/x-www-form-urlencoded", news.iter().map(News::form).collect())
            }
        }
    }
}

/// The error for people. What `openssl req -x509` makes is marked as a CA, which a server's own
/// certificate must not be; rustls says so only in the name of its error.
fn explained(error: &Error) -> String {
    let text = error.to_string();
    if text.contains("CaUsedAsEndEntity") {
        return format!("{text}: the server's own certificate is marked as a CA, it needs CA:FALSE");
    }
    text
}

/// The host and the port that a URL leads to; `None` for what is no URL.
pub fn destination(url: &str) -> Option<(String, u16)> {
    place(&url.parse().ok()?).map(|place| (place.host, place.port))
}

fn place(uri: &Uri) -> Option<Place> {
    let usual = if uri.scheme_str() == Some("https") { 443 } else { 80 };
    Some(Place { host: uri.host()?.to_owned(), port: uri.port_u16().unwrap_or(usual) })
}

/// Host names, as the other kinds look them up: ureq's own way panics when the process may not
/// have another thread.
#[derive(Debug)]
struct Names;

impl Resolver for Names {
    fn resolve(&self, uri: &Uri, _: &Config, timeout: NextTimeout) -> Result<ResolvedSocketAddrs, Error> {
        let place = place(uri).ok_or(Error::HostNotFound)?;
        let mut found = self.empty();
        for address in place.addresses(*timeout.after).map_err(io::Error::other)? {
            found.push(address);
        }
        Ok(found)
    }
}

impl Deliver for Posts {
    fn deliver(&mut self, news: &[News<'_>], until: Instant) -> Told {
        one_by_one(self.call, news, until, &mut |part| self.post(part))
    }
}
