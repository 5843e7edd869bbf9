//! Files that are not as they were left: found when they are opened, and never taken for right.

use super::*;

use std::panic::{AssertUnwindSafe, catch_unwind};

/// A file with names and edits, as a kill leaves it, or an orderly end.
fn written(end: LastRun) -> (Bench, Vec<u8>) {
    let mut bench = Bench::whole();
    bench.edit(&some_of_each());
    for directory in 0..20 {
        let ops: Vec<_> =
            (0..50).map(|n| NameOp::Entry(path(&format!("d{directory}/f{n}")), file(n, directory))).collect();
        bench.names(0, &ops);
        bench.commit();
    }
    bench.store().commit(end).unwrap();
    if end == LastRun::Unclean {
        bench.kill();
    }
    bench.store = None;
    let bytes = fs::read(bench.at()).unwrap();
    (bench, bytes)
}

/// How it went with these bytes. A panic is an answer too: it ends the process.
fn tried(bench: &mut Bench, bytes: &[u8]) -> Result<bool, Option<Trouble>> {
    fs::write(bench.at(), bytes).unwrap();
    let opened = catch_unwind(AssertUnwindSafe(|| {
        bench.open()?;
        bench.said();
        let names = bench.index(0).len();
        bench.edit(&[Edit::Complete(TreeId(0), 99)]);
        bench.store().commit(LastRun::Unclean)?;
        Ok::<_, Failure>(names)
    }));
    // Even leaving it may be too much for it.
    let left = catch_unwind(AssertUnwindSafe(|| bench.store = None));
    bench.said();
    let opened = left.and(opened).map_err(|_| None)?;
    match opened {
        Ok(names) => Ok(names == 1000),
        Err(Failure::File(fault)) => Err(Some(fault.trouble)),
        Err(other) => panic!("{other:?}"),
    }
}

#[test]
fn files_of_others() {
    let mut bench = Bench::new(slice(&[], &[]));
    bench.store = None;
    for bytes in [&b"xy"[..], &[0; 100], &[0; 8192], &b"redb\x1a\x0a\xa9\x0d\x0a"[..], &[0xff; 5000]] {
        assert_eq!(tried(&mut bench, bytes), Err(Some(Trouble::Damaged)), "{} bytes", bytes.len());
    }
    // A database, but not ours.
    for (name, format) in [("else", 1), ("sersync", 2)] {
        fs::remove_file(bench.at()).unwrap();
        let database = redb::Database::create(bench.at()).unwrap();
        let transaction = database.begin_write().unwrap();
        let definition = redb::TableDefinition::<&str, u64>::new(name);
        transaction.open_table(definition).unwrap().insert("format", format).unwrap();
        transaction.commit().unwrap();
        drop(database);
        let bytes = fs::read(bench.at()).unwrap();
        assert_eq!(tried(&mut bench, &bytes), Err(Some(Trouble::Damaged)), "{name}");
    }
}

#[test]
fn a_file_that_ends_too_early() {
    for end in [LastRun::Clean, LastRun::Unclean] {
        let (mut bench, bytes) = written(end);
        assert_eq!(tried(&mut bench, &bytes), Ok(true));
        for part in 1..20 {
            let cut = bytes.len() * part / 20;
            let answer = tried(&mut bench, &bytes[..cut]);
            assert!(matches!(answer, Err(Some(Trouble::Damaged) | None)), "{cut} bytes: {answer:?}");
        }
    }
}

/// One byte is another one, at many places: what opens is right, or is right as of a commit before.
#[test]
fn flipped_bytes() {
    let (mut bench, bytes) = written(LastRun::Clean);
    let (mut damaged, mut panics) = (0, 0);
    for place in (0..bytes.len()).step_by(1499) {
        let mut other = bytes.clone();
        other[place] ^= 0x55;
        match tried(&mut bench, &other) {
            Ok(is_whole) => assert!(is_whole, "byte {place}"),
            Err(Some(Trouble::Damaged)) => damaged += 1,
            Err(Some(Trouble::Unwritable)) => panic!("byte {place}"),
            Err(None) => panics += 1,
        }
    }
    println!("of {} places: {damaged} damaged, {panics} panics", bytes.len().div_ceil(1499));
    assert!(damaged > 0);
}

#[test]
fn what_is_no_file() {
    let mut voice = Voice::new(Uplink::new(report_socket().unwrap().1));
    let device = OpenOptions::new().read(true).write(true).open("/dev/null").unwrap();
    let opened = Store::open(device, &slice(&[], &[]), &mut voice);
    assert!(matches!(opened, Err(Failure::File(fault)) if fault.trouble == Trouble::Damaged));
}

/// A descriptor that may not be written answers as a disk that fails.
#[test]
fn a_file_that_cannot_be_written() {
    let (mut bench, _) = written(LastRun::Clean);
    let closed = OpenOptions::new().read(true).open(bench.at()).unwrap();
    let (ours, theirs) = report_socket().unwrap();
    bench.ours = ours;
    let (_sender, orders) = ipc_channel::ipc::channel().unwrap();
    let end = keep(&orders, &mut Voice::new(Uplink::new(theirs)), closed, &bench.slice);
    assert!(matches!(&end, Err(Failure::File(fault)) if fault.trouble == Trouble::Unwritable), "{end:?}");
    assert_eq!(exit_of(&end.unwrap_err()), Exit::CantCreate);
    let said = bench.reader.receive(bench.ours.as_fd());
    let Received::Frame(KeeperReport::Trouble(Trouble::Unwritable, text)) = said else { panic!("{said:?}") };
    assert!(!text.is_empty() && text.len() <= 500);
}
