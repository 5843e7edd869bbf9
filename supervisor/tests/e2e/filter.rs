//! `-r` with `<filter>`: what it excludes is neither sent nor removed, whether or not a glob of
//! rsync could say it; everything else is mirrored. The same for live changes afterwards.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::fs;
use std::time::{Duration, Instant};

use crate::support::scene::{Scene, listing};
use crate::support::{Mirror, SOON, Setup, pause, wait_until};

/// Those that a glob could say, and those that none can: a count, and an alternative.
const FILTER: [&str; 4] =
    [r"(.*)\.gz", r"^cache/.*", r".*/v[0-9]{2,3}-tmp", r"(/data)?/(draft|note)s?\.(txt|md)"];

/// What is here and not excluded. `cache` itself is excluded: `cache/` matches.
const OURS: [&str; 12] = [
    "a.gzip=ours",
    "data/",
    "data/draft.txt.bak=ours",
    "data/notes.html=ours",
    "deep/",
    "deep/cache/",
    "deep/cache/f=ours",
    "deep/v1-tmp=ours",
    "deep/v1234-tmp=ours",
    "empty/",
    "v12-tmp=ours",
    "x.gz.txt=ours",
];

/// What is only there, and excluded, with the directories that hold it.
const THEIRS: [&str; 13] = [
    "b.gz=theirs",
    "cache/",
    "cache/f=theirs",
    "cache/sub/",
    "cache/sub/f=theirs",
    "data/notes.md=theirs",
    "deep/v12-tmp/",
    "deep/v12-tmp/inner=theirs",
    "gone/",
    "gone/deeper/",
    "gone/deeper/keep.gz=theirs",
    "gone/v999-tmp/",
    "gone/v999-tmp/inner=theirs",
];

/// What is only there, and not excluded.
const EXTRA: [&str; 6] = [
    "deep/cache/extra=theirs",
    "extra/",
    "extra/f=theirs",
    "gone/deeper/extra=theirs",
    "gone/v9999-tmp=theirs",
    "other=theirs",
];

/// Makes the files of `lines` by `write`; directories come with what they hold.
fn make<'a>(lines: &[&str], write: impl Fn(&str, &str) -> &'a Scene) {
    for (path, content) in lines.iter().filter_map(|line| line.split_once('=')) {
        write(path, content);
    }
}

/// Both sides before the start; here also lies what is excluded.
fn differing(setup: Setup) -> Scene {
    let scene = Scene::new(Mirror::new(setup.filter(&FILTER).flags(&["-r"])));
    make(&OURS, |path, content| scene.write(path, content));
    scene.mkdir("empty");
    for path in ["a.gz", "cache/mine", "cache/sub/mine", "deep/v123-tmp/f", "deep/v45-tmp", "data/draft.txt"]
    {
        scene.write(path, "excluded");
    }
    for lines in [&THEIRS[..], &EXTRA] {
        make(lines, |path, content| scene.write_there(path, content));
    }
    scene
}

/// Waits until the remote holds exactly `lines`.
fn wait_there(scene: &Scene, what: &str, lines: &[&[&str]]) {
    let mut expected: Vec<&str> = lines.concat();
    expected.sort_unstable();
    expected.dedup();
    let mut found = Vec::new();
    let end = Instant::now() + SOON;
    while Instant::now() < end {
        found = listing(&scene.mirror.replica(""));
        if found == expected {
            return;
        }
        pause(Duration::from_millis(10));
    }
    assert_eq!(found, expected, "{what}");
}

/// Live changes of every kind, of what is excluded and what is not.
fn change(scene: &Scene) {
    scene.write("cache/later", "x").write("deep/v77-tmp", "x").write("later.gz", "x").remove("a.gz");
    scene.write("data/later", "live").write("data/notes.txt", "x").remove("deep/v45-tmp");
    scene.write_outside("in/v88-tmp/f", "x").write_outside("in/f", "live").write_outside("in/g.gz", "x");
    scene.write_outside("in/cache/f", "live").move_in("in");
    // Excluded names that begin to travel, and one that ceases to.
    scene.write("turn.gz", "live").rename("turn.gz", "turned").rename("v12-tmp", "deep/v12-tmp.gz");
}

/// What [`change`] brings.
const LIVE: [&str; 6] =
    ["data/later=live", "in/", "in/cache/", "in/cache/f=live", "in/f=live", "turned=live"];

/// [`OURS`] after [`change`].
fn changed() -> Vec<&'static str> {
    OURS.into_iter().filter(|line| !line.starts_with("v12-tmp")).collect()
}

#[test]
fn what_is_excluded_is_neither_sent_nor_removed() {
    let mut scene = differing(Setup::plain());
    scene.mirror.run();
    wait_there(&scene, "a full sync", &[&OURS, &THEIRS]);
    change(&scene);
    scene.mirror.settle();
    wait_there(&scene, "live changes", &[&changed(), &THEIRS, &LIVE]);
    // A directory that is removed here takes along what is excluded in it, as ever, but only there.
    scene.remove("in");
    wait_there(&scene, "a directory removed", &[&changed(), &THEIRS, &["data/later=live", "turned=live"]]);
}

#[test]
fn with_delete_off_nothing_is_removed_at_all() {
    let mut scene = differing(Setup::plain().switch("delete", false));
    scene.mirror.run();
    wait_there(&scene, "a full sync", &[&OURS, &THEIRS, &EXTRA]);
    change(&scene);
    scene.mirror.settle();
    wait_until("the last change", SOON, || scene.mirror.replica("turned").exists());
    let settled = ["settle-1=settle-1"];
    wait_there(&scene, "live changes", &[&OURS, &THEIRS, &EXTRA, &LIVE, &settled]);
}

/// rsync's own excludes and ours at once: each keeps what it names out of the full sync, in both
/// directions; live changes know only ours.
#[test]
fn together_with_crontabfilter() {
    for delete in [true, false] {
        let mut scene = differing(Setup::plain().switch("delete", delete));
        let text = fs::read_to_string(&scene.mirror.config).unwrap();
        let block = "<crontab start=\"false\"><crontabfilter start=\"true\"><exclude expression=\"*.bak\"/>\
                     <exclude expression=\"/other\"/></crontabfilter></crontab></sersync>";
        crate::support::write(&scene.mirror.config, text.replace("</sersync>", block));
        scene.write_there("deep/old.bak", "theirs");
        scene.mirror.run();
        let mut ours = OURS.to_vec();
        ours.retain(|line| !line.contains(".bak"));
        let kept = ["deep/old.bak=theirs", "other=theirs"];
        let extra = if delete { &[][..] } else { &EXTRA };
        wait_there(&scene, "a full sync", &[&ours, &THEIRS, &kept, extra]);
        scene
            .write("data/draft.txt.bak", "live")
            .write("data/v10-tmp.bak", "live")
            .write("data/v10-tmp", "x");
        let live = ["data/draft.txt.bak=live", "data/v10-tmp.bak=live"];
        wait_there(&scene, "live changes", &[&ours, &THEIRS, &kept, extra, &live]);
    }
}
