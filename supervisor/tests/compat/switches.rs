//! Each switch of `<inotify>` on and off.

use super::case::{Case, Sentinel};

const NOTHING: &[&str] = &[];

/// Switches that are about files.
pub fn files() -> Vec<Case> {
    vec![
        Case::new("attrib off: a mode travels with the next content")
            .becomes(|s| s.write("a", "1").mkdir("d"), &["a=1", "d/"])
            .nothing(|s| s.chmod("a", 0o604).chmod("d", 0o705))
            .becomes(|s| s.append("a", "2"), &["a=12 604", "d/"]),
        Case::new("attrib on: modes travel, and watches stay")
            .set("attrib", "start=\"true\"")
            .becomes(|s| s.write("a", "1").write("d/b", "2"), &["a=1", "d/", "d/b=2"])
            .becomes(|s| s.chmod("a", 0o604), &["a=1 604", "d/", "d/b=2"])
            .becomes(|s| s.chmod("d", 0o705), &["a=1 604", "d/ 705", "d/b=2"])
            .becomes(|s| s.write("d/b", "later"), &["a=1 604", "d/ 705", "d/b=later"]),
        Case::new("createFile on: links, pipes and empty files travel")
            .set("createFile", "start=\"true\"")
            .becomes(|s| s.write("a", "1"), &["a=1"])
            .becomes(|s| s.symlink("a", "link").fifo("pipe"), &["a=1", "link -> a", "pipe|"])
            .becomes(|s| s.link("a", "hard").remove("pipe"), &["a=1", "hard=1", "link -> a"])
            .becomes(|s| s.remove("link").remove("a"), &["hard=1"]),
        Case::new("createFile on, closeWrite off: a new file travels once")
            .set("createFile", "start=\"true\"")
            .set("closeWrite", "start=\"false\"")
            .becomes(|s| s.write_held("a", ""), &["a="])
            .nothing(|s| s.close().append("a", "1")),
        Case::new("closeWrite off: no content")
            .set("closeWrite", "start=\"false\"")
            .sentinel(Sentinel::Directory)
            .before(|s| s.write("old", "1").write_there("old", "1"))
            .nothing(|s| s.write("a", "1").write("old", "changed"))
            .becomes(|s| s.write_outside("b", "2").move_in("b"), &["b=2", "old=1"])
            .becomes(|s| s.mkdir("d").rename("b", "d/c"), &["d/", "d/c=2", "old=1"])
            .becomes(|s| s.remove("old"), &["d/", "d/c=2"]),
        Case::new("modify on: sent while it is written")
            .set("modify", "start=\"true\"")
            .becomes(|s| s.write_held("a", "1"), &["a=1"])
            .becomes(|s| s.write_held("a", "2"), &["a=12"])
            .becomes(|s| s.close(), &["a=12"]),
        Case::new("modify on, closeWrite off: content travels")
            .set("modify", "start=\"true\"")
            .set("closeWrite", "start=\"false\"")
            .becomes(|s| s.write("a", "1"), &["a=1"])
            .becomes(|s| s.append("a", "2"), &["a=12"])
            .becomes(|s| s.truncate("a", 1), &["a=1"]),
        Case::new("moveTo off: what is renamed is gone")
            .set("moveTo", "start=\"false\"")
            .becomes(|s| s.write("a", "1").write("b", "2"), &["a=1", "b=2"])
            .becomes(|s| s.rename("a", "c"), &["b=2"])
            .nothing(|s| s.write_outside("d", "4").move_in("d"))
            .becomes(|s| s.write("c", "now written"), &["b=2", "c=now written"]),
        Case::new("moveFrom off: the old name stays")
            .set("moveFrom", "start=\"false\"")
            .becomes(|s| s.write("a", "1").write("b", "2"), &["a=1", "b=2"])
            .becomes(|s| s.rename("a", "c"), &["a=1", "b=2", "c=1"])
            .nothing(|s| s.move_out("b"))
            .becomes(|s| s.remove("c"), &["a=1", "b=2"]),
    ]
}

/// Switches that are about directories.
pub fn directories() -> Vec<Case> {
    vec![
        Case::new("createFolder off: new directories and all in them are ignored")
            .set("createFolder", "start=\"false\"")
            .nothing(|s| s.mkdir("d").write("d/1", "1").mkdir("d/e").write("d/e/2", "2"))
            .becomes(|s| s.write("a", "1"), &["a=1"]),
        Case::new("createFolder off: a directory moved in is sent and watched")
            .set("createFolder", "start=\"false\"")
            .becomes(|s| s.write_outside("x/y/1", "1").move_in("x"), &["x/", "x/y/", "x/y/1=1"])
            .becomes(|s| s.write("x/y/2", "2"), &["x/", "x/y/", "x/y/1=1", "x/y/2=2"]),
        Case::new("createFolder off: a directory renamed is one moved in")
            .set("createFolder", "start=\"false\"")
            .nothing(|s| s.mkdir("d").write("d/1", "1"))
            .becomes(|s| s.rename("d", "e"), &["e/", "e/1=1"]),
        Case::new("createFolder off: what was there at start is watched")
            .set("createFolder", "start=\"false\"")
            .before(|s| s.mkdir("old/deep"))
            .becomes(|s| s.write("old/deep/1", "1"), &["old/", "old/deep/", "old/deep/1=1"])
            .becomes(|s| s.remove("old"), NOTHING),
        Case::new("moveTo off: a directory moved in is ignored")
            .set("moveTo", "start=\"false\"")
            .nothing(|s| s.write_outside("x/1", "1").move_in("x").write("x/2", "2"))
            .becomes(|s| s.mkdir("d").write("d/1", "1"), &["d/", "d/1=1"])
            .becomes(|s| s.rename("d", "e"), NOTHING),
        Case::new("moveFrom off: a renamed directory works under its new name")
            .set("moveFrom", "start=\"false\"")
            .becomes(|s| s.write("d/1", "1"), &["d/", "d/1=1"])
            .becomes(|s| s.rename("d", "e"), &["d/", "d/1=1", "e/", "e/1=1"])
            .becomes(|s| s.write("e/2", "2"), &["d/", "d/1=1", "e/", "e/1=1", "e/2=2"]),
        Case::new("createFolder, moveTo and moveFrom off: content and removals only")
            .set("createFolder", "start=\"false\"")
            .set("moveTo", "start=\"false\"")
            .set("moveFrom", "start=\"false\"")
            .before(|s| s.mkdir("old"))
            .becomes(|s| s.write("a", "1").write("old/1", "1"), &["a=1", "old/", "old/1=1"])
            .nothing(|s| s.mkdir("d").rename("a", "b").rename("old/1", "old/2"))
            .becomes(|s| s.write("b", "2"), &["a=1", "b=2", "old/", "old/1=1"])
            .becomes(|s| s.remove("b").remove("old"), &["a=1"]),
    ]
}

/// `<delete>`: off, nothing is ever deleted there.
pub fn deletions() -> Vec<Case> {
    let off = |name| Case::new(name).set("delete", "start=\"false\"");
    vec![
        off("delete off: removed files and directories stay")
            .becomes(|s| s.write("a", "1").write("d/e/b", "2"), &["a=1", "d/", "d/e/", "d/e/b=2"])
            .nothing(|s| s.remove("a").remove("d/e/b").remove("d")),
        off("delete off: a rename leaves both names")
            .becomes(|s| s.write("a", "1").write("d/b", "2"), &["a=1", "d/", "d/b=2"])
            .becomes(|s| s.rename("a", "c").rename("d", "e"), &["a=1", "c=1", "d/", "d/b=2", "e/", "e/b=2"]),
        off("delete off: what is moved out stays")
            .becomes(|s| s.write("a", "1").write("d/b", "2"), &["a=1", "d/", "d/b=2"])
            .nothing(|s| s.move_out("a").move_out("d")),
        off("delete off: a directory made anew keeps what the remote has in it")
            .becomes(|s| s.write("d/1", "1"), &["d/", "d/1=1"])
            .becomes(|s| s.remove("d").write("d/2", "2"), &["d/", "d/1=1", "d/2=2"]),
        Case::new("delete on: what a directory held goes with it")
            .becomes(|s| s.write("d/1", "1").write("d/e/2", "2"), &["d/", "d/1=1", "d/e/", "d/e/2=2"])
            .becomes(|s| s.remove("d/1").remove("d/e"), &["d/"])
            .becomes(|s| s.remove("d"), NOTHING),
    ]
}
