//! SIGHUP: the config is read again. A bad one changes nothing; a good one concerns only those whose
//! part of it has changed.
#![allow(clippy::indexing_slicing, clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use crate::support::churn::Churn;
use crate::support::random::{Random, seed};
use crate::support::{
    LOCALHOST, Mirror, Over, SOON, Setup, exists, holds, pause, processes, wait_until, write,
};
use nix::sys::signal::{Signal, kill};
use nix::sys::stat::Mode;
use nix::unistd::{Pid, mkfifo};

const SECOND: &str = "<remote ip=\"127.0.0.1\" name=\"m1\"/>\n";

/// By when equality is back after kills: pauses before restarts double.
const RECOVERED: Duration = Duration::from_mins(2);

/// Everything that exact equality needs, without `-r`; rsyncs that wait connected would make it
/// unclear what a connection is for.
fn exact(remotes: usize) -> Setup {
    Setup::exact()
        .remotes(&[LOCALHOST; 3][..remotes])
        .flags(&[])
        .edit("<head version=\"2.5\">\n", "<head version=\"2.5\">\n<warm start=\"false\"/>\n")
}

/// The daemon says who comes for which module.
fn listen_in(mirror: &Mirror) {
    let log = format!("log file = {}", mirror.dir.join("rsyncd.log").display());
    mirror.daemon.edit(|text| text.replace("log file = /dev/null", &log));
}

/// How often somebody came for this module.
fn visits(mirror: &Mirror, module: &str) -> usize {
    let log = fs::read_to_string(mirror.dir.join("rsyncd.log")).unwrap_or_default();
    log.lines().filter(|line| line.contains(&format!("rsync to {module}/"))).count()
}

/// Tells it to read its config again, and waits until it has, or has refused to.
fn reload(mirror: &mut Mirror, word: &str) -> String {
    let line = format!("{word} config=");
    let before = mirror.logged(&line);
    mirror.supervisor().signal(Signal::SIGHUP);
    wait_until(&format!("{line:?} in the log"), SOON, || mirror.logged(&line) > before);
    mirror.log().lines().rfind(|text| text.contains(&line)).unwrap().to_owned()
}

#[test]
fn a_bad_file_changes_nothing() {
    let mut mirror = Mirror::start(exact(1));
    mirror.settle();
    let (syncer, watcher) = (mirror.supervisor().child("syncer0"), mirror.supervisor().child("watcher"));
    let good = fs::read_to_string(&mirror.config).unwrap();
    let travels = |mirror: &Mirror, name: &str| {
        write(mirror.source(name), name);
        wait_until("a change arrives", SOON, || holds(mirror.replica(name), name));
    };

    // Two things are wrong, and both are told with their place.
    let bad = good.replace("<delete start=\"true\"/>", "<delete start=\"perhaps\"/>");
    fs::write(&mirror.config, bad.replace("ip=\"127.0.0.1\"", "ip=\"-x\"")).unwrap();
    let line = reload(&mut mirror, "reload refused");
    assert!(line.contains("ERROR") && line.ends_with("read at start"), "{line}");
    assert!(mirror.logged("perhaps") > 0 && mirror.logged("confxml.xml:") >= 2, "{}", mirror.log());
    travels(&mirror, "after nonsense");

    fs::write(&mirror.config, good.replace("<debug", "<sandbox start=\"false\"/><debug")).unwrap();
    reload(&mut mirror, "reload refused");
    mirror.wait_logged("<sandbox>: a change takes a restart of the supervisor");

    fs::write(&mirror.config, &good).unwrap();
    fs::set_permissions(&mirror.config, Permissions::from_mode(0o666)).unwrap();
    reload(&mut mirror, "reload refused");
    mirror.wait_logged("may be written by others");

    fs::remove_file(&mirror.config).unwrap();
    reload(&mut mirror, "reload refused");
    mkfifo(&mirror.config, Mode::S_IRUSR | Mode::S_IWUSR).unwrap();
    reload(&mut mirror, "reload refused");
    mirror.wait_logged("it is not a file");
    fs::remove_file(&mirror.config).unwrap();
    travels(&mirror, "after nothing");

    write(&mirror.config, &good);
    let line = reload(&mut mirror, "reloaded");
    assert!(line.ends_with("nothing has changed"), "{line}");
    assert_eq!(mirror.supervisor().child("syncer0"), syncer);
    assert_eq!(mirror.supervisor().child("watcher"), watcher);
    // It is another file at the same path now; commands find the supervisor all the same.
    let (code, text) = mirror.ask(&["wait", "--timeout", "20"]);
    assert_eq!(code, Some(0), "{text}");
    mirror.wait_equal(SOON);
}

#[test]
fn remotes_come_and_go_beside_one_that_stays() {
    let (both, first) = (exact(2), exact(2).edit(SECOND, ""));
    let mut mirror = Mirror::new(first.clone());
    listen_in(&mirror);
    for n in 0..300 {
        write(mirror.source(format!("dir{}/file{n}", n % 9)), format!("{n}"));
    }
    mirror.copy();
    fs::remove_dir_all(&mirror.replicas[1]).unwrap();
    write(mirror.replicas[1].join("theirs"), "only there");
    mirror.run();
    let (syncer, watcher) = (mirror.supervisor().child("syncer0"), mirror.supervisor().child("watcher"));

    mirror.setup = both.clone();
    mirror.reconfigure();
    let line = reload(&mut mirror, "reloaded");
    assert!(
        line.contains("remotes_added=1 remotes_removed=0 remotes_changed=0 remotes_kept=1 watcher=kept"),
        "{line}"
    );
    mirror.wait_difference(1, &["*deleting   theirs"], SOON);
    assert_eq!(visits(&mirror, "m0"), 0, "the other one sees nothing");
    assert!(visits(&mirror, "m1") > 0);
    write(mirror.source("live"), "22");
    mirror.wait_difference(0, &[], SOON);
    mirror.wait_difference(1, &["*deleting   theirs"], SOON);
    assert_eq!(mirror.supervisor().child("syncer0"), syncer);
    assert_eq!(mirror.supervisor().child("watcher"), watcher);
    assert_eq!(mirror.logged("child died"), 0);

    // It is known from now on, also to the next run.
    assert_eq!(mirror.ask(&["wait", "--timeout", "20"]).0, Some(0));
    mirror.restart(&[]);
    write(mirror.source("after"), "3");
    fs::remove_file(mirror.source("dir0/file0")).unwrap();
    mirror.wait_difference(0, &[], SOON);
    mirror.wait_difference(1, &["*deleting   theirs"], SOON);
    assert_eq!(mirror.logged("remote new"), 0);

    // It goes.
    mirror.setup = first;
    mirror.reconfigure();
    let line = reload(&mut mirror, "reloaded");
    assert!(line.contains("remotes_added=0 remotes_removed=1 remotes_changed=0 remotes_kept=1"), "{line}");
    wait_until("its syncer ends", SOON, || mirror.supervisor().children("syncer1").is_empty());
    let there = visits(&mirror, "m1");
    write(mirror.source("later"), "4");
    wait_until("the other one gets it", SOON, || holds(mirror.replica("later"), "4"));
    assert!(!exists(mirror.replicas[1].join("later")));
    assert_eq!(mirror.ask(&["wait", "--remote", "127.0.0.1::m1"]).0, Some(64));

    // And comes back, as a new one.
    mirror.setup = both;
    mirror.reconfigure();
    reload(&mut mirror, "reloaded");
    mirror.wait_difference(1, &["*deleting   theirs"], SOON);
    assert!(visits(&mirror, "m1") > there);
    assert_eq!(mirror.logged("remote new"), 1);
}

#[test]
fn a_filter_that_changes_touches_only_its_paths() {
    let mut mirror = Mirror::new(exact(2).filter(&["hidden(/.*)?"]));
    for name in ["hidden/a", "public/changed", "public/gone", "public/same", "other"] {
        write(mirror.source(name), name);
    }
    mirror.copy();
    for replica in &mirror.replicas {
        fs::remove_dir_all(replica.join("hidden")).unwrap();
    }
    mirror.learn();
    mirror.setup = mirror.setup.clone().filter(&["public(/.*)?"]);
    mirror.reconfigure();
    let line = reload(&mut mirror, "reloaded");
    assert!(line.contains("watcher=restarted"), "{line}");
    for replica in &mirror.replicas {
        wait_until("what was hidden arrives", SOON, || holds(replica.join("hidden/a"), "hidden/a"));
    }
    write(mirror.source("public/changed"), "not for others");
    write(mirror.source("public/new"), "not for others");
    fs::remove_file(mirror.source("public/gone")).unwrap();
    fs::remove_file(mirror.source("other")).unwrap();
    mirror.settle();
    assert_eq!(mirror.ask(&["wait", "--timeout", "20"]).0, Some(0));
    for replica in &mirror.replicas {
        assert!(holds(replica.join("public/changed"), "public/changed"));
        assert!(holds(replica.join("public/gone"), "public/gone"));
        assert!(!exists(replica.join("public/new")) && !exists(replica.join("other")));
    }
    assert_eq!(mirror.logged("full sync"), 0, "{}", mirror.log());
    assert_eq!(mirror.logged("child died"), 0);
    // And back: what happened behind its back is found, deletions too.
    mirror.setup = mirror.setup.clone().filter(&[]);
    mirror.reconfigure();
    reload(&mut mirror, "reloaded");
    let left = ["*deleting   public/gone"];
    for replica in 0..2 {
        mirror.wait_difference(replica, &left, SOON);
    }
}

#[test]
fn another_password_counts_at_once() {
    let auth = |file: &str| {
        let auth = format!("<rsync>\n<auth start=\"true\" users=\"u\" passwordfile=\"@DIR@/{file}\"/>\n");
        Setup::plain().edit("<rsync>\n", auth)
    };
    let mut mirror = Mirror::new(auth("wrong"));
    for (name, text) in [("wrong", "no\n"), ("right", "yes\n"), ("secrets", "u:yes\n")] {
        write(mirror.dir.join(name), text);
        fs::set_permissions(mirror.dir.join(name), Permissions::from_mode(0o600)).unwrap();
    }
    let secrets = format!("[m0]\nauth users = u\nsecrets file = {}\n", mirror.dir.join("secrets").display());
    mirror.daemon.edit(|text| text.replace("[m0]\n", &secrets));
    mirror.run();
    write(mirror.source("a"), "a");
    mirror.wait_logged("remote down remote=127.0.0.1::m0 state=misconfigured");
    mirror.setup = auth("right");
    mirror.reconfigure();
    let line = reload(&mut mirror, "reloaded");
    assert!(line.contains("remotes_changed=1"), "{line}");
    mirror.wait_logged("remote up remote=127.0.0.1::m0");
    mirror.wait_equal(SOON);
}

/// Ten reloads while the tree churns and children are killed: in the end all is equal, and so it is
/// after a restart.
#[test]
fn reloads_under_fire() {
    let third = "<remote ip=\"127.0.0.1\" name=\"m2\"/>\n";
    let slow = "<remote ip=\"127.0.0.1\" name=\"m1\" bwlimit=\"90000\"/>\n";
    let all = exact(3);
    let variants = [
        all.clone().edit(third, ""),
        all.clone().edit(SECOND, slow).switch("modify", true),
        all.clone().edit("<sersync>\n", "<sersync>\n<verify start=\"true\" schedule=\"9\"/>\n"),
    ];
    let mut mirror = Mirror::new(all);
    mirror.learn();
    let texts = variants.map(|setup| setup.xml(&mirror.sources, mirror.port));
    let seed = seed();
    let mut churn = Churn::new(&mirror.source(""), seed);
    let (supervisor, over) = (mirror.supervisor().pid(), AtomicBool::new(false));
    let mirror_ref = &mirror;
    thread::scope(|scope| {
        let guard = Over(&over);
        let churner = scope.spawn(|| {
            while !over.load(Ordering::Relaxed) {
                churn.run(20, |_| pause(Duration::from_millis(3)));
            }
        });
        let mut random = Random(seed);
        for n in 0..10 {
            fs::write(&mirror_ref.config, &texts[n % 3]).unwrap();
            kill(Pid::from_raw(supervisor), Signal::SIGHUP).unwrap();
            wait_until("it has read its config", SOON, || mirror_ref.logged("reloaded config=") > n);
            let victims = processes::roles(supervisor, random.of(&["watcher", "keeper"]).unwrap());
            for victim in victims {
                let _ = kill(Pid::from_raw(victim), Signal::SIGKILL);
            }
            pause(Duration::from_millis(200));
        }
        drop(guard);
        churner.join().unwrap();
    });
    // The last one leaves the third remote out.
    for replica in 0..2 {
        mirror.wait_difference(replica, &[], RECOVERED);
    }
    mirror.restart(&[]);
    fs::write(&mirror.config, &texts[0]).unwrap();
    for replica in 0..2 {
        mirror.wait_difference(replica, &[], RECOVERED);
    }
    assert_eq!(mirror.logged("remote new"), 0);
}
