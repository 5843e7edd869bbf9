//! What is answered to whom: from a request to a wish, and from a wish and a snapshot to an answer.

use std::cell::OnceCell;
use std::hash::{BuildHasher, RandomState};
use std::rc::Rc;
use std::time::Duration;

use super::clients::SNAPSHOT;
use super::entry::Entry;
use super::exposition::Format;
use super::feed::Latest;
use super::history::History;
use super::http::{Answer, Kind, Method, Request, Status};
use super::{health, metrics};

/// The page. `{{nonce}}` stands where its script and its style are.
const PAGE: &str = include_str!("page.html");
/// What a snapshot may be older than the request that it answers.
const FRESH: Duration = Duration::from_millis(500);
/// How often the last hour grows.
const SAMPLE: Duration = Duration::from_secs(10);

/// What is wanted that takes a snapshot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Wish {
    method: Method,
    what: What,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum What {
    Status,
    Metrics(Format),
    Health,
}

/// All that is known.
#[derive(Debug)]
pub(super) struct Answers {
    entry: Entry,
    lag: u32,
    latest: Option<Known>,
    history: History,
    /// When the last sample was taken.
    sampled: Option<Duration>,
    /// Makes a nonce of the number of a page: its keys are random.
    nonces: (RandomState, u64),
}

/// A snapshot, and what was made of it.
#[derive(Debug)]
struct Known {
    latest: Latest,
    prometheus: OnceCell<Rc<[u8]>>,
    open_metrics: OnceCell<Rc<[u8]>>,
}

impl Answers {
    pub(super) fn new(token: Option<Vec<u8>>, hosts: Vec<String>, lag: u32) -> Answers {
        Answers {
            entry: Entry { token, hosts },
            lag,
            latest: None,
            history: History::default(),
            sampled: None,
            nonces: (RandomState::new(), 0),
        }
    }

    /// A snapshot has come.
    pub(super) fn take(&mut self, now: Duration, latest: Latest) {
        if self.is_sample_due(now) {
            self.history.note(&latest.snapshot);
            self.sampled = Some(now);
        }
        self.latest = Some(Known { latest, prometheus: OnceCell::new(), open_metrics: OnceCell::new() });
    }

    /// When the next sample is due.
    pub(super) fn sample_at(&self) -> Duration {
        self.sampled.map_or(Duration::ZERO, |at| at.saturating_add(SAMPLE))
    }

    /// Whether one is.
    pub(super) fn is_sample_due(&self, now: Duration) -> bool {
        now >= self.sample_at()
    }

    /// What a request wants, or what it is answered at once.
    pub(super) fn wish(&mut self, request: &Request) -> Result<Wish, Answer> {
        let method = request.method;
        if let Err(status) = self.entry.check(request) {
            return Err(Answers::refuse(status));
        }
        let what = match request.path.as_str() {
            "/" | "/history.json" => None,
            "/status.json" => Some(What::Status),
            "/metrics" => Some(What::Metrics(Format::accepted(&request.accept))),
            "/healthz" => Some(What::Health),
            _ => return Err(Answers::refuse(Status::NotFound)),
        };
        match (method, what) {
            (Method::Other, _) => Err(Answers::refuse(Status::MethodNotAllowed)),
            (Method::Get | Method::Head, Some(what)) => Ok(Wish { method, what }),
            (Method::Get | Method::Head, None) if request.path == "/" => Err(self.page(method)),
            (Method::Get | Method::Head, None) => {
                Err(Answer::new(method, Status::Ok, Kind::Json, self.history.json(), None))
            }
        }
    }

    /// What is answered to nothing that makes sense, or to a stranger.
    pub(super) fn refuse(status: Status) -> Answer {
        let words = match status {
            Status::Ok => "",
            Status::BadRequest => "this is no request that is understood here",
            Status::Unauthorized => "the token of tokenFile is wanted, as Bearer or as a password",
            Status::Forbidden => "the page does not go by this name: ask for localhost, or set a tokenFile",
            Status::NotFound => "there are /, /status.json, /history.json, /metrics and /healthz",
            Status::MethodNotAllowed => "nothing can be changed here: GET and HEAD",
            Status::TooMuch => "nothing is taken in here",
            Status::HeadTooLong => "the head of this request is longer than 8 KiB",
            Status::Unavailable => "the supervisor does not answer",
        };
        Answer::words(Method::Get, status, words)
    }

    /// The answer to a wish of that age, once there is one.
    pub(super) fn grant(&self, wish: Wish, since: Duration, now: Duration) -> Option<Answer> {
        let fresh = self.latest.as_ref().filter(|known| known.latest.at.saturating_add(FRESH) >= since);
        match fresh {
            Some(known) => Some(self.answer(wish, known)),
            None if now.saturating_sub(since) >= SNAPSHOT => {
                let words = self.silence(now);
                Some(Answer::words(wish.method, Status::Unavailable, &words))
            }
            None => None,
        }
    }

    fn answer(&self, wish: Wish, known: &Known) -> Answer {
        let snapshot = &known.latest.snapshot;
        let metrics = |format| Rc::from(metrics::text(snapshot, format).into_bytes());
        let (kind, body) = match wish.what {
            What::Status => (Kind::Json, Rc::clone(&known.latest.bytes)),
            What::Metrics(format @ Format::Prometheus) => {
                (Kind::Prometheus, Rc::clone(known.prometheus.get_or_init(|| metrics(format))))
            }
            What::Metrics(format @ Format::OpenMetrics) => {
                (Kind::OpenMetrics, Rc::clone(known.open_metrics.get_or_init(|| metrics(format))))
            }
            What::Health => {
                let complaints = health::complaints(snapshot, f64::from(self.lag));
                if complaints.is_empty() {
                    return Answer::words(wish.method, Status::Ok, "ok");
                }
                return Answer::words(wish.method, Status::Unavailable, &complaints.join("\n"));
            }
        };
        Answer::new(wish.method, Status::Ok, kind, body, None)
    }

    fn silence(&self, now: Duration) -> String {
        match &self.latest {
            Some(known) => {
                let seconds = now.saturating_sub(known.latest.at).as_secs();
                format!("the supervisor has not answered for {seconds} s")
            }
            None => "the supervisor has not answered yet".to_owned(),
        }
    }

    fn page(&mut self, method: Method) -> Answer {
        let (keys, number) = &mut self.nonces;
        *number = number.wrapping_add(1);
        let nonce = format!("{:016x}{:016x}", keys.hash_one((&number, 0)), keys.hash_one((&number, 1)));
        let body = PAGE.replace("{{nonce}}", &nonce).into_bytes();
        Answer::new(method, Status::Ok, Kind::Html, body.into(), Some(&nonce))
    }
}
