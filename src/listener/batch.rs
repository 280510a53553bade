//! Many datagrams per system call: `recvmmsg` with UDP GRO, `sendmmsg` with UDP GSO. All of the packet side's unsafe code
//! is in this file.
//!
//! Received bytes stay where the kernel put them; what is to be sent names them by offset, so a forwarded packet is
//! never copied. Replies are written behind them, into the same memory.

#![allow(unsafe_code)]

use std::io;
use std::mem;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};
use std::os::fd::RawFd;

/// Datagrams per call. More gains nothing measurable and delays the first one.
pub(super) const BATCH: usize = 32;
/// What one receive may bring: the largest UDP payload, or a coalesced run of smaller ones.
const SLOT: usize = 65_536;
/// Room for answers to checks: one per datagram, and a coalesced run of checks is rare enough to do without.
pub(super) const REPLY_SLOT: usize = crate::stun::BINDING_RESPONSE_MAX;
/// Replies per batch; a batch with more checks sends the first ones early.
pub(super) const REPLIES: usize = 64;
/// Segments that the kernel takes in one GSO send (UDP_MAX_SEGMENTS of its first version).
const MAX_SEGMENTS: usize = 64;
/// Payload that fits one IP datagram, with IPv6 headers to spare.
const MAX_GSO_BYTES: usize = 65_000;
/// PKTINFO of either family and one segment size.
const CONTROL: usize = 128;

/// A control buffer with the alignment that the kernel's headers want.
#[repr(C, align(8))]
#[derive(Clone, Copy)]
struct Control([u8; CONTROL]);

/// One receive: a datagram, or a run of equal ones that the kernel coalesced.
#[derive(Clone, Copy, Debug)]
pub(super) struct Datagram {
    pub(super) from: SocketAddr,
    pub(super) local: Option<IpAddr>,
    offset: usize,
    len: usize,
    segment: usize,
}

impl Datagram {
    /// How many packets, and how many bytes in all.
    pub(super) fn size(self) -> (u64, u64) {
        (self.len.div_ceil(self.segment.max(1)).max(1) as u64, self.len as u64)
    }

    /// The single datagrams in it, as (offset, length).
    pub(super) fn segments(self) -> impl Iterator<Item = (usize, usize)> {
        let end = self.offset + self.len;
        let whole_when_empty = usize::from(self.len == 0);
        let count = self.len.div_ceil(self.segment.max(1)) + whole_when_empty;
        (0..count).map(move |i| {
            let at = self.offset + i * self.segment;
            (at, self.segment.min(end - at))
        })
    }
}

/// Receive buffers of one worker, used by one socket at a time.
pub(super) struct Receiver {
    memory: Vec<u8>,
    names: Vec<libc::sockaddr_storage>,
    controls: Vec<Control>,
    headers: Vec<libc::mmsghdr>,
    iovecs: Vec<libc::iovec>,
}

// SAFETY: the raw pointers in `headers` and `iovecs` are rebuilt before every call and point only into this struct's
// own heap memory, which moves with it.
unsafe impl Send for Receiver {}

impl Receiver {
    pub(super) fn new() -> Self {
        // SAFETY: all-zero is a valid value of these plain C structures.
        let (name, header, iovec): (libc::sockaddr_storage, libc::mmsghdr, libc::iovec) =
            unsafe { (mem::zeroed(), mem::zeroed(), mem::zeroed()) };
        Receiver {
            memory: vec![0; BATCH * SLOT + REPLIES * REPLY_SLOT],
            names: vec![name; BATCH],
            controls: vec![Control([0; CONTROL]); BATCH],
            headers: vec![header; BATCH],
            iovecs: vec![iovec; BATCH],
        }
    }

    /// Receives what is there, up to [`BATCH`] calls' worth; how many receives it was.
    pub(super) fn receive(&mut self, fd: RawFd) -> io::Result<usize> {
        for i in 0..BATCH {
            self.iovecs[i] =
                libc::iovec { iov_base: self.memory[i * SLOT..].as_mut_ptr().cast(), iov_len: SLOT };
            let header = &mut self.headers[i].msg_hdr;
            header.msg_name = (&raw mut self.names[i]).cast();
            header.msg_namelen = size_of::<libc::sockaddr_storage>() as u32;
            header.msg_iov = &raw mut self.iovecs[i];
            header.msg_iovlen = 1;
            header.msg_control = (&raw mut self.controls[i]).cast();
            header.msg_controllen = CONTROL as _;
            header.msg_flags = 0;
        }
        // SAFETY: every header points to memory of this struct that lives through the call, with its true size.
        let count = unsafe {
            libc::recvmmsg(
                fd,
                self.headers.as_mut_ptr(),
                BATCH as u32,
                libc::MSG_DONTWAIT,
                std::ptr::null_mut(),
            )
        };
        usize::try_from(count).map_err(|_| io::Error::last_os_error())
    }

    /// The `i`th receive of the last call; `None` where the sender's address makes no sense.
    pub(super) fn datagram(&self, i: usize) -> Option<Datagram> {
        let len = self.headers[i].msg_len as usize;
        let from = address(&self.names[i])?;
        let (mut local, mut segment) = (None, len);
        for_each_control(&self.headers[i].msg_hdr, |level, kind, data| match (level, kind) {
            (libc::SOL_UDP, libc::UDP_GRO) => {
                if let Some(bytes) = data.first_chunk::<2>() {
                    segment = usize::from(u16::from_ne_bytes(*bytes));
                }
            }
            (libc::IPPROTO_IP, libc::IP_PKTINFO) => {
                // in_pktinfo: interface index, then the local address (ipi_spec_dst).
                if let Some(octets) = data.get(4..8).and_then(|b| <[u8; 4]>::try_from(b).ok()) {
                    local = Some(IpAddr::V4(Ipv4Addr::from(octets)));
                }
            }
            (libc::IPPROTO_IPV6, libc::IPV6_PKTINFO) => {
                if let Some(octets) = data.first_chunk::<16>() {
                    local = Some(IpAddr::V6(Ipv6Addr::from(*octets)));
                }
            }
            _ => {}
        });
        if segment == 0 || segment > len {
            segment = len;
        }
        Some(Datagram { from, local, offset: i * SLOT, len, segment })
    }

    /// The bytes of a segment, and the place for the reply with this number.
    pub(super) fn packet_and_reply(
        &mut self,
        (offset, len): (usize, usize),
        reply: usize,
    ) -> (&[u8], &mut [u8]) {
        let (received, replies) = self.memory.split_at_mut(BATCH * SLOT);
        let at = reply * REPLY_SLOT;
        (&received[offset..offset + len], &mut replies[at..at + REPLY_SLOT])
    }

    /// The bytes of a segment.
    pub(super) fn packet(&self, (offset, len): (usize, usize)) -> &[u8] {
        &self.memory[offset..offset + len]
    }

    /// Puts bytes that were not received by this socket where a received datagram would be. Only between batches.
    pub(super) fn load(&mut self, bytes: &[u8]) -> (usize, usize) {
        let len = bytes.len().min(SLOT);
        self.memory[..len].copy_from_slice(&bytes[..len]);
        (0, len)
    }

    /// Where the reply with this number lies.
    pub(super) fn reply_offset(reply: usize) -> usize {
        BATCH * SLOT + reply * REPLY_SLOT
    }
}

/// A datagram to send, by place in the [`Receiver`]'s memory.
#[derive(Clone, Copy, Debug)]
pub(super) struct Outgoing {
    pub(super) to: SocketAddr,
    pub(super) local: Option<IpAddr>,
    pub(super) offset: usize,
    pub(super) len: usize,
}

impl Outgoing {
    fn joins(&self, run: &Outgoing) -> bool {
        self.to == run.to && self.local == run.local
    }
}

/// What came of a flush.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Sent {
    /// Messages that the kernel was given: runs that leave as one, and single datagrams.
    pub(super) messages: usize,
    /// Datagrams lost because the send buffer was full.
    pub(super) full: usize,
    /// Datagrams that the kernel refused.
    pub(super) refused: usize,
    /// A GSO send failed in a way that says: never again on this socket.
    pub(super) offload_broken: bool,
}

/// Send buffers of one worker, used by one socket at a time.
pub(super) struct Sender {
    names: Vec<libc::sockaddr_storage>,
    controls: Vec<Control>,
    headers: Vec<libc::mmsghdr>,
    iovecs: Vec<libc::iovec>,
    /// For each message: how many datagrams it carries.
    counts: Vec<usize>,
}

// SAFETY: as for `Receiver`; `iovecs` points into the receiver's memory only while `send` runs.
unsafe impl Send for Sender {}

impl Sender {
    pub(super) fn new() -> Self {
        Sender { names: vec![], controls: vec![], headers: vec![], iovecs: vec![], counts: vec![] }
    }

    /// Sends `queue` in order by one socket. With `offload`, runs to one destination leave as one GSO send.
    pub(super) fn send(&mut self, fd: RawFd, from: &Receiver, queue: &[Outgoing], offload: bool) -> Sent {
        self.prepare(from, queue, offload);
        let mut sent = Sent { messages: self.headers.len(), ..Sent::default() };
        let mut done = 0;
        while done < self.headers.len() {
            let rest = &mut self.headers[done..];
            // SAFETY: the headers point to names, controls and iovecs of this struct and to the receiver's memory,
            // all of which outlive the call.
            let n = unsafe { libc::sendmmsg(fd, rest.as_mut_ptr(), rest.len() as u32, libc::MSG_DONTWAIT) };
            if let Ok(n @ 1..) = usize::try_from(n) {
                done += n;
                continue;
            }
            let error = io::Error::last_os_error();
            match error.raw_os_error() {
                Some(libc::EINTR) => continue,
                Some(libc::EAGAIN | libc::ENOBUFS) => {
                    sent.full += self.counts[done..].iter().sum::<usize>();
                    break;
                }
                code if self.counts[done] > 1 => {
                    // The device, or the path's MTU, does not take the run as a whole.
                    sent.offload_broken |=
                        matches!(code, Some(libc::EIO | libc::EOPNOTSUPP | libc::ENOPROTOOPT));
                    let start = self.counts[..done].iter().sum::<usize>();
                    let run = &queue[start..start + self.counts[done]];
                    let singly = Sender::new().send(fd, from, run, false);
                    sent.full += singly.full;
                    sent.refused += singly.refused;
                    done += 1;
                }
                _ => {
                    sent.refused += 1;
                    done += 1;
                }
            }
        }
        sent
    }

    fn prepare(&mut self, from: &Receiver, queue: &[Outgoing], offload: bool) {
        self.counts.clear();
        let mut at = 0;
        while at < queue.len() {
            let n = if offload { run_length(&queue[at..]) } else { 1 };
            self.counts.push(n);
            at += n;
        }
        let messages = self.counts.len();
        // SAFETY: all-zero is a valid value of these plain C structures.
        let (name, header) = unsafe { (mem::zeroed(), mem::zeroed()) };
        self.names.resize(self.names.len().max(messages), name);
        self.controls.resize(self.controls.len().max(messages), Control([0; CONTROL]));
        self.headers.clear();
        self.headers.resize(messages, header);
        self.iovecs.clear();
        self.iovecs.extend(queue.iter().map(|out| libc::iovec {
            iov_base: from.memory[out.offset..out.offset + out.len].as_ptr().cast_mut().cast(),
            iov_len: out.len,
        }));
        let mut first = 0;
        for (i, &count) in self.counts.iter().enumerate() {
            let out = &queue[first];
            let header = &mut self.headers[i].msg_hdr;
            header.msg_namelen = write_address(&mut self.names[i], out.to);
            header.msg_name = (&raw mut self.names[i]).cast();
            header.msg_iov = &raw mut self.iovecs[first];
            header.msg_iovlen = count as _;
            let segment = (count > 1).then_some(out.len as u16);
            write_controls(header, &mut self.controls[i], out.local, segment);
            first += count;
        }
    }
}

/// How many datagrams at the front can leave as one: one destination, equal sizes, only the last one shorter.
fn run_length(queue: &[Outgoing]) -> usize {
    let first = &queue[0];
    let mut total = first.len;
    let mut n = 1;
    while n < queue.len().min(MAX_SEGMENTS) {
        let next = &queue[n];
        if !next.joins(first) || next.len > first.len || next.len == 0 || total + next.len > MAX_GSO_BYTES {
            break;
        }
        total += next.len;
        n += 1;
        if next.len < first.len {
            break;
        }
    }
    n
}

fn for_each_control(header: &libc::msghdr, mut each: impl FnMut(i32, i32, &[u8])) {
    // SAFETY: the kernel filled `msg_control` with `msg_controllen` bytes of well-formed control messages; the macros
    // walk exactly those, and each data slice ends where its header says.
    unsafe {
        let mut control = libc::CMSG_FIRSTHDR(header);
        while !control.is_null() {
            let data = libc::CMSG_DATA(control);
            let len = ((*control).cmsg_len as usize).saturating_sub(libc::CMSG_LEN(0) as usize);
            each((*control).cmsg_level, (*control).cmsg_type, std::slice::from_raw_parts(data, len));
            control = libc::CMSG_NXTHDR(header, control);
        }
    }
}

fn write_controls(
    header: &mut libc::msghdr,
    control: &mut Control,
    local: Option<IpAddr>,
    segment: Option<u16>,
) {
    let mut used = 0;
    if let Some(IpAddr::V4(ip)) = local {
        let mut info = [0; 12];
        info[4..8].copy_from_slice(&ip.octets());
        used += write_control(&mut control.0[used..], libc::IPPROTO_IP, libc::IP_PKTINFO, &info);
    }
    if let Some(IpAddr::V6(ip)) = local {
        let mut info = [0; 20];
        info[..16].copy_from_slice(&ip.octets());
        used += write_control(&mut control.0[used..], libc::IPPROTO_IPV6, libc::IPV6_PKTINFO, &info);
    }
    if let Some(size) = segment {
        used += write_control(&mut control.0[used..], libc::SOL_UDP, libc::UDP_SEGMENT, &size.to_ne_bytes());
    }
    header.msg_control = if used == 0 { std::ptr::null_mut() } else { (&raw mut control.0).cast() };
    header.msg_controllen = used as _;
}

/// Writes one control message: header, data, padding. Returns its size.
fn write_control(buffer: &mut [u8], level: i32, kind: i32, data: &[u8]) -> usize {
    // SAFETY: CMSG_LEN and CMSG_SPACE only compute.
    let (len, space) =
        unsafe { (libc::CMSG_LEN(data.len() as u32) as usize, libc::CMSG_SPACE(data.len() as u32) as usize) };
    let header = len - data.len();
    buffer[..space].fill(0);
    buffer[..size_of::<usize>()].copy_from_slice(&len.to_ne_bytes());
    buffer[size_of::<usize>()..][..4].copy_from_slice(&level.to_ne_bytes());
    buffer[size_of::<usize>() + 4..][..4].copy_from_slice(&kind.to_ne_bytes());
    buffer[header..len].copy_from_slice(data);
    space
}

fn address(storage: &libc::sockaddr_storage) -> Option<SocketAddr> {
    match i32::from(storage.ss_family) {
        libc::AF_INET => {
            // SAFETY: the family says that the kernel wrote a sockaddr_in; the storage is large and aligned enough.
            let v4 = unsafe { &*(&raw const *storage).cast::<libc::sockaddr_in>() };
            let ip = Ipv4Addr::from(v4.sin_addr.s_addr.to_ne_bytes());
            Some(SocketAddr::V4(SocketAddrV4::new(ip, u16::from_be(v4.sin_port))))
        }
        libc::AF_INET6 => {
            // SAFETY: as above, for sockaddr_in6.
            let v6 = unsafe { &*(&raw const *storage).cast::<libc::sockaddr_in6>() };
            let ip = Ipv6Addr::from(v6.sin6_addr.s6_addr);
            Some(SocketAddr::V6(SocketAddrV6::new(ip, u16::from_be(v6.sin6_port), 0, v6.sin6_scope_id)))
        }
        _ => None,
    }
}

fn write_address(storage: &mut libc::sockaddr_storage, addr: SocketAddr) -> u32 {
    match addr {
        SocketAddr::V4(v4) => {
            // SAFETY: the storage is large and aligned enough for a sockaddr_in.
            let to = unsafe { &mut *(&raw mut *storage).cast::<libc::sockaddr_in>() };
            to.sin_family = libc::AF_INET as _;
            to.sin_port = v4.port().to_be();
            to.sin_addr.s_addr = u32::from_ne_bytes(v4.ip().octets());
            size_of::<libc::sockaddr_in>() as u32
        }
        SocketAddr::V6(v6) => {
            // SAFETY: the storage is large and aligned enough for a sockaddr_in6.
            let to = unsafe { &mut *(&raw mut *storage).cast::<libc::sockaddr_in6>() };
            to.sin6_family = libc::AF_INET6 as _;
            to.sin6_port = v6.port().to_be();
            to.sin6_flowinfo = 0;
            to.sin6_addr.s6_addr = v6.ip().octets();
            to.sin6_scope_id = v6.scope_id();
            size_of::<libc::sockaddr_in6>() as u32
        }
    }
}

/// Sets an integer socket option.
pub(super) fn set_option(fd: RawFd, level: i32, name: i32, value: i32) -> io::Result<()> {
    // SAFETY: the pointer and the size describe `value`, which outlives the call.
    let result = unsafe {
        libc::setsockopt(fd, level, name, (&raw const value).cast(), size_of::<i32>() as libc::socklen_t)
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

#[cfg(test)]
#[path = "batch_tests.rs"]
mod tests;
