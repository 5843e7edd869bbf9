//! Config files as people have them: incomplete, old, odd. None of these may keep it from
//! mirroring with the values that were shipped.

use super::case::{Case, Sentinel};

/// Elements whose absence crashed the original. Without `userDefinedPort` the port has to stand
/// among the parameters, and without `localpath`, `remote` or `commonParams` nothing can work.
const DISPENSABLE: [&str; 16] = [
    "host",
    "debug",
    "fileSystem",
    "filter",
    "inotify",
    "createFile",
    "attrib",
    "modify",
    "delete",
    "createFolder",
    "closeWrite",
    "moveFrom",
    "moveTo",
    "auth",
    "timeout",
    "ssh",
];

/// Each element left out: the shipped value counts.
pub fn missing() -> Vec<Case> {
    let one = |element: &&'static str| shipped(Case::new(format!("without <{element}>")).without(element));
    let mut cases: Vec<Case> = DISPENSABLE.iter().map(one).collect();
    cases.push(shipped(Case::new("without <failLog>").without("failLog")));
    cases.push(shipped(Case::new("without <crontab>").without("crontab")));
    cases.push(shipped(Case::new("without <crontabfilter>").without("crontabfilter")));
    cases.push(shipped(
        Case::new("without any <plugin>")
            .without("plugin")
            .without("plugin")
            .without("plugin")
            .without("plugin"),
    ));
    cases.push(shipped(
        Case::new("attributes missing")
            .set("host", "")
            .set("debug", "")
            .set("createFolder", "")
            .set("delete", "")
            .set("auth", "")
            .set("timeout", ""),
    ));
    cases.push(shipped(
        Case::new("without <commonParams> it is -artuz, the port aside")
            .replace("<commonParams params=\"-artuz\"/>", ""),
    ));
    cases
}

/// What the shipped switches bring, and nothing beyond them.
fn shipped(case: Case) -> Case {
    case.becomes(|s| s.write("a", "1").write("d/b", "2"), &["a=1", "d/", "d/b=2"])
        .nothing(|s| s.symlink("a", "link").chmod("a", 0o604).write_held("held", "1"))
        .becomes(|s| s.rename("d", "e").remove("a"), &["e/", "e/b=2"])
}

/// Spelling that is unusual.
pub fn odd() -> Vec<Case> {
    let off = ["TRUE", "True", "1", "yes", " true", ""];
    let mut cases: Vec<Case> = off
        .iter()
        .map(|value| {
            Case::new(format!("{value:?} is not true"))
                .set("createFile", &format!("start=\"{value}\""))
                .set("closeWrite", &format!("start=\"{value}\""))
                .sentinel(Sentinel::Directory)
                .nothing(|s| s.symlink("a", "link").write("b", "1"))
        })
        .collect();
    cases.extend([
        shipped(Case::new("as it was shipped")),
        shipped(
            Case::new("unknown elements and attributes")
                .replace(
                    "<inotify>",
                    "<nonsense a=\"b\"><x/></nonsense><inotify colour=\"red\"><access start=\"true\"/>",
                )
                .replace("<rsync>", "<rsync><speed limit=\"1\"/>"),
        ),
        shipped(Case::new("another version").replace("version=\"2.5\"", "version=\"1.0\" more=\"x\"")),
        shipped(Case::new("no declaration").replace("<?xml version=\"1.0\" encoding=\"ISO-8859-1\"?>", "")),
        shipped(Case::new("encoding GBK").replace("ISO-8859-1", "GBK")),
        shipped(
            Case::new("encoding UTF-8, with comments in Chinese")
                .replace("ISO-8859-1", "UTF-8")
                .replace("<inotify>", "<!-- 开启 --><inotify>"),
        ),
        shipped(Case::new("an unknown encoding").replace("ISO-8859-1", "klingon")),
        shipped(
            Case::new("a byte order mark and CRLF")
                .replace("<?xml", "\u{feff}<?xml")
                .replace("<inotify>", "<inotify>\r\n"),
        ),
        shipped(
            Case::new("single quotes")
                .replace("start=\"false\"/>", "start='false'/>")
                .replace("start=\"true\"/>", "start='true'/>"),
        ),
        shipped(
            Case::new("the host's port is no number").set("host", "hostip=\"nowhere.invalid\" port=\"many\""),
        ),
        shipped(
            Case::new("a crontab of 0 minutes is one of 600").set("crontab", "start=\"true\" schedule=\"0\""),
        ),
        shipped(Case::new("timeToExecute is no number").set("failLog", "path=\"\" timeToExecute=\"soon\"")),
    ]);
    cases
}

/// Flags that only the process sees.
pub fn flags() -> Vec<Case> {
    let with = |name: &str, flags: &[&'static str]| {
        Case::new(name)
            .flags(flags)
            .becomes(|s| s.write("a", "1").write("d/b", "2"), &["a=1", "d/", "d/b=2"])
            .becomes(|s| s.remove("d"), &["a=1"])
    };
    vec![
        with("-n 1", &["-n", "1"]),
        with("-n 0 is 10", &["-n", "0"]),
        with("-n with garbage is 10", &["-n", "many"]),
        with("-n5, without a blank", &["-n5"]),
        with("words that are no options", &["start", "now"]),
    ]
}
