//! Prefixes, and whether the path after them would be run.

use super::*;

fn runs(prefix: &str) -> bool {
    runs_what_changed(&shell_words::split(prefix).unwrap())
}

/// After these the path is a program, a script, or may be one.
#[rustfmt::skip]
const RUN: &[&str] = &[
    "", "''", "/bin/sh", "sh", "/bin/sh -x", "/bin/sh -c", "sh -xc", "sh -c -x", "bash -co pipefail",
    "bash -oc pipefail", "sh -s", "sh -", "sh --", "sh +x", "bash --rcfile x", "bash --norc", "dash -e",
    "/usr/bin/zsh -f", "busybox sh", "busybox", "/bin/busybox ash -e", "/bin/bash-static", "csh -f",
    "fish -C x", "/usr/bin/env python3", "env -i A=b sh", "env a/b=c", "env", "env -S 'sh /opt/x'", "env -",
    "python3.11 -u", "python -m pdb", "python3 -", "python3 -c", "pypy3", "perl", "perl -n", "perl5.36.0 -w",
    "perl -I /lib", "ruby -r set", "php", "php8.2 -f", "php -d a=b", "node", "node -r x", "nodejs --inspect",
    "lua5.4 -e 'x()'", "tclsh8.6", "awk -f", "awk -F :", "sed -f", "sed -n", "make", "make -f",
    "make -C /opt", "java", "java -jar /opt/x.jar", "source", ".", "nice", "nice -n 5", "nice -n 5 /bin/sh",
    "nice -5 perl", "nohup", "nohup sh", "sudo", "sudo -u web", "sudo -u web /bin/bash", "sudo -s",
    "sudo -i /opt/hook", "sudo --user=web", "sudo --shell /opt/hook", "sudo A=b", "doas", "doas -u web sh",
    "su", "su web -c /opt/x", "timeout", "timeout 5", "timeout -k 1 5 sh", "xargs", "xargs -0",
    "xargs -0 -n 1 sh", "setsid -w", "ionice -c3", "ionice -p 1", "chroot /jail", "chroot /jail sh",
    "stdbuf -oL", "time -f %e", "strace -f", "strace -p 1", "exec", "taskset 0x1", "taskset -c 0-1 sh",
    "flock /tmp/l", "flock /tmp/l -c '/opt/x'", "runuser -u web", "runuser -l web /opt/x",
    "runuser web /opt/x", "unshare -n", "nsenter -t 1 -m", "setpriv --reuid 7", "chrt -b 0", "script",
    "ssh host", "watch /opt/x", "parallel", "find", "crontab", "go run", "systemd-run /opt/x",
    "/lib64/ld-linux-x86-64.so.2", "env nice timeout 5 nohup sh -x", "nice --unknown 5 /opt/hook",
    "env -- sh", "/opt/", "prlimit", "prlimit --pid 1 /opt/hook", "prlimit -n64 /opt/hook",
    "prlimit --nofile sh", "gosu web", "gosu web sh", "su-exec web:web", "setuidgid web", "envuidgid web perl",
    "tini", "tini --", "tini -g -- sh", "dumb-init -r 15:3", "dumb-init --rewrite 15:3 --", "choom -n 5",
    "choom -p 1", "chronic -e", "eatmydata", "eatmydata --", "unbuffer", "unbuffer -p /opt/hook",
];

/// After these it is an argument.
#[rustfmt::skip]
const ARGUMENT: &[&str] = &[
    "/opt/hook", "hook --file", "/opt/hook.sh -x", "/bin/sh /opt/hook.sh", "sh -x /opt/hook.sh",
    "sh -- /opt/hook", "/bin/sh -c 'echo \"$0\"'", "/bin/sh -c 'cmd' x", "bash -ec 'cmd'", "bash -cx 'cmd'",
    "bash --norc /opt/x", "env FOO=bar /opt/hook", "env -u HOME -i A=b /opt/hook",
    "/usr/bin/env python3 /opt/x.py", "python3 -u /opt/x.py", "python3 -W error -c 'x'",
    "python3.11 -Werror /opt/x.py", "perl -ne 'print'", "perl -I/lib /opt/x.pl", "ruby /opt/x.rb",
    "php -f /opt/x.php", "php /opt/x.php", "php -d a=b -r 'x'", "node --max-old-space-size=10 /opt/x.js",
    "node -e 'x'", "lua /opt/x.lua", "awk '{print}'", "awk -f /opt/x.awk", "awk -F : -v a=b '{print}'",
    "sed -n -e p", "sed -i s/a/b/", "make -f /opt/Makefile", "nice -n 5 /opt/hook", "nice -n5 /opt/hook",
    "nice --adjustment=5 /opt/hook", "nice --adjustment 5 /opt/hook", "nice -10 /opt/hook", "nohup /opt/hook",
    "sudo -u web /opt/hook", "sudo -nu web /opt/hook", "sudo --user web -- /opt/hook a",
    "sudo -u web sh /opt/x", "doas -u web /opt/hook", "timeout 5 /opt/hook", "timeout -s KILL 5 /opt/hook",
    "xargs -0 /opt/hook", "xargs -0 -n1 sh /opt/x", "setsid -w /opt/hook", "ionice -c 3 /opt/hook",
    "chroot --userspec=web /jail /opt/hook", "stdbuf -oL /opt/hook", "time -o /tmp/t /opt/hook",
    "strace -f -o /tmp/t /opt/hook", "taskset -c 0-1 /opt/hook", "flock -w 5 /tmp/l /opt/hook",
    "runuser -u web -- /opt/hook", "unshare -n /opt/hook", "nsenter -t 1 -m /opt/hook",
    "setpriv --reuid=7 --clear-groups /opt/hook", "busybox cp", "cp -t /backup", "cat", "logger -t changed",
    "prlimit --nofile=64 /opt/hook", "prlimit --nofile=64 --core=0 sh /opt/x", "gosu web /opt/hook",
    "su-exec web:web /opt/hook", "setuidgid web /opt/hook", "tini -g -- /opt/hook", "tini -p KILL /opt/hook",
    "dumb-init -r 15:3 /opt/hook", "choom -n 5 -- /opt/hook", "chronic -e /opt/hook", "eatmydata /opt/hook",
];

/// With these a file that was uploaded was run.
#[rustfmt::skip]
const RAN_AN_UPLOAD: &[&str] = &[
    "/usr/bin/prlimit --nofile=64", "/usr/bin/setarch x86_64", "/usr/bin/perl5.36-x86_64-linux-gnu",
];

#[test]
fn uploads_that_were_run() {
    for prefix in RAN_AN_UPLOAD {
        assert!(runs(prefix), "{prefix:?}");
    }
}

#[test]
fn interpreters_by_their_leading_word() {
    for name in [
        "python3-dbg",
        "python3.11-dbg",
        "php8.2-cgi",
        "perl5.36-x86_64-linux-gnu",
        "bash5-static",
        "lua5.4-x",
        "pypy3-c",
        "ksh93",
        "guile-3.0",
        "ruby3.1-mri",
    ] {
        assert!(runs(name), "{name}");
        assert!(!runs(&format!("{name} /opt/script")), "{name}");
    }
    // Of other programs the whole name counts.
    for name in ["env-check", "find-changes", "at-hook", "ssh2-notify"] {
        assert!(!runs(name), "{name}");
    }
}

/// Every launcher that is not understood in detail.
#[test]
fn launchers_of_many_forms() {
    for name in "setarch linux32 linux64 i386 x86_64 fakeroot numactl chpst pkexec bwrap firejail valgrind perf capsh \
        sg runcon catchsegv proot faketime torsocks proxychains4 gdb ltrace uidmap newgrp schroot \
        systemd-inhibit dbus-run-session xvfb-run start-stop-daemon daemonize cgexec"
        .split_whitespace()
    {
        for prefix in [name.to_owned(), format!("/usr/bin/{name} -x /opt/hook"), format!("nice {name} a")] {
            assert!(runs(&prefix), "{prefix:?}");
        }
    }
}

#[test]
fn the_path_would_be_run() {
    for prefix in RUN {
        assert!(runs(prefix), "{prefix:?}");
    }
}

#[test]
fn the_path_is_an_argument() {
    for prefix in ARGUMENT {
        assert!(!runs(prefix), "{prefix:?}");
    }
}

#[test]
fn no_prefix_is_a_path_that_is_run() {
    assert!(runs_what_changed(&[]));
}

/// The shells of the table do with the words what the table says.
#[test]
fn shells_agree() {
    let directory = tempfile::tempdir().unwrap();
    let script = directory.path().join("changed");
    std::fs::write(&script, "echo RAN\n").unwrap();
    for shell in ["sh", "dash", "bash"].map(|name| format!("/bin/{name}")) {
        if !std::path::Path::new(&shell).exists() {
            continue;
        }
        for options in [
            "",
            "-x",
            "-c",
            "-xc",
            "-c -x",
            "--",
            "-c true",
            "-ec true",
            "-c true x",
            "/dev/null",
            "-x /dev/null",
        ] {
            let words: Vec<&str> = options.split_whitespace().collect();
            let command = std::process::Command::new(&shell).args(&words).arg(&script).output().unwrap();
            let says = String::from_utf8_lossy(&command.stdout).into_owned()
                + &String::from_utf8_lossy(&command.stderr);
            // As a command of its own it is found, and only its mode forbids it.
            let ran = says.contains("RAN") || says.contains("ermission denied");
            assert_eq!(runs(&format!("{shell} {options}")), ran, "{shell} {options}: {says}");
        }
    }
}
