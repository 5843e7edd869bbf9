//! The command line as scripts meet it: exit codes, where the words go, one supervisor for a
//! config and many on a host.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::net::UnixDatagram;
use std::process::{Command, Stdio};

use crate::support::supervisor::Supervisor;
use crate::support::{Mirror, SOON, Setup, is_root, processes, supervisor, wait_until, write};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// How a run ended, and what it wrote.
struct Ran {
    code: Option<i32>,
    out: String,
    err: String,
}

/// Runs the supervisor to its end.
fn run<S: AsRef<OsStr>>(mirror: &Mirror, arguments: &[S]) -> Ran {
    let output = supervisor::command(mirror).args(arguments).stdin(Stdio::null()).output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Ran { code: output.status.code(), out: text(&output.stdout), err: text(&output.stderr) }
}

/// The same with only `-o` and a config that holds `xml`.
fn run_config(mirror: &Mirror, xml: &str) -> Ran {
    fs::write(&mirror.config, xml).unwrap();
    run(mirror, &[OsStr::new("-o"), mirror.config.as_os_str()])
}

#[test]
fn help_and_version() {
    let mirror = Mirror::new(Setup::plain());
    let help = run(&mirror, &["-h"]);
    assert_eq!((help.code, help.err.as_str()), (Some(0), ""));
    for word in ["-r", "-d", "-n", "-o", "-m", "demo", "78 config"] {
        assert!(help.out.contains(word), "{word} in {}", help.out);
    }
    let version = run(&mirror, &["--version"]);
    assert_eq!((version.code, version.err.as_str()), (Some(0), ""));
    assert!(version.out.starts_with("sersync-supervisor 0."), "{}", version.out);
}

#[test]
fn usage_errors() {
    let mirror = Mirror::new(Setup::plain());
    for (arguments, word) in [
        (&["-x"][..], "-x"),
        (&["-n", "-3"], "negative"),
        (&["-n"], "--workers"),
        (&["-o"], "--config"),
        (&["-o", ""], "empty"),
        (&["-m"], "--module"),
        (&["-m", "bogus"], "refreshCDN, socket, http, command"),
        (&["--no-such-option"], "--no-such-option"),
    ] {
        let ran = run(&mirror, arguments);
        assert_eq!(ran.code, Some(64), "{arguments:?}: {}", ran.err);
        assert!(ran.err.contains(word) && ran.out.is_empty(), "{arguments:?}: {} {}", ran.out, ran.err);
    }
}

#[test]
fn a_plugin_alone_needs_its_block() {
    let block = "<plugin name=\"command\"><param prefix=\"/bin/sh\"/></plugin></head>";
    let mirror = Mirror::new(Setup::plain().edit("</head>", block));
    let config = mirror.config.as_os_str();
    for (name, said) in [("socket", "socket"), ("http", "http"), ("command", "allowShell")] {
        let ended = run(&mirror, &[OsStr::new("-o"), config, OsStr::new("-m"), OsStr::new(name)]);
        assert_eq!(ended.code, Some(78), "{name}");
        assert!(ended.err.contains(said), "{name}: {}", ended.err);
    }
    let unknown = run(&mirror, &[OsStr::new("-o"), config, OsStr::new("-m"), OsStr::new("bogus")]);
    assert_eq!(unknown.code, Some(64));
    assert!(unknown.err.contains("refreshCDN, socket, http, command"), "{}", unknown.err);
}

#[test]
fn what_is_missing() {
    let mirror = Mirror::new(Setup::plain());
    let config = run(&mirror, &["-o", "no such file.xml"]);
    assert_eq!(config.code, Some(66));
    assert!(config.err.contains("no such file.xml"), "{}", config.err);
    // Without -o it is confxml.xml in the current directory.
    let default = run::<&str>(&mirror, &[]);
    assert!(default.code == Some(66) && default.err.contains("confxml.xml"), "{}", default.err);
    let source = mirror.dir.join("source0");
    fs::remove_dir(&source).unwrap();
    let watch = run(&mirror, &[OsStr::new("-o"), mirror.config.as_os_str()]);
    assert_eq!(watch.code, Some(66));
    assert!(watch.err.contains("source0"), "{}", watch.err);
    write(&source, "a file");
    assert_eq!(run(&mirror, &[OsStr::new("-o"), mirror.config.as_os_str()]).code, Some(66));
}

#[test]
fn a_broken_config_tells_all_its_problems() {
    let mirror = Mirror::new(Setup::plain());
    let good = fs::read_to_string(&mirror.config).unwrap();
    let bad = good
        .replace("-artz", "-artz -e ssh")
        .replace(&format!("port=\"{}\"", mirror.port), "port=\"70000\"")
        .replace("<timeout start=\"false\" time=\"100\"/>", "<timeout start=\"true\" time=\"soon\"/>")
        .replace("<remote ip=\"127.0.0.1\"", "<remote ip=\"\"");
    assert_ne!(good, bad);
    let ran = run_config(&mirror, &bad);
    assert_eq!(ran.code, Some(78), "{}", ran.err);
    for (line, text) in (1..).zip(bad.lines()) {
        if !good.lines().any(|unchanged| unchanged == text) {
            assert!(ran.err.contains(&format!("confxml.xml:{line}:")), "line {line} in {}", ran.err);
            assert!(ran.err.contains(text.trim()), "{text} in {}", ran.err);
        }
    }
    for broken in ["", "no xml", "<head>", "<head><sersync></head>", "<other/>"] {
        assert_eq!(run_config(&mirror, broken).code, Some(78), "{broken}");
    }
}

#[test]
fn one_supervisor_for_a_config_whatever_it_is_called() {
    let mut mirror = Mirror::start(Setup::plain());
    symlink(&mirror.config, mirror.dir.join("symlink.xml")).unwrap();
    fs::hard_link(&mirror.config, mirror.dir.join("hardlink.xml")).unwrap();
    for name in ["confxml.xml", "symlink.xml", "hardlink.xml"] {
        let second = run(&mirror, &[OsStr::new("-o"), mirror.dir.join(name).as_os_str()]);
        assert_eq!(second.code, Some(75), "{name}: {}", second.err);
        assert!(second.err.contains("already runs"), "{}", second.err);
    }
    // The first has not noticed, and leaves room when it ends.
    write(mirror.source("file"), "still mirrored");
    mirror.wait_equal(SOON);
    mirror.supervisor().signal(Signal::SIGTERM);
    assert_eq!(mirror.supervisor().wait_end(SOON).code(), Some(0));
    mirror.run();
    mirror.supervisor().signal(Signal::SIGKILL);
    mirror.supervisor().wait_end(SOON);
    mirror.run();
    write(mirror.source("file"), "mirrored after a crash");
    mirror.wait_equal(SOON);
}

#[test]
fn different_configs_live_side_by_side() {
    let mut one = Mirror::start(Setup::plain());
    let mut other = Mirror::start(Setup::plain());
    write(one.source("one"), "one");
    write(other.source("other"), "other");
    one.wait_equal(SOON);
    other.wait_equal(SOON);
    if is_root() {
        let mut uids: Vec<Option<String>> = Vec::new();
        for mirror in [&mut one, &mut other] {
            for name in ["watcher", "syncer0"] {
                uids.push(processes::status(mirror.supervisor().child(name), "Uid"));
            }
        }
        uids.sort();
        uids.dedup();
        assert_eq!(uids.len(), 4, "{uids:?}");
    }
    drop(one);
    write(other.source("later"), "the other goes on");
    other.wait_equal(SOON);
}

/// Ends the process that goes on after `-d`.
struct Detached(i32);

impl Drop for Detached {
    fn drop(&mut self) {
        let _ = kill(Pid::from_raw(self.0), Signal::SIGTERM);
        let _ = kill(Pid::from_raw(self.0), Signal::SIGTERM);
    }
}

#[test]
fn detached() {
    let mirror = Mirror::new(Setup::plain());
    let log = fs::File::create(mirror.dir.join("log")).unwrap();
    let mut parent = supervisor::command(&mirror);
    parent.args(["-d", "-o"]).arg(&mirror.config).stdin(Stdio::null());
    let status = parent.stdout(log.try_clone().unwrap()).stderr(log).status().unwrap();
    assert_eq!(status.code(), Some(0));
    let config = mirror.config.display().to_string();
    let is_ours = |process: &processes::Process| process.command.contains(&config);
    let all: Vec<_> = processes::all().into_iter().filter(is_ours).collect();
    let [left] = &all[..] else { panic!("{all:?}") };
    let detached = Detached(left.pid);
    // It watches when the parent returns: nothing has to be waited for.
    write(mirror.source("file"), "mirrored");
    mirror.wait_equal(SOON);
    assert_eq!(nix::unistd::getsid(Some(Pid::from_raw(detached.0))).unwrap().as_raw(), detached.0);
    let second = run(&mirror, &[OsStr::new("-d"), OsStr::new("-o"), mirror.config.as_os_str()]);
    assert_eq!(second.code, Some(75), "{}", second.err);
    drop(detached);
    let pid = left.pid;
    wait_until("it ends", SOON, || !processes::lives(pid));
}

/// Watchdogs of old look for the name that was typed. It was `exe`, and `/proc/self/exe` on the command line.
#[test]
fn detached_under_the_name_that_was_typed() {
    let mut mirror = Mirror::new(Setup::plain());
    let link = mirror.dir.join("sersync2-of-a-test");
    symlink(&mirror.setup.program, &link).unwrap();
    mirror.setup.program = link.clone();
    let null = fs::File::options().write(true).open("/dev/null").unwrap();
    let mut parent = supervisor::command(&mirror);
    parent.args(["-d", "-o"]).arg(&mirror.config).stdin(Stdio::null());
    let status = parent.stdout(null.try_clone().unwrap()).stderr(null).status().unwrap();
    assert_eq!(status.code(), Some(0));
    let typed = link.display().to_string();
    let all: Vec<_> =
        processes::all().into_iter().filter(|process| process.command.contains(&typed)).collect();
    let [left] = &all[..] else { panic!("{all:?}") };
    let detached = Detached(left.pid);
    assert!(left.command.starts_with(&format!("{typed} -d -o ")), "{}", left.command);
    let name = fs::read_to_string(format!("/proc/{}/comm", left.pid)).unwrap();
    assert_eq!(name.trim_end(), "sersync2-of-a-t");
    drop(detached);
    let pid = left.pid;
    wait_until("it ends", SOON, || !processes::lives(pid));
}

#[test]
fn detaching_tells_what_is_wrong() {
    let mirror = Mirror::new(Setup::plain());
    fs::write(&mirror.config, "<head>").unwrap();
    let ran = run(&mirror, &[OsStr::new("-do"), mirror.config.as_os_str()]);
    assert_eq!(ran.code, Some(78));
    assert!(ran.err.contains("confxml.xml"), "{}", ran.err);
}

#[test]
fn stray_words_are_only_worth_a_warning() {
    let mirror = Mirror::start(Setup::plain().flags(&["stray", "-n", "4", "words"]));
    for word in ["stray", "words"] {
        let warned = |line: &str| line.contains("WARN") && line.contains(word) && line.contains("ignored");
        assert!(mirror.log().lines().any(warned), "{word}");
    }
    write(mirror.source("file"), "mirrored");
    mirror.wait_equal(SOON);
}

#[test]
fn warnings_do_not_stop_it() {
    let mut mirror = Mirror::new(Setup::plain().params("-artuz"));
    let text = fs::read_to_string(&mirror.config).unwrap();
    fs::write(&mirror.config, text.replace("</inotify>", "<nonsense/></inotify>")).unwrap();
    mirror.run();
    assert!(mirror.log().contains("nonsense"), "{}", mirror.log());
    write(mirror.source("file"), "mirrored");
    mirror.wait_equal(SOON);
}

#[test]
fn what_others_may_write_or_read_is_refused() {
    let password = |mirror: &Mirror| mirror.config.with_file_name("password");
    for (what, mode, cure) in [("config", 0o666, "chmod go-w"), ("password", 0o604, "chmod")] {
        let mirror = Mirror::new(Setup::plain());
        let text = fs::read_to_string(&mirror.config).unwrap();
        let auth =
            format!("<auth start=\"true\" users=\"u\" passwordfile=\"{}\"/>", password(&mirror).display());
        fs::write(&mirror.config, text.replace("</rsync>", &format!("{auth}</rsync>"))).unwrap();
        fs::write(password(&mirror), "hush").unwrap();
        let file = if what == "config" { mirror.config.clone() } else { password(&mirror) };
        for other in [&mirror.config, &password(&mirror)] {
            fs::set_permissions(other, fs::Permissions::from_mode(0o600)).unwrap();
        }
        fs::set_permissions(&file, fs::Permissions::from_mode(mode)).unwrap();
        let output = supervisor::command(&mirror).arg("-o").arg(&mirror.config).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(78), "{what}: {said}");
        assert!(said.contains(cure) && said.contains(&file.display().to_string()), "{what}: {said}");
        assert!(!said.contains("hush"), "{said}");
    }
}

/// `Type=notify`: ready once everything is watched, and stopping when it is told to.
#[test]
fn systemd_hears_how_it_is() {
    let mut mirror = Mirror::new(Setup::plain());
    let address = mirror.dir.join("notify");
    let socket = UnixDatagram::bind(&address).unwrap();
    socket.set_read_timeout(Some(SOON)).unwrap();
    let mut command = supervisor::command(&mirror);
    command.arg("-o").arg(&mirror.config).env("NOTIFY_SOCKET", &address).env("WATCHDOG_USEC", "4000000");
    let output = fs::File::create(mirror.dir.join("log")).unwrap();
    command.stdout(output.try_clone().unwrap()).stderr(output);
    let running = Supervisor::of(command.spawn().unwrap(), &mirror.dir.join("log"));
    let pid = running.pid();
    mirror.adopt(running);
    let mut heard = String::new();
    let mut hear = |word: &str| {
        while !heard.contains(word) {
            let mut datagram = [0; 512];
            let length =
                socket.recv(&mut datagram).unwrap_or_else(|error| panic!("no {word}: {error}: {heard}"));
            heard.push_str(&String::from_utf8_lossy(&datagram[..length]));
            heard.push('\n');
        }
    };
    hear("READY=1");
    hear(&format!("MAINPID={pid}"));
    hear("STATUS=watching trees=1/1 remotes=1");
    hear("WATCHDOG=1");
    mirror.supervisor().signal(Signal::SIGTERM);
    hear("STOPPING=1");
}

#[test]
fn no_rsync_no_start() {
    let mirror = Mirror::new(Setup::plain());
    let mut command: Command = supervisor::command(&mirror);
    let output = command.arg("-o").arg(&mirror.config).env("PATH", "/nonexistent").output().unwrap();
    assert_eq!(output.status.code(), Some(69));
    assert!(String::from_utf8_lossy(&output.stderr).contains("rsync is not in PATH"));
}

/// A state in root's own directory was.
#[test]
fn a_demo_leaves_nothing_behind() {
    let mirror = Mirror::new(Setup::plain());
    let (temporary, out) = (mirror.dir.join("temporary"), mirror.dir.join("out"));
    fs::create_dir(&temporary).unwrap();
    let mut command = supervisor::command(&mirror);
    command.arg("demo").env("TMPDIR", &temporary).env("XDG_STATE_HOME", mirror.dir.join("states"));
    command.stdin(Stdio::null()).stdout(fs::File::create(&out).unwrap());
    command.stderr(fs::File::create(mirror.dir.join("err")).unwrap());
    let mut demo = command.spawn().unwrap();
    let said = || fs::read_to_string(&out).unwrap();
    wait_until("it shows a change", SOON, || said().contains("a new file                   on the remote"));
    kill(Pid::from_raw(demo.id().cast_signed()), Signal::SIGINT).unwrap();
    assert_eq!(demo.wait().unwrap().code(), Some(0), "{}", said());
    assert!(said().contains("nothing is left behind"), "{}", said());
    assert_eq!(fs::read_dir(&temporary).unwrap().count(), 0);
    let own = mirror.dir.file_name().unwrap().to_string_lossy().replace('-', "%2d");
    let states = ["/var/lib/sersync".into(), mirror.dir.join("states")];
    for state in states.iter().flat_map(|states| fs::read_dir(states).into_iter().flatten().flatten()) {
        let name = state.file_name().to_string_lossy().into_owned();
        assert!(!name.contains(&own), "{name}");
    }
}
