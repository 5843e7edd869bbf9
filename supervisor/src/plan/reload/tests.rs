//! Which elements are carried out by whom, which take a restart, and which remote is which.

use std::path::Path;

use common::config::parse;
use tempfile::TempDir;

use super::*;

/// Two trees, three remotes, a plugin.
const TEXT: &str = r#"<head version="2.5">
<debug start="false"/>
<filter start="true"><exclude expression="tmp/.*"/></filter>
<inotify><delete start="true"/><createFile start="false"/></inotify>
<sersync>
<localpath watch="@/a"><remote ip="127.0.0.1" name="one"/><remote ip="127.0.0.1" name="two"/></localpath>
<localpath watch="@/b"><remote ip="127.0.0.1" name="three"/></localpath>
<rsync><commonParams params="-artz"/><userDefinedPort start="true" port="1873"/></rsync>
<failLog path="" timeToExecute="60"/>
<plugin start="true" name="socket"/>
</sersync>
<plugin name="socket"><localpath watch="@/a"><deshost ip="127.0.0.1" port="8009"/></localpath></plugin>
</head>"#;

struct Ground {
    directory: TempDir,
    plan: Plan,
}

impl Ground {
    fn new() -> Ground {
        let directory = tempfile::tempdir().unwrap();
        for tree in ["a", "b", "c"] {
            std::fs::create_dir(directory.path().join(tree)).unwrap();
        }
        let plan = Plan::new(config(directory.path(), TEXT), None).unwrap();
        Ground { directory, plan }
    }

    fn reloaded(&self, edits: &[(&str, &str)]) -> Result<Reloaded, Vec<String>> {
        let text = edits.iter().fold(TEXT.to_owned(), |text, (from, to)| {
            assert!(text.contains(from), "{from} is not in the config");
            text.replace(from, to)
        });
        self.plan.reloaded(config(self.directory.path(), &text), false)
    }
}

fn config(directory: &Path, text: &str) -> Config {
    let text = text.replace('@', &directory.display().to_string());
    let parsed = parse(text.as_bytes());
    parsed.config.unwrap_or_else(|| panic!("{:?}", parsed.diagnostics))
}

/// Added, removed, changed, kept; whether the watcher restarts; plugins that do.
type Counts = (usize, usize, usize, usize, bool, usize);

fn counts(it: Summary) -> Counts {
    (it.added, it.removed, it.changed, it.kept, it.watcher, it.plugins)
}

#[test]
fn each_change_concerns_those_who_were_told_otherwise() {
    let ground = Ground::new();
    let two = r#"<remote ip="127.0.0.1" name="two"/>"#;
    let rows: [(&str, &str, Counts); 12] = [
        ("-artz", "-artz", (0, 0, 0, 3, false, 0)),
        ("tmp/.*", "temp/.*", (0, 0, 3, 0, true, 0)),
        ("<createFile start=\"false\"", "<createFile start=\"true\"", (0, 0, 0, 3, true, 0)),
        ("<delete start=\"true\"", "<delete start=\"false\"", (0, 0, 3, 0, true, 0)),
        ("<delete start=\"true\"", "<delete start=\"true\" guard=\"all\"", (0, 0, 0, 3, false, 0)),
        ("<debug start=\"false\"", "<debug start=\"true\"", (0, 0, 3, 0, true, 1)),
        ("timeToExecute=\"60\"", "timeToExecute=\"7\"", (0, 0, 0, 3, false, 0)),
        ("port=\"8009\"", "port=\"8010\"", (0, 0, 0, 3, false, 1)),
        ("name=\"two\"", "name=\"two\" bwlimit=\"9\"", (0, 0, 1, 2, false, 0)),
        ("-artz", "-art", (0, 0, 3, 0, false, 0)),
        // Plugins name the remotes.
        (two, "", (0, 1, 0, 2, false, 1)),
        ("name=\"two\"", "name=\"four\"", (1, 1, 0, 2, false, 1)),
    ];
    for (from, to, expected) in rows {
        let it = ground.reloaded(&[(from, to)]).unwrap();
        assert_eq!(counts(it.summary), expected, "{from} {to}");
        assert_eq!(it.summary.same, from == to, "{from} {to}");
        let keeper = expected.0 + expected.1 > 0;
        assert_eq!(it.reload.replaced.contains(&Role::Keeper), keeper, "{from} {to}");
        assert_eq!(it.reload.replaced.contains(&Role::Watcher), expected.4, "{from} {to}");
        assert_eq!(it.reload.rules.filter.is_some(), from.contains("tmp"), "{from} {to}");
    }
    let it = ground.reloaded(&[("timeToExecute=\"60\"", "timeToExecute=\"7\"")]).unwrap();
    assert_eq!(it.reload.rules.sweep, Duration::from_secs(420));
    assert_eq!(it.reload.timeouts.len(), 1);
}

#[test]
fn what_takes_a_restart_is_named_all_at_once() {
    let ground = Ground::new();
    let rows = [
        ("<debug", "<host hostip=\"h\" port=\"1\"/><debug", "<host>"),
        ("<rsync>", "<rsync program=\"/usr/bin/rsync\">", "<rsync program>"),
        ("<failLog path=\"\"", "<failLog path=\"/tmp/f\"", "<failLog path>"),
        ("<debug", "<privileges readAll=\"false\"/><debug", "<privileges>"),
        ("<debug", "<limits role=\"syncer\" pids=\"9\"/><debug", "<limits>"),
        ("<inotify>", "<inotify watcher=\"fanotify\">", "<inotify watcher>"),
        ("<debug", "<sandbox start=\"false\"/><debug", "<sandbox>"),
        ("<debug", "<state start=\"false\"/><debug", "<state>"),
        ("<debug", "<log files=\"true\"/><debug", "<log>"),
        ("<plugin start=\"true\"", "<plugin start=\"false\"", "<plugin start name>"),
        (
            "<plugin name=\"socket\"",
            "<plugin name=\"socket\" user=\"daemon\"",
            "<plugin name=\"socket\" user>",
        ),
        ("watch=\"@/b\"", "watch=\"@/c\"", "/b\">: a change takes a restart of the supervisor is missing"),
        ("watch=\"@/b\"", "watch=\"@/c\"", "/c\">: a change takes a restart of the supervisor is new"),
        ("name=\"one\"", "name=\"/one\" ssh=\"true\"", "<ssh>"),
    ];
    for (from, to, element) in rows {
        let Err(lines) = ground.reloaded(&[(from, to)]) else {
            // Where an element stands is for the parser to say; then it changes nothing.
            panic!("{element} is carried out");
        };
        assert!(lines.iter().any(|line| line.contains(element)), "{element}: {lines:?}");
    }
    let both = [("<debug", "<sandbox start=\"false\"/><debug"), ("watch=\"@/b\"", "watch=\"@/c\"")];
    assert_eq!(ground.reloaded(&both).unwrap_err().len(), 3);
}

#[test]
fn remotes_keep_their_ids() {
    let ground = Ground::new();
    let before = ground.plan.keep_slice(Confinement::none()).remotes;
    // A new one in the first tree, and the trees change their places in the file.
    let new = r#"<remote ip="127.0.0.1" name="new"/><remote ip="127.0.0.1" name="two""#;
    let it = ground.reloaded(&[(r#"<remote ip="127.0.0.1" name="two""#, new)]).unwrap();
    let name = |plan: &Plan, id| plan.remote(RemoteId(id)).map(|(_, it)| it.module.clone());
    let names = |plan: &Plan| (0..4).map(|id| name(plan, id)).collect::<Vec<_>>();
    let some = |name: &str| Some(name.into());
    assert_eq!(names(&it.plan), [some("one"), some("two"), some("three"), some("new")]);
    assert_eq!(it.reload.added.len(), 1);
    assert_eq!(
        (it.reload.added[0].tree, it.reload.added[0].remote.label.as_str()),
        (TreeId(0), "127.0.0.1::new")
    );
    let after = it.plan.keep_slice(Confinement::none()).remotes;
    assert_eq!(after[..3], before[..]);

    // One goes: its id is nobody's, and what is kept of it is found by nobody.
    let ground = Ground { plan: it.plan, ..ground };
    let gone = ground.reloaded(&[("<remote ip=\"127.0.0.1\" name=\"two\"/>", "")]).unwrap();
    assert_eq!(names(&gone.plan), [some("one"), None, some("three"), None]);
    assert_eq!(gone.reload.remotes, [Fate::Kept, Fate::Removed, Fate::Kept, Fate::Removed]);
    let keys = gone.plan.keep_slice(Confinement::none()).remotes;
    assert_eq!((&keys[0], &keys[2]), (&before[0], &before[2]));
    assert!(keys[1] != keys[3] && !after.contains(&keys[1]) && !after.contains(&keys[3]));
    assert!(gone.plan.subject(Role::Syncer(RemoteId(1), crate::core::Lane::Batch)).is_none());

    // It comes back, as a new one.
    let ground = Ground { plan: gone.plan, ..ground };
    let back = ground.reloaded(&[]).unwrap();
    assert_eq!(name(&back.plan, 4), some("two"));
    assert_eq!(back.plan.keep_slice(Confinement::none()).remotes[4], before[1]);
    assert_eq!(counts(back.summary), (1, 0, 0, 2, false, 1));
}

#[test]
fn trees_may_change_their_places() {
    let ground = Ground::new();
    let (a, b) = (
        r#"<localpath watch="@/a"><remote ip="127.0.0.1" name="one"/><remote ip="127.0.0.1" name="two"/></localpath>"#,
        r#"<localpath watch="@/b"><remote ip="127.0.0.1" name="three"/></localpath>"#,
    );
    let it = ground.reloaded(&[(a, "<!--->"), (b, &format!("{b}{a}")), ("<!--->", "")]).unwrap();
    assert!(it.summary.same);
    assert_eq!(it.reload.remotes, [Fate::Kept, Fate::Kept, Fate::Kept]);
    // A root that is lost at the moment is waited for all the same.
    std::fs::remove_dir(ground.directory.path().join("b")).unwrap();
    assert!(ground.reloaded(&[]).unwrap().summary.same);
}

/// Nothing in the file tells them apart but their order.
#[test]
fn twins_go_by_their_order() {
    let ground = Ground::new();
    let twins = r#"<remote ip="127.0.0.1" name="one"/><remote ip="127.0.0.1" name="one" bwlimit="5"/>"#;
    let it = ground.reloaded(&[(r#"<remote ip="127.0.0.1" name="one"/>"#, twins)]).unwrap();
    assert_eq!(counts(it.summary), (1, 0, 0, 3, false, 1));
    let keys = it.plan.keep_slice(Confinement::none()).remotes;
    assert_ne!(keys[0], keys[3]);
    let ground = Ground { plan: it.plan, ..ground };
    assert!(ground.reloaded(&[(r#"<remote ip="127.0.0.1" name="one"/>"#, twins)]).unwrap().summary.same);
    // The first of them stays, whichever is left.
    let left = [("name=\"one\"/>", "name=\"one\" bwlimit=\"5\"/>")];
    assert_eq!(ground.reloaded(&left).unwrap().reload.remotes[3], Fate::Removed);
}
