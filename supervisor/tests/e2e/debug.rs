//! What is printed: the lines on standard output that scripts look for, and what `<debug>` adds:
//! each watch, each event of the kernel, each command of rsync and what rsync says to it.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::fs;
use std::process::Stdio;
use std::time::Duration;

use crate::support::daemon::{Daemon, OTHERHOST};
use crate::support::{LOCALHOST, Mirror, SOON, Setup, Supervisor, pause, supervisor, wait_until, write};

/// A mirror with `<debug start="true"/>`.
fn debugging(setup: Setup) -> Mirror {
    let mirror = Mirror::new(setup);
    let text = fs::read_to_string(&mirror.config).unwrap();
    write(&mirror.config, text.replace("<debug start=\"false\"/>", "<debug start=\"true\"/>"));
    mirror
}

/// The lines of the log that hold `text`.
fn lines(mirror: &Mirror, text: &str) -> Vec<String> {
    mirror.log().lines().filter(|line| line.contains(text)).map(str::to_owned).collect()
}

/// The number behind `key` in a line.
fn number(line: &str, key: &str) -> Option<u64> {
    let rest = line.split_once(key)?.1;
    rest.split(|ch: char| !ch.is_ascii_digit()).next()?.parse().ok()
}

#[test]
fn every_watch_is_told() {
    let mut mirror = debugging(Setup::plain());
    write(mirror.source("a/b/f"), "1");
    mirror.run();
    fs::create_dir(mirror.source("new dir")).unwrap();
    let mut numbers = Vec::new();
    for directory in ["", "/a", "/a/b", "/new dir"] {
        let text = format!("add watch: {}{directory} return wd is: ", mirror.sources[0].display());
        mirror.wait_logged(&text);
        let told = lines(&mirror, &text);
        assert_eq!(told.len(), 1, "{told:?}");
        numbers.push(number(&told[0], "return wd is: ").unwrap());
    }
    numbers.sort_unstable();
    numbers.dedup();
    assert_eq!(numbers.len(), 4, "one number for each");
}

/// `inotify wd:<n>`, a tab, `name:<name>`, a tab, `mask:<decimal>`: before any switch or filter.
#[test]
fn every_event_is_told() {
    let mut mirror = debugging(Setup::plain().filter(&[".*excluded"]));
    mirror.run();
    let text = format!("add watch: {} return wd is: ", mirror.sources[0].display());
    let root = number(&lines(&mirror, &text)[0], "return wd is: ").unwrap();
    let told = |events: &[(&str, u32)]| {
        for (name, mask) in events {
            mirror.wait_logged(&format!("inotify wd:{root}\tname:{name}\tmask:{mask}\n"));
        }
    };
    // Each step waits for its events: a process that another test forks holds the file open for a
    // moment, and what closes later is told by the name that it has then.
    write(mirror.source("file"), "1");
    write(mirror.source("excluded"), "1");
    write(mirror.source(".hidden"), "1");
    told(&[("file", 0x100), ("file", 0x8), ("excluded", 0x8), (".hidden", 0x8)]);
    fs::rename(mirror.source("file"), mirror.source("other")).unwrap();
    fs::create_dir(mirror.source("dir")).unwrap();
    told(&[("file", 0x40), ("other", 0x80), ("dir", 0x4000_0100)]);
    fs::remove_file(mirror.source("other")).unwrap();
    told(&[("other", 0x200)]);
}

#[test]
fn every_command_is_told_and_rsyncs_own_words() {
    let mut mirror = debugging(Setup::plain().flags(&["-r"]));
    write(mirror.source("before"), "1");
    mirror.run();
    mirror.wait_equal(SOON);
    write(mirror.source("dir/file"), "1");
    mirror.wait_equal(SOON);
    fs::remove_file(mirror.source("dir/file")).unwrap();
    mirror.wait_equal(SOON);
    let destination = format!("{LOCALHOST}::m0/");
    let is_command = |line: &&String| line.contains("rsync -artz") && line.contains(&destination);
    let commands = || lines(&mirror, "rsync: ").iter().filter(is_command).count();
    wait_until("a command for the full sync and each change", SOON, || commands() >= 3);
    // What rsync says of each file: sent, and removed.
    for said in ["<f+++++++++ before", "<f+++++++++ dir/file", "*deleting   dir/file"] {
        let of_rsync = || lines(&mirror, "rsync: ").iter().any(|line| line.contains(said));
        wait_until(said, SOON, of_rsync);
    }
}

#[test]
fn without_debug_nothing_of_it_is_printed() {
    let mut mirror = Mirror::new(Setup::plain().flags(&["-r"]));
    write(mirror.source("before"), "1");
    mirror.run();
    write(mirror.source("dir/file"), "1");
    mirror.settle();
    mirror.wait_equal(SOON);
    for text in ["add watch: ", "inotify wd:", "syncer0: rsync: ", "dir/file"] {
        assert!(!mirror.log().contains(text), "{text:?} in {}", mirror.log());
    }
}

/// In their old form, on standard output, in the old order.
#[test]
fn lines_that_scripts_look_for() {
    let mut mirror = Mirror::new(Setup::plain().remotes(&[LOCALHOST, LOCALHOST]).flags(&["-r"]));
    let (out, err) = (mirror.dir.join("out"), mirror.dir.join("err"));
    let mut command = supervisor::command(&mirror);
    command.args(mirror.setup.arguments(&mirror.config)).stdin(Stdio::null());
    command.stdout(fs::File::create(&out).unwrap()).stderr(fs::File::create(&err).unwrap());
    mirror.adopt(Supervisor::of(command.spawn().unwrap(), &err));
    let said = || fs::read_to_string(&out).unwrap();
    let watching = format!("watch path is: {}", mirror.sources[0].display());
    let command = |module: &str| {
        let end = format!(" {LOCALHOST}::{module}/");
        move |line: &&str| line.starts_with("execute command: ") && line.ends_with(&end)
    };
    for module in ["m0", "m1"] {
        wait_until("the command of each full sync", SOON, || {
            said().lines().any(|line| command(module)(&line))
        });
    }
    wait_until("it watches", SOON, || said().lines().any(|line| line == watching));
    let text = said();
    let at = |wanted: &str| text.lines().position(|line| line == wanted).unwrap_or_else(|| panic!("{text}"));
    assert!(at("config xml parse success") < at("run the sersync: "));
    assert_eq!(at("run the sersync: ") + 1, at(&watching));
    assert_eq!(text.lines().filter(|line| line.starts_with("execute command: ")).count(), 2);
    // Standard error is for the log.
    assert!(text.lines().all(|line| !line.contains("[INFO]") && !line.contains("[WARN]")), "{text}");
}

/// Of a remote that is down it was said at each try.
#[test]
fn a_full_sync_is_said_once() {
    let mut mirror = Mirror::new(Setup::plain().remotes(&[LOCALHOST, OTHERHOST]).flags(&["-r"]));
    write(mirror.source("f"), "1");
    mirror.run();
    let said = |mirror: &Mirror| {
        let log = mirror.log();
        let of_it = |line: &&str| line.starts_with("execute command: ") && line.ends_with(" 127.0.0.2::m1/");
        log.lines().filter(of_it).count()
    };
    mirror.wait_logged("remote down remote=127.0.0.2::m1");
    // Three tries at least.
    pause(Duration::from_secs(3));
    assert_eq!(said(&mirror), 1, "{}", mirror.log());
    let modules = [("m1".to_owned(), mirror.replicas[1].clone())];
    let _other = Daemon::start(&mirror.dir.join("other.conf"), OTHERHOST, mirror.port, &modules).unwrap();
    mirror.wait_logged("full sync done remote=127.0.0.2::m1");
    assert_eq!(said(&mirror), 1, "{}", mirror.log());
}
