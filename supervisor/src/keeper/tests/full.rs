//! A disk without room: said, and after it what was committed is there.

use super::*;

use std::path::Path;
use std::process::Command;

use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};

/// Where this test is to mount its disk, where it is its own child.
const DISK: &str = "KEEPER_DISK";

#[test]
fn no_space() {
    if let Some(at) = std::env::var_os(DISK) {
        return work(Path::new(&at));
    }
    let directory = tempfile::tempdir().unwrap();
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "keeper::tests::full::no_space", "--nocapture", "--test-threads=1"]);
    let output = command.env(DISK, directory.path()).output().unwrap();
    let said = [&output.stdout, &output.stderr].map(|text| String::from_utf8_lossy(text));
    assert!(output.status.success(), "{}: {said:?}", output.status);
    if said[1].contains("skipped") {
        eprintln!("skipped: no mounts here");
    }
}

fn disk(at: &Path, flags: MsFlags, size: &str) -> nix::Result<()> {
    mount(Some("none"), at, Some("tmpfs"), flags, Some(size))
}

fn work(at: &Path) {
    let user = if nix::unistd::geteuid().is_root() { CloneFlags::empty() } else { CloneFlags::CLONE_NEWUSER };
    let private =
        || mount(None::<&str>, "/", None::<&str>, MsFlags::MS_REC | MsFlags::MS_PRIVATE, None::<&str>);
    let mounted = unshare(user | CloneFlags::CLONE_NEWNS)
        .and_then(|()| private())
        .and_then(|()| disk(at, MsFlags::empty(), "size=3m"));
    if let Err(error) = mounted {
        return eprintln!("skipped: {error}");
    }
    let mut bench = Bench::whole_in(at);
    let mut committed = 0;
    let fault = loop {
        let ops: Vec<_> = (0..100)
            .map(|n| NameOp::Entry(path(&format!("{committed:0100}/{n:0100}")), file(n, 1)))
            .collect();
        let store = bench.store.as_mut().unwrap();
        let done =
            store.names(TreeId(0), &ops, &mut bench.voice).and_then(|()| Ok(store.commit(LastRun::Unclean)?));
        match done {
            Ok(()) => committed += 1,
            Err(Failure::File(fault)) => break fault,
            Err(other) => panic!("{other:?}"),
        }
        assert!(committed < 10_000, "the disk is never full");
    };
    assert_eq!(fault.trouble, Trouble::Unwritable, "{fault}");
    assert!(committed > 0);
    bench.store = None;
    disk(at, MsFlags::MS_REMOUNT, "size=64m").unwrap();
    bench.open().unwrap();
    bench.said();
    assert_eq!(bench.index(0).len(), committed * 100);
    bench.edit(&[Edit::Complete(TreeId(0), 1)]);
    bench.commit();
}
