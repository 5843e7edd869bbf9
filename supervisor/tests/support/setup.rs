//! How a mirror is set up, and the config file that says so.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use super::daemon::LOCALHOST;

/// Name of the directory with what a supervisor keeps.
pub const STATE: &str = "state";

/// Where it is set, what all configs say for `<inotify watcher>`.
pub const WATCHER: &str = "E2E_WATCHER";

/// The switches of `<inotify>` and their values when nothing else is said.
const SWITCHES: [(&str, bool); 9] = [
    ("delete", true),
    ("createFolder", true),
    ("createFile", false),
    ("closeWrite", true),
    ("moveFrom", true),
    ("moveTo", true),
    ("attrib", false),
    ("modify", false),
    ("hiddenFile", false),
];

/// What a config says, and how the supervisor is started on it.
#[derive(Debug, Clone)]
pub struct Setup {
    /// For each watched directory the addresses of its remotes.
    pub trees: Vec<Vec<&'static str>>,
    /// `params`.
    pub params: &'static str,
    /// rsync's timeout in seconds.
    pub timeout: Option<u32>,
    /// Flags of the supervisor beside `-o`.
    pub flags: Vec<&'static str>,
    /// The image to run.
    pub program: PathBuf,
    /// A test of hostile roles: violations in the log are what it wants.
    pub expects_violations: bool,
    /// Pieces of the config and what they become; there `@DIR@` is the mirror's directory.
    edits: Vec<(&'static str, String)>,
    switches: Vec<(&'static str, bool)>,
    filter: Vec<&'static str>,
}

impl Setup {
    /// The switches as they are by default, one remote, `-artz`.
    pub fn plain() -> Setup {
        Setup {
            trees: vec![vec![LOCALHOST]],
            params: "-artz",
            timeout: None,
            flags: Vec::new(),
            program: env!("CARGO_BIN_EXE_sersync-supervisor").into(),
            expects_violations: false,
            edits: Vec::new(),
            switches: SWITCHES.to_vec(),
            filter: Vec::new(),
        }
    }

    /// Everything that exact equality needs: createFile, attrib and hiddenFile on, `-r`.
    pub fn exact() -> Setup {
        Setup::plain()
            .switch("createFile", true)
            .switch("attrib", true)
            .switch("hiddenFile", true)
            .flags(&["-r"])
    }

    /// Several remotes of the one tree.
    pub fn remotes(mut self, hosts: &[&'static str]) -> Setup {
        self.trees = vec![hosts.to_vec()];
        self
    }

    /// Several trees, each with its remotes.
    pub fn trees(mut self, trees: &[&[&'static str]]) -> Setup {
        self.trees = trees.iter().map(|hosts| hosts.to_vec()).collect();
        self
    }

    /// A switch of `<inotify>`.
    pub fn switch(mut self, name: &str, on: bool) -> Setup {
        self.switches.iter_mut().filter(|switch| switch.0 == name).for_each(|switch| switch.1 = on);
        self
    }

    /// Whether a switch of `<inotify>` is on.
    pub fn is_on(&self, name: &str) -> bool {
        self.switches.contains(&(SWITCHES.iter().find(|switch| switch.0 == name).unwrap().0, true))
    }

    /// Excluded names.
    pub fn filter(mut self, expressions: &[&'static str]) -> Setup {
        self.filter = expressions.to_vec();
        self
    }

    /// rsync's parameters.
    pub fn params(mut self, params: &'static str) -> Setup {
        self.params = params;
        self
    }

    /// rsync's timeout.
    pub fn timeout(mut self, seconds: u32) -> Setup {
        self.timeout = Some(seconds);
        self
    }

    /// Flags beside `-o`.
    pub fn flags(mut self, flags: &[&'static str]) -> Setup {
        self.flags = flags.to_vec();
        self
    }

    /// A piece of the config becomes something else; there `@DIR@` is the mirror's directory.
    pub fn edit(mut self, from: &'static str, to: impl Into<String>) -> Setup {
        self.edits.push((from, to.into()));
        self
    }

    /// Switches a plugin on; its block stands below `<head>`.
    pub fn plugin(self, name: &str, block: &str) -> Setup {
        self.edit("</sersync>", format!("<plugin start=\"true\" name=\"{name}\"/></sersync>"))
            .edit("</head>", format!("{block}</head>"))
    }

    /// The config file for these sources.
    pub fn xml(&self, sources: &[PathBuf], port: u16) -> String {
        let directory = sources[0].parent().unwrap().display().to_string();
        let plain = self.plain_xml(sources, port);
        let edited = self.edits.iter().fold(plain, |xml, (from, to)| {
            assert!(xml.contains(from), "{from:?} is not in the config");
            xml.replace(from, &to.replace("@DIR@", &directory))
        });
        match std::env::var(WATCHER) {
            Ok(watcher) => edited.replace("<inotify>", &format!("<inotify watcher=\"{watcher}\">")),
            Err(_) => edited,
        }
    }

    fn plain_xml(&self, sources: &[PathBuf], port: u16) -> String {
        let switches = self.switches.iter().map(|(name, on)| format!("<{name} start=\"{on}\"/>\n"));
        let excludes =
            self.filter.iter().map(|text| format!("<exclude expression=\"{}\"/>\n", escaped(text)));
        let mut module = 0..;
        let mut remote = |host: &&str| {
            let module = module.next().unwrap_or_default();
            format!("<remote ip=\"{host}\" name=\"m{module}\"/>\n")
        };
        let mut tree = |(source, hosts): (&PathBuf, &Vec<&str>)| {
            let remotes: String = hosts.iter().map(&mut remote).collect();
            format!("<localpath watch=\"{}\">\n{remotes}</localpath>\n", source.display())
        };
        format!(
            "<head version=\"2.5\">\n<debug start=\"{}\"/>\n<filter start=\"{}\">\n{}</filter>\n<inotify>\n{}</inotify>\n<sersync>\n{}\
             <rsync>\n<commonParams params=\"{}\"/>\n<userDefinedPort start=\"true\" port=\"{port}\"/>\n\
             <timeout start=\"{}\" time=\"{}\"/>\n</rsync>\n<failLog path=\"\" timeToExecute=\"60\"/>\n\
             </sersync>\n</head>\n",
            std::env::var_os("E2E_DEBUG").is_some(),
            !self.filter.is_empty(),
            excludes.collect::<String>(),
            switches.collect::<String>(),
            sources.iter().zip(&self.trees).map(&mut tree).collect::<String>(),
            escaped(self.params),
            self.timeout.is_some(),
            self.timeout.unwrap_or(100),
        )
    }

    /// The supervisor's arguments. What it keeps stands beside the config.
    pub fn arguments(&self, config: &Path) -> Vec<OsString> {
        let flags = self.flags.iter().map(OsString::from);
        let state = config.with_file_name(STATE).into_os_string();
        flags.chain(["--state-dir".into(), state, "-o".into(), config.as_os_str().to_owned()]).collect()
    }
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('"', "&quot;")
}
