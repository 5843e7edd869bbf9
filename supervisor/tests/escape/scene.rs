//! The two scenes: roles that were taken over, and programs that were. Everything around them is
//! looked at before and after.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::atomic::AtomicBool;
use std::thread;
use std::time::Duration;

use common::confine::attempts::Area;

use crate::plan::{FINALE, Plan, area};
use crate::programs::{HOOK, PLAN, RSYNC, SSH};
use crate::support::daemon::free_port;
use crate::support::setup::STATE;
use crate::support::{
    LOCALHOST, Listener, Manner, Mirror, Over, SOON, Setup, Supervisor, holds, processes, supervisor,
    wait_until, write,
};
use crate::victims::{self, Known, Listeners, OTHER_TEXT};

/// `<sandbox start>`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sandbox {
    On,
    Off,
}

/// By when all attackers have tried everything.
const TRIED: Duration = Duration::from_secs(30);
/// The roles that are taken over in the first scene.
const ROLES: [&str; 7] =
    ["watcher", "keeper", "page", "syncer0", "plugin-socket", "plugin-http", "plugin-refreshCDN"];
/// The same, as the log names them.
const LOGGED: [&str; 7] =
    ["role=watcher", "role=keeper", "role=page", "::m0", "plugin=socket", "plugin=http", "plugin=refreshCDN"];
/// Fewest attempts that each makes.
const FEWEST: usize = 100;
/// No rsync waits for a job: it would be a stand-in without a plan.
pub(crate) const COLD: &str = "<warm start=\"false\"/></head>";
/// What comes through where there is no sandbox; harmless.
const NOTICED: [&str; 15] = [
    "read-other-root",
    "read-world-readable",
    "list-etc",
    "create-in-tmp",
    "tcp",
    "udp",
    "unix",
    "run-program",
    "memory-file",
    "other-root-through-dots",
    "other-root-by-race",
    // These are refused to an operator's program, too.
    "ptrace-attach",
    "read-memory",
    "take-descriptor",
    "request-key",
];

/// A copy of this image, for everybody.
pub(crate) fn copy_of_self(path: &Path) {
    fs::copy(std::env::current_exe().unwrap(), path).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
}

/// Everything that a supervisor can have: two roots, three remotes of which two have secrets, and
/// all plugins, told over `port`.
pub(crate) fn setup(port: u16, sandbox: Sandbox) -> Setup {
    let block = |name: &str, inner: String| {
        format!("<plugin name=\"{name}\"><localpath watch=\"@DIR@/source0\">{inner}</localpath></plugin>")
    };
    let cdn = format!(
        "<cdninfo domainname=\"127.0.0.1\" port=\"{port}\" username=\"user\" passwd=\"word\"/>\
         <sendurl base=\"http://pic\"/><regexurl regex=\"false\" match=\"x\"/>"
    );
    let http = format!("<deshost url=\"http://127.0.0.1:{port}/\" port=\"{port}\"/>");
    let socket = format!("<deshost ip=\"127.0.0.1\" port=\"{port}\"/>");
    let hook = "<plugin name=\"command\"><param prefix=\"@DIR@/bin/hook\" suffix=\"\"/></plugin>";
    let switch = if sandbox == Sandbox::On { "true" } else { "false" };
    Setup::plain()
        .trees(&[&[LOCALHOST, LOCALHOST], &[LOCALHOST]])
        .plugin(
            "socket http refreshCDN command",
            &[block("socket", socket), block("http", http), block("refreshCDN", cdn), hook.to_owned()]
                .concat(),
        )
        .edit("name=\"m0\"/>", "name=\"m0\" user=\"u\" passwordfile=\"@DIR@/secret0\"/>")
        .edit("name=\"m2\"/>", "name=\"m2\" user=\"u\" passwordfile=\"@DIR@/secret2\"/>")
        .edit("</head>", format!("<sandbox start=\"{switch}\"/></head>"))
}

/// What both scenes have.
struct Stage {
    mirror: Mirror,
    listeners: Listeners,
    collector: Listener,
}

impl Stage {
    fn new(setup: Setup, collector: Listener) -> Stage {
        let mut mirror = Mirror::new(setup);
        mirror.setup.expects_violations = true;
        fs::create_dir(mirror.dir.join("bin")).unwrap();
        for name in ["secret0", "secret2"] {
            write(mirror.dir.join(name), "a secret\n");
            fs::set_permissions(mirror.dir.join(name), fs::Permissions::from_mode(0o600)).unwrap();
        }
        write(mirror.sources[1].join("file"), OTHER_TEXT);
        let listeners = Listeners::new(mirror.dir.join("socket"));
        Stage { mirror, listeners, collector }
    }

    /// Starts the supervisor, and waits for its roles.
    fn start(&mut self, path: &str, roles: &[&str]) {
        let log = self.mirror.dir.join("log");
        let output = fs::File::create(&log).unwrap();
        let mut command = supervisor::command(&self.mirror);
        command.args(self.mirror.setup.arguments(&self.mirror.config)).env("PATH", path);
        command.env("ESCAPE_SECRET", "only for the supervisor").stdin(Stdio::null());
        let process = command.stdout(output.try_clone().unwrap()).stderr(output).spawn().unwrap();
        self.mirror.adopt(Supervisor::of(process, &log));
        for role in roles {
            let child = self.mirror.supervisor().child(role);
            // Confined: it has a uid of its own.
            wait_until(&format!("{role} is confined"), SOON, || {
                let of = |pid| processes::status(pid, "CapPrm").unwrap_or_default();
                of(child).ends_with(['0', '4'])
                    && processes::status(child, "NoNewPrivs").unwrap() == "1"
                    && processes::status(child, "Uid")
                        != processes::status(self.mirror.supervisor().pid(), "Uid")
            });
        }
    }

    fn uid_of(&mut self, role: &str) -> u32 {
        let pid = self.mirror.supervisor().child(role);
        processes::status(pid, "Uid").unwrap().split(' ').next().unwrap().parse().unwrap()
    }

    fn plan(&mut self, sandbox: Sandbox) -> Plan {
        let supervisor = self.mirror.supervisor().pid();
        Plan {
            supervisor,
            others: processes::roles(supervisor, ""),
            command: self.mirror.supervisor().child("plugin-command"),
            root: self.mirror.sources[0].clone(),
            other_root: self.mirror.sources[1].clone(),
            secret: self.mirror.dir.join("secret2"),
            state: state_file(&self.mirror.dir.join(STATE)),
            port: self.listeners.port,
            unix: self.listeners.path.clone(),
            abstract_name: self.listeners.abstract_name.clone(),
            collector: self.collector.port,
            only: match sandbox {
                Sandbox::On => Vec::new(),
                Sandbox::Off => NOTICED.map(str::to_owned).to_vec(),
            },
        }
    }

    /// Waits for the report of each, and judges them and the victims.
    fn judge(&self, sandbox: Sandbox, subjects: &[&str], files: &BTreeMap<PathBuf, String>, all: &[Known]) {
        let report = |subject: &str| {
            let start = format!("subject={subject}\n");
            self.collector.heard().into_iter().find(|text| text.starts_with(&start))
        };
        for subject in subjects {
            wait_until(&format!("{subject} reports"), TRIED, || report(subject).is_some());
            let report = report(subject).unwrap();
            let verdicts: Vec<Vec<&str>> =
                report.lines().skip(1).map(|line| line.split('\t').collect()).collect();
            let of = |word: &str| verdicts.iter().filter(|verdict| verdict[1] == word).count();
            println!(
                "  {subject}: refused={} allowed={} nothing={}",
                of("refused"),
                of("ALLOWED"),
                of("nothing")
            );
            let allowed: Vec<_> = verdicts.iter().filter(|verdict| verdict[1] == "ALLOWED").collect();
            match sandbox {
                Sandbox::On => {
                    assert!(allowed.is_empty(), "{subject}: {allowed:#?}");
                    assert!(of("refused") >= fewest(subject), "{report}");
                    assert!(of("nothing") <= 4, "{report}");
                }
                Sandbox::Off => {
                    let all = NOTICED.len() - if area(subject) == Area::Command { 11 } else { 0 };
                    assert_eq!(allowed.len(), all, "{subject}: {report}");
                }
            }
        }
        assert_eq!(victims::litter(), Vec::<PathBuf>::new());
        let heard = self.listeners.heard();
        match sandbox {
            Sandbox::On => {
                assert_eq!(heard, Vec::<&str>::new(), "somebody was heard");
                let changes = victims::changes(files, &victims::snapshot(&self.mirror.dir));
                assert!(changes.is_empty(), "{changes:#?}");
            }
            Sandbox::Off => assert_eq!(heard, ["tcp", "udp", "unix"], "the victims notice"),
        }
        let harm = victims::harm(all);
        assert!(harm.is_empty(), "{harm:#?}\n{}", self.mirror.log());
    }
}

/// The one file of that directory.
fn state_file(directory: &Path) -> PathBuf {
    fs::read_dir(directory).unwrap().next().unwrap().unwrap().path()
}

/// An operator's program may do more.
fn fewest(subject: &str) -> usize {
    if area(subject) == Area::Command { FEWEST / 2 } else { FEWEST }
}

/// The watcher, the keeper, the page, a syncer and three plugins were taken over.
pub(crate) fn roles(sandbox: Sandbox) {
    let place = tempfile::Builder::new().prefix("sersync-escape-").tempdir().unwrap();
    let collector = Listener::new(Manner::Listens);
    let page = format!("<host hostip=\"127.0.0.1\" port=\"{}\" start=\"true\"/></head>", free_port());
    let mut setup = setup(collector.port, sandbox).edit("</head>", COLD).edit("</head>", page);
    setup.program = place.path().join("sersync-supervisor");
    copy_of_self(&setup.program);
    let mode = ROLES.map(|role| format!("attack {role}\n")).concat() + "victim syncer1\nvictim syncer2\n";
    write(place.path().join("mode"), &mode);
    write(place.path().join("escape-plan"), "");
    let mut stage = Stage::new(setup, collector);
    copy_of_self(&stage.mirror.dir.join("bin").join(HOOK));
    let names = [&ROLES[..], &["syncer1", "syncer2", "plugin-command"]].concat();
    stage.start("/usr/bin:/bin", &names);
    for role in ROLES {
        let (uid, path) = (stage.uid_of(role), stage.mirror.source(format!("own-{role}")));
        victims::make_own_root(&path, uid);
        victims::swap(&path);
    }
    let plan = stage.plan(sandbox);
    let all = victims::known(plan.others.iter().copied().chain([plan.supervisor]));
    let files = victims::snapshot(&stage.mirror.dir);
    racing(&plan, &ROLES, || {
        write(place.path().join("escape-plan"), plan.text());
        stage.judge(sandbox, &ROLES, &files, &all);
    });
    if sandbox == Sandbox::Off {
        return;
    }
    // The last attempt is made by the roles themselves. They are replaced by honest ones.
    write(place.path().join("mode"), "");
    write(place.path().join("escape-plan"), plan.text() + FINALE + "\n");
    for name in LOGGED {
        let line = |line: &str| line.contains(&format!("{name} how=\"signal SIGSYS\""));
        wait_until(&format!("{name} is killed for it"), SOON, || stage.mirror.log().lines().any(line));
    }
    stage.mirror.supervisor().wait_watching(2);
    write(stage.mirror.source("after"), "all is well");
    wait_until("the mirror goes on", SOON, || holds(stage.mirror.replica("after"), "all is well"));
    assert!(stage.mirror.supervisor().ended().is_none());
    assert!(!stage.mirror.log().contains("it lives"), "{}", stage.mirror.log());
}

/// rsync, ssh and an operator's program were taken over.
pub(crate) fn programs(sandbox: Sandbox) {
    let place = tempfile::Builder::new().prefix("sersync-escape-").tempdir().unwrap();
    let collector = Listener::new(Manner::Listens);
    let ssh = format!(
        "name=\"@DIR@/replica1\" ssh=\"true\" port=\"{}\" identity=\"@DIR@/secret0\" knownhosts=\"@DIR@/secret0\"/>",
        collector.port
    );
    let mut setup = setup(collector.port, sandbox)
        .edit("name=\"m1\"/>", ssh)
        .edit("</head>", COLD)
        .edit("<rsync>", "<rsync program=\"@DIR@/bin/rsync\">");
    setup.program = place.path().join("sersync-supervisor");
    copy_of_self(&setup.program);
    write(
        place.path().join("mode"),
        "victim keeper\nvictim plugin-socket\nvictim plugin-http\nvictim plugin-refreshCDN\n",
    );
    write(place.path().join("escape-plan"), "");
    let mut stage = Stage::new(setup, collector);
    let (dir, port) = (stage.mirror.dir.clone(), stage.mirror.port);
    // The one port that rsync may connect to is the collector's.
    let xml = fs::read_to_string(&stage.mirror.config).unwrap();
    let own = format!("<userDefinedPort start=\"true\" port=\"{}\"/>", stage.collector.port);
    let xml = xml.replace(&format!("<userDefinedPort start=\"true\" port=\"{port}\"/>"), &own);
    fs::write(&stage.mirror.config, xml).unwrap();
    for name in [RSYNC, SSH, HOOK] {
        copy_of_self(&dir.join("bin").join(name));
    }
    let names = ["watcher", "keeper", "syncer0", "syncer1", "syncer2", "plugin-command", "plugin-http"];
    stage.start(&format!("{}:/usr/bin:/bin", dir.join("bin").display()), &names);
    stage.mirror.supervisor().wait_watching(2);
    let subjects = [("rsync", "syncer0"), ("ssh", "syncer1"), ("command", "plugin-command")];
    for (subject, role) in subjects {
        let (uid, path) = (stage.uid_of(role), stage.mirror.source(format!("own-{subject}")));
        victims::make_own_root(&path, uid);
        victims::swap(&path);
    }
    let plan = stage.plan(sandbox);
    let all = victims::known(plan.others.iter().copied().chain([plan.supervisor]));
    let files = victims::snapshot(&dir);
    let names = subjects.map(|(subject, _)| subject);
    racing(&plan, &names, || {
        // The change that starts it all.
        write(stage.mirror.source(PLAN), plan.text());
        stage.judge(sandbox, &names, &files, &all);
    });
    assert!(stage.mirror.supervisor().ended().is_none());
}

/// While directories of these are swapped for links, again and again.
fn racing(plan: &Plan, subjects: &[&str], work: impl FnOnce()) {
    let (roots, over) =
        (subjects.iter().map(|name| plan.own_root(name)).collect::<Vec<_>>(), AtomicBool::new(false));
    thread::scope(|scope| {
        let swapper = scope.spawn(|| victims::swap_without_end(&roots, &over));
        let end = Over(&over);
        work();
        drop(end);
        swapper.join().unwrap();
    });
}
