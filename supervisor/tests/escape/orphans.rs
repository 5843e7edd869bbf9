//! kill -9 of the supervisor, with all that it can have below it at work: nothing is left after a
//! second, whatever its uid.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Stdio;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use crate::programs::{HANG, HOOK};
use crate::scene::{Sandbox, copy_of_self, setup};
use crate::support::{
    Listener, Manner, Mirror, SOON, Supervisor, pause, processes, supervisor, wait_until, write,
};

/// By when all is gone.
const AT_ONCE: Duration = Duration::from_secs(1);

/// The watcher, syncers with an rsync in the middle of a transfer, one that waits, an ssh, three
/// plugins, and a hook in progress.
pub(crate) fn nothing_outlives_the_supervisor() {
    let told = Listener::new(Manner::Listens);
    // It accepts, and then says nothing: an ssh waits there for ten seconds.
    let silent = Listener::new(Manner::Silent);
    let ssh = "name=\"@DIR@/replica1\" ssh=\"true\" identity=\"@DIR@/secret0\" knownhosts=\"@DIR@/secret0\"";
    let ssh = format!("{ssh} port=\"{}\"/>", silent.port);
    let setup = setup(told.port, Sandbox::On).edit("name=\"m1\"/>", ssh).params("-art --bwlimit=100");
    let mut mirror = Mirror::new(setup);
    for name in ["secret0", "secret2"] {
        write(mirror.dir.join(name), "a secret\n");
        fs::set_permissions(mirror.dir.join(name), fs::Permissions::from_mode(0o600)).unwrap();
    }
    let bin = mirror.dir.join("bin");
    fs::create_dir(&bin).unwrap();
    copy_of_self(&bin.join(HOOK));
    let before: Vec<i32> = processes::all().into_iter().map(|process| process.pid).collect();
    let log = mirror.dir.join("log");
    let output = fs::File::create(&log).unwrap();
    let mut command = supervisor::command(&mirror);
    command.args(mirror.setup.arguments(&mirror.config)).stdin(Stdio::null());
    let process = command.stdout(output.try_clone().unwrap()).stderr(output).spawn().unwrap();
    mirror.adopt(Supervisor::of(process, &log));
    mirror.supervisor().wait_watching(2);
    let pid = mirror.supervisor().pid();
    // A transfer that takes long; and in the other root a hook that hangs.
    write(mirror.source(HANG), "");
    write(mirror.source("large"), (0..4_000_000_u32).flat_map(u32::to_le_bytes).collect::<Vec<_>>());
    write(mirror.sources[1].join(HANG), "");
    let below = |role: &str, wanted: &str| {
        let roles = processes::roles(pid, role);
        let found: Vec<_> = roles.into_iter().flat_map(processes::descendants).collect();
        found.iter().any(|process| process.command.contains(wanted))
    };
    wait_until("everybody is at work", SOON, || {
        let transfers = below("syncer0", "--bwlimit=100") && below("syncer1", "/bin/ssh -F none");
        let waits = mirror.replicas[2].join(HANG).exists() && below("syncer2", "::m2/");
        let names = ["watcher", "plugin-socket", "plugin-http", "plugin-refreshCDN"];
        let roles = names.iter().all(|name| processes::roles(pid, name).len() == 1);
        transfers && waits && roles && below("plugin-command", "/bin/hook")
    });
    // By its parents, by its uids and by its names.
    let all = processes::descendants(pid);
    let uid = |pid| processes::status(pid, "Uid").and_then(|ids| ids.split(' ').next()?.parse::<u32>().ok());
    let uids: Vec<u32> = all.iter().filter_map(|process| uid(process.pid)).collect();
    let first = uids.iter().min().unwrap() / 64 * 64;
    assert!(first >= 2_000_000_000 && uids.iter().all(|uid| (first..first + 64).contains(uid)), "{uids:?}");
    let place = mirror.dir.display().to_string();
    let is_ours = |process: &processes::Process| {
        let by_name = process.command.contains(&place) && !process.command.contains("--daemon");
        all.iter().any(|known| known.pid == process.pid && known.command == process.command)
            || uid(process.pid).is_some_and(|uid| (first..first + 64).contains(&uid))
            || by_name
    };
    let is_new = |process: &processes::Process| !before.contains(&process.pid) && is_ours(process);
    let left = || processes::all().into_iter().filter(&is_new).collect::<Vec<_>>();
    assert!(left().len() > all.len(), "the supervisor and {} below it", all.len());
    println!("  {} processes below it", all.len());
    mirror.supervisor().signal(Signal::SIGKILL);
    let start = Instant::now();
    while !left().is_empty() {
        assert!(start.elapsed() < AT_ONCE, "after {AT_ONCE:?} there still is {:#?}", left());
        pause(Duration::from_millis(5));
    }
    println!("  all gone after {:.0?}", start.elapsed());
}
