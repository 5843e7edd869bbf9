//! What is shipped. For systemd, judged by systemd's own tools: the units are well-formed and expose
//! no more than is promised, the accounts and directories are made as the units need them. Manual pages and
//! completions are what the code says they are, and the package has all of it.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test")]
#![allow(unreachable_pub, reason = "a test has no outside")]

#[path = "packaging/commands.rs"]
mod commands;
#[path = "packaging/generated.rs"]
mod generated;
#[path = "packaging/package.rs"]
mod package;
#[path = "packaging/pages.rs"]
mod pages;

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use common::exit::Exit;

const UNITS: [&str; 2] = ["sersync-supervisor.service", "sersync-strict.service"];
const INSTALLED: &str = "/usr/sbin/sersync-supervisor";

/// A file of the project.
fn project(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().join(name)
}

fn packaging(name: &str) -> PathBuf {
    project("packaging").join(name)
}

/// Runs one of systemd's tools.
fn run(tool: &str, arguments: &[&str]) -> Output {
    let output = Command::new(tool).args(arguments).env("SYSTEMD_PAGER", "").env("LC_ALL", "C").output();
    output.unwrap_or_else(|error| {
        panic!("{tool}: {error}; install the Debian package systemd (apt-get install systemd)")
    })
}

fn text(output: &Output) -> String {
    [&output.stdout, &output.stderr].map(|stream| String::from_utf8_lossy(stream).into_owned()).concat()
}

/// A copy of a unit that starts the executable of this build, so that systemd finds it; with a
/// drop-in, if one is named.
fn staged(directory: &Path, unit: &str, drop_in: Option<&str>) -> PathBuf {
    let shipped = fs::read_to_string(packaging(unit)).unwrap();
    assert!(shipped.contains(&format!("ExecStart={INSTALLED} -o /etc/sersync/confxml.xml\n")), "{unit}");
    let path = directory.join(unit);
    fs::write(&path, shipped.replace(INSTALLED, env!("CARGO_BIN_EXE_sersync-supervisor"))).unwrap();
    if let Some(drop_in) = drop_in {
        let place = directory.join(format!("{unit}.d"));
        fs::create_dir(&place).unwrap();
        fs::copy(packaging(drop_in), place.join(drop_in)).unwrap();
    }
    path
}

/// What `systemd-analyze verify` has to say. It calls it a success when it ignores a line.
fn complaints(unit: &Path) -> Vec<String> {
    let output = run("systemd-analyze", &["verify", "--man=no", unit.to_str().unwrap()]);
    // It reads the units of this machine too; those are not ours.
    let ours = text(&output).lines().filter(|line| line.contains("sersync")).map(str::to_owned).collect();
    let failed = (!output.status.success()).then(|| format!("{}: {}", output.status, text(&output)));
    failed.into_iter().chain::<Vec<String>>(ours).collect()
}

/// The overall exposure level.
fn exposure(unit: &Path) -> f64 {
    let arguments = ["security", "--offline=true", "--no-pager", unit.to_str().unwrap()];
    let report = text(&run("systemd-analyze", &arguments));
    let level = report.split("Overall exposure level for ").nth(1).and_then(|line| line.split(' ').nth(1));
    level.and_then(|level| level.parse().ok()).unwrap_or_else(|| panic!("no level in: {report}"))
}

/// The values of all lines `key=`.
fn values<'a>(unit: &'a str, key: &str) -> Vec<&'a str> {
    let lines = unit.lines().filter_map(|line| line.strip_prefix(key)?.strip_prefix('='));
    lines.flat_map(str::split_whitespace).collect()
}

#[test]
fn systemd_understands_every_line() {
    for unit in UNITS {
        let directory = tempfile::tempdir().unwrap();
        let drop_in = unit.starts_with("sersync-supervisor").then_some("sersync-supervisor-cgroup.conf");
        let path = staged(directory.path(), unit, drop_in);
        assert_eq!(complaints(&path), Vec::<String>::new(), "{unit}");
        // And it would have said so.
        let wrong = fs::read_to_string(&path).unwrap().replace("ProtectSystem=", "ProtectSytsem=");
        fs::write(&path, wrong).unwrap();
        assert!(!complaints(&path).is_empty(), "{unit}");
    }
}

#[test]
fn systemd_understands_the_drop_in_for_marks() {
    let directory = tempfile::tempdir().unwrap();
    let path = staged(directory.path(), UNITS[0], Some("sersync-supervisor-fanotify.conf"));
    assert_eq!(complaints(&path), Vec::<String>::new());
}

#[test]
fn exposure_is_what_was_promised() {
    for (unit, drop_in, most) in [
        ("sersync-supervisor.service", None, 2.3),
        ("sersync-supervisor.service", Some("sersync-supervisor-cgroup.conf"), 2.5),
        ("sersync-supervisor.service", Some("sersync-supervisor-fanotify.conf"), 2.6),
        ("sersync-strict.service", None, 2.1),
    ] {
        let directory = tempfile::tempdir().unwrap();
        let level = exposure(&staged(directory.path(), unit, drop_in));
        assert!(level > 0.0 && level <= most, "{unit} {drop_in:?}: {level}");
    }
}

#[test]
fn what_a_restart_does_not_cure_is_not_restarted() {
    for unit in UNITS {
        let unit = fs::read_to_string(packaging(unit)).unwrap();
        // A missing root is none of them: its disk may be mounted late.
        let wanted = [Exit::Usage, Exit::Unavailable, Exit::AlreadyRunning, Exit::NoPermission, Exit::Config];
        let wanted = wanted.map(|exit| exit.code().to_string());
        assert_eq!(values(&unit, "RestartPreventExitStatus"), wanted);
        // And systemd does not give up on the rest.
        assert_eq!(values(&unit, "StartLimitIntervalSec"), ["0"]);
        assert_eq!(values(&unit, "TimeoutStartSec"), ["infinity"]);
    }
}

/// Where one conflicts with the other and is not ordered, systemd starts it while the other still stops: it
/// found the lock held, and ended.
#[test]
fn one_unit_takes_over_from_the_other() {
    let strict = fs::read_to_string(packaging(UNITS[1])).unwrap();
    assert_eq!(values(&strict, "Conflicts"), [UNITS[0]]);
    assert!(values(&strict, "After").contains(&UNITS[0]));
}

/// A stop would remove the locks of other supervisors from below them.
#[test]
fn the_runtime_directory_outlives_a_stop() {
    for unit in UNITS {
        let unit = fs::read_to_string(packaging(unit)).unwrap();
        assert_eq!(values(&unit, "RuntimeDirectoryPreserve"), ["yes"]);
        assert_eq!(values(&unit, "WorkingDirectory"), ["/var/log/sersync"]);
    }
}

#[test]
fn capabilities_are_bounded_to_what_is_given() {
    for (unit, wanted) in [
        (UNITS[0], "CAP_SETUID CAP_SETGID CAP_SETPCAP CAP_KILL CAP_DAC_READ_SEARCH"),
        (UNITS[1], "CAP_DAC_READ_SEARCH"),
    ] {
        let text = fs::read_to_string(packaging(unit)).unwrap();
        for key in ["AmbientCapabilities", "CapabilityBoundingSet"] {
            assert_eq!(values(&text, key).join(" "), wanted, "{unit}: {key}");
        }
    }
}

/// On this the unit stands: with `ProtectProc=invisible` a role sees no other user's process, and
/// the supervisor, in group 0, does.
#[test]
fn a_hidden_process_is_seen_by_group_0() {
    if !nix::unistd::geteuid().is_root() {
        return;
    }
    let unit = fs::read_to_string(packaging(UNITS[0])).unwrap();
    assert_eq!(values(&unit, "ProtectProc"), ["invisible"]);
    assert_eq!(values(&unit, "SupplementaryGroups"), ["root"]);
    let sees = |groups: &str| {
        let script = format!(
            "mount -t proc -o hidepid=invisible proc /proc && exec setpriv --reuid 65534 --regid 65534 {groups} \
             cat /proc/1/status"
        );
        run("unshare", &["--mount", "sh", "-c", &script])
    };
    let supervisor = sees("--groups 0");
    assert!(supervisor.status.success() && text(&supervisor).contains("\nUid:"), "{}", text(&supervisor));
    let role = sees("--clear-groups");
    assert!(!role.status.success() && text(&role).contains("No such file"), "{}", text(&role));
}

/// An `/etc` of its own, with the accounts that are shipped.
fn with_accounts() -> tempfile::TempDir {
    let root = tempfile::tempdir().unwrap();
    fs::create_dir(root.path().join("etc")).unwrap();
    let option = format!("--root={}", root.path().display());
    let files = ["sysusers.d/sersync.conf", "sysusers.d/sersync-ssh.conf"].map(packaging);
    let mut arguments = vec![option.as_str()];
    arguments.extend(files.iter().map(|file| file.to_str().unwrap()));
    let output = run("systemd-sysusers", &arguments);
    assert!(output.status.success(), "{}", text(&output));
    root
}

/// Uid, gid and the rest of each account.
fn accounts(root: &Path) -> Vec<(String, u32, u32, String)> {
    let passwd = fs::read_to_string(root.join("etc/passwd")).unwrap();
    let parse = |line: &str| {
        let mut fields = line.split(':').map(str::to_owned);
        let (name, _) = (fields.next().unwrap(), fields.next());
        let mut number = || fields.next().unwrap().parse().unwrap();
        let (uid, gid) = (number(), number());
        (name, uid, gid, fields.collect::<Vec<_>>().join(":"))
    };
    passwd.lines().map(parse).collect()
}

#[test]
fn the_accounts() {
    let root = with_accounts();
    let accounts = accounts(root.path());
    assert_eq!(accounts.len(), 65);
    let (_, uid, _, rest) = accounts.iter().find(|(name, ..)| name == "sersync").unwrap();
    assert!((1..1000).contains(uid));
    assert_eq!(rest, "sersync supervisor:/var/lib/sersync:/usr/sbin/nologin");
    for slot in 0..supervisor::runtime::UIDS {
        let wanted = (
            format!("sersync-r{slot:02}"),
            2_000_000_000 + slot,
            2_000_000_000 + slot,
            "sersync role:/nonexistent:/usr/sbin/nologin".to_owned(),
        );
        assert!(accounts.contains(&wanted), "{wanted:?}");
    }
}

#[test]
fn the_directories() {
    // Only root can give a directory away.
    if !nix::unistd::geteuid().is_root() {
        return;
    }
    let root = with_accounts();
    let (_, uid, gid, _) = accounts(root.path()).into_iter().find(|(name, ..)| name == "sersync").unwrap();
    let option = format!("--root={}", root.path().display());
    let file = packaging("tmpfiles.d/sersync.conf");
    let output = run("systemd-tmpfiles", &[&option, "--create", file.to_str().unwrap()]);
    assert!(output.status.success(), "{}", text(&output));
    assert_eq!(text(&output), "");
    for (path, wanted) in [
        ("etc/sersync", (0o750, 0, gid)),
        ("run/sersync", (0o700, uid, gid)),
        ("var/lib/sersync", (0o700, uid, gid)),
        ("var/log/sersync", (0o700, uid, gid)),
    ] {
        let found = root.path().join(path).metadata().unwrap();
        assert_eq!((found.mode() & 0o7777, found.uid(), found.gid()), wanted, "{path}");
    }
}

#[test]
fn the_kernels_settings() {
    let shipped = fs::read_to_string(packaging("sysctl.d/60-sersync.conf")).unwrap();
    let settings: Vec<_> = shipped.lines().filter(|line| !line.starts_with('#')).collect();
    assert_eq!(settings, ["fs.inotify.max_user_watches = 1048576", "fs.protected_hardlinks = 1"]);
    for setting in settings {
        let (key, _) = setting.split_once(" = ").unwrap();
        assert!(Path::new("/proc/sys").join(key.replace('.', "/")).exists(), "{key}");
    }
}

/// The metrics that a text names, without the ends that a histogram has.
fn metrics_in(text: &str) -> Vec<String> {
    let is_part = |ch: char| ch.is_ascii_lowercase() || ch.is_ascii_digit() || ch == '_';
    let words = text.split(|ch| !is_part(ch)).filter(|word| word.starts_with("sersync_"));
    let without_end = |word: &str| {
        let ends = ["_bucket", "_count", "_sum"].into_iter().find_map(|end| word.strip_suffix(end));
        ends.unwrap_or(word).to_owned()
    };
    words.map(without_end).collect()
}

fn all_exist(text: &str, fewest: usize) {
    let named = metrics_in(text);
    assert!(named.len() >= fewest, "{named:?}");
    for name in named {
        assert!(
            plugins::page::FAMILIES.iter().any(|family| family.name == name),
            "there is no metric {name}"
        );
    }
}

/// Each alert says what is wrong and what to do about it, about metrics that there are.
#[test]
fn alerts_of_metrics_that_exist() {
    let text = fs::read_to_string(packaging("prometheus-alerts.yml")).unwrap();
    let rules: Vec<&str> = text.split("- alert: ").skip(1).collect();
    assert!(rules.len() >= 8, "{} rules", rules.len());
    for rule in rules {
        for field in ["expr: ", "for: ", "severity: ", "summary: \"", "cure: \""] {
            let lines: Vec<_> = rule.lines().filter(|line| line.trim_start().starts_with(field)).collect();
            assert!(lines.len() == 1 && lines[0].trim().len() > field.len() + 1, "{field}: {rule}");
        }
    }
    all_exist(&text, 8);
}

#[test]
fn a_dashboard_of_metrics_that_exist() {
    let text = fs::read_to_string(packaging("grafana-dashboard.json")).unwrap();
    let dashboard: serde_json::Value = serde_json::from_str(&text).unwrap();
    let panels = dashboard["panels"].as_array().unwrap();
    assert!(panels.len() >= 10);
    for panel in panels {
        let targets = panel["targets"].as_array().unwrap();
        assert!(!targets.is_empty() && !panel["title"].as_str().unwrap().is_empty(), "{panel}");
        for target in targets {
            all_exist(target["expr"].as_str().unwrap(), 1);
        }
    }
    all_exist(&text, 20);
}
