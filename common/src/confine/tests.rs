use super::*;
use nix::mount::{MntFlags, umount2};
use nix::unistd::User;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::Stdio;

fn confinement() -> Confinement {
    Confinement {
        identity: Some(Identity { uid: 7, gid: 8 }),
        passwd: None,
        read_all: true,
        max_files: 64,
        max_file_bytes: Some(0),
        max_processes: 4,
        supervisor: 1,
    }
}

const GOOD: &str = "Name:\tx\nUid:\t7\t7\t7\t7\nGid:\t8\t8\t8\t8\nGroups:\t \nNoNewPrivs:\t1\n\
    CapInh:\t0000000000000004\nCapPrm:\t0000000000000004\nCapEff:\t0000000000000004\n\
    CapBnd:\t0000000000000004\nCapAmb:\t0000000000000004\n";

#[test]
fn status_of_a_confined_role() {
    assert_eq!(check_status(GOOD, &confinement()), Ok(()));
    for (good, bad) in [
        ("Uid:\t7\t7\t7\t7", "Uid:\t7\t7\t0\t7"),
        ("Groups:\t ", "Groups:\t4"),
        ("NoNewPrivs:\t1", "NoNewPrivs:\t0"),
        ("CapBnd:\t0000000000000004", "CapBnd:\t000001ffffffffff"),
        ("CapEff", "CapNone"),
    ] {
        assert!(check_status(&GOOD.replace(good, bad), &confinement()).is_err(), "{bad}");
    }
}

/// A mount for as long as this lives.
struct Mounted(PathBuf);

impl Mounted {
    /// An empty filesystem whose own mounts travel to other namespaces.
    fn tmpfs(directory: PathBuf) -> nix::Result<Mounted> {
        let no = None::<&OsStr>;
        mount(Some("tmpfs"), &directory, Some("tmpfs"), MsFlags::empty(), no)?;
        let mounted = Mounted(directory);
        mount(no, &mounted.0, no, MsFlags::MS_SHARED, no)?;
        Ok(mounted)
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let _ = umount2(&self.0, MntFlags::MNT_DETACH);
    }
}

const STRANGER: u32 = 2_000_000_123;

/// This test is also its own child, which confines itself and says what it sees.
#[test]
fn accounts_of_its_own() {
    if let Some(place) = std::env::var_os("CONFINED_IN") {
        return inside(Path::new(&place));
    }
    let directory = tempfile::tempdir().unwrap();
    let shared = directory.path().join("shared");
    std::fs::create_dir(&shared).unwrap();
    std::fs::set_permissions(directory.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
    let mounted = match Mounted::tmpfs(shared.clone()) {
        Ok(mounted) => mounted,
        Err(error) => return eprintln!("skipped: needs root and the right to mount: {error}"),
    };
    let accounts = format!("stranger:x:{STRANGER}:{STRANGER}::/nonexistent:/bin/false\n");
    let passwd = directory.path().join("passwd");
    std::fs::write(&passwd, accounts).unwrap();
    std::fs::set_permissions(&passwd, std::fs::Permissions::from_mode(0o644)).unwrap();
    let before = std::fs::read("/etc/passwd").unwrap();

    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "confine::tests::accounts_of_its_own", "--nocapture"])
        .env("CONFINED_IN", directory.path())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut says = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
    let account = says.find(|line| line.contains("account="));
    assert!(account.as_deref().is_some_and(|line| line.ends_with("account=stranger")), "{account:?}");
    // The host's is as it was, and what the host mounts now, on a shared mount, is seen inside.
    assert_eq!(std::fs::read("/etc/passwd").unwrap(), before);
    let late = mounted.0.join("late");
    std::fs::create_dir(&late).unwrap();
    let _late = Mounted::tmpfs(late.clone()).unwrap();
    std::fs::write(late.join("file"), "seen").unwrap();
    child.stdin.take().unwrap().write_all(b"look\n").unwrap();
    assert_eq!(says.find(|line| line.starts_with("late=")).as_deref(), Some("late=seen"));
    assert!(child.wait().unwrap().success());
}

fn inside(place: &Path) {
    let confinement = Confinement {
        identity: Some(Identity { uid: STRANGER, gid: STRANGER }),
        passwd: Some(place.join("passwd").into()),
        supervisor: getppid().as_raw(),
        max_file_bytes: None,
        max_processes: 64,
        ..confinement()
    };
    enter(&confinement).unwrap();
    let account = User::from_uid(Uid::from_raw(STRANGER)).unwrap().map_or("?".to_owned(), |user| user.name);
    println!("\naccount={account}");
    let _ = std::io::stdin().read_line(&mut String::new());
    println!("late={}", std::fs::read_to_string(place.join("shared/late/file")).unwrap());
}

#[test]
fn accounts_that_cannot_be_had() {
    let error = see_as_passwd(OsStr::new("/nonexistent/passwd"));
    let text = error.unwrap_err().to_string();
    assert!(text.contains("step 4 accounts: /nonexistent/passwd:"), "{text}");
    assert!(text.contains("CAP_SYS_ADMIN"), "{text}");
}
