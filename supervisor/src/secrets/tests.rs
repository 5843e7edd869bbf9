//! Real files with real permissions.

use std::os::unix::fs::{PermissionsExt, chown, symlink};

use common::config::parse;
use nix::unistd::geteuid;
use tempfile::TempDir;

use super::*;

const STRANGER: u32 = 65_534;
const CDN: &str = r#"<plugin start="true" name="refreshCDN"/></sersync><plugin name="refreshCDN">
    <localpath watch="/w"><cdninfo domainname="h" port="80" username="u" passwd="geheim"/>
    <sendurl base="http://x"/></localpath></plugin>"#;

/// A private directory with a config file in it.
struct Place {
    directory: TempDir,
    text: String,
}

impl Place {
    fn new(remote: &str, rest: &str) -> Place {
        // Everybody can get here, wherever TMPDIR points.
        let directory = tempfile::tempdir_in("/tmp").unwrap();
        let rest = if rest.is_empty() { "</sersync>" } else { rest };
        let at = directory.path().display();
        let text = format!(
            r#"<head><sersync><localpath watch="{at}"><remote ip="h" name="m" {remote}/></localpath>{rest}</head>"#
        );
        let place = Place { text: text.replace('@', &at.to_string()), directory };
        place.file("c.xml", 0o644);
        place.mode("", 0o755);
        place
    }

    fn at(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn mode(&self, name: &str, mode: u32) {
        fs::set_permissions(self.at(name), fs::Permissions::from_mode(mode)).unwrap();
    }

    fn file(&self, name: &str, mode: u32) {
        fs::write(self.at(name), &self.text).unwrap();
        self.mode(name, mode);
    }

    fn check_as(&self, starter: Uid, own_keys: &[OsString]) -> Report {
        let parsed = parse(self.text.as_bytes());
        let config = parsed.config.unwrap_or_else(|| panic!("{:?}", parsed.diagnostics));
        let path = self.at("c.xml");
        let mut report = check(&path, &path.metadata().unwrap(), &config, own_keys, starter);
        // Whatever this machine says of it.
        report.warnings.retain(|line| !line.contains("protected_hardlinks"));
        report
    }

    /// Refusals and warnings, with `@` for the directory.
    fn found(&self) -> [Vec<String>; 2] {
        self.shorten(self.check_as(geteuid(), &[]))
    }

    fn shorten(&self, report: Report) -> [Vec<String>; 2] {
        let at = self.directory.path().to_str().unwrap();
        [report.refusals, report.warnings]
            .map(|lines| lines.into_iter().map(|line| line.replace(at, "@")).collect())
    }
}

fn refused(line: &str) -> [Vec<String>; 2] {
    [vec![line.to_owned()], Vec::new()]
}

fn warned(line: &str) -> [Vec<String>; 2] {
    [Vec::new(), vec![line.to_owned()]]
}

fn nothing() -> [Vec<String>; 2] {
    [Vec::new(), Vec::new()]
}

#[test]
fn the_config_file() {
    let place = Place::new("", "");
    for (mode, who) in [
        (0o644, None),
        (0o600, None),
        (0o664, Some("its group")),
        (0o646, Some("others")),
        (0o666, Some("others")),
    ] {
        place.mode("c.xml", mode);
        let expected = who.map_or_else(nothing, |who| {
            refused(&format!("config file @/c.xml may be written by {who}; chmod go-w @/c.xml"))
        });
        assert_eq!(place.found(), expected, "{mode:o}");
    }
}

#[test]
fn the_config_of_a_stranger() {
    let place = Place::new("", "");
    let starter = if geteuid().is_root() {
        chown(place.at("c.xml"), Some(STRANGER), None).unwrap();
        chown(place.at(""), Some(STRANGER), None).unwrap();
        Uid::from_raw(STRANGER)
    } else {
        geteuid()
    };
    assert_eq!(place.shorten(place.check_as(starter, &[])), nothing(), "their own");
    let [refusals, warnings] = place.shorten(place.check_as(Uid::from_raw(0), &[]));
    let owner = starter;
    let file = format!(
        "config file @/c.xml belongs to uid={owner}, who says with it what is mirrored; chown 0 @/c.xml"
    );
    let directory =
        format!("directory @ belongs to uid={owner}, who can exchange the config file; chown 0 @");
    assert_eq!((refusals, warnings), (vec![file], vec![directory]));
}

#[test]
fn the_directory_of_the_config() {
    let place = Place::new("", "");
    place.mode("", 0o777);
    let why = "so that the config file can be exchanged";
    assert_eq!(place.found(), warned(&format!("directory @ may be written by others, {why}; chmod go-w @")));
    place.mode("", 0o775);
    assert_eq!(
        place.found(),
        warned(&format!("directory @ may be written by its group, {why}; chmod go-w @"))
    );
    place.mode("", 0o1777);
    assert_eq!(place.found(), nothing());
    // Behind a symlink, both count.
    place.mode("", 0o755);
    fs::create_dir(place.at("open")).unwrap();
    fs::rename(place.at("c.xml"), place.at("open/real.xml")).unwrap();
    symlink("open/real.xml", place.at("c.xml")).unwrap();
    place.mode("open", 0o755);
    assert_eq!(place.found(), nothing());
    place.mode("open", 0o777);
    assert_eq!(
        place.found(),
        warned(&format!("directory @/open may be written by others, {why}; chmod go-w @/open"))
    );
}

/// What each kind of file is told about each mode.
#[test]
fn files_that_must_be_private() {
    for (attribute, name) in [
        (r#"passwordfile="@/f""#, "passwordfile"),
        (r#"passwordfile="f""#, "passwordfile"),
        (r#"ssh="true" identity="@/f""#, "identity"),
    ] {
        let place = Place::new(attribute, "");
        let missing =
            format!("{name} @/f does not exist, and what needs it fails; make it, or correct the path");
        assert_eq!(place.found(), warned(&missing), "{attribute}");
        place.file("f", 0o600);
        for mode in [0o600, 0o400, 0o700] {
            place.mode("f", mode);
            assert_eq!(place.found(), nothing(), "{attribute} {mode:o}");
        }
        for (mode, what) in [
            (0o604, "may be read by others"),
            (0o644, "may be read by others"),
            (0o620, "may be written by its group"),
            (0o602, "may be written by others"),
            (0o666, "may be written by others"),
        ] {
            place.mode("f", mode);
            let line = format!("{name} @/f {what}; chmod go-rwx @/f");
            assert_eq!(place.found(), refused(&line), "{attribute} {mode:o}");
        }
        place.mode("f", 0o640);
        let gid = place.at("f").metadata().unwrap().gid();
        let line = format!("{name} @/f may be read by its group gid={gid}; chmod go-rwx @/f");
        assert_eq!(place.found(), warned(&line), "{attribute}");
        // A symlink is what it leads to.
        fs::rename(place.at("f"), place.at("g")).unwrap();
        symlink("g", place.at("f")).unwrap();
        place.mode("g", 0o600);
        assert_eq!(place.found(), nothing(), "{attribute}");
        fs::remove_file(place.at("f")).unwrap();
        nix::unistd::mkfifo(&place.at("f"), nix::sys::stat::Mode::S_IRWXU).unwrap();
        assert_eq!(
            place.found(),
            refused(&format!("{name} @/f is not a plain file; name another")),
            "{attribute}"
        );
    }
}

#[test]
fn files_that_say_whom_we_trust() {
    let http = r#"<plugin start="true" name="http"/></sersync><plugin name="http"><localpath watch="/w">
        <deshost url="https://h/" ca="@/f"/></localpath></plugin>"#;
    for (attribute, rest, name) in [(r#"ssh="true" knownhosts="@/f""#, "", "knownhosts"), ("", http, "ca")] {
        let place = Place::new(attribute, rest);
        place.file("f", 0o600);
        for (mode, who) in [(0o644, None), (0o444, None), (0o664, Some("its group")), (0o622, Some("others"))]
        {
            place.mode("f", mode);
            let expected = who.map_or_else(nothing, |who| {
                refused(&format!("{name} @/f may be written by {who}; chmod go-w @/f"))
            });
            assert_eq!(place.found(), expected, "{name} {mode:o}");
        }
    }
    let off = Place::new("", &http.replace("start=\"true\"", "start=\"false\""));
    off.file("f", 0o666);
    assert_eq!(off.found(), nothing(), "a plugin that is off");
}

#[test]
fn what_nobody_named_is_only_warned_of() {
    let place = Place::new(r#"ssh="true""#, "");
    place.file("id_rsa", 0o644);
    let keys = [place.at("id_rsa").into_os_string()];
    let report = place.check_as(geteuid(), &keys);
    let line = "ssh key @/id_rsa may be read by others; chmod go-rwx @/id_rsa";
    assert_eq!(place.shorten(report), warned(line));
    let named = Place::new(r#"ssh="true" identity="@/id_rsa""#, "");
    named.file("id_rsa", 0o644);
    let keys = [named.at("id_rsa").into_os_string()];
    let [refusals, warnings] = named.shorten(named.check_as(geteuid(), &keys));
    assert_eq!((refusals.len(), warnings.len()), (1, 0), "each file once");
}

#[test]
fn another_owner_is_told() {
    let place = Place::new(r#"passwordfile="@/f""#, "");
    place.file("f", 0o600);
    if !geteuid().is_root() {
        return;
    }
    chown(place.at("f"), Some(STRANGER), None).unwrap();
    let line = format!("passwordfile @/f belongs to uid={STRANGER}, who can change it; chown 0 @/f");
    assert_eq!(place.found(), warned(&line));
}

/// Old config files are readable by all, and must go on working.
#[test]
fn a_password_in_the_config() {
    let place = Place::new("", CDN);
    let line =
        "config file @/c.xml holds the password of refreshCDN and may be read by others; chmod o-r @/c.xml";
    assert_eq!(place.found(), warned(line));
    place.mode("c.xml", 0o640);
    assert_eq!(place.found(), nothing());
    place.mode("c.xml", 0o644);
    place.mode("", 0o700);
    assert_eq!(place.found(), nothing(), "nobody gets there");
    place.mode("", 0o711);
    assert_eq!(place.found(), warned(line));
    let off = Place::new("", &CDN.replace("start=\"true\"", "start=\"false\""));
    assert_eq!(off.found(), nothing(), "a plugin that is off");
    let every = format!("{:?}", place.check_as(geteuid(), &[]));
    assert!(!every.contains("geheim"), "{every}");
}

/// The command for an odd name can be pasted, and the line steers no terminal.
#[test]
fn odd_names() {
    let place = Place::new("passwordfile=\"@/it's &#27;[31m\"", "");
    place.file("it's \u{1b}[31m", 0o644);
    let [refusals, _] = place.found();
    let shown = r"passwordfile @/it's \u{1b}[31m may be read by others";
    assert_eq!(refusals, [format!(r"{shown}; chmod go-rwx $'@/it\'s \x1b[31m'")]);
}

#[test]
fn hard_links() {
    let warning = hardlink_warning("0\n").unwrap();
    assert!(warning.ends_with("; sysctl -w fs.protected_hardlinks=1"), "{warning}");
    assert_eq!(hardlink_warning("1\n"), None);
    assert_eq!(hardlink_warning(""), None);
}
