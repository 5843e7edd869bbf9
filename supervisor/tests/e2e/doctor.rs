//! `doctor`: every role tries what it must not be able to do, and the exit code says whether all
//! of it was refused.
#![allow(clippy::panic, clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Stdio;

use crate::support::{Mirror, Setup, is_root, processes, supervisor, write};

/// How it ended, and what it said.
fn doctor(mirror: &Mirror) -> (Option<i32>, String) {
    let arguments = [OsStr::new("doctor"), OsStr::new("-o"), mirror.config.as_os_str()];
    let output = supervisor::command(mirror).args(arguments).stdin(Stdio::null()).output().unwrap();
    let text = [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
    (output.status.code(), text.concat())
}

fn not_root() -> bool {
    if !is_root() {
        eprintln!("skipped: only root can give the roles uids to be tried under");
    }
    !is_root()
}

/// The line of the table for a role.
fn line<'a>(text: &'a str, role: &str) -> &'a str {
    let found = text.lines().find(|line| line.contains(role) && line.contains("kernel "));
    found.unwrap_or_else(|| panic!("no line for {role} in\n{text}"))
}

/// Two numbers for each group, and that as many were refused as were made.
fn all_refused(line: &str) -> u32 {
    let pairs: Vec<(u32, u32)> = line
        .split_whitespace()
        .filter_map(|word| word.split_once('/'))
        .filter_map(|(refused, made)| Some((refused.parse().ok()?, made.parse().ok()?)))
        .collect();
    assert_eq!(pairs.len(), 7, "{line}");
    assert!(pairs.iter().all(|(refused, made)| refused == made), "{line}");
    pairs.iter().map(|(refused, _)| refused).sum()
}

#[test]
fn every_role_is_refused_everything() {
    if not_root() {
        return;
    }
    let mirror = Mirror::new(Setup::plain().edit("</head>", "<host start=\"true\"/></head>"));
    write(mirror.source("file"), "as it is");
    let (code, text) = doctor(&mirror);
    assert_eq!(code, Some(0), "{text}");
    assert!(!text.contains("ALLOWED") && !text.contains("FAIL"), "{text}");
    for role in ["watcher", "keeper", "page", "syncer (daemon)", "rsync below syncer (daemon)"] {
        assert!(all_refused(line(&text, role)) >= 120, "{text}");
    }
    // The remote is asked too, and nothing is left behind: no process, and no file in the source.
    assert!(text.contains("the module is open to this machine"), "{text}");
    let names: Vec<_> =
        fs::read_dir(mirror.source("")).unwrap().flatten().map(|entry| entry.file_name()).collect();
    assert_eq!(names, ["file"]);
    assert!(crate::support::holds(mirror.source("file"), "as it is"));
}

#[test]
fn plugins_are_tried_as_what_they_are() {
    if not_root() {
        return;
    }
    let socket = "<plugin name=\"socket\"><localpath watch=\"@DIR@/source0\">\
        <deshost ip=\"127.0.0.1\" port=\"8009\"/></localpath></plugin>";
    let command =
        "<plugin name=\"command\"><param prefix=\"/bin/true\" suffix=\"\" ignoreError=\"true\"/></plugin>";
    for (name, block, least) in [("socket", socket, 120), ("command", command, 40)] {
        let (code, text) = doctor(&Mirror::new(Setup::plain().plugin(name, block)));
        assert_eq!(code, Some(0), "{text}");
        assert!(all_refused(line(&text, &format!("plugin-{name}"))) >= least, "{text}");
    }
}

/// The attempts are real ones: where nothing is in their way they come through, and the doctor
/// says which.
#[test]
fn without_the_sandbox_it_says_what_is_open() {
    if not_root() {
        return;
    }
    let mirror = Mirror::new(Setup::plain().edit("<sersync>", "<sandbox start=\"false\"/><sersync>"));
    let (code, text) = doctor(&mirror);
    assert_eq!(code, Some(77), "{text}");
    for role in ["watcher", "syncer (daemon)", "rsync below syncer (daemon)"] {
        for attempt in [
            "read-shadow",
            "read-other-root",
            "read-through-swapped-directory",
            "create",
            "unlink",
            "chmod",
            "setxattr",
            "tcp",
            "mptcp",
            "fast-open",
            "unix",
            "unix-abstract",
            "udp",
            "netlink",
            "bind",
            "run-program",
            "writable-code",
            "new-user-namespace",
            "io-uring",
            "userfaultfd",
        ] {
            let said = |line: &&str| {
                line.contains(&format!("{role}: ALLOWED: ")) && line.contains(&format!("({attempt})"))
            };
            assert!(text.lines().any(|line| said(&line)), "{role}: {attempt}\n{text}");
        }
        // Its uid holds all the same.
        assert!(!text.contains(&format!("{role}: ALLOWED: become uid 0")), "{text}");
    }
    for attempt in ["read-world-readable", "open-path", "create", "any-socket", "run-program"] {
        let said = |line: &&str| line.contains("keeper: ALLOWED: ") && line.contains(&format!("({attempt})"));
        assert!(text.lines().any(|line| said(&line)), "keeper: {attempt}\n{text}");
    }
}

/// It runs beside a supervisor on the same config, and does not disturb it.
#[test]
fn beside_a_running_supervisor() {
    if not_root() {
        return;
    }
    let mut mirror = Mirror::start(Setup::plain());
    let pid = mirror.supervisor().pid();
    let watcher = mirror.supervisor().child("watcher");
    let (code, text) = doctor(&mirror);
    assert_eq!(code, Some(0), "{text}");
    assert_eq!(mirror.supervisor().child("watcher"), watcher);
    assert!(processes::status(pid, "Pid").is_some());
    mirror.settle();
}

/// What every attempt being refused does not say: whether the work can be done at all.
#[test]
fn what_the_work_needs() {
    if not_root() {
        return;
    }
    let (code, text) = doctor(&Mirror::new(Setup::plain()));
    assert_eq!(code, Some(0), "{text}");
    for role in ["watcher", "syncer0"] {
        assert!(text.contains(&format!("  ok    {role}: it is all there")), "{text}");
    }
    let failed = |setup: Setup, prepare: &dyn Fn(&Mirror), wanted: &str| {
        let mirror = Mirror::new(setup);
        prepare(&mirror);
        let (code, text) = doctor(&mirror);
        assert_eq!(code, Some(77), "{text}");
        assert!(
            text.lines().any(|line| line.contains("  FAIL  ") && line.contains(wanted)),
            "{wanted}: {text}"
        );
    };
    let script = Setup::plain().edit("<rsync>", "<rsync program=\"@DIR@/wrapper\">");
    let make_script = |mirror: &Mirror| {
        let path = mirror.dir.join("wrapper");
        write(path.clone(), "#!/bin/sh\nexec rsync \"$@\"\n");
        fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
    };
    failed(script, &make_script, "wrapper: ");
    let closed = Setup::plain().edit("<sersync>", "<privileges readAll=\"false\"/><sersync>");
    let close = |mirror: &Mirror| {
        fs::set_permissions(mirror.source(""), fs::Permissions::from_mode(0o700)).unwrap();
    };
    failed(closed, &close, "source0: Permission denied");
    let secret = Setup::plain()
        .edit("<rsync>", "<rsync><auth start=\"true\" users=\"u\" passwordfile=\"@DIR@/missing\"/>");
    failed(secret, &|_| {}, "missing: No such file");
}

#[test]
fn a_config_that_is_wrong() {
    let mirror = Mirror::new(Setup::plain());
    fs::write(&mirror.config, "<head>").unwrap();
    assert_eq!(doctor(&mirror).0, Some(78));
    fs::remove_file(&mirror.config).unwrap();
    assert_eq!(doctor(&mirror).0, Some(66));
}
