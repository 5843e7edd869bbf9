//! How remotes are reached, what rsync is told, and what counts as a root.

use std::fs::{self, OpenOptions, Permissions};
use std::io::Write;
use std::os::unix::fs::PermissionsExt;

use super::case::Case;
use crate::support::scene::Scene;

/// Remotes, ports, users.
pub fn reached() -> Vec<Case> {
    let auth = |attributes: &str| format!("start=\"true\" {attributes}");
    vec![
        Case::new("two remotes get everything")
            .trees(&[2])
            .replace("<remote ", "<remote ip=\"127.0.0.1\" name=\"m1\"/><remote ")
            .becomes(|s| s.write("a", "1").write("d/b", "2"), &["a=1", "d/", "d/b=2"])
            .becomes(|s| s.rename("d", "e").remove("a"), &["e/", "e/b=2"]),
        Case::new("the port among the parameters")
            .replace(
                "<userDefinedPort start=\"true\" port=\"@PORT@\"/>",
                "<userDefinedPort start=\"false\" port=\"1\"/>",
            )
            .set("commonParams", "params=\"-artuz --port=@PORT@\"")
            .becomes(|s| s.write("a", "1"), &["a=1"]),
        Case::new("auth: user and password file")
            .flags(&["-r"])
            .set("auth", &auth("users=\"mirror\" passwordfile=\"@DIR@/password\""))
            .before(|s| protect(s).write("before", "0"))
            .at_start(&["before=0"])
            .becomes(|s| s.write("a", "1"), &["a=1", "before=0"])
            .becomes(|s| s.remove("a"), &["before=0"]),
        Case::new("auth: off, its attributes do not count")
            .set("auth", "start=\"false\" users=\"mirror\" passwordfile=\"/nowhere\"")
            .becomes(|s| s.write("a", "1"), &["a=1"]),
        Case::new("auth: empty attributes are none")
            .set("auth", &auth("users=\"\" passwordfile=\"\""))
            .becomes(|s| s.write("a", "1"), &["a=1"]),
        Case::new("a module with a name that is not ASCII")
            .replace("name=\"m0\"", "name=\"图片 1\"")
            .replace("ISO-8859-1", "UTF-8")
            .before(|s| serve(s, "图片 1"))
            .becomes(|s| s.write("a", "1"), &["a=1"]),
        Case::new("a module behind an entity")
            .replace("name=\"m0\"", "name=\"a&amp;&#98;\"")
            .before(|s| serve(s, "a&b"))
            .becomes(|s| s.write("a", "1"), &["a=1"]),
    ]
}

/// `commonParams` and `timeout`.
pub fn parameters() -> Vec<Case> {
    vec![
        Case::new("timeout")
            .set("timeout", "start=\"true\" time=\"100\"")
            .becomes(|s| s.write("a", "1"), &["a=1"]),
        Case::new("-u: an older file moved over a newer one never arrives")
            .before(|s| s.write("old", "older").make_old("old"))
            .becomes(|s| s.write("a", "newer"), &["a=newer"])
            .nothing(|s| s.rename("old", "a")),
        Case::new("without -u it arrives")
            .set("commonParams", "params=\"-artz\"")
            .before(|s| s.write("old", "older").make_old("old"))
            .becomes(|s| s.write("a", "newer"), &["a=newer"])
            .becomes(|s| s.rename("old", "a"), &["a=older"]),
        Case::new("parameters in quotes")
            .set(
                "commonParams",
                "params=\"-artz --exclude='with blank' --exclude=&quot;*.bak&quot; --chmod=F604\"",
            )
            .becomes(|s| s.write("a", "1").write("with blank", "2").write("b.bak", "3"), &["a=1 604"]),
        Case::new("no parameters at all")
            .set("commonParams", "params=\"\"")
            .becomes(|s| s.write("a", "1").write("d/b", "2"), &["a=1", "d/", "d/b=2"]),
        Case::new("debug changes nothing")
            .set("debug", "start=\"true\"")
            .becomes(|s| s.write("d/b", "2"), &["d/", "d/b=2"])
            .becomes(|s| s.remove("d/b"), &["d/"]),
        Case::new("xfs: accepted, and no symlink is followed")
            .set("fileSystem", "xfs=\"true\"")
            .before(|s| {
                s.mkdir("d").mkdir("e").symlink("..", "d/up").symlink("..", "e/up").write_outside("o/f", "1");
                s.symlink("../outside/o", "out")
            })
            .becomes(|s| s.write("d/a", "1"), &["d/", "d/a=1"])
            .nothing(|s| s.write_outside("o/f", "2")),
    ]
}

/// `localpath/@watch`.
pub fn roots() -> Vec<Case> {
    let rooted = |name, watch| Case::new(name).replace("watch=\"@WATCH@\"", watch);
    let work = |case: Case| {
        case.becomes(|s| s.write("a", "1").write("d/b", "2"), &["a=1", "d/", "d/b=2"])
            .becomes(|s| s.remove("a"), &["d/", "d/b=2"])
    };
    vec![
        work(rooted("a root with a slash at its end", "watch=\"@WATCH@/\"")),
        work(rooted("a relative root", "watch=\"../source0\"")),
        work(rooted("a root that is reached through a symlink", "watch=\"@DIR@/link\"").before(|s| {
            s.symlink(s.at(""), s.mirror.dir.join("link"))
        })),
        work(rooted("a root with blanks and quotes", "watch=\"@DIR@/it's a &quot;root&quot; $HOME\"").before(
            |s| {
                let root = s.mirror.dir.join("it's a \"root\" $HOME");
                s.symlink(s.at(""), root)
            },
        )),
        Case::new("departure: each localpath is mirrored, not only the first")
            .trees(&[1, 1])
            .replace(
                "</localpath>",
                "</localpath><localpath watch=\"@WATCH1@\"><remote ip=\"127.0.0.1\" name=\"m1\"/></localpath>",
            )
            .becomes(
                |s| {
                    s.write("a", "1");
                    s.write(s.mirror.sources[1].join("a"), "1")
                },
                &["a=1"],
            ),
    ]
}

/// Serves the first remote under this name too.
fn serve<'a>(s: &'a Scene, module: &str) -> &'a Scene {
    s.mirror.daemon.add_modules(&[(module.to_owned(), s.mirror.replicas[0].clone())]);
    s
}

/// Lets only `mirror` into the module, and writes down the password.
fn protect(s: &Scene) -> &Scene {
    let dir = &s.mirror.dir;
    for (name, content) in [("secrets", "mirror:secret\n"), ("password", "secret\n")] {
        fs::write(dir.join(name), content).unwrap();
        fs::set_permissions(dir.join(name), Permissions::from_mode(0o600)).unwrap();
    }
    // The daemon reads its config for each connection; these lines belong to the last module.
    let mut config = OpenOptions::new().append(true).open(dir.join("rsyncd.conf")).unwrap();
    writeln!(config, "auth users = mirror\nsecrets file = {}", dir.join("secrets").display()).unwrap();
    s
}
