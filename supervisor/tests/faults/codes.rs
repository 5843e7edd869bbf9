//! A program in rsync's place that fails once with each exit code that rsync knows, says what it
//! says then, and works afterwards.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;

use crate::ground::{RECOVERED, exact};
use crate::support::{LOCALHOST, Mirror, SOON, wait_until, write};

/// Exit status and the first words of what is said with it. 24 comes after the work, since all
/// that is still there has arrived then. 1000: it is killed instead.
const FAILURES: [(u32, &str); 23] = [
    (1, "rsync: --x: unknown option"),
    (2, "protocol version mismatch -- is your shell clean?"),
    (3, "rsync: change_dir failed: No such file or directory (2)"),
    (4, "rsync error: requested action not supported"),
    (5, "@ERROR: max connections (1) reached -- try again later"),
    (6, ""),
    (10, "rsync: [sender] failed to connect to 127.0.0.1: Connection refused (111)"),
    (11, "rsync: [receiver] write failed on \"f\" (in m): No space left on device (28)"),
    (12, "rsync: connection unexpectedly closed (8 bytes received so far) [sender]"),
    (13, "rsync error: errors with program diagnostics"),
    (14, "rsync error: error in IPC code"),
    (20, "rsync error: received SIGINT, SIGTERM, or SIGHUP"),
    (21, ""),
    (22, "ERROR: out of memory"),
    (23, "rsync: [receiver] rename \"d/.f00.x\" (in m) -> \"d/f00\": Permission denied (13)"),
    (24, "file has vanished: \"f\""),
    (25, "Deletions stopped due to --max-delete limit"),
    (30, "rsync error: timeout in data send/receive: io timeout after 2 seconds"),
    (35, "rsync error: timeout waiting for daemon connection"),
    (126, "sh: rsync: Permission denied"),
    (127, "sh: rsync: not found"),
    (255, "ssh: connect to host: Connection refused"),
    (1000, ""),
];

/// Fails for a module whose file `fails/MODULE` is there, removing it; only with a list of paths.
const WRAPPER: &str = "#!/bin/sh
for module in \"$@\"; do :; done
module=${module##*::}
module=${module%%/*}
file=@DIR@/fails/$module
case \"$*\" in *--files-from*) if [ -e \"$file\" ]; then
    code=$(head -n 1 \"$file\")
    tail -n +2 \"$file\" >&2
    rm \"$file\"
    [ \"$code\" = 24 ] && rsync \"$@\" || cat >/dev/null
    [ \"$code\" = 1000 ] && kill -9 $$
    exit \"$code\"
fi ;; esac
exec rsync \"$@\"
";

#[test]
fn each_exit_code_once() {
    let setup = exact()
        .remotes(&[LOCALHOST; FAILURES.len()])
        .edit("<rsync>", "<rsync program=\"@DIR@/wrapper\">")
        .edit("<sersync>", "<sandbox start=\"false\"/><warm start=\"false\"/><sersync>");
    let mut mirror = Mirror::new(setup);
    let (wrapper, fails) = (mirror.dir.join("wrapper"), mirror.dir.join("fails"));
    fs::write(&wrapper, WRAPPER.replace("@DIR@", mirror.dir.to_str().unwrap())).unwrap();
    fs::set_permissions(&wrapper, Permissions::from_mode(0o755)).unwrap();
    fs::create_dir(&fails).unwrap();
    // The wrapper removes its file as whoever the syncer is.
    fs::set_permissions(&fails, Permissions::from_mode(0o777)).unwrap();
    write(mirror.source("old"), "1");
    write(mirror.source("gone"), "1");
    mirror.copy();
    mirror.run();
    for (n, (code, said)) in FAILURES.iter().enumerate() {
        write(fails.join(format!("m{n}")), format!("{code}\n{said}\n"));
    }
    write(mirror.source("old"), "2");
    fs::remove_file(mirror.source("gone")).unwrap();
    write(mirror.source("dir/new"), "3");
    wait_until("each has failed", SOON, || fs::read_dir(&fails).unwrap().count() == 0);
    mirror.wait_equal(RECOVERED);
    assert_eq!(mirror.logged("child died"), 0, "{}", mirror.log());
}
