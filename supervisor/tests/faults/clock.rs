//! A clock that is stepped by an hour while the supervisor runs, in both directions. The machine's
//! clock is not touched: a library that the test compiles stands before the supervisor's.
//!
//! Its children start with an empty environment and see the real clock, as does the kernel. What
//! depends on a clock at all is the supervisor: when something is retried, since when it waits.

use std::fs::{self, File, FileTimes, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, SystemTime};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::ground::{RECOVERED, content, exact, known, some};
use crate::support::{Mirror, SOON, Supervisor, supervisor, write};

const HOUR: i64 = 3600;

/// Adds the seconds that stand in a shared file to every clock of the day.
const LIBRARY: &str = r#"
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>
static volatile long long *step;
__attribute__((constructor)) static void begin(void) {
    const char *path = getenv("STEPPED_BY");
    int fd = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
    if (fd >= 0) {
        void *at = mmap(0, sizeof *step, PROT_READ, MAP_SHARED, fd, 0);
        if (at != MAP_FAILED) step = at;
        close(fd);
    }
}
int clock_gettime(clockid_t id, struct timespec *at) {
    int result = syscall(SYS_clock_gettime, id, at);
    if (result == 0 && step && (id == CLOCK_REALTIME || id == CLOCK_REALTIME_COARSE)) at->tv_sec += *step;
    return result;
}
int gettimeofday(struct timeval *restrict at, void *restrict zone) {
    struct timespec now;
    (void)zone;
    clock_gettime(CLOCK_REALTIME, &now);
    at->tv_sec = now.tv_sec;
    at->tv_usec = now.tv_nsec / 1000;
    return 0;
}
time_t time(time_t *at) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    if (at) *at = now.tv_sec;
    return now.tv_sec;
}
"#;

/// The clock of a supervisor.
struct Clock {
    library: PathBuf,
    step: PathBuf,
}

impl Clock {
    /// `None` where nothing can be compiled, with a word about it.
    fn new(mirror: &Mirror) -> Option<Clock> {
        let (source, library) = (mirror.dir.join("clock.c"), mirror.dir.join("clock.so"));
        fs::write(&source, LIBRARY).unwrap();
        let compiled =
            Command::new("cc").args(["-shared", "-fPIC", "-O1", "-o"]).arg(&library).arg(source).status();
        if !compiled.is_ok_and(|status| status.success()) {
            eprintln!("skipped: no C compiler here");
            return None;
        }
        let clock = Clock { library, step: mirror.dir.join("step") };
        fs::write(&clock.step, 0_i64.to_le_bytes()).unwrap();
        Some(clock)
    }

    fn step(&self, seconds: i64) {
        let file = OpenOptions::new().write(true).open(&self.step).unwrap();
        file.write_all_at(&seconds.to_le_bytes(), 0).unwrap();
    }

    /// Starts a supervisor that lives by it.
    fn start(&self, mirror: &mut Mirror) {
        let log = mirror.dir.join("log");
        let output = File::create(&log).unwrap();
        let process = supervisor::command(mirror)
            .args(mirror.setup.arguments(&mirror.config))
            .env("LD_PRELOAD", &self.library)
            .env("STEPPED_BY", &self.step)
            .stdin(Stdio::null())
            .stdout(output.try_clone().unwrap())
            .stderr(output)
            .spawn()
            .unwrap();
        mirror.adopt(Supervisor::of(process, &log));
        mirror.supervisor().wait_watching(1);
    }
}

/// The hour that is `seconds` from now, as the log writes it.
fn hour(seconds: i64) -> String {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs();
    let at = format!("@{}", now.checked_add_signed(seconds).unwrap());
    let output = Command::new("date").args(["-u", "-d", &at, "+%FT%H:"]).output().unwrap();
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

/// Everything that may happen to files whatever the time is, from `number` on.
fn change(mirror: &Mirror, number: usize) {
    let at = |path: String| mirror.source(path);
    write(at(format!("dir1/new{number}")), content(number));
    write(at("dir2/file2".to_owned()), content(number + 1));
    fs::rename(at(format!("dir1/new{number}")), at(format!("dir3/moved{number}"))).unwrap();
    write(at(format!("old{number}/gone")), "goes again");
    fs::remove_dir_all(at(format!("old{number}"))).unwrap();
    // As a restored backup is, or what came from another machine.
    let now = SystemTime::now();
    let hour = Duration::from_secs(HOUR.cast_unsigned());
    for (n, time) in [now, now + hour, now - hour].into_iter().enumerate() {
        let path = at(format!("dir0/timed{n}"));
        write(&path, content(number + 2 + n));
        File::open(path).unwrap().set_times(FileTimes::new().set_modified(time).set_accessed(time)).unwrap();
    }
}

#[test]
fn stepped_by_an_hour_while_it_runs() {
    let mut mirror = known(exact(), some);
    mirror.stop();
    let Some(clock) = Clock::new(&mirror) else { return };
    clock.start(&mut mirror);
    let mut number = 100;
    for hours in [1, -1, 0] {
        for step in [None, Some(hours), None] {
            if let Some(hours) = step {
                clock.step(hours * HOUR);
            }
            change(&mirror, number);
            number += 10;
        }
        let (code, said) = mirror.ask(&["wait", "--timeout", "30"]);
        assert_eq!(code, Some(0), "{hours}: {said}");
        assert_eq!(mirror.difference(0), Vec::<String>::new(), "{hours}: {}", mirror.log());
        // It does live by that clock.
        let before = hour(hours * HOUR);
        let watcher = mirror.supervisor().child("watcher");
        kill(Pid::from_raw(watcher), Signal::SIGKILL).unwrap();
        mirror.wait_logged("child died role=watcher");
        let log = mirror.log();
        let line = log.lines().find(|line| line.contains("child died role=watcher")).unwrap();
        assert!([before, hour(hours * HOUR)].iter().any(|hour| line.starts_with(hour)), "{hours}: {line}");
        // Nobody sees these, and they are found without `-r`.
        for way in [Mirror::stop, Mirror::kill] {
            way(&mut mirror);
            change(&mirror, number);
            number += 10;
            fs::remove_file(mirror.source(format!("dir3/moved{}", number - 20))).unwrap();
            clock.start(&mut mirror);
            mirror.wait_equal(RECOVERED);
        }
        assert_eq!(mirror.logged("full sync"), 0, "{}", mirror.log());
    }
    mirror.settle();
    mirror.wait_equal(SOON);
}
