//! The status socket, for a loop that must never wait: whoever connects is written one snapshot, and
//! never read. All of them share the bytes of it, so many slow ones cost a descriptor each and no more;
//! whoever has not read it in time, or is in the way of somebody new, is given up.

use std::collections::VecDeque;
use std::fs::{self, Permissions};
use std::io::{self, ErrorKind};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Duration;

use common::config::MAX_SOCKET;
use common::confine::{Identity, fd_path, with_files_of};
use log::warn;
use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, open};
use nix::poll::PollFlags;
use nix::sys::socket::{MsgFlags, send};
use nix::sys::stat::Mode;
use nix::unistd::{Gid, Uid, fchownat, geteuid};

/// Clients at once. One more takes the place of who came first.
pub const MAX_CLIENTS: usize = 64;
/// How long a snapshot may take to be read.
const UNREAD: Duration = Duration::from_secs(10);
/// How long a client waits until the watcher has said that it has reported all.
const PROOF: Duration = Duration::from_millis(500);
/// Shortest time from one snapshot to the next.
const PAUSE: Duration = Duration::from_millis(100);
/// Of the time, one part in so many goes into snapshots at most.
const SHARE: u32 = 20;
/// Connections taken in one round.
const ACCEPTS_A_TURN: usize = 32;
/// How long nothing is accepted after that failed.
const REST: Duration = Duration::from_secs(10);

/// Where the socket is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// In a directory of whom the supervisor becomes: as that one.
    Own,
    /// Where the config says: as who we are, and then it is given to whom we become.
    Elsewhere,
}

/// Who may connect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Access {
    /// Permission bits; whoever may write may connect.
    pub mode: u32,
    /// Its group, [`Place::Elsewhere`]; `None` for the supervisor's.
    pub group: Option<u32>,
}

/// The socket, and who waits there. The file goes with it.
#[derive(Debug)]
pub struct StatusSocket {
    /// `None` where only the page looks on.
    listener: Option<(UnixListener, PathBuf)>,
    clients: VecDeque<Client>,
    resting_until: Option<Duration>,
    /// No snapshot is made before.
    rest_until: Duration,
    /// The watcher has reported all that happened before.
    seen: Option<Duration>,
}

#[derive(Debug)]
struct Client {
    who: Who,
    socket: UnixStream,
    since: Duration,
    /// The snapshot, and how much of it was taken; `None` until there is one.
    answer: Option<(Rc<[u8]>, usize)>,
}

/// Who waits for a snapshot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Who {
    /// Somebody that came to the socket.
    Visitor,
    /// The page, over a socket that it keeps: at most one snapshot at a time.
    Page,
}

impl StatusSocket {
    /// One that nobody comes to: for the page alone.
    pub fn nowhere() -> StatusSocket {
        let (clients, rest_until) = (VecDeque::new(), Duration::ZERO);
        StatusSocket { listener: None, clients, resting_until: None, rest_until, seen: None }
    }

    /// Makes the socket, of `owner`; to be called before the supervisor lowers itself. A socket that stands
    /// there is an earlier run's, and goes; anything else stays, and is an error. `path` is at most 107
    /// bytes long.
    pub fn bind(
        path: &Path,
        place: Place,
        owner: Option<Identity>,
        access: Access,
    ) -> io::Result<StatusSocket> {
        let listener = listen(path, place, owner, access)?;
        let mut socket = StatusSocket::nowhere();
        socket.listener = Some((listener, path.to_owned()));
        Ok(socket)
    }

    /// What to poll, and for what: whenever one of them is ready, [`StatusSocket::serve`] is due.
    pub fn fds(&self) -> impl Iterator<Item = (BorrowedFd<'_>, PollFlags)> {
        let listener = self.listener.as_ref().filter(|_| self.resting_until.is_none());
        let listener = listener.map(|(listener, _)| (listener.as_fd(), PollFlags::POLLIN));
        // Who waits for a snapshot is not looked after: one that hung up is found out when there is one.
        let writing = self.clients.iter().filter(|client| client.answer.is_some());
        listener.into_iter().chain(writing.map(|client| (client.socket.as_fd(), PollFlags::POLLOUT)))
    }

    /// When [`StatusSocket::serve`] is due at the latest.
    pub fn deadline(&self) -> Option<Duration> {
        let due = |client: &Client| match client.answer {
            Some(_) => client.since.saturating_add(UNREAD),
            None if client.was_seen(self.seen) => self.rest_until,
            None => client.since.saturating_add(PROOF).max(self.rest_until),
        };
        self.clients.iter().map(due).chain(self.resting_until).min()
    }

    /// Takes who came, writes what can be written, gives up who is too slow. The watcher has reported all
    /// that happened before `seen`.
    pub fn serve(&mut self, now: Duration, seen: Option<Duration>) {
        self.seen = seen;
        if self.resting_until.is_some_and(|until| now >= until) {
            self.resting_until = None;
        }
        self.clients.retain_mut(|client| client.goes_on(now));
        self.accept(now);
    }

    /// Whether a snapshot is to be made now.
    pub fn is_due(&self, now: Duration) -> bool {
        now >= self.rest_until && self.clients.iter().any(|client| client.is_due(now, self.seen))
    }

    /// Whether somebody waits for the watcher.
    pub fn lacks_proof(&self, now: Duration) -> bool {
        self.clients.iter().any(|client| client.answer.is_none() && !client.is_due(now, self.seen))
    }

    /// The snapshot for all whose turn it is, which took that long to make.
    pub fn give(&mut self, now: Duration, snapshot: &Rc<[u8]>, took: Duration) {
        self.rest_until = now.saturating_add(took).saturating_add(PAUSE.max(took.saturating_mul(SHARE)));
        let seen = self.seen;
        self.clients.retain_mut(|client| {
            if !client.is_due(now, seen) {
                return true;
            }
            client.answer = Some((Rc::clone(snapshot), 0));
            client.goes_on(now)
        });
    }

    /// The page asks for a snapshot, to be written there. Does nothing while it has not had the last one.
    pub fn admit_page(&mut self, now: Duration, socket: UnixStream) {
        if self.clients.iter().all(|client| client.who == Who::Visitor) {
            self.clients.push_back(Client { who: Who::Page, socket, since: now, answer: None });
        }
    }

    /// The page is gone.
    pub fn forget_page(&mut self) {
        self.clients.retain(|client| client.who == Who::Visitor);
    }

    fn accept(&mut self, now: Duration) {
        let Some((listener, _)) = &self.listener else { return };
        for _ in 0..ACCEPTS_A_TURN {
            match listener.accept() {
                Ok((socket, _)) => {
                    if socket.set_nonblocking(true).is_err() {
                        continue;
                    }
                    if self.clients.len() >= MAX_CLIENTS
                        && let Some(first) = self.clients.iter().position(|client| client.who == Who::Visitor)
                    {
                        self.clients.remove(first);
                    }
                    self.clients.push_back(Client { who: Who::Visitor, socket, since: now, answer: None });
                }
                Err(error)
                    if matches!(error.kind(), ErrorKind::Interrupted | ErrorKind::ConnectionAborted) => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(error) => {
                    // No descriptors, no memory: whoever waits there would wake us again at once.
                    warn!("status: error=\"{error}\"; nothing is accepted for {} s", REST.as_secs());
                    self.resting_until = Some(now.saturating_add(REST));
                    return;
                }
            }
        }
    }
}

/// A socket at `path`, as [`StatusSocket::bind`] says; who accepts there never waits.
pub fn listen(
    path: &Path,
    place: Place,
    owner: Option<Identity>,
    access: Access,
) -> io::Result<UnixListener> {
    if path.as_os_str().as_bytes().len() > MAX_SOCKET {
        let message = format!("its path is longer than {MAX_SOCKET} bytes");
        return Err(io::Error::new(ErrorKind::InvalidInput, message));
    }
    let bind = |owner: Option<Identity>, group: Option<u32>| -> io::Result<UnixListener> {
        if path.symlink_metadata().is_ok_and(|found| found.file_type().is_socket()) {
            if UnixStream::connect(path).is_ok() {
                return Err(io::Error::new(ErrorKind::AddrInUse, "somebody answers there already"));
            }
            fs::remove_file(path)?;
        }
        let listener = UnixListener::bind(path)?;
        // By descriptor, and closed to others until then by the umask: a name could be exchanged.
        let made = open(path, OFlag::O_PATH | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC, Mode::empty())?;
        let found = fs::metadata(fd_path(&made))?;
        if !found.file_type().is_socket() || found.uid() != geteuid().as_raw() && place == Place::Elsewhere {
            return Err(io::Error::other("something else was put into its place"));
        }
        let (uid, gid) = (owner.map(|it| it.uid), group.or(owner.map(|it| it.gid)));
        if uid.is_some() || gid.is_some() {
            let (uid, gid) = (uid.map(Uid::from_raw), gid.map(Gid::from_raw));
            fchownat(&made, "", uid, gid, AtFlags::AT_EMPTY_PATH)?;
        }
        fs::set_permissions(fd_path(&made), Permissions::from_mode(access.mode))?;
        Ok(listener)
    };
    let listener = match place {
        Place::Own => with_files_of(owner, || bind(None, None)),
        Place::Elsewhere => bind(owner, access.group),
    }?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

impl Client {
    /// Whether all that happened before it came was seen.
    fn was_seen(&self, seen: Option<Duration>) -> bool {
        seen.is_some_and(|seen| seen >= self.since)
    }

    /// Whether it waits for a snapshot, and has waited for the watcher long enough.
    fn is_due(&self, now: Duration, seen: Option<Duration>) -> bool {
        self.answer.is_none() && (self.was_seen(seen) || now.saturating_sub(self.since) >= PROOF)
    }

    /// Writes as much as the socket takes; false when there is nothing left to do for it.
    fn goes_on(&mut self, now: Duration) -> bool {
        let Some((snapshot, taken)) = &mut self.answer else { return true };
        while let Some(rest) = snapshot.get(*taken..).filter(|rest| !rest.is_empty()) {
            match send(self.socket.as_raw_fd(), rest, MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL) {
                Ok(sent) => *taken = taken.saturating_add(sent),
                Err(Errno::EINTR) => {}
                Err(Errno::EAGAIN) => return now.saturating_sub(self.since) < UNREAD,
                Err(_) => return false,
            }
        }
        false
    }
}

impl Drop for StatusSocket {
    fn drop(&mut self) {
        // The usual directory belongs to whom we have become; what stays elsewhere answers nobody, and
        // goes with the next start.
        if let Some((_, path)) = &self.listener {
            let _ = fs::remove_file(path);
        }
    }
}

#[cfg(test)]
mod tests;
