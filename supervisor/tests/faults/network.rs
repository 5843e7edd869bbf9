//! The network between a mirror and its remote is cut and healed: two namespaces and a cable.

use std::fs::{self, File};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;

use crate::ground::{RECOVERED, exact, sized};
use crate::support::daemon::free_port;
use crate::support::{Mirror, SOON, Supervisor, is_root, pause, wait_until, write};

/// The remote's address, which no other namespace knows.
const THERE: &str = "10.231.77.2";

fn ip(words: &str) -> bool {
    Command::new("ip").args(words.split(' ')).stderr(Stdio::null()).status().is_ok_and(|it| it.success())
}

/// Two namespaces, connected.
struct Cable {
    here: String,
    there: String,
}

impl Cable {
    /// `None` where none can be made, with a word about it.
    fn new() -> Option<Cable> {
        let id = std::process::id();
        let cable = Cable { here: format!("sx{id}a"), there: format!("sx{id}b") };
        if !is_root() || !ip(&format!("netns add {}", cable.here)) {
            eprintln!("skipped: no network namespaces here: needs root and ip");
            return None;
        }
        let Cable { here, there } = &cable;
        let steps = [
            format!("netns add {there}"),
            format!("-n {here} link add v0 type veth peer name v1 netns {there}"),
            format!("-n {here} addr add 10.231.77.1/24 dev v0"),
            format!("-n {there} addr add {THERE}/24 dev v1"),
            format!("-n {here} link set lo up"),
            format!("-n {here} link set v0 up"),
            format!("-n {there} link set v1 up"),
        ];
        for step in steps {
            if !ip(&step) {
                eprintln!("skipped: ip {step} fails here");
                return None;
            }
        }
        Some(cable)
    }

    /// A program on one side.
    fn command(side: &str, program: &PathBuf) -> Command {
        let mut command = Command::new("nsenter");
        command.arg(format!("--net=/var/run/netns/{side}")).arg(program);
        command
    }

    /// Nothing passes any more, and nobody is told.
    fn cut(&self) {
        assert!(ip(&format!("-n {} link set v1 down", self.there)));
    }

    fn heal(&self) {
        assert!(ip(&format!("-n {} link set v1 up", self.there)));
    }
}

impl Drop for Cable {
    fn drop(&mut self) {
        for name in [&self.here, &self.there] {
            ip(&format!("netns del {name}"));
        }
    }
}

/// The daemon on the other side, with those that serve its connections.
struct Far(Child);

impl Drop for Far {
    fn drop(&mut self) {
        let _ = killpg(Pid::from_raw(self.0.id().cast_signed()), Signal::SIGKILL);
        let _ = self.0.wait();
    }
}

#[test]
fn a_network_that_is_cut_and_healed() {
    let Some(cable) = Cable::new() else { return };
    let mut mirror = Mirror::new(exact().remotes(&[THERE]).params("-art --bwlimit=1500").timeout(2));
    mirror.port = free_port();
    mirror.reconfigure();
    let config = mirror.dir.join("far.conf");
    let near = fs::read_to_string(mirror.dir.join("rsyncd.conf")).unwrap();
    let (_, modules) = near.split_once("use chroot").unwrap();
    fs::write(&config, format!("address = {THERE}\nport = {}\nuse chroot{modules}", mirror.port)).unwrap();
    let _daemon = Far(Cable::command(&cable.there, &"rsync".into())
        .args(["--daemon", "--no-detach"])
        .arg(format!("--config={}", config.display()))
        .stdin(Stdio::null())
        .process_group(0)
        .spawn()
        .unwrap());
    let log = mirror.dir.join("log");
    let output = File::create(&log).unwrap();
    let process = Cable::command(&cable.here, &mirror.setup.program)
        .args(mirror.setup.arguments(&mirror.config))
        .current_dir(mirror.dir.join("cwd"))
        .stdin(Stdio::null())
        .stdout(output.try_clone().unwrap())
        .stderr(output)
        .spawn()
        .unwrap();
    mirror.adopt(Supervisor::of(process, &log));
    mirror.supervisor().wait_watching(1);
    write(mirror.source("first"), "1");
    mirror.wait_equal(SOON);
    // Once while nothing is sent, once in the middle of a large file.
    for name in ["small", "large"] {
        if name == "large" {
            write(mirror.source(name), vec![b'x'; 3_000_000]);
            wait_until("it is under way", SOON, || {
                fs::read_dir(mirror.replica(""))
                    .unwrap()
                    .flatten()
                    .any(|entry| entry.file_name().as_encoded_bytes().starts_with(b".large."))
            });
        }
        cable.cut();
        write(mirror.source("dir/while it is cut"), name);
        fs::rename(mirror.source("first"), mirror.source("other")).unwrap();
        pause(Duration::from_secs(sized("CUT_SECONDS", 2, 90)));
        cable.heal();
        mirror.wait_equal(RECOVERED);
        fs::rename(mirror.source("other"), mirror.source("first")).unwrap();
        mirror.wait_equal(SOON);
    }
}
