//! Orders and their answers.

use super::*;

/// What the supervisor gets to hear, order by order.
#[test]
fn each_order_is_answered() {
    let mut bench = Bench::whole();
    bench.names(0, &[listing("", &[("a", file(1, 1))], Purpose::Learn)]);
    let store = bench.store.take().unwrap();
    let (sender, orders) = ipc_channel::ipc::channel().unwrap();
    let commit = |ticket, heard, last| KeeperOrder::Commit { ticket, heard, last };
    for order in [
        KeeperOrder::Names(11, TreeId(0), vec![listing("", &[], Purpose::Compare)]),
        commit(12, 0, false),
        commit(13, 1, false),
        KeeperOrder::Listed(14, TreeId(0), RelPath::root()),
        KeeperOrder::Edits(15, vec![Edit::Known(0)]),
        commit(16, 1, true),
    ] {
        sender.send(order).unwrap();
    }
    drop(sender);
    let end = obey(&orders, &mut bench.voice, store);
    assert!(matches!(end, Err(Failure::Order(IpcError::Disconnected))), "{end:?}");
    let gone = found("a", FindKind::Gone { directory: false, names: 1 });
    assert_eq!(
        bench.said(),
        [
            KeeperReport::Found(TreeId(0), vec![gone]),
            KeeperReport::Done(11),
            KeeperReport::Committed(12, Durable::NotYet),
            KeeperReport::Committed(13, Durable::Yes),
            KeeperReport::Compared(TreeId(0), RelPath::root(), 0),
            KeeperReport::Done(15),
            KeeperReport::Committed(16, Durable::Yes),
        ]
    );
    bench.open().unwrap();
    assert_eq!(bench.said().last(), Some(&loaded(LastRun::Clean, &[Knowledge::Whole])));
}

#[test]
fn a_second_configuration_is_refused() {
    let mut bench = Bench::whole();
    let store = bench.store.take().unwrap();
    let (sender, orders) = ipc_channel::ipc::channel().unwrap();
    sender.send(KeeperOrder::Configure(Box::new(bench.slice.clone()))).unwrap();
    let end = obey(&orders, &mut bench.voice, store);
    assert!(matches!(end, Err(Failure::OutOfTurn)), "{end:?}");
}

#[test]
fn without_a_supervisor() {
    let mut bench = Bench::whole();
    let (ours, _) = report_socket().unwrap();
    bench.ours = ours;
    let store = bench.store.take().unwrap();
    let (sender, orders) = ipc_channel::ipc::channel().unwrap();
    sender.send(KeeperOrder::Edits(1, vec![])).unwrap();
    let end = obey(&orders, &mut bench.voice, store);
    assert!(matches!(end, Err(Failure::Report(SendError::Closed))), "{end:?}");
}

/// More finds than a frame, or the socket, can hold; and the supervisor counts frames.
#[test]
fn many_finds() {
    let mut bench = Bench::whole();
    let name = |n: u32| (format!("{n:0100}"), file(u64::from(n), 1));
    for first in (0..20_000).step_by(100) {
        let entries: Vec<_> = (first..first + 100).map(name).collect();
        let entries: Vec<_> = entries.iter().map(|(name, stamp)| (name.as_str(), *stamp)).collect();
        let ops: Vec<_> = entries.iter().map(|(name, stamp)| NameOp::Entry(path(name), *stamp)).collect();
        assert_eq!(bench.names(0, &ops), []);
    }
    let (ours, theirs) = report_socket().unwrap();
    let reading = std::thread::spawn(move || {
        let (mut reader, mut frames, mut finds) = (FrameReader::default(), 0_u64, 0);
        loop {
            let mut polled = [nix::poll::PollFd::new(ours.as_fd(), nix::poll::PollFlags::POLLIN)];
            nix::poll::poll(&mut polled, nix::poll::PollTimeout::NONE).unwrap();
            match reader.receive(ours.as_fd()) {
                Received::Frame(KeeperReport::Found(_, found)) => {
                    frames += 1;
                    finds += found.len();
                }
                Received::Frame(KeeperReport::Beat) | Received::Empty => {}
                Received::Closed => return (frames, finds),
                other => panic!("{other:?}"),
            }
        }
    });
    bench.voice = Voice::new(Uplink::new(theirs));
    let store = bench.store.as_mut().unwrap();
    store.names(TreeId(0), &[listing("", &[], Purpose::Compare)], &mut bench.voice).unwrap();
    let told = bench.voice.told();
    bench.voice = Voice::new(Uplink::new(report_socket().unwrap().1));
    let (frames, finds) = reading.join().unwrap();
    assert_eq!((frames, finds), (told, 20_000));
    assert!(frames > 30);
    assert_eq!(bench.index(0), []);
}
