//! BOUNDARY between the supervisor and its roles.
//!
//! Invariant I1: typed messages go *down* over ipc-channel, whose receiver trusts its sender;
//! what comes *up* is capped frames: one datagram of a `SOCK_SEQPACKET` socket each, received
//! into one bounded buffer, without descriptors, decoded from that slice alone. Nothing that a
//! role sends, or does not read, can block, crash or grow the supervisor.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use ipc_channel::ipc::{self, IpcOneShotServer, IpcReceiver, IpcSender};
use nix::errno::Errno;
use nix::sys::socket::{AddressFamily, MsgFlags, SockFlag, SockType, recv, send, socketpair};
use nix::unistd::dup;
use serde::Serialize;
use serde::de::DeserializeOwned;
use thiserror::Error;

use crate::confine;

/// Largest frame, in bytes.
pub const MAX_FRAME: usize = 64 << 10;

/// A frame that no honest role sends. Its sender is killed.
#[derive(Debug, Error, Clone, Copy, PartialEq, Eq)]
pub enum Violation {
    /// Longer than [`MAX_FRAME`].
    #[error("frame too long")]
    TooLong,
    /// Not an encoding of this role's report.
    #[error("frame does not decode")]
    Undecodable,
    /// Bytes behind the report.
    #[error("frame has a tail")]
    Trailing,
}

/// What [`FrameReader::receive`] found.
#[derive(Debug)]
pub enum Received<T> {
    /// A report.
    Frame(T),
    /// Nothing at the moment.
    Empty,
    /// The other end is closed.
    Closed,
    /// Something that must not be.
    Violation(Violation),
}

/// Makes the socket for a role's reports: the supervisor's end and the role's end.
pub fn report_socket() -> io::Result<(OwnedFd, OwnedFd)> {
    Ok(socketpair(AddressFamily::Unix, SockType::SeqPacket, None, SockFlag::SOCK_CLOEXEC)?)
}

/// The supervisor's side: one buffer for all children.
pub struct FrameReader {
    buffer: Box<[u8]>,
}

impl Default for FrameReader {
    fn default() -> FrameReader {
        FrameReader { buffer: vec![0; MAX_FRAME].into_boxed_slice() }
    }
}

impl FrameReader {
    /// Takes one frame from `socket`; never blocks.
    pub fn receive<T: DeserializeOwned>(&mut self, socket: BorrowedFd<'_>) -> Received<T> {
        let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_TRUNC;
        let length = match recv(socket.as_raw_fd(), &mut self.buffer, flags) {
            Ok(0) => return Received::Closed,
            Ok(length) => length,
            Err(Errno::EAGAIN | Errno::EINTR) => return Received::Empty,
            Err(_) => return Received::Closed,
        };
        // With MSG_TRUNC the length is that of the datagram, not of what was copied.
        let Some(frame) = self.buffer.get(..length) else { return Received::Violation(Violation::TooLong) };
        match decode(frame) {
            Ok(report) => Received::Frame(report),
            Err(violation) => Received::Violation(violation),
        }
    }
}

/// The report that a frame of at most [`MAX_FRAME`] bytes holds.
pub fn decode<T: DeserializeOwned>(frame: &[u8]) -> Result<T, Violation> {
    match postcard::take_from_bytes(frame) {
        Ok((report, [])) => Ok(report),
        Ok(_) => Err(Violation::Trailing),
        Err(_) => Err(Violation::Undecodable),
    }
}

/// Why a report did not go out.
#[derive(Debug, Error)]
pub enum SendError {
    /// The supervisor has not read the last ones yet; wait for `POLLOUT`.
    #[error("the supervisor is behind")]
    Full,
    /// Larger than [`MAX_FRAME`].
    #[error("report too long")]
    TooLong,
    /// The supervisor is gone.
    #[error("the supervisor is gone")]
    Closed,
}

/// The supervisor is gone.
#[derive(Debug, Error, Clone, Copy, PartialEq, Eq)]
#[error("the supervisor is gone")]
pub struct Closed;

/// Bells that are heard at once; the others ring again.
const BELLS_AT_ONCE: usize = 256;

/// The supervisor's side: wakes a role that waits on its report socket, since the channel of its
/// orders cannot be polled. To be called after the order is sent; never blocks. Where there is no
/// room, enough bells ring already.
pub fn ring(socket: BorrowedFd<'_>) {
    // Whether the role is gone is seen where its reports are read.
    let _ = send(socket.as_raw_fd(), &[1], MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL);
}

/// A role's side of the report socket.
pub struct Uplink {
    socket: OwnedFd,
}

impl Uplink {
    /// Takes the socket that the supervisor passed as standard input, and leaves `/dev/null`
    /// there so that no child of the role inherits it.
    pub fn from_stdin() -> io::Result<Uplink> {
        let socket = dup(io::stdin())?;
        confine::set_close_on_exec(&socket)?;
        confine::null_stdin()?;
        Ok(Uplink { socket })
    }

    /// For tests, and for whoever has a socket already.
    pub fn new(socket: OwnedFd) -> Uplink {
        Uplink { socket }
    }

    /// Sends `report`, waiting until there is room.
    pub fn send<T: Serialize>(&self, report: &T) -> Result<(), SendError> {
        self.send_with(report, MsgFlags::empty())
    }

    /// Sends `report` if there is room now.
    pub fn try_send<T: Serialize>(&self, report: &T) -> Result<(), SendError> {
        self.send_with(report, MsgFlags::MSG_DONTWAIT)
    }

    /// Takes the bells that [`ring`] rang; never blocks. What they say is only that an order came.
    pub fn heard_bell(&self) -> Result<(), Closed> {
        let mut bell = [0; 1];
        for _ in 0..BELLS_AT_ONCE {
            match recv(self.socket.as_raw_fd(), &mut bell, MsgFlags::MSG_DONTWAIT) {
                Ok(0) => return Err(Closed),
                Ok(_) => {}
                Err(Errno::EAGAIN | Errno::EINTR) => return Ok(()),
                Err(_) => return Err(Closed),
            }
        }
        Ok(())
    }

    fn send_with<T: Serialize>(&self, report: &T, flags: MsgFlags) -> Result<(), SendError> {
        let frame = postcard::to_stdvec(report).map_err(|_| SendError::TooLong)?;
        if frame.len() > MAX_FRAME {
            return Err(SendError::TooLong);
        }
        loop {
            match send(self.socket.as_raw_fd(), &frame, flags | MsgFlags::MSG_NOSIGNAL) {
                Ok(_) => return Ok(()),
                Err(Errno::EINTR) => {}
                Err(Errno::EAGAIN) => return Err(SendError::Full),
                Err(_) => return Err(SendError::Closed),
            }
        }
    }
}

impl AsFd for Uplink {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// Where a fresh role meets the supervisor: it makes a channel for its own orders and hands
/// over the sending end. The supervisor accepts on a helper thread, since accepting has no
/// timeout, and before the role has read anything that others wrote.
pub struct Rendezvous<O> {
    server: IpcOneShotServer<IpcSender<O>>,
    name: String,
}

impl<O: Serialize + DeserializeOwned> Rendezvous<O> {
    /// Opens one in the directory that `tempfile` was told to use.
    pub fn open() -> io::Result<Rendezvous<O>> {
        let (server, name) = IpcOneShotServer::new()?;
        Ok(Rendezvous { server, name })
    }

    /// What the role is told, to find it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Waits for the role. `None` when it, or [`call_off`], hung up without a channel.
    pub fn accept(self) -> Option<IpcSender<O>> {
        self.server.accept().ok().map(|(_, sender)| sender)
    }
}

/// Ends the `accept` of a rendezvous that nobody will come to any more.
pub fn call_off<O: Serialize + DeserializeOwned>(name: &str) {
    // Connecting and hanging up at once makes `accept` return an error.
    drop(IpcSender::<IpcSender<O>>::connect(name.to_owned()));
}

/// A role's side of the rendezvous.
pub fn meet<O: Serialize + DeserializeOwned>(name: &str) -> io::Result<IpcReceiver<O>> {
    let (sender, receiver) = ipc::channel::<O>()?;
    let supervisor = IpcSender::<IpcSender<O>>::connect(name.to_owned())?;
    supervisor.send(sender).map_err(|error| io::Error::other(error.to_string()))?;
    Ok(receiver)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::TreeId;
    use crate::message::{SyncerReport, WatcherReport};
    use proptest::prelude::*;
    use std::time::{Duration, Instant};

    fn raw(bytes: &[u8]) -> Received<SyncerReport> {
        let (ours, theirs) = report_socket().unwrap();
        send(theirs.as_raw_fd(), bytes, MsgFlags::empty()).unwrap();
        FrameReader::default().receive(ours.as_fd())
    }

    /// A process that another test has just forked may hold a socket for a moment longer.
    fn until(mut done: impl FnMut() -> bool) {
        let deadline = Instant::now() + Duration::from_secs(10);
        while !done() {
            assert!(Instant::now() < deadline);
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    #[test]
    fn a_report_arrives() {
        let (ours, theirs) = report_socket().unwrap();
        let uplink = Uplink::new(theirs);
        let mut reader = FrameReader::default();
        assert!(matches!(reader.receive::<WatcherReport>(ours.as_fd()), Received::Empty));
        uplink.send(&WatcherReport::Changes(TreeId(3), vec![])).unwrap();
        let Received::Frame(report) = reader.receive::<WatcherReport>(ours.as_fd()) else { panic!() };
        assert_eq!(report, WatcherReport::Changes(TreeId(3), vec![]));
        drop(uplink);
        until(|| matches!(reader.receive::<WatcherReport>(ours.as_fd()), Received::Closed));
    }

    /// The packets that panic, abort, hang or corrupt ipc-channel's receiver (a length that
    /// is too short, too long, negative; a fragment announced and never sent) are here only
    /// bytes that do not decode.
    #[test]
    fn hostile_frames() {
        for bytes in [
            &[8_u8, 0, 0, 0, 0, 0, 0, 0][..],
            &[1, 2, 3, 4],
            &[16, 0, 0, 0, 0, 0, 0, 0, 100, 0, 0, 0, 0, 0, 0, 0],
            &[0xff; 16],
        ] {
            assert!(matches!(raw(bytes), Received::Violation(_)), "{bytes:?}");
        }
        assert!(matches!(raw(&vec![0xff; MAX_FRAME]), Received::Violation(_)));
        assert!(matches!(raw(&vec![0; MAX_FRAME + 1]), Received::Violation(Violation::TooLong)));
        assert!(matches!(raw(&[0, 0]), Received::Violation(Violation::Trailing)));
        assert!(matches!(raw(&[]), Received::Closed));
    }

    #[test]
    fn a_full_socket_does_not_block_try_send() {
        let (_ours, theirs) = report_socket().unwrap();
        let uplink = Uplink::new(theirs);
        let full = (0..100_000)
            .any(|_| matches!(uplink.try_send(&SyncerReport::Beat { stalled: false }), Err(SendError::Full)));
        assert!(full);
    }

    #[test]
    fn bells_are_heard_and_never_block() {
        let (ours, theirs) = report_socket().unwrap();
        let uplink = Uplink::new(theirs);
        assert_eq!(uplink.heard_bell(), Ok(()));
        for _ in 0..100_000 {
            ring(ours.as_fd());
        }
        let waits = || {
            let mut bell = [0; 1];
            let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_PEEK;
            recv(uplink.as_fd().as_raw_fd(), &mut bell, flags).is_ok()
        };
        let rounds = (0..100_000).take_while(|_| waits() && uplink.heard_bell().is_ok()).count();
        assert!(rounds > 0 && !waits(), "{rounds}");
        // They do not mix with what goes up.
        uplink.send(&SyncerReport::Ready).unwrap();
        assert!(matches!(FrameReader::default().receive(ours.as_fd()), Received::Frame(SyncerReport::Ready)));
        drop(ours);
        until(|| uplink.heard_bell() == Err(Closed));
        ring(uplink.as_fd());
    }

    proptest! {
        #[test]
        fn no_frame_panics(bytes in proptest::collection::vec(any::<u8>(), 1..200)) {
            raw(&bytes);
        }
    }
}
