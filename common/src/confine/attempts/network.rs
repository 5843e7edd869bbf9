//! Speaking to anybody but the one port that a role is for. Descriptors that come of it stay
//! open: the process ends soon.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::os::fd::AsRawFd;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr as UnixAddress, UnixStream};
use std::path::Path;
use std::time::Duration;

use nix::sys::socket::{AddressFamily, MsgFlags, SockFlag, SockType, UnixAddr, sendto, socketpair};

use super::Barrier::Sandbox;
use super::Group::Network;
use super::{Attempt, NO_FD, Targets, Verdict, address, call, io_outcome, outcome, try_call};

const STREAM: i32 = libc::SOCK_STREAM;
const DATAGRAM: i32 = libc::SOCK_DGRAM;
/// `AF_INET` as it stands in an address.
const FAMILY: u16 = 2;
/// How long a connection to this machine may take.
const PATIENCE: Duration = Duration::from_secs(2);
/// `AF_SMC`: TCP for the user, something else below.
const SMC: i32 = 43;
/// Families that a role has no socket of, beside those that have attempts of their own.
const OTHER_FAMILIES: [i32; 20] = [
    libc::AF_AX25,
    libc::AF_IPX,
    libc::AF_APPLETALK,
    libc::AF_X25,
    libc::AF_KEY,
    libc::AF_RDS,
    libc::AF_PPPOX,
    libc::AF_LLC,
    libc::AF_CAN,
    libc::AF_TIPC,
    libc::AF_BLUETOOTH,
    libc::AF_IUCV,
    libc::AF_RXRPC,
    libc::AF_ISDN,
    libc::AF_PHONET,
    libc::AF_IEEE802154,
    libc::AF_ALG,
    libc::AF_NFC,
    libc::AF_XDP,
    SMC,
];

pub(super) const ATTEMPTS: &[Attempt] = &[
    Attempt {
        name: "tcp",
        what: "connect to another TCP port",
        group: Network,
        barrier: Sandbox,
        act: |targets| tcp((Ipv4Addr::LOCALHOST, targets.port).into()),
    },
    Attempt {
        name: "tcp-v6",
        what: "connect to another TCP port over IPv6",
        group: Network,
        barrier: Sandbox,
        act: |targets| tcp((Ipv6Addr::LOCALHOST, targets.port).into()),
    },
    Attempt {
        name: "mptcp",
        what: "connect to another port over multipath TCP",
        group: Network,
        barrier: Sandbox,
        act: |targets| {
            outcome(socket(libc::AF_INET, STREAM, libc::IPPROTO_MPTCP).and_then(|fd| connect(fd, targets)))
        },
    },
    Attempt {
        name: "fast-open",
        what: "reach another port with sendto and TCP fast open",
        group: Network,
        barrier: Sandbox,
        act: |targets| {
            let flags = super::signed(libc::MSG_FASTOPEN);
            let sent = tcp_socket().and_then(|fd| send_to(fd, flags, &loopback(targets.port)));
            outcome(sent)
        },
    },
    Attempt {
        name: "fast-open-message",
        what: "reach another port with sendmsg and TCP fast open",
        group: Network,
        barrier: Sandbox,
        act: |targets| {
            // A `msghdr`: whom to, one `iovec`, no control data.
            let (to, text) = (loopback(targets.port), [address(b"x"), 1]);
            let message = [address(&to), to.len(), address(&text), 1, 0, 0, 0];
            let flags = super::signed(libc::MSG_FASTOPEN);
            let sent = tcp_socket().and_then(|fd| call(libc::SYS_sendmsg, [fd, address(&message), flags]));
            outcome(sent)
        },
    },
    Attempt {
        name: "fast-open-messages",
        what: "ask sendmmsg for TCP fast open",
        group: Network,
        barrier: Sandbox,
        act: |_| try_call(libc::SYS_sendmmsg, [NO_FD, 0, 1, super::signed(libc::MSG_FASTOPEN)]),
    },
    Attempt {
        name: "fast-open-connect",
        what: "connect to another port with the option TCP_FASTOPEN_CONNECT",
        group: Network,
        barrier: Sandbox,
        act: |targets| {
            let tried = tcp_socket().and_then(|fd| {
                set_option(fd, libc::IPPROTO_TCP, libc::TCP_FASTOPEN_CONNECT)?;
                connect(fd, targets)
            });
            outcome(tried)
        },
    },
    Attempt {
        name: "any-socket",
        what: "make a TCP socket, connected to nobody",
        group: Network,
        barrier: super::Barrier::Socketless,
        act: |_| outcome(tcp_socket()),
    },
    Attempt {
        name: "udp",
        what: "send a datagram over UDP",
        group: Network,
        barrier: Sandbox,
        act: |targets| {
            let sent =
                socket(libc::AF_INET, DATAGRAM, 0).and_then(|fd| send_to(fd, 0, &loopback(targets.port)));
            outcome(sent)
        },
    },
    Attempt {
        name: "udp-v6",
        what: "make a UDP socket over IPv6",
        group: Network,
        barrier: Sandbox,
        act: |_| outcome(socket(libc::AF_INET6, DATAGRAM, 0)),
    },
    Attempt {
        name: "unix",
        what: "connect to a unix socket",
        group: Network,
        barrier: Sandbox,
        act: |targets| io_outcome(UnixStream::connect(&targets.unix)),
    },
    Attempt {
        name: "unix-abstract",
        what: "connect to an abstract unix socket",
        group: Network,
        barrier: Sandbox,
        act: |targets| {
            let name = UnixAddress::from_abstract_name(&targets.abstract_name);
            io_outcome(name.and_then(|name| UnixStream::connect_addr(&name)))
        },
    },
    Attempt {
        name: "unix-pair",
        what: "send to a unix socket from one half of a pair",
        group: Network,
        barrier: Sandbox,
        act: |targets| {
            // A half is connected already, and may still be told to send elsewhere.
            let kind = SockFlag::SOCK_CLOEXEC;
            let sent =
                socketpair(AddressFamily::Unix, SockType::Datagram, None, kind).and_then(|(half, _)| {
                    let to = UnixAddr::new(Path::new(&targets.unix))?;
                    sendto(half.as_raw_fd(), b"x", &to, MsgFlags::empty())
                });
            outcome(sent)
        },
    },
    Attempt {
        name: "netlink",
        what: "make a netlink socket",
        group: Network,
        barrier: Sandbox,
        act: |_| outcome(socket(libc::AF_NETLINK, libc::SOCK_RAW, libc::NETLINK_ROUTE)),
    },
    Attempt {
        name: "vsock",
        what: "make a socket to the machine below",
        group: Network,
        barrier: Sandbox,
        act: |_| outcome(socket(libc::AF_VSOCK, STREAM, 0)),
    },
    Attempt {
        name: "raw",
        what: "make a raw IP socket",
        group: Network,
        barrier: Sandbox,
        act: |_| outcome(socket(libc::AF_INET, libc::SOCK_RAW, libc::IPPROTO_ICMP)),
    },
    Attempt {
        name: "ping",
        what: "make a socket for pings",
        group: Network,
        barrier: Sandbox,
        act: |_| outcome(socket(libc::AF_INET, DATAGRAM, libc::IPPROTO_ICMP)),
    },
    Attempt {
        name: "packet",
        what: "make a socket for packets on the wire",
        group: Network,
        barrier: Sandbox,
        act: |_| outcome(socket(libc::AF_PACKET, libc::SOCK_RAW, 0)),
    },
    Attempt {
        name: "sctp",
        what: "make an SCTP socket",
        group: Network,
        barrier: Sandbox,
        act: |_| outcome(socket(libc::AF_INET, STREAM, libc::IPPROTO_SCTP)),
    },
    Attempt {
        name: "other-families",
        what: "make a socket of any other family",
        group: Network,
        barrier: Sandbox,
        act: |_| {
            let verdicts = OTHER_FAMILIES.map(|family| outcome(socket(family, DATAGRAM, 0)));
            super::worst(verdicts)
        },
    },
    Attempt {
        name: "bind",
        what: "bind a TCP port",
        group: Network,
        barrier: Sandbox,
        act: |_| outcome(tcp_socket().and_then(|fd| bind(fd).and_then(|_| listen(fd)))),
    },
    Attempt {
        name: "listen-unbound",
        what: "listen without having bound a port",
        group: Network,
        barrier: Sandbox,
        act: |_| outcome(tcp_socket().and_then(listen)),
    },
];

fn tcp(to: SocketAddr) -> Verdict {
    io_outcome(TcpStream::connect_timeout(&to, PATIENCE))
}

fn tcp_socket() -> nix::Result<usize> {
    socket(libc::AF_INET, STREAM, 0)
}

fn socket(family: i32, kind: i32, protocol: i32) -> nix::Result<usize> {
    let kind = kind | libc::SOCK_CLOEXEC;
    call(libc::SYS_socket, [family, kind, protocol].map(super::signed))
}

fn connect(fd: usize, targets: &Targets) -> nix::Result<usize> {
    let to = loopback(targets.port);
    call(libc::SYS_connect, [fd, address(&to), to.len()])
}

fn bind(fd: usize) -> nix::Result<usize> {
    let to = loopback(0);
    call(libc::SYS_bind, [fd, address(&to), to.len()])
}

fn listen(fd: usize) -> nix::Result<usize> {
    call(libc::SYS_listen, [fd, 1])
}

fn send_to(fd: usize, flags: usize, to: &[u8]) -> nix::Result<usize> {
    call(libc::SYS_sendto, [fd, address(b"x"), 1, flags, address(to), to.len()])
}

fn set_option(fd: usize, level: i32, option: i32) -> nix::Result<usize> {
    let on = 1_i32.to_ne_bytes();
    call(libc::SYS_setsockopt, [fd, super::signed(level), super::signed(option), address(&on), on.len()])
}

/// A `sockaddr_in` of this machine.
fn loopback(port: u16) -> [u8; 16] {
    let [family_0, family_1] = FAMILY.to_ne_bytes();
    let [port_0, port_1] = port.to_be_bytes();
    [family_0, family_1, port_0, port_1, 127, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0]
}
