//! HTTP as far as the page speaks it: the head of a GET or HEAD without a body, and one answer, after which
//! the connection ends. Everything here is bounded, and comes from strangers.

use std::fmt::Write as _;
use std::rc::Rc;

/// Longest head of a request, in bytes.
pub(super) const MAX_HEAD: usize = 8 << 10;
/// Most fields in it.
const MAX_FIELDS: usize = 64;

/// A request, as far as it counts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Request {
    /// What is asked for.
    pub(super) method: Method,
    /// The path, without a query.
    pub(super) path: String,
    /// Whom the client means; `None` where it did not say, as before HTTP/1.1.
    pub(super) host: Option<String>,
    /// Who it says it is.
    pub(super) authorization: Option<Vec<u8>>,
    /// What it can read.
    pub(super) accept: String,
}

/// What may be asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Method {
    Get,
    /// A GET whose answer has no body.
    Head,
    Other,
}

/// What the bytes are that have come so far.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Head {
    /// Not yet all of a head.
    More,
    /// All of it.
    Whole(Request),
    /// No head that is answered with anything but this status.
    Bad(Status),
}

/// What an answer begins with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Status {
    Ok,
    BadRequest,
    Unauthorized,
    Forbidden,
    NotFound,
    MethodNotAllowed,
    TooMuch,
    HeadTooLong,
    Unavailable,
}

impl Status {
    /// Number and words.
    pub(super) fn line(self) -> &'static str {
        match self {
            Status::Ok => "200 OK",
            Status::BadRequest => "400 Bad Request",
            Status::Unauthorized => "401 Unauthorized",
            Status::Forbidden => "403 Forbidden",
            Status::NotFound => "404 Not Found",
            Status::MethodNotAllowed => "405 Method Not Allowed",
            Status::TooMuch => "413 Content Too Large",
            Status::HeadTooLong => "431 Request Header Fields Too Large",
            Status::Unavailable => "503 Service Unavailable",
        }
    }
}

/// Looks at the beginning of what a client says.
pub(super) fn read(bytes: &[u8]) -> Head {
    let mut fields = [httparse::EMPTY_HEADER; MAX_FIELDS];
    let mut request = httparse::Request::new(&mut fields);
    match request.parse(bytes.get(..MAX_HEAD).unwrap_or(bytes)) {
        Ok(httparse::Status::Partial) if bytes.len() >= MAX_HEAD => Head::Bad(Status::HeadTooLong),
        Ok(httparse::Status::Partial) => Head::More,
        Ok(httparse::Status::Complete(_)) => understood(&request).map_or_else(Head::Bad, Head::Whole),
        Err(httparse::Error::TooManyHeaders) => Head::Bad(Status::HeadTooLong),
        Err(_) => Head::Bad(Status::BadRequest),
    }
}

fn understood(request: &httparse::Request<'_, '_>) -> Result<Request, Status> {
    let all = |name: &'static str| {
        request.headers.iter().filter(move |field| field.name.eq_ignore_ascii_case(name))
    };
    let one = |name| {
        let mut values = all(name).map(|field| field.value);
        match (values.next(), values.next()) {
            (value, None) => Ok(value),
            // Which one counts somebody else may see otherwise.
            (_, Some(_)) => Err(Status::BadRequest),
        }
    };
    if one("content-length")?.is_some_and(|length| length != b"0")
        || all("transfer-encoding").next().is_some()
    {
        return Err(Status::TooMuch);
    }
    let host = one("host")?;
    if host.is_none() && request.version == Some(1) {
        return Err(Status::BadRequest);
    }
    let host = host.map(|host| std::str::from_utf8(host).map(ToOwned::to_owned)).transpose();
    let target = request.path.filter(|path| path.starts_with('/')).ok_or(Status::BadRequest)?;
    let method = match request.method {
        Some("GET") => Method::Get,
        Some("HEAD") => Method::Head,
        Some(_) | None => Method::Other,
    };
    let accept: Vec<_> = all("accept").map(|field| String::from_utf8_lossy(field.value)).collect();
    Ok(Request {
        method,
        path: target.split('?').next().unwrap_or_default().to_owned(),
        host: host.map_err(|_| Status::BadRequest)?,
        authorization: one("authorization")?.map(<[u8]>::to_vec),
        accept: accept.join(","),
    })
}

/// An answer. Who gets the same shares its bytes.
#[derive(Debug, Clone)]
pub(super) struct Answer {
    /// All before the body.
    pub(super) head: Vec<u8>,
    /// Empty for HEAD.
    pub(super) body: Rc<[u8]>,
}

/// What kind of text a body is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Text,
    Json,
    Html,
    Prometheus,
    OpenMetrics,
}

impl Kind {
    fn as_str(self) -> &'static str {
        match self {
            Kind::Text => "text/plain; charset=utf-8",
            Kind::Json => "application/json",
            Kind::Html => "text/html; charset=utf-8",
            Kind::Prometheus => "text/plain; version=0.0.4; charset=utf-8",
            Kind::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        }
    }
}

impl Answer {
    /// An answer to a request of that method. `nonce` names the page's own script and style.
    pub(super) fn new(
        method: Method,
        status: Status,
        kind: Kind,
        body: Rc<[u8]>,
        nonce: Option<&str>,
    ) -> Answer {
        let mut head = format!("HTTP/1.1 {}\r\n", status.line());
        let policy = nonce.map_or_else(String::new, |nonce| {
            format!(
                " script-src 'nonce-{nonce}'; style-src 'nonce-{nonce}'; img-src data:; connect-src 'self';"
            )
        });
        // Writing into a string cannot fail.
        let _ = write!(
            head,
            "Content-Type: {}\r\nContent-Length: {}\r\nConnection: close\r\nCache-Control: no-store\r\n\
             X-Content-Type-Options: nosniff\r\nX-Frame-Options: DENY\r\nReferrer-Policy: no-referrer\r\n\
             Cross-Origin-Resource-Policy: same-origin\r\n\
             Content-Security-Policy: default-src 'none';{policy} base-uri 'none'; form-action 'none'; \
             frame-ancestors 'none'\r\n",
            kind.as_str(),
            body.len(),
        );
        match status {
            Status::Unauthorized => {
                head.push_str("WWW-Authenticate: Bearer realm=\"sersync\"\r\n");
                head.push_str("WWW-Authenticate: Basic realm=\"sersync\", charset=\"UTF-8\"\r\n");
            }
            Status::MethodNotAllowed => head.push_str("Allow: GET, HEAD\r\n"),
            Status::Ok
            | Status::BadRequest
            | Status::Forbidden
            | Status::NotFound
            | Status::TooMuch
            | Status::HeadTooLong
            | Status::Unavailable => {}
        }
        head.push_str("\r\n");
        let body = match method {
            Method::Get | Method::Other => body,
            Method::Head => Rc::default(),
        };
        Answer { head: head.into_bytes(), body }
    }

    /// A few words.
    pub(super) fn words(method: Method, status: Status, words: &str) -> Answer {
        Answer::new(method, status, Kind::Text, format!("{words}\n").into_bytes().into(), None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn request(bytes: &[u8]) -> Request {
        match read(bytes) {
            Head::Whole(request) => request,
            other @ (Head::More | Head::Bad(_)) => panic!("{other:?}"),
        }
    }

    #[test]
    fn understood() {
        let plain =
            request(b"GET /metrics?x=/y HTTP/1.1\r\nHost: localhost:8008\r\naccept: a\r\nAccept: b\r\n\r\n");
        let wanted = Request {
            method: Method::Get,
            path: "/metrics".to_owned(),
            host: Some("localhost:8008".to_owned()),
            authorization: None,
            accept: "a,b".to_owned(),
        };
        assert_eq!(plain, wanted);
        assert_eq!(request(b"HEAD / HTTP/1.0\r\nAuthorization: x y\r\n\r\n").authorization.unwrap(), b"x y");
        assert_eq!(request(b"POST / HTTP/1.1\r\nHost:\r\nContent-Length: 0\r\n\r\n").method, Method::Other);
    }

    #[test]
    fn refused() {
        let long = [b"GET / HTTP/1.1\r\nHost: ".to_vec(), vec![b'x'; MAX_HEAD]].concat();
        let many = format!("GET / HTTP/1.1\r\n{}\r\n", "a: b\r\n".repeat(MAX_FIELDS + 1));
        let endless = vec![b'G'; MAX_HEAD];
        for (bytes, status) in [
            (&b"GET / HTTP/1.1\r\n\r\n"[..], Status::BadRequest),
            (b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", Status::BadRequest),
            (b"GET / HTTP/1.1\r\nHost: \xff\r\n\r\n", Status::BadRequest),
            (b"GET http://a/ HTTP/1.1\r\nHost: a\r\n\r\n", Status::BadRequest),
            (b"GET * HTTP/1.1\r\nHost: a\r\n\r\n", Status::BadRequest),
            (b"GET / HTTP/2.0\r\n\r\n", Status::BadRequest),
            (b"\x16\x03\x01\x02\x00\x01\x00", Status::BadRequest),
            (b"GET / HTTP/1.1\r\nHost: a\r\nHo st: b\r\n\r\n", Status::BadRequest),
            (b"GET / HTTP/1.1\r\nHost: a\r\n folded\r\n\r\n", Status::BadRequest),
            (b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello", Status::TooMuch),
            (
                b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\nContent-Length: 5\r\n\r\n",
                Status::BadRequest,
            ),
            (b"GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", Status::TooMuch),
            (&long, Status::HeadTooLong),
            (many.as_bytes(), Status::HeadTooLong),
        ] {
            assert_eq!(read(bytes), Head::Bad(status), "{}", String::from_utf8_lossy(bytes));
        }
        assert_eq!(read(&endless), Head::Bad(Status::HeadTooLong));
        assert_eq!(read(&endless[1..]), Head::More);
        assert_eq!(read(b""), Head::More);
    }

    #[test]
    fn answers() {
        let text = |answer: &Answer| String::from_utf8([&answer.head[..], &answer.body].concat()).unwrap();
        let page = Answer::new(Method::Get, Status::Ok, Kind::Html, (*b"<p>").into(), Some("n"));
        let told = text(&page);
        for line in ["HTTP/1.1 200 OK", "Content-Length: 3", "Connection: close", "X-Frame-Options: DENY"] {
            assert!(told.contains(&format!("{line}\r\n")), "{line}: {told}");
        }
        assert!(
            told.contains("script-src 'nonce-n';")
                && !told.contains("unsafe")
                && told.ends_with("\r\n\r\n<p>")
        );
        let head = text(&Answer::new(Method::Head, Status::Ok, Kind::Html, (*b"<p>").into(), None));
        assert!(head.contains("Content-Length: 3\r\n") && head.ends_with("\r\n\r\n"));
        let refused = text(&Answer::words(Method::Other, Status::MethodNotAllowed, "no"));
        assert!(refused.contains("Allow: GET, HEAD\r\n") && refused.ends_with("\r\n\r\nno\n"));
        assert!(
            text(&Answer::words(Method::Get, Status::Unauthorized, "no")).contains("WWW-Authenticate: Basic")
        );
    }

    proptest! {
        /// What a stranger says never panics; and what is too long is never waited for.
        #[test]
        fn anything(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            read(&bytes);
            let padded = [&bytes[..], &vec![b'x'; MAX_HEAD]].concat();
            prop_assert_ne!(read(&padded), Head::More);
        }

        /// A request with a change in it, and cut anywhere.
        #[test]
        fn nearly_a_request(at in 0_usize..80, byte in any::<u8>(), length in 0_usize..90) {
            let mut bytes = b"GET /metrics HTTP/1.1\r\nHost: localhost:8008\r\nAuthorization: Basic eA==\r\nAccept: */*\r\n\r\n".to_vec();
            bytes[at] = byte;
            bytes.truncate(length);
            read(&bytes);
        }
    }
}
