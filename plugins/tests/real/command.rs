//! `command` with real programs. A script stands for what an operator configures.

use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use common::config::{Call, CommandPlugin, FilterExpression, PluginKind};
use common::message::Verdict::{Delivered, Refused, Unreachable};
use common::message::{EventKind, PluginEvent};
use plugins::Plugin;
use tempfile::TempDir;

use crate::common_ground::{batch, event, json, longest, object, plugin, single};

/// A directory with a program in it that writes its arguments and its input to files.
struct Place {
    directory: TempDir,
}

impl Place {
    fn new(script: &str) -> Place {
        let place = Place { directory: tempfile::tempdir().unwrap() };
        let text = format!("#!/bin/sh\nD={}\n{script}\n", place.directory.path().display());
        // By a child: were the file open for writing here, what a parallel test forks could hold on to it,
        // and "Text file busy" be the answer.
        let mut written = Command::new("/bin/sh");
        written.args(["-c", "printf '%s' \"$1\" > \"$0\" && chmod 755 \"$0\""]);
        assert!(written.arg(place.path("program")).arg(text).status().unwrap().success());
        place
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn text(&self, name: &str) -> Vec<u8> {
        fs::read(self.path(name)).unwrap_or_default()
    }

    fn config(&self) -> CommandPlugin {
        CommandPlugin {
            prefix: vec![self.path("program").to_str().unwrap().to_owned(), "-o".into(), "two words".into()],
            suffix: vec![String::new(), "$HOME".into()],
            ignore_error: false,
            include: vec![],
            allow_shell: false,
        }
    }

    fn plugin(&self, call: Call) -> Plugin {
        plugin(PluginKind::Command(self.config()), call)
    }
}

/// Each argument with a NUL behind it, and two behind a call.
const ARGUMENTS: &str = "for word; do printf '%s\\0' \"$word\" >> $D/argv; done; printf '\\0' >> $D/argv";

#[test]
fn a_name_is_one_argument() {
    let place = Place::new(ARGUMENTS);
    let hostile: [&[u8]; 7] =
        [b"a;touch INJ", b"-rf", b"$(touch INJ)", b"a\nb", b" ", b"`touch INJ`\xff", b"'\"\\"];
    let told = place.plugin(single(20)).tell(&hostile.map(event)).unwrap();
    assert_eq!((told.verdicts, told.note), (vec![Delivered; 7], String::new()));
    let wanted: Vec<u8> =
        hostile.iter().flat_map(|name| [b"-o\0two words\0/w/", *name, b"\0\0$HOME\0\0"].concat()).collect();
    assert_eq!(place.text("argv"), wanted);
    assert!(!place.path("INJ").exists() && !PathBuf::from("/INJ").exists());
}

#[test]
fn what_it_may_know() {
    let place = Place::new("env | grep SERSYNC | sort >> $D/env; wc -c >> $D/env");
    let events = [
        PluginEvent { kind: EventKind::Removed, ..event("a") },
        PluginEvent { kind: EventKind::Rescanned, directory: true, mask: 0, ..event(longest()) },
    ];
    assert_eq!(place.plugin(single(20)).tell(&events).unwrap().verdicts, [Delivered; 2]);
    let wanted = "SERSYNC_DIRECTORY=0\nSERSYNC_KIND=removed\nSERSYNC_MASK=8\n0\n\
        SERSYNC_DIRECTORY=1\nSERSYNC_KIND=rescanned\nSERSYNC_MASK=0\n0\n";
    assert_eq!(String::from_utf8(place.text("env")).unwrap(), wanted);
}

#[test]
fn the_root_is_told_as_the_directory_it_is() {
    let place = Place::new(ARGUMENTS);
    let root = PluginEvent { kind: EventKind::Rescanned, directory: true, mask: 0, ..event("") };
    assert_eq!(place.plugin(single(20)).tell(&[root]).unwrap().verdicts, [Delivered]);
    assert_eq!(place.text("argv"), b"-o\0two words\0/w\0\0$HOME\0\0");
}

#[test]
fn inputs() {
    let script = format!("{ARGUMENTS}; cat >> $D/stdin");
    let events = ["a\nb", "c"].map(event);
    let single_argv = b"-o\0two words\0/w/a\nb\0\0$HOME\0\0-o\0two words\0/w/c\0\0$HOME\0\0".to_vec();
    let batch_argv = b"-o\0two words\0\0$HOME\0\0".to_vec();
    let lines = object("a\\nb") + "\n" + &object("c") + "\n";
    for (call, argv, stdin) in [
        (single(20), &single_argv, ""),
        (json(single(20)), &single_argv, lines.as_str()),
        (batch(20), &batch_argv, "/w/a\nb\0/w/c\0"),
        (json(batch(20)), &batch_argv, lines.as_str()),
    ] {
        let place = Place::new(&script);
        assert_eq!(place.plugin(call).tell(&events).unwrap().verdicts, [Delivered; 2]);
        assert_eq!(&place.text("argv"), argv, "{call:?}");
        assert_eq!(place.text("stdin"), stdin.as_bytes(), "{call:?}");
    }
}

#[test]
fn a_batch_that_is_not_read() {
    let events: Vec<_> = (0..500).map(|_| event(longest())).collect();
    let place = Place::new("exit 0");
    assert_eq!(place.plugin(batch(20)).tell(&events).unwrap().verdicts, vec![Delivered; 500]);
    let place = Place::new("exec sleep 300");
    let told = place.plugin(batch(1)).tell(&events).unwrap();
    assert_eq!((told.verdicts, told.note.as_str()), (vec![Refused; 500], "timed out after 1 s"));
}

#[test]
fn only_what_matches_entirely() {
    for call in [single(20), batch(20)] {
        let place = Place::new("echo call >> $D/calls; cat >> $D/stdin");
        let include = vec![FilterExpression(br"/w/.*\.jpg".to_vec()), FilterExpression(b"/w/x".to_vec())];
        let kind = PluginKind::Command(CommandPlugin { include, ..place.config() });
        let mut plugin = plugin(kind, call);
        assert_eq!(plugin.tell(&["a.jpg.txt", "xy"].map(event)).unwrap().verdicts, [Delivered; 2]);
        assert!(!place.path("calls").exists());
        let some = ["a.jpg", "b", "x"].map(event);
        assert_eq!(plugin.tell(&some).unwrap().verdicts, [Delivered; 3]);
        let calls = String::from_utf8(place.text("calls")).unwrap().lines().count();
        assert_eq!((calls, place.text("stdin").is_empty()), if call.batch { (1, false) } else { (2, true) });
        if call.batch {
            assert_eq!(place.text("stdin"), b"/w/a.jpg\0/w/x\0");
        }
    }
}

#[test]
fn how_it_may_end() {
    for (script, note) in [("exit 3", "exit status 3"), ("kill -9 $$", "signal 9")] {
        let place = Place::new(script);
        let told = place.plugin(single(20)).tell(&["a", "b"].map(event)).unwrap();
        assert_eq!((told.verdicts, told.note.as_str()), (vec![Refused; 2], note));
        let ignoring = CommandPlugin { ignore_error: true, ..place.config() };
        let told = plugin(PluginKind::Command(ignoring), single(20)).tell(&[event("a")]).unwrap();
        assert_eq!((told.verdicts, told.note.as_str()), (vec![Delivered], ""));
    }
}

#[test]
fn a_program_that_hangs() {
    let place = Place::new("sleep 300");
    let start = Instant::now();
    let told = place.plugin(single(1)).tell(&["a", "b", "c"].map(event)).unwrap();
    // The time of the delivery is over with that of the first call.
    assert_eq!((told.verdicts, told.note.as_str()), (vec![Refused], "timed out after 1 s"));
    assert!(start.elapsed() < Duration::from_secs(2), "{:?}", start.elapsed());
}

#[test]
fn a_program_that_is_not_there() {
    let place = Place::new("exit 0");
    for bytes in [&b""[..], b"text"] {
        let file = place.path("other");
        if !bytes.is_empty() {
            fs::write(&file, bytes).unwrap();
        }
        let config = CommandPlugin {
            prefix: vec![file.to_str().unwrap().to_owned()],
            ignore_error: true,
            ..place.config()
        };
        let told = plugin(PluginKind::Command(config), single(20)).tell(&["a", "b"].map(event)).unwrap();
        assert_eq!(told.verdicts, [Unreachable]);
        assert!(told.note.starts_with(&format!("start {}: ", file.display())), "{}", told.note);
    }
}

#[test]
fn a_program_that_talks() {
    let place = Place::new("yes GOT | head -c 50000000; echo done > $D/done");
    assert_eq!(place.plugin(single(60)).tell(&[event("a")]).unwrap().verdicts, [Delivered]);
    assert_eq!(place.text("done"), b"done\n");
}
