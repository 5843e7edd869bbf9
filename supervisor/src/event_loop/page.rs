//! The page's process: it is handed the sockets that others connect to and one for snapshots, and asks for
//! these. It may have been taken over by whoever connected: whatever it says or does not read, nobody waits.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;

use common::confine::Confinement;
use common::handover;
use common::message::{PageReport, PageSlice};
use log::error;

use super::EventLoop;
use super::status::Lookout;
use crate::core::{Input, Pace, Role};
use crate::page::Gate;
use crate::status::server::StatusSocket;

/// The page, as the event loop keeps it from one process to the next.
#[derive(Debug)]
pub(super) struct Page {
    gate: Gate,
    /// Our end of the socket on which the process that there is gets its snapshots.
    feed: Option<UnixStream>,
}

impl EventLoop {
    /// Has a page served to whoever comes there.
    pub(super) fn serve_page(&mut self, gate: Option<Gate>) {
        self.lookout.page = gate.map(|gate| Page { gate, feed: None });
        if self.lookout.page.is_some() && self.lookout.socket.is_none() {
            self.lookout.socket = Some(StatusSocket::nowhere());
        }
    }

    pub(super) fn page_says(&mut self, pid: i32, report: &PageReport) -> Result<(), String> {
        match report {
            PageReport::Ready => return self.ready(pid, Role::Page),
            PageReport::Ask => {
                self.expect_ready(pid)?;
                self.children.get_mut(&pid).ok_or("a child that does not exist")?.asks()?;
                self.lookout.admit_page(self.start.elapsed());
                self.show(true);
            }
            PageReport::Beat => self.expect_ready(pid)?,
        }
        self.tell(Input::Alive(Role::Page, Pace::Idle));
        Ok(())
    }
}

impl Lookout {
    /// What the standard output of a new page is: the other end of its feed, with the sockets in it.
    pub(super) fn new_page(&mut self) -> Option<OwnedFd> {
        let page = self.page.as_mut()?;
        // What the last one was told, or waited for, is not for this one.
        self.socket.iter_mut().for_each(StatusSocket::forget_page);
        page.feed = None;
        let made = UnixStream::pair().and_then(|(ours, theirs)| {
            let listeners: Vec<_> = page.gate.listeners.iter().map(AsFd::as_fd).collect();
            handover::give(&ours, &listeners)?;
            ours.set_nonblocking(true)?;
            Ok((ours, theirs))
        });
        match made {
            Ok((ours, theirs)) => {
                page.feed = Some(ours);
                Some(theirs.into())
            }
            Err(error) => {
                error!("page: {error}; it is not served");
                None
            }
        }
    }

    /// Its part of the config.
    pub(super) fn page_slice(&self, confinement: Confinement) -> Option<PageSlice> {
        let gate = &self.page.as_ref()?.gate;
        Some(PageSlice { token: gate.token.clone(), hosts: gate.hosts.clone(), lag: gate.lag, confinement })
    }

    fn admit_page(&mut self, now: std::time::Duration) {
        let feed = self.page.as_ref().and_then(|page| page.feed.as_ref()).map(UnixStream::try_clone);
        match (feed, &mut self.socket) {
            (Some(Ok(feed)), Some(socket)) => socket.admit_page(now, feed),
            (Some(Err(error)), _) => complain(&error),
            (None, _) | (Some(Ok(_)), None) => {}
        }
    }
}

/// No descriptor is left: it asks again.
fn complain(error: &io::Error) {
    error!("page: {error}");
}
