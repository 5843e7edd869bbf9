//! One path that can never be stored on a remote: its neighbours do not wait for it, the log names
//! it with the reason, and when it can be stored it is.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::ground::{RECOVERED, exact, known, sized};
use crate::support::{LOCALHOST, holds, is_root, wait_until, write};

/// A directory in which nothing can be made, changed or removed; as it was when dropped.
struct Poisoned(PathBuf);

impl Poisoned {
    fn new(path: &Path) -> Option<Poisoned> {
        let made = Poisoned(path.to_owned());
        if made.set(true) {
            return Some(made);
        }
        eprintln!("skipped: no immutable files here");
        None
    }

    fn set(&self, poisoned: bool) -> bool {
        if !is_root() {
            let mode = if poisoned { 0o555 } else { 0o755 };
            return fs::set_permissions(&self.0, Permissions::from_mode(mode)).is_ok();
        }
        let flag = if poisoned { "+i" } else { "-i" };
        let status = Command::new("chattr").arg(flag).arg(&self.0).stderr(Stdio::null()).status();
        status.is_ok_and(|status| status.success())
    }
}

impl Drop for Poisoned {
    fn drop(&mut self) {
        self.set(false);
    }
}

#[test]
fn one_bad_path_among_a_thousand() {
    let mirror = known(exact().remotes(&[LOCALHOST, LOCALHOST]), |root| {
        for n in 0..1000 {
            write(root.join(format!("dir{}/file{n}", n % 20)), "first");
        }
        write(root.join("bad/file"), "first");
    });
    let Some(poisoned) = Poisoned::new(&mirror.replica("bad")) else { return };
    write(mirror.source("bad/file"), "cannot be stored");
    let (mut worst, began) = (Duration::ZERO, Instant::now());
    let (rounds, mut round) = (sized("POISON_ROUNDS", 25, 400), 0_u64);
    // Until it is spoken of, and long enough to see what it costs the others.
    while round < rounds || (mirror.logged("quarantine remote=") == 0 && began.elapsed() < RECOVERED) {
        round += 1;
        let text = format!("round {round}");
        for n in 0..20 {
            write(mirror.source(format!("dir{n}/file{}", n + 20 * (round % 40))), &text);
        }
        if round % 5 == 0 {
            // It is changed, too.
            write(mirror.source("bad/file"), format!("cannot be stored: {round}"));
        }
        let name = format!("dir19/file{}", 19 + 20 * (round % 40));
        let written = Instant::now();
        wait_until("its neighbours arrive", RECOVERED, || holds(mirror.replica(&name), &text));
        worst = worst.max(written.elapsed());
    }
    eprintln!("poison: rounds={round} worst={worst:?}");
    assert!(worst < Duration::from_secs(3), "neighbours waited for {worst:?}");
    let log = mirror.log();
    let line = log.lines().find(|line| line.contains("quarantine remote=")).unwrap_or_default();
    assert!(line.contains("path") && line.contains("bad") && line.contains("reason=\""), "{line:?}\n{log}");
    assert_eq!(mirror.logged("quarantine remote="), 1, "{log}");
    assert!(log.lines().count() < 60, "{log}");
    assert_eq!(mirror.logged("remote down"), 0, "{log}");
    // The other remote lacks nothing.
    mirror.wait_difference(1, &[], RECOVERED);
    drop(poisoned);
    mirror.wait_equal(RECOVERED);
    mirror.wait_logged("quarantine over remote=");
}

/// It is still known after a restart, and cured then.
#[test]
fn a_bad_path_is_kept() {
    let mut mirror = known(exact(), |root| {
        write(root.join("bad/file"), "first");
        write(root.join("bad/gone"), "first");
    });
    let Some(poisoned) = Poisoned::new(&mirror.replica("bad")) else { return };
    write(mirror.source("bad/file"), "cannot be stored");
    fs::remove_file(mirror.source("bad/gone")).unwrap();
    mirror.wait_logged("quarantine remote=");
    mirror.kill_all(&mut crate::support::random::Random(1));
    drop(poisoned);
    mirror.run();
    mirror.wait_equal(RECOVERED);
}
