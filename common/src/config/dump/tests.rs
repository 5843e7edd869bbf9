//! What is written is read as what it was.

use proptest::prelude::*;

use super::super::{Config, PluginKind, parse, render};
use super::*;

const MINIMAL: &str =
    r#"<head><sersync><localpath watch="/w"><remote ip="h" name="m"/></localpath></sersync></head>"#;

fn shipped() -> String {
    std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../confxml.xml")).unwrap()
}

fn everything_on() -> String {
    shipped()
        .replace("start=\"false\"", "start=\"true\"")
        .replace("regex=\"false\"", "regex=\"true\"")
        .replace("name=\"command\"/>", "name=\"refreshCDN,socket,http\"/>")
        .replace("the system's.\n    <plugin name=\"http\"", "the system's. -->\n    <plugin name=\"http\"")
        .replace("</plugin>\n    -->", "</plugin>")
        .replace("These values are only an example.\n", "-->\n")
}

/// Passwords are not written.
fn without_secrets(mut config: Config) -> Config {
    for plugin in &mut config.plugins {
        if let PluginKind::RefreshCdn(cdn) = &mut plugin.kind {
            HIDDEN.clone_into(&mut cdn.password);
        }
    }
    config
}

fn comes_back(config: Config) -> Result<(), TestCaseError> {
    let text = dump(&config);
    let parsed = parse(&text);
    let shown = render(&parsed, "dump.xml");
    let Some(read) = parsed.config else {
        return Err(TestCaseError::fail(format!("{shown}\n{}", String::from_utf8_lossy(&text))));
    };
    prop_assert_eq!(read, without_secrets(config), "{}", String::from_utf8_lossy(&text));
    Ok(())
}

#[test]
fn whole_files_come_back() {
    for text in [MINIMAL.to_owned(), shipped(), everything_on()] {
        let parsed = parse(text.as_bytes());
        let shown = render(&parsed, "c.xml");
        comes_back(parsed.config.unwrap_or_else(|| panic!("{shown}"))).unwrap();
    }
    let hours = "<bandwidth limit=\"10m\"><hours from=\"22\" to=\"6\" limit=\"none\"/></bandwidth></head>";
    for (from, to) in [
        ("</head>", hours),
        ("\"/w\"", "\"/w//\""),
        ("\"/w\"", "\"/\""),
        ("\"m\"", "\"a&#9;&quot;&lt;&amp;\"/><remote ip=\"[::1]\" name=\"m\""),
        ("\"m\"", "\"m\" params=\"-a '--exclude=a b' --exclude=it\\'s\" user=\"\""),
        ("\"m\"", "\"/m\" ssh=\"true\" identity=\"/k\" port=\"2222\" timeout=\"5\" bwlimit=\"9\""),
        ("ip=\"h\"", "ip=\"例え.jp\""),
        ("<head>", "<head><host hostip=\"127.0.0.2\" port=\"1\" start=\"true\" lag=\"5\"/>"),
        ("<head>", "<head><host start=\"true\" socket=\"/s\" mode=\"0660\" group=\"g\" tokenFile=\"/t\"/>"),
        ("<head>", "<head><status start=\"false\" socket=\"/s\" mode=\"666\" group=\"g\"/>"),
        ("<head>", "<head><log to=\"file\" path=\"/l\" format=\"json\" files=\"true\"/>"),
        ("<head>", "<head><log to=\"syslog\"/>"),
        ("</head>", "<status start=\"false\" socket=\"/run/s\" mode=\"0640\" group=\"adm\"/></head>"),
        ("</head>", "<log to=\"file\" path=\"/a&amp;b\" format=\"json\" files=\"true\"/></head>"),
        ("</head>", "<log to=\"syslog\"/></head>"),
        ("</head>", "<host hostip=\"\" port=\"9\"/></head>"),
        ("</head>", "<host start=\"true\" hostip=\"::1\" port=\"9\" tokenFile=\"/t\" lag=\"7\"/></head>"),
        ("</head>", "<host start=\"true\" socket=\"/run/p\" mode=\"0640\" group=\"7\"/></head>"),
    ] {
        comes_back(parse(MINIMAL.replace(from, to).as_bytes()).config.unwrap()).unwrap();
    }
}

#[test]
fn bytes_that_are_no_text_come_back() {
    let mut text = MINIMAL.replace("/w", "/X&#200;").into_bytes();
    let at = text.iter().position(|&byte| byte == b'X').unwrap();
    text.splice(at..=at, *b"\xcd\xbc");
    comes_back(parse(&text).config.unwrap()).unwrap();
}

#[test]
fn what_is_said_anyhow_is_marked_and_no_password_is_told() {
    let text = everything_on().replace("passwd=\"xxxx\"", "passwd=\"open sesame\"");
    let text = String::from_utf8(dump(&parse(text.as_bytes()).config.unwrap())).unwrap();
    assert!(text.contains("<createFile start=\"true\"/>\n"), "{text}");
    assert!(text.contains("<sandbox start=\"true\"/> <!-- default -->\n"), "{text}");
    assert!(text.contains("passwd=\"***\"") && !text.contains("sesame"), "{text}");
}

proptest! {
    /// Whatever stands in a value, what was made of it is written as such.
    #[test]
    fn any_value_comes_back(which in any::<prop::sample::Index>(), value in "[ -~\\PC]{0,12}|[0-9]{1,4}|true|none") {
        let text = everything_on();
        let quotes: Vec<usize> = text.match_indices("=\"").map(|(at, _)| at + 2).collect();
        let at = *which.get(&quotes);
        let end = at + text[at..].find('"').unwrap();
        let text = format!("{}{}{}", &text[..at], value.replace(['"', '<'], ""), &text[end..]);
        if let Some(config) = parse(text.as_bytes()).config {
            comes_back(config)?;
        }
    }

    #[test]
    fn any_hours_come_back(hours in proptest::collection::vec(proptest::option::of(1..4_u32), 24)) {
        let mut config = parse(MINIMAL.as_bytes()).config.unwrap();
        config.sharing.bandwidth.by_hour = hours.try_into().unwrap();
        comes_back(config)?;
    }
}
