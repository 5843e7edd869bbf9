//! `explain PATH`: whether a path is mirrored and watched, which rule of the config decides that,
//! and, where a supervisor runs, how far it is on its way. A look: nothing is claimed or changed.

use std::ffi::OsStr;
use std::fs;
use std::io;
use std::ops::Range;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};

use common::config::{Config, FilterExpression, Places, Switches, WatcherKind, parse};
use common::exit::Exit;
use common::filter::{EntryKind, Filter, is_hidden_file};
use common::log::{Shown, escape};
use common::path::RelPath;

use crate::accounts::absolute;
use crate::control::client;
use crate::control::protocol::Request;
use crate::run::{read_config, read_file};
use crate::runtime;
use crate::say::say;

/// Explains `typed` by the config at `path`. [`Exit::No`] where it is not mirrored.
pub fn run(path: &Path, typed: &OsStr) -> Exit {
    let config = match read_config(path, None) {
        Ok((config, _)) => config,
        Err(exit) => return exit,
    };
    let found = below(&config, typed);
    if found.is_empty() {
        let roots: Vec<String> = config.trees.iter().map(|tree| Shown(&tree.watch).to_string()).collect();
        say(&format!("{} lies in no watched directory; watched are {}", Shown(typed), roots.join(", ")));
        return Exit::No;
    }
    let source = read_file(path).map(|(bytes, _)| bytes).unwrap_or_default();
    let rules = Rules { config: &config, text: parse(&source).text, places: Places::new(&source), path };
    let mut travels = false;
    for (root, path) in &found {
        // What no supervisor sends, none is asked for.
        if rules.tell(root, path) {
            travels = true;
            ask(rules.path, root, path);
        }
    }
    if travels { Exit::Ok } else { Exit::No }
}

/// In which trees it lies, and where there: as it was typed, by what links lead to, or below a tree.
fn below(config: &Config, typed: &OsStr) -> Vec<(PathBuf, RelPath)> {
    let roots: Vec<PathBuf> = config.trees.iter().filter_map(|tree| absolute(&tree.watch).ok()).collect();
    let named = std::path::absolute(typed).unwrap_or_else(|_| PathBuf::from(typed));
    let named: PathBuf = named.components().collect();
    // The last name may itself be a link, which is mirrored as one.
    let real = named.parent().and_then(|above| above.canonicalize().ok()).zip(named.file_name());
    let real = real.map_or_else(|| named.clone(), |(above, name)| above.join(name));
    let within = |root: &Path| {
        let really = root.canonicalize().unwrap_or_else(|_| root.to_owned());
        let rest = named.strip_prefix(root).or_else(|_| real.strip_prefix(&really)).ok()?;
        RelPath::new(rest.as_os_str().as_bytes()).ok()
    };
    let mut found: Vec<(PathBuf, RelPath)> =
        roots.iter().filter_map(|root| Some((root.clone(), within(root)?))).collect();
    if found.is_empty() && Path::new(typed).is_relative() {
        let rest: PathBuf = Path::new(typed).components().collect();
        let rest = RelPath::new(rest.as_os_str().as_bytes()).ok();
        let there = |root: &&PathBuf| root.join(typed).symlink_metadata().is_ok();
        found = roots.iter().filter(there).filter_map(|root| Some((root.clone(), rest.clone()?))).collect();
    }
    found
}

/// What the config says of paths, and where it says so.
struct Rules<'a> {
    config: &'a Config,
    text: String,
    places: Places,
    path: &'a Path,
}

impl Rules<'_> {
    /// Says all of it. Whether the path is mirrored, if only with others.
    fn tell(&self, root: &Path, path: &RelPath) -> bool {
        let at = root.join(path.as_path());
        let kind = Kind::of(&at);
        say(&format!("path: {}", Shown(at.as_os_str())));
        say(&format!("tree: {}", Shown(root.as_os_str())));
        say(&format!("kind: {}", kind.as_str()));
        if path.is_root() {
            say("mirrored: yes, it is the watched directory itself");
            self.tell_watch(true);
            return true;
        }
        let entry = if kind == Kind::Directory { EntryKind::Directory } else { EntryKind::File };
        let above = path.ancestors().filter_map(|above| RelPath::new(above).ok());
        let excluded_above = above.filter(|above| !above.is_root()).find_map(|above| {
            self.expression(&above, EntryKind::Directory).map(|rule| (above.to_string(), rule))
        });
        if let Some((above, rule)) = excluded_above {
            say(&format!("mirrored: no, {rule} excludes the directory {above} above it"));
            self.tell_watch(false);
            return false;
        }
        if let Some(rule) = self.expression(path, entry) {
            say(&format!("mirrored: no, {rule} excludes it"));
            self.tell_watch(kind != Kind::Directory);
            return false;
        }
        self.tell_events(kind, path);
        if !self.config.sync_excludes.is_empty() {
            let place = self.place(self.places.element("crontabfilter"));
            say(&format!(
                "full syncs: the patterns of <crontabfilter> at {place} may leave it out; they are rsync's"
            ));
        }
        self.tell_watch(true);
        true
    }

    /// Of what no expression excludes: whether it is sent for what happens to it, or with others only.
    fn tell_events(&self, kind: Kind, path: &RelPath) {
        let switches = self.config.switches;
        let with_others = "mirrored: only with its directory as a whole, and by full syncs";
        if kind != Kind::Directory && !switches.hidden_file && is_hidden_file(path.name()) {
            let place = match self.places.written("hiddenFile") {
                Some(span) => format!(", see {}", self.place(span)),
                None => ", which is the default,".to_owned(),
            };
            say(&format!(
                "{with_others}: its name is a hidden file's, and <hiddenFile start=\"false\">{place} leaves out its own \
                 events"
            ));
            return say("events: none of its own");
        }
        if sends(kind, switches).iter().all(|(_, on)| !on) {
            say(&format!("{with_others}: every switch of <inotify> that would send it is off"));
        } else if self.config.filter.is_empty() {
            say("mirrored: yes, no <filter> is on");
        } else {
            say("mirrored: yes, no filter expression matches it");
        }
        say(&format!("events: {}", events(kind, switches)));
    }

    /// The first expression that excludes it, and where it stands.
    fn expression(&self, path: &RelPath, kind: EntryKind) -> Option<String> {
        let FilterExpression(bytes) = self.config.filter.iter().find(|expression| {
            Filter::new(std::slice::from_ref(*expression)).is_ok_and(|filter| filter.excludes(path, kind))
        })?;
        let place = self.place(self.places.filter_expression(bytes));
        Some(format!("filter expression `{}` at {place}", escape(bytes)))
    }

    fn tell_watch(&self, is_watched: bool) {
        let by = match self.config.watcher {
            WatcherKind::Inotify => "a watch of inotify stands on its directory",
            WatcherKind::Fanotify => "a mark of fanotify stands on its filesystem",
        };
        say(&if is_watched {
            format!("watch: {by} while a supervisor runs")
        } else {
            "watch: none, nothing below an excluded directory is watched".to_owned()
        });
    }

    /// `FILE:LINE:COLUMN`.
    fn place(&self, span: Range<usize>) -> String {
        let start = self.text.floor_char_boundary(span.start);
        let before = self.text.get(..start).unwrap_or_default();
        let line = before.matches('\n').count().saturating_add(1);
        let column = before.rsplit('\n').next().unwrap_or_default().chars().count().saturating_add(1);
        format!("{}:{line}:{column}", Shown(self.path.as_os_str()))
    }
}

/// What stands there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Directory,
    File,
    Link,
    Special,
    Nothing,
    Unknown,
}

impl Kind {
    fn of(path: &Path) -> Kind {
        match path.symlink_metadata().map(|found| found.file_type()) {
            Ok(kind) if kind.is_dir() => Kind::Directory,
            Ok(kind) if kind.is_file() => Kind::File,
            Ok(kind) if kind.is_symlink() => Kind::Link,
            Ok(kind) if kind.is_fifo() || kind.is_socket() => Kind::Special,
            Ok(kind) if kind.is_block_device() || kind.is_char_device() => Kind::Special,
            Err(error) if error.kind() == io::ErrorKind::NotFound => Kind::Nothing,
            Ok(_) | Err(_) => Kind::Unknown,
        }
    }

    fn as_str(self) -> &'static str {
        match self {
            Kind::Directory => "directory",
            Kind::File => "file",
            Kind::Link => "symbolic link, mirrored as such",
            Kind::Special => "device, fifo or socket; rsync sends it with -D",
            Kind::Nothing => "nothing stands there; it is taken for a file",
            Kind::Unknown => "cannot be looked at by this user; it is taken for a file",
        }
    }
}

/// The switches that would send it, and which of them are on.
fn sends(kind: Kind, switches: Switches) -> Vec<(&'static str, bool)> {
    if kind == Kind::Directory {
        let create = ("createFolder", switches.create_folder);
        return vec![create, ("moveTo", switches.move_to), ("attrib", switches.attrib)];
    }
    vec![
        ("closeWrite", switches.close_write),
        ("createFile", switches.create_file),
        ("modify", switches.modify),
        ("moveTo", switches.move_to),
        ("attrib", switches.attrib),
    ]
}

/// Which switches send it, and which do not.
fn events(kind: Kind, switches: Switches) -> String {
    let sends = sends(kind, switches);
    let removes = [("delete", switches.delete), ("moveFrom", switches.move_from && switches.delete)];
    let names = |all: &[(&str, bool)], wanted: bool| {
        let names: Vec<&str> = all.iter().filter(|(_, on)| *on == wanted).map(|(name, _)| *name).collect();
        if names.is_empty() { "none".to_owned() } else { names.join(" ") }
    };
    format!(
        "sent by {}; removed there by {}; off: {}",
        names(&sends, true),
        names(&removes, true),
        names(&sends, false)
    )
}

/// Asks the supervisor that runs on the config, if one does.
fn ask(config: &Path, root: &Path, path: &RelPath) {
    let sockets = fs::metadata(config).map(|metadata| runtime::control_sockets(config, &metadata));
    let Ok(sockets) = sockets else { return };
    let request = Request::Explain {
        tree: root.as_os_str().to_owned(),
        path: OsStr::from_bytes(path.as_bytes()).to_owned(),
    };
    let told = client::connect(&sockets).and_then(|stream| client::ask(&stream, &request, &mut io::stdout()));
    if let Err(error) = told {
        say(&format!("on its way: not known, {error}"));
    }
}
