//! Bombs in the place of rsync and of an operator's program: memory, descriptors, output, and
//! processes. The limits contain them, and the mirror goes on.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;
use std::process::{Child, Command, ExitCode};
use std::time::{Duration, Instant};

use crate::attack;
use crate::programs::{BOMB, HOOK, RSYNC};
use crate::scene::copy_of_self;
use crate::support::{LOCALHOST, Listener, Manner, Mirror, SOON, Setup, holds, processes, wait_until, write};

/// The word with which a part of a fork bomb is started.
pub(crate) const WORD: &str = "bomb";
/// Limits of whoever holds the bomb.
const PROCESSES: usize = 16;
const FILES: usize = 64;
const MEGABYTES: usize = 256;
/// How much of a bomb there is where nothing contains it.
const MOST_MEGABYTES: usize = 1024;
const MOST_FILES: usize = 2000;
const CHILDREN: u32 = 3;
const GENERATIONS: u32 = 5;
/// What is written to each output, in bytes.
const OUTPUT: usize = 50 << 20;
/// Until when a change must have arrived, bomb or not.
const PROMPTLY: Duration = Duration::from_secs(4);
/// Changes made while it goes on.
const CHANGES: usize = 6;

/// A bomb, until a file stands where `text` says; the port for its report comes first.
pub(crate) fn explode(subject: &str, text: &str) -> io::Result<()> {
    let mut lines = text.lines();
    let (port, over) = (lines.next().unwrap_or_default(), lines.next().unwrap_or_default());
    let port = port.parse().map_err(io::Error::other)?;
    let report =
        format!("memory={}\nfiles={}\noutput={}\nwrites={}\n", memory(), files(), output(), writes());
    attack::report(subject, port, &report)?;
    let parts = fork(over, GENERATIONS);
    while !Path::new(over).exists() {
        std::thread::park_timeout(Duration::from_millis(20));
    }
    for mut part in parts {
        part.wait()?;
    }
    Ok(())
}

/// How many megabytes can be had, and used.
fn memory() -> usize {
    let mut held = Vec::new();
    while held.len() < MOST_MEGABYTES {
        let mut block: Vec<u8> = Vec::new();
        if block.try_reserve_exact(1 << 20).is_err() {
            break;
        }
        block.resize(1 << 20, 1);
        held.push(block);
    }
    held.len()
}

/// How many files can be open.
fn files() -> usize {
    let mut held = Vec::new();
    while held.len() < MOST_FILES
        && let Ok(file) = File::open(".")
    {
        held.push(file);
    }
    held.len()
}

/// How many bytes can be written to what was inherited.
fn output() -> usize {
    let line = [b"a line \x1b[31m\r of \0 words ".repeat(100), b"\n".to_vec()].concat();
    let mut written = 0;
    while written < OUTPUT {
        if io::stdout().write_all(&line).and_then(|()| io::stderr().write_all(&line)).is_err() {
            break;
        }
        written += line.len();
    }
    written
}

/// How many of some places a file can be made in.
fn writes() -> usize {
    let name = format!(".sersync-attempt-{}", std::process::id());
    let places = [".", "/tmp", "/var/tmp", "/dev/shm", "/run", "/"];
    let made = places
        .iter()
        .map(|place| Path::new(place).join(&name))
        .filter(|path| File::create(path).and_then(|_| fs::remove_file(path)).is_ok());
    made.count()
}

/// Starts as many of itself as it can.
fn fork(over: &str, generations: u32) -> Vec<Child> {
    let mut parts = Vec::new();
    while generations > 0 && parts.len() < CHILDREN as usize && !Path::new(over).exists() {
        let mut command = Command::new("/proc/self/exe");
        command.args([WORD, over, &(generations - 1).to_string()]).env_clear();
        match command.spawn() {
            Ok(part) => parts.push(part),
            Err(_) => std::thread::park_timeout(Duration::from_millis(1)),
        }
    }
    parts
}

/// A part of a fork bomb.
pub(crate) fn fragment(words: &[String]) -> ExitCode {
    let [_, _, over, generations] = words else { return ExitCode::from(64) };
    let parts = fork(over, generations.parse().unwrap_or_default());
    let end = Instant::now() + SOON;
    while !Path::new(over).exists() && Instant::now() < end {
        // Busy: it wants the processors, too.
        std::thread::park_timeout(Duration::from_micros(100));
    }
    for mut part in parts {
        let _ = part.wait();
    }
    ExitCode::SUCCESS
}

fn limits(role: &str) -> String {
    format!(
        "<limits role=\"{role}\" memory=\"{MEGABYTES}M\" pids=\"{PROCESSES}\" files=\"{FILES}\" nice=\"5\"/>\
         <warm start=\"false\"/></head>"
    )
}

fn socket(port: u16) -> String {
    format!(
        "<plugin name=\"socket\"><localpath watch=\"@DIR@/source0\"><deshost ip=\"127.0.0.1\" port=\"{port}\"/>\
         </localpath></plugin>"
    )
}

/// The pids of everybody with the real uid of this process.
fn of_its_uid(pid: i32) -> Vec<i32> {
    let uid = |pid| processes::status(pid, "Uid").and_then(|ids| ids.split(' ').next().map(str::to_owned));
    let wanted = uid(pid);
    processes::all().into_iter().map(|process| process.pid).filter(|&pid| uid(pid) == wanted).collect()
}

/// What a bomb reported: each limit held.
fn check_report(collector: &Listener, subject: &str, writes: Option<usize>) {
    let start = format!("subject={subject}\n");
    let report = || collector.heard().into_iter().find(|text| text.starts_with(&start));
    wait_until("the bomb reports", SOON, || report().is_some());
    let report = report().unwrap();
    println!("  {}", report.trim_end().replace('\n', " "));
    let number = |name: &str| -> usize {
        let value = report.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('='));
        value.unwrap().parse().unwrap()
    };
    assert!((8..MEGABYTES).contains(&number("memory")), "{report}");
    assert!((FILES / 2..FILES).contains(&number("files")), "{report}");
    assert!(number("output") >= OUTPUT, "{report}");
    assert!(writes.is_none_or(|writes| number("writes") == writes), "{report}");
}

/// While the processes of `pid`'s uid are as many as they may be, `work` is done.
fn contained(mirror: &mut Mirror, pid: i32, mut work: impl FnMut(&mut Mirror, usize)) {
    let mut most = 0;
    wait_until("the bomb has all it gets", SOON, || {
        most = most.max(of_its_uid(pid).len());
        most >= PROCESSES - 2
    });
    for part in of_its_uid(pid) {
        let limits = fs::read_to_string(format!("/proc/{part}/limits")).unwrap_or_default();
        let has = |name: &str, value: usize| {
            let mut lines = limits.lines().filter_map(|line| line.strip_prefix(name));
            limits.is_empty()
                || lines.any(|rest| rest.split_whitespace().take(2).all(|word| word == value.to_string()))
        };
        assert!(has("Max processes", PROCESSES), "{limits}");
        assert!(has("Max address space", MEGABYTES << 20), "{limits}");
        assert!(has("Max open files", FILES), "{limits}");
    }
    for n in 0..CHANGES {
        work(mirror, n);
        most = most.max(of_its_uid(pid).len());
        assert!(mirror.supervisor().ended().is_none());
        let rss = processes::status(mirror.supervisor().pid(), "VmRSS").unwrap();
        assert!(rss.trim_end_matches(" kB").parse::<usize>().unwrap() < 64 << 10, "{rss}");
    }
    println!("  at most {most} processes of {PROCESSES}");
    assert!(most <= PROCESSES, "{most} processes");
    assert!(mirror.log().len() < 1 << 20, "{} bytes of log", mirror.log().len());
    write(mirror.dir.join("over"), "");
    let own = [pid];
    wait_until("it is over", SOON, || of_its_uid(pid).iter().all(|pid| own.contains(pid)));
}

/// One remote's rsync is a bomb. Another one's goes on, and so do plugins; and so does another
/// supervisor beside it.
pub(crate) fn in_the_place_of_rsync() {
    let (collector, told) = (Listener::new(Manner::Listens), Listener::new(Manner::Listens));
    let setup = Setup::plain()
        .trees(&[&[LOCALHOST], &[LOCALHOST]])
        .plugin("socket", &socket(told.port))
        .edit("</head>", limits("syncer"))
        .edit("<rsync>", "<rsync program=\"@DIR@/bin/rsync\">");
    let mut mirror = Mirror::new(setup);
    fs::create_dir(mirror.dir.join("bin")).unwrap();
    copy_of_self(&mirror.dir.join("bin").join(RSYNC));
    let xml = fs::read_to_string(&mirror.config).unwrap();
    let port = |port| format!("<userDefinedPort start=\"true\" port=\"{port}\"/>");
    fs::write(&mirror.config, xml.replace(&port(mirror.port), &port(collector.port))).unwrap();
    mirror.run();
    let beside = Mirror::start(Setup::plain());
    let syncer = mirror.supervisor().child("syncer0");
    let over = mirror.dir.join("over");
    write(mirror.source(BOMB), format!("{}\n{}\n", collector.port, over.display()));
    check_report(&collector, RSYNC, Some(0));
    contained(&mut mirror, syncer, |mirror, n| {
        let (text, name) = (format!("change {n}"), format!("file{n}"));
        write(beside.source(&name), &text);
        write(mirror.sources[1].join(&name), &text);
        let path = mirror.sources[1].join(&name).display().to_string();
        wait_until("the real mirror goes on", PROMPTLY, || holds(beside.replica(&name), &text));
        wait_until("the other remote and the plugin go on", PROMPTLY, || told.has(&path));
    });
    // The syncer has outlived it, or was replaced; the remote takes the next change.
    write(mirror.source("after"), "");
    let path = mirror.source("after").display().to_string();
    wait_until("the remote itself goes on", SOON, || told.has(&path));
}

/// The command plugin's program is a bomb. The mirror goes on, and so do other plugins.
pub(crate) fn in_the_place_of_a_hook() {
    let (collector, told) = (Listener::new(Manner::Listens), Listener::new(Manner::Listens));
    let hook =
        "<plugin name=\"command\" timeout=\"60\"><param prefix=\"@DIR@/bin/hook\" suffix=\"\"/></plugin>";
    let setup = Setup::plain()
        .plugin("socket command", &(socket(told.port) + hook))
        .edit("</head>", limits("command"));
    let mut mirror = Mirror::new(setup);
    fs::create_dir(mirror.dir.join("bin")).unwrap();
    copy_of_self(&mirror.dir.join("bin").join(HOOK));
    mirror.run();
    let plugin = mirror.supervisor().child("plugin-command");
    let over = mirror.dir.join("over");
    write(mirror.source(BOMB), format!("{}\n{}\n", collector.port, over.display()));
    // What it may write is the operator's business.
    check_report(&collector, "command", None);
    contained(&mut mirror, plugin, |mirror, n| {
        let (text, name) = (format!("change {n}"), format!("file{n}"));
        write(mirror.source(&name), &text);
        wait_until("the mirror goes on", PROMPTLY, || holds(mirror.replica(&name), &text));
        let path = mirror.source(&name).display().to_string();
        wait_until("the other plugin goes on", PROMPTLY, || told.has(&path));
    });
}
