//! A page that was taken over by somebody who came to it: it asks without end, reads nothing, and spoils the
//! sockets that the next one is to serve.

use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::thread;
use std::time::Duration;

use common::message::{PageOrder, PageReport};
use common::{confine, handover};
use nix::sys::socket::{Shutdown, shutdown};

use super::{Hostile, begin, flood_for_seconds, idle, send_raw};

/// The page.
pub(super) fn run(how: &str, channel: &str) -> io::Result<()> {
    let Hostile { socket, uplink, orders: _orders, first } = begin::<PageOrder>("page", how, channel)?;
    let PageOrder::Configure(slice) = first;
    let feed: OwnedFd = io::stdout().as_fd().try_clone_to_owned()?;
    let listeners = handover::take(&feed)?;
    if how != "unconfined" {
        confine::enter(&slice.confinement).map_err(io::Error::other)?;
    }
    let say = |report: PageReport| uplink.send(&report).map_err(io::Error::other);
    say(PageReport::Ready)?;
    if let Some(frame) = how.strip_prefix("late ") {
        send_raw(socket, "page", frame)?;
        idle();
    }
    match how {
        "ready-twice" => say(PageReport::Ready)?,
        flood if flood.starts_with("flood-") || flood == "gigabyte" => {
            flood_for_seconds(socket, "page", flood, &|| Ok(()))?;
        }
        "asks-without-end" => loop {
            say(PageReport::Ask)?;
        },
        "asks-and-never-reads" => loop {
            say(PageReport::Ask)?;
            thread::park_timeout(Duration::from_millis(100));
        },
        "spoils-its-sockets" => {
            for listener in listeners.iter().chain([&feed]) {
                // Whatever of this is refused: the next page has to go on.
                let _ = shutdown(listener.as_raw_fd(), Shutdown::Both);
                let _ = shutdown(listener.as_raw_fd(), Shutdown::Read);
                let _ = shutdown(listener.as_raw_fd(), Shutdown::Write);
                rustix::io::ioctl_fionbio(listener, false)?;
            }
            return Ok(());
        }
        "forgery" => {
            eprintln!("\x1b[31m\r<3>forged line in the log");
            return Ok(());
        }
        "exit-when-ready" => return Ok(()),
        // It ignores everything.
        _ => {}
    }
    idle()
}
