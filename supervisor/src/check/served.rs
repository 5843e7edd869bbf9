//! Where the status and the page are to be served: whether their sockets can stand there, and the file of
//! the token can be read. Mirroring goes on without either, so all of it is a warning.

use std::ffi::OsStr;
use std::net::{IpAddr, TcpListener};
use std::path::Path;

use common::config::{Config, PagePlace, Severity};
use common::log::Shown;

use super::Findings;
use crate::page::token;
use crate::status::place::access;

/// What the lack of each means.
const NO_STATUS: &str = "the status is told to nobody";
const NO_PAGE: &str = "the page is not served";

/// Looks at both.
pub(super) fn look(findings: &mut Findings, config: &Config) {
    let status = &config.status;
    if status.start {
        group(findings, "status", status.group.as_deref(), NO_STATUS);
        socket(findings, "status", status.socket.as_deref(), NO_STATUS);
    }
    let Some(page) = &config.host.page else { return };
    match &page.place {
        PagePlace::Unix { path, group: name, .. } => {
            group(findings, "host", name.as_deref(), NO_PAGE);
            socket(findings, "host", Some(path), NO_PAGE);
        }
        PagePlace::Tcp { addresses, .. } => {
            if let Some(first) = addresses.first().filter(|&&first| !is_here(first)) {
                let place = findings.places.attribute("host", "hostip", |_| true);
                let message = format!("{first} is no address of this machine, and {NO_PAGE}");
                findings.warning(place, message, "name one of those that `ip address` shows, or localhost");
            }
        }
    }
    // Whether others may read it is looked at with the other secrets, and so is a file that is missing.
    if let Some(file) = page.token_file.as_deref().filter(|file| Path::new(file).is_file())
        && let Err(error) = token(file)
    {
        let place = findings.places.attribute("host", "tokenFile", |said| said == file);
        findings.line(Severity::Warning, place, &error.to_string(), "");
    }
}

fn group(findings: &mut Findings, element: &str, name: Option<&str>, lack: &str) {
    if let Err(error) = access(0, name) {
        let place = findings.places.attribute(element, "group", |_| true);
        let cure = "name one of those that `getent group` shows, or its number";
        findings.warning(place, format!("group: {error}, and {lack}"), cure);
    }
}

fn socket(findings: &mut Findings, element: &str, path: Option<&OsStr>, lack: &str) {
    let Some(directory) = path.and_then(|path| Path::new(path).parent()) else { return };
    // systemd makes those there as the service starts.
    if !directory.is_dir() && !directory.starts_with("/run") {
        let place = findings.places.attribute(element, "socket", |_| true);
        let message =
            format!("there is no directory {} for the socket, and {lack}", Shown(directory.as_os_str()));
        findings.warning(place, message, "make it, for instance with tmpfiles.d, or name another");
    }
}

/// Any port of it will do: the supervisor that is being checked may have the one that was named.
fn is_here(address: IpAddr) -> bool {
    TcpListener::bind((address, 0)).is_ok()
}
