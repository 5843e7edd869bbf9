//! `explain` and `plan`: what the config and the machine say of a path and of a full sync, with and
//! without a supervisor.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::process::Stdio;

use crate::support::{Mirror, SOON, Setup, supervisor, wait_until, write};

/// How it ended, and what it said.
fn say(mirror: &Mirror, words: &[&OsStr]) -> (Option<i32>, String) {
    let mut command = supervisor::command(mirror);
    command.args(words).arg("-o").arg(&mirror.config);
    let output = command.stdin(Stdio::null()).output().unwrap();
    let text = [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
    (output.status.code(), text.concat())
}

fn explain(mirror: &Mirror, path: impl AsRef<Path>) -> (Option<i32>, String) {
    say(mirror, &[OsStr::new("explain"), path.as_ref().as_os_str()])
}

#[test]
fn which_rule_decides() {
    let mirror = Mirror::new(Setup::plain().filter(&[r"(.*)\.svn", r".*\.gz"]));
    for file in ["a.gz", "b", ".h", "d/.svn/x"] {
        write(mirror.source(file), "12345");
    }
    for (path, code, expected) in [
        ("a.gz", 1, "mirrored: no, filter expression `.*\\.gz` at "),
        ("d/.svn/x", 1, "mirrored: no, filter expression `(.*)\\.svn` at "),
        ("d/.svn/x", 1, "excludes the directory \"d/.svn\" above it"),
        ("d/.svn/x", 1, "watch: none"),
        ("b", 0, "mirrored: yes, no filter expression matches it"),
        ("b", 0, "kind: file"),
        (
            "b",
            0,
            "events: sent by closeWrite moveTo; removed there by delete moveFrom; off: createFile modify attrib",
        ),
        ("b", 0, "on its way: not known, no supervisor runs on this config"),
        (".h", 0, "mirrored: only with its directory as a whole"),
        (".h", 0, "events: none of its own\n"),
        ("d", 0, "kind: directory"),
        ("", 0, "mirrored: yes, it is the watched directory itself"),
        ("gone", 0, "kind: nothing stands there"),
    ] {
        let (ended, text) = explain(&mirror, mirror.source(path));
        assert!(ended == Some(code) && text.contains(expected), "{path}: {expected}\n{ended:?} {text}");
    }
    // The place of the expression is told.
    let config = fs::read_to_string(&mirror.config).unwrap();
    let line = config.lines().position(|line| line.contains(".gz")).unwrap() + 1;
    let (_, text) = explain(&mirror, mirror.source("a.gz"));
    assert!(text.contains(&format!("confxml.xml:{line}:")), "{text}");
    // Of what is not sent nobody is asked.
    assert!(!text.contains("on its way"), "{text}");
    // Below a tree, from elsewhere; by a link; and what is nowhere.
    assert!(explain(&mirror, "d/.svn").1.contains("mirrored: no"));
    std::os::unix::fs::symlink(&mirror.sources[0], mirror.dir.join("link")).unwrap();
    assert!(explain(&mirror, mirror.dir.join("link/b")).1.contains("mirrored: yes"));
    let (ended, text) = explain(&mirror, "/etc/passwd");
    assert!(ended == Some(1) && text.contains("/etc/passwd lies in no watched directory"), "{text}");
    // Bytes that are no text.
    let strange = mirror.source(OsStr::from_bytes(b"\xff\n"));
    write(&strange, "");
    let (ended, text) = explain(&mirror, &strange);
    assert!(ended == Some(0) && text.lines().next().unwrap().ends_with("\u{fffd}\\n"), "{text}");
    assert_eq!(say(&mirror, &[OsStr::new("explain")]).0, Some(64));
}

/// "Mirrored: yes" was said of what no switch sends, and "sent by closeWrite" of a hidden file; and a `<hiddenFile>`
/// that is not written stood at `<head>`.
#[test]
fn what_is_sent_with_others_only() {
    let mut setup = Setup::plain();
    for switch in ["closeWrite", "createFile", "modify", "moveTo", "attrib"] {
        setup = setup.switch(switch, false);
    }
    let mirror = Mirror::new(setup);
    write(mirror.source("f"), "1");
    write(mirror.source(".h"), "1");
    let (code, text) = explain(&mirror, mirror.source("f"));
    assert!(code == Some(0) && !text.contains("mirrored: yes"), "{code:?} {text}");
    assert!(text.contains("every switch of <inotify> that would send it is off"), "{text}");
    let config = fs::read_to_string(&mirror.config).unwrap();
    let (_, text) = explain(&mirror, mirror.source(".h"));
    let is_placed =
        text.contains("leaves out its own events") && text.contains("<hiddenFile start=\"false\">, see ");
    assert!(is_placed == config.contains("<hiddenFile"), "{text}");
    let without: String = config.lines().filter(|line| !line.contains("<hiddenFile")).collect();
    fs::write(&mirror.config, without).unwrap();
    let (_, text) = explain(&mirror, mirror.source(".h"));
    assert!(
        text.contains("<hiddenFile start=\"false\">, which is the default, leaves out its own events"),
        "{text}"
    );
    assert!(!text.contains("closeWrite"), "{text}");
}

#[test]
fn how_far_a_path_is() {
    let mut mirror = Mirror::start(Setup::plain());
    mirror.settle();
    write(mirror.source("sent"), "1");
    wait_until("it is confirmed", SOON, || {
        explain(&mirror, mirror.source("sent")).1.contains("state=up nothing waits\n")
    });
    mirror.daemon.end(nix::sys::signal::Signal::SIGKILL);
    write(mirror.source("late"), "1");
    wait_until("it waits and has failed", SOON, || {
        let (_, text) = explain(&mirror, mirror.source("late"));
        text.contains("state=unreachable") && text.contains("waits_s=")
    });
    mirror.daemon.again();
    wait_until("it is confirmed", SOON, || {
        let (_, text) = explain(&mirror, mirror.source("late"));
        text.contains("state=up nothing waits last_error=unreachable") && text.contains(" over=yes")
    });
}

#[test]
fn what_a_full_sync_would_do() {
    let mirror = Mirror::new(Setup::plain().filter(&[r".*\.gz"]));
    for (path, text) in [("same", "1"), ("new", "12345"), ("changed", "longer"), ("left-out.gz", "1")] {
        write(mirror.source(path), text);
    }
    for (path, text) in [("changed", "1"), ("extra", "1"), ("kept.gz", "1")] {
        write(mirror.replica(path), text);
    }
    let copied = std::process::Command::new("cp")
        .arg("-a")
        .arg(mirror.source("same"))
        .arg(&mirror.replicas[0])
        .status();
    assert!(copied.unwrap().success());
    let (code, text) = say(&mirror, &[OsStr::new("plan")]);
    assert_eq!(code, Some(1), "{text}");
    let told: Vec<&str> = text.lines().map(str::trim).filter(|line| !line.contains("attributes ")).collect();
    let label = "127.0.0.1::m0";
    assert_eq!(told[1..4], ["delete     extra", "new        new", "change     changed"], "{text}");
    assert!(told[0].ends_with(&format!("/source0 to remote {label}")), "{text}");
    assert!(
        text.contains(&format!("remote={label} deletions=1 new=1 changed=1 ")) && text.contains("bytes=11"),
        "{text}"
    );
    assert!(text.contains("  deletions: by the full sync of a start with -r, and by no other"), "{text}");
    // Nothing was done.
    assert!(mirror.replica("extra").exists() && !mirror.replica("new").exists());
    let (code, text) = say(&mirror, &[OsStr::new("plan"), OsStr::new("--remote"), OsStr::new("x::y")]);
    assert_eq!(code, Some(64), "{text}");
}

/// Beside a supervisor, which is not disturbed; and when nobody answers.
#[test]
fn a_plan_beside_a_supervisor() {
    let mut mirror = Mirror::start(Setup::exact());
    write(mirror.source("d/f"), "1");
    mirror.settle();
    wait_until("nothing would be done", SOON, || say(&mirror, &[OsStr::new("plan")]).0 == Some(0));
    let watcher = mirror.supervisor().child("watcher");
    mirror.settle();
    assert_eq!(mirror.supervisor().child("watcher"), watcher);
    mirror.daemon.end(nix::sys::signal::Signal::SIGKILL);
    let (code, text) = say(&mirror, &[OsStr::new("plan")]);
    assert!(code == Some(69) && text.contains("has nobody listening on that port"), "{code:?} {text}");
    assert!(!text.contains("deletions="), "{text}");
}
