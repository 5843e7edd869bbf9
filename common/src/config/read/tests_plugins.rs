//! Plugins: the switch, the blocks, and what `-m` needs of a file.

use super::super::{CommandPlugin, Format, HttpPlugin, Plugin, PluginKind, PluginName, Tree, render};
use super::tests::{broken, config, messages, shipped};
use super::{parse, parse_for_plugin};

const SOCKET: &str =
    r#"<plugin name="socket"><localpath watch="/w"><deshost ip="h" port="1"/></localpath></plugin>"#;
const COMMAND: &str = r#"<plugin name="command"><param prefix="/opt/hook -x" suffix="a 'b c'"/></plugin>"#;

/// A config with these blocks, and a switch that names some plugins.
fn text(on: &str, blocks: &str) -> String {
    broken(
        "</sersync></head>",
        &format!("\n<plugin start=\"true\" name=\"{on}\"/></sersync>\n{blocks}</head>"),
    )
}

/// The same, all off.
fn off(blocks: &str) -> String {
    broken("</head>", &format!("\n{blocks}</head>"))
}

fn plugin(blocks: &str) -> Plugin {
    config(&off(blocks)).plugins.into_iter().next().unwrap()
}

fn http(attributes: &str) -> String {
    format!(r#"<plugin name="http"><localpath watch="/w"><deshost {attributes}/></localpath></plugin>"#)
}

fn command(prefix: &str) -> String {
    format!(r#"<plugin name="command"><param prefix="{prefix}"/></plugin>"#)
}

#[test]
fn several_are_on() {
    let blocks = format!("{SOCKET}{COMMAND}");
    for names in ["socket command", "socket,command", " socket ,\tcommand, socket"] {
        let text = text(names, &blocks);
        assert_eq!(config(&text).plugins_on, [PluginName::Socket, PluginName::Command], "{names}");
        assert_eq!(messages(&text), [""; 0], "{names}");
    }
    assert_eq!(config(&text("command", &blocks)).plugins_on, [PluginName::Command]);
    let second =
        text("command", &blocks).replace("</sersync>", "<plugin start=\"true\" name=\"socket\"/></sersync>");
    assert_eq!(config(&second).plugins_on, [PluginName::Command]);
    assert_eq!(messages(&second), ["another `<plugin>` in `<sersync>`; it is ignored"]);
    let first_off =
        text("command", &blocks).replace("<plugin start", "<plugin start=\"false\"/><plugin start");
    assert!(config(&first_off).plugins_on.is_empty());
}

#[test]
fn what_all_have_in_common() {
    let plain = plugin(SOCKET);
    assert_eq!(
        (plain.user, plain.call.batch, plain.call.format, plain.call.timeout),
        (None, false, Format::Original, 60)
    );
    let full = SOCKET.replace(
        "name=\"socket\"",
        r#"name="socket" user="web-1.x_$" batch="true" format="json" timeout="3600""#,
    );
    let full = plugin(&full);
    assert_eq!((full.user.as_deref(), full.call.batch), (Some("web-1.x_$"), true));
    assert_eq!((full.call.format, full.call.timeout), (Format::Json, 3600));
    let long = "a".repeat(33);
    for wrong in [
        "user=\"\"",
        "user=\"root\"",
        "user=\"0\"",
        "user=\"000\"",
        "user=\"-x\"",
        "user=\"a b\"",
        "user=\"é\"",
        &format!("user=\"{long}\""),
        "format=\"xml\"",
        "format=\"\"",
        "timeout=\"0\"",
        "timeout=\"3601\"",
        "timeout=\"x\"",
    ] {
        let block = SOCKET.replace("name=\"socket\"", &format!("name=\"socket\" {wrong}"));
        assert_eq!((messages(&off(&block)).len(), config(&off(&block)).plugins.len()), (1, 0), "{wrong}");
        assert!(parse(text("socket", &block).as_bytes()).config.is_none(), "{wrong}");
        assert!(parse_for_plugin(off(&block).as_bytes(), PluginName::Socket).config.is_none(), "{wrong}");
    }
}

#[test]
fn what_counts_only_for_others() {
    let shell = SOCKET.replace("name=\"socket\"", "name=\"socket\" allowShell=\"true\"");
    assert_eq!(messages(&off(&shell)), ["`allowShell` counts only for the plugin `command`"]);
    let cdn = shipped().replace("<plugin name=\"refreshCDN\"", "<plugin name=\"refreshCDN\" format=\"json\"");
    assert_eq!(messages(&cdn), ["refreshCDN has only the format of its CDN"]);
    assert_eq!(config(&cdn).plugins.len(), 3);
}

#[test]
fn commands() {
    let PluginKind::Command(command) = plugin(COMMAND).kind else { panic!("a command") };
    let CommandPlugin { prefix, suffix, ignore_error, include, allow_shell } = &command;
    assert_eq!(
        (&prefix[..], &suffix[..]),
        (&["/opt/hook".to_owned(), "-x".to_owned()][..], &["a".to_owned(), "b c".to_owned()][..])
    );
    assert!(!ignore_error && include.is_empty() && !allow_shell && !command.runs_what_changed());
    for prefix in ["", " ", "''", "'a"] {
        assert_eq!(messages(&off(&self::command(prefix))).len(), 1, "{prefix}");
        assert!(parse(text("command", &self::command(prefix)).as_bytes()).config.is_none(), "{prefix}");
    }
}

#[test]
fn a_command_that_would_run_what_changed_stays_off() {
    let text = text("socket command", &format!("{SOCKET}{}", command("/bin/sh")));
    let config = config(&text);
    assert_eq!(config.plugins_on, [PluginName::Socket], "mirroring and the others go on");
    let blocks: Vec<_> = config.plugins.iter().map(|plugin| plugin.kind.name()).collect();
    assert_eq!(blocks, [PluginName::Socket, PluginName::Command]);
    let PluginKind::Command(command) = &config.plugins[1].kind else { panic!("a command") };
    assert!(command.runs_what_changed());

    let allowed = text.replace("<plugin name=\"command\"", "<plugin name=\"command\" allowShell=\"true\"");
    assert_eq!(self::config(&allowed).plugins_on, [PluginName::Socket, PluginName::Command]);
    assert_eq!(messages(&allowed), [""; 0]);

    insta::assert_snapshot!(render(&parse(text.as_bytes()), "confxml.xml"), @r#"
    warning: `/bin/sh` would execute each changed file
     --> confxml.xml:3:130
      |
    3 | .../></localpath></plugin><plugin name="command"><param prefix="/bin/sh"/></plugin></head>
      |                                                                 ^^^^^^^
      |
      = help: name a program that takes the path as its argument, or set allowShell="true"; the plugin stays off, mirroring goes on
    "#);
    let alone = parse_for_plugin(text.as_bytes(), PluginName::Command);
    insta::assert_snapshot!(render(&alone, "confxml.xml"), @r#"
    error: `/bin/sh` would execute each changed file
     --> confxml.xml:3:130
      |
    3 | .../></localpath></plugin><plugin name="command"><param prefix="/bin/sh"/></plugin></head>
      |                                                                 ^^^^^^^
      |
      = help: name a program that takes the path as its argument, or set allowShell="true"
    "#);
    assert!(alone.config.is_none());
    assert!(parse_for_plugin(allowed.as_bytes(), PluginName::Command).config.is_some());
    assert_eq!(messages(&off(&self::command("/bin/sh"))), [""; 0], "nothing is said while it is off");
}

#[test]
fn addresses_of_web_services() {
    for (attributes, url, warnings) in [
        (r#"url="http://h/changed" port="80""#, "http://h/changed", 0),
        (r#"url="h/changed" port="8080""#, "http://h:8080/changed", 0),
        (r#"url="https://h:8443/x" port="8443" ca="/etc/ca.pem""#, "https://h:8443/x", 0),
        (r#"url="https://h:8443/x" port="443""#, "https://h:8443/x", 1),
        (r#"url="http://h/x?a=1&amp;b=2""#, "http://h/x?a=1&b=2", 0),
        (r#"url="http://h/x" ca="/etc/ca.pem""#, "http://h/x", 1),
    ] {
        let text = off(&http(attributes));
        let PluginKind::Http(HttpPlugin { watch, url: whole, ca }) = plugin(&http(attributes)).kind else {
            panic!("http")
        };
        assert_eq!((watch.to_str(), whole.as_str()), (Some("/w"), url));
        assert_eq!(ca.is_some(), attributes.contains("ca="));
        assert_eq!(messages(&text).len(), warnings, "{:?}", messages(&text));
    }
    for attributes in [
        "",
        r#"port="80""#,
        r#"url="""#,
        r#"url="ftp://h/""#,
        r#"url="http://u:p@h/""#,
        r#"url="http://h/#a""#,
        r#"url="http://h/" port="0""#,
        r#"url="http://h/" port="""#,
        r#"url="https://h/" ca="ca.pem""#,
        r#"url="http://h/&#10;x""#,
    ] {
        assert_eq!(messages(&off(&http(attributes))).len(), 1, "{attributes}");
        assert!(parse(text("http", &http(attributes)).as_bytes()).config.is_none(), "{attributes}");
    }
}

#[test]
fn a_watch_of_its_own() {
    let socket = |watch: &str| SOCKET.replace("/w", watch);
    for watch in ["/w", "/w/", "/w///", "//w", "/./w/."] {
        assert_eq!(messages(&text("socket", &socket(watch))), [""; 0], "{watch}");
    }
    let two = text("socket", &socket("/v/")).replace(
        "<localpath watch=\"/w\"",
        "<localpath watch=\"/v\"><remote ip=\"h\" name=\"m\"/></localpath><localpath watch=\"/w\"",
    );
    assert_eq!(messages(&two), [""; 0], "any <localpath> will do");
    assert_eq!(messages(&off(&socket("/other"))), [""; 0], "off");
    let other = text("socket", &socket("/other"));
    assert!(parse(other.as_bytes()).config.is_some());
    insta::assert_snapshot!(render(&parse(other.as_bytes()), "confxml.xml"), @r#"
    warning: the plugin's watch takes the place of the first <localpath watch> (as in sersync 2.5.4)
     --> confxml.xml:3:41
      |
    3 | <plugin name="socket"><localpath watch="/other"><deshost ip="h" port="1"/></localpath></plugin></head>
      |                                         ^^^^^^
      |
      = help: write the same directory in both
    "#);
}

#[test]
fn what_is_wrong_is_shown() {
    let shown = |text: &str| render(&parse(text.as_bytes()), "confxml.xml").trim_end().to_owned();
    insta::assert_snapshot!(shown(&text("socket, cdn", SOCKET)), @r#"
    error: there is no plugin `cdn`
     --> confxml.xml:2:36
      |
    2 | <plugin start="true" name="socket, cdn"/></sersync>
      |                                    ^^^
      |
      = help: the plugins are refreshCDN, socket, http and command
    "#);
    insta::assert_snapshot!(shown(&text("socket,command", SOCKET)), @r#"
    error: the plugin `command` is on, but there is no block for it
     --> confxml.xml:2:35
      |
    2 | <plugin start="true" name="socket,command"/></sersync>
      |                                   ^^^^^^^
      |
      = help: write <plugin name="command"> below <head>
    "#);
    insta::assert_snapshot!(shown(&text("http", &http(r#"url="https://u:p@h/""#))), @r#"
    error: `https://u:p@h/` is no address of a web service
     --> confxml.xml:3:57
      |
    3 | <plugin name="http"><localpath watch="/w"><deshost url="https://u:p@h/"/></localpath></plugin></head>
      |                                                         ^^^^^^^^^^^^^^
      |
      = help: user and password cannot stand in it; they would end up in logs
    "#);
    insta::assert_snapshot!(shown(&off(&SOCKET.replace("name=\"socket\"", "name=\"socket\" user=\"root\" format=\"xml\""))), @r#"
    warning: a plugin does not run as root
     --> confxml.xml:2:29
      |
    2 | <plugin name="socket" user="root" format="xml"><localpath watch="/w"><deshost ip="h" port="1"/></localpath></plugin></head>
      |                             ^^^^
      |
      = help: create an account for it, or leave `user` out: then it has a user id of its own

    warning: there is no format `xml`
     --> confxml.xml:2:43
      |
    2 | <plugin name="socket" user="root" format="xml"><localpath watch="/w"><deshost ip="h" port="1"/></localpath></plugin></head>
      |                                           ^^^
      |
      = help: write `text` or `json`
    "#);
}

#[test]
fn alone() {
    let bare = format!("<head>{SOCKET}</head>");
    let parsed = parse_for_plugin(bare.as_bytes(), PluginName::Socket);
    assert_eq!(render(&parsed, "c"), "");
    let config = parsed.config.unwrap();
    assert_eq!(config.plugins_on, [PluginName::Socket]);
    assert_eq!(config.plugins.len(), 1);
    assert_eq!(config.trees, [Tree { watch: "/w".into(), remotes: Vec::new() }]);
    assert_eq!((config.crontab, config.fail_log.path), (None, None));

    // What mirrors is not looked at.
    let odd = text("cdn", SOCKET).replace("name=\"m\"", "name=\"\"").replace(
        "</sersync>",
        "<rsync program=\"x\"><commonParams params=\"-n\"/></rsync><crontab start=\"true\"/></sersync>",
    );
    assert!(parse(odd.as_bytes()).config.is_none());
    let parsed = parse_for_plugin(odd.as_bytes(), PluginName::Socket);
    assert_eq!(render(&parsed, "c"), "");
    assert_eq!(parsed.config.unwrap().plugins_on, [PluginName::Socket]);
    // What is said to every role is.
    let filtered =
        bare.replace("<head>", "<head><filter start=\"true\"><exclude expression=\"a.*\"/></filter>");
    assert_eq!(parse_for_plugin(filtered.as_bytes(), PluginName::Socket).config.unwrap().filter.len(), 1);

    let missing = parse_for_plugin(bare.as_bytes(), PluginName::Http);
    insta::assert_snapshot!(render(&missing, "confxml.xml"), @r#"
    error: there is no block for the plugin `http`
     --> confxml.xml:1:2
      |
    1 | <head><plugin name="socket"><localpath watch="/w"><deshost ip="h" port="1"/></localpath></plugin></head>
      |  ^^^^
      |
      = help: write <plugin name="http"> below <head>
    "#);
    assert!(missing.config.is_none());
}

#[test]
fn a_command_alone_watches_the_first_root() {
    let two = format!(
        "<head><sersync><localpath watch=\"/a/\"/><localpath watch=\"/b\"/></sersync>{COMMAND}</head>"
    );
    let config = parse_for_plugin(two.as_bytes(), PluginName::Command).config.unwrap();
    assert_eq!(config.trees, [Tree { watch: "/a".into(), remotes: Vec::new() }]);
    for without in ["", "<sersync/>", "<sersync><localpath watch=\"\"/></sersync>"] {
        let text = format!("<head>{without}{COMMAND}</head>");
        let parsed = parse_for_plugin(text.as_bytes(), PluginName::Command);
        assert_eq!((parsed.diagnostics.len(), parsed.config.is_some()), (1, false), "{without}");
    }
}

#[test]
fn each_shipped_block_runs_alone() {
    for name in [PluginName::Socket, PluginName::RefreshCdn] {
        let parsed = parse_for_plugin(shipped().as_bytes(), name);
        assert_eq!(render(&parsed, "c"), "");
        assert_eq!(parsed.config.unwrap().plugins_on, [name]);
    }
}

#[test]
fn a_password_without_end() {
    let block = format!(
        "<plugin name=\"refreshCDN\"><localpath watch=\"/w\"><cdninfo domainname=\"h\" port=\"80\" username=\"u\" \
         passwd=\"{}\"/><sendurl base=\"http://h\"/></localpath></plugin>",
        "p".repeat(257)
    );
    let text = format!("<head>{block}</head>");
    assert!(parse_for_plugin(text.as_bytes(), PluginName::RefreshCdn).config.is_none());
    assert!(parse_for_plugin(text.replace("ppp", "p").as_bytes(), PluginName::RefreshCdn).config.is_some());
}
