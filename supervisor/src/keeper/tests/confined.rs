//! The store where the keeper's sandbox leaves it nothing but its file.

use super::*;

use std::process::Command;

use common::confine::{Domain, Syscalls};

/// What this test is to work on, where it is its own child.
const WORK: &str = "KEEPER_FILE";

#[test]
fn the_file_is_all_it_needs() {
    if let Some(at) = std::env::var_os(WORK) {
        return work(&at);
    }
    let directory = tempfile::tempdir().unwrap();
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "keeper::tests::confined::the_file_is_all_it_needs", "--nocapture"]);
    command.arg("--test-threads=1").env(WORK, directory.path().join("state"));
    let output = command.output().unwrap();
    let said = [&output.stdout, &output.stderr].map(|text| String::from_utf8_lossy(text));
    assert!(output.status.success(), "{}: {said:?}", output.status);
}

fn work(at: &std::ffi::OsStr) {
    let mut slice = slice(&["/t"], &[(0, "r")]);
    let parent = nix::unistd::getppid().as_raw();
    let domain = Some(Domain { files: vec![], connect: vec![] });
    slice.confinement =
        Confinement { domain, syscalls: Some(Syscalls::Keeper), supervisor: parent, ..Confinement::none() };
    slice.confinement.limits.files = 64;
    let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(at).unwrap();
    let (ours, theirs) = report_socket().unwrap();
    let (mut voice, mut reader) = (Voice::new(Uplink::new(theirs)), FrameReader::default());
    confine::enter(&slice.confinement).unwrap();
    assert!(fs::File::open(at).is_err(), "not confined");
    // As the supervisor does it: each keeper gets the same open file, locks of the last one included.
    for round in 0..3_u64 {
        let mut store = Store::open(file.try_clone().unwrap(), &slice, &mut voice).unwrap();
        store.edit(&[Edit::Root(TreeId(0), root(round))], &mut voice).unwrap();
        for n in 0..2000 {
            let ops = [NameOp::Entry(path(&format!("{n}/{n:0200}")), super::file(n, 1))];
            store.names(TreeId(0), &ops, &mut voice).unwrap();
        }
        store.commit(LastRun::Unclean).unwrap();
        // Some of it is neither committed nor closed.
        store.edit(&[Edit::Complete(TreeId(0), 3)], &mut voice).unwrap();
        if round == 1 {
            std::mem::forget(store);
        }
    }
    let told = std::iter::from_fn(|| match reader.receive(ours.as_fd()) {
        Received::Frame(KeeperReport::Kept(edits)) => Some(edits),
        Received::Frame(_) => Some(vec![]),
        _ => None,
    });
    let told: Vec<_> = told.flatten().collect();
    assert_eq!(told, [0, 1].map(|round| Edit::Root(TreeId(0), root(round))));
}
