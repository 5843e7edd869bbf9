//! `<privileges>` and `<limits>`: what is taken, what is refused, and what people get to see.

use super::super::{LimitsTable, Privileges, RoleLimits, WatcherKind, render};
use super::tests::{broken, config, messages};
use super::{Severity, parse};
use crate::confine::{Demand, IoPriority};

fn head(inner: &str) -> String {
    broken("</head>", &format!("{inner}</head>"))
}

fn privileges(attributes: &str) -> Privileges {
    config(&head(&format!("<privileges {attributes}/>"))).privileges
}

fn limits(inner: &str) -> LimitsTable {
    config(&head(inner)).limits
}

#[test]
fn which_watcher() {
    for (inotify, expected) in [
        ("<inotify/>", WatcherKind::Inotify),
        ("<inotify watcher=\"inotify\"/>", WatcherKind::Inotify),
        ("<inotify watcher=\"auto\"/>", WatcherKind::Inotify),
        ("<inotify watcher=\"fanotify\"><modify start=\"true\"/></inotify>", WatcherKind::Fanotify),
    ] {
        assert_eq!(config(&head(inotify)).watcher, expected, "{inotify}");
    }
    // What costs a capability is not guessed at, and what does without it no less.
    for wrong in ["Fanotify", "", "fanotify "] {
        let text = head(&format!("<inotify watcher=\"{wrong}\"/>"));
        let expected = [format!("`{wrong}` is none of `inotify`, `auto` and `fanotify`")];
        assert_eq!(messages(&text), expected);
        assert!(parse(text.as_bytes()).config.is_none());
    }
}

#[test]
fn nothing_said() {
    let config = config(&head("<!-- nothing -->"));
    assert_eq!(config.privileges, Privileges { first_uid: None, read_all: true, sandbox: None });
    assert_eq!(config.limits, LimitsTable::default());
    for role in ["watcher", "syncer", "plugin", "command"] {
        assert_eq!(limits(&format!("<limits role=\"{role}\"/>")), LimitsTable::default());
    }
}

#[test]
fn each_attribute_of_privileges() {
    assert_eq!(privileges(r#"sandbox="required""#).sandbox, Some(Demand::Required));
    assert_eq!(privileges(r#"sandbox="best-effort""#).sandbox, Some(Demand::BestEffort));
    assert!(privileges(r#"readAll="true""#).read_all);
    let own = privileges(r#"firstUid="70000" readAll="false" sandbox="required""#);
    let expected = Privileges { first_uid: Some(70_000), read_all: false, sandbox: Some(Demand::Required) };
    assert_eq!(own, expected);
    assert!(!privileges(r#"readAll="yes""#).read_all);
    assert_eq!(messages(&head(r#"<privileges readAll="yes"/>"#)), ["`yes` counts as false"]);
}

#[test]
fn each_attribute_of_limits() {
    let all = r#"memory="1G" memoryHigh="512M" pids="8" files="64" cpu="60" cpuWeight="1"
        ioWeight="10000" nice="19" ionice="be:6""#;
    let expected = RoleLimits {
        memory: Some(1 << 30),
        memory_high: Some(512 << 20),
        pids: 8,
        files: 64,
        cpu: Some(60),
        cpu_weight: Some(1),
        io_weight: Some(10_000),
        nice: 19,
        ionice: Some(IoPriority::BestEffort(6)),
    };
    let text = head(&format!("<limits role=\"syncer\" {all}/>"));
    assert_eq!(messages(&text), [""; 0]);
    assert_eq!(config(&text).limits, LimitsTable { syncer: expected, ..LimitsTable::default() });
}

#[test]
fn each_role_has_its_own() {
    let text = r#"<limits role="command" nice="4"/><limits role="plugin" nice="3"/>
        <limits role="syncer" nice="2"/><limits role="watcher" nice="1"/>"#;
    let table = limits(text);
    let nice = [&table.watcher, &table.syncer, &table.plugin, &table.command].map(|limits| limits.nice);
    assert_eq!(nice, [1, 2, 3, 4]);
    let default = LimitsTable::default();
    assert_eq!(RoleLimits { nice: 0, ..table.syncer }, default.syncer, "the rest is left as it was");
}

#[test]
fn sizes() {
    for (text, expected) in [
        ("67108864", Some(64 << 20)),
        ("65536K", Some(64 << 20)),
        ("64M", Some(64 << 20)),
        (" 3G ", Some(3 << 30)),
        ("1024G", Some(1 << 40)),
        ("0", None),
        ("none", None),
    ] {
        let table = limits(&format!("<limits role=\"syncer\" memory=\"{text}\"/>"));
        assert_eq!(table.syncer.memory, expected, "{text}");
    }
    let none = limits(r#"<limits role="syncer" memoryHigh="none" cpu="0"/>"#).syncer;
    assert_eq!((none.memory_high, none.cpu), (None, None));
    assert_eq!(limits(r#"<limits role="syncer" cpu="none"/>"#).syncer.cpu, None);
}

#[test]
fn disk_priorities() {
    for (text, expected) in
        [("be:0", IoPriority::BestEffort(0)), ("be:7", IoPriority::BestEffort(7)), ("idle", IoPriority::Idle)]
    {
        let table = limits(&format!("<limits role=\"plugin\" ionice=\"{text}\"/>"));
        assert_eq!(table.plugin.ionice, Some(expected), "{text}");
    }
}

/// The least that is taken, and one less than that.
#[test]
fn bounds() {
    for (role, name, least, below, most, above) in [
        ("watcher", "memory", "16M", "16383K", "1024G", "1025G"),
        ("syncer", "memory", "64M", "67108863", "1024G", "1099511627777"),
        ("plugin", "memoryHigh", "16M", "1", "1024G", "18446744073709551615G"),
        ("command", "memory", "16M", "16M6", "1024G", "1T"),
        ("watcher", "pids", "1", "0", "4096", "4097"),
        ("syncer", "pids", "8", "7", "4096", "none"),
        ("plugin", "pids", "4", "3", "4096", "4294967296"),
        ("command", "pids", "1", "0", "4096", "-1"),
        ("watcher", "files", "16", "15", "65536", "65537"),
        ("syncer", "files", "64", "63", "65536", "none"),
        ("syncer", "cpu", "1", "-1", "2592000", "2592001"),
        ("command", "cpuWeight", "1", "0", "10000", "10001"),
        ("plugin", "ioWeight", "1", "", "10000", "10001"),
        ("watcher", "nice", "0", "-1", "19", "20"),
        ("watcher", "ionice", "be:0", "be:", "be:7", "be:8"),
        ("watcher", "ionice", "idle", "rt:4", "idle", "be:07"),
        ("watcher", "memory", "none", "", "0", "2g"),
    ] {
        for (value, is_good) in [(least, true), (below, false), (most, true), (above, false)] {
            let parsed = parse(head(&format!("<limits role=\"{role}\" {name}=\"{value}\"/>")).as_bytes());
            let errors = parsed.diagnostics.iter().filter(|found| found.severity == Severity::Error).count();
            let case = format!("{role} {name}={value}: {:?}", parsed.diagnostics);
            assert_eq!((parsed.config.is_some(), errors), (is_good, usize::from(!is_good)), "{case}");
        }
    }
}

#[test]
fn what_does_not_count_is_said() {
    for (inner, message) in [
        (
            r#"<limits role="watcher" nice="1"/><limits role="watcher" nice="99"/>"#,
            "another `<limits>` of the role `watcher`; it is ignored",
        ),
        (
            r#"<limits role="plugin" cpu="60"/>"#,
            "`cpu` counts only for the role `syncer`: it is the CPU time of one transfer",
        ),
        (r#"<limits role="watcher" memoryHigh="5G"/>"#, "`memoryHigh` above `memory` never counts"),
        (r#"<limits role="syncer" memry="1G"/>"#, "`<limits>` has no attribute `memry`; it is ignored"),
        (r#"<privileges readall="false"/>"#, "`<privileges>` has no attribute `readall`; it is ignored"),
    ] {
        let text = head(inner);
        assert_eq!(messages(&text), [message], "{text}");
        assert!(parse(text.as_bytes()).config.is_some(), "{text}");
    }
    let first = limits(r#"<limits role="watcher" nice="1"/><limits role="watcher" nice="99"/>"#).watcher;
    assert_eq!(first.nice, 1);
    assert_eq!(limits(r#"<limits role="plugin" cpu="60"/>"#), LimitsTable::default());
}

#[test]
fn a_plugin_alone_has_limits_too() {
    let text = head(
        r#"<plugin name="socket"><localpath watch="/w"><deshost ip="h" port="1"/></localpath></plugin>
        <limits role="plugin" nice="7"/><privileges sandbox="required"/>"#,
    );
    let parsed = super::parse_for_plugin(text.as_bytes(), super::super::PluginName::Socket);
    let config = parsed.config.unwrap();
    assert_eq!((config.limits.plugin.nice, config.privileges.sandbox), (7, Some(Demand::Required)));
}

/// A wrapper in place of rsync, for which the sandbox is off, is not run before there is a change.
#[test]
fn without_a_sandbox_no_rsync_waits_unless_it_is_said() {
    let idle = |inner: &str| config(&head(inner)).warm;
    assert_eq!(idle("<warm/>"), Some(60));
    assert_eq!(idle(r#"<sandbox start="true"/>"#), Some(60));
    assert_eq!(idle(r#"<sandbox start="false"/>"#), None);
    assert_eq!(idle(r#"<sandbox start="false"/><warm idle="5"/>"#), None);
    assert_eq!(idle(r#"<sandbox start="false"/><warm start="true" idle="5"/>"#), Some(5));
    assert_eq!(idle(r#"<warm start="false"/>"#), None);
}

#[test]
#[allow(clippy::too_many_lines, reason = "the picture is as long as it is")]
fn shown() {
    let text = head(
        r#"
<privileges sandbox="Required"/>
<limits memory="1G"/>
<limits role="sincer"/>
<limits role="rsync"/>
<limits role="syncer" memory="32M" nice="-5" ionice="rt:0"/>
"#,
    );
    insta::assert_snapshot!(render(&parse(text.as_bytes()), "confxml.xml").trim_end(), @r#"
    error: `Required` is neither `required` nor `best-effort`
     --> confxml.xml:2:22
      |
    2 | <privileges sandbox="Required"/>
      |                      ^^^^^^^^
      |
      = help: `required`: nothing starts without all of the sandbox; `best-effort`: a warning

    error: `<limits>` has no attribute `role`
     --> confxml.xml:3:2
      |
    3 | <limits memory="1G"/>
      |  ^^^^^^
      |
      = help: write <limits role="syncer" memory="2G"/>

    error: there is no role `sincer`
     --> confxml.xml:4:15
      |
    4 | <limits role="sincer"/>
      |               ^^^^^^
      |
      = help: did you mean `syncer`?

    error: there is no role `rsync`
     --> confxml.xml:5:15
      |
    5 | <limits role="rsync"/>
      |               ^^^^^
      |
      = help: the roles are watcher, syncer, plugin and command

    error: `32M` is no size from 64M to 1024G
     --> confxml.xml:6:31
      |
    6 | <limits role="syncer" memory="32M" nice="-5" ionice="rt:0"/>
      |                               ^^^
      |
      = help: write memory="2G": bytes, or a number with K, M or G; `none` or `0` for no limit

    error: only a lower priority can be asked for
     --> confxml.xml:6:42
      |
    6 | <limits role="syncer" memory="32M" nice="-5" ionice="rt:0"/>
      |                                          ^^
      |
      = help: write nice="0" to nice="19"

    error: `rt:0` is no priority for the disk
     --> confxml.xml:6:54
      |
    6 | <limits role="syncer" memory="32M" nice="-5" ionice="rt:0"/>
      |                                                      ^^^^
      |
      = help: write `be:0` (first) to `be:7` (last), or `idle`
    "#);
}
