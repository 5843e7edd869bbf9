//! `<host>`: off as ever, what is taken, what is refused.

use std::net::IpAddr;

use super::super::{Host, PageConfig, PagePlace};
use super::tests::{broken, config, messages};

fn head(attributes: &str) -> String {
    broken("</head>", &format!("<host {attributes}/></head>"))
}

fn page(attributes: &str) -> PageConfig {
    config(&head(attributes)).host.page.unwrap()
}

fn addresses(page: &PageConfig) -> Vec<IpAddr> {
    match &page.place {
        PagePlace::Tcp { addresses, .. } => addresses.clone(),
        PagePlace::Unix { .. } => panic!("{page:?}"),
    }
}

/// Whatever an old file says there, it was printed and no more.
#[test]
fn off_unless_it_says_so() {
    for (attributes, ip, port) in [
        ("", "localhost", 8008),
        (r#"hostip="www.example.com" port="80""#, "www.example.com", 80),
        (r#"hostip="0.0.0.0" port="0""#, "0.0.0.0", 0),
        (r#"hostip="0.0.0.0" start="false" socket="x" mode="y" lag="z""#, "0.0.0.0", 8008),
        (r#"hostip="" port="http""#, "", 8008),
    ] {
        let host = config(&head(attributes)).host;
        assert_eq!(host, Host { ip: ip.to_owned(), port, page: None }, "{attributes}");
    }
}

#[test]
fn taken() {
    let usual = page(r#"start="true""#);
    let place = PagePlace::Tcp { addresses: PagePlace::LOCALHOST.to_vec(), port: 8008 };
    assert_eq!(usual, PageConfig { place, token_file: None, lag: 300 });
    assert_eq!(page(r#"start="true" hostip="localhost" port="" lag="""#), usual);
    let far = page(r#"start="true" hostip="0.0.0.0" port="80" tokenFile="/etc/t" lag="60""#);
    assert!(!far.place.is_local() && far.lag == 60 && far.token_file == Some("/etc/t".into()));
    assert_eq!(
        addresses(&page(r#"start="true" hostip="127.3.2.1""#)),
        ["127.3.2.1".parse::<IpAddr>().unwrap()]
    );
    assert_eq!(addresses(&page(r#"start="true" hostip="[::1]""#)), ["::1".parse::<IpAddr>().unwrap()]);
    let unix = page(r#"start="true" hostip="0.0.0.0" socket="/run/p" mode="0660" group="www-data""#);
    let group = Some("www-data".to_owned());
    assert_eq!(unix.place, PagePlace::Unix { path: "/run/p".into(), mode: 0o660, group });
    assert!(unix.place.is_local());
}

#[test]
fn refused_or_moot() {
    for (attributes, words) in [
        (r#"start="true" hostip="0.0.0.0""#, "nobody is asked for a token"),
        (r#"start="true" hostip="::""#, "nobody is asked for a token"),
        (r#"start="true" hostip="10.0.0.1" tokenFile="""#, "nobody is asked for a token"),
        (r#"start="true" hostip="www.example.com" tokenFile="/t""#, "names are not looked up"),
        (r#"start="true" hostip="10.0.0.1" tokenFile="t""#, "not absolute"),
        (r#"start="true" port="0""#, "no number from 1 to 65535"),
        (r#"start="true" port="http""#, "no number from 1 to 65535"),
        (r#"start="true" lag="0""#, "no number from 1 to 604800"),
        (r#"start="true" socket="p""#, "not absolute"),
        (r#"start="true" socket="/p" mode="rw""#, "no mode"),
        (r#"start="true" socket="/p" group="a b""#, "no group"),
        (r#"start="true" mode="0660""#, "for a Unix socket"),
        (r#"start="yes""#, "counts as false"),
    ] {
        let said = messages(&head(attributes));
        assert!(said.iter().any(|message| message.contains(words)), "{attributes}: {said:?}");
    }
}
