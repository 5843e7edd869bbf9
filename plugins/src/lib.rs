//! The roles that tell others: one confined process for the plugin that is on (command, socket, http or
//! refreshCDN), which tells of what has been mirrored; and one that serves the page.
//!
//! An order holds changes; each ends in one [`Verdict`](common::message::Verdict). What is told
//! when, and what is tried again, is the supervisor's. The watched tree is never looked at.
//!
//! | module | what it holds |
//! |---|---|
//! | `plugin` | one order from changes to verdicts |
//! | `deliver` | what the four kinds have in common |
//! | `news` | one change as each format writes it, pure |
//! | `command`, `child` | a program and its argument vector; a process seen through to its end |
//! | `socket`, `refresh_cdn`, `answers` | plain TCP; the CDN's URLs, and what it answers |
//! | `secrets` | user and password, hidden in what is answered |
//! | `exchange`, `address` | connections at once over one poll loop; host names |
//! | `http`, `trust` | a POST; whom TLS believes |
//! | `expression` | regular expressions of the config |
//! | [`page`] | another role: the page and its metrics, for whoever looks on |
#![forbid(unsafe_code)]

mod address;
mod answers;
mod child;
mod command;
mod deliver;
mod exchange;
mod expression;
mod http;
mod news;
pub mod page;
mod plugin;
mod refresh_cdn;
mod secrets;
mod socket;
mod trust;

use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::time::Duration;

use common::confine::Confined;
use common::exit::Exit;
use common::log::Shown;
use common::message::{IDLE_BEAT_SECS, PluginOrder, PluginReport};
use common::wire::{self, SendError, Uplink};
use common::{confine, log as role_log};
use ipc_channel::ipc::IpcReceiver;
use ipc_channel::{IpcError, TryRecvError};
use thiserror::Error;

pub use deliver::Told;
pub use http::destination;
pub use plugin::{BadPlugin, Plugin, UnknownPlace};
pub use trust::SYSTEM as SYSTEM_CERTIFICATES;

/// Why a plugin ends before it is told to.
#[derive(Debug, Error)]
enum Failure {
    #[error(transparent)]
    Confine(#[from] confine::ConfineError),
    #[error("no channel to the supervisor: {0}")]
    Channel(#[from] io::Error),
    #[error("order: {0}")]
    Order(#[from] IpcError),
    #[error("an order that makes no sense now")]
    OutOfTurn,
    #[error("order: {0}")]
    Unknown(#[from] UnknownPlace),
    #[error("plugin: {0}")]
    Plugin(#[from] BadPlugin),
    #[error("report: {0}")]
    Report(#[from] SendError),
}

/// The plugin, from its first instruction to its end. `channel` names the rendezvous. What a CDN
/// answers is written to standard output.
pub fn run(channel: &str) -> Exit {
    match serve(channel) {
        // The supervisor is gone or has let go of us.
        Ok(()) | Err(Failure::Report(SendError::Closed) | Failure::Order(IpcError::Disconnected)) => Exit::Ok,
        Err(failure) => {
            log::error!("{failure}");
            exit_of(&failure)
        }
    }
}

fn serve(channel: &str) -> Result<(), Failure> {
    confine::start_clean()?;
    role_log::start_role();
    let uplink = Uplink::from_stdin()?;
    let orders = wire::meet::<PluginOrder>(channel)?;
    let PluginOrder::Configure(slice) = orders.recv()? else { return Err(Failure::OutOfTurn) };
    let confined = confine::enter(&slice.confinement)?;
    uplink.send(&PluginReport::Ready)?;
    let answers = File::from(io::stdout().as_fd().try_clone_to_owned()?);
    obey(&orders, &uplink, Plugin::new(*slice, answers)?, &confined)
}

fn obey(
    orders: &IpcReceiver<PluginOrder>,
    uplink: &Uplink,
    mut plugin: Plugin,
    confined: &Confined,
) -> Result<(), Failure> {
    let pause = Duration::from_secs(IDLE_BEAT_SECS);
    loop {
        match orders.try_recv_timeout(pause) {
            Ok(PluginOrder::Deliver { ticket, events }) => {
                if let Some(path) = confined.outdated() {
                    let path = Shown(path.as_os_str());
                    log::info!("something else stands there now, a new plugin takes over path={path}");
                    return Ok(uplink.send(&PluginReport::Outdated)?);
                }
                let Told { verdicts, note } = plugin.tell(&events)?;
                uplink.send(&PluginReport::Done { ticket, verdicts, note })?;
            }
            Ok(PluginOrder::Configure(_)) => return Err(Failure::OutOfTurn),
            Err(TryRecvError::Empty) => uplink.send(&PluginReport::Beat)?,
            Err(TryRecvError::IpcError(error)) => return Err(error.into()),
        }
    }
}

fn exit_of(failure: &Failure) -> Exit {
    match failure {
        Failure::Confine(_) => Exit::NoPermission,
        Failure::Channel(_) => Exit::OsError,
        Failure::Plugin(BadPlugin::Certificates { .. }) => Exit::NoInput,
        Failure::Plugin(BadPlugin::Expression(_))
        | Failure::Order(_)
        | Failure::OutOfTurn
        | Failure::Unknown(_)
        | Failure::Report(_) => Exit::Software,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use common::config::{Call, Format, PluginKind, SocketPlugin};
    use common::confine::Confinement;
    use common::message::{PluginEvent, PluginSlice, Verdict};
    use common::wire::{FrameReader, Received, report_socket};
    use ipc_channel::ipc;
    use std::ffi::OsString;
    use std::net::TcpListener;

    /// Tells a port where nobody listens.
    fn slice() -> PluginSlice {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let socket = SocketPlugin { watch: OsString::from("/w"), host: "127.0.0.1".into(), port };
        PluginSlice {
            kind: PluginKind::Socket(socket),
            call: Call { batch: false, format: Format::Original, timeout: 5 },
            roots: vec![OsString::from("/w")],
            remotes: vec!["r".into()],
            debug: false,
            confinement: Confinement::none(),
        }
    }

    fn plugin() -> Plugin {
        Plugin::new(slice(), File::open("/dev/null").unwrap()).unwrap()
    }

    fn order(ticket: u64, events: &[PluginEvent]) -> PluginOrder {
        PluginOrder::Deliver { ticket, events: events.to_vec() }
    }

    #[test]
    fn each_order_is_answered_with_its_ticket() {
        let (ours, theirs) = report_socket().unwrap();
        let (sender, orders) = ipc::channel().unwrap();
        let events = ["a", "b"].map(news::tests::event);
        sender.send(order(77, &events)).unwrap();
        sender.send(order(5, &[])).unwrap();
        drop(sender);
        let end = obey(&orders, &Uplink::new(theirs), plugin(), &Confined::not());
        assert!(matches!(end, Err(Failure::Order(IpcError::Disconnected))), "{end:?}");
        for (wanted, all) in [(77, vec![Verdict::Unreachable]), (5, vec![])] {
            let Received::Frame(report) = FrameReader::default().receive(ours.as_fd()) else { panic!() };
            let PluginReport::Done { ticket, verdicts, note } = report else { panic!("{report:?}") };
            assert_eq!((ticket, &verdicts), (wanted, &all));
            assert_eq!(note.starts_with("connect 127.0.0.1:"), !all.is_empty(), "{note}");
        }
    }

    #[test]
    fn orders_that_make_no_sense() {
        let stranger = PluginEvent { tree: common::event::TreeId(1), ..news::tests::event("a") };
        for bad in [PluginOrder::Configure(Box::new(slice())), order(1, &[stranger])] {
            let (_ours, theirs) = report_socket().unwrap();
            let (sender, orders) = ipc::channel().unwrap();
            sender.send(bad).unwrap();
            let end = obey(&orders, &Uplink::new(theirs), plugin(), &Confined::not());
            assert!(matches!(end, Err(Failure::OutOfTurn | Failure::Unknown(_))), "{end:?}");
        }
    }

    #[test]
    fn without_a_supervisor() {
        let (ours, theirs) = report_socket().unwrap();
        drop(ours);
        let (sender, orders) = ipc::channel().unwrap();
        sender.send(order(1, &[])).unwrap();
        let end = obey(&orders, &Uplink::new(theirs), plugin(), &Confined::not());
        assert!(matches!(end, Err(Failure::Report(SendError::Closed))), "{end:?}");
    }
}
