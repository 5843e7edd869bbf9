//! The Debian package: what it names exists, what is shipped is in it, and what its scripts do fits what the
//! other files say. Whether it installs is seen by packaging/test-package, which takes a Debian.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::{INSTALLED, UNITS, packaging, project, values};

/// Source and destination of each asset; a link has an empty source.
fn assets() -> Vec<(String, String)> {
    let manifest = fs::read_to_string(project("supervisor/Cargo.toml")).unwrap();
    let (_, list) = manifest.split_once("\nassets = [\n").unwrap();
    let (list, _) = list.split_once("\n]\n").unwrap();
    let asset = |line: &str| {
        let mut quoted = line.split('"').skip(1).step_by(2).map(str::to_owned);
        let mut next = || quoted.next().unwrap();
        if line.trim().starts_with('{') { (String::new(), next()) } else { (next(), next()) }
    };
    list.lines().map(asset).collect()
}

/// The files that an asset's source means.
fn sources(pattern: &str) -> Vec<PathBuf> {
    let path = project("supervisor").join(pattern);
    let Some(ending) = path.file_name().unwrap().to_str().unwrap().strip_prefix('*') else {
        return vec![path];
    };
    let entries = fs::read_dir(path.parent().unwrap()).unwrap().map(|entry| entry.unwrap().path());
    entries.filter(|path| path.to_str().unwrap().ends_with(ending)).collect()
}

fn shipped() -> Vec<PathBuf> {
    let built = |source: &String| source.starts_with("target/") || source.is_empty();
    let sources = assets().into_iter().map(|(source, _)| source).filter(|source| !built(source));
    let files: Vec<_> = sources.flat_map(|source| self::sources(&source)).collect();
    files
        .iter()
        .map(|path| path.canonicalize().unwrap_or_else(|error| panic!("{}: {error}", path.display())))
        .collect()
}

fn below(directory: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()) {
        if entry.is_dir() { below(&entry, found) } else { found.push(entry) }
    }
}

#[test]
fn what_is_there_is_in_the_package() {
    let shipped = shipped();
    let mut there = Vec::new();
    below(&packaging("").canonicalize().unwrap(), &mut there);
    // What makes packages is in none.
    let tools = ["debian/", "test-package", "Containerfile"].map(packaging);
    there.retain(|path| !tools.iter().any(|tool| path.starts_with(tool.canonicalize().unwrap())));
    assert!(there.len() > 12);
    for path in there {
        assert!(shipped.contains(&path), "{} is not in supervisor/Cargo.toml", path.display());
    }
}

#[test]
fn units_start_what_the_package_installs() {
    let assets = assets();
    let (_, place) = assets.iter().find(|(source, _)| source == "target/release/sersync-supervisor").unwrap();
    assert_eq!(format!("/{place}sersync-supervisor"), INSTALLED);
    let config = assets.iter().find(|(source, _)| source == "../confxml.xml").unwrap();
    assert_eq!(config.1, "etc/sersync/confxml.xml");
    for script in ["postinst", "prerm", "postrm"] {
        let text = fs::read_to_string(packaging("debian").join(script)).unwrap();
        assert!(UNITS.iter().all(|unit| text.contains(unit)), "{script}");
    }
}

#[test]
fn scripts_are_scripts() {
    for script in ["postinst", "prerm", "postrm"] {
        let path = packaging("debian").join(script);
        assert!(path.metadata().unwrap().permissions().mode() & 0o111 != 0, "{script}");
        assert!(Command::new("sh").arg("-n").arg(&path).status().unwrap().success(), "{script}");
    }
}

#[test]
fn a_purge_takes_what_was_made() {
    let made = fs::read_to_string(packaging("tmpfiles.d/sersync.conf")).unwrap();
    let purge = fs::read_to_string(packaging("debian/postrm")).unwrap();
    let removed = purge.lines().find_map(|line| line.trim().strip_prefix("rm -rf ")).unwrap();
    let removed = removed.strip_suffix(" || true").unwrap();
    let mut removed: Vec<_> = removed.split(' ').collect();
    removed.sort_unstable();
    let directories = made.lines().filter_map(|line| line.strip_prefix("d ")?.split(' ').next());
    let mut wanted: Vec<_> = directories.filter(|path| *path != "/etc/sersync").collect();
    wanted.sort_unstable();
    assert_eq!(removed, wanted);
    let logs = fs::read_to_string(packaging("logrotate.d/sersync-supervisor")).unwrap();
    let unit = fs::read_to_string(packaging(UNITS[0])).unwrap();
    let place = values(&unit, "WorkingDirectory").concat();
    assert!(logs.contains(&format!("\n{place}/errorlog.txt ")));
}

#[test]
fn the_changelog_is_of_this_version() {
    let changelog = fs::read_to_string(packaging("debian/changelog")).unwrap();
    let wanted = format!("sersync-supervisor ({}-1) ", env!("CARGO_PKG_VERSION"));
    assert!(changelog.starts_with(&wanted), "packaging/debian/changelog does not begin with {wanted}");
}

#[test]
fn the_examples_are_clean() {
    let examples = sources("../packaging/examples/*.xml");
    assert!(examples.len() >= 3);
    for path in examples {
        let parsed = common::config::parse(&fs::read(&path).unwrap());
        assert_eq!(common::config::render(&parsed, "example"), "", "{}", path.display());
        assert!(parsed.config.is_some(), "{}", path.display());
    }
}
