//! `<state>`, the brake of `<delete>`, `<verify>` and `connections`: what is taken, what is refused.

use super::super::{DeleteGuard, GuardScope, Repair, StateConfig, Verify, render};
use super::tests::{broken, config, messages};
use super::{Severity, parse};
use crate::message::Comparison;

fn head(inner: &str) -> String {
    broken("</head>", &format!("{inner}</head>"))
}

fn sersync(inner: &str) -> String {
    broken("</sersync>", &format!("{inner}</sersync>"))
}

fn delete(attributes: &str) -> String {
    head(&format!("<inotify><delete {attributes}/></inotify>"))
}

fn connections(attribute: &str) -> String {
    broken("name=\"m\"", &format!("name=\"m\" {attribute}"))
}

/// An old file gets state and brake, three connections, and nothing else.
#[test]
fn nothing_said() {
    let config = config(&head("<!-- nothing -->"));
    assert_eq!(config.state, StateConfig { start: true, path: None });
    let guard = DeleteGuard { scope: GuardScope::Unseen, names: 1000, percent: 50 };
    assert_eq!(config.delete_guard, guard);
    assert_eq!((config.verify, config.trees[0].remotes[0].connections), (None, 3));
}

#[test]
fn state() {
    let state = |attributes: &str| config(&head(&format!("<state {attributes}/>"))).state;
    assert_eq!(state(r#"start="false""#), StateConfig { start: false, path: None });
    assert_eq!(state(r#"path="/srv/state""#), StateConfig { start: true, path: Some("/srv/state".into()) });
    assert_eq!(state(r#"path="""#), StateConfig::default());
}

#[test]
fn brake() {
    let guard = |attributes: &str| config(&delete(attributes)).delete_guard;
    let all = guard(r#"start="true" guard="all" maxDelete="0" maxDeletePercent="100""#);
    assert_eq!(all, DeleteGuard { scope: GuardScope::All, names: 0, percent: 100 });
    let off = DeleteGuard { scope: GuardScope::Off, ..DeleteGuard::default() };
    assert_eq!(guard(r#"guard="off""#), off);
    assert_eq!(guard(r#"guard="unseen" maxDelete="1000000000""#).names, 1_000_000_000);
    // The switch is read as ever, whatever stands beside it.
    let config = config(&delete(r#"start="false" guard="all""#));
    assert!(!config.switches.delete && config.delete_guard.scope == GuardScope::All);
}

#[test]
fn verify() {
    let verify = |attributes: &str| config(&sersync(&format!("<verify {attributes}/>"))).verify;
    let default = Verify { minutes: 1440, repair: Repair::On, by: Comparison::Times, budget: 10 };
    assert_eq!(verify(r#"start="true""#), Some(default));
    assert_eq!(verify(r#"schedule="5""#), None);
    assert_eq!(verify(r#"start="false" schedule="5""#), None);
    let other = Verify { minutes: 5, repair: Repair::Off, by: Comparison::Checksums, budget: 100 };
    let attributes = r#"start="true" schedule="5" repair="false" checksum="true" budget="100""#;
    assert_eq!(verify(attributes), Some(other));
    let odd = sersync(r#"<verify start="true" schedule="0"/>"#);
    assert_eq!(messages(&odd), ["`0` is no number from 1 to 525600"]);
    assert_eq!(config(&odd).verify, Some(default));
    // Without mirroring there is nothing to compare.
    let plugin =
        r#"<plugin name="socket"><localpath watch="/w"><deshost ip="h" port="1"/></localpath></plugin>"#;
    let text = sersync(r#"<verify start="true"/>"#).replace("</head>", &format!("{plugin}</head>"));
    let alone = super::parse_for_plugin(text.as_bytes(), super::super::PluginName::Socket);
    assert_eq!(alone.config.unwrap().verify, None);
}

#[test]
fn connections_of_one_remote() {
    let text =
        connections("connections=\"1\"").replace("</localpath>", "<remote ip=\"i\" name=\"n\"/></localpath>");
    let config = config(&text);
    let each: Vec<u8> = config.trees[0].remotes.iter().map(|remote| remote.connections).collect();
    assert_eq!(each, [1, 3]);
}

#[test]
fn what_is_refused() {
    for text in [
        head(r#"<state path="state"/>"#),
        head(r#"<state path="/"/>"#),
        head("<state path=\"/a&#10;b\"/>"),
        delete(r#"guard="ALL""#),
        delete(r#"guard="""#),
        delete(r#"maxDelete="-1""#),
        delete(r#"maxDelete="1000000001""#),
        delete(r#"maxDelete="""#),
        delete(r#"maxDeletePercent="101""#),
        delete(r#"maxDeletePercent="50%""#),
        sersync(r#"<verify start="true" budget="0"/>"#),
        sersync(r#"<verify start="true" budget="101"/>"#),
        connections("connections=\"0\""),
        connections("connections=\"4\""),
        connections("connections=\"\""),
    ] {
        let parsed = parse(text.as_bytes());
        let errors = parsed.diagnostics.iter().filter(|found| found.severity == Severity::Error).count();
        assert_eq!((errors, parsed.config.is_some()), (1, false), "{text}: {:?}", parsed.diagnostics);
    }
}

#[test]
fn what_does_not_count_is_said() {
    for (text, message) in [
        (head(r#"<state start="yes"/>"#), "`yes` counts as false"),
        (head(r#"<state dir="/x"/>"#), "`<state>` has no attribute `dir`; it is ignored"),
        (head("<verify/>"), "`<head>` holds no element `<verify>`; it is ignored"),
        (delete(r#"maxdelete="1""#), "`<delete>` has no attribute `maxdelete`; it is ignored"),
        (sersync(r#"<verify start="true" repair="no"/>"#), "`no` counts as false"),
    ] {
        assert_eq!(messages(&text), [message], "{text}");
        assert!(parse(text.as_bytes()).config.is_some(), "{text}");
    }
}

#[test]
fn shown() {
    let text = head(
        r#"
<inotify><delete guard="seen" maxDelete="1k"/></inotify>
<state path="/"/>
"#,
    );
    insta::assert_snapshot!(render(&parse(text.as_bytes()), "confxml.xml").trim_end(), @r#"
    error: `seen` is neither `off`, `unseen` nor `all`
     --> confxml.xml:2:25
      |
    2 | <inotify><delete guard="seen" maxDelete="1k"/></inotify>
      |                         ^^^^
      |
      = help: `unseen` holds deletions that nobody saw happen, `all` those that were seen too

    error: `1k` is no number from 0 to 1000000000
     --> confxml.xml:2:42
      |
    2 | <inotify><delete guard="seen" maxDelete="1k"/></inotify>
      |                                          ^^
      |
      = help: write maxDelete="number"

    error: this is no directory for the state alone
     --> confxml.xml:3:14
      |
    3 | <state path="/"/>
      |              ^
      |
      = help: write path="/var/lib/sersync", or leave it empty for the usual place
    "#);
}

/// It was told to be a file.
#[test]
fn a_relative_state_is_told_of_a_directory() {
    let parsed = parse(head(r#"<state path="relative"/>"#).as_bytes());
    let helps: Vec<_> = parsed.diagnostics.iter().map(|it| it.help.as_deref().unwrap_or_default()).collect();
    assert_eq!(helps, [r#"write path="/var/lib/sersync""#]);
}
