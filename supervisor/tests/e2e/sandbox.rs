//! The whole chain inside the sandbox: everything that a confined syncer, its rsync and a
//! confined plugin must still be able to do.
#![allow(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test that cannot go on fails"
)]

use std::ffi::OsStr;
use std::fs;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream, UdpSocket};
use std::os::unix::fs::{PermissionsExt, chown, lchown, symlink};
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};

use crate::support::listener::{Listener, Manner};
use crate::support::{Mirror, SOON, Setup, holds, is_root, wait_until, write};

const ACL: &str = "system.posix_acl_access";
const ATTRIBUTE: &str = "user.sersync";
/// `user::rw-,user:65534:r--,group::r--,mask::r--,other::---` as the kernel keeps it.
const ACL_VALUE: [u8; 44] = [
    2, 0, 0, 0, 1, 0, 6, 0, 255, 255, 255, 255, 2, 0, 4, 0, 254, 255, 0, 0, 4, 0, 4, 0, 255, 255, 255, 255,
    16, 0, 4, 0, 255, 255, 255, 255, 32, 0, 0, 0, 255, 255, 255, 255,
];

/// A daemon that asks for a password, and the config that knows it.
fn with_password(setup: Setup) -> Setup {
    setup.edit("</rsync>", "<auth start=\"true\" users=\"u\" passwordfile=\"@DIR@/password\"/></rsync>")
}

/// Makes the daemon ask for that password. The module comes last in its file.
fn ask_for_password(mirror: &Mirror, password: &str) {
    let place = |name: &str| mirror.dir.join(name);
    let private = |name: &str, text: String| {
        let new = place(&format!("{name}.new"));
        fs::write(&new, text).unwrap();
        fs::set_permissions(&new, fs::Permissions::from_mode(0o600)).unwrap();
        fs::rename(new, place(name)).unwrap();
    };
    private("secrets", format!("u:{password}\n"));
    private("password", format!("{password}\n"));
    let config = fs::read_to_string(place("rsyncd.conf")).unwrap();
    if !config.contains("auth users") {
        let auth = format!("auth users = u\nsecrets file = {}\n", place("secrets").display());
        fs::write(place("rsyncd.conf"), config + &auth).unwrap();
    }
}

fn attribute(path: &Path, name: &str) -> Option<Vec<u8>> {
    xattr::get(path, name).unwrap()
}

#[test]
fn private_files_acls_attributes_and_a_password() {
    let mirror = Mirror::new(with_password(Setup::exact().remotes(&["localhost"]).params("-artzAX")));
    ask_for_password(&mirror, "first");
    let mut mirror = mirror;
    mirror.run();
    write(mirror.source("private"), "for its owner only");
    fs::set_permissions(mirror.source("private"), fs::Permissions::from_mode(0o600)).unwrap();
    fs::create_dir(mirror.source("closed")).unwrap();
    write(mirror.source("closed/inside"), "and this");
    fs::set_permissions(mirror.source("closed"), fs::Permissions::from_mode(0o700)).unwrap();
    write(mirror.source("listed"), "with an access list");
    xattr::set(mirror.source("listed"), ACL, &ACL_VALUE).unwrap();
    xattr::set(mirror.source("listed"), ATTRIBUTE, b"and an attribute").unwrap();
    mirror.wait_equal(SOON);
    for name in [ACL, ATTRIBUTE] {
        let wanted = attribute(&mirror.source("listed"), name);
        assert!(wanted.is_some());
        wait_until("the attribute arrives", SOON, || attribute(&mirror.replica("listed"), name) == wanted);
    }
}

/// Landlock knows files, not names: the new file is out of reach for the old syncer.
#[test]
fn a_password_file_that_is_replaced() {
    let mirror = Mirror::new(with_password(Setup::plain()));
    ask_for_password(&mirror, "first");
    let mut mirror = mirror;
    mirror.run();
    write(mirror.source("before"), "1");
    mirror.wait_equal(SOON);
    ask_for_password(&mirror, "second");
    write(mirror.source("after"), "2");
    mirror.wait_equal(SOON);
    mirror.wait_logged("a new syncer takes over path=");
    assert_eq!(mirror.logged("child died"), 0, "{}", mirror.log());
}

/// Whoever owns a directory above the root must not choose what is read with the right to read
/// everything.
#[test]
fn a_way_that_somebody_else_bends() {
    if !is_root() {
        return eprintln!("skipped: needs root");
    }
    let mut mirror = Mirror::new(Setup::plain().edit("/source0\"", "/home/www\""));
    let at = |name: &str| mirror.dir.join(name);
    for name in ["home", "home/www", "private"] {
        fs::create_dir(at(name)).unwrap();
        chown(at(name), Some(65534), Some(65534)).unwrap();
    }
    chown(at("private"), Some(0), Some(0)).unwrap();
    write(at("private/secret"), "for root only");
    mirror.run();
    write(mirror.dir.join("home/www/file"), "1");
    wait_until("a file arrives", SOON, || holds(mirror.replica("file"), "1"));
    fs::rename(mirror.dir.join("home/www"), mirror.dir.join("home/www2")).unwrap();
    symlink("../private", mirror.dir.join("home/www")).unwrap();
    lchown(mirror.dir.join("home/www"), Some(65534), Some(65534)).unwrap();
    mirror.wait_logged("of uid 65534 leads to what belongs to uid 0");
    // The old directory in its place again: it goes on, and nothing else came meanwhile.
    fs::remove_file(mirror.dir.join("home/www")).unwrap();
    fs::rename(mirror.dir.join("home/www2"), mirror.dir.join("home/www")).unwrap();
    wait_until("it is watched again", Duration::from_secs(30), || mirror.logged("watching tree=") > 1);
    write(mirror.dir.join("home/www/file"), "2");
    wait_until("it goes on", SOON, || holds(mirror.replica("file"), "2"));
    assert!(!mirror.replica("secret").exists());
}

/// The very same directory after its disk was unmounted and mounted again: the rule for it went
/// with the mount.
#[test]
fn a_disk_that_comes_back() {
    if !is_root() {
        return eprintln!("skipped: needs root");
    }
    // An rsync that waits for the next change stands in the root.
    let setup = Setup::plain().edit("<sersync>", "<warm idle=\"1\"/><sersync>");
    let mut mirror = Mirror::new(setup.edit("/source0\"", "/disk/www\""));
    let (image, disk) = (mirror.dir.join("image"), mirror.dir.join("disk"));
    fs::create_dir(&disk).unwrap();
    fs::File::create(&image).unwrap().set_len(16 << 20).unwrap();
    let run = |program: &str, args: &[&OsStr]| {
        Command::new(program).args(args).output().is_ok_and(|output| output.status.success())
    };
    let mount = || run("mount", &["-o".as_ref(), "loop".as_ref(), image.as_ref(), disk.as_ref()]);
    if !run("mkfs.ext4", &["-q".as_ref(), image.as_ref()]) || !mount() {
        return eprintln!("skipped: no mkfs.ext4 or no loop device");
    }
    fs::create_dir(disk.join("www")).unwrap();
    let mut check = || {
        mirror.run();
        write(disk.join("www/before"), "1");
        wait_until("a file arrives", SOON, || holds(mirror.replica("before"), "1"));
        wait_until("it can be unmounted", Duration::from_secs(30), || run("umount", &[disk.as_ref()]));
        mirror.wait_logged("root lost");
        assert!(mount());
        write(disk.join("www/after"), "2");
        wait_until("what came after it", Duration::from_secs(60), || holds(mirror.replica("after"), "2"));
    };
    let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(&mut check));
    run("umount", &["-l".as_ref(), disk.as_ref()]);
    if let Err(panic) = result {
        std::panic::resume_unwind(panic);
    }
}

/// Where the name server of this test listens: port 53, which only root can take.
const SERVER: Ipv4Addr = Ipv4Addr::new(127, 83, 29, 54);

/// Says that every name is 127.0.0.1, over TCP.
fn answer(mut stream: TcpStream) -> std::io::Result<()> {
    loop {
        let mut length = [0; 2];
        stream.read_exact(&mut length)?;
        let mut question = vec![0; usize::from(u16::from_be_bytes(length))];
        stream.read_exact(&mut question)?;
        let ends = question.iter().skip(12).position(|&byte| byte == 0).unwrap() + 17;
        let count = u8::from(question[ends - 3] == 1);
        let mut answer = question[..ends].to_vec();
        answer[2..12].copy_from_slice(&[0x81, 0x80, 0, 1, 0, count, 0, 0, 0, 0]);
        if count == 1 {
            answer.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4, 127, 0, 0, 1]);
        }
        stream.write_all(&u16::try_from(answer.len()).unwrap().to_be_bytes())?;
        stream.write_all(&answer)?;
    }
}

/// This test is also its own child, which sees another `/etc/resolv.conf`.
#[test]
fn names_are_looked_up_over_tcp_only() {
    if let Some(resolver) = std::env::var_os("RESOLVER") {
        return among_names(&resolver);
    }
    let bound = TcpListener::bind((SERVER, 53)).and_then(|tcp| Ok((tcp, UdpSocket::bind((SERVER, 53))?)));
    let (listener, datagrams) = match bound {
        Ok(bound) if is_root() => bound,
        Ok(_) => return eprintln!("skipped: needs root to mount"),
        Err(error) => return eprintln!("skipped: needs root for port 53: {error}"),
    };
    let asked = Arc::new(AtomicUsize::new(0));
    let count = asked.clone();
    thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            count.fetch_add(1, Ordering::Relaxed);
            thread::spawn(move || answer(stream));
        }
    });
    let mut resolver = tempfile::NamedTempFile::new().unwrap();
    writeln!(resolver, "nameserver {SERVER}\noptions timeout:2 attempts:1").unwrap();
    // A plugin reads what everybody may.
    fs::set_permissions(resolver.path(), fs::Permissions::from_mode(0o644)).unwrap();
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "sandbox::names_are_looked_up_over_tcp_only", "--nocapture"])
        .env("RESOLVER", resolver.path())
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(asked.load(Ordering::Relaxed) >= 2, "rsync and the plugin have both asked");
    datagrams.set_nonblocking(true).unwrap();
    assert!(datagrams.recv(&mut [0; 512]).is_err(), "nobody sends datagrams");
}

fn among_names(resolver: &OsStr) {
    unshare(CloneFlags::CLONE_NEWNS).unwrap();
    let no = None::<&str>;
    mount(no, "/", no, MsFlags::MS_REC | MsFlags::MS_PRIVATE, no).unwrap();
    mount(Some(resolver), "/etc/resolv.conf", no, MsFlags::MS_BIND, no).unwrap();
    let listener = Listener::new(Manner::Answers(Duration::ZERO));
    let http = format!(
        "<plugin name=\"http\"><localpath watch=\"@DIR@/source0\"><deshost url=\"http://hook.test:{0}/\" \
         port=\"{0}\"/></localpath></plugin>",
        listener.port
    );
    let mirror = Mirror::start(Setup::plain().remotes(&["mirror.test"]).plugin("http", &http));
    write(mirror.source("file"), "by name");
    wait_until("the file arrives", SOON, || holds(mirror.replica("file"), "by name"));
    wait_until("the plugin tells of it", SOON, || !listener.heard().is_empty());
}
