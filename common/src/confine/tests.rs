use super::*;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

fn confinement() -> Confinement {
    let identity = Some(Identity { uid: 7, gid: 8 });
    Confinement { identity, read_all: true, syscalls: Some(Syscalls::Watcher), ..Confinement::none() }
}

const WHOLE: Kernel = Kernel { landlock: 7, seccomp: true };
const GOOD: &str = "Name:\tx\nUid:\t7\t7\t7\t7\nGid:\t8\t8\t8\t8\nGroups:\t \nNoNewPrivs:\t1\nSeccomp:\t2\n\
    CapInh:\t0000000000000004\nCapPrm:\t0000000000000004\nCapEff:\t0000000000000004\n\
    CapBnd:\t0000000000000004\nCapAmb:\t0000000000000004\n";

#[test]
fn status_of_a_confined_role() {
    assert_eq!(check_status(GOOD, &confinement(), WHOLE), Ok(()));
    for (good, bad) in [
        ("Uid:\t7\t7\t7\t7", "Uid:\t7\t7\t0\t7"),
        ("Groups:\t ", "Groups:\t4"),
        ("NoNewPrivs:\t1", "NoNewPrivs:\t0"),
        ("Seccomp:\t2", "Seccomp:\t0"),
        ("CapBnd:\t0000000000000004", "CapBnd:\t000001ffffffffff"),
        ("CapEff", "CapNone"),
    ] {
        assert!(check_status(&GOOD.replace(good, bad), &confinement(), WHOLE).is_err(), "{bad}");
    }
    let shared = Confinement { identity: None, ..confinement() };
    let other =
        GOOD.replace("Uid:\t7\t7\t7\t7", "Uid:\t9\t9\t9\t9").replace("Bnd:\t0000000000000004", "Bnd:\t1");
    assert_eq!(check_status(&other, &shared, WHOLE), Ok(()));
    assert!(check_status(&other, &Confinement { read_all: false, ..shared }, WHOLE).is_err());
}

#[test]
fn what_a_kernel_lacks() {
    let lacks = |landlock, seccomp| Kernel { landlock, seccomp }.missing().len();
    assert_eq!(
        [lacks(0, false), lacks(0, true), lacks(3, true), lacks(4, true), lacks(4, false)],
        [2, 1, 1, 0, 1]
    );
    assert!(Kernel { landlock: 5, seccomp: true }.wanting().is_some());
    assert_eq!(WHOLE.wanting(), None);
}

/// This test is also its own child, which confines itself and tries what it may and may not.
#[test]
fn a_confined_process() {
    if let Some(place) = std::env::var_os("CONFINED_IN") {
        return inside(Path::new(&place));
    }
    if !nix::unistd::geteuid().is_root() {
        return eprintln!("skipped: needs root");
    }
    let directory = tempfile::tempdir().unwrap();
    for name in ["root", "other"] {
        fs::create_dir(directory.path().join(name)).unwrap();
        let file = directory.path().join(name).join("file");
        fs::write(&file, "for root only").unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
    }
    let status = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "confine::tests::a_confined_process", "--nocapture"])
        .env("CONFINED_IN", directory.path())
        .status();
    assert!(status.unwrap().success());
    assert_eq!(fs::read(directory.path().join("root/file")).unwrap(), b"for root only");
}

fn inside(place: &Path) {
    let (root, other, late) = (place.join("root"), place.join("other"), place.join("late"));
    let kill = ["/usr/bin/kill", "/lib64/ld-linux-x86-64.so.2", "/lib/ld-linux-aarch64.so.1"];
    let mut files = vec![
        FileRule { path: root.clone().into(), access: Access::ReadTree },
        FileRule { path: late.into(), access: Access::ReadTree },
        FileRule { path: "/usr/lib".into(), access: Access::Read },
        FileRule { path: "/dev/null".into(), access: Access::Use },
    ];
    files.extend(kill.map(|path| FileRule { path: path.into(), access: Access::Execute }));
    let confinement = Confinement {
        identity: Some(Identity { uid: 2_000_000_123, gid: 2_000_000_124 }),
        domain: Some(Domain { files, connect: Vec::new() }),
        syscalls: None,
        demand: Demand::Required,
        supervisor: getppid().as_raw(),
        ..confinement()
    };
    let confined = enter(&confinement).unwrap();
    let pid = i32::try_from(std::process::id()).unwrap();
    assert_eq!(fs::read(root.join("file")).unwrap(), b"for root only");
    assert_eq!(fs::read_dir(&root).unwrap().count(), 1);
    for closed in
        [other.join("file"), "/etc/shadow".into(), "/etc/hostname".into(), root.join("../other/file")]
    {
        assert!(fs::read(&closed).is_err(), "{}", closed.display());
    }
    for new in [root.join("new"), other.join("new"), "/tmp/sersync-new".into(), "/dev/shm/sersync-new".into()]
    {
        assert!(fs::write(&new, "x").is_err(), "{}", new.display());
    }
    assert!(fs::remove_file(root.join("file")).is_err());
    assert!(
        std::net::TcpStream::connect("127.0.0.1:9")
            .is_err_and(|error| error.raw_os_error() == Some(libc::EACCES))
    );
    assert_eq!(confined.outdated(), None);

    // A program in the domain below runs, and reaches us no more.
    let signal = |signal: &str, target: i32| {
        let mut command = Command::new(kill[0]);
        command.args([signal, &target.to_string()]).env_clear().current_dir("/");
        confined.prepare(&mut command);
        command.status().unwrap().success()
    };
    assert!(!signal("-0", pid), "its own syncer");
    assert!(!signal("-TERM", pid), "its own syncer");
}
