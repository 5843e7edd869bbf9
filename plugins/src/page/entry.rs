//! Who may ask. On this machine's own addresses: whoever asks for the page by its own name, so that no web
//! page elsewhere can make a browser read it (DNS rebinding). And where there is a token, who has it.

use std::hint::black_box;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::http::{Request, Status};

/// What a request needs.
#[derive(Debug)]
pub(super) struct Entry {
    /// The token.
    pub(super) token: Option<Vec<u8>>,
    /// Names of the page; none for any.
    pub(super) hosts: Vec<String>,
}

impl Entry {
    /// Whether a request is answered, or with what it is refused.
    pub(super) fn check(&self, request: &Request) -> Result<(), Status> {
        if !self.hosts.is_empty() {
            let host = request.host.as_deref().map(without_port);
            let is_known = |host: &str| self.hosts.iter().any(|known| known.eq_ignore_ascii_case(host));
            if !host.is_some_and(is_known) {
                return Err(Status::Forbidden);
            }
        }
        match &self.token {
            Some(token) if !request.authorization.as_deref().is_some_and(|said| has(said, token)) => {
                Err(Status::Unauthorized)
            }
            Some(_) | None => Ok(()),
        }
    }
}

/// `[::1]:8008` is `[::1]`. What has no port at its end is left as it is, and known to nobody.
fn without_port(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|digit| digit.is_ascii_digit()) => {
            // The last group of an address without brackets is no port.
            if name.contains(':') && !name.ends_with(']') { host } else { name }
        }
        Some(_) | None => host,
    }
}

/// `Bearer TOKEN`, or as a browser says it: `Basic` with any name, and the token as its password.
fn has(authorization: &[u8], token: &[u8]) -> bool {
    let mut words = authorization.splitn(2, |&byte| byte == b' ');
    let (Some(scheme), Some(said)) = (words.next(), words.next()) else { return false };
    let said = said.trim_ascii();
    if scheme.eq_ignore_ascii_case(b"bearer") {
        return is_same(said, token);
    }
    if !scheme.eq_ignore_ascii_case(b"basic") {
        return false;
    }
    let Ok(pair) = STANDARD.decode(said) else { return false };
    let password = pair.iter().position(|&byte| byte == b':').and_then(|at| pair.get(at.saturating_add(1)..));
    password.is_some_and(|password| is_same(password, token))
}

/// In a time that does not tell how much of it is right.
fn is_same(said: &[u8], token: &[u8]) -> bool {
    let differs = said.iter().zip(token).fold(0, |differs, (a, b)| black_box(differs | (a ^ b)));
    differs == 0 && said.len() == token.len()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::page::http::Method;

    fn request(host: Option<&str>, authorization: Option<&str>) -> Request {
        Request {
            method: Method::Get,
            path: "/".to_owned(),
            host: host.map(ToOwned::to_owned),
            authorization: authorization.map(|it| it.as_bytes().to_vec()),
            accept: String::new(),
        }
    }

    #[test]
    fn by_its_own_name_only() {
        let hosts = ["localhost", "127.0.0.1", "[::1]"].map(ToOwned::to_owned).to_vec();
        let entry = Entry { token: None, hosts };
        for known in ["localhost", "LocalHost:8008", "127.0.0.1", "127.0.0.1:1", "[::1]", "[::1]:8008"] {
            assert_eq!(entry.check(&request(Some(known), None)), Ok(()), "{known}");
        }
        for strange in [
            "",
            "evil.example",
            "localhost.evil.example",
            "localhost:x",
            "::1",
            "[::1",
            "127.0.0.1.",
            "a@localhost",
        ] {
            assert_eq!(entry.check(&request(Some(strange), None)), Err(Status::Forbidden), "{strange}");
        }
        assert_eq!(entry.check(&request(None, None)), Err(Status::Forbidden));
        let open = Entry { token: None, hosts: vec![] };
        assert_eq!(open.check(&request(Some("evil.example"), None)), Ok(()));
    }

    #[test]
    fn with_the_token_only() {
        let entry = Entry { token: Some(b"0123456789abcdef".to_vec()), hosts: vec![] };
        let basic = |pair: &str| format!("Basic {}", STANDARD.encode(pair));
        for right in [
            "Bearer 0123456789abcdef".to_owned(),
            "bearer  0123456789abcdef ".to_owned(),
            basic("anybody:0123456789abcdef"),
            basic(":0123456789abcdef"),
        ] {
            assert_eq!(entry.check(&request(None, Some(&right))), Ok(()), "{right}");
        }
        for wrong in [
            String::new(),
            "Bearer".to_owned(),
            "Bearer ".to_owned(),
            "Bearer 0123456789abcde".to_owned(),
            "Bearer 0123456789abcdeF".to_owned(),
            "Bearer 0123456789abcdef0".to_owned(),
            "Digest 0123456789abcdef".to_owned(),
            "0123456789abcdef".to_owned(),
            "Basic 0123456789abcdef".to_owned(),
            basic("0123456789abcdef"),
            basic("a:b:0123456789abcdef"),
        ] {
            assert_eq!(entry.check(&request(None, Some(&wrong))), Err(Status::Unauthorized), "{wrong}");
        }
        assert_eq!(entry.check(&request(None, None)), Err(Status::Unauthorized));
    }
}
