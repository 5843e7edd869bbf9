//! `<filter>`: the subjects that were measured on the original, and what follows from them.
//!
//! On purpose the forms of all moments are tried at any moment here, so that more is excluded
//! than by the original; and what is excluded does not travel with its directory either.

use super::case::Case;

const NOTHING: &[&str] = &[];

/// One expression, one path that is made, and whether it is excluded.
pub fn measured() -> Vec<Case> {
    let rows = [
        ("gz", "a.gz", &["a.gz=x"][..]),
        (".*gz", "a.gz", NOTHING),
        (r"(.*)\.gz", "a.gz", NOTHING),
        (r"(.*)\.gz", "a.gzip", &["a.gzip=x"]),
        ("sub/x", "sub/x", &["sub/", "sub/x=x"]),
        ("/sub/x", "sub/x", &["sub/"]),
        (".*/x", "sub/x", &["sub/"]),
        (".*/x", "x", &["x=x"]),
        (".*x", "sub/x", &["sub/"]),
        ("X", "x", &["x=x"]),
        ("[", "x", &["x=x"]),
        ("^info/*", "info/x", NOTHING),
        ("^info/*", "information/x", &["information/", "information/x=x"]),
        ("sub", "sub/x", NOTHING),
        ("sub", "a/sub/x", &["a/", "a/sub/", "a/sub/x=x"]),
        ("/sub/deep", "sub/deep/x", &["sub/"]),
        // Departure: these were excluded at start only.
        ("sub/", "sub/x", NOTHING),
        ("^sub/.*", "sub/x", NOTHING),
        ("a/b/", "a/b/x", &["a/"]),
    ];
    let alive = |(expression, path, expected): (&'static str, &'static str, &[&str])| {
        Case::new(format!("filter {expression} at run time: {path}"))
            .filter(&[expression])
            .becomes(move |s| s.write(path, "x"), expected)
    };
    // Departure: `sub`, `/sub`, `/a/b` were watched when they were there at start, and `.svn` too.
    let at_start = [
        ("sub", "sub"),
        ("sub/", "sub"),
        ("/a/b", "a/b"),
        ("a/b/", "a/b"),
        (".*b/", "a/b"),
        ("^a/.*", "a/b"),
        (r"(.*)\.svn", "pre/.svn"),
    ];
    let existing = |(expression, directory): (&'static str, &'static str)| {
        Case::new(format!("filter {expression} at start: {directory}"))
            .filter(&[expression])
            .before(move |s| s.mkdir(directory))
            .nothing(move |s| s.write(format!("{directory}/x"), "x"))
    };
    rows.into_iter().map(alive).chain(at_start.into_iter().map(existing)).collect()
}

/// Renames, removals and trees under a filter; and a filter that is off.
pub fn moves() -> Vec<Case> {
    let tmp = |name| Case::new(name).filter(&[r".*\.tmp"]);
    vec![
        tmp("filter: removals of what is excluded do not travel")
            .before(|s| s.write("a.tmp", "1").write_there("a.tmp", "theirs"))
            .nothing(|s| s.write("a.tmp", "2").remove("a.tmp")),
        tmp("filter: a rename out of the excluded names, and into them")
            .becomes(|s| s.write("a.tmp", "1").rename("a.tmp", "a"), &["a=1"])
            .becomes(|s| s.rename("a", "b.tmp"), NOTHING),
        tmp("departure: what is excluded stays behind when its directory travels")
            .becomes(
                |s| {
                    s.write_outside("d/a.tmp", "1")
                        .write_outside("d/e/b", "2")
                        .write_outside("d/x.tmp/c", "3");
                    s.move_in("d")
                },
                &["d/", "d/e/", "d/e/b=2"],
            )
            .becomes(|s| s.rename("d", "n"), &["n/", "n/e/", "n/e/b=2"]),
        tmp("filter: an excluded directory is left alone when it gets a name that travels")
            .nothing(|s| s.write("d.tmp/a", "1"))
            .becomes(|s| s.rename("d.tmp", "d"), &["d/", "d/a=1"])
            .becomes(|s| s.write("d/b", "2"), &["d/", "d/a=1", "d/b=2"]),
        Case::new("filter: several expressions, one of them broken")
            .filter(&["[", r".*\.tmp", "/d/x", "(?<!x)y"])
            .becomes(|s| s.write("a.tmp", "1").write("d/x", "2").write("d/y", "3"), &["d/", "d/y=3"]),
        Case::new("filter: with quotes, entities and no UTF-8")
            .filter(&["a\"<&b", r"(?-u)\xff.*"])
            .nothing(|s| s.write("a\"<&b", "1")),
        Case::new("filter off: its expressions do not count")
            .becomes(|s| s.write("a.gz", "1").write("info/b.svn", "2"), &["a.gz=1", "info/", "info/b.svn=2"]),
        Case::new("filter on: as shipped")
            .replace("<filter start=\"false\">", "<filter start=\"true\">")
            .becomes(
                |s| s.write("a.gz", "1").write("info/b", "2").write("static/c", "3").write("d/e.svn/f", "4"),
                &["d/"],
            ),
    ]
}
