//! One row of the table, and how it is run: a mirror of its own, the steps one after another,
//! and after the last a while in which nothing may change.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::thread;
use std::time::{Duration, Instant};

use super::original;
use crate::support::scene::{Scene, listing};
use crate::support::{LOCALHOST, Mirror, SOON, Setup, exists, pause, wait_until, write};

/// Cases that run at the same time; the harness runs two tables beside one another.
const AT_ONCE: usize = 4;
/// For how long what must not happen has a chance to happen: longer than a removal is held.
const PATIENCE: Duration = Duration::from_millis(400);
/// What the names of sentinels begin with; listings leave them out.
const SENTINEL: &str = "zz-";

/// What is done to the mirror.
type Act = Box<dyn Fn(&Scene) -> &Scene + Send>;

/// What shows that changes still arrive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sentinel {
    /// A file that is written.
    File,
    /// A directory that is made: where files do not travel.
    Directory,
}

/// A row.
pub struct Case {
    name: String,
    config: String,
    flags: Vec<&'static str>,
    trees: Vec<usize>,
    sentinel: Sentinel,
    before: Option<Act>,
    /// What is done, and the remote's tree afterwards; as it was, if none is given.
    steps: Vec<(Act, Option<Vec<String>>)>,
}

impl Case {
    /// With the original's config and one remote.
    pub fn new(name: impl Into<String>) -> Case {
        Case {
            name: name.into(),
            config: original::CONFIG.to_owned(),
            flags: Vec::new(),
            trees: vec![1],
            sentinel: Sentinel::File,
            before: None,
            steps: Vec::new(),
        }
    }

    /// Changes the config: `from`, which is in it, becomes `to`.
    pub fn replace(mut self, from: &str, to: &str) -> Case {
        assert!(self.config.contains(from), "{}: no {from:?} in the config", self.name);
        self.config = self.config.replacen(from, to, 1);
        self
    }

    /// The first element of this name gets these attributes in place of its own.
    pub fn set(self, element: &str, attributes: &str) -> Case {
        let start = self.start_tag(element).to_owned();
        let end = if start.ends_with("/>") { "/>" } else { ">" };
        self.replace(&start, &format!("<{element} {attributes}{end}"))
    }

    /// The first element of this name is taken out, with all it holds.
    pub fn without(self, element: &str) -> Case {
        let start = self.start_tag(element).to_owned();
        let (_, rest) = self.config.split_once(&start).unwrap();
        let whole = match rest.split_once(&format!("</{element}>")) {
            Some((inner, _)) if !start.ends_with("/>") => format!("{start}{inner}</{element}>"),
            _ => start,
        };
        self.replace(&whole, "")
    }

    /// `<filter>` on, with these expressions.
    pub fn filter(self, expressions: &[&str]) -> Case {
        let excludes: String = expressions.iter().map(|text| exclude(text)).collect();
        self.without("filter")
            .replace("<inotify>", &format!("<filter start=\"true\">{excludes}</filter><inotify>"))
    }

    /// `<crontabfilter>` on, with these patterns; `<crontab>` as it was.
    pub fn crontabfilter(self, patterns: &[&str]) -> Case {
        let excludes: String = patterns.iter().map(|text| exclude(text)).collect();
        let block = format!("<crontabfilter start=\"true\">{excludes}</crontabfilter></crontab>");
        self.without("crontabfilter").replace("</crontab>", &block)
    }

    /// Flags beside `-o`.
    pub fn flags(mut self, flags: &[&'static str]) -> Case {
        self.flags = flags.to_vec();
        self
    }

    /// Watched directories, `@WATCH@`, `@WATCH1@`…, and how many of the modules `m0`, `m1`… are
    /// remotes of each.
    pub fn trees(mut self, trees: &[usize]) -> Case {
        self.trees = trees.to_vec();
        self
    }

    /// What shows that changes still arrive, where a file would not.
    pub fn sentinel(mut self, sentinel: Sentinel) -> Case {
        self.sentinel = sentinel;
        self
    }

    /// Done before the start.
    pub fn before(mut self, act: impl Fn(&Scene) -> &Scene + Send + 'static) -> Case {
        self.before = Some(Box::new(act));
        self
    }

    /// Done then; every remote's tree becomes `expected`.
    pub fn becomes<S: AsRef<str>>(
        mut self,
        act: impl Fn(&Scene) -> &Scene + Send + 'static,
        expected: &[S],
    ) -> Case {
        let mut expected: Vec<String> = expected.iter().map(|line| line.as_ref().to_owned()).collect();
        expected.sort();
        self.steps.push((Box::new(act), Some(expected)));
        self
    }

    /// What the start alone makes of every remote.
    pub fn at_start<S: AsRef<str>>(self, expected: &[S]) -> Case {
        self.becomes(|s| s, expected)
    }

    /// Done then; no remote changes.
    pub fn nothing(mut self, act: impl Fn(&Scene) -> &Scene + Send + 'static) -> Case {
        self.steps.push((Box::new(act), None));
        self
    }

    fn start_tag(&self, element: &str) -> &str {
        let starts = [" ", "/", ">"].map(|end| format!("<{element}{end}"));
        let found = starts.iter().filter_map(|start| self.config.find(start.as_str())).min();
        let tag = found.and_then(|at| self.config[at..].split_inclusive('>').next());
        tag.unwrap_or_else(|| panic!("{}: no <{element}> in the config", self.name))
    }

    /// Runs it; the error says what was found in place of what was expected.
    fn run(self) -> Result<(), String> {
        let mut hosts = vec![LOCALHOST];
        hosts.resize(self.trees.iter().copied().max().unwrap_or(1), LOCALHOST);
        let trees: Vec<&[&'static str]> = self.trees.iter().map(|count| &hosts[..*count]).collect();
        let mirror = Mirror::new(Setup::plain().trees(&trees).flags(&self.flags));
        write(&mirror.config, filled_in(&self.config, &mirror));
        let mut scene = Scene::new(mirror);
        if let Some(before) = &self.before {
            before(&scene);
        }
        let mut expected = found(&scene.mirror).remove(0);
        scene.mirror.run();
        let mirror = &scene.mirror;
        let mut sentinels = Sentinels { mirror, kind: self.sentinel, made: 0 };
        for (number, (act, becomes)) in self.steps.iter().enumerate() {
            act(&scene);
            let end = Instant::now() + SOON;
            match becomes {
                Some(tree) => {
                    expected.clone_from(tree);
                    while found(mirror).iter().any(|found| *found != expected) && Instant::now() < end {
                        pause(Duration::from_millis(10));
                    }
                }
                None => sentinels.settle(),
            }
            if becomes.is_some() && number + 1 == self.steps.len() {
                sentinels.settle();
            }
            for (replica, found) in found(mirror).into_iter().enumerate() {
                if found != expected {
                    let when = format!("after step {} on replica{replica}", number + 1);
                    return Err(format!("{when}\n  expected: {expected:?}\n  found:    {found:?}"));
                }
            }
        }
        Ok(())
    }
}

/// Runs every case of `tables`, fails with what all of them have to say.
pub fn run<const N: usize>(tables: [Vec<Case>; N]) {
    let wanted = std::env::var("CASE").unwrap_or_default();
    let cases: Vec<Case> = tables.into_iter().flatten().filter(|case| case.name.contains(&wanted)).collect();
    let count = cases.len();
    let (queue, failures) = (Mutex::new(cases), Mutex::new(Vec::new()));
    let next = || queue.lock().unwrap().pop();
    let work = || {
        while let Some(case) = next() {
            let name = case.name.clone();
            let result = catch_unwind(AssertUnwindSafe(|| case.run()));
            if let Err(why) = result.unwrap_or_else(|_| Err("it could not go on, see above".to_owned())) {
                failures.lock().unwrap().push(format!("{name}: {why}"));
            }
        }
    };
    thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(work);
        }
    });
    let failures = failures.into_inner().unwrap();
    assert!(failures.is_empty(), "{} of {count} cases failed\n{}", failures.len(), failures.join("\n"));
}

/// Changes that show that what was to come before them has come.
struct Sentinels<'a> {
    mirror: &'a Mirror,
    kind: Sentinel,
    made: u32,
}

impl Sentinels<'_> {
    /// Sends one after another for as long as something late may take.
    fn settle(&mut self) {
        let end = Instant::now() + PATIENCE;
        while Instant::now() < end {
            self.made += 1;
            let name = format!("{SENTINEL}{}", self.made);
            for source in &self.mirror.sources {
                match self.kind {
                    Sentinel::File => write(source.join(&name), &name),
                    Sentinel::Directory => std::fs::create_dir(source.join(&name)).unwrap(),
                }
            }
            wait_until("a sentinel arrives everywhere", SOON, || {
                self.mirror.replicas.iter().all(|replica| exists(replica.join(&name)))
            });
            pause(Duration::from_millis(20));
        }
    }
}

/// What each replica holds.
fn found(mirror: &Mirror) -> Vec<Vec<String>> {
    let is_case = |line: &String| !line.starts_with(SENTINEL);
    mirror.replicas.iter().map(|replica| listing(replica).into_iter().filter(is_case).collect()).collect()
}

fn filled_in(config: &str, mirror: &Mirror) -> String {
    let mut text = config.replace("@PORT@", &mirror.port.to_string());
    text = text.replace("@DIR@", &mirror.dir.display().to_string());
    for (number, source) in mirror.sources.iter().enumerate().skip(1) {
        text = text.replace(&format!("@WATCH{number}@"), &source.display().to_string());
    }
    text.replace("@WATCH@", &mirror.sources[0].display().to_string())
}

fn exclude(text: &str) -> String {
    let text = text.replace('&', "&amp;").replace('<', "&lt;").replace('"', "&quot;");
    format!("<exclude expression=\"{text}\"></exclude>")
}
