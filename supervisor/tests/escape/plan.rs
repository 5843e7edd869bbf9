//! What the stand-ins are told: whom to attack, with what, and where to report to. It is text,
//! one fact a line, since it travels as a file and as an argument.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use common::confine::attempts::{self, Area, Expected, Targets, Uid};

use crate::extras;

/// The last line of a plan that was written out.
pub(crate) const END: &str = "end";
/// A line behind it: whoever is a role itself makes a last attempt.
pub(crate) const FINALE: &str = "finale";

/// Where an attack is made: a role of that name, or a program in that place.
pub(crate) fn area(subject: &str) -> Area {
    match subject {
        "watcher" => Area::Watcher,
        "keeper" => Area::Keeper,
        "page" => Area::Page,
        "rsync" | "ssh" => Area::Program,
        "command" => Area::Command,
        name if name.starts_with("syncer") => Area::Syncer,
        _ => Area::Plugin,
    }
}

/// Whom to attack.
#[derive(Debug, Clone, Default)]
pub(crate) struct Plan {
    /// The supervisor.
    pub(crate) supervisor: i32,
    /// Its live roles.
    pub(crate) others: Vec<i32>,
    /// The role below which an operator's program runs: of its own uid, and not fenced off from it.
    pub(crate) command: i32,
    /// The first root: attackers have `own-NAME` there.
    pub(crate) root: PathBuf,
    /// Another root.
    pub(crate) other_root: PathBuf,
    /// A password file of another remote.
    pub(crate) secret: PathBuf,
    /// The state file, which the keeper has open.
    pub(crate) state: PathBuf,
    /// Of the victim on TCP and UDP.
    pub(crate) port: u16,
    /// Of the victim on a unix socket.
    pub(crate) unix: PathBuf,
    /// Of the victim on an abstract one.
    pub(crate) abstract_name: String,
    /// Where reports go: a port that the stand-in may connect to anyway.
    pub(crate) collector: u16,
    /// Only these attempts; all that must fail if there are none.
    pub(crate) only: Vec<String>,
}

impl Plan {
    /// As text, complete.
    pub(crate) fn text(&self) -> String {
        let path = |path: &Path| path.display().to_string();
        let numbers = self.others.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ");
        [
            format!("supervisor={}", self.supervisor),
            format!("others={numbers}"),
            format!("command={}", self.command),
            format!("root={}", path(&self.root)),
            format!("other_root={}", path(&self.other_root)),
            format!("secret={}", path(&self.secret)),
            format!("state={}", path(&self.state)),
            format!("port={}", self.port),
            format!("unix={}", path(&self.unix)),
            format!("abstract={}", self.abstract_name),
            format!("collector={}", self.collector),
            format!("only={}", self.only.join(" ")),
            format!("{END}\n"),
        ]
        .join("\n")
    }

    /// From text; `None` while it is not complete.
    pub(crate) fn read(text: &str) -> Option<Plan> {
        if !text.lines().any(|line| line == END) {
            return None;
        }
        let value = |name: &str| {
            text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('=')).unwrap_or_default()
        };
        let words = |name: &str| value(name).split_whitespace().map(str::to_owned).collect::<Vec<_>>();
        Some(Plan {
            supervisor: value("supervisor").parse().ok()?,
            others: words("others").iter().filter_map(|word| word.parse().ok()).collect(),
            command: value("command").parse().ok()?,
            root: value("root").into(),
            other_root: value("other_root").into(),
            secret: value("secret").into(),
            state: value("state").into(),
            port: value("port").parse().ok()?,
            unix: value("unix").into(),
            abstract_name: value("abstract").to_owned(),
            collector: value("collector").parse().ok()?,
            only: words("only"),
        })
    }

    /// The stand-in for the root of `subject`.
    pub(crate) fn own_root(&self, subject: &str) -> PathBuf {
        self.root.join(format!("own-{subject}"))
    }

    /// The roles that are others to `subject`: for rsync that is its own syncer, too.
    pub(crate) fn others(&self, subject: &str) -> Vec<i32> {
        let is_other = |pid: &i32| area(subject) != Area::Command || *pid != self.command;
        self.others.iter().copied().filter(is_other).collect()
    }

    /// For the attempts of the library.
    pub(crate) fn targets(&self, subject: &str) -> Targets {
        Targets {
            supervisor: self.supervisor,
            others: self.others(subject),
            own_root: self.own_root(subject).into(),
            watched: vec![OsString::from(&self.root), OsString::from(&self.other_root)],
            other_file: self.other_root.join("file").into(),
            secret: OsString::from(&self.secret),
            port: self.port,
            unix: OsString::from(&self.unix),
            abstract_name: self.abstract_name.clone(),
        }
    }

    /// What `subject` tries, in order.
    pub(crate) fn trials(&self, subject: &str) -> Vec<String> {
        let area = area(subject);
        let of_library = attempts::all()
            .filter(|attempt| attempt.expected(area, Uid::Own) == Expected::Refused)
            .map(|attempt| attempt.name);
        let is_wanted = |name: &&str| self.only.is_empty() || self.only.iter().any(|only| only == name);
        of_library.chain(extras::names(area)).filter(is_wanted).map(str::to_owned).collect()
    }
}
