//! The roles of the hostile test: honest, or what somebody who took one over might do.

use std::ffi::OsString;
use std::io::{self, IoSlice, Write};
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::thread;
use std::time::Duration;

use common::confine;
use common::event::{Change, Dirt, TreeId};
use common::exit::Exit;
use common::message::{
    LossCause, Outcome, PluginOrder, PluginReport, SyncerOrder, SyncerReport, Verdict, WatcherOrder,
    WatcherReport,
};
use common::path::RelPath;
use common::wire::{self, MAX_FRAME, Uplink};
use ipc_channel::ipc::IpcReceiver;
use nix::sys::signal::{Signal, raise};
use nix::sys::socket::{ControlMessage, MsgFlags, send, sendmsg};
use serde::Serialize;

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
        "plugin-socket" => plugin(how, &channel),
        _ => syncer(how, &channel),
    };
    // Whoever fails at being hostile says so, and the test fails.
    if let Err(error) = result {
        eprintln!("hostile {how}: {error}");
    }
    Exit::Ok
}

/// A syncer's sign of life, encoded.
const BEAT: [u8; 2] = [1, 0];

/// The frames that hurt a receiver which trusts its sender, see `privsep.md` 1.1.
fn raw_frame(name: &str) -> Option<Vec<u8>> {
    let numbers =
        |numbers: &[u64]| numbers.iter().flat_map(|number| number.to_le_bytes()).collect::<Vec<u8>>();
    Some(match name {
        "garbage" => vec![0xff; 100],
        "length-too-long" => [numbers(&[16, 1000]), vec![7; 16]].concat(),
        "length-huge" => numbers(&[16, 1 << 46]),
        "length-negative" => numbers(&[16, u64::MAX]),
        "four-bytes" => vec![4, 0, 0, 0],
        "eight-bytes" => numbers(&[8]),
        "oversize" => vec![0; MAX_FRAME + 1],
        "empty" => vec![],
        // What only a watcher may say: changes of tree 0, one path.
        "changes" => vec![2, 0, 1, 2, b'a', b'a', 0, 0],
        "dot-dot" => vec![2, 0, 1, 2, b'.', b'.', 0, 0],
        _ => return None,
    })
}

fn send_raw(socket: RawFd, name: &str) -> io::Result<()> {
    if name == "beat" {
        return Ok(send(socket, &BEAT, MsgFlags::MSG_NOSIGNAL).map(drop)?);
    }
    if name == "descriptors" {
        // A valid report, with a hundred descriptors that nobody asked for.
        let descriptors = vec![socket; 100];
        let rights = [ControlMessage::ScmRights(&descriptors)];
        for _ in 0..20 {
            sendmsg::<()>(socket, &[IoSlice::new(&BEAT)], &rights, MsgFlags::MSG_NOSIGNAL, None)?;
        }
        return Ok(());
    }
    let frame = raw_frame(name).ok_or_else(|| io::Error::other("no such frame"))?;
    send(socket, &frame, MsgFlags::MSG_NOSIGNAL)?;
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
fn begin<O: Serialize + serde::de::DeserializeOwned>(how: &str, channel: &str) -> io::Result<Hostile<O>> {
    confine::start_clean().map_err(io::Error::other)?;
    match how {
        "exit-at-once" => std::process::exit(0),
        "never-come" => idle(),
        _ => {}
    }
    let socket: OwnedFd = nix::unistd::dup(io::stdin())?;
    let raw = socket.as_raw_fd();
    if let Some(frame) = how.strip_prefix("early ") {
        send_raw(raw, frame)?;
    }
    let orders = wire::meet::<O>(channel)?;
    let first = orders.recv().map_err(|error| io::Error::other(format!("{error:?}")))?;
    Ok(Hostile { socket: raw, uplink: Uplink::new(socket), orders, first })
}

fn watcher(how: &str, channel: &str) -> io::Result<()> {
    let Hostile { socket, uplink, first, orders: _orders } = begin::<WatcherOrder>(how, channel)?;
    let WatcherOrder::Configure(slice) = first;
    confine::enter(&slice.confinement).map_err(io::Error::other)?;
    let say = |report: &WatcherReport| uplink.send(report).map_err(io::Error::other);
    say(&WatcherReport::Ready)?;
    match how.strip_prefix("late ").unwrap_or(how) {
        "ready-twice" => say(&WatcherReport::Ready)?,
        "unknown-tree" => {
            let path = RelPath::new("file").map_err(io::Error::other)?;
            say(&WatcherReport::Changes(TreeId(7), vec![Change { path, dirt: Dirt::Removed, mask: 0 }]))?;
        }
        "rescans" => {
            for _ in 0..20_000 {
                let (tree, path, cause) = (TreeId(0), RelPath::root(), LossCause::Overflow);
                say(&WatcherReport::Rescan { tree, path, cause })?;
            }
            return Ok(());
        }
        frame => send_raw(socket, frame)?,
    }
    idle()
}

fn syncer(how: &str, channel: &str) -> io::Result<()> {
    let hostile = begin::<SyncerOrder>(how, channel)?;
    if let SyncerOrder::Configure(slice) = &hostile.first
        && how != "unconfined"
    {
        confine::enter(&slice.confinement).map_err(io::Error::other)?;
    }
    hostile.say(&SyncerReport::Ready)?;
    if let Some(frame) = how.strip_prefix("late ") {
        send_raw(hostile.socket, frame)?;
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
        "beats" => {
            for _ in 0..1_000_000 {
                hostile.say(&SyncerReport::Beat { stalled: false })?;
            }
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
    let Hostile { socket, uplink, orders, first } = begin::<PluginOrder>(how, channel)?;
    if let PluginOrder::Configure(slice) = &first {
        confine::enter(&slice.confinement).map_err(io::Error::other)?;
    }
    let say = |report: PluginReport| uplink.send(&report).map_err(io::Error::other);
    let next = || match orders.recv() {
        Ok(PluginOrder::Deliver { ticket, events }) => Ok((ticket, events.len())),
        other => Err(io::Error::other(format!("{other:?}"))),
    };
    say(PluginReport::Ready)?;
    if let Some(frame) = how.strip_prefix("late ") {
        send_raw(socket, frame)?;
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
        "beats" => loop {
            say(PluginReport::Beat)?;
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

impl Hostile<SyncerOrder> {
    fn say(&self, report: &SyncerReport) -> io::Result<()> {
        self.uplink.send(report).map_err(io::Error::other)
    }

    fn done(&self, ticket: u64, tail: String) -> io::Result<()> {
        self.say(&SyncerReport::Done { ticket, outcome: Outcome::Unreachable, status: 0, tail })
    }

    fn next_ticket(&self) -> io::Result<u64> {
        match self.orders.recv() {
            Ok(SyncerOrder::Sync { ticket, .. }) => Ok(ticket),
            other => Err(io::Error::other(format!("{other:?}"))),
        }
    }
}
