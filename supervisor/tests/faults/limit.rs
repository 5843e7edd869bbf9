//! The kernel gives no more watches. The limit is that of a user namespace of the supervisor's own;
//! the machine's is not touched.

use std::fs::{self, File};
use std::process::{Command, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::ground::{exact, known, sized, some};
use crate::support::{Mirror, SOON, Supervisor, exists, is_root, supervisor, wait_until, write};

/// Watches that are given at first; there are more directories.
const FEW: u32 = 8;
/// The limit, in whose namespace this is read or written.
const LIMIT: &str = "/proc/sys/user/max_inotify_watches";

/// Sets the limit in the user namespace of a process.
fn limit(pid: i32, watches: u32) -> bool {
    let script = format!("echo {watches} > {LIMIT}");
    let words = ["-U", "-t", &pid.to_string(), "sh", "-c", &script].map(str::to_owned);
    Command::new("nsenter").args(words).status().is_ok_and(|status| status.success())
}

/// Starts the supervisor in a user namespace with all uids, and so few watches. False where that
/// cannot be, with a word about it.
fn start_with(mirror: &mut Mirror, watches: u32) -> bool {
    let log = mirror.dir.join("log");
    let output = File::create(&log).unwrap();
    let inner = supervisor::command(mirror);
    let mut command = Command::new("unshare");
    // Goes on when it reads a line.
    command.args(["--user", "sh", "-c", "read go && exec \"$0\" \"$@\" < /dev/null"]);
    command.arg(inner.get_program()).args(mirror.setup.arguments(&mirror.config));
    command.current_dir(inner.get_current_dir().unwrap());
    command.stdin(Stdio::piped()).stdout(output.try_clone().unwrap()).stderr(output);
    let Ok(mut process) = command.spawn() else { return false };
    let pid = process.id().cast_signed();
    let ours = fs::read_link("/proc/self/ns/user").unwrap();
    wait_until("it has a namespace of its own, or cannot", SOON, || {
        fs::read_link(format!("/proc/{pid}/ns/user")).ok().as_ref() != Some(&ours)
    });
    let map = |file: &str| fs::write(format!("/proc/{pid}/{file}"), "0 0 4294967295").is_ok();
    if !(map("uid_map") && map("gid_map") && limit(pid, watches)) {
        eprintln!("skipped: no user namespaces with a limit of their own here");
        let _ = process.kill();
        let _ = process.wait();
        return false;
    }
    std::io::Write::write_all(&mut process.stdin.take().unwrap(), b"go\n").unwrap();
    mirror.adopt(Supervisor::of(process, &log));
    mirror.supervisor().wait_watching(1);
    true
}

/// Equal at this moment.
fn proved(mirror: &Mirror) {
    let (code, said) = mirror.ask(&["wait", "--timeout", "60"]);
    assert_eq!(code, Some(0), "{said}");
    assert_eq!(mirror.difference(0), Vec::<String>::new(), "{}", mirror.log());
}

#[test]
fn the_watch_limit_is_reached_and_raised() {
    if !is_root() {
        eprintln!("skipped: only root maps all uids");
        return;
    }
    let many = sized("LIMIT_DIRECTORIES", 40, 4000);
    let mut mirror = known(exact(), |root| {
        some(root);
        for n in 0..many {
            write(
                root.join(format!("many/d{n}/sub/file")),
                format!("{n}{}", ".".repeat(usize::try_from(n).unwrap())),
            );
        }
    });
    mirror.stop();
    if !start_with(&mut mirror, FEW) {
        return;
    }
    mirror.wait_logged("watch limit reached unwatched=");
    mirror.wait_logged("cure: sysctl fs.inotify.max_user_watches=");
    // What has no watch is looked at from time to time, and for who waits.
    for n in 0..many {
        let at = |name: &str| mirror.source(format!("many/d{n}/sub/{name}"));
        match n % 4 {
            0 => write(at("file"), format!("changed in {n}")),
            1 => fs::remove_file(at("file")).unwrap(),
            2 => fs::rename(at(""), mirror.source(format!("many/d{n}/renamed"))).unwrap(),
            _ => write(at("new/deeper/file"), format!("new in {n}")),
        }
    }
    proved(&mirror);
    // Anything may die meanwhile.
    let watcher = mirror.supervisor().child("watcher");
    kill(Pid::from_raw(watcher), Signal::SIGKILL).unwrap();
    write(mirror.source("many/d0/sub/file"), "after a death");
    mirror.wait_logged("child died role=watcher");
    proved(&mirror);
    let pid = mirror.supervisor().pid();
    assert!(limit(pid, 100_000));
    proved(&mirror);
    // From now on it is live: sooner than what has no watch would be looked at again.
    for n in 0..many {
        write(mirror.source(format!("many/d{n}/live/file")), format!("live {n}"));
    }
    wait_until("it is live again", SOON, || {
        (0..many).all(|n| exists(mirror.replica(format!("many/d{n}/live/file"))))
    });
    mirror.wait_equal(SOON);
    assert_eq!(mirror.logged("full sync"), 0, "{}", mirror.log());
}
