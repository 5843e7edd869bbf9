//! `-r`: what it sends, what it removes, and what stays out of both.

use super::case::Case;
use crate::support::scene::Scene;

/// What is here and there before the start.
fn differing(s: &Scene) -> &Scene {
    s.write("same", "s").write("stale", "the new one").write("d/ours", "1").write("d/.hidden", "h");
    s.symlink("same", "link").mkdir("empty");
    s.write_there("same", "s").write_there("stale", "old").write_there("theirs", "t");
    s.write_there("d/theirs", "t").write_there("dir/theirs", "t")
}

/// What is here.
const MIRRORED: [&str; 7] =
    ["d/", "d/.hidden=h", "d/ours=1", "empty/", "link -> same", "same=s", "stale=the new one"];

/// Without excludes.
pub fn mirrors() -> Vec<Case> {
    let kept = ["d/theirs=t", "dir/", "dir/theirs=t", "theirs=t"];
    vec![
        Case::new("without -r nothing that is there already travels")
            .before(differing)
            .nothing(|s| s)
            .becomes(
                |s| s.write("d/new", "n"),
                &["d/", "d/new=n", "d/theirs=t", "dir/", "dir/theirs=t", "same=s", "stale=old", "theirs=t"],
            ),
        Case::new("-r mirrors exactly, and live changes follow")
            .flags(&["-r"])
            .before(differing)
            .at_start(&MIRRORED)
            .becomes(|s| s.remove("same"), &[&MIRRORED[..5], &MIRRORED[6..]].concat()),
        Case::new("-r with delete off sends and removes nothing")
            .flags(&["-r"])
            .set("delete", "start=\"false\"")
            .before(differing)
            .at_start(&[&MIRRORED[..], &kept].concat()),
        Case::new("-r sends whatever the switches say of events")
            .flags(&["-r"])
            .set("closeWrite", "start=\"false\"")
            .set("moveTo", "start=\"false\"")
            .set("moveFrom", "start=\"false\"")
            .sentinel(super::case::Sentinel::Directory)
            .before(differing)
            .at_start(&MIRRORED),
        Case::new("-r for every remote")
            .flags(&["-r"])
            .trees(&[2])
            .replace("<remote ", "<remote ip=\"127.0.0.1\" name=\"m1\"/><remote ")
            .before(differing)
            .at_start(&MIRRORED),
        Case::new("-r turns a directory there into a file and a file into a directory")
            .flags(&["-r"])
            .before(|s| {
                s.write("a", "file").write("b/f", "in a directory");
                s.write_there("a/f", "t").write_there("b", "t")
            })
            .at_start(&["a=file", "b/", "b/f=in a directory"]),
        Case::new("-rn 3: bundled flags").flags(&["-rn", "3"]).before(differing).at_start(&MIRRORED),
        Case::new("-r leaves what is newer there, as -u says")
            .flags(&["-r"])
            .before(|s| s.write("a", "older").make_old("a").write_there("a", "newer"))
            .at_start(&["a=newer"]),
        Case::new("-r without -u takes what is here")
            .flags(&["-r"])
            .set("commonParams", "params=\"-artz\"")
            .before(|s| s.write("a", "older").make_old("a").write_there("a", "newer"))
            .at_start(&["a=older"]),
    ]
}

/// Names that the patterns below exclude, and others.
fn differing_in_names(s: &Scene) -> &Scene {
    s.write("a.php", "1").write("b.txt", "2").write("info/c", "3").write("sub/info/d", "4");
    s.write("d/e.php", "5").write_there("theirs.php", "t").write_there("theirs.txt", "t");
    s.write_there("info/theirs", "t").write_there("gone/f.php", "t")
}

/// With crontabfilter and filter.
pub fn excluding() -> Vec<Case> {
    let sent = ["b.txt=2", "d/", "info/", "sub/", "sub/info/"];
    let kept = ["gone/", "gone/f.php=t", "info/theirs=t", "theirs.php=t"];
    let excluded = [&sent[..], &kept].concat();
    let patterns = ["*.php", "info/*"];
    vec![
        Case::new("-r with crontabfilter while crontab is on")
            .flags(&["-r"])
            .crontabfilter(&patterns)
            .set("crontab", "start=\"true\" schedule=\"600\"")
            .before(differing_in_names)
            .at_start(&excluded)
            .becomes(|s| s.write("a.php", "live"), &[&excluded[..], &["a.php=live"]].concat()),
        Case::new("departure: -r with crontabfilter while crontab is off")
            .flags(&["-r"])
            .crontabfilter(&patterns)
            .before(differing_in_names)
            .at_start(&excluded),
        Case::new("-r with a crontabfilter that is off")
            .flags(&["-r"])
            .set("crontab", "start=\"true\" schedule=\"600\"")
            .before(differing_in_names)
            .at_start(&[
                "a.php=1",
                "b.txt=2",
                "d/",
                "d/e.php=5",
                "info/",
                "info/c=3",
                "sub/",
                "sub/info/",
                "sub/info/d=4",
            ]),
        Case::new("crontabfilter does not concern single changes")
            .crontabfilter(&patterns)
            .becomes(|s| s.write("a.php", "1").write("info/b", "2"), &["a.php=1", "info/", "info/b=2"])
            .becomes(|s| s.remove("a.php"), &["info/", "info/b=2"]),
        Case::new("crontabfilter's patterns are rsync's, in their order")
            .flags(&["-r"])
            .crontabfilter(&["/top", "deep/**/x", "[ab]?", "$HOME", "with blank"])
            .before(|s| {
                s.write("top", "1").write("sub/top", "2").write("deep/1/x", "3").write("deep/y", "4");
                s.write("a1", "5").write("c1", "6").write("$HOME", "7").write("with blank", "8")
            })
            .at_start(&["c1=6", "deep/", "deep/1/", "deep/y=4", "sub/", "sub/top=2"]),
        Case::new("departure: -r with a filter neither sends nor removes what it excludes")
            .flags(&["-r"])
            .filter(&[r"(.*)\.php", "^info/.*"])
            .before(differing_in_names)
            .at_start(&[
                "b.txt=2",
                "d/",
                "gone/",
                "gone/f.php=t",
                "info/",
                "info/theirs=t",
                "sub/",
                "sub/info/",
                "sub/info/d=4",
                "theirs.php=t",
            ]),
        Case::new("-r with excludes among the parameters")
            .flags(&["-r"])
            .set("commonParams", "params=\"-artz --exclude=*.php --exclude='info/*'\"")
            .before(differing_in_names)
            .at_start(&excluded),
    ]
}
