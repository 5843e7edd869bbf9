//! Where the log goes, what it holds, and who it says that we are.
#![allow(clippy::indexing_slicing, clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use crate::support::{Mirror, SOON, Setup, exists, wait_until, write};
use nix::sys::signal::Signal;

/// The test's directory is the operator's only: whoever the supervisor becomes may not write there, and
/// root's files are root's.
fn logged_to(setup: Setup, attributes: &str) -> (Mirror, PathBuf) {
    let mirror = Mirror::new(setup);
    let log = mirror.dir.join("logs");
    fs::create_dir(&log).unwrap();
    fs::set_permissions(&log, fs::Permissions::from_mode(0o755)).unwrap();
    let file = log.join("sersync.log");
    let element = format!("<log to=\"file\" path=\"{}\" {attributes}/></head>", file.display());
    let config = fs::read_to_string(&mirror.config).unwrap().replace("</head>", &element);
    fs::write(&mirror.config, config).unwrap();
    (mirror, file)
}

fn holds_line(file: &Path, words: &[&str]) -> bool {
    let text = fs::read_to_string(file).unwrap_or_default();
    text.lines().any(|line| words.iter().all(|word| line.contains(word)))
}

#[test]
fn a_file_that_is_rotated() {
    let (mut mirror, file) = logged_to(Setup::plain(), "");
    mirror.run();
    wait_until("it is watched", SOON, || holds_line(&file, &["[INFO]", "watching tree="]));
    assert_eq!(file.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    let old = file.with_extension("log.1");
    fs::rename(&file, &old).unwrap();
    mirror.supervisor().signal(Signal::SIGHUP);
    wait_until("a new file is written", SOON, || holds_line(&file, &["reloaded config="]));
    assert!(!holds_line(&old, &["reloaded config="]), "the old one was written on");
    assert!(!mirror.log().contains("reloaded"), "it is on standard error too");
}

#[test]
fn a_line_for_each_path_where_that_is_asked_for() {
    let (mut mirror, file) = logged_to(Setup::plain(), "format=\"json\" files=\"true\"");
    mirror.run();
    write(mirror.source("a b"), "a");
    mirror.wait_equal(SOON);
    wait_until("it is said", SOON, || holds_line(&file, &["arrived remote="]));
    fs::remove_file(mirror.source("a b")).unwrap();
    wait_until("it is said", SOON, || holds_line(&file, &["\"removed\""]));
    let text = fs::read_to_string(&file).unwrap();
    let lines: Vec<serde_json::Value> =
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let sent = lines.iter().find(|line| line["fields"]["what"] == "sent").unwrap();
    assert_eq!((&sent["fields"]["path"], &sent["level"]), (&"a b".into(), &"info".into()));
    assert_eq!(sent["fields"]["remote"], "127.0.0.1::m0");
    assert!(sent["time"].as_str().unwrap().ends_with('Z'));
}

#[test]
fn no_line_for_each_path_otherwise() {
    let mut mirror = Mirror::start(Setup::plain());
    for n in 0..50 {
        write(mirror.source(format!("file{n}")), "x");
    }
    mirror.settle();
    let log = mirror.log();
    assert!(!log.contains("file1"), "{log}");
}

#[test]
fn a_log_that_cannot_be_written_starts_nothing() {
    let (mirror, file) = logged_to(Setup::plain(), "");
    fs::remove_dir(file.parent().unwrap()).unwrap();
    let output = crate::support::supervisor::command(&mirror).arg("-o").arg(&mirror.config).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.code() == Some(73) && said.contains("<log>: "), "{output:?}");
}

#[test]
fn the_number_of_the_process() {
    let mut mirror = Mirror::start(Setup::plain().flags(&["--pid-file", "pid"]));
    let (pid, file) = (mirror.supervisor().pid(), mirror.dir.join("cwd/pid"));
    assert_eq!(fs::read_to_string(&file).unwrap(), format!("{pid}\n"));
    assert_eq!(file.metadata().unwrap().permissions().mode() & 0o777, 0o644);
    mirror.supervisor().signal(Signal::SIGTERM);
    mirror.supervisor().wait_end(SOON);
    assert!(!exists(&file) || fs::read_to_string(&file).unwrap().is_empty());
}
