//! `check`: what is wrong with a config, found before anything is started. Each file in `broken/` is
//! wrong in a way of its own; what is said of all of them stands in one snapshot.
#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test that cannot go on fails"
)]

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use tempfile::TempDir;

mod support;

#[path = "check/looks.rs"]
mod looks;
#[path = "check/messages.rs"]
mod messages;
#[path = "check/remotes.rs"]
mod remotes;

/// What the broken configs speak of: `@DIR@`, where `check` runs.
struct Ground(TempDir);

impl Ground {
    fn new() -> Ground {
        let open = Permissions::from_mode(0o755);
        let temp = tempfile::Builder::new().prefix("sersync-check-").permissions(open).tempdir().unwrap();
        let ground = Ground(temp);
        for directory in ["tree/sub", "other", "open"] {
            fs::create_dir_all(ground.at(directory)).unwrap();
        }
        symlink("tree", ground.at("link")).unwrap();
        for (file, content, mode) in [
            ("tree/a.gz", "", 0o644),
            ("tree/sub/b", "", 0o644),
            ("other/c", "", 0o644),
            ("file", "", 0o644),
            ("password-of-all", "secret\n", 0o644),
            ("password-of-group", "secret\n", 0o640),
            ("password", "secret\n", 0o600),
            ("rsync-3.0", "#!/bin/sh\necho 'rsync  version 3.0.9  protocol version 30'\n", 0o755),
        ] {
            fs::write(ground.at(file), content).unwrap();
            fs::set_permissions(ground.at(file), Permissions::from_mode(mode)).unwrap();
        }
        fs::set_permissions(ground.at("open"), Permissions::from_mode(0o777)).unwrap();
        ground
    }

    fn at(&self, path: &str) -> PathBuf {
        self.0.path().join(path)
    }

    /// Checks a config with this text. How it ended, what it wrote, and what it complained of.
    fn check(&self, name: &str, text: &[u8], options: &[&str]) -> (Option<i32>, String, String) {
        let directory = self.0.path().to_str().unwrap();
        let mut text = text.to_vec();
        while let Some(at) = text.windows(5).position(|window| window == b"@DIR@") {
            text.splice(at..at + 5, directory.bytes());
        }
        fs::write(self.at(name), text).unwrap();
        let mode = if name.contains("config-of-all") { 0o666 } else { 0o600 };
        fs::set_permissions(self.at(name), Permissions::from_mode(mode)).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_sersync-supervisor"));
        command.current_dir(self.0.path()).args(["check", "-o", name]).args(options);
        let output = command.stdin(Stdio::null()).output().unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap().replace(directory, "@DIR@");
        (output.status.code(), text(output.stdout), text(output.stderr))
    }
}

fn broken() -> BTreeMap<String, Vec<u8>> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/broken");
    let files = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
    files
        .map(|path| (path.file_name().unwrap().to_str().unwrap().to_owned(), fs::read(&path).unwrap()))
        .collect()
}

/// The diagnostics in what `check` wrote, without those that are this machine's.
fn diagnostics(text: &str) -> Vec<String> {
    let of_the_machine = ["known security holes", "fs.protected_hardlinks", "known holes"];
    let all = text.split("\n\n").map(|part| part.trim_matches('\n'));
    let told = all.filter(|part| part.starts_with("error: ") || part.starts_with("warning: "));
    told.filter(|part| !of_the_machine.iter().any(|words| part.contains(words))).map(str::to_owned).collect()
}

/// What a diagnostic says, without what the config said.
fn title(diagnostic: &str) -> String {
    let line = diagnostic.lines().next().unwrap();
    line.split('`').step_by(2).collect::<Vec<_>>().join("…")
}

#[test]
fn each_broken_config_is_told_its_line_its_column_and_its_cure() {
    let ground = Ground::new();
    let (mut titles, mut alike, mut shown) = (BTreeMap::new(), Vec::new(), String::new());
    let all = broken();
    assert!(all.len() >= 40, "{}", all.len());
    for (name, text) in &all {
        let (code, out, complaint) = ground.check(name, text, &[]);
        assert_eq!(complaint, "", "{name}");
        assert!(!out.contains("panicked"), "{name}: {out}");
        let told = diagnostics(&out);
        assert!(!told.is_empty(), "{name}: nothing is wrong with it\n{out}");
        for diagnostic in &told {
            let place =
                diagnostic.lines().find_map(|line| line.trim().strip_prefix("--> ")).unwrap_or_default();
            let numbers: Vec<u32> =
                place.rsplit(':').take(2).filter_map(|number| number.parse().ok()).collect();
            assert!(numbers.len() == 2 && numbers.iter().all(|&n| n > 0), "{name}: no place\n{diagnostic}");
            assert!(diagnostic.contains("= help: "), "{name}: no cure\n{diagnostic}");
        }
        let is_error = told.iter().any(|diagnostic| diagnostic.starts_with("error: "));
        assert_eq!(code, Some(if is_error { 78 } else { 0 }), "{name}: {out}");
        let (strict, ..) = ground.check(name, text, &["--strict"]);
        assert_eq!(strict, Some(78), "{name}");
        if let Some(other) = titles.insert(title(&told[0]), name) {
            alike.push(format!("{name} and {other}: {}", title(&told[0])));
        }
        // How long a line of carets is depends on where the test runs.
        let told = told.join("\n\n");
        let told: Vec<&str> =
            told.lines().filter(|line| !(line.contains('^') && told.contains("@DIR@"))).collect();
        write!(shown, "==== {name}: exit {}\n{}\n\n", code.unwrap(), told.join("\n")).unwrap();
    }
    assert!(alike.is_empty(), "broken alike:\n{}", alike.join("\n"));
    insta::with_settings!({ omit_expression => true, prepend_module_to_snapshot => false }, {
        insta::assert_snapshot!("broken", shown);
    });
}

const GOOD: &str = r#"<head version="2.5">
    <filter start="true"><exclude expression=".*\.gz"/></filter>
    <sersync>
        <localpath watch="tree"><remote ip="192.0.2.1" name="m" passwordfile="@DIR@/password"/></localpath>
        <rsync><commonParams params="-artz"/></rsync>
    </sersync>
    <state path="@DIR@/state"/>
</head>"#;

#[test]
fn a_sensible_config_is_clean() {
    let ground = Ground::new();
    let (code, out, complaint) = ground.check("good.xml", GOOD.as_bytes(), &[]);
    assert_eq!((code, complaint.as_str()), (Some(0), ""), "{out}");
    assert_eq!(diagnostics(&out), [""; 0], "{out}");
    assert!(out.contains("note: not looked at: the remotes"), "{out}");
    // Nothing was made.
    assert!(!ground.at("state").exists());
    let (code, _, complaint) = ground.check("good.xml", GOOD.as_bytes(), &["--repair"]);
    assert_eq!(code, Some(64), "{complaint}");
}

/// What is wrong in several places is told at once, on this machine too.
#[test]
fn everything_is_told_at_once() {
    let ground = Ground::new();
    let text = GOOD
        .replace("watch=\"tree\"", "watch=\"nowhere\"")
        .replace("ip=\"192.0.2.1\"", "ip=\"a b\"")
        .replace("<rsync>", "<rsync program=\"/nowhere/rsync\">")
        .replace("/state\"", "/file\"");
    let (code, out, _) = ground.check("several.xml", text.as_bytes(), &[]);
    assert_eq!(code, Some(78));
    let titles: Vec<String> = diagnostics(&out).iter().map(|it| title(it)).collect();
    for words in ["no host name", "No such file", "--version does not say", "is not a directory"] {
        assert!(titles.iter().any(|title| title.contains(words)), "{words}: {titles:?}");
    }
    // Errors stand before warnings.
    let kinds: Vec<bool> = titles.iter().map(|title| title.starts_with("error")).collect();
    assert!(kinds.is_sorted_by(|a, b| a >= b), "{titles:?}");
}

#[test]
fn a_file_that_is_not_there() {
    let ground = Ground::new();
    let mut command = Command::new(env!("CARGO_BIN_EXE_sersync-supervisor"));
    let output = command.current_dir(ground.at("")).args(["check", "-o", "no.xml"]).output().unwrap();
    assert_eq!(output.status.code(), Some(66));
    assert_eq!(
        String::from_utf8_lossy(&output.stderr),
        "config file no.xml: No such file or directory (os error 2)\n"
    );
}

#[test]
fn the_dump_is_a_config_that_says_the_same() {
    let ground = Ground::new();
    let (code, dumped, told) = ground.check("good.xml", GOOD.as_bytes(), &["--dump"]);
    assert_eq!(code, Some(0), "{told}");
    assert!(dumped.contains("<createFile start=\"false\"/> <!-- default -->"), "{dumped}");
    assert!(told.contains("good.xml: errors=0 "), "{told}");
    let (code, again, told) = ground.check("dumped.xml", dumped.as_bytes(), &["--dump"]);
    assert_eq!((code, again), (Some(0), dumped), "{told}");
    let (code, dumped, told) = ground.check("bad.xml", b"<head/>", &["--dump"]);
    assert_eq!((code, dumped.as_str()), (Some(78), ""), "{told}");
}
