//! What a `<remote>` says of its own, and what it takes from `<rsync>`.

#![allow(clippy::too_many_lines, reason = "the pictures are as long as they are")]

use std::ffi::OsStr;

use super::super::{Auth, Ssh, render};
use super::tests::{broken, config, messages, rsync};
use super::{Severity, parse};

/// A config whose remote has these attributes, below an `<rsync>` that holds `inner`.
fn text(attributes: &str, inner: &str) -> String {
    broken("name=\"m\"", &format!("name=\"m\" {attributes}"))
        .replace("</sersync>", &format!("\n<rsync>{inner}</rsync>\n</sersync>"))
}

const BLOCK: &str = r#"<commonParams params="-av"/><auth start="true" users="bob" passwordfile="/bob"/>
    <userDefinedPort start="true" port="874"/><timeout start="true" time="30"/>"#;

fn auth(user: &str, file: &str) -> Option<Auth> {
    let user = Some(user.to_owned()).filter(|user| !user.is_empty());
    let password_file = Some(file.into()).filter(|file: &std::ffi::OsString| !file.is_empty());
    (user.is_some() || password_file.is_some()).then_some(Auth { user, password_file })
}

#[test]
fn a_remote_that_says_nothing_takes_the_block() {
    let config = config(&text("", BLOCK));
    let rsync = rsync(&config);
    assert_eq!(rsync.params, ["-av"]);
    assert_eq!(rsync.auth, auth("bob", "/bob"));
    assert_eq!((rsync.port, rsync.timeout, rsync.bwlimit), (Some(874), Some(30), None));
    assert_eq!(rsync.ssh, None);
}

#[test]
fn each_attribute_replaces_one_thing() {
    let own = r#"port="873" user="eve" passwordfile="/eve" params="-rt --delete" bwlimit="10000000" timeout="1000000""#;
    for inner in ["", BLOCK] {
        let text = text(own, inner);
        let config = config(&text);
        let rsync = rsync(&config);
        assert_eq!(rsync.params, ["-rt", "--delete"]);
        assert_eq!(rsync.auth, auth("eve", "/eve"), "works without <auth>");
        assert_eq!(
            (rsync.port, rsync.timeout, rsync.bwlimit),
            (Some(873), Some(1_000_000), Some(10_000_000))
        );
        assert_eq!(messages(&text), [""; 0]);
    }
}

#[test]
fn an_empty_value_switches_off() {
    for (attributes, expected) in [
        (r#"user="""#, auth("", "/bob")),
        (r#"passwordfile="""#, auth("bob", "")),
        (r#"user="" passwordfile="""#, None),
        (r#"user="eve""#, auth("eve", "/bob")),
    ] {
        assert_eq!(rsync(&config(&text(attributes, BLOCK))).auth, expected, "{attributes}");
    }
    assert!(rsync(&config(&text(r#"params="""#, BLOCK))).params.is_empty());
}

#[test]
fn two_remotes_differ() {
    let text = broken("<remote", r#"<remote ip="g" name="/srv/x" ssh="true" user="web"/><remote"#);
    let config = config(&text);
    let [first, second] = &config.trees[0].remotes[..] else { panic!("two remotes") };
    assert_eq!((first.rsync.ssh.is_some(), second.rsync.ssh.is_some()), (true, false));
    assert_eq!((first.rsync.auth.clone(), second.rsync.auth.clone()), (auth("web", ""), None));
}

#[test]
fn ssh() {
    let keys = |identity: &str, hosts: &str| {
        let path = |text: &str| Some(text.into()).filter(|path: &std::ffi::OsString| !path.is_empty());
        Some(Ssh { identity: path(identity), known_hosts: path(hosts) })
    };
    let on = r#"<ssh start="true" identity="/k" knownhosts="/h"/>"#;
    let off = r#"<ssh start="false" identity="/k" knownhosts="/h"/>"#;
    for (attributes, inner, expected) in [
        ("", on, keys("/k", "/h")),
        ("", off, None),
        (r#"ssh="false""#, on, None),
        (r#"ssh="true""#, off, keys("/k", "/h")),
        (r#"ssh="true""#, "", keys("", "")),
        (r#"ssh="true" identity="/own""#, "", keys("/own", "")),
        (r#"identity="/own" knownhosts="""#, on, keys("/own", "")),
    ] {
        let text = text(attributes, inner);
        assert_eq!(rsync(&config(&text)).ssh, expected, "{attributes} {inner}");
        assert_eq!(messages(&text), [""; 0], "{attributes} {inner}");
    }
}

#[test]
fn the_port_of_daemons_does_not_count_with_ssh() {
    let daemons = r#"<ssh start="true"/><userDefinedPort start="true" port="874"/>"#;
    assert_eq!(rsync(&config(&text("", daemons))).port, None);
    assert_eq!(rsync(&config(&text(r#"port="2222""#, daemons))).port, Some(2222));
    assert_eq!(rsync(&config(&text(r#"ssh="false""#, daemons))).port, Some(874));
}

#[test]
fn paths_of_ssh_and_names_of_modules() {
    for (name, attributes) in
        [("~/x", r#"ssh="true""#), ("/srv/a b", r#"ssh="true""#), ("_m.1", ""), ("~m", "")]
    {
        let text = text(attributes, "").replace("name=\"m\"", &format!("name=\"{name}\""));
        assert_eq!(config(&text).trees[0].remotes[0].module, OsStr::new(name));
        assert_eq!(messages(&text), [""; 0], "{name}");
    }
}

#[test]
fn password_files_and_ssh() {
    const WARNING: &str = "with ssh the password file does not count";
    let ssh_block = r#"<ssh start="true"/><auth start="true" users="bob" passwordfile="/bob"/>"#;
    for (attributes, inner, count) in [
        ("", ssh_block, 1),
        (r#"passwordfile="/own""#, ssh_block, 1),
        (r#"passwordfile="""#, ssh_block, 0),
        // The block means the daemons; this remote is none.
        (r#"ssh="true""#, BLOCK, 0),
        (r#"ssh="true" passwordfile="/own""#, "", 1),
    ] {
        let text = text(attributes, inner);
        assert_eq!(messages(&text), vec![WARNING; count], "{attributes} {inner}");
        let password_file = rsync(&config(&text)).auth.clone().and_then(|auth| auth.password_file);
        assert_eq!(password_file, None, "{attributes} {inner}");
    }
    // Many remotes, one warning.
    let twice = text("", ssh_block).replace("<remote", r#"<remote ip="g" name="m"/><remote"#);
    assert_eq!(messages(&twice), [WARNING]);
    assert_eq!(rsync(&config(&text("ssh=\"false\"", ssh_block))).auth, auth("bob", "/bob"));
}

#[test]
fn what_is_wrong_is_shown() {
    let shown = |attributes: &str| {
        let parsed = parse(text(attributes, "").as_bytes());
        assert!(
            parsed.config.is_some() || parsed.diagnostics.iter().any(|it| it.severity == Severity::Error)
        );
        render(&parsed, "confxml.xml").trim_end().to_owned()
    };
    insta::assert_snapshot!(shown("params=\"-a --no-R\""), @r#"
    error: `--no-R` cannot be used here
     --> confxml.xml:1:73
      |
    1 | <head><sersync><localpath watch="/w"><remote ip="h" name="m" params="-a --no-R"/></localpath>
      |                                                                         ^^^^^^
      |
      = help: the paths below the root would be lost
    "#);
    insta::assert_snapshot!(shown("identity=\"/k\""), @r#"
    warning: `identity` counts only with ssh
     --> confxml.xml:1:62
      |
    1 | <head><sersync><localpath watch="/w"><remote ip="h" name="m" identity="/k"/></localpath>
      |                                                              ^^^^^^^^
      |
      = help: write ssh="true", or leave it out
    "#);
    insta::assert_snapshot!(shown("ssh=\"true\" knownhosts=\"k\""), @r#"
    error: the path is not absolute
     --> confxml.xml:1:85
      |
    1 | <head><sersync><localpath watch="/w"><remote ip="h" name="m" ssh="true" knownhosts="k"/></localpath>
      |                                                                                     ^
      |
      = help: write knownhosts="/path/of/the/file"
    "#);
    insta::assert_snapshot!(shown("bwlimit=\"10m\""), @r#"
    error: `10m` is no number from 1 to 10000000
     --> confxml.xml:1:71
      |
    1 | <head><sersync><localpath watch="/w"><remote ip="h" name="m" bwlimit="10m"/></localpath>
      |                                                                       ^^^
      |
      = help: write bwlimit="number"
    "#);
    insta::assert_snapshot!(shown("ssh=\"true\" passwordfile=\"/p\""), @r#"
    warning: with ssh the password file does not count
     --> confxml.xml:1:87
      |
    1 | <head><sersync><localpath watch="/w"><remote ip="h" name="m" ssh="true" passwordfile="/p"/></localpath>
      |                                                                                       ^^
      |
      = help: ssh logs in with a key; see identity="…"
    "#);
    insta::assert_snapshot!(shown("ssh=\"true\" params=\"-a --contimeout=3\""), @r#"
    error: `--contimeout` cannot be used with ssh
     --> confxml.xml:1:81
      |
    1 | <head><sersync><localpath watch="/w"><remote ip="h" name="m" ssh="true" params="-a --contimeout=3"/></localpath>
      |                                                                                 ^^^^^^^^^^^^^^^^^
      |
      = help: rsync refuses it on any way but to a daemon; leave it out of the parameters of this remote
    "#);
}

/// The shell of 2.5.4 dropped a blank behind the name; here it became a part of it, and no daemon has such a module.
#[test]
fn blanks_around_a_name_do_not_count() {
    for (name, more) in [("m ", ""), (" m", ""), ("\tm  ", ""), ("/srv/m ", " ssh=\"true\"")] {
        let text = broken("name=\"m\"", &format!("name=\"{name}\"{more}"));
        assert_eq!(config(&text).trees[0].remotes[0].module, name.trim(), "{name:?}");
        let [told] = &parse(text.as_bytes()).diagnostics[..] else { panic!("{name:?}") };
        let help = format!("write name=\"{}\"", name.trim());
        assert_eq!(
            (told.severity, told.help.as_deref()),
            (Severity::Warning, Some(help.as_str())),
            "{name:?}"
        );
        assert!(told.message.contains("begins or ends with a blank"), "{}", told.message);
    }
    // One within it is its own.
    assert_eq!(messages(&broken("name=\"m\"", "name=\"m n\"")), [""; 0]);
    assert_eq!(messages(&broken("name=\"m\"", "name=\" \"")), ["`name` is empty"]);
}

/// rsync takes 0 for no limit; here a switch says so, and "write a number" sent people astray.
#[test]
fn a_time_limit_of_nothing_is_told_of_the_switch() {
    let help = |text: String| {
        let [told] = &parse(text.as_bytes()).diagnostics[..] else { panic!("{text}") };
        assert_eq!(told.severity, Severity::Error);
        told.help.clone().unwrap()
    };
    for zero in ["0", " 00 "] {
        let block = help(text("", &format!("<timeout start=\"true\" time=\"{zero}\"/>")));
        assert_eq!(block, "for no limit write <timeout start=\"false\"/>");
        let own = help(text(&format!("timeout=\"{zero}\""), ""));
        assert_eq!(own, "leave it out; there is no limit with <timeout start=\"false\"/> in <rsync>");
    }
    assert_eq!(help(text("timeout=\"x\"", "")), "write timeout=\"number\"");
}
