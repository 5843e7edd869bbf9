//! Whole files: what is accepted, what is refused, and what people get to see.

use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt, OsStringExt};

use proptest::prelude::*;

use super::super::{Host, MAX_FILTER_BYTES, PluginKind, PluginName, RsyncOptions, Tree, render};
use super::*;

const MINIMAL_TREE: &str = r#"<localpath watch="/w"><remote ip="h" name="m"/></localpath>"#;
const MINIMAL: &str =
    r#"<head><sersync><localpath watch="/w"><remote ip="h" name="m"/></localpath></sersync></head>"#;

pub(super) fn shipped() -> String {
    std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../confxml.xml")).unwrap()
}

pub(super) fn config(text: &str) -> Config {
    let parsed = parse(text.as_bytes());
    let shown = render(&parsed, "c.xml");
    parsed.config.unwrap_or_else(|| panic!("{shown}"))
}

/// How the only remote of `config` is reached.
pub(super) fn rsync(config: &Config) -> &RsyncOptions {
    assert_eq!((config.trees.len(), config.trees[0].remotes.len()), (1, 1));
    &config.trees[0].remotes[0].rsync
}

/// [`MINIMAL`] with one thing replaced.
pub(super) fn broken(from: &str, to: &str) -> String {
    let text = MINIMAL.replace(from, to);
    assert_ne!(text, MINIMAL);
    text
}

pub(super) fn messages(text: &str) -> Vec<String> {
    parse(text.as_bytes()).diagnostics.into_iter().map(|diagnostic| diagnostic.message).collect()
}

#[test]
fn the_shipped_file_is_silent() {
    let parsed = parse(shipped().as_bytes());
    assert_eq!(render(&parsed, "confxml.xml"), "");
    let mut expected = config(MINIMAL);
    expected.trees[0].watch = "/opt/tongbu".into();
    let remote = &mut expected.trees[0].remotes[0];
    (remote.host, remote.module) = ("127.0.0.1".into(), "tongbu1".into());
    remote.rsync.params = vec!["-artz".into()];
    let config = parsed.config.unwrap();
    assert_eq!(config.plugins.len(), 3);
    assert_eq!(Config { plugins: Vec::new(), ..config }, expected);
}

#[test]
fn what_is_missing_takes_its_default() {
    let config = config(MINIMAL);
    assert_eq!(messages(MINIMAL), [""; 0]);
    assert_eq!(config.host, Host { ip: "localhost".into(), port: 8008, page: None });
    assert_eq!(config.switches, Switches::default());
    let rsync = rsync(&config).clone();
    assert_eq!(rsync.params, ["-artuz"]);
    assert_eq!((rsync.auth, rsync.port, rsync.timeout), (None, None, None));
    assert_eq!((rsync.bwlimit, rsync.ssh, config.rsync_program), (None, None, None));
    assert_eq!(config.fail_log, FailLog { path: Some("/tmp/rsync_fail_log.sh".into()), minutes: 60 });
    assert_eq!((config.crontab, config.plugins_on), (None, Vec::new()));
}

#[test]
fn everything_switched_on() {
    let text = shipped()
        .replace("start=\"false\"", "start=\"true\"")
        .replace("regex=\"false\"", "regex=\"true\"")
        .replace("name=\"command\"/>", "name=\"refreshCDN\"/>")
        .replace("/data0/htdocs/cms.xoyo.com/site/", "/opt/tongbu/")
        .replace("-artz\"", "-artz --exclude='a b'\"")
        .replace("<rsync>", "<rsync program=\"/usr/local/bin/rsync\">")
        .replace("<privileges firstUid", "--><privileges firstUid")
        .replace("sandbox=\"required\"/>\n    -->", "sandbox=\"required\"/>")
        .replace("<limits role", "--><limits role")
        .replace("ionice=\"be:6\"/>\n    -->", "ionice=\"be:6\"/>");
    let config = config(&text);
    assert_eq!(messages(&text), ["with ssh the password file does not count"]);
    assert!(config.debug && config.switches.hidden_file);
    assert_eq!(config.filter.len(), 4);
    let rsync = rsync(&config).clone();
    assert_eq!(rsync.params, ["-artz", "--exclude=a b"]);
    let auth = rsync.auth.unwrap();
    assert_eq!((auth.user.unwrap().as_str(), auth.password_file), ("root", None));
    assert_eq!((rsync.port, rsync.timeout, rsync.ssh.is_some()), (None, Some(100), true));
    assert_eq!(config.rsync_program.unwrap(), "/usr/local/bin/rsync");
    assert_eq!(config.crontab, Some(Crontab { minutes: 600 }));
    assert_eq!(config.verify.map(|verify| (verify.minutes, verify.budget)), Some((1440, 10)));
    assert_eq!(config.sync_excludes, ["*.php", "info/*"]);
    assert_eq!(config.plugins_on, [PluginName::RefreshCdn]);
    assert_eq!(config.privileges.first_uid, Some(64000));
    assert_eq!((config.privileges.read_all, config.privileges.sandbox), (true, Some(Demand::Required)));
    assert_eq!((config.limits.syncer.memory_high, config.limits.syncer.nice), (Some(1 << 30), 5));
    let cdn = config.plugins.iter().find_map(|plugin| match &plugin.kind {
        PluginKind::RefreshCdn(cdn) => Some(cdn),
        PluginKind::Command(_) | PluginKind::Socket(_) | PluginKind::Http(_) => None,
    });
    assert!(cdn.unwrap().pattern.is_some());
}

#[test]
fn several_trees_and_odd_values() {
    let text = r#"<head><sersync>
        <localpath watch="/a//"><remote ip="[::1]" name="a&amp;b"/><remote ip="h" name="n"/></localpath>
        <localpath watch="/"><remote ip="h" name="n"/></localpath>
        <localpath watch="rel/"><remote ip="h" name="n"/></localpath>
        <rsync><commonParams params=""/><auth start="true" users="" passwordfile=""/>
        <userDefinedPort start="true"/><timeout start="true"/></rsync><failLog path=""/>
        <crontab start="false"><crontabfilter start="true"><exclude expression="x"/></crontabfilter></crontab>
        </sersync></head>"#;
    let config = config(text);
    let watched: Vec<_> = config.trees.iter().map(|tree| tree.watch.to_str().unwrap()).collect();
    assert_eq!(watched, ["/a/", "/", "rel"]);
    let remote = &config.trees[0].remotes[0];
    assert_eq!((remote.host.as_str(), remote.module.to_str()), ("::1", Some("a&b")));
    assert!(remote.rsync.params.is_empty() && remote.rsync.auth.is_none() && config.fail_log.path.is_none());
    assert_eq!((remote.rsync.port, remote.rsync.timeout), (Some(874), Some(100)));
    assert_eq!(config.sync_excludes, ["x"]);
    assert_eq!(messages(text), ["this directory and `/a` lie in one another"]);
}

#[test]
fn bytes_pass_through() {
    let mut text = br#"<?xml version="1.0" encoding="GBK"?><head><filter start="true"><exclude expression="X.*"/></filter>
        <sersync><localpath watch="/X"><remote ip="h" name="X"/></localpath>
        <rsync><commonParams params="-a --exclude=X"/></rsync></sersync></head>"#.to_vec();
    let gbk = b"\xcd\xbc";
    while let Some(at) = text.iter().position(|&byte| byte == b'X') {
        text.splice(at..=at, *gbk);
    }
    let parsed = parse(&text);
    let config = parsed.config.unwrap();
    let Tree { watch, remotes } = &config.trees[0];
    assert_eq!(watch.as_bytes(), b"/\xcd\xbc");
    assert_eq!(remotes[0].module.as_bytes(), gbk);
    assert_eq!(remotes[0].rsync.params[1], OsString::from_vec(b"--exclude=\xcd\xbc".to_vec()));
    assert_eq!(config.filter, [FilterExpression(b"\xcd\xbc.*".to_vec())]);
    let utf8 = broken("/w", "/图片").replace("<head>", "<?xml version='1.0' encoding='ISO-8859-1'?><head>");
    assert_eq!(self::config(&utf8).trees[0].watch, "/图片");
}

#[test]
fn lenient_values() {
    for (from, to, message) in [
        ("<head>", r#"<head><debug start="TRUE"/>"#, "`TRUE` counts as false"),
        ("<head>", r#"<head><debug start=""/>"#, "`` counts as false"),
        ("<head>", r#"<head><host port="http"/>"#, "`http` is no number from 0 to 65535"),
        (
            "</sersync>",
            r#"<crontab start="true" schedule="0"/></sersync>"#,
            "`0` is no number from 1 to 525600",
        ),
        ("</sersync>", r#"<failLog timeToExecute="x"/></sersync>"#, "`x` is no number from 1 to 525600"),
        (
            "<head>",
            r#"<head><filter start="true"><exclude expression=""/></filter>"#,
            "`<exclude>` has no expression; it is ignored",
        ),
        (
            "</head>",
            r#"<plugin name="sockte"/></head>"#,
            "there is no plugin `sockte`; this block is ignored",
        ),
        (
            "</head>",
            r#"<privileges/><privileges firstUid="x"/></head>"#,
            "another `<privileges>` in `<head>`; it is ignored",
        ),
        ("<head>", "<head>text", "text between the elements has no meaning"),
    ] {
        let text = broken(from, to);
        assert_eq!(messages(&text), [message], "{text}");
        assert!(parse(text.as_bytes()).config.is_some(), "{text}");
    }
}

#[test]
fn what_is_refused() {
    for (from, to) in [
        ("watch=\"/w\"", ""),
        ("/w", ""),
        ("\"/w\"", "\"/w&#0;\""),
        ("ip=\"h\"", ""),
        ("ip=\"h\"", "ip=\"-e\""),
        ("ip=\"h\"", "ip=\"h:873\""),
        ("name=\"m\"", "name=\"\""),
        ("name=\"m\"", "name=\"a&#10;b\""),
        ("</sersync>", "<rsync program=\"rsync\"/></sersync>"),
        ("</sersync>", "<rsync><auth start=\"true\" users=\"a@b\"/></rsync></sersync>"),
        ("</sersync>", "<rsync><auth start=\"true\" users=\"-a\"/></rsync></sersync>"),
        ("</sersync>", "<rsync><userDefinedPort start=\"true\" port=\"0\"/></rsync></sersync>"),
        ("</sersync>", "<rsync><timeout start=\"true\" time=\"x\"/></rsync></sersync>"),
        ("</sersync>", "<rsync><commonParams params=\"-a '\"/></rsync></sersync>"),
        ("</sersync>", "<plugin start=\"true\" name=\"socket\"/></sersync>"),
        ("</sersync>", "<plugin start=\"true\"/></sersync>"),
        ("</sersync>", "<plugin start=\"true\" name=\" ,\"/></sersync>"),
        ("</sersync>", "<rsync><ssh identity=\"key\"/></rsync></sersync>"),
        ("</sersync>", "<rsync><ssh knownhosts=\"hosts\"/></rsync></sersync>"),
        ("name=\"m\"", "name=\"-m\""),
        ("name=\"m\"", "name=\":m\""),
        ("name=\"m\"", "name=\"#list\""),
        ("name=\"m\"", "name=\"/m\""),
        ("name=\"m\"", "ssh=\"true\" name=\":m\""),
        ("name=\"m\"", "ssh=\"true\" name=\"-m\""),
        ("name=\"m\"", "name=\"m\" port=\"0\""),
        ("name=\"m\"", "name=\"m\" port=\"\""),
        ("name=\"m\"", "name=\"m\" port=\"65536\""),
        ("name=\"m\"", "name=\"m\" user=\"a b\""),
        ("name=\"m\"", "name=\"m\" params=\"-n\""),
        ("name=\"m\"", "name=\"m\" ssh=\"true\" params=\"-a --contimeout=5\""),
        ("name=\"m\"", "name=\"m\" ssh=\"true\" identity=\"key\""),
        ("name=\"m\"", "name=\"m\" ssh=\"true\" knownhosts=\"/a&#10;b\""),
        ("name=\"m\"", "name=\"m\" bwlimit=\"0\""),
        ("name=\"m\"", "name=\"m\" bwlimit=\"10000001\""),
        ("name=\"m\"", "name=\"m\" bwlimit=\"1m\""),
        ("name=\"m\"", "name=\"m\" timeout=\"0\""),
        ("name=\"m\"", "name=\"m\" timeout=\"1000001\""),
        ("</head>", "<privileges firstUid=\"999\"/></head>"),
        ("</head>", "<privileges firstUid=\"4294967232\"/></head>"),
    ] {
        let parsed = parse(broken(from, to).as_bytes());
        let errors = parsed.diagnostics.iter().filter(|problem| problem.severity == Severity::Error).count();
        assert_eq!((errors, parsed.config.is_some()), (1, false), "{to}: {:?}", parsed.diagnostics);
    }
}

#[test]
fn too_much() {
    let mut trees = String::new();
    for n in 0..65 {
        trees += &MINIMAL_TREE.replace("/w", &format!("/{n}"));
    }
    assert_eq!(
        messages(&format!("<head><sersync>{trees}</sersync></head>")),
        ["more than 64 directories are watched"]
    );
    let remotes = r#"<remote ip="h" name="m"/>"#.repeat(257);
    assert_eq!(messages(&broken("<remote", &format!("{remotes}<remote"))), ["more than 256 remotes"]);
    let expression = format!("<exclude expression=\"{}\"/>", "a".repeat(MAX_FILTER_BYTES / 2));
    let filter = broken("<head>", &format!("<head><filter start=\"true\">{}</filter>", expression.repeat(4)));
    assert_eq!(messages(&filter), ["all expressions together are longer than 32768 bytes"]);
}

#[test]
fn a_plugin_that_is_off_stops_nothing() {
    let block = r#"<plugin name="socket"><localpath watch="/w"><deshost ip="a b" port="0"/></localpath></plugin></head>"#;
    let off = broken("</head>", block);
    assert_eq!(messages(&off).len(), 2);
    assert!(config(&off).plugins.is_empty());
    let on = off.replace("</sersync>", r#"<plugin start="true" name="socket"/></sersync>"#);
    assert!(parse(on.as_bytes()).config.is_none());
}

proptest! {
    #[test]
    fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        render(&parse(&bytes), "x");
    }

    #[test]
    fn arbitrary_xml_never_panics(text in "(<head>)?(<[a-z]{1,3}|[ =\"'/>&;#!-]|watch|sersync|</?head>|\\PC){0,40}") {
        render(&parse(text.as_bytes()), "x");
    }

    #[test]
    fn mutated_configs_never_panic(edits in proptest::collection::vec((any::<prop::sample::Index>(), 0..40_usize, any::<Vec<u8>>()), 1..4)) {
        let mut bytes = shipped().replace("start=\"false\"", "start=\"true\"").into_bytes();
        for (at, length, new) in edits {
            let at = at.index(bytes.len());
            let end = (at + length).min(bytes.len());
            bytes.splice(at..end, new);
        }
        render(&parse(&bytes), "x");
    }

    /// Whatever stands in a value, the config is read or refused, and the place is in the text.
    #[test]
    fn mutated_values(which in any::<prop::sample::Index>(), value in "[ -~\\PC]{0,12}") {
        let text = shipped().replace("start=\"false\"", "start=\"true\"");
        let quotes: Vec<usize> = text.match_indices("=\"").map(|(at, _)| at + 2).collect();
        let at = *which.get(&quotes);
        let end = at + text[at..].find('"').unwrap();
        let text = format!("{}{}{}", &text[..at], value.replace(['"', '<'], ""), &text[end..]);
        let parsed = parse(text.as_bytes());
        for diagnostic in &parsed.diagnostics {
            prop_assert!(parsed.text.get(diagnostic.span.clone()).is_some(), "{:?}", diagnostic);
        }
        render(&parsed, "x");
    }
}
