//! Two machines that mirror one another: each watches its own tree and pushes into the tree that
//! the other watches. What arrives from the other side is an event here as well, so both could
//! push the same thing to and fro for ever.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use crate::support::random::{Random, seed};
use crate::support::{Mirror, Setup, exists, holds, pause, scale, walk, write};

/// No daemon may have anything to write down for so long.
const SILENCE: Duration = Duration::from_secs(5);
/// By when it has begun and ended.
const SILENT_BY: Duration = Duration::from_secs(60);
/// Files that each side makes.
const FILES: usize = 100;

/// Two supervisors, each with a daemon that serves what it watches.
struct Pair([Mirror; 2]);

impl Pair {
    /// With the original's parameters, of which `-u` is what makes this possible.
    fn start() -> Pair {
        let mut machines = [(); 2].map(|()| Mirror::new(Setup::plain().params("-artuz")));
        for machine in &machines {
            machine.daemon.add_modules(&[("peer".to_owned(), machine.source(""))]);
            let mut config = OpenOptions::new().append(true).open(machine.dir.join("rsyncd.conf")).unwrap();
            // These lines belong to the module above.
            writeln!(config, "log file = {}\ntransfer logging = yes", log(machine).display()).unwrap();
        }
        let ports = [machines[1].port, machines[0].port];
        for (machine, port) in machines.iter_mut().zip(ports) {
            let xml = machine.setup.xml(&machine.sources, port).replace("name=\"m0\"", "name=\"peer\"");
            write(&machine.config, xml);
            machine.run();
        }
        Pair(machines)
    }

    /// The trees of the two.
    fn trees(&self) -> [PathBuf; 2] {
        [self.0[0].source(""), self.0[1].source("")]
    }

    /// What rsync would still do to make the second tree equal to the first, times of
    /// directories aside.
    fn difference(&self) -> String {
        let [one, other] = self.trees();
        let mut command = Command::new("rsync");
        command.env("LC_ALL", "C").args(["-rlptgoDnic", "--delete", "--"]).arg(one).arg(other);
        let output = command.output().unwrap();
        assert!(output.status.success(), "{output:?}");
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        text.lines().filter(|line| !line.starts_with(".d..t......")).collect::<Vec<_>>().join("\n")
    }

    /// The end of what both daemons wrote down.
    fn last_lines(&self) -> String {
        let of = |machine: &Mirror| {
            let text = fs::read_to_string(log(machine)).unwrap_or_default();
            let lines: Vec<&str> = text.lines().rev().take(60).collect();
            lines.into_iter().rev().collect::<Vec<_>>().join("\n")
        };
        self.0.iter().map(of).collect::<Vec<_>>().join("\n-- the other --\n")
    }

    /// Waits until nothing has been sent for a while; then both must be equal. Returns what the
    /// daemons wrote down since the start.
    fn wait_silent(&self) -> usize {
        let size =
            || self.0.iter().map(|machine| fs::metadata(log(machine)).map_or(0, |log| log.len())).sum();
        let (mut last, mut since): (u64, Instant) = (size(), Instant::now());
        let deadline = Instant::now() + SILENT_BY;
        while since.elapsed() < SILENCE {
            pause(Duration::from_millis(20));
            let now = size();
            if now != last {
                (last, since) = (now, Instant::now());
            }
            assert!(Instant::now() < deadline, "still sending: {}", self.last_lines());
        }
        assert_eq!(self.difference(), "", "silent, but not equal");
        self.0
            .iter()
            .map(|machine| fs::read_to_string(log(machine)).unwrap_or_default().lines().count())
            .sum()
    }
}

/// Where the daemon of a machine writes down each connection and each file.
fn log(machine: &Mirror) -> PathBuf {
    machine.dir.join("rsyncd.log")
}

/// What a side makes, and what becomes of it.
fn path(side: usize, n: usize) -> String {
    format!("side{side}/{}/{}/file{n}", n % 7, n % 3)
}

/// Every third is edited twice.
fn edit(tree: &Path, side: usize) {
    for n in (0..FILES).step_by(3) {
        write(tree.join(path(side, n)), "first");
        write(tree.join(path(side, n)), format!("second {n}"));
    }
}

/// Some are renamed and removed, with directories.
fn rearrange(tree: &Path, side: usize) {
    for n in (1..FILES).step_by(10) {
        fs::rename(tree.join(path(side, n)), tree.join(format!("side{side}/renamed{n}"))).unwrap();
    }
    for n in (2..FILES).step_by(10) {
        fs::remove_file(tree.join(path(side, n))).unwrap();
    }
    fs::rename(tree.join(format!("side{side}/4")), tree.join(format!("side{side}/four"))).unwrap();
    fs::remove_dir_all(tree.join(format!("side{side}/5"))).unwrap();
}

#[test]
fn a_burst_on_both_sides_comes_to_rest() {
    let pair = Pair::start();
    let trees = pair.trees();
    for n in 0..FILES {
        for (side, tree) in trees.iter().enumerate() {
            write(tree.join(path(side, n)), format!("made {n}"));
            write(tree.join(format!("shared/{n}/of{side}")), "shared");
        }
    }
    let made = pair.wait_silent();
    // Each side works on what came from the other. What is edited and removed at once may come back where
    // the other side takes longer to remove it than it keeps the edit to itself.
    for act in [edit, rearrange] {
        for (side, tree) in trees.iter().rev().enumerate() {
            act(tree, side);
        }
        let lines = pair.wait_silent();
        eprintln!("lines in the logs: {made} after making, now {lines}");
    }
    for tree in &trees {
        for side in 0..2 {
            let there = |name: &str| exists(tree.join(format!("side{side}")).join(name));
            let found = ["renamed1", "four", "4", "5"].map(there);
            assert_eq!(found, [true, true, false, false], "side{side}: {}", pair.last_lines());
            assert!(holds(tree.join(path(side, 3)), "second 3"));
            assert!(!exists(tree.join(path(side, 1))) && !exists(tree.join(path(side, 2))));
        }
    }
}

/// Edits `page` twice at once, on one side and then the other; returns what both sides hold when
/// they have come to rest, each time.
fn edit_in_turn(pair: &Pair, rounds: usize) -> Vec<String> {
    let files = pair.trees().map(|tree| tree.join("page"));
    let mut rested = Vec::new();
    for round in 0..rounds {
        for (side, file) in files.iter().enumerate() {
            write(file, format!("first {round} of {side}"));
            write(file, format!("second {round} of {side}"));
            pair.wait_silent();
            rested.push(fs::read_to_string(file).unwrap());
        }
    }
    rested
}

#[test]
fn the_same_file_edited_twice_here_and_there_in_turn() {
    let pair = Pair::start();
    // Each wait for silence has compared both sides. Which content won is the next test's matter.
    assert_eq!(edit_in_turn(&pair, 1).len(), 2);
}

/// What the other side sends back is older than the second edit, yet by less than `-u` can tell:
/// rsync compares whole seconds, and with `--modify-window=-1` lets even those of the next pass.
/// So what an rsync brought waits two seconds before it is sent on. `ROUNDS` makes it longer.
#[test]
fn a_second_edit_is_not_undone_by_the_echo_of_the_first() {
    let pair = Pair::start();
    let rounds = usize::try_from(scale("ROUNDS", 2)).unwrap();
    let rested = edit_in_turn(&pair, rounds);
    assert!(rested.iter().all(|content| content.starts_with("second")), "{rested:?}");
}

/// Both sides at the same names at once: who wins is open, but one and the same must win on both.
#[test]
fn both_at_the_same_names_at_once() {
    let pair = Pair::start();
    let trees = pair.trees();
    let mut random = Random(seed());
    for n in 0..400 {
        let tree = random.of(&trees).unwrap();
        let [file, other] = [(); 2].map(|()| {
            let (directory, name) = (random.below(4), random.below(20));
            tree.join(format!("d{directory}/file{name}"))
        });
        match random.below(8) {
            0 => drop(fs::remove_file(file)),
            1 => drop(fs::rename(file, other)),
            _ => write(file, format!("edit {n} ").repeat(n)),
        }
        if random.once_in(10) {
            pause(Duration::from_millis(random.below(60)));
        }
    }
    pair.wait_silent();
    assert!(!walk(&trees[0]).is_empty());
}
