//! `-r`: what it sends, what it deletes, and what a filter keeps out of both.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::fs;
use std::path::Path;
use std::time::Duration;

use crate::support::{LOCALHOST, Mirror, SOON, Setup, exists, holds, wait_until, write};

/// A mirror whose source and replicas hold different things before the start.
fn different(setup: Setup) -> Mirror {
    let mirror = Mirror::new(setup);
    write(mirror.source("same"), "same");
    write(mirror.source("dir/ours"), "ours");
    write(mirror.source("stale"), "the new one");
    for replica in &mirror.replicas {
        write(replica.join("stale"), "an old one");
        write(replica.join("theirs"), "only there");
        write(replica.join("theirs too/file"), "only there");
        write(replica.join("dir/theirs"), "only there");
    }
    mirror
}

#[test]
fn a_full_sync_mirrors() {
    let mut mirror = different(Setup::plain().remotes(&[LOCALHOST, LOCALHOST]).flags(&["-r"]));
    mirror.run();
    mirror.wait_equal(SOON);
    // Live changes flow beside it and after it.
    write(mirror.source("dir/later"), "later");
    mirror.wait_equal(SOON);
}

#[test]
fn a_full_sync_without_delete_only_sends() {
    let mut mirror = different(Setup::plain().switch("delete", false).flags(&["-r"]));
    mirror.run();
    wait_until("everything is sent", SOON, || {
        holds(mirror.replica("stale"), "the new one") && holds(mirror.replica("dir/ours"), "ours")
    });
    mirror.wait_logged("full sync done");
    for name in ["theirs", "theirs too/file", "dir/theirs"] {
        assert!(holds(mirror.replica(name), "only there"), "{name}");
    }
}

#[test]
fn without_it_only_changes_travel() {
    let mut mirror = different(Setup::plain());
    mirror.run();
    write(mirror.source("dir/new"), "new");
    fs::remove_file(mirror.source("same")).unwrap();
    mirror.settle();
    for name in ["theirs", "theirs too/file", "dir/theirs"] {
        assert!(holds(mirror.replica(name), "only there"), "{name}");
    }
    assert!(holds(mirror.replica("stale"), "an old one") && !exists(mirror.replica("dir/ours")));
    assert!(holds(mirror.replica("dir/new"), "new"));
}

/// No glob says `/x/(?:ab|cd)+\d`, so rsync cannot be told; yet what it excludes is neither
/// sent nor deleted, also where only the remote has it.
#[test]
fn a_full_sync_with_a_filter() {
    let filter = [r"/x/(?:ab|cd)+\d", r"(.*)\.tmp", "^cache/*", "private/"];
    let mut mirror = Mirror::new(Setup::plain().filter(&filter).flags(&["-r"]));
    for name in ["x/ab1", "x/cdab2", "both.tmp", "x/deep/own.tmp", "cache/own", "private/own"] {
        write(mirror.source(name), "excluded");
    }
    for name in ["x/ab", "x/cab1", "x/plain", "tmp", "y/ab1", "x/deep/x/ab3"] {
        write(mirror.source(name), "sent");
    }
    let theirs = ["x/ab1", "x/cd9", "both.tmp", "x/deep/theirs.tmp", "cache/theirs", "private/theirs"];
    for name in theirs {
        write(mirror.replica(name), "theirs");
    }
    for name in ["x/extra", "extra/file", "y/cd9"] {
        write(mirror.replica(name), "to be deleted");
    }
    mirror.run();
    mirror.wait_logged("full sync done");
    let check = |mirror: &Mirror| {
        for name in ["x/cdab2", "x/deep/own.tmp", "cache/own", "private/own"] {
            assert!(!exists(mirror.replica(name)), "{name} was sent");
        }
        for name in theirs {
            assert!(holds(mirror.replica(name), "theirs"), "{name} was touched");
        }
        for name in ["x/ab", "x/cab1", "x/plain", "tmp", "y/ab1", "x/deep/x/ab3"] {
            assert!(holds(mirror.replica(name), "sent"), "{name} was not sent");
        }
    };
    check(&mirror);
    for name in ["x/extra", "extra", "y/cd9"] {
        assert!(!exists(mirror.replica(name)), "{name} was not deleted");
    }
    // The same holds for live changes, alone or within a directory that is moved in.
    write(mirror.source("x/ab1"), "excluded, edited");
    write(mirror.source("x/dcd4"), "sent later");
    write(mirror.dir.join("tree/cd5.tmp"), "excluded");
    write(mirror.dir.join("tree/plain"), "sent");
    fs::rename(mirror.dir.join("tree"), mirror.source("x/tree")).unwrap();
    fs::remove_file(mirror.source("both.tmp")).unwrap();
    mirror.settle();
    wait_until("a tree moved in", SOON, || holds(mirror.replica("x/tree/plain"), "sent"));
    assert!(holds(mirror.replica("x/dcd4"), "sent later"));
    assert!(!exists(mirror.replica("x/tree/cd5.tmp")));
    check(&mirror);
}

/// `<crontab>`, by its own timer, for all remotes, with both filters.
#[test]
fn every_minute() {
    let crontab = "<crontab start=\"true\" schedule=\"1\"><crontabfilter start=\"true\"><exclude \
                   expression=\"*.php\"/></crontabfilter></crontab></sersync>";
    let setup =
        Setup::plain().remotes(&[LOCALHOST, LOCALHOST]).filter(&["(.*)\\.gz"]).edit("</sersync>", crontab);
    let mut mirror = Mirror::new(setup);
    for name in ["pre", "page.php", "packed.gz"] {
        write(mirror.source(name), name);
    }
    for replica in &mirror.replicas {
        for name in ["stale", "theirs.php", "theirs.gz"] {
            write(replica.join(name), name);
        }
    }
    mirror.run();
    let everywhere = |met: &dyn Fn(&Path) -> bool| mirror.replicas.iter().all(|replica| met(replica));
    let synced = |replica: &Path| holds(replica.join("pre"), "pre") && !exists(replica.join("stale"));
    wait_until("a full sync", Duration::from_secs(100), || everywhere(&synced));
    for replica in &mirror.replicas {
        let kept = ["theirs.php", "theirs.gz"].iter().all(|name| exists(replica.join(name)));
        let excluded = ["page.php", "packed.gz"].iter().all(|name| !exists(replica.join(name)));
        assert!(kept && excluded, "{}", replica.display());
    }
}

/// It was said that nothing is deleted there, and then it was.
#[test]
fn what_becomes_of_a_new_remote_is_told() {
    let both = Setup::plain().remotes(&[LOCALHOST, LOCALHOST]);
    for (flags, said) in [
        (&[][..], "it gets the whole tree; nothing is deleted there"),
        (&["-r"], "a full sync makes it equal, and deletes what only it has"),
    ] {
        let mut mirror = Mirror::new(both.clone().remotes(&[LOCALHOST]));
        write(mirror.source("ours"), "ours");
        mirror.copy();
        mirror.learn();
        mirror.stop();
        let replica = mirror.dir.join("replica1");
        write(replica.join("theirs"), "only there");
        mirror.daemon.add_modules(&[("m1".to_owned(), replica.clone())]);
        mirror.setup = both.clone().flags(flags);
        mirror.reconfigure();
        mirror.run();
        mirror.wait_logged(&format!("remote new remote=127.0.0.1::m1: {said}"));
        mirror.wait_logged("full sync done remote=127.0.0.1::m1");
        assert!(holds(replica.join("ours"), "ours"));
        assert_eq!(exists(replica.join("theirs")), flags.is_empty());
    }
}
