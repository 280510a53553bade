//! UDP sockets as the workers use them: options set once, capabilities probed once.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::ops::RangeInclusive;
use std::os::fd::{AsRawFd, RawFd};
use std::sync::atomic::{AtomicBool, Ordering};

use socket2::{Domain, Protocol, Type};
use tracing::{info, warn};

use super::batch::set_option;
use crate::config::Media;

/// One UDP socket of one worker.
pub(super) struct Socket {
    udp: UdpSocket,
    /// Runs to one destination leave as one send.
    pub(super) offload: bool,
    /// The kernel may have something for us.
    pub(super) ready: bool,
    /// Turns in a row that left something in it.
    pub(super) full_turns: u8,
}

impl Socket {
    /// Whether the address is free. The workers share it by `SO_REUSEPORT`, and so would another process that asks for
    /// the same: the kernel would then give half of the packets to each, in silence.
    pub(super) fn is_free(addr: SocketAddr) -> io::Result<()> {
        UdpSocket::bind(addr).map(drop)
    }

    /// A listener that shares its address with those of the other workers.
    pub(super) fn listen(addr: SocketAddr, media: &Media) -> io::Result<Socket> {
        let socket = socket2::Socket::new(Domain::for_address(addr), Type::DGRAM, Some(Protocol::UDP))?;
        socket.set_reuse_port(true)?;
        if addr.is_ipv6() {
            // `[::]` serves IPv4 clients too; a specific IPv6 address serves none anyway.
            socket.set_only_v6(false)?;
        }
        socket.bind(&addr.into())?;
        let socket = Socket::tune(socket.into(), media)?;
        if addr.ip().is_unspecified() {
            let (level, name) = match addr.ip() {
                IpAddr::V4(_) => (libc::IPPROTO_IP, libc::IP_PKTINFO),
                IpAddr::V6(_) => (libc::IPPROTO_IPV6, libc::IPV6_RECVPKTINFO),
            };
            set_option(socket.fd(), level, name, 1)?;
        }
        Ok(socket)
    }

    /// A backend-facing socket on a free port of the range. `start` says where the search begins.
    pub(super) fn backend(
        toward: SocketAddr,
        media: &Media,
        start: usize,
    ) -> io::Result<(Socket, SocketAddr)> {
        let any: IpAddr = match toward {
            SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
            SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
        };
        let udp = bind_in_range(any, &media.backend_ports, start)?;
        let port = udp.local_addr()?.port();
        let local = SocketAddr::new(source_toward(any, toward)?, port);
        Ok((Socket::tune(udp, media)?, local))
    }

    /// A socket that is bound already.
    pub(super) fn adopt(udp: UdpSocket, media: &Media) -> io::Result<Socket> {
        Socket::tune(udp, media)
    }

    pub(super) fn fd(&self) -> RawFd {
        self.udp.as_raw_fd()
    }

    pub(super) fn local_addr(&self) -> io::Result<SocketAddr> {
        self.udp.local_addr()
    }

    /// Says once, for an operator, what the kernel gave a listener.
    pub(super) fn announce(&self) {
        let (receive_buffer, send_buffer) = granted(&self.udp);
        let addr = self.local_addr().map_or_else(|_| "unknown".to_owned(), |addr| addr.to_string());
        info!(addr, receive_buffer, send_buffer, offload = self.offload, "udp listener");
    }

    fn tune(udp: UdpSocket, media: &Media) -> io::Result<Socket> {
        udp.set_nonblocking(true)?;
        let fd = udp.as_raw_fd();
        let wanted = i32::try_from(media.socket_buffer).unwrap_or(i32::MAX);
        for (forced, plain) in
            [(libc::SO_RCVBUFFORCE, libc::SO_RCVBUF), (libc::SO_SNDBUFFORCE, libc::SO_SNDBUF)]
        {
            // Forcing needs CAP_NET_ADMIN; without, the kernel clamps to net.core.{r,w}mem_max.
            if set_option(fd, libc::SOL_SOCKET, forced, wanted).is_err() {
                set_option(fd, libc::SOL_SOCKET, plain, wanted)?;
            }
        }
        warn_if_clamped(&udp, media.socket_buffer);
        // An old kernel without GSO or GRO still forwards, one packet at a time.
        let offload = media.offload && set_option(fd, libc::SOL_UDP, libc::UDP_SEGMENT, 0).is_ok();
        if offload {
            // GSO came a year before GRO; without the latter, runs are made of what one call receives.
            let _ = set_option(fd, libc::SOL_UDP, libc::UDP_GRO, 1);
        }
        Ok(Socket { udp, offload, ready: true, full_turns: 0 })
    }
}

/// What the kernel grants for receiving and for sending, bytes. It reports twice that (socket(7)).
fn granted(udp: &UdpSocket) -> (usize, usize) {
    let socket = socket2::SockRef::from(udp);
    (socket.recv_buffer_size().unwrap_or(0) / 2, socket.send_buffer_size().unwrap_or(0) / 2)
}

fn warn_if_clamped(udp: &UdpSocket, wanted: usize) {
    static WARNED: AtomicBool = AtomicBool::new(false);
    let (receive, send) = granted(udp);
    if receive.min(send) < wanted && !WARNED.swap(true, Ordering::Relaxed) {
        warn!(
            wanted,
            receive,
            send,
            "the kernel grants smaller UDP buffers; raise net.core.rmem_max and net.core.wmem_max, or lower media.socket_buffer"
        );
    }
}

fn bind_in_range(any: IpAddr, ports: &RangeInclusive<u16>, start: usize) -> io::Result<UdpSocket> {
    let count = usize::from(ports.end() - ports.start()) + 1;
    for step in 0..count {
        let port = ports.start() + ((start + step) % count) as u16;
        match UdpSocket::bind((any, port)) {
            Ok(udp) => return Ok(udp),
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => {}
            Err(error) => return Err(error),
        }
    }
    let (first, last) = (ports.start(), ports.end());
    Err(io::Error::new(io::ErrorKind::AddrInUse, format!("every port of {first}-{last} is in use")))
}

/// Our address on the route to a backend. Connecting a UDP socket asks the routing table and sends nothing.
fn source_toward(any: IpAddr, toward: SocketAddr) -> io::Result<IpAddr> {
    let probe = UdpSocket::bind((any, 0))?;
    probe.connect(toward)?;
    Ok(probe.local_addr()?.ip())
}

impl AsRawFd for Socket {
    fn as_raw_fd(&self) -> RawFd {
        self.fd()
    }
}
