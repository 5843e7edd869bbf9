//! Plugins: told of every change once all remotes have dealt with it, and never in the way of
//! a file. The bytes of each are tested in their own crate.
#![allow(clippy::indexing_slicing, clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::time::Duration;

use crate::support::daemon::OTHERHOST;
use crate::support::{
    LOCALHOST, Listener, Manner, Mirror, SOON, Setup, exists, holds, is_root, processes, wait_until, write,
};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// Far more than a change takes to travel, far less than any of a plugin's deadlines.
const PROMPTLY: Duration = Duration::from_secs(2);

fn socket(listener: &Listener) -> String {
    block("socket", "", &format!("<deshost ip=\"127.0.0.1\" port=\"{}\"/>", listener.port))
}

fn http(listener: &Listener, attributes: &str) -> String {
    let port = listener.port;
    block("http", attributes, &format!("<deshost url=\"http://127.0.0.1:{port}/changed\" port=\"{port}\"/>"))
}

fn block(name: &str, attributes: &str, inner: &str) -> String {
    format!(
        "<plugin name=\"{name}\" {attributes}><localpath watch=\"@DIR@/source0\">{inner}</localpath></plugin>"
    )
}

/// A script that everybody may run, and a file that everybody may write: a plugin has a uid of
/// its own.
fn script(mirror: &Mirror, text: &str) {
    let path = mirror.dir.join("hook");
    write(&path, format!("#!/bin/sh\n{}\n", text.replace("@DIR@", &mirror.dir.display().to_string())));
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    write(mirror.dir.join("told"), "");
    fs::set_permissions(mirror.dir.join("told"), fs::Permissions::from_mode(0o666)).unwrap();
}

fn command(attributes: &str) -> String {
    format!("<plugin name=\"command\" {attributes}><param prefix=\"@DIR@/hook\" suffix=\"end\"/></plugin>")
}

fn files_flow(mirror: &Mirror, round: &str) {
    for n in 0..5 {
        let name = format!("{round}{n}");
        write(mirror.source(&name), &name);
        wait_until("a file arrives promptly", PROMPTLY, || holds(mirror.replica(&name), &name));
    }
}

#[test]
fn told_when_the_remotes_have_it() {
    let listener = Listener::new(Manner::Listens);
    let setup = Setup::plain().remotes(&[LOCALHOST, OTHERHOST]).plugin("socket", &socket(&listener));
    let mut mirror = Mirror::new(setup);
    let second = [("m1".to_owned(), mirror.replicas[1].clone())];
    let config = mirror.dir.join("second.conf");
    let _daemon = crate::support::Daemon::start(&config, OTHERHOST, mirror.port, &second).unwrap();
    mirror.run();
    for n in 0..20 {
        let name = format!("f{n}");
        write(mirror.source(&name), &name);
        let path = mirror.source(&name).display().to_string();
        wait_until("the plugin is told", SOON, || listener.has(&path));
        assert!(
            holds(mirror.replica(&name), &name) && holds(mirror.replicas[1].join(&name), &name),
            "{name}"
        );
    }
    fs::remove_file(mirror.source("f3")).unwrap();
    let path = mirror.source("f3").display().to_string();
    let times = || listener.heard().iter().filter(|heard| **heard == path).count();
    wait_until("the removal is told", SOON, || times() == 2);
    assert!(!exists(mirror.replica("f3")));
    assert_eq!(listener.heard().len(), 21, "each change once: {:?}", listener.heard());
}

#[test]
fn nobody_listens_and_nothing_is_lost() {
    let listener = Listener::new(Manner::Listens);
    let port = listener.port;
    let setup = Setup::plain().plugin("socket", &socket(&listener));
    drop(listener);
    let mut mirror = Mirror::start(setup);
    files_flow(&mirror, "down");
    mirror.wait_logged("plugin down plugin=socket");
    files_flow(&mirror, "still");
    let listener = Listener::on(port, Manner::Listens);
    let wanted = |round: &str| {
        (0..5).map(|n| mirror.source(format!("{round}{n}")).display().to_string()).collect::<Vec<_>>()
    };
    let all = [wanted("down"), wanted("still")].concat();
    wait_until("everything is told", SOON, || all.iter().all(|path| listener.has(path)));
    mirror.wait_logged("plugin up plugin=socket");
    assert_eq!(mirror.logged("plugin down plugin=socket"), 1, "one line a turn");
    let _ = mirror.supervisor();
}

#[test]
fn killed_again_and_again_and_nothing_is_lost() {
    let listener = Listener::new(Manner::Answers(Duration::from_millis(20)));
    let mut mirror = Mirror::start(Setup::plain().plugin("http", &http(&listener, "")));
    let names: Vec<String> = (0..60).map(|n| format!("f{n}")).collect();
    for (n, name) in names.iter().enumerate() {
        write(mirror.source(name), name);
        if n % 15 == 5 {
            let pid = mirror.supervisor().child("plugin-http");
            kill(Pid::from_raw(pid), if n % 2 == 0 { Signal::SIGKILL } else { Signal::SIGSTOP }).unwrap();
            wait_until("it is replaced", SOON, || !processes::lives(pid));
        }
    }
    let told = |name: &str| {
        let ending = format!("%2F{name}&");
        listener
            .heard()
            .iter()
            .any(|request| request.contains(&ending) || request.contains(&format!("/{name}&")))
    };
    wait_until("everything is told", Duration::from_secs(90), || names.iter().all(|name| told(name)));
    mirror.wait_equal(SOON);
}

#[test]
fn whoever_never_answers_delays_no_file() {
    let listener = Listener::new(Manner::Silent);
    let mirror = Mirror::start(Setup::plain().plugin("http", &http(&listener, "timeout=\"2\"")));
    for round in ["a", "b", "c"] {
        files_flow(&mirror, round);
    }
    mirror.wait_logged("plugin down plugin=http");
    files_flow(&mirror, "d");
}

/// It accepts and says nothing: nobody knows that it is down before a while has passed.
#[test]
fn a_remote_that_hangs_delays_no_plugin_for_long() {
    let listener = Listener::new(Manner::Listens);
    let setup = Setup::plain().remotes(&[LOCALHOST, OTHERHOST]).plugin("socket", &socket(&listener));
    let mirror = Mirror::new(setup);
    let _hole = std::net::TcpListener::bind((OTHERHOST, mirror.port)).unwrap();
    let mut mirror = mirror;
    mirror.run();
    for name in ["first", "second"] {
        write(mirror.source(name), name);
        let path = mirror.source(name).display().to_string();
        wait_until("the plugin is told", Duration::from_secs(20), || listener.has(&path));
    }
}

#[test]
fn a_command_gets_each_path_and_is_tried_again() {
    let mut mirror = Mirror::new(Setup::plain().plugin("command", &command("")));
    let text = "[ -e @DIR@/refuse ] && exit 1\necho \"$#:$1:$2:$(id -u)\" >> @DIR@/told";
    script(&mirror, text);
    write(mirror.dir.join("refuse"), "");
    mirror.run();
    let hostile = ["plain", "a;touch INJ", "$(touch INJ)", "-rf", "a b"];
    for name in hostile {
        write(mirror.source(name), name);
    }
    wait_until("all is mirrored", SOON, || hostile.iter().all(|name| exists(mirror.replica(name))));
    fs::remove_file(mirror.dir.join("refuse")).unwrap();
    let told = || fs::read_to_string(mirror.dir.join("told")).unwrap();
    let line = |name: &str| format!("2:{}:end:", mirror.source(name).display());
    wait_until("all is told", SOON, || hostile.iter().all(|name| told().contains(&line(name))));
    assert!(
        !exists(mirror.source("INJ"))
            && !exists(mirror.dir.join("INJ"))
            && !exists(mirror.dir.join("cwd/INJ"))
    );
    let uid = told().lines().next().unwrap().rsplit(':').next().unwrap().parse::<u32>().unwrap();
    if is_root() {
        assert!(uid >= 2_000_000_000, "it runs under a uid of its own: {uid}");
        let pid = mirror.supervisor().child("plugin-command");
        assert_eq!(processes::status(pid, "CapEff").unwrap(), "0000000000000000");
        assert_eq!(processes::status(pid, "NoNewPrivs").unwrap(), "1");
        assert_eq!(processes::status(pid, "Groups").unwrap(), "");
    }
}

/// As in the original, whose shell stood there.
#[test]
fn a_command_is_looked_for_where_the_supervisor_was_started() {
    let block = "<plugin name=\"command\"><param prefix=\"../hook x\" suffix=\"\"/></plugin>";
    let mut mirror = Mirror::new(Setup::plain().plugin("command", block));
    script(&mirror, "echo \"$1:$2\" >> @DIR@/told");
    mirror.run();
    write(mirror.source("f"), "x");
    let wanted = format!("x:{}\n", mirror.source("f").display());
    wait_until("it is told", SOON, || holds(mirror.dir.join("told"), &wanted));
}

#[test]
fn a_command_in_an_account_of_the_machine() {
    if !is_root() {
        return;
    }
    let mut mirror =
        Mirror::new(Setup::plain().plugin("command", &command("user=\"nobody\" batch=\"true\"")));
    script(&mirror, "{ id -un; tr '\\0' '\\n'; } >> @DIR@/told");
    mirror.run();
    write(mirror.source("f"), "x");
    let wanted = format!("nobody\n{}\n", mirror.source("f").display());
    wait_until("it is told", SOON, || holds(mirror.dir.join("told"), &wanted));
}

/// What the original's own config did: it ran every changed file.
#[test]
fn the_changed_file_is_never_run() {
    let block =
        "<plugin name=\"command\"><param prefix=\"/bin/sh\" suffix=\"\" ignoreError=\"true\"/></plugin>";
    let mut mirror = Mirror::start(Setup::plain().plugin("command", block));
    let ran = mirror.dir.join("ran");
    write(mirror.source("up.sh"), format!("touch {}\n", ran.display()));
    files_flow(&mirror, "f");
    assert!(mirror.log().contains("allowShell"), "{}", mirror.log());
    assert_eq!(mirror.supervisor().children("plugin-command"), [0; 0]);
    assert!(!exists(ran));
}

#[test]
fn the_cdn_and_its_log() {
    let listener = Listener::new(Manner::Answers(Duration::ZERO));
    let inner = format!(
        "<cdninfo domainname=\"localhost\" port=\"{}\" username=\"USR\" passwd=\"SECRET\"/>\
         <sendurl base=\"http://pic.example.com/cms\"/>",
        listener.port
    );
    let mut mirror = Mirror::start(Setup::plain().plugin("refreshCDN", &block("refreshCDN", "", &inner)));
    write(mirror.source("a b"), "x");
    let wanted = "HEAD /index.jsp?user=USR&pswd=SECRET&ok=ok&urls=http://pic.example.com/cms/a%20b HTTP/1.0\r\n\
                  Host: localhost\r\n\r\n";
    wait_until("the CDN is asked", SOON, || listener.has(wanted));
    let log = mirror.dir.join("cwd/errorlog.txt");
    wait_until("its answer is recorded", SOON, || {
        fs::read_to_string(&log).is_ok_and(|text| text.contains("whatsup: content=\"succeed\""))
    });
    assert_eq!(log.metadata().unwrap().mode() & 0o777, 0o600);
    for text in [fs::read_to_string(&log).unwrap(), mirror.log()] {
        assert!(!text.contains("SECRET") && !text.contains("USR"), "{text}");
    }
    let _ = mirror.supervisor();
}

#[test]
fn a_log_that_is_a_trap_is_left_alone() {
    let listener = Listener::new(Manner::Answers(Duration::ZERO));
    let inner = format!(
        "<cdninfo domainname=\"127.0.0.1\" port=\"{}\" username=\"u\" passwd=\"p\"/><sendurl base=\"http://h/c\"/>",
        listener.port
    );
    let mut mirror = Mirror::new(Setup::plain().plugin("refreshCDN", &block("refreshCDN", "", &inner)));
    write(mirror.dir.join("victim"), "untouched");
    std::os::unix::fs::symlink(mirror.dir.join("victim"), mirror.dir.join("cwd/errorlog.txt")).unwrap();
    mirror.run();
    write(mirror.source("f"), "x");
    wait_until("the CDN is asked", SOON, || !listener.heard().is_empty());
    mirror.wait_logged("errorlog.txt: it is a symlink");
    assert!(holds(mirror.dir.join("victim"), "untouched"));
}

#[test]
fn several_plugins_at_once_and_json() {
    let (one, two) = (Listener::new(Manner::Listens), Listener::new(Manner::Answers(Duration::ZERO)));
    let blocks = socket(&one).replace("<plugin ", "<plugin format=\"json\" ") + &http(&two, "batch=\"true\"");
    let mirror = Mirror::start(Setup::plain().plugin("socket http", &blocks));
    write(mirror.source("f"), "x");
    wait_until("both are told", SOON, || one.heard().len() == 1 && two.heard().len() == 1);
    let heard = one.heard();
    for piece in [
        "\"path\":\"",
        "/source0/f\"",
        "\"kind\":\"changed\"",
        "\"dir\":false",
        "\"outcome\":\"done\"",
        "::m0\"",
    ] {
        assert!(heard[0].contains(piece), "{piece} in {}", heard[0]);
    }
    assert!(two.heard()[0].contains("isdir=0"), "{:?}", two.heard());
}

#[test]
fn only_the_plugin_and_no_rsync() {
    for (name, manner) in [("socket", Manner::Listens), ("http", Manner::Answers(Duration::ZERO))] {
        let listener = Listener::new(manner);
        let block = if name == "socket" { socket(&listener) } else { http(&listener, "") };
        let flags: &[&'static str] = if name == "socket" { &["-m", "socket"] } else { &["-m", "http"] };
        let mut mirror =
            Mirror::start(Setup::plain().edit("</head>", format!("{block}</head>")).flags(flags));
        write(mirror.source("f"), "x");
        wait_until("it is told", SOON, || listener.heard().len() == 1);
        assert!(!exists(mirror.replica("f")));
        assert_eq!(mirror.supervisor().children("syncer0"), [0; 0]);
    }
}

/// As in the original: what the plugin watches takes the place of what is mirrored.
#[test]
fn a_plugins_own_watch() {
    let listener = Listener::new(Manner::Listens);
    let own = socket(&listener).replace("/source0", "/other/");
    let mut mirror = Mirror::new(Setup::plain().plugin("socket", &own));
    fs::create_dir(mirror.dir.join("other")).unwrap();
    mirror.run();
    write(mirror.dir.join("other/f"), "x");
    let path = mirror.dir.join("other/f").display().to_string();
    wait_until("it is told", SOON, || listener.has(&path));
    assert!(holds(mirror.replica("f"), "x"));
    assert!(mirror.log().contains("takes the place of"), "{}", mirror.log());
}

/// What changed while nobody watched is found, and told by name.
#[test]
fn a_watcher_that_died_is_told_of() {
    let listener = Listener::new(Manner::Listens);
    let mut mirror = Mirror::new(Setup::plain().plugin("socket", &socket(&listener)));
    // Before its first listing is over nobody knows what is new.
    mirror.learn();
    let watcher = mirror.supervisor().child("watcher");
    kill(Pid::from_raw(watcher), Signal::SIGKILL).unwrap();
    write(mirror.source("meanwhile"), "nobody saw it");
    let path = mirror.source("meanwhile").display().to_string();
    wait_until("what nobody saw is told", SOON, || listener.has(&path));
}

/// A hook may start a service. It is not ours to end.
#[test]
fn what_a_command_leaves_running_lives_on() {
    let mut mirror = Mirror::new(Setup::plain().plugin("command", &command("")));
    script(&mirror, "setsid -f sh -c 'echo $$ >> @DIR@/told; exec sleep 300' <&- >&- 2>&-");
    mirror.run();
    write(mirror.source("f"), "x");
    let started = || fs::read_to_string(mirror.dir.join("told")).unwrap().trim().parse::<i32>().ok();
    wait_until("the hook has run", SOON, || started().is_some());
    let service = started().unwrap();
    let watcher = mirror.supervisor().child("watcher");
    kill(Pid::from_raw(watcher), Signal::SIGKILL).unwrap();
    wait_until("another watcher", SOON, || {
        mirror.supervisor().children("watcher").iter().any(|&pid| pid != watcher)
    });
    mirror.supervisor().signal(Signal::SIGTERM);
    mirror.supervisor().wait_end(SOON);
    let lives = processes::lives(service);
    let _ = kill(Pid::from_raw(service), Signal::SIGKILL);
    assert!(lives);
}
