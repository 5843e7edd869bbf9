//! Remotes that fail in every way that a daemon can: gone, hanging, refusing, full. Each is told
//! of once, and gets everything when it is back.

use std::fs::{self, Permissions};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread;
use std::time::Duration;

use nix::sys::signal::Signal;

use crate::ground::{RECOVERED, exact, known, sized, some};
use crate::support::mounts::{Mount, empty, fill};
use crate::support::{LOCALHOST, Mirror, Over, SOON, exists, holds, pause, wait_until, write};

/// A mirror that sends a large file slowly, and has begun to.
fn sending() -> Mirror {
    let mirror = Mirror::start(exact().params("-art --bwlimit=1500").timeout(3));
    write(mirror.source("before"), "1");
    mirror.wait_equal(SOON);
    write(mirror.source("large"), vec![b'x'; 3_000_000]);
    wait_until("the transfer is under way", SOON, || partial(&mirror).is_some());
    mirror
}

/// The name under which a daemon receives it.
fn partial(mirror: &Mirror) -> Option<std::ffi::OsString> {
    let names = fs::read_dir(mirror.replica("")).unwrap().flatten().map(|entry| entry.file_name());
    names.into_iter().find(|name| name.as_encoded_bytes().starts_with(b".large."))
}

#[test]
fn a_daemon_that_ends_in_mid_transfer() {
    let mut mirror = sending();
    mirror.daemon.end(Signal::SIGTERM);
    write(mirror.source("after"), "2");
    mirror.wait_logged("remote down");
    mirror.daemon.again();
    mirror.wait_equal(RECOVERED);
    mirror.wait_logged("remote up");
}

/// It leaves what it had received under a name of its own; nobody but itself knows that it did.
#[test]
fn a_daemon_that_is_killed_in_mid_transfer() {
    let mut mirror = sending();
    mirror.daemon.end(Signal::SIGKILL);
    let left = partial(&mirror).unwrap();
    mirror.daemon.again();
    wait_until("it arrives", RECOVERED, || holds(mirror.replica("large"), vec![b'x'; 3_000_000]));
    let line = format!("*deleting   {}", left.to_str().unwrap());
    mirror.wait_difference(0, &[&line], RECOVERED);
    let (code, text) = mirror.ask(&["verify", "--repair"]);
    assert_eq!(code, Some(1), "{text}");
    mirror.wait_equal(RECOVERED);
}

/// rsync's own timeout does not notice while its signs of life fit into the socket's buffer; only
/// the syncer's deadline would.
#[test]
fn a_daemon_that_hangs_in_mid_transfer() {
    let mirror = sending();
    mirror.daemon.signal(Signal::SIGSTOP);
    write(mirror.source("after"), "2");
    pause(Duration::from_secs(sized("HANG_SECONDS", 2, 90)));
    mirror.daemon.signal(Signal::SIGCONT);
    mirror.wait_equal(RECOVERED);
    assert_eq!(mirror.logged("remote down"), mirror.logged("remote up"), "{}", mirror.log());
}

/// It hangs before anything is sent to it: nothing answers a new connection.
#[test]
fn a_daemon_that_hangs() {
    let mirror = Mirror::start(exact().timeout(2).edit("<sersync>", "<warm start=\"false\"/><sersync>"));
    mirror.daemon.signal(Signal::SIGSTOP);
    write(mirror.source("file"), "while it hangs");
    mirror.wait_logged("remote down");
    mirror.daemon.signal(Signal::SIGCONT);
    mirror.wait_equal(RECOVERED);
    mirror.wait_logged("remote up");
}

#[test]
fn a_port_that_is_closed() {
    let mut mirror = known(exact(), some);
    mirror.daemon.end(Signal::SIGTERM);
    write(mirror.source("dir1/file1"), "while it was closed");
    fs::remove_dir_all(mirror.source("dir2")).unwrap();
    mirror.wait_logged("remote down");
    fs::rename(mirror.source("dir3"), mirror.source("dir2")).unwrap();
    mirror.daemon.again();
    mirror.wait_equal(RECOVERED);
    mirror.wait_logged("remote up");
    assert_eq!((mirror.logged("remote down"), mirror.logged("remote up")), (1, 1), "{}", mirror.log());
}

/// Answers as a daemon does, and then with what no rsync says, until it is told to end.
fn babble(listener: &TcpListener, over: &AtomicBool) {
    listener.set_nonblocking(true).unwrap();
    while !over.load(Relaxed) {
        let Ok((mut client, _)) = listener.accept() else {
            pause(Duration::from_millis(10));
            continue;
        };
        // Whatever is written to one that has gone away is lost, and that is all.
        let _ = client.set_nonblocking(false).and_then(|()| client.set_read_timeout(Some(SOON)));
        let _ = client.write_all(b"@RSYNCD: 31.0\n");
        // Its greeting, and the module.
        let mut heard = BufReader::new(&client);
        for _ in 0..2 {
            let _ = heard.read_until(b'\n', &mut Vec::new());
        }
        let _ = client.write_all(b"@RSYNCD: OK\n").and_then(|()| client.write_all(&[b'Z'; 4000]));
        // Who closes first tells rsync of that, and not of what was said before.
        let _ = client.read_to_end(&mut Vec::new());
    }
}

/// Somebody else answers in its place, and not as an rsync.
#[test]
fn one_that_breaks_the_protocol() {
    let mut mirror = known(exact().edit("<sersync>", "<warm start=\"false\"/><sersync>"), some);
    mirror.daemon.end(Signal::SIGTERM);
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        let listener = TcpListener::bind((LOCALHOST, mirror.port)).unwrap();
        let over = Over(&over);
        scope.spawn(move || babble(&listener, over.0));
        write(mirror.source("dir1/file1"), "while somebody else was there");
        mirror.wait_logged("state=hostile");
    });
    mirror.daemon.again();
    mirror.wait_equal(RECOVERED);
    mirror.wait_logged("remote up");
}

/// What is wrong with each module at first.
const WRONG: [&str; 5] = ["missing", "read only", "another password", "full of connections", "no directory"];

/// The config of the daemon, whose modules have these faults or none.
fn modules(mirror: &Mirror, wrong: bool) {
    let secret = mirror.dir.join("secrets");
    fs::write(&secret, if wrong { "u:another\n" } else { "u:right\n" }).unwrap();
    fs::set_permissions(&secret, Permissions::from_mode(0o600)).unwrap();
    mirror.daemon.edit(|text| {
        let globals = text.split("[m0").next().unwrap().to_owned();
        let owner = if crate::support::is_root() { "uid = 0\ngid = 0\n" } else { "" };
        let section = |n: usize, fault: &&str| {
            let (mut name, mut path) = (format!("m{n}"), mirror.replicas[n].display().to_string());
            let mut more = format!("lock file = {}/lock{n}\n", mirror.dir.display());
            match *fault {
                "missing" if wrong => name.push_str("-not-yet"),
                "read only" if wrong => more.push_str("read only = yes\n"),
                "another password" => {
                    more = format!("{more}auth users = u\nsecrets file = {}\n", secret.display());
                }
                "full of connections" if wrong => more.push_str("max connections = 1\n"),
                "no directory" if wrong => path.push_str("-not-yet"),
                _ => {}
            }
            format!("[{name}]\npath = {path}\n{owner}{more}")
        };
        globals + &WRONG.iter().enumerate().map(|(n, fault)| section(n, fault)).collect::<String>()
    });
}

/// Takes the one connection to a module.
fn occupy(port: u16, module: &str) -> TcpStream {
    let mut stream = TcpStream::connect((LOCALHOST, port)).unwrap();
    stream.write_all(format!("@RSYNCD: 31.0 sha512 md5\n{module}\n").as_bytes()).unwrap();
    let mut said = Vec::new();
    wait_until("the module is taken", SOON, || {
        let mut buffer = [0; 256];
        let length = stream.read(&mut buffer).unwrap();
        said.extend_from_slice(&buffer[..length]);
        String::from_utf8_lossy(&said).contains("@RSYNCD: OK")
    });
    stream
}

#[test]
fn modules_that_refuse_for_a_while() {
    let auth = "<auth start=\"true\" users=\"u\" passwordfile=\"@DIR@/password\"/></rsync>";
    let mut mirror = Mirror::new(exact().remotes(&[LOCALHOST; WRONG.len()]).edit("</rsync>", auth));
    let password = mirror.dir.join("password");
    fs::write(&password, "right\n").unwrap();
    fs::set_permissions(&password, Permissions::from_mode(0o600)).unwrap();
    some(&mirror.source(""));
    mirror.copy();
    modules(&mirror, true);
    let taken = occupy(mirror.port, "m3");
    mirror.run();
    write(mirror.source("dir1/file1"), "while they refuse");
    fs::remove_file(mirror.source("dir1/file5")).unwrap();
    let log = |mirror: &Mirror, n: usize, words: &str| {
        let name = format!("::m{n} ");
        mirror.log().lines().filter(|line| line.contains(&name) && line.contains(words)).count()
    };
    for (n, fault) in WRONG.iter().enumerate() {
        wait_until(fault, SOON, || log(&mirror, n, "remote down") == 1);
    }
    write(mirror.source("dir2/new"), "later");
    modules(&mirror, false);
    drop(taken);
    mirror.wait_equal(RECOVERED);
    for (n, fault) in WRONG.iter().enumerate() {
        wait_until(fault, SOON, || log(&mirror, n, "remote up") == 1);
        assert_eq!(log(&mirror, n, "remote down"), 1, "{fault}: {}", mirror.log());
    }
}

#[test]
fn a_disk_that_is_full_for_a_while() {
    let mut mirror = Mirror::new(exact());
    let Some(disk) = Mount::tmpfs(&mirror.replica(""), "size=4m,mode=755") else { return };
    mirror.run();
    write(mirror.source("old"), "1");
    mirror.wait_equal(SOON);
    fill(&mirror.replica("filler"));
    write(mirror.source("large"), vec![b'x'; 2_000_000]);
    write(mirror.source("dir/small"), "2");
    fs::remove_file(mirror.source("old")).unwrap();
    mirror.wait_logged("it has no space left");
    empty(&mirror.replica("filler"));
    mirror.wait_equal(RECOVERED);
    mirror.wait_logged("remote up");
    // Once more, and helped by more room.
    write(mirror.source("larger"), vec![b'y'; 5_000_000]);
    wait_until("it is full again", SOON, || mirror.logged("it has no space left") == 2);
    disk.remount("size=40m");
    mirror.wait_equal(RECOVERED);
    assert!(!exists(mirror.replica("old")));
    drop(mirror);
}
