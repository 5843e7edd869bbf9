use super::*;

use std::io::{BufRead, BufReader, Write};
use std::path::PathBuf;
use std::process::{Child, ChildStdin, Command, Stdio};

use nix::unistd::{Uid, User, geteuid};

const STRANGER: u32 = 2_000_000_123;
const TEST: &str = "namespace::tests::accounts_of_its_own";

#[test]
fn mounts_that_travel() {
    let line = |tags: &str| {
        format!(
            "27 1 254:0 / / rw,relatime {tags}- ext4 /dev/vda rw\n22 27 0:21 / /proc rw shared:5 - proc proc rw\n"
        )
    };
    for (tags, expected) in [
        ("", Mounts::NotSeen),
        ("shared:1 ", Mounts::Seen),
        ("master:7 ", Mounts::Seen),
        ("unbindable ", Mounts::NotSeen),
    ] {
        assert_eq!(mounts(&line(tags)), expected, "{tags}");
    }
    // What is mounted last is what is seen.
    assert_eq!(mounts(&(line("shared:1 ") + &line(""))), Mounts::NotSeen);
}

#[test]
fn processes_that_are_hidden() {
    let line = |options: &str| format!("22 27 0:21 / /proc rw,relatime - proc proc {options}\n");
    for (options, expected) in [
        ("rw", None),
        ("rw,hidepid=off", None),
        ("rw,hidepid=0", None),
        ("rw,hidepid=invisible", Some(0)),
        ("rw,gid=4,hidepid=2", Some(4)),
    ] {
        assert_eq!(hidden(&line(options)), expected, "{options}");
    }
    assert_eq!(hidden(""), None);
}

/// A copy of this test as a child that does something else, and answers line by line.
struct Stage {
    process: Child,
    says: Box<dyn Iterator<Item = String>>,
    hears: ChildStdin,
}

impl Stage {
    fn start(stage: &str) -> Stage {
        let mut process = Command::new("/proc/self/exe")
            .args(["--exact", TEST, "--nocapture"])
            .env("STAGE", stage)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let says = BufReader::new(process.stdout.take().unwrap()).lines().map_while(Result::ok);
        let hears = process.stdin.take().unwrap();
        Stage { process, says: Box::new(says), hears }
    }

    /// What it says of itself next.
    fn hear(&mut self) -> String {
        self.says.find_map(|line| line.strip_prefix("says ").map(str::to_owned)).unwrap()
    }

    fn go_on(&mut self) {
        self.hears.write_all(b"\n").unwrap();
    }

    fn end(mut self) {
        assert!(self.process.wait().unwrap().success());
    }
}

fn wait_for_parent() {
    let _ = io::stdin().read_line(&mut String::new());
}

/// This test is also its own child, which plays the host with an `/etc` that may be changed, and
/// that one's child, which covers it.
#[test]
fn accounts_of_its_own() {
    match std::env::var("STAGE").as_deref() {
        Ok("host") => host(),
        Ok(_) => covered(),
        Err(_) if !geteuid().is_root() => eprintln!("skipped: needs root and the right to mount"),
        Err(_) => {
            let before = fs::read("/etc/passwd").unwrap();
            let mut host = Stage::start("host");
            let heard = host.hear();
            if heard.starts_with("skipped") {
                return eprintln!("{heard}");
            }
            assert_eq!(heard, "account=stranger note=old link=found deep=found hosts=read-only", "at first");
            assert_eq!(host.hear(), "account=stranger note=new link=found deep=found late=seen", "then");
            host.end();
            assert_eq!(fs::read("/etc/passwd").unwrap(), before);
        }
    }
}

/// An `/etc` of our own in place of the host's, and a shared mount in it.
fn pretend() -> io::Result<()> {
    let no = None::<&OsStr>;
    unshare(CloneFlags::CLONE_NEWNS)?;
    mount(no, "/", no, MsFlags::MS_REC | MsFlags::MS_PRIVATE, no)?;
    mount(Some("tmpfs"), ETC, Some("tmpfs"), MsFlags::empty(), no)?;
    mount(no, ETC, no, MsFlags::MS_SHARED, no)?;
    Ok(())
}

fn host() {
    if let Err(error) = pretend() {
        return println!("\nsays skipped: the right to mount is needed: {error}");
    }
    let etc = Path::new(ETC);
    for directory in ["deep", "late"] {
        fs::create_dir(etc.join(directory)).unwrap();
    }
    fs::write(etc.join("passwd"), "root:x:0:0::/:/bin/false\n").unwrap();
    fs::write(etc.join("note"), "old").unwrap();
    // What leads upwards from /etc, and from a directory in it.
    symlink("../proc/version", etc.join("link")).unwrap();
    symlink("../../proc/version", etc.join("deep/link")).unwrap();

    let mut covered = Stage::start("covered");
    println!("\nsays {}", covered.hear());
    // As useradd does it, and whoever writes resolv.conf.
    for (name, text) in [("passwd", "root:x:0:0::/:/bin/true\n"), ("note", "new")] {
        fs::write(etc.join("temporary"), text).unwrap();
        fs::rename(etc.join("temporary"), etc.join(name)).unwrap();
    }
    let no = None::<&OsStr>;
    mount(Some("tmpfs"), &etc.join("late"), Some("tmpfs"), MsFlags::empty(), no).unwrap();
    fs::write(etc.join("late/file"), "seen").unwrap();
    covered.go_on();
    println!("says {}", covered.hear());
    covered.end();
}

fn covered() {
    let accounts = format!("stranger:x:{STRANGER}:{STRANGER}::/nonexistent:/bin/false\n");
    see_accounts(accounts.as_bytes()).unwrap();
    let account =
        || User::from_uid(Uid::from_raw(STRANGER)).unwrap().map_or("?".to_owned(), |user| user.name);
    let read = |name: &str| {
        fs::read_to_string(PathBuf::from(ETC).join(name)).unwrap_or_else(|error| error.to_string())
    };
    let found = |name: &str| if read(name).starts_with("Linux") { "found" } else { "lost" };
    let seen = || {
        format!(
            "account={} note={} link={} deep={}",
            account(),
            read("note"),
            found("link"),
            found("deep/link")
        )
    };
    let hosts = if fs::write("/etc/hosts", "x").is_err() { "read-only" } else { "writable" };
    println!("\nsays {} hosts={hosts}", seen());
    wait_for_parent();
    println!("says {} late={}", seen(), read("late/file"));
}
