//! The supervisor's side of the control socket, for a loop that must never wait: everything is
//! non-blocking and bounded, and a client that floods, stalls or hangs up costs only itself.

use std::collections::BTreeMap;
use std::fs::{self, Permissions};
use std::io::{self, ErrorKind};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::time::Duration;

use common::config::MAX_SOCKET;
use common::confine::{Identity, with_files_of};
use common::exit::Exit;
use log::warn;
use nix::poll::PollFlags;
use nix::sys::socket::{getsockopt, sockopt};
use nix::unistd::geteuid;

use super::protocol::{Reply, Request};
use connection::{Connection, Heard};

mod connection;

/// Commands at once.
pub const MAX_CLIENTS: usize = 8;
/// Most bytes that wait for one client.
pub const MAX_QUEUE: usize = 1 << 20;
/// How long a client may take to say its command.
const PATIENCE: Duration = Duration::from_secs(5);
/// Connections taken in one round.
const ACCEPTS_A_TURN: usize = 2 * MAX_CLIENTS;
/// How long nothing is accepted after that failed, and how long refusals are counted, not logged.
const REST: Duration = Duration::from_secs(10);

/// One connection, for as long as it lasts; its number is never used again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Client(u64);

/// The socket, and all who talk through it. The file goes with it.
#[derive(Debug)]
pub struct Control {
    listener: UnixListener,
    path: PathBuf,
    /// Who started the supervisor, whatever it has become since.
    starter: u32,
    clients: BTreeMap<Client, Connection>,
    next: u64,
    gone: Vec<Client>,
    resting_until: Option<Duration>,
    refusals: Refusals,
}

/// Refusals that were not logged.
#[derive(Debug, Default)]
struct Refusals {
    quiet_until: Duration,
    unsaid: u64,
}

impl Control {
    /// Makes the socket, mode 0600; to be called before the supervisor lowers itself, with whom it
    /// becomes then. `path` is at most 107 bytes long, in a private directory. A socket that stands
    /// there is an earlier run's, and goes.
    pub fn bind(path: &Path, owner: Option<Identity>) -> io::Result<Control> {
        if path.as_os_str().as_bytes().len() > MAX_SOCKET {
            let message =
                format!("its path is longer than {MAX_SOCKET} bytes; set XDG_RUNTIME_DIR to a shorter one");
            return Err(io::Error::new(ErrorKind::InvalidInput, message));
        }
        let starter = geteuid().as_raw();
        // As the owner, and so without root's rights: the directory is the owner's.
        let listener = with_files_of(owner, || -> io::Result<UnixListener> {
            if path.symlink_metadata().is_ok_and(|found| found.file_type().is_socket()) {
                fs::remove_file(path)?;
            }
            let listener = UnixListener::bind(path)?;
            fs::set_permissions(path, Permissions::from_mode(0o600))?;
            Ok(listener)
        })?;
        listener.set_nonblocking(true)?;
        Ok(Control {
            listener,
            path: path.to_owned(),
            starter,
            clients: BTreeMap::new(),
            next: 0,
            gone: Vec::new(),
            resting_until: None,
            refusals: Refusals::default(),
        })
    }

    /// What to poll, and for what: whenever one of them is ready, [`Control::serve`] is due.
    pub fn fds(&self) -> impl Iterator<Item = (BorrowedFd<'_>, PollFlags)> {
        let listener = self.resting_until.is_none().then(|| (self.listener.as_fd(), PollFlags::POLLIN));
        listener.into_iter().chain(self.clients.values().map(Connection::wants))
    }

    /// When [`Control::serve`] is due at the latest.
    pub fn deadline(&self) -> Option<Duration> {
        self.clients.values().filter_map(Connection::deadline).chain(self.resting_until).min()
    }

    /// True while somebody has not read all that was said.
    pub fn is_unread(&self) -> bool {
        self.clients.values().any(|client| client.queued() > 0)
    }

    /// Does all that can be done without waiting. The commands that were said since.
    pub fn serve(&mut self, now: Duration) -> Vec<(Client, Request)> {
        if self.resting_until.is_some_and(|until| now >= until) {
            self.resting_until = None;
        }
        // Who leaves makes room for who comes.
        let mut commands = self.hear(now);
        self.accept(now, &mut commands);
        // Most say it at once, and need not wait for the next round.
        commands.extend(self.hear(now));
        commands
    }

    /// A line for a client, without a line break; what could steer a terminal is escaped. A client
    /// for which more than [`MAX_QUEUE`] bytes wait then is given up.
    pub fn say(&mut self, client: Client, text: &str) {
        self.reply(client, &Reply::line(text));
    }

    /// The last word to a client: its command is over, with this exit status.
    pub fn end(&mut self, client: Client, exit: u8) {
        self.reply(client, &Reply::End { exit });
        if let Some(connection) = self.clients.get_mut(&client) {
            // At once as far as it goes: the supervisor may be on its way out.
            connection.end();
            if connection.is_over() {
                self.clients.remove(&client);
            }
        }
    }

    /// How many more bytes may wait for a client: as long as this is above
    /// [`MAX_REPLY`](super::protocol::MAX_REPLY), any line can be said. 0 for one that is gone.
    pub fn room(&self, client: Client) -> usize {
        self.clients.get(&client).map_or(0, |connection| MAX_QUEUE.saturating_sub(connection.queued()))
    }

    /// Clients that left while their command was being carried out, or were given up, since the last
    /// call.
    pub fn gone(&mut self) -> Vec<Client> {
        std::mem::take(&mut self.gone)
    }

    fn reply(&mut self, client: Client, reply: &Reply) {
        let Some(connection) = self.clients.get_mut(&client) else { return };
        connection.queue(&reply.encode());
        if connection.queued() > MAX_QUEUE {
            warn!("control: pid={} does not read its answer, and is given up", connection.pid);
            self.forget(client);
        }
    }

    fn forget(&mut self, client: Client) {
        if self.clients.remove(&client).is_some_and(|connection| connection.is_served()) {
            self.gone.push(client);
        }
    }

    /// Takes those who wait to be let in, but not all of them at once.
    fn accept(&mut self, now: Duration, commands: &mut Vec<(Client, Request)>) {
        for _ in 0..ACCEPTS_A_TURN {
            if self.resting_until.is_some() {
                return;
            }
            match self.listener.accept() {
                Ok((socket, _)) => {
                    if self.clients.len() >= MAX_CLIENTS {
                        // Those who came before may have left meanwhile.
                        commands.extend(self.hear(now));
                    }
                    self.admit(socket, now);
                }
                Err(error)
                    if matches!(error.kind(), ErrorKind::Interrupted | ErrorKind::ConnectionAborted) => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(error) => {
                    // No descriptors, no memory: whoever waits there would wake us again at once.
                    warn!("control: error=\"{error}\"; nothing is accepted for {} s", REST.as_secs());
                    self.resting_until = Some(now.saturating_add(REST));
                }
            }
        }
    }

    fn admit(&mut self, socket: UnixStream, now: Duration) {
        let Ok(peer) = getsockopt(&socket, sockopt::PeerCredentials) else { return };
        let Ok(mut connection) = Connection::new(socket, peer.pid(), now.saturating_add(PATIENCE)) else {
            return;
        };
        let is_allowed = [0, self.starter, geteuid().as_raw()].contains(&peer.uid());
        if !is_allowed {
            self.refusals.tell(now, peer.uid(), peer.pid());
            connection.refuse("only root and the supervisor's user may do that", Exit::NoPermission);
        } else if self.clients.len() >= MAX_CLIENTS {
            let text = format!("{MAX_CLIENTS} commands are being carried out; try again when one is over");
            connection.refuse(&text, Exit::AlreadyRunning);
        } else {
            self.clients.insert(Client(self.next), connection);
            self.next = self.next.saturating_add(1);
        }
    }

    fn hear(&mut self, now: Duration) -> Vec<(Client, Request)> {
        let mut commands = Vec::new();
        let mut left = Vec::new();
        for (&client, connection) in &mut self.clients {
            match connection.hear(now) {
                Heard::Nothing if connection.is_over() => left.push(client),
                Heard::Nothing => {}
                Heard::Command(request) => commands.push((client, request)),
                Heard::Left => left.push(client),
            }
        }
        for client in left {
            self.forget(client);
        }
        commands
    }
}

impl Drop for Control {
    fn drop(&mut self) {
        // The directory belongs to whom we have become.
        let _ = fs::remove_file(&self.path);
    }
}

impl Refusals {
    fn tell(&mut self, now: Duration, uid: u32, pid: i32) {
        if now < self.quiet_until {
            self.unsaid = self.unsaid.saturating_add(1);
            return;
        }
        let unsaid = std::mem::take(&mut self.unsaid);
        warn!("control refused uid={uid} pid={pid} unsaid={unsaid}");
        self.quiet_until = now.saturating_add(REST);
    }
}

#[cfg(test)]
mod tests;
