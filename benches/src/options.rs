//! The command line of `bench`: what to run, how often, against whom, and where.
//! Every value has a default, so that `make bench` runs everything.

use std::path::PathBuf;

use crate::outcome::{Outcome, failed};

/// What `bench --help` prints.
pub(crate) const HELP: &str = "\
bench --bin PROGRAM [options]
  --bin PROGRAM      the sersync-supervisor to measure, a release build
  --only A,B         only these parts; without it all (--list names them)
  --reps N           runs of each workload, all contenders in turn (5)
  --peer-reps N      of these, how many the peers take part in (1)
  --peers A,B        lsyncd, clsync, inotifywait; none for no peer; without it all that are installed
  --root DIR         an empty place for sources and replicas, best on a tmpfs (/dev/shm/sersync-bench.PID)
  --state DIR        where the supervisor keeps its state, best on a disk (/var/tmp/sersync-bench.PID)
  --docs DIR         where performance.json, performance.md and the plots are; none to print only (docs)
  --scale F          the sizes of start, million, remotes, growth and the burst of beside, times F (1)
  --large GIB        the large file of beside (4; on a tmpfs it is there twice)
  --rsyncd LINE      one more line for the rsync daemon's config; the tables are without, so it needs --docs none
  --cap SECONDS      when a peer counts as not converged (30)
  --list             names the parts
  --draw             measures nothing, draws tables and plots again from performance.json
";

/// What was asked for.
#[derive(Debug, Clone)]
pub(crate) struct Options {
    /// The program to measure.
    pub(crate) program: PathBuf,
    /// Which parts; all when empty.
    pub(crate) only: Vec<String>,
    /// Runs of each workload.
    pub(crate) reps: u32,
    /// Runs that the peers take part in.
    pub(crate) peer_reps: u32,
    /// Peers by name; all that are installed without it.
    pub(crate) peers: Option<Vec<String>>,
    /// Sources, replicas, configs and logs.
    pub(crate) root: PathBuf,
    /// State files.
    pub(crate) state: PathBuf,
    /// Where results go; nowhere without it.
    pub(crate) docs: Option<PathBuf>,
    /// Factor for the sizes of what is large, above 0.
    pub(crate) scale: f64,
    /// GiB of the large file.
    pub(crate) large: u64,
    /// One more line for the rsync daemon's config; empty for none.
    pub(crate) rsyncd: String,
    /// Seconds after which a peer has not converged.
    pub(crate) cap: u64,
    /// What to do.
    pub(crate) task: Task,
}

/// What this call is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Task {
    /// To measure.
    Measure,
    /// To draw what was measured before.
    Draw,
    /// To name the parts.
    List,
    /// To print [`HELP`].
    Help,
}

/// Reads the words behind the program's name.
pub(crate) fn parse(words: impl IntoIterator<Item = String>) -> Outcome<Options> {
    let pid = std::process::id();
    let mut options = Options {
        program: PathBuf::new(),
        only: Vec::new(),
        reps: 5,
        peer_reps: 1,
        peers: None,
        root: PathBuf::from(format!("/dev/shm/sersync-bench.{pid}")),
        state: PathBuf::from(format!("/var/tmp/sersync-bench.{pid}")),
        docs: Some(PathBuf::from("docs")),
        scale: 1.0,
        large: 4,
        rsyncd: String::new(),
        cap: 30,
        task: Task::Measure,
    };
    let mut words = words.into_iter();
    while let Some(word) = words.next() {
        let task = match word.as_str() {
            "--draw" => Some(Task::Draw),
            "--list" => Some(Task::List),
            "--help" | "-h" => Some(Task::Help),
            _ => None,
        };
        if let Some(task) = task {
            options.task = task;
        } else {
            let value = words.next().ok_or_else(|| failed(format!("{word} needs a value; see --help")))?;
            set(&mut options, &word, &value)?;
        }
    }
    if !options.rsyncd.is_empty() && options.docs.is_some() {
        return Err(failed("--rsyncd needs --docs none; see --help"));
    }
    let program = options.program.as_path();
    if options.task == Task::Measure && !program.is_file() {
        return Err(failed("--bin must name the program to measure; see --help"));
    }
    if options.task == Task::Measure {
        options.program = program.canonicalize()?;
    }
    Ok(options)
}

fn set(options: &mut Options, word: &str, value: &str) -> Outcome<()> {
    match word {
        "--bin" => options.program = value.into(),
        "--only" => options.only = names(value),
        "--reps" => options.reps = number::<u32>(word, value)?.max(1),
        "--peer-reps" => options.peer_reps = number(word, value)?,
        "--peers" if value == "none" => options.peers = Some(Vec::new()),
        "--peers" => options.peers = (!value.is_empty()).then(|| names(value)),
        "--root" => options.root = value.into(),
        "--state" => options.state = value.into(),
        "--docs" => options.docs = (value != "none").then(|| value.into()),
        "--scale" => options.scale = number(word, value)?,
        "--large" => options.large = number(word, value)?,
        "--rsyncd" => options.rsyncd = value.into(),
        "--cap" => options.cap = number(word, value)?,
        _ => return Err(failed(format!("{word} is no option; see --help"))),
    }
    if options.scale <= 0.0 || !options.scale.is_finite() {
        return Err(failed("--scale must be above 0"));
    }
    Ok(())
}

fn names(value: &str) -> Vec<String> {
    value.split(',').map(str::trim).filter(|name| !name.is_empty()).map(ToOwned::to_owned).collect()
}

fn number<N: std::str::FromStr>(word: &str, value: &str) -> Outcome<N> {
    value.parse().map_err(|_| failed(format!("{word} needs a number, and got {value:?}")))
}

impl Options {
    /// Whether the part of this name was asked for.
    pub(crate) fn wants(&self, part: &str) -> bool {
        self.only.is_empty() || self.only.iter().any(|name| name.eq_ignore_ascii_case(part))
    }

    /// `size`, scaled; at least 1.
    pub(crate) fn scaled(&self, size: usize) -> usize {
        crate::outcome::whole(crate::outcome::real(size) * self.scale).max(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(words: &str) -> Outcome<Options> {
        parse(words.split_whitespace().map(ToOwned::to_owned))
    }

    #[test]
    fn a_part_of_the_whole_is_asked_for_by_name() {
        let options = read("--bin /bin/true --only W1,w5 --reps 3 --peers none").unwrap();
        assert!(options.wants("W1") && options.wants("W5") && !options.wants("W2"));
        assert_eq!((options.reps, options.peers), (3, Some(Vec::new())));
    }

    #[test]
    fn make_hands_over_what_was_left_empty() {
        let options = read("--bin /bin/true").unwrap();
        assert!(options.wants("micro") && options.peers.is_none());
        let words = ["--bin", "/bin/true", "--only", "", "--peers", ""].map(ToOwned::to_owned);
        let options = parse(words).unwrap();
        assert!(options.wants("W9") && options.peers.is_none());
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        let words = ["", "--bin /no/such", "--bin /bin/true --reps x", "--bin /bin/true --scale 0", "--only"];
        for words in words.into_iter().chain(["--bin /bin/true --rsyncd line"]) {
            assert!(read(words).is_err(), "{words}");
        }
    }
}
