//! What each kind of change does to the remote, with the shipped switches.

use super::case::Case;

const NOTHING: &[&str] = &[];

/// Content, names and places of files.
pub fn files() -> Vec<Case> {
    vec![
        Case::new("a file: create, overwrite, append, truncate")
            .becomes(|s| s.write("a", "1"), &["a=1"])
            .becomes(|s| s.write("a", "two"), &["a=two"])
            .becomes(|s| s.append("a", " and"), &["a=two and"])
            .becomes(|s| s.truncate("a", 1), &["a=t"])
            .becomes(|s| s.write("a", ""), &["a="]),
        Case::new("a file that is held open arrives when it is closed")
            .nothing(|s| s.write_held("a", "1"))
            .nothing(|s| s.write_held("a", "2"))
            .becomes(|s| s.close(), &["a=12"]),
        Case::new("rename within a directory and across")
            .becomes(|s| s.write("a", "1").write("d/b", "2"), &["a=1", "d/", "d/b=2"])
            .becomes(|s| s.rename("a", "c"), &["c=1", "d/", "d/b=2"])
            .becomes(|s| s.rename("c", "d/c"), &["d/", "d/b=2", "d/c=1"])
            .becomes(|s| s.rename("d/b", "b").rename("d/c", "d/e"), &["b=2", "d/", "d/e=1"]),
        Case::new("rename over a file")
            .becomes(|s| s.write("a", "1").write("b", "the other"), &["a=1", "b=the other"])
            .becomes(|s| s.rename("b", "a"), &["a=the other"]),
        Case::new("a file moved in and out")
            .becomes(|s| s.write_outside("a", "1").move_in("a"), &["a=1"])
            .becomes(|s| s.move_out("a"), NOTHING)
            .nothing(|s| s.write_outside("a", "2")),
        Case::new("a removed file goes, its siblings there stay")
            .before(|s| s.write_there("d/theirs", "t").write_there("theirs", "t"))
            .becomes(
                |s| s.write("d/a", "1").write("a", "1"),
                &["a=1", "d/", "d/a=1", "d/theirs=t", "theirs=t"],
            )
            .becomes(|s| s.remove("d/a").remove("a"), &["d/", "d/theirs=t", "theirs=t"]),
        Case::new("a removed file that is on the remote only")
            .before(|s| s.write("a", "1").write_there("a", "theirs").write_there("b", "theirs"))
            .becomes(|s| s.remove("a"), &["b=theirs"]),
        Case::new("sed -i: written beside, renamed over")
            .becomes(|s| s.write("a", "1"), &["a=1"])
            .becomes(|s| s.write("sedXYZ", "2").rename("sedXYZ", "a"), &["a=2"]),
        Case::new("vim: renamed to a backup, written anew, backup removed")
            .becomes(|s| s.write("a", "1"), &["a=1"])
            .becomes(|s| s.rename("a", "a~").write("a", "22").remove("a~"), &["a=22"]),
        Case::new("an empty file").becomes(|s| s.write("d/empty", ""), &["d/", "d/empty="]),
    ]
}

/// Directories as such, and trees.
pub fn directories() -> Vec<Case> {
    vec![
        Case::new("mkdir, mkdir -p, rmdir")
            .becomes(|s| s.mkdir("d"), &["d/"])
            .becomes(|s| s.mkdir("a/b/c"), &["a/", "a/b/", "a/b/c/", "d/"])
            .becomes(|s| s.remove("d"), &["a/", "a/b/", "a/b/c/"]),
        Case::new("mkdir -p and files at once, then in all of them")
            .becomes(
                |s| s.write("a/b/c/1", "1").write("a/2", "2").write("a/b/3", "3"),
                &["a/", "a/2=2", "a/b/", "a/b/3=3", "a/b/c/", "a/b/c/1=1"],
            )
            .becomes(
                |s| s.write("a/b/c/1", "one").remove("a/2").remove("a/b/3"),
                &["a/", "a/b/", "a/b/c/", "a/b/c/1=one"],
            ),
        Case::new("rm -r, with what only the remote has in it")
            .becomes(|s| s.write("d/e/1", "1").write("k/1", "1"), &["d/", "d/e/", "d/e/1=1", "k/", "k/1=1"])
            .becomes(
                |s| s.write_there("d/theirs", "t").write_there("k/theirs", "t").remove("d"),
                &["k/", "k/1=1", "k/theirs=t"],
            ),
        Case::new("a directory that is made keeps what the remote has in it")
            .before(|s| s.write_there("d/theirs", "t"))
            .becomes(|s| s.write("d/1", "1"), &["d/", "d/1=1", "d/theirs=t"]),
        Case::new("rename a directory, then work in it")
            .becomes(|s| s.write("d/e/1", "1"), &["d/", "d/e/", "d/e/1=1"])
            .becomes(|s| s.rename("d", "n"), &["n/", "n/e/", "n/e/1=1"])
            .becomes(|s| s.write("n/e/2", "2").remove("n/e/1"), &["n/", "n/e/", "n/e/2=2"]),
        Case::new("rename a directory and write in it at once, over and over").becomes(
            |s| {
                s.mkdir("d0");
                for n in 0..8 {
                    let (from, to) = (format!("d{n}"), format!("d{}", n + 1));
                    s.rename(from, &to).write(format!("{to}/f{n}"), "x");
                }
                s.remove("d8/f0").remove("d8/f1").remove("d8/f2").remove("d8/f3").remove("d8/f4")
            },
            &["d8/", "d8/f5=x", "d8/f6=x", "d8/f7=x"],
        ),
        Case::new("a tree moved in, worked in, moved out")
            .becomes(
                |s| s.write_outside("x/1", "1").write_outside("x/y/2", "2").move_in("x"),
                &["x/", "x/1=1", "x/y/", "x/y/2=2"],
            )
            .becomes(|s| s.write("x/y/3", "3"), &["x/", "x/1=1", "x/y/", "x/y/2=2", "x/y/3=3"])
            .becomes(|s| s.move_out("x"), NOTHING)
            .nothing(|s| s.write_outside("x/y/4", "4")),
        Case::new("what was there before the start is watched, and sent when it changes")
            .before(|s| s.write("old/deep/1", "1").write("old/deep/2", "2").write("other", "o"))
            .becomes(|s| s.write("old/deep/2", "two"), &["old/", "old/deep/", "old/deep/2=two"]),
    ]
}

/// What is neither a file nor a directory, and second names.
pub fn links() -> Vec<Case> {
    vec![
        Case::new("symlinks, hard links and pipes do not travel")
            .becomes(|s| s.write("a", "1"), &["a=1"])
            .nothing(|s| s.symlink("a", "link").link("a", "hard").fifo("pipe").symlink("no", "dangling")),
        Case::new("but with their directory, and they are removed")
            .before(|s| {
                s.write_outside("d/a", "1");
                s.symlink("a", s.outside("d/link"))
            })
            .becomes(|s| s.move_in("d"), &["d/", "d/a=1", "d/link -> a"])
            .becomes(|s| s.remove("d/link"), &["d/", "d/a=1"]),
        Case::new("renamed they travel")
            .becomes(|s| s.symlink("a", "link").rename("link", "link2"), &["link2 -> a"]),
        Case::new("a symlink to a directory is not followed")
            .before(|s| s.mkdir("d").symlink("d", "link").write_outside("o/secret", "s"))
            .becomes(|s| s.symlink("../outside/o", "out").write("link/1", "1"), &["d/", "d/1=1"])
            .nothing(|s| s.write_outside("o/more", "m")),
    ]
}

/// One thing in the place of another, where the original lost track.
pub fn replacements() -> Vec<Case> {
    vec![
        Case::new("departure: a directory removed and made again is replaced")
            .becomes(|s| s.write("d/1", "1").write("d/s/2", "2"), &["d/", "d/1=1", "d/s/", "d/s/2=2"])
            .becomes(|s| s.remove("d").write("d/3", "3"), &["d/", "d/3=3"]),
        Case::new("departure: a file for a directory, a directory for a file")
            .becomes(|s| s.write("d/1", "1"), &["d/", "d/1=1"])
            .becomes(|s| s.remove("d").write("d", "file"), &["d=file"])
            .becomes(|s| s.remove("d").write("d/2", "2"), &["d/", "d/2=2"]),
        Case::new("departure: two directories trade names")
            .becomes(|s| s.write("a/1", "1").write("b/2", "2"), &["a/", "a/1=1", "b/", "b/2=2"])
            .becomes(
                |s| s.rename("a", "t").rename("b", "a").rename("t", "b"),
                &["a/", "a/2=2", "b/", "b/1=1"],
            ),
    ]
}

/// `.*`, `*~` and `4913`.
pub fn hidden() -> Vec<Case> {
    vec![
        Case::new("hidden files, backups and 4913 do not travel by themselves")
            .before(|s| s.mkdir("d").write_there("d/theirs", "t"))
            .nothing(|s| s.write(".a", "1").write("b~", "2").write("d/4913", "3").write("d/.a", "4"))
            .becomes(
                |s| s.write("d/49130", "x").write("d/~b", "y"),
                &["d/", "d/49130=x", "d/theirs=t", "d/~b=y"],
            ),
        Case::new("hidden files: removing and renaming them is silent too")
            .before(|s| {
                s.write(".a", "1").write("b~", "2").write("4913", "3");
                s.write_there(".a", "t").write_there("b~", "t").write_there("4913", "t")
            })
            .nothing(|s| s.remove(".a").remove("b~").rename("4913", ".4913")),
        Case::new("a file that takes off or puts on a hidden name")
            .becomes(|s| s.write(".x", "1").rename(".x", "y"), &["y=1"])
            .becomes(|s| s.rename("y", ".y"), NOTHING),
        Case::new("dot directories travel")
            .becomes(|s| s.write(".d/a", "1").write("e~/b", "2"), &[".d/", ".d/a=1", "e~/", "e~/b=2"])
            .becomes(|s| s.remove(".d").mkdir("4913"), &["4913/", "e~/", "e~/b=2"]),
        Case::new("hidden files travel with their directory")
            .becomes(
                |s| {
                    s.write_outside("d/.a", "1").write_outside("d/b~", "2").write_outside("d/s/4913", "3");
                    s.move_in("d")
                },
                &["d/", "d/.a=1", "d/b~=2", "d/s/", "d/s/4913=3"],
            )
            .nothing(|s| s.remove("d/.a").write("d/b~", "later"))
            .becomes(|s| s.remove("d"), NOTHING),
        Case::new("new: hiddenFile lets them travel")
            .replace("<inotify>", "<inotify><hiddenFile start=\"true\"/>")
            .becomes(|s| s.write(".a", "1").write("b~", "2").write("4913", "3"), &[".a=1", "4913=3", "b~=2"])
            .becomes(|s| s.remove(".a").remove("b~").remove("4913"), NOTHING),
    ]
}
