//! The address of the http plugin: `url` and `port` become one whole URL, or a reason why not.
//!
//! Only what a POST to one place needs is known here; no other scheme, no password, no fragment.

use super::values::host;

/// Longest URL, in bytes.
const MAX_URL: usize = 2048;

/// A URL, taken apart.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Url<'a> {
    pub(super) scheme: Scheme,
    /// A name or an IPv4 address as it is, an IPv6 address with its brackets.
    host: &'a str,
    /// The port, where the URL has one.
    pub(super) port: Option<u16>,
    /// Path and query; may be empty.
    target: &'a str,
}

/// The schemes that there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Scheme {
    Http,
    Https,
}

impl Scheme {
    fn name(self) -> &'static str {
        match self {
            Scheme::Http => "http",
            Scheme::Https => "https",
        }
    }

    fn port(self) -> u16 {
        match self {
            Scheme::Http => 80,
            Scheme::Https => 443,
        }
    }
}

/// Takes `text` apart; without a scheme, http is meant. The error says what is wrong with it.
pub(super) fn split(text: &str) -> Result<Url<'_>, &'static str> {
    let may_stand = |byte: u8| byte.is_ascii_graphic() && !b"\"<>\\^`{|}".contains(&byte);
    if text.len() > MAX_URL {
        return Err("it is longer than 2048 bytes");
    }
    if !text.bytes().all(may_stand) {
        return Err("other characters than those of a URL are written as %XX");
    }
    if text.contains('#') {
        return Err("a `#` and what follows it is never sent; leave it out");
    }
    let (scheme, rest) = scheme(text)?;
    let (authority, target) =
        rest.split_at_checked(rest.find(['/', '?']).unwrap_or(rest.len())).unwrap_or((rest, ""));
    if authority.contains('@') {
        return Err("user and password cannot stand in it; they would end up in logs");
    }
    let (host, port) = host_and_port(authority)?;
    Ok(Url { scheme, host, port, target })
}

impl Url<'_> {
    /// The whole URL. `port` counts where the URL has none of its own.
    pub(super) fn whole(&self, port: Option<u16>) -> String {
        let port = self.port.or(port).filter(|port| *port != self.scheme.port());
        let port = port.map(|port| format!(":{port}")).unwrap_or_default();
        let slash = if self.target.starts_with('/') { "" } else { "/" };
        format!("{}://{}{port}{slash}{}", self.scheme.name(), self.host, self.target)
    }
}

fn scheme(text: &str) -> Result<(Scheme, &str), &'static str> {
    let Some((name, rest)) = text.split_once("://").filter(|(name, _)| !name.contains(['/', '?'])) else {
        return Ok((Scheme::Http, text));
    };
    let scheme =
        [Scheme::Http, Scheme::Https].into_iter().find(|scheme| scheme.name().eq_ignore_ascii_case(name));
    scheme.map(|scheme| (scheme, rest)).ok_or("it must begin with http:// or https://")
}

fn host_and_port(authority: &str) -> Result<(&str, Option<u16>), &'static str> {
    const HOST: &str = "a host name or address was expected, an IPv6 address in `[ ]`";
    const PORT: &str = "a number from 1 to 65535 was expected after the `:`";
    // The colons of an IPv6 address are no port.
    let after_address = authority.rfind(']').unwrap_or_default();
    let colon = authority.get(after_address..).and_then(|rest| rest.find(':'));
    let at = colon.map_or(authority.len(), |colon| after_address.saturating_add(colon));
    let (name, port) = authority.split_at_checked(at).unwrap_or((authority, ""));
    // A zone has no meaning on the wire.
    if name.contains('%') || host(name).is_err() {
        return Err(HOST);
    }
    let port = match port.strip_prefix(':') {
        None => None,
        Some(digits) if digits.bytes().all(|byte| byte.is_ascii_digit()) => {
            Some(digits.parse().ok().filter(|port| *port != 0).ok_or(PORT)?)
        }
        Some(_) => return Err(PORT),
    };
    Ok((name, port))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_becomes_of_it() {
        for (text, port, whole) in [
            ("http://h/path", None, "http://h/path"),
            ("http://h/path", Some(80), "http://h/path"),
            ("http://h/path", Some(8080), "http://h:8080/path"),
            ("HTTPS://h", None, "https://h/"),
            ("https://h?a=b", Some(80), "https://h:80/?a=b"),
            ("https://h:8443/x?y=/z@", Some(1), "https://h:8443/x?y=/z@"),
            ("https://h:443/x", Some(8443), "https://h/x"),
            ("h", None, "http://h/"),
            ("10.0.0.1:81/a", Some(80), "http://10.0.0.1:81/a"),
            ("h/go?to=http://other", Some(81), "http://h:81/go?to=http://other"),
            ("http://[fe80::1]/a", Some(81), "http://[fe80::1]:81/a"),
            ("[::1]:82", None, "http://[::1]:82/"),
        ] {
            assert_eq!(split(text).map(|url| url.whole(port)).as_deref(), Ok(whole), "{text}");
        }
    }

    #[test]
    fn what_is_refused() {
        let long = format!("http://h/{}", "a".repeat(2048));
        for text in [
            "",
            "http://",
            "http:///x",
            "https://u:p@h/",
            "u@h/x",
            "ftp://h/x",
            "file:///etc/passwd",
            "http://h/#a",
            "http://h:0/",
            "http://h:/",
            "http://h:65536/",
            "http://h:+1/",
            "http://h:x/",
            "http://a b/",
            "http://h/a b",
            "http://::1/",
            "http://[::1",
            "http://[::1]x/",
            "http://[fe80::1%eth0]/",
            "http://h/é",
            "http://例え.jp/",
            "http://h/\u{1}",
            "//h/x",
            "mailto:x",
            "http://-h/",
            "http://h\\@x/",
            "http://[h]/",
            &long,
        ] {
            assert!(split(text).is_err(), "{text}");
        }
    }
}
