//! Whom TLS believes: the configured certificates, else the system's, else Mozilla's as they
//! were when this program was built. Read once.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, Read};

use common::log::Shown;
use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use ureq::tls::{Certificate, PemItem, RootCerts, parse_pem};

use crate::plugin::BadPlugin;

/// Largest file of certificates, in bytes.
const MAX_FILE: u64 = 4 << 20;
/// Where distributions keep theirs.
pub const SYSTEM: [&str; 4] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
];

/// What to believe when speaking to `url`.
pub(crate) fn roots(url: &str, ca: Option<&OsString>) -> Result<RootCerts, BadPlugin> {
    if let Some(file) = ca {
        let bad = |reason: String| BadPlugin::Certificates { file: Shown(file).to_string(), reason };
        return configured(file).map_err(bad).map(RootCerts::from);
    }
    if !url.get(..6).is_some_and(|scheme| scheme.eq_ignore_ascii_case("https:")) {
        return Ok(RootCerts::WebPki);
    }
    let system = SYSTEM.iter().find_map(|file| read(OsStr::new(file)).ok().filter(|all| !all.is_empty()));
    Ok(system.map_or(RootCerts::WebPki, RootCerts::from))
}

/// The operator named it: each certificate must be one.
fn configured(file: &OsStr) -> Result<Vec<Certificate<'static>>, String> {
    let all = read(file).map_err(|error| error.to_string())?;
    if all.is_empty() {
        return Err("it holds no certificate".to_owned());
    }
    let mut store = RootCertStore::empty();
    for one in &all {
        store.add(CertificateDer::from(one.der())).map_err(|error| error.to_string())?;
    }
    Ok(all)
}

fn read(file: &OsStr) -> io::Result<Vec<Certificate<'static>>> {
    let mut text = Vec::new();
    File::open(file)?.take(MAX_FILE.saturating_add(1)).read_to_end(&mut text)?;
    if u64::try_from(text.len()).unwrap_or(u64::MAX) > MAX_FILE {
        return Err(io::Error::from(io::ErrorKind::FileTooLarge));
    }
    let mut all = Vec::new();
    for item in parse_pem(&text) {
        if let PemItem::Certificate(one) = item.map_err(io::Error::other)? {
            all.push(one);
        }
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn files_that_do_not_do() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("ca.pem");
        let refused = |text: &[u8]| {
            fs::write(&path, text).unwrap();
            roots("https://h/", Some(&path.clone().into())).unwrap_err().to_string()
        };
        assert!(refused(b"").ends_with("it holds no certificate"));
        assert!(refused(b"-----BEGIN CERTIFICATE-----\n!\n-----END CERTIFICATE-----\n").contains("ca.pem"));
        assert!(
            refused(b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n").contains("ca.pem")
        );
        assert!(refused(&vec![b'x'; 5 << 20]).contains("ca.pem"));
        fs::remove_file(&path).unwrap();
        assert!(roots("https://h/", Some(&path.clone().into())).is_err());
        assert!(roots("http://h/", Some(&path.into())).is_err());
    }
}
