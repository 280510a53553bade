//! Many datagrams per system call, through the safe wrappers of `nix`.
//!
//! Deliberately not the packet side's own batches: the floor of a comparison must not move with what stands on it. No GRO: a
//! client's or backend's kernel hands over single packets, as real ones do.

use std::io::{self, ErrorKind, IoSlice, IoSliceMut};
use std::net::{SocketAddr, SocketAddrV4, UdpSocket};
use std::os::fd::AsRawFd;

use nix::errno::Errno;
use nix::sys::socket::{
    ControlMessage, MsgFlags, MultiHeaders, SockaddrIn, recvmmsg, sendmmsg, sendmsg, setsockopt, sockopt,
};

/// Datagrams per call.
pub(super) const BATCH: usize = 64;
/// Largest datagram that is received whole.
const SLOT: usize = 2048;
/// What each socket may hold, so that a scheduling pause of either side loses nothing.
const SOCKET_BUFFER: usize = 4 << 20;
/// Payload of one GSO send, below what an IP datagram holds.
const MAX_RUN: usize = 65_000;

/// A non-blocking UDP socket with large buffers.
pub(super) fn bind(addr: SocketAddrV4) -> io::Result<UdpSocket> {
    let socket = UdpSocket::bind(addr)?;
    // Forcing needs CAP_NET_ADMIN; without it the kernel clamps.
    if setsockopt(&socket, sockopt::RcvBufForce, &SOCKET_BUFFER).is_err() {
        setsockopt(&socket, sockopt::RcvBuf, &SOCKET_BUFFER)?;
    }
    if setsockopt(&socket, sockopt::SndBufForce, &SOCKET_BUFFER).is_err() {
        setsockopt(&socket, sockopt::SndBuf, &SOCKET_BUFFER)?;
    }
    socket.set_nonblocking(true)?;
    Ok(socket)
}

/// Where datagrams are received.
pub(super) struct Inbox {
    headers: MultiHeaders<SockaddrIn>,
    memory: Vec<u8>,
    /// Of the last receive: senders, and lengths.
    from: Vec<Option<SockaddrIn>>,
    lengths: Vec<usize>,
}

impl Inbox {
    pub(super) fn new() -> Inbox {
        Inbox {
            headers: MultiHeaders::preallocate(BATCH, None),
            memory: vec![0; BATCH * SLOT],
            from: Vec::with_capacity(BATCH),
            lengths: Vec::with_capacity(BATCH),
        }
    }

    /// Receives what is there, up to [`BATCH`] datagrams; how many it was, 0 when there was nothing.
    pub(super) fn receive(&mut self, socket: &UdpSocket) -> io::Result<usize> {
        self.from.clear();
        self.lengths.clear();
        let mut slots = self.memory.chunks_exact_mut(SLOT);
        let mut slices: [[IoSliceMut<'_>; 1]; BATCH] =
            std::array::from_fn(|_| [IoSliceMut::new(slots.next().unwrap_or_default())]);
        match recvmmsg(socket.as_raw_fd(), &mut self.headers, &mut slices, MsgFlags::MSG_DONTWAIT, None) {
            Ok(received) => {
                for datagram in received {
                    self.from.push(datagram.address);
                    self.lengths.push(datagram.bytes);
                }
                Ok(self.lengths.len())
            }
            // A connected socket reports here that nobody listened to what it sent; that shows as loss.
            Err(Errno::EAGAIN | Errno::EINTR | Errno::ECONNREFUSED) => Ok(0),
            Err(error) => Err(error.into()),
        }
    }

    /// Receives one datagram by a call of its own.
    pub(super) fn receive_one(&mut self, socket: &UdpSocket) -> io::Result<usize> {
        self.from.clear();
        self.lengths.clear();
        match socket.recv_from(&mut self.memory[..SLOT]) {
            Ok((len, SocketAddr::V4(from))) => {
                self.from.push(Some(from.into()));
                self.lengths.push(len);
                Ok(1)
            }
            Ok(_) => Ok(0),
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::ConnectionRefused) => {
                Ok(0)
            }
            Err(error) => Err(error),
        }
    }

    /// Sends on the first datagram by a call of its own.
    pub(super) fn send_one_on(&self, socket: &UdpSocket) {
        if let (Some(Some(to)), Some(&len)) = (self.from.first(), self.lengths.first()) {
            let _ = socket.send_to(&self.memory[..len], SocketAddrV4::from(*to));
        }
    }

    /// The datagrams of the last receive.
    pub(super) fn datagrams(&self) -> impl Iterator<Item = (Option<SocketAddrV4>, &[u8])> {
        let slots = self.memory.chunks_exact(SLOT);
        let from = self.from.iter().map(|from| from.map(SocketAddrV4::from));
        from.zip(slots.zip(&self.lengths).map(|(slot, &len)| &slot[..len]))
    }

    /// Gives each sender of the last receive another name.
    pub(super) fn readdress(&mut self, map: impl Fn(SocketAddrV4) -> SocketAddrV4) {
        for from in self.from.iter_mut().flatten() {
            *from = map((*from).into()).into();
        }
    }
}

/// Sends many datagrams by one call.
pub(super) struct Outbox {
    headers: MultiHeaders<SockaddrIn>,
}

impl Outbox {
    pub(super) fn new() -> Outbox {
        Outbox { headers: MultiHeaders::preallocate(BATCH, None) }
    }

    /// Sends these over a connected socket; how many went. Those behind a full buffer are lost, as on a wire.
    pub(super) fn send(&mut self, socket: &UdpSocket, datagrams: &[[IoSlice<'_>; 1]]) -> usize {
        let nobody = [const { None }; BATCH];
        let sent =
            sendmmsg(socket.as_raw_fd(), &mut self.headers, datagrams, nobody, [], MsgFlags::MSG_DONTWAIT);
        sent.map_or(0, Iterator::count)
    }

    /// Sends on what was received last, each datagram to what its sender was renamed to.
    pub(super) fn send_on(&mut self, socket: &UdpSocket, inbox: &Inbox) {
        let empty: [u8; 0] = [];
        let mut slots = inbox.memory.chunks_exact(SLOT).zip(&inbox.lengths);
        let slices: [[IoSlice<'_>; 1]; BATCH] = std::array::from_fn(|_| {
            [IoSlice::new(slots.next().map_or(&empty[..], |(slot, &len)| &slot[..len]))]
        });
        let _ = sendmmsg(
            socket.as_raw_fd(),
            &mut self.headers,
            &slices[..inbox.lengths.len()],
            &inbox.from,
            [],
            MsgFlags::MSG_DONTWAIT,
        );
    }
}

/// Sends on what was received last; neighbours of one size for one destination leave as one GSO send.
pub(super) fn send_on_in_runs(socket: &UdpSocket, inbox: &Inbox) {
    let slots: Vec<IoSlice<'_>> = inbox
        .memory
        .chunks_exact(SLOT)
        .zip(&inbox.lengths)
        .map(|(slot, &len)| IoSlice::new(&slot[..len]))
        .collect();
    let mut at = 0;
    while at < slots.len() {
        let end = at + run_length(&inbox.from[at..], &inbox.lengths[at..]);
        // No datagram is longer than its slot.
        let size = inbox.lengths[at] as u16;
        let segment = [ControlMessage::UdpGsoSegments(&size)];
        let controls = if end - at > 1 { &segment[..] } else { &[] };
        let to = inbox.from[at].as_ref();
        let _ = sendmsg(socket.as_raw_fd(), &slots[at..end], controls, MsgFlags::MSG_DONTWAIT, to);
        at = end;
    }
}

fn run_length(to: &[Option<SockaddrIn>], lengths: &[usize]) -> usize {
    let fits = |n: &usize| to[*n] == to[0] && lengths[*n] == lengths[0] && (n + 1) * lengths[0] <= MAX_RUN;
    1 + (1..lengths.len()).take_while(fits).count()
}
