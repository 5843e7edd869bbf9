//! `<host>`: reserved by the original, and where the page is served once it is switched on.
//!
//! Of an old file nothing is refused. Once it says start="true", what is wrong is: a page that listens
//! elsewhere than was meant shows the status to others, or to nobody.

use std::net::IpAddr;

use super::super::diagnostic::quote;
use super::super::xml::{Attribute, Element};
use super::super::{Host, PageConfig, PagePlace, StatusConfig};
use super::values::Reader;

const DEFAULT_PORT: u16 = 8008;
const DEFAULT_LAG: u32 = 300;
/// A week, in seconds.
const MAX_LAG: u32 = 604_800;

impl Reader {
    /// `<host>`; the page is off unless it says start="true".
    pub(super) fn host_element(&mut self, host: Option<&Element>) -> Host {
        let ip = host.and_then(|host| host.attribute("hostip"));
        let ip = ip.map_or_else(|| "localhost".to_owned(), |ip| ip.value.clone());
        if let Some(host) = host.filter(|host| self.is_on(Some(host))) {
            let (port, page) = self.page(host);
            return Host { ip, port, page };
        }
        let port = self.lenient(host, "port", &(0..=u32::from(u16::MAX)), u32::from(DEFAULT_PORT));
        Host { ip, port: u16::try_from(port).unwrap_or(DEFAULT_PORT), page: None }
    }

    fn page(&mut self, host: &Element) -> (u16, Option<PageConfig>) {
        let given = |name| host.attribute(name).filter(|attribute| !attribute.value.is_empty());
        let port = given("port").and_then(|port| self.port(port)).unwrap_or(DEFAULT_PORT);
        let token_file = given("tokenFile");
        let place = match given("socket") {
            Some(socket) => self.page_socket(host, socket),
            None => self.page_address(host, port, token_file),
        };
        let lag = given("lag").and_then(|lag| self.number(lag, &(1..=MAX_LAG))).unwrap_or(DEFAULT_LAG);
        let token_file = token_file.and_then(|file| self.absolute(file));
        (port, place.map(|place| PageConfig { place, token_file, lag }))
    }

    fn page_socket(&mut self, host: &Element, socket: &Attribute) -> Option<PagePlace> {
        let given = |name| host.attribute(name).filter(|attribute| !attribute.value.is_empty());
        let mode = given("mode").and_then(|mode| self.mode(mode));
        let group = given("group").and_then(|group| self.group(group));
        let path = self.socket_path(socket)?;
        Some(PagePlace::Unix { path, mode: mode.unwrap_or(StatusConfig::default().mode), group })
    }

    /// What others can reach takes a token.
    fn page_address(&mut self, host: &Element, port: u16, token: Option<&Attribute>) -> Option<PagePlace> {
        let attribute = host.attribute("hostip").filter(|attribute| !attribute.value.is_empty());
        for name in ["mode", "group"] {
            if let Some(attribute) = host.attribute(name).filter(|attribute| !attribute.value.is_empty()) {
                let message = format!("`{name}` is for a Unix socket, and there is none");
                self.warning(&attribute.place(), message, "name it with socket=\"/run/sersync-page.sock\"");
            }
        }
        let Some(attribute) = attribute.filter(|attribute| attribute.value != "localhost") else {
            return Some(PagePlace::Tcp { addresses: PagePlace::LOCALHOST.to_vec(), port });
        };
        let written = attribute.value.trim_start_matches('[').trim_end_matches(']');
        let Ok(address) = written.parse::<IpAddr>() else {
            let message = format!(
                "`{}` is no address that the page can listen at: names are not looked up",
                quote(&attribute.value)
            );
            let help = "write hostip=\"localhost\", or an address of this machine and a tokenFile";
            self.problem(&attribute.place(), message, help);
            return None;
        };
        let place = PagePlace::Tcp { addresses: vec![address], port };
        if !place.is_local() && token.is_none() {
            let message = format!(
                "whoever reaches `{}` could read the page: nobody is asked for a token",
                quote(&attribute.value)
            );
            let help = "add tokenFile=\"/etc/sersync/page.token\", or write hostip=\"localhost\"";
            self.problem(&attribute.place(), message, help);
            return None;
        }
        Some(place)
    }
}
