//! `<limits>`: what a role and its rsync may use up is bounded, and what hits a limit is told,
//! and goes on in smaller pieces.
#![allow(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test that cannot go on fails"
)]

use std::fs;
use std::time::Duration;

use crate::support::random::Random;
use crate::support::{Mirror, Setup, is_root, processes, write};

fn limited(limits: &str) -> Setup {
    Setup::plain().edit("<sersync>", format!("{limits}\n<sersync>"))
}

/// Soft and hard limit, as `/proc/PID/limits` words them.
fn limit(pid: i32, name: &str) -> Vec<String> {
    let limits = fs::read_to_string(format!("/proc/{pid}/limits")).unwrap();
    let line = limits.lines().find_map(|line| line.strip_prefix(name)).unwrap();
    line.split_whitespace().take(2).map(str::to_owned).collect()
}

#[test]
fn each_role_has_its_own() {
    let setup = limited(
        "<limits role=\"watcher\" memory=\"100M\" files=\"300\" pids=\"3\" nice=\"3\"/>\n\
         <limits role=\"syncer\" memory=\"200M\" files=\"200\" pids=\"20\" nice=\"7\" ionice=\"idle\"/>",
    );
    let mut mirror = Mirror::start(setup);
    let supervisor = mirror.supervisor().pid();
    for (role, memory, files, pids, nice) in
        [("watcher", 100, "300", "3", "3"), ("syncer0", 200, "200", "20", "7")]
    {
        let pid = processes::roles(supervisor, role)[0];
        let bytes = (memory << 20).to_string();
        assert_eq!(limit(pid, "Max address space"), [bytes.as_str(), &bytes], "{role}");
        assert_eq!(limit(pid, "Max open files"), [files, files], "{role}");
        if is_root() {
            assert_eq!(limit(pid, "Max processes"), [pids, pids], "{role}");
        }
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
        let after_name = stat.rsplit_once(") ").unwrap().1;
        assert_eq!(after_name.split(' ').nth(16), Some(nice), "{role}");
    }
}

/// Compressing all of it takes several seconds of CPU time, any one file much less than one.
#[test]
fn a_batch_that_takes_too_much_goes_on_in_halves() {
    let setup = limited("<limits role=\"syncer\" cpu=\"1\"/><warm start=\"false\"/>");
    let mirror = Mirror::start(setup.params("-artz --compress-choice=zlib --compress-level=9"));
    let (held, mut random) = (mirror.dir.join("held"), Random(7));
    fs::create_dir(&held).unwrap();
    for n in 0..16 {
        let text: String = (0..700_000).map(|_| char::from(random.of(b"abcd").copied().unwrap())).collect();
        write(held.join(format!("file{n:02}")), text);
    }
    // The first few go at once, the rest as one batch behind them.
    for n in 0..16 {
        let name = format!("file{n:02}");
        fs::rename(held.join(&name), mirror.source(&name)).unwrap();
    }
    mirror.wait_logged("rsync used up its CPU time, memory or processes: see <limits role=\\\"syncer\\\">");
    mirror.wait_equal(Duration::from_secs(120));
}
