//! `check --remotes`: each remote is tried, and what is wrong with it is said in words.

use std::fmt::Write as _;
use std::fs::{self, Permissions};
use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpListener};
use std::os::unix::fs::PermissionsExt;
use std::thread;

use crate::support::daemon::{Daemon, free_port};
use crate::{Ground, diagnostics};

/// A daemon with a module for everything that can be wrong.
fn daemon(ground: &Ground) -> Daemon {
    fs::create_dir(ground.at("replica")).unwrap();
    fs::write(ground.at("secrets"), "bob:right\n").unwrap();
    fs::set_permissions(ground.at("secrets"), Permissions::from_mode(0o600)).unwrap();
    let replica = ground.at("replica");
    let modules: Vec<_> =
        ["good", "closed", "locked", "gone"].map(|name| (name.to_owned(), replica.clone())).into();
    let daemon = Daemon::on_free_port(&ground.at("rsyncd.conf"), &modules);
    let secrets = ground.at("secrets").display().to_string();
    let missing = ground.at("missing").display().to_string();
    daemon.edit(|text| {
        text.replace("[closed]\n", "[closed]\nread only = yes\n")
            .replace("[locked]\n", &format!("[locked]\nauth users = bob\nsecrets file = {secrets}\n"))
            .replace(&format!("[gone]\npath = {}", replica.display()), &format!("[gone]\npath = {missing}"))
    });
    daemon
}

#[test]
fn each_remote_is_tried_and_judged() {
    let ground = Ground::new();
    let daemon = daemon(&ground);
    let nobody = free_port();
    fs::write(ground.at("right"), "right\n").unwrap();
    fs::set_permissions(ground.at("right"), Permissions::from_mode(0o600)).unwrap();
    let mut remotes = String::new();
    let good = "user=\"bob\" passwordfile=\"@DIR@/right\"";
    for (module, more) in [
        ("good", ""),
        ("locked", good),
        ("locked", "user=\"bob\" passwordfile=\"@DIR@/password\""),
        ("none", ""),
        ("closed", ""),
        ("gone", ""),
    ] {
        let port = daemon.port;
        writeln!(remotes, "<remote ip=\"127.0.0.1\" name=\"{module}\" port=\"{port}\" {more}/>").unwrap();
    }
    writeln!(remotes, "<remote ip=\"127.0.0.1\" name=\"m\" port=\"{nobody}\"/>").unwrap();
    let text = format!(
        "<head><sersync><localpath watch=\"tree\">\n{remotes}</localpath>\n<rsync><commonParams params=\"-artz\"/></rsync></sersync>\n<state path=\"@DIR@/state\"/></head>"
    );
    let (code, out, complaint) = ground.check("remotes.xml", text.as_bytes(), &["--remotes"]);
    assert_eq!((code, complaint.as_str()), (Some(78), ""), "{out}");
    let told = diagnostics(&out);
    let errors: Vec<&String> = told.iter().filter(|it| it.starts_with("error: ")).collect();
    // The same line of the config, and what is said of it.
    for (line, words, cure) in [
        (4, "refuses the user or the password: @ERROR: auth failed on module locked", "`auth users`"),
        (5, "has no such module: @ERROR: Unknown module 'none'", "lists the modules there"),
        (6, "has the module, but read only", "read only = no"),
        (7, "lacks the directory of the module", "make the directory"),
        (8, "has nobody listening on that port", "start rsync --daemon"),
    ] {
        let found = errors.iter().find(|it| it.contains(words)).unwrap_or_else(|| panic!("{words}\n{out}"));
        assert!(found.contains(&format!("remotes.xml:{line}:")) && found.contains(cure), "{found}");
    }
    assert_eq!(errors.len(), 5, "{out}");
    for good in ["remote 127.0.0.1::good answers", "remote 127.0.0.1::locked answers"] {
        assert!(out.contains(good), "{out}");
    }
    // It was a dry run.
    assert_eq!(fs::read_dir(ground.at("replica")).unwrap().count(), 0);
}

/// It was said to refuse, and the cure was about rsyncd.conf.
#[test]
fn something_else_listens_there() {
    let ground = Ground::new();
    // One that says something, and one that only hangs up.
    for greeting in [&b"HTTP/1.1 400 Bad Request\r\n\r\n"[..], b""] {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        // Its thread ends with the test.
        thread::spawn(move || {
            for mut stream in listener.incoming().flatten() {
                let _ = stream.write_all(greeting).and_then(|()| stream.shutdown(Shutdown::Write));
                // What is left unread would reset the connection.
                let _ = stream.read_to_end(&mut Vec::new());
            }
        });
        let text = format!(
            "<head><sersync><localpath watch=\"tree\"><remote ip=\"127.0.0.1\" name=\"m\" port=\"{port}\"/></localpath>\
             <rsync><commonParams params=\"-artz\"/></rsync></sersync><state path=\"@DIR@/state\"/></head>"
        );
        let (code, out, _) = ground.check("other.xml", text.as_bytes(), &["--remotes"]);
        let told = diagnostics(&out);
        assert_eq!((code, told.len()), (Some(78), 1), "{out}");
        for words in ["does not speak rsync as rsync does: ", "something else than rsync --daemon has port"] {
            assert!(told[0].contains(words), "{words}\n{out}");
        }
    }
}

#[test]
fn the_hosts_of_plugins_are_knocked_at() {
    let ground = Ground::new();
    let daemon = daemon(&ground);
    let (here, nobody) = (daemon.port, free_port());
    for (port, expected) in [(here, 0), (nobody, 1)] {
        let text = format!(
            "<head><sersync><localpath watch=\"tree\"><remote ip=\"127.0.0.1\" name=\"good\" port=\"{here}\"/>\
             </localpath><rsync><commonParams params=\"-artz\"/></rsync><plugin start=\"true\" name=\"socket\"/></sersync>\
             <plugin name=\"socket\"><localpath watch=\"tree\"><deshost ip=\"127.0.0.1\" port=\"{port}\"/></localpath>\
             </plugin><state path=\"@DIR@/state\"/></head>"
        );
        let (code, out, _) = ground.check("plugin.xml", text.as_bytes(), &["--remotes"]);
        assert_eq!(code, Some(0), "{out}");
        assert_eq!(diagnostics(&out).len(), expected, "{out}");
        assert_eq!(out.contains("plugin socket: 127.0.0.1 port"), expected == 1, "{out}");
    }
}
