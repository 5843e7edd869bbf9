//! The fail log: a readable record of what failed, which never harms anybody.
#![allow(clippy::indexing_slicing, clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::time::Duration;

use crate::support::daemon::OTHERHOST;
use crate::support::{Daemon, LOCALHOST, Mirror, SOON, Setup, exists, holds, is_root, wait_until, write};

fn setup(path: &str) -> Setup {
    let path = format!("<failLog path=\"{path}\" ");
    Setup::plain().remotes(&[LOCALHOST, OTHERHOST]).edit("<failLog path=\"\" ", path)
}

fn records(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_default()
}

#[test]
fn what_failed_and_what_became_of_it() {
    let mut mirror = Mirror::new(setup("@DIR@/fail.sh"));
    let log = mirror.dir.join("fail.sh");
    mirror.run();
    write(mirror.source("a/it's"), "1");
    wait_until("it is recorded", SOON, || records(&log).contains("./a/it"));
    let text = records(&log);
    let record = text.split("\n\n").find(|record| record.contains("./a/it")).unwrap();
    let lines: Vec<&str> = record.lines().collect();
    let source = mirror.source("").display().to_string();
    let wanted = [
        "#errno 2560".to_owned(),
        format!(
            "cd {} && rsync -artz -R --port={} './a/it'\\''s' 127.0.0.2::m1",
            source.trim_end_matches('/'),
            mirror.port
        ),
    ];
    assert_eq!(lines, wanted);
    assert_eq!(log.metadata().unwrap().mode() & 0o7777, 0o600);
    wait_until("the other remote has it", SOON, || holds(mirror.replica("a/it's"), "1"));
    fs::remove_file(mirror.source("a/it's")).unwrap();
    wait_until("the removal takes its place", SOON, || records(&log).contains("--include"));
    let text = records(&log);
    assert!(!text.contains("./a/it"));
    // By now no rsync is started for it any more, which is no success.
    assert!(
        text.lines().filter(|line| line.starts_with("#errno")).all(|line| line == "#errno 2560"),
        "{text}"
    );
    let second = [("m1".to_owned(), mirror.replicas[1].clone())];
    let _daemon = Daemon::start(&mirror.dir.join("second.conf"), OTHERHOST, mirror.port, &second).unwrap();
    mirror.wait_equal(SOON);
    wait_until("nothing is left", SOON, || exists(&log) && records(&log).is_empty());
}

/// What fails in the last moment is on record when the supervisor has gone.
#[test]
fn a_stop_right_after_a_failure() {
    let mut mirror = Mirror::new(setup("@DIR@/fail.sh"));
    mirror.run();
    write(mirror.source("f"), "1");
    mirror.wait_logged("remote down remote=127.0.0.2::m1");
    write(mirror.source("g"), "1");
    wait_until("the other remote has it", SOON, || holds(mirror.replica("g"), "1"));
    mirror.supervisor().signal(nix::sys::signal::Signal::SIGTERM);
    mirror.supervisor().wait_end(SOON);
    let text = records(&mirror.dir.join("fail.sh"));
    assert!(text.contains("./f ") && text.contains("./g "), "{text}");
}

/// Every way of putting a trap where the record goes: a line in the log, no damage, and the
/// mirror goes on.
#[test]
fn traps() {
    let lay = |mirror: &Mirror, trap: &str| {
        let path = mirror.dir.join("fail.sh");
        match trap {
            "another user's" => {
                write(&path, "theirs");
                chown(&path, Some(65534), None).unwrap();
            }
            "something else" => write(&path, "not a record\n"),
            "symlink" => symlink("/etc/passwd", &path).unwrap(),
            "fifo" => nix::unistd::mkfifo(&path, nix::sys::stat::Mode::S_IRWXU).unwrap(),
            _ => {}
        }
    };
    let passwd = fs::read("/etc/passwd").unwrap();
    let traps: [(&str, &str, &str); 5] = [
        // It was written over, and was said to hold records.
        ("something else", "@DIR@/fail.sh", "it holds something else than records"),
        ("another user's", "@DIR@/fail.sh", "it belongs to another user"),
        ("symlink", "@DIR@/fail.sh", "it is a symlink"),
        ("fifo", "@DIR@/fail.sh", "it is not a plain file"),
        ("missing directory", "@DIR@/missing/fail.sh", "its directory: "),
    ];
    for (trap, path, said) in traps {
        if trap == "another user's" && !is_root() {
            continue;
        }
        let mut mirror = Mirror::new(setup(path));
        lay(&mirror, trap);
        mirror.run();
        mirror.wait_logged(said);
        write(mirror.source("f"), "1");
        wait_until("the mirror goes on", SOON, || holds(mirror.replica("f"), "1"));
        mirror.wait_logged("remote down remote=127.0.0.2::m1");
        write(mirror.source("g"), "1");
        wait_until("the mirror goes on", SOON, || holds(mirror.replica("g"), "1"));
        assert_eq!(mirror.logged("fail log path="), 1, "{trap}: one line, {}", mirror.log());
        assert_eq!(fs::read("/etc/passwd").unwrap(), passwd);
        let found = mirror.dir.join("fail.sh").symlink_metadata();
        match trap {
            "another user's" => assert!(holds(mirror.dir.join("fail.sh"), "theirs")),
            "something else" => assert!(holds(mirror.dir.join("fail.sh"), "not a record\n")),
            "symlink" => assert!(found.unwrap().is_symlink()),
            "fifo" => assert!(!found.unwrap().is_file()),
            _ => assert!(!exists(mirror.dir.join("missing"))),
        }
    }
}

/// What an earlier sersync left there is not run, and not taken for ours.
#[test]
fn an_old_script_is_never_run() {
    let mut mirror = Mirror::new(setup("@DIR@/fail.sh"));
    let (log, ran) = (mirror.dir.join("fail.sh"), mirror.dir.join("ran"));
    write(&log, format!("#errno 2560\ntouch {}\n\n", ran.display()));
    fs::set_permissions(&log, fs::Permissions::from_mode(0o777)).unwrap();
    mirror.run();
    mirror.wait_logged("it holds records of an earlier run");
    write(mirror.source("f"), "1");
    wait_until("our own record", SOON, || records(&log).contains("./f"));
    assert_eq!(log.metadata().unwrap().mode() & 0o7777, 0o600);
    assert!(!exists(ran) && !records(&log).contains("touch"));
}

/// An ordinary user's file in a directory that takes no new ones is written over in place.
#[test]
fn in_place_where_the_directory_takes_no_file() {
    if !is_root() {
        return;
    }
    let directory = tempfile::Builder::new().prefix("sersync-e2e-").tempdir().unwrap();
    let path = directory.path().join("fail.sh");
    write(&path, "");
    chown(&path, Some(65534), Some(65534)).unwrap();
    fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let mut child = std::process::Command::new(env!("CARGO_BIN_EXE_sersync-supervisor"));
    let home = tempfile::Builder::new().prefix("sersync-e2e-").tempdir().unwrap();
    chown(home.path(), Some(65534), Some(65534)).unwrap();
    fs::create_dir(home.path().join("source")).unwrap();
    chown(home.path().join("source"), Some(65534), Some(65534)).unwrap();
    let config = home.path().join("confxml.xml");
    let text = format!(
        "<head><sersync><localpath watch=\"{}\"><remote ip=\"127.0.0.1\" name=\"m\"/></localpath><rsync>\
         <userDefinedPort start=\"true\" port=\"1\"/></rsync><failLog path=\"{}\" timeToExecute=\"60\"/></sersync></head>",
        home.path().join("source").display(),
        path.display()
    );
    write(&config, text);
    fs::set_permissions(&config, fs::Permissions::from_mode(0o644)).unwrap();
    child.uid(65534).gid(65534).env("XDG_RUNTIME_DIR", home.path()).current_dir(home.path());
    let log = fs::File::create(directory.path().join("log")).unwrap();
    child.args(["-o".as_ref(), config.as_os_str()]).stdout(log.try_clone().unwrap()).stderr(log);
    let mut child = child.spawn().unwrap();
    let said = || records(&directory.path().join("log"));
    wait_until("it watches", SOON, || said().contains("watch path is"));
    write(home.path().join("source/f"), "1");
    let inode = path.metadata().unwrap().ino();
    wait_until("it is recorded", SOON, || records(&path).contains("./f"));
    assert_eq!(path.metadata().unwrap().ino(), inode);
    assert_eq!(path.metadata().unwrap().mode() & 0o7777, 0o600);
    nix::sys::signal::kill(
        nix::unistd::Pid::from_raw(child.id().cast_signed()),
        nix::sys::signal::Signal::SIGTERM,
    )
    .unwrap();
    wait_until("it ends", Duration::from_secs(30), || child.try_wait().unwrap().is_some());
}
