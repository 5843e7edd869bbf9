//! The roles of the hostile test: honest, or what somebody who took one over might do.

#[path = "keeper.rs"]
pub(crate) mod keeper;
#[path = "page.rs"]
mod page;

use std::ffi::OsString;
use std::fs;
use std::io::{self, IoSlice, Write};
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::sync::OnceLock;
use std::thread;
use std::time::{Duration, Instant};

use common::confine;
use common::event::{Change, Dirt, RootId, TreeId};
use common::exit::Exit;
use common::keep::KeeperReport;
use common::message::{
    Advance, Listing, LossCause, Outcome, PageReport, PluginOrder, PluginReport, SyncerOrder, SyncerReport,
    Verdict, WatcherOrder, WatcherReport,
};
use common::path::RelPath;
use common::wire::{self, MAX_FRAME, Uplink, report_socket};
use ipc_channel::ipc::IpcReceiver;
use nix::errno::Errno;
use nix::sys::signal::{Signal, raise};
use nix::sys::socket::{ControlMessage, MsgFlags, recv, send, sendmsg};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// The supervisor, or one of its roles, of which the one named by `mode` misbehaves.
pub(crate) fn enter(mode: &str, arguments: Vec<OsString>) -> Exit {
    let (victim, how) = mode.split_once(' ').unwrap_or((mode, ""));
    let name = arguments.first().map(|word| word.to_string_lossy().into_owned()).unwrap_or_default();
    let channel = arguments.get(3).map(|word| word.to_string_lossy().into_owned()).unwrap_or_default();
    if name.strip_prefix("sersync: ") != Some(victim) {
        return supervisor::run::main(arguments);
    }
    let result = match victim {
        "watcher" => watcher(how, &channel),
        "keeper" => keeper::run(how, &channel),
        "page" => page::run(how, &channel),
        name if name.starts_with("plugin-") => plugin(how, &channel),
        _ => syncer(how, &channel),
    };
    // Whoever fails at being hostile says so, and the test fails.
    if let Err(error) = result {
        eprintln!("hostile {how}: {error}");
    }
    Exit::Ok
}

/// How long a flood lasts.
const FLOOD: Duration = Duration::from_secs(3);
/// What is written to standard error by who writes too much, in bytes.
const GIGABYTE: usize = 1 << 30;

/// A socket to ourselves, made while that is allowed.
static MIRROR: OnceLock<(Uplink, OwnedFd)> = OnceLock::new();

/// A report as it travels.
fn encoded<T: Serialize>(report: &T) -> io::Result<Vec<u8>> {
    let (ours, theirs) = MIRROR.get().ok_or_else(|| io::Error::other("it has not begun"))?;
    ours.send(report).map_err(io::Error::other)?;
    let mut frame = vec![0; MAX_FRAME];
    let length = recv(theirs.as_raw_fd(), &mut frame, MsgFlags::empty())?;
    frame.truncate(length);
    Ok(frame)
}

/// A sign of life of `role`.
fn beat(role: &str) -> io::Result<Vec<u8>> {
    match role {
        "watcher" => encoded(&WatcherReport::Beat { busy: false }),
        "plugin" => encoded(&PluginReport::Beat),
        "keeper" => encoded(&KeeperReport::Beat),
        "page" => encoded(&PageReport::Beat),
        _ => encoded(&SyncerReport::Beat { stalled: false }),
    }
}

/// Changes of tree 0 at these paths, which must all be of one length, and none of which has to be one.
fn changes(paths: &[&[u8]]) -> io::Result<Vec<u8>> {
    let stand_in = |path: &&[u8]| RelPath::new(vec![b'x'; path.len()]).map_err(io::Error::other);
    let change = |path| Change { path, dirt: Dirt::Touched, mask: 0 };
    let honest: Vec<RelPath> = paths.iter().map(stand_in).collect::<io::Result<_>>()?;
    let report = WatcherReport::Changes(TreeId(0), honest.into_iter().map(change).collect());
    let mut frame = encoded(&report)?;
    let mut at = 0;
    for path in paths {
        let run = frame[at..].windows(path.len()).position(|window| window.iter().all(|byte| *byte == b'x'));
        let start = at + run.ok_or_else(|| io::Error::other("the path is not in the frame"))?;
        frame[start..start + path.len()].copy_from_slice(path);
        at = start + path.len();
    }
    Ok(frame)
}

/// The frames that hurt a receiver which trusts its sender, see `privsep.md` 1.1.
fn raw_frame(role: &str, name: &str) -> io::Result<Vec<u8>> {
    let numbers =
        |numbers: &[u64]| numbers.iter().flat_map(|number| number.to_le_bytes()).collect::<Vec<u8>>();
    Ok(match name {
        "garbage" => vec![0xff; 100],
        "length-too-long" => [numbers(&[16, 1000]), vec![7; 16]].concat(),
        "length-huge" => numbers(&[16, 1 << 46]),
        "length-negative" => numbers(&[16, u64::MAX]),
        "four-bytes" => vec![0x7f, 0, 0, 0],
        "eight-bytes" => numbers(&[8]),
        "oversize" => vec![0; MAX_FRAME + 1],
        "empty" => vec![],
        // What only another role may say: a delivery that is over, or changes.
        "foreign" if role == "watcher" => {
            let (ticket, verdicts) = (u64::MAX, vec![Verdict::Delivered; 3]);
            encoded(&PluginReport::Done { ticket, verdicts, note: "a note".to_owned() })?
        }
        "foreign" => changes(&[b"aa"])?,
        "dot-dot" => changes(&[b".."])?,
        "outside" => changes(&[b"../../etc"])?,
        "absolute" => changes(&[b"/etc"])?,
        _ => return Err(io::Error::other("no such frame")),
    })
}

/// Sends `bytes`, with these descriptors.
fn send_with(socket: RawFd, bytes: &[u8], descriptors: &[RawFd]) -> io::Result<()> {
    let rights = [ControlMessage::ScmRights(descriptors)];
    sendmsg::<()>(socket, &[IoSlice::new(bytes)], &rights, MsgFlags::MSG_NOSIGNAL, None)?;
    Ok(())
}

fn send_raw(socket: RawFd, role: &str, name: &str) -> io::Result<()> {
    match name {
        "beat" => return Ok(send(socket, &beat(role)?, MsgFlags::MSG_NOSIGNAL).map(drop)?),
        // A valid report, with a hundred descriptors that nobody asked for.
        "descriptors" => return (0..20).try_for_each(|_| send_with(socket, &beat(role)?, &[socket; 100])),
        // A file that cannot be written, which ipc-channel would map as shared memory.
        "fd-file" => return send_with(socket, &[0xff; 16], &[io::stdin().as_raw_fd()]),
        _ => {}
    }
    let plain = name.strip_prefix("fd-");
    let frame = raw_frame(role, plain.unwrap_or(name))?;
    match plain {
        Some(_) => send_with(socket, &frame, &[socket]),
        None => Ok(send(socket, &frame, MsgFlags::MSG_NOSIGNAL).map(drop)?),
    }
}

/// Floods the supervisor, tells how much it was, and then does nothing. `honest` is done now and
/// then: what the role is there for goes on.
fn flood_for_seconds(
    socket: RawFd,
    role: &str,
    how: &str,
    honest: &dyn Fn() -> io::Result<()>,
) -> io::Result<()> {
    let (end, mut frames, mut paths) = (Instant::now() + FLOOD, 0_u64, 0_u64);
    if how == "gigabyte" {
        let chunk = b"\x1b[2J\x1b]0;title\x07\r<3>forged\0 line\n\n".repeat(2000);
        let mut out = io::stderr().lock();
        for _ in 0..GIGABYTE / chunk.len() {
            out.write_all(&chunk)?;
            honest()?;
        }
        return Ok(());
    }
    let beat = beat(role)?;
    while Instant::now() < end {
        // A look at the clock for many.
        for _ in 0..100 {
            match how {
                "flood-descriptors" => match send_with(socket, &beat, &[socket; 100]) {
                    // As many as it may have open are on their way already.
                    Err(error) if error.raw_os_error() == Some(Errno::ETOOMANYREFS as i32) => continue,
                    other => other?,
                },
                "flood-changes" => {
                    // Paths that there are not, and never the same.
                    paths += 1;
                    let names: Vec<String> = (0..100).map(|n| format!("{paths:020}{n:02}")).collect();
                    let names: Vec<&[u8]> = names.iter().map(String::as_bytes).collect();
                    send(socket, &changes(&names)?, MsgFlags::MSG_NOSIGNAL)?;
                }
                _ => drop(send(socket, &beat, MsgFlags::MSG_NOSIGNAL)?),
            }
            frames += 1;
        }
        honest()?;
    }
    eprintln!("flood frames={frames}");
    Ok(())
}

/// Does nothing, for ever.
fn idle() -> ! {
    loop {
        thread::park();
    }
}

struct Hostile<O> {
    socket: RawFd,
    uplink: Uplink,
    orders: IpcReceiver<O>,
    first: O,
}

/// What comes before the first report in an honest role as well.
fn begin<O: Serialize + DeserializeOwned>(role: &str, how: &str, channel: &str) -> io::Result<Hostile<O>> {
    confine::start_clean().map_err(io::Error::other)?;
    let (ours, theirs) = report_socket()?;
    let _ = MIRROR.set((Uplink::new(ours), theirs));
    match how {
        "exit-at-once" => std::process::exit(0),
        "never-come" => idle(),
        _ => {}
    }
    let socket: OwnedFd = nix::unistd::dup(io::stdin())?;
    let raw = socket.as_raw_fd();
    if let Some(frame) = how.strip_prefix("early ") {
        send_raw(raw, role, frame)?;
    }
    let orders = wire::meet::<O>(channel)?;
    let first = orders.recv().map_err(|error| io::Error::other(format!("{error:?}")))?;
    Ok(Hostile { socket: raw, uplink: Uplink::new(socket), orders, first })
}

fn watcher(how: &str, channel: &str) -> io::Result<()> {
    let Hostile { socket, uplink, first, orders: _orders } = begin::<WatcherOrder>("watcher", how, channel)?;
    let WatcherOrder::Configure(slice) = first else { return Err(io::Error::other("no order")) };
    let roots: Vec<_> = slice.trees.iter().map(|tree| fs::metadata(&tree.root)).collect::<Result<_, _>>()?;
    if how != "unconfined" {
        confine::enter(&slice.confinement).map_err(io::Error::other)?;
    }
    let say = |report: &WatcherReport| uplink.send(report).map_err(io::Error::other);
    say(&WatcherReport::Ready)?;
    match how.strip_prefix("late ").unwrap_or(how) {
        "unconfined" => {}
        "exit-when-ready" => return Ok(()),
        flood if flood.starts_with("flood-") || flood == "gigabyte" => {
            for (n, root) in (0..).zip(&roots) {
                let (tree, root) = (TreeId(n), RootId::from(root));
                say(&WatcherReport::Watching { tree, root, directories: 1 })?;
            }
            // It is blind; but one file it calls changed, again and again.
            let file = || -> io::Result<()> {
                let path = RelPath::new("file").map_err(io::Error::other)?;
                let changes = vec![Change { path, dirt: Dirt::Touched, mask: 0 }];
                say(&WatcherReport::Changes(TreeId(0), changes))
            };
            flood_for_seconds(socket, "watcher", flood, &file)?;
            loop {
                file()?;
                thread::park_timeout(Duration::from_millis(50));
            }
        }
        "ready-twice" => say(&WatcherReport::Ready)?,
        "unknown-tree" => {
            let path = RelPath::new("file").map_err(io::Error::other)?;
            say(&WatcherReport::Changes(TreeId(7), vec![Change { path, dirt: Dirt::Removed, mask: 0 }]))?;
        }
        "look-unasked" => say(&WatcherReport::Looked { number: 0, directories: vec![u64::MAX] })?,
        "rescans" => {
            for _ in 0..20_000 {
                let (tree, path, cause) = (TreeId(0), RelPath::root(), LossCause::Overflow);
                say(&WatcherReport::Rescan { tree, path, cause })?;
            }
            return Ok(());
        }
        frame => send_raw(socket, "watcher", frame)?,
    }
    idle()
}

fn syncer(how: &str, channel: &str) -> io::Result<()> {
    let hostile = begin::<SyncerOrder>("syncer", how, channel)?;
    if let SyncerOrder::Configure(slice) = &hostile.first
        && how != "unconfined"
    {
        confine::enter(&slice.confinement).map_err(io::Error::other)?;
    }
    hostile.say(&SyncerReport::Ready)?;
    if let Some(frame) = how.strip_prefix("late ") {
        send_raw(hostile.socket, "syncer", frame)?;
        idle();
    }
    let forged = "\nforged line in a report\r\x1b[31m".repeat(2000);
    match how {
        "ready-twice" => hostile.say(&SyncerReport::Ready)?,
        "unasked" => hostile.done(0, String::new())?,
        "wrong-ticket" => {
            let ticket = hostile.next_ticket()?;
            hostile.done(ticket ^ 1, String::new())?;
        }
        "done-twice" => {
            let ticket = hostile.next_ticket()?;
            hostile.done(ticket, String::new())?;
            hostile.done(ticket, String::new())?;
        }
        flood if flood.starts_with("flood-") || flood == "gigabyte" => {
            flood_for_seconds(hostile.socket, "syncer", flood, &|| Ok(()))?;
        }
        "progress-unasked" => hostile.say(&advanced(0, 0))?,
        "progress-nonsense" => hostile.say(&advanced(hostile.next_ticket()?, 101))?,
        "progress-flood" => {
            let ticket = hostile.next_ticket()?;
            (0..10_000).try_for_each(|_| hostile.say(&advanced(ticket, 100)))?;
        }
        "lines" => flood(b"a line\n")?,
        "endless-line" => flood(&[b'x'; 4096])?,
        "forgery" => {
            eprintln!("\x1b[31m\r<3>forged line in the log");
            let ticket = hostile.next_ticket()?;
            hostile.done(ticket, forged)?;
            return Ok(());
        }
        "deaf-beating" => loop {
            hostile.say(&SyncerReport::Beat { stalled: false })?;
            thread::park_timeout(Duration::from_millis(500));
        },
        "hang-up" => {
            drop(hostile.uplink);
            confine::null_stdin()?;
        }
        "stop" => raise(Signal::SIGSTOP)?,
        "exit-when-ready" => return Ok(()),
        // It ignores everything.
        _ => {}
    }
    idle()
}

fn plugin(how: &str, channel: &str) -> io::Result<()> {
    let Hostile { socket, uplink, orders, first } = begin::<PluginOrder>("plugin", how, channel)?;
    if let PluginOrder::Configure(slice) = &first
        && how != "unconfined"
    {
        confine::enter(&slice.confinement).map_err(io::Error::other)?;
    }
    let say = |report: PluginReport| uplink.send(&report).map_err(io::Error::other);
    let next = || match orders.recv() {
        Ok(PluginOrder::Deliver { ticket, events }) => Ok((ticket, events.len())),
        other => Err(io::Error::other(format!("{other:?}"))),
    };
    say(PluginReport::Ready)?;
    if let Some(frame) = how.strip_prefix("late ") {
        send_raw(socket, "plugin", frame)?;
        idle();
    }
    let done = |ticket: u64, verdicts: usize, note: String| {
        say(PluginReport::Done { ticket, verdicts: vec![Verdict::Unreachable; verdicts], note })
    };
    match how {
        "ready-twice" => say(PluginReport::Ready)?,
        "unasked" => done(0, 0, String::new())?,
        "wrong-ticket" => done(next()?.0 ^ 1, 0, String::new())?,
        "done-twice" => {
            let (ticket, _) = next()?;
            done(ticket, 1, String::new())?;
            done(ticket, 1, String::new())?;
        }
        "too-many-verdicts" => {
            let (ticket, events) = next()?;
            done(ticket, events.saturating_add(1), String::new())?;
        }
        "forgery" => {
            let (ticket, _) = next()?;
            done(ticket, 1, "\nforged line in a note\r\x1b[31m".repeat(2000))?;
            return Ok(());
        }
        flood if flood.starts_with("flood-") || flood == "gigabyte" => {
            flood_for_seconds(socket, "plugin", flood, &|| Ok(()))?;
        }
        "deaf-beating" => loop {
            say(PluginReport::Beat)?;
            thread::park_timeout(Duration::from_millis(500));
        },
        "exit-when-ready" => return Ok(()),
        // It ignores everything.
        _ => {}
    }
    idle()
}

fn flood(bytes: &[u8]) -> io::Result<()> {
    let mut out = io::stderr().lock();
    loop {
        out.write_all(bytes)?;
    }
}

/// More than there is of anything.
fn advanced(ticket: u64, percent: u8) -> SyncerReport {
    let to_check = Some((u64::MAX, u64::MAX));
    let advance = Advance { bytes: u64::MAX, files: u64::MAX, percent, to_check, listing: Listing::Complete };
    SyncerReport::Advanced { ticket, advance }
}

impl Hostile<SyncerOrder> {
    fn say(&self, report: &SyncerReport) -> io::Result<()> {
        self.uplink.send(report).map_err(io::Error::other)
    }

    fn done(&self, ticket: u64, tail: String) -> io::Result<()> {
        self.say(&SyncerReport::Done {
            ticket,
            outcome: Outcome::Unreachable,
            status: 0,
            tail,
            failed: None,
            left: vec![],
            bytes: u64::MAX,
        })
    }

    fn next_ticket(&self) -> io::Result<u64> {
        match self.orders.recv() {
            Ok(SyncerOrder::Sync { ticket, .. }) => Ok(ticket),
            other => Err(io::Error::other(format!("{other:?}"))),
        }
    }
}
